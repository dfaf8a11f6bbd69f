"""Which records a batch is made of."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from duet_p2p.engine.batches import Records, next_batch, records_of, start_pass, whole_rows
from duet_p2p.engine.labels import Kind, Label
from duet_p2p.engine.lineage import Lineage

LABEL = Label(Kind.VERBATIM, frozenset({-1}), frozenset(), 1, False)


class Steps:
    """A data set's transform that its owner may change."""


@pytest.fixture
def lineage():
    return Lineage()


@pytest.fixture
def dataset(lineage):
    x = torch.arange(20.0)
    lineage.own(x).label = LABEL
    lineage.set_rows(x, whole_rows(x, -1))
    return TensorDataset(x)


def batches(loader, lineage):
    step = start_pass(loader, lineage)
    for batch in loader:
        label = next_batch(step, loader, batch, lineage)
        yield batch[0], label


def test_batches_of_one_pass_are_disjoint_rows_of_one_group(dataset, lineage):
    rows = [lineage.rows(x) for x, _ in batches(DataLoader(dataset, 8, shuffle=True), lineage)]
    assert [r.records for r in rows] == [8, 8, 4]
    assert len({r.key for r in rows}) == 3
    assert len({r.atoms for r in rows}) == 1


def test_another_shuffled_pass_is_another_group_and_an_ordered_one_is_not(dataset, lineage):
    def atoms(loader):
        return [next(iter(lineage.rows(x).atoms)) for x, _ in batches(loader, lineage)]

    shuffled, ordered = DataLoader(dataset, 10, shuffle=True), DataLoader(dataset, 10)
    assert set(atoms(shuffled)).isdisjoint(atoms(shuffled))
    assert set(atoms(ordered)) == set(atoms(ordered))
    assert set(atoms(ordered)).isdisjoint(atoms(DataLoader(dataset, 10)))


def test_so_it_is_where_a_sampler_gives_whole_batches(dataset, lineage):
    def atoms(order):
        loader = DataLoader(dataset, batch_sampler=BatchSampler(order(dataset), 10, False))
        return [
            {next(iter(lineage.rows(x).atoms)) for x, _ in batches(loader, lineage)}
            for _ in range(2)
        ]

    one, other = atoms(RandomSampler)
    assert one.isdisjoint(other)
    one, other = atoms(SequentialSampler)
    assert one == other


@pytest.mark.parametrize("make", [
    lambda ds: DataLoader(Subset(ds, [0, 0]), 2),
    lambda ds: DataLoader(ds, 4, sampler=RandomSampler(ds, replacement=True)),
    lambda ds: DataLoader(ds, 4, sampler=RandomSampler(ds, num_samples=4)),
    lambda ds: DataLoader(ds, 4, sampler=[0, 0, 0, 0]),
    lambda ds: DataLoader(ds, batch_sampler=[[0, 0, 0, 0]]),
    lambda ds: DataLoader(ds, batch_sampler=BatchSampler([0, 0, 0, 0], 4, False)),
    lambda ds: DataLoader(ds, batch_sampler=BatchSampler(SubsetRandomSampler([0]), 4, False)),
    lambda ds: DataLoader(ds, batch_sampler=BatchSampler(RandomSampler(ds, True), 4, False)),
])  # fmt: skip
def test_whoever_names_records_gets_none(make, dataset, lineage):
    for x, label in batches(make(dataset), lineage):
        assert label is None and lineage.rows(x) is None


def test_a_public_column_is_injected(dataset, lineage):
    records = records_of(TensorDataset(dataset.tensors[0], torch.ones(20)), lineage)
    assert records.is_injected and records.label.injected
    assert records_of(TensorDataset(torch.ones(20)), lineage) is None


def test_a_changed_data_set_has_no_rows(dataset, lineage):
    lineage.written(dataset.tensors[0])
    assert records_of(dataset, lineage) is None


def test_a_transform_that_became_private_in_the_middle_of_a_pass_closes_the_way(dataset, lineage):
    steps = dataset.transform = Steps()
    entry = lineage.track(dataset)
    entry.content, entry.origin = LABEL, Records(LABEL, False)
    labels = []
    for number, (_, label) in enumerate(batches(DataLoader(dataset, 5), lineage)):
        labels.append(label)
        if number == 1:
            other = Label(Kind.AGGREGATE, frozenset({-2}), frozenset(), 20, False)
            lineage.track(steps).content = other
    assert labels == [LABEL, LABEL, None, None]


def test_random_transforms_are_injected(dataset, lineage):
    class RandomFlip:
        pass

    dataset.transform = RandomFlip()
    lineage.track(dataset).origin = Records(LABEL, False)
    for _, label in batches(DataLoader(dataset, 5), lineage):
        assert label.injected
