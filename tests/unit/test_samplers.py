"""Samplers are told by name and numbers, made again of copies, and never hide what they choose."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils import data

from duet_p2p.errors import NotAllowed, QuotaExceeded
from duet_p2p.limits import CONTAINER_ITEMS
from duet_p2p.surface.samplers import batches_of, sampler_of
from tests.unit.scientist_kit import accept, pair

DATA = data.TensorDataset(torch.arange(6.0))


def drawn(sampler: Any) -> list[Any]:
    torch.manual_seed(1)
    return list(sampler)


@pytest.mark.parametrize(
    ("order", "own"),
    [
        (("sequential", None), data.SequentialSampler(DATA)),
        (("sequential", 4), data.SequentialSampler(range(4))),
        (("random", None, False, None), data.RandomSampler(DATA)),
        (("random", 5, True, 9), data.RandomSampler(range(5), True, 9)),
        (("subset", [3, 1, -1]), data.SubsetRandomSampler([3, 1, -1])),
        (("weighted", [0.5, 1, 2], 4, True), data.WeightedRandomSampler([0.5, 1, 2], 4)),
        (("list", torch.tensor([4, 0])), [4, 0]),
    ],
)
def test_an_order_draws_what_torchs_own_sampler_draws(order: Any, own: Any) -> None:
    assert drawn(sampler_of(order, DATA)) == drawn(own)


def test_batches_of_an_order_are_torchs_own() -> None:
    own = data.BatchSampler(data.SequentialSampler(DATA), 4, False)
    assert list(batches_of((("sequential", None), 4, False), DATA)) == list(own)


@pytest.mark.parametrize(
    ("order", "error"),
    [
        (["random"], TypeError),
        (("shuffled",), ValueError),
        (("sequential", 7), IndexError),
        (("random", None, True, 0), ValueError),
        (("random", None, True, CONTAINER_ITEMS + 1), QuotaExceeded),
        (("subset", [6]), IndexError),
        (("subset", [-7]), IndexError),
        (("subset", [True]), IndexError),
        (("list", [1.0]), IndexError),
        (("list", torch.zeros(2, 2)), TypeError),
        (("list", "012"), TypeError),
        (("weighted", [1.0] * 7, 2, True), IndexError),
        (("weighted", [1.0, -1.0], 2, True), ValueError),
        (("weighted", [1.0, float("inf")], 2, True), ValueError),
        (("weighted", [1.0], 2, False), ValueError),
    ],
)
def test_what_is_no_order_is_refused(order: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        sampler_of(order, DATA)


def test_a_list_that_changes_later_does_not_change_the_sampler() -> None:
    indices = [1, 2]
    sampler = sampler_of(("list", indices), DATA)
    indices[0] = 5
    assert list(sampler) == [1, 2]


def test_code_does_not_travel_as_a_sampler() -> None:
    class Mine(data.Sampler[int]):
        def __iter__(self) -> Any:
            return iter([0])

    seeded = data.RandomSampler(DATA, generator=torch.Generator())
    with pair(accept) as both:
        space = both.duet.torch.utils.data
        whole = space.TensorDataset(both.share(torch.randn(4, 2)))
        for sampler in (Mine(), seeded):
            with pytest.raises(NotAllowed):
                space.DataLoader(whole, sampler=sampler)
        with pytest.raises(NotAllowed):
            space.DataLoader(whole, batch_sampler=[[0]])
        with pytest.raises(ValueError, match="mutually exclusive"):
            space.DataLoader(whole, sampler=[0], shuffle=True)


def test_only_every_record_once_keeps_a_mean_an_aggregate() -> None:
    with pair(accept) as both:
        space = both.duet.torch.utils.data
        whole = space.TensorDataset(both.share(torch.randn(20, 2)))

        def kind(sampler: Any) -> tuple[str, int]:
            for (x,) in space.DataLoader(whole, batch_size=20, sampler=sampler):
                x.mean().get(request_block=True)
            facts = both.owner.asked[-1][1]
            return facts.kind, facts.min_records

        assert kind(space.RandomSampler(whole)) == ("aggregate", 20)
        assert kind(space.SequentialSampler(whole)) == ("aggregate", 20)
        for chosen in (
            space.SequentialSampler(range(20)),
            space.RandomSampler(whole, replacement=True),
            space.SubsetRandomSampler(range(20)),
            space.WeightedRandomSampler([1.0] * 20, 20, replacement=False),
            list(range(20)),
        ):
            assert kind(chosen) == ("per_record", 1)


def test_a_length_that_private_values_decided_is_not_told() -> None:
    with pair(accept) as both:
        space = both.duet.torch.utils.data
        x = both.share(torch.tensor([1.0, -1.0, 2.0]))
        whole = space.TensorDataset(x)
        chosen = (x > 0).nonzero().squeeze(1)
        loader = space.DataLoader(whole, sampler=chosen)
        assert len(loader) == 2
        request, facts = both.owner.asked[-1]
        assert request.name == "train_size" and facts.kind == "per_record"


def test_a_split_tells_its_lengths_and_leaves_the_whole_as_it_was() -> None:
    with pair(accept) as both:
        space = both.duet.torch.utils.data
        whole = space.TensorDataset(both.share(torch.randn(20, 2)))
        train, test = space.random_split(whole, [0.8, 0.2])
        assert (len(train), len(test)) == (16, 4)
        for loader, kind in (
            (space.DataLoader(test, batch_size=4), "per_record"),
            (space.DataLoader(whole, batch_size=20, shuffle=True), "aggregate"),
        ):
            for (x,) in loader:
                x.mean().get(request_block=True)
            assert both.owner.asked[-1][1].kind == kind
        assert both.owner.engine.lineage.generator.is_public
