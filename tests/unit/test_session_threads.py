"""The way into a session for other threads."""

from __future__ import annotations

import asyncio

import pytest

from duet_p2p import limits
from duet_p2p.errors import (
    ConnectionLost,
    SessionClosed,
)
from duet_p2p.wire.messages import Put, Withdraw
from tests.unit.session_kit import (  # noqa: F401 (one is a fixture)
    Pair,
    opened,
    opened_pair,
    until,
)


async def test_threads_put_in_order_and_only_once(pair: Pair) -> None:
    def program(base: int) -> list[int]:
        return [pair.scientist.session.outbox.put(Withdraw(base + n)) for n in range(500)]

    seqs = await asyncio.gather(*[asyncio.to_thread(program, base) for base in (1000, 5000)])
    await until(lambda: len(pair.owner.messages) == 1000)
    assert sorted(seqs[0] + seqs[1]) == list(range(1, 1001))
    got = dict(pair.owner.calls)
    for base, numbers in zip((1000, 5000), seqs, strict=True):
        assert [got[seq] for seq in numbers] == [base + n for n in range(500)]
        assert numbers == sorted(numbers)


async def test_flush_does_not_wait_for_the_tick(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FRAME_FLUSH_SECONDS", 30.0)
    outbox = pair.scientist.session.outbox

    def program() -> None:
        outbox.put(Withdraw(1))
        outbox.flush()

    await asyncio.to_thread(program)
    await until(lambda: pair.owner.calls == [(1, 1)], seconds=5)
    # a full frame does not wait either, and less than one does while nothing else is sent
    await until(lambda: pair.scientist.session.status()["unacknowledged"] == 0)
    await asyncio.to_thread(outbox.put, Withdraw(2))
    await asyncio.sleep(0.1)
    assert len(pair.owner.messages) == 1
    await asyncio.to_thread(outbox.put, Put((1,), (b"x" * limits.FRAME_MAX_BYTES,), None))
    await until(lambda: len(pair.owner.messages) == 3, seconds=5)


async def test_what_cannot_be_encoded_fails_where_it_was_put(pair: Pair) -> None:
    with pytest.raises(TypeError):
        await asyncio.to_thread(pair.scientist.session.outbox.put, Put((1,), (object(),), None))
    with pytest.raises(ValueError):
        pair.scientist.post(0)
    assert pair.scientist.post(1) == 1, "no number was used up"


async def test_a_full_window_blocks_until_commands_are_settled(pair: Pair) -> None:
    outbox = pair.scientist.session.outbox
    progress: list[int] = []

    def program() -> None:
        for call in range(1, limits.WINDOW_COMMANDS + 11):
            progress.append(outbox.put(Withdraw(call)))

    running = asyncio.create_task(asyncio.to_thread(program))
    await until(lambda: len(pair.owner.messages) == limits.WINDOW_COMMANDS, seconds=30)
    await asyncio.sleep(0.1)
    assert not running.done()
    assert len(progress) == limits.WINDOW_COMMANDS
    pair.owner.session.settled(5)
    await until(lambda: len(pair.owner.messages) == limits.WINDOW_COMMANDS + 5)
    pair.owner.session.settled(limits.WINDOW_COMMANDS)
    await asyncio.wait_for(running, 10)
    await until(lambda: len(pair.owner.messages) == limits.WINDOW_COMMANDS + 10)


async def test_a_full_window_on_a_lost_link_ends_in_an_error(pair: Pair) -> None:
    outbox = pair.scientist.session.outbox
    pair.lose()
    await until(lambda: "lost" in pair.scientist.state_names)

    def fill() -> None:
        for call in range(1, limits.WINDOW_COMMANDS + 1):
            outbox.put(Withdraw(call))

    await asyncio.to_thread(fill)
    with pytest.raises(ConnectionLost, match="too many"):
        await asyncio.to_thread(outbox.put, Withdraw(1), wait=0.05)
    await pair.connect()
    await until(lambda: len(pair.owner.messages) == limits.WINDOW_COMMANDS)


async def test_who_waits_for_room_hears_of_the_end(pair: Pair) -> None:
    outbox = pair.scientist.session.outbox

    def program() -> None:
        for call in range(1, limits.WINDOW_COMMANDS + 2):
            outbox.put(Withdraw(call))

    running = asyncio.create_task(asyncio.to_thread(program))
    await until(lambda: len(pair.owner.messages) == limits.WINDOW_COMMANDS, seconds=30)
    await pair.scientist.session.close()
    with pytest.raises(SessionClosed):
        await asyncio.wait_for(running, 5)
    with pytest.raises(SessionClosed):
        outbox.put(Withdraw(1))
    with pytest.raises(SessionClosed):
        pair.scientist.post(1)


async def test_waiting_on_the_loop_itself_is_refused(pair: Pair) -> None:
    outbox = pair.scientist.session.outbox
    for call in range(1, limits.WINDOW_COMMANDS + 1):
        outbox.put(Withdraw(call))
    with pytest.raises(RuntimeError, match="its own thread"):
        outbox.put(Withdraw(1))


async def test_a_partner_that_never_acknowledges_is_given_up(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WINDOW_COMMANDS", 10)
    assert pair.scientist.peer is not None
    pair.scientist.peer.pause()
    with pytest.raises(ConnectionLost):
        for call in range(1, 100):
            pair.owner.post(call)
    assert call == 10 * limits.WINDOW_SLACK + 1
    assert pair.owner.state_names == ["open", "closed"]
    pair.scientist.peer.resume()
