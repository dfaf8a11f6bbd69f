"""Which settings of optimizers no private value decided, whatever label a training step gave them.

The form of a step has the settings of its optimizer as they are. If private values set one of them
(``group["lr"] = secret``, or a `ReduceLROnPlateau` that is given a private loss), an approval for
always would tell by its answer whether the form is a new one. So nothing is bound to such a form.

A step on private values leaves its label on all that the optimizer holds, which says nothing of the
settings. So what they lie in is marked before it gets that label, if they are public, and the mark
goes once something private is written there: by a key, by a scheduler that was given a private
number or holds one, by a state that is loaded.

What a scheduler tells of its rates is public as long as all of that is marked so.

A rate only scales what a step moves. Any other setting can decide what an optimizer remembers, as a
momentum of zero does, and so how long its state is: where one is private, that is, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.holding import groups_of
from duet_p2p.engine.labels import Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage, is_atomic, reach
from duet_p2p.engine.selection import of_loose
from duet_p2p.engine.store import Poison

__all__ = [
    "SETTING", "after_step", "are_public", "are_told", "before_step", "copied", "doubt",
    "hide_state", "is_only_rate", "left_out", "made", "put_into",
]  # fmt: skip

_RATE: Final = "lr"
SETTING: Final = frozenset({
    "torch.optim.Optimizer.load_state_dict", "torch.optim.Optimizer.add_param_group",
    "torch.optim.lr_scheduler.LRScheduler.load_state_dict",
    "torch.optim.lr_scheduler.LRScheduler.feed", "torch.optim.lr_scheduler.LRScheduler.step",
})  # fmt: skip
"""Names that write settings, or what is to be one."""


def are_public(stepper: Any, lineage: Lineage) -> bool:
    """Whether no private value decided a setting of an optimizer, or a number in a scheduler."""
    held = _settings(stepper) if isinstance(stepper, Optimizer) else _held_by(stepper)
    return all([_is_public(part, lineage) for part in held])


def are_told(given: Arguments, result: Any, lineage: Lineage) -> bool:
    """Whether a scheduler gave numbers that no private value decided, and no tensor."""
    values = result if isinstance(result, list) else [result]
    is_named = not is_private(join([slot.label for slot in given.slots.values()]))
    is_known = is_named and bool(given.args) and isinstance(given.args[0], LRScheduler)
    is_plain = all([type(value) in (int, float) for value in values])
    return is_known and is_plain and are_public(given.args[0], lineage)


def doubt(parts: Iterable[Any], lineage: Lineage) -> None:
    """Nothing is known any more about what was written into these."""
    _mark(filter(lineage.find, filter(_can_hold, parts)), lineage, is_public=False)


def is_only_rate(optimizer: Optimizer, lineage: Lineage) -> bool:
    """Whether private values decided no setting of an optimizer's groups but their rates."""
    return all([_has_at_most_rate(part, lineage) for part in _settings(optimizer)])


def hide_state(optimizer: Optimizer, lineage: Lineage) -> None:
    """A step remembers what its settings say, or would if it had worked: so how much is private."""
    if is_only_rate(optimizer, lineage):
        return
    entries = [e for part in _settings(optimizer) if (e := lineage.find(part)) is not None]
    labels = [label for entry in entries for label in (entry.content, entry.structure)]
    label = to_per_record(join(labels))
    for part in _numbers_in([optimizer.state]):
        tracked = lineage.track(part)
        tracked.structure = join((tracked.structure, label))


def before_step(stepper: Any, short: str, given: Arguments, lineage: Lineage) -> None:
    """A command is about to change what a stepper holds, and to leave its label there.

    Args:
        stepper: an optimizer or a scheduler.
        short: last part of the command's name.
        given: its arguments.
        lineage: where labels are kept.
    """
    optimizers = _optimizers(stepper)
    kept = _numbers_in([optimizer.defaults for optimizer in optimizers])
    if isinstance(stepper, Optimizer):
        if short == "add_param_group" and all([_is_public(part, lineage) for part in kept]):
            kept += _numbers_in(given.beside_first())  # what is not in it comes from the defaults
        kept += _settings(stepper)
        if short == "step":
            hide_state(stepper, lineage)
        if short == "load_state_dict":  # it may be none
            _type(_numbers_in([stepper.state]), given, lineage)
    else:
        held = [*_held_by(stepper), *(_of_state(given) if short == "load_state_dict" else ())]
        is_public = all([_is_public(part, lineage) for part in held]) and not is_private(
            _of_numbers(short, given, lineage)
        )
        _mark_moved(held, stepper, lineage, is_public=is_public)
        _type(held, given, lineage)
    _mark([part for part in kept if _is_public(part, lineage)], lineage, is_public=True)


def _of_numbers(short: str, given: Arguments, lineage: Lineage) -> Label:
    """Of all that a scheduler is given; what lies in a state has marks of its own."""
    labels = [slot.label for slot in given.slots.values()]
    if short != "load_state_dict":
        labels += [lineage.whole(value) for value in given.beside_first()]
    return join(labels)


def after_step(stepper: Any, short: str, given: Arguments, lineage: Lineage) -> None:
    """The command of `before_step` ran: lists and dicts that it made are as public as the others.

    An optimizer has new groups behind a state that it was given, and what was in that.
    """
    if not isinstance(stepper, Optimizer):
        is_public = _is_public(stepper, lineage)
        _mark_moved(_held_by(stepper), stepper, lineage, is_public=is_public)
    elif short == "step":
        hide_state(stepper, lineage)
    elif short == "load_state_dict":
        is_told = not is_private(join([slot.label for slot in given.slots.values()]))
        _mark_like(_settings(stepper), _of_state(given) if is_told else None, lineage)
        _type(_numbers_in([stepper.state]), given, lineage)


def left_out(stepper: Any, given: Arguments, label: Label, lineage: Lineage) -> None:
    """A command that would have written to settings did not run; what it was given is missing."""
    schedulers = [part for part in reach(stepper) if isinstance(part, LRScheduler)]
    held = [part for scheduler in schedulers for part in _own(scheduler)]
    held += [part for optimizer in _optimizers(stepper) for part in _settings(optimizer)]
    for part in held:
        tracked = lineage.track(part)
        tracked.content = join((tracked.content, label))
    _mark(held, lineage, is_public=False)  # what was left out may have been any setting
    state = [] if schedulers else [optimizer.state for optimizer in _optimizers(stepper)]
    _type(held if schedulers else _numbers_in(state), given, lineage)


def _type(held: list[Any], given: Arguments, lineage: Lineage) -> None:
    """What was given is a number or a tensor, as private values say, and then so is a setting."""
    label = of_loose(given)
    for part in held if is_private(label) else ():
        tracked = lineage.track(part)
        tracked.structure = join((tracked.structure, label))


def copied(stepper: Any, state: Any, lineage: Lineage) -> None:
    """A stepper gave its state, or a list of its numbers."""
    held = _settings(stepper) if isinstance(stepper, Optimizer) else _held_by(stepper)
    _mark_like(_parts_of_state(state), held, lineage)


def made(scheduler: LRScheduler, given: Arguments, lineage: Lineage) -> None:
    """A scheduler was made of what it was given, and keeps settings that its optimizer has now."""
    theirs = {id(part) for optimizer in _optimizers(scheduler) for part in reach(optimizer)}
    brought = [part for value in given.beside_first() for part in reach(value)]
    brought = [part for part in brought if id(part) not in theirs]
    labels = [slot.label for slot in given.slots.values()]
    labels += [lineage.label(part) for part in brought if isinstance(part, torch.Tensor)]
    held = [*_held_by(scheduler), *filter(_can_hold, brought)]
    if all([_is_public(part, lineage) for part in held]) and not is_private(join(labels)):
        _mark(_own(scheduler), lineage, is_public=True)
        return
    every = join([lineage.whole(optimizer) for optimizer in _optimizers(scheduler)])
    for part in _own(scheduler):
        tracked = lineage.track(part)
        tracked.content = join((tracked.content, every))


def put_into(box: Any, key: Any, label: Label, lineage: Lineage) -> None:
    """Something of this label is about to be put into a list or dict, by a key if that has one."""
    if is_private(label):
        is_rate = type(key) is str and key == _RATE and _has_at_most_rate(box, lineage)
        _mark([box], lineage, is_public=False, is_rate=is_rate)


# where numbers lie


def _optimizers(stepper: Any) -> list[Optimizer]:
    return [part for part in reach(stepper) if isinstance(part, Optimizer)]


def _settings(optimizer: Optimizer) -> list[Any]:
    """What an optimizer's settings lie in: its groups, and lists and dicts in them."""
    found: list[Any] = []
    for group in groups_of(optimizer):
        found.append(group)
        for key, value in group.items():
            if key != "params" and not is_atomic(value):
                found += _numbers_in([value])
    return found


def _own(scheduler: Any) -> list[Any]:
    """What the numbers of a scheduler and of those in it lie in, without its optimizers."""
    theirs = {id(part) for optimizer in _optimizers(scheduler) for part in reach(optimizer)}
    return [part for part in reach(scheduler) if id(part) not in theirs and _can_hold(part)]


def _held_by(scheduler: Any) -> list[Any]:
    settings = [part for optimizer in _optimizers(scheduler) for part in _settings(optimizer)]
    return [*_own(scheduler), *settings]


def _of_state(given: Arguments) -> list[Any]:
    return [part for value in given.beside_first() for part in _parts_of_state(value)]


def _parts_of_state(state: Any) -> list[Any]:
    """What the settings in a state lie in: all of it but what an optimizer remembers."""
    if not isinstance(state, dict):
        return _numbers_in([state])
    return [state, *_numbers_in([value for key, value in state.items() if key != "state"])]


def _numbers_in(values: Iterable[Any]) -> list[Any]:
    return [part for value in values for part in reach(value) if _can_hold(part)]


def _can_hold(part: Any) -> bool:
    """Whether a number can be put into this; that of a tuple has the label of its slot."""
    return not isinstance(part, torch.Tensor | tuple)


def _is_public(part: Any, lineage: Lineage) -> bool:
    if isinstance(part, Poison):
        return False
    entry = lineage.find(part)
    if entry is None:
        return True
    return not is_private(entry.structure) and (
        entry.has_public_numbers or not is_private(entry.content)
    )


def _has_at_most_rate(part: Any, lineage: Lineage) -> bool:
    """Whether no number in this is private, or nothing but a rate."""
    if _is_public(part, lineage):
        return True
    entry = None if isinstance(part, Poison) else lineage.find(part)
    return entry is not None and entry.has_private_rate and not is_private(entry.structure)


def _mark(
    parts: Iterable[Any], lineage: Lineage, *, is_public: bool, is_rate: bool = False
) -> None:  # fmt: skip
    for part in parts:
        if not isinstance(part, Poison):
            tracked = lineage.track(part)
            tracked.has_public_numbers, tracked.has_private_rate = is_public, is_rate


def _mark_moved(held: list[Any], scheduler: Any, lineage: Lineage, *, is_public: bool) -> None:
    """A scheduler writes rates; some of them write a momentum, too."""
    has_more = any(getattr(part, "cycle_momentum", False) for part in reach(scheduler))
    for part in held:
        is_rate = not (is_public or has_more) and _has_at_most_rate(part, lineage)
        _mark([part], lineage, is_public=is_public, is_rate=is_rate)


def _mark_like(parts: list[Any], held: list[Any] | None, lineage: Lineage) -> None:
    """Settings are copied from what these held; None: nobody may know."""
    known = [] if held is None else held
    is_public = held is not None and all([_is_public(part, lineage) for part in known])
    is_rate = held is not None and all([_has_at_most_rate(part, lineage) for part in known])
    _mark(parts, lineage, is_public=is_public, is_rate=is_rate and not is_public)
