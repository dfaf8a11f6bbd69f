"""What is looked at before a call beyond types: index-like values, sizes that values decide.

Some torch kernels read or write out of bounds when an index is wrong, and some results are as large
as a value says. The table names the checks of each function; `CHECKS` is the closed set of them. A
check raises `IndexError`, `ValueError` or `QuotaExceeded`, or returns. Its text is not public: it
follows from values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import torch
import torch.distributions

from duet_p2p import limits
from duet_p2p.errors import QuotaExceeded

__all__ = ["CHECKS", "Check", "admit_bytes", "argument", "in_range", "is_tensor"]

Check = Callable[[Sequence[Any], Mapping[str, Any]], None]

_DENSE_TYPES: Final = frozenset(
    f"torch.{kind}Tensor"
    for kind in str.split("Float Double Half BFloat16 Long Int Short Char Byte Bool")
)


_INT64: Final = 2**63
_SIZE_MAX: Final = 2**31 - 1
_SETTINGS: Final = 16
_BYTES_DRAWN: Final = 16
_NESTED: Final = 64


def argument(
    args: Sequence[Any], kwargs: Mapping[str, Any], position: int, keyword: str, default: Any = None
) -> Any:
    """An argument of a call by its place or its name."""
    return args[position] if position < len(args) else kwargs.get(keyword, default)


def is_tensor(value: Any) -> bool:
    """Whether an argument is a tensor."""
    return isinstance(value, torch.Tensor)


def in_range(index: Any, low: int, high: int) -> None:
    """All values of an index tensor in [low, high), of whatever type they are.

    Most names refuse an index by its type, some only for some types: ``ctc_loss`` takes targets of
    any, and makes whole numbers of them.
    """
    if not is_tensor(index) or index.numel() == 0:
        return
    found = index.detach()
    if found.dtype not in (torch.int64, torch.int32, torch.uint8, torch.int8, torch.int16):
        found = (found.real if found.is_complex() else found).to(torch.int64)  # nan: the least one
    least, most = torch.aminmax(found)
    if int(least) < low or int(most) >= high:
        raise IndexError(f"an index is out of range [{low}, {high})")


def _size(tensor: torch.Tensor, dim: Any) -> int:
    if tensor.dim() == 0:
        return 1
    return tensor.size(dim) if isinstance(dim, int) else 0


def _gather(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    source = argument(args, kwargs, 0, "input")
    dim = argument(args, kwargs, 1, "dim")
    if is_tensor(source):
        in_range(argument(args, kwargs, 2, "index"), 0, _size(source, dim))


def _index_select(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    source = argument(args, kwargs, 0, "input")
    dim = argument(args, kwargs, 1, "dim")
    if is_tensor(source):
        size = _size(source, dim)
        in_range(argument(args, kwargs, 2, "index"), -size, size)


def _take(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    source = argument(args, kwargs, 0, "input")
    if is_tensor(source):
        in_range(argument(args, kwargs, 1, "index"), -source.numel(), source.numel())


def _embedding(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    weight = argument(args, kwargs, 1, "weight")
    if is_tensor(weight) and weight.dim() == 2:
        in_range(argument(args, kwargs, 0, "input"), 0, weight.size(0))


def _one_hot(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    index = argument(args, kwargs, 0, "tensor", kwargs.get("input"))
    classes = argument(args, kwargs, 1, "num_classes", -1)
    if not is_tensor(index) or index.numel() == 0 or not isinstance(classes, int):
        return
    if classes < 0:
        classes = int(index.detach().amax()) + 1
    in_range(index, 0, max(classes, 1))
    admit_bytes(index.numel() * classes * 8)


def _bincount(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    values = argument(args, kwargs, 0, "input")
    minlength = argument(args, kwargs, 2, "minlength", 0)
    if is_tensor(values) and values.numel() and not values.is_floating_point():
        in_range(values, 0, _INT64)
        admit_bytes((int(values.detach().amax()) + 1) * 8)
    if isinstance(minlength, int):
        admit_bytes(minlength * 8)


def _repeats(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    source = argument(args, kwargs, 0, "input")
    repeats = argument(args, kwargs, 1, "repeats")
    dim = argument(args, kwargs, 2, "dim")
    if repeats is None and "repeats" not in kwargs:
        source, repeats = None, source  # the form with repeats alone
    if is_tensor(repeats):
        if repeats.is_floating_point() or repeats.numel() == 0:
            return
        in_range(repeats, 0, _INT64)
        # in floating point, where a sum cannot overflow
        total = int(repeats.detach().double().sum()) if repeats.numel() > 1 else None
        each = int(repeats.detach().reshape(-1)[0])
    elif isinstance(repeats, int):
        total, each = None, repeats
    else:
        return
    told = kwargs.get("output_size")
    if told is not None:  # torch believes it and writes as far as the repeats say
        length = (
            1 if not is_tensor(source) else source.numel() if dim is None else _size(source, dim)
        )
        if told != (each * length if total is None else total):
            raise ValueError("output_size is not the sum of the repeats")
    if not is_tensor(source):
        admit_bytes((each if total is None else total) * 8)
        return
    if total is None:
        admit_bytes(source.numel() * source.element_size() * each)
    else:
        length = source.numel() if dim is None else _size(source, dim)
        row = math.ceil(source.numel() / length) if length else 0
        admit_bytes(total * row * source.element_size())


def admit_bytes(nbytes: int) -> None:
    """Raises `QuotaExceeded` for a result of more bytes than one may have."""
    if nbytes > limits.RESULT_BYTES:
        raise QuotaExceeded(f"a result of {nbytes} bytes; the limit is {limits.RESULT_BYTES}")


def _rnn(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # The packed form reads as far as the sizes say, and the fast kernels trust the shapes of the
    # parameters.
    if kwargs or len(args) != 9:
        raise TypeError("input, hidden, parameters, has_biases, layers, dropout, …: nine of them")
    if isinstance(args[3], (list, tuple)):
        data, steps, hidden, parameters, has_biases, layers, _, _, both_ways = args
        batch = [_packed(data, steps)]
    else:
        data, hidden, parameters, has_biases, layers, _, _, both_ways, batch_first = args
        if not is_tensor(data) or data.dim() not in (2, 3):
            raise TypeError("a tensor of steps is needed")
        batch = [data.size(0 if batch_first else 1)] if data.dim() == 3 else []
    if not isinstance(parameters, (list, tuple)):
        raise TypeError("the parameters are a list")
    states = list(hidden) if isinstance(hidden, (list, tuple)) else [hidden]
    if not states or not all(is_tensor(t) for t in (*states, *parameters)):
        raise TypeError("tensors are needed")
    if not isinstance(layers, int) or not 0 < layers <= len(parameters):
        raise ValueError("the number of layers does not fit the parameters")
    directions = 2 if both_ways else 1
    out = states[0].size(-1) if states[0].dim() else 0
    size = states[-1].size(-1) if states[-1].dim() else 0  # an LSTM may project what it gives out
    gates = parameters[0].size(0) // size if size and parameters[0].dim() == 2 else 0
    projects = out != size
    per_cell = (4 if has_biases else 2) + projects
    if (
        len(parameters) != per_cell * layers * directions
        or gates not in (1, 3, 4)
        or (len(states) == 2) != (gates == 4)
    ):
        raise ValueError("the parameters do not fit the layers")
    for state, width in zip(states, (out, size), strict=False):
        if list(state.shape) != [layers * directions, *batch, width]:
            raise ValueError(f"a hidden state of shape {tuple(state.shape)}")
    for place, parameter in enumerate(parameters):
        layer, kind = place // (per_cell * directions), place % per_cell
        width = data.size(-1) if layer == 0 else out * directions
        shapes = [[gates * size, width], [gates * size, out]]
        shapes += [[gates * size]] * 2 if has_biases else []
        shapes += [[out, size]] if projects else []
        if list(parameter.shape) != shapes[kind] or parameter.dtype != data.dtype:
            raise ValueError(f"a parameter of shape {tuple(parameter.shape)}")


def _packed(data: Any, steps: Any) -> int:
    """The sequences of a packed batch: rows of the first step, and never more of a later one."""
    if not is_tensor(data) or data.dim() != 2 or not is_tensor(steps):
        raise TypeError("packed rows and the number of them in each step are needed")
    if steps.dtype != torch.int64 or steps.dim() != 1 or not 0 < steps.numel() <= len(data):
        raise ValueError("the rows of each step are a list of whole numbers")
    counts: list[int] = steps.detach().tolist()
    falls = all(later <= earlier for earlier, later in pairwise(counts))
    if not falls or counts[-1] < 1 or sum(counts) != len(data):
        raise ValueError("the rows of the steps do not fit the data")
    return counts[0]


def _dense_type(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    kind = argument(args, kwargs, 1, "dtype")
    if kind is not None and not isinstance(kind, torch.dtype) and kind not in _DENSE_TYPES:
        raise ValueError("this type of tensor is not offered")


def _optimizer(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # The fused kernels trust the shapes of their state, which load_state_dict can set.
    groups = [
        value for value in (*args, *kwargs.values()) if isinstance(value, (list, tuple, dict))
    ]
    for group in groups:
        for item in group if isinstance(group, (list, tuple)) else [group]:
            if isinstance(item, dict) and item.get("fused"):
                raise ValueError("fused optimizers are not offered")


def _step(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # The groups are the scientist's to write: what stands there must be what a constructor takes.
    groups = getattr(args[0], "param_groups", ()) if args else ()
    for group in groups:
        if group.get("fused"):
            raise ValueError("fused optimizers are not offered")
        if not isinstance(group["params"], list) or not all(map(is_tensor, group["params"])):
            raise TypeError("the params of a group are a list of tensors")
        for key, value in group.items():
            if key != "params" and not _is_setting(value):
                raise TypeError("a setting of a group is a number, a text or a pair of numbers")


def _is_setting(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return len(value) <= _SETTINGS and all(map(_is_setting, value))
    if is_tensor(value):
        return bool(value.numel() == 1)
    return value is None or isinstance(value, (bool, int, float, str))


def _sizes(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # Kernel sizes, strides, paddings: beyond 31 bits torch's own sums overflow (max_pool1d with a
    # kernel of 2**62 does not end, unfold with one gives a wrong shape).
    for value in (*args, *kwargs.values()):
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, int) and abs(item) > _SIZE_MAX:
                raise ValueError(f"a size of more than {_SIZE_MAX}")


def _view(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # A bool made of another byte than 0 and 1 confuses the kernels that count and then write.
    if any(value is torch.bool for value in (*args[1:], *kwargs.values())) and (
        not args or args[0].dtype != torch.bool
    ):
        raise ValueError("other types cannot be viewed as bool; use .bool()")


def _distribution(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # Sizes that are given as numbers, and counts that decide how long sampling runs.
    for value in (*args, *kwargs.values()):
        if isinstance(value, (int, float)) and not abs(value) <= _SIZE_MAX:
            raise ValueError(f"a number beyond {_SIZE_MAX}")
    dim = args[0] if args else kwargs.get("dim")
    if isinstance(dim, int) and not isinstance(dim, bool):  # LKJCholesky, Multinomial
        admit_bytes(abs(dim) * 8)
    count = kwargs.get("total_count", args[0] if args else None)
    if is_tensor(count) and not bool(torch.isfinite(count.detach()).all()):
        raise ValueError("a count, or a first parameter, is finite")


def _draws(args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    # A sample shape multiplies; torch makes several tensors of this size on the way.
    distribution = args[0]
    shape = argument(args, kwargs, 1, "sample_shape", ())
    if is_tensor(shape):
        return  # log_prob, cdf and the like take a value of the distribution
    if not isinstance(shape, (tuple, list, torch.Size)):
        raise TypeError("a sample shape is a list of ints")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise ValueError("a sample shape is a list of ints")
    each = math.prod(distribution.batch_shape) * math.prod(distribution.event_shape)
    for part in _inside(distribution):
        count = getattr(part, "total_count", 1)
        if isinstance(count, int):  # Multinomial draws each of its events
            each *= max(count, 1)
        of_part = math.prod(part.batch_shape) * math.prod(part.event_shape)
        each = max(each, of_part)
    admit_bytes(math.prod(shape) * max(each, 1) * _BYTES_DRAWN)


def _inside(distribution: Any) -> list[Any]:
    found: list[Any] = []
    waiting = [distribution]
    while waiting and len(found) < _NESTED:
        part = waiting.pop()
        found.append(part)
        waiting += [
            value
            for value in vars(part).values()
            if isinstance(value, torch.distributions.Distribution)
        ]
    return found


CHECKS: Final[dict[str, Check]] = {
    "bincount": _bincount,
    "dense_type": _dense_type,
    "distribution": _distribution,
    "draws": _draws,
    "embedding": _embedding,
    "gather": _gather,
    "index_select": _index_select,
    "one_hot": _one_hot,
    "optimizer": _optimizer,
    "repeats": _repeats,
    "rnn": _rnn,
    "scatter": _gather,
    "sizes": _sizes,
    "step": _step,
    "take": _take,
    "view": _view,
}
