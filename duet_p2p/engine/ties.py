"""Objects of which a private value chose one: what reaches one of them counts as in all of them.

``one.add_(secret)`` gives its source to ``box[i]`` if that is the very object, and a rule on
sources would tell by its answer whether it is. So all that a private value chose among is tied,
with all that lies in it, and so is what stands in for one that is missing. Behind each command the
tied ones have the same label: whatever any of them has. What was in it stays in it, so nothing
shows by what was written over, or by which of them there still are.

A list of the parts of a tensor of a private size is tied to that tensor, since it may have none of
it in it, and so is what is made of such a list.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record
from duet_p2p.engine.lineage import ATOMIC, Lineage, Owned, Tracked, is_atomic, reach
from duet_p2p.engine.store import Poison, Slot

__all__ = [
    "Tie", "add", "by_slots", "entries_of", "entry_for", "entry_of", "gone_back", "holders",
    "perhaps_behind", "settle", "taken", "takes", "tie", "tied", "touch", "touches",
]  # fmt: skip

_APART: Final = frozenset({"List", "Tuple", "Set", "extend", "__iadd__", "iter", "__iter__"})
"""Last parts of names of containers that take a tensor apart."""
_TAKING: Final = _APART | {
    "Dict", "OrderedDict", "copy", "keys", "values", "items", "__add__", "__mul__", "__rmul__",
    "__reversed__", "update", "fromkeys",
}  # fmt: skip
"""Those that take what lies in a container, and not the container itself."""
_TO_ALL: Final = ("torch.Tensor.backward", "torch.autograd.", "torch.optim.")
"""Beginnings of names that write to what lies behind their arguments."""
_COUNTED: Final = frozenset({"__mul__", "__rmul__"})
_HOLDING: Final = frozenset({"collect", "append", "insert", "__setitem__", "setdefault"})
"""Those that take the very thing, which has no entry if it is a tuple."""


class Tie:
    """Entries with one label; it may have become a part of another one."""

    __slots__ = ("_into", "label", "members", "slots", "touched", "ways")

    def __init__(self) -> None:
        self.label: Label = PUBLIC
        self.touched = 0
        """Commands that named one of them, or could have written to any."""
        self.members: list[Owned | Tracked] = []
        self.slots: list[weakref.ref[Slot]] = []
        """Of chosen numbers and tuples, which have their label nowhere else."""
        self.ways: set[frozenset[int]] = set()
        """Sources of each private value that decided which leaves a way back reaches, if any."""
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
        self.ways |= other.ways
        self.label = join((self.label, other.label))
        self.touched += other.touched + 1
        other.members, other.slots, other._into = [], [], self


def tie(
    entries: Iterable[Owned | Tracked], lineage: Lineage, slots: Iterable[Slot] = (),
    others: Iterable[Tie] = (), *, way: Label = PUBLIC,
) -> None:  # fmt: skip
    """From now on these have one label, with all that they are tied to already.

    Args:
        entries: of tensors and other objects.
        lineage: where they are kept.
        slots: of what was chosen and may have been a number or a tuple.
        others: that are known of what has no entry.
        way: of what decided which of them, if any, a way back reaches.
    """
    parts: dict[int, Tie] = {id(other): other for other in others}
    fresh: list[Owned | Tracked] = []
    for entry in entries:
        if entry.tie is None:
            fresh.append(entry)
        else:
            whole = entry.tie.whole()
            parts[id(whole)] = whole
    numbers = [
        weakref.ref(slot) for slot in slots
        if isinstance(slot.value, (*ATOMIC, tuple)) and is_private(slot.label)
    ]  # fmt: skip
    if not (parts or fresh or numbers):
        return
    known = sorted(parts.values(), key=lambda part: -len(part.members))  # the longest takes others
    into = known[0] if known else Tie()
    for part in known[1:]:
        into.take(part)
        if part in lineage.ties:  # all that it had may be gone: see `_prune`
            lineage.ties.remove(part)
    if into not in lineage.ties:
        lineage.ties.append(into)
    for entry in fresh:
        if entry.tie is None:
            entry.tie = into
            into.members.append(entry)
    into.slots += numbers
    if is_private(way):
        into.ways.add(way.sources)


def tied(entries: Iterable[Owned | Tracked | None]) -> list[Owned | Tracked]:
    """Those of these entries that are tied to others."""
    return [entry for entry in entries if entry is not None and entry.tie is not None]


def by_slots(slots: Iterable[Slot | None], lineage: Lineage) -> list[Tie]:
    """What these are tied to if they have no entry: tuples, and what need not be a tensor."""
    every = {id(s) for s in slots if s is not None and (s.is_loose or isinstance(s.value, tuple))}
    return [part for part in lineage.ties if any(id(known()) in every for known in part.slots)]


def touch(name: str, given: Arguments, lineage: Lineage) -> None:
    """A command is over that may have written to what it names: so it counts for all tied to it.

    What was released is given again for nothing until it is written to (`Lineage.version`). Which
    of several that was would tell the number that chose it, so what is tied is another one behind
    each command that names any of it.
    """
    found = {id(part) for part in by_slots(given.slots.values(), lineage)}
    for part in () if name.startswith(_TO_ALL) else given.reached():
        entry: Owned | Tracked | None
        entry = lineage.entry(part) if isinstance(part, torch.Tensor) else lineage.find(part)
        if entry is not None and entry.tie is not None:
            found.add(id(entry.tie.whole()))
    for tied_ones in lineage.ties:
        if name.startswith(_TO_ALL) or id(tied_ones) in found:
            tied_ones.touched += 1


def touches(slot: Slot, lineage: Lineage) -> int:
    """Changes with each command that names what might be in the place of a number or a tuple."""
    known = by_slots([slot], lineage) if lineage.ties else []
    return sum([part.touched + 1 for part in known])


def takes(short: str) -> bool:
    """Whether calls of a container with this end take a tensor apart."""
    return short in _APART


def taken(
    short: str, given: Arguments, lineage: Lineage
) -> tuple[list[Owned | Tracked], list[Tie]]:  # fmt: skip
    """To what a container is tied that a call makes or fills: entries, and of what has none.

    Args:
        short: last part of the call's name, which is one of a container.
        given: its arguments.
        lineage: where they are kept.
    """
    if short not in _TAKING and short not in _HOLDING:
        return [], []
    slots: Iterable[Slot | None] = given.slots.values()
    if short in _COUNTED:
        slots = given.at[:1]
    elif short in _HOLDING and short != "collect":
        slots = given.at[-1:]  # before it stand keys and places
    others = by_slots(slots, lineage)
    if short not in _TAKING:
        return [], others
    entries: list[Owned | Tracked] = []
    for value in given.values():
        entry = _taken_of(value, short, lineage)
        if entry is not None:
            entries.append(entry)
    return entries, others


def _taken_of(value: Any, short: str, lineage: Lineage) -> Owned | Tracked | None:
    if isinstance(value, torch.Tensor):
        return entry_of(value, lineage) if short in _APART and lineage.hidden(value) else None
    if is_atomic(value) or isinstance(value, tuple):
        return None
    if isinstance(value, Poison) and value.is_tensor:
        return lineage.track(value) if short in _APART and not value.is_public else None
    entry = lineage.find(value)
    return entry if entry is not None and entry.tie is not None else None


def holders(slots: Iterable[Slot], lineage: Lineage) -> list[Owned | Tracked]:
    """The entries of containers, without what lies in them, or of what stands in for them."""
    values = [slot.value for slot in slots]
    return [
        lineage.track(value) for value in values
        if not (is_atomic(value) or isinstance(value, torch.Tensor | tuple))
    ]  # fmt: skip


def entries_of(value: Any, lineage: Lineage) -> list[Owned | Tracked]:
    """The entries of a value and of all that lies in it, but for what is the owner's."""
    parts = (value,) if isinstance(value, Poison) else reach(value)
    return [entry for part in parts if (entry := entry_of(part, lineage)) is not None]


def entry_of(part: Any, lineage: Lineage) -> Owned | Tracked | None:
    """The entry of a part alone; None of what has none, or is the owner's and never written to."""
    if isinstance(part, torch.Tensor):
        owned = lineage.own(part)
        return None if owned.is_shared and not owned.is_apart else owned
    if is_atomic(part) or isinstance(part, tuple | frozenset):
        return None
    tracked = lineage.track(part)
    return None if tracked.is_shared else tracked


def entry_for(part: Any, lineage: Lineage) -> Owned | Tracked:
    """The entry of a tensor, the owner's too, or of an object."""
    return lineage.own(part) if isinstance(part, torch.Tensor) else lineage.track(part)


def add(entry: Owned | Tracked, label: Label) -> None:
    """Join a label into one of them."""
    if isinstance(entry, Owned):
        entry.label = join((entry.label, label))
    else:
        entry.content = join((entry.content, label))


def perhaps_behind(labels: Iterable[Label], lineage: Lineage) -> list[Tie]:
    """What a private value chose among, of what may be made of it and so have the graph of it.

    Args:
        labels: of what is looked at: it has the sources of that value, if it is made of it.
        lineage: where they are kept.
    """
    known = [part for part in lineage.ties if part.ways]
    every = {label.sources for label in labels if is_private(label)} if known else set()
    return [part for part in known if any(way <= by for way in part.ways for by in every)]


def gone_back(loss: Label, lineage: Lineage) -> None:
    """A backward from something with this label is over, whether it reached anything or not.

    What it goes back from is made of what a private value chose if it has the sources of that. What
    was chosen may have no graph, be none or be missing, and then nothing reaches a leaf. So all
    that could have been reached gets what would have come there.
    """
    for part in perhaps_behind((loss,), lineage):
        part.label = join((part.label, to_per_record(loss)))


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
