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
    _Replay(client, module, pointers).run(recorder.calls)
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


class _Replay:
    """Repeats recorded calls on pointers.

    A tensor is known by its id, or by its storage: a parameter and the tensor that it was made of
    are two objects over one. A layer that only serves as a pattern (nn.Transformer copies its
    layers) is made over there too, since it draws from the generator and its values are copied.
    """

    def __init__(
        self, client: ModuleClient, module: nn.Module, pointers: Mapping[int, Any]
    ) -> None:
        self._client = client
        self._known = dict(pointers)
        self._patterns: dict[int, Any] = {}  # by storage
        self._finals = {
            _storage(tensor): pointers[id(tensor)] for tensor in tensors_of(module).values()
        }

    def run(self, calls: Sequence[Any]) -> None:
        """All calls that touch a tensor of the module or of a pattern, in order."""
        for func, args, kwargs, result, grad in calls:
            name = name_of(func)
            rule = table.find(name) if name is not None else None
            if rule is None or rule.record == "metadata" or rule.form == "setter":
                continue  # a fact such as a size, or what the shell does itself
            if name == "torch.nn.Parameter":
                continue
            tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor)]
            if rule.form == "inplace" and tensors:
                self._meet(tensors[0])
            if not any(self._find(tensor) is not None for tensor in tensors):
                continue
            with torch.set_grad_enabled(grad):
                made = self._client.call(
                    rule.name,
                    *(self._swap(value) for value in args),
                    **{key: self._swap(value) for key, value in kwargs.items()},
                )
            if isinstance(result, torch.Tensor) and isinstance(made, Remote):
                is_view = _storage(result) in map(_storage, tensors)
                self._keep(result, made, is_view)

    def _keep(self, result: torch.Tensor, made: Any, is_view: bool) -> None:
        final = None if is_view else self._finals.get(_storage(result))
        if final is not None and self._find(result) is None:
            with torch.no_grad():  # a parameter of the module was made of this copy
                self._client.call("torch.Tensor.copy_", final, made)
        self._known.setdefault(id(result), made)

    def _meet(self, tensor: torch.Tensor) -> None:
        """A pattern's tensor is made when something first writes to it."""
        if self._find(tensor) is None and _storage(tensor) not in self._finals:
            self._patterns[_storage(tensor)] = self._client.call(
                "torch.zeros", tuple(tensor.shape), dtype=tensor.dtype
            )

    def _find(self, tensor: torch.Tensor) -> Any:
        return self._known.get(id(tensor), self._patterns.get(_storage(tensor)))

    def _swap(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            found = self._find(value)
            return value if found is None else found
        if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
            return type(value)(self._swap(item) for item in value)
        return value


def _storage(tensor: Any) -> int:
    """Names the storage of a tensor that lives; 0 for a pointer."""
    return tensor.untyped_storage()._cdata if isinstance(tensor, torch.Tensor) else 0


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
