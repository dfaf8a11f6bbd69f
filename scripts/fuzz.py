"""Runs the fuzz targets for longer than the tests do: coverage-guided with atheris, or random.

What it finds is a traceback and, with atheris, a file; put the bytes into
``tests/data/corpora/<target>/`` once it is fixed.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.security.fuzz_targets import TARGETS  # noqa: E402


def guided(target: Callable[[bytes], None], corpus: Path, seconds: int) -> None:
    """With atheris, which ends the process."""
    import atheris

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", str(corpus)], target)
    atheris.Fuzz()


def blind(target: Callable[[bytes], None], corpus: Path, seconds: float) -> int:
    """Damaged seeds; how many were tried."""
    seeds = [path.read_bytes() for path in sorted(corpus.iterdir())]
    draw, tried, end = Random(), 0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.randint(1, 6)):
            at = draw.randrange(len(data) + 1)
            other = draw.choice((draw.randbytes(draw.randint(0, 4)), draw.choice(seeds)[at:]))
            data[at : at + draw.randint(0, 6)] = other
        try:
            target(bytes(data[:70_000]))
        except BaseException:
            print("found:", bytes(data).hex(), file=sys.stderr)
            raise
        tried += 1
    return tried


def main(arguments: list[str]) -> None:
    names = arguments[:1] or list(TARGETS)
    seconds = int(arguments[1]) if len(arguments) > 1 else 60
    print(f"{len(names)} targets, {seconds} s each", flush=True)
    for name in names:
        print(f"{name}: ", end="", flush=True)
        corpus = ROOT / "tests" / "data" / "corpora" / name
        if importlib.util.find_spec("atheris") is not None:
            guided(TARGETS[name], corpus, seconds)
        print(f"{blind(TARGETS[name], corpus, seconds)} inputs, nothing found", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
