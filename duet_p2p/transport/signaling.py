"""The client side of the signalling server: one socket that mends itself.

The server is not trusted with anything. It is still checked that it calls itself by the address
that the user gave: a registration is signed for that address, so another server in between cannot
use it to register in our name.

One task owns the socket. Everybody else only queues for it, so nothing here waits for the network
except `start`, `refresh_ice` and `close`, and each of them has a deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from duet_p2p import errors, limits
from duet_p2p.identity.keys import Key
from duet_p2p.transport import endpoint
from duet_p2p.transport.endpoint import Fatal, Retry
from duet_p2p.transport.ice_servers import usable_ice_servers
from signaling_server import frames
from signaling_server.frames import Close
from signaling_server.ids import b64decode, b64encode, register_input
from signaling_server.urls import is_loopback_url, is_private_url

__all__ = ["WebSocketSignaling"]

log = logging.getLogger(__name__)

_ORIGIN_CHARS: Final = 200  # shown, as ASCII, of an address that a server gives itself
_HTTP_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class _Post:
    to: str
    body: bytes
    is_join: bool
    at: float


class WebSocketSignaling:
    """Implements `transport.base.Signaling` over ``<url>/v1/ws``.

    Args:
        url: of the server, in any spelling.
        key: whose ID is registered.
        timeout: seconds for connecting and registering, once.
        find_again: asked for the URL after each loss; `SignalingUnreachable` leaves the old one.

    Raises:
        SignalingUnreachable: see `endpoint.check_url`.
    """

    def __init__(
        self,
        url: str,
        key: Key,
        *,
        timeout: float = limits.SIGNALING_CONNECT_SECONDS,
        find_again: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        self.url = endpoint.check_url(url)
        self.is_local = is_loopback_url(self.url)
        self.ice_servers: list[dict[str, Any]] = []
        self.on_message: Callable[[str, bytes], None] = lambda sender, body: None
        self.on_event: Callable[[str, str], None] = lambda event, id: None
        self._key = key
        self._timeout = timeout
        self._find_again = find_again
        self._task: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._ws: aiohttp.ClientWebSocketResponse | None = None
        self._posts: deque[_Post] = deque(maxlen=limits.SIGNALING_POSTS)
        self._wake = asyncio.Event()  # something to send, or to do
        self._hurry_until = 0.0
        self._hold_until = 0.0  # the server said `rate`
        self._resting = False
        self._linked = False
        self._registered = False
        self._since: float | None = None
        self._ice_end: int | None = None
        self._ice_waiters: list[asyncio.Future[None]] = []
        self._forget = False
        self._closing = False

    async def start(self) -> None:
        """Connects and registers; from then on losses are mended in the background.

        Raises:
            SignalingUnreachable: no server there, or it is full.
            OriginMismatch: it calls itself by another address.
            ProtocolError: it refused the registration, or speaks another protocol.
            SessionReplaced: another process registered the same ID at once.
            SessionExpired: the server forgot the ID at once.
        """
        if self._task is not None:
            raise RuntimeError("started already")
        self._first = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name="signaling client")
        try:
            await self._first
        except BaseException:
            await self.close(forget=False)
            raise

    def post(self, to: str, body: bytes, *, is_join: bool = False) -> None:
        """Queues one body; of too many the oldest is lost. Ends a rest."""
        if not self._closing:
            self._posts.append(_Post(to, body, is_join, time.monotonic()))
            self._resting = False
            self._wake.set()

    def hurry(self, on: bool) -> None:
        """While an open session is lost, tries again at least every 3 s, for 5 minutes."""
        self._hurry_until = time.monotonic() + limits.SIGNALING_HURRY_SECONDS if on else 0.0
        if on:
            self._resting = False
            self._wake.set()

    def rest(self) -> None:
        """Closes the socket without `bye`, so that links stay; the next post opens it again."""
        self._resting = True
        self._wake.set()

    async def refresh_ice(self) -> list[dict[str, Any]]:
        """Fresh credentials, or the newest known ones where the server does not answer in time."""
        if self._ice_end is None or not self._registered or self._ws is None:
            return self.ice_servers
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ice_waiters.append(waiter)
        with contextlib.suppress(TimeoutError, *_HTTP_ERRORS):
            async with asyncio.timeout(limits.SIGNALING_ICE_SECONDS):
                await self._ws.send_str(frames.encode(frames.IceRequest()))
                await waiter
        if waiter in self._ice_waiters:
            self._ice_waiters.remove(waiter)
        return self.ice_servers

    async def close(self, *, forget: bool) -> None:
        """Ends within a few seconds, and leaves no task and no socket behind."""
        self._closing = True
        self._forget = forget
        self._wake.set()
        task = self._task
        if task is None:
            return
        if not self._registered:
            task.cancel()
        await asyncio.wait({task}, timeout=limits.SIGNALING_CLOSE_SECONDS)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=limits.SIGNALING_CLOSE_SECONDS)
        if self._first is not None and not self._first.done():
            # a task that is cancelled before its first step has told nobody
            self._end(errors.SessionClosed())

    # the life of the socket

    async def _run(self) -> None:
        try:
            await self._keep_connected()
        except Fatal as fatal:
            self._end(fatal.error)
        except asyncio.CancelledError:
            self._end(errors.SessionClosed())
            raise
        except Exception:  # a bug of ours; whoever waits must still hear that it is over
            log.exception("the signalling client failed")
            self._end(errors.SignalingUnreachable())

    async def _keep_connected(self) -> None:
        backoff = limits.BACKOFF_SECONDS
        async with endpoint.http_session() as http:
            while not self._closing:
                if self._resting:
                    await self._wait_for_work(None)
                    continue
                self._since = None
                wait = 0.0
                try:
                    await self._one_socket(http)
                except Retry as retry:
                    if self._first is not None and not self._first.done():
                        raise Fatal(self._unreachable(str(retry))) from None
                    wait = retry.wait
                    await self._look_again()
                if self._lived() > limits.BACKOFF_RESET_SECONDS:
                    backoff = limits.BACKOFF_SECONDS
                if not self._closing and not self._resting:
                    await self._back_off(max(wait, backoff), asked=wait)
                    backoff = min(backoff * limits.BACKOFF_FACTOR, limits.BACKOFF_MAX_SECONDS)

    async def _look_again(self) -> None:
        if self._find_again is not None and not self._closing:
            with contextlib.suppress(errors.SignalingUnreachable):
                self.url = endpoint.check_url(await self._find_again())

    async def _back_off(self, seconds: float, *, asked: float) -> None:
        wait = seconds * random.uniform(0.5, 1.5) if not asked else seconds
        until = time.monotonic() + wait
        hurried = self._is_hurried()
        while not self._closing:
            now = time.monotonic()
            if self._is_hurried() and not asked:
                if not hurried:
                    return  # hurry(True) while waiting: at once
                until = min(until, now + limits.BACKOFF_HURRIED_SECONDS)
            if now >= until:
                return
            await self._wait_for_work(until - now)

    def _lived(self) -> float:
        """Seconds since the newest socket registered; 0.0 if it did not."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    async def _wait_for_work(self, timeout: float | None) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._wake.wait()

    async def _one_socket(self, http: aiohttp.ClientSession) -> None:
        """From connecting to the end of one socket; returns when we wanted that end."""
        ws = await endpoint.connect(http, self.url, self._timeout)
        self._ws = ws
        sender = reader = None
        try:
            silence = await self._register_in_time(ws)
            sender = asyncio.create_task(self._send(ws), name="signaling sender")
            reader = asyncio.create_task(self._receive(ws, silence), name="signaling reader")
            await asyncio.wait({sender, reader}, return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
            sender.result()
        finally:
            self._registered = False
            self._ws = None
            self._settle_ice_waiters()
            for task in (sender, reader):
                if task is not None:
                    task.cancel()
            await asyncio.gather(*(t for t in (sender, reader) if t), return_exceptions=True)
            with contextlib.suppress(*_HTTP_ERRORS):
                async with asyncio.timeout(1.0):
                    await ws.close()

    async def _register_in_time(self, ws: aiohttp.ClientWebSocketResponse) -> float:
        try:
            async with asyncio.timeout(self._timeout):
                return await self._register(ws)
        except TimeoutError:
            raise Retry(f"no registration within {self._timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Retry(endpoint.reason_of(error)) from None

    async def _register(self, ws: aiohttp.ClientWebSocketResponse) -> float:
        """Proves our key; returns after how many seconds of silence the socket counts as lost."""
        hello = await self._next(ws, None)
        if not isinstance(hello, frames.Hello) or hello.v != 1:
            raise Fatal(errors.ProtocolError(f"{self.url} is no Duet signalling server."))
        if hello.origin != self.url:
            raise Fatal(
                errors.OriginMismatch(
                    f"The signalling server at {self.url} calls itself "
                    f"{hello.origin[:_ORIGIN_CHARS]!a}. Use that address if it is the one you "
                    "meant, or another server."
                )
            )
        try:
            challenge = b64decode(hello.challenge)
        except ValueError:
            challenge = b""
        if len(challenge) != 32:
            raise Fatal(errors.ProtocolError(f"{self.url} sent no proper challenge."))
        key = self._key
        proof = register_input(self.url, challenge, key.id, key.role)
        await ws.send_str(
            frames.encode(
                frames.Register(1, key.id, key.role, b64encode(key.pub), b64encode(key.sign(proof)))
            )
        )
        registered = await self._next(ws, None)
        if isinstance(registered, frames.Error):
            await self._next(ws, None)  # the close that follows says what it means
        if not isinstance(registered, frames.Registered):
            raise Retry("the registration was not answered")
        self._take_ice(registered.ice, registered.ice_expires)
        self._registered = True
        self._since = time.monotonic()
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        self.on_event("registered", "")
        heartbeat = float(hello.limits.get("heartbeat", limits.SIGNALING_HEARTBEAT_SECONDS))
        return 2 * min(max(heartbeat, 1.0), 300.0) + 10.0

    async def _receive(self, ws: aiohttp.ClientWebSocketResponse, silence: float) -> None:
        while True:
            frame = await self._next(ws, silence)
            if isinstance(frame, frames.SignalFrom | frames.JoinFrom):
                self._take_message(frame)
            elif isinstance(frame, frames.Peer):
                self._linked = True
                self.on_event(frame.event, frame.id)
            elif isinstance(frame, frames.Ack):
                self._linked = self._linked or frame.status != "accepted"
            elif isinstance(frame, frames.Ice):
                self._take_ice(frame.ice, frame.ice_expires)
                self._settle_ice_waiters()
            elif isinstance(frame, frames.Drain):
                delay = min(max(frame.after_ms, 0) / 1000, limits.BACKOFF_MAX_SECONDS)
                raise Retry("the server goes away", delay)
            elif isinstance(frame, frames.Error) and frame.code == "rate":
                pause = min(max(frame.retry_after or 1.0, 0.0), limits.BACKOFF_MAX_SECONDS)
                self._hold_until = time.monotonic() + pause
                self._settle_ice_waiters()

    async def _next(
        self, ws: aiohttp.ClientWebSocketResponse, silence: float | None
    ) -> frames.FromServer | None:
        """The next frame; raises what a close means."""
        try:
            message = await ws.receive(silence)
        except TimeoutError:
            if silence is None:
                raise
            raise Retry("the server went silent") from None
        if message.type is aiohttp.WSMsgType.TEXT:
            try:
                return frames.parse_from_server(message.data)
            except frames.FrameViolation as error:
                text = f"{self.url} sent a frame that is not of the protocol: {error}."
                raise Fatal(errors.ProtocolError(text)) from None
        code = message.data if message.type is aiohttp.WSMsgType.CLOSE else ws.close_code
        if code == Close.BYE and not self._registered:
            code = None  # it ended before it began
        if code == Close.EXPIRED and self._linked:
            self._resting = True  # registers again when it is needed
            raise Retry("the registration expired")
        raise endpoint.meaning_of_close(self.url, code, str(message.extra or ""))

    async def _send(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        """Sends what is queued, until we want the socket to end."""
        while True:
            pause = self._hold_until - time.monotonic()
            if pause > 0 or not self._posts:
                if self._closing or self._resting:
                    break  # what was posted before has left, unless the server told us to wait
                await self._wait_for_work(pause if pause > 0 else None)
                continue
            post = self._posts.popleft()
            if time.monotonic() - post.at > limits.SIGNALING_POST_SECONDS:
                continue
            kind = frames.Join if post.is_join else frames.Signal
            frame = kind(post.to, secrets.token_urlsafe(9), b64encode(post.body))
            await self._write(ws, frame)
        if self._closing and self._forget:
            await self._write(ws, frames.Bye())

    async def _write(self, ws: aiohttp.ClientWebSocketResponse, frame: frames.ToServer) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await ws.send_str(frames.encode(frame))
        except (aiohttp.ClientError, OSError, TimeoutError):
            raise Retry("the connection was lost while sending") from None

    # what frames and closes mean

    def _take_message(self, frame: frames.SignalFrom | frames.JoinFrom) -> None:
        self._linked = self._linked or isinstance(frame, frames.SignalFrom)
        try:
            body = b64decode(frame.body)
        except ValueError:
            return  # an untrusted relay sent it: the handshake repeats what matters
        self.on_message(frame.sender, body)

    def _take_ice(self, offered: list[Any], expires: int | None) -> None:
        self.ice_servers = usable_ice_servers(offered, allow_private=is_private_url(self.url))
        self._ice_end = expires

    def _settle_ice_waiters(self) -> None:
        for waiter in self._ice_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._ice_waiters.clear()

    def _end(self, error: errors.DuetError) -> None:
        if self._first is not None and not self._first.done():
            self._first.set_exception(error)
            self._first.exception()  # seen: nobody waits any more where start was cancelled
        elif not self._closing:
            self._closing = True
            self.on_event("closed", type(error).__name__)

    def _is_hurried(self) -> bool:
        return time.monotonic() < self._hurry_until

    def _unreachable(self, reason: str) -> errors.SignalingUnreachable:
        return errors.SignalingUnreachable(
            f"The signalling server {self.url} cannot be used: {reason}."
            " Check its address and that it runs."
        )
