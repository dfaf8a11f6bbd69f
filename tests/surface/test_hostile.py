"""Hostile whole numbers in the arguments of every name on the surface: no process dies of them, and
nothing that was not written is read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 900


def start(path: Path, perturb: str) -> subprocess.Popen[bytes]:
    # freed and fresh memory is filled with this byte, so what is read unwritten differs
    environment = os.environ | {"MALLOC_PERTURB_": perturb, "PYTHONPATH": ":".join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.surface.hostile", str(path)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=path.with_suffix(".err").open("wb"),
    )


@pytest.mark.slow
@pytest.mark.skipif("DUET_HOSTILE" not in os.environ, reason="takes minutes: set DUET_HOSTILE=1")
@pytest.mark.timeout(SECONDS + 60)
def test_no_number_kills_a_process_or_reads_memory_that_nobody_wrote(tmp_path: Path) -> None:
    logs = [tmp_path / "0", tmp_path / "165"]
    running = [start(log, log.name) for log in logs]
    try:
        codes = [process.wait(SECONDS) for process in running]
    finally:
        for process in running:
            process.kill()
    for log, code in zip(logs, codes, strict=True):
        last = log.read_text()[-200:]
        assert code == 0, f"{code} after {last}\n{log.with_suffix('.err').read_text()[-3000:]}"
    lines = [log.read_text().splitlines() for log in logs]
    assert lines[0][-1] == "ALL 0", "names that were not tried"
    assert len(lines[0]) > 20_000
    different = [pair for pair in zip(*lines, strict=True) if pair[0] != pair[1]]
    assert not different, different[:20]
