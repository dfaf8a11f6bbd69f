"""What one operation and one accepted value cost."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import torch

from scripts import label_cost
from scripts.benchmark import channel
from scripts.benchmark.pair import Pair, get, pair, shared_pair
from scripts.benchmark.rows import Report, Row, median, timed

__all__ = ["measure", "stages"]

_CHAIN = 1000
_LABELS = "labels of an operation like one before"


def measure(report: Report, *, repeats: int, curve_to: int) -> None:
    """Pipelined operations, accepted gets with and without an audit log, the curve over length.

    Args:
        report: takes the rows.
        repeats: of each figure; the median counts.
        curve_to: longest chain of the curve.
    """
    with shared_pair() as session:
        answer, ping, _ = _answers(session, repeats)
        report.add(
            Row("accepted get of a scalar, no audit log", answer / ping, "×",
                f"of the data channel's round trip by turns, {ping * 1e6:.0f} µs", 3.0)
        )  # fmt: skip
        names = ("the scientist's cell", "its I/O thread", "the owner's I/O thread", "the engine")
        for name, seconds in zip(names, _stages_of_a_get(session, 20 * repeats), strict=True):
            report.add(Row(f"accepted get of a scalar: CPU of {name}", seconds, "s"))
        own, private = _chains(session, repeats, answer)
        report.add(
            Row("pipelined add, own tensor: added cost", own, "s", "each", 100e-6),
            Row("pipelined add, private tensor: added cost", private, "s", "each", 100e-6),
        )
        length = 10
        while length <= curve_to:
            x = session.duet.torch.ones(10)
            times = 3 if length <= 10_000 else 1  # the longest takes minutes
            seconds = median(timed(lambda: get(chain(x, length))) for _ in range(times))  # noqa: B023
            report.point("operations", length, seconds)
            length *= 10
        threads = torch.get_num_threads()
        report.profile = stages(session)
        torch.set_num_threads(threads)  # the labels' engine ran in this process, with one
    with pair(audit=True) as session:
        audited, ping, sync = _answers(session, repeats)
        report.add(
            Row("the same with an audit log", (audited - sync) / ping, "×",
                f"of the round trip, {ping * 1e6:.0f} µs, beside one disk sync of "
                f"{sync * 1e3:.1f} ms", 3.0)
        )  # fmt: skip


def chain(x: Any, length: int) -> Any:
    """So many adds, one after the other."""
    for _ in range(length):
        x = x + 1
    return x


def _answers(session: Pair, repeats: int) -> tuple[float, float, float]:
    """Seconds of an accepted get, of a round trip of the bare channel and of a disk sync.

    By turns: the machine's moods hit all three.
    """
    session.owner.run("torch.ones(10).tag('ones').send(duet); 1")
    ones = _stored(session, "ones")
    values = [ones.sum() for _ in range(20 * repeats)]
    time.sleep(0.3)
    times = []
    path = os.path.join(os.environ["DUET_HOME"], "sync")
    with channel.round_trips() as round_trip, open(path, "wb", buffering=0) as file:
        for value in values:
            times.append(
                (timed(lambda: get(value)), round_trip(), timed(lambda: _disk_sync(file)))  # noqa: B023
            )
    answer, ping, sync = (median(column) for column in zip(*times, strict=True))
    return answer, ping, sync


def _stored(session: Pair, tag: str) -> Any:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = [p for p in session.duet.store if tag in p.tags]
        if found:
            return found[-1]
        time.sleep(0.01)
    raise TimeoutError(f"{tag} did not come into the store")


def _chains(session: Pair, repeats: int, answer: float) -> tuple[float, float]:
    local, own, private = torch.ones(10), session.duet.torch.ones(10), _stored(session, "ones")
    added: dict[str, list[float]] = {"own": [], "private": []}
    get(chain(private, _CHAIN)), get(chain(own, _CHAIN))
    for _ in range(repeats):  # by turns, so that the machine's moods hit all
        here = timed(lambda: chain(local, _CHAIN))
        for name, x in (("own", own), ("private", private)):
            there = timed(lambda: get(chain(x, _CHAIN)))  # noqa: B023
            added[name].append((there - answer - here) / _CHAIN)
    return median(added["own"]), median(added["private"])


def _disk_sync(file: io.FileIO) -> None:
    file.write(bytes(4096))
    os.fsync(file.fileno())


# where the time goes


def stages(session: Pair, count: int = 5000) -> list[tuple[str, float]]:
    """CPU seconds of one pipelined add on a private tensor, by the threads that it goes through."""
    x = _stored(session, "ones")
    get(x.sum())
    adds: list[Any] = []
    cell, wire, owner, engine = _cpu(
        session, lambda: adds.append(chain(x, count)), lambda: get(adds.pop())
    )
    return [
        ("scientist's cell: pointer, shapes, ids, codec", cell / count),
        ("scientist's I/O thread: frames, SCTP, DTLS", wire / count),
        ("owner's I/O thread: SCTP, session, service, pipe", owner / count),
        ("engine: pipe, admission, torch, labels, store", engine / count),
        ("of it, labels (scripts/label_cost.py)", label_cost.measure(20)[_LABELS][0]),
    ]


def _stages_of_a_get(session: Pair, count: int) -> tuple[float, float, float, float]:
    values = [_stored(session, "ones").sum() for _ in range(count)]
    time.sleep(0.3)
    times = _cpu(session, lambda: [get(value) for value in values], lambda: None)
    cell, wire, owner, engine = (seconds / count for seconds in times)
    return cell, wire, owner, engine


def _cpu(
    session: Pair, act: Callable[[], object], wait: Callable[[], object]
) -> tuple[float, float, float, float]:
    """CPU seconds of the cell that acts; of both I/O threads and the engine until it has waited."""
    loop = next(t for t in threading.enumerate() if t is session.duet._client.bridge._thread)
    assert loop.ident is not None
    ours = time.pthread_getcpuclockid(loop.ident)
    session.owner.run(
        "clock = time.pthread_getcpuclockid(duet._bridge._thread.ident)\n"
        f"def engine(pid={session.engine_pid}):\n"
        "    return int(open(f'/proc/{pid}/schedstat').read().split()[0]) / 1e9\n1"
    )
    ask = "[time.clock_gettime(clock), engine()]"
    theirs = session.owner.run(ask)
    cell, wire = time.thread_time(), time.clock_gettime(ours)
    act()
    cell = time.thread_time() - cell
    wait()
    wire = time.clock_gettime(ours) - wire
    after = session.owner.run(ask)
    return cell, wire, after[0] - theirs[0], after[1] - theirs[1]
