"""The scientist's side of pairing: one attempt after the other until a link is open.

The join is repeated byte by byte, so that a lossy relay costs time only. A join that brought no
offer for a minute gets a new attempt number: the owner answers each attempt once, and its offer
may have been lost for good.
"""

from __future__ import annotations

import hmac
from dataclasses import replace
from typing import Any

from duet_p2p import limits
from duet_p2p.errors import (
    ConfirmFailed,
    ConnectFailed,
    ConnectionLost,
    DuetError,
    PartnerLeft,
    VersionMismatch,
)
from duet_p2p.protocol.bodies import BodyError, Bye, Caps, Join, Sdp
from duet_p2p.protocol.description import Description
from duet_p2p.protocol.effects import (
    AttemptFailed,
    ClosePeer,
    Ended,
    MakePeer,
    NoAnswerYet,
    Post,
)
from duet_p2p.protocol.machine import NOT_CONFIRMED, Exchange, Machine, same
from duet_p2p.protocol.pairing import SCIENTIST, Live, ScientistEvent, ScientistState, step
from signaling_server.ids import KeyRefused, id_of, verify

__all__ = ["ScientistPairing"]

_NO_PEER = 0  # while joining there is none yet


class ScientistPairing(Machine):
    """Joins one session and rejoins it after a loss.

    Args:
        unix_offset: Unix time minus the clock that gives `now`, in seconds; attempts are numbered
            by it, so that a later process with the same identity has higher numbers.
        arguments: those of `Machine`; `session_id` is the ID that a person passed on.

    Attributes:
        state: of the half-open attempt.
    """

    def __init__(self, *, unix_offset: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.state = ScientistState.IDLE
        self._unix_offset = unix_offset
        self._exchange: Exchange | None = None
        self._attempt = 0
        self._join_body = b""
        self._offer_body = b""
        self._answer_body = b""
        self._failures = 0
        self._not_before = 0.0
        self._next_send = 0.0
        self._interval = limits.JOIN_RESEND_SECONDS
        self._renew_at = 0.0
        self._ask_at: float | None = None
        self._lost_at: float | None = None
        self._opened_at = 0.0
        self._short_links = 0

    # what the shell reports

    def begin(self, now: float) -> None:
        """Starts to join."""
        self._ask_at = now + limits.NO_ANSWER_SECONDS
        self._fire(ScientistEvent.BEGIN, now)

    def relay_is_back(self, now: float) -> None:
        """This side registered again, or the partner came online: repeat at once."""
        self._interval = limits.JOIN_RESEND_SECONDS
        self._fire(ScientistEvent.RESEND, now)

    def gathered(self, peer: int, description: Description, now: float) -> None:
        """See `Machine`: the answer goes out and ICE starts."""
        exchange = self._exchange_of(peer)
        if exchange is None or self.state is not ScientistState.ANSWERING or exchange.answer:
            return
        exchange.answer = self._signed_sdp(exchange, "answer", description)
        self._answer_body = exchange.answer.encode()
        self._emit(Post(self.session_id, self._answer_body))
        self._restart_timer(now)
        self._connect(exchange)

    def connected(self, peer: int, certificate: bytes, now: float) -> None:
        """See `Machine`."""
        exchange = self._exchange_of(peer)
        if exchange is None:
            return
        remote = exchange.remote
        matches = remote is not None and hmac.compare_digest(remote.fingerprint, certificate)
        self._fire(ScientistEvent.CHANNEL_OPEN if matches else ScientistEvent.CERT_DIFFERS, now)

    def failed(self, peer: int, error: DuetError, now: float) -> None:
        """See `Machine`."""
        if self._exchange_of(peer) is not None:
            self._fire(ScientistEvent.FAILED, now, error=error)

    def intruded(self, peer: int, now: float) -> None:
        """See `Machine`."""
        if self._exchange_of(peer) is not None:
            self._fire(ScientistEvent.INTRUSION, now)

    def tick(self, now: float) -> None:
        """See `Machine`."""
        super().tick(now)
        exchange = self._exchange
        if self.state is ScientistState.JOINING:
            if self._ask_at is not None and now >= self._ask_at:
                self._ask_at = None
                self._emit(NoAnswerYet())
            if now >= self._renew_at:
                self._new_attempt(now, pause=0.0)
            elif now >= self._next_send:
                self._fire(ScientistEvent.RESEND, now)
        elif exchange is not None and now >= exchange.deadline:
            confirming = self.state is ScientistState.CONFIRMING
            error = ConfirmFailed(NOT_CONFIRMED) if confirming else self._diagnose(exchange.peer)
            self._fire(ScientistEvent.FAILED, now, error=error)
        elif self.state is ScientistState.ANSWERING and now >= self._next_send:
            self._fire(ScientistEvent.RESEND, now)

    def next_tick(self) -> float | None:
        """See `Machine`."""
        times = [] if (live := super().next_tick()) is None else [live]
        if self.state is ScientistState.JOINING:
            times += [self._next_send, self._renew_at]
            times += [] if self._ask_at is None else [self._ask_at]
        elif self.state is not ScientistState.IDLE and self._exchange is not None:
            times.append(self._exchange.deadline)
            if self.state is ScientistState.ANSWERING:
                times.append(self._next_send)
        return min(times, default=None)

    def close(self, reason: str, now: float) -> None:
        """Ends for good; a partner without a link is told through the relay."""
        if self.live is not None and self.live_state is Live.VERIFIED:
            self._post_bye(self.session_id, self.key.id, self.live.th, reason)
        self._fire(ScientistEvent.CLOSE, now, reason=reason)
        self.is_closed = True

    # what the relay hands over

    def _received(self, from_id: str, message: Join | Sdp, body: bytes, now: float) -> None:
        exchange = self._exchange
        if (
            exchange is None
            or self.state is ScientistState.IDLE
            or not same(from_id, self.session_id)
            or isinstance(message, Join)
            or message.kind != "offer"
        ):
            self.dropped += 1
            return
        if body == self._offer_body:
            self._fire(ScientistEvent.OFFER_SAME, now)
            return
        caps = self._proved_caps(message)
        if caps is None:
            self._fire(ScientistEvent.OFFER_BAD, now)
            return
        if (message.peer_nonce, message.attempt) != (exchange.join.nonce, exchange.attempt):
            self.dropped += 1  # proved, but made for an earlier join: late, or replayed
            return
        if not caps.is_compatible():
            self._fire(ScientistEvent.VERSION, now, offer=message)
            return
        remote = self._parse_remote(message)
        if remote is None:
            self._fire(ScientistEvent.OFFER_BAD, now)
            return
        self._fire(ScientistEvent.OFFER, now, offer=message, remote=remote, caps=caps, body=body)

    def _proved_caps(self, offer: Sdp) -> Caps | None:
        """The capabilities of an offer that the owner of the session ID made for this client."""
        try:
            signer = id_of("owner", offer.pub)
            caps = Caps.parse(offer.caps)
        except (KeyRefused, BodyError):
            return None
        proved = (
            same(signer, self.session_id)
            and same(offer.session_id, self.session_id)
            and same(offer.client_id, self.key.id)
            and verify(offer.pub, offer.signed(), offer.sig)
        )
        return caps if proved else None

    def _received_bye(self, from_id: str, bye: Bye, now: float) -> None:
        if self._live_bye(bye, now):
            return
        exchange = self._exchange
        if exchange is None or not same(from_id, self.session_id):
            self.dropped += 1
        elif self._is_bye(exchange, bye):
            self._fire(ScientistEvent.BYE, now, reason=bye.reason)
        else:
            self.dropped += 1

    def _attempt_frame(self, peer: int, channel: int, data: bytes, now: float) -> None:
        exchange = self._exchange_of(peer)
        if exchange is None:
            return
        right = self._is_confirm(exchange, channel, data)
        self._fire(ScientistEvent.CONFIRM if right else ScientistEvent.INTRUSION, now)

    # the attempt

    def _fire(
        self,
        event: ScientistEvent,
        now: float,
        *,
        offer: Sdp | None = None,
        remote: Description | None = None,
        caps: Caps | None = None,
        body: bytes = b"",
        error: DuetError | None = None,
        reason: str = "",
        pause: float = 0.0,
    ) -> None:
        cell = step(SCIENTIST, self.state, event)
        if cell is None:
            self.dropped += event is not ScientistEvent.RESEND
            return
        exchange = self._exchange
        self.state = cell.to
        match cell.act:
            case "join":
                self._new_attempt(now, pause=pause)
            case "repeat_join":
                self._repeat_join(now)
            case "repeat_answer":
                if self._answer_body:
                    self._emit(Post(self.session_id, self._answer_body))
                self._postpone(now)
            case "answer":
                assert exchange is not None and offer is not None
                exchange.remote, exchange.partner_caps = remote, caps
                self._take_offer(exchange, offer, body, now)
            case "reject":
                if self._count_rejected():
                    self._stop()
            case "refuse_version":
                assert exchange is not None and offer is not None
                self._refuse_version(exchange, offer)
            case "confirm":
                assert exchange is not None
                self._send_confirm(exchange, now)
            case "verify":
                assert exchange is not None
                self._exchange = None
                self._verified(exchange, now)
            case "drop_imposter":
                if self._count_rejected():
                    self._stop()
                else:
                    self._new_attempt(now, pause=self._pause(now))
            case "drop_intruder":
                self._attempt_failed(ConfirmFailed(), now)
            case "fail":
                self._attempt_failed(error or ConnectFailed(), now)
            case "see_off":
                is_version = reason == "version"
                self._end_wait(VersionMismatch() if is_version else PartnerLeft(reason=reason))
            case "leave":
                self._leave(reason)

    def _refuse_version(self, exchange: Exchange, offer: Sdp) -> None:
        exchange.offer = offer
        self._post_bye(self.session_id, self.key.id, exchange.th, "version")
        self._end_wait(VersionMismatch())

    def _take_offer(self, exchange: Exchange, offer: Sdp, body: bytes, now: float) -> None:
        exchange.offer, exchange.partner_pub = offer, offer.pub
        exchange.peer = self._new_peer()
        exchange.deadline = now + limits.CONNECT_SECONDS
        self._offer_body, self._answer_body = body, b""
        self._restart_timer(now)
        self._emit(MakePeer(exchange.peer, controlling=False))

    def _new_attempt(self, now: float, *, pause: float) -> None:
        self._close_peer()
        unix_ms = int((now + self._unix_offset) * 1000)
        self._attempt = max(self._attempt + 1, unix_ms)
        nonce = self._random(16)
        unsigned = Join(
            self.session_id,
            self.key.id,
            self.key.pub,
            nonce,
            self._attempt,
            self.caps,
            bytes(64),
        )
        join = replace(unsigned, sig=self.key.sign(unsigned.signed()))
        self._join_body = join.encode()
        self._exchange = Exchange(
            peer=_NO_PEER,
            client_id=self.key.id,
            join=join,
            attempt=self._attempt,
            deadline=float("inf"),
            own_nonce=nonce,
        )
        self._offer_body = self._answer_body = b""
        self._interval = limits.JOIN_RESEND_SECONDS
        self._not_before = now + pause
        self._renew_at = self._not_before + limits.JOIN_RENEW_SECONDS
        if pause:
            self._next_send = self._not_before
        else:
            self._repeat_join(now)

    def _repeat_join(self, now: float) -> None:
        if now >= self._not_before:
            self._emit(Post(self.session_id, self._join_body, is_join=True))
            self._postpone(now)

    def _restart_timer(self, now: float) -> None:
        self._interval = limits.JOIN_RESEND_SECONDS
        self._postpone(now)

    def _postpone(self, now: float) -> None:
        self._next_send = now + self._interval
        cap = limits.RECONNECT_MAX_SECONDS if self._hurries(now) else limits.JOIN_RESEND_MAX_SECONDS
        self._interval = min(self._interval * limits.JOIN_RESEND_FACTOR, cap)

    def _pause(self, now: float) -> float:
        tries = self._failures + self._short_links
        pause = min(
            limits.RETRY_SECONDS * limits.JOIN_RESEND_FACTOR ** min(tries, 16),
            limits.JOIN_RESEND_MAX_SECONDS,
        )
        return min(pause, limits.RECONNECT_MAX_SECONDS) if self._hurries(now) else pause

    def _hurries(self, now: float) -> bool:
        """Whether a session that was open is waited for."""
        return self._lost_at is not None and now < self._lost_at + limits.RECONNECT_HASTE_SECONDS

    def _attempt_failed(self, error: DuetError, now: float) -> None:
        if self._may_retry(error):
            self._new_attempt(now, pause=self._pause(now))

    def _may_retry(self, error: DuetError) -> bool:
        """Counts a failed attempt after an accepted offer; the third in a row ends the wait."""
        self._failures += 1
        if self._failures < limits.FAILED_ATTEMPTS:
            self._emit(AttemptFailed(self.session_id, error))
            return True
        if not isinstance(error, ConnectFailed):
            error = ConnectFailed(stage="channel", remedy=str(error))
        self._end_wait(error)
        return False

    def _end_wait(self, error: DuetError) -> None:
        self._emit(Ended(error))
        self._stop()

    def _stop(self) -> None:
        self._close_peer()
        self._exchange = None
        self._failures = 0
        self.state = ScientistState.IDLE

    def _leave(self, reason: str) -> None:
        assert self._exchange is not None
        hashes = self._exchange.transcripts()
        # The owner surely has the offer, which is its own; the answer may be on its way.
        th = hashes[-1] if self._exchange.is_confirmed else hashes[:2][-1]
        self._post_bye(self.session_id, self.key.id, th, reason)
        self._stop()

    def _close_peer(self) -> None:
        if self._exchange is not None and self._exchange.peer != _NO_PEER:
            self._emit(ClosePeer(self._exchange.peer))
            self._exchange.peer = _NO_PEER

    def _exchange_of(self, peer: int) -> Exchange | None:
        matches = self._exchange is not None and peer != _NO_PEER and self._exchange.peer == peer
        return self._exchange if matches else None

    # the live slot

    def _opened(self, now: float) -> None:
        self._failures = 0
        self._opened_at = now
        self._lost_at = None
        self._ask_at = None

    def _live_gone(self, error: DuetError, *, was_open: bool, now: float) -> None:
        """Rejoins after a loss; whatever else ended a link was said on purpose."""
        if was_open and not isinstance(error, ConnectionLost):
            self._emit(Ended(error))
        elif was_open:
            # A link that dies as soon as it is open, again and again, must not become a storm.
            is_short = now - self._opened_at < limits.CONFIRM_SECONDS
            self._short_links = self._short_links + 1 if is_short else 0
            self._lost_at = now
            self._ask_at = now + limits.NO_ANSWER_SECONDS
            pause = self._pause(now) if self._short_links > 1 else 0.0
            self._fire(ScientistEvent.BEGIN, now, pause=pause)
        elif self._may_retry(error):
            self._fire(ScientistEvent.BEGIN, now, pause=self._pause(now))
