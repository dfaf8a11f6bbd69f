"""The types that an object in the owner's engine can have, as both sides know them.

A closed list: kinds of pointers, of method look-up and of printed tables hang on it. Types of
constructors (optimizers, schedulers, transforms, data sets, distributions) come from the table.
torchvision's classes are known by name only, so that nothing here imports it.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import torch

from duet_p2p.surface.table import TABLE

__all__ = ["TYPES", "Type", "is_subtype", "number_type", "resolve", "type_name_of"]


@dataclass(frozen=True, slots=True)
class Type:
    """One type of remote objects."""

    name: str
    bases: tuple[str, ...]
    """Names of the types whose methods it has too, nearest first."""
    cls: type | None
    """The Python class where one exists here; None for torchvision's and for a shared module."""
    pointer: str
    """Name of the pointer class, ``TensorPointer``."""


_PLAIN: Final = (
    ("torch.Tensor", (), torch.Tensor, "TensorPointer"),
    ("torch.nn.Parameter", ("torch.Tensor",), torch.nn.Parameter, "TensorPointer"),
    ("torch.Size", ("python.Tuple",), torch.Size, "SizePointer"),
    ("torch.device", (), torch.device, "DevicePointer"),
    ("torch.dtype", (), torch.dtype, "DtypePointer"),
    ("python.Any", (), None, "AnyPointer"),
    ("python.NoneType", (), type(None), "NonePointer"),
    ("python.Bool", ("python.Int",), bool, "BoolPointer"),
    ("python.Int", (), int, "IntPointer"),
    ("python.Float", (), float, "FloatPointer"),
    ("python.Complex", (), complex, "ComplexPointer"),
    ("python.String", (), str, "StringPointer"),
    ("python.Bytes", (), bytes, "BytesPointer"),
    ("python.List", (), list, "ListPointer"),
    ("python.Tuple", (), tuple, "TuplePointer"),
    ("python.Dict", (), dict, "DictPointer"),
    ("python.OrderedDict", ("python.Dict",), collections.OrderedDict, "OrderedDictPointer"),
    ("python.Set", (), set, "SetPointer"),
    ("python.Range", (), range, "RangePointer"),
    ("python.Slice", (), slice, "SlicePointer"),
    ("python.Iterator", (), None, "IteratorPointer"),
    ("torch.nn.Module", ("python.OrderedDict",), None, "ModulePointer"),
    ("torch.optim.Optimizer", (), torch.optim.Optimizer, "OptimizerPointer"),
    (
        "torch.optim.lr_scheduler.LRScheduler",
        (),
        torch.optim.lr_scheduler.LRScheduler,
        "SchedulerPointer",
    ),
    ("torch.utils.data.Dataset", (), torch.utils.data.Dataset, "DatasetPointer"),
    ("torch.utils.data.DataLoader", (), torch.utils.data.DataLoader, "DataLoaderPointer"),
    ("torchvision.transforms.Transform", (), None, "TransformPointer"),
    (
        "torch.distributions.Distribution",
        (),
        torch.distributions.Distribution,
        "DistributionPointer",
    ),
)

_BASE_OF_PREFIX: Final = (
    ("torch.optim.lr_scheduler.", "torch.optim.lr_scheduler.LRScheduler"),
    ("torch.optim.", "torch.optim.Optimizer"),
    ("torch.utils.data.", "torch.utils.data.Dataset"),
    ("torchvision.datasets.", "torch.utils.data.Dataset"),
    ("torchvision.transforms.", "torchvision.transforms.Transform"),
    ("torch.distributions.", "torch.distributions.Distribution"),
)


def _types() -> dict[str, Type]:
    types = {name: Type(name, bases, cls, pointer) for name, bases, cls, pointer in _PLAIN}
    for rule in TABLE.values():
        if rule.form != "constructor" or rule.name in types or rule.result != rule.name:
            continue
        base = next((b for p, b in _BASE_OF_PREFIX if rule.name.startswith(p)), None)
        if base is None:
            raise ValueError(f"{rule.name} has no type")
        cls: Any = torch if rule.name.startswith("torch.") else None
        for part in rule.name.split(".")[1:] if cls is not None else ():
            cls = getattr(cls, part, None)
        types[rule.name] = Type(rule.name, (base,), cls, types[base].pointer)
    return types


TYPES: Final[Mapping[str, Type]] = MappingProxyType(_types())

_BY_CLASS: Final[Mapping[type, str]] = MappingProxyType(
    {
        **{t.cls: t.name for t in TYPES.values() if t.cls is not None},
        torch.optim.lr_scheduler.ReduceLROnPlateau: "torch.optim.lr_scheduler.ReduceLROnPlateau",
        torch.optim.swa_utils.SWALR: "torch.optim.lr_scheduler.SWALR",  # with its kin in the table
    }
)


@lru_cache(maxsize=1024)
def _name_of_class(cls: type[Any]) -> str:
    for base in cls.__mro__:
        # own classes that stand for torchvision's, and torchvision's transforms, say their name
        declared = base.__dict__.get("surface_type")
        if isinstance(declared, str):
            return declared
        if base.__module__.startswith("torchvision.transforms"):
            name = f"torchvision.transforms.{base.__name__}"
            return name if name in TYPES else "torchvision.transforms.Transform"
        name = _BY_CLASS.get(base, "")
        if name:
            return name
    return "python.Any"


def type_name_of(value: object) -> str:
    """The name of a value's type; ``python.Any`` for what the surface does not know."""
    cls: Any = type(value)
    return _name_of_class(cls)


@lru_cache(maxsize=8192)
def resolve(type_name: str, attr: str) -> str | None:
    """The canonical name of a type's method, property or operator, looking through its bases.

    Args:
        type_name: ``torch.optim.Adam``.
        attr: ``step``; ``grad=`` for a setter.

    Returns:
        ``torch.optim.Optimizer.step``, or None if it is not offered.
    """
    from duet_p2p.surface.table import find

    rule = find(f"{type_name}.{attr}")
    if rule is not None:
        return rule.name
    known = TYPES.get(type_name)
    for base in known.bases if known is not None else ():
        name = resolve(base, attr)
        if name is not None:
            return name
    return None


def is_subtype(type_name: str, base: str) -> bool:
    """Whether a type is another or comes from it."""
    if type_name == base:
        return True
    known = TYPES.get(type_name)
    return known is not None and any(is_subtype(b, base) for b in known.bases)


_RANK: Final = {"python.Bool": 0, "python.Int": 1, "python.Float": 2, "python.Complex": 3}
_NUMBERS: Final = ("python.Bool", "python.Int", "python.Float", "python.Complex")
_CARRIED: Final = frozenset({"and", "or", "xor", "pow", "truediv"})
_BITWISE: Final = frozenset({"and", "or", "xor"})


def number_type(
    short: str, operands: tuple[Any, ...], type_of: Callable[[Any], str] = type_name_of
) -> str:
    """The type of ``number`` and ``truth`` results (`Rule.result`) of operators of Python numbers.

    Args:
        short: last part of the operator's name, ``__add__``.
        operands: the arguments.
        type_of: the type name of one of them; for pointers their own.

    Returns:
        A type name; ``torch.Tensor`` where a tensor takes part, ``python.Any`` where only the value
        decides (an int to the power of another).
    """
    names = [type_of(operand) for operand in operands]
    if any(is_subtype(name, "torch.Tensor") for name in names):
        return "torch.Tensor"
    operator = short.strip("_")
    if operator in ("eq", "ne", "lt", "le", "gt", "ge"):
        return "python.Bool"
    if any(name not in _RANK for name in names):
        return "python.Any"
    rank = max(_RANK[name] for name in names)
    exponent = operands[0] if operator == "rpow" else operands[-1]
    operator = operator[1:] if operator[1:] in _CARRIED else operator  # radd, iadd
    if operator in _BITWISE and rank == 0:
        return "python.Bool"
    if operator == "pow" and rank < 2:
        return "python.Int" if type(exponent) is int and exponent >= 0 else "python.Any"
    if operator == "truediv":
        rank = max(rank, 2)
    return _NUMBERS[max(rank, 1)]
