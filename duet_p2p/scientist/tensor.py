"""Pointers to tensors: what is known of a tensor is answered here, without the network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NoReturn

import torch

from duet_p2p.errors import HiddenShape, NotAllowed
from duet_p2p.scientist.arrays import array_ufunc
from duet_p2p.scientist.containers import Length, asked_length
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.surface.shapes import UNKNOWN, TensorSpec
from duet_p2p.surface.values import DTYPES
from duet_p2p.wire.messages import Meta

__all__ = ["TensorPointer"]


class TensorPointer(Pointer):
    """A remote tensor. Shape, dtype and device are plain local values where they are public."""

    __slots__ = ()
    _expects_meta = True
    __array_ufunc__ = array_ufunc

    def _spec_for_inference(self) -> Any:
        return UNKNOWN if self._spec is None else self._spec

    def _learn(self, meta: Meta) -> None:
        dtype = DTYPES.get(meta.dtype or "")
        if meta.shape is not None and dtype is not None:
            requires_grad = meta.facts.get("requires_grad") is True
            self._spec = TensorSpec(tuple(meta.shape), dtype, requires_grad)

    def _known(self) -> TensorSpec:
        if self._spec is None:
            self._await_facts()
        if self._spec is None:
            raise HiddenShape(
                f"The shape of {self!r} depends on private values, so it is private too. Ask for "
                f"what you need: len(ptr) asks for the length, or "
                f"duet.torch.numel(ptr).get(request_block=True, reason=…) for the count."
            )
        return self._spec

    def _facts_shown(self) -> str:
        if self._spec is None:
            return " shape=hidden"
        dtype = str(self._spec.dtype).removeprefix("torch.")
        return f" shape={tuple(self._spec.shape)} dtype={dtype}"

    @property
    def shape(self) -> torch.Size:
        """The shape.

        Raises:
            HiddenShape: it depends on private values.
        """
        return torch.Size(self._known().shape)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype."""
        return self._known().dtype

    @property
    def device(self) -> torch.device:
        """The device on the owner's side."""
        return torch.device(self._known().device)

    @property
    def requires_grad(self) -> bool:
        """Whether autograd on the owner's side records operations on it."""
        return self._known().requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self._may_be_written()
        self._client.call("torch.Tensor.requires_grad=", self, value)

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Whether autograd on the owner's side records operations on it; gives it back."""
        self._may_be_written()
        return self._client.call("torch.Tensor.requires_grad_", self, requires_grad)

    def _may_be_written(self) -> None:
        if self._id < 0:  # nothing would fail before the gradient that is not there is read
            raise NotAllowed(
                "The owner's objects are read-only. Work on a copy: x.clone().requires_grad_()."
            )

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self._known().shape)

    @property
    def layout(self) -> torch.layout:
        """Always strided: other layouts are not offered."""
        return torch.strided

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._known().dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.numel() * self.itemsize

    @property
    def is_cuda(self) -> bool:
        """Whether it is on a CUDA device of the owner."""
        return self.device.type == "cuda"

    @property
    def is_cpu(self) -> bool:
        """Whether it is in the owner's ordinary memory."""
        return self.device.type == "cpu"

    is_sparse = is_quantized = is_nested = is_mkldnn = is_meta = False
    is_mps = is_xpu = is_xla = is_vulkan = is_maia = is_sparse_csr = False

    def size(self, dim: int | None = None) -> Any:
        """The shape, or one of its dimensions."""
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        """The number of dimensions."""
        return self.ndim

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return math.prod(self._known().shape)

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.itemsize

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating point one."""
        return self._known().dtype.is_floating_point

    def is_complex(self) -> bool:
        """Whether the dtype is a complex one."""
        return self._known().dtype.is_complex

    def is_signed(self) -> bool:
        """Whether the dtype is a signed one."""
        return self._known().dtype.is_signed

    def get_device(self) -> int:
        """The index of the CUDA device, -1 on the CPU."""
        return -1 if self.is_cpu else (self.device.index or 0)

    def type(self, dtype: Any = None, **kwargs: Any) -> Any:
        """Without arguments the type's name, else the tensor of another type."""
        if dtype is not None:
            return self._client.call("torch.Tensor.type", self, dtype, **kwargs)
        name = torch.empty(0, dtype=self.dtype).type()
        return name.replace("torch.", "torch.cuda.") if self.is_cuda else name

    def __len__(self) -> int:
        if self._spec is not None and not self._spec.shape:
            raise TypeError(
                "len() of a 0-d tensor. torch.tensor(…) takes real numbers only: of pointers make "
                "torch.stack([…]), or get() their values first"
            )
        self._length = asked_length(self, "len")
        return Length.of(self, self._length)

    def _public_length(self) -> int | None:
        if self._spec is None and self._length is None:
            self._await_facts()
        return self._length if self._spec is None else self._spec.shape[0]

    def len(self) -> Any:
        """The length as a pointer; asks nothing."""
        return self._client.call("python.len", self)

    def __iter__(self) -> Iterator[Any]:
        if self._spec is not None and not self._spec.shape:
            raise TypeError("iteration over a 0-d tensor")
        return (self.__getitem__(i) for i in range(int(self.__len__())))

    def __contains__(self, item: object) -> NoReturn:
        super().__contains__(item)

    def __reversed__(self) -> Any:
        return self.flip(0)
