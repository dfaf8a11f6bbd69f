"""The owner's side of pairing: which clients count, and the attempt of each.

A join is only believed of a client that a person, an argument or the known peers named. Others are
held, unverified and unseen, in case their ID is typed later; a stranger can neither open a peer
connection here nor learn who is expected.
"""

from __future__ import annotations

import hmac
from collections import deque
from dataclasses import dataclass
from typing import Any

from duet_p2p import limits
from duet_p2p.errors import ConfirmFailed, ConnectFailed, DuetError, VersionMismatch
from duet_p2p.protocol.bodies import BodyError, Bye, Caps, Join, Sdp
from duet_p2p.protocol.description import Description
from duet_p2p.protocol.effects import (
    AttemptFailed,
    ClosePeer,
    MakePeer,
    PartnerBye,
    PartnerWaiting,
    Post,
)
from duet_p2p.protocol.machine import NOT_CONFIRMED, Exchange, Machine, same
from duet_p2p.protocol.pairing import (
    ADMISSION,
    OWNER,
    Admission,
    AdmissionEvent,
    Live,
    OwnerEvent,
    OwnerState,
    step,
)
from duet_p2p.protocol.transcript import transcript_hash
from signaling_server.ids import KeyRefused, id_of, verify

__all__ = ["OwnerPairing"]


@dataclass(slots=True)
class _Client:
    id: str
    admission: Admission = Admission.UNKNOWN
    state: OwnerState = OwnerState.IDLE
    held: tuple[Join, bytes] | None = None
    held_at: float = 0.0
    newest: int = -1
    """Attempt of the newest valid join."""
    join_body: bytes = b""
    refused: int = -1
    """Attempt that was told that its version is wrong."""
    exchange: Exchange | None = None
    offer_body: bytes = b""
    caps: Caps | None = None


class OwnerPairing(Machine):
    """Waits for the clients that it was told to expect; the first one to open is pinned.

    Args:
        prompt_open: whether an ID may still be typed; then joins of others are held.
        arguments: those of `Machine`; `session_id` is the key's own.

    Attributes:
        pinned: the one partner of this session, once a link to it was open.
    """

    def __init__(self, *, prompt_open: bool, **arguments: Any) -> None:
        super().__init__(session_id=arguments["key"].id, **arguments)
        self.prompt_open = prompt_open
        self.pinned: str | None = None
        self._clients: dict[str, _Client] = {}
        self._named = False
        self._turned_away: set[str] = set()
        self._new_held: deque[float] = deque()
        self._said_waiting = False

    # who is expected

    def expect(self, client_id: str, now: float, *, newest_attempt: int = -1) -> bool:
        """Admits a client whose ID came from a person; False if another one is pinned.

        Args:
            client_id: canonical, checked by the parser.
            now: time.
            newest_attempt: of an earlier launch with this identity, so that an older join which a
                relay recorded does not count.
        """
        if self.is_closed or (self.pinned is not None and not same(self.pinned, client_id)):
            return False
        self._named = True
        client = self._clients.setdefault(client_id, _Client(client_id))
        client.newest = max(client.newest, newest_attempt)
        self._fire_admission(client, AdmissionEvent.NAMED, now)
        return True

    def close_prompt(self) -> None:
        """No ID will be typed any more."""
        self.prompt_open = False
        if self._named:
            for client in list(self._clients.values()):
                if client.admission is Admission.HELD:
                    self._fire_admission(client, AdmissionEvent.EXPIRED, 0.0)

    def admission(self, client_id: str) -> Admission:
        """What is known of a client."""
        client = self._clients.get(client_id)
        return client.admission if client else Admission.UNKNOWN

    def state(self, client_id: str) -> OwnerState:
        """The state of a client's half-open attempt."""
        client = self._clients.get(client_id)
        return client.state if client else OwnerState.IDLE

    # what the shell reports

    def gathered(self, peer: int, description: Description, now: float) -> None:
        """See `Machine`: the offer goes out."""
        client = self._client_of(peer)
        if client is None or client.exchange is None:
            return
        exchange = client.exchange
        exchange.offer = self._signed_sdp(exchange, "offer", description)
        client.offer_body = exchange.offer.encode()
        exchange.deadline = now + limits.CONNECT_SECONDS
        self._emit(Post(client.id, client.offer_body))

    def connected(self, peer: int, certificate: bytes, now: float) -> None:
        """See `Machine`."""
        client = self._client_of(peer)
        if client is None or client.exchange is None:
            return
        remote = client.exchange.remote
        matches = remote is not None and hmac.compare_digest(remote.fingerprint, certificate)
        self._fire(client, OwnerEvent.CHANNEL_OPEN if matches else OwnerEvent.CERT_DIFFERS, now)

    def failed(self, peer: int, error: DuetError, now: float) -> None:
        """See `Machine`."""
        client = self._client_of(peer)
        if client is not None:
            self._fire(client, OwnerEvent.FAILED, now, error=error)

    def intruded(self, peer: int, now: float) -> None:
        """See `Machine`."""
        client = self._client_of(peer)
        if client is not None:
            self._fire(client, OwnerEvent.INTRUSION, now)

    def tick(self, now: float) -> None:
        """See `Machine`."""
        super().tick(now)
        for client in list(self._clients.values()):
            if client.exchange is not None and now >= client.exchange.deadline:
                self._fire(client, OwnerEvent.FAILED, now, error=self._timed_out(client))
            held_until = client.held_at + limits.HELD_SECONDS
            if client.admission is Admission.HELD and now >= held_until:
                self._fire_admission(client, AdmissionEvent.EXPIRED, now)

    def next_tick(self) -> float | None:
        """See `Machine`."""
        times = [c.exchange.deadline for c in self._clients.values() if c.exchange is not None]
        times += [
            c.held_at + limits.HELD_SECONDS
            for c in self._clients.values()
            if c.admission is Admission.HELD
        ]
        live = super().next_tick()
        return min(times if live is None else [*times, live], default=None)

    def close(self, reason: str, now: float) -> None:
        """Ends for good; partners without a link are told through the relay."""
        if self.live is not None and self.live_state is Live.VERIFIED:
            self._post_bye(self.live.client_id, self.live.client_id, self.live.th, reason)
        for client in self._clients.values():
            self._fire(client, OwnerEvent.CLOSE, now, reason=reason)
        self.is_closed = True

    # what the relay hands over

    def _received(self, from_id: str, message: Join | Sdp, body: bytes, now: float) -> None:
        own = same(message.session_id, self.session_id) and same(message.client_id, from_id)
        if not own:
            self.dropped += 1
        elif isinstance(message, Join):
            client = self._clients.get(from_id) or _Client(from_id)
            self._fire_admission(client, AdmissionEvent.JOIN, now, message, body)
        else:
            self._received_answer(from_id, message, now)

    def _received_join(self, client: _Client, join: Join, body: bytes, now: float) -> None:
        if join.attempt <= client.newest:
            again = join.attempt == client.newest and body == client.join_body
            self._fire(client, OwnerEvent.JOIN_SAME if again else OwnerEvent.JOIN_OLD, now)
            return
        caps = self._verified_caps(join)
        if caps is None:
            self.dropped += 1
        elif not caps.is_compatible():
            self._post_bye(client.id, client.id, transcript_hash(join.signed()), "version")
            if client.refused != join.attempt:
                client.refused = join.attempt
                self._emit(AttemptFailed(client.id, VersionMismatch()))
        else:
            client.newest, client.join_body, client.caps = join.attempt, body, caps
            self._fire(client, OwnerEvent.JOIN_NEWER, now, join=join)

    def _verified_caps(self, join: Join) -> Caps | None:
        """The capabilities of a join that its client signed, or None."""
        try:
            signer = id_of("scientist", join.pub)
            caps = Caps.parse(join.caps)
        except (KeyRefused, BodyError):
            return None
        valid = same(signer, join.client_id) and verify(join.pub, join.signed(), join.sig)
        return caps if valid else None

    def _received_answer(self, from_id: str, message: Sdp, now: float) -> None:
        client = self._clients.get(from_id)
        if client is None or message.kind != "answer":
            self.dropped += 1
            return
        exchange = client.exchange
        if client.state is not OwnerState.OFFERED:
            self._fire(client, OwnerEvent.ANSWER, now)
            return
        if exchange is None or exchange.offer is None:
            self._drop()  # nothing was offered yet
            return
        join, offer = exchange.join, exchange.offer
        proved = (
            hmac.compare_digest(message.pub, join.pub)
            and hmac.compare_digest(message.caps, join.caps)
            and verify(message.pub, message.signed(), message.sig)
        )
        if not proved:
            self._fire(client, OwnerEvent.ANSWER_BAD, now)
            return
        if (message.own_nonce, message.peer_nonce, message.attempt) != (
            join.nonce,
            offer.own_nonce,
            join.attempt,
        ):
            self._drop()  # a proved answer to an older offer: late, or replayed
            return
        remote = self._parse_remote(message)
        if remote is None:
            self._fire(client, OwnerEvent.ANSWER_BAD, now)
        else:
            self._fire(client, OwnerEvent.ANSWER, now, answer=message, remote=remote)

    def _received_bye(self, from_id: str, bye: Bye, now: float) -> None:
        if self._live_bye(bye, now):
            return
        client = self._clients.get(from_id)
        if client is None or client.exchange is None or not self._is_bye(client.exchange, bye):
            self._drop()
        else:
            self._fire(client, OwnerEvent.BYE, now, reason=bye.reason)

    def _attempt_frame(self, peer: int, channel: int, data: bytes, now: float) -> None:
        client = self._client_of(peer)
        if client is None or client.exchange is None:
            return
        right = self._is_confirm(client.exchange, channel, data)
        self._fire(client, OwnerEvent.CONFIRM if right else OwnerEvent.INTRUSION, now)

    # admission

    def _fire_admission(
        self,
        client: _Client,
        event: AdmissionEvent,
        now: float,
        join: Join | None = None,
        body: bytes = b"",
    ) -> None:
        cell = step(ADMISSION, client.admission, event)
        if cell is None:
            self.dropped += event is AdmissionEvent.JOIN
            return
        match cell.act:
            case "hold" | "hold_newest":
                assert join is not None
                if not self._hold(client, join, body, now):
                    return
            case "pass_on":
                assert join is not None
                self._received_join(client, join, body, now)
            case "forget":
                client.held = None
                self._clients.pop(client.id, None)
            case "refuse":
                self._refuse(client, now)
            case "expect_held":
                held, client.held = client.held, None
                client.admission = cell.to
                if held is not None:
                    self._received_join(client, *held, now)
        client.admission = cell.to

    def _hold(self, client: _Client, join: Join, body: bytes, now: float) -> bool:
        """Keeps an unverified join of a client that nobody named yet; False if it may not."""
        if client.id in self._turned_away and self._verified_caps(join) is not None:
            self._post_bye(client.id, client.id, transcript_hash(join.signed()), "closed")
        if self.pinned is not None or (self._named and not self.prompt_open):
            self._drop()
            return False
        if client.admission is Admission.UNKNOWN:
            while self._new_held and self._new_held[0] <= now - 60.0:
                self._new_held.popleft()
            if len(self._new_held) >= limits.HELD_NEW_PER_MINUTE:
                self._drop()
                return False
            self._new_held.append(now)
            self._push_out()
            self._clients[client.id] = client
        client.held, client.held_at = (join, body), now
        if not self._said_waiting:
            self._said_waiting = True
            self._emit(PartnerWaiting())
        return True

    def _push_out(self) -> None:
        held = [c for c in self._clients.values() if c.admission is Admission.HELD]
        if len(held) >= limits.HELD_CLIENTS:
            oldest = min(held, key=lambda c: c.held_at)
            self._fire_admission(oldest, AdmissionEvent.EXPIRED, oldest.held_at)

    def _refuse(self, client: _Client, now: float) -> None:
        """Another client is the partner of this session."""
        self._turned_away.add(client.id)
        self._fire(client, OwnerEvent.CLOSE, now, reason="closed")
        self._clients.pop(client.id, None)

    # the attempt of one client

    def _fire(
        self,
        client: _Client,
        event: OwnerEvent,
        now: float,
        *,
        join: Join | None = None,
        answer: Sdp | None = None,
        remote: Description | None = None,
        error: DuetError | None = None,
        reason: str = "",
    ) -> None:
        cell = step(OWNER, client.state, event)
        if cell is None:
            self._drop()
            return
        exchange = client.exchange
        client.state = cell.to
        match cell.act:
            case "offer":
                assert join is not None
                self._close_peer(client)
                self._offer(client, join, now)
            case "repeat_offer":
                if client.offer_body:
                    self._emit(Post(client.id, client.offer_body))
            case "connect":
                assert exchange is not None
                exchange.answer, exchange.remote = answer, remote
                self._connect(exchange)
            case "reject":
                self._count_rejected()
            case "confirm":
                assert exchange is not None
                self._send_confirm(exchange, now)
            case "verify":
                assert exchange is not None
                self._verify(client, exchange, now)
            case "drop_imposter":
                self._close_peer(client)
                self._count_rejected()
            case "drop_intruder":
                self._close_peer(client)
                self._emit(AttemptFailed(client.id, ConfirmFailed()))
            case "fail":
                self._close_peer(client)
                self._emit(AttemptFailed(client.id, error or ConnectFailed()))
            case "see_off":
                self._close_peer(client)
                self._emit(PartnerBye(client.id, reason))
            case "leave":
                self._leave(client, reason)

    def _offer(self, client: _Client, join: Join, now: float) -> None:
        client.offer_body = b""
        client.exchange = Exchange(
            peer=self._new_peer(),
            client_id=client.id,
            join=join,
            attempt=join.attempt,
            deadline=now + limits.CONNECT_SECONDS,
            own_nonce=self._random(16),
            partner_pub=join.pub,
            partner_caps=client.caps,
        )
        self._emit(MakePeer(client.exchange.peer, controlling=True))

    def _verify(self, client: _Client, exchange: Exchange, now: float) -> None:
        if self.live is not None and not same(self.live.client_id, client.id):
            # Two expected clients at once: the one that was verified first goes on.
            self._close_peer(client)
            return
        client.exchange = None
        self._verified(exchange, now)

    def _leave(self, client: _Client, reason: str) -> None:
        exchange = client.exchange
        assert exchange is not None
        hashes = exchange.transcripts()
        # The partner may not have seen the offer yet; the join is its own.
        self._post_bye(client.id, client.id, hashes[2] if exchange.answer else hashes[0], reason)
        self._close_peer(client)

    def _close_peer(self, client: _Client) -> None:
        if client.exchange is not None:
            self._emit(ClosePeer(client.exchange.peer))
            client.exchange = None

    def _timed_out(self, client: _Client) -> DuetError:
        assert client.exchange is not None
        if client.state is OwnerState.CONFIRMING:
            return ConfirmFailed(NOT_CONFIRMED)
        if client.state is OwnerState.OFFERED:
            return ConnectFailed(
                stage="signalling", remedy="The partner did not answer; it will try again."
            )
        return self._diagnose(client.exchange.peer)

    def _client_of(self, peer: int) -> _Client | None:
        for client in self._clients.values():
            if client.exchange is not None and client.exchange.peer == peer:
                return client
        return None

    def _drop(self) -> None:
        self.dropped += 1

    # the live slot

    def _opened(self, now: float) -> None:
        assert self.live is not None
        if self.pinned is None:
            self.pinned = self.live.client_id
            self.prompt_open = False
            for client in list(self._clients.values()):
                if not same(client.id, self.pinned):
                    self._fire_admission(client, AdmissionEvent.OTHER_PINNED, now)

    def _live_gone(self, error: DuetError, *, was_open: bool, now: float) -> None:
        """The scientist joins again by itself; the pinned client is still expected."""
