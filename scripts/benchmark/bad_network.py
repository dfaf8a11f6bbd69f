"""A network between two peers on one machine, for kernels without netem: a process of two sockets.

What comes in at one socket leaves at the other: some of it never, some late. Each peer takes one
socket for the other peer. A relay in Python passes some ten thousand datagrams a second, which is
a bound for whoever is measured through it.
"""

from __future__ import annotations

import heapq
import json
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count

from duet_p2p.transport.base import Description

__all__ = ["BadNetwork", "Weather", "between"]

_HOST = "127.0.0.1"
_BUFFER_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to a datagram, each way."""

    loss: float = 0.0
    """Share that never arrives."""
    delay: float = 0.0
    """Seconds."""


class BadNetwork:
    """The process, seen from outside."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self._ports: list[int] = json.loads(process.stdout.readline())

    def join(self, offer: Description, answer: Description) -> tuple[Description, Description]:
        """Both halves as the other side has to hear them: only this network is between them."""
        addresses, heard = [], []
        for half, port in zip((offer, answer), self._ports, strict=True):
            first = next(found for found in half.candidates if found.address == _HOST)
            addresses.append((first.address, first.port))
            heard.append(replace(half, candidates=(replace(first, address=_HOST, port=port),)))
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(addresses) + "\n")
        self._process.stdin.flush()
        return heard[0], heard[1]


@contextmanager
def between(weather: Weather) -> Iterator[BadNetwork]:
    """A network that ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", __spec__.name, str(weather.loss), str(weather.delay)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield BadNetwork(process)
    finally:
        process.kill()
        process.communicate()


def _run(loss: float, delay: float) -> None:
    rng, order = random.Random(1), count()
    ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for end in ends:
        end.bind((_HOST, 0))
        end.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    print(json.dumps([end.getsockname()[1] for end in ends]), flush=True)
    # The socket that stands for a peer is where the other one sends; it leaves by the other socket.
    peers = [tuple(address) for address in json.loads(sys.stdin.readline())]
    late: list[tuple[float, int, int, bytes]] = []
    while True:
        pause = max(0.0, late[0][0] - time.monotonic()) if late else None
        readable, _, _ = select.select(ends, [], [], pause)
        for end in readable:
            to = ends.index(end)
            for _ in range(64):
                try:
                    data = end.recv(65_535)
                except OSError:
                    break
                if rng.random() < loss:
                    continue
                if delay:
                    heapq.heappush(late, (time.monotonic() + delay, next(order), to, data))
                else:
                    _pass_on(ends[1 - to], data, peers[to])
        now = time.monotonic()
        while late and late[0][0] <= now:
            _, _, to, data = heapq.heappop(late)
            _pass_on(ends[1 - to], data, peers[to])


def _pass_on(end: socket.socket, data: bytes, peer: object) -> None:
    try:
        end.sendto(data, peer)  # type: ignore[arg-type]
    except OSError:
        return  # a full buffer loses it, as a router would; a peer that has gone is not our matter


if __name__ == "__main__":
    _run(float(sys.argv[1]), float(sys.argv[2]))
