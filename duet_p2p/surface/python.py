"""The remote Python types: what runs for ``duet.python.List()``, ``append``, ``iter`` and the rest.

Every object is a plain Python value in the engine's store. Containers hold whatever a pointer may
stand for. Constructors and methods that could make something large are admitted by size first.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any, Final

import torch

from duet_p2p.errors import QuotaExceeded
from duet_p2p.surface.containers import (
    CONTAINERS,
    attribute,
    make_dict,
    make_ordered_dict,
    method,
    named,
)
from duet_p2p.surface.iteration import (
    ITERABLE,
    RemoteIterator,
    advance,
    items_of,
    iterate,
    length,
)
from duet_p2p.surface.members import member
from duet_p2p.surface.operators import COMPARISONS, OPERATORS
from duet_p2p.surface.sizes import admit_int, admit_items, admit_text
from duet_p2p.surface.texts import TEXT_METHODS
from duet_p2p.surface.values import plain_slice

__all__ = ["PYTHON", "RemoteIterator"]

_SCALARS: Final = (bool, int, float, complex, str, torch.Tensor)


def _scalar(value: Any) -> Any:
    if not isinstance(value, _SCALARS):
        raise TypeError(f"a number is needed, not {type(value).__name__}")
    if isinstance(value, str):
        admit_text(len(value))
    return value


def _int(value: Any = 0, base: int | None = None) -> int:
    result = int(_scalar(value)) if base is None else int(_scalar(value), base)
    admit_int(result.bit_length())
    return result


def _float(value: Any = 0.0) -> float:
    return float(_scalar(value))


def _bool(value: Any = False) -> bool:
    return bool(value if isinstance(value, ITERABLE) else _scalar(value))


def _complex(real: Any = 0, imag: Any = 0) -> complex:
    return complex(_scalar(real), imag) if imag else complex(_scalar(real))


def _string(value: Any = "") -> str:
    if isinstance(value, (str, bool, int, float, complex, type(None))):
        return str(value)
    raise TypeError(f"a text cannot be made of {type(value).__name__}")


def _list(value: Any = ()) -> list[Any]:
    return items_of(value)


def _tuple(value: Any = ()) -> tuple[Any, ...]:
    return tuple(items_of(value))


def _set(value: Any = ()) -> set[Any]:
    return {member(item) for item in items_of(value)}


def _collect(*values: Any) -> list[Any]:
    admit_items(len(values))
    return list(values)


def _state_dict(names: Any, values: Any = None, *more: Any) -> collections.OrderedDict[str, Any]:
    # names and values as two sequences, or the values one by one behind the names
    items = list(values) if isinstance(values, (list, tuple)) and not more else [values, *more]
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise TypeError("state_dict takes a list of names")
    if len(names) != len(items) or len(set(names)) != len(names):
        raise ValueError("state_dict takes as many different names as values")
    return collections.OrderedDict(zip(names, items, strict=True))


def _from_bytes(value: bytes, byteorder: str = "big", *, signed: bool = False) -> int:
    if byteorder not in ("big", "little") or not isinstance(value, bytes):
        raise TypeError("from_bytes takes bytes and an order")
    admit_int(len(value) * 8)
    return int.from_bytes(value, byteorder, signed=signed)  # type: ignore[arg-type]


def _range(*bounds: Any) -> range:
    result = range(*bounds)
    admit_int(max(abs(result.start), abs(result.stop), abs(result.step)).bit_length())
    try:
        len(result)
    except OverflowError:
        raise QuotaExceeded("a range that long") from None
    return result


_REAL: Final = str.split(
    "__add__ __sub__ __mul__ __truediv__ __floordiv__ __mod__ __divmod__ __pow__ "
    "__radd__ __rsub__ __rmul__ __rtruediv__ __rfloordiv__ __rmod__ __rdivmod__ "
    "__rpow__ __neg__ __pos__ __abs__ __round__ __trunc__ __floor__ __ceil__"
)
_INPLACE: Final = str.split(
    "__iadd__ __isub__ __imul__ __itruediv__ __ifloordiv__ __imod__ __ipow__"
)
_INTEGER: Final = str.split(
    "__and__ __or__ __xor__ __lshift__ __rshift__ __rand__ __ror__ __rxor__ "
    "__rlshift__ __rrshift__ __invert__"
)
_COMPLEX: Final = str.split(
    "__add__ __sub__ __mul__ __truediv__ __pow__ __radd__ __rsub__ __rmul__ "
    "__rtruediv__ __rpow__ __neg__ __pos__ __abs__"
)
_ANY: Final = str.split(
    "__add__ __sub__ __mul__ __truediv__ __floordiv__ __mod__ __pow__ __radd__ "
    "__rsub__ __rmul__ __rtruediv__ __rfloordiv__ __rmod__ __rpow__ __neg__ __pos__ "
    "__abs__"
)


def _of_numbers(name: str) -> Callable[..., Any]:
    """An operator of a number or text: not of a container, which is labelled by its own."""
    call = OPERATORS[name]

    def run(*values: Any) -> Any:
        if any(isinstance(value, _CONTAINERS) for value in values):
            raise TypeError("an operator of a number or a text takes no container")
        return call(*values)

    return run


def _of_any(name: str) -> Callable[..., Any]:
    call = OPERATORS[name]

    def run(first: Any, *others: Any) -> Any:
        if not isinstance(first, _CONTAINERS) and any(isinstance(v, _CONTAINERS) for v in others):
            raise TypeError("put the container first")
        return call(first, *others)

    return run


_CONTAINERS: Final = (list, tuple, dict, set)


PYTHON: Final[dict[str, Callable[..., Any]]] = {
    "python.iter": iterate,
    "python.next": advance,
    "python.len": length,
    "python.collect": _collect,
    "python.state_dict": _state_dict,
    "python.Int": _int,
    "python.Float": _float,
    "python.Bool": _bool,
    "python.Complex": _complex,
    "python.String": _string,
    "python.List": _list,
    "python.Tuple": _tuple,
    "python.Set": _set,
    "python.Dict": make_dict,
    "python.OrderedDict": make_ordered_dict,
    "python.Range": _range,
    "python.Slice": plain_slice,
    # numbers
    **named("Bool", [*_REAL, *_INTEGER, *COMPARISONS], _of_numbers),
    **named("Int", [*_REAL, *_INPLACE, *_INTEGER, *COMPARISONS], _of_numbers),
    **named("Float", [*_REAL, *_INPLACE, *COMPARISONS], _of_numbers),
    **named("Complex", [*_COMPLEX, "__eq__", "__ne__"], _of_numbers),
    **named("Any", [*_ANY, *COMPARISONS], _of_any),
    "python.Any.__iter__": iterate,
    "python.Any.__len__": length,
    "python.Any.__next__": advance,
    "python.Int.from_bytes": _from_bytes,
    **{
        f"python.{type_name}.{name}": attribute(cls, name)
        for type_name, cls in (("Bool", int), ("Int", int), ("Float", float), ("Complex", complex))
        for name in ("real", "imag")
    },
    **{
        f"python.{type_name}.{name}": attribute(int, name)
        for type_name in ("Bool", "Int")
        for name in ("numerator", "denominator")
    },
    **{
        f"python.{type_name}.{name}": method(int, name)
        for type_name in ("Bool", "Int")
        for name in ("as_integer_ratio", "bit_length", "conjugate")
    },
    **named("Float", ["as_integer_ratio", "conjugate", "is_integer"], lambda n: method(float, n)),
    "python.Complex.conjugate": method(complex, "conjugate"),
    # texts
    **named("String", TEXT_METHODS, TEXT_METHODS.__getitem__),
    **named("String", ["__add__", "__mul__", "__rmul__"], _of_numbers),
    **named("String", COMPARISONS, OPERATORS.__getitem__),
    "python.String.__iter__": iterate,
    **CONTAINERS,
    # iterators
    "python.Iterator.__iter__": iterate,
    "python.Iterator.__next__": advance,
    "python.Iterator.__len__": length,
}  # fmt: skip
"""What runs for each name below ``python``; the table says what it gives."""
