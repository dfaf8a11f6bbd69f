"""What the client can know of remote objects without asking: types, lengths, contents.

A list on the owner's side whose every element this side put there is no secret to it. So container
pointers carry `_items`, as long as each change is understood: an element is a pointer (the very
object that is in the remote list), a `Known`, or a plain value. One change that is not understood
and `_items` is None; then the owner's side is asked where it matters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from duet_p2p.objects.python import plain
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.surface import types
from duet_p2p.surface.shapes import TensorSpec, spec_of

__all__ = ["EFFECTS", "Known", "element_of", "item_type", "known_of", "made"]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an object that has no pointer yet."""

    type: str
    spec: TensorSpec | None = None
    items: Any = None
    length: int | None = None


_NOTHING: Final = Known("python.Any")

_LISTS: Final = frozenset({"python.List", "python.Tuple", "python.Set"})
_DICTS: Final = frozenset({"python.Dict", "python.OrderedDict"})
_POSITIONS: Final = frozenset({"torch.where", "torch.nonzero", "torch.Tensor.nonzero"})
"""What they give in a tuple: the places of a condition."""


def item_type(args: Sequence[Any]) -> str:
    """Type of `tensor.item()`, by the tensor's dtype."""
    spec = getattr(args[0], "_spec", None)
    if spec is None:
        return "python.Any"
    dtype: torch.dtype = spec.dtype
    if dtype == torch.bool:
        return "python.Bool"
    if dtype.is_complex:
        return "python.Complex"
    return "python.Float" if dtype.is_floating_point else "python.Int"


def known_of(value: Any) -> Known:
    """What is known of an element of a container."""
    if isinstance(value, Known):
        return value
    if isinstance(value, Pointer):
        return Known(value._type, value._spec, value._items, value._length)
    if isinstance(value, torch.Tensor):
        return Known("torch.Tensor", spec_of(value))
    value = plain(value)
    items, length = _contents(value)
    return Known(types.type_name_of(value), None, items, length)


def _contents(value: Any) -> tuple[Any, int | None]:
    if isinstance(value, Pointer):
        items = value._items
        return (items.copy() if isinstance(items, list | dict) else None), value._length
    if isinstance(value, list | tuple):
        return list(value), len(value)
    if isinstance(value, dict):
        return dict(value), len(value)
    if isinstance(value, str | range | set):
        return None, len(value) if not isinstance(value, set) else None
    return None, None


def made(name: str, args: Sequence[Any]) -> tuple[Any, int | None]:
    """Items and length of what a constructor of the surface makes."""
    if name == "python.collect":
        return list(args), len(args)
    if name in _POSITIONS:  # one tensor an axis; how long they are is for nobody here to know
        spec = known_of(args[0]).spec if args else None
        axes = max(1, len(spec.shape)) if spec is not None else None
        return None if axes is None else [Known("torch.Tensor")] * axes, axes
    if name == "python.state_dict":
        names, refs = args
        return dict(zip(names, refs, strict=True)), len(names)
    if name in _LISTS or name in _DICTS:
        if not args:
            return ({} if name in _DICTS else []), 0
        items, length = _contents(plain(args[0]))
        if name == "python.Set":
            return None, None
        if name in _DICTS:
            return (items, length) if isinstance(items, dict) else (None, None)
        return (items, length) if isinstance(items, list) else (None, length)
    return None, None


def element_of(args: Sequence[Any]) -> Known:
    """What is known of `container[key]` or of the next element of an iterator."""
    container = args[0]
    items = getattr(container, "_items", None)
    if isinstance(items, Known):  # an iterator, or a list of which every element is like this
        return _NOTHING if len(args) > 1 and isinstance(plain(args[1]), slice) else items
    if items is None or len(args) < 2:
        return _NOTHING
    key = plain(args[1])
    try:
        if isinstance(key, slice) and isinstance(items, list):
            part = items[key]
            return Known(container._type, None, part, len(part))
        return known_of(items[key])
    except (TypeError, ValueError, KeyError, IndexError):
        return _NOTHING  # a key that is a pointer, or one that will fail on the owner's side


# what an operation changes in that knowledge

Effect = Callable[[Any, Sequence[Any], Mapping[str, Any], Any], None]


def _on_items(change: Callable[..., Any]) -> Effect:
    def effect(result: Any, args: Sequence[Any], kwargs: Mapping[str, Any], _: Any) -> None:
        container = args[0]
        items = container._items
        if not isinstance(items, list | dict):
            container._length = None
            return
        try:
            change(items, *(plain(arg) for arg in args[1:]), **kwargs)
        except (TypeError, ValueError, KeyError, IndexError):
            # It will fail, or do something else, on the owner's side; here nothing is known now.
            container._items = container._length = None
        else:
            container._length = len(items)

    return effect


def _forget(result: Any, args: Sequence[Any], kwargs: Mapping[str, Any], _: Any) -> None:
    args[0]._items = args[0]._length = None


def _extend(items: list[Any], more: Any) -> None:
    found, _ = _contents(more)
    if not isinstance(found, list):
        raise TypeError("not known")
    items.extend(found)


def _update(items: dict[Any, Any], more: Any = None, **kwargs: Any) -> None:
    found = _contents(more)[0] if more is not None else {}
    if not isinstance(found, dict):
        raise TypeError("not known")
    items.update(found)
    items.update(kwargs)


def _requires_grad(result: Any, args: Sequence[Any], kwargs: Mapping[str, Any], _: Any) -> None:
    wanted = args[1] if len(args) > 1 else kwargs.get("requires_grad", True)
    if args[0]._spec is not None and isinstance(wanted, bool):
        args[0]._spec = args[0]._spec._replace(requires_grad=wanted)


def _set_data(result: Any, args: Sequence[Any], kwargs: Mapping[str, Any], _: Any) -> None:
    new, old = known_of(args[1]).spec, args[0]._spec
    if new is not None and old is not None:
        new = new._replace(requires_grad=old.requires_grad)
    args[0]._spec = new


def _pop(items: Any, *key: Any) -> None:
    items.pop(*key)


EFFECTS: Final[dict[str, Effect]] = {
    "python.List.append": _on_items(lambda items, value: items.append(value)),
    "python.List.insert": _on_items(lambda items, at, value: items.insert(at, value)),
    "python.List.extend": _on_items(_extend),
    "python.List.__iadd__": _on_items(_extend),
    "python.List.pop": _on_items(_pop),
    "python.List.clear": _on_items(lambda items: items.clear()),
    "python.List.reverse": _on_items(lambda items: items.reverse()),
    "python.List.__setitem__": _on_items(lambda items, at, value: items.__setitem__(at, value)),
    "python.List.__delitem__": _on_items(lambda items, at: items.__delitem__(at)),
    "python.List.remove": _forget,
    "python.List.sort": _forget,
    "python.List.__imul__": _forget,
    "torch.Tensor.requires_grad=": _requires_grad,
    "torch.Tensor.requires_grad_": _requires_grad,
    "torch.Tensor.data=": _set_data,
}
for _type in ("python.Dict", "python.OrderedDict"):
    EFFECTS[f"{_type}.__setitem__"] = _on_items(
        lambda items, key, value: items.update({key: value})
    )
    EFFECTS[f"{_type}.__delitem__"] = _on_items(lambda items, key: items.__delitem__(key))
    EFFECTS[f"{_type}.update"] = _on_items(_update)
    EFFECTS[f"{_type}.pop"] = _on_items(_pop)
    EFFECTS[f"{_type}.clear"] = _on_items(lambda items: items.clear())
    EFFECTS[f"{_type}.setdefault"] = _on_items(lambda items, *pair: items.setdefault(*pair))
    EFFECTS[f"{_type}.popitem"] = _forget
    EFFECTS[f"{_type}.move_to_end"] = _forget
