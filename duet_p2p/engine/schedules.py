"""Settings of an optimizer that a scheduler moves: known by the schedule, not by where it stands.

A scheduler of torch that is made of public numbers gives the learning rates that follow from these
numbers and from the settings that the optimizer had before. So a step made under it is known by
both, whatever the rate is by then, as long as nothing but this scheduler's own ``step()`` has moved
the settings or the scheduler. What stands in both is looked at before and after each: whatever else
wrote there (a group's entry, `load_state_dict`, another scheduler, a list that the scheduler gave
out), the schedule is over, and later steps are known by their numbers again.

How often the schedule is moved is not bound, as little as how often a step is made: the scientist
chooses among the rates that it has, which are those that the owner reads.

Several schedulers of one optimizer are a schedule only together: made one after the other with
nothing between, and all of them put into one `SequentialLR` or `ChainedScheduler`, which alone is
moved. Until then the optimizer is known by its numbers.

`ReduceLROnPlateau` goes by private values, `LambdaLR` and `MultiplicativeLR` by numbers that arrive
one at a time: none of these is one.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.form import hashed, settings_of
from duet_p2p.engine.holding import groups_of
from duet_p2p.engine.lineage import Lineage, is_atomic
from duet_p2p.engine.rates import are_public

__all__ = ["MOVE", "Move", "Schedule", "moved", "moves", "said", "scheduled"]

MOVE: Final = "torch.optim.lr_scheduler.LRScheduler.step"
_MAKES: Final = "torch.optim.lr_scheduler."
_KNOWN: Final = frozenset({
    "StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts", "PolynomialLR", "OneCycleLR", "CyclicLR",
})  # fmt: skip
_ARGUMENTS: Final = {
    "SequentialLR": ("optimizer", "schedulers", "milestones", "last_epoch"),
    "ChainedScheduler": ("schedulers", "optimizer"),
}
"""Of schedulers that take others."""
_TEXT_CHARS: Final = 300
"""What is longer is not read by anybody."""
_DEPTH: Final = 4


@dataclass(frozen=True, slots=True)
class Part:
    """One scheduler that was made, and not put into another one."""

    form: str
    text: str
    scheduler: weakref.ref[Any] | None = None
    """None: it is about to be made."""
    inside: tuple[Part, ...] = ()
    """In its order."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Of one optimizer."""

    form: str
    """Empty: something else than a schedule has moved it, or may have, or there are several."""
    text: str = ""
    first: str = ""
    """The settings before any scheduler was made, in words."""
    parts: tuple[Part, ...] = ()
    """As they were made; empty: it is over."""
    is_moved: bool = False
    groups: str = ""
    """What stood in the groups after the last move."""
    states: tuple[str, ...] = ()
    """The parts' own numbers then."""


_OVER: Final = Schedule("")


@dataclass(frozen=True, slots=True)
class Move:
    """A scheduler is about to be made, or to move: the schedule without what will stand there."""

    optimizer: Optimizer
    first: str = ""
    parts: tuple[Part, ...] = ()
    """Empty: it will be over."""
    is_moved: bool = False


def moves(name: str, given: Arguments, lineage: Lineage) -> Move | None:
    """What a command makes of a schedule if it works; None if it moves none.

    Args:
        name: of the command, which is about to run.
        given: its arguments.
        lineage: where schedules are kept.
    """
    if not name.startswith(_MAKES):
        return None
    subject = given.args[0] if given.args else given.kwargs.get("optimizer")
    if name == MOVE:
        optimizer = getattr(subject, "optimizer", None)
        if not isinstance(optimizer, Optimizer):
            return None
        known = _known(optimizer, lineage)
        if known is None:
            return None
        is_alone = len(given.args) + len(given.kwargs) == 1 and len(known.parts) == 1
        if (
            not is_alone
            or not _is(known.parts[0], subject)
            or not _is_kept(known, optimizer, lineage)
        ):
            return Move(optimizer)
        return Move(optimizer, known.first, known.parts, is_moved=True)
    kind = name.removeprefix(_MAKES)
    if kind in _ARGUMENTS:
        return _of_several(kind, given, lineage)
    if not isinstance(subject, Optimizer) or not kind[:1].isupper():
        return None
    known = _known(subject, lineage)
    is_open = known is None or (not known.is_moved and _is_kept(known, subject, lineage))
    if kind not in _KNOWN or not is_open or not _groups(subject):
        return Move(subject)
    rest = dict(given.kwargs)
    rest.pop("optimizer", None)
    settings = [*given.args[1:], *rest.values()]
    if is_private(given.settings(lineage)) or not all(map(_is_told, settings)):
        return Move(subject)
    words = [*map(repr, given.args[1:]), *(f"{key}={rest[key]!r}" for key in sorted(rest))]
    form = hashed("schedule", kind, *words, *settings_of(subject, lineage))
    part = Part(form, f"{kind} ({', '.join(words)})")
    if known is None:
        return _short(Move(subject, said(subject), (part,)))
    return _short(Move(subject, known.first, (*known.parts, part)))


def _of_several(kind: str, given: Arguments, lineage: Lineage) -> Move | None:
    """`moves` of a scheduler that takes others in a list; all that were made have to be in it."""
    named = {**dict(zip(_ARGUMENTS[kind], given.args, strict=False)), **given.kwargs}
    inner = named.get("schedulers")
    if not isinstance(inner, list | tuple) or not inner:
        return None
    optimizers = [named.get("optimizer"), *(getattr(other, "optimizer", None) for other in inner)]
    subjects = [found for found in optimizers if isinstance(found, Optimizer)]
    if not subjects:
        return None
    subject, milestones = subjects[0], named.get("milestones", ())
    known = _known(subject, lineage)
    if known is None:
        return None
    order = [n for other in inner for n, part in enumerate(known.parts) if _is(part, other)]
    is_whole = sorted(order) == list(range(len(known.parts))) and len(inner) == len(order)
    if not is_whole or known.is_moved or not _is_kept(known, subject, lineage):
        return Move(subject)
    tracked = [e for e in map(lineage.find, (inner, milestones)) if e is not None]
    labels = [slot.label for slot in given.slots.values()]
    labels += [label for entry in tracked for label in (entry.content, entry.structure)]
    is_plain = isinstance(milestones, list | tuple) and all(type(m) is int for m in milestones)
    if any(map(is_private, labels)) or not is_plain or named.get("last_epoch", -1) != -1:
        return Move(subject)
    inside = tuple([known.parts[n] for n in order])
    words = f"([{', '.join(part.text for part in inside)}]"
    if order != sorted(order):
        made = [str(order.index(n) + 1) for n in range(len(order))]
        words += f", made in the order {', '.join(made)}"
    words += f", milestones={list(milestones)})" if kind == "SequentialLR" else ")"
    form = hashed("schedule", kind, repr(order), repr(list(milestones)),
                  *(part.form for part in known.parts), *settings_of(subject, lineage))  # fmt: skip
    return _short(Move(subject, known.first, (Part(form, f"{kind} {words}", None, inside),)))


def _short(move: Move) -> Move:
    return move if sum(len(p.text) for p in move.parts) <= _TEXT_CHARS else Move(move.optimizer)


def moved(move: Move, result: Any, given: Arguments, lineage: Lineage) -> None:
    """The command ran: keep what stands there now."""
    parts, groups = move.parts, _groups(move.optimizer)
    if parts and parts[-1].scheduler is None and isinstance(result, LRScheduler):
        parts = (*parts[:-1], replace(parts[-1], scheduler=weakref.ref(result)))
    kept = _OVER
    if groups and parts and parts[-1].scheduler is not None:
        form = parts[0].form if len(parts) == 1 else ""
        text = f"{move.first}, whose rates {parts[0].text} sets"
        states = tuple(map(_state_of, parts))
        kept = Schedule(form, text, move.first, parts, move.is_moved, groups, states)
    lineage.track(move.optimizer).origin = kept


def _is(part: Part, scheduler: Any) -> bool:
    return part.scheduler is not None and part.scheduler() is scheduler


def _is_kept(known: Schedule, optimizer: Optimizer, lineage: Lineage) -> bool:
    """Whether a schedule and its optimizer stand as they did after the last move."""
    if not known.parts or known.groups != _groups(optimizer):
        return False
    if not all(_is_whole(part, optimizer) for part in known.parts):
        return False
    # that the same numbers stand there again may be for private values to say
    schedulers = [part.scheduler() for part in known.parts if part.scheduler is not None]
    if not all(are_public(stepper, lineage) for stepper in (optimizer, *schedulers)):
        return False
    return known.states == tuple(map(_state_of, known.parts))


def _is_whole(part: Part, optimizer: Optimizer) -> bool:
    """Whether a scheduler still moves this optimizer, and still has in it what it was made of."""
    scheduler = None if part.scheduler is None else part.scheduler()
    if scheduler is None or scheduler.optimizer is not optimizer:
        return False
    inside = getattr(scheduler, "_schedulers", ())
    if len(inside) != len(part.inside) or not all(map(_is, part.inside, inside)):
        return False
    return all(_is_whole(inner, optimizer) for inner in part.inside)


def _state_of(part: Part) -> str:
    """The numbers of a scheduler and of those in it."""
    scheduler = None if part.scheduler is None else part.scheduler()
    return "".join([_state(scheduler), *map(_state_of, part.inside)])


def scheduled(optimizer: Optimizer, lineage: Lineage) -> Schedule | None:
    """The schedule that an optimizer's settings follow now; None if they follow none."""
    known = _known(optimizer, lineage)
    if known is None or not known.form or known.groups != _groups(optimizer):
        return None
    return known if are_public(optimizer, lineage) else None


def _known(optimizer: Optimizer, lineage: Lineage) -> Schedule | None:
    entry = lineage.find(optimizer)
    known = None if entry is None else entry.origin
    return known if isinstance(known, Schedule) else None


def _groups(optimizer: Optimizer) -> str:
    """All settings, with how many parameters each group has; empty if some are no plain ones."""
    every = [
        (len(group["params"]), {key: value for key, value in group.items() if key != "params"})
        for group in groups_of(optimizer)
    ]
    return repr(every) if all(_is_plain(settings) for _, settings in every) else ""


def _state(scheduler: Any) -> str:
    """The numbers of a scheduler; what else it holds nobody can write to."""
    held = vars(scheduler) if isinstance(scheduler, LRScheduler) else {}
    return repr({key: value for key, value in held.items() if _is_plain(value)})


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, Mapping):
        parts: list[Any] = [*value, *value.values()]
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        return is_atomic(value) and not isinstance(value, torch.Generator | slice)
    return depth < _DEPTH and all(_is_plain(part, depth + 1) for part in parts)


def _is_told(value: Any) -> bool:
    """Whether an owner can read a setting: texts are words of torch, and not the scientist's."""
    if isinstance(value, list | tuple):
        return all(map(_is_told, value))
    if isinstance(value, str):
        return value.isidentifier()
    return isinstance(value, bool | int | float) or value is None


def said(optimizer: Optimizer) -> str:
    """``SGD (lr=0.1, momentum=0.9)``: all settings that are not the defaults."""
    kind: Any = type(optimizer)  # which mypy does not take for hashable
    known, groups = _defaults(kind), []
    for group in groups_of(optimizer):
        groups.append(", ".join(
            f"{key}={_setting(value)}" for key, value in group.items()
            if key == "lr" or (key != "params" and not (
                key in known and _setting(value) == known[key]
            ))
        ))  # fmt: skip
    return f"{kind.__name__} ({'; '.join(groups)})"


def _setting(value: Any) -> str:
    return "<tensor>" if isinstance(value, torch.Tensor) else repr(value)


@lru_cache(64)
def _defaults(kind: type[Optimizer]) -> dict[str, str]:
    parameters = inspect.signature(kind).parameters.values()
    return {parameter.name: _setting(parameter.default) for parameter in parameters}
