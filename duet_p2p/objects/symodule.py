"""`SyModule` and `SySequential`, as code for PySyft 0.5 writes them. New code uses `sy.Module`."""

from __future__ import annotations

from typing import Any

from torch import nn

from duet_p2p.objects.module import Module

__all__ = ["SyModule", "SySequential"]


class SyModule(Module):
    """A `Module` without `torch_ref`; called with keywords only it gives a list of one output.

    Args:
        input_size: shape of the input, as the original wanted it; not needed here.
        inputs: name to example; not needed here.
    """

    def __init__(self, *, input_size: Any = None, inputs: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.input_size = input_size
        self.inputs = inputs

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs `forward`."""
        output = super().__call__(*args, **kwargs)
        return [output] if kwargs and not args else output


class SySequential(SyModule):
    """Modules one after the other.

    Args:
        layers: in order.
        input_size: as in `SyModule`.
    """

    def __init__(self, *layers: nn.Module, input_size: Any = None) -> None:
        super().__init__(input_size=input_size)
        for number, layer in enumerate(layers):
            self.add_module(str(number), layer)

    def __len__(self) -> int:
        return len(self._modules)

    def __getitem__(self, index: int) -> nn.Module:
        return list(self.children())[index]

    def forward(self, x: Any) -> Any:
        """Each layer on what the one before it gives."""
        for layer in self.children():
            x = layer(x)
        return x
