"""What is known about where a value came from: labels, row sets, and how they join.

A label says which of the owner's objects a value depends on and how close to single records it is.
The one direction that is safe is up: sources may be over-counted, never under-counted; a value
that nothing is known about is `per_record`.

Two things are kept apart on purpose. The `Label` belongs to a *storage* (or a container, an
optimizer, a loader), so no view or alias can shake it off. The `Rows` belong to one *tensor*, a
way to look at a storage: the same bytes have their records on axis 0 in ``x`` and on axis 1 in
``x.T``. A tensor that has lost its rows can only be treated as `per_record`, so losing them is
always safe.

`min_records` of a model counts when a loss is computed with it: a step over one single record
would otherwise come back as an "aggregate" over the next batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from duet_p2p.limits import WRITERS

__all__ = [
    "FOLDED",
    "METADATA",
    "PUBLIC",
    "THINNED",
    "UNBOUND",
    "UNBOUNDED",
    "UNBOUND_WRITERS",
    "Atom",
    "Kind",
    "Label",
    "Rows",
    "are_disjoint",
    "bounded_writers",
    "join",
    "to_model",
    "to_per_record",
    "to_verbatim",
    "written_by",
]


class Kind(StrEnum):
    """How close a value is to single records."""

    PUBLIC = "public"
    METADATA = "metadata"
    AGGREGATE = "aggregate"
    MODEL = "model"
    ROWS = "rows"
    """Each row depends on one record by one and the same function; shown as `per_record`."""
    PER_RECORD = "per_record"
    VERBATIM = "verbatim"


UNBOUNDED: Final = 1 << 62  # no records are behind it, so none are too few


@dataclass(frozen=True, slots=True)
class Atom:
    """A set of records that a number was computed from.

    Two atoms of one group are equal or disjoint: all batches of one pass over a loader. Atoms of
    different groups may overlap in any way unless they have no source in common.
    """

    sources: frozenset[int]
    group: tuple[str | int, ...]
    _hash: int = field(default=0, init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        return self._hash or _remembered(self, (self.sources, self.group))


@dataclass(frozen=True, slots=True)
class Label:
    """Everything that release control knows about a value."""

    kind: Kind
    sources: frozenset[int]
    atoms: frozenset[Atom]
    min_records: int
    """`UNBOUNDED` where no record is behind it."""
    injected: bool
    writers: frozenset[str] = frozenset()
    """How state behind this value was trained: one text for each *form* of a backward, step or clip
    that wrote to it (binding.py). Never under-counted, like sources."""
    dropout: bool = False
    """A dropout that counts as harmless fell on the records, by a seed of the scientist's. What is
    trained with it stays so."""
    _hash: int = field(default=0, init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        # asked for with every operation (precedents.py), and the same label stands on many values
        return self._hash or _remembered(
            self,
            (self.kind.value, self.sources, self.atoms, self.min_records, self.injected,
             self.writers, self.dropout),
        )  # fmt: skip

    @property
    def is_public(self) -> bool:
        """No private source, and no fact of the owner's machine."""
        return self.kind is _PUBLIC

    @property
    def is_data(self) -> bool:
        """Single records can be behind single numbers."""
        kind = self.kind
        return kind is _ROWS or kind is _PER_RECORD or kind is _VERBATIM


def _remembered(value: Atom | Label | Rows, facts: tuple[object, ...]) -> int:
    """The hash of something that never changes, worked out at its first use."""
    found = hash(facts) or 1
    object.__setattr__(value, "_hash", found)
    return found


# An enum's members are looked up and hashed in Python, several times with every operation.
_PUBLIC: Final = Kind.PUBLIC
_ROWS, _PER_RECORD, _VERBATIM = Kind.ROWS, Kind.PER_RECORD, Kind.VERBATIM
_DATA: Final = frozenset({_ROWS, _PER_RECORD, _VERBATIM})
_NONE: Final[frozenset[Atom]] = frozenset()
_NO_WRITERS: Final[frozenset[str]] = frozenset()
THINNED: Final = "thinned"
"""At the end of the group of an atom some of whose records a dropout left out."""
FOLDED: Final = "folded"
"""In the key of rows that are parts of records, before how many of each lie apart and together."""
UNBOUND: Final = "*"
"""In place of a form that cannot be worked out; no approval covers it."""
UNBOUND_WRITERS: Final = frozenset({UNBOUND})

PUBLIC: Final = Label(Kind.PUBLIC, frozenset(), _NONE, UNBOUNDED, False)
METADATA: Final = Label(Kind.METADATA, frozenset(), _NONE, UNBOUNDED, False)


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the records lie in one tensor, and which they are."""

    axis: int
    records: int
    key: tuple[str | int, ...]
    """Equal keys and equal numbers of records mean the same records in the same order."""
    atoms: frozenset[Atom]
    floor: int = UNBOUNDED
    """Smallest `min_records` of the aggregates and models that met these rows on their way."""
    thinned: frozenset[tuple[int, float]] = frozenset()
    """The dropouts behind these numbers: which call it was, and its chance."""
    _hash: int = field(default=0, init=False, repr=False, compare=False)

    def __hash__(self) -> int:
        return self._hash or _remembered(
            self, (self.axis, self.records, self.key, self.atoms, self.floor, self.thinned)
        )

    def moved(self, axis: int) -> Rows:
        """The same records on another axis."""
        return replace(self, axis=axis)


def are_disjoint(atoms: Iterable[Atom]) -> bool:
    """Whether any two of these row sets are equal or provably have no record in common."""
    known = list(atoms)
    for i, one in enumerate(known):
        for other in known[i + 1 :]:
            if one.group != other.group and one.sources & other.sources:
                return False
    return True


def join(labels: Iterable[Label]) -> Label:
    """The label of a value that any of these could be behind, by any function."""
    found: dict[int, Label] = {}
    last = PUBLIC
    for label in labels:
        # nearly always nothing or one and the same object: no hashing
        if label is last or label.kind is _PUBLIC:
            continue
        last = label
        found[id(label)] = label
    private = list(found.values())
    if len(private) < 2:
        return private[0] if private else PUBLIC
    if len(private) == 2 and private[0] == private[1]:
        return private[0]  # the same object for the same label, which others find at a glance
    kind = _joined_kind({label.kind for label in private})
    atoms = _NONE.union(*(label.atoms for label in private))
    if kind in _DATA:
        least = 1
    else:
        least = min(label.min_records for label in private)
        # a difference of two aggregates over overlapping rows can be a single record
        if least > 1 and not are_disjoint(atoms):
            least = 1
    return Label(
        kind,
        frozenset().union(*(label.sources for label in private)),
        atoms if least > 1 else _NONE,
        least,
        any(label.injected for label in private),
        bounded_writers(label.writers for label in private),
        any(label.dropout for label in private),
    )


def _joined_kind(kinds: set[Kind]) -> Kind:
    kinds = kinds - {Kind.METADATA}
    if not kinds:
        return Kind.METADATA
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds & _DATA:
        return Kind.PER_RECORD
    return Kind.MODEL  # aggregate and model


def to_model(label: Label) -> Label:
    """What an optimizer step writes: a model if the gradients were aggregates.

    A model has no row set: it is over all that it was trained on, and what it is computed with
    later is judged by its own rows.
    """
    if label.kind in (Kind.PUBLIC, Kind.METADATA):
        return label
    if label.is_data:
        return to_per_record(label)
    return replace(label, kind=Kind.MODEL, atoms=_NONE)


def to_per_record(label: Label) -> Label:
    """The same sources, nothing known about the way."""
    if label.is_public:
        return label
    return Label(
        Kind.PER_RECORD, label.sources, _NONE, 1, label.injected, label.writers, label.dropout
    )


def to_verbatim(label: Label) -> Label:
    """The same sources, only copied or chosen from."""
    return Label(
        Kind.VERBATIM, label.sources, _NONE, 1, label.injected, label.writers, label.dropout
    )


def bounded_writers(given: Iterable[frozenset[str]]) -> frozenset[str]:
    """All of them; one text that no approval covers where they are too many to keep."""
    every = _NO_WRITERS.union(*given)
    return every if len(every) <= WRITERS else UNBOUND_WRITERS


def written_by(label: Label, writers: frozenset[str]) -> Label:
    """The same label of something that a training step wrote."""
    if label.is_public or writers <= label.writers:
        return label
    return replace(label, writers=bounded_writers((label.writers, writers)))
