"""Every entry of torch's own operator database, here and through pointers, forward and gradient.

In the default run the first sample of each, forward; with ``-m slow`` every sample, and gradients
of the first four; gradients of every sample with ``DUET_GRADIENTS=all`` (seven minutes of a core).
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db

from duet_p2p.errors import NotAllowed, NotReleased, RemoteError
from duet_p2p.surface.table import TABLE
from tests.surface.joined import Joined, joined
from tests.surface.listed import LISTED
from tests.surface.replay import (
    assert_same,
    factory,
    fetched,
    function_of,
    gradients,
    locally,
    pointers_in,
    remotely,
    tensors_in,
)

FEW = 1
GRADIENTS = None if os.environ.get("DUET_GRADIENTS") == "all" else 4
CHANGED_IN_PLACE = frozenset(
    {"cauchy", "exponential", "geometric", "log_normal", "normal.in_place", "uniform"}
)
"""They write to their argument, and an owner's object cannot be written to."""
OVERWRITTEN = frozenset({"zero_"})
"""Of a copy of the owner's data that was overwritten, nothing is left to ask for."""


def entry_of(op: Any) -> str:
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


ENTRIES = {
    entry_of(op): op
    for op in op_db
    if torch.float32 in op.supported_dtypes("cpu") and "jiterator" not in op.name  # CUDA only
}
INTEGER = {
    entry_of(op): op
    for op in op_db
    if entry_of(op) not in ENTRIES
    and torch.int64 in op.supported_dtypes("cpu")
    and "jiterator" not in op.name
}
DIFFERENTIABLE = {name: op for name, op in ENTRIES.items() if op.supports_autograd}


@pytest.fixture(scope="module")
def both() -> Iterator[Joined]:
    with joined() as made:
        made.owner.requests.add_handler(action="accept")
        yield made


def samples(
    op: Any, count: int | None, dtype: Any = torch.float32, **options: Any
) -> Iterator[Any]:
    """Arguments of the database's samples that work here, with the local result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield from itertools.islice(op.sample_inputs("cpu", dtype, **options), count)


def compare(
    both: Joined, op: Any, count: int | None, wrap: Callable[..., Any] | None = None, **options: Any
) -> None:
    """All samples are equal, or refused as unsupported.tsv says."""
    listed = LISTED.get(("op", entry_of(op)))
    worked = refused = 0
    for sample in samples(op, count, **options):
        args, kwargs = (sample.input, *sample.args), sample.kwargs
        here = there = function_of(op)
        if next(tensors_in((args, kwargs)), None) is None:
            here, there = factory(torch, op.name), partial(on_owner, both, op.name)
        if wrap is not None:
            here, there = partial(wrap, here), partial(wrap, there)
        try:
            expected = locally(here, args, kwargs)
        except (RuntimeError, ValueError, TypeError, IndexError):
            continue  # a sample of an error
        try:
            found = remotely(both.scientist, there, args, kwargs)
        except (NotAllowed, RemoteError, RuntimeError) as error:
            if listed is None or not listed.says.search(f"{type(error).__name__}: {error}"):
                raise
            refused += 1
            continue
        assert_same(expected, found)
        worked += 1
    assert worked or refused, "no sample was compared"
    if listed is not None and listed.is_whole:
        assert not worked, "it works: take it off the list"
    elif listed is not None and count is None and wrap is None:  # samples of gradients are others
        assert refused, "every sample works: take it off the list"


def on_owner(both: Joined, name: str, *args: Any, **kwargs: Any) -> Any:
    return factory(both.scientist.torch, name)(*args, **kwargs)


@pytest.mark.brief
@pytest.mark.parametrize("entry", ENTRIES)
def test_the_first_samples_are_equal(both: Joined, entry: str) -> None:
    compare(both, ENTRIES[entry], FEW)


@pytest.mark.parametrize("entry", INTEGER)
def test_the_first_samples_of_whole_numbers_are_equal(both: Joined, entry: str) -> None:
    compare(both, INTEGER[entry], FEW, dtype=torch.int64)


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES)
def test_every_sample_is_equal(both: Joined, entry: str) -> None:
    compare(both, ENTRIES[entry], None)


@pytest.mark.slow
@pytest.mark.parametrize("entry", DIFFERENTIABLE)
def test_every_gradient_is_equal(both: Joined, entry: str) -> None:
    compare(both, DIFFERENTIABLE[entry], GRADIENTS, gradients, requires_grad=True)


def test_the_list_is_short() -> None:
    whole = {entry for (suite, entry), one in LISTED.items() if suite == "op" and one.is_whole}
    assert whole <= ENTRIES.keys(), "an entry of the list is gone from torch"
    refused = {entry for entry in whole if LISTED["op", entry].is_safety}
    assert len(ENTRIES) - len(whole) + len(refused) >= 650
    assert len(refused) <= 12
    assert len(DIFFERENTIABLE.keys() - whole) >= 515


# what the same replay shows besides


@pytest.fixture(scope="module")
def asked() -> Iterator[Joined]:
    with joined() as made:
        made.owner.requests.add_handler(action="accept")
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("entry", sorted(ENTRIES.keys() - CHANGED_IN_PLACE - OVERWRITTEN))
def test_nothing_of_an_owners_data_comes_back_unasked(asked: Joined, entry: str) -> None:
    op = ENTRIES[entry]
    listed = LISTED.get(("op", entry))
    if listed is not None and listed.is_whole:
        return  # not offered at all
    for sample in samples(op, 1):
        tree = ((sample.input, *sample.args), sample.kwargs)
        tensors = list(tensors_in(tree))
        if not tensors:
            continue
        args, kwargs = shared(asked, tree, tensors)
        try:
            result = function_of(op)(*args, **kwargs)
        except NotAllowed:
            continue
        for pointer in pointers_in(result):
            before = len(asked.owner.requests.history)
            with pytest.raises((NotReleased, RemoteError)):
                pointer.get()
            try:
                fetched(pointer)
            except RemoteError:
                continue  # what failed on the way tells so only after it was asked for
            assert len(asked.owner.requests.history) > before
        del result, args, kwargs
    for item in list(asked.owner.store):
        item.delete()


def shared(asked: Joined, tree: Any, tensors: list[Any]) -> Any:
    """The same tree with each tensor shared by the owner, and the scientist's pointers to them."""
    from torch.utils._pytree import tree_map

    made = {}
    for tensor in {id(t): t for t in tensors}.values():
        handle = asked.owner.send(tensor.detach().clone())
        made[id(tensor)] = handle.id_at_location
    by_id = {}
    while len(by_id) < len(made):
        by_id = {
            p.id_at_location: p for p in asked.scientist.store if p.id_at_location in made.values()
        }
    return tree_map(
        lambda leaf: by_id[made[id(leaf)]] if isinstance(leaf, torch.Tensor) else leaf, tree
    )


def test_only_names_of_the_table_crossed_and_nothing_is_left(both: Joined) -> None:
    compare(both, ENTRIES["add"], FEW)  # alone, the test has to see something
    assert both.names and both.names <= TABLE.keys()
    assert both.own_objects() == 0
