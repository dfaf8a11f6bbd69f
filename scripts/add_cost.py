"""What one pipelined add costs where most of it goes: ``python scripts/add_cost.py``.

The scientist's cell (pointer, shapes, ids, codec, the session's window) and the engine (decoding,
admission, torch, labels, store), each alone in this process and without a network. CPU time of one
thread, by turns with torch's own add, so that other work on the machine counts for all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace
from typing import Any, Final, cast

import torch

from duet_p2p.engine import pipe
from duet_p2p.engine.engine import Engine
from duet_p2p.engine.messages import Configure, OpFailed, Run, Share
from duet_p2p.protocol.window import Outgoing
from duet_p2p.scientist.client import Client
from duet_p2p.scientist.pointer import make
from duet_p2p.session.outbox import Outbox
from duet_p2p.surface.shapes import TensorSpec
from duet_p2p.surface.values import pack
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.frames import Unread
from duet_p2p.wire.messages import Del, Op
from duet_p2p.wire.values import Ref

__all__ = ["measure"]

CHAIN: Final = 960  # adds, one after the other
_FRAME: Final = 64  # of them in one batch for the engine
_DEAD: Final = 32  # ids in one deletion


class Cell:
    """A scientist's client whose session sends nothing.

    Args:
        loop: not running.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._out = Outgoing(settles=True)
        session = SimpleNamespace(is_open=True, end=None, flush=lambda: None)
        session.outbox = Outbox(cast(Any, session), self._out, loop)
        client = Client(cast(Any, session), cast(Any, SimpleNamespace(loop=loop)), session_id="")
        self._x = make(client, -1, "torch.Tensor", spec=TensorSpec((10,), torch.float32))

    def run(self) -> float:
        """Seconds of a chain; then all of it has been executed."""
        begin = time.thread_time()
        _chain(self._x)
        seconds = time.thread_time() - begin
        with self._out.lock:
            self._out.sent = self._out.next_seq - 1
        self._out.settled(self._out.sent)
        return seconds


class Remote:
    """An engine with a private tensor."""

    def __init__(self) -> None:
        self._engine, self._reader = Engine(is_alone=True), pipe.FrameReader()
        self._ids, self._seqs = itertools.count(1), itertools.count(1)
        self._engine.handle(Configure({}, {}, 1))
        packed = pack(torch.ones(10))
        data = b"".join(packed.buffers)
        self._engine.handle(Share(-1, packed.value, data, "torch.Tensor", (), "", True))

    def run(self) -> float:
        """Seconds of a chain, from the bytes of its frames on."""
        frames = list(self._frames())
        begin = time.thread_time()
        for data in frames:
            for command in self._reader.feed(data):
                events = self._engine.handle(command)
                if events:
                    pipe.encode(events).close()
                assert not [e for e in events if isinstance(e, OpFailed)], events
        return time.thread_time() - begin

    def _frames(self) -> Any:
        last, batch, dead = -1, list[tuple[int, Any]](), list[int]()
        for number in range(1, CHAIN + 1):
            id = next(self._ids)
            op = Op("torch.Tensor.__add__", (id,), (Ref(last), 1), {}, "g")
            batch.append((next(self._seqs), Unread(encode_message(op))))
            last = id
            dead.append(id)
            if number % _DEAD == 0:
                gone = dead if number == CHAIN else dead[:-1]
                batch.append((next(self._seqs), Del(tuple(gone))))
                dead = dead[len(gone) :]
            if number % _FRAME == 0:
                yield b"".join(bytes(c) for c in pipe.encode([Run(tuple(batch), 0.0)]).chunks)
                batch = []


def _chain(x: Any) -> Any:
    for _ in range(CHAIN):
        x = x + 1
    return x


def _local() -> float:
    x = torch.ones(10)
    begin = time.thread_time()
    _chain(x)
    return time.thread_time() - begin


def measure(rounds: int = 40) -> dict[str, tuple[float, float, float]]:
    """Least and median CPU seconds of an add, and the median of its ratios to local ones."""
    torch.set_num_threads(1)
    loop = asyncio.new_event_loop()
    try:
        ways: dict[str, Callable[[], float]] = {
            "scientist's cell": Cell(loop).run,
            "engine, private tensor": Remote().run,
            "local": _local,
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds + 2):
            for way, run in ways.items():
                times[way].append(run() / CHAIN)
    finally:
        loop.close()
    kept = {way: found[2:] for way, found in times.items()}
    ratios = {
        way: median(a / b for a, b in zip(found, kept["local"], strict=True))
        for way, found in kept.items()
    }
    return {way: (min(found), median(found), ratios[way]) for way, found in kept.items()}


def main() -> None:
    """Prints microseconds of CPU per add, and what that is in local adds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    for way, (least, middle, ratio) in measure(parser.parse_args().rounds).items():
        print(f"{way}: {least * 1e6:.1f} us of CPU (median {middle * 1e6:.1f}, {ratio:.2f} local)")


if __name__ == "__main__":
    main()
