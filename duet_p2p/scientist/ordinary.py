"""Ordinary functions and classes of torch that would look into real tensors, told of pointers.

Where torch asks an argument what to do (``__torch_function__``) a pointer answers for itself. Some
code asks nobody: it clips gradients, collates a batch, makes an optimizer, checks
``isinstance(x, torch.Tensor)``. People import these by name, so a replaced attribute would not be
found. What is changed is the smallest thing that every caller meets, in six ways:

* the function inside a decorator's wrapper (`clip_grad_norm_`, `update_bn`, …);
* the constructor of a base class: ``torch.optim.Adam(remote.parameters())`` gives what
  ``duet.torch.optim.Adam`` gives, ``DataLoader(duet.store["train"])`` a remote loader, and an own
  class says why it cannot (so does the `apply` of an own `autograd.Function`);
* the name `torch` in small modules of torch, whose ``torch.Tensor`` means pointers too, and whose
  `as_tensor` takes them;
* what a distribution of this side asks of a value before it takes it: nothing of a pointer's;
* four of `nn.init`, which write through ``out=``, take unwritten memory or ask for values;
* tables that torch offers for this (`default_collate`), or keeps for itself (`kl_divergence`).

Without a pointer among the arguments torch's own code runs, unchanged. It happens when a
scientist's session is made, not on import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from types import ModuleType
from typing import Any, Final

import torch
from torch import nn
from torch.autograd import Function
from torch.distributions import Distribution, gamma, half_cauchy, kl
from torch.nn.utils import _named_member_accessor, convert_parameters, rnn
from torch.nn.utils.parametrize import ParametrizationList
from torch.optim import Optimizer, swa_utils
from torch.optim.lr_scheduler import LRScheduler
from torch.utils import _foreach_utils
from torch.utils.data import ConcatDataset, DataLoader, Subset
from torch.utils.data._utils import collate

from duet_p2p.errors import NotAllowed
from duet_p2p.scientist import densities
from duet_p2p.scientist.containers import SizedPointer
from duet_p2p.scientist.dispatch import first_pointer
from duet_p2p.scientist.kinds import class_of
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.scientist.tensor import TensorPointer

__all__ = ["know_pointers"]

_NUMBERS: Final = ("python.Int", "python.Float", "python.Bool")


def know_pointers() -> None:
    """Makes them answer for pointers; a second time nothing changes."""
    if "__new__" in vars(Optimizer):
        return
    for function, stand_in in _WRAPPED.items():
        inside = getattr(function, "__wrapped__", None)
        for cell in getattr(function, "__closure__", None) or ():
            if cell.cell_contents is inside:
                cell.cell_contents = stand_in(inside)
    for base, make in _MADE.items():
        setattr(base, "__new__", staticmethod(make))  # noqa: B010 - mypy knows no assignment to it
    setattr(Optimizer, "add_param_group", _of_groups(Optimizer.add_param_group))  # noqa: B010
    setattr(Function, "apply", classmethod(_applied(vars(Function)["apply"])))  # noqa: B010
    for module in (_named_member_accessor, convert_parameters, rnn, gamma, half_cauchy):
        vars(module)["torch"] = _Seen("torch")
    known: dict[Any, Any] = collate.default_collate_fn_map
    known[TensorPointer] = _stacked
    for kind in _NUMBERS:
        known[class_of(kind)] = _tensor_of
    setattr(Distribution, "_validate_sample", _validated(Distribution._validate_sample))  # noqa: B010
    setattr(kl, "_KL_MEMOIZE", _Divergences(kl._KL_MEMOIZE))  # noqa: B010
    for name in _INITIAL:
        setattr(nn.init, name, _filled(getattr(nn.init, name)))


# the function inside of a wrapper


def _clip(name: str) -> Callable[[Any], Any]:
    def stand_in(own: Callable[..., Any]) -> Callable[..., Any]:
        def clip(parameters: Any, *args: Any, **kwargs: Any) -> Any:
            is_many = isinstance(parameters, Iterable)
            if is_many and not isinstance(parameters, torch.Tensor | Pointer):
                parameters = list(parameters)
            first = next(iter(parameters), None) if isinstance(parameters, list) else parameters
            if not isinstance(first, Pointer):
                return own(parameters, *args, **kwargs)
            return first._client.call(name, parameters, *args, **kwargs)

        return clip

    return stand_in


def _update_bn(own: Callable[..., Any]) -> Callable[..., Any]:
    def update_bn(loader: Any, model: Any, device: Any = None) -> None:
        own(map(_first_of, loader) if isinstance(loader, Pointer) else loader, model, device)

    return update_bn


def _first_of(batch: Any) -> Any:
    """The inputs of a batch; torch asks whether it is a list or a tuple."""
    return batch if isinstance(batch, TensorPointer) else batch[0]


def _grouped(own: Callable[..., Any]) -> Callable[..., Any]:
    def by_device_and_dtype(lists: Any, with_indices: bool = False) -> Any:
        if first_pointer(lists) is None:
            return own(lists, with_indices)
        found: dict[Any, Any] = {}
        for row in zip(*lists, strict=True):
            of_kind, _ = found.setdefault((row[0].device, row[0].dtype), ([[] for _ in row], []))
            for column, value in zip(of_kind, row, strict=True):
                column.append(value)
        return found

    return by_device_and_dtype


_WRAPPED: Final[Mapping[Any, Callable[[Any], Any]]] = {
    nn.utils.clip_grad_norm_: _clip("torch.nn.utils.clip_grad_norm_"),
    nn.utils.clip_grad_value_: _clip("torch.nn.utils.clip_grad_value_"),
    swa_utils.update_bn: _update_bn,
    _foreach_utils._group_tensors_by_device_and_dtype: _grouped,
}


_INITIAL: Final = ("eye_", "orthogonal_", "sparse_", "trunc_normal_")


def _filled(own: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(own)
    def fill(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(tensor, Pointer):
            return own(tensor, *args, **kwargs)
        return tensor._client.call(f"torch.nn.init.{own.__name__}", tensor, *args, **kwargs)

    return fill


# the constructor of a base class


def _remote(cls: type, pointer: Pointer, args: Any, kwargs: Any, otherwise: str) -> Any:
    """What `duet.torch` makes under the same name; it is no instance, so `__init__` is not run."""
    place = pointer._client.torch
    for part in (*_NAMESPACES[next(b for b in cls.__mro__ if b in _NAMESPACES)], cls.__name__):
        place = getattr(place, part, None)
    if not cls.__module__.startswith("torch.") or place is None:
        raise NotAllowed(f"{cls.__name__} is code of this side, which does not travel: {otherwise}")
    return place(*args, **kwargs)


def _optimizer(cls: type, *args: Any, **kwargs: Any) -> Any:
    params = args[0] if args else kwargs.get("params")
    found = first_pointer(params) if isinstance(params, Pointer | list | tuple | dict) else None
    if found is None:
        return object.__new__(cls)
    way = "change the parameters yourself under torch.no_grad(), p -= lr * p.grad"
    return _remote(cls, found, args, kwargs, way)


def _of_groups(own: Callable[..., Any]) -> Callable[..., Any]:
    """What came as a generator is seen by the constructor of torch first."""

    def add_param_group(self: Any, param_group: Any) -> None:
        params = param_group.get("params") if isinstance(param_group, dict) else None
        if first_pointer(params if isinstance(params, list | tuple) else [params]) is not None:
            name = type(self).__name__
            raise NotAllowed(
                f"these parameters are on an owner's side: give duet.torch.optim.{name}, or a list "
                f"of them in place of a generator: {name}(list(...))"
            )
        own(self, param_group)

    return add_param_group


def _applied(own: Any) -> Callable[..., Any]:
    """Its forward would run on pointers and its backward never, without a word.

    Args:
        own: torch's class method, which may be one of C.
    """

    def apply(cls: type, *args: Any, **kwargs: Any) -> Any:
        if first_pointer(args, kwargs) is not None:
            raise NotAllowed(
                f"{cls.__name__}.backward is code of this side, which does not travel: compose it "
                f"of operations (a straight-through estimator is x + (f(x) - x).detach())"
            )
        return own.__get__(None, cls)(*args, **kwargs)

    return apply


def _scheduler(cls: type, *args: Any, **kwargs: Any) -> Any:
    found = first_pointer(args[:1], kwargs.get("optimizer"), kwargs.get("schedulers"))
    if found is None:
        return object.__new__(cls)
    way = "LambdaLR takes a function of the epoch, which runs here"
    return _remote(cls, found, args, kwargs, way)


def _distribution(cls: type, *args: Any, **kwargs: Any) -> Any:
    found = first_pointer(args, kwargs) if cls.__module__.startswith("torch.") else None
    if densities.is_composing():
        made: Any = object.__new__(cls)
        made._validate_args = False  # those that it holds are made without a word about it
        return made
    if found is None:
        return object.__new__(cls)
    return _remote(cls, found, args, kwargs, "it is not offered, compose it of operations")


def _validated(own: Callable[..., None]) -> Callable[..., None]:
    """A distribution of this side is a formula for pointers: nobody here knows their values."""

    def validate(self: Any, value: Any) -> None:
        if not isinstance(value, TensorPointer):
            own(self, value)

    return validate


def _parametrized(cls: type, *args: Any, **kwargs: Any) -> Any:
    if first_pointer(args[1:2], kwargs.get("original")) is not None:
        raise NotAllowed("parametrize the local module (weight_norm, …), then send it")
    return object.__new__(cls)


def _of_data(cls: type, *args: Any, **kwargs: Any) -> Any:
    """Of an owner's data set: what is in it is not known here, so nothing here could collate it."""
    given = args[0] if args else kwargs.get("dataset", kwargs.get("datasets"))
    sets = given if isinstance(given, list | tuple) else [given]
    found = next((one for one in sets if isinstance(one, SizedPointer)), None)
    if found is None:
        return object.__new__(cls)
    return _remote(cls, found, args, kwargs, "use that of duet.torch.utils.data, batch by batch")


_MADE: Final[Mapping[type, Callable[..., Any]]] = {
    DataLoader: _of_data,
    Subset: _of_data,
    ConcatDataset: _of_data,
    Optimizer: _optimizer,
    LRScheduler: _scheduler,
    Distribution: _distribution,
    ParametrizationList: _parametrized,
}
_NAMESPACES: Final[Mapping[type, tuple[str, ...]]] = {
    DataLoader: ("utils", "data"),
    Subset: ("utils", "data"),
    ConcatDataset: ("utils", "data"),
    Optimizer: ("optim",),
    LRScheduler: ("optim", "lr_scheduler"),
    Distribution: ("distributions",),
}


# `torch` in small modules that ask for a tensor before they do anything


class _Tensors(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, torch.Tensor | TensorPointer)


class _Seen(ModuleType):
    """torch, where a pointer to a tensor is a tensor."""

    class Tensor(metaclass=_Tensors):
        """Tensors and pointers to them."""

    @staticmethod
    def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Any:
        """Torch's own takes a pointer for a sequence."""
        if not isinstance(data, TensorPointer):
            return torch.as_tensor(data, dtype=dtype, device=device)
        return data if dtype is None else data.to(dtype)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


# tables


def _stacked(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return torch.stack(list(batch), 0)


def _tensor_of(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return batch[0]._client.call("torch.tensor", list(batch))


class _Divergences(dict[Any, Any]):
    """torch's own memory of which function is for two types of distributions."""

    def __missing__(self, types: Any) -> Any:
        if not any(issubclass(kind, Pointer) for kind in types):
            raise KeyError(types)
        return _divergence


def _divergence(p: Any, q: Any) -> Any:
    client = (p if isinstance(p, Pointer) else q)._client
    there = [d if isinstance(d, Pointer) else _again(client, d) for d in (p, q)]
    return densities.divergence(client, *there)


def _again(client: Any, local: Distribution) -> Any:
    """A distribution of this side, made over there of the same parameters."""
    names = list(local.arg_constraints)  # of Categorical one of both is there, of Beta neither
    given = [name for name in names if name in vars(local)] or names
    if isinstance(local, torch.distributions.Independent):
        count = local.reinterpreted_batch_ndims
        return client.torch.distributions.Independent(_again(client, local.base_dist), count)
    make = getattr(client.torch.distributions, type(local).__name__)
    return make(**{name: getattr(local, name) for name in given})
