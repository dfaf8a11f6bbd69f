"""Every program made for two data sets, on the owner's real wire and a real engine process.

Elsewhere these programs run on an engine in the test's own process, one for each program. Here a
partner who makes frames by hand runs all programs of a subject in one session with an owner, one
session for each of two data sets. What each program made is looked at, asked for in every way that
needs no decision, and written over. All numbered messages of the owner are the same, byte for byte;
counters and times are in the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import pytest
import torch

from duet_p2p.owner import tick
from duet_p2p.wire.codec import decode_message
from tests.security import failing_kit, neighbour_kit, test_neighbour_containers, test_neighbours
from tests.security.failing_kit import Program
from tests.security.neighbour_kit import T
from tests.security.raw_peer import RawPeer, attacked
from tests.security.test_neighbour_failures import PROGRAMS as FAILING
from tests.unit.test_datasets import write_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

LIMITS = {"timed_per_minute": 1_000_000, "open_requests": 10_000}
FACTS = ("dtype", "size", "requires_grad", "is_leaf", "_version")
NAMES = ("other", "loss", "big")
"""A rule takes the second, and one denies the third."""
Data = tuple[torch.Tensor, ...]
NEIGHBOURS = (neighbour_kit.ONE, neighbour_kit.OTHER)
FAILURES = (failing_kit.ONE, failing_kit.OTHER)
ALL: dict[str, tuple[dict[str, Program], tuple[Data, Data]]] = {
    "what is not touched": (dict(test_neighbours.PROGRAMS), NEIGHBOURS),
    "what is left out": (dict(test_neighbour_containers.PROGRAMS), NEIGHBOURS),
    "what fails": (dict(FAILING), FAILURES),
}


def looked_at(p: RawPeer, made: Program) -> None:
    """Runs a program and asks for all that it made, and for what can be made of that."""
    p.do("torch.manual_seed", 5)
    refs, before = made(p), len(p.answers)
    for ref in refs:
        facts = [p.op(T + name, ref) for name in FACTS]
        facts += [p.op("torch.mul", ref, 2.0), p.op("python.len", p.op("python.collect", ref))]
        answered(p, [p.ask_for(each) for each in (*facts, ref)], before)
    answered(p, [p.request(ref, name, 0.0) for ref in refs for name in NAMES], before)
    for ref in refs:
        p.do(T + "zero_", p.op(T + "detach", ref))
    answered(p, [p.ask_for(ref) for ref in (*refs, p.op("torch.rand", 1))], before)


def answered(p: RawPeer, calls: list[int], since: int) -> None:
    """Waits for the answers, since what waits for one is told as well."""
    p.wait(lambda: set(calls) <= {getattr(answer, "call", 0) for answer in p.answers[since:]})


def apart(told: list[bytes]) -> list[bytes]:
    """Answers by their calls, and all else in its order: which of both comes first is time."""
    messages = [(getattr(decode_message(each), "call", 0), each) for each in told]
    return [each for _, each in sorted(messages, key=itemgetter(0))]


def shown(data: Data, programs: dict[str, Program], folder: Path) -> Iterator[list[bytes]]:
    """What the owner sends on each program."""
    duet, raw, bridge = attacked(LIMITS, data_dirs={"digits": str(folder)})
    try:
        for number, value in enumerate(data):
            duet.send(value, tags=[f"t{number}"])
        duet.requests.add_handler(name="loss", action="accept")
        duet.requests.add_handler(name="big", action="deny")
        raw.get(raw.op("torch.rand", 1))  # behind what was told of the store
        for made in programs.values():
            before = len(raw.received)
            looked_at(raw, made)
            raw.wait_for_end()
            yield apart(raw.told_bytes(before))
            raw.forget_all()
    finally:
        duet.close()
        bridge.close()


@pytest.mark.parametrize("subject", ALL)
def test_what_crosses_the_wire_is_the_same_of_two_data_sets(
    subject: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick, "TIMED_TICK_SECONDS", 0.001)  # all programs would wait for hours
    write_files(tmp_path)
    programs, data = ALL[subject]
    found = dict[str, str]()
    with torch.random.fork_rng(()):
        sides = [list(_drawn_alike(each, programs, tmp_path)) for each in data]
    for name, seen, also in zip(programs, *sides, strict=True):
        assert seen  # something was told at all
        other = [(a, b) for a, b in zip(seen, also, strict=False) if a != b]
        if other or len(seen) != len(also):
            first = [decode_message(each) for each in (other or [()])[0]]
            found[name] = f"{len(seen)} and {len(also)} messages, {first!r:.300}"
    assert not found


def _drawn_alike(data: Data, programs: dict[str, Program], folder: Path) -> Iterator[list[bytes]]:
    torch.manual_seed(1)  # for what a program uploads
    return shown(data, programs, folder)
