"""Settings of an optimizer that a scheduler moves: known by the schedule, not by where it stands.

A scheduler of torch that is made of public numbers gives the learning rates that follow from these
numbers and from the settings that the optimizer had before. So a step made under it is known by
both, whatever the rate is by then, as long as nothing but this scheduler's own ``step()`` has moved
the settings or the scheduler. What stands in both is looked at before and after each: whatever else
wrote there (a group's entry, `load_state_dict`, another scheduler, a list that the scheduler gave
out), the schedule is over, and later steps are known by their numbers again.

How often the schedule is moved is not bound, as little as how often a step is made: the scientist
chooses among the rates that it has, which are those that the owner reads.

`ReduceLROnPlateau` goes by private values, `LambdaLR` and `MultiplicativeLR` by numbers that arrive
one at a time, `SequentialLR` and `ChainedScheduler` by other schedulers: none of these is one.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.form import hashed, settings_of
from duet_p2p.engine.lineage import Lineage, is_atomic

__all__ = ["MOVE", "Move", "Schedule", "moved", "moves", "said", "scheduled"]

MOVE: Final = "torch.optim.lr_scheduler.LRScheduler.step"
_MAKES: Final = "torch.optim.lr_scheduler."
_KNOWN: Final = frozenset({
    "StepLR", "MultiStepLR", "ConstantLR", "LinearLR", "ExponentialLR", "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts", "PolynomialLR", "OneCycleLR", "CyclicLR",
})  # fmt: skip
_TEXT_CHARS: Final = 200
"""What is longer is not read by anybody."""
_DEPTH: Final = 4


@dataclass(frozen=True, slots=True)
class Schedule:
    """Of one optimizer."""

    form: str
    """Empty: something else than a schedule has moved it, or may have."""
    text: str = ""
    scheduler: weakref.ref[Any] | None = None
    groups: str = ""
    """What stood in the groups after the last move."""
    state: str = ""
    """The scheduler's own numbers then."""


_OVER: Final = Schedule("")


@dataclass(frozen=True, slots=True)
class Move:
    """A scheduler is about to be made, or to move: the schedule without what will stand there."""

    optimizer: Optimizer
    form: str
    text: str = ""


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
        is_alone = len(given.args) + len(given.kwargs) == 1 and known.scheduler is not None
        if not is_alone or known.scheduler is None or known.scheduler() is not subject:
            return Move(optimizer, "")
        is_kept = (known.groups, known.state) == (_groups(optimizer), _state(subject))
        return Move(optimizer, known.form if is_kept else "", known.text)
    kind = name.removeprefix(_MAKES)
    if not isinstance(subject, Optimizer) or not kind[:1].isupper():
        return None
    if kind not in _KNOWN or _known(subject, lineage) is not None or not _groups(subject):
        return Move(subject, "")
    rest = dict(given.kwargs)
    rest.pop("optimizer", None)
    settings = [*given.args[1:], *rest.values()]
    if is_private(given.settings(lineage)) or not all(map(_is_told, settings)):
        return Move(subject, "")
    words = [*map(repr, given.args[1:]), *(f"{key}={rest[key]!r}" for key in sorted(rest))]
    text = f"{said(subject)}, whose rates {kind} ({', '.join(words)}) sets"
    if len(text) > _TEXT_CHARS:
        return Move(subject, "")
    return Move(subject, hashed("schedule", kind, *words, *settings_of(subject, lineage)), text)


def moved(move: Move, result: Any, given: Arguments, lineage: Lineage) -> None:
    """The command ran: keep what stands there now."""
    scheduler = result if isinstance(result, LRScheduler) else given.args[0] if given.args else None
    groups, state = _groups(move.optimizer), _state(scheduler)
    kept = _OVER
    if move.form and groups and isinstance(scheduler, LRScheduler):
        kept = Schedule(move.form, move.text, weakref.ref(scheduler), groups, state)
    lineage.track(move.optimizer).origin = kept


def scheduled(optimizer: Optimizer, lineage: Lineage) -> Schedule | None:
    """The schedule that an optimizer's settings follow now; None if they follow none."""
    known = _known(optimizer, lineage)
    if known is None or not known.form or known.groups != _groups(optimizer):
        return None
    return known


def _known(optimizer: Optimizer, lineage: Lineage) -> Schedule | None:
    entry = lineage.find(optimizer)
    known = None if entry is None else entry.origin
    return known if isinstance(known, Schedule) else None


def _groups(optimizer: Optimizer) -> str:
    """All settings, with how many parameters each group has; empty if some are no plain ones."""
    every = [
        (len(group["params"]), {key: value for key, value in group.items() if key != "params"})
        for group in optimizer.param_groups
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
    for group in optimizer.param_groups:
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
