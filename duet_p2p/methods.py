"""`tag`, `describe` and `send` on torch's own objects; nothing else in torch is touched.

Notebooks of the original Duet call these three on every tensor. A name that exists already (a later
torch, another library) is left alone, with a warning. The methods import the rest of the package
only when they are called.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn

__all__ = ["install_methods", "remove_methods"]


def tag(self: torch.Tensor, *tags: str) -> torch.Tensor:
    """Sets the tags under which this tensor will be found after `send`; returns the tensor."""
    from duet_p2p.objects import notes

    return notes.tag(self, *tags)


def describe(self: torch.Tensor, description: str) -> torch.Tensor:
    """Sets the description that the other side reads after `send`; returns the tensor."""
    from duet_p2p.objects import notes

    return notes.describe(self, description)


def send(
    self: torch.Tensor,
    duet: Any,
    pointable: bool = True,
    description: str = "",
    tags: list[str] | None = None,
    searchable: bool | None = None,
    *,
    shapes: str | None = None,
    record_axis: int | None = 0,
) -> Any:
    """Copies this tensor to the owner's engine and returns a pointer to it.

    Args:
        self: the tensor.
        duet: the session, of either side.
        pointable: listed in the other side's store and kept until deleted.
        description: instead of what `describe` set.
        tags: instead of what `tag` set.
        searchable: the older word for `pointable`.
        shapes: ``"public"`` or ``"private"`` (owner only), may the shape be seen.
        record_axis: along which axis the records lie (owner only); None: it is one record.
    """
    return duet.send(
        self,
        pointable=pointable,
        description=description,
        tags=tags,
        searchable=searchable,
        shapes=shapes,
        record_axis=record_axis,
    )


def send_module(self: nn.Module, duet: Any, send_parameters: bool = True, **options: Any) -> Any:
    """Copies this module to the owner's engine; from the scientist, returns the remote module.

    Args:
        self: the module.
        duet: the session, of either side.
        send_parameters: False initialises the parameters afresh on the owner's side.
        options: tags, description, pointable … as for a tensor.
    """
    if not send_parameters:
        options["send_parameters"] = False
    return duet.send(self, **options)


# These ask hasattr(module, name) before they register, and would refuse the name "send".
_REGISTERING: Final = frozenset(
    getattr(nn.Module, name).__code__
    for name in ("register_parameter", "register_buffer", "add_module")
)


class _GivingWay:
    """A method of nn.Module that a child, parameter or buffer of the same name hides."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.name = ""
        self.__doc__ = function.__doc__

    def __get__(self, module: nn.Module | None, owner: type | None = None) -> Any:
        if module is None:
            return self.function
        if sys._getframe(1).f_code in _REGISTERING:
            raise AttributeError(self.name)
        for registered in ("_parameters", "_buffers", "_modules"):
            held = module.__dict__.get(registered)
            if held and self.name in held:
                return held[self.name]
        return self.function.__get__(module, owner)

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


_MODULE_SEND: Final = _GivingWay(send_module)
_MODULE_SEND.__set_name__(nn.Module, "send")

_METHODS: Final[tuple[tuple[type, str, Any], ...]] = (
    (torch.Tensor, "tag", tag),
    (torch.Tensor, "describe", describe),
    (torch.Tensor, "send", send),
    (nn.Module, "send", _MODULE_SEND),
)


def install_methods() -> None:
    """Puts the methods in place; names that are taken stay as they are, with a warning."""
    for cls, name, method in _METHODS:
        present = cls.__dict__.get(name)
        if present is method:
            continue
        if present is not None or hasattr(cls, name):
            warnings.warn(
                f"{cls.__module__}.{cls.__qualname__}.{name} exists already and is left alone; "
                f"use duet.send(…) in its place",
                stacklevel=2,
            )
            continue
        setattr(cls, name, method)


def remove_methods() -> None:
    """Takes the methods off again; what others put there stays."""
    for cls, name, method in _METHODS:
        if cls.__dict__.get(name) is method:
            delattr(cls, name)
