"""The container that stands for one that failed in private.

Whether it is there or not, its length is private, and so is what lies in it. So a container of the
type that it would have had stands in its place, with all that it was to take up in any case, and
commands run on it as on any other: they mark what they put into it and what they may take out.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import torch

from duet_p2p.engine import containers
from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.labelling import Labelling
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage, is_atomic
from duet_p2p.engine.running import Running
from duet_p2p.engine.selection import HOLDING
from duet_p2p.engine.store import Poison, Slot
from duet_p2p.surface.table import Rule

__all__ = ["container_for", "fill", "slot_of"]

_TYPES: Final[dict[str, type]] = {
    "python.List": list, "python.Tuple": tuple, "python.Set": set, "python.Dict": dict,
    "python.OrderedDict": OrderedDict,
}  # fmt: skip
"""By what the table says of a name's result."""
_TAKING: Final = frozenset({"List", "Tuple", "__add__"})
"""Last parts of names that take up the elements of all that they are given."""
_EXTENDING: Final = frozenset({"python.List.extend", "python.List.__iadd__"})
"""Names that add the elements of what they are given to a list that is there."""


def container_for(rule: Rule, given: Arguments) -> Any:
    """What stands for the container that a call was to make; None if nothing does.

    Args:
        rule: of the call.
        given: its arguments.
    """
    kind = _TYPES.get(rule.result)
    if kind is None or rule.form == "mutator" or not rule.name.startswith("python."):
        return None
    if kind is tuple and not (rule.form == "constructor" or rule.name.startswith("python.Tuple.")):
        return None  # of numbers or texts, as many as the name says
    first = given.at[0] if given.at else None
    if not (first is not None and first.is_loose) and any(map(_is_object, given.args[:1])):
        return None  # no container is made of it, whether it is there or not
    parts: list[Any] = []
    for number, value in enumerate(given.args if rule.short in _TAKING else ()):
        slot = given.at[number] if number < len(given.at) else None
        taken = (list, tuple, dict, set) if rule.form == "constructor" else kind
        if slot is not None and not isinstance(value, taken):
            value = _perhaps(slot, taken) or value
        parts += list(value) if isinstance(value, HOLDING) else []
    return kind(parts)


def fill(rule: Rule, given: Arguments, lineage: Lineage) -> None:
    """A list was not extended, since that failed in private: it gets what was perhaps to be added.

    Args:
        rule: of the call.
        given: its arguments.
        lineage: knows what is the owner's.
    """
    target, slot = (given.args[0], given.at[1]) if len(given.at) > 1 else (None, None)
    if rule.name not in _EXTENDING or type(target) is not list or slot is None:
        return
    known = lineage.find(target)
    if not (known is not None and known.is_shared):
        target += _perhaps(slot, HOLDING) or []


def _perhaps(slot: Slot, taken: Any) -> Any:
    """What a private value might have chosen in the place of this that could have been taken up."""
    found = [entry.held for entry in slot.perhaps if isinstance(entry.held, taken)]
    return found[0] if found else None


def slot_of(
    made: Any, run: Running, poison: Poison, labelling: Labelling, lineage: Lineage,
    *, is_inferred: bool,
) -> Slot:  # fmt: skip
    """The slot of what stands for a container, with the labels of what it stands for.

    Args:
        made: what `container_for` gave.
        run: the call.
        poison: the failure.
        labelling: labels a result.
        lineage: gets the labels.
        is_inferred: the form of the result follows from public facts.
    """
    label, found = to_per_record(poison.label), PUBLIC
    if not any(isinstance(value, Poison) for value in run.given.values()):
        found = _labelled(made, run, labelling, lineage, is_inferred=is_inferred)
        label = join((label, to_per_record(found) if is_private(found) else PUBLIC))
    elif _is_of_text(run.rule):
        found = label
    if isinstance(made, tuple):
        return Slot(made, label, poison=poison)
    lineage.has_poison, tracked = True, lineage.track(made)
    tracked.poison = poison
    tracked.content = join((tracked.content, label))
    tracked.structure = join((tracked.structure, label))
    return Slot(made, label, poison=poison) if is_private(found) else Slot(made)


def _labelled(
    made: Any, run: Running, labelling: Labelling, lineage: Lineage, *, is_inferred: bool
) -> Label:
    if _is_of_text(run.rule):
        return labelling.foreseen(run, made, is_inferred=is_inferred)
    # though what it is called on may be none of its type, and the call an operation then
    return containers.label_results(run.rule.name, run.given, made, lineage)


def _is_object(value: Any) -> bool:
    """Whether this is a data set, a distribution or the like, or stands for one."""
    if isinstance(value, Poison):
        return value.is_object or bool(value.records)
    source = getattr(value, "source", value)
    return not (is_atomic(source) or isinstance(source, (torch.Tensor, *HOLDING)))


def _is_of_text(rule: Rule) -> bool:
    return rule.name.startswith("python.String.")
