"""What is made of something that private values chose, or is filled with it, if it is there at all.

``box[i]`` is a tensor of the box or nothing, as `i` says. A view of it, a list that it lies in and
a distribution over it have what is written into the tensor later; where it is nothing there is no
such view, and the list has nothing in it. So each of them is tied (ties.py) to all that could have
been chosen, whatever was. By the name of the command alone: what it gives otherwise is new.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.optim import Optimizer

from duet_p2p.engine.aliases import is_always_view
from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.holding import groups_of
from duet_p2p.engine.labels import join
from duet_p2p.engine.lineage import Lineage, Owned, Tracked, is_atomic, reach, storage_of
from duet_p2p.engine.running import Running
from duet_p2p.engine.settings import gives_views
from duet_p2p.engine.store import Poison, Slot, Store
from duet_p2p.engine.ties import Tie, add, entry_of, gone_back, tie, touch
from duet_p2p.engine.unmade import BACKWARD
from duet_p2p.surface.table import Rule

__all__ = ["tie_made"]

_NEW: Final = frozenset({
    "python.Int", "python.Float", "python.Bool", "python.Complex", "python.String", "python.Bytes",
    "python.Range", "truth",
})  # fmt: skip
"""Results in which nothing lies that was given."""
_HOLD: Final = ("torch.utils.data.", "torch.distributions.")
"""How names begin of objects that give again what they were made of."""
_SETTERS: Final = frozenset({"torch.Tensor.data=", "torch.Tensor.grad="})
_GRADIENT: Final = "torch.Tensor.grad"


def tie_made(run: Running | None, store: Store, lineage: Lineage) -> None:
    """Ties what a command gave and filled, which is over, to what may lie in it, or be it.

    Args:
        run: the command; None: it had no name.
        store: with its results.
        lineage: where entries are kept.
    """
    if run is not None:
        touch(run.rule.name, run.given, lineage)
    if run is not None and run.rule.name == BACKWARD:
        gone_back(join((run.given.all(lineage), run.given.loss)), lineage)
    if run is None or not _may_hold(run.rule):
        return
    known = _ties_of(run.given, lineage, is_gradient=run.rule.name == _GRADIENT)
    if not known:
        return
    slots = [slot for id in run.op.outs if (slot := store.find(id)) is not None]
    slots = [slot for slot in slots if not _has_failed_for_all(slot)]
    for slot in slots:  # as of what it is made of
        slot.is_element = slot.is_element or slot.is_loose
    there = set(map(_identity, run.given.reached()))  # and is what it was
    parts = [part for slot in slots for part in _parts(slot.value) if _identity(part) not in there]
    parts += _filled(run.rule, run.given)
    missing = [part for part in run.given.reached() if isinstance(part, Poison)]
    same = [lineage.find(part) for part in missing]  # another name of what is missing is that
    entries = [entry for part in parts if (entry := entry_of(part, lineage)) is not None]
    entries = [entry for entry in entries if not any(entry is known for known in same)]
    for part in known:
        if part.members:
            tie([part.members[0], *entries], lineage, slots)
        for entry in () if part.members else entries:  # nothing is left of all that
            add(entry, part.label)


def _may_hold(rule: Rule) -> bool:
    name = rule.name
    if name.startswith("python."):
        return rule.result not in _NEW
    is_object = rule.form == "constructor" or name.startswith(_HOLD)
    is_itself = rule.result == "self" or name in _SETTERS or name == _GRADIENT
    return is_object or is_itself or is_always_view(name) or gives_views(name)


def _ties_of(given: Arguments, lineage: Lineage, *, is_gradient: bool) -> list[Tie]:
    """Of arguments that need not be what they are, or in which something of that kind may lie.

    A gradient is tied to what holds it, if that is, and so is what it is read off (gradients.py).
    """
    found: dict[int, Tie] = {}
    for slot in given.slots.values():
        value = slot.value
        entry: Owned | Tracked | None
        if isinstance(value, torch.Tensor):
            entry = lineage.entry(value) if slot.is_loose or is_gradient else None
        else:
            entry = None if is_atomic(value) else lineage.find(value)
        if isinstance(value, Poison) and not (
            slot.is_loose or value.is_object or value.is_list or is_gradient
        ):
            continue
        if entry is not None and entry.tie is not None:
            whole = entry.tie.whole()
            found[id(whole)] = whole
        elif slot.is_loose:
            found |= {id(part): part for part in lineage.ties if _lies_in(slot, part)}
    return list(found.values())


def _lies_in(slot: Slot, part: Tie) -> bool:
    return any([known() is slot for known in part.slots])


def _has_failed_for_all(slot: Slot) -> bool:
    return isinstance(slot.value, Poison) and slot.value.is_public


def _filled(rule: Rule, given: Arguments) -> list[Any]:
    """The container, or tensor, that a command writes what it was given into."""
    target = given.args[0] if given.args else None
    if isinstance(target, torch.Tensor):
        return [target] if rule.name in _SETTERS else []
    is_filled = rule.name.startswith("python.") and rule.result in ("none", "self", "element")
    return [target] if is_filled and not is_atomic(target) else []


def _identity(part: Any) -> int:
    """Of what its label is kept by: a view of what was given is that, for a label."""
    return storage_of(part)._cdata if isinstance(part, torch.Tensor) else id(part)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Poison):
        return [value]
    parts = reach(value)
    if not isinstance(value, Optimizer):
        return parts
    # a setting that may be missing is none of the tensors that are moved: groups.py
    lists = [value.param_groups, *(group["params"] for group in groups_of(value))]
    return [part for part in parts if not any(part is held for held in lists)]
