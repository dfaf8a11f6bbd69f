"""Rules of operations that work on the features of each record and leave the record axis alone."""

from __future__ import annotations

from typing import Final

import torch

from duet_p2p.engine.axis_rules import (
    REDUCED,
    Call,
    Rule,
    dims_of,
    first_rows,
    met,
    others_have_none,
)

__all__ = ["batch_layer", "bilinear", "einsum", "margin", "pad", "unfold"]

_REDUCTIONS: Final = {"mean": REDUCED, "sum": REDUCED, "none": 0}


def pad(call: Call) -> int | None:
    """Sizes are given from the last axis on; they must end before the record axis."""
    first = first_rows(call)
    sizes = call.get("pad", 1)
    if first is None or not others_have_none(call, first[0]):
        return None
    if not isinstance(sizes, list | tuple) or len(sizes) % 2:
        return None
    tensor, rows = first
    return rows.axis if rows.axis < tensor.ndim - len(sizes) // 2 else None


def batch_layer(least: int) -> Rule:
    """Layers over the last axes of a batch of so many axes at least: records on the first one."""

    def rule(call: Call) -> int | None:
        first = first_rows(call)
        if first is None or not others_have_none(call, first[0]) or len(call.tensors()) != 1:
            return None
        tensor, rows = first
        return 0 if rows.axis == 0 and tensor.ndim >= least else None

    return rule


def unfold(call: Call) -> int | None:
    """``F.unfold(x, kernel)`` of images, and ``x.unfold(dim, size, step)`` along a feature axis.

    The first takes a batch from four axes to three, the second adds one.
    """
    first, results = first_rows(call), call.results()
    if first is None or not others_have_none(call, first[0]) or len(results) != 1:
        return None
    tensor, rows = first
    if results[0].ndim == 3 and tensor.ndim == 4:
        return 0 if rows.axis == 0 else None
    if results[0].ndim != tensor.ndim + 1:
        return None
    dims = dims_of(call.get("dimension", 1), tensor.ndim)
    return rows.axis if dims and len(dims) == 1 and rows.axis not in dims else None


def bilinear(call: Call) -> int | None:
    """``bilinear(x, y, weight, bias)``: both sides have the records, or one that is injected."""
    left, right = call.get("input1", 0), call.get("input2", 1)
    weight, bias = call.get("weight", 2), call.get("bias", 3)
    sides = [left, right]
    if not all(isinstance(t, torch.Tensor) and t.ndim >= 2 for t in sides):
        return None
    if left.ndim != right.ndim or any(
        isinstance(t, torch.Tensor) and call.rows(t) is not None for t in (weight, bias)
    ):
        return None
    if isinstance(bias, torch.Tensor) and bias.ndim > 1:
        return None
    found = [rows for t in sides if (rows := call.rows(t)) is not None]
    if not found or any(rows.axis != found[0].axis for rows in found):
        return None
    axis = found[0].axis
    if axis >= left.ndim - 1:
        return None
    return axis if all(met(call, t, axis) for t in sides if call.rows(t) is None) else None


def margin(call: Call) -> int | None:
    """Losses with a margin over vectors (N, D) or numbers (N), one for each record.

    ``triplet_margin_loss``, ``margin_ranking_loss``, ``cosine_embedding_loss``: every tensor among
    the arguments has the records on axis 0, or meets them there.
    """
    reduction = call.kwargs.get("reduction", "mean")
    given = [v for v in (*call.args, *call.kwargs.values()) if isinstance(v, torch.Tensor)]
    if any(k in call.kwargs for k in ("size_average", "reduce")) or len(call.args) > len(given):
        return None  # numbers by position: old switches can be among them
    if reduction not in _REDUCTIONS or call.kwargs.get("swap") not in (None, False):
        return None
    sizes = {t.shape[0] for t in given if t.ndim}
    if len(sizes) != 1 or any(t.ndim not in (1, 2) for t in given):
        return None
    for tensor in given:
        rows = call.rows(tensor)
        if rows is None:
            if not met(call, tensor, 0):
                return None
        elif rows.axis != 0:
            return None
    is_vector = call.short != "margin_ranking_loss"
    if is_vector and given[0].ndim != 2:
        return None
    if not is_vector and len({t.ndim for t in given}) != 1:
        return None
    return _REDUCTIONS[reduction]


def einsum(call: Call) -> int | None:
    """Two operands at most; the letter of the record axis stays, or is a sum over all of them.

    A letter that stands twice in one operand takes a diagonal, and an ellipsis can hide an axis.
    """
    text = call.get("equation", 0)
    operands = list(call.args[1:])
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = list(operands[0])
    if not isinstance(text, str) or not 1 <= len(operands) <= 2 or call.kwargs:
        return None
    sides = text.replace(" ", "").split("->")
    if len(sides) != 2 or "." in text:
        return None
    inputs, output = sides[0].split(","), sides[1]
    if len(inputs) != len(operands) or not all(isinstance(t, torch.Tensor) for t in operands):
        return None
    if any(len(set(s)) != len(s) for s in (*inputs, output)):
        return None
    if any(len(s) != t.ndim for s, t in zip(inputs, operands, strict=True)):
        return None
    letters = {
        s[rows.axis]
        for s, t in zip(inputs, operands, strict=True)
        if (rows := call.rows(t)) is not None
    }
    if len(letters) != 1:
        return None
    letter = letters.pop()
    for subscripts, tensor in zip(inputs, operands, strict=True):
        is_met = call.rows(tensor) is None and letter in subscripts
        if is_met and not met(call, tensor, subscripts.index(letter)):
            return None
    return output.index(letter) if letter in output else REDUCED
