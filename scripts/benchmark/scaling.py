"""Several pairs at once on one machine: each is a process that is told to chain operations."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from scripts.benchmark.operations import chain
from scripts.benchmark.pair import get, pair
from scripts.benchmark.rows import Report

__all__ = ["measure"]

_LENGTH = 500
_ROUNDS = 4
_SECONDS = 180
_PAIR_BYTES = 1_500_000_000  # owner, engine and scientist, roughly


def measure(report: Report, *, most: int) -> None:
    """Operations per second of all pairs together, as a curve."""
    count = 1
    while count <= most:
        if _available() < count * _PAIR_BYTES:
            report.skipped[f"{count} pairs"] = "not enough memory"
            return
        report.point("pairs", count, _together(count))
        count *= 2


def _available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    return 0


def _together(count: int) -> float:
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", __spec__.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for _ in range(count)
    ]
    try:
        deadline = time.monotonic() + _SECONDS
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        started = time.perf_counter()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "done\n"
        seconds = time.perf_counter() - started
        for process in processes:
            process.wait(max(1, deadline - time.monotonic()))
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
    return count * _LENGTH * _ROUNDS / seconds


def _one() -> None:
    with pair() as session:
        x = session.duet.torch.ones(10)
        get(chain(x, _LENGTH))
        print("ready", flush=True)
        sys.stdin.readline()
        for _ in range(_ROUNDS):
            get(chain(x, _LENGTH))
        print("done", flush=True)


if __name__ == "__main__":
    _one()
