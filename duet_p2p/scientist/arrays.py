"""NumPy's numbers beside pointers, as torch has them beside its own tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

import numpy as np

from duet_p2p.errors import NotAllowed, PrivateValueError

__all__ = ["array_ufunc", "without_numpy"]

_OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "true_divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "power": operator.pow,
    "matmul": operator.matmul,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}
"""What NumPy calls them; of `np.float32(2) * ptr` it asks the pointer."""


def without_numpy(value: Any) -> Any:
    """A number of Python for one of NumPy, anything else as it is.

    Raises:
        NotAllowed: it is an array (one of no dimension is a number, as NumPy compares).
    """
    if isinstance(value, np.ndarray) and value.ndim:
        raise NotAllowed(
            "a NumPy array cannot be an argument of a remote operation: make a tensor of it, "
            "torch.as_tensor(…)"
        )
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def array_ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """An operator whose left side is NumPy's; all else of NumPy needs the values."""
    operation = _OPERATORS.get(ufunc.__name__)
    if operation is None or method != "__call__" or kwargs or len(inputs) != 2:
        _refuse(ufunc.__name__)
    return operation(*(without_numpy(value) for value in inputs))


def _refuse(name: str) -> NoReturn:
    raise PrivateValueError(
        f"numpy.{name} of a pointer needs the value, which is on the owner's side: take torch's "
        f"function of that name, or get the value first."
    )
