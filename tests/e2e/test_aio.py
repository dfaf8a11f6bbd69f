"""The awaitable form: two sessions in one event loop of a caller's own."""

import asyncio
from pathlib import Path

import pytest

from duet_p2p import aio
from duet_p2p.errors import PairingTimeout, SessionClosed


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DUET_HOME", str(tmp_path))
    return tmp_path


async def test_a_pair_computes_and_closes(home: Path) -> None:
    launching = asyncio.create_task(
        aio.launch_duet(loopback="aio", logging=False, engine="thread", timeout=30)
    )
    scientist = await aio.join_duet(loopback="aio", logging=False, timeout=30)
    owner = await launching
    owner.requests.add_handler(action="accept")
    assert owner.peer == scientist.id
    value = await aio.get(scientist.torch.ones(4).sum(), reason="how many")
    assert value.item() == 4
    await aio.close(scientist)
    await aio.close(owner)
    with pytest.raises(SessionClosed):
        scientist.torch.ones(1)


async def test_a_wait_that_nobody_answers_ends_and_closes(home: Path) -> None:
    with pytest.raises(PairingTimeout):
        await aio.launch_duet(loopback="nobody", logging=False, engine="thread", timeout=0.7)


async def test_a_cancelled_wait_closes_the_session(home: Path) -> None:
    launching = asyncio.create_task(
        aio.launch_duet(loopback="nobody", logging=False, engine="thread")
    )
    await asyncio.sleep(1.5)
    launching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launching
    assert not list((home / "loopback").glob("S*"))
