"""Functions of torch that are composed on this side, of operations that are offered.

Some have an argument that cannot travel: a callable runs here and its operations over there.
torch's own body would do, but it asks for real tensors on its way. Others are private functions
that public ones written in Python call (`pack_padded_sequence`, `weight_norm`, `AveragedModel`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch

from duet_p2p.objects.remote import Remote
from duet_p2p.scientist import densities, packing

__all__ = ["find", "private", "unwrapped"]


def _triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Any, Any], Any],
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Any:
    """Balntas and others, BMVC 2016: max(d(a, p) - d(a, n) + margin, 0), with a swap as there."""
    if not margin > 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    to_positive = distance_function(anchor, positive)
    to_negative = distance_function(anchor, negative)
    if swap:
        to_negative = torch.minimum(to_negative, distance_function(positive, negative))
    loss = torch.clamp_min(margin + to_positive - to_negative, 0)
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()


def _linear_cross_entropy(*args: Any, options: Any, **kwargs: Any) -> Any:
    """The options choose how much memory torch takes at once; the loss is the same without them."""
    return torch.nn.functional.linear_cross_entropy(*args, **kwargs)


def _weight_norm(direction: Any, length: Any, dim: int = 0) -> Any:
    """Salimans and Kingma, arXiv 1602.07868: the direction, of this length along each of `dim`."""
    others = [axis for axis in range(len(direction.shape)) if axis != dim]
    keeps = dim != -1 and bool(others)
    norm = torch.linalg.vector_norm(direction, dim=others, keepdim=True) if keeps else (
        direction.abs() if dim != -1 else torch.linalg.vector_norm(direction)
    )  # fmt: skip
    return direction * (length / norm)


def _foreach_lerp_(averages: Any, news: Any, weight: Any) -> None:
    for average, new in zip(averages, news, strict=True):
        average.lerp_(new, weight)


def _result_type(*operands: Any) -> torch.dtype:
    """By dtypes and ranks alone, so nothing has to be asked."""

    def bare(value: Any) -> Any:
        if not isinstance(value, Remote):
            return value
        tensor: Any = value
        return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")

    return torch.result_type(*(bare(value) for value in operands))


_PRIVATE: Final[Mapping[str, Callable[..., Any]]] = {
    "_foreach_lerp_": _foreach_lerp_,
    "_pack_padded_sequence": packing.pack,
    "_pad_packed_sequence": packing.pad,
    "_weight_norm": _weight_norm,
    "pad_sequence": packing.pad_all,
    "result_type": _result_type,
}


def private(func: Any) -> Callable[..., Any] | None:
    """What computes a private function of torch on this side, None if nothing does."""
    return _PRIVATE.get(getattr(func, "__name__", ""))


def unwrapped(name: str, args: Sequence[Any]) -> Sequence[Any]:
    """The arguments as they were given.

    `torch.autograd.grad(loss, model.parameters())` takes the pointer to a list for one tensor, and
    puts it into a tuple of its own before it asks.
    """
    if name != "torch.autograd.grad":
        return args
    return [part[0] if _is_wrapped_list(part) else part for part in args]


def _is_wrapped_list(value: Any) -> bool:
    if type(value) is not tuple or len(value) != 1 or not isinstance(value[0], Remote):
        return False
    part: Any = value[0]
    return part._type in ("python.List", "python.Tuple")


_COMPOSITES: Final[Mapping[str, tuple[str, Callable[..., Any]]]] = {
    "torch.nn.functional.triplet_margin_with_distance_loss": (
        "distance_function",
        _triplet_margin_with_distance_loss,
    ),
    "torch.nn.functional.linear_cross_entropy": ("options", _linear_cross_entropy),
}
"""Name to the argument that does not travel, and what to do where it is given."""


def find(name: str, kwargs: Mapping[str, Any]) -> Callable[..., Any] | None:
    """What computes this call on this side, None if it goes to the owner as it is."""
    if name == "torch.broadcast_tensors":
        return densities.laid_along
    found = _COMPOSITES.get(name)
    return found[1] if found is not None and kwargs.get(found[0]) is not None else None
