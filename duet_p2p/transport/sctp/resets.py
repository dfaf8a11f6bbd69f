"""Streams that start again, which is how a data channel ends (RFC 6525, RFC 8831 section 6.7).

Each side resets the streams that it sends on. A request names the last fragment that was sent
before; the other side answers "in progress" until it has everything up to there. One request is on
its way at a time and is repeated until it is answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from struct import error, pack, unpack_from
from typing import Final

from duet_p2p.errors import ProtocolError
from duet_p2p.transport.sctp.chunks import Parameter, Parameters, Reconfig
from duet_p2p.transport.sctp.events import Event, StreamsReset, StreamsRestarted
from duet_p2p.transport.sctp.inbound import MODULUS, Inbound, unwrap
from duet_p2p.transport.sctp.outbound import Outbound
from duet_p2p.transport.sctp.replies import REPLIES

__all__ = ["Resets", "Result"]

_STREAMS: Final = 128  # named in one request


class Result(IntEnum):
    """How a request ended."""

    NOTHING_TO_DO = 0
    PERFORMED = 1
    DENIED = 2
    BAD_NUMBER = 5
    IN_PROGRESS = 6


@dataclass(frozen=True, slots=True)
class _Request:
    number: int
    last: int
    streams: tuple[int, ...]


class Resets:
    """Requests of both sides.

    Args:
        number: of our first request: our first TSN.
        peer_number: of the other side's first request: its first TSN.

    Attributes:
        done_inbound: streams that the other side has reset, for the caller to take.
        done_outbound: streams that we have reset, for the caller to take.
        answers: parameters that wait to be sent.
        deadline: when our request is repeated, or None.
        expiries: repetitions in a row without any answer.
    """

    def __init__(self, number: int, peer_number: int) -> None:
        self._number = number
        self._expected = peer_number
        self._wanted: list[int] = []
        self._asked: _Request | None = None
        self._deferred: _Request | None = None
        self._last_result: dict[int, Result] = {}
        self.done_inbound: list[tuple[int, ...]] = []
        self.done_outbound: list[tuple[int, ...]] = []
        self.answers: list[tuple[int, bytes]] = []
        self.deadline: float | None = None
        self.expiries = 0

    # ours

    def want(self, stream: int) -> None:
        """A stream is to be reset once its messages are on their way."""
        if stream not in self._wanted:
            self._wanted.append(stream)

    @property
    def wanted(self) -> tuple[int, ...]:
        """Streams of the next request, if one may be made now."""
        return () if self._asked else tuple(self._wanted[:_STREAMS])

    def ask(self, last: int, deadline: float) -> None:
        """Makes the request for `wanted`; `last` is the last fragment sent, on the wire."""
        streams = self.wanted
        self._wanted = self._wanted[len(streams) :]
        self._asked = _Request(self._number, last, streams)
        self._number = (self._number + 1) % MODULUS
        self.expiries = 0
        self.deadline = deadline

    def repeat(self, deadline: float) -> None:
        """No answer came, or not the last one."""
        self.expiries += 1
        self.deadline = deadline

    def build_request(self) -> bytes:
        """Our request as a chunk."""
        asked = self._asked
        assert asked is not None
        numbers = pack("!LLL", asked.number, (self._expected - 1) % MODULUS, asked.last)
        streams = pack(f"!{len(asked.streams)}H", *asked.streams)
        return bytes(Reconfig(((Parameter.RESET_OUTGOING, numbers + streams),)))

    @property
    def has_work(self) -> bool:
        """Whether something is to be asked, answered, performed or reported."""
        return bool(
            self._wanted
            or self._deferred
            or self.answers
            or self.done_inbound
            or self.done_outbound
        )

    def settle(
        self,
        inbound: Inbound,
        outbound: Outbound,
        events: list[Event],
        *,
        can_ask: bool,
        now: float,
    ) -> list[bytes]:
        """Asks, performs, answers and reports whatever has become possible.

        Returns:
            Chunks to be sent.
        """
        chunks = []
        if self.is_due(inbound.last):
            self.check(inbound.last)
        wanted = self.wanted
        if wanted and can_ask and not outbound.is_queued(wanted):
            self.ask(outbound.last_number, now + outbound.round_trip.timeout)
            chunks.append(self.build_request())
        chunks += [bytes(Reconfig((answer,))) for answer in self.answers]
        for streams in self.done_inbound:
            inbound.reset_streams(streams)
            events.append(StreamsReset(streams))
        for streams in self.done_outbound:
            outbound.reset_sequences(streams)
            events.append(StreamsRestarted(streams))
        self.answers.clear()
        self.done_inbound.clear()
        self.done_outbound.clear()
        return chunks

    # the other side's

    def receive(self, parameters: Parameters, last_in: int) -> None:
        """Takes a RE-CONFIG chunk; `last_in` is the last fragment here, counted on past 2**32.

        Raises:
            ProtocolError: a parameter is too short.
        """
        try:
            for kind, value in parameters:
                self._take(kind, value, last_in)
        except error:
            raise ProtocolError("A request about streams is too short.") from None

    def _take(self, kind: int, value: bytes, last_in: int) -> None:
        if kind == Parameter.RESET_RESPONSE:
            self._answered(*unpack_from("!LL", value))
            return
        if kind not in (
            Parameter.RESET_OUTGOING,
            Parameter.RESET_INCOMING,
            Parameter.RESET_TSN,
            Parameter.ADD_OUTGOING,
            Parameter.ADD_INCOMING,
        ):
            return
        number = unpack_from("!L", value)[0]
        if number == (self._expected - 1) % MODULUS and number in self._last_result:
            if self._deferred is None or self._deferred.number != number:
                self._answer(number, self._last_result[number])
            else:
                self.check(last_in)
            return
        if number != self._expected:
            self._answer(number, Result.BAD_NUMBER)
            return
        self._expected = (number + 1) % MODULUS
        if kind == Parameter.RESET_OUTGOING:
            last = unpack_from("!LLL", value)[2]
            streams = unpack_from(f"!{(len(value) - 12) // 2}H", value, 12)
            self._deferred = _Request(number, last, streams)
            self.check(last_in)
        elif kind == Parameter.ADD_OUTGOING:
            # All 65,535 streams exist from the beginning.
            self._answer(number, Result.PERFORMED)
        else:
            self._answer(number, Result.DENIED)

    def check(self, last_in: int) -> None:
        """Performs a request whose fragments are here now, or says that it is in progress."""
        request = self._deferred
        if request is None:
            return
        if unwrap(request.last, last_in) > last_in:
            self._answer(request.number, Result.IN_PROGRESS)
            return
        self._deferred = None
        self.done_inbound.append(request.streams)
        self._answer(request.number, Result.PERFORMED)

    def is_due(self, last_in: int) -> bool:
        """Whether a waiting request can be performed now."""
        request = self._deferred
        return request is not None and unwrap(request.last, last_in) <= last_in

    def _answer(self, number: int, result: Result) -> None:
        if result is not Result.BAD_NUMBER:
            self._last_result = {number: result}
        if len(self.answers) < REPLIES:
            self.answers.append((Parameter.RESET_RESPONSE, pack("!LL", number, result)))

    def _answered(self, number: int, result: int) -> None:
        asked = self._asked
        if asked is None or asked.number != number:
            return
        if result == Result.IN_PROGRESS:
            self.expiries = 0
            return
        # Refused or not: the stream is not used any more.
        self._asked = None
        self.deadline = None
        self.done_outbound.append(asked.streams)
