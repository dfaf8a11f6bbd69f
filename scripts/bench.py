"""Figures of a real pair of processes, as medians and as ratios within this one run.

The owner is a process of its own with an engine of its own; this process is the scientist. Both are
on this machine, over a real WebRTC data channel. Local figures are taken in this process, before
and after the remote ones, with nothing else at work.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import channel_bench
import torch
import torch.nn.functional as F

import duet_p2p as sy
from duet_p2p.demo.net import SyNet

OWNER = """
import sys, torch, duet_p2p as sy
duet = sy.launch_duet(loopback="bench", logging=False)
duet.requests.add_handler(action="accept")
torch.manual_seed(0)
torch.randn(64, 1, 28, 28).tag("images").send(duet)
torch.randint(0, 10, (64,)).tag("labels").send(duet)
torch.randn(150, 4).tag("flowers").send(duet)
torch.randint(0, 3, (150,)).tag("species").send(duet)
torch.ones(10).tag("ones").send(duet)
print("READY", flush=True)
sys.stdin.read()
duet.close()
"""


class Iris(sy.Module):
    """Three linear layers, 4-20-30-3."""

    def __init__(self, torch_ref: Any) -> None:
        super().__init__(torch_ref=torch_ref)
        self.fc1 = self.torch_ref.nn.Linear(4, 20)
        self.fc2 = self.torch_ref.nn.Linear(20, 30)
        self.fc3 = self.torch_ref.nn.Linear(30, 3)

    def forward(self, x: Any) -> Any:
        """Measures of shape (N, 4) to log-probabilities of shape (N, 3)."""
        functional = self.torch_ref.nn.functional
        x = functional.relu(self.fc1(x))
        x = functional.relu(self.fc2(x))
        return functional.log_softmax(self.fc3(x), dim=1)


@contextmanager
def pair() -> Iterator[tuple[Any, float]]:
    """A connected scientist, and the seconds from `join_duet` to verified."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["DUET_HOME"] = home
        with subprocess.Popen(
            [sys.executable, "-c", OWNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as owner:
            time.sleep(8)  # until the owner waits; its imports are not what is measured
            started = time.perf_counter()
            with sy.join_duet(loopback="bench", logging=False, timeout=60) as duet:
                joined = time.perf_counter() - started
                assert owner.stdout is not None
                assert "READY" in owner.stdout.readline()
                time.sleep(0.5)
                yield duet, joined
            assert owner.stdin is not None
            owner.stdin.close()
            owner.wait(30)


def median(action: Callable[[], object], repeats: int) -> float:
    """Seconds of one call."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def get(pointer: Any) -> Any:
    return pointer.get(request_block=True, reason="bench", timeout_secs=60)


def chain(x: Any, length: int) -> Any:
    for _ in range(length):
        x = x + 1
    return x


def training(net: Any, rt: Any, data: Any, target: Any, steps: int) -> Callable[[], object]:
    """One measured run: some steps with Adadelta, and the loss read at the end."""
    optimizer = rt.optim.Adadelta(net.parameters(), lr=0.1)
    functional = F if rt is torch else rt.nn.functional

    def run() -> object:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = functional.nll_loss(net(data), target)
            loss.backward()
            optimizer.step()
        value = loss.item()
        return value if isinstance(value, float) else get(value)

    return run


def measure(duet: Any, quick: bool) -> dict[str, tuple[float, str]]:
    rt, repeats = duet.torch, 3 if quick else 9
    rows: dict[str, tuple[float, str]] = {}

    first = time.perf_counter()
    get(rt.ones(2) + 1)
    rows["first operation and its value"] = (time.perf_counter() - first, "s")

    ones = duet.store["ones"]
    ping = statistics.median(_ping(duet) for _ in range(20 * repeats))
    fresh = [ones.sum() for _ in range(20 * repeats)]
    answer = statistics.median(median(lambda p=p: get(p), 1) for p in fresh)
    rows["accepted get of a scalar"] = (answer, "s")
    rows["get of a public value, the shortest round trip"] = (ping, "s")
    rows["accepted get / shortest round trip"] = (answer / ping, "×")

    local = torch.ones(10)
    length = 1000
    here = median(lambda: chain(local, length), repeats)
    there = median(lambda: get(chain(rt.ones(10), length)), repeats)
    rows["pipelined add, own tensor: added cost"] = ((there - answer - here) / length, "s")
    there = median(lambda: get(chain(ones, length)), repeats)
    rows["pipelined add, private tensor: added cost"] = ((there - answer - here) / length, "s")

    for name, make, keys, steps in (
        ("iris step", Iris, ("flowers", "species"), 50),
        ("MNIST step, batch 64", SyNet, ("images", "labels"), 10),
    ):
        torch.manual_seed(0)
        net, shapes = make(torch), [tuple(duet.store[key].shape) for key in keys]
        x = torch.randn(shapes[0])
        y = torch.randint(0, 3, shapes[1])
        remote = net.send(duet)
        run_here = training(net, torch, x, y, steps)
        run_there = training(remote, rt, duet.store[keys[0]], duet.store[keys[1]], steps)
        run_here(), run_there()
        ratios, mine, theirs = [], [], []
        for _ in range(repeats):  # by turns, so that the machine's moods hit both
            mine.append(median(run_here, 1) / steps)
            theirs.append(median(run_there, 1) / steps)
            ratios.append(theirs[-1] / mine[-1])
        rows[f"{name}, local"] = (statistics.median(mine), "s")
        rows[f"{name}, remote"] = (statistics.median(theirs), "s")
        rows[f"{name}, remote / local"] = (statistics.median(ratios), "×")

    big = torch.randn(1_200_000)
    up = median(lambda: get(big.send(duet).sum()), repeats)
    pointer = big.send(duet)
    get(pointer.sum())
    down = median(lambda: get(pointer * 1), repeats)
    rows["4.8 MB up, usable there"] = (up, "s")
    rows["4.8 MB down, approved"] = (down, "s")
    return rows


def _ping(duet: Any) -> float:
    pointer = duet.torch.ones(1)
    started = time.perf_counter()
    pointer.get()
    return time.perf_counter() - started


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--quick", action="store_true", help="fewer repeats")
    arguments.add_argument("--json", metavar="FILE", help="also write the rows there")
    options = arguments.parse_args()
    with pair() as (duet, joined):
        rows = {"join_duet to verified, loopback": (joined, "s"), **measure(duet, options.quick)}
    rows |= channel_bench.ratios(1 if options.quick else 3, 16 if options.quick else 64)
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads\n"
    )
    print("| what | median |\n| --- | ---: |")
    for name, (value, unit) in rows.items():
        print(f"| {name} | {_shown(value, unit)} |")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({name: value for name, (value, _) in rows.items()}, file, indent=1)


def _shown(value: float, unit: str) -> str:
    if unit != "s":
        return f"{value:.2f} {unit}"
    if value < 1e-3:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"


if __name__ == "__main__":
    main()
