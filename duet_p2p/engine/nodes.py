"""The node of torch's graph that a tensor came out of, also where torch refuses to say.

One of the several views that ``split``, ``chunk`` or ``unbind`` gives, and a view made without
gradients, has no graph any more once its base is written to. torch raises then wherever it is asked
for ``grad_fn`` or ``is_leaf``, and by nearly each operation on it, as does the scientist's command.
What the engine itself asks has to have an answer: nothing goes back through such a tensor, and it
is no leaf. It wants a gradient, as its base does.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["is_broken", "is_joined", "is_leaf", "node_of"]


def node_of(tensor: torch.Tensor) -> Any:
    """The node of a tensor; None if it has none, or one that nothing runs on."""
    try:
        return tensor.grad_fn
    except RuntimeError:
        return None


def is_leaf(tensor: torch.Tensor) -> bool:
    """Whether it came out of no node."""
    try:
        return tensor.is_leaf
    except RuntimeError:
        return False


def is_joined(tensor: torch.Tensor) -> bool:
    """Whether a graph is behind it, or was."""
    return tensor.requires_grad and not is_leaf(tensor)


def is_broken(tensor: torch.Tensor) -> bool:
    """Whether it is a view whose graph is gone, since its base was written to."""
    return tensor.requires_grad and node_of(tensor) is None and not is_leaf(tensor)
