"""Which settings of optimizers no private value decided, whatever label a training step gave them.

The form of a step has the settings of its optimizer as they are. If private values set one of them
(``group["lr"] = secret``, or a `ReduceLROnPlateau` that is given a private loss), an approval for
always would tell by its answer whether the form is a new one. So nothing is bound to such a form.

A step on private values leaves its label on all that the optimizer holds, which says nothing of the
settings. So what they lie in is marked before it gets that label, if they are public, and the mark
goes once something private is written there: by a key, by a scheduler that was given a private
number or holds one, by a state that is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.holding import groups_of
from duet_p2p.engine.labels import Label, join
from duet_p2p.engine.lineage import Lineage, Tracked, is_atomic, reach
from duet_p2p.engine.selection import of_loose
from duet_p2p.engine.store import Poison

__all__ = ["after_step", "are_public", "before_step", "copied", "left_out", "made", "put_into"]


def are_public(stepper: Any, lineage: Lineage) -> bool:
    """Whether no private value decided a setting of an optimizer, or a number in a scheduler."""
    held = _settings(stepper) if isinstance(stepper, Optimizer) else _held_by(stepper)
    return all([_is_public(part, lineage) for part in held])


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
    else:
        held = [*_held_by(stepper), *(_of_state(given) if short == "load_state_dict" else ())]
        is_public = all([_is_public(part, lineage) for part in held]) and not is_private(
            _of_numbers(short, given, lineage)
        )
        _mark(held, lineage, is_public=is_public)
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
        _mark(_held_by(stepper), lineage, is_public=_is_public(stepper, lineage))
        return
    if short != "load_state_dict":
        return
    labels = [slot.label for slot in given.slots.values()]
    is_public = all([_is_public(part, lineage) for part in _of_state(given)])
    _mark(_settings(stepper), lineage, is_public=is_public and not is_private(join(labels)))


def left_out(stepper: Any, given: Arguments, label: Label, lineage: Lineage) -> None:
    """A command that would have written to settings did not run; what it was given is missing."""
    schedulers = [part for part in reach(stepper) if isinstance(part, LRScheduler)]
    held = [part for scheduler in schedulers for part in _own(scheduler)]
    held += [part for optimizer in _optimizers(stepper) for part in _settings(optimizer)]
    for part in held:
        tracked = lineage.track(part)
        tracked.content = join((tracked.content, label))
    _mark(held, lineage, is_public=False)
    if schedulers:
        _type(held, given, lineage)


def _type(held: list[Any], given: Arguments, lineage: Lineage) -> None:
    """What was given is a number or a tensor, as private values say, and then so is a setting."""
    label = of_loose(given)
    for part in held if is_private(label) else ():
        tracked = lineage.track(part)
        tracked.structure = join((tracked.structure, label))


def copied(stepper: Any, state: Any, lineage: Lineage) -> None:
    """A stepper gave its state, or a list of its numbers."""
    if are_public(stepper, lineage):
        _mark(_parts_of_state(state), lineage, is_public=True)


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


def put_into(box: Tracked, label: Label) -> None:
    """Something of this label is written into a list or dict."""
    if is_private(label):
        box.has_public_numbers = False


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


def _mark(parts: Iterable[Any], lineage: Lineage, *, is_public: bool) -> None:
    for part in parts:
        if not isinstance(part, Poison):
            lineage.track(part).has_public_numbers = is_public
