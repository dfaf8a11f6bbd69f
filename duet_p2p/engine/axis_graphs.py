"""The record axis of gradients that are asked for: ``autograd.grad(scores, x, create_graph=True)``.

What has its records on a known axis was computed from each by one and the same function, of that
record and of sums over all. So the derivative by a tensor of these records is one of that kind,
too: by the chain rule it goes on from each record's own results, and through each sum by a factor
that is the same for all. That holds for a number over all records as well as for one of each, as
long as what the results are weighted with (`grad_outputs`) tells no records apart.

What the graph keeps is what it was: saved tensors that were written over are refused by torch, and
running statistics, which are not, are joined in by effects.py.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from duet_p2p.engine.axis_rules import Call, Rule, met

__all__ = ["RULES"]


def gradient(call: Call) -> tuple[int, ...] | None:
    """Of tensors with these records, each on its own axis; never of weights and records at once."""
    outputs, inputs = _tensors(call.get("outputs", 0)), _tensors(call.get("inputs", 1))
    given = call.get("grad_outputs", 2)
    weights = [None] * len(outputs) if given is None else _tensors(given, nones=True)
    if not outputs or not inputs or len(weights) != len(outputs):
        return None
    places = [rows.axis for tensor in inputs if (rows := call.rows(tensor)) is not None]
    if len(places) != len(inputs):
        return None
    for output, weight in zip(outputs, weights, strict=True):
        rows = call.rows(output)
        if weight is None:
            continue  # torch takes that of single numbers only
        found = call.rows(weight)
        if weight.shape != output.shape or (rows is None and found is not None):
            return None
        if found is not None and rows is not None and found.axis != rows.axis:
            return None
        if rows is not None and found is None and not met(call, weight, rows.axis):
            return None
    return tuple(places)


def _tensors(value: Any, *, nones: bool = False) -> list[Any]:
    """The tensors of an argument; nothing if something else is among them."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    is_plain = all(isinstance(v, torch.Tensor) or (nones and v is None) for v in values)
    return values if is_plain else []


RULES: Final[dict[str, Rule]] = {"autograd_grad": gradient}
