"""A node in torch's graph for what could not be computed: nothing flows back through it but zeros.

A backward that keeps the graph of the way back (``create_graph=True``) gives gradients that have a
graph of their own, or none, as the operations decide. So the zeros have one where those that the
operation would have given have one.
"""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.engine.nodes import is_broken

__all__ = ["joined"]


def joined(
    made: torch.Tensor, sources: list[torch.Tensor], *, is_linear: bool = False
) -> torch.Tensor:
    """This tensor in the graph of what it was to be computed from.

    Args:
        made: it, with no graph and nobody else's; it becomes the result.
        sources: what wants a gradient; not those of them whose own graph is gone.
        is_linear: a gradient through it depends on none of the sources, and nothing is kept for it.
    """
    whole = [source for source in sources if not is_broken(source)]
    result: torch.Tensor = _Joined.apply(made, is_linear, *whole)
    return result


class _Joined(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, made: torch.Tensor, is_linear: bool, *sources: torch.Tensor
    ) -> torch.Tensor:  # fmt: skip
        if not is_linear:
            ctx.save_for_backward(made)  # most operations keep something: a second backward fails
        ctx.of = [] if is_linear else [t for t in sources if t.requires_grad]
        ctx.sources = [(t.shape, t.dtype, t.device) for t in sources]
        ctx.mark_dirty(made)  # or the result is a view, which nobody may write to
        return made

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        _ = ctx.saved_tensors
        zeros = [torch.zeros(s, dtype=dtype, device=device) for s, dtype, device in ctx.sources]
        behind = [t for t in (*grads, *ctx.of) if t.requires_grad]
        if torch.is_grad_enabled() and behind:
            zeros = [joined(zero, behind, is_linear=not ctx.of) for zero in zeros]
        return (None, None, *zeros)
