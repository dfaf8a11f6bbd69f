"""Throughput over loss and delay against aiortc's own association, both over the same network.

With netem, in a network namespace, where the kernel has it; else over `bad_network`, a relay in a
process of its own. Packets have 1,188 bytes, as on a path that nobody knows.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

from scripts.benchmark import channel
from scripts.benchmark.bad_network import Weather, between
from scripts.benchmark.rows import Report

__all__ = ["measure"]

_PACKET = 1_188
_BYTES = {"fast": 8 << 20, "stock": 2 << 20}  # stock takes longer for less
_NAMES = {"fast": "duet", "stock": "stock aiortc"}
# Curve: points of loss in percent or of delay in milliseconds one way, netem's word, the weather.
_CURVES = {
    "loss": ((0.0, 0.1, 1.0, 3.0), "loss {}%", lambda x: Weather(loss=x / 100)),
    "delay": ((0.0, 5.0, 25.0), "delay {}ms", lambda x: Weather(delay=x / 1000)),
}
_SECONDS = 120


def measure(report: Report) -> None:
    """Curves of both; where there is no netem the report says what took its place."""
    reason = why_not()
    if reason is not None:
        report.skipped["netem"] = f"{reason}; a relay of two sockets loses and delays instead"
    for curve, (points, rule, weather) in _CURVES.items():
        for x in points:
            for kind in _BYTES:
                rate = (
                    _through_netem(rule.format(x), kind)
                    if reason is None
                    else _through_relay(weather(x), kind)
                )
                report.point(f"{curve}: {_NAMES[kind]}", x, rate)
                print(f"  {curve} {x:g}, {_NAMES[kind]}: {rate / 1e6:.2f} MB/s", flush=True)


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


def _through_relay(weather: Weather, kind: str) -> float:
    with between(weather) as network:
        return channel.bulk(kind, _BYTES[kind], packet=_PACKET, network=network)


def _through_netem(rule: str, kind: str) -> float:
    inside = f"{_setup(rule)} && exec {sys.executable} -W ignore -m {__spec__.name} {kind}"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", inside],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=True,
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    print(json.dumps(channel.bulk(sys.argv[1], _BYTES[sys.argv[1]], packet=_PACKET)))
