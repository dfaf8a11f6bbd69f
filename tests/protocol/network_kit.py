"""Two associations and a network between them, in virtual time, from a seed."""

import heapq
import itertools
import random
from dataclasses import dataclass, replace
from typing import Any

from duet_p2p.transport.sctp.association import Association
from duet_p2p.transport.sctp.events import Ended, Established, Event, Message
from duet_p2p.transport.sctp.options import Options

OPTIONS = Options(port=5000, peer_port=5000, max_message=65_536)


@dataclass
class Weather:
    """What the network does to a packet."""

    loss: float = 0.0
    duplication: float = 0.0
    delay: float = 0.001
    jitter: float = 0.0
    """Seconds at random on top: packets overtake each other."""
    width: int | None = None
    """Bytes of the largest packet that gets through; a router says nothing about the others."""


class Network:
    """Drives both associations until nothing happens any more, or `until` is met."""

    def __init__(
        self, weather: Weather | None = None, seed: int = 0, a: Any = None, b: Any = None
    ) -> None:
        self.weather = weather or Weather()
        self.random = random.Random(seed)
        self.now = 100.0
        self.sides = [
            Association(replace(OPTIONS, **(a or {}))),
            Association(replace(OPTIONS, **(b or {}))),
        ]
        self.events: list[list[Event]] = [[], []]
        self.packets: list[list[bytes]] = [[], []]
        self.probes: list[list[int]] = [[], []]
        self.lost = self.too_large = 0
        self.lose_next: list[int] = []  # sides whose next packet is lost
        self._order = itertools.count()
        self._air: list[tuple[float, int, int, bytes]] = []

    def start(self, *, both: bool = True) -> None:
        for side in self.sides[: 2 if both else 1]:
            side.start(self.now)
        if not both:
            # The other side listens: in WebRTC it would begin too.
            self.sides[1]._incoming = None

    def open(self) -> None:
        self.start()
        self.run(lambda: all(any(isinstance(e, Established) for e in ev) for ev in self.events))

    def _move(self) -> bool:
        """Takes events and sends packets; whether there were any."""
        moved = False
        for number, side in enumerate(self.sides):
            events = side.take_events()
            self.events[number] += events
            for packet in side.transmit(self.now):
                moved = True
                self.packets[number].append(packet)
                self._fly(1 - number, packet, may_be_cut=len(packet) > side.packet_size.size)
            probe = side.take_probe()
            if probe is not None:
                moved = True
                self.probes[number].append(len(probe))
                self._fly(1 - number, probe)
            moved = moved or bool(events)
        return moved

    def _fly(self, to: int, packet: bytes, *, may_be_cut: bool = False) -> None:
        weather = self.weather
        if weather.width is not None and len(packet) > weather.width and not may_be_cut:
            self.too_large += 1
            return
        if 1 - to in self.lose_next:
            self.lose_next.remove(1 - to)
            self.lost += 1
            return
        copies = 1 + (self.random.random() < weather.duplication)
        for _ in range(copies):
            if self.random.random() < weather.loss:
                self.lost += 1
                continue
            at = self.now + weather.delay + self.random.random() * weather.jitter
            heapq.heappush(self._air, (at, next(self._order), to, packet))

    def run(self, until: Any = lambda: False, seconds: float = 600.0) -> None:
        """Runs until the condition holds; fails when it does not within virtual seconds."""
        end = self.now + seconds
        while True:
            while self._move():
                pass
            if until():
                return
            times = [side.next_deadline() for side in self.sides]
            if self._air:
                times.append(self._air[0][0])
            moments = [moment for moment in times if moment is not None]
            if not moments or min(moments) > end:
                self.now = end if moments else self.now
                return
            self.now = max(self.now, min(moments))
            while self._air and self._air[0][0] <= self.now:
                _, _, to, packet = heapq.heappop(self._air)
                self.sides[to].receive(packet, self.now)
            for side in self.sides:
                side.tick(self.now)

    def heard(self, side: int, stream: int | None = None) -> list[bytes]:
        return [
            event.data
            for event in self.events[side]
            if isinstance(event, Message) and stream in (None, event.stream)
        ]

    def end(self, side: int) -> Ended | None:
        return next((event for event in self.events[side] if isinstance(event, Ended)), None)
