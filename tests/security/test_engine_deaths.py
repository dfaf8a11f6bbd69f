"""A scientist who ends the engine twenty times: what it leaves in the owner's process, and of work.

Each time an upload, a download, a request, a plan and the owner's own look are under way. All of
them end in an error of ours or with their value, and none is waited for in vain.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from duet_p2p import limits
from duet_p2p.engine.host import ProcessHost
from duet_p2p.errors import DuetError, SessionLost
from tests.surface.joined import Joined, joined, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts in /proc"),
]

TIMES = 20
X = torch.arange(1_000.0)
NUMBERS = 500_000
MIB = 1024 * 1024
SECONDS = 60.0
POWER = 2**62 + 1
KEPT_THREADS = 8  # fewer than there are deaths


def children() -> int:
    """Processes of this one, those that ended and were not waited for too."""
    tasks = Path("/proc/self/task")
    return sum(len((task / "children").read_text().split()) for task in tasks.iterdir())


def counts() -> tuple[int, int, int]:
    """Descriptors, threads and processes that there are."""
    return len(os.listdir("/proc/self/fd")), threading.active_count(), children()


def is_as_before(first: tuple[int, int, int]) -> bool:
    """Whether there are no more than then; threads that a loop keeps for later work may be."""
    files, threads, processes = counts()
    return files <= first[0] and threads <= first[1] + KEPT_THREADS and processes <= first[2]


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def killed(both: Joined) -> None:
    """As the kernel does it where a machine's memory is used up, to an engine at rest.

    One that works on private data, as it does for each request, would suspend the session.
    """
    until(lambda: both.owner._service._host._running._page.read() is None)  # type: ignore[attr-defined]
    os.kill(both.owner.status()["engine"]["pid"], signal.SIGKILL)


def endless(both: Joined) -> None:
    ones = both.scientist.torch.ones(1_500, 1_500)
    both.scientist.torch.linalg.matrix_power(ones, POWER)
    both.scientist._client.flush()


def endless_on_private_data(both: Joined) -> None:
    square = both.scientist.store["x"].expand(1_000, 1_000).repeat(2, 2)
    both.scientist.torch.linalg.matrix_power(square, POWER)
    both.scientist._client.flush()


DEATHS = (killed, endless, endless_on_private_data)


def under_way(both: Joined) -> list[Callable[[], Any]]:
    """What is begun when the engine ends, each as something that waits for it."""
    duet = both.scientist
    large = duet.torch.ones(NUMBERS)
    asked = large.request(reason="large")
    waiting = duet.store["x"].sum().request(reason="sum", name="sum")
    sent = torch.ones(NUMBERS).send(duet)

    @duet.step
    def doubled(value: Any) -> Any:
        return value + value

    planned = doubled(sent)
    until(lambda: len(both.owner.requests.requests) == 1)
    look = both.owner.requests[0]

    def released(request: Any) -> Any:
        request.wait(SECONDS)
        return request.released()

    return [
        lambda: released(asked),
        lambda: released(waiting),
        lambda: sent.sum().get(),
        lambda: planned.sum().get(),
        lambda: look.value,
        lambda: torch.ones(NUMBERS).send(duet).sum().get(),
    ]


def died(both: Joined, number: int) -> None:
    """One more death; until the next engine is up and nothing of the old one is waited for."""
    before = len(both.owner.errors)
    waits = under_way(both)
    DEATHS[number % len(DEATHS)](both)
    told: list[Any] = []
    threads = [threading.Thread(target=ended_by, args=(wait, told)) for wait in waits]
    for thread in threads:
        thread.start()
    until(lambda: len(both.owner.errors) > before)
    until(lambda: not both.owner._service.revival.is_under_way)
    assert both.owner.is_open, both.owner.errors[-1]
    is_suspended = both.owner.resume()
    assert is_suspended == (DEATHS[number % len(DEATHS)] is endless_on_private_data)
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads)
    assert len(told) == len(waits)
    wrong = [t for t in told if isinstance(t, BaseException) and not isinstance(t, DuetError)]
    assert wrong == []


def ended_by(wait: Callable[[], Any], told: list[Any]) -> None:
    try:
        told.append(wait())
    except BaseException as error:
        told.append(error.with_traceback(None))


def works(both: Joined) -> None:
    duet = both.scientist
    until(lambda: both.answers() and len(duet.store) == 1)
    wanted = duet.store["x"].sum()
    asked = wanted.request(reason="how many", name="sum")
    until(lambda: len(both.owner.requests.requests) == 1)
    both.owner.requests[0].accept()
    asked.wait(SECONDS)
    assert asked.released() == X.sum()
    assert torch.ones(NUMBERS).send(duet).sum().get() == NUMBERS
    assert torch.equal(both.owner.store[0].get(), X)


def test_twenty_engines_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ENGINE_RESTART_SECONDS", 0.0)  # else the fifth ends the session
    with joined(host=ProcessHost(), limits={"command_seconds": 1}) as both:
        both.owner.send(X, tags=["x"])
        for number in range(TIMES):
            works(both)
            if number == len(DEATHS):  # each kind has left what it leaves once
                first, memory = counts(), resident_bytes()
            died(both, number)
        works(both)
        until(lambda: is_as_before(first))
        assert resident_bytes() - memory < 64 * MIB
        assert [m for m in both.owner._session.transfers.moving()] == []
        assert both.owner._service._uploads.under_way == 0


def test_the_sixth_in_a_minute_ends_the_session_and_says_so() -> None:
    with joined(host=ProcessHost()) as both:
        both.owner.send(X, tags=["x"])
        for number in range(limits.ENGINE_RESTARTS + 1):
            until(lambda: not both.owner._service.revival.is_under_way)
            until(lambda: both.owner._service._is_up)
            killed(both)
            until(lambda n=number: len(both.owner.errors) > n)
        until(lambda: not both.owner.is_open)
        assert any("again and again" in error.text for error in both.owner.errors)
        with pytest.raises(SessionLost, match="again and again"):
            both.owner.send(X)
        until(lambda: not both.scientist.is_open)
        with pytest.raises(DuetError):
            both.scientist.torch.ones(1).get()
