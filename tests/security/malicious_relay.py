"""A malicious signalling server: a real aiohttp server on 127.0.0.1, in a thread of its own.

It speaks the protocol of signaling_server.frames, believes every registration and checks nothing.
What becomes of each body is `on_body`; an attack overrides it, or is given as a function. Two of
them go further and end the encrypted association of both sides themselves, to read along.
"""

import asyncio
import contextlib
import json
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

from aiohttp import WSMsgType, web
from aiortc.sdp import SessionDescription

from duet_p2p import limits
from duet_p2p.protocol.bodies import BodyError, Sdp, parse_body
from duet_p2p.protocol.description import Candidate, Description
from duet_p2p.protocol.sdp import build_sdp, parse_sdp
from duet_p2p.transport.webrtc import WebRtcPeer
from signaling_server import frames
from signaling_server.ids import b64decode, b64encode
from signaling_server.server import bind

Posted = tuple[str, str, bytes]
"""Sender, addressee, body."""
Tamper = Callable[[str, str, bytes], Iterable[Posted]]
SECONDS = 10.0


class MaliciousRelay:
    """Passes bodies on, changed, invented or not at all.

    Attributes:
        posted: every body that it was given, in order.
        registered: every registration frame that it was given.
    """

    def __init__(self, tamper: Tamper | None = None) -> None:
        self.url = ""
        self.posted: list[Posted] = []
        self.registered: list[frames.Register] = []
        self._tamper = tamper
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._waiting: dict[str, list[Posted]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)

    # what an attack overrides

    async def on_body(self, sender: str, to: str, body: bytes) -> Iterable[Posted]:
        """What is delivered instead of this body."""
        return [(sender, to, body)] if self._tamper is None else self._tamper(sender, to, body)

    async def on_hello(self) -> frames.Hello:
        """What it calls itself, and the challenge."""
        return frames.Hello(1, b64encode(secrets.token_bytes(32)), "c", self.url, {})

    async def on_register(self, frame: frames.Register) -> frames.FromServer:
        """The answer to a registration; nothing is checked."""
        return frames.Registered(1, 60.0, [], None)

    async def ended(self) -> None:
        """Cleans up what an attack left behind."""

    # for tests, on another thread

    async def inject(self, *posted: Posted) -> None:
        """Delivers bodies that nobody sent just now."""
        for sender, to, body in posted:
            await self._call(self._deliver(sender, to, body))

    async def cut(self, id: str, code: int) -> None:
        """Closes the socket of one side."""
        await self._call(self._cut(id, code))

    async def _call(self, work: Awaitable[None]) -> None:
        assert self._loop is not None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        async with asyncio.timeout(SECONDS):
            await asyncio.wrap_future(future)

    # the server

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/v1/ws", self._serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        listener = bind("127.0.0.1", 0)
        await web.SockSite(runner, listener).start()
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._started.set()
        try:
            await self._stop.wait()
        finally:
            await self.ended()
            await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(protocols=(frames.SUBPROTOCOL,))
        await ws.prepare(request)
        own = ""
        await ws.send_str(frames.encode(await self.on_hello()))
        async for message in ws:
            if message.type is not WSMsgType.TEXT:
                break
            frame = frames.parse_to_server(message.data, max_body=65_536)
            if isinstance(frame, frames.Register):
                own = frame.id
                self.registered.append(frame)
                answer = await self.on_register(frame)
                await ws.send_str(frames.encode(answer))
                self._sockets[own] = ws
                for posted in self._waiting.pop(own, []):
                    await self._deliver(*posted)
            elif isinstance(frame, frames.Join | frames.Signal):
                await ws.send_str(frames.encode(frames.Ack(frame.mid, "accepted")))
                body = b64decode(frame.body)
                self.posted.append((own, frame.to, body))
                for posted in await self.on_body(own, frame.to, body):
                    await self._deliver(*posted)
            elif isinstance(frame, frames.Bye):
                break
        if self._sockets.get(own) is ws:
            del self._sockets[own]
        await ws.close()
        return ws

    async def _deliver(self, sender: str, to: str, body: bytes) -> None:
        ws = self._sockets.get(to)
        if ws is None:
            self._waiting.setdefault(to, []).append((sender, to, body))
            return
        kind = frames.JoinFrom if b'"kind":"join"' in body else frames.SignalFrom
        with contextlib.suppress(ConnectionError):  # it is just leaving
            await ws.send_str(frames.encode(kind(sender, b64encode(body))))

    async def _cut(self, id: str, code: int) -> None:
        if (ws := self._sockets.get(id)) is not None:
            await ws.close(code=code)


@asynccontextmanager
async def running(relay: MaliciousRelay) -> AsyncIterator[MaliciousRelay]:
    """Runs a relay for one test."""
    relay._thread.start()
    try:
        assert await asyncio.to_thread(relay._started.wait, SECONDS)
        yield relay
    finally:
        assert relay._loop is not None and relay._stop is not None
        relay._loop.call_soon_threadsafe(relay._stop.set)
        await asyncio.to_thread(relay._thread.join, SECONDS)
        assert not relay._thread.is_alive()


# reading along


class Ends(MaliciousRelay):
    """Has WebRTC ends of its own, with certificates of its own, towards both sides.

    Attributes:
        read: the frames that it saw in plain text: who sent them, the channel, the data.
        open: how many of its ends have an encrypted association.
    """

    def __init__(self) -> None:
        super().__init__()
        self.read: list[tuple[str, int, bytes]] = []
        self.open = 0
        self._ends: list[WebRtcPeer] = []
        self._tasks: list[asyncio.Task[None]] = []

    def _new_end(self, *, controlling: bool) -> WebRtcPeer:
        end = WebRtcPeer(controlling=controlling, loopback=True)
        self._ends.append(end)
        return end

    def _join(self, one: tuple[WebRtcPeer, Description], two: tuple[WebRtcPeer, Description]):
        """Connects towards the owner (`one`) and the scientist and copies frames across."""
        self._tasks.append(asyncio.create_task(self._copy(one, two)))

    async def _copy(self, one: tuple[WebRtcPeer, Description], two: tuple[WebRtcPeer, Description]):
        async def connect(end: WebRtcPeer, remote: Description) -> None:
            await end.connect(remote)
            self.open += 1

        with contextlib.suppress(ConnectionError):  # a victim that turned away
            await asyncio.gather(connect(*one), connect(*two))
            self._tap("owner", one[0], two[0])
            self._tap("scientist", two[0], one[0])

    def _tap(self, name: str, source: WebRtcPeer, target: WebRtcPeer) -> None:
        def copy(channel: int, data: bytes) -> None:
            self.read.append((name, channel, data))
            target.send(channel, data)

        source.on_frame = copy

    async def ended(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(end.close() for end in self._ends))


class DuetWire:
    """How to open and forge our bodies; `sign` is what is done about the signature."""

    def __init__(self, sign: Callable[[Sdp], Sdp]) -> None:
        self._sign = sign

    def open(self, body: bytes) -> tuple[str, Description] | None:
        """The kind and the half that is described, or None for other bodies."""
        return _half_of(body)

    def forge(self, body: bytes, own: Description) -> bytes:
        """The same message about another half."""
        message = parse_body(body)
        assert isinstance(message, Sdp)
        changed = replace(message, fp=own.fingerprint, setup=own.setup, sdp=build_sdp(own))
        return self._sign(changed).encode()


class PlainWire:
    """How to open and forge the bodies of an application that signs nothing."""

    def open(self, body: bytes) -> tuple[str, Description] | None:
        """The kind and the half that is described."""
        fields = json.loads(body)
        return fields["kind"], half_of_stock(fields["sdp"])

    def forge(self, body: bytes, own: Description) -> bytes:
        """The same message about another half."""
        return json.dumps(json.loads(body) | {"sdp": build_sdp(own)}).encode()


class ManInTheMiddle(Ends):
    """Puts the descriptions of its own ends in place of those of the two sides.

    Args:
        wire: how the bodies of these two are opened and forged.
        kinds: which of them it forges.
    """

    def __init__(self, wire: DuetWire | PlainWire, kinds: Iterable[str] = ("offer", "answer")):
        super().__init__()
        self._wire = wire
        self._kinds = set(kinds)
        self._forged: dict[bytes, bytes] = {}
        self._offered: dict[str, tuple[Description, WebRtcPeer]] = {}

    async def on_body(self, sender: str, to: str, body: bytes) -> Iterable[Posted]:
        half = self._wire.open(body)
        if half is None or half[0] not in self._kinds:
            return [(sender, to, body)]
        if body not in self._forged:
            self._forged[body] = self._wire.forge(body, await self._replace(sender, to, *half))
        return [(sender, to, self._forged[body])]

    async def _replace(self, sender: str, to: str, kind: str, half: Description) -> Description:
        end = self._new_end(controlling=kind == "offer")
        own = await end.gather()
        if kind == "offer":
            self._offered[to] = half, end
        elif sender in self._offered:
            offer, towards_scientist = self._offered[sender]
            self._join((end, offer), (towards_scientist, half))
        return own


class OnPath(Ends):
    """Leaves every message as it is, and ends the association on the way of the packets.

    It has the ICE passwords, since they are in the messages, so its ends pass for the partner until
    the certificates are shown. `detours` is the network's part: where packets for the half with a
    certain ICE name arrive. See `detoured`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.detours: dict[str, Description] = {}
        self._offered: dict[str, tuple[Description, WebRtcPeer]] = {}
        self._seen: set[bytes] = set()

    async def on_body(self, sender: str, to: str, body: bytes) -> Iterable[Posted]:
        half = _half_of(body)
        if half is not None and body not in self._seen:
            self._seen.add(body)
            kind, description = half
            end = await self._pass_for(description, controlling=kind == "offer")
            if kind == "offer":
                self._offered[to] = description, end
            else:
                offer, towards_scientist = self._offered[sender]
                self._join((end, offer), (towards_scientist, description))
        return [(sender, to, body)]

    async def _pass_for(self, half: Description, *, controlling: bool) -> WebRtcPeer:
        end = self._new_end(controlling=controlling)
        connection = end._gatherer._connection
        connection._local_username, connection._local_password = half.ufrag, half.pwd
        self.detours[half.ufrag] = await end.gather()
        return end


def detoured(relay: OnPath, *, blind: bool) -> type[WebRtcPeer]:
    """A victim's peer whose packets a network sends to the relay instead of the partner.

    With `blind` it compares no certificate: then this attack succeeds.
    """

    class Detoured(WebRtcPeer):
        async def connect(self, remote: Description) -> bytes:
            there = relay.detours[remote.ufrag]
            changed = replace(remote, candidates=there.candidates)
            if not blind:
                return await super().connect(changed)
            await super().connect(replace(changed, fingerprint=there.fingerprint))
            return remote.fingerprint

    return Detoured


def _half_of(body: bytes) -> tuple[str, Description] | None:
    try:
        message = parse_body(body)
    except BodyError:
        return None
    if not isinstance(message, Sdp):
        return None
    half = parse_sdp(
        message.sdp, kind=message.kind, fp=message.fp, setup=message.setup, loopback=True
    )
    return message.kind, half


def half_of_stock(text: str) -> Description:
    """The half in the SDP of a stock RTCPeerConnection."""
    [media] = SessionDescription.parse(text).media
    assert media.dtls is not None
    [fingerprint] = [f.value for f in media.dtls.fingerprints if f.algorithm == "sha-256"]
    [setup] = [line[8:].strip() for line in text.splitlines() if line.startswith("a=setup:")]
    return Description(
        ufrag=str(media.ice.usernameFragment),
        pwd=str(media.ice.password),
        fingerprint=bytes.fromhex(fingerprint.replace(":", "")),
        setup=setup,
        candidates=tuple(
            Candidate(found.foundation, found.priority, found.ip, found.port, found.type)
            for found in media.ice_candidates
        ),
        max_message_size=limits.MESSAGE_MAX_BYTES,
    )
