"""Every program made for two data sets, on the owner's real wire and a real engine process.

`test_neighbours.py`, `test_neighbour_containers.py` and `test_neighbour_failures.py` look at an engine in
this process, one for each program. Here a partner who makes frames by hand runs all programs of a
subject in one session with an owner, one session for each of two data sets. What each program made
is looked at, asked for in every way that needs no decision, and written over. All numbered messages
of the owner are the same, byte for byte; counters and times are in the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from duet_p2p.owner import tick
from duet_p2p.wire.codec import decode_message
from duet_p2p.wire.values import Ref
from tests.security import failing_kit, neighbour_kit, test_neighbour_containers, test_neighbours
from tests.security.failing_kit import Program
from tests.security.neighbour_kit import T
from tests.security.raw_peer import RawPeer, attacked
from tests.security.test_neighbour_failures import OPEN, SUBJECTS
from tests.unit.test_datasets import write_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LIMITS = {"timed_per_minute": 1_000_000, "open_requests": 10_000}
FACTS = ("dtype", "size", "requires_grad", "is_leaf", "_version")
NAMES = ("other", "loss", "big")
"""A rule takes the second, and one denies the third."""
Data = tuple[torch.Tensor, ...]
NEIGHBOURS = (neighbour_kit.ONE, neighbour_kit.OTHER)
FAILURES = (failing_kit.ONE, failing_kit.OTHER)
ALL: dict[str, tuple[dict[str, Program], tuple[Data, Data]]] = {
    "test_neighbours": (dict(test_neighbours.PROGRAMS), NEIGHBOURS),
    "test_neighbour_containers": (dict(test_neighbour_containers.PROGRAMS), NEIGHBOURS),
    **{
        subject.__name__.split(".")[-1]: (
            {name: made for name, made in subject.PROGRAMS.items() if name not in OPEN}, FAILURES,
        )
        for subject in SUBJECTS
    },
}  # fmt: skip


def looked_at(p: RawPeer, made: Program) -> None:
    """Runs a program and asks for all that it made, and for what can be made of that."""
    p.do("torch.manual_seed", 5)
    refs = made(p)
    for ref in refs:
        for name in FACTS:
            p.get(p.op(T + name, ref))
        p.get(p.op("torch.mul", ref, 2.0))
        p.get(p.op("python.len", p.op("python.collect", ref)))
        p.get(ref)
        for name in NAMES:
            p.ask(ref, name)
    for ref in refs:
        p.do(T + "zero_", p.op(T + "detach", ref))
    for ref in (*refs, p.op("torch.rand", 1)):
        p.get(ref)


def shown(data: Data, programs: dict[str, Program], folder: Path) -> Iterator[list[bytes]]:
    """What the owner sends on each program."""
    duet, raw, bridge = attacked(LIMITS, data_dirs={"digits": str(folder)})
    try:
        for number, value in enumerate(data):
            duet.send(value, tags=[f"t{number}"])
        duet.requests.add_handler(name="loss", action="accept")
        duet.requests.add_handler(name="big", action="deny")
        raw.wait(lambda: len(raw.told_bytes()) > len(data))
        for made in programs.values():
            before = len(raw.told_bytes())
            looked_at(raw, made)
            raw.wait_for_end()
            yield raw.told_bytes()[before:]
            raw.forget_all()
    finally:
        duet.close()
        bridge.close()


@pytest.mark.parametrize("subject", ALL)
def test_what_crosses_the_wire_is_the_same_of_two_data_sets(
    subject: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick, "TIMED_TICK_SECONDS", 0.001)  # a program would wait for hours
    write_files(tmp_path)
    programs, data = ALL[subject]
    one, other = (shown(each, programs, tmp_path) for each in data)
    found = []
    for name, seen, also in zip(programs, one, other, strict=True):
        assert seen  # something was told at all
        pairs = [(a, b) for a, b in zip(seen, also, strict=False) if a != b]
        if pairs or len(seen) != len(also):
            found.append((name, len(seen), len(also), [tuple(map(decode_message, p)) for p in pairs[:1]]))
    assert not found
