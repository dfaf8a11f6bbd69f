"""Size admission of Python values: what a result would take is worked out before it is made.

Ints grow by shifts, powers and products, texts and lists by repetition and padding; each function
here is called with the operands and raises `QuotaExceeded` instead of letting memory or time go.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch

from duet_p2p import limits
from duet_p2p.errors import QuotaExceeded

__all__ = [
    "admit_add",
    "admit_int",
    "admit_items",
    "admit_lshift",
    "admit_mul",
    "admit_operands",
    "admit_pow",
    "admit_text",
]

_BYTES_OF_WIDEST: Final = 16  # complex128, the widest dtype


def admit_int(bits: int) -> None:
    """An int of so many bits."""
    if bits > limits.INT_BITS:
        raise QuotaExceeded(f"an int of {bits} bits; the limit is {limits.INT_BITS}")


def admit_text(chars: int) -> None:
    """A text of so many characters."""
    if chars > limits.TEXT_CHARS:
        raise QuotaExceeded(f"a text of {chars} characters; the limit is {limits.TEXT_CHARS}")


def admit_items(items: int) -> None:
    """A container of so many items."""
    if items > limits.CONTAINER_ITEMS:
        raise QuotaExceeded(f"a container of {items} items; the limit is {limits.CONTAINER_ITEMS}")


def _bits(value: Any) -> int:
    return int(value).bit_length() if isinstance(value, int) else 0


def admit_operands(a: Any, b: Any) -> None:
    """Two tensors in an operator of Python values: what they broadcast to."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        shape = torch.broadcast_shapes(a.shape, b.shape)  # type: ignore[no-untyped-call]
        if math.prod(shape) * _BYTES_OF_WIDEST > limits.RESULT_BYTES:
            raise QuotaExceeded(f"a tensor of shape {tuple(shape)}")


def admit_add(a: Any, b: Any) -> None:
    """``a + b`` and ``a - b``."""
    if isinstance(a, int) and isinstance(b, int):
        admit_int(max(_bits(a), _bits(b)) + 1)
    elif isinstance(a, (str, bytes)) and isinstance(b, (str, bytes)):
        admit_text(len(a) + len(b))
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        admit_items(len(a) + len(b))
    else:
        admit_operands(a, b)


def admit_mul(a: Any, b: Any) -> None:
    """``a * b``, repetition included."""
    if isinstance(b, (str, bytes, list, tuple)):
        a, b = b, a
    if isinstance(a, int) and isinstance(b, int):
        admit_int(_bits(a) + _bits(b))
    elif isinstance(a, (str, bytes)) and isinstance(b, int):
        admit_text(len(a) * max(b, 0))
    elif isinstance(a, (list, tuple)) and isinstance(b, int):
        admit_items(len(a) * max(b, 0))
    else:
        admit_operands(a, b)


def admit_pow(a: Any, b: Any) -> None:
    """``a ** b``. A negative base with a fraction would be complex: its type told of the value."""
    if isinstance(a, int) and isinstance(b, int):
        if abs(a) > 1 and b > 0:
            admit_int(_bits(a) * min(b, limits.INT_BITS + 1))
    elif (
        isinstance(a, (int, float))
        and isinstance(b, (int, float))
        and a < 0
        and not float(b).is_integer()
    ):
        raise ValueError("a negative number cannot be raised to a fractional power")
    else:
        admit_operands(a, b)


def admit_lshift(a: Any, b: Any) -> None:
    """``a << b``."""
    if isinstance(a, int) and isinstance(b, int):
        if a and b > 0:
            admit_int(_bits(a) + b)
    else:
        admit_operands(a, b)
