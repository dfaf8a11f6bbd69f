"""Shapes of results without values: torch's own function, run on the meta device.

The scientist's side asks before sending, so that ``ptr.shape`` is free and a shape mistake raises
at its own line; the owner's side asks before running, as admission by size. Both get a plain
`TensorSpec` tree, from a cache in the usual case.

Some meta kernels word their errors in another way than the CPU's, and a few refuse what the CPU
takes. So a failure is tried once more on the CPU with tensors of zeros that take no memory, as long
as they are not large: its error is the one that the user knows, and if it does not fail, its result
counts.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from threading import RLock
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import torch

from duet_p2p import limits
from duet_p2p.surface import compiler
from duet_p2p.surface.callables import CALLABLES, original
from duet_p2p.surface.counts import COUNTS
from duet_p2p.surface.meta_kernels import ON_META
from duet_p2p.surface.sizes import admit_items
from duet_p2p.surface.table import TABLE, Rule

__all__ = ["GENERATOR", "UNKNOWN", "TensorSpec", "Unknown", "infer", "result_bytes", "spec_of"]


class TensorSpec(NamedTuple):
    """What is public of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    requires_grad: bool = False
    device: str = "cpu"


class Unknown:
    """Stands for what is not known here: an argument that is a pointer, or a result."""

    __slots__ = ("type",)

    def __init__(self, type_name: str = "") -> None:
        self.type = type_name
        """Its type name where that is known. A ``python.Float``, ``python.Int`` or ``python.Bool``
        as operand of arithmetic does not hide the shape."""

    def __repr__(self) -> str:
        return f"Unknown({self.type!r})" if self.type else "UNKNOWN"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unknown) and other.type == self.type

    def __hash__(self) -> int:
        return hash(("unknown", self.type))


UNKNOWN: Final = Unknown()

# A number whose value cannot change shape or dtype stands in for a pointer to one.
_STAND_INS: Final[Mapping[str, Any]] = MappingProxyType(
    {"python.Float": 0.5, "python.Int": 1, "python.Bool": True}
)
_ARITHMETIC: Final = (
    frozenset(
        str.split(
            "add sub subtract rsub mul multiply div divide true_divide pow eq ne lt le gt "
            "ge maximum minimum clamp clamp_min clamp_max clip fill_ add_ sub_ mul_ div_ "
            "clamp_ pow_ batch_norm instance_norm"
        )
    )
    | frozenset(
        f"__{prefix}{name}__"
        for prefix in ("", "r", "i")
        for name in ("add", "sub", "mul", "truediv", "pow")
    )
    | frozenset({"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"})
)

# Functions without a kernel for the meta device, whose shapes do not depend on values all the same.
_WITHOUT_META: Final = frozenset({"torch.histogramdd", "torch.histogram", "torch.Tensor.histogram"})

# Functions that make a tensor of numbers alone without being called a factory.
_INDICES: Final = frozenset({"torch.tril_indices", "torch.triu_indices"})

# Functions that copy between devices: on the meta device they cannot, so they are worked out here.
_MOVES: Final = frozenset({"torch.Tensor.cpu", "torch.Tensor.cuda", "torch.Tensor.to"})

# Errors that the user made, in torch's words; anything else is a gap of the meta kernels.
_MISTAKES: Final = (RuntimeError, ValueError, IndexError, TypeError, ZeroDivisionError)


class _Gap(Exception):
    """Not inferable."""


def spec_of(tensor: torch.Tensor) -> TensorSpec:
    """The spec of a real tensor."""
    return TensorSpec(tuple(tensor.shape), tensor.dtype, tensor.requires_grad, str(tensor.device))


def _key(value: Any) -> Any:
    """A hashable that is equal only for arguments that mean the same."""
    kind = type(value)
    if kind is TensorSpec or kind is int or value is None:
        return value
    if kind is float or kind is bool or kind is complex:
        return (kind, value)  # 1, 1.0 and True are equal, and give different dtypes
    if kind is list or kind is tuple:
        return (kind, *[_key(item) for item in value])
    if kind is slice:
        return (kind, _key(value.start), _key(value.stop), _key(value.step))
    if isinstance(value, dict):
        return (kind, *[(k, _key(v)) for k, v in value.items()])
    if kind is range:
        admit_items(len(value))  # torch goes through all of it
    return value


_MISSING: Final = object()
_cache: dict[Any, Any] = {}

GENERATOR: Final = RLock()
"""Held by whoever borrows torch's default generator, which belongs to the whole process: shape
inference on zeros, and an engine in a thread. Ignoring warnings is such a setting, too."""


def infer(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], mode: str = "g") -> Any:
    """What a call would give.

    Args:
        name: canonical name.
        args: positional arguments; a `TensorSpec` where a tensor stands, `UNKNOWN` (or
            ``Unknown(type)``) for any other pointer and for a tensor of hidden shape, plain values
            (torch.dtype and torch.device too) otherwise.
        kwargs: keyword arguments, likewise.
        mode: ``g`` grad, ``n`` no_grad, ``i`` inference.

    Returns:
        A `TensorSpec`, or a tuple, list or dict of them and of plain values, or `UNKNOWN`.

    Raises:
        Exception: torch's own, for a mistake in shapes, dtypes or public scalars.
    """
    try:
        key = (name, mode, *map(_key, args), *[(k, _key(v)) for k, v in kwargs.items()])
        found = _cache.get(key, _MISSING)
    except TypeError:
        return UNKNOWN
    if found is _MISSING:
        compiler.leave_out()
        with GENERATOR:
            state = torch.get_rng_state()  # kernels draw from it, on the meta device too
            try:
                found = _infer(name, args, kwargs, mode)
            finally:
                torch.set_rng_state(state)
            _cache[key] = found
            while len(_cache) > limits.SHAPES_CACHE:
                del _cache[next(iter(_cache))]
    return found


def _infer(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], mode: str) -> Any:
    rule = TABLE.get(name)
    if rule is None or rule.shape != "static":
        return UNKNOWN
    for check in rule.checks:
        if check in COUNTS:
            COUNTS[check](args, kwargs)
    special = _SPECIAL.get(name)
    try:
        if special is not None:
            return special(args, kwargs)
        if name in _MOVES:
            return _moved(args, kwargs)
        if name.startswith("torch.nn.init."):
            return _first(args, kwargs)
        return _run(rule, args, kwargs, mode)
    except _Gap:
        return UNKNOWN


def _leaves(value: Any) -> list[Any]:
    if type(value) is list or type(value) is tuple:
        return [leaf for item in value for leaf in _leaves(item)]
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if type(value) is slice:
        return [*_leaves(value.start), *_leaves(value.stop), *_leaves(value.step)]
    return [value]


def _mapped(value: Any, convert: Callable[[Any], Any]) -> Any:
    kind = type(value)
    if kind is list:
        return [_mapped(item, convert) for item in value]
    if kind is tuple:
        return tuple([_mapped(item, convert) for item in value])
    if isinstance(value, dict):
        return {k: _mapped(v, convert) for k, v in value.items()}
    if kind is slice:
        return slice(*(_mapped(part, convert) for part in (value.start, value.stop, value.step)))
    return convert(value)


def _run(rule: Rule, args: tuple[Any, ...], kwargs: Mapping[str, Any], mode: str) -> Any:
    leaves = [leaf for value in (*args, *kwargs.values()) for leaf in _leaves(value)]
    specs = [leaf for leaf in leaves if type(leaf) is TensorSpec]
    may_stand_in = rule.short in _ARITHMETIC
    for leaf in leaves:
        if isinstance(leaf, Unknown) and not (may_stand_in and leaf.type in _STAND_INS):
            raise _Gap
    device = specs[0].device if specs else "cpu"
    function = ON_META.get(rule.name) or original(rule.name)
    if rule.form == "property":
        attribute = rule.short
        function = lambda target: getattr(target, attribute)  # noqa: E731

    def attempt(
        function: Callable[..., Any], make: Callable[[TensorSpec], torch.Tensor], on: str
    ) -> Any:
        def convert(leaf: Any) -> Any:
            if type(leaf) is TensorSpec:
                return make(leaf)
            if isinstance(leaf, Unknown):
                return _STAND_INS[leaf.type]
            return leaf

        given = dict(_mapped(dict(kwargs), convert))
        if "device" in given or (rule.form == "factory" and not specs) or rule.name in _INDICES:
            given["device"] = on
        with warnings.catch_warnings(), torch.set_grad_enabled(mode == "g"):
            warnings.simplefilter("ignore")
            return function(*_mapped(args, convert), **given)

    final_device = _device_asked(kwargs, device)
    try:
        result = attempt(function, _meta, "meta")
    except NotImplementedError:
        if rule.name not in _WITHOUT_META:
            raise _Gap from None
        result = _replayed(rule, attempt, specs, None)
    except _MISTAKES as error:
        if "meta" in str(error).lower() and "tensor" in str(error).lower():
            raise _Gap from None  # a value was needed
        result = _replayed(rule, attempt, specs, error)
    return _specs(result, final_device)


def _replayed(
    rule: Rule, attempt: Callable[..., Any], specs: list[TensorSpec], error: Exception | None
) -> Any:
    """The call on zeros on the CPU; `error` is what counts if that cannot be told."""
    if sum(math.prod(s.shape) for s in specs) > limits.SHAPES_REPLAY_ELEMENTS:
        raise error or _Gap
    try:
        return attempt(CALLABLES[rule.name], _zeros, "cpu")  # with its guard: it runs for real
    except NotImplementedError:
        raise _Gap from None
    except Exception:
        if error is None:  # zeros may be wrong where values are looked at
            raise _Gap from None
        raise


def _meta(spec: TensorSpec) -> torch.Tensor:
    tensor = torch.empty(spec.shape, dtype=spec.dtype, device="meta")
    return _with_grad(tensor) if spec.requires_grad else tensor


def _zeros(spec: TensorSpec) -> torch.Tensor:
    tensor = torch.zeros(spec.shape, dtype=spec.dtype)
    return _with_grad(tensor) if spec.requires_grad else tensor


def _with_grad(tensor: torch.Tensor) -> torch.Tensor:
    # not a leaf: a spec does not say whether it is one, and in-place operations refuse leaves
    with torch.enable_grad():
        return tensor.requires_grad_().clone()


def _device_asked(kwargs: Mapping[str, Any], default: str) -> str:
    asked = kwargs.get("device")
    return default if asked is None or isinstance(asked, Unknown) else str(torch.device(asked))


def _specs(result: Any, device: str) -> Any:
    if isinstance(result, torch.Tensor):
        return TensorSpec(tuple(result.shape), result.dtype, result.requires_grad, device)
    if isinstance(result, (tuple, list)) and not isinstance(result, torch.Size):
        parts = [_specs(item, device) for item in result]
        return parts if type(result) is list else tuple(parts)
    return result


def _first(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    value = args[0] if args else kwargs.get("tensor", kwargs.get("input"))
    if type(value) is not TensorSpec:
        raise _Gap
    return value


def _moved(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    spec = _first(args, kwargs)
    given = [*args[1:], *(kwargs[k] for k in ("device", "dtype", "other") if k in kwargs)]
    dtype, device = spec.dtype, spec.device
    for value in given:
        if isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, TensorSpec):
            dtype, device = value.dtype, value.device
        elif isinstance(value, (str, torch.device)):
            device = str(torch.device(value))
        elif isinstance(value, Unknown) and value.type != "torch.device":
            raise _Gap
    keeps = dtype.is_floating_point or dtype.is_complex
    return TensorSpec(spec.shape, dtype, spec.requires_grad and keeps, device)


def _detached(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return _first(args, kwargs)._replace(requires_grad=False)


def _parameter(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    spec = args[0] if args else kwargs.get("data")
    wanted = args[1] if len(args) > 1 else kwargs.get("requires_grad", True)
    if type(spec) is not TensorSpec or isinstance(wanted, Unknown):
        raise _Gap
    return spec._replace(requires_grad=bool(wanted))


def _gradients(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    inputs = args[1] if len(args) > 1 else kwargs.get("inputs")
    items = [inputs] if type(inputs) is TensorSpec else inputs
    if not isinstance(items, (list, tuple)) or any(type(i) is not TensorSpec for i in items):
        raise _Gap
    if kwargs.get("allow_unused") or len(args) > 5:
        raise _Gap  # None for some of them
    has_graph = bool(args[4] if len(args) > 4 else kwargs.get("create_graph"))
    return tuple([item._replace(requires_grad=has_graph) for item in items])


def _legacy(dtype: torch.dtype) -> Callable[[tuple[Any, ...], Mapping[str, Any]], Any]:
    def work_out(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        data = args[0] if args else kwargs.get("data")
        if type(data) is TensorSpec:
            keeps = data.requires_grad and dtype.is_floating_point
            return data._replace(dtype=dtype, requires_grad=keeps)
        return _of_list(data)._replace(dtype=dtype)

    return work_out


def _of_list(data: Any) -> TensorSpec:
    """What torch.tensor makes of numbers and lists of them."""
    if any(
        isinstance(leaf, TensorSpec) or (isinstance(leaf, Unknown) and leaf.type not in _STAND_INS)
        for leaf in _leaves(data)
    ):
        raise _Gap
    tensor = torch.tensor(
        _mapped(data, lambda leaf: _STAND_INS[leaf.type] if isinstance(leaf, Unknown) else leaf)
    )
    return spec_of(tensor)


def _norm_of_gradients(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    parameters = args[0] if args else kwargs.get("parameters")
    first = parameters[0] if isinstance(parameters, (list, tuple)) and parameters else parameters
    if type(first) is not TensorSpec:
        raise _Gap
    return TensorSpec((), first.dtype, False, first.device)


def _one_hot(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    index = args[0] if args else kwargs.get("tensor", kwargs.get("input"))
    classes = args[1] if len(args) > 1 else kwargs.get("num_classes", -1)
    if type(index) is not TensorSpec or type(classes) is not int or classes < 1:
        raise _Gap
    return TensorSpec((*index.shape, classes), torch.int64, False, index.device)


def _tensor(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    data = args[0] if args else kwargs.get("data")
    spec = data if type(data) is TensorSpec else _of_list(data)
    dtype = kwargs.get("dtype") or spec.dtype
    asks = kwargs.get("requires_grad", False)
    if not isinstance(dtype, torch.dtype) or not isinstance(asks, bool):
        raise _Gap
    return TensorSpec(spec.shape, dtype, asks, _device_asked(kwargs, spec.device))


def _as_tensor(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    data = args[0] if args else kwargs.get("data")
    made = _tensor(args, kwargs)
    keeps = type(data) is TensorSpec and data.requires_grad and made.dtype.is_floating_point
    return made._replace(requires_grad=keeps)


_SPECIAL: Final[Mapping[str, Callable[[tuple[Any, ...], Mapping[str, Any]], Any]]] = (
    MappingProxyType(
        {
            "torch.Tensor.data": _detached,
            "torch.Tensor.grad": _detached,
            "torch.Tensor.requires_grad_": _parameter,
            "torch.nn.Parameter": _parameter,
            "torch.autograd.grad": _gradients,
            "torch.nn.functional.one_hot": _one_hot,
            "torch.nn.utils.clip_grad_norm_": _norm_of_gradients,
            "torch.tensor": _tensor,
            "torch.as_tensor": _as_tensor,
            "torch.Tensor": _legacy(torch.float32),
            "torch.FloatTensor": _legacy(torch.float32),
            "torch.DoubleTensor": _legacy(torch.float64),
            "torch.HalfTensor": _legacy(torch.float16),
            "torch.BFloat16Tensor": _legacy(torch.bfloat16),
            "torch.LongTensor": _legacy(torch.int64),
            "torch.IntTensor": _legacy(torch.int32),
            "torch.ShortTensor": _legacy(torch.int16),
            "torch.CharTensor": _legacy(torch.int8),
            "torch.ByteTensor": _legacy(torch.uint8),
            "torch.BoolTensor": _legacy(torch.bool),
        }
    )
)


def result_bytes(spec: Any) -> int:
    """The logical bytes of an inferred result: all elements, whatever storage they share."""
    if type(spec) is TensorSpec:
        return math.prod(spec.shape) * spec.dtype.itemsize
    if isinstance(spec, (list, tuple)):
        return sum(result_bytes(item) for item in spec)
    if isinstance(spec, dict):
        return sum(result_bytes(item) for item in spec.values())
    return 0
