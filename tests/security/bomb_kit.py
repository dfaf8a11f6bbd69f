"""A partner that speaks the wire by itself: no window, no admission, no manners of our client."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

from duet_p2p.engine.host import ProcessHost
from duet_p2p.owner.duet import OwnerDuet, start_service
from duet_p2p.protocol.connection import Pace
from duet_p2p.protocol.description import Channel
from duet_p2p.session.bridge import Bridge
from duet_p2p.session.session import Session
from duet_p2p.transport.memory import memory_pair
from duet_p2p.wire import messages as wire
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.frames import decode_frame, encode_frame, split
from duet_p2p.wire.values import Ref
from tests.unit.owner_kit import DEADLINE, Pairing
from tests.unit.test_session import SCIENTIST_ID, linked

QUIET = Pace(ping=5.0, lost=3600.0)


class RawPeer:
    """Frames made by hand, on a real session's other end."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge
        self.answers: list[Any] = []
        self.settled = 0
        self.seq = 0
        self.ids = itertools.count(1)
        self.calls = itertools.count(1)
        self.peer: Any = None

    async def connect(self, session: Session) -> None:
        theirs, self.peer = await memory_pair()
        self.peer.on_frame = self._frame
        self.peer.on_closed = lambda error: None
        session.attach(linked(theirs, SCIENTIST_ID))
        hello = wire.Resume(0, b"", {})
        self.peer.send(Channel.CTL, encode_frame(0, [encode_message(hello)]))

    def _frame(self, channel: int, data: bytes) -> None:
        if channel != Channel.CTL:
            return
        first, messages = decode_frame(data)
        if first:
            ack = wire.Ack(first + len(messages) - 1)
            self.peer.send(Channel.CTL, encode_frame(0, [encode_message(ack)]))
        for message in messages:
            if isinstance(message, wire.Settled):
                self.settled = message.seq
            elif not isinstance(message, wire.Ping | wire.Pong | wire.Ack):
                self.answers.append(message)

    def raw(self, channel: int, data: bytes) -> None:
        async def go() -> None:
            self.peer.send(channel, data)

        self.bridge.call(go(), DEADLINE)

    def send(self, *messages: wire.Message) -> None:
        first, self.seq = self.seq + 1, self.seq + len(messages)

        async def go() -> None:
            for frame in split(first, [encode_message(message) for message in messages]):
                self.peer.send(Channel.OPS, frame)
                await asyncio.sleep(0)

        self.bridge.call(go(), DEADLINE)

    def op(self, name: str, *args: Any, **kwargs: Any) -> Ref:
        """Runs one operation; nothing checks whether it makes sense."""
        out = next(self.ids)
        self.send(wire.Op(name, (out,), args, kwargs, "g"))
        return Ref(out)

    def forget_all(self) -> None:
        """No object of this partner is needed any more."""
        every = range(1, next(self.ids))
        self.send(*[wire.Del(tuple(every[at : at + 4_000])) for at in range(0, len(every), 4_000)])
        self.wait_for_end()

    def get(self, ref: Ref) -> Any:
        call = next(self.calls)
        self.send(wire.Get(call, ref.id))
        return self.answer(call)

    def answer(self, call: int) -> Any:
        return self.wait(
            lambda: next((m for m in self.answers if getattr(m, "call", 0) == call), None)
        )

    def told(self, kind: type) -> list[Any]:
        return [m for m in self.answers if isinstance(m, kind)]

    def wait(self, found: Any, seconds: float = 30.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.peer is None:
                break
            value = found()
            if value:
                return value
            time.sleep(0.005)
        raise AssertionError("nothing came in time")

    def wait_for_end(self) -> None:
        """Until everything that was sent is done with."""
        self.wait(lambda: self.settled >= self.seq)


def attacked(limits: dict[str, int]) -> tuple[OwnerDuet, RawPeer, Bridge]:
    """An owner with a real engine process and a real session, and the partner."""
    bridge = Bridge("attacked")
    raw = RawPeer(bridge)

    async def build() -> tuple[Session, Any]:
        session = Session("owner", asyncio.get_running_loop(), pace=QUIET)
        service = await start_service(
            session,
            ProcessHost(),
            callback_thread=bridge.callback_thread,
            session_id="owner-id",
            logging=False,
            limits=limits,
        )
        return session, service

    session, service = bridge.call(build(), DEADLINE)
    duet = OwnerDuet(bridge, session, Pairing(), service, session_id="owner-id")
    bridge.call(raw.connect(session), DEADLINE)
    return duet, raw, bridge
