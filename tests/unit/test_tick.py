"""Answers behind an operation of value-dependent time wait for a tick."""

from __future__ import annotations

import asyncio

import pytest

from duet_p2p.engine.messages import Died, Event, Hold, SettledUpTo
from duet_p2p.limits import TIMED_TICK_SECONDS
from duet_p2p.owner.tick import Tick


class Loop:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 10.06
        self.timers: list[tuple[float, object]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback):
        self.timers.append((when, callback))
        return asyncio.TimerHandle(when, callback, (), self)  # type: ignore[arg-type]

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """What a loop keeps count of; asyncio asks it when a timer is cancelled."""

    def get_debug(self) -> bool:
        return False

    def until(self, when: float) -> None:
        self.now = when
        while self.timers and self.timers[0][0] <= when:
            self.timers.pop(0)[1]()


@pytest.fixture
def got() -> list[Event]:
    return []


@pytest.fixture
def loop():
    return Loop()


def test_nothing_waits_where_nothing_was_timed(got, loop):
    Tick(got.append, loop).event(SettledUpTo(1))
    assert got == [SettledUpTo(1)]


@pytest.mark.parametrize("end", [10.01, 10.13, 10.2499])
def test_wherever_an_engine_died_of_private_values_that_is_told_on_the_same_tick(got, loop, end):
    loop.now = end
    died = Died("it took too long", was_private=True)
    Tick(got.append, loop).event(died)
    loop.until(10.2499)
    assert got == []
    loop.until(10.25)
    assert got == [died]


def test_a_death_on_nothing_private_is_told_at_once(got, loop):
    Tick(got.append, loop).event(Died("it took too long"))
    assert len(got) == 1


@pytest.mark.parametrize("end", [10.01, 10.13, 10.2499])
def test_wherever_an_operation_ended_its_answers_come_on_the_same_tick(got, loop, end):
    loop.now = end
    tick = Tick(got.append, loop)
    tick.event(Hold())
    tick.event(SettledUpTo(1))
    loop.until(10.2499)
    assert not got
    loop.until(10.25)
    assert got == [SettledUpTo(1)]


def test_what_is_asked_after_the_end_does_not_overtake_the_tick(got, loop):
    tick = Tick(got.append, loop)
    tick.event(Hold())
    loop.until(10.2)
    tick.event(SettledUpTo(1))
    assert not got
    loop.until(10.25)
    tick.event(SettledUpTo(2))
    assert got == [SettledUpTo(1), SettledUpTo(2)]


def test_a_second_operation_moves_only_what_comes_after_it(got, loop):
    tick = Tick(got.append, loop)
    tick.event(Hold())
    tick.event(SettledUpTo(1))
    loop.now = 10.3  # the timer is late
    tick.event(Hold())
    tick.event(SettledUpTo(2))
    loop.until(10.3)
    assert got == [SettledUpTo(1)]
    loop.until(10.5)
    assert got == [SettledUpTo(1), SettledUpTo(2)]


def test_the_end_of_the_session_forgets_nothing(got, loop):
    tick = Tick(got.append, loop)
    tick.event(Hold())
    tick.event(SettledUpTo(1))
    tick.close()
    assert got == [SettledUpTo(1)]
    assert TIMED_TICK_SECONDS == 0.25
