"""The rule of one step of a recurrent network on the record axis: records are rows of a batch."""

from __future__ import annotations

import torch

from duet_p2p.engine.axis_rules import Call, are_per_feature, met

__all__ = ["cell"]

_WEIGHTS_FROM = 2  # input, state, then weights and biases: of the input, of the state


def cell(call: Call) -> int | None:
    """``lstm_cell(x, (h, c), w, …)`` and its like: each record meets its own row of the state.

    A state without records is the beginning, which torch's modules fill with zeros. One that is
    equal for all records tells none apart, so it is not injected.
    """
    inputs = call.args[:1]
    state = call.args[1] if len(call.args) > 1 else None
    states = list(state) if isinstance(state, list | tuple) else [state]
    layers = call.args[_WEIGHTS_FROM:]
    weights = [t for t in layers if isinstance(t, torch.Tensor)]
    operands = [*inputs, *states]
    if call.kwargs or not all(isinstance(t, torch.Tensor) and t.ndim == 2 for t in operands):
        return None
    if any(call.rows(weight) is not None for weight in weights):
        return None
    if not all(map(are_per_feature, layers[:2], layers[2:])):
        return None
    has_records = False
    for tensor in operands:
        rows = call.rows(tensor)
        if rows is not None:
            if rows.axis != 0:
                return None
            has_records = True
        elif not met(call, tensor, 0):
            return None
    return 0 if has_records else None
