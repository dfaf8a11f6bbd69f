"""The record axis of recurrent networks, attention and bags: records are the batch, not the steps.

Each record goes through all steps by itself, and meets its own row of the state, of the mask or of
the weights. Results can have their records at different places: the outputs of a network that is
``batch_first`` have them first, its last states second.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any, Final

import torch

from duet_p2p.engine import axis_packing as packing
from duet_p2p.engine.axis_rules import Call, are_per_feature, met, thin

__all__ = ["attention", "bag", "heads", "recurrent"]

_RECURRENT_ARGUMENTS: Final = 9  # of a padded batch; a packed one has a list where a bool is here
_HEADS: Final = inspect.signature(torch.nn.functional.multi_head_attention_forward)


def recurrent(call: Call) -> tuple[int, ...] | None:
    """``lstm(x, state, weights, bias, layers, dropout, train, both, batch_first)``; gru and rnn."""
    if packing.is_packed(call):
        return packing.network(call)
    if call.kwargs or len(call.args) != _RECURRENT_ARGUMENTS:
        return None
    data, state, weights, has_bias, layers, chance, is_training, _, is_first = call.args
    states = list(state) if isinstance(state, list | tuple) else [state]
    if type(has_bias) is not bool or any(call.rows(t) is not None for t in weights):
        return None
    if not all(isinstance(t, torch.Tensor) and t.ndim == 3 for t in (data, *states)):
        return None
    axis = 0 if is_first else 1
    if not _all_meet(call, [(data, axis), *((t, 1) for t in states)]):
        return None
    masks = packing.masks_between(layers)
    if is_training and chance and not _thinned(call, (data, *states), chance, masks):
        return None
    return (axis, *(1 for _ in states))


def attention(call: Call) -> int | None:
    """``scaled_dot_product_attention``: the last two axes are steps and features."""
    if len(call.args) < 3 or call.get("enable_gqa", 7, False):
        return None
    parts = call.args[:3]
    mask, chance = call.get("attn_mask", 3), call.get("dropout_p", 4, 0.0)
    if not all(isinstance(t, torch.Tensor) and t.ndim == parts[0].ndim for t in parts):
        return None
    found = [rows for t in (*parts, mask) if isinstance(t, torch.Tensor) and (rows := call.rows(t))]
    first = next((rows for t in parts if (rows := call.rows(t)) is not None), None)
    if first is None or first.axis >= parts[0].ndim - 2:
        return None
    axis = first.axis
    places = [(t, axis) for t in parts]
    if isinstance(mask, torch.Tensor):
        if mask.ndim > parts[0].ndim:
            return None
        places.append((mask, mask.ndim - parts[0].ndim + axis))
    if not found or not _all_meet(call, places):
        return None
    if chance and not _thinned(call, parts, chance):
        return None
    return axis


_WITH_RECORDS: Final = frozenset({"query", "key", "value", "key_padding_mask"})
"""Arguments of attention that may have records; by name, since one tensor can be given twice."""


def heads(call: Call) -> tuple[int, ...] | None:
    """``multi_head_attention_forward``: steps first, then records; of the weights records first."""
    try:
        given = _HEADS.bind(*call.args, **call.kwargs)
    except TypeError:
        return None
    given.apply_defaults()
    of = given.arguments
    parts = [of["query"], of["key"], of["value"]]
    mask, padding = of["attn_mask"], of["key_padding_mask"]
    if any(t.ndim != 3 for t in parts) or of["static_k"] is not None or of["static_v"] is not None:
        return None
    if mask is not None and (mask.ndim != 2 or call.rows(mask) is not None):
        return None
    places = [(t, 1) for t in parts] + ([(padding, 0)] if padding is not None else [])
    beside = [v for name, v in of.items() if name not in _WITH_RECORDS]
    if any(isinstance(v, torch.Tensor) and call.rows(v) is not None for v in beside):
        return None
    layers = (("in_proj_weight", "in_proj_bias"), ("out_proj_weight", "out_proj_bias"))
    if not all(are_per_feature(of[weight], of[bias]) for weight, bias in layers):
        return None
    if all(call.rows(t) is None for t in parts) or not _all_meet(call, places):
        return None
    if of["training"] and of["dropout_p"] and not _thinned(call, parts, of["dropout_p"]):
        return None
    return (1, 0)


def bag(call: Call) -> int | None:
    """``embedding_bag`` of a matrix: each record is a bag of its own."""
    indices, table = call.get("input", 0), call.get("weight", 1)
    if not isinstance(indices, torch.Tensor) or indices.ndim != 2 or call.rows(indices) is None:
        return None
    weights = call.get("per_sample_weights", 8)
    if call.get("offsets", 2) is not None or call.rows(table) is not None:
        return None
    places = [(indices, 0)] + ([(weights, 0)] if isinstance(weights, torch.Tensor) else [])
    return 0 if _all_meet(call, places) else None


def _all_meet(call: Call, places: Iterable[tuple[torch.Tensor, int]]) -> bool:
    """Whether each of these has its records there, or none that could tell records apart."""
    has_records = False
    for tensor, axis in places:
        rows = call.rows(tensor)
        if rows is not None:
            has_records = True
            if rows.axis != axis:
                return False
        elif not met(call, tensor, axis):
            return False
    return has_records


def _thinned(call: Call, parts: Iterable[torch.Tensor], chance: Any, masks: int = 1) -> bool:
    rows = next((rows for t in parts if (rows := call.rows(t)) is not None), None)
    return rows is not None and thin(call, rows, chance, masks)
