"""What compressing released values costs and saves: the table of docs/transport.md.

    .venv/bin/python scripts/deflate_cost.py

Per kind of value: the share that is left, megabytes of it that one second of a processor compresses
and inflates, and the fastest path on which a block is compressed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from duet_p2p import limits
from duet_p2p.session.deflation import Sample, deflate, inflate

_NUMBERS = 1_000_000


def _values() -> dict[str, bytes]:
    draw = np.random.default_rng(0)
    normal = draw.standard_normal(_NUMBERS).astype(np.float32)
    found = {"float32, dense": normal}
    for share in (0.5, 0.8, 0.9, 0.98):
        edge = np.quantile(normal, share)
        found[f"float32, {share:.0%} zero"] = np.maximum(normal - edge, 0)
    found["one-hot labels, int64"] = np.eye(10, dtype=np.int64)[
        draw.integers(0, 10, _NUMBERS // 20)
    ]
    found["zeros"] = np.zeros(_NUMBERS, np.float32)
    return {name: array.tobytes() for name, array in found.items()}


def _best(work: Callable[[], object]) -> float:
    """Seconds of a processor, at best of five."""
    found = []
    for _ in range(5):
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return min(found)


def main() -> None:
    """Prints one line per kind of value."""
    for name, data in _values().items():
        step = limits.DEFLATE_BLOCK_BYTES
        blocks = [data[at : at + step] for at in range(0, len(data), step)]
        packed = [deflate(block) for block in blocks]
        down = _best(lambda blocks=blocks: [deflate(block) for block in blocks])
        up = _best(
            lambda blocks=blocks, packed=packed: [
                inflate(memoryview(p), len(b)) for p, b in zip(packed, blocks, strict=True)
            ]
        )
        sample = Sample(sum(map(len, packed)) / len(data), down / len(data))
        rates = [rate for rate in np.geomspace(1e4, 1e9, 2000) if sample.pays(rate)]
        pays = f"{max(rates) / 1e6:.0f} MB/s" if rates else "never"
        megabytes = len(data) / 1e6
        print(
            f"{name:26} left {sample.share:.2f}, {megabytes / down:.0f} MB/s compressed,"
            f" {megabytes / up:.0f} MB/s inflated, pays up to {pays}"
        )


if __name__ == "__main__":
    main()
