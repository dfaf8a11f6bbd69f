"""`sy.Module`: an nn.Module that knows on which side its parameters are.

    class Net(sy.Module):
        def __init__(self, torch_ref):
            super().__init__(torch_ref=torch_ref)
            self.fc = self.torch_ref.nn.Linear(4, 2)
        def forward(self, x):
            return self.torch_ref.nn.functional.relu(self.fc(x))

`Net(torch)` is local. `Net(torch).send(duet)` and `Net(duet.torch)` are remote: the same class with
`Shell` in front (shell.py). `torch_ref` is not stored, so that a module can be copied and pickled.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from duet_p2p.errors import WrongSide
from duet_p2p.objects.remote import RemoteNamespace
from duet_p2p.objects.shell import shell_class

__all__ = ["Module", "ParameterList", "load_tensors", "save_tensors"]


class ParameterList(list[nn.Parameter]):
    """A module's parameters; also an iterator, so that ``next(model.parameters())`` works."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters)
        self._next = 0

    def __next__(self) -> nn.Parameter:
        if self._next >= len(self):
            raise StopIteration
        self._next += 1
        return self[self._next - 1]


class _Modules(OrderedDict[str, nn.Module]):
    """Name to child; called, it is torch's own `modules()`."""

    def __init__(self, owner: nn.Module) -> None:
        super().__init__(owner._modules)  # type: ignore[arg-type]
        self._owner = owner

    def __call__(self) -> Iterator[nn.Module]:
        return nn.Module.modules(self._owner)


class Module(nn.Module):
    """Base of models that are written once and run on either side.

    Args:
        torch_ref: `torch` for a local model, `duet.torch` for one whose parameters are made on the
            owner's side.
    """

    def __init__(self, torch_ref: Any = torch) -> None:
        super().__init__()
        if isinstance(torch_ref, RemoteNamespace) and not isinstance(torch_ref, ModuleType):
            self.__dict__["_duet_client"] = torch_ref._client
            self.__class__ = shell_class(type(self))

    @property
    def is_local(self) -> bool:
        """Whether the parameters are on this side."""
        return True

    @property
    def torch_ref(self) -> Any:
        """`torch` on a local model, the session's `duet.torch` on a remote one."""
        return torch

    @property
    def real_module(self) -> nn.Module:
        """The module itself."""
        return self

    @property
    def modules(self) -> Any:
        """Mapping of names to direct children; callable as torch's `modules()`."""
        return _Modules(self)

    def parameters(self, recurse: bool = True) -> Any:
        """The parameters as a list; of a remote model a `ListPointer`."""
        return ParameterList(parameter for _, parameter in self.named_parameters(recurse=recurse))

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """Belongs to a remote model."""
        raise WrongSide("this module is local already; get() belongs to a remote one")

    def save(self, path: Any) -> None:
        """Writes the state dict: safetensors if the path ends so, else torch's own file."""
        save_tensors(self.state_dict(), Path(path))

    def load(self, path: Any) -> None:
        """Reads what `save` wrote; never unpickles anything but tensors."""
        self.load_state_dict(load_tensors(Path(path)))

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """As in torch; also takes the path of a saved state dict."""
        if isinstance(state_dict, str | Path):
            state_dict = load_tensors(Path(state_dict))
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def zero_layers(self) -> None:
        """Sets every parameter to zeros."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()

    def debug_sum_layers(self) -> None:
        """Prints the sum of each entry of the state dict; of a remote model, the pointers."""
        for name, value in self.state_dict().items():
            print(name, value.sum())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Defined by the model."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")


def save_tensors(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Writes a state dict to a file, in the format that its suffix names."""
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        # safetensors refuses tensors that share memory; a copy of each is what a file holds anyway
        save_file(
            {name: value.detach().clone().contiguous() for name, value in state.items()}, path
        )
    else:
        torch.save(OrderedDict(state), path)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Reads a state dict; a file that holds anything but tensors is refused."""
    loaded: Any
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        loaded = load_file(path)
    else:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(loaded, dict):
        raise ValueError(f"{path} holds a {type(loaded).__name__}, not a state dict")
    return loaded
