"""The gradient that a tensor holds, whether it is a leaf or not.

A leaf is not the only tensor with a gradient: ``retain_grad`` gives one to any other, and ``.grad``
of any tensor can be set. Clippings and optimizers read and scale it all the same, so whoever labels
what those do looks here.
"""

from __future__ import annotations

import warnings

import torch

from duet_p2p.engine.nodes import is_leaf

__all__ = ["held_gradient"]


def held_gradient(tensor: torch.Tensor) -> torch.Tensor | None:
    """What is in ``.grad``; torch warns if it is asked of a tensor in a graph that has none."""
    if is_leaf(tensor) or tensor.retains_grad:
        return tensor.grad
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return tensor.grad
