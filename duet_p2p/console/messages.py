"""What a page may say: JSON of closed keys, closed types and limited sizes.

A page is our own code, but what arrives on its socket is not trusted to be: whatever is not exactly
one of these messages closes the socket. A decision names the request and the digest of the facts
that the page showed; a rule names the digest of the sentences that the page showed for it.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from duet_p2p import limits
from duet_p2p.errors import ProtocolError
from duet_p2p.wire.pairs import unique

__all__ = [
    "Accept",
    "AddRule",
    "Ask",
    "Deny",
    "FindRows",
    "Hello",
    "Look",
    "Message",
    "Preview",
    "Remove",
    "Resume",
    "Rule",
    "parse",
]

Number = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=int(limits.REQUEST_LIMIT_SECONDS))]
RequestId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]
HandlerId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Digest = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Reason = Annotated[str, msgspec.Meta(max_length=limits.REQUEST_REASON_CHARS)]
Name = Annotated[str, msgspec.Meta(max_length=limits.REQUEST_NAME_CHARS)]
Tag = Annotated[str, msgspec.Meta(max_length=limits.NAME_CHARS)]
Tags = Annotated[list[Tag], msgspec.Meta(max_length=limits.TAGS)]
Kind = Literal["public", "metadata", "aggregate", "model", "per_record", "verbatim"]
SourceId = Annotated[int, msgspec.Meta(ge=-(2**53 - 1), le=-1)]
Sources = Annotated[list[SourceId], msgspec.Meta(max_length=256)]


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="t", tag="hello"):
    """The first message, and only the first."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="t"):
    """What every later message has."""

    n: Number
    """The page's own count; the answer repeats it."""


class Accept(Ask, frozen=True, tag="accept"):
    """Release one value, once or always."""

    request: RequestId
    digest: Digest
    """Of the facts that were shown."""
    always: bool


class Deny(Ask, frozen=True, tag="deny"):
    """Refuse one request."""

    request: RequestId
    digest: Digest
    reason: Reason
    """Told to the scientist."""


class Look(Ask, frozen=True, tag="look"):
    """Show the value of a pending request to the owner."""

    request: RequestId
    digest: Digest


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A handler to be; what is left out was not said, which is not the same as null (no limit)."""

    action: Literal["accept", "deny"]
    name: Name | None = None
    tags: Tags | None = None
    """The whole set; an empty list stands for objects without tags."""
    kinds: Annotated[list[Kind], msgspec.Meta(min_length=1, max_length=6)] | UnsetType = UNSET
    max_elements: Count | UnsetType | None = UNSET
    min_records: Count | UnsetType = UNSET
    sources: Sources | UnsetType = UNSET
    like: RequestId | UnsetType = UNSET
    """A request whose recipe, sources, kind and form are bound (accept), or its recipe (deny)."""
    allow_injected: bool | UnsetType = UNSET
    allow_dropout: bool | UnsetType = UNSET
    max_uses: Count | UnsetType | None = UNSET
    element_quota: Count | None = None
    seconds: Seconds | None = None
    """Life; None: as long as the session."""
    seen_only: bool = False
    print_local: bool = False
    log_local: bool = False


class Preview(Ask, frozen=True, tag="preview"):
    """Say what a rule would do."""

    rule: Rule


class AddRule(Ask, frozen=True, tag="add"):
    """Put a rule in force."""

    rule: Rule
    digest: Digest
    """From the answer to `Preview`."""


class Remove(Ask, frozen=True, tag="remove"):
    """Take a handler off."""

    handler: HandlerId


class Resume(Ask, frozen=True, tag="resume"):
    """Let the scientist go on after a suspension."""


class FindRows(Ask, frozen=True, tag="audit"):
    """Rows of the audit log, newest first."""

    text: Annotated[str, msgspec.Meta(max_length=200)]
    kind: Annotated[str, msgspec.Meta(max_length=32, pattern=r"\A[a-z]*\Z")]
    """Or empty: all."""
    all_sessions: bool
    before: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
    """Rows with smaller numbers; 0: from the end."""
    whole: bool
    """With session, salt and hash, as `duet audit export` writes them."""


Message = Hello | Accept | Deny | Look | Preview | AddRule | Remove | Resume | FindRows


def parse(text: str) -> Message:
    """One message.

    Raises:
        ProtocolError: it is not exactly one of ours.
    """
    if len(text) > limits.CONSOLE_MESSAGE_BYTES:
        raise ProtocolError("A message of the console is too long.")
    if text.count("[") + text.count("{") > 4 * limits.TAGS:  # json has no limit of its own
        raise ProtocolError("A message of the console is nested too deep.")
    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no place anywhere
        message: Message = msgspec.convert(value, Message)
    except (ValueError, RecursionError, OverflowError) as error:
        # Not the error's own text: it would repeat what was sent.
        raise ProtocolError("A message of the console is not one of ours.") from error
    return message


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
