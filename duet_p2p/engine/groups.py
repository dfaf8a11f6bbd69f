"""Groups of optimizers: lists and dicts that the scientist reads and writes like any others.

What private values put among them, or leave out, must show neither in what an optimizer moves nor
in what a call leaves in them before it fails. A scheduler writes to tensors that are settings, and
makes new ones, as soon as it is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.holding import groups_of, parameters_of
from duet_p2p.engine.labels import Label, join, to_model, to_per_record
from duet_p2p.engine.lineage import Lineage, is_atomic, reach
from duet_p2p.engine.store import Poison

__all__ = [
    "after_optimizer", "after_scheduler", "before_group", "before_optimizer",
    "before_scheduler", "copied_lengths", "grown", "hide_held", "mark_settings", "takes_up",
]  # fmt: skip

_FILLING: Final = frozenset({"add_param_group", "follow"})
"""Last parts of names by which an optimizer gets parameters."""


def before_scheduler(given: Arguments, lineage: Lineage) -> None:
    """A new scheduler writes the first learning rates into the optimizer's groups.

    It adds settings to them, too, or fails when some are there.
    """
    every = _of_scheduler(given, lineage)
    if not is_private(every):
        return
    slots = given.slots.values()
    beside = [s.label for s in slots if not isinstance(s.value, Optimizer | LRScheduler)]
    chosen = to_per_record(join([*beside, *grown(given, lineage)]))
    for value in given.values():
        parts = reach(value)
        if not any(isinstance(part, Optimizer | LRScheduler) for part in parts):
            continue  # it only looks at numbers
        for part in parts:
            if not isinstance(part, torch.Tensor | tuple):
                tracked = lineage.track(part)
                tracked.content = join((tracked.content, every))
                tracked.version += 1
                if is_private(chosen) and isinstance(part, dict):
                    tracked.structure = join((tracked.structure, chosen))
    mark_settings(given, every, lineage)


def after_scheduler(given: Arguments, scheduler: Any, lineage: Lineage) -> None:
    """It was made, or failed half way: what there is now and was not before is labelled."""
    every = _of_scheduler(given, lineage)
    before = set(map(id, given.sources))
    for part in reach([scheduler, *given.values()]) if is_private(every) else ():
        if isinstance(part, torch.Tensor) and id(part) not in before:
            entry = lineage.own(part)
            entry.label = join((entry.label, every))


def _of_scheduler(given: Arguments, lineage: Lineage) -> Label:
    labels = map(lineage.label, _settings_in(given))
    return to_model(join([given.beside(lineage), *grown(given, lineage), *labels]))


def mark_settings(given: Arguments, every: Label, lineage: Lineage) -> None:
    """A scheduler writes to tensors that are settings, or would if its optimizer were there."""
    for tensor in _settings_in(given):
        entry = lineage.own(tensor)
        entry.label = join((entry.label, every))


def _settings_in(given: Arguments) -> list[torch.Tensor]:
    """Tensors that are settings of the optimizers among the arguments, in whatever groups."""
    values: list[Any] = []
    groups: list[Any] = []
    for part in given.reached():
        if isinstance(part, Optimizer):
            groups += (part.defaults, *part.param_groups)
        elif isinstance(part, Poison) and isinstance(next(iter(part.parts), None), list | tuple):
            groups += part.parts[0]  # of an optimizer that could not be made
            values += part.parts[1:]
    for one in groups:
        if isinstance(one, dict):
            values += [value for key, value in one.items() if key != "params"]
    return [part for part in reach(values) if isinstance(part, torch.Tensor)]


def before_group(given: Arguments, every: Label, lineage: Lineage) -> None:
    """An optimizer fills a group that it is given with its own settings, and then may refuse it.

    Or it would if it were there. What it gets so is as private as all that it holds.
    """
    for value in given.beside_first():
        lineage.add(value, every)


def takes_up(stepper: Any, short: str, given: Arguments, lineage: Lineage) -> bool:
    """Whether what a command is given may lie in a stepper behind it, if that is there.

    A scheduler keeps the epoch that it is told. Where private values decided whether there is one,
    nobody can tell which of them it would be, so the loss that another kind looks at counts, too.
    """
    if short in _FILLING:
        return True
    is_scheduler = isinstance(stepper, LRScheduler) and is_private(given.structure(lineage))
    is_none = not isinstance(stepper, Optimizer | LRScheduler)  # it is missing, or another thing
    return short == "step" and (is_none or is_scheduler)


def before_optimizer(given: Arguments, lineage: Lineage) -> None:
    """A new optimizer writes its settings into groups that it is given, until one is refused."""
    chosen = given.settings(lineage)
    if not is_private(chosen):
        return
    for part in given.reached():
        if isinstance(part, dict):
            tracked = lineage.track(part)
            tracked.content = join((tracked.content, chosen))
            tracked.structure = join((tracked.structure, to_per_record(chosen)))
            tracked.version += 1


def after_optimizer(given: Arguments, optimizer: Optimizer, lineage: Lineage) -> None:
    """It has lists of its own, as long as those that it was given."""
    first = given.args[0] if given.args else given.kwargs.get("params")
    length = join([
        entry.structure for part in reach(first)
        if isinstance(part, list | tuple | set) and (entry := lineage.find(part)) is not None
    ])  # fmt: skip
    for group in groups_of(optimizer) if is_private(length) else ():
        entry = lineage.track(group["params"])
        entry.structure = join((entry.structure, length))


def grown(given: Arguments, lineage: Lineage) -> Iterator[Label]:
    """What a loaded state, or a list of settings, brings along."""
    for value in given.beside_first():
        if not is_atomic(value):
            yield lineage.whole(value)


def copied_lengths(given: Arguments, lineage: Lineage) -> None:
    """A state that is loaded is copied, lists of a private length too."""
    parts = [part for value in given.values() for part in reach(value)]
    length = join(entry.structure for part in parts if (entry := lineage.find(part)))
    if not is_private(length):
        return
    for part in reach(list(getattr(given.args[0], "state", {}).values())):
        if isinstance(part, list | dict):
            entry = lineage.track(part)
            entry.structure = join((entry.structure, length))


def _has_chosen(stepper: Any, lineage: Lineage) -> bool:
    """Whether values decided which tensors an optimizer holds, and so which of them are hidden."""
    for part in reach(stepper):
        if isinstance(part, Optimizer):
            lists = [part.param_groups, *(group["params"] for group in groups_of(part))]
            entries = [entry for value in lists if (entry := lineage.find(value)) is not None]
            if any(is_private(entry.structure) for entry in entries):
                return True
    return False


def hide_held(stepper: Any, held: list[Any], hidden: list[torch.Tensor], lineage: Lineage) -> None:
    """Behind a step, a hidden shape among all that it read hides all that the optimizer holds.

    That of a setting hides no parameter: no step changes the shape of one.
    """
    is_chosen = _has_chosen(stepper, lineage)
    if not hidden and not is_chosen:
        return
    moved = _moved_by(stepper)
    is_moved = is_chosen or any(id(tensor) in moved for tensor in hidden)
    for part in held:
        if isinstance(part, torch.Tensor) and (is_moved or id(part) not in moved):
            owned = lineage.own(part)
            owned.hidden = owned.hidden or is_private(owned.label)


def _moved_by(stepper: Any) -> set[int]:
    """Identities of the parameters that a stepper's optimizers move, and of their gradients."""
    optimizers = [part for part in reach(stepper) if isinstance(part, Optimizer)]
    moved = [tensor for optimizer in optimizers for tensor in parameters_of(optimizer)]
    return {id(part) for tensor in moved for part in (tensor, tensor.grad) if part is not None}
