"""What an owner is told about trained parameters: steps, batches, rates, who chose the first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch.optim import Optimizer

from duet_p2p.engine.holding import groups_of, parameters_of
from duet_p2p.engine.labels import UNBOUNDED
from duet_p2p.engine.lineage import Lineage

__all__ = ["Training", "count_step", "described", "note_step"]

_RATES: Final = 4  # learning rates that are told one by one


@dataclass(slots=True, eq=False)
class Training:
    """All steps of one optimizer; its parameters share it."""

    optimizer: str
    steps: int = 0
    smallest: int = UNBOUNDED
    """Records behind a gradient; `UNBOUNDED`: unknown."""
    largest: int = 0
    rates: dict[float, None] = field(default_factory=dict)


def note_step(optimizer: Any, records: int, lineage: Lineage) -> None:
    """An optimizer made a step with gradients over so many records."""
    if not isinstance(optimizer, Optimizer):
        return
    tensors = [parameter for parameter in parameters_of(optimizer) if parameter.grad is not None]
    training = None
    for tensor in tensors:
        entry = lineage.own(tensor)
        if training is None:
            training = entry.training or Training(type(optimizer).__name__)
        entry.training = training
    if training is not None:
        count_step(training, optimizer, records)


def count_step(training: Training, optimizer: Optimizer, records: int) -> None:
    """One step more, with gradients over so many records."""
    training.steps += 1
    training.smallest = min(training.smallest, records)
    training.largest = max(training.largest, records if records < UNBOUNDED else 0)
    for group in groups_of(optimizer):
        rate = group.get("lr")
        if isinstance(rate, float | int) and len(training.rates) <= _RATES:
            training.rates[float(rate)] = None


def described(tensors: Iterable[torch.Tensor], lineage: Lineage) -> tuple[str, ...]:
    """Lines about the training behind these tensors; none if they were not trained."""
    lines: dict[str, None] = {}
    for tensor in tensors:
        entry = lineage.entry(tensor)
        if entry is None or entry.training is None:
            continue
        training = entry.training
        count = f"{training.steps:,} step{'s' * (training.steps != 1)}"
        lines[f"trained in {count} of {training.optimizer}"] = None
        if training.largest:
            low, high = training.smallest, training.largest
            many = f"{high:,}" if low == high else f"{low:,} to {high:,}"
            lines[f"batches of {many} records"] = None
        if training.rates:
            shown = [f"{rate:g}" for rate in training.rates][:_RATES]
            more = " and others" if len(training.rates) > _RATES else ""
            lines[f"learning rate {', '.join(shown)}{more}"] = None
        if not entry.root:
            first = "first weights: taken from the owner's objects"
        elif entry.made is not None and entry.made.op.startswith("own"):
            first = "first weights: chosen by the scientist, uploaded"
        else:
            first = "first weights: chosen by the scientist, whose program made them here"
        lines[first] = None
    return tuple(lines)
