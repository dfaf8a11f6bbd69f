"""A long loop leaves both sides as they were; what died is collected, a whole session too."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from duet_p2p.errors import ConnectionLost
from duet_p2p.wire.messages import Del
from tests.surface.joined import Joined, joined

LOOP = 100_000
SLACK_BYTES = 32 * 1024**2


@pytest.fixture
def both() -> Iterator[Joined]:
    with joined() as made:
        yield made


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_hundred_thousand_operations_leave_both_sides_flat(both: Joined) -> None:
    duet = both.scientist
    one = duet.send(torch.ones(64), pointable=False)
    total = duet.torch.zeros(64)
    before = 0
    for number in range(1, LOOP + 1):
        total = total + one
        if number == LOOP // 3:  # call sites and caches have their full size then
            duet._client.settle(total._seq, 60)
            before = resident_bytes()
    assert total.get()[0] == LOOP
    assert resident_bytes() - before < SLACK_BYTES
    assert both.own_objects() == 2
    assert len(duet._client._dead) < 64


def test_dead_ids_go_in_batches(both: Joined) -> None:
    duet = both.scientist
    deletes = []
    put = duet._client.session.outbox.put

    def noted(message: object) -> int:
        if isinstance(message, Del):
            deletes.append(len(message.ids))
        return put(message)

    duet._client.session.outbox.put = noted  # type: ignore[method-assign]
    one = duet.torch.ones(2)
    for _ in range(2_000):
        one + 1
    assert both.own_objects() == 1
    assert sum(deletes) >= 2_000
    assert len(deletes) <= 2_000 / 4


def test_a_scientist_who_is_gone_for_good_leaves_nothing_behind(both: Joined) -> None:
    mine = both.owner.send(torch.arange(3.0), tags=["mine"])
    there = both.scientist
    own = there.send(torch.ones(3), tags=["theirs"])
    kept = [own + number for number in range(5)]
    there._client.settle(kept[-1]._seq)
    assert len(both.engine.store) == 7
    # as after the time in which a lost partner may come back
    both.bridge.loop.call_soon_threadsafe(both.owner._session.fail, ConnectionLost())
    end = time.monotonic() + 10
    while len(both.engine.store) > 1 and time.monotonic() < end:
        time.sleep(0.01)
    assert both.engine.store.ids() == [-1]
    assert mine.tags == ["mine"]
    assert "theirs" not in str(both.owner.store)
