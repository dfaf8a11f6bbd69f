"""Batch norms whose running statistics are written where torch looks.

torch writes them without counting that as a write. A graph that had kept such a tensor for its way
back then went on with the new numbers and noticed nothing: the gradient of a public product was
private statistics, of which no label knew, and weights that had been the same for all records could
become a mask. Here torch works on copies, and what is written is written like anything else: a
graph that still needs the old numbers fails. Its own graph has the copies, so that layers that run
twice before one backward work as they do in torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch.nn import functional

__all__ = ["NORMS"]


@contextmanager
def _copies(*statistics: Any, is_written: Any) -> Iterator[list[Any]]:
    """Copies for torch to work on; what it wrote is written to the statistics afterwards."""
    copies = [s.detach().clone() if isinstance(s, torch.Tensor) else s for s in statistics]
    yield copies
    for kept, copy in zip(statistics, copies, strict=True):
        if is_written and isinstance(kept, torch.Tensor):
            kept.detach().copy_(copy)


def _batch_norm(
    input: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: Any = False,
    momentum: Any = 0.1,
    eps: Any = 1e-5,
) -> torch.Tensor:
    with _copies(running_mean, running_var, is_written=training) as (mean, var):
        return functional.batch_norm(input, mean, var, weight, bias, training, momentum, eps)


def _native_batch_norm(
    input: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: Any,
    momentum: Any, eps: Any,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    with _copies(running_mean, running_var, is_written=training) as (mean, var):
        return torch.native_batch_norm(input, weight, bias, mean, var, training, momentum, eps)


NORMS: Final[dict[str, Callable[..., Any]]] = {
    "torch.nn.functional.batch_norm": _batch_norm,
    "torch.native_batch_norm": _native_batch_norm,
}
