"""What a container that is missing, since it failed, would have held; and taking it out of it.

Out of one whose length or whose type is private, an element is a choice: `containers.prepare` marks
all that lies in it, and what a backward through that reaches. Whether the container is there must
not show in these, so they are marked here where it is not.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from duet_p2p.engine.aliases import note
from duet_p2p.engine.arguments import Arguments, is_private, tensors_in
from duet_p2p.engine.choice import mark, mark_leaves
from duet_p2p.engine.containers import GETTERS
from duet_p2p.engine.labels import Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage, reach
from duet_p2p.engine.missing_groups import mark_group
from duet_p2p.engine.nodes import is_joined
from duet_p2p.engine.selection import candidates, chooser, is_perhaps_one
from duet_p2p.engine.store import Poison
from duet_p2p.engine.ties import tie
from duet_p2p.surface.table import Rule

__all__ = ["fill_slice", "held_by_missing", "hold_gradients", "mark_missing"]

_ITEM: Final = "torch.utils.data.Dataset.__getitem__"


def mark_missing(rule: Rule, given: Arguments, lineage: Lineage) -> None:
    """A getter is left out, since what it was to take an element from has failed in private.

    Args:
        rule: of the command.
        given: its arguments.
        lineage: gets the labels.
    """
    first = given.args[0] if given.args else None
    if not isinstance(first, Poison) or rule.short not in GETTERS:
        return
    if rule.name.startswith("torch.Tensor."):
        return  # a part of a tensor is no element
    if first.is_loader and not is_perhaps_one(given):
        return  # its batches are copies
    label = to_per_record(given.all(lineage))
    is_next = rule.short in ("next", "__next__") and first.records == "one"
    for tensor in tensors_in(first.parts) if rule.name == _ITEM or is_next else ():
        if not lineage.own(tensor).is_shared:  # an item is made of views
            lineage.add(tensor, label, hidden=is_next)
    if first.records == "many":
        mark(first.parts, label, lineage)
    if is_private(chooser(given, lineage)):
        if first.is_group:
            mark_group(first, label, lineage)
        tie(mark_leaves(first.leaves.values(), first, label, lineage), lineage)
        note([first], lineage)
        given.is_alias = True


def hold_gradients(poison: Poison, rule: Rule, given: Arguments) -> None:
    """Of an element that could not be taken a gradient is read that is one of any of them.

    Args:
        poison: it.
        rule: of the command that was to take it.
        given: the arguments of that.
    """
    if rule.short in GETTERS and rule.name.startswith("python."):
        parts = [part for part in candidates(given) if isinstance(part, torch.Tensor | Poison)]
        poison.gradient.of = tuple(parts)


def held_by_missing(values: list[Any]) -> tuple[Any, ...]:
    """What a missing list of these holds: what they hold, if they are missing themselves."""
    return tuple([p for v in values for p in (v.parts if isinstance(v, Poison) else (v,))])


def fill_slice(poison: Poison, given: Arguments, label: Label, lineage: Lineage) -> None:
    """Puts into what stands for a slice what that would have held, labelled as it labels it.

    Args:
        poison: it.
        given: the ends of the slice, of which one is missing.
        label: of the failure.
        lineage: gets the labels.
    """
    poison.parts = tuple(given.values())
    for end in [part for value in given.values() for part in reach(value)]:
        if isinstance(end, torch.Tensor):
            entry = lineage.own(end)
            entry.label = join((entry.label, label))
            entry.in_graph = entry.in_graph or is_joined(end)
            lineage.hide(end)
