"""From `launch_duet` and `join_duet` to verified, and to the first value."""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
import time

import duet_p2p as sy
from scripts.benchmark.pair import Owner, get
from scripts.benchmark.rows import Report, Row, median

__all__ = ["measure"]


def measure(report: Report, *, repeats: int) -> None:
    """Both sides have imported everything; the one that comes second is measured."""
    before = os.environ.get("DUET_HOME")
    with tempfile.TemporaryDirectory() as home:
        os.environ["DUET_HOME"] = home
        owner = Owner(home)
        try:
            owner.run("from duet_p2p import api\n1")
            found = [(_launch(owner), *_join(owner)) for _ in range(repeats)]
        finally:
            owner.close()
            if before is not None:
                os.environ["DUET_HOME"] = before
    launch, join, first = (median(values) for values in zip(*found, strict=True))
    report.add(
        Row("`launch_duet` to verified, loopback", launch, "s", "the scientist waits", 0.5),
        Row("`join_duet` to verified, loopback", join, "s", "the owner waits", 0.5),
        Row("first operation and its value, after that", first, "s", "the engine has started"),
    )


def _launch(owner: Owner) -> float:
    name = secrets.token_hex(8)
    joined: list[object] = []

    def join() -> None:
        with sy.join_duet(loopback=name, logging=False, timeout=60):
            joined.append(None)
            ended.wait(60)

    ended = threading.Event()
    thread = threading.Thread(target=join)
    thread.start()
    time.sleep(2)
    seconds = owner.run(
        "started = time.perf_counter()\n"
        f"duet = sy.launch_duet(loopback={name!r}, logging=False, timeout=60, audit=False)\n"
        "seconds = time.perf_counter() - started\nseconds"
    )
    ended.set()
    thread.join(60)
    owner.run("duet.close()\n1")
    assert joined
    return float(seconds)


def _join(owner: Owner) -> tuple[float, float]:
    name = secrets.token_hex(8)
    owner.start(
        f"duet = sy.launch_duet(loopback={name!r}, logging=False, timeout=60, audit=False)\n"
        "duet.requests.add_handler(action='accept')\n1"
    )
    owner.wait_until_it_rests()  # the engine has started
    started = time.perf_counter()
    with sy.join_duet(loopback=name, logging=False, timeout=60) as duet:
        join = time.perf_counter() - started
        owner.value()
        started = time.perf_counter()
        get(duet.torch.ones(2) + 1)
        first = time.perf_counter() - started
    owner.run("duet.close()\n1")
    return join, first
