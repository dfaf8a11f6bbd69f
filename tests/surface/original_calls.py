"""Arguments for each operation that the original offered, and how it is called on either side.

Most names take one of a few usual forms, so the first of `FORMS` that torch itself takes is used;
`SPECIAL` holds the rest. Every form is a function: each side gets fresh tensors.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

from duet_p2p.scientist.pointer import Pointer

Arguments = Callable[[], tuple[Any, ...]]


def _rand(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def square() -> torch.Tensor:
    """Positive definite, 4 by 4."""
    half = _rand(4, 4)
    return half @ half.T + torch.eye(4)


def row() -> torch.Tensor:
    return torch.arange(1.0, 5.0) / 5


def ints() -> torch.Tensor:
    return torch.tensor([3, 1, 2, 1])


def square_of(columns: torch.Tensor) -> torch.Tensor:
    """Invertible, for columns of this height."""
    return _rand(len(columns), len(columns)) + torch.eye(len(columns))


def bools() -> torch.Tensor:
    return torch.tensor([True, False, True, True])


def places(count: int = 2) -> torch.Tensor:
    return torch.tensor([0, 1, 2, 3])[:count]


def image() -> torch.Tensor:
    return _rand(1, 2, 6, 6)


def batch() -> torch.Tensor:
    return _rand(2, 4, 4)


FORMS: tuple[Arguments, ...] = (
    lambda: (square(),),
    lambda: (square(), square()),
    lambda: (square(), 2),
    lambda: (square(), 0),
    lambda: (square(), 0, 1),
    lambda: (square(), square(), square()),
    lambda: (ints(),),
    lambda: (ints(), ints()),
    lambda: (ints(), 1),
    lambda: (bools(),),
    lambda: (bools(), bools()),
    lambda: (_rand(3, 4).to(torch.complex64),),
    lambda: (row(), row()),
    lambda: (square(), row()),
    lambda: (row(), square(), row()),
    lambda: (row(), square(), square()),
    lambda: (square(), 0, ints().clamp(0, 1)),
    lambda: (square(), 0, places(4).unsqueeze(0)),
    lambda: (square(), 0, places(4).unsqueeze(0), square()),
    lambda: (square(), 0, places(), square()[:2]),
    lambda: (square(), 0, places(4).unsqueeze(0), 1.0),
    lambda: (square(), 0, places(), 1.0),
    lambda: (batch(), batch()),
    lambda: (batch(), batch(), batch()),
    lambda: (square(), batch(), batch()),
    lambda: (batch()[:, :, 0], batch(), batch()[:, :, 0]),
    lambda: (image(),),
    lambda: (image(), 2),
    lambda: (image(), [2, 2]),
    lambda: (_rand(1, 2, 8), 2),
    lambda: (_rand(1, 2, 4, 4, 4), 2),
    lambda: ([square(), square()],),
    lambda: (2, 3),
    lambda: (4,),
    lambda: ([2, 3],),
    lambda: ([2, 3], 1.5),
    lambda: (square(), [2, 2]),
    lambda: (square(), [0, 1]),
    lambda: (square(), (8, 2)),
    lambda: (square(), 0.5),
    lambda: (square(), -1, 2),
    lambda: (square(), 0, 0, 2),
    lambda: (square(), torch.tensor([0, 3])),
    lambda: (square(), square() > 1),
    lambda: (square(), square() > 1, 2.0),
    lambda: (square(), square() > 1, square()),
    lambda: (square() > 1, square(), square()),
    lambda: (row(), ints().sort()[0]),
    lambda: (square(), torch.float64),
    lambda: (square(), 2, 0, 1.0),
    lambda: (square(), 2.0, 0, 1.0),
    lambda: (image(), _rand(3, 2, 3, 3)),
    lambda: (_rand(1, 2, 8), _rand(3, 2, 3)),
    lambda: (_rand(1, 2, 4, 4, 4), _rand(3, 2, 2, 2, 2)),
    lambda: (image(), _rand(2, 3, 3, 3)),
    lambda: (_rand(1, 2, 8), _rand(2, 3, 3)),
    lambda: (_rand(1, 2, 4, 4, 4), _rand(2, 3, 2, 2, 2)),
    lambda: ("cpu",),
    lambda: (0.0, 1.0, 5),
    lambda: (square(), "cpu"),
    lambda: (square(), 0, 1, 2),
    lambda: (0, 5, (3,)),
    lambda: (square(), 0, 5),
    lambda: (square(), [0], [1]),
)

_SPECIAL: dict[str, Arguments] = {
    "Tensor": lambda: ([[1, 2]],),
    "addr": lambda: (square(), row(), row()),
    "addr_": lambda: (square(), row(), row()),
    "broadcast_to": lambda: (row(), (2, 4)),
    "expand": lambda: (row(), 2, 4),
    "cross": lambda: (_rand(2, 3), _rand(2, 3, seed=2), 1),
    "float_power_": lambda: (square().double(), 2),
    "index_put": lambda: (square(), (places(),), square()[:2]),
    "index_put_": lambda: (square(), (places(),), square()[:2]),
    "is_nonzero": lambda: (torch.tensor(2.0),),
    "item": lambda: (torch.tensor(2.0),),
    "new_full": lambda: (square(), (2, 2), 1.5),
    "put_": lambda: (square(), places(), row()[:2]),
    "stft": lambda: (
        (_rand(64), 16, None, None, torch.ones(16), True, "reflect", False, True, True)
    ),
    "cosine_embedding_loss": lambda: (square(), square(), torch.tensor([1, -1, 1, 1])),
    "multi_margin_loss": lambda: (square(), torch.tensor([0, 1, 2, 3])),
    "nll_loss": lambda: (square(), torch.tensor([0, 1, 2, 3])),
    "istft": lambda: (_rand(9, 9).to(torch.complex64), 16, None, None, torch.ones(16)),
    "lu_solve": lambda: (batch()[0], *torch.linalg.lu_factor(square_of(batch()[0]))),
    "ormqr": lambda: (*torch.geqrf(square()), square()),
    "ctc_loss": lambda: (
        _rand(6, 2, 4).log_softmax(-1),
        torch.tensor([[1, 3], [2, 1]]),
        torch.tensor([6, 6]),
        torch.tensor([2, 2]),
    ),
    "torch.polygamma": lambda: (1, row()),
    "torch.Tensor.polygamma": lambda: (row(), 1),
}


def _method(name: str) -> str:
    return name.removeprefix("torch.Tensor.") if name.startswith("torch.Tensor.") else ""


def local_call(name: str, args: tuple[Any, ...]) -> Any:
    """What torch gives."""
    short = _method(name)
    if short:
        if not args or not isinstance(args[0], torch.Tensor):
            raise TypeError("a tensor is needed")
        member = getattr(args[0], short)
        return member(*args[1:]) if callable(member) else member
    target: Any = torch
    for part in name.split(".")[1:]:
        target = getattr(target, part)
    return target(*args)


def remote_call(duet: Any, name: str, args: tuple[Any, ...]) -> Any:
    """The same through pointers."""
    sent = sent_to(duet, args)
    short = _method(name)
    if short:
        member = getattr(sent[0], short)
        is_call = callable(getattr(torch.Tensor, short, None))
        return member(*sent[1:]) if is_call else member
    target: Any = duet.torch
    for part in name.split(".")[1:]:
        target = getattr(target, part)
    return target(*sent)


def sent_to(duet: Any, value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return duet.send(value)
    if isinstance(value, list | tuple):
        return type(value)(sent_to(duet, item) for item in value)
    return value


def arguments_of(name: str) -> Arguments:
    """The first form that torch takes.

    Raises:
        LookupError: it takes none of them.
    """
    short = name.rpartition(".")[2]
    if name.startswith("torch.") and short.endswith("Tensor"):
        short = "Tensor"
    special = _SPECIAL.get(name) or _SPECIAL.get(short)
    if special is not None:
        return special
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for form in FORMS:
            try:
                result = local_call(name, form())
            except (TypeError, ValueError, RuntimeError, IndexError, AttributeError):
                continue
            if result is not NotImplemented:
                return form
    raise LookupError(name)


def value_of(both: Any, result: Any) -> Any:
    """What a pointer, or a tuple of pointers, stands for."""
    if isinstance(result, Pointer):
        return both.value(result)
    if isinstance(result, list | tuple) and not isinstance(result, torch.Size):
        return [value_of(both, item) for item in result]
    return result


def assert_same(got: Any, expected: Any) -> None:
    """Tensors are close, everything else is equal."""
    if isinstance(expected, torch.Tensor):
        assert isinstance(got, torch.Tensor), got
        torch.testing.assert_close(got, expected, equal_nan=True)
    elif isinstance(expected, list | tuple) and not isinstance(expected, torch.Size):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float):
        assert got == expected or abs(got - expected) < 1e-5
    else:
        assert got == expected
