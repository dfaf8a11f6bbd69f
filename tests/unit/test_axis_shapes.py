"""Operands of other shapes than a rule thinks of: torch lays many of them along the records.

Each public operand of the calls of test_axes.py takes every shape near its own that torch accepts.
What a rule then calls untouched may not notice that the records changed places, and neither may
the gradient of that operand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from duet_p2p.engine import axes
from duet_p2p.surface.callables import CALLABLES
from duet_p2p.surface.table import TABLE
from tests.unit.axes_kit import X3, N, judged, records, rows
from tests.unit.test_axes import CASES, flat

ORDER = torch.tensor([2, 0, 5, 1, 4, 3])
PLACES = ("torch.nn.functional.", "torch.linalg.", "torch.fft.", "torch.", "torch.Tensor.")


def names_of(short: str) -> list[str]:
    """Offered names of which this is the rule."""
    ends = {short, short.partition("_")[2]}
    full = [place + end for place in PLACES for end in ends]
    return [name for name in full if name in TABLE and axes.base_name(name) == short]


def operands(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in arguments."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from operands(part)


def with_others(value: Any, others: dict[int, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        return {key: with_others(part, others) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(with_others(part, others) for part in value)
    return others.get(id(value), value)


def shapes_near(shape: tuple[int, ...]) -> set[tuple[int, ...]]:
    """With an axis of the records before, behind or in the place of another one."""
    near = {(N,), (N, 1), (1, N), (N, N), (N, *shape), (1, N, *shape), (*shape, N), (1, *shape)}
    for axis, size in enumerate(shape):
        rest = (shape[:axis], shape[axis + 1 :])
        near |= {(*rest[0], new, *rest[1]) for new in (1, N, size * N, 3 * N)}
    last = shape[-1:]
    return near | {(N, *last), (3 * N, *last), (5 * N, *last), (N, 5, *last), (5, N, *last)}


def like(tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    if tensor.is_floating_point():
        return torch.rand(shape).requires_grad_()
    return torch.randint(0, 2, shape).to(tensor.dtype)


def stays(found: axes.Outcome, one: Any, other: Any) -> bool:
    """Whether results of records in another order are those of the rule's promise."""
    places = found.axes or (found.axis,) * len(flat(one))
    for before, after, axis in zip(flat(one), flat(other), places, strict=True):
        if found.is_reduced:
            expected = before
        elif before.ndim > axis and before.shape[axis] == N:
            expected = before.index_select(axis, ORDER)
        else:
            continue  # no longer known to be records
        if not torch.allclose(expected, after, atol=1e-5, equal_nan=True):
            return False
    return True


def gradient(found: axes.Outcome, result: Any, leaf: torch.Tensor) -> torch.Tensor | None:
    known = [t for t in flat(result) if t.requires_grad and (found.is_reduced or N in t.shape)]
    total = sum((t.square().sum() for t in known), torch.zeros(()))
    return torch.autograd.grad(total, leaf, allow_unused=True)[0] if known else None


def look(name: str, given: Any, data: list[torch.Tensor], where: list[int], new: Any) -> None:
    function, (args, kwargs) = CALLABLES[name], given
    known = {id(t): rows(axis) for t, axis in zip(data, where, strict=True)}
    torch.manual_seed(1)
    try:
        result = function(*args, **kwargs)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
        return
    call = axes.Call(axes.base_name(name), args, kwargs, result, lambda t: known.get(id(t)),
                     lambda t: False)  # fmt: skip
    found = axes.outcome(call)
    if found is None or found.injected:
        return
    moved = {id(t): t.index_select(axis, ORDER) for t, axis in zip(data, where, strict=True)}
    torch.manual_seed(1)
    other = function(*with_others(args, moved), **with_others(kwargs, moved))
    assert stays(found, result, other), (name, new.shape)
    if new.requires_grad and (came := gradient(found, result, new)) is not None:
        assert torch.allclose(came, gradient(found, other, new), atol=1e-4), (name, new.shape)


@pytest.mark.parametrize("place", range(len(CASES)), ids=lambda place: CASES[place][0])
def test_an_operand_of_another_shape_tells_no_records_apart(place: int) -> None:
    short, _, data, where, arguments, kwargs = CASES[place]
    whole = (tuple(arguments(*data)), kwargs)
    of_records = {id(t) for t in data}
    for name in names_of(short):
        for operand in operands(whole):
            if id(operand) in of_records:
                continue
            for shape in shapes_near(tuple(operand.shape)):
                new = like(operand, shape)
                look(name, with_others(whole, {id(operand): new}), data, where, new)


def test_a_bias_beside_a_weight_of_one_axis_closes_the_way() -> None:
    """torch adds it to what is left, whose last axis then are the records."""
    x = X3.transpose(0, 1)
    weight, bias = records(3), records(N)
    result = torch.nn.functional.linear(x, weight, bias)
    assert result.shape == (5, N)
    assert judged("linear", (x, weight, bias), {}, [(x, 1)], result) is None
    assert judged("linear", (x, weight), {}, [(x, 1)], result).axis == 1
