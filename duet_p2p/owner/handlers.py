"""One rule that the owner wrote: what it looks at, and what it has used up.

A handler's conditions never change; changing one's mind is a new handler with the same conditions.
Two kinds of things are looked at, and the difference is the point of policy.py: *labels* (name,
tags), which the scientist chose, and *facts* (kind, numbers, records, sources, recipe), which the
owner's engine worked out and nobody can forge.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from duet_p2p import limits
from duet_p2p.engine.messages import Facts
from duet_p2p.objects import cards
from duet_p2p.objects.words import clean_line
from duet_p2p.owner.binding import Binding

if TYPE_CHECKING:
    from duet_p2p.owner.plan_terms import PlanTerms

__all__ = [
    "ACTIONS",
    "KINDS",
    "UNSET",
    "Case",
    "Conditions",
    "Handler",
    "Unset",
    "normal_name",
    "shown_tags",
    "tag_filter",
]

ACTIONS: Final = frozenset({"accept", "deny"})
KINDS: Final = frozenset({"public", "metadata", "aggregate", "model", "per_record", "verbatim"})


class Unset(Enum):
    """The type of `UNSET`: "nothing was said", which is not the same as None (no limit)."""

    UNSET = "not said"

    def __repr__(self) -> str:
        return "not said"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True)
class Case:
    """One value that somebody wants released: what handlers see of it, as plain values."""

    name: str
    """The scientist's own word, cleaned."""
    facts: Facts
    refusal: str = ""
    """Why no rule and no click can release this (a type that cannot be sent), or empty."""
    is_again: bool = False
    """It was judged before and goes on waiting."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Filters on labels and conditions on facts, as they were given."""

    name: str | None = None
    tags: frozenset[str] | None = None
    kinds: frozenset[str] | Unset = UNSET
    max_elements: int | Unset | None = UNSET
    min_records: int | Unset = UNSET
    sources: frozenset[int] | Unset = UNSET
    recipe: str | Unset = UNSET
    allow_injected: bool | Unset = UNSET
    allow_dropout: bool | Unset = UNSET
    max_uses: int | Unset | None = UNSET
    seen_only: bool = False
    binding: Binding | None = None
    plan: PlanTerms | None = None
    source_names: frozenset[str] | None = field(default=None, compare=False)
    """What the owner calls `sources`, where that is known; for texts only."""

    @property
    def is_labelled(self) -> bool:
        """Whether it filters by something that the scientist chose."""
        return self.name is not None or self.tags is not None

    @property
    def is_bare(self) -> bool:
        """Whether it takes everything: no filter, no condition."""
        return self.takes_any and self.kinds in (UNSET, KINDS) and self.min_records is UNSET

    @property
    def takes_any(self) -> bool:
        """Whether no value is left for what it is: what is said, if anything, holds of all."""
        return (
            not self.is_labelled
            and self.binding is None
            and self.plan is None
            and not self.seen_only
            and self.max_elements in (UNSET, None)
            and self.max_uses in (UNSET, None)
            and {self.allow_injected, self.allow_dropout} <= {UNSET, True}
            and (self.kinds is UNSET or self.kinds >= KINDS - {"public"})
            and self.min_records in (UNSET, 0, 1)
            and {self.sources, self.recipe} == {UNSET}
        )

    @property
    def has_facts(self) -> bool:
        """Whether it looks at facts that a failure has otherwise than the value would have."""
        said = (self.kinds, self.max_elements, self.min_records, self.allow_injected,
                self.allow_dropout)  # fmt: skip
        return self.seen_only or any(part is not UNSET for part in said)

    def described(self) -> str:
        """What was said, as one would type it; empty if nothing was."""
        said = []
        for text, value in (
            ("name", self.name),
            ("tags", sorted(self.tags) if self.tags is not None else None),
        ):
            if value is not None:
                said.append(f"{text}={value!r}")
        return ", ".join(filter(None, [*said, self.described_conditions()]))

    def described_conditions(self) -> str:
        """The conditions on facts alone, as one would type them."""
        said = [
            f"{name}={_typed(self._shown(name, value))}"
            for name in (
                "kinds",
                "max_elements",
                "min_records",
                "sources",
                "recipe",
                "allow_injected",
                "allow_dropout",
                "max_uses",
            )
            if (value := getattr(self, name)) is not UNSET
        ]
        if self.seen_only:
            said.append("seen_only=True")
        if self.binding is not None:
            said.append(f"always: {_short(self.binding.recipe)}")
        if self.plan is not None:
            said.append(self.plan.described())
        return ", ".join(said)

    def _shown(self, name: str, value: Any) -> Any:
        return self.source_names or value if name == "sources" else value


@dataclass(slots=True, eq=False)
class Handler:
    """One rule with what it has used up. Reads like a dict too: ``handler["tags"]``."""

    action: str
    """``accept`` or ``deny``."""
    conditions: Conditions
    print_local: bool = False
    log_local: bool = False
    element_quota: int | None = None
    created_at: float = 0.0
    """On the policy's clock, seconds."""
    timeout_secs: float = -1
    """Life in seconds; -1: as long as the session."""
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    uses: int = 0
    """Decisions taken; for accept, reserved ones and silent failures included."""
    model_uses: int = 0
    """Those among them that let a model out."""
    elements: int = 0
    """Numbers released, reserved ones included; a silent failure is one."""
    denied_recipes: dict[str, None] = field(default_factory=dict)
    """Essences of what a labelled deny handler denied, oldest first: denied under any name."""

    @property
    def is_open(self) -> bool:
        """Whether it accepts any value, raw data included."""
        return self.action == "accept" and self.conditions.takes_any

    @property
    def is_guarded(self) -> bool:
        """Whether it accepts by something that the scientist chose.

        That is a label, or a recipe as bare text: the text does not hold the contents of a mask
        or a weight, so the same text can stand for any record.
        """
        said = self.conditions
        return self.action == "accept" and (said.is_labelled or said.recipe is not UNSET)

    @property
    def takes_injected(self) -> bool:
        """Whether it takes what something public met along its records.

        A mask can leave one record of any number of them. So a rule that wants so many records
        behind each number, or a guarded one, takes it only if that was said.
        """
        said = self.conditions
        if said.allow_injected is not UNSET:
            return said.allow_injected
        is_of_groups = self.action == "accept" and said.min_records not in (UNSET, 0, 1)
        return not (self.is_guarded or is_of_groups)

    @property
    def reads_account(self) -> bool:
        """Whether it asks how a value came to be, or keeps that: each deny handler does."""
        said = self.conditions
        return (
            self.action == "deny"
            or said.binding is not None
            or said.recipe is not UNSET
            or said.seen_only
        )

    @property
    def name(self) -> str | None:
        """The name that it filters by."""
        return self.conditions.name

    @property
    def tags(self) -> list[str] | None:
        """The set of tags that it filters by, sorted."""
        return None if self.conditions.tags is None else sorted(self.conditions.tags)

    @property
    def quota_left(self) -> int | None:
        """Numbers that it may still release; None: no limit, or a rule that releases nothing."""
        if self.element_quota is None or self.action == "deny":
            return None
        return max(0, self.element_quota - self.elements)

    def expires_at(self) -> float | None:
        """On the policy's clock; None: never."""
        return None if self.timeout_secs < 0 else self.created_at + self.timeout_secs

    def remaining(self, now: float) -> float:
        """Seconds of life left; -1: as long as the session."""
        end = self.expires_at()
        return -1 if end is None else max(0.0, end - now)

    def keys(self) -> tuple[str, ...]:
        """The names that ``handler[name]`` knows."""
        return _KEYS

    def __getitem__(self, key: str) -> Any:
        if key not in _KEYS:
            raise KeyError(f"{key!r}; a handler has {', '.join(_KEYS)}")
        if key in Conditions.__dataclass_fields__ and key not in ("name", "tags"):
            value = getattr(self.conditions, key)
            return None if value is UNSET else value
        return getattr(self, key)

    def __iter__(self) -> Iterator[str]:
        return iter(_KEYS)

    def __repr__(self) -> str:
        said = ", ".join(filter(None, [f"action={self.action!r}", self.conditions.described()]))
        left = "" if self.quota_left is None else f", {self.quota_left} numbers left"
        return f"<Handler {self.id[:8]} {said}; {self.uses} uses{left}>"

    def _repr_html_(self) -> str:
        facts = {
            "action": self.action,
            "name": self.name,
            "tags": self.tags,
            "conditions": self.conditions.described_conditions(),
            "uses": self.uses,
            "quota left": self.quota_left,
            "id": self.id,
        }
        return cards.card("Handler", facts, state="OPEN" if self.is_open else "")


_KEYS: Final = (
    "id",
    "action",
    "name",
    "tags",
    "print_local",
    "log_local",
    "timeout_secs",
    "element_quota",
    "quota_left",
    "uses",
    "elements",
    "kinds",
    "max_elements",
    "min_records",
    "sources",
    "recipe",
    "allow_injected",
    "allow_dropout",
    "max_uses",
    "seen_only",
)


def normal_name(name: str) -> str:
    """Names are compared as they look: cleaned, in one case and one form of their characters.

    A rule's name is cleaned like that of a request, else it would never be the same.
    """
    clean = clean_line(name, limits.REQUEST_NAME_CHARS)
    return " ".join(unicodedata.normalize("NFKC", clean).lower().split())


def shown_tags(tags: Iterable[str]) -> frozenset[str]:
    """Tags are compared as people see them: cleaned, and without those of which nothing is left."""
    return _shown_tags(tuple(tags))


@lru_cache(limits.COMPARED_TEXTS)
def _shown_tags(tags: tuple[str, ...]) -> frozenset[str]:
    # Each rule compares them, more than once, and there may be 64 of 256 characters.
    return frozenset(clean for tag in tags if (clean := clean_line(tag, limits.NAME_CHARS)))


def tag_filter(tags: Iterable[str] | None) -> frozenset[str] | None:
    """None or no tags: no filter. An empty text stands for "no tags"."""
    if tags is not None and (isinstance(tags, str) or not isinstance(tags, Iterable)):
        raise TypeError(f"tags is a list of texts, not {tags!r}")
    given = None if tags is None else frozenset(tags)
    if given and not all(isinstance(tag, str) for tag in given):
        raise TypeError("tags is a list of texts")
    return shown_tags(given) if given else None


def _typed(value: Any) -> str:
    if isinstance(value, frozenset):
        return "{" + ", ".join(repr(item) for item in sorted(value)) + "}"
    return _short(value) if isinstance(value, str) else repr(value)


def _short(text: str) -> str:
    first = text.strip().splitlines()[0] if text.strip() else ""
    return repr(first if len(first) <= 60 and first == text.strip() else first[:60] + "…")
