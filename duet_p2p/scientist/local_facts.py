"""torch functions that ask a fact of a tensor, or need its value: answered on this side.

`F.dropout(ptr)` goes to the owner's side, `torch.numel(ptr)` does not: the pointer knows. torch
makes a new Python object for some of its builtins on each access, so the look-up is by equality.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from duet_p2p.scientist.tensor import TensorPointer

__all__ = ["attribute_of"]

_PROPERTIES: Final = """
    shape dtype device requires_grad ndim layout itemsize nbytes is_cuda is_cpu is_sparse
    is_quantized is_nested is_mkldnn is_meta is_mps
"""
_METHODS: Final = """
    size dim ndimension numel nelement element_size is_floating_point is_complex is_signed
    get_device type __len__ __iter__ __bool__ __float__ __int__ __index__ __complex__
    __contains__ __array__ numpy tolist __reduce_ex__ __deepcopy__ __format__ __repr__ __hash__
"""
_FUNCTIONS: Final = "numel is_floating_point is_complex is_signed"


def _collect() -> dict[Any, str]:
    found: dict[Any, str] = {}
    for name in _PROPERTIES.split():
        assert hasattr(TensorPointer, name), name
        getter = getattr(getattr(torch.Tensor, name, None), "__get__", None)
        if getter is not None:
            found[getter] = name
    for name in _METHODS.split():
        method = getattr(torch.Tensor, name, None)
        if method is not None:
            found[method] = name
    for name in _FUNCTIONS.split():
        function = getattr(torch, name, None)
        if function is not None:
            found[function] = name
    return found


_ATTRIBUTES: Final = _collect()


def attribute_of(func: Any) -> str | None:
    """The attribute of a pointer that answers this torch function, None if it is an operation."""
    return _ATTRIBUTES.get(func)
