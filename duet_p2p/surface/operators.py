"""Operators of remote Python values, ``python.Float.__add__`` and its like.

They follow Python's own rules for two operands (a float times a tensor is a tensor), with size
admission in front. In-place operators of numbers and texts give a new value, as in Python.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Final

import torch

from duet_p2p import limits
from duet_p2p.errors import QuotaExceeded
from duet_p2p.surface.sizes import (
    admit_add,
    admit_int,
    admit_lshift,
    admit_mul,
    admit_operands,
    admit_pow,
)

__all__ = ["COMPARISONS", "OPERATORS"]

COMPARISONS: Final = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__")

Binary = Callable[[Any, Any], Any]


def _no_text(value: Any) -> None:
    # "%" on a text formats: it walks attributes and pads to any width
    if isinstance(value, (str, bytes)):
        raise TypeError("formatting of texts is not offered")


def _add(a: Any, b: Any) -> Any:
    admit_add(a, b)
    return a + b


def _sub(a: Any, b: Any) -> Any:
    admit_add(a, b)
    return a - b


def _mul(a: Any, b: Any) -> Any:
    admit_mul(a, b)
    return a * b


def _mod(a: Any, b: Any) -> Any:
    _no_text(a)
    admit_operands(a, b)
    return a % b


def _divmod(a: Any, b: Any) -> Any:
    _no_text(a)
    if isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor):
        raise TypeError("divmod of tensors is not offered")
    return divmod(a, b)


def _pow(a: Any, b: Any, modulus: Any = None) -> Any:
    if modulus is not None:
        if not all(isinstance(value, int) for value in (a, b, modulus)):
            raise TypeError("pow with a modulus takes ints")
        return pow(a, b, modulus)
    admit_pow(a, b)
    return a**b


def _lshift(a: Any, b: Any) -> Any:
    admit_lshift(a, b)
    return a << b


def _admitted(function: Binary) -> Binary:
    def run(a: Any, b: Any) -> Any:
        admit_operands(a, b)
        return function(a, b)

    return run


def _round(value: Any, ndigits: Any = None) -> Any:
    if ndigits is None:
        return round(value)
    if not isinstance(ndigits, int) or abs(ndigits) > limits.ROUND_DIGITS:
        raise QuotaExceeded(f"round to more than {limits.ROUND_DIGITS} digits")
    admit_int(abs(ndigits) * 4)
    return round(value, ndigits)


def _reflected(function: Binary) -> Binary:
    def run(a: Any, b: Any) -> Any:
        return function(b, a)

    return run


_BINARY: Final[dict[str, Binary]] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "truediv": _admitted(operator.truediv),
    "floordiv": _admitted(operator.floordiv),
    "mod": _mod,
    "divmod": _divmod,
    "lshift": _lshift,
    "rshift": _admitted(operator.rshift),
    "and": _admitted(operator.and_),
    "or": _admitted(operator.or_),
    "xor": _admitted(operator.xor),
}

_COMPARE: Final[dict[str, Binary]] = {
    name: _admitted(getattr(operator, name)) for name in ("eq", "ne", "lt", "le", "gt", "ge")
}

OPERATORS: Final[dict[str, Callable[..., Any]]] = {
    **{f"__{name}__": function for name, function in (_BINARY | _COMPARE).items()},
    **{f"__r{name}__": _reflected(function) for name, function in _BINARY.items()},
    **{f"__i{name}__": function for name, function in _BINARY.items() if name != "divmod"},
    "__pow__": _pow,
    "__ipow__": _pow,
    "__rpow__": _reflected(_pow),
    "__neg__": operator.neg,
    "__pos__": operator.pos,
    "__abs__": operator.abs,
    "__invert__": operator.invert,
    "__round__": _round,
    "__trunc__": math.trunc,
    "__floor__": math.floor,
    "__ceil__": math.ceil,
}
"""What runs for each operator of Python numbers, by its Python name."""
