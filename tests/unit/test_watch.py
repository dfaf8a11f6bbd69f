"""When the engine's alarm rings, by a clock of the test's own."""

import signal

import pytest

from duet_p2p.engine import watch as watch_module
from duet_p2p.engine.watch import Page, ProcessWatch


class Clock:
    """What time it is, and when the alarm rings; None: never."""

    def __init__(self):
        self.now, self.rings = 1_000.0, None

    def set(self, timer, seconds):
        assert timer is signal.ITIMER_REAL
        self.rings = self.now + seconds if seconds else None

    @property
    def left(self):
        """Seconds until then."""
        return None if self.rings is None else pytest.approx(self.rings - self.now)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(watch_module, "monotonic", lambda: made.now)
    monkeypatch.setattr(signal, "setitimer", made.set)
    monkeypatch.setattr(signal, "signal", lambda *args: None)
    return made


@pytest.fixture
def page():
    made = Page()
    yield made
    made.close()


@pytest.fixture
def watch(page, clock):
    import os

    made = ProcessWatch(os.dup(page.fd))
    made.seconds, made.run_seconds = 32.0, 100.0
    return made


def test_each_command_has_its_time_and_a_part_more(watch, clock):
    watch.begin(1, "a")
    assert clock.left == 33
    clock.now += 0.5
    watch.begin(2, "b")
    assert clock.left == 32.5
    clock.now += 20
    watch.begin(3, "c")
    assert clock.left == 33


def test_the_commands_of_one_message_have_so_much_together(watch, page, clock):
    for left in (33, 33, 33, 33, 20, 0):
        watch.begin(7, "a")
        assert clock.left == left
        clock.now += 20
    assert page.is_run_over


def test_the_next_message_has_all_of_it(watch, page, clock):
    for _ in range(5):
        watch.begin(7, "a")
        clock.now += 20
    watch.begin(8, "a")
    assert clock.left == 33 and not page.is_run_over


def test_what_the_owners_side_wants_is_no_message(watch, clock):
    for _ in range(10):
        watch.begin(0, "Snapshot")
        assert clock.left == 33
        clock.now += 20


def test_a_message_has_less_than_a_command_where_the_owner_said_so(watch, page, clock):
    watch.run_seconds = 10.0
    watch.begin(1, "a")
    assert clock.left == 10 and page.is_run_over
    clock.now += 0.5
    watch.begin(1, "b")
    assert clock.left == 9.5
    watch.begin(2, "a")
    assert clock.left == 10
    watch.rest()
    assert clock.left is None and not page.is_run_over


@pytest.mark.parametrize(("seconds", "run_seconds", "left"), [(0, 0, None), (0, 50, 50), (9, 0, 9)])
def test_either_can_be_without_limit(watch, clock, seconds, run_seconds, left):
    watch.seconds, watch.run_seconds = seconds, run_seconds
    watch.begin(1, "a")
    assert clock.left == (left if left != 9 else 9 + 9 / 32)
    clock.now += 40
    watch.begin(1, "b")
    assert clock.left == (10 if left == 50 else left if left != 9 else 9 + 9 / 32)


def test_a_message_is_public_as_long_as_its_commands_were(watch, page):
    watch.begin(1, "a")
    watch.is_public()
    watch.begin(1, "b")
    watch.is_public()
    assert not page.was_private_before
    watch.begin(1, "c")
    assert not page.was_private_before
    watch.begin(1, "d")
    watch.is_public()
    assert page.was_private_before and page.read().is_public
    watch.begin(2, "a")
    assert not page.was_private_before
