"""Throughput over loss and delay, in a network namespace with netem; against stock."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

from scripts.benchmark import channel, stock
from scripts.benchmark.rows import Report

__all__ = ["measure"]

_RULES = {"loss": ("loss 0.1%", "loss 1%", "loss 3%"), "delay": ("delay 5ms", "delay 25ms")}
_BYTES = 4 << 20
_SECONDS = 120


def measure(report: Report) -> None:
    """Curves of both; skipped, with the reason, where the kernel cannot do it."""
    reason = why_not()
    if reason is not None:
        report.skipped["loss and delay"] = reason
        return
    for kind, rules in _RULES.items():
        for rule in rules:
            x = float("".join(c for c in rule if c.isdigit() or c == "."))
            for name, rate in _rates(rule).items():
                report.point(f"{kind}: {name}", x, rate)


def why_not() -> str | None:
    """Why there is no netem here; None if there is."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("tc"):
        return "needs root, ip and tc"
    made = subprocess.run(
        ["unshare", "-n", "sh", "-c", _setup("loss 1%")], capture_output=True, text=True
    )
    return None if made.returncode == 0 else f"the kernel has no netem: {made.stderr.strip()}"


def _setup(rule: str) -> str:
    return f"ip link set lo up && tc qdisc add dev lo root netem {rule}"


def _rates(rule: str) -> dict[str, float]:
    inside = f"{_setup(rule)} && exec {sys.executable} -W ignore -m {__spec__.name}"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", inside],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=True,
    )
    rates: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return rates


def _inside() -> None:
    fast = channel.measure("fast", bulk_bytes=_BYTES, messages=100)
    plain, _ = stock.measure(_BYTES // 8, 100, channel.SMALL)
    print(json.dumps({"fast": fast.bulk, "stock aiortc": plain}))


if __name__ == "__main__":
    _inside()
