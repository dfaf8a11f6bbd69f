"""What some kernels trust without a look: pivots, offsets, lengths, positions, grids, divisors.

Beyond plain indices (checks.py) some functions read or write as far as another argument says.
LAPACK swaps rows by pivots, bags and segments run to their offsets, fractional pooling starts where
its random samples say, orthogonal polynomials loop as often as their degree. Each has its range
here; `BOUNDS` is the closed set of these checks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch

from duet_p2p import limits
from duet_p2p.errors import QuotaExceeded
from duet_p2p.surface.checks import Check, admit_bytes, argument, in_range, is_tensor

__all__ = ["BOUNDS"]

_FLOAT_BYTES: Final = 8


def _pivots(pivots: Any, matrix: Any) -> None:
    if is_tensor(pivots) and is_tensor(matrix) and matrix.dim() >= 2:
        in_range(pivots, 1, matrix.size(-2) + 1)


def _lu_solve(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # torch.lu_solve(b, LU, pivots)
    _pivots(argument(args, kwargs, 2, "LU_pivots"), argument(args, kwargs, 1, "LU_data"))


def _linalg_lu_solve(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    _pivots(argument(args, kwargs, 1, "pivots"), argument(args, kwargs, 0, "LU"))


def _lu_unpack(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    _pivots(argument(args, kwargs, 1, "LU_pivots"), argument(args, kwargs, 0, "LU_data"))


def _ldl_solve(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # Blocks of two rows have equal negative pivots in both; LAPACK reads the second one unasked.
    matrix = argument(args, kwargs, 0, "LD")
    pivots = argument(args, kwargs, 1, "pivots")
    if not is_tensor(matrix) or not is_tensor(pivots) or matrix.dim() < 2 or pivots.dim() < 1:
        return
    if pivots.numel() > limits.LDL_PIVOTS:
        raise QuotaExceeded(f"more than {limits.LDL_PIVOTS} pivots")
    rows = matrix.size(-2)
    if pivots.is_floating_point() or pivots.size(-1) != rows:
        raise ValueError("pivots do not fit the matrix")
    for column in pivots.reshape(-1, rows).tolist() if pivots.numel() else ():
        place = 0
        while place < rows:
            pivot = column[place]
            if not 1 <= abs(pivot) <= rows:
                raise IndexError("a pivot is out of range")
            if pivot < 0:
                if place + 1 >= rows or column[place + 1] != pivot:
                    raise IndexError("a pivot of two rows stands in one")
                place += 1
            place += 1


def _classes(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # linear_cross_entropy(input, weight, target): the target names rows of the weight
    weight = argument(args, kwargs, 1, "linear_weight")
    target = argument(args, kwargs, 2, "target")
    ignored = kwargs.get("ignore_index")
    if not is_tensor(weight) or not is_tensor(target) or weight.dim() < 1:
        return
    if target.is_floating_point():
        return
    kept = target[target != (-100 if ignored is None else ignored)]
    in_range(kept, 0, weight.size(0))


def _ctc_loss(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    log_probs = argument(args, kwargs, 0, "log_probs")
    targets = argument(args, kwargs, 1, "targets")
    if not is_tensor(log_probs) or not is_tensor(targets) or log_probs.dim() not in (2, 3):
        raise ValueError("ctc_loss takes log_probs of (T, N, C) or (T, C), and a tensor of targets")
    steps, classes = log_probs.size(0), log_probs.size(-1)
    batch = log_probs.size(1) if log_probs.dim() == 3 else 1
    blank = argument(args, kwargs, 4, "blank", 0)
    if not isinstance(blank, int) or not 0 <= blank < classes:
        raise IndexError("blank is not one of the classes")
    in_range(targets, 0, classes)
    inputs = _lengths(argument(args, kwargs, 2, "input_lengths"), batch)
    wanted = _lengths(argument(args, kwargs, 3, "target_lengths"), batch)
    if any(length > steps for length in inputs):
        raise IndexError("an input length exceeds the steps")
    is_padded = targets.dim() == 2 or log_probs.dim() == 2
    room = targets.size(-1) if targets.dim() else 1
    if any(length > room for length in wanted) or (not is_padded and sum(wanted) > room):
        raise IndexError("a target length exceeds the targets")


def _lengths(value: Any, count: int) -> list[int]:
    """Lengths as plain numbers, none negative."""
    if is_tensor(value) and not value.is_floating_point():
        value = value.reshape(-1).tolist()
    elif isinstance(value, int):
        value = [value]
    if not isinstance(value, (list, tuple)) or not all(type(item) is int for item in value):
        raise TypeError("lengths are whole numbers")
    if len(value) != count or any(item < 0 for item in value):
        raise ValueError("a length for each record is needed, none negative")
    return list(value)


def _embedding_bag(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    indices = argument(args, kwargs, 0, "input")
    weight = argument(args, kwargs, 1, "weight")
    offsets = argument(args, kwargs, 2, "offsets")
    padding = argument(args, kwargs, 10, "padding_idx")
    if not is_tensor(indices) or not is_tensor(weight) or weight.dim() != 2:
        raise TypeError("embedding_bag takes indices and a weight of two dimensions")
    if indices.dtype not in (torch.int64, torch.int32):
        raise TypeError("embedding_bag takes whole numbers as indices")
    in_range(indices, 0, weight.size(0))
    if padding is not None and not -weight.size(0) <= padding < weight.size(0):
        raise IndexError("padding_idx is out of range")
    if offsets is not None:
        _offsets(offsets, indices.numel())


def _offsets(offsets: Any, end: int) -> None:
    """They begin with 0, never fall and end within what they divide."""
    if not is_tensor(offsets) or offsets.dim() != 1 or offsets.is_floating_point():
        raise TypeError("offsets are whole numbers in one dimension")
    in_range(offsets, 0, end + 1)
    if offsets.numel() and (int(offsets[0]) != 0 or bool((offsets[1:] < offsets[:-1]).any())):
        raise IndexError("offsets begin with 0 and never fall")


def _segments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    data = argument(args, kwargs, 0, "data")
    if kwargs.get("indices") is not None or not is_tensor(data):
        raise ValueError("segment_reduce takes a tensor and lengths or offsets")
    axis = kwargs.get("axis", 0)
    if not isinstance(axis, int) or not -data.dim() <= axis < data.dim():
        raise IndexError("axis is out of range")
    axis %= data.dim()
    size = data.size(axis)
    for kind in ("lengths", "offsets"):
        value = kwargs.get(kind)
        if value is None:
            continue
        if not is_tensor(value) or value.is_floating_point() or value.dim() != axis + 1:
            raise ValueError(f"{kind} are whole numbers with {axis + 1} dimensions")
        if value.shape[:-1] != data.shape[:axis]:
            raise ValueError(f"{kind} do not fit the data")
        in_range(value, 0, size + 1)
        if kind == "lengths" and bool((value.sum(-1) != size).any()):
            raise IndexError("lengths do not add up to the data")
        if kind == "offsets" and value.size(-1):
            ends = (value[..., 0] != 0) | (value[..., -1] != size)
            if bool(ends.any()) or bool((value.diff(dim=-1) < 0).any()):
                raise IndexError("offsets run from 0 to the end and never fall")


def _samples(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    samples = kwargs.get("_random_samples", argument(args, kwargs, 5, "_random_samples"))
    if is_tensor(samples) and not bool(((samples >= 0) & (samples < 1)).all()):
        raise ValueError("random samples lie in [0, 1)")


def _unpool(dims: int) -> Check:
    def check(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        data = argument(args, kwargs, 0, "input")
        indices = argument(args, kwargs, 1, "indices")
        if not is_tensor(data) or not is_tensor(indices) or data.dim() < dims + 1:
            raise TypeError("max_unpool takes a tensor and the indices of its pooling")
        names = ("kernel_size", "stride", "padding", "output_size")
        kernel, stride, padding, size = (
            argument(args, kwargs, place, name) for place, name in enumerate(names, 2)
        )
        kernel, padding = _each(kernel, dims), _each(padding or 0, dims)
        stride = kernel if stride is None else _each(stride, dims)
        if size is None:
            spatial = [
                (data.size(place - dims) - 1) * stride[place] - 2 * padding[place] + kernel[place]
                for place in range(dims)
            ]
        else:
            spatial = list(size)[-dims:]
        if not all(isinstance(item, int) and item >= 0 for item in spatial):
            raise ValueError("an output size is not a size")
        admit_bytes(math.prod([*data.shape[:-dims], *spatial]) * data.element_size())
        in_range(indices, 0, math.prod(spatial))

    return check


def _finite(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # eigvals reads past its memory where numbers are not finite (eig and its like look themselves),
    # and binomial never ends with a count that is none.
    for value in (*args, *kwargs.values()):
        is_real = is_tensor(value) and (value.is_floating_point() or value.is_complex())
        if is_real and not bool(value.detach().isfinite().all()):
            raise ValueError("numbers that are not finite")


def _division(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # The least whole number by -1 has no result: the processor ends the process.
    if kwargs.get("rounding_mode") != "trunc":
        return
    number, by = argument(args, kwargs, 0, "input"), argument(args, kwargs, 1, "other")
    if not is_tensor(number) or not (is_tensor(by) or isinstance(by, int)):
        return
    kind = torch.result_type(number, by)
    if kind.is_floating_point or kind.is_complex or number.numel() == 0:
        return
    if bool((by == -1).any() if is_tensor(by) else by == -1):
        least = int(number.detach().amin()) if number.dtype != torch.bool else 0
        if least == torch.iinfo(kind).min:
            raise ValueError(f"{least} by -1 is no {kind}")


def _divisor(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # The same division, in avg_pool2d and avg_pool3d of whole numbers.
    input, by = argument(args, kwargs, 0, "input"), argument(args, kwargs, 6, "divisor_override")
    if isinstance(by, int) and by < 0 and not (is_tensor(input) and input.is_floating_point()):
        raise ValueError("divisor_override is positive for whole numbers")


def _each(value: Any, dims: int) -> list[int]:
    found = [value] * dims if isinstance(value, int) else list(value)
    if len(found) == 1:
        found *= dims
    if len(found) != dims or not all(type(item) is int for item in found):
        raise ValueError(f"{dims} whole numbers are needed")
    return found


def _grid(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    grid = argument(args, kwargs, 1, "grid")
    if is_tensor(grid) and grid.is_floating_point() and not bool(grid.isfinite().all()):
        raise ValueError("a grid is of finite positions")
    for place, most in ((2, 2), (3, 2)):  # modes of grid_sampler_2d and its like
        mode = args[place] if len(args) > place else None
        if isinstance(mode, int) and not isinstance(mode, bool) and not 0 <= mode <= most:
            raise ValueError("there is no such mode")


def _degree(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    degree = argument(args, kwargs, 1, "n")
    most = limits.POLYNOMIAL_DEGREE
    if is_tensor(degree):
        sizes = degree if degree.dtype is torch.bool else degree.abs()  # there is no abs of bool
        if not bool((sizes <= most).all()):  # false for nan, too
            raise QuotaExceeded(f"a degree above {most}")
    elif not isinstance(degree, (int, float)) or not abs(degree) <= most:
        raise QuotaExceeded(f"a degree above {most}")


def _combinations(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    values = argument(args, kwargs, 0, "input")
    chosen = argument(args, kwargs, 1, "r", 2)
    if is_tensor(values) and isinstance(chosen, int):
        if not 0 <= chosen <= limits.COMBINED_VALUES:
            raise QuotaExceeded(f"combinations of more than {limits.COMBINED_VALUES} values")
        # all tuples are made before the wanted ones are picked
        admit_bytes(values.numel() ** chosen * max(chosen, 1) * _FLOAT_BYTES)


def _nonzero_static(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    values, size = argument(args, kwargs, 0, "input"), kwargs.get("size")
    if is_tensor(values) and isinstance(size, int):
        if size < 0:
            raise ValueError("size is not negative")
        admit_bytes(size * max(values.dim(), 1) * _FLOAT_BYTES)


def _channels(place_of_weight: int, axis_size: Any) -> Check:
    """Weight, bias and running statistics of a norm have one value per channel."""

    def check(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        data = argument(args, kwargs, 0, "input")
        if not is_tensor(data) or data.dim() < 2:
            raise ValueError("a norm takes at least two dimensions")
        channels = axis_size(data, args, kwargs)
        names = ("weight", "bias", "running_mean", "running_var")
        for place, name in enumerate(names, place_of_weight):
            value = argument(args, kwargs, place, name)
            if is_tensor(value) and tuple(value.shape) != (channels,):
                raise ValueError(f"{name} does not have one value per channel")

    return check


def _group_channels(data: torch.Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    records, channels, spatial, groups = (
        argument(args, kwargs, place, name)
        for place, name in ((3, "N"), (4, "C"), (5, "HxW"), (6, "group"))
    )
    if not all(type(item) is int and item >= 0 for item in (records, channels, spatial, groups)):
        raise TypeError("N, C, HxW and group are whole numbers")
    if records * channels * spatial != data.numel() or not groups or channels % groups:
        raise ValueError("N, C, HxW and group do not fit the input")
    return int(channels)


def _bins(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    bins = argument(args, kwargs, 1, "bins", 100)
    values = argument(args, kwargs, 0, "input")
    if isinstance(bins, int):
        columns = values.size(-1) if is_tensor(values) and values.dim() > 1 else 1
        admit_bytes(max(bins, 0) ** max(columns, 1) * _FLOAT_BYTES)
    elif isinstance(bins, (list, tuple)):
        counts = [b.numel() if is_tensor(b) else b for b in bins]
        if all(isinstance(count, int) for count in counts):
            admit_bytes(math.prod(max(count, 0) for count in counts) * _FLOAT_BYTES)


def _flat_index(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    shape = argument(args, kwargs, 1, "shape")
    sizes = [shape] if isinstance(shape, int) else shape
    if isinstance(sizes, (list, tuple)) and all(isinstance(size, int) for size in sizes):
        in_range(argument(args, kwargs, 0, "indices"), 0, math.prod(sizes))


def _torch_embedding(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    weight = argument(args, kwargs, 0, "weight")
    if argument(args, kwargs, 4, "sparse", False):
        raise ValueError("sparse gradients are not offered")
    if is_tensor(weight) and weight.dim() == 2:
        in_range(argument(args, kwargs, 1, "indices"), 0, weight.size(0))


def _sorter(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    sequence = argument(args, kwargs, 0, "sorted_sequence")
    sorter = kwargs.get("sorter")
    if sorter is None or not is_tensor(sequence):
        return
    if not is_tensor(sorter) or sorter.shape != sequence.shape or sorter.dtype != torch.int64:
        raise ValueError("sorter has the shape of the sequence and is of int64")
    in_range(sorter, 0, sequence.size(-1) if sequence.dim() else 1)


BOUNDS: Final[dict[str, Check]] = {
    "bins": _bins,
    "channels": _channels(1, lambda data, args, kwargs: data.size(1)),
    "classes": _classes,
    "combinations": _combinations,
    "ctc_loss": _ctc_loss,
    "degree": _degree,
    "division": _division,
    "divisor": _divisor,
    "embedding_bag": _embedding_bag,
    "finite": _finite,
    "flat_index": _flat_index,
    "grid": _grid,
    "group_channels": _channels(1, _group_channels),
    "ldl_solve": _ldl_solve,
    "linalg_lu_solve": _linalg_lu_solve,
    "lu_solve": _lu_solve,
    "lu_unpack": _lu_unpack,
    "nonzero_static": _nonzero_static,
    "samples": _samples,
    "segments": _segments,
    "sorter": _sorter,
    "torch_embedding": _torch_embedding,
    "unpool1": _unpool(1),
    "unpool2": _unpool(2),
    "unpool3": _unpool(3),
}
