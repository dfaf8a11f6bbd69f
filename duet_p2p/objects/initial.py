"""First weights of a remote module: torch's own initialisation, run on the owner's side.

A module is built on the meta device, which allocates nothing, while a mode records every torch call
that its constructor makes. The calls that touch its parameters or buffers are then repeated on
pointers, in the same order, so that the same seed gives the same weights as a local constructor.
Building it here and uploading would be simpler, but the scientist's generator would choose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from duet_p2p.objects.remote import ModuleClient, Remote
from duet_p2p.objects.shell import Shell, make_shell, shell_class, tensors_of
from duet_p2p.surface import table
from duet_p2p.surface.names import name_of

__all__ = ["initialise", "make_container", "make_remote"]

_RESETS: Final = ("reset_parameters", "_reset_parameters")


class _Recorder(TorchFunctionMode):
    """Every torch function that is called, with its arguments and result, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any, bool]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, result, torch.is_grad_enabled()))
        return result


def make_remote(
    client: ModuleClient,
    cls: type[nn.Module],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> nn.Module:
    """What `duet.torch.nn.X(…)` gives: a remote module whose weights the owner's side made."""
    given: dict[int, Any] = {}

    def stand_in(value: Any) -> Any:
        if isinstance(value, Remote):
            tensor = torch.empty(value.shape, dtype=value.dtype, device="meta")  # type: ignore[attr-defined]
            given[id(tensor)] = value
            kept.append(tensor)
            return tensor
        if isinstance(value, torch.Tensor):
            (pointer,) = client.put_many([value])
            return stand_in(pointer)
        return value

    kept: list[torch.Tensor] = []  # an id says something only while its tensor lives
    args = [stand_in(value) for value in args]
    kwargs = {key: stand_in(value) for key, value in kwargs.items()}
    recorder = _Recorder()
    with torch.device("meta"), recorder:
        module = cls(*args, **kwargs)
    pointers = _fresh(client, module, given)
    _replay(client, recorder.calls, pointers)
    return make_shell(client, module, pointers)


def _fresh(client: ModuleClient, module: nn.Module, given: Mapping[int, Any]) -> dict[int, Any]:
    """A pointer for each tensor of a module, of zeros until something writes it."""
    pointers = dict(given)
    for tensor in tensors_of(module).values():
        if id(tensor) in pointers:
            continue
        pointer = client.call("torch.zeros", tuple(tensor.shape), dtype=tensor.dtype)
        if isinstance(tensor, nn.Parameter):
            pointer = client.call("torch.nn.Parameter", pointer, requires_grad=tensor.requires_grad)
        pointers[id(tensor)] = pointer
    return pointers


def _replay(client: ModuleClient, calls: Sequence[Any], pointers: dict[int, Any]) -> None:
    known = dict(pointers)
    held = []  # results keep their ids while later calls name them

    def swap(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return known.get(id(value), value)
        if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
            return type(value)(swap(item) for item in value)
        return value

    for func, args, kwargs, result, grad in calls:
        held.append(result)
        if not any(
            isinstance(value, torch.Tensor) and id(value) in known
            for value in (*args, *kwargs.values())
        ):
            continue
        name = name_of(func)
        rule = table.find(name) if name is not None else None
        if rule is None or rule.record == "metadata" or rule.form == "setter":
            continue  # a fact such as a size, or what the shell does itself
        if name == "torch.nn.Parameter":
            continue
        with torch.set_grad_enabled(grad):
            made = client.call(
                rule.name,
                *(swap(value) for value in args),
                **{key: swap(value) for key, value in kwargs.items()},
            )
        if isinstance(result, torch.Tensor) and isinstance(made, Remote):
            known.setdefault(id(result), made)


def make_container(
    client: ModuleClient,
    cls: type[nn.Module],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> nn.Module:
    """`Sequential` and its kin: nothing to initialise, the children are remote already."""
    module = cls(*args, **kwargs)
    module.__class__ = shell_class(cls)
    module.__dict__["_duet_client"] = client
    return module


def initialise(client: ModuleClient, module: nn.Module) -> nn.Module:
    """A remote twin of a local module with first weights of its own.

    Modules that know how to reset their parameters do so on the owner's side, in the order in which
    they are registered; what nobody resets is uploaded as it is.
    """
    resets = {id(child) for child in module.modules() if any(hasattr(child, r) for r in _RESETS)}
    fresh: dict[int, Any] = {}
    uploads: list[torch.Tensor] = []
    for child in module.modules():
        for tensor in (*child._parameters.values(), *child._buffers.values()):
            if tensor is None or id(tensor) in fresh:
                continue
            if id(child) in resets:
                fresh.update(_fresh(client, _Only(tensor), {}))
            else:
                uploads.append(tensor)
    sent = client.put_many(uploads, parameters=True)
    fresh.update({id(tensor): p for tensor, p in zip(uploads, sent, strict=True)})
    shell = make_shell(client, module, fresh)
    for child in shell.modules():
        reset: Callable[[], None] | None = next(
            (getattr(child, r) for r in _RESETS if hasattr(child, r)), None
        )
        if reset is not None:
            reset()
    assert isinstance(shell, Shell)
    return shell


class _Only(nn.Module):
    """A module of one tensor."""

    def __init__(self, tensor: torch.Tensor) -> None:
        super().__init__()
        if isinstance(tensor, nn.Parameter):
            self.tensor = tensor
        else:
            self.register_buffer("tensor", tensor)
