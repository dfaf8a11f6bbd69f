"""Records that change places: what is called an aggregate does not notice, and rows move along.

Random programs run twice, on the same records in another order. A number that is an aggregate with
nothing injected is the same in both; a tensor whose records lie on a known axis has the same rows
in the other order. A rule that follows the wrong axis, or calls something an aggregate that looks
at one record by its place, fails here in whatever it is combined with.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random
from typing import Any, Final

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duet_p2p.engine.axis_packing import PACKED, TURNED
from duet_p2p.engine.labels import Kind
from duet_p2p.surface.table import TABLE
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref
from tests.security.random_programs import Program
from tests.security.test_soundness import Seen

RECORDS: Final = 12
SQUARE: Final = 3
"""As long as other axes, so that a rule that goes by sizes takes one for another."""
BY_PLACE: Final = ("dropout", "rand", "bernoulli", "normal", "rrelu", "poisson", "multinomial")
"""Draws for each place: told apart in test_draws.py and by `injected`."""

numbers = st.lists(st.integers(0, 1 << 48), min_size=4, max_size=14)


def _names(record: str) -> list[str]:
    return [
        rule.name for rule in TABLE.values()
        if rule.record == record and rule.name.startswith("torch.")
        and rule.name.split(".")[1] not in ("optim", "distributions", "utils", "cuda")
        and not any(word in rule.name for word in BY_PLACE)
    ]  # fmt: skip


CLASSES: Final = {record: _names(record) for record in ("row_uniform", "reduce", "copy", "select")}


T: Final = "torch.Tensor."
_OFTEN = """
sum mean var std transpose movedim permute unsqueeze squeeze flatten unflatten reshape view
expand repeat flip roll cumsum diagonal select narrow unbind split chunk matmul mm mv dot add
sub mul div where pow exp relu sigmoid norm cat stack t swapaxes outer kron tile softmax amax
gather index_select addmm addmv baddbmm bmm lerp tril view_as expand_as reshape_as
masked_fill clone diag nansum count_nonzero
"""
OFTEN: Final = [
    *(full for name in _OFTEN.split() for full in (T + name, "torch." + name) if full in TABLE),
    "torch.einsum", "torch.tensordot", "torch.linalg.vecdot", "torch.linalg.vector_norm",
    "torch.nn.functional.linear", "torch.nn.functional.mse_loss", "torch.nn.functional.l1_loss",
    "torch.nn.functional.cross_entropy", "torch.nn.functional.nll_loss",
    "torch.nn.functional.layer_norm", "torch.nn.functional.batch_norm",
    "torch.nn.functional.conv1d", "torch.nn.functional.conv2d", "torch.nn.functional.one_hot",
    "torch.nn.functional.embedding", "torch.nn.functional.bilinear",
]  # fmt: skip


class Moves(Program):
    """A program of what keeps, moves and contracts axes."""

    has_rows: Callable[[int], bool]

    def step(self, number: int) -> list[Any]:
        draw = Random(number)
        if draw.random() < 0.5:
            rule = TABLE[draw.choice(OFTEN)]
        else:
            record = draw.choice(("row_uniform", "reduce", "reduce", "copy", "select"))
            rule = TABLE[draw.choice(CLASSES[record])]
        args, kwargs = self._arguments(rule, draw)
        outs = {"none": 0}.get(rule.result, 1)
        if rule.result.startswith("tensors:"):
            outs = rule.result.count(",") + 1
        made = self.op(rule.name, *args, outs=outs)
        return [Op(made.name, made.outs, made.args, kwargs, "g")]

    def tensor(self, draw: Random, dtype: str = "") -> Any:
        """Most often one whose records are known: all others stay what they are."""
        known = [id for id in (*self._shared, *self._mine) if self.has_rows(id)]
        if known and draw.random() < 0.7:
            return Ref(draw.choice(known[-4:] if draw.random() < 0.5 else known))
        return super().tensor(draw, dtype)

    def number(self, draw: Random, kind: type = int) -> Any:
        """A plain one."""
        return draw.choice((0, 0, 1, 1, -1, 2, -2, 3) if kind is int else (0.5, 1.0, 2.0, -1.0))


def records(draw: Random) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(draw.randrange(1 << 30))
    n = draw.choice((RECORDS, SQUARE, 1))

    def some(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=made, dtype=torch.float64) * 4 - 1

    return {
        "table": some(n, SQUARE),
        "column": some(n),
        "classes": torch.randint(0, SQUARE, (n,), generator=made),
        "images": some(n, 2, SQUARE, SQUARE),
        "whole": torch.randint(0, 9, (n, SQUARE), generator=made),
        "turned": some(SQUARE, n),
        "signals": some(SQUARE, 2, n),
    }


AXES: Final = {"turned": 1, "signals": 2}
"""Where the owner says that the records lie, if not on the first axis."""


def check(steps: list[int]) -> None:
    draw = Random(sum(steps))
    data = records(draw)
    order = torch.randperm(len(data["column"]), generator=torch.Generator().manual_seed(len(steps)))
    moved = {name: value.index_select(AXES.get(name, 0), order) for name, value in data.items()}
    first, other = Seen(data, record_axes=AXES), Seen(moved, record_axes=AXES)
    program = Moves([ref.id for ref in first.refs], first.look)
    own = torch.rand(SQUARE, SQUARE, generator=torch.Generator().manual_seed(3)).double()
    for seen in (first, other):
        program._mine = [seen.put(own).id, seen.put(own[0]).id, seen.put(torch.tensor([2, 0])).id]
        program._mine += [seen.put(torch.arange(n).roll(1)).id for n in (SQUARE, RECORDS)]
    program._ids = itertools.count(6)
    program.has_rows = lambda id: (
        isinstance(value := first.look(id), torch.Tensor)
        and (first.engine.lineage.rows(value) is not None)
    )
    done: list[Any] = []
    for number in steps:
        for command in program.step(number):
            done.append((command.name, command.args, command.kwargs))
            for seen in (first, other):
                seen.send(command)
            for id in command.outs:
                compare(first, other, id, order, done)


def compare(first: Seen, other: Seen, id: int, order: torch.Tensor, done: list[Any]) -> None:
    one, two = first.look(id), other.look(id)
    if not isinstance(one, torch.Tensor) or not isinstance(two, torch.Tensor):
        return
    lineage = first.engine.lineage
    label, rows = lineage.label(one), lineage.rows(one)
    if lineage.poison(one) or label.injected:
        return
    if rows is not None and {TURNED, PACKED} & set(rows.key):
        return  # in an order of the program's own, which what is summed of them does not know
    if rows is not None and label.kind in (Kind.ROWS, Kind.VERBATIM):
        expected = one.index_select(rows.axis, order) if rows.records == len(order) else None
    elif label.kind in (Kind.AGGREGATE, Kind.MODEL):
        expected = one
    else:
        return
    if expected is not None:
        assert same(expected, two), (label, rows, done)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    one, other = one.detach(), other.detach()
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.is_floating_point() or one.is_complex():
        wide = torch.complex128 if one.is_complex() else torch.float64
        one, other = (t.to(wide).nan_to_num(7.0, 1e300, -1e300) for t in (one, other))
        scale = float(one.abs().max()) if one.numel() else 0.0
        return torch.allclose(one, other, rtol=1e-4, atol=1e-5 * max(scale, 1.0))
    return torch.equal(one, other)


@pytest.mark.brief
@given(numbers)
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_an_aggregate_does_not_know_where_a_record_lay(steps: list[int]) -> None:
    check(steps)


@pytest.mark.slow
@given(numbers)
@pytest.mark.timeout(900)
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_nor_does_it_in_many_more_programs(steps: list[int]) -> None:
    check(steps)
