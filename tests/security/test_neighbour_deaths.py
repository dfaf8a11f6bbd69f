"""Engines that die of private values: what a partner sees of two data sets of which both die.

Where one of two data sets ends the engine and the other does not, that shows: the session is
suspended, and the owner decides when it goes on. What must not show is anything else: of which
values it died, when between two ticks, in which command, or of what.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.codec import decode_message, encode_message
from duet_p2p.wire.values import Ref
from tests.security.neighbour_kit import ONE, OTHER, choose, few, number
from tests.security.raw_peer import RawPeer, attacked

T = "torch.Tensor."
POWER = "torch.linalg.matrix_power"
FOR_EVER = 2**62 + 1
LIMITS = {"memory_bytes": 1 << 30}
Side = tuple[OwnerDuet, RawPeer, int]
"""The owner, the partner, and which of the two data sets it is."""
Death = Callable[[OwnerDuet, RawPeer, int], None]
DEATHS: dict[str, Death] = {}


def death(function: Death) -> Death:
    DEATHS[function.__name__] = function
    return function


def kill(duet: OwnerDuet) -> None:
    os.kill(duet.status()["engine"]["pid"], signal.SIGKILL)


def restarted(duet: OwnerDuet, p: RawPeer) -> None:
    """Ends an engine that is at rest, and waits for the next one."""
    before = len(p.told(wire.StoreSnapshot))
    rests = 0

    def is_at_rest() -> bool:
        nonlocal rests
        rests = rests + 1 if duet._service._host._running._page.read() is None else 0
        return rests > 20  # looks: what the owner shared may still be on its way there

    p.wait(is_at_rest)
    kill(duet)
    p.wait(lambda: len(p.told(wire.StoreSnapshot)) > before)


def kill_in(duet: OwnerDuet, p: RawPeer, name: str) -> None:
    """While it is at this, as the kernel does it, or the clock."""

    def runs() -> bool:
        running = duet._service._host._running._page.read()
        return running is not None and running.name == name

    p.wait(runs)
    kill(duet)


def square(p: RawPeer, of: Ref, size: int) -> Ref:
    """A matrix that depends on private values."""
    return p.op(T + "repeat", p.op(T + "expand", of, size, 4), 1, size // 4)


def endless(p: RawPeer, matrix: Ref) -> Ref:
    return p.op(POWER, matrix, FOR_EVER)


@death
def in_the_first_or_the_second_command(duet: OwnerDuet, p: RawPeer, which: int) -> None:
    small, large = p.op("torch.ones", 2, 2), p.op("torch.ones", 1600, 1600)
    chosen = choose(p, small, large), choose(p, large, small)
    p.wait_for_end()  # what is told of lists is told before
    for matrix in chosen:
        endless(p, matrix)
    kill_in(duet, p, POWER)


@death
def at_rest_or_in_a_public_command_once_sizes_are_private(
    duet: OwnerDuet, p: RawPeer, which: int
) -> None:
    """The memory that is left tells sizes, whatever the engine is at when there is none."""
    p.op("torch.ones_like", few(p))
    mine = p.op("torch.ones", 1600, 1600)
    p.wait_for_end()
    if which:
        endless(p, mine)
        kill_in(duet, p, POWER)
    else:
        p.new_id()  # ids are the same again afterwards
        kill(duet)


@death
def with_requests_and_answers_under_way(duet: OwnerDuet, p: RawPeer, which: int) -> None:
    mine, calls = p.put(torch.ones(2)), [next(p.calls) for _ in range(3)]
    matrix = square(p, choose(p, Ref(-1), p.put(torch.ones(4))), 1600)
    p.wait_for_end()
    p.send(
        wire.Op(POWER, (p.new_id(),), (matrix, FOR_EVER), {}, "g"),
        wire.Get(calls[0], mine.id),
        wire.Request(calls[1], matrix.id, "loss", "", None),
        wire.Request(calls[2], mine.id, "other", "", 0.0),
    )
    kill_in(duet, p, POWER)


def told(p: RawPeer) -> list[bytes]:
    """All that the owner sent, with the same epoch: a new engine takes one at random."""
    found = []
    for data in p.told_bytes():
        message: Any = decode_message(data)
        if hasattr(message, "epoch"):
            message = replace(message, epoch=bytes(16))
        found.append(encode_message(message))
    return found


@pytest.fixture(scope="module")
def sides() -> Iterator[list[Side]]:
    opened = [attacked(LIMITS) for _ in range(2)]
    for (duet, _, _), data in zip(opened, (ONE, OTHER), strict=True):
        for value in data:
            duet.send(value)
        duet.requests.add_handler(name="loss", action="accept")
    yield [(duet, raw, which) for which, (duet, raw, _) in enumerate(opened)]
    for duet, _, bridge in opened:
        duet.close()
        bridge.close()


@pytest.mark.slow
@pytest.mark.parametrize("name", DEATHS)
def test_two_data_sets_of_which_an_engine_dies_look_the_same(name: str, sides: list[Side]) -> None:
    for duet, raw, which in sides:
        raw.received.clear()
        raw.answers.clear()
        DEATHS[name](duet, raw, which)
    for duet, raw, _ in sides:
        raw.wait(lambda raw=raw: raw.told(wire.Suspended))
        raw.wait(lambda duet=duet: not duet._service.revival.is_under_way)
        raw.do("torch.manual_seed", 1)  # is dropped
        raw.wait_for_end()
        duet._service.revival._deaths.clear()  # so many in a minute would end the session
        assert duet.resume()
        raw.wait(lambda raw=raw: raw.told(wire.EngineRestarted))
        assert raw.is_free(raw.put(torch.ones(1)))
        assert not raw.is_free(number(raw))
    one, other = (told(raw) for _, raw, _ in sides)
    assert one == other


@pytest.mark.slow
def test_of_which_one_dies_shows_that_and_nothing_before_it(sides: list[Side]) -> None:
    """The control: all that was told before is the same, and then one is suspended."""
    seen = []
    for duet, raw, which in sides:
        raw.received.clear()
        raw.answers.clear()
        small, large = raw.op("torch.ones", 2, 2), raw.op("torch.ones", 1600, 1600)
        chosen = choose(raw, small, large)
        assert raw.is_free(raw.put(torch.ones(1)))
        endless(raw, chosen)
        if which:
            kill_in(duet, raw, POWER)
        mine = raw.put(torch.ones(1))
        call = next(raw.calls)
        raw.send(wire.Get(call, mine.id))
        raw.wait(lambda raw=raw, call=call: raw.told(wire.Suspended) or [
            m for m in raw.answers if getattr(m, "call", 0) == call])  # fmt: skip
        seen.append(told(raw))
    suspended = [any(isinstance(decode_message(d), wire.Suspended) for d in each) for each in seen]
    assert sorted(suspended) == [False, True]
    assert seen[0][:-1] == seen[1][:-1]
