"""One Python class per remote type, generated from the surface table.

`TensorPointer` has the methods that the table lists under ``torch.Tensor``, `ListPointer` those of
``python.List``, and so on, the bases of a type included. A class is made when the first pointer of
its type is. What a base class in this package answers itself (`shape`, `len`, iteration) is not
replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import torch

from duet_p2p.objects.plan import PLAN_TYPE
from duet_p2p.scientist.arrays import array_ufunc
from duet_p2p.scientist.containers import DictPointer, ListPointer, SizedPointer
from duet_p2p.scientist.densities import DistributionPointer
from duet_p2p.scientist.loader import IteratorPointer, LoaderPointer
from duet_p2p.scientist.optimizers import OptimizerPointer
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.scientist.schedulers import SchedulerPointer
from duet_p2p.scientist.tensor import TensorPointer
from duet_p2p.scientist.untyped import AnyPointer
from duet_p2p.surface import table, types

__all__ = ["OPERATORS", "class_of"]

_BASES: Final[dict[str, type[Pointer]]] = {
    "torch.Tensor": TensorPointer,
    "python.List": ListPointer,
    "python.Tuple": ListPointer,
    "torch.Size": ListPointer,
    "python.Dict": DictPointer,
    "python.OrderedDict": DictPointer,
    "torch.nn.Module": DictPointer,
    "python.Set": SizedPointer,
    "python.String": SizedPointer,
    "python.Range": SizedPointer,
    "torch.utils.data.Dataset": SizedPointer,
    "torch.utils.data.DataLoader": LoaderPointer,
    "python.Iterator": IteratorPointer,
    "python.Any": AnyPointer,
    "torch.optim.Optimizer": OptimizerPointer,
    "torch.distributions.Distribution": DistributionPointer,
    "torch.optim.lr_scheduler.LRScheduler": SchedulerPointer,
}
"""The nearest type of a lineage decides; everything else is a bare `Pointer`."""

_BINARY: Final = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift divmod"
_OTHERS: Final = """
    eq ne lt le gt ge neg pos abs invert getitem setitem delitem call round trunc floor ceil
    div rdiv idiv
"""
OPERATORS: Final = frozenset(
    [f"__{side}{name}__" for name in _BINARY.split() for side in ("", "r", "i")]
    + [f"__{name}__" for name in _OTHERS.split()]
)
"""Dunder names that a pointer passes on; every other one Python itself needs answered here."""

_SWAPPED: Final = {
    **{f"__{name}__": f"__r{name}__" for name in _BINARY.split()},
    **{f"__r{name}__": f"__{name}__" for name in _BINARY.split()},
    **{"__lt__": "__gt__", "__gt__": "__lt__", "__le__": "__ge__", "__ge__": "__le__"},
    **{"__eq__": "__eq__", "__ne__": "__ne__"},
}
_NO_FACTS: Final = frozenset({"python.Float", "python.Int", "python.Bool", "python.Complex"})
"""Nothing is ever told of these but their value; most pointers that are no tensors are these."""
_SCALARS: Final = _NO_FACTS
_OF_CLASSES: Final = frozenset(
    {"python.Int.from_bytes", "python.Dict.fromkeys", "python.OrderedDict.fromkeys"}
)


@cache
def class_of(type_name: str) -> type[Pointer]:
    """The class of pointers to objects of this type."""
    if type_name == PLAN_TYPE:
        from duet_p2p.scientist.plan import PlanPointer

        return PlanPointer
    if type_name not in types.TYPES:
        return class_of("python.Any")
    lineage = _lineage(type_name)
    base = next((_BASES[name] for name in lineage if name in _BASES), Pointer)
    members: dict[str, Any] = {
        "__slots__": (),
        "_expects_meta": type_name not in _NO_FACTS,
        "__hash__": Pointer.__hash__,
    }
    if type_name in _SCALARS:
        members["__array_ufunc__"] = array_ufunc
    for owner in reversed(lineage):  # the nearest type last: its names win
        for short, rule in _own_names(owner):
            if short.endswith("="):
                continue
            if _answers_itself(base, short):
                continue
            members[short] = _member(type_name, short, rule)
    for owner in lineage:
        for short, rule in _own_names(owner):
            if short.endswith("=") and isinstance(members.get(short[:-1]), property):
                getter = members[short[:-1]]
                members[short[:-1]] = getter.setter(_setter(rule.name))
    return type(types.TYPES[type_name].pointer, (base,), members)


def _lineage(type_name: str) -> list[str]:
    """The type and its bases, nearest first."""
    found, waiting = [], [type_name]
    while waiting:
        name = waiting.pop(0)
        if name in types.TYPES and name not in found:
            found.append(name)
            waiting += types.TYPES[name].bases
    return found


def _own_names(owner: str) -> list[tuple[str, Any]]:
    """Short names under a type with their rules; aliases included."""
    found = []
    for short in table.names_under(owner):
        rule = table.find(f"{owner}.{short}")
        if rule is not None and "." not in short:
            found.append((short, rule))
    return found


def _answers_itself(base: type, short: str) -> bool:
    if short.startswith("__") and short.endswith("__"):
        if short not in OPERATORS:
            return True
        return any(short in cls.__dict__ for cls in base.__mro__[:-1])
    return any(short in cls.__dict__ for cls in base.__mro__)


def _member(type_name: str, short: str, rule: Any) -> Any:
    name = rule.name
    if rule.form == "property":
        return property(_getter(name))
    if name in _OF_CLASSES:
        return _class_method(name, short)
    if type_name in _SCALARS and short in _SWAPPED:
        return _scalar_operator(name, short)
    return _method(name, short)


def _getter(name: str) -> Callable[[Pointer], Any]:
    def get(self: Pointer) -> Any:
        return self._client.call(name, self)

    return get


def _setter(name: str) -> Callable[[Pointer, Any], None]:
    def put(self: Pointer, value: Any) -> None:
        self._client.call(name, self, value)

    return put


def _method(name: str, short: str) -> Callable[..., Any]:
    def method(self: Pointer, *args: Any, **kwargs: Any) -> Any:
        return self._client.call(name, self, *args, **kwargs)

    method.__name__ = short
    method.__qualname__ = name
    method.__doc__ = f"{name} on the owner's side."
    return method


def _class_method(name: str, short: str) -> Callable[..., Any]:
    def method(self: Pointer, *args: Any, **kwargs: Any) -> Any:
        return self._client.call(name, *args, **kwargs)

    method.__name__ = short
    method.__qualname__ = name
    method.__doc__ = f"{name} on the owner's side; the object itself takes no part."
    return method


def _scalar_operator(name: str, short: str) -> Callable[..., Any]:
    swapped = f"torch.Tensor.{_SWAPPED[short]}"

    def operator(self: Pointer, other: Any) -> Any:
        if isinstance(other, TensorPointer | torch.Tensor):  # a number with a tensor is a tensor
            return self._client.call(swapped, other, self)
        return self._client.call(name, self, other)

    operator.__name__ = short
    operator.__qualname__ = name
    return operator
