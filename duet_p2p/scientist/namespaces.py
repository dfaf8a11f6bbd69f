"""`duet.torch`, `duet.torchvision`, `duet.python`: the local modules, as far as the surface goes.

A name is looked up in the surface table. What the table lists is an operation; a public class of
`torch.nn` makes a remote module; a constant is torch's own value; everything else raises
`NotAllowed`, which is an `AttributeError`, so that `hasattr` answers honestly.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import PurePath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from duet_p2p.errors import NotAllowed
from duet_p2p.identity.files import home
from duet_p2p.objects.shell import Shell
from duet_p2p.scientist import densities, optimizers, samplers, schedulers
from duet_p2p.scientist.dispatch import denied
from duet_p2p.surface import table

if TYPE_CHECKING:
    from duet_p2p.scientist.client import Client

__all__ = ["Namespace", "namespace"]

_LOCAL: Final[Mapping[str, Any]] = {
    "torch.no_grad": torch.no_grad,
    "torch.autograd.grad_mode.no_grad": torch.no_grad,
    "torch.enable_grad": torch.enable_grad,
    "torch.inference_mode": torch.inference_mode,
    "torch.set_grad_enabled": torch.set_grad_enabled,
    "torch.is_grad_enabled": torch.is_grad_enabled,
    "torch.Size": torch.Size,
    "torch.broadcast_shapes": torch.broadcast_shapes,
    "torch.result_type": torch.result_type,
    "torch.promote_types": torch.promote_types,
    "torch.can_cast": torch.can_cast,
    "torch.finfo": torch.finfo,
    "torch.iinfo": torch.iinfo,
    "torch.nn.Module": nn.Module,
    "torch.func.functional_call": torch.func.functional_call,
    **{
        f"torch.nn.utils.{name}": getattr(nn.utils, name)
        for name in ("parameters_to_vector", "vector_to_parameters")
    },
    **{
        f"torch.nn.utils.rnn.{name}": getattr(nn.utils.rnn, name)
        for name in nn.utils.rnn.__all__
    },
    **{
        f"torch.optim.swa_utils.{name}": getattr(torch.optim.swa_utils, name)
        for name in torch.optim.swa_utils.__all__ if name != "SWALR"
    },
    "torchvision.transforms.InterpolationMode": SimpleNamespace(
        NEAREST="nearest", NEAREST_EXACT="nearest-exact", BILINEAR="bilinear", BICUBIC="bicubic",
        BOX="box", HAMMING="hamming", LANCZOS="lanczos",
    ),
    **{f"torch.utils.data.{cls.__name__}": cls for cls in samplers.SAMPLERS},
}  # fmt: skip
"""Names that do the same for remote code when they run here."""

_MAKERS: Final[Mapping[str, Callable[..., Any]]] = {
    **schedulers.MAKERS,
    **optimizers.MAKERS,
    **densities.MAKERS,
    "torch.utils.data.DataLoader": samplers.make_loader,
}
"""Constructors that take more than travels; the session's client comes first."""

_CONSTANTS: Final = (torch.dtype, torch.layout, torch.memory_format, float, int, bool, str)

_CONTAINERS: Final = frozenset({"Sequential", "ModuleList", "ModuleDict", "Container"})
"""Modules that hold other modules: they are made of remote ones here, without any parameter."""


def namespace(client: Client, prefix: str) -> Namespace:
    """The namespace of a session; the same object each time."""
    spaces = client.namespaces
    if prefix not in spaces:
        spaces[prefix] = Namespace(client, prefix)
    found: Namespace = spaces[prefix]
    return found


class Namespace:
    """A remote module by its name."""

    def __init__(self, client: Client, prefix: str) -> None:
        self._client = client
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        found = self._look_up(f"{self._prefix}.{name}")
        self.__dict__[name] = found
        return found

    def _look_up(self, full: str) -> Any:
        if full in _LOCAL:
            return _LOCAL[full]
        full = _ELSEWHERE.get(full, full)
        if full == "syft.lib.python":
            return namespace(self._client, "python")
        if full in _PARENTS:
            return namespace(self._client, full)
        rule = table.find(full)
        if rule is not None:
            if rule.form == "constructor" and full.startswith("torchvision.datasets."):
                return _data_set(self._client, full)
            if full in _MAKERS:
                return _with_client(self._client, full)
            return _function(self._client, full)
        module_class = _module_class(full)
        if module_class is not None:
            return _module_maker(self._client, module_class)
        if table.names_under(full):
            return namespace(self._client, full)
        constant = _constant(full)
        if constant is not None:
            return constant
        raise denied(full)

    def __dir__(self) -> list[str]:
        names = set(table.names_under(self._prefix))
        names |= {n.rpartition(".")[2] for n in _LOCAL if n.rpartition(".")[0] == self._prefix}
        if self._prefix == "torch.nn":
            names |= _module_names()
        if self._prefix == "torch":
            names |= {n for n in vars(torch) if _constant(f"torch.{n}") is not None}
        return sorted(names)

    def __repr__(self) -> str:
        return (
            f"<remote {self._prefix} of {self._client.label or 'this session'}: {len(dir(self))} "
            f"names. Not offered, on purpose: whatever reads files, loads code or takes a callable>"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("_client", "_prefix"):
            raise NotAllowed(f"{self._prefix} is on the owner's side; {name!r} cannot be set in it")
        object.__setattr__(self, name, value)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a remote namespace has no meaning outside its session")


_ELSEWHERE: Final = {"torch.optim.swa_utils.SWALR": "torch.optim.lr_scheduler.SWALR"}
"""Names that the table has in another place."""

_PARENTS: Final = frozenset(
    {
        "torch.func",
        "torch.nn.utils",
        "torch.nn.utils.rnn",
        "torch.optim.swa_utils",
        "torch",
        "torchvision",
        "python",
        "syft",
        "syft.lib",
        "torch.nn",
        "torch.autograd",
        "torch.autograd.grad_mode",
    }
)


def _function(client: Client, name: str) -> Callable[..., Any]:
    def remote(*args: Any, **kwargs: Any) -> Any:
        return client.call(name, *args, **kwargs)

    remote.__name__ = name.rpartition(".")[2]
    remote.__qualname__ = name
    remote.__doc__ = f"{name} on the owner's side; gives a pointer."
    return remote


def _with_client(client: Client, name: str) -> Callable[..., Any]:
    maker = _MAKERS[name]

    def remote(*args: Any, **kwargs: Any) -> Any:
        return maker(client, *args, **kwargs)

    remote.__name__ = name.rpartition(".")[2]
    remote.__qualname__ = name
    remote.__doc__ = f"{name} on the owner's side."
    return remote


def _data_set(client: Client, name: str) -> Callable[..., Any]:
    inner = _function(client, name)

    def remote(root: Any, *args: Any, **kwargs: Any) -> Any:
        return inner(_owners_root(root), *args, **kwargs)

    remote.__name__ = name.rpartition(".")[2]
    remote.__qualname__ = name
    remote.__doc__ = inner.__doc__
    return remote


def _owners_root(root: Any) -> Any:
    """The owner's name for a directory; the scientist's own data directory stands for the owner's.

    Code of the original passes `get_root_data_path()`, which is a path of this machine.
    """
    if not isinstance(root, str | PurePath):
        return root
    path, own = PurePath(root), home() / "data"
    if path.is_absolute() and path.is_relative_to(own):
        path = path.relative_to(own)
    return "" if path == PurePath() else path.as_posix()


def _module_names() -> set[str]:
    return {
        name
        for name, value in vars(nn).items()
        if inspect.isclass(value) and issubclass(value, nn.Module) and not name.startswith("_")
    }


def _module_class(full: str) -> type[nn.Module] | None:
    prefix, _, name = full.rpartition(".")
    if prefix not in ("torch.nn", "torch.nn.modules") or name not in _module_names():
        return None
    found: type[nn.Module] = getattr(nn, name)
    return found


def _module_maker(client: Client, cls: type[nn.Module]) -> Callable[..., nn.Module]:
    def make(*args: Any, **kwargs: Any) -> nn.Module:
        from duet_p2p.objects import initial

        parts = (*args, *kwargs.values())
        if cls.__name__ in _CONTAINERS or any(isinstance(part, Shell) for part in parts):
            return initial.make_container(client, cls, args, kwargs)
        return initial.make_remote(client, cls, args, kwargs)

    make.__name__ = cls.__name__
    make.__qualname__ = f"torch.nn.{cls.__name__}"
    make.__doc__ = cls.__doc__
    return make


def _constant(full: str) -> Any:
    """A constant of torch under this name, None if there is none."""
    parts = full.split(".")
    value: Any = torch if parts[0] == "torch" else None
    for part in parts[1:]:
        value = getattr(value, part, None) if not part.startswith("_") else None
    return value if isinstance(value, _CONSTANTS) and value is not None else None
