"""Ordinary functions of torch that would look into real tensors, told what to do with pointers.

Code that clips gradients or collates a batch calls functions that torch gives nobody a chance to
answer (``__torch_function__`` is not asked), and that code imports them by name, so a replaced
attribute would not be found. What is changed is the smallest thing that every caller meets: the
function inside the wrapper of `clip_grad_norm_` and `clip_grad_value_`, and the table of types that
`torch.utils.data.default_collate` offers for this. Without a pointer among the arguments torch's
own code runs. It happens when a scientist's session is made, not on import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import torch
from torch.utils.data._utils import collate

from duet_p2p.scientist.kinds import class_of
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.scientist.tensor import TensorPointer

__all__ = ["know_pointers"]

_CLIPS: Final = {
    "torch.nn.utils.clip_grad_norm_": torch.nn.utils.clip_grad_norm_,
    "torch.nn.utils.clip_grad_value_": torch.nn.utils.clip_grad_value_,
}
_NUMBERS: Final = ("python.Int", "python.Float", "python.Bool")


def know_pointers() -> None:
    """Makes them answer for pointers; a second time nothing changes."""
    for name, function in _CLIPS.items():
        cells = [
            cell for cell in getattr(function, "__closure__", None) or ()
            if callable(cell.cell_contents)
        ]  # fmt: skip
        if len(cells) == 1 and not isinstance(cells[0].cell_contents, _Clip):
            cells[0].cell_contents = _Clip(name, cells[0].cell_contents)
    known: dict[Any, Any] = collate.default_collate_fn_map
    known.setdefault(TensorPointer, _stacked)
    for kind in _NUMBERS:
        known.setdefault(class_of(kind), _tensor_of)


class _Clip:
    """In place of the function inside torch's wrapper."""

    def __init__(self, name: str, own: Callable[..., Any]) -> None:
        self._name = name
        self._own = own

    def __call__(self, parameters: Any, *args: Any, **kwargs: Any) -> Any:
        """Goes to the owner's side if a pointer is among the parameters."""
        if isinstance(parameters, Iterable) and not isinstance(parameters, torch.Tensor | Pointer):
            parameters = list(parameters)
        first = next(iter(parameters), None) if isinstance(parameters, list) else parameters
        if not isinstance(first, Pointer):
            return self._own(parameters, *args, **kwargs)
        return first._client.call(self._name, parameters, *args, **kwargs)


def _stacked(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return torch.stack(list(batch), 0)


def _tensor_of(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return batch[0]._client.call("torch.tensor", list(batch))
