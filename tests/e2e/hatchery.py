"""Where the processes of notebooks come from: forks of one that has imported torch and duet_p2p.

    python hatchery.py FD

It saves each of them three seconds of CPU. What comes out is a process as any other: its own
signals, streams, environment and end. Nothing of duet_p2p has run in the one that is forked, and it
has a single thread. Where there are no pidfds (macOS), each process is started the long way.
"""

from __future__ import annotations

import array
import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO, Any, Protocol

_CELLS = Path(__file__).with_name("cells.py")
_MESSAGE_BYTES = 1 << 20
_START_SECONDS = 100.0
"""For the first one, which waits for the imports."""


class Process(Protocol):
    """As much of `subprocess.Popen` as a notebook needs."""

    pid: int
    stdin: IO[bytes] | None

    def send_signal(self, sig: int) -> None: ...

    def wait(self, timeout: float | None = None) -> Any: ...


class Hatched:
    """A process that was forked; ended, its number is not used for another one by us."""

    def __init__(self, pid: int, stdin: IO[bytes]) -> None:
        self.pid = pid
        self.stdin: IO[bytes] | None = stdin
        self._pidfd: int | None = None
        with contextlib.suppress(ProcessLookupError):
            self._pidfd = os.pidfd_open(pid)

    def send_signal(self, sig: int) -> None:
        if self._pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, sig)

    def wait(self, timeout: float | None = None) -> None:
        if self._pidfd is None:
            return
        if not select.select([self._pidfd], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        os.close(self._pidfd)
        self._pidfd = None


class Hatchery:
    """This end; the process starts with the first egg and ends with the tests' process."""

    def __init__(self) -> None:
        self._link: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def hatch(self, link: socket.socket, output: IO[bytes], environment: dict[str, str]) -> Process:
        """A process that runs cells which come over the link, and prints to the output."""
        if not hasattr(os, "pidfd_open"):
            return subprocess.Popen(
                [sys.executable, "-u", str(_CELLS), str(link.fileno())],
                pass_fds=[link.fileno()],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        if self._link is None:
            self._link = self._open()
        theirs, ours = os.pipe()
        try:
            socket.send_fds(
                self._link,
                [json.dumps(environment).encode()],
                [link.fileno(), theirs, output.fileno()],
            )
            pid = int(self._link.recv(100) or b"-1")
        finally:
            os.close(theirs)
        assert pid > 0, "the hatchery ended"
        return Hatched(pid, os.fdopen(ours, "wb", buffering=0))

    def close(self) -> None:
        """Ends it; what was hatched goes on."""
        if self._link is not None and self._process is not None:
            self._link.close()
            self._process.wait(20)
            self._link = self._process = None

    def _open(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-u", str(Path(__file__)), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        ours.settimeout(_START_SECONDS)
        return ours


def main() -> None:
    """Forks until the other end closes; in a fork, runs its cells instead."""
    import cells
    import torch  # noqa: F401

    import duet_p2p  # noqa: F401

    link = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for them
    gc.collect()
    gc.freeze()
    while True:
        data, ancillary, _, _ = link.recvmsg(_MESSAGE_BYTES, socket.CMSG_SPACE(3 * 4))
        if not data:
            return
        fds = array.array("i")
        for _, _, part in ancillary:
            fds.frombytes(part)
        pid = os.fork()
        if pid == 0:
            break
        for fd in fds:
            os.close(fd)
        link.send(str(pid).encode())
    link.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(json.loads(data))
    cell_link, stdin, output = fds
    for fd, place in ((stdin, 0), (output, 1), (output, 2)):
        os.dup2(fd, place)
    for fd in (stdin, output):
        os.close(fd)
    cells.serve(cell_link)


if __name__ == "__main__":
    main()
