"""A signalling server without sockets, and with a clock of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from duet_p2p.identity.keys import Key
from signaling_server import frames
from signaling_server.frames import FromServer
from signaling_server.ids import b64encode, register_input
from signaling_server.limits import Limits
from signaling_server.memory import MemoryBackend
from signaling_server.rooms import Member, Rooms
from signaling_server.turn import IceConfig
from tests.unit.signaling_kit import owner, scientist

ORIGIN = "https://sig.example.org/duet"
OWNER, CLIENT = owner(), scientist()


@dataclass
class Recorder:
    """A socket that writes down what it is told."""

    frames: list[dict[str, Any]] = field(default_factory=list)
    closed: tuple[int, str] | None = None
    is_slow: bool = False

    def put(self, frame: FromServer) -> bool:
        if self.closed or self.is_slow:
            return False
        self.frames.append(json.loads(frames.encode(frame)))
        return True

    def close(self, code: int, reason: str = "") -> None:
        self.closed = self.closed or (code, reason)

    def code(self) -> int | None:
        """Of its close."""
        return self.closed[0] if self.closed else None

    def take(self) -> list[dict[str, Any]]:
        taken, self.frames = self.frames, []
        return taken


class World:
    """One server without sockets."""

    def __init__(self, ice: IceConfig | None = None, **limits: Any) -> None:
        limits.setdefault("message_burst", 10_000)
        limits.setdefault("join_rate", 10_000)
        self.now = 1000.0
        self.limits = Limits(**limits)
        clock: Callable[[], float] = lambda: self.now
        self.backend = MemoryBackend(self.limits, clock)
        self.rooms = Rooms(
            self.backend, self.limits, ice=ice, clock=clock, wall=lambda: 1_767_222_000.9
        )
        self.made = 0

    def enter(self, source: str = "192.0.2.1") -> tuple[Member, Recorder]:
        self.made += 1
        member = self.rooms.enter(f"conn{self.made}", source, ORIGIN, bytes([7]) * 32)
        recorder = Recorder()
        member.socket = recorder
        return member, recorder

    async def say(self, member: Member, **frame: Any) -> None:
        await self.rooms.handle(member, json.dumps(frame))

    async def register(self, key: Key, source: str = "192.0.2.1") -> tuple[Member, Recorder]:
        member, recorder = self.enter(source)
        await self.say(member, **proof(key))
        assert member.registered
        return member, recorder

    async def pair(self, ours: Key = OWNER, theirs: Key = CLIENT) -> tuple[Any, Any, Any, Any]:
        session, out_o = await self.register(ours)
        client, out_s = await self.register(theirs)
        await self.say(client, t="join", to=ours.id, mid="j", body="aa")
        await self.say(session, t="signal", to=theirs.id, mid="o", body="bb")
        assert out_o.frames[-1] == {"t": "ack", "mid": "o", "status": "delivered"}
        out_o.take(), out_s.take()
        return session, out_o, client, out_s


def proof(key: Key, **change: Any) -> dict[str, Any]:
    text = register_input(ORIGIN, bytes([7]) * 32, key.id, key.role)
    return {
        "t": "register",
        "v": 1,
        "id": key.id,
        "role": key.role,
        "pub": b64encode(key.pub),
        "sig": b64encode(key.sign(text)),
    } | change
