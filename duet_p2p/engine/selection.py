"""What private values choose of the elements of containers, keep, or leave out.

Everything that could have been chosen, or left out, is marked (choice.py), since what is done by
way of the result reaches the one and not the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch.utils.data import DataLoader, Dataset

from duet_p2p.engine import choice, ties
from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage, Owned, Tracked
from duet_p2p.engine.store import Poison

__all__ = [
    "HOLDING", "are_dicts", "candidates", "choose", "chooser", "is_of_records", "is_perhaps_one",
    "labels_of", "of_loose", "pick", "picker", "put_missing", "valued",
]  # fmt: skip

HOLDING: Final = (list, tuple, dict, set)
"""Types that hold elements."""


def labels_of(values: Any, lineage: Lineage) -> tuple[Label, Label]:
    """Content and structure of these containers, not looking into their elements."""
    found = [entry for value in values if (entry := lineage.find(value))]
    return join(e.content for e in found), join(e.structure for e in found)


def of_loose(given: Arguments) -> Label:
    """Of objects of which values decided whether they are a number, a tensor or anything else."""
    every = join(slot.label for slot in given.slots.values() if slot.is_loose)
    return to_per_record(every) if is_private(every) else PUBLIC


def is_perhaps_one(given: Arguments) -> bool:
    """Whether a private value chose what this works on, which may be a container or another."""
    first = given.at[0] if given.at else None
    return first is not None and first.is_loose


def choose(given: Arguments, lineage: Lineage) -> None:
    """A private number chooses one of the elements, or a default beside them."""
    iterator = given.args[0] if given.args else None
    holder = getattr(iterator, "source", iterator)
    index = chooser(given, lineage)
    if not (is_private(index) and (isinstance(holder, HOLDING) or is_perhaps_one(given))):
        return
    given.is_alias, label = True, to_per_record(join((index, given.all(lineage))))
    beside = join((*labels_of([holder], lineage), given.label_at(0), of_loose(given)))
    holders, known = _tied_holders([holder], given, lineage)
    choice.mark(
        candidates(given), label, lineage, beside=beside, holders=holders, known=known
    )  # fmt: skip


def _tied_holders(
    values: list[Any], given: Arguments, lineage: Lineage
) -> tuple[list[Owned | Tracked], list[ties.Tie]]:  # fmt: skip
    """What is tied to a container is chosen with what lies in it, which may be nothing here."""
    found = [lineage.find(value) for value in values if isinstance(value, HOLDING)]
    return ties.tied(found), ties.by_slots(given.at[:1], lineage)


def candidates(given: Arguments) -> list[Any]:
    """What a getter can give: the elements, and a default beside them."""
    iterator = given.args[0] if given.args else None
    holder = getattr(iterator, "source", iterator)
    held = holder if isinstance(holder, HOLDING) else ()
    return [*(held.values() if isinstance(held, dict) else held), *given.values()[2:]]


def chooser(given: Arguments, lineage: Lineage) -> Label:
    """What decides which element a getter gives."""
    iterator = given.args[0] if given.args else None
    source = getattr(iterator, "source", iterator)
    if isinstance(source, Dataset):  # one may lie in another that chooses of it
        return join((given.label_from(1, 2, lineage), given.beside(lineage)))
    structure = labels_of([iterator, source], lineage)[1]
    loose = [slot.label for slot in given.slots.values() if slot.is_loose]
    return join((given.label_from(1, 2, lineage), structure, *loose))


def picker(short: str, given: Arguments, lineage: Lineage) -> Label:
    """What decides which of the elements of its arguments a new container gets."""
    if short == "fromkeys":
        keys = labels_of(given.args[:1], lineage)
        return join((*keys, given.label_from(0, 1, lineage)))
    if short == "state_dict":  # of names that are not equal
        return given.label_from(0, 1, lineage)
    if short in ("__mul__", "__rmul__"):
        return join((given.label_from(1, 2, lineage), labels_of(given.args[:1], lineage)[1]))
    content, structure = labels_of(given.values(), lineage)
    if are_dicts(given.values()):
        return structure
    return join((content, structure, *(slot.label for slot in given.slots.values())))


def pick(
    by: Label, given: Arguments, lineage: Lineage, to: Tracked | None = None,
    also: Iterable[Any] = (),
) -> None:  # fmt: skip
    """Marks what private values leave out or keep, and of its arguments the whole of `also`.

    What is done by way of the container (`to`) later reaches the one and not the other.
    """
    if not is_private(by):
        return
    label = to_per_record(join((by, given.all(lineage))))
    parts = list(also)
    for value in given.values():
        if isinstance(value, HOLDING):
            parts += value.values() if isinstance(value, dict) else value
        else:
            parts.append(value)
    holders, known = _tied_holders(given.values(), given, lineage)
    beside = join((*labels_of(given.values(), lineage), given.label_at(0)))
    choice.mark(parts, label, lineage, to=to, beside=beside, holders=holders, known=known)


def are_dicts(values: list[Any]) -> bool:
    """Whether all of them have keys, so that no value decides how many there are."""
    return bool(values) and all(isinstance(value, dict) for value in values)


def is_of_records(name: str, given: Arguments) -> bool:
    """Whether a call gives a part of a loader or data set, or would have, if that were there."""
    short, first = name.rpartition(".")[2], given.args[0] if given.args else None
    if short == "dataset" or name == "torch.utils.data.Dataset.__getitem__":
        return True
    source = getattr(first, "source", first)
    return short in ("next", "__next__") and isinstance(source, Dataset | DataLoader | Poison)


def valued(short: str, given: Arguments) -> list[Any]:
    """What a new dict has for each of its keys, if there are any."""
    return given.values()[1:] if short == "fromkeys" else []


def put_missing(given: Arguments, lineage: Lineage) -> None:
    """What is put into one of several may lie in any of them, though this one takes nothing."""
    others, every = given.values()[1:], to_per_record(given.all(lineage))
    choice.mark(others, every, lineage)
    first = lineage.entry(given.args[0]) if isinstance(given.args[0], torch.Tensor) else None
    known = ties.by_slots(given.at[:1], lineage)
    for part in known:
        part.label = join((part.label, every))
    held = [entry for value in others for entry in ties.entries_of(value, lineage)]
    ties.tie([*ties.tied([first]), *held], lineage, (), known)
