"""Rows of the audit log as a chain: what is hashed, and how a chain is checked.

Each row's hash covers the hash before it, all its fields and 16 random bytes that never leave the
owner. Without those, whoever has a head could try histories until one fits: facts have few likely
values. With them, two logs of the same history have nothing in common.

A chain alone cannot show that its end is missing. Somebody outside has to keep a head: the
scientist does, see identity/signed_head.py.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from duet_p2p.identity.signed_head import SignedHead

__all__ = ["GENESIS", "Check", "Entry", "Row", "check", "facts_text", "next_row"]

GENESIS: Final = bytes(32)
"""What stands before the first row."""

_SALT_BYTES: Final = 16
_LENGTH: Final = struct.Struct(">Q")  # before each part of what is hashed
_PURPOSE: Final = b"duet/audit-row/v1"
_SHOWN_PROBLEMS: Final = 20
_TEXT: Final = json.JSONEncoder(default=str, sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, before it has a place."""

    time: str
    """UTC, ISO 8601, microseconds."""
    session: str
    """The owner's ID."""
    kind: str
    facts: str
    """JSON: names, ids, numbers, decisions; values only as HMACs."""


@dataclass(frozen=True, slots=True)
class Row:
    """One event at its place."""

    number: int
    """From 1, without gaps."""
    entry: Entry
    salt: bytes
    hash: bytes

    def hash_after(self, previous: bytes) -> bytes:
        """The hash that this row has to have behind that one."""
        entry = self.entry
        parts = (
            _PURPOSE,
            previous,
            str(self.number).encode(),
            entry.time.encode(),
            entry.session.encode(),
            entry.kind.encode(),
            entry.facts.encode(),
            self.salt,
        )
        return hashlib.sha256(
            b"".join([data for part in parts for data in (_LENGTH.pack(len(part)), part)])
        ).digest()


@dataclass(frozen=True, slots=True)
class Check:
    """What a look through a whole chain found."""

    rows: int
    head: bytes
    """Hash of the last row, `GENESIS` of an empty log."""
    problems: tuple[str, ...]
    """One sentence each, the first ones; none if the chain is as it was written."""

    @property
    def is_good(self) -> bool:
        """Whether nothing was changed, removed, moved or cut off."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.is_good

    def __str__(self) -> str:
        if self.is_good:
            return f"{self.rows:,} rows, unbroken; head {self.head.hex()}"
        return f"{self.rows:,} rows, DAMAGED:\n" + "\n".join(f"  {p}" for p in self.problems)

    __repr__ = __str__


def facts_text(facts: Mapping[str, Any]) -> str:
    """Facts as they are kept and hashed; what JSON does not know is written as text.

    Names of files need be none: what no text holds is an escape of JSON.
    """
    text = _TEXT.encode(facts)
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def next_row(number: int, previous: bytes, entry: Entry) -> Row:
    """The row of this event behind `previous`, with a salt of its own."""
    row = Row(number, entry, secrets.token_bytes(_SALT_BYTES), b"")
    return Row(number, entry, row.salt, row.hash_after(previous))


def check(rows: Iterable[Row], heads: Iterable[SignedHead] = ()) -> Check:
    """Looks through a chain from its first row.

    Args:
        rows: in the order in which they are stored.
        heads: kept by others: each must be genuine and still in the chain.
    """
    problems: list[str] = []
    wanted = list(heads)
    missing = {kept.head for kept in wanted}
    previous, count = GENESIS, 0
    for row in rows:
        count += 1
        if row.number != count and len(problems) < _SHOWN_PROBLEMS:
            problems.append(f"row {row.number} stands at place {count}: rows are missing or moved")
        if row.hash_after(previous) != row.hash and len(problems) < _SHOWN_PROBLEMS:
            problems.append(f"row {row.number} is not what was written behind the row before it")
        # Go on from what stands there, so that one changed row is one problem.
        previous = row.hash
        missing.discard(row.hash)
    for kept in wanted:
        if not kept.is_genuine:
            problems.append(f"the head of {kept.session_id} was not signed by that session")
        elif kept.head in missing and kept.head != GENESIS:
            problems.append(
                f"a head that {kept.session_id} signed is not in this log: "
                "its end was cut off, or it is another log"
            )
    return Check(count, previous, tuple(problems))
