"""The JSON bodies that travel through the relay: a closed schema for each kind.

Exact keys, exact types, exact lengths, no duplicate keys: whatever differs is not a message. What
is signed is not this JSON but the fields, see protocol/transcript.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from duet_p2p import limits
from duet_p2p.protocol import transcript
from duet_p2p.wire.pairs import unique
from signaling_server.ids import b64decode, b64encode, is_id

__all__ = ["BYE_REASONS", "Body", "BodyError", "Bye", "Caps", "Join", "Sdp", "parse_body"]

BYE_REASONS: Final = ("closed", "version", "shutdown", "replaced", "error")

_ROLE_OF_KIND: Final = {"offer": "owner", "answer": "scientist"}


class BodyError(ValueError):
    """Bytes from the relay are not a message of this protocol."""


@dataclass(frozen=True, slots=True)
class Join:
    """A scientist asks for a session."""

    session_id: str
    client_id: str
    pub: bytes
    """33 bytes."""
    nonce: bytes
    """16 bytes, the scientist's, new for each attempt."""
    attempt: int
    """Orders the attempts of one client; proves nothing."""
    caps: bytes
    """The exact bytes of the scientist's capabilities."""
    sig: bytes

    def signed(self) -> bytes:
        """The bytes under `sig`."""
        return transcript.join_input(
            session_id=self.session_id,
            client_id=self.client_id,
            pub=self.pub,
            nonce=self.nonce,
            attempt=self.attempt,
            caps=self.caps,
        )

    def encode(self) -> bytes:
        """The body."""
        return _encode(
            kind="join",
            session_id=self.session_id,
            client_id=self.client_id,
            pub=self.pub,
            nonce=self.nonce,
            attempt=self.attempt,
            caps=self.caps,
            sig=self.sig,
        )


@dataclass(frozen=True, slots=True)
class Sdp:
    """An offer or an answer."""

    kind: str
    """``offer`` from the owner, ``answer`` from the scientist."""
    session_id: str
    client_id: str
    pub: bytes
    """The sender's, 33 bytes."""
    own_nonce: bytes
    """The sender's, 16 bytes."""
    peer_nonce: bytes
    """The receiver's, 16 bytes."""
    attempt: int
    fp: bytes
    """SHA-256 of the sender's DTLS certificate."""
    setup: str
    sdp: str
    caps: bytes
    """The sender's."""
    sig: bytes

    def signed(self) -> bytes:
        """The bytes under `sig`."""
        return transcript.sdp_input(
            kind=self.kind,
            role=_ROLE_OF_KIND[self.kind],
            session_id=self.session_id,
            client_id=self.client_id,
            pub=self.pub,
            own_nonce=self.own_nonce,
            peer_nonce=self.peer_nonce,
            attempt=self.attempt,
            fp=self.fp,
            setup=self.setup,
            sdp=self.sdp,
            caps=self.caps,
        )

    def encode(self) -> bytes:
        """The body."""
        return _encode(
            kind=self.kind,
            role=_ROLE_OF_KIND[self.kind],
            session_id=self.session_id,
            client_id=self.client_id,
            pub=self.pub,
            own_nonce=self.own_nonce,
            peer_nonce=self.peer_nonce,
            attempt=self.attempt,
            fp=self.fp,
            setup=self.setup,
            sdp=self.sdp,
            caps=self.caps,
            sig=self.sig,
        )


@dataclass(frozen=True, slots=True)
class Bye:
    """One side leaves, and there is no association to say so on."""

    role: str
    session_id: str
    client_id: str
    pub: bytes
    th: bytes
    """The transcript hash so far: of the join, of join and offer, or of all three."""
    reason: str
    sig: bytes

    def signed(self) -> bytes:
        """The bytes under `sig`."""
        return transcript.bye_input(role=self.role, th=self.th, reason=self.reason)

    def encode(self) -> bytes:
        """The body."""
        return _encode(
            kind="bye",
            role=self.role,
            session_id=self.session_id,
            client_id=self.client_id,
            pub=self.pub,
            th=self.th,
            reason=self.reason,
            sig=self.sig,
        )


Body: TypeAlias = Join | Sdp | Bye


@dataclass(frozen=True, slots=True)
class Caps:
    """A side's capabilities, as far as pairing needs them."""

    v: int
    """Version of the protocol."""
    conf: int
    """Version of CONFIRM."""
    fields: Mapping[str, Any]
    """Everything that was said, unknown keys too."""

    @classmethod
    def parse(cls, data: bytes) -> Caps:
        """The capabilities in these bytes.

        Raises:
            BodyError: they are not a JSON object with the known keys in their types.
        """
        fields = _load(data)
        for name, kind in (("v", int), ("sw", str), ("max_msg", int), ("ops", str), ("conf", int)):
            if type(fields.get(name)) is not kind:
                raise BodyError(f"caps: {name}")
        return cls(fields["v"], fields["conf"], fields)

    def is_compatible(self) -> bool:
        """Whether this release can speak with the one that said this."""
        return self.v == 1 and self.conf == 1


def parse_body(data: bytes) -> Body:
    """The message in a body from the relay.

    Raises:
        BodyError: it is not exactly one of the known messages.
    """
    fields = _load(data)
    kind = fields.pop("kind", None)
    schema = _SCHEMAS.get(kind) if isinstance(kind, str) else None
    if schema is None or fields.keys() != schema.keys():
        raise BodyError("kind or keys")
    values = {name: _checked(name, schema[name], value) for name, value in fields.items()}
    if kind == "join":
        return Join(**values)
    if kind == "bye":
        return Bye(**values)
    if values.pop("role") != _ROLE_OF_KIND[str(kind)]:
        raise BodyError("role")
    return Sdp(kind=str(kind), **values)


def _encode(**fields: Any) -> bytes:
    texts = {k: b64encode(v) if isinstance(v, bytes) else v for k, v in fields.items()}
    return json.dumps(texts, separators=(",", ":")).encode()


def _load(data: bytes) -> dict[str, Any]:
    """One flat or shallow JSON object without duplicate keys."""
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise BodyError("not JSON") from error
    if not isinstance(value, dict):
        raise BodyError("not an object")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(name)


_Check: TypeAlias = Callable[[Any], Any]


def _checked(name: str, check: _Check, value: Any) -> Any:
    try:
        return check(value)
    except ValueError as error:
        raise BodyError(name) from error


def _binary(least: int, most: int) -> _Check:
    def check(value: Any) -> bytes:
        if not isinstance(value, str):
            raise ValueError("not a string")
        data = b64decode(value)
        if not least <= len(data) <= most:
            raise ValueError("length")
        return data

    return check


def _one_of(*allowed: str) -> _Check:
    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError("value")
        return value

    return check


def _session_id(value: Any) -> str:
    if not isinstance(value, str) or not is_id(value, "owner"):
        raise ValueError("not a session ID")
    return value


def _client_id(value: Any) -> str:
    if not isinstance(value, str) or not is_id(value, "scientist"):
        raise ValueError("not a client ID")
    return value


def _attempt(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError("attempt")
    return value


def _ascii(value: Any) -> str:
    if not isinstance(value, str) or not value.isascii():
        raise ValueError("not ASCII")
    return value


_CAPS: Final = _binary(2, limits.CAPS_MAX_BYTES)
_SDP_SCHEMA: Final[dict[str, _Check]] = {
    "role": _one_of("owner", "scientist"),
    "session_id": _session_id,
    "client_id": _client_id,
    "pub": _binary(33, 33),
    "own_nonce": _binary(16, 16),
    "peer_nonce": _binary(16, 16),
    "attempt": _attempt,
    "fp": _binary(32, 32),
    "setup": _one_of("actpass", "active", "passive"),
    "sdp": _ascii,
    "caps": _CAPS,
    "sig": _binary(64, 64),
}
_SCHEMAS: Final[dict[str, dict[str, _Check]]] = {
    "join": {
        "session_id": _session_id,
        "client_id": _client_id,
        "pub": _binary(33, 33),
        "nonce": _binary(16, 16),
        "attempt": _attempt,
        "caps": _CAPS,
        "sig": _binary(64, 64),
    },
    "offer": _SDP_SCHEMA,
    "answer": _SDP_SCHEMA,
    "bye": {
        "role": _one_of("owner", "scientist"),
        "session_id": _session_id,
        "client_id": _client_id,
        "pub": _binary(33, 33),
        "th": _binary(32, 32),
        "reason": _one_of(*BYE_REASONS),
        "sig": _binary(64, 64),
    },
}
