"""Hostile whole numbers in the arguments of every name on the surface: no process dies of them, and
nothing that was not written is read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.surface.hostile import DIED, FILLS, SLOW

ROOT = Path(__file__).parents[2]
EXTENT = os.environ.get("DUET_HOSTILE", "")
"""What is tried: ``names``, two samples of every name, in minutes; ``all``, many, for hours."""
SECONDS = 4 * 3600 if EXTENT == "all" else 900
TRIES = 15_000


def logs(folder: Path, seconds: float, extent: str) -> list[list[str]]:
    """What came of every try, for each memory."""
    errors = folder / "errors"
    with errors.open("wb") as stream:
        code = subprocess.run(
            [sys.executable, "-m", "tests.surface.hostile", str(folder), extent],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
            stdout=subprocess.DEVNULL,
            stderr=stream,
            timeout=seconds,
        ).returncode
    assert code == 0, errors.read_text()[-3000:]
    return [(folder / str(fill)).read_text().splitlines() for fill in FILLS]


def assert_harmless(both: list[list[str]]) -> None:
    """Every name was tried, no try was deadly, and the memory made no difference."""
    one, other = both
    assert one[0] != other[0], "unwritten memory looks the same, so this shows nothing"
    assert one[-1] == other[-1] == "ALL 0", "names that were not tried"
    assert len(one) == len(other) > TRIES
    dead = [line for line in (*one, *other) if f" {DIED} " in line]
    assert not dead, dead[:20]
    pairs = [pair for pair in zip(one[1:], other[1:], strict=True) if SLOW not in "".join(pair)]
    different = [pair for pair in pairs if pair[0] != pair[1]]
    assert not different, different[:20]


@pytest.mark.slow
@pytest.mark.skipif(EXTENT not in ("names", "all"), reason="minutes: DUET_HOSTILE=names, or all")
@pytest.mark.timeout(SECONDS + 60)
def test_no_number_kills_a_process_or_reads_memory_that_nobody_wrote(tmp_path: Path) -> None:
    assert_harmless(logs(tmp_path, SECONDS, EXTENT))
