"""What is run on the meta device in place of functions that look at values on their way.

Their shapes do not depend on these. Where a kernel for the meta device asks for a value all the
same, or there is none, another function of the same shape stands in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import torch

__all__ = ["ON_META"]


def _covariance(matrix: torch.Tensor, **settings: Any) -> torch.Tensor:
    weights = [value for value in settings.values() if isinstance(value, torch.Tensor)]
    if weights and not matrix.ndim:
        raise NotImplementedError  # of which type it is follows no rule
    for weight in weights:  # of the observations
        matrix = matrix * weight
    made = matrix.mm(matrix.mH).squeeze() if matrix.dim() == 2 else matrix.sum()
    return made if made.is_floating_point() or made.is_complex() else made.float()


def _geqrf(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return matrix.clone(), matrix.diagonal(dim1=-2, dim2=-1).clone()


def _gaussian_nll_loss(
    input: torch.Tensor,
    target: torch.Tensor,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> torch.Tensor:
    return torch.nn.functional.mse_loss(input, target, reduction=reduction)


def _ctc_loss(log_probs: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    reduction = args[4] if len(args) > 4 else kwargs.get("reduction", "mean")
    loss = log_probs.sum(0).sum(-1)
    return loss if reduction == "none" else loss.sum()


def _recurrent(short: str) -> Callable[..., Any]:
    own = getattr(torch, short)

    def on_meta(*args: Any, **kwargs: Any) -> Any:
        if kwargs or len(args) != 9 or not isinstance(args[3], (list, tuple)):
            return own(*args, **kwargs)
        data, _, hidden, parameters = args[:4]  # packed: how many rows a step has decides no shape
        states = list(hidden) if isinstance(hidden, (list, tuple)) else [hidden]
        of_all = sum(tensor.sum() for tensor in (data, *states, *parameters))
        width = states[0].size(-1) * (2 if args[8] else 1)
        output = data.new_zeros(data.size(0), width) * of_all
        return (output, *(state * of_all for state in states))

    return on_meta


def _repeated(*args: Any, **kwargs: Any) -> torch.Tensor:
    repeats = args[1] if len(args) > 1 else kwargs.get("repeats")
    if type(repeats) is not int:
        raise NotImplementedError  # their sum decides
    return torch.repeat_interleave(*args, **kwargs)


def _normal(*args: Any, **kwargs: Any) -> torch.Tensor:
    tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor)]
    if not all(v.is_floating_point() or v.is_complex() for v in tensors):
        raise NotImplementedError  # torch says so, unless the deviation is a zero
    return torch.normal(*args, **kwargs)


ON_META: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        **{f"torch.{n}": _recurrent(n) for n in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
        "torch.cov": _covariance,
        "torch.Tensor.cov": _covariance,
        "torch.corrcoef": _covariance,
        "torch.Tensor.corrcoef": _covariance,
        "torch.geqrf": _geqrf,
        "torch.normal": _normal,
        "torch.repeat_interleave": _repeated,
        "torch.Tensor.repeat_interleave": _repeated,
        "torch.nn.functional.ctc_loss": _ctc_loss,
        "torch.Tensor.geqrf": _geqrf,
        "torch.nn.functional.gaussian_nll_loss": _gaussian_nll_loss,
    }
)
"""By canonical name."""
