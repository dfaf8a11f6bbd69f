"""Names of tensors and devices that do not run torch's own function as it is, and why.

* ``torch.Tensor(x)`` and its typed forms: of a tensor or list only; of an int or a size torch gives
  uninitialised memory.
* ``x.data`` is a detach, ``x.data = v`` a checked copy: torch's own leave the version counter
  alone, and an index that autograd saved could be swapped after its range was checked, so that
  backward would read and write out of bounds.
* ``torch.unsafe_split`` and its kin give copies: torch gives parts of the same memory with a
  version counter of their own, which is the same hole: a graph went on with what was written there.
* ``torch.manual_seed`` gives None: torch gives the generator itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch

from duet_p2p.errors import NotAllowed
from duet_p2p.surface import bare
from duet_p2p.surface.sparse import dense

__all__ = ["DEVICE_TYPES", "TENSORS"]

DEVICE_TYPES: Final = frozenset({"cpu", "cuda", "mps", "xpu"})


def _legacy(dtype: torch.dtype) -> Callable[..., torch.Tensor]:
    def construct(data: Any) -> torch.Tensor:
        if isinstance(data, torch.Tensor):
            return data if data.dtype == dtype else data.to(dtype)
        if isinstance(data, torch.Size) or not isinstance(data, (list, tuple)):
            raise TypeError("torch.Tensor takes a tensor or a list here, not a size")
        return torch.tensor(data, dtype=dtype)

    return construct


def _set_data(tensor: torch.Tensor, value: Any) -> None:
    if not isinstance(tensor, torch.Tensor) or not isinstance(value, torch.Tensor):
        raise TypeError("data is a tensor")
    if tensor.shape != value.shape or tensor.dtype != value.dtype:
        raise ValueError("data of another shape or dtype cannot be assigned here")
    tensor.detach().copy_(value.detach())


def _set_grad(tensor: torch.Tensor, value: Any) -> None:
    if value is not None and not isinstance(value, torch.Tensor):
        raise TypeError("grad is a tensor or None")
    if value is not None and value.layout != torch.strided:
        raise TypeError("grad is a dense tensor or None")
    tensor.grad = value


def _set_requires_grad(tensor: torch.Tensor, value: Any) -> None:
    tensor.requires_grad = bool(value)


def _requires_grad_(tensor: torch.Tensor, requires_grad: Any = True) -> torch.Tensor:
    return tensor.requires_grad_(bool(requires_grad))


def _backward(
    tensor: torch.Tensor,
    gradient: Any = None,
    retain_graph: Any = None,
    create_graph: Any = False,
    inputs: Any = None,
) -> None:
    if gradient is retain_graph is inputs is None and create_graph is False:
        bare.backward(tensor)
        return
    tensor.backward(gradient, retain_graph, bool(create_graph), inputs)  # type: ignore[no-untyped-call]


def _autograd_grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: Any = None,
    create_graph: Any = False,
    only_inputs: Any = True,
    allow_unused: Any = None,
    is_grads_batched: Any = False,
    materialize_grads: Any = False,
) -> tuple[torch.Tensor | None, ...]:
    if is_grads_batched or not only_inputs:
        raise NotAllowed("grad takes neither batches of gradients nor only_inputs=False here")
    found = torch.autograd.grad(
        outputs,
        inputs,
        grad_outputs,
        retain_graph,
        bool(create_graph),
        allow_unused=allow_unused,
        materialize_grads=bool(materialize_grads),
    )
    return tuple([None if grad is None else dense(grad) for grad in found])


def _with_grads(parameters: Any) -> list[torch.Tensor]:
    given = [parameters] if isinstance(parameters, torch.Tensor) else parameters
    if not isinstance(given, (list, tuple)) or not all(isinstance(p, torch.Tensor) for p in given):
        raise TypeError("parameters are a list of tensors")
    return list(given)


def _clip_grad_norm(
    parameters: Any,
    max_norm: Any,
    norm_type: Any = 2.0,
    error_if_nonfinite: Any = False,
    foreach: Any = None,
) -> torch.Tensor:
    return torch.nn.utils.clip_grad_norm_(
        _with_grads(parameters), float(max_norm), float(norm_type), bool(error_if_nonfinite)
    )


def _clip_grad_value(parameters: Any, clip_value: Any, foreach: Any = None) -> None:
    torch.nn.utils.clip_grad_value_(_with_grads(parameters), float(clip_value))


def _copies(split: Callable[..., Any]) -> Callable[..., tuple[torch.Tensor, ...]]:
    """Parts that share no memory with what they are parts of."""

    def run(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        return tuple([part.clone() for part in split(*args, **kwargs)])

    return run


_UNSAFE: Final = {
    f"{place}.{name}": _copies(getattr(owner, name))
    for place, owner in (("torch", torch), ("torch.Tensor", torch.Tensor))
    for name in ("unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes")
}


def _manual_seed(seed: Any) -> None:
    torch.manual_seed(int(seed))


def _device(kind: Any, index: Any = None) -> torch.device:
    device = torch.device(kind) if index is None else torch.device(kind, index)
    if device.type not in DEVICE_TYPES:
        raise ValueError("this device is not offered")
    return device


def _parameter(data: Any, requires_grad: Any = True) -> torch.nn.Parameter:
    if not isinstance(data, torch.Tensor):
        raise TypeError("a Parameter is made of a tensor")
    return torch.nn.Parameter(data, bool(requires_grad))


TENSORS: Final[dict[str, Callable[..., Any]]] = {
    **_UNSAFE,
    "torch.Tensor": _legacy(torch.float32),
    "torch.FloatTensor": _legacy(torch.float32),
    "torch.DoubleTensor": _legacy(torch.float64),
    "torch.HalfTensor": _legacy(torch.float16),
    "torch.BFloat16Tensor": _legacy(torch.bfloat16),
    "torch.LongTensor": _legacy(torch.int64),
    "torch.IntTensor": _legacy(torch.int32),
    "torch.ShortTensor": _legacy(torch.int16),
    "torch.CharTensor": _legacy(torch.int8),
    "torch.ByteTensor": _legacy(torch.uint8),
    "torch.BoolTensor": _legacy(torch.bool),
    "torch.nn.Parameter": _parameter,
    "torch.Tensor.data": torch.Tensor.detach,
    "torch.Tensor.data=": _set_data,
    "torch.Tensor.grad=": _set_grad,
    "torch.Tensor.requires_grad=": _set_requires_grad,
    "torch.Tensor.requires_grad_": _requires_grad_,
    "torch.Tensor.backward": _backward,
    "torch.autograd.grad": _autograd_grad,
    "torch.nn.utils.clip_grad_norm_": _clip_grad_norm,
    "torch.nn.utils.clip_grad_value_": _clip_grad_value,
    "torch.manual_seed": _manual_seed,
    "torch.device": _device,
}
