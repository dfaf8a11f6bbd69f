"""What travels on the server's sockets: UTF-8 JSON, one object per frame, a closed schema per type.

This is where trust ends, for the server and for its clients alike. A frame is parsed strictly:
the same text must not mean two things to two readers, so duplicate keys, NaN and deep nesting are
violations that close the socket. A known JSON object that fits no schema is refused, and the socket
lives. Unknown keys are ignored, so that a later version can add some. Bodies are opaque here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import msgspec

from signaling_server.ids import b64decode, role_of
from signaling_server.limits import FRAME_DEPTH, MID_CHARS

__all__ = [
    "SUBPROTOCOL",
    "Ack",
    "Bye",
    "Close",
    "Drain",
    "Error",
    "FrameRefused",
    "FrameViolation",
    "FromServer",
    "Hello",
    "Ice",
    "IceRequest",
    "Join",
    "JoinFrom",
    "Peer",
    "Register",
    "Registered",
    "Signal",
    "SignalFrom",
    "ToServer",
    "encode",
    "parse_from_server",
    "parse_to_server",
]

SUBPROTOCOL: Final = "duet.v1"

Id = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-HJKMNP-TV-Z]{32}\Z")]
Mid = Annotated[str, msgspec.Meta(pattern=rf"\A[A-Za-z0-9_-]{{1,{MID_CHARS}}}\Z")]
Body = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]*\Z")]
Status = Literal["accepted", "delivered", "queued", "no_peer", "full"]
ErrorCode = Literal[
    "bad_frame", "too_big", "not_registered", "not_linked", "rate", "overload", "backend"
]


class Close:
    """Close codes of this protocol."""

    BYE = 1000
    RESTART = 1012
    OVERLOAD = 1013
    REPLACED = 4000
    PROOF = 4001
    PROTOCOL = 4002
    RATE = 4003
    EXPIRED = 4004
    SLOW = 4005


class FrameViolation(ValueError):
    """A text that is not one strict JSON object: the socket is closed with 4002."""


class FrameRefused(ValueError):
    """A frame that fits no schema: answered with an `Error`, the socket lives.

    Attributes:
        code: ``bad_frame`` or ``too_big``.
        mid: the sender's number of the frame, where it has a valid one.
    """

    def __init__(self, code: ErrorCode, message: str, mid: str | None = None) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.mid = mid


# to the server


class Register(msgspec.Struct, frozen=True, tag_field="t", tag="register"):
    """Claims an ID for this socket."""

    v: Literal[1]
    id: Id
    role: Literal["owner", "scientist"]
    pub: str
    """Base64url of 33 bytes: algorithm and key."""
    sig: str
    """Base64url of 64 bytes: signature of `ids.register_input`."""

    def keys(self) -> tuple[bytes, bytes]:
        """The public key and the signature; `ValueError` where they are not base64url."""
        return b64decode(self.pub), b64decode(self.sig)


class Join(msgspec.Struct, frozen=True, tag_field="t", tag="join"):
    """From a client to a session; needs no link."""

    to: Id
    mid: Mid
    body: Body


class Signal(msgspec.Struct, frozen=True, tag_field="t", tag="signal"):
    """Between linked IDs."""

    to: Id
    mid: Mid
    body: Body


class IceRequest(msgspec.Struct, frozen=True, tag_field="t", tag="ice"):
    """Asks for fresh credentials."""


class Bye(msgspec.Struct, frozen=True, tag_field="t", tag="bye"):
    """Forget my ID, its queue and its links."""


# from the server


class Hello(msgspec.Struct, frozen=True, tag_field="t", tag="hello"):
    """The first frame on a socket."""

    v: int
    challenge: str
    """Base64url of 32 random bytes, made for this socket."""
    conn: str
    """A random name of this socket, for the logs of both sides."""
    origin: str
    """Which of its own URLs the server was reached at."""
    limits: dict[str, int | float]


class Registered(msgspec.Struct, frozen=True, tag_field="t", tag="registered"):
    """The proof was right; messages that waited come next."""

    epoch: int
    """How many registrations this ID has had."""
    ttl: float
    """Seconds that the ID stays known without activity."""
    ice: list[Any]
    ice_expires: int | None
    """Unix time at which the credentials end; None where there are none that end."""


class JoinFrom(msgspec.Struct, frozen=True, tag_field="t", tag="join", rename={"sender": "from"}):
    """A client's join."""

    sender: Id
    body: Body


class SignalFrom(
    msgspec.Struct, frozen=True, tag_field="t", tag="signal", rename={"sender": "from"}
):
    """A linked partner's signal."""

    sender: Id
    body: Body


class Ack(msgspec.Struct, frozen=True, tag_field="t", tag="ack"):
    """What became of a message; on links only, otherwise always ``accepted``."""

    mid: Mid
    status: Status


class Peer(msgspec.Struct, frozen=True, tag_field="t", tag="peer"):
    """A linked partner came or went."""

    id: Id
    event: Literal["online", "offline"]


class Ice(msgspec.Struct, frozen=True, tag_field="t", tag="ice"):
    """Fresh credentials."""

    ice: list[Any]
    ice_expires: int | None


class Drain(msgspec.Struct, frozen=True, tag_field="t", tag="drain"):
    """This server goes away: reconnect after that many milliseconds."""

    after_ms: int


class Error(msgspec.Struct, frozen=True, tag_field="t", tag="error", omit_defaults=True):
    """A frame was refused."""

    code: ErrorCode
    message: str
    retry_after: float | None = None
    """Seconds, for ``rate``."""
    mid: Mid | None = None


ToServer = Register | Join | Signal | IceRequest | Bye
FromServer = Hello | Registered | JoinFrom | SignalFrom | Ack | Peer | Ice | Drain | Error

_TO_SERVER: Final = frozenset({"register", "join", "signal", "ice", "bye"})
_FROM_SERVER: Final = frozenset(
    {"hello", "registered", "join", "signal", "ack", "peer", "ice", "drain", "error"}
)
_MID: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{MID_CHARS}}}", re.ASCII)
_SURROGATES: Final = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_BRACKETS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|([\[{])|([\]}])', re.DOTALL)
_ENCODER: Final = msgspec.json.Encoder()


def encode(frame: ToServer | FromServer) -> str:
    """The text of a frame."""
    return _ENCODER.encode(frame).decode()


def parse_to_server(text: str, *, max_body: int) -> ToServer:
    """A client's frame, as the server reads it.

    Raises:
        FrameViolation: not one strict JSON object.
        FrameRefused: an unknown type, a wrong schema, or a body above `max_body` characters.
    """
    value = _parse_object(text)
    mid = _mid_of(value)
    if _type_of(value) not in _TO_SERVER:
        raise FrameRefused("bad_frame", "unknown type", mid)
    body = value.get("body")
    if isinstance(body, str) and len(body) > max_body:
        raise FrameRefused("too_big", f"a body is at most {max_body} characters", mid)
    try:
        _check_pairs(text, value)
        frame: ToServer = msgspec.convert(value, ToServer)
    except (msgspec.ValidationError, UnicodeEncodeError):
        # The text of the first would repeat what was sent; the second is a lone surrogate.
        raise FrameRefused("bad_frame", f"not a {value['t']} frame", mid) from None
    if isinstance(frame, Join | Signal) and role_of(frame.to) is None:
        raise FrameRefused("bad_frame", "not an ID", mid)
    return frame


def parse_from_server(text: str) -> FromServer | None:
    """A server's frame, as a client reads it; None for a type that this version does not know.

    Raises:
        FrameViolation: not one strict JSON object, or a known type with a wrong schema: a client
            has no use for a server that it cannot understand.
    """
    value = _parse_object(text)
    if _type_of(value) not in _FROM_SERVER:
        return None
    try:
        _check_pairs(text, value)
        frame: FromServer = msgspec.convert(value, FromServer)
    except (msgspec.ValidationError, UnicodeEncodeError):
        raise FrameViolation(f"not a {value['t']} frame") from None
    return frame


def _check_pairs(text: str, value: dict[str, Any]) -> None:
    """Raises `UnicodeEncodeError` for half a surrogate pair, which could not be sent on."""
    if _SURROGATES.search(text) is not None:
        json.dumps(value, ensure_ascii=False).encode()


def _parse_object(text: str) -> dict[str, Any]:
    depth = 0
    for match in _BRACKETS.finditer(text):  # before parsing: json has no limit of its own
        depth += bool(match[1]) - bool(match[2])
        if depth > FRAME_DEPTH:
            raise FrameViolation("nested too deep")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
    except FrameViolation:
        raise
    except (ValueError, RecursionError):
        raise FrameViolation("not JSON") from None
    if not isinstance(value, dict):
        raise FrameViolation("not an object")
    return value


def _object_without_duplicates(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for key, item in pairs:
        if key in value:
            raise FrameViolation("a key occurs twice")
        value[key] = item
    return value


def _refuse_constant(name: str) -> float:
    raise FrameViolation(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise FrameViolation("a number is too large")
    return value


def _type_of(value: dict[str, Any]) -> str:
    kind = value.get("t")
    return kind if isinstance(kind, str) else ""


def _mid_of(value: dict[str, Any]) -> str | None:
    mid = value.get("mid")
    return mid if isinstance(mid, str) and _MID.fullmatch(mid) else None
