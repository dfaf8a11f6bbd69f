"""A partner that speaks the wire by itself: no window, no admission, no manners of our client.

It makes frames by hand on the other end of a real session, with the owner's real service and
engine behind it, and keeps every byte that the owner sends.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import torch

from duet_p2p.engine.host import Host, ProcessHost, ThreadHost
from duet_p2p.owner.duet import OwnerDuet, start_service
from duet_p2p.owner.request_view import OwnerRequest
from duet_p2p.protocol.connection import Pace
from duet_p2p.protocol.description import Channel
from duet_p2p.session.bridge import Bridge
from duet_p2p.session.session import Session
from duet_p2p.surface.values import to_wire, unpack
from duet_p2p.transport.memory import memory_pair
from duet_p2p.wire import messages as wire
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.frames import decode_frame, encode_frame, split
from duet_p2p.wire.values import Ref
from tests.unit.owner_kit import DEADLINE, Pairing
from tests.unit.session_kit import SCIENTIST_ID, linked

QUIET = Pace(ping=5.0, lost=3600.0)
LIFE = (wire.Ack, wire.Settled, wire.Ping, wire.Pong, wire.Resume, wire.Bye)
"""Counters and times."""


class RawPeer:
    """Frames made by hand, on a real session's other end.

    Attributes:
        received: every message of a channel that the owner sent, with the channel's number.
        answers: the numbered messages in them.
    """

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.received: list[tuple[int, bytes]] = []
        self.answers: list[Any] = []
        self.settled = 0
        self.seq = 0
        self.heard = 0  # number of the owner's last message
        self.ids = itertools.count(1)
        self.calls = itertools.count(1)
        self.peer: Any = None

    async def connect(self, session: Session, pair: Any = memory_pair) -> None:
        theirs, self.peer = await pair()
        self.peer.on_frame = self._frame
        self.peer.on_closed = lambda error: None
        session.attach(linked(theirs, SCIENTIST_ID))
        self._life(wire.Resume(0, b"", {}))

    def _life(self, message: wire.Message) -> None:
        self.peer.send(Channel.CTL, encode_frame(0, [encode_message(message)]))

    def _frame(self, channel: int, data: bytes) -> None:
        self.received.append((channel, data))
        if channel != Channel.CTL:
            return
        first, messages = decode_frame(data)
        if first:
            self.heard = first + len(messages) - 1
            self._life(wire.Ack(self.heard))
        for message in messages:
            if isinstance(message, wire.Settled):
                self.settled = message.seq
            elif isinstance(message, wire.Ping):
                self._life(wire.Pong(message.token))
            elif not isinstance(message, LIFE):
                self.answers.append(message)

    # bytes and messages

    def raw(self, channel: int, data: bytes) -> None:
        """Any bytes."""

        async def go() -> None:
            self.peer.send(channel, data)

        self.bridge.call(go(), DEADLINE)

    def send(self, *messages: wire.Message) -> None:
        """Numbered messages on the ops channel."""
        first, self.seq = self.seq + 1, self.seq + len(messages)

        async def go() -> None:
            for frame in split(first, [encode_message(message) for message in messages]):
                self.peer.send(Channel.OPS, frame)
                await asyncio.sleep(0)

        self.bridge.call(go(), DEADLINE)

    # programs

    def new_id(self) -> int:
        return next(self.ids)

    def put(self, value: Any) -> Ref:
        """Uploads a value inside the message."""
        out = self.new_id()
        self.send(wire.Put((out,), (to_wire(value, None, 1 << 15),), None))
        return Ref(out)

    def op(self, name: str, *args: Any, **kwargs: Any) -> Ref:
        """Runs one operation; nothing checks whether it makes sense."""
        (out,) = self.ops(name, 1, *args, **kwargs)
        return out

    def ops(self, name: str, outs: int, *args: Any, **kwargs: Any) -> list[Ref]:
        """The same with another number of results."""
        ids = tuple(self.new_id() for _ in range(outs))
        self.send(wire.Op(name, ids, args, kwargs, "g"))
        return [Ref(id) for id in ids]

    def do(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Runs one operation that gives nothing."""
        self.send(wire.Op(name, (), args, kwargs, "g"))

    def delete(self, *refs: Ref) -> None:
        """These objects are not needed any more."""
        self.send(wire.Del(tuple(ref.id for ref in refs)))

    def forget_all(self) -> None:
        """No object of this partner is needed any more."""
        every = range(1, self.new_id())
        self.send(*[wire.Del(tuple(every[at : at + 4_000])) for at in range(0, len(every), 4_000)])
        self.wait_for_end()

    # asking

    def get(self, ref: Ref) -> Any:
        """The answer to a get: a `Value`, or why it is none."""
        return self.answer(self.ask_for(ref))

    def ask_for(self, ref: Ref) -> int:
        """A get whose answer nobody waits for; the number of the call."""
        call = next(self.calls)
        self.send(wire.Get(call, ref.id))
        return call

    def is_free(self, ref: Ref) -> bool:
        """Whether this is given to anybody who gets it."""
        return isinstance(self.get(ref), wire.Value | wire.Failed)

    def request(self, ref: Ref, name: str = "", limit_s: float | None = None) -> int:
        """Asks for a value; the number of the call."""
        call = next(self.calls)
        self.send(wire.Request(call, ref.id, name, "", limit_s))
        return call

    def ask(self, ref: Ref, name: str = "") -> str:
        """What handlers answer at once: ``Value``, ``Denied``, or ``Expired`` if none takes it."""
        return type(self.answer(self.request(ref, name, 0.0))).__name__

    def value(self, answer: wire.Value) -> Any:
        """What an answer holds that came without a blob."""
        assert answer.blob is None
        return unpack(answer.value, None)

    def answer(self, call: int) -> Any:
        return self.wait(
            lambda: next((m for m in self.answers if getattr(m, "call", 0) == call), None)
        )

    def told(self, kind: type) -> list[Any]:
        return [m for m in self.answers if isinstance(m, kind)]

    def wait(self, found: Any, seconds: float = 90.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.peer is None:
                break
            value = found()
            if value:
                return value
            time.sleep(0.005)
        raise AssertionError("nothing came in time")

    def wait_for_end(self, seconds: float = 90.0) -> None:
        """Until everything that was sent is done with."""
        self.wait(lambda: self.settled >= self.seq, seconds)

    def told_bytes(self, first: int = 0) -> list[bytes]:
        """Every numbered message that the owner sent, one by one, as bytes; or from a frame on."""
        found = []
        for channel, data in self.received[first:]:
            if channel != Channel.CTL:
                found.append(data)
                continue
            first, messages = decode_frame(data)
            found += [encode_message(message) for message in messages if first]
        return found


def waiting(duet: OwnerDuet, raw: RawPeer, ref: Ref, name: str) -> OwnerRequest:
    """Asks for a value and gives the request in the owner's queue; an answer is no queue."""
    call = raw.request(ref, name)
    id = f"{call:016x}"
    raw.wait(lambda: _answered(raw, call) or id in [r.id for r in duet.requests.requests])
    assert not _answered(raw, call), _answered(raw, call)
    return duet.requests[id]


def taken_back(raw: RawPeer, request: OwnerRequest) -> None:
    """The queue is as it was."""
    raw.send(wire.Withdraw(request.call))
    raw.wait(lambda: request.status == "Withdrawn")


def waits(duet: OwnerDuet, raw: RawPeer, ref: Ref, name: str = "") -> str:
    """Why a value waits for the owner's word. What failed waits as well, and shows nothing."""
    request = waiting(duet, raw, ref, name)
    assert not request.failed, request.failed
    why = request.why
    taken_back(raw, request)
    return why


def _answered(raw: RawPeer, call: int) -> list[Any]:
    return [message for message in raw.answers if getattr(message, "call", 0) == call]


def attacked(
    limits: dict[str, int], host: Host | None = None, pair: Any = memory_pair, **settings: Any
) -> tuple[OwnerDuet, RawPeer, Bridge]:
    """An owner with a real engine process and a real session, and the partner.

    Args:
        limits: quotas of the session.
        host: of the engine, a process unless it is given.
        pair: makes the two connected peers, of memory unless it is given.
        settings: of the owner's service.
    """
    bridge = Bridge("attacked")
    raw = RawPeer(bridge)

    async def build() -> tuple[Session, Any]:
        session = Session("owner", asyncio.get_running_loop(), pace=QUIET)
        service = await start_service(
            session,
            host or ProcessHost(),
            callback_thread=bridge.callback_thread,
            session_id="owner-id",
            logging=False,
            limits=limits,
            **settings,
        )
        await service.revival.done()  # the attacks are on an engine that runs
        return session, service

    session, service = bridge.call(build(), DEADLINE)
    duet = OwnerDuet(bridge, session, Pairing(), service, session_id="owner-id")
    bridge.call(raw.connect(session, pair), DEADLINE)
    return duet, raw, bridge


@contextmanager
def of_process(
    shared: Mapping[str, torch.Tensor] = MappingProxyType({}),
    limits: Mapping[str, int] = MappingProxyType({}),
    **settings: Any,
) -> Iterator[tuple[OwnerDuet, RawPeer]]:
    """The same with data; all of it ends with the block.

    Args:
        shared: what the owner sends at first, by tag; the ids are -1, -2, …
        limits: quotas of the session.
        settings: see `attacked`.
    """
    duet, raw, bridge = attacked(dict(limits), **settings)
    try:
        for tag, value in shared.items():
            duet.send(value, tags=[tag])
        yield duet, raw
    finally:
        duet.close()
        bridge.close()


@contextmanager
def against(
    shared: Mapping[str, torch.Tensor] = MappingProxyType({}),
    limits: Mapping[str, int] = MappingProxyType({}),
    **settings: Any,
) -> Iterator[tuple[OwnerDuet, RawPeer]]:
    """The same with the engine in a thread; the arguments of `of_process`."""
    settings["host"] = ThreadHost()
    with torch.random.fork_rng(()), of_process(shared, limits, **settings) as made:
        yield made
