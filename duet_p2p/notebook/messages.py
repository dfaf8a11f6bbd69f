"""What travels between the kernel and the panel's page.

The page lies beside the outputs of all other cells, and whatever runs there can send on the same
channel. So messages from it are a closed set, read strictly: exactly these keys, these types, these
sizes. A decision names the request by its id and `seen`, the hash of what the page showed, never by
a position; if the two do not belong together, nothing is decided.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final, Literal, TypedDict, cast

from duet_p2p import limits

__all__ = [
    "Answer",
    "Decide",
    "Fact",
    "OpenConsole",
    "Request",
    "Snapshot",
    "Transfer",
    "read",
    "seen_hash",
]


class Fact(TypedDict):
    """One line of a request."""

    name: str
    value: str


class Request(TypedDict):
    """One request, as the page shows it."""

    id: str
    """16 hex digits."""
    seen: str
    """Hash of everything below that does not change while it waits; empty: cannot be decided."""
    name: str
    reason: str
    state: str
    """``Pending``, …; of the scientist's own."""
    facts: list[Fact]
    code: str
    """The recipe."""
    around: list[Fact]
    """What changes while it waits: earlier releases, looks of handlers."""
    why: str
    """Why it waits."""


class Transfer(TypedDict):
    """One value on its way."""

    way: Literal["out", "in"]
    done: int
    """Bytes."""
    total: int


class Snapshot(TypedDict):
    """All that the page shows; a new one replaces the last."""

    side: Literal["owner", "scientist"]
    id: str
    partner: str
    state: str
    """``connecting``, ``open``, ``lost``, ``suspended`` or ``closed``."""
    path: str
    """``direct``, ``relayed`` or empty."""
    counts: list[Fact]
    is_open_to_all: bool
    has_console: bool
    requests: list[Request]
    more: int
    """Requests that there is no room for."""
    transfers: list[Transfer]


class Decide(TypedDict):
    """The page's answer to one request."""

    type: Literal["accept", "deny"]
    request: str
    seen: str
    reason: str
    """Of a denial; told to the scientist."""


class OpenConsole(TypedDict):
    """The page asks for the console."""

    type: Literal["console"]


class Answer(TypedDict):
    """What became of a message of the page."""

    type: Literal["done", "error"]
    request: str
    """The request that it was about; empty: none."""
    text: str


_CHANGES: Final = ("seen", "state", "around", "why")
_ID: Final = re.compile(r"[0-9a-f]{16}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


def read(content: object) -> Decide | OpenConsole:
    """A message of the page.

    Raises:
        ValueError: it is none; the text says why, without repeating it.
    """
    if not isinstance(content, dict):
        raise ValueError("a message is an object")
    kind = content.get("type")
    if kind == "console" and set(content) == {"type"}:
        return {"type": "console"}
    if not isinstance(kind, str) or kind not in ("accept", "deny"):
        raise ValueError("there is no message of this type")
    if set(content) != set(Decide.__annotations__):
        raise ValueError("a decision has type, request, seen and reason")
    if not all(isinstance(value, str) for value in content.values()):
        raise ValueError("the parts of a decision are texts")
    if not _ID.fullmatch(content["request"]) or not _HASH.fullmatch(content["seen"]):
        raise ValueError("request or seen is none")
    if len(content["reason"]) > limits.REQUEST_REASON_CHARS:
        raise ValueError("the reason is too long")
    return cast(Decide, dict(content))


def seen_hash(request: Request) -> str:
    """The hash over what a person decides by: everything but `seen` and what changes by itself."""
    kept: dict[str, Any] = {k: v for k, v in request.items() if k not in _CHANGES}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
