"""The engine's process: ``python -m duet_p2p.engine.child FD PARENT PAGE``.

One thread: read commands, run them, write events. It ends when the socket closes, and with its
parent even in the middle of a long operation. It does not end on Ctrl-C in the owner's terminal:
that interrupts the owner's cell, not the session.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import select
import signal
import socket
import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from duet_p2p.engine.messages import Configure, Event
    from duet_p2p.engine.pipe import FrameReader, Outgoing
    from duet_p2p.engine.watch import ProcessWatch

__all__ = ["main"]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_FILES: Final = 65_536  # each upload that is mapped keeps a descriptor
_UNHELD: Final = (TypeError, ValueError, MemoryError, EOFError, OSError)
"""Too much for a frame; or no descriptor for its bytes, or fewer bytes than there should be."""


def main(fd: int, parent: int, page: int) -> int:
    """Serve the socket with this descriptor until it closes; tell the page what runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _harden()
    if os.getppid() != parent:
        return 0  # the parent died before it could be watched
    # Loaded here: whatever fails from now on fails in a process that is hardened and watched.
    from duet_p2p.engine import heap, landlock, pipe
    from duet_p2p.engine.messages import Configure
    from duet_p2p.engine.watch import ProcessWatch

    heap.keep_freed_memory()
    warnings.simplefilter("default")  # to stderr, which is the owner's log
    reader = pipe.FrameReader()
    with (
        socket.socket(fileno=fd) as sock,
        contextlib.suppress(BrokenPipeError, ConnectionResetError),
    ):
        commands = list(pipe.receive(sock, reader) or ())
        first = commands[0] if commands else None
        if not isinstance(first, Configure):
            return 0
        # Before torch: its threads, which begin when it is loaded, are to be closed off as well.
        is_for_reads = bool(first.quotas.get("closed_reads", 0))
        closed = landlock.close_files(first.data_dirs.values() if is_for_reads else None)
        watch = ProcessWatch(page)
        watch.seconds = first.quotas.get("command_seconds", 0)
        watch.run_seconds = first.quotas.get("run_seconds", 0)
        return _serve(sock, reader, commands, first, watch, closed and is_for_reads)
    return 0


def _serve(
    sock: socket.socket,
    reader: FrameReader,
    commands: Iterable[Any] | None,
    first: Configure,
    watch: ProcessWatch,
    are_files_closed: bool,
) -> int:
    """Run commands until the socket closes."""
    from duet_p2p import limits
    from duet_p2p.engine import confinement, pipe
    from duet_p2p.engine.engine import Engine
    from duet_p2p.engine.messages import Stop
    from duet_p2p.surface import compiler

    # Hundreds of thousands of small objects live as long as their pointers: looking through all of
    # them after every 700 new ones would double the time of an operation.
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    confinement.widen_stack()
    confinement.close_off()
    confinement.limit_memory(first.quotas.get("memory_bytes", 0))
    confinement.limit_cpu(first.quotas.get("cpu_seconds", 0))
    compiler.stand_in()
    compiler.preload()
    engine = Engine(is_alone=True, watch=watch, are_files_closed=are_files_closed)
    look = select.poll()
    look.register(sock, select.POLLIN)
    late: list[Event] = []  # what nobody waits for: behind the next answers, or when all is quiet
    while commands is not None:
        finished: list[Event] = []
        for command in commands:
            if isinstance(command, Stop):
                return 0
            events = engine.handle(command)
            if events:  # else nobody waits
                pipe.send(sock, _encoded(events))
                events = []
            finished += engine.finish()
        if late:
            pipe.send(sock, _encoded(late))
        late = finished
        spare = engine.files.spare
        while spare.is_due and not look.poll(0):
            spare.prepare()  # at once: the next value is asked for as soon as this one is there
        if (late or engine.is_untidy) and not look.poll(limits.REST_SECONDS * 1000):
            if late:
                pipe.send(sock, _encoded(late))
                late = []
            engine.tidy()
        commands = pipe.receive(sock, reader)
    return 0


def _encoded(events: list[Event]) -> Outgoing:
    """One frame of events. What no frame can hold is refused, so that nothing ends the engine."""
    from duet_p2p.engine import pipe
    from duet_p2p.engine.reserve import RESERVE, again

    try:
        return again(lambda: pipe.encode(events))
    except _UNHELD:
        with RESERVE:
            try:
                return pipe.encode([_held(event) for event in events])
            except OSError as error:  # each by itself, and no descriptors for all of them
                return pipe.encode([_refused(event, error) or event for event in events])


def _held(event: Event) -> Event:
    """An event that a frame can hold."""
    from duet_p2p.engine import pipe

    try:
        pipe.encode([event]).close()
    except _UNHELD as error:
        refused = _refused(event, error)
        if refused is None:
            raise
        return refused
    return event


def _refused(event: Event, error: Exception) -> Event | None:
    """The same event without what no frame can hold; None if it has nothing of that kind."""
    from duet_p2p.engine.messages import Bytes, Candidate, Described, Refused

    if isinstance(event, Bytes):
        return Refused(event.call, f"{type(error).__name__}: {error}")
    if isinstance(event, Candidate):
        return Candidate(event.call, None, None, False)
    if isinstance(event, Described):
        return Described(event.call)
    return None


def _harden() -> None:
    """No core dump may hold private data, and no orphan may keep it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    with contextlib.suppress(ValueError, OSError):  # a platform with a lower limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # not dumpable: other processes of the same user cannot attach and read either
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
