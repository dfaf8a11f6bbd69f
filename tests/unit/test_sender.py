"""Commands to an engine's process while the system is short of descriptors, memory or threads."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from duet_p2p.engine import messages as m
from duet_p2p.engine import pipe, sender
from duet_p2p.engine.departure import Departure
from duet_p2p.engine.host import ProcessHost
from duet_p2p.engine.landing import Landing
from duet_p2p.engine.sender import Sender

NBYTES = 100_000
LARGE = 400_000  # goes through a thread
EMFILE = OSError(errno.EMFILE, "Too many open files")


class End:
    """A sender, and what comes out of its socket."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        for end in (ours, self.theirs):
            end.setblocking(False)
        self.ours = ours
        self.failures: list[str] = []
        self.reader = pipe.FrameReader()
        self.sender = Sender(asyncio.get_running_loop(), ours, self.failures.append)

    async def told(self, count: int) -> list[Any]:
        found: list[Any] = []
        async with asyncio.timeout(30):
            while len(found) < count:
                try:
                    found += pipe.receive(self.theirs, self.reader) or ()
                except BlockingIOError:
                    await asyncio.sleep(0.005)
        return found

    async def failed(self) -> str:
        async with asyncio.timeout(30):
            while not self.failures:
                await asyncio.sleep(0.005)
        return self.failures[0]


@pytest.fixture
async def end(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[End]:
    monkeypatch.setattr(sender, "PIPE_SHORT_LOOK_SECONDS", 0.005)
    made = End()
    yield made
    made.sender.close()
    made.ours.close()
    made.theirs.close()


def failing(times: int, error: Exception, real: Callable[..., Any]) -> Callable[..., Any]:
    """A function that raises so often, and then does what it did."""
    left = [times]

    def call(*args: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return real(*args)

    return call


def landing(fill: int, nbytes: int = NBYTES) -> Landing:
    made = Landing(nbytes)
    made.write(0, bytes([fill]) * nbytes)
    return made


@pytest.mark.parametrize("nbytes", [NBYTES, LARGE])
async def test_what_finds_no_descriptor_is_tried_again_in_its_place(
    end: End, monkeypatch: pytest.MonkeyPatch, nbytes: int
) -> None:
    monkeypatch.setattr(pipe, "encode", failing(3, EMFILE, pipe.encode))
    end.sender.send(m.Arrived(1, landing(5, nbytes)))
    end.sender.send(m.Drop((2,)))
    end.sender.send(m.Drop((3,)))
    first, *rest = await end.told(3)
    assert bytes(first.data.map()) == bytes([5]) * nbytes
    assert rest == [m.Drop((2,)), m.Drop((3,))] and end.failures == []


@pytest.mark.parametrize("error", [errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM])
async def test_what_the_socket_does_not_take_now_is_tried_again(
    end: End, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Descriptors on their way are limited too, for all processes of a user together."""
    refused = OSError(error, os.strerror(error))
    monkeypatch.setattr(socket, "send_fds", failing(3, refused, socket.send_fds))
    end.sender.send(m.Arrived(1, landing(5)))
    end.sender.send(m.Drop((2,)))
    first, second = await end.told(2)
    assert bytes(first.data.map()) == bytes([5]) * NBYTES
    assert second == m.Drop((2,)) and end.failures == []


@pytest.mark.parametrize("nbytes", [NBYTES, LARGE])
async def test_what_lasts_is_said(end: End, monkeypatch: pytest.MonkeyPatch, nbytes: int) -> None:
    monkeypatch.setattr(sender, "PIPE_SHORT_SECONDS", 0.05)
    monkeypatch.setattr(pipe, "encode", failing(10**9, EMFILE, pipe.encode))
    end.sender.send(m.Arrived(1, landing(5, nbytes)))
    said = await end.failed()
    assert said.startswith("a command could not be written: ") and "Too many open files" in said


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
async def test_no_other_error_of_writing_is_passed_over(
    end: End, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(pipe, "encode", failing(1, error, pipe.encode))
    end.sender.send(m.Arrived(1, landing(5, LARGE)))
    assert (await end.failed()).startswith("a command could not be written")
    end.sender.send(m.Arrived(1, landing(5)))  # nobody takes it, and nothing is raised


async def test_an_end_of_the_other_side_is_for_the_reader(end: End) -> None:
    end.theirs.close()
    end.sender.send(m.Drop((1,)))
    end.sender.send(m.Arrived(1, landing(5, LARGE)))
    await asyncio.sleep(0.05)
    assert end.failures == []


def test_a_frame_that_was_not_made_leaves_its_files_for_the_next_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    departing = Departure.holding([memoryview(bytes(NBYTES))], NBYTES)
    items = [m.Arrived(1, landing(1)), m.Share(-1, None, departing, "", (), "", True)]
    monkeypatch.setattr(Departure, "descriptor", failing(1, EMFILE, Departure.descriptor))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with pytest.raises(OSError, match="Too many"):
        pipe.encode(items)
    outgoing = pipe.encode(items)
    assert len(outgoing.fds) == 2
    outgoing.close()
    if before:
        assert len(os.listdir("/proc/self/fd")) == before - 1  # the landing's


def test_a_frame_that_nobody_takes_closes_its_descriptors() -> None:
    """As when an engine ends while another thread writes a large value for it."""
    outgoing = pipe.encode([m.Arrived(1, landing(1))])
    (fd,) = outgoing.fds
    del outgoing
    with pytest.raises(OSError):
        os.fstat(fd)


async def test_an_engine_that_cannot_be_written_to_ends_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host, events = ProcessHost(), asyncio.Queue[Any]()
    host.on_event = events.put_nowait
    await host.start(m.Configure({}, {}, 1))
    monkeypatch.setattr(sender, "PIPE_SHORT_SECONDS", 0.05)
    monkeypatch.setattr(pipe, "encode", failing(10**9, EMFILE, pipe.encode))
    host.send(m.Arrived(1, landing(5)))
    async with asyncio.timeout(30):
        died = await events.get()
    assert isinstance(died, m.Died) and "could not be written" in died.reason
    await host.stop()
