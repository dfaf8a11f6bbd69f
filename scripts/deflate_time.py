"""What compression saves on the clock, over a path of some rate: a table of docs/performance.md.

    sudo unshare -n .venv/bin/python scripts/deflate_time.py 100mbit 400mbit 1gbit

In a network namespace of its own, whose loopback `tc` slows down (token bucket, so no netem). Two
sessions, one without compression, take turns with each value of 16 MB, five times each.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.benchmark.pair import Pair, get, pair
from scripts.benchmark.rows import median, timed

_NUMBERS = 4_000_000
_TURNS = 5


def _values() -> dict[str, Any]:
    torch.manual_seed(0)
    found: dict[str, Any] = {"dense": torch.randn(_NUMBERS)}
    for share in (0.5, 0.9, 0.98):
        # Not a product with a mask: that has zeros of both signs.
        found[f"{share:.0%} zero"] = torch.dropout(torch.randn(_NUMBERS), share, True).add(0.0)
    return found


def _sessions(stack: ExitStack) -> dict[str, Pair]:
    made = {}
    for name, switch in (("off", "off"), ("on", "on")):
        os.environ["DUET_DEFLATE"] = switch  # read when a session begins
        made[name] = stack.enter_context(pair())
    return made


def main() -> None:
    """Prints one line per path and kind of value."""
    if any(line.split(":")[0].strip() != "lo" for line in _interfaces()):
        sys.exit((__doc__ or "").split("\n\n")[1].strip())
    _run("ip", "link", "set", "lo", "up")
    with ExitStack() as stack:
        sessions = _sessions(stack)
        values = _values()
        sent = {
            name: {kind: value.send(session.duet) for kind, value in values.items()}
            for name, session in sessions.items()
        }
        for pointers in sent.values():
            for pointer in pointers.values():
                get(pointer[:1])  # it is over there
        for rate in sys.argv[1:]:
            bucket = ("burst", "256kb", "limit", "4mb")
            _run("tc", "qdisc", "replace", "dev", "lo", "root", "tbf", "rate", rate, *bucket)
            for kind in values:
                seconds: dict[str, list[float]] = {name: [] for name in sessions}
                for _ in range(_TURNS):
                    for name, pointers in sent.items():
                        seconds[name].append(timed(partial(get, pointers[kind])))
                shown = [
                    f"{name} {median(found):.2f} s ({min(found):.2f} to {max(found):.2f})"
                    for name, found in seconds.items()
                ]
                print(f"{rate}, {kind}: {', '.join(shown)}", flush=True)


def _interfaces() -> list[str]:
    return Path("/proc/net/dev").read_text().splitlines()[2:]


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


if __name__ == "__main__":
    main()
