"""The chunks of an SCTP packet (RFC 9260 section 3.3, RFC 3758, RFC 6525), as bytes and as values.

DATA and SACK are most of what travels, so their layouts are compiled once and the association
reads and writes them in place; every other chunk is a frozen dataclass on its way in and bytes on
its way out. A chunk that does not add up is one `ProtocolError`, never anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct, error, pack, unpack_from
from typing import Final

from duet_p2p.errors import ProtocolError

__all__ = [
    "DATA",
    "DATA_HEADER_BYTES",
    "SACK",
    "Abort",
    "Chunk",
    "CookieEcho",
    "ErrorReport",
    "ForwardTsn",
    "Heartbeat",
    "Init",
    "Kind",
    "Parameter",
    "Parameters",
    "Reconfig",
    "Sack",
    "Shutdown",
    "Signal",
    "Unknown",
    "build_data",
    "build_padding",
    "build_parameters",
    "build_sack",
    "parse_chunk",
    "parse_parameters",
]

DATA: Final = Struct("!BBHLHHL")  # kind, flags, length, TSN, stream, sequence, payload protocol
DATA_HEADER_BYTES: Final = DATA.size
SACK: Final = Struct("!BBHLLHH")  # kind, flags, length, TSN, window, gap blocks, duplicates
_HEADER: Final = Struct("!BBH")
_INIT: Final = Struct("!LLHHL")
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")  # by length modulo 4

LAST, FIRST, UNORDERED, IMMEDIATE = 1, 2, 4, 8  # flags of DATA
TAG_REFLECTED = 1  # flag of ABORT and SHUTDOWN COMPLETE: the tag is the receiver's own

Parameters = tuple[tuple[int, bytes], ...]


class Kind(IntEnum):
    """What a chunk is. The two highest bits of an unknown one say what becomes of it."""

    DATA = 0
    INIT = 1
    INIT_ACK = 2
    SACK = 3
    HEARTBEAT = 4
    HEARTBEAT_ACK = 5
    ABORT = 6
    SHUTDOWN = 7
    SHUTDOWN_ACK = 8
    ERROR = 9
    COOKIE_ECHO = 10
    COOKIE_ACK = 11
    SHUTDOWN_COMPLETE = 14
    RECONFIG = 130
    PAD = 132
    FORWARD_TSN = 192


class Parameter(IntEnum):
    """Types of parameters in INIT, INIT ACK and RE-CONFIG."""

    COOKIE = 7
    RESET_OUTGOING = 13
    RESET_INCOMING = 14
    RESET_TSN = 15
    RESET_RESPONSE = 16
    ADD_OUTGOING = 17
    ADD_INCOMING = 18
    EXTENSIONS = 0x8008
    FORWARD_TSN = 0xC000
    PACKET_LIMIT = 0x8D75
    """Ours: the largest packet, in bytes, that the sender of INIT takes. Its highest bits let
    others skip it without a word."""


@dataclass(frozen=True, slots=True)
class Init:
    """INIT or INIT ACK."""

    tag: int
    """Verification tag that packets to the sender of this chunk carry; not 0."""
    window: int
    """Bytes that may be on their way to the sender of this chunk."""
    outbound: int
    inbound: int
    tsn: int
    """Number of the first fragment that the sender of this chunk will send."""
    parameters: Parameters
    is_ack: bool = False

    def __bytes__(self) -> bytes:
        body = _INIT.pack(self.tag, self.window, self.outbound, self.inbound, self.tsn)
        kind = Kind.INIT_ACK if self.is_ack else Kind.INIT
        return _build(kind, body + build_parameters(self.parameters))

    def find(self, kind: Parameter) -> bytes | None:
        """The value of the first parameter of a kind."""
        return next((value for found, value in self.parameters if found == kind), None)


@dataclass(frozen=True, slots=True)
class Sack:
    """What has arrived."""

    tsn: int
    """Everything up to here."""
    window: int
    gaps: tuple[tuple[int, int], ...]
    """First and last fragment of blocks that arrived beyond, as distances from `tsn`."""
    duplicates: tuple[int, ...] = ()

    def __bytes__(self) -> bytes:
        return build_sack(self.tsn, self.window, self.gaps, self.duplicates)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """HEARTBEAT, or its echo."""

    info: bytes
    """The parameter, header included, opaque to whoever echoes it."""
    is_ack: bool = False

    def __bytes__(self) -> bytes:
        return _build(Kind.HEARTBEAT_ACK if self.is_ack else Kind.HEARTBEAT, self.info)


@dataclass(frozen=True, slots=True)
class Abort:
    """The end, at once."""

    causes: Parameters = ()
    is_reflected: bool = False

    def __bytes__(self) -> bytes:
        flags = TAG_REFLECTED if self.is_reflected else 0
        return _build(Kind.ABORT, build_parameters(self.causes), flags)


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The sender of this chunk has no more to say, and has everything up to `tsn`."""

    tsn: int

    def __bytes__(self) -> bytes:
        return _build(Kind.SHUTDOWN, pack("!L", self.tsn))


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """ERROR: what the other side could not use."""

    causes: Parameters

    def __bytes__(self) -> bytes:
        return _build(Kind.ERROR, build_parameters(self.causes))


@dataclass(frozen=True, slots=True)
class CookieEcho:
    """The cookie of an INIT ACK, sent back."""

    cookie: bytes

    def __bytes__(self) -> bytes:
        return _build(Kind.COOKIE_ECHO, self.cookie)


@dataclass(frozen=True, slots=True)
class Reconfig:
    """Requests to reset streams, and answers."""

    parameters: Parameters

    def __bytes__(self) -> bytes:
        return _build(Kind.RECONFIG, build_parameters(self.parameters))


@dataclass(frozen=True, slots=True)
class ForwardTsn:
    """Fragments up to `tsn` will not be sent again (RFC 3758)."""

    tsn: int
    streams: tuple[tuple[int, int], ...]
    """Stream and sequence number of the last ordered message that is skipped on it."""

    def __bytes__(self) -> bytes:
        pairs = b"".join(pack("!HH", *pair) for pair in self.streams)
        return _build(Kind.FORWARD_TSN, pack("!L", self.tsn) + pairs)


@dataclass(frozen=True, slots=True)
class Signal:
    """A chunk without a body: SHUTDOWN ACK, COOKIE ACK, SHUTDOWN COMPLETE, PAD."""

    kind: Kind
    is_reflected: bool = False

    def __bytes__(self) -> bytes:
        return _build(self.kind, b"", TAG_REFLECTED if self.is_reflected else 0)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A chunk of a kind that is not used here."""

    kind: int
    body: bytes


Chunk = (
    Init
    | Sack
    | Heartbeat
    | Abort
    | Shutdown
    | ErrorReport
    | CookieEcho
    | Reconfig
    | ForwardTsn
    | Signal
    | Unknown
)


def _build(kind: int, body: bytes, flags: int = 0) -> bytes:
    return _HEADER.pack(kind, flags, 4 + len(body)) + body + _PADDING[len(body) & 3]


def build_data(
    flags: int, tsn: int, stream: int, sequence: int, ppid: int, payload: bytes | memoryview
) -> bytes:
    """A DATA chunk with its padding."""
    size = len(payload)
    header = DATA.pack(0, flags, DATA_HEADER_BYTES + size, tsn, stream, sequence, ppid)
    return b"".join((header, payload, _PADDING[size & 3]))


def build_padding(size: int) -> bytes:
    """A PAD chunk (RFC 4820) of `size` bytes in all, a multiple of 4."""
    return _build(Kind.PAD, bytes(size - _HEADER.size))


def build_sack(
    tsn: int, window: int, gaps: Sequence[tuple[int, int]], duplicates: Sequence[int]
) -> bytes:
    """A SACK chunk."""
    if not (gaps or duplicates):  # nearly all of them
        return SACK.pack(Kind.SACK, 0, SACK.size, tsn, window, 0, 0)
    blocks = [pack("!HH", *gap) for gap in gaps]
    repeated = [pack("!L", duplicate) for duplicate in duplicates]
    length = SACK.size + 4 * (len(blocks) + len(repeated))
    header = SACK.pack(Kind.SACK, 0, length, tsn, window, len(blocks), len(repeated))
    return b"".join((header, *blocks, *repeated))


def build_parameters(parameters: Parameters) -> bytes:
    """Parameters or causes, each but the last padded."""
    parts = []
    for kind, value in parameters:
        parts += [pack("!HH", kind, 4 + len(value)), value, _PADDING[len(value) & 3]]
    return b"".join(parts[:-1])


def parse_parameters(body: bytes) -> Parameters:
    """Raises `ProtocolError` for a length that does not fit."""
    found = []
    position, size = 0, len(body)
    while position + 4 <= size:
        kind, length = unpack_from("!HH", body, position)
        if length < 4 or position + length > size:
            raise ProtocolError("A parameter of an SCTP chunk has a wrong length.")
        found.append((kind, body[position + 4 : position + length]))
        position += (length + 3) & ~3
    return tuple(found)


def parse_chunk(kind: int, flags: int, body: bytes) -> Chunk:
    """Any chunk but DATA; `body` is without header and padding.

    Raises:
        ProtocolError: it is too short, or its parts do not add up.
    """
    try:
        return _parse(kind, flags, body)
    except error:
        raise ProtocolError("An SCTP chunk is too short.") from None


def _parse(kind: int, flags: int, body: bytes) -> Chunk:
    match kind:
        case Kind.SACK:
            return _parse_sack(body)
        case Kind.INIT | Kind.INIT_ACK:
            tag, window, outbound, inbound, tsn = _INIT.unpack_from(body)
            if not (tag and outbound and inbound):
                raise ProtocolError("An INIT without a tag or without streams.")
            found = parse_parameters(body[_INIT.size :])
            return Init(tag, window, outbound, inbound, tsn, found, kind == Kind.INIT_ACK)
        case Kind.HEARTBEAT | Kind.HEARTBEAT_ACK:
            return Heartbeat(body, kind == Kind.HEARTBEAT_ACK)
        case Kind.ABORT:
            return Abort(parse_parameters(body), bool(flags & TAG_REFLECTED))
        case Kind.SHUTDOWN:
            return Shutdown(unpack_from("!L", body)[0])
        case Kind.ERROR:
            return ErrorReport(parse_parameters(body))
        case Kind.COOKIE_ECHO:
            return CookieEcho(body)
        case Kind.RECONFIG:
            return Reconfig(parse_parameters(body))
        case Kind.FORWARD_TSN:
            pairs = [unpack_from("!HH", body, at) for at in range(4, len(body), 4)]
            return ForwardTsn(unpack_from("!L", body)[0], tuple((p[0], p[1]) for p in pairs))
        case Kind.SHUTDOWN_ACK | Kind.COOKIE_ACK | Kind.SHUTDOWN_COMPLETE | Kind.PAD:
            return Signal(Kind(kind), bool(flags & TAG_REFLECTED))
    return Unknown(kind, body)


def _parse_sack(body: bytes) -> Sack:
    tsn, window, gap_count, duplicate_count = unpack_from("!LLHH", body)
    if 12 + 4 * (gap_count + duplicate_count) > len(body):
        raise ProtocolError("A SACK announces more than it holds.")
    numbers = unpack_from(f"!{2 * gap_count}H{duplicate_count}L", body, 12)
    edges = numbers[: 2 * gap_count]
    gaps = tuple(zip(edges[::2], edges[1::2], strict=True))
    return Sack(tsn, window, gaps, numbers[2 * gap_count :])
