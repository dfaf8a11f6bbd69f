"""Which records are in a batch: the row sets of data sets, loaders and their passes.

A batch of an owner's whole data set, in order or shuffled by torch's own sampler, is a set of
distinct records; the batches of one pass are disjoint. Everything a scientist can use to choose
records (`Subset`, samplers, `ConcatDataset`, sampling with replacement) closes the way to
aggregates; the data stays labelled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
    TensorDataset,
)

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.labels import (
    PUBLIC,
    UNBOUNDED,
    Atom,
    Kind,
    Label,
    Rows,
    bounded_writers,
    join,
    to_per_record,
)
from duet_p2p.engine.lineage import ATOMIC, Lineage, reach, storage_of
from duet_p2p.engine.store import Poison

__all__ = [
    "DATASET_SOURCES",
    "Pass",
    "Records",
    "draw",
    "is_of_any_size",
    "is_random_transform",
    "label_filled",
    "next_batch",
    "of_items",
    "of_shapes",
    "records_of",
    "start_pass",
    "whole_rows",
]

DATASET_SOURCES: Final = -(1 << 40)
"""Source ids from here downwards are data sets read from the owner's directories, which have no
object of their own in the store."""


@dataclass(frozen=True, slots=True)
class Records:
    """A data set whose elements are one distinct record each."""

    label: Label
    is_injected: bool
    """Something public stands beside the records, or is drawn for each."""
    of_all: int = 0
    """How many there are, if each was computed with a number over all of them (a mean)."""


@dataclass(slots=True)
class Pass:
    """One pass over a loader."""

    loader: int
    """Unique number of the loader."""
    number: int
    records: Records | None
    size: int = 1
    """Of a batch that is not the last."""
    taken: int = 0


def whole_rows(tensor: torch.Tensor, source: int, axis: int | None = 0) -> Rows | None:
    """The rows of a tensor that the owner shared, with its records along this axis.

    None: it has no such axis, or the owner says that no axis has them.
    """
    if axis is None or not 0 <= axis < tensor.ndim:
        return None
    atom = Atom(frozenset({source}), ("whole",))
    return Rows(axis, tensor.shape[axis], ("whole",), frozenset({atom}))


def records_of(dataset: Any, lineage: Lineage) -> Records | None:
    """What is known about a data set's elements; None if they are not distinct whole records."""
    entry = lineage.find(dataset)
    if entry is not None and isinstance(entry.origin, Records):
        return entry.origin
    if type(dataset) is not TensorDataset:
        return None
    rows = [lineage.rows(t) for t in dataset.tensors]
    known = [r for r in rows if r is not None]
    private = [lineage.label(t) for t in dataset.tensors if not lineage.label(t).is_public]
    if not known or len(known) != len(private):
        return None
    if any(r.axis != 0 or r.key != ("whole",) or r.records != known[0].records for r in known):
        return None
    sources = frozenset[int]().union(*(label.sources for label in private))
    is_injected = len(known) < len(rows) or any(label.injected for label in private)
    is_injected = is_injected or any(r.thinned for r in known)  # a batch would forget it
    writers = bounded_writers(label.writers for label in private)
    dropout = any(label.dropout for label in private)
    label = Label(Kind.VERBATIM, sources, frozenset(), 1, is_injected, writers, dropout)
    # What met the records on their way is in every batch. Of numbers over all of them, as in
    # ``x - mean``, it is known what a batch can be subtracted from; all else would be forgotten.
    met = [r for r in known if r.floor < UNBOUNDED]
    if any(r.floor < r.records or any(a.group != ("whole",) for a in r.atoms) for r in met):
        return None
    return Records(label, is_injected, known[0].records if met else 0)


def start_pass(loader: Any, lineage: Lineage) -> Pass:
    """A new pass over a loader, as `iter` begins one."""
    entry = lineage.track(loader)
    if not isinstance(entry.origin, int):
        entry.origin = 0
    entry.origin += 1
    number = entry.origin
    if type(_order_of(loader)) is SequentialSampler:
        number = 0  # each pass has the same batches
    size = getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    return Pass(entry.uid, number, _loader_records(loader, lineage), size or 1)


def _order_of(loader: Any) -> Any:
    """The sampler that a loader goes by, None if that gives no records one by one.

    ``loader.sampler`` is another one where whole batches were given: in order, and asked by nobody.
    """
    batches = loader.batch_sampler if isinstance(loader, DataLoader) else None
    return batches.sampler if type(batches) is BatchSampler else None


def _loader_records(loader: Any, lineage: Lineage) -> Records | None:
    sampler: Any = _order_of(loader)
    if type(sampler) is RandomSampler:
        if sampler.replacement or sampler._num_samples is not None:
            return None
    elif type(sampler) is not SequentialSampler:
        return None
    if sampler.data_source is not loader.dataset:
        return None
    return records_of(loader.dataset, lineage)


def _as_it_was(step: Pass, loader: Any, lineage: Lineage) -> Records | None:
    """The records of a pass, unless they or what they go through were changed since.

    A list of transforms, and the tensors of a data set, may belong to the scientist, who can write
    to them at any time.
    """
    records = step.records
    if records is None:
        return None
    is_injected = records.is_injected
    for part in reach(loader):
        if type(part) is TensorDataset:
            now = records_of(part, lineage)
            if now is None or replace(now, label=records.label) != replace(
                records, is_injected=now.is_injected
            ):
                return None
            if now.label.sources != records.label.sources:
                return None
            is_injected = is_injected or now.is_injected
        is_injected = is_injected or is_random_transform(part)
        entry = None if isinstance(part, torch.Tensor) else lineage.find(part)
        for label in () if entry is None else (entry.content, entry.structure):
            if label.kind in (Kind.PUBLIC, Kind.METADATA):
                continue
            if label.kind is not Kind.VERBATIM or not label.sources <= records.label.sources:
                return None
    if is_injected == records.is_injected:
        return records
    return replace(records, label=replace(records.label, injected=True), is_injected=True)


def of_shapes(target: Any, lineage: Lineage) -> Label:
    """What private values decided of the shapes of what a loader or a data set gives.

    Tensors of a hidden size below it, and its settings. Where items differ in shape, also what
    chose them: the order of a loader over joined data sets, and random transforms of any size.
    """
    parts, labels = reach(target), list[Label]()
    is_mixed = any(isinstance(part, ConcatDataset) for part in parts)
    for part in parts:
        if isinstance(part, torch.Tensor):
            labels += [lineage.label(part)] if lineage.hidden(part) else []
            continue
        if (entry := lineage.find(part)) is not None:
            labels.append(entry.structure)
            if isinstance(part, Poison) and part.is_tensor:
                labels.append(entry.content)
            if is_mixed and entry.content.kind is not Kind.VERBATIM:  # that of the records alone
                labels.append(entry.content)
        if is_of_any_size(part):
            labels.append(to_per_record(lineage.generator))
    return join(labels)


def label_filled(given: Arguments, result: Any, lineage: Lineage) -> None:
    """Label tensors that a container was filled with by running over a loader or data set.

    Elements of containers have their labels already; what a loader makes on the way has none.
    """
    kinds = (torch.Tensor, list, tuple, dict, set, *ATOMIC)
    if all(isinstance(value, kinds) for value in given.values()):
        return
    every = given.all(lineage)
    if not is_private(every):
        return
    known = {storage_of(t)._cdata for t in given.sources}
    is_hidden = any(lineage.hidden(t) for t in given.sources)
    for value in (result, *given.args):
        for part in reach(value):
            if isinstance(part, torch.Tensor) and storage_of(part)._cdata not in known:
                owned = lineage.own(part)
                owned.label = join((owned.label, to_per_record(every)))
                owned.hidden = owned.hidden or is_hidden


def of_items(given: Arguments, lineage: Lineage) -> Label:
    """What private values decided of the items of a data set that is gone through by itself.

    How long it is decides which item of several that are joined comes next: a view of a tensor.
    """
    first = given.args[0] if given.args else None
    source = getattr(first, "source", first)
    is_missing = isinstance(source, Poison) and source.records == "one" and not source.is_loader
    if not (is_missing or isinstance(source, Dataset)):
        return PUBLIC
    shapes = of_shapes(first, lineage)
    return to_per_record(join((shapes, given.all(lineage)))) if is_private(shapes) else PUBLIC


def is_random_transform(part: Any) -> bool:
    """Whether this draws a random number for each record."""
    name = type(part).__name__
    return (name.startswith("Random") and not isinstance(part, Sampler)) or name in _RANDOM


def is_of_any_size(part: Any) -> bool:
    """Whether this is a random transform whose images may be of several sizes."""
    return type(part).__name__ in _OF_ANY_SIZE


_RANDOM: Final = frozenset({"ColorJitter", "GaussianBlur"})
_OF_ANY_SIZE: Final = frozenset({"RandomApply", "RandomChoice", "RandomOrder"})
"""Where others are in them; a test asks torchvision (tests/unit/test_random_transforms.py)."""


def next_batch(step: Pass, loader: Any, batch: Any, lineage: Lineage) -> Label | None:
    """Label the tensors of a batch; None if the pass is not over whole distinct records."""
    number = step.taken
    step.taken += 1
    records = _as_it_was(step, loader, lineage)
    if records is None:
        return None
    atom = Atom(records.label.sources, ("pass", step.loader, step.number))
    key = ("batch", step.loader, step.number, number)
    # With a number over all records beside them, a batch can be taken from the whole, and what is
    # left of it by the other batches.
    floor = records.of_all % step.size or step.size if records.of_all else UNBOUNDED
    for part in reach(batch):
        if isinstance(part, torch.Tensor):
            entry = lineage.own(part)
            entry.label = records.label
            if part.ndim:
                lineage.set_rows(part, Rows(0, part.shape[0], key, frozenset({atom}), floor))
        elif not isinstance(part, (tuple, *ATOMIC)):
            lineage.track(part).content = records.label
    return records.label


def draw(given: Arguments, result: Any, drawn: Label, lineage: Lineage) -> None:
    """A pass over a loader began, or went on, with random numbers of this label."""
    if not is_private(drawn):
        return
    for value in (result, *given.args[:1]):
        entry = None if isinstance(value, ATOMIC) else lineage.find(value)
        source = getattr(value, "source", None)
        is_drawn = isinstance(source, DataLoader | Dataset)
        if is_drawn or (entry and isinstance(entry.origin, Pass)):
            entry = lineage.track(value)
            entry.content = join((entry.content, to_per_record(drawn)))
