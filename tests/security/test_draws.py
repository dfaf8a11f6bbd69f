"""How many random numbers a function draws is told by the next one, which is public.

So a name may count as drawing by shape alone only if it does, whatever the values are. Random
calls of each such name run on values, on their negatives and on zeros, from one and the same seed.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.engine.drawing import draws_by_shape, is_random
from duet_p2p.surface.callables import CALLABLES, NEEDS_CONTEXT
from duet_p2p.surface.table import TABLE
from tests.surface.record_forms import Operand
from tests.surface.record_sweep import Attempt, attempts

FORMS = ("function", "method", "inplace")
NAMES = sorted(
    name for name, rule in TABLE.items()
    if is_random(name) and rule.form in FORMS and name in CALLABLES and name not in NEEDS_CONTEXT
    and (name.startswith(("torch.Tensor.", "torch.nn.")) or name.count(".") == 1)
)  # fmt: skip
Change = Callable[[torch.Tensor], torch.Tensor]
CHANGES: tuple[Change, ...] = (
    torch.clone, lambda t: ~t if t.dtype is torch.bool else -t, torch.zeros_like,
)  # fmt: skip


def state_after(attempt: Attempt, change: Change) -> bytes:
    """The random state that a call leaves behind, whether it fails or not."""

    def made(value: Any) -> Any:
        if isinstance(value, list):
            return [made(part) for part in value]
        return change(value.tensor) if isinstance(value, Operand) else value

    args, kwargs = tuple(map(made, attempt.args)), {k: made(v) for k, v in attempt.kwargs.items()}
    torch.manual_seed(0)
    with contextlib.suppress(Exception):  # most calls are none; what they drew before that counts
        CALLABLES[attempt.name](*args, **kwargs)
    return torch.get_rng_state().numpy().tobytes()


def tells(name: str, count: int = 20) -> bool:
    """Whether some call draws another amount of numbers for other values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return any(
            len({state_after(attempt, change) for change in CHANGES}) > 1
            for attempt in attempts(name, count)
        )


@pytest.mark.slow
def test_what_draws_by_shape_draws_alike_whatever_the_values_are() -> None:
    known = [name for name in NAMES if draws_by_shape(name)]
    assert len(known) > 20
    assert [name for name in known if tells(name)] == []


@pytest.mark.parametrize("name", ["torch.nn.functional.rrelu", "torch.bernoulli"])
def test_what_draws_by_values_is_known(name: str) -> None:
    assert tells(name, 300) and not draws_by_shape(name)
