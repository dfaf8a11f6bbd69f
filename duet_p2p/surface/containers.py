"""Methods of remote lists, tuples, dicts, sets, ranges and slices, with size admission."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from typing import Any, Final

from duet_p2p.surface.iteration import items_of, iterate
from duet_p2p.surface.members import member
from duet_p2p.surface.operators import COMPARISONS, OPERATORS
from duet_p2p.surface.sizes import admit_items, admit_mul

__all__ = ["CONTAINERS", "attribute", "make_dict", "make_ordered_dict", "method", "named"]


def named(
    type_name: str, methods: Iterable[str], make: Callable[[str], Callable[..., Any]]
) -> dict[str, Callable[..., Any]]:
    """Methods of one type by their full names."""
    return {f"python.{type_name}.{name}": make(name) for name in methods}


def _pairs(value: Any) -> Iterable[Any]:
    return value.items() if isinstance(value, dict) else items_of(value)


def make_dict(value: Any = (), **kwargs: Any) -> dict[Any, Any]:
    """A dict of pairs, of another dict, of keywords."""
    return dict(_pairs(value), **kwargs)


def make_ordered_dict(value: Any = (), **kwargs: Any) -> collections.OrderedDict[Any, Any]:
    """An OrderedDict of pairs, of another dict, of keywords."""
    return collections.OrderedDict(_pairs(value), **kwargs)


def _fromkeys(keys: Any, value: Any = None) -> dict[Any, Any]:
    return dict.fromkeys(items_of(keys), value)


def _ordered_fromkeys(keys: Any, value: Any = None) -> collections.OrderedDict[Any, Any]:
    return collections.OrderedDict.fromkeys(items_of(keys), value)


def method(cls: type, name: str) -> Callable[..., Any]:
    """A method of a built-in class by name, for that class only.

    A dict's method on an OrderedDict would leave its order behind, which no walk survives: it has
    its own.
    """
    method = getattr(cls, name)
    ordered = getattr(collections.OrderedDict, name) if cls is dict else method

    def run(value: Any, *args: Any) -> Any:
        if not isinstance(value, cls):
            raise TypeError(f"a {cls.__name__} is needed, not {type(value).__name__}")
        call = ordered if isinstance(value, collections.OrderedDict) else method
        result = call(value, *args)
        if result is NotImplemented:
            raise TypeError(f"{name} of {cls.__name__} does not take this")
        return result

    return run


def _of_containers(name: str) -> Callable[..., Any]:
    """An operator of a list or tuple, which stands first: there the engine looks for one."""
    call = OPERATORS[name]

    def run(first: Any, *others: Any) -> Any:
        if not isinstance(first, list | tuple):
            raise TypeError("put the container first")
        return call(first, *others)

    return run


def attribute(cls: type, name: str) -> Callable[[Any], Any]:
    """An attribute of a built-in class by name, for that class only."""

    def run(value: Any) -> Any:
        if not isinstance(value, cls):
            raise TypeError(f"a {cls.__name__} is needed, not {type(value).__name__}")
        return getattr(value, name)

    return run


def _as_list(cls: type, name: str) -> Callable[[Any], list[Any]]:
    call = method(cls, name)
    return lambda value: list(call(value))


def _getitem(cls: type) -> Callable[[Any, Any], Any]:
    return method(cls, "__getitem__")


def _list_setitem(value: Any, index: Any, item: Any) -> None:
    if not isinstance(value, list):
        raise TypeError("a list is needed")
    if isinstance(index, slice):
        admit_items(len(value) + len(item))
    value[index] = item


def _list_delitem(value: Any, index: Any) -> None:
    if not isinstance(value, list):
        raise TypeError("a list is needed")
    del value[index]


def _append(value: Any, item: Any) -> None:
    if not isinstance(value, list):
        raise TypeError("a list is needed")
    admit_items(len(value) + 1)
    value.append(item)


def _insert(value: Any, index: int, item: Any) -> None:
    if not isinstance(value, list):
        raise TypeError("a list is needed")
    admit_items(len(value) + 1)
    value.insert(index, item)


def _extend(value: Any, items: Any) -> Any:
    if not isinstance(value, list):
        raise TypeError("a list is needed")
    more = items_of(items)
    admit_items(len(value) + len(more))
    value.extend(more)
    return value


def _list_imul(value: Any, times: Any) -> Any:
    if not isinstance(value, list):
        raise TypeError("a list is needed")
    admit_mul(value, times)
    value *= times
    return value


def _sort(value: Any, reverse: bool = False) -> None:
    if not isinstance(value, list):
        raise TypeError("a list is needed")
    value.sort(reverse=bool(reverse))


def _none(function: Callable[..., Any]) -> Callable[..., None]:
    def run(*args: Any) -> None:
        function(*args)

    return run


def _dict_setitem(value: Any, key: Any, item: Any) -> None:
    if not isinstance(value, dict):
        raise TypeError("a dict is needed")
    admit_items(len(value) + 1)
    value[key] = item


def _dict_delitem(value: Any, key: Any) -> None:
    if not isinstance(value, dict):
        raise TypeError("a dict is needed")
    del value[key]


def _setdefault(value: Any, key: Any, item: Any = None) -> Any:
    if not isinstance(value, dict):
        raise TypeError("a dict is needed")
    admit_items(len(value) + 1)
    return value.setdefault(key, item)


def _dict_update(value: Any, other: Any = (), **kwargs: Any) -> None:
    if not isinstance(value, dict):
        raise TypeError("a dict is needed")
    more = make_dict(other, **kwargs)
    admit_items(len(value) + len(more))
    value.update(more)


def _move_to_end(value: Any, key: Any, last: bool = True) -> None:
    if not isinstance(value, collections.OrderedDict):
        raise TypeError("an OrderedDict is needed")
    value.move_to_end(key, bool(last))


def _set_method(name: str, is_mutator: bool) -> Callable[..., Any]:
    method = getattr(set, name)

    def run(value: Any, *others: Any) -> Any:
        if not isinstance(value, set):
            raise TypeError("a set is needed")
        given = [
            other if isinstance(other, set) else {member(item) for item in items_of(other)}
            for other in others
        ]
        admit_items(len(value) + sum(len(other) for other in given))
        result = method(value, *given)
        return None if is_mutator else result

    return run


def _set_add(value: Any, item: Any) -> None:
    if not isinstance(value, set):
        raise TypeError("a set is needed")
    admit_items(len(value) + 1)
    value.add(member(item))


def _set_operator(name: str) -> Callable[[Any, Any], Any]:
    method = getattr(set, name)

    def run(value: Any, other: Any) -> Any:
        if not isinstance(value, set) or not isinstance(other, set):
            raise TypeError("sets are needed")
        admit_items(len(value) + len(other))
        return method(value, other)

    return run


def _range_of_int(name: str) -> Callable[[Any, Any], Any]:
    # anything but an int is looked for one by one
    method = getattr(range, name)

    def run(value: Any, item: Any) -> Any:
        if not isinstance(value, range) or not isinstance(item, int):
            raise TypeError("a range is searched for ints")
        return method(value, item)

    return run


def _dict_methods(type_name: str, cls: type[Any]) -> dict[str, Callable[..., Any]]:
    methods: dict[str, Callable[..., Any]] = {
        "__contains__": method(cls, "__contains__"),
        "__len__": method(cls, "__len__"),
        "__getitem__": _getitem(cls),
        "__iter__": iterate,
        "__eq__": OPERATORS["__eq__"],
        "__ne__": OPERATORS["__ne__"],
        "__setitem__": _dict_setitem,
        "__delitem__": _dict_delitem,
        "clear": method(cls, "clear"),
        "copy": method(cls, "copy"),
        "dict_get": method(cls, "get"),
        "items": _as_list(cls, "items"),
        "keys": _as_list(cls, "keys"),
        "values": _as_list(cls, "values"),
        "pop": method(cls, "pop"),
        "popitem": method(cls, "popitem"),
        "setdefault": _setdefault,
        "update": _dict_update,
    }
    return {f"python.{type_name}.{name}": run for name, run in methods.items()}


CONTAINERS: Final[dict[str, Callable[..., Any]]] = {
    # lists and tuples
    **named("List", ["__add__", "__mul__", "__rmul__"], _of_containers),
    **named("List", COMPARISONS, OPERATORS.__getitem__),
    **named("Tuple", ["__add__", "__mul__", "__rmul__"], _of_containers),
    **named("Tuple", COMPARISONS, OPERATORS.__getitem__),
    **named("List", ["__contains__", "__len__", "count", "index"], lambda n: method(list, n)),
    **named("Tuple", ["__contains__", "__len__", "count", "index"], lambda n: method(tuple, n)),
    "python.List.__getitem__": _getitem(list),
    "python.Tuple.__getitem__": _getitem(tuple),
    "python.List.__iter__": iterate,
    "python.Tuple.__iter__": iterate,
    "python.List.__reversed__": lambda value: list(reversed(items_of(value))),
    "python.List.__setitem__": _list_setitem,
    "python.List.__delitem__": _list_delitem,
    "python.List.__iadd__": _extend,
    "python.List.__imul__": _list_imul,
    "python.List.append": _append,
    "python.List.insert": _insert,
    "python.List.extend": _none(_extend),
    "python.List.sort": _sort,
    **named("List", ["clear", "copy", "pop", "remove", "reverse"], lambda n: method(list, n)),
    # dicts
    **_dict_methods("Dict", dict),
    **_dict_methods("OrderedDict", collections.OrderedDict),
    "python.Dict.fromkeys": _fromkeys,
    "python.OrderedDict.fromkeys": _ordered_fromkeys,
    "python.OrderedDict.move_to_end": _move_to_end,
    # sets
    **named("Set", ["__contains__", "__len__", "clear", "discard", "pop", "remove"],
             lambda n: method(set, n)),
    **named("Set", ["__and__", "__or__", "__sub__", "__xor__", "__iand__", "__ior__", "__isub__",
                     "__ixor__", *COMPARISONS], _set_operator),
    **named("Set", ["difference", "intersection", "isdisjoint", "issubset", "issuperset",
                     "symmetric_difference", "union"], lambda n: _set_method(n, False)),
    **named("Set", ["difference_update", "intersection_update", "symmetric_difference_update",
                     "update"], lambda n: _set_method(n, True)),
    "python.Set.add": _set_add,
    "python.Set.__iter__": iterate,
    # ranges and slices
    **named("Range", ["__contains__", "count", "index"], _range_of_int),
    **named("Range", ["__len__"], lambda n: method(range, n)),
    "python.Range.__getitem__": _getitem(range),
    "python.Range.__iter__": iterate,
    **named("Range", ["__eq__", "__ne__"], OPERATORS.__getitem__),
    **named("Range", ["start", "stop", "step"], lambda n: attribute(range, n)),
    **named("Slice", COMPARISONS, OPERATORS.__getitem__),
    **named("Slice", ["start", "stop", "step"], lambda n: attribute(slice, n)),
    "python.Slice.indices": method(slice, "indices"),
}  # fmt: skip
"""What runs for each method of a container, by its full name."""
