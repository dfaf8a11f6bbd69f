"""What both sides go through until two facades can be returned, and after the last call.

A `Lobby` owns the parts of one session that live longer than a connection: the loop's thread, the
key, the way to the signalling server, the handshake and the session. It joins them, tells the
person what happens, gives a lost partner time to come back, and takes everything down again in
order. Everything but `close` and the constructor runs on the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import duet_p2p
from duet_p2p import limits
from duet_p2p.errors import ConnectionLost, DuetError, SessionClosed, SignalingUnreachable
from duet_p2p.identity.files import Identity, open_identity
from duet_p2p.identity.keys import Key, Role, format_id
from duet_p2p.identity.known_peers import KnownPeers
from duet_p2p.meeting import MeetingPoint, renewed_meeting_point
from duet_p2p.prompts import Prompts
from duet_p2p.protocol.effects import AttemptFailed, Ended, LinkClosed, NoAnswerYet, PartnerWaiting
from duet_p2p.session.bridge import Bridge
from duet_p2p.session.bulk_header import EARLY
from duet_p2p.session.deflation import CAPABILITY, capability
from duet_p2p.session.handshake import Handshake, PairingEvent
from duet_p2p.session.link import Link
from duet_p2p.session.session import Session
from duet_p2p.surface.table import DIGEST
from duet_p2p.transport.base import Signaling
from duet_p2p.transport.sctp.choice import SctpClass, choose
from duet_p2p.transport.webrtc import WebRtcPeer

__all__ = ["Lobby"]

_PARTNER: Final[dict[Role, Role]] = {"owner": "scientist", "scientist": "owner"}


class Lobby:
    """The lasting parts of one session.

    Args:
        role: of this side.
        prompts: what is printed.
        identity: name of a stored key, or None for a fresh one.
        partner: the user's own label for the partner, or None.
        ice_servers: in place of those that the signalling server hands out.
        sctp: which data channel to use: ``auto``, ``fast`` or ``stock``.

    Attributes:
        on_closed: called once, when everything is down.
        closers: run on the loop before the connection is closed for good.

    Raises:
        ValueError, IdentityInUse, IdentityFileUnsafe: see `open_identity`.
    """

    def __init__(
        self,
        role: Role,
        prompts: Prompts,
        *,
        identity: str | None,
        partner: str | None,
        ice_servers: Sequence[dict[str, Any]] | None,
        sctp: SctpClass,
    ) -> None:
        choose(sctp)  # a wrong name is an error here, not on the loop's thread
        self.role: Role = role
        self.prompts = prompts
        self.label = partner
        self.on_closed: Callable[[], object] = lambda: None
        self.closers: list[Callable[[], Awaitable[None]]] = []
        self._ice_servers = ice_servers
        self._sctp = sctp
        self._identity: Identity | None = open_identity(identity, role) if identity else None
        self.key = self._identity.key if self._identity else Key.fresh(role)
        self._known = KnownPeers()
        self._meeting: MeetingPoint | None = None
        self._handshake: Handshake | None = None
        self._signaling: Signaling | None = None
        self._timer: asyncio.TimerHandle | None = None  # until a loss is final, or a rest begins
        self._failing: asyncio.Task[None] | None = None  # the pairing ends before anybody came
        self._is_recorded = False
        self._lock = threading.Lock()
        self._is_closed = False
        self.bridge = Bridge(f"duet {self.key.id[:5]}")
        self.session: Session = self.bridge.call(self._make_session())

    @property
    def handshake(self) -> Handshake:
        """The pairing; there is one from `prepare` on."""
        assert self._handshake is not None
        return self._handshake

    async def _make_session(self) -> Session:
        is_owner = self.role == "owner"
        session = Session(self.role, asyncio.get_running_loop(), leaves_ops=is_owner)
        session.on_link_end = self._link_ended
        return session

    async def prepare(
        self,
        signaling: Signaling,
        *,
        meeting: MeetingPoint | None = None,
        partner_id: str | None = None,
        expected: Sequence[str] = (),
        prompt_open: bool = False,
        audit_head: Callable[[], bytes] = bytes,
    ) -> None:
        """Makes the handshake; nothing is sent before `start`.

        Args:
            signaling: not started yet.
            meeting: closed at the end if its server runs in this process.
            partner_id: scientist: the session ID.
            expected: owner: client IDs that are named already.
            prompt_open: owner: whether one will still be typed.
            audit_head: owner: head of the audit log, or nothing; sent with the proof.

        Raises:
            PeerIdentityChanged: the label stood for another ID.
        """
        self._meeting = meeting
        self._signaling = signaling
        for named in ([partner_id] if partner_id else []) + list(expected):
            self.check_label(named)
        others = [peer.id for peer in self._known.trusted(_PARTNER[self.role])]
        remembered = {peer.id: peer.last_attempt for peer in self._known.all()}
        self._handshake = Handshake(
            key=self.key,
            caps=_capabilities(),
            signaling=signaling,
            make_peer=partial(WebRtcPeer, sctp=self._sctp),
            on_link=self._linked,
            partner_id=partner_id,
            expected=[*expected, *others] if self.role == "owner" else (),
            prompt_open=prompt_open,
            on_event=self._event,
            newest_attempts=remembered,
            audit_head=audit_head,
            ice_servers=self._ice_servers,
            relay_only=os.environ.get("DUET_ICE_POLICY") == "relay",
        )

    def expect(self, client_id: str) -> None:
        """Owner: admits the client that took this process's loopback folder."""
        self.handshake.expect(client_id)

    def check_label(self, partner_id: str) -> None:
        """Refuses a partner whose label stood for another ID; raises `PeerIdentityChanged`."""
        if self.label is not None:
            self._known.check_label(self.label, partner_id)

    def forget(self, partner_id: str) -> None:
        """Takes a partner out of the folder's memory."""
        self._known.forget(partner_id)

    async def find_server_again(self) -> str:
        """The URL to register at after a loss; a server that ended with its owner is replaced.

        Raises:
            SignalingUnreachable: none answers, and none could be started here.
        """
        try:
            return await asyncio.to_thread(self._renew_meeting)
        except RuntimeError as error:  # Python ends: no thread can be started any more
            raise SignalingUnreachable() from error

    def _renew_meeting(self) -> str:
        assert self._meeting is not None
        found = renewed_meeting_point(self._meeting)
        with self._lock:
            if self._is_closed and found.server is not None:
                found.server.close()
            elif found is not self._meeting:
                self._meeting = found
                self.bridge.callback_thread.tell(
                    self.prompts.owner_moved, self.key.id, found.text, found.url_to_send
                )
        return found.url

    async def start(self) -> None:
        """Registers and begins; raises what `Handshake.start` raises."""
        try:
            await self.handshake.start()
        except SignalingUnreachable as error:
            if self._meeting is None or not self._meeting.hint:
                raise
            raise SignalingUnreachable(f"{error} {self._meeting.hint}") from None

    def watch(self, on_state: Callable[[str, Exception | None], None]) -> Callable[..., None]:
        """The session's `on_state`, with this lobby's part in front."""

        def both(state: str, error: Exception | None) -> None:
            self._state(state, error)
            on_state(state, error)

        return both

    # what happens

    def _linked(self, link: Link) -> None:
        self.session.attach(link)
        if not self._is_recorded:
            self._is_recorded = True
            self.prompts.say(
                f"Connected. Partner {format_id(link.partner_id)} (verified), "
                f"you {format_id(self.key.id)}, {link.path.kind}"
            )
        # The disk does not belong on this loop.
        self.bridge.callback_thread.tell(self._record, link)

    def _record(self, link: Link) -> None:
        partner = _PARTNER[self.role]
        self._known.record(
            peer_id=link.partner_id,
            pub=link.partner_pub,
            role=partner,
            now=time.time(),
            attempt=link.attempt,
            label=self.label,
            owner_session=self.key.id if self.role == "owner" else link.partner_id,
            audit_head=link.audit_head,
        )

    def _link_ended(self, error: DuetError) -> None:
        if self._handshake is not None:
            self._handshake.link_lost(error)

    def _event(self, event: PairingEvent) -> None:
        say = partial(self.bridge.callback_thread.tell, self.prompts.say)
        match event:
            case PartnerWaiting():
                say("A partner is waiting. Enter the client ID that your partner sent you.")
            case NoAnswerYet():
                say(
                    "No answer yet. Is the owner's session running, was your client ID entered "
                    "there, and do both use the same server?"
                )
            case AttemptFailed(_, error):
                say(str(error))
            case LinkClosed(_, True, ConnectionLost() as error):
                say(f"Connection lost: {error} Trying to connect again.")
            case Ended(error):
                self.session.fail(error)
            case _:
                pass

    def _state(self, state: str, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop, signaling = asyncio.get_running_loop(), self._signaling
        if state == "closed" and isinstance(error, DuetError) and not self.session.links:
            # nobody will ever be let in: who tries is not to wait for it
            self._failing = loop.create_task(self.handshake.fail(error))
        if state == "closed" or signaling is None:
            return
        signaling.hurry(state == "lost")
        if state == "lost":
            self._timer = loop.call_later(limits.RESUME_SECONDS, self._stop_waiting)
            return
        if self.role == "scientist":  # the owner stays reachable, for a join after a loss
            self._timer = loop.call_later(limits.SIGNALING_REST_SECONDS, signaling.rest)
        if self.session.links > 1:
            self.bridge.callback_thread.tell(self.prompts.say, "Connected again.")

    def _stop_waiting(self) -> None:
        self.session.fail(
            ConnectionLost(f"The partner did not come back within {limits.RESUME_SECONDS:.0f} s.")
        )

    # the end

    def close(self) -> None:
        """Takes everything down; any thread but the loop's, may be called twice."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        with contextlib.suppress(SessionClosed, TimeoutError):
            self.bridge.call(self._shut(), limits.LOBBY_CLOSE_SECONDS)
        self.bridge.close()
        if self._meeting is not None and self._meeting.server is not None:
            self._meeting.server.close()
        if self._identity is not None:
            self._identity.close()
        self.on_closed()

    async def _shut(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._failing is not None:
            await asyncio.wait([self._failing])
        for close in self.closers:
            await close()
        await self.session.close()
        if self._handshake is not None:
            await self._handshake.close()


def _capabilities() -> bytes:
    """What this side can do, as the exact bytes that are signed."""
    caps = {
        "v": 1,
        "sw": f"duet-p2p/{duet_p2p.__version__}",
        "max_msg": limits.MESSAGE_MAX_BYTES,
        "ops": DIGEST,
        "conf": 1,
        CAPABILITY: capability(),
        EARLY: limits.BULK_EARLY_WIDE_BYTES,
    }
    return json.dumps(caps, separators=(",", ":")).encode()
