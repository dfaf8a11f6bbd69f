"""A program in a process of its own, whose prompts a test answers as a person would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["Script"]

ROOT = Path(__file__).resolve().parents[2]


class Script:
    """One running Python file; what it prints goes to a file beside its home."""

    def __init__(self, path: Path, home: Path, *arguments: str, **environment: str) -> None:
        self.name = path.stem
        self._output = home / f"{path.stem}.out"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-u", str(path), *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=home,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),  # this checkout, wherever the package is installed
                    "OMP_NUM_THREADS": "1",  # up to six processes at once on a small machine
                    "DUET_HOME": str(home / "duet"),
                    **environment,
                },
            )

    def printed(self) -> str:
        """Everything so far, errors included."""
        return self._output.read_text(errors="replace")

    def wait_for_print(self, pattern: str, timeout: float, count: int = 1) -> str:
        """The first group of the match number `count`, as soon as it is printed."""
        deadline = time.monotonic() + timeout
        while len(found := re.findall(pattern, self.printed(), re.MULTILINE)) < count:
            assert self._process.poll() is None, f"{self.name} ended:\n{self.printed()}"
            assert time.monotonic() < deadline, f"{self.name}: no {pattern!r}\n{self.printed()}"
            time.sleep(0.05)
        text: str = found[count - 1]
        return text

    def type_line(self, text: str) -> None:
        """Types at the prompt."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()

    def wait(self, timeout: float) -> int:
        """The exit code."""
        return self._process.wait(timeout)

    def kill(self) -> None:
        """Ends what still runs, after a test that failed."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        assert self._process.stdin is not None
        self._process.stdin.close()
