"""Values and arguments for each method of the original's remote Python types."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import Any

VALUES: dict[str, Callable[[], Any]] = {
    "Any": lambda: 3.5,
    "Bool": lambda: True,
    "Dict": lambda: {"a": 1, "b": 2},
    "Float": lambda: 2.5,
    "Int": lambda: 6,
    "Iterator": lambda: [1, 2],
    "List": lambda: [3, 1, 2],
    "OrderedDict": lambda: OrderedDict([("a", 1), ("b", 2)]),
    "Range": lambda: range(2, 9, 2),
    "Set": lambda: {1, 2, 3},
    "Slice": lambda: slice(1, 4, 2),
    "String": lambda: "aXb c",
    "Tuple": lambda: (3, 1, 2),
}

# By type and method, else by method, else none (or one more of the same for operators).
_GIVEN: dict[str, tuple[Any, ...]] = {
    "__getitem__": (1,),
    "__setitem__": (1, 7),
    "__delitem__": (1,),
    "__round__": (),
    "__mul__": (2,),
    "__rmul__": (2,),
    "__imul__": (2,),
    "Dict.__getitem__": ("a",),
    "OrderedDict.__getitem__": ("a",),
    "OrderedDict.__setitem__": ("c", 7),
    "OrderedDict.__delitem__": ("a",),
    "append": (5,),
    "count": (1,),
    "extend": ([7, 8],),
    "index": (1,),
    "Range.index": (4,),
    "insert": (0, 9),
    "List.remove": (1,),
    "Set.remove": (1,),
    "Dict.pop": ("a",),
    "OrderedDict.pop": ("a",),
    "dict_get": ("a",),
    "setdefault": ("z", 4),
    "fromkeys": (["x", "y"], 3),
    "move_to_end": ("a",),
    "OrderedDict.update": ({"q": 5},),
    "Set.update": ({8},),
    "add": (9,),
    "discard": (2,),
    "Slice.indices": (5,),
    "from_bytes": (b"\1\2", "big"),
    "center": (9,),
    "ljust": (9,),
    "rjust": (9,),
    "zfill": (9,),
    "String.__getitem__": (1,),
    "String.__mul__": (2,),
    "String.count": ("a",),
    "String.index": ("b",),
    "String.join": (["x", "y"],),
    "endswith": ("c",),
    "startswith": ("a",),
    "find": ("b",),
    "rfind": ("b",),
    "rindex": ("b",),
    "partition": ("X",),
    "rpartition": ("X",),
    "replace": ("a", "zz"),
    "translate": ({97: "q"},),
}
_SET_METHODS = frozenset(
    str.split(
        "difference difference_update intersection intersection_update isdisjoint issuperset "
        "issubset symmetric_difference symmetric_difference_update union"
    )
)
_UNARY = frozenset(
    str.split("__abs__ __ceil__ __floor__ __invert__ __neg__ __pos__ __trunc__ __round__ __next__")
)


@dataclass(frozen=True)
class PythonCase:
    """One method of one type."""

    type_name: str
    args: tuple[Any, ...]

    def make(self) -> Any:
        """The value on this side."""
        value = copy(VALUES[self.type_name]())
        return iter(value) if self.type_name == "Iterator" else value

    def remote(self, both: Any) -> Any:
        """A pointer to the same value."""
        python, value = both.duet.python, VALUES[self.type_name]()
        if self.type_name == "Iterator":
            return both.duet._client.call("python.iter", python.List(value))
        if self.type_name == "Any":
            return both.duet._client.call("python.List.__getitem__", python.List([0, value]), 1)
        if self.type_name == "Range":
            return python.Range(value.start, value.stop, value.step)
        if self.type_name == "Slice":
            return python.Slice(value.start, value.stop, value.step)
        return getattr(python, self.type_name)(value)

    def call(self, target: Any, short: str) -> Any:
        """Calls the method, or reads the property."""
        is_local = type(target).__module__ in ("builtins", "collections")
        if is_local and short == "dict_get":
            return target.get(*self.args)
        if is_local and not hasattr(target, short):
            return getattr(operator, short)(target, *self.args)  # numbers have no += of their own
        member = getattr(target, short)
        if not callable(member):
            return member
        result = member(*(copy(arg) for arg in self.args))
        if is_local and short in ("keys", "values", "items", "__reversed__"):
            return list(result)
        return result


def python_case(type_name: str, short: str) -> PythonCase:
    """The case of a method."""
    found = _GIVEN.get(f"{type_name}.{short}", _GIVEN.get(short))
    if type_name in ("Any", "Bool", "Float", "Int") and short.startswith("__"):
        found = () if short in _UNARY else (3,)
    elif found is None and (short in _SET_METHODS or (type_name == "Set" and short[:2] == "__")):
        found = ({2, 3, 4},)
    elif found is None:
        is_operator = short.startswith("__") and short not in _UNARY
        found = (VALUES[type_name](),) if is_operator else ()
    return PythonCase(type_name, found)
