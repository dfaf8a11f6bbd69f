"""What both pairing machines share: one attempt's facts, the live slot, counters, effects.

No I/O: the shell (session/handshake.py) passes `now`, reports what happened to its peers and
drains the effects after each call.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from duet_p2p import limits
from duet_p2p.errors import (
    ConfirmFailed,
    ConnectFailed,
    ConnectionLost,
    DuetError,
    PartnerLeft,
    PeerProofError,
    ProtocolError,
)
from duet_p2p.identity.keys import Key
from duet_p2p.protocol.bodies import BodyError, Bye, Caps, Join, Sdp, parse_body
from duet_p2p.protocol.description import Channel, Description
from duet_p2p.protocol.effects import (
    Connect,
    Effect,
    Ended,
    LinkClosed,
    LinkOpened,
    Post,
    SendProof,
)
from duet_p2p.protocol.pairing import LIVE, Live, LiveEvent, step
from duet_p2p.protocol.proofs import Confirm, ProofError, Ready, parse_proof
from duet_p2p.protocol.sdp import SdpError, build_sdp, parse_sdp, restrict
from duet_p2p.protocol.transcript import transcript_hash
from signaling_server.ids import KeyRefused, Role, id_of, verify

__all__ = ["NOT_CONFIRMED", "Exchange", "Machine", "same", "undiagnosed"]

_Signed = TypeVar("_Signed", Sdp, Bye)

NOT_CONFIRMED = "The partner did not confirm in time."


def same(one: str, other: str) -> bool:
    """Whether two canonical IDs are equal; the full text, in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def undiagnosed(peer: int) -> ConnectFailed:
    """The failure of a peer of which nothing more is known."""
    return ConnectFailed(stage="ice", remedy="No connection came about in time.")


@dataclass(slots=True)
class Exchange:
    """One attempt: the messages so far and what follows from them."""

    peer: int
    """The shell's number of the peer."""
    client_id: str
    join: Join
    attempt: int
    deadline: float
    own_nonce: bytes
    offer: Sdp | None = None
    answer: Sdp | None = None
    remote: Description | None = None
    partner_pub: bytes = b""
    partner_caps: Caps | None = None
    partner_head: bytes = b""
    is_confirmed: bool = False
    """Whether this side's confirm went out: the partner has every message."""

    def transcripts(self) -> tuple[bytes, ...]:
        """The hashes of the join, of join and offer, of all three, as far as they exist."""
        inputs = [self.join.signed()]
        hashes = [transcript_hash(*inputs)]
        for message in (self.offer, self.answer):
            if message is None:
                break
            inputs.append(message.signed())
            hashes.append(transcript_hash(*inputs))
        return tuple(hashes)

    @property
    def th(self) -> bytes:
        """The newest hash; the transcript hash as soon as there is an answer."""
        return self.transcripts()[-1]


class Machine:
    """Base of `OwnerPairing` and `ScientistPairing`.

    Attributes:
        dropped: messages that changed nothing.
        rejected: offers, answers or certificates in the partner's name that failed verification,
            in this wait.
    """

    def __init__(
        self,
        *,
        key: Key,
        caps: bytes,
        session_id: str,
        loopback: bool,
        audit_head: Callable[[], bytes],
        diagnose: Callable[[int], ConnectFailed] = undiagnosed,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        Caps.parse(caps)
        self.key = key
        self.caps = caps
        self.session_id = session_id
        self.loopback = loopback
        self.dropped = 0
        self.rejected = 0
        self.is_closed = False
        self.live_state = Live.NONE
        self.live: Exchange | None = None
        self._live_deadline = 0.0
        self._audit_head = audit_head
        self._diagnose = diagnose
        self._random = random
        self._effects: list[Effect] = []
        self._peers = 0

    # the shell's side

    def take_effects(self) -> list[Effect]:
        """What is to be done now; each effect is handed out once."""
        effects, self._effects = self._effects, []
        return effects

    def received(self, from_id: str, body: bytes, now: float) -> None:
        """The relay handed over a body; nothing about it is believed."""
        if self.is_closed:
            return
        try:
            message = parse_body(body)
        except BodyError:
            self.dropped += 1
            return
        if isinstance(message, Bye):
            self._received_bye(from_id, message, now)
        else:
            self._received(from_id, message, body, now)

    def frame(self, peer: int, channel: int, data: bytes, now: float) -> None:
        """A connected peer received a frame; for the open one, only proofs need to be told."""
        if self.live is not None and peer == self.live.peer:
            self._live_frame(channel, data, now)
        else:
            self._attempt_frame(peer, channel, data, now)

    def lost(self, peer: int, now: float, error: DuetError | None = None) -> None:
        """A peer ended by itself, or the session gave it up."""
        if self.live is not None and peer == self.live.peer:
            self._fire_live(LiveEvent.GONE, error or ConnectionLost(), now)
        elif isinstance(error, ProtocolError):
            self.intruded(peer, now)
        else:
            self.failed(peer, self._diagnose(peer), now)

    def failed(self, peer: int, error: DuetError, now: float) -> None:
        """A half-open peer could not gather or connect, or broke."""
        raise NotImplementedError

    def gathered(self, peer: int, description: Description, now: float) -> None:
        """A peer's own half is known."""
        raise NotImplementedError

    def connected(self, peer: int, certificate: bytes, now: float) -> None:
        """Channel 0 of a peer is open; `certificate` is the SHA-256 of the partner's."""
        raise NotImplementedError

    def intruded(self, peer: int, now: float) -> None:
        """Something came that may not come before the partner is verified."""
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """Time has passed."""
        if self.live_state is Live.VERIFIED and now >= self._live_deadline:
            self._fire_live(LiveEvent.NOT_READY, ConfirmFailed(NOT_CONFIRMED), now)

    def next_tick(self) -> float | None:
        """When `tick` is to be called at the latest."""
        return self._live_deadline if self.live_state is Live.VERIFIED else None

    def is_verified(self, peer: int) -> bool:
        """Whether the partner's key was proved on this peer."""
        return self.live is not None and self.live.peer == peer

    # what the two sides do differently

    def _received(self, from_id: str, message: Join | Sdp, body: bytes, now: float) -> None:
        raise NotImplementedError

    def _received_bye(self, from_id: str, bye: Bye, now: float) -> None:
        raise NotImplementedError

    def _attempt_frame(self, peer: int, channel: int, data: bytes, now: float) -> None:
        raise NotImplementedError

    def _opened(self, now: float) -> None:
        raise NotImplementedError

    def _live_gone(self, error: DuetError, *, was_open: bool, now: float) -> None:
        raise NotImplementedError

    # shared steps of an attempt

    def _partner_id(self, exchange: Exchange) -> str:
        return exchange.client_id if self.key.role == "owner" else self.session_id

    def _new_peer(self) -> int:
        self._peers += 1
        return self._peers

    def _emit(self, effect: Effect) -> None:
        self._effects.append(effect)

    def _count_rejected(self) -> bool:
        """Counts a failed proof; whether it was the one that ends the wait."""
        if self.live_state is not Live.NONE:
            self.dropped += 1
            return False  # nobody waits, and a relay shall not be able to end a live session
        self.rejected += 1
        if self.rejected == limits.BAD_PROOFS:
            self._emit(Ended(PeerProofError()))
            return True
        return False

    def _signed_sdp(self, exchange: Exchange, kind: str, description: Description) -> Sdp:
        """This side's offer or answer."""
        own = restrict(description, loopback=self.loopback)
        peer_nonce = exchange.join.nonce
        if kind == "answer":
            assert exchange.offer is not None
            peer_nonce = exchange.offer.own_nonce
        unsigned = Sdp(
            kind=kind,
            session_id=self.session_id,
            client_id=exchange.client_id,
            pub=self.key.pub,
            own_nonce=exchange.own_nonce,
            peer_nonce=peer_nonce,
            attempt=exchange.attempt,
            fp=own.fingerprint,
            setup=own.setup,
            sdp=build_sdp(own),
            caps=self.caps,
            sig=bytes(64),
        )
        return _with_signature(unsigned, self.key)

    def _parse_remote(self, message: Sdp) -> Description | None:
        try:
            return parse_sdp(
                message.sdp,
                kind=message.kind,
                fp=message.fp,
                setup=message.setup,
                loopback=self.loopback,
            )
        except SdpError:
            return None

    def _connect(self, exchange: Exchange) -> None:
        assert exchange.remote is not None
        self._emit(Connect(exchange.peer, exchange.remote))

    def _send_confirm(self, exchange: Exchange, now: float) -> None:
        head = self._audit_head() if self.key.role == "owner" else b""
        unsigned = Confirm(self.key.role, exchange.th, head, bytes(64))
        signature = self.key.sign(unsigned.signed())
        confirm = Confirm(self.key.role, exchange.th, head, signature)
        self._emit(SendProof(exchange.peer, confirm.encode()))
        exchange.is_confirmed = True
        exchange.deadline = now + limits.CONFIRM_SECONDS

    def _is_confirm(self, exchange: Exchange, channel: int, data: bytes) -> bool:
        """Whether a frame is the partner's valid confirm of this very exchange."""
        if channel != Channel.CTL:
            return False
        try:
            proof = parse_proof(data)
        except ProofError:
            return False
        if not isinstance(proof, Confirm) or proof.role == self.key.role:
            return False
        if not hmac.compare_digest(proof.th, exchange.th):
            return False
        if not verify(exchange.partner_pub, proof.signed(), proof.sig):
            return False
        exchange.partner_head = proof.audit_head
        return True

    def _is_bye(self, exchange: Exchange, bye: Bye, *, whole: bool = False) -> bool:
        """Whether the partner of this exchange said goodbye in it."""
        hashes = exchange.transcripts()
        partner: Role = "scientist" if self.key.role == "owner" else "owner"
        try:
            signer = id_of(partner, bye.pub)
        except KeyRefused:
            return False
        known = any(hmac.compare_digest(bye.th, h) for h in (hashes[2:] if whole else hashes))
        return (
            known
            and bye.role == partner
            and same(signer, self._partner_id(exchange))
            and same(bye.session_id, self.session_id)
            and same(bye.client_id, exchange.client_id)
            and verify(bye.pub, bye.signed(), bye.sig)
        )

    def _post_bye(self, to: str, client_id: str, th: bytes, reason: str) -> None:
        unsigned = Bye(
            self.key.role, self.session_id, client_id, self.key.pub, th, reason, bytes(64)
        )
        self._emit(Post(to, _with_signature(unsigned, self.key).encode()))

    # the live slot

    def _live_frame(self, channel: int, data: bytes, now: float) -> None:
        assert self.live is not None
        if channel != Channel.CTL:
            return  # the shell keeps or delivers it
        try:
            proof = parse_proof(data)
        except ProofError:
            proof = None
        if self.live_state is Live.OPEN:
            if proof is not None:
                error = ProtocolError("The partner sent a second confirm; the link was closed.")
                self._fire_live(LiveEvent.PROOF_AGAIN, error, now)
        elif isinstance(proof, Ready) and hmac.compare_digest(proof.th, self.live.th):
            self._fire_live(LiveEvent.READY, ConnectionLost(), now)
        else:
            self._fire_live(LiveEvent.NOT_READY, ConfirmFailed(), now)

    def _verified(self, exchange: Exchange, now: float) -> None:
        """The partner's confirm was right: the exchange takes the live slot."""
        self._fire_live(LiveEvent.VERIFIED, ConnectionLost("A newer connection took over."), now)
        self.live = exchange
        self._live_deadline = now + limits.CONFIRM_SECONDS
        self._emit(SendProof(exchange.peer, Ready(exchange.th).encode()))

    def _fire_live(self, event: LiveEvent, error: DuetError, now: float) -> None:
        cell = step(LIVE, self.live_state, event)
        if cell is None:
            self.dropped += 1
            return
        was_open = self.live_state is Live.OPEN
        self.live_state = cell.to
        if cell.act == "open":
            self._open(now)
        elif cell.act != "take":  # replace, end
            assert self.live is not None
            self._emit(LinkClosed(self.live.peer, was_open, error))
            self.live = None
            if cell.act == "end":
                self._live_gone(error, was_open=was_open, now=now)

    def _open(self, now: float) -> None:
        assert self.live is not None and self.live.partner_caps is not None
        self.rejected = 0
        self._emit(
            LinkOpened(
                self.live.peer,
                self._partner_id(self.live),
                self.live.partner_pub,
                self.live.th,
                self.live.partner_caps.fields,
                self.live.partner_head,
                self.live.attempt,
            )
        )
        self._opened(now)

    def _live_bye(self, bye: Bye, now: float) -> bool:
        """Ends the live link if its partner said goodbye through the relay."""
        if self.live is None or not self._is_bye(self.live, bye, whole=True):
            return False
        self._fire_live(LiveEvent.GONE, PartnerLeft(reason=bye.reason), now)
        return True


def _with_signature(message: _Signed, key: Key) -> _Signed:
    return replace(message, sig=key.sign(message.signed()))
