"""The rule of the losses of torch.nn.functional: one number per record, then `reduction`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final

import torch

from duet_p2p.engine.axis_rules import REDUCED, Call, met

__all__ = ["LOSSES", "is_reduced", "loss", "spelt"]

_SAME_RANKS: Final = """
mse_loss l1_loss smooth_l1_loss huber_loss binary_cross_entropy binary_cross_entropy_with_logits
kl_div poisson_nll_loss soft_margin_loss hinge_embedding_loss margin_ranking_loss
multilabel_soft_margin_loss gaussian_nll_loss
"""
_RANKS: Final[Mapping[str, tuple[int, ...]]] = {
    "cosine_embedding_loss": (2, 2, 1),
    "triplet_margin_loss": (2, 2, 2),
    "triplet_margin_with_distance_loss": (2, 2, 2),
    "multi_margin_loss": (2, 1),
    "multilabel_margin_loss": (2, 2),
}
"""Losses over vectors, and how many axes their operands have: of fewer there is no batch."""
_OF_CLASSES: Final = frozenset({"nll_loss", "cross_entropy"})
LOSSES: Final = frozenset({*_SAME_RANKS.split(), *_RANKS, *_OF_CLASSES})
"""Names of the losses that this rule is for."""

_CLASS_WEIGHTS: Final = frozenset({*_OF_CLASSES, "multi_margin_loss"})
"""Losses whose ``weight`` has a number for each class, which is looked up."""
_BESIDE: Final[Mapping[str, frozenset[str]]] = {
    "binary_cross_entropy": frozenset({"weight"}),
    "binary_cross_entropy_with_logits": frozenset({"weight", "pos_weight"}),
    "multilabel_soft_margin_loss": frozenset({"weight"}),
    **dict.fromkeys(_CLASS_WEIGHTS, frozenset({"weight"})),
}
"""Arguments without records of their own: a number for each class, or what is laid along the last
axes of the input, whatever their number of axes is."""
_REDUCTIONS: Final = {"mean": REDUCED, "sum": REDUCED, "batchmean": REDUCED, "none": 0}


def loss(call: Call) -> int | None:
    """Every operand has the records on axis 0, or meets them there."""
    given = _given(call.short, call.args, call.kwargs)
    if given is None or given.get("size_average") is not None or given.get("reduce") is not None:
        return None
    beside = _BESIDE.get(call.short, frozenset())
    tensors = {name: v for name, v in given.items() if isinstance(v, torch.Tensor)}
    operands = [tensor for name, tensor in tensors.items() if name not in beside]
    variance = tensors.get("var")
    if variance is not None and variance.shape == operands[0].shape[:-1]:
        ranked = operands[:-1]  # torch gives it one more axis at its end: axis 0 stays
    else:
        ranked = operands
    if not operands or not _have_ranks(call, ranked):
        return None
    if not all(_meets(call, tensor, 0) for tensor in operands):
        return None
    for name in beside & tensors.keys():
        tensor = tensors[name]
        if call.short in _CLASS_WEIGHTS:
            if call.rows(tensor) is not None or tensor.ndim != 1:
                return None
        elif tensor.ndim > operands[0].ndim:
            return None  # it would put axes before that of the records
        elif not _meets(call, tensor, tensor.ndim - operands[0].ndim):
            return None
    return _REDUCTIONS.get(given.get("reduction", ""))


def spelt(call: Call) -> int | None:
    """``ctc_loss``: steps first, then records; a row of targets and two lengths for each record."""
    given = _given(call.short, call.args, call.kwargs)
    if given is None:
        return None
    scores, targets = given["log_probs"], given["targets"]
    lengths = [given["input_lengths"], given["target_lengths"]]
    if not isinstance(scores, torch.Tensor) or not isinstance(targets, torch.Tensor):
        return None
    if scores.ndim != 3 or targets.ndim != 2:
        return None  # of one axis, targets lie one after another, as many as their lengths say
    places = [(scores, 1), (targets, 0)]
    for length in lengths:
        if isinstance(length, torch.Tensor):
            places.append((length, 0))
        elif not isinstance(length, list | tuple) or not all(type(n) is int for n in length):
            return None
        elif len(set(length)) > 1:
            call.injected = True  # how much of a record counts is said for each by itself
    if any(tensor.ndim <= axis for tensor, axis in places):
        return None
    if not all(_meets(call, tensor, axis) for tensor, axis in places):
        return None
    return _REDUCTIONS.get(given.get("reduction", ""))


def is_reduced(short: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a loss is one number; else operands may be broadcast to a product of their sizes."""
    given = _given(short, args, kwargs)
    if given is None or given.get("size_average") is not None or given.get("reduce") is not None:
        return False
    return _REDUCTIONS.get(given.get("reduction", "")) == REDUCED


def _given(short: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Mapping[str, Any] | None:
    signature = _signature(short)
    try:
        bound = None if signature is None else signature.bind(*args, **kwargs)
    except TypeError:
        return None
    if bound is None:
        return None
    bound.apply_defaults()
    return bound.arguments


@cache
def _signature(short: str) -> inspect.Signature | None:
    function = getattr(torch.nn.functional, short, None)
    try:
        return None if function is None else inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _meets(call: Call, tensor: torch.Tensor, axis: int) -> bool:
    """Whether the records lie here, counted from the left, or the tensor may meet them there."""
    rows = call.rows(tensor)
    return rows.axis == axis if rows is not None else met(call, tensor, axis)


def _have_ranks(call: Call, operands: list[torch.Tensor]) -> bool:
    """Operands of elementwise losses broadcast: axis 0 of each must be the same axis."""
    first = operands[0]
    if call.short in _OF_CLASSES:
        return first.ndim >= 2
    if (ranks := _RANKS.get(call.short)) is not None:
        return tuple(t.ndim for t in operands) == ranks and len({t.shape[0] for t in operands}) == 1
    if call.short == "multilabel_soft_margin_loss" and first.ndim < 2:
        return False
    return len({t.ndim for t in operands if t.numel() != 1}) <= 1
