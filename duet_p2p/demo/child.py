"""One process of the demo: started, watched line by line, and ended by whoever shows it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

from duet_p2p.demo.part import START

__all__ = ["Child", "interrupts_wait"]

END_SECONDS = 8.0
"""From the interrupt to SIGTERM, and from there to SIGKILL."""


@contextlib.contextmanager
def interrupts_wait() -> Iterator[None]:
    """Ctrl-C inside comes at the end: a process must not be started and then lost."""
    seen: list[int] = []
    before = signal.signal(signal.SIGINT, lambda signum, frame: seen.append(signum))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if seen:
        raise KeyboardInterrupt


class Child:
    """A Python process whose output appears here with a name before each line.

    It gets a session of its own, so that Ctrl-C in the terminal reaches only the demo, which then
    ends the processes one after the other.
    """

    def __init__(self, name: str, arguments: list[str], show: Callable[[str, str], None]) -> None:
        self.name = name
        self.lines: list[str] = []
        self._show = show
        self._news = threading.Condition()
        self._prompt: str | None = None
        # an interpreter that Ctrl-C meets in its own first imports would print a traceback
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-c", START, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._reader = threading.Thread(target=self._read, name=f"demo-{name}", daemon=True)
        self._reader.start()

    def find(self, pattern: str, timeout: float) -> str:
        """The first group of the first line that matches, once it is printed.

        Raises:
            SystemExit: the process ended, or printed nothing like it in `timeout` seconds.
        """
        compiled = re.compile(pattern)

        def found() -> re.Match[str] | None:
            return next((m for line in self.lines if (m := compiled.search(line))), None)

        with self._news:
            self._news.wait_for(lambda: found() or not self._reader.is_alive(), timeout)
            match = found()
        if match is None:
            raise SystemExit(f"The {self.name} did not get as far as {pattern!r}; see above.")
        return match[1]

    def answer(self, text: str, timeout: float) -> None:
        """Types a line at the process's prompt, as a person would."""
        with self._news:
            self._news.wait_for(lambda: self._prompt or not self._reader.is_alive(), timeout)
            prompt, self._prompt = self._prompt, None
        if prompt is None or self._process.stdin is None:
            raise SystemExit(f"The {self.name} asked for nothing; see above.")
        self._show(self.name, prompt + text)
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs after `timeout` seconds.
        """
        code = self._process.wait(timeout)
        self._reader.join(END_SECONDS)
        return code

    def is_running(self) -> bool:
        """Whether the process has not ended yet."""
        return self._process.poll() is None

    def end(self) -> int:
        """Interrupts, then terminates, then kills, with a wait after each; the exit code."""
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            self._process.send_signal(signum)
            try:
                self._process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        self._reader.join(END_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not self._reader.is_alive():
                with contextlib.suppress(OSError):  # an answer that was not read any more
                    pipe.close()
        return self._process.wait(END_SECONDS)

    def _read(self) -> None:
        assert self._process.stdout is not None
        descriptor, rest = self._process.stdout.fileno(), b""
        while chunk := os.read(descriptor, 65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._tell(line.decode(errors="replace"))
            if rest.endswith(b": "):  # a prompt has no line end
                with self._news:
                    self._prompt = rest.decode(errors="replace")
                    self._news.notify_all()
                rest = b""
        if rest:
            self._tell(rest.decode(errors="replace"))
        with self._news:
            self._news.notify_all()

    def _tell(self, line: str) -> None:
        with self._news:
            self.lines.append(line)
            self._news.notify_all()
        self._show(self.name, line)
