"""Large tensors: how fast, with how much memory, and what else gets through meanwhile."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from duet_p2p.demo.net import SyNet
from scripts.benchmark.operations import _stored
from scripts.benchmark.pair import Pair, get, pair, shared_pair
from scripts.benchmark.rows import Report, Row, median, timed

__all__ = ["measure"]

_APPROVALS = 20


def measure(
    report: Report, *, stock: float, repeats: int, curve_to: int, memory_bytes: int
) -> None:
    """Bulk, the model, approvals beside an upload, peak memory, the curve over sizes.

    Args:
        report: takes the rows.
        stock: bytes per second of stock aiortc in this run.
        repeats: of each figure.
        curve_to: largest tensor of the curve in bytes.
        memory_bytes: of the tensor that is watched while it travels.
    """
    with shared_pair() as session:
        rate, down, transfer = _bulk_and_model(session, repeats)
        report.add(
            Row("bulk, a tensor of 64 MB, until usable", rate / stock, "×",
                f"of stock aiortc; {rate / 1e6:.0f} against {stock / 1e6:.1f} MB/s", 12.0, True),
            Row("model of 4.8 MB down, approved", down / transfer, "×",
                f"of its transfer at the bulk rate; {down * 1e3:.0f} against"
                f" {transfer * 1e3:.0f} ms", 1.5),
        )  # fmt: skip
        size = 1000
        while size <= curve_to:
            times = 3 if size <= 10**8 else 1
            report.point("tensor: up", size, _bulk(session, size, times))
            size *= 10
    with shared_pair(accepts=False) as session:
        idle = _approvals(session, lambda: None, 0.02)
        large = [torch.ones(memory_bytes // 4)]
        busy = _approvals(session, lambda: _upload(session, large.pop()), 0.05)
        report.add(
            Row(f"approval while {memory_bytes // 1_000_000} MB go up, beyond idle",
                max(0.0, busy - idle), "s", f"idle {idle * 1e3:.1f} ms", 50e-3)
        )  # fmt: skip
    with pair() as session:
        _memory(report, session, memory_bytes)


def _bulk(session: Pair, nbytes: int, repeats: int) -> float:
    """Bytes per second of a tensor from `send` until an operation on it has run over there."""
    tensor = torch.ones(nbytes // 4)

    def up() -> None:
        get(tensor.send(session.duet)[:1])

    return nbytes / median(timed(up) for _ in range(repeats))


def _bulk_and_model(session: Pair, repeats: int) -> tuple[float, float, float]:
    """The bulk rate, and a model's way down beside it, by turns: a machine's moods hit both.

    Returns:
        Bytes per second; seconds of the model; seconds that its bytes take at that rate.
    """
    nbytes = sum(p.numel() * 4 for p in SyNet(torch).parameters())
    remote = SyNet(torch).send(session.duet)
    _model(remote)  # what is loaded at the first is loaded
    rates, downs = [], []
    for _ in range(repeats):
        rates.append(_bulk(session, 64_000_000, 1))
        for _ in range(3):
            kept: list[Any] = []  # to give its memory back is not part of it
            downs.append(timed(lambda: kept.append(_model(remote))))  # noqa: B023
    rate = median(rates)
    return rate, median(downs), nbytes / rate


def _upload(session: Pair, tensor: torch.Tensor) -> None:
    get_public = tensor.send(session.duet)[:1]
    get_public.get(timeout_secs=60)


def _model(remote: Any) -> Any:
    return remote.get(request_block=True, reason="bench", timeout_secs=60)


# approvals


def _approvals(session: Pair, beside: Callable[[], None], pause: float) -> float:
    """Median seconds from the owner's `accept()` until the scientist has the value."""
    session.owner.run("torch.ones(10).tag('ones').send(duet); 1")
    ones = _stored(session, "ones")
    values = [(ones + number).sum() for number in range(_APPROVALS)]
    for number, value in enumerate(values):
        value.request(reason=f"r{number}")
    session.owner.run(f"while len(duet.requests) < {_APPROVALS}: time.sleep(0.01)\n1")
    arrived: dict[int, float] = {}

    def wait_for(number: int) -> None:
        with contextlib.suppress(Exception):
            values[number].get(request_block=True, timeout_secs=60)
            arrived[number] = time.monotonic()

    waiting = [threading.Thread(target=wait_for, args=(n,)) for n in range(_APPROVALS)]
    for thread in waiting:
        thread.start()
    working = threading.Thread(target=beside)
    working.start()
    session.owner.start(
        "said = {}\n"
        "for request in list(duet.requests):\n"
        f"    time.sleep({pause})\n"
        "    said[request.request_description] = time.monotonic()\n"
        "    request.accept()\n"
        "said"
    )
    said = session.owner.value()
    for thread in (*waiting, working):
        thread.join(90)
    return median(arrived[n] - said[f"r{n}"] for n in range(_APPROVALS) if n in arrived)


# memory


def _status(pid: int | str, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise ValueError(f"no {field}")


class _Peak:
    """What a process has at most beyond what it had."""

    def __init__(self, pid: int | str) -> None:
        self._pid = pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the high-water mark begins anew
        self._before = _status(pid, "VmRSS")

    def added(self) -> int:
        """Bytes."""
        return max(0, _status(self._pid, "VmHWM") - self._before)


class _Files:
    """The memory files that a process holds at most, which no process's own size counts.

    Args:
        pid: of the process.
    """

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}/fd")
        self._before = self._now()
        self._most = self._before
        self._is_over = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()

    def most(self) -> int:
        """Bytes, beyond those of the beginning; it is not looked at any more."""
        self._is_over.set()
        self._watch.join()
        return self._most - self._before

    def _look(self) -> None:
        while not self._is_over.wait(0.01):
            self._most = max(self._most, self._now())

    def _now(self) -> int:
        found: dict[int, int] = {}
        for link in self._folder.iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                if os.readlink(link).startswith("/memfd:duet"):
                    fact = link.stat()
                    found[fact.st_ino] = fact.st_blocks * 512
        return sum(found.values())


def _memory(report: Report, session: Pair, nbytes: int) -> None:
    owner, engine = session.owner.process.pid, session.engine_pid
    try:
        _Peak(engine)
    except (OSError, ValueError) as error:
        report.skipped["peak memory"] = f"needs /proc/PID/clear_refs: {error}"
        return
    session.owner.run(f"big = torch.ones({nbytes // 4}); 1")
    tensor = torch.ones(nbytes // 4)
    gc.collect()
    peaks = {"scientist": _Peak("self"), "owner": _Peak(owner), "engine": _Peak(engine)}
    pointer = tensor.send(session.duet)
    pointer[:1].get(timeout_secs=90)
    added = {name: peak.added() for name, peak in peaks.items()}
    # The scientist has its copy already; the engine's is the one that is wanted.
    report.add(
        Row("peak memory, upload, scientist, beyond the tensor", added["scientist"] / nbytes, "×",
            "of its size", 0.3),
        Row("peak memory, upload, owner's side, beyond one copy",
            max(0, added["owner"] + added["engine"] - nbytes) / nbytes, "×",
            f"of its size; owner {added['owner'] / nbytes:.2f}, engine"
            f" {added['engine'] / nbytes:.2f}", 0.3),
    )  # fmt: skip
    del tensor
    gc.collect()
    time.sleep(1)
    get(pointer.sum())  # the engine has looked at all of the tensor: it is in its memory
    peaks = {"scientist": _Peak("self"), "owner": _Peak(owner), "engine": _Peak(engine)}
    files = _Files(owner)
    value = get(pointer)
    added = {name: peak.added() for name, peak in peaks.items()}
    snapshot = files.most()
    assert value.numel() == nbytes // 4
    report.add(
        Row("peak memory, download, scientist, beyond one copy",
            max(0, added["scientist"] - nbytes) / nbytes, "×", "of its size", 0.3),
        Row("peak memory, download, owner's side, beyond the snapshot",
            max(0, added["owner"] + added["engine"] + snapshot - nbytes) / nbytes, "×",
            f"of its size; owner {added['owner'] / nbytes:.2f}, engine"
            f" {added['engine'] / nbytes:.2f}, memory files {snapshot / nbytes:.2f}", 0.3),
    )  # fmt: skip
