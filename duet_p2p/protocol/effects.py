"""What the pairing machines ask of the shell, in the order in which it is to be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from duet_p2p.errors import DuetError
from duet_p2p.protocol.description import Description

__all__ = [
    "AttemptFailed",
    "ClosePeer",
    "Connect",
    "Effect",
    "Ended",
    "LinkClosed",
    "LinkOpened",
    "MakePeer",
    "NoAnswerYet",
    "PartnerBye",
    "PartnerWaiting",
    "Post",
    "SendProof",
]


@dataclass(frozen=True, slots=True)
class Post:
    """Give a body to the relay."""

    to: str
    body: bytes
    is_join: bool = False


@dataclass(frozen=True, slots=True)
class MakePeer:
    """Make a new peer with this number and gather; report `gathered` or `failed`."""

    peer: int
    controlling: bool


@dataclass(frozen=True, slots=True)
class Connect:
    """Connect a peer; report `connected` with the certificate's hash, or `failed`."""

    peer: int
    remote: Description


@dataclass(frozen=True, slots=True)
class SendProof:
    """Send a confirm or a ready on channel 0."""

    peer: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ClosePeer:
    """Close a peer that never became the live one, and forget it."""

    peer: int


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """The live slot is open: both keys are proved, both sides are ready."""

    peer: int
    partner_id: str
    partner_pub: bytes
    th: bytes
    caps: Mapping[str, Any]
    """The partner's."""
    audit_head: bytes
    """The partner's, 32 bytes or nothing."""
    attempt: int


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """The association in the live slot ended or was replaced; close its peer."""

    peer: int
    was_open: bool
    error: DuetError
    """`ConfirmFailed`, `ProtocolError`, `ConnectionLost` or `PartnerLeft`."""


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt came to nothing; the wait goes on. Its text says what to do."""

    partner_id: str
    error: DuetError


@dataclass(frozen=True, slots=True)
class PartnerWaiting:
    """Owner: somebody asks to join who was not named yet. Said once, and never who."""


@dataclass(frozen=True, slots=True)
class NoAnswerYet:
    """Scientist: no offer for a while. Said once in each wait."""


@dataclass(frozen=True, slots=True)
class PartnerBye:
    """Owner: a client ended its attempt."""

    partner_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The wait is over without a link; nothing more will happen by itself."""

    error: DuetError


Effect: TypeAlias = (
    Post
    | MakePeer
    | Connect
    | SendProof
    | ClosePeer
    | LinkOpened
    | LinkClosed
    | AttemptFailed
    | PartnerWaiting
    | NoAnswerYet
    | PartnerBye
    | Ended
)
