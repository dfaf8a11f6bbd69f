"""Real sockets against a real server, for the tests of the signalling server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from duet_p2p.identity.keys import Key
from signaling_server.app import SignalingConfig
from signaling_server.ids import b64decode, b64encode, register_input
from signaling_server.limits import Limits
from signaling_server.server import Server

SECONDS = 5.0


def owner(number: int = 1) -> Key:
    return Key.from_seed(number.to_bytes(32, "big"), "owner")


def scientist(number: int = 1) -> Key:
    return Key.from_seed(number.to_bytes(32, "big"), "scientist")


@dataclass
class Raw:
    """One WebSocket that says exactly what it is told."""

    ws: aiohttp.ClientWebSocketResponse
    hello: dict[str, Any] = field(default_factory=dict)
    close_reason: str = ""

    async def send(self, **frame: Any) -> None:
        await self.ws.send_str(json.dumps(frame))

    async def next(self) -> dict[str, Any]:
        message = await self.ws.receive(SECONDS)
        assert message.type is aiohttp.WSMsgType.TEXT, (message, self.ws.close_code)
        frame = json.loads(message.data)
        assert isinstance(frame, dict)
        return frame

    async def until(self, kind: str) -> dict[str, Any]:
        while (frame := await self.next())["t"] != kind:
            pass
        return frame

    async def close_code(self) -> int | None:
        """Reads on until the server closes; returns its code."""
        async with asyncio.timeout(SECONDS):
            while True:
                message = await self.ws.receive()
                if message.type is aiohttp.WSMsgType.CLOSE:
                    self.close_reason = str(message.extra)
                    return int(message.data)
                if message.type is not aiohttp.WSMsgType.TEXT:
                    return self.ws.close_code

    async def is_silent(self, seconds: float = 0.15) -> bool:
        try:
            await self.ws.receive(seconds)
        except TimeoutError:
            return True
        return False

    def proof(
        self, key: Key, *, origin: str = "", challenge: bytes | None = None
    ) -> dict[str, Any]:
        if challenge is None:
            challenge = b64decode(self.hello["challenge"])
        text = register_input(origin or self.hello["origin"], challenge, key.id, key.role)
        return {
            "t": "register",
            "v": 1,
            "id": key.id,
            "role": key.role,
            "pub": b64encode(key.pub),
            "sig": b64encode(key.sign(text)),
        }

    async def register(self, key: Key) -> dict[str, Any]:
        await self.send(**self.proof(key))
        frame = await self.next()
        assert frame["t"] == "registered", frame
        return frame

    async def until_ack(self, to: str, body: str) -> str:
        """Sends a signal; returns its status, past frames of other kinds."""
        await self.send(t="signal", to=to, mid="m", body=body)
        return str((await self.until("ack"))["status"])

    async def join(self, to: str, mid: str = "m", body: str = "am9pbg") -> dict[str, Any]:
        await self.send(t="join", to=to, mid=mid, body=body)
        return await self.next()

    async def signal(self, to: str, mid: str = "m", body: str = "c2ln") -> dict[str, Any]:
        await self.send(t="signal", to=to, mid=mid, body=body)
        return await self.next()


@dataclass
class Running:
    """A server that listens, and a way in."""

    server: Server
    http: aiohttp.ClientSession
    sockets: list[Raw] = field(default_factory=list)
    """Kept: aiohttp closes a socket that nobody refers to."""

    @property
    def url(self) -> str:
        return self.server.url

    async def connect(self, *, greet: bool = True, **options: Any) -> Raw:
        options.setdefault("protocols", ("duet.v1",))
        raw = Raw(await self.http.ws_connect(self.url + "/v1/ws", **options))
        self.sockets.append(raw)
        if greet:
            raw.hello = await raw.next()
        return raw

    async def member(self, key: Key) -> Raw:
        raw = await self.connect()
        await raw.register(key)
        return raw

    async def pair(self, ours: Key | None = None, theirs: Key | None = None) -> tuple[Raw, Raw]:
        """A session and a client that are linked."""
        ours, theirs = ours or owner(), theirs or scientist()
        session, client = await self.member(ours), await self.member(theirs)
        assert (await client.join(ours.id))["status"] == "accepted"
        assert (await session.next())["t"] == "join"
        assert (await session.signal(theirs.id))["status"] == "delivered"
        assert (await client.next())["t"] == "signal"
        return session, client

    async def refusal(self, **options: Any) -> aiohttp.WSServerHandshakeError:
        """The HTTP answer where no WebSocket was made."""
        try:
            await self.connect(**options)
        except aiohttp.WSServerHandshakeError as error:
            return error
        raise AssertionError("the upgrade was not refused")


@asynccontextmanager
async def running(
    limits: Limits | None = None, config: SignalingConfig | None = None, **options: Any
) -> AsyncIterator[Running]:
    server = Server(config or SignalingConfig(()), limits, port=0, **options)
    async with asyncio.timeout(SECONDS):
        await server.start()
    try:
        async with aiohttp.ClientSession() as http:
            run = Running(server, http)
            try:
                yield run
            finally:
                await asyncio.gather(*(raw.ws.close() for raw in run.sockets))
    finally:
        async with asyncio.timeout(3 * SECONDS):
            await server.close(grace=0)
