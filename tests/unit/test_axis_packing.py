"""Packed sequences and records in another order: numbers, gradients, and what the rules say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver
from tests.unit.scientist_kit import Pair, pair

N, STEPS = 24, 5
SIZES = torch.arange(N) % STEPS + 1
DATA = torch.rand(N, STEPS, 3, generator=torch.Generator().manual_seed(1))
T = "torch.Tensor."


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with pair() as made:
        yield made


def run(net: Any, data: Any, lengths: torch.Tensor, first: bool) -> tuple[Any, Any, Any]:
    """Packed outputs, padded ones, and the last states of the last layer."""
    packed = pack_padded_sequence(
        data if first else data.transpose(0, 1), lengths, batch_first=first, enforce_sorted=False
    )
    out, state = net(packed)
    padded, _ = pad_packed_sequence(out, batch_first=first, padding_value=-1.0)
    return out.data, padded, (state[1] if isinstance(state, tuple) else state)[-1]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("lengths", [SIZES, torch.full((N,), STEPS)], ids=["several", "one"])
def test_a_network_over_packed_records_is_one_over_records(
    both: Pair, kind: Any, first: bool, lengths: torch.Tensor
) -> None:
    torch.manual_seed(0)
    net = kind(3, 4, 2, batch_first=first, bidirectional=True)
    remote, x = net.send(both.duet), both.share(DATA)
    both.owner.failures.clear()
    found, expected = run(remote, x, lengths, first), run(net, DATA, lengths, first)
    for mine, theirs in zip(expected, found, strict=True):
        torch.testing.assert_close(both.value(theirs), mine)
        assert both.label(theirs.mean()) == ("aggregate", N, lengths is SIZES)
    targets = torch.rand(N)
    nn.functional.mse_loss(expected[2].sum(1), targets).backward()
    nn.functional.mse_loss(found[2].sum(1), both.share(targets)).backward()
    for mine, theirs in zip(net.parameters(), remote.parameters(), strict=True):
        torch.testing.assert_close(both.value(theirs.grad), mine.grad)
        assert both.label(theirs.grad) == ("aggregate", N, lengths is SIZES)
    assert both.owner.failures == []


@pytest.mark.parametrize("first", [True, False])
def test_a_record_changes_its_own_rows_only(both: Pair, first: bool) -> None:
    """What the rules promise, asked of the very operations."""
    torch.manual_seed(0)
    net = nn.LSTM(3, 4, 2, batch_first=first, bidirectional=True)
    remote, other = net.send(both.duet), DATA.clone()
    other[7] += 0.5
    one, two = (
        [both.value(part) for part in run(remote, both.share(data), SIZES, first)]
        for data in (DATA, other)
    )
    order = SIZES.sort(descending=True).indices.tolist()
    steps = [(step, r) for step in range(STEPS) for r in order if SIZES[r] > step]
    touched = (one[0] != two[0]).any(1)
    assert [steps[row][1] for row in touched.nonzero()[:, 0].tolist()] == [7] * int(SIZES[7])
    for before, after in zip(one[1:], two[1:], strict=True):
        at = 0 if first or before.ndim == 2 else 1
        differs = (before != after).transpose(0, at).reshape(N, -1).any(1)
        assert differs.nonzero()[:, 0].tolist() == [7]


# the same by hand


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def x(driver: Driver) -> Ref:
    return driver.share(DATA)


def order_of(lengths: torch.Tensor) -> tuple[list[int], list[int]]:
    """Rows of a table of records by steps that a packing takes, and how many each step has."""
    sizes = [int((lengths > step).sum()) for step in range(int(lengths.max()))]
    return [r * STEPS + step for step, many in enumerate(sizes) for r in range(many)], sizes


FALLING = SIZES.sort(descending=True).values
ROWS, BATCH = order_of(FALLING)


def packed(d: Driver, x: Ref, rows: list[int] = ROWS) -> Ref:
    return d.ok("torch.index_select", d.ok(T + "flatten", x, 0, 1), 0, d.put(torch.tensor(rows)))


def network(d: Driver, rows: Ref, sizes: list[int] = BATCH, state: Any = None) -> list[Ref]:
    weights = [d.put(torch.rand(shape)) for shape in ((8, 3), (8, 2), (8,), (8,))]
    start = d.put(torch.zeros(1, N, 2)) if state is None else state
    return d.ok(
        "torch.lstm", rows, d.put(torch.tensor(sizes)), (start, start), weights,
        True, 1, 0.0, False, False, outs=3,
    )  # fmt: skip


def total(d: Driver, value: Ref) -> tuple[str, int, bool]:
    return d.label(d.ok("torch.sum", value))


def turned(d: Driver, x: Ref, order: torch.Tensor) -> Ref:
    return d.ok("torch.index_select", x, 0, d.put(order))


ORDER = torch.arange(N).roll(5)


def test_what_is_packed_by_hand_is_an_aggregate_and_injected(driver: Driver, x: Ref) -> None:
    assert total(driver, packed(driver, x)) == ("aggregate", N, True)
    for part in network(driver, packed(driver, x)):
        assert total(driver, part) == ("aggregate", N, True)


def test_records_in_another_order_are_the_same_ones_and_the_way_back_is_known(
    driver: Driver, x: Ref
) -> None:
    there = turned(driver, x, ORDER)
    assert total(driver, there) == ("aggregate", N, False)
    back = turned(driver, there, ORDER.argsort())
    assert total(driver, driver.ok("torch.mul", back, x)) == ("aggregate", N, False)
    for other in (x, turned(driver, x, ORDER.flip(0)), turned(driver, there, ORDER)):
        assert total(driver, driver.ok("torch.mul", there, other))[:2] == ("per_record", 1)


def test_an_index_that_is_no_order_says_nothing_of_the_next_one(driver: Driver, x: Ref) -> None:
    drawn = torch.tensor([*range(N - 1), 0])
    for index, kind in ((drawn, "per_record"), (ORDER, "aggregate"), (drawn, "per_record")):
        assert total(driver, turned(driver, x, index))[0] == kind


CLOSED: dict[str, Callable[[Driver, Ref], Ref]] = {
    "a record left out": lambda d, x: packed(d, x, [n for n in ROWS if n // STEPS != 5]),
    "the last record left out": lambda d, x: packed(
        d, x, [n for n in ROWS if n // STEPS != N - 1]
    ),
    "one record many times": lambda d, x: packed(d, x, [*ROWS[:-1], 0]),
    "another order of the rows": lambda d, x: packed(d, x, [ROWS[1], ROWS[0], *ROWS[2:]]),
    "one row": lambda d, x: packed(d, x, [5]),
    "steps before the first": lambda d, x: packed(d, x, ROWS[N:]),
    "a record twice, in order": lambda d, x: turned(d, x, torch.tensor([*range(N - 1), 0])),
    "some records": lambda d, x: turned(d, x, torch.arange(N - 1)),
    "other batch sizes": lambda d, x: network(d, packed(d, x), [24, 20, 13, 9, 4])[0],
    "as many rows in one step less": lambda d, x: network(
        d, packed(d, x, order_of(torch.full((N,), 2))[0]), [N] + [1] * N,
        d.put(torch.zeros(1, N, 2)),
    )[0],
    "states of another's": lambda d, x: network(
        d, packed(d, x), BATCH, d.share(torch.rand(1, N, 2), record_axis=1)
    )[1],
    "rows that were never packed": lambda d, x: network(
        d, d.share(torch.rand(len(ROWS), 3))
    )[0],
    "two packings": lambda d, x: d.ok(
        "torch.sub", packed(d, x),
        packed(d, turned(d, x, ORDER)),
    ),
    "packed and whole": lambda d, x: d.ok(
        "torch.sub", packed(d, x, list(order_of(torch.full((N,), STEPS))[0])),
        d.ok(T + "flatten", x, 0, 1),
    ),
    "one of the packed rows": lambda d, x: d.ok(T + "__getitem__", packed(d, x), -1),
    "rows put elsewhere": lambda d, x: d.ok(
        "torch.index_copy", d.put(torch.zeros(N * STEPS, 3)), 0,
        d.put(torch.tensor([ROWS[1], ROWS[0], *ROWS[2:]])), packed(d, x),
    ),
    "rows beside numbers of one's own": lambda d, x: d.ok(
        "torch.index_copy", d.put(torch.rand(N * STEPS, 3)), 0, d.put(torch.tensor(ROWS)),
        packed(d, x),
    ),
    "a running sum of what is packed": lambda d, x: d.ok("torch.cumsum", packed(d, x), 0),
    "a batch of what was turned": lambda d, x: d.ok(
        "python.List.__getitem__",
        d.ok("python.next", d.ok("python.iter", d.ok(
            "torch.utils.data.DataLoader",
            d.ok("torch.utils.data.TensorDataset", turned(d, x, ORDER)), batch_size=12,
        ))), 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CLOSED)
def test_what_is_no_packing_of_all_records_is_closed(driver: Driver, x: Ref, what: str) -> None:
    assert total(driver, CLOSED[what](driver, x))[:2] == ("per_record", 1)


def test_states_of_ones_own_for_each_record_are_injected(driver: Driver, x: Ref) -> None:
    rows = packed(driver, x, order_of(torch.full((N,), STEPS))[0])
    own = driver.put(torch.rand(1, N, 2))
    for part in network(driver, rows, [N] * STEPS, own):
        assert total(driver, part) == ("aggregate", N, True)
    for part in network(driver, rows, [N] * STEPS):
        assert total(driver, part) == ("aggregate", N, False)


def test_rows_go_back_to_their_places(driver: Driver, x: Ref) -> None:
    empty = driver.put(torch.zeros(N * STEPS, 3))
    places = driver.put(torch.tensor(ROWS))
    padded = driver.ok("torch.index_copy", empty, 0, places, packed(driver, x))
    again = driver.ok(T + "reshape", padded, [N, STEPS, 3])
    beside = driver.ok("torch.sub", again, x)
    assert driver.label(driver.ok("torch.mean", beside)) == ("aggregate", N, True)
