"""Objects of which a private value chose one: what reaches one of them counts as in all of them.

``one.add_(secret)`` gives its source to ``box[i]`` if that is the very object, and a rule on
sources would tell by its answer whether it is. So all that a private value chose among is tied,
with all that lies in it, and so is what stands in for one that is missing. Behind each command the
tied ones have the same label: whatever any of them has. What was in it stays in it, so nothing
shows by what was written over, or by which of them there still are.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import is_private
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record
from duet_p2p.engine.lineage import ATOMIC, Lineage, Owned, Tracked, is_atomic, reach
from duet_p2p.engine.store import Poison, Slot

__all__ = ["Tie", "add", "entries_of", "settle", "tie", "tied"]


class Tie:
    """Entries with one label; it may have become a part of another one."""

    __slots__ = ("_into", "label", "members", "slots")

    def __init__(self) -> None:
        self.label: Label = PUBLIC
        self.members: list[Owned | Tracked] = []
        self.slots: list[weakref.ref[Slot]] = []
        """Of chosen numbers and tuples, which have their label nowhere else."""
        self._into: Tie | None = None

    def whole(self) -> Tie:
        """The one that this is a part of by now, or this one."""
        found = self
        while found._into is not None:
            found = found._into
        if found is not self:
            self._into = found
        return found

    def take(self, other: Tie) -> None:
        """Take up another whole one."""
        self.members += other.members
        self.slots += other.slots
        self.label = join((self.label, other.label))
        other.members, other.slots, other._into = [], [], self


def tie(
    entries: Iterable[Owned | Tracked], lineage: Lineage, slots: Iterable[Slot] = ()
) -> None:  # fmt: skip
    """From now on these have one label, with all that they are tied to already.

    Args:
        entries: of tensors and other objects.
        lineage: where they are kept.
        slots: of what was chosen and may have been a number or a tuple.
    """
    parts: dict[int, Tie] = {}
    fresh: list[Owned | Tracked] = []
    for entry in entries:
        if entry.tie is None:
            fresh.append(entry)
        else:
            whole = entry.tie.whole()
            parts[id(whole)] = whole
    if not parts and not fresh:
        return
    known = sorted(parts.values(), key=lambda part: -len(part.members))  # the longest takes others
    into = known[0] if known else Tie()
    for part in known[1:]:
        into.take(part)
        lineage.ties.remove(part)
    if not known:
        lineage.ties.append(into)
    for entry in fresh:
        if entry.tie is None:
            entry.tie = into
            into.members.append(entry)
    into.slots += [
        weakref.ref(slot) for slot in slots
        if isinstance(slot.value, (*ATOMIC, tuple)) and is_private(slot.label)
    ]  # fmt: skip


def tied(entries: Iterable[Owned | Tracked | None]) -> list[Owned | Tracked]:
    """Those of these entries that are tied to others."""
    return [entry for entry in entries if entry is not None and entry.tie is not None]


def entries_of(value: Any, lineage: Lineage) -> list[Owned | Tracked]:
    """The entries of a value and of all that lies in it, but for what is the owner's."""
    entries: list[Owned | Tracked] = []
    for part in (value,) if isinstance(value, Poison) else reach(value):
        entry: Owned | Tracked
        if isinstance(part, torch.Tensor):
            entry = lineage.own(part)
            if entry.is_shared and not entry.is_apart:
                continue
        elif is_atomic(part) or isinstance(part, tuple | frozenset):
            continue
        else:
            entry = lineage.track(part)
            if entry.is_shared:
                continue
        entries.append(entry)
    return entries


def add(entry: Owned | Tracked, label: Label) -> None:
    """Join a label into one of them."""
    if isinstance(entry, Owned):
        entry.label = join((entry.label, label))
    else:
        entry.content = join((entry.content, label))


def settle(lineage: Lineage) -> None:
    """A command is over: what it gave to one goes to all that are tied to it."""
    if lineage.epoch % _PRUNED_EVERY == 0:
        _prune(lineage)
    for part in lineage.ties:
        before = part.label
        found = [slot for known in part.slots if (slot := known()) is not None]
        labels = [label for entry in part.members for label in _labels(entry)]
        labels += [slot.label for slot in found]
        if all([label is before for label in labels]):
            continue
        part.label = label = to_per_record(join((before, *labels)))
        for slot in found:
            slot.label = label
        for entry in part.members:
            if isinstance(entry, Owned):
                entry.label = label
            else:
                entry.content = entry.structure = label


_PRUNED_EVERY: Final = 64  # commands


def _prune(lineage: Lineage) -> None:
    """Let go of what is not there any more; its labels stay."""
    for part in list(lineage.ties):
        part.members = [entry for entry in part.members if not _is_gone(entry)]
        part.slots = [known for known in part.slots if known() is not None]
        if not part.members and not part.slots:
            lineage.ties.remove(part)


def _labels(entry: Owned | Tracked) -> tuple[Label, ...]:
    return (entry.label,) if isinstance(entry, Owned) else (entry.content, entry.structure)


def _is_gone(entry: Owned | Tracked) -> bool:
    if isinstance(entry, Owned):
        return bool(torch.UntypedStorage._expired(entry.reference))
    return entry.held is None and (entry.ref is None or entry.ref() is None)
