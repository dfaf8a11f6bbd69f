"""Remote modules: the real nn class on this side, with pointers in place of tensors.

A shell is made of a module by copying its structure with every parameter and buffer replaced. Its
class is the module's own class with one more base in front, so `isinstance`, `forward`, children
and attributes are as they were; `forward` runs here, and its operations on the owner's side. There
are no modules over there.

`Shell` overrides only what fails on bare pointers: assignment of parameters (nn.Module wants real
tensors), moving, loading, zero_grad, LSTM's list of flat weights.
"""

from __future__ import annotations

import copy
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cache
from types import NoneType
from typing import Any, NoReturn, Self

import torch
from torch import nn

from duet_p2p.errors import NotAllowed, WrongSide
from duet_p2p.objects.forwards import stand_ins_of
from duet_p2p.objects.remote import ModuleClient, Remote

__all__ = ["Shell", "make_shell", "send_module", "shell_class", "tensors_of"]

_HOOKS = (
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks",
    "_forward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


_LINKS = ("_flat_weights", "_flat_weight_refs")
"""Of LSTM and its kin: the parameters once more, made again for a copy."""


class Shell(nn.Module):
    """The first base of every remote module's class."""

    _duet_client: ModuleClient

    @property
    def is_local(self) -> bool:
        """Whether the parameters are on this side."""
        return False

    @property
    def torch_ref(self) -> Any:
        """`duet.torch` of the session that the parameters belong to."""
        return self._duet_client.torch

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Remote):
            for held in (self._parameters, self._buffers):
                if name in held:
                    held[name] = value  # type: ignore[assignment]
                    return
            self.__dict__[name] = value
            return
        super().__setattr__(name, value)

    def register_parameter(self, name: str, param: Any) -> None:
        """As in torch, a pointer allowed."""
        if isinstance(param, Remote):
            self._parameters[name] = param  # type: ignore[assignment]
        else:
            super().register_parameter(name, param)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """As in torch, a pointer allowed."""
        super().register_buffer(name, None if isinstance(tensor, Remote) else tensor, persistent)
        if isinstance(tensor, Remote):
            self._buffers[name] = tensor  # type: ignore[assignment]

    def get_parameter(self, target: str) -> Any:
        """As in torch, which asks what it found whether it is a Parameter."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        return found if isinstance(found, Remote) else super().get_parameter(target)

    # what a remote module has on top of a local one

    def parameters(self, recurse: bool = True) -> Any:
        """A pointer to the list of parameters: for optimizers, iteration, `len` and `get`."""
        return self._duet_client.collect(self._pointers(recurse))

    def _pointers(self, recurse: bool = True) -> list[Any]:
        return [pointer for _, pointer in self.named_parameters(recurse=recurse)]

    def get(
        self,
        request_block: bool = False,
        timeout_secs: float = 20,
        reason: str = "",
        delete_obj: bool = False,
        verbose: bool = False,
        *,
        name: str = "",
        raises: bool | None = None,
    ) -> nn.Module | None:
        """A local module of the same class: one request for all its tensors, one transfer.

        The arguments and errors are those of `Pointer.get`; None means not allowed, or not in time.
        """
        named = tensors_of(self)
        local = _Hollow(self, named)
        values = self._duet_client.fetch_state(
            named,
            local.make,
            {
                "request_block": request_block,
                "timeout_secs": timeout_secs,
                "reason": reason,
                "name": name,
                "raises": raises,
            },
        )
        if values is None:
            return None
        module = local.filled(values)
        if delete_obj:
            for pointer in named.values():
                pointer.delete()
        return module

    def get_copy(self, *args: Any, **kwargs: Any) -> nn.Module | None:
        """The same as `get`."""
        return self.get(*args, **kwargs)

    @property
    def real_module(self) -> NoReturn:
        """Not in this version: there are no modules on the owner's side."""
        raise NotAllowed("real_module is for opacus, which is not part of this version")

    def send(self, duet: Any, *args: Any, **kwargs: Any) -> NoReturn:
        """Belongs to a local module."""
        raise WrongSide("this module is on the owner's side already")

    def save(self, path: Any) -> NoReturn:
        """Belongs to a local module."""
        raise WrongSide("get(request_block=True) the module first, then save what it gives")

    def load(self, path: Any) -> NoReturn:
        """Belongs to a local module."""
        raise WrongSide("load a local module, and send it; or use load_state_dict")

    # what nn.Module does with tensors only

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Copies a dict of tensors or pointers into the remote parameters; one upload."""
        if assign:
            raise NotAllowed("assign=True is for local modules")
        local = {k: v for k, v in state_dict.items() if isinstance(v, torch.Tensor)}
        sent = self._duet_client.put_many(list(local.values()))
        uploaded = dict(zip(local, sent, strict=True))
        mixed = OrderedDict((key, uploaded.get(key, value)) for key, value in state_dict.items())
        with torch.no_grad():
            return super().load_state_dict(mixed, strict=strict)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients on the owner's side, or sets them to zeros."""
        for pointer in self._pointers():
            if set_to_none:
                pointer.grad = None
            else:
                pointer.grad = self._duet_client.call("torch.zeros_like", pointer)

    def register_full_backward_hook(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Not for remote modules: torch would never call it, and not say so."""
        raise NotAllowed(
            "gradients stay on the owner's side, so a backward hook would never be called here: "
            "take torch.autograd.grad(loss, tensor), or read .grad after backward()"
        )

    register_backward_hook = register_full_backward_hook
    register_full_backward_pre_hook = register_full_backward_hook

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether autograd on the owner's side records operations on the parameters."""
        for pointer in self._pointers():
            pointer.requires_grad_(requires_grad)
        return self

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Moves or casts the parameters on the owner's side; takes what `Tensor.to` takes."""
        dtype = kwargs.get("dtype")
        if dtype is None:
            dtype = next((arg for arg in args if isinstance(arg, torch.dtype)), None)
        if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(f"a module can be cast to a floating point type only, not {dtype}")
        plain_args = tuple(arg for arg in args if not isinstance(arg, torch.dtype))
        plain_kwargs = {key: value for key, value in kwargs.items() if key != "dtype"}

        def move(pointer: Any) -> Any:
            if pointer.is_floating_point() or pointer.is_complex():
                return pointer.to(*args, **kwargs)
            # counters of batches and the like keep their integer type
            return (
                pointer.to(*plain_args, **plain_kwargs) if plain_args or plain_kwargs else pointer
            )

        return self._apply(move)

    def cuda(self, device: Any = None) -> Self:
        """Moves the parameters to the owner's CUDA device."""
        if isinstance(device, Remote):
            return self.to(device)
        return self.to(torch.device("cuda") if device is None else torch.device("cuda", device))

    def cpu(self) -> Self:
        """Moves the parameters to the owner's CPU."""
        return self.to(torch.device("cpu"))

    def _apply(self, fn: Callable[[Any], Any], recurse: bool = True) -> Self:
        modules = self.modules() if recurse else [self]
        seen = set()
        before, after = [], []
        with torch.no_grad():
            for module in modules:
                for held in (module._parameters, module._buffers):
                    for pointer in _values(held):
                        if not isinstance(pointer, Remote) or id(pointer) in seen:
                            continue
                        seen.add(id(pointer))
                        moved = _moved(pointer, fn, held is module._parameters)
                        if moved is not None:
                            before.append(pointer)
                            after.append(moved)
            self._duet_client.follow(before, after)
        for pointer, moved in zip(before, after, strict=True):
            pointer._become(moved)  # type: ignore[attr-defined]
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        # nn.Module would detach each: an operation per tensor for what is a pointer anyway
        for name, pointer in self._parameters.items():
            if pointer is not None:
                destination[prefix + name] = pointer
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = buffer

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Another remote module, its tensors copied on the owner's side."""
        client, parameters = self._duet_client, {id(p) for _, p in self.named_parameters()}
        with torch.no_grad():
            for pointer in tensors_of(self).values():
                if id(pointer) not in memo:
                    copied = client.call("torch.clone", pointer.detach())
                    if id(pointer) in parameters:
                        copied = client.call(
                            "torch.nn.Parameter", copied, requires_grad=pointer.requires_grad
                        )
                    memo[id(pointer)] = copied
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        kept = {k: v for k, v in self.__dict__.items() if k not in ("_duet_client", *_LINKS)}
        made.__dict__.update(copy.deepcopy(kept, memo), _duet_client=client)
        _relink(made)
        return made

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise WrongSide("a remote module cannot be pickled; get(request_block=True) it first")


def _moved(pointer: Any, fn: Callable[[Any], Any], is_parameter: bool) -> Any:
    """What `_apply` makes of one tensor, None if it stays as it is.

    The owner's side does not let `data` take another dtype or device (a saved graph could be fed
    other bytes), so a tensor that changes either becomes a new one, and the same pointer stands for
    it afterwards.
    """
    before = (pointer.dtype, pointer.device)
    moved = fn(pointer)
    if moved is pointer or (moved.dtype, moved.device) == before:
        return None
    if is_parameter:
        client: ModuleClient = pointer.client
        moved = client.call("torch.nn.Parameter", moved, requires_grad=pointer.requires_grad)
    return moved


def _values(held: Mapping[str, Any]) -> list[Any]:
    return list(held.values())


@cache
def _shell_class(cls: Any) -> Any:
    if issubclass(cls, Shell):
        return cls
    members = {"__module__": cls.__module__, "__doc__": cls.__doc__, "_duet_local_class": cls}
    members |= stand_ins_of(cls)
    return type(cls.__name__, (Shell, cls), members)


def shell_class(cls: type[nn.Module]) -> Any:
    """The class of remote modules of this class; the same one each time."""
    found: Callable[[Any], Any] = _shell_class  # mypy takes a class of modules for unhashable
    return found(cls)


def tensors_of(module: nn.Module) -> OrderedDict[str, Any]:
    """Every parameter and buffer of a module by its name; what is shared stands there once."""
    found: OrderedDict[str, Any] = OrderedDict()
    seen = set()
    for prefix, child in module.named_modules():
        for held in (child._parameters, child._buffers):
            for name, tensor in held.items():
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    found[f"{prefix}.{name}" if prefix else name] = tensor
    return found


def make_shell(client: ModuleClient, module: nn.Module, pointers: Mapping[int, Any]) -> nn.Module:
    """The remote twin of a module.

    Args:
        client: of the session.
        module: local; it is not changed and shares nothing with the result.
        pointers: `id()` of each of its tensors to the pointer that stands for it.
    """
    shell = copy.deepcopy(module, dict(pointers))
    for child in shell.modules():
        child.__class__ = shell_class(type(child))
        child.__dict__["_duet_client"] = client
    _relink(shell)
    return shell


def send_module(client: ModuleClient, module: nn.Module, *, parameters: bool = True) -> nn.Module:
    """Uploads a module's tensors, once each, and gives the remote module.

    Args:
        client: of the session.
        module: local.
        parameters: False initialises the parameters afresh on the owner's side.

    Raises:
        NotAllowed: it has hooks, or lazy parameters that have no shape yet.
    """
    _check_sendable(module)
    named = tensors_of(module)
    if not parameters:
        from duet_p2p.objects.initial import initialise

        return initialise(client, module)
    pointers = client.put_many(list(named.values()), parameters=True)
    by_id = {id(tensor): pointer for tensor, pointer in zip(named.values(), pointers, strict=True)}
    return make_shell(client, module, by_id)


def _check_sendable(module: nn.Module) -> None:
    for name, child in module.named_modules():
        where = f"{type(child).__name__} {name!r}" if name else type(child).__name__
        if isinstance(child, Shell):
            raise NotAllowed(f"{where} is on an owner's side already; a module is on one side")
        if any(
            nn.parameter.is_lazy(tensor)
            for tensor in (*child._parameters.values(), *child._buffers.values())
        ):
            raise NotAllowed(f"{where} is lazy: call it once here, so that its shapes are known")
        if any(
            _is_foreign(hook) for hooks in _HOOKS for hook in getattr(child, hooks, {}).values()
        ):
            raise NotAllowed(
                f"{where} has hooks; callables do not travel: remove them, and register them on "
                f"the remote module, where they run on this side (for nn.utils.weight_norm and "
                f"spectral_norm take those of nn.utils.parametrizations)"
            )


def _is_foreign(hook: Any) -> bool:
    """Whether a hook is not torch's own for loading older states of a `weight_norm`."""
    function = getattr(hook, "hook", hook)
    return getattr(function, "__module__", "") != "torch.nn.utils.parametrizations"


class _Hollow:
    """A local module of a shell's structure, whose values come later.

    To copy the structure takes as long as half a megabyte takes to arrive, so it is done meanwhile.

    Args:
        shell: as it is when its values are asked for.
        named: its pointers.
    """

    def __init__(self, shell: nn.Module, named: Mapping[str, Any]) -> None:
        self._shell = shell
        self._named = named
        self._tensors: dict[int, torch.Tensor] = {}  # by the pointers that they stand for
        self._module: nn.Module | None = None

    def make(self) -> None:
        """Copies the structure, with empty tensors."""
        parameters = {id(p) for _, p in self._shell.named_parameters()}
        for pointer in self._named.values():
            empty = torch.empty(0)
            if id(pointer) in parameters:
                empty = nn.Parameter(empty, requires_grad=pointer.requires_grad)
            self._tensors[id(pointer)] = empty
        module: nn.Module = _plain_copy(self._shell, dict(self._tensors))
        _relink(module)
        self._module = module

    def filled(self, values: Mapping[str, torch.Tensor]) -> nn.Module:
        """The module with these values."""
        if self._module is None:
            self.make()
        assert self._module is not None
        for name, pointer in self._named.items():
            self._tensors[id(pointer)].data = values[name].detach()
        return self._module


def _plain_copy(shell: nn.Module, memo: dict[int, Any]) -> Any:
    """A deep copy of a shell as its local class; children first, so that none is met as a shell."""
    if id(shell) in memo:
        return memo[id(shell)]
    for child in shell.children():
        _plain_copy(child, memo)
    cls = getattr(type(shell), "_duet_local_class", type(shell))
    made = cls.__new__(cls)
    memo[id(shell)] = made
    for key, value in shell.__dict__.items():
        if key not in ("_duet_client", *_LINKS):
            made.__dict__[key] = _deep_copy(value, memo)
    return made


def _deep_copy(value: Any, memo: dict[int, Any]) -> Any:
    """As `copy.deepcopy`, which takes longer for what most of a module is: settings, no hooks."""
    if type(value) in (bool, int, float, str, NoneType):
        return value
    if value or type(value) not in (dict, OrderedDict) or id(value) in memo:
        return copy.deepcopy(value, memo)
    memo[id(value)] = made = type(value)()
    return made


def _relink(module: nn.Module) -> None:
    """LSTM and its kin keep their weights in a list beside the parameters."""
    for child in module.modules():
        names = child.__dict__.get("_flat_weights_names")
        if names:
            weights = [getattr(child, name, None) for name in names]
            child.__dict__["_flat_weights"] = weights
            child.__dict__["_flat_weight_refs"] = [
                weakref.ref(weight) if weight is not None else None for weight in weights
            ]
