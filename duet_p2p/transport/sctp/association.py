"""An SCTP association (RFC 9260) without a socket, a clock or a thread.

Packets and the time go in; packets and events come out. Its owner does the same thing whatever
happened: hand over what arrived, take the events, send what `transmit` gives, and come back at
`next_deadline`. Two of these in one function are a test.

Both sides begin (RFC 8841 section 9.3), so an INIT that meets our own is the usual case.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from struct import Struct, pack
from typing import Final

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.transport.sctp.chunks import (
    IMMEDIATE,
    Abort,
    Chunk,
    CookieEcho,
    ErrorReport,
    ForwardTsn,
    Heartbeat,
    Init,
    Kind,
    Parameter,
    Reconfig,
    Sack,
    Shutdown,
    Signal,
    Unknown,
    parse_chunk,
)
from duet_p2p.transport.sctp.cookie import CookieJar, packet_limit_of
from duet_p2p.transport.sctp.events import Ended, Established, Event
from duet_p2p.transport.sctp.inbound import Inbound
from duet_p2p.transport.sctp.options import Options
from duet_p2p.transport.sctp.outbound import Outbound
from duet_p2p.transport.sctp.outgoing import Outgoing
from duet_p2p.transport.sctp.packet import (
    Envelope,
    find_chunks,
    header_of,
    sort_chunks,
)
from duet_p2p.transport.sctp.packet_size import PacketSize
from duet_p2p.transport.sctp.pulse import Pulse
from duet_p2p.transport.sctp.repetition import Repetition
from duet_p2p.transport.sctp.replies import Replies
from duet_p2p.transport.sctp.reports import Reports
from duet_p2p.transport.sctp.resets import Resets
from duet_p2p.transport.sctp.states import HEARS_DATA, SENDS_DATA, Input, State, next_state

__all__ = ["Association"]

_DATA_BODY: Final = Struct("!LHHL")
_CAUSE_UNKNOWN_CHUNK: Final = 6
_CAUSE_VIOLATION: Final = 13
_EXTENSIONS: Final = bytes((Kind.RECONFIG, Kind.FORWARD_TSN))


class Association:
    """One side.

    Attributes:
        state: where it is.
        events: what happened, for the owner to take with `take_events`.
        malformed: packets and chunks that were dropped because they do not add up.
        packet_size: how large packets may be. A larger one, sent again, may be cut on its way.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._tag = secrets.randbelow((1 << 32) - 1) + 1
        first = secrets.randbits(32) if options.first is None else options.first
        self._first = first
        self._jar = CookieJar(secrets.token_bytes(32))
        self.state = State.CLOSED
        self.events: list[Event] = []
        self.malformed = 0
        self.outbound = Outbound(first, options.packet)
        self._pulse = Pulse()
        self.packet_size = PacketSize(self.outbound.set_packet)
        # Known once the other side has spoken.
        self._inbound: Inbound | None = None
        self._reports: Reports | None = None
        self._resets: Resets | None = None
        self._incoming: Envelope | None = None
        self._outgoing: Envelope | None = None
        self._peer_tag = 0
        self._packet_limit = 0
        # What waits to be sent.
        self._packets = Replies()
        self._control = Replies()
        self._repetition = Repetition()
        self._began_at = 0.0

    # what the owner does

    def start(self, now: float) -> None:
        """Begins; the other side does the same."""
        if self._move(Input.START):
            self._began_at = now
            self._repeat(self._send_init, now)

    def set_peer_port(self, port: int) -> None:
        """The other side's port, if it is not the one of the options; before the start."""
        self._options = replace(self._options, peer_port=port)

    def send(
        self,
        stream: int,
        ppid: int,
        data: bytes,
        is_ordered: bool = True,
        max_retransmits: int | None = None,
        expires: float | None = None,
    ) -> None:
        """Queues one message; see `post`."""
        self.post(Outgoing(stream, ppid, data, is_ordered, max_retransmits, expires))

    def post(self, message: Outgoing) -> None:
        """Queues one message of at least one byte; dropped when the association has ended."""
        if self.state is not State.ENDED:
            self.outbound.put(message)

    def take_probe(self) -> bytes | None:
        """A packet to be sent now and never cut; that it is lost says only that it is too large."""
        chunks = self.packet_size.due() if self.state in SENDS_DATA else None
        return self._outgoing.wrap(chunks) if chunks and self._outgoing is not None else None

    def reset_stream(self, stream: int) -> None:
        """Says that a stream is over, after what was sent on it."""
        if self._resets is not None:
            self._resets.want(stream)

    def shutdown(self) -> None:
        """Ends once both sides have everything."""
        self._move(Input.SHUTDOWN_WANTED)

    def abort(self) -> None:
        """Ends at once. `transmit` still has the word for the other side."""
        self._end(None, Abort())

    def take_events(self) -> list[Event]:
        """Events since the last time, in order."""
        events = self.events[:]
        self.events.clear()
        return events

    def receive(self, packet: bytes, now: float) -> None:
        """Takes one packet. What cannot be understood is dropped, what is not allowed ends it."""
        if self.state is State.ENDED:
            return
        try:
            if self._incoming is None or not self._incoming.is_mine(packet):
                self._receive_stranger(packet, now)
                return
            placed = find_chunks(packet)
        except ProtocolError:
            self.malformed += 1
            return
        self._pulse.heard_at = now
        try:
            self._take_chunks(packet, placed, now)
        except ProtocolError as problem:
            self._end(str(problem), Abort(((_CAUSE_VIOLATION, b""),)), is_violation=True)

    def transmit(self, now: float) -> list[bytes]:
        """Packets to be sent now; empty when there is nothing to do or no room."""
        self._settle(now)
        ready: list[bytes] = self._packets
        self._packets = Replies()
        envelope = self._outgoing
        if envelope is None or self.state is State.ENDED:
            return ready
        control: list[bytes] = self._control
        self._control = Replies()
        can_send = self.state in SENDS_DATA
        if self._reports is not None:
            ready += [envelope.wrap([report]) for report in self._reports.take_waiting()]
            has_company = can_send and self.outbound.has_work
            report = self._reports.due(has_company=has_company, now=now)
            if report is not None:
                control.insert(0, report)
        if control:
            *full, control = sort_chunks(control, limits.SCTP_PACKET_BYTES)
            ready += map(envelope.wrap, full)
        if can_send:
            ready += map(envelope.wrap, self.outbound.transmit(control, now))
        elif control:
            ready.append(envelope.wrap(control))
        return ready

    @property
    def has_work(self) -> bool:
        """Whether there are events to take, or `transmit` may have more to send at once."""
        return bool(
            self.events
            or self._control
            or self._packets
            or self.outbound.has_work
            or (self._resets is not None and self._resets.has_work)
        )

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, by the owner's clock."""
        if self.state in (State.CLOSED, State.ENDED):
            return None
        deadlines = (
            self._repetition.deadline,
            self._reports.deadline if self._reports is not None else None,
            self.outbound.deadline,
            self._resets.deadline if self._resets is not None else None,
            self._pulse.deadline,
            self.packet_size.deadline,
        )
        return min([found for found in deadlines if found is not None], default=None)

    def tick(self, now: float) -> None:
        """Does what is due."""
        if self.state in (State.CLOSED, State.ENDED):
            return
        reports = self._reports
        if reports is not None and reports.deadline is not None and reports.deadline <= now:
            reports.expire()
        has_given_up = False
        repetition = self._repetition
        if repetition.deadline is not None and repetition.deadline <= now:
            has_given_up = not repetition.again(now, self._pause, self._attempts)
        outbound, resets = self.outbound, self._resets
        if outbound.deadline is not None and outbound.deadline <= now:
            outbound.expire(now)
            if outbound.expiries >= limits.SCTP_NARROW_EXPIRIES:
                self.packet_size.fall_back(now)
        if resets is not None and resets.deadline is not None and resets.deadline <= now:
            resets.repeat(now + outbound.round_trip.timeout * 2 ** min(resets.expiries, 6))
            self._control.append(resets.build_request())
        if self._pulse.deadline is not None and self._pulse.deadline <= now:
            beat = self._pulse.beat(now, outbound.round_trip.timeout)
            if beat is not None:
                self._control.append(bytes(beat))
        size = self.packet_size
        if size.deadline is not None and size.deadline <= now:
            size.expire(now, outbound.round_trip.timeout)
        silent = (outbound.expiries, self._pulse.misses, resets.expiries if resets else 0)
        if max(silent) > limits.SCTP_EXPIRIES or has_given_up:
            self._end("The other side does not answer any more.", Abort())

    @property
    def _attempts(self) -> int:
        is_beginning = self.state in (State.COOKIE_WAIT, State.COOKIE_ECHOED)
        return limits.SCTP_INIT_ATTEMPTS if is_beginning else limits.SCTP_EXPIRIES

    @property
    def is_idle(self) -> bool:
        """Whether the other side has everything that was sent."""
        return self.outbound.is_idle

    # chunks

    def _take_chunks(
        self, packet: bytes, placed: list[tuple[int, int, int, int]], now: float
    ) -> None:
        inbound = self._inbound
        has_data = False
        hears = self.state in HEARS_DATA
        for kind, flags, start, end in placed:
            if kind == 0:
                if end - start < 12:
                    self.malformed += 1
                    return
                if inbound is None or not (hears or self._overtakes(now)):
                    continue
                tsn, stream, sequence, ppid = _DATA_BODY.unpack_from(packet, start)
                inbound.take(tsn, flags, stream, sequence, ppid, packet[start + 12 : end])
                has_data = True
                if flags & IMMEDIATE:
                    inbound.wants_sack = True
                continue
            try:
                chunk = parse_chunk(kind, flags, packet[start:end])
            except ProtocolError:
                self.malformed += 1
                return
            if isinstance(chunk, Unknown):
                if kind & 0x40:
                    self._report(chunk)
                if not kind & 0x80:
                    break
                continue
            self._take(chunk, now)
            hears = self.state in HEARS_DATA
            if self.state is State.ENDED:
                return
        if has_data and self._reports is not None:
            self._reports.heard()

    def _overtakes(self, now: float) -> bool:
        """Whether DATA overtook the COOKIE ACK, or that was lost: who sends it has our cookie."""
        if self.state is not State.COOKIE_ECHOED:
            return False
        self._establish(Input.COOKIE_ACK, now)
        return True

    def _report(self, chunk: Unknown) -> None:
        head = pack("!BBH", chunk.kind, 0, 4 + len(chunk.body))
        report = ErrorReport(((_CAUSE_UNKNOWN_CHUNK, (head + chunk.body)[:512]),))
        self._control.offer(bytes(report))

    def _take(self, chunk: Chunk, now: float) -> None:
        match chunk:
            case Sack(tsn, window, gaps):
                self.outbound.on_sack(tsn, window, gaps, now)
            case Heartbeat(info, is_ack=False):
                if self._outgoing is not None:
                    self._control.offer(bytes(Heartbeat(info, is_ack=True)))
            case Heartbeat(info):
                self._pulse.answered(info, now)
                self.packet_size.answered(info, now)
            case ForwardTsn(tsn, streams):
                if self._inbound is not None:
                    self._inbound.skip(tsn, streams)
            case Reconfig(parameters):
                if self._resets is not None and self._inbound is not None:
                    self._resets.receive(parameters, self._inbound.last)
            case Init(is_ack=True):
                self._on_init_ack(chunk, now)
            case CookieEcho(cookie):
                self._on_cookie(cookie, now)
            case Signal(kind):
                self._on_signal(kind, now)
            case Shutdown(tsn):
                self.outbound.on_sack(tsn, self.outbound.peer_window, (), now)
                if self.state is State.SHUTDOWN_ACK_SENT:
                    self._control.append(bytes(Signal(Kind.SHUTDOWN_ACK)))
                elif self._move(Input.SHUTDOWN) is State.SHUTDOWN_ACK_SENT:
                    self._repeat(self._send_shutdown_ack, now)
            case Abort(causes):
                text = f"The other side gave up ({causes[0][0]})." if causes else None
                self._end(text, None)
            case ErrorReport() if self.state in (State.COOKIE_WAIT, State.COOKIE_ECHOED):
                self._end("The other side refused the association.", None)

    def _on_signal(self, kind: Kind, now: float) -> None:
        if kind is Kind.COOKIE_ACK:
            self._establish(Input.COOKIE_ACK, now)
        elif kind is Kind.SHUTDOWN_ACK:
            if self.state in (State.SHUTDOWN_SENT, State.SHUTDOWN_ACK_SENT):
                assert self._outgoing is not None
                complete = bytes(Signal(Kind.SHUTDOWN_COMPLETE))
                self._packets.append(self._outgoing.wrap([complete]))
                self._end(None, None)
        elif kind is Kind.SHUTDOWN_COMPLETE and self.state is State.SHUTDOWN_ACK_SENT:
            self._end(None, None)

    # beginning

    def _init(self, *, is_ack: bool, cookie: bytes = b"") -> Init:
        parameters: list[tuple[int, bytes]] = [
            (Parameter.EXTENSIONS, _EXTENSIONS),
            (Parameter.FORWARD_TSN, b""),
        ]
        if self._options.packet_limit:
            parameters.append((Parameter.PACKET_LIMIT, pack("!L", self._options.packet_limit)))
        if is_ack:
            parameters.append((Parameter.COOKIE, cookie))
        return Init(
            tag=self._tag,
            window=self._options.window,
            outbound=limits.SCTP_STREAMS,
            inbound=limits.SCTP_STREAMS,
            tsn=self._first,
            parameters=tuple(parameters),
            is_ack=is_ack,
        )

    def _send_init(self) -> None:
        envelope = Envelope(self._options.port, self._options.peer_port, 0)
        self._packets.append(envelope.wrap([bytes(self._init(is_ack=False))]))
        if self._incoming is None:
            self._incoming = Envelope(self._options.peer_port, self._options.port, self._tag)

    def _receive_stranger(self, packet: bytes, now: float) -> None:
        """A packet with another tag: an INIT, an ABORT that reflects ours, or damaged."""
        source, destination, tag = header_of(packet)
        if (source, destination) != (self._options.peer_port, self._options.port):
            return
        [(kind, flags, start, end), *others] = find_chunks(packet)
        chunk = parse_chunk(kind, flags, packet[start:end]) if kind else None
        if isinstance(chunk, Init) and not chunk.is_ack and tag == 0 and not others:
            self._on_init(chunk, now)
        elif isinstance(chunk, Abort) and chunk.is_reflected and tag == self._peer_tag != 0:
            self._end(None, None)

    def _on_init(self, init: Init, now: float) -> None:
        if self.state not in (State.CLOSED, State.COOKIE_WAIT) and init.tag != self._peer_tag:
            return  # over DTLS, a side that starts anew has a new connection
        answer = self._init(is_ack=True, cookie=self._jar.seal(init, now))
        envelope = Envelope(self._options.port, self._options.peer_port, init.tag)
        self._packets.offer(envelope.wrap([bytes(answer)]))
        if self._incoming is None:
            self._incoming = Envelope(self._options.peer_port, self._options.port, self._tag)

    def _on_init_ack(self, init: Init, now: float) -> None:
        cookie = init.find(Parameter.COOKIE)
        if cookie is None or not self._move(Input.INIT_ACK):
            return
        self._meet(init)
        if not self._repetition.count:
            self.outbound.round_trip.measured(now - self._began_at)

        def send_cookie() -> None:
            self._control.append(bytes(CookieEcho(cookie)))

        self._repeat(send_cookie, now)

    def _on_cookie(self, cookie: bytes, now: float) -> None:
        init = self._jar.open(cookie, now)
        if init is None or (self._peer_tag and init.tag != self._peer_tag):
            return
        if not self._peer_tag:
            self._meet(init)
        self._establish(Input.COOKIE_ECHO, now)
        # First in the packet, and again when it was lost.
        self._control.insert(0, bytes(Signal(Kind.COOKIE_ACK)))

    def _meet(self, init: Init) -> None:
        """Takes what the other side brings along."""
        self._peer_tag = init.tag
        self._outgoing = Envelope(self._options.port, self._options.peer_port, init.tag)
        self._inbound = Inbound(
            init.tsn, self._options.window, self._options.max_message, self.events
        )
        self._resets = Resets(self._first, init.tsn)
        self._packet_limit = packet_limit_of(init)  # only ours say one
        self._reports = Reports(self._inbound, for_batches=self._packet_limit > 0)
        gives_up = init.find(Parameter.FORWARD_TSN) is not None
        self.outbound.agree(peer_window=init.window, gives_up=gives_up, packet=self._options.packet)

    def _establish(self, happened: Input, now: float) -> None:
        if self._move(happened):
            self._repetition.stop()
            self._pulse.start(now)
            self.events.append(Established(self._packet_limit))

    # the end, and what follows from everything else

    def _settle(self, now: float) -> None:
        """Whatever has become possible."""
        resets = self._resets
        if resets is not None and resets.has_work:
            assert self._inbound is not None
            can_ask = self.state in SENDS_DATA
            self._control += resets.settle(
                self._inbound, self.outbound, self.events, can_ask=can_ask, now=now
            )
        if self.state in (State.SHUTDOWN_PENDING, State.SHUTDOWN_RECEIVED) and self.is_idle:
            if self._move(Input.ALL_ACKNOWLEDGED) is State.SHUTDOWN_SENT:
                self._repeat(self._send_shutdown, now)
            else:
                self._repeat(self._send_shutdown_ack, now)

    def _send_shutdown(self) -> None:
        assert self._inbound is not None
        self._control.append(bytes(Shutdown(self._inbound.last_wire)))

    def _send_shutdown_ack(self) -> None:
        self._control.append(bytes(Signal(Kind.SHUTDOWN_ACK)))

    def _move(self, happened: Input) -> State | None:
        """The new state, or None when nothing changes."""
        following = next_state(self.state, happened)
        if following is not None:
            self.state = following
        return following

    def _end(self, reason: str | None, word: Abort | None, *, is_violation: bool = False) -> None:
        if not self._move(Input.END):
            return
        if word is not None and self._outgoing is not None:
            self._packets.append(self._outgoing.wrap([bytes(word)]))
        self._repetition.stop()
        self.events.append(Ended(reason, is_violation))

    def _repeat(self, say: Callable[[], None], now: float) -> None:
        self._repetition.begin(say, now, self._pause)

    @property
    def _pause(self) -> float:
        round_trip = self.outbound.round_trip
        is_known = round_trip.smoothed is not None
        return round_trip.timeout if is_known else limits.SCTP_RTO_INITIAL_SECONDS
