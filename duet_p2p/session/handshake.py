"""The asyncio shell of pairing: runs a machine until a verified link is open, and keeps running.

After a loss the scientist joins again by itself and the owner accepts the pinned client, with
nothing typed; each new link is handed to the session as the first one was. All callbacks are called
on the loop and must not block.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from duet_p2p import errors, limits
from duet_p2p.errors import (
    ConnectFailed,
    ConnectionLost,
    DuetError,
    PairingTimeout,
    PeerProofError,
    ProtocolError,
)
from duet_p2p.identity.keys import Key
from duet_p2p.protocol.description import Channel, Description
from duet_p2p.protocol.effects import (
    AttemptFailed,
    ClosePeer,
    Connect,
    Effect,
    Ended,
    LinkClosed,
    LinkOpened,
    MakePeer,
    NoAnswerYet,
    PartnerBye,
    PartnerWaiting,
    Post,
    SendProof,
)
from duet_p2p.protocol.owner_pairing import OwnerPairing
from duet_p2p.protocol.scientist_pairing import ScientistPairing
from duet_p2p.session.link import Link
from duet_p2p.session.mdns import resolve_names
from duet_p2p.transport.base import Peer, PeerFactory, Signaling

__all__ = ["Handshake", "PairingEvent"]

_log = logging.getLogger(__name__)

PairingEvent = AttemptFailed | Ended | LinkClosed | NoAnswerYet | PartnerBye | PartnerWaiting

_TICK_SECONDS = 0.005  # shortest timer


class _Run:
    """One peer and the task that works on it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.peer: Peer | None = None
        self.task: asyncio.Task[None] | None = None
        self.early: list[tuple[int, bytes]] = []
        self.early_bytes = 0
        self.link: Link | None = None


class Handshake:
    """Pairs one session with its partner and pairs again after every loss.

    Args:
        key: this side's; its role decides which machine runs.
        caps: the exact bytes of this side's capabilities.
        signaling: the way to the partner; its callbacks belong to this object from `start` on.
        make_peer: makes a peer for each attempt.
        partner_id: scientist: the session ID that a person passed on. Owner: None.
        expected: owner: client IDs that are named already.
        prompt_open: owner: whether a client ID may still be typed.
        on_link: called with each link; attach to it there.
        on_event: called with what a person or a log should know.
        audit_head: owner: head of the audit chain, 32 bytes, or nothing.
        newest_attempts: owner: newest attempts of known peers in earlier launches.
        ice_servers: in place of those that the signalling server hands out.
        relay_only: use TURN only.
        loopback: let loopback candidates through although the server is not local.
        clock: monotonic seconds; the loop's by default.

    Attributes:
        link: the open link, or None.
        error: what ended the pairing for good, or None.
    """

    def __init__(
        self,
        *,
        key: Key,
        caps: bytes,
        signaling: Signaling,
        make_peer: PeerFactory,
        on_link: Callable[[Link], None],
        partner_id: str | None = None,
        expected: Sequence[str] = (),
        prompt_open: bool = False,
        on_event: Callable[[PairingEvent], None] | None = None,
        audit_head: Callable[[], bytes] = bytes,
        newest_attempts: dict[str, int] | None = None,
        ice_servers: Sequence[dict[str, Any]] | None = None,
        relay_only: bool = False,
        loopback: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = clock or self._loop.time
        self._signaling = signaling
        self._make_peer = make_peer
        self._on_link = on_link
        self._on_event = on_event or (lambda event: None)
        self._ice_servers = ice_servers
        self._relay_only = relay_only
        self._loopback = loopback or signaling.is_local
        self._runs: dict[int, _Run] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_draining = False
        self._is_closed = False
        self._changed = asyncio.Event()
        self._remedy = ""
        self._newest_attempts = newest_attempts or {}
        self.link: Link | None = None
        self.error: DuetError | None = None
        self._owner: OwnerPairing | None = None
        self._scientist: ScientistPairing | None = None
        shared: dict[str, Any] = {
            "key": key,
            "caps": caps,
            "loopback": self._loopback,
            "audit_head": audit_head,
            "diagnose": self._diagnose,
        }
        self._machine: OwnerPairing | ScientistPairing
        if key.role == "owner":
            self._machine = self._owner = OwnerPairing(prompt_open=prompt_open, **shared)
        elif partner_id is None:
            raise ValueError("a scientist needs the session ID")
        else:
            self._machine = self._scientist = ScientistPairing(
                session_id=partner_id, unix_offset=time.time() - self._clock(), **shared
            )
        for client_id in expected:
            self.expect(client_id)

    # the session's side

    async def start(self) -> None:
        """Registers at the signalling server and begins.

        Raises:
            SignalingUnreachable, OriginMismatch, SessionReplaced, SessionExpired: see errors.
            DuetError: of `fail`.
        """
        if self.error is not None:
            raise self.error
        self._signaling.on_message = self._on_message
        self._signaling.on_event = self._on_signaling_event
        await self._signaling.start()
        if self._scientist is not None and not self._is_closed:
            self._scientist.begin(self._clock())
        self._drain()

    async def wait(self, timeout: float | None = None) -> Link:
        """The open link, as soon as there is one.

        Raises:
            PairingTimeout: nobody connected in time.
            PeerProofError: messages in the partner's name failed verification.
            DuetError: what else ended the pairing, see `error`.
        """
        try:
            async with asyncio.timeout(timeout):
                while self.link is None:
                    if self.error is not None:
                        raise self.error
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            if isinstance(error, DuetError):
                raise
            raise self.timeout_error() from None
        return self.link

    def timeout_error(self) -> DuetError:
        """The error for a wait that took too long: bad proofs have another one."""
        if self._machine.rejected:
            return PeerProofError()
        return PairingTimeout(f"Nobody connected in time. {self._remedy}".strip())

    @property
    def dropped(self) -> int:
        """Messages from the relay that changed nothing."""
        return self._machine.dropped

    @property
    def rejected(self) -> int:
        """Failed proofs in the partner's name, in this wait."""
        return self._machine.rejected

    @property
    def pinned(self) -> str | None:
        """Owner: the one partner of this session, once there was an open link."""
        return self._owner.pinned if self._owner is not None else None

    def expect(self, client_id: str) -> bool:
        """Owner: admits a client whose ID a person passed on; False if another one is pinned."""
        if self._owner is None:
            raise errors.WrongSide("Only the owner of a session names clients.")
        newest = self._newest_attempts.get(client_id, -1)
        admitted = self._owner.expect(client_id, self._clock(), newest_attempt=newest)
        self._drain()
        return admitted

    def close_prompt(self) -> None:
        """Owner: no client ID will be typed any more."""
        if self._owner is not None:
            self._owner.close_prompt()
            self._drain()

    def link_lost(self, error: DuetError | None = None) -> None:
        """The session gives the link up: the partner is silent, or left, or broke the protocol.

        With `ConnectionLost`, the default, a scientist joins again; any other error ends its
        pairing. An owner goes on waiting for the pinned client in either case.
        """
        for run in self._runs.values():
            if run.link is not None and run.link is self.link:
                self._machine.lost(run.number, self._clock(), error)
                break
        self._drain()

    async def fail(self, error: DuetError) -> None:
        """Ends as the session cannot begin: `wait` raises `error`, who joins gets a goodbye."""
        if self.error is None:
            self._end(error)
        await self.close("error")

    async def close(self, reason: str = "closed") -> None:
        """Ends; may be called twice. A partner without a link gets a signed goodbye."""
        if not self._is_closed:
            self._machine.close(reason, self._clock())
            self._drain()
            self._is_closed = True
            if self._timer is not None:
                self._timer.cancel()
            for number in list(self._runs):
                self._close_run(number)
            if self.link is not None:
                link, self.link = self.link, None
                link.end(errors.SessionClosed())
            self.error = self.error or errors.SessionClosed()
            self._changed.set()
            await self._signaling.close(forget=True)
        if self._closing:
            await asyncio.wait(self._closing, timeout=limits.CONNECT_SECONDS)

    # what happens

    def _on_message(self, from_id: str, body: bytes) -> None:
        self._machine.received(from_id, body, self._clock())
        self._drain()

    def _on_signaling_event(self, event: str, about: str) -> None:
        if event == "closed":
            # A link goes on without the server; a wait cannot.
            if self.link is None:
                kind = getattr(errors, about, errors.SignalingUnreachable)
                self._end(kind() if issubclass(kind, DuetError) else ConnectionLost())
        elif event in ("registered", "online") and self._scientist is not None:
            self._scientist.relay_is_back(self._clock())
        self._drain()

    def _on_frame(self, run: _Run, channel: int, data: bytes) -> None:
        if run.number not in self._runs:
            return  # closed; a frame was still on its way through the loop
        now = self._clock()
        if run.link is not None:  # open, and nobody has attached to it yet
            run.link.deliver(channel, data)
            if not run.link.is_flooded:
                return
            self._machine.lost(run.number, now, ProtocolError())
        elif self._machine.is_verified(run.number) and channel != Channel.CTL:
            # Ready is on its way on channel 0 and may be overtaken.
            run.early.append((channel, data))
            run.early_bytes += len(data)
            if run.early_bytes > limits.LINK_EARLY_BYTES:
                self._machine.lost(run.number, now, ProtocolError())
        else:
            self._machine.frame(run.number, channel, data, now)
        self._drain()

    def _on_closed(self, run: _Run, error: Exception | None) -> None:
        if run.number in self._runs:
            known = error if isinstance(error, DuetError) else ConnectionLost()
            self._machine.lost(run.number, self._clock(), known)
            self._drain()

    def _on_timer(self) -> None:
        self._timer = None
        self._machine.tick(self._clock())
        self._drain()

    # the work on one peer

    async def _gather(self, run: _Run, controlling: bool) -> None:
        """Makes a peer with fresh credentials; its half of the association goes out."""
        servers = await self._fresh_ice_servers()
        run.peer = self._make_peer(
            controlling=controlling,
            ice_servers=servers,
            loopback=self._loopback,
            relay_only=self._relay_only,
        )
        try:
            async with asyncio.timeout(limits.GATHER_SECONDS + 1.0):
                description = await run.peer.gather()
        except TimeoutError:
            raise run.peer.failure() from None
        if run.number in self._runs:
            self._machine.gathered(run.number, description, self._clock())
            self._drain()

    async def _fresh_ice_servers(self) -> Sequence[dict[str, Any]]:
        if self._ice_servers is not None:
            return self._ice_servers
        try:
            async with asyncio.timeout(limits.ICE_REFRESH_SECONDS):
                return await self._signaling.refresh_ice()
        except (TimeoutError, DuetError):
            return self._signaling.ice_servers

    async def _connect(self, run: _Run, remote: Description) -> None:
        peer = run.peer
        assert peer is not None
        resolved = await resolve_names(remote, loopback=self._loopback)
        # The machine has its own deadline for the whole attempt and cancels this task.
        certificate = await peer.connect(resolved)
        if run.number not in self._runs:
            return
        self._machine.connected(run.number, certificate, self._clock())
        # The peer holds back the first frames until somebody listens, which is not before the
        # certificate was compared and our own confirm is queued.
        self._drain()
        if run.number in self._runs:
            peer.on_closed = lambda error: self._on_closed(run, error)
            peer.on_frame = lambda channel, data: self._on_frame(run, channel, data)

    async def _work(self, run: _Run, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs one step of a peer; whatever breaks it ends the attempt, not the session."""
        failure: DuetError
        try:
            await work()
            return
        except DuetError as error:
            failure = error
        except Exception as error:
            _log.exception("an attempt at a connection broke")
            failure = ConnectFailed(stage="ice", remedy=f"{type(error).__name__}: {error}")
        if run.number in self._runs:
            self._machine.failed(run.number, failure, self._clock())
            self._drain()

    def _diagnose(self, number: int) -> ConnectFailed:
        run = self._runs.get(number)
        return run.peer.failure() if run is not None and run.peer is not None else ConnectFailed()

    # effects

    def _drain(self) -> None:
        if self._is_draining:
            return
        self._is_draining = True
        try:
            while effects := self._machine.take_effects():
                for effect in effects:
                    self._perform(effect)
        finally:
            self._is_draining = False
        self._set_timer()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Post(to, body, is_join):
                self._signaling.post(to, body, is_join=is_join)
            case MakePeer(number, controlling):
                run = self._runs[number] = _Run(number)
                run.task = self._task(self._work(run, partial(self._gather, run, controlling)))
            case Connect(number, remote):
                run = self._runs[number]
                run.task = self._task(self._work(run, partial(self._connect, run, remote)))
            case SendProof(number, data):
                self._send_proof(number, data)
            case ClosePeer(number):
                self._close_run(number)
            case LinkOpened():
                self._open_link(effect)
            case LinkClosed(number, _, error):
                self._close_link(number, error)
                self._on_event(effect)
            case AttemptFailed(_, error):
                self._remedy = getattr(error, "remedy", "") or str(error)
                self._on_event(effect)
            case Ended(error):
                self._end(error)
            case PartnerWaiting() | NoAnswerYet() | PartnerBye():
                self._on_event(effect)

    def _send_proof(self, number: int, data: bytes) -> None:
        run = self._runs.get(number)
        if run is None or run.peer is None:
            return
        try:
            run.peer.send(Channel.CTL, data)
        except ConnectionLost as error:
            self._loop.call_soon(self._on_closed, run, error)

    def _open_link(self, opened: LinkOpened) -> None:
        run = self._runs[opened.peer]
        assert run.peer is not None
        link = Link(
            run.peer,
            partner_id=opened.partner_id,
            partner_pub=opened.partner_pub,
            th=opened.th,
            caps=opened.caps,
            audit_head=opened.audit_head,
            attempt=opened.attempt,
            on_second_proof=lambda data: self._second_proof(run, data),
        )
        run.link = self.link = link
        self._remedy = ""
        try:
            self._on_link(link)
        except errors.SessionClosed as error:  # the session ended while this was under way
            self._machine.lost(run.number, self._clock(), error)
            return
        early, run.early = run.early, []
        for channel, data in early:
            link.deliver(channel, data)
        self._changed.set()

    def _second_proof(self, run: _Run, data: bytes) -> None:
        self._machine.frame(run.number, Channel.CTL, data, self._clock())
        self._drain()

    def _close_link(self, number: int, error: DuetError) -> None:
        run = self._runs.get(number)
        link = run.link if run is not None else None
        self._close_run(number)
        if link is not None:
            if self.link is link:
                self.link = None
            link.end(error)

    def _close_run(self, number: int) -> None:
        run = self._runs.pop(number, None)
        if run is not None:
            self._task(self._shut(run), keep=self._closing)

    async def _shut(self, run: _Run) -> None:
        if run.task is not None and run.task is not asyncio.current_task():
            run.task.cancel()
            await asyncio.wait([run.task])
        if run.peer is not None:
            await run.peer.close()

    def _end(self, error: DuetError) -> None:
        """Nothing more will happen by itself; peers without a link are closed."""
        self.error = error
        self._machine.close("error", self._clock())
        self._changed.set()
        self._on_event(Ended(error))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._machine.next_tick()
        if due is not None and not self._is_closed:
            delay = max(_TICK_SECONDS, due - self._clock())
            self._timer = self._loop.call_later(delay, self._on_timer)

    def _task(
        self, work: Coroutine[Any, Any, None], keep: set[asyncio.Task[None]] | None = None
    ) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        if keep is not None:
            keep.add(task)
            task.add_done_callback(keep.discard)
        return task
