"""Scenario 6: whatever ends, each wait ends in time, with the error that the table names."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import connect, wait_for_request
from tests.e2e.notebook import CellError, Notebook

Pair = tuple[Notebook, Notebook]

SHARED = """
import time
deadline = time.monotonic() + 30
while not len(duet.store) and time.monotonic() < deadline:
    time.sleep(0.01)
ones = duet.store["ones"]
"""


@contextmanager
def paired(server: str, home: Path, name: str) -> Iterator[Pair]:
    owner, scientist = Notebook(f"owner-{name}", home), Notebook(f"scientist-{name}", home)
    try:
        connect(server, owner, scientist)
        owner.run("torch.ones(3).tag('ones').send(duet)")
        scientist.run(SHARED)
        yield owner, scientist
    finally:
        for notebook in (owner, scientist):
            notebook.close()


@pytest.fixture
def fresh(server: str, home: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    with paired(server, home, request.node.name) as pair:
        yield pair


@pytest.fixture(scope="module")
def kept(server: str, home: Path) -> Iterator[Pair]:
    """One session for the tests that leave it as it was."""
    with paired(server, home, "kept") as pair:
        yield pair


def test_a_killed_owner_ends_the_scientists_wait(fresh: Pair) -> None:
    owner, scientist = fresh
    waiting = scientist.start("ones.get(request_block=True, timeout_secs=-1)")
    time.sleep(0.5)
    owner.signal(signal.SIGKILL)
    with pytest.raises(CellError) as failure:
        waiting.result(30)
    assert failure.value.kind == "ConnectionLost"


@pytest.mark.slow
def test_a_killed_scientist_is_noticed_by_the_owner(fresh: Pair) -> None:
    owner, scientist = fresh
    scientist.signal(signal.SIGKILL)
    seen = owner.run(
        """
        import time
        deadline = time.monotonic() + 15
        while duet.status()["state"] == "open" and time.monotonic() < deadline:
            time.sleep(0.05)
        [duet.status()["state"], duet.status()["error"]]
        """
    )
    assert seen[0] == "lost"
    assert seen[1].startswith("ConnectionLost: ")


@pytest.mark.slow
def test_a_clean_close_is_seen_at_once(fresh: Pair) -> None:
    owner, scientist = fresh
    waiting = scientist.start("ones.get(request_block=True, timeout_secs=-1)")
    time.sleep(0.3)
    started = time.monotonic()
    owner.run("duet.close()")
    with pytest.raises(CellError) as failure:
        waiting.result(10)
    assert failure.value.kind in ("PartnerLeft", "SessionClosed")
    assert time.monotonic() - started < 5
    owner.run("duet.close()")


def test_closing_leaves_no_thread_and_no_process(fresh: Pair) -> None:
    for notebook in fresh:
        notebook.run("duet.close()")
        left = notebook.run(
            """
            import threading, time
            deadline = time.monotonic() + 5
            while threading.active_count() > 1 and time.monotonic() < deadline:
                time.sleep(0.05)
            [t.name for t in threading.enumerate()][1:]
            """
        )
        assert left == []
        children = Path(f"/proc/{notebook.process.pid}/task/{notebook.process.pid}/children")
        assert children.read_text().split() == []


@pytest.mark.slow
def test_a_killed_engine_is_reported_and_the_session_survives(fresh: Pair) -> None:
    owner, scientist = fresh
    # Once its request is there, the engine rests: killed at work on private data it would be
    # another case, in which the session is suspended.
    scientist.run("own = ones + 1; asked = own.request(name='own')")
    wait_for_request(owner)
    engine = owner.run("duet.status()['engine'].get('pid')")
    os.kill(engine, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while owner.run("duet.status()['engine'].get('pid')") in (engine, None):
        assert time.monotonic() < deadline, "the engine was not started again"
        time.sleep(0.1)
    with pytest.raises(CellError) as failure:
        scientist.run("own.get(request_block=True, timeout_secs=5)")
    assert failure.value.kind == "SessionLost"
    owner.run("duet.requests.add_handler(action='accept')")
    value = "(duet.store['ones'] * 2).sum().get(request_block=True, timeout_secs=20).item()"
    assert scientist.run(value) == 6


def test_a_wrong_id_says_so_at_once(kept: Pair, server: str) -> None:
    owner, scientist = kept
    own = owner.run("duet.id")
    swapped = own[:4] + own[5] + own[4] + own[6:]
    if swapped == own:
        swapped = own[:-1] + ("A" if own[-1] != "A" else "B")
    with pytest.raises(CellError) as failure:
        scientist.run(f"sy.join_duet({swapped!r}, url={server!r}, timeout=5)")
    assert failure.value.kind == "InvalidId"
    client = scientist.run("duet.id")
    with pytest.raises(CellError, match="starts with") as failure:
        scientist.run(f"sy.join_duet({client!r}, url={server!r}, timeout=5)")
    assert failure.value.kind == "InvalidId"


def test_pairing_that_nobody_answers_ends_at_its_deadline(kept: Pair, server: str) -> None:
    owner, scientist = kept
    unknown = owner.run("from duet_p2p.identity.keys import Key\nKey.fresh('owner').id")
    with pytest.raises(CellError) as failure:
        scientist.run(f"sy.join_duet({unknown!r}, url={server!r}, timeout=2)", timeout=60)
    assert failure.value.kind == "PairingTimeout"


def test_ctrl_c_ends_a_wait_and_leaves_the_session_usable(kept: Pair) -> None:
    owner, scientist = kept
    waiting = scientist.start("ones.get(request_block=True, timeout_secs=-1)")
    time.sleep(0.7)
    scientist.signal(signal.SIGINT)
    with pytest.raises(CellError) as failure:
        waiting.result(10)
    assert failure.value.kind == "KeyboardInterrupt"
    owner.run("duet.requests.add_handler(action='accept')")
    assert scientist.run("ones.sum().get(request_block=True).item()") == 3
