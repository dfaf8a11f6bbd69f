"""Two-process tests: each `Notebook` is a real process that runs cells."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import textwrap
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.e2e.hatchery import Hatchery

HATCHERY = Hatchery()
"""One for each process that runs tests."""
atexit.register(HATCHERY.close)


class CellError(AssertionError):
    """A cell raised; `kind` is the exception's class name."""

    def __init__(self, kind: str, text: str, trace: str) -> None:
        super().__init__(f"{kind}: {text}\n{trace}")
        self.kind = kind
        self.text = text


class Notebook:
    """One process with a lasting namespace; cells run one after the other."""

    def __init__(self, name: str, home: Path, **environment: str) -> None:
        self.name = name
        self.output = home / f"{name}.out"
        ours, theirs = socket.socketpair()
        with theirs, self.output.open("wb") as output:
            everything = {**os.environ, "DUET_HOME": str(home / "duet"), **environment}
            self.process = HATCHERY.hatch(theirs, output, everything)
        self._stream = ours.makefile("rw")
        self._socket = ours
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"cells-{name}")

    def start(self, code: str) -> Future[Any]:
        """Runs a cell; its value comes later."""
        return self._thread.submit(self._run, textwrap.dedent(code))

    def run(self, code: str, timeout: float = 100) -> Any:
        """Runs a cell and waits for the value of its last expression."""
        return self.start(code).result(timeout)

    def type_line(self, text: str) -> None:
        """Types at the prompt that the running cell shows."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def printed(self) -> str:
        """Everything printed so far."""
        return self.output.read_text(errors="replace")

    def wait_for_print(self, pattern: str, timeout: float = 30) -> str:
        """The first match in what was printed; printing runs in a thread of its own."""
        deadline = time.monotonic() + timeout
        while not (found := re.search(pattern, self.printed())):
            assert time.monotonic() < deadline, f"{pattern!r} was not printed:\n{self.printed()}"
            time.sleep(0.02)
        return found[0]

    def signal(self, signum: int) -> None:
        self.process.send_signal(signum)

    def close(self) -> None:
        """Ends the process as the end of its input does; kills it if that takes over 30 s.

        A process that a test has killed is just cleaned up after.
        """
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)
            raise AssertionError(f"{self.name} did not end:\n{self.printed()}") from None
        finally:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self._thread.shutdown(wait=True, cancel_futures=True)
            with contextlib.suppress(OSError):  # an unsent rest, for a process that is gone
                self._stream.close()
            self._socket.close()

    def _run(self, code: str) -> Any:
        self._stream.write(json.dumps({"code": code}) + "\n")
        self._stream.flush()
        line = self._stream.readline()
        if not line:
            raise AssertionError(f"{self.name} ended:\n{self.printed()}")
        answer = json.loads(line)
        if "error" in answer:
            raise CellError(answer["error"], answer["text"], answer["trace"])
        return answer["value"]
