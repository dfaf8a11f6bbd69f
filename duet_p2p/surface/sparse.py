"""Sparse gradients: the one place where a sparse tensor may be, and what keeps it there.

An embedding with ``sparse=True`` gives its weight a gradient of few rows, which saves time where
the weight is large. Such a tensor stays the ``grad`` of its leaf (or an optimizer's state made of
it); whoever reads it gets a dense copy.

* torch makes the gradient's indices a view of the indices that were looked up, and its values one
  of the incoming gradient. Indices that the scientist can write after their range was checked
  would let a step write out of bounds: so a copy of them is looked up, which nobody can name.
* Sparse tensors add up by putting their rows one after the other. Without an end to that, a graph
  that is walked again and again would fill the memory: `settled` bounds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import torch
from torch.nn import functional

from duet_p2p.surface.checks import admit_bytes

__all__ = ["SPARSE", "dense", "settled"]


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """A sparse tensor as a new dense one; any other as it is.

    Raises:
        QuotaExceeded: it would be too large.
    """
    if not tensor.is_sparse:
        return tensor
    admit_bytes(tensor.numel() * tensor.element_size())
    return tensor.to_dense()


def settled(tensor: torch.Tensor) -> torch.Tensor:
    """A sparse tensor with memory of its own, of no more rows than a dense one would have."""
    with torch.set_grad_enabled(tensor.requires_grad):
        most = math.prod(tensor.shape[: tensor.sparse_dim()])
        if tensor._nnz() > most and not tensor.is_coalesced():
            return tensor.coalesce()
        return tensor.clone()


def _places(input: Any, sparse: Any) -> Any:
    return input.clone() if sparse and isinstance(input, torch.Tensor) else input


def _check_leaf(weight: torch.Tensor, sparse: Any) -> None:
    # After torch's own complaints. What comes after an inner tensor would get a sparse gradient
    # too, and not every kernel looks.
    if sparse and weight.requires_grad and not weight.is_leaf:
        raise ValueError("sparse=True needs a weight that is a leaf; nn.Embedding has one")


def _embedding(
    input: Any,
    weight: Any,
    padding_idx: Any = None,
    max_norm: Any = None,
    norm_type: Any = 2.0,
    scale_grad_by_freq: Any = False,
    sparse: Any = False,
) -> torch.Tensor:
    found = functional.embedding(
        _places(input, sparse), weight, padding_idx, max_norm, norm_type, scale_grad_by_freq,
        bool(sparse),
    )  # fmt: skip
    _check_leaf(weight, sparse)
    return found


def _embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    max_norm: Any = None,
    norm_type: Any = 2,
    scale_grad_by_freq: Any = False,
    mode: Any = "mean",
    sparse: Any = False,
    per_sample_weights: Any = None,
    include_last_offset: Any = False,
    padding_idx: Any = None,
) -> torch.Tensor:
    found = functional.embedding_bag(
        _places(input, sparse), weight, offsets, max_norm, norm_type, scale_grad_by_freq, mode,
        bool(sparse), per_sample_weights, include_last_offset, padding_idx,
    )  # fmt: skip
    _check_leaf(weight, sparse)
    return found


def _grad(tensor: Any) -> torch.Tensor | None:
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"a Tensor is needed, not {type(tensor).__name__}")
    return None if tensor.grad is None else dense(tensor.grad)


SPARSE: Final[dict[str, Callable[..., Any]]] = {
    "torch.nn.functional.embedding": _embedding,
    "torch.nn.functional.embedding_bag": _embedding_bag,
    "torch.Tensor.grad": _grad,
}
