"""Which rows of the audit log are one row with a count.

What a scientist does makes rows, as often as they like, so what is alike and comes within a moment
is one row. Its facts are those of the first, and how many there were.

So many rows can still differ, since names, sizes and tags are the scientist's choice. After
`AUDIT_ASKED_ROWS` of them in a session, what comes within a moment is alike if the same became of
it. What is accepted or decided by hand, what leaves and what is shared always has a row of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from duet_p2p import limits

__all__ = ["LATER", "Bursts", "is_by_hand"]

LATER: Final = frozenset({"recipe"})
"""Kinds that say more of what has a row: no release is written with them."""

_Likeness = Callable[[Mapping[str, Any]], tuple[Any, ...]]
_NUMBER: Final = re.compile(r"\d+")
_BY_HAND: Final = re.compile(r"(accepted|denied) by hand")


def is_by_hand(facts: Mapping[str, Any]) -> bool:
    """Whether the owner decided this request; no word of the scientist begins a reason."""
    return _BY_HAND.match(str(facts.get("why", ""))) is not None


def _all_but(facts: Mapping[str, Any], *names: str) -> tuple[Any, ...]:
    # one text in place of a row of them: this is before each answer to a request
    return (repr([item for item in facts.items() if item[0] not in names]),)


def _of_fault(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    # The operation is a text of the scientist's choice, so it is not compared: a flood of invented
    # names is one row. Numbers in a reason are theirs, too.
    said = (facts.get(name) for name in ("code", "told", "engine", "not_sent"))
    return (*said, _NUMBER.sub("", str(facts.get("reason", facts.get("why", "")))))


def _of_refusal(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    return (_NUMBER.sub("", str(facts.get("reason", ""))),)


def _of_request(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    return _all_but(facts, "request", "object")


_ALIKE: Final[dict[str, _Likeness]] = {
    "fault": _of_fault,
    "refusal": _of_refusal,
    "public": lambda facts: (facts.get("type"),),
    "repeat": lambda facts: (),
    "request": _of_request,
    "decision": _of_request,
}
_ROUGHLY: Final[dict[str, _Likeness]] = _ALIKE | {
    "fault": lambda facts: tuple(facts.get(name) for name in ("code", "told", "not_sent")),
    "request": lambda facts: (),
    "decision": lambda facts: (
        _of_request(facts)
        if is_by_hand(facts) or facts.get("status") == "Accepted"
        else (facts.get("status"),)
    ),
}


class Bursts:
    """What the rows of one session are compared by.

    Attributes:
        rows: that a scientist could cause and that are no part of another one.
    """

    def __init__(self) -> None:
        self.rows = 0

    @property
    def is_rough(self) -> bool:
        """Whether there were so many that what differs is one row as well."""
        return self.rows >= limits.AUDIT_ASKED_ROWS

    def likeness(self, kind: str) -> _Likeness | None:
        """What makes two events of a kind alike; None: nothing does."""
        return (_ROUGHLY if self.is_rough else _ALIKE).get(kind)
