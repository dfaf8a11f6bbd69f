"""Numbers that decide how many tensors a call makes, or how often it goes round a loop.

They are looked at before anything else is done with the call, shape inference included, which makes
as many tensors without numbers. A part needs no memory, since it is a view, but an object on both
sides and a line in the labels: five million of them by one small command keep the owner's side busy
for minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from duet_p2p import limits
from duet_p2p.errors import QuotaExceeded

__all__ = ["COUNTS"]

_HEADS_AXIS: Final = 3
"""Counted from the end."""
Check = Callable[[Sequence[Any], Mapping[str, Any]], None]


def _admit(count: int) -> None:
    """Raises `QuotaExceeded` for more parts than one call may make."""
    if count > limits.RESULT_PARTS:
        raise QuotaExceeded(
            f"{count} parts; the limit of one call is {limits.RESULT_PARTS}: take slices instead"
        )


def _size(tensor: Any, dim: Any) -> int:
    shape = getattr(tensor, "shape", ())
    is_inside = isinstance(dim, int) and -len(shape) <= dim < len(shape)
    return int(shape[dim]) if is_inside else 0


def _argument(
    args: Sequence[Any], kwargs: Mapping[str, Any], place: int, names: Sequence[str], default: Any
) -> Any:
    if place < len(args):
        return args[place]
    return next((kwargs[name] for name in names if name in kwargs), default)


def _unbind(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    tensor = _argument(args, kwargs, 0, ("input",), None)
    _admit(_size(tensor, _argument(args, kwargs, 1, ("dim", "axis"), 0)))


def _split(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    tensor = _argument(args, kwargs, 0, ("input", "tensor"), None)
    length = _argument(args, kwargs, 1, ("split_size", "split_size_or_sections"), None)
    size = _size(tensor, _argument(args, kwargs, 2, ("dim", "axis"), 0))
    if isinstance(length, int) and length > 0:
        _admit(-(-size // length))


def _sections(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    names = ("sections", "indices_or_sections", "tensor_indices_or_sections", "chunks")
    count = _argument(args, kwargs, 1, names, None)
    if getattr(count, "shape", None) == () and hasattr(count, "item"):  # a tensor of one number
        count = count.item() if not count.is_floating_point() else None
    if isinstance(count, int):
        _admit(count)


def _chunk(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    tensor = _argument(args, kwargs, 0, ("input",), None)
    count = _argument(args, kwargs, 1, ("chunks",), None)
    size = _size(tensor, _argument(args, kwargs, 2, ("dim", "axis"), 0))
    if isinstance(count, int):
        _admit(min(count, size))


def _rounds(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # svd_lowrank(A, q, niter, M) and pca_lowrank(A, q, center, niter)
    for value in (*args[2:4], kwargs.get("niter")):
        if isinstance(value, int) and value > limits.LOWRANK_ROUNDS:
            raise QuotaExceeded(f"{value} rounds; the limit is {limits.LOWRANK_ROUNDS}")


def _rounds_of_lobpcg(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # lobpcg(A, k, B, X, n, iK, niter, …); a negative number is none at all
    count = _argument(args, kwargs, 6, ("niter",), None)
    if isinstance(count, int) and not 0 <= count <= limits.LOWRANK_ROUNDS:
        raise QuotaExceeded(f"{count} rounds; the limit is {limits.LOWRANK_ROUNDS}")


def _matrices(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # in which order they are multiplied is searched for in n**3 steps
    given = args[0] if args and type(args[0]) in (list, tuple) else args  # a shape is a tuple too
    given = kwargs.get("tensors", given)
    if type(given) in (list, tuple) and len(given) > limits.CHAINED_MATRICES:
        raise QuotaExceeded(f"{len(given)} matrices; the limit is {limits.CHAINED_MATRICES}")


def _terms(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    count = _argument(args, kwargs, 1, ("p",), None)
    if isinstance(count, int) and count > limits.GAMMA_TERMS:
        raise QuotaExceeded(f"{count} terms; the limit is {limits.GAMMA_TERMS}")


def _heads(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # those of the query are divided by those of key and value, on meta tensors too
    for place, name in ((1, "key"), (2, "value")) if kwargs.get("enable_gqa") else ():
        tensor = _argument(args, kwargs, place, (name,), None)
        shape: Sequence[int] = getattr(tensor, "shape", ())
        if len(shape) >= _HEADS_AXIS and shape[-_HEADS_AXIS] == 0:
            raise ValueError(f"{name} has no heads to be shared")


COUNTS: Final[dict[str, Check]] = {
    "heads": _heads,
    "matrices": _matrices,
    "parts_of_chunk": _chunk,
    "parts_of_sections": _sections,
    "parts_of_split": _split,
    "parts_of_unbind": _unbind,
    "rounds": _rounds,
    "rounds_of_lobpcg": _rounds_of_lobpcg,
    "terms": _terms,
}
"""By the name of the check in the table."""
