"""Processes that have no descriptors left: nothing hangs, and all goes on when there are some.

The limit of this process, which is the owner's and the scientist's, is set to what is in use, in
the middle of each kind of work; or that of the engine's process is low from its start.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from duet_p2p.engine.host import ProcessHost
from duet_p2p.errors import DuetError
from tests.surface.joined import Joined, joined, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc"),
]

X = torch.arange(1_000.0)
LARGE = 300_000  # numbers
SECONDS = 60.0
Work = Callable[[Joined], Callable[[], Any]]
WORK: dict[str, Work] = {}


def part(work: Work) -> Work:
    """Begins when there are no descriptors; what it gives waits for the end of that."""
    WORK[work.__name__] = work
    return work


@contextmanager
def no_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        with pytest.raises(OSError):
            os.dup(0)
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def engine_pid(both: Joined) -> int:
    pid: int = both.owner.status()["engine"]["pid"]
    return pid


@part
def upload(both: Joined) -> Callable[[], Any]:
    sent = torch.ones(LARGE).send(both.scientist)
    return lambda: sent.sum().get() == LARGE


@part
def uploads_in_a_row(both: Joined) -> Callable[[], Any]:
    sent = [torch.full([30_000], float(n)).send(both.scientist) for n in range(40)]
    return lambda: [p.max().get().item() for p in sent] == list(range(40))


@part
def download(both: Joined) -> Callable[[], Any]:
    value = both.scientist.torch.ones(LARGE)
    asked = value.request(reason="large")
    time.sleep(0.3)

    def got() -> bool:
        asked.wait(SECONDS)
        return bool(asked.released().sum() == LARGE)

    return got


@part
def request(both: Joined) -> Callable[[], Any]:
    asked = both.scientist.store["x"].sum().request(reason="sum", name="sum")
    until(lambda: both.owner.requests.requests)
    both.owner.requests[0].accept()

    def got() -> bool:
        asked.wait(SECONDS)
        return bool(asked.released() == X.sum())

    return got


@part
def the_owners_own_send(both: Joined) -> Callable[[], Any]:
    handle = both.owner.send(torch.ones(LARGE), tags=["large"])
    return lambda: handle.get().sum() == LARGE


@part
def the_owners_look_at_what_is_not_its_own(both: Joined) -> Callable[[], Any]:
    torch.ones(LARGE).tag("theirs").send(both.scientist)
    until(lambda: len(both.owner.store) == 2)
    theirs = both.owner.store["theirs"]
    assert theirs.get().sum() == LARGE
    return lambda: theirs.get().sum() == LARGE


@part
def engine_restart(both: Joined) -> Callable[[], Any]:
    before = engine_pid(both)
    os.kill(before, signal.SIGKILL)
    time.sleep(1.0)
    until(lambda: both.owner._service.revival.is_under_way)
    return lambda: until(lambda: both.owner.is_open and engine_pid(both) != before)


@pytest.fixture
def both() -> Iterator[Joined]:
    with joined(host=ProcessHost()) as made:
        made.owner.send(X, tags=["x"])
        until(lambda: len(made.scientist.store) == 1)
        yield made


@pytest.mark.parametrize("name", WORK)
def test_an_owner_without_descriptors_goes_on_when_there_are_some(both: Joined, name: str) -> None:
    finish = None
    with no_descriptors():
        try:
            finish = WORK[name](both)
        except (DuetError, OSError) as error:
            print(name, repr(error))  # said to whoever asked
    try:
        assert finish is None or finish()
    except DuetError as error:
        print(name, repr(error))
    until(lambda: both.owner._service._is_up and both.scientist.is_open)
    both.owner.resume()  # an engine whose answer had lost its file was ended, at whatever it was
    until(lambda: both.answers())
    assert torch.equal(both.owner.store[0].get(), X)
    for again in WORK.values():
        if again is not engine_restart and again is not the_owners_look_at_what_is_not_its_own:
            assert again(both)(), again.__name__


def test_uploads_that_are_kept_leave_descriptors_for_a_frame_with_many() -> None:
    """A map keeps one for as long as it lives; a frame without its files ended the engine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with joined(host=ProcessHost()) as both:
            until(lambda: both.owner._service.started)
            pid = engine_pid(both)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (256, 256))
            kept = [torch.ones(20_000).send(both.scientist) for _ in range(260)]
            assert kept[-1].sum().get() == 20_000
            os.kill(pid, signal.SIGSTOP)
            rest = [torch.ones(1_500).send(both.scientist) for _ in range(200)]  # the pipe is full
            more = [torch.ones(20_000).send(both.scientist) for _ in range(40)]
            time.sleep(1.0)
            os.kill(pid, signal.SIGCONT)
            assert more[-1].sum().get() + rest[0].sum().get() == 21_500
            assert both.owner.errors == [] and engine_pid(both) == pid
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
