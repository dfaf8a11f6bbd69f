"""How long something is that values decided, by every way to make a list or a loader of it.

A tuple, a range and a text carry no label of their own: what decided how long they are is in the
label of their slot. Whatever is made of their items is as private as that: ``list(x.split(n))``
told ``n``, and ``len(iter(range(n)))`` was it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security import laundering_kit
from tests.security.failing_kit import Programs, difference
from tests.security.neighbour_kit import DATA, ONE, OTHER, T, X, choose, flag, number
from tests.security.raw_peer import RawPeer, against, taken_back, waiting
from tests.security.test_neighbour_containers import Neighbour

LISTS, TUPLES, TEXTS = "python.List.", "python.Tuple.", "python.String."
PROGRAMS = Programs()
program = PROGRAMS.program


def one_more(p: Any) -> Ref:
    """1 in one of the data sets, 2 in the other."""
    return p.op("python.Int.__add__", number(p), 1)


def few(p: Any) -> Ref:
    return p.op(T + "__getitem__", X, p.op(T + "__gt__", X, 0.5))


def parts(p: Any) -> Ref:
    """Four parts of an own tensor, or two."""
    return p.op("torch.split", p.put(torch.ones(4)), one_more(p))


def digits(p: Any) -> Ref:
    """A text that is as long as a private number is large."""
    return p.op(TEXTS + "__mul__", "a", number(p))


def measured(p: Any, *made: Ref) -> list[Ref]:
    return [*made, *[p.op("python.len", ref) for ref in made]]


def spread(p: Any, source: Ref) -> list[Ref]:
    """The source in every container that takes its items."""
    lists = [p.put([1]) for _ in range(4)]
    p.do(LISTS + "extend", lists[0], source)
    p.do(LISTS + "__iadd__", lists[1], source)
    p.do(LISTS + "__setitem__", lists[2], slice(0, 1), source)
    p.do(LISTS + "__setitem__", lists[3], slice(0, 0), source)
    listed, paired = p.op("python.List", source), p.op("python.Tuple", source)
    going, held = p.op("python.iter", source), p.op("python.collect", source)
    return measured(
        p, *lists, listed, paired, going, held,
        p.op(LISTS + "__add__", p.put([1]), listed), p.op(LISTS + "copy", listed),
        p.op(LISTS + "__mul__", listed, 2), p.op(TUPLES + "__add__", paired, p.put((1,))),
        p.op("python.List", going), p.op("python.List", paired),
        p.op("python.List", p.op(LISTS + "__getitem__", held, 0)),
        p.op("python.Dict.fromkeys", source), p.op("python.Set", source),
        p.op("torch.zeros", source), p.op(DATA + "TensorDataset", source),
    )  # fmt: skip


@program
def parts_of_a_private_size(p: Any) -> list[Ref]:
    return spread(p, parts(p))


@program
def as_many_parts_as_values_decide(p: Any) -> list[Ref]:
    own, many = p.put(torch.ones(4)), one_more(p)
    names = ("torch.chunk", "torch.tensor_split", T + "split", T + "chunk")
    return [ref for name in names for ref in spread(p, p.op(name, own, many))]


@program
def parts_of_a_hidden_tensor(p: Any) -> list[Ref]:
    made = p.op("torch.unbind", few(p)), p.op("torch.nonzero", few(p))
    return [ref for source in (*made, few(p)) for ref in spread(p, source)]


@program
def a_range_of_a_private_length(p: Any) -> list[Ref]:
    return spread(p, p.op("python.Range", number(p)))


@program
def a_text_of_a_private_length(p: Any) -> list[Ref]:
    return spread(p, digits(p))


@program
def a_part_of_a_tuple_that_ends_somewhere(p: Any) -> list[Ref]:
    return spread(p, p.op(TUPLES + "__getitem__", p.put((1, 2, 3)), slice(0, number(p))))


@program
def words_of_a_private_text(p: Any) -> list[Ref]:
    text, between = p.op("python.String", number(p)), p.put("a1b1c")
    made = [
        p.op(TEXTS + "split", between, text), p.op(TEXTS + "partition", between, text),
        p.op(TEXTS + "splitlines", digits(p)), p.op(TEXTS + "encode", digits(p)),
        p.op(TEXTS + "replace", between, text, "xy"), p.op(TEXTS + "join", digits(p), ["x", "y"]),
    ]  # fmt: skip
    found = [p.op(TEXTS + name, between, text) for name in ("find", "count", "startswith")]
    return [*found, *[ref for source in made for ref in spread(p, source)]]


@program
def loaders_of_private_lists(p: Any) -> list[Ref]:
    data, many = p.op(DATA + "TensorDataset", p.put(torch.ones(9))), one_more(p)
    listed = p.op("python.List", p.op("python.Range", many))
    settings: list[dict[str, Any]] = [
        {"batch_size": many}, {"batch_size": 2, "drop_last": flag(p)}, {"sampler": listed},
        {"batch_sampler": listed}, {"batch_size": choose(p, None, 1)}, {"shuffle": flag(p)},
    ]  # fmt: skip
    loaders = [p.op(DATA + "DataLoader", data, **each) for each in settings]
    lengths = [many, p.op("python.Int.__sub__", 9, many)]
    split = p.op(DATA + "random_split", data, lengths)
    return measured(
        p, *loaders, *[p.op("python.iter", loader) for loader in loaders], split,
        p.op(LISTS + "__getitem__", split, 0), p.op(DATA + "Subset", data, listed),
    )  # fmt: skip


@program
def a_loader_that_may_be_missing_in_a_list(p: Any) -> list[Ref]:
    """That a list takes no loader was told of a loader that failed, and not of one that did not."""
    data = p.op(DATA + "TensorDataset", p.put(torch.arange(4.0)))
    loader = p.op(DATA + "DataLoader", data, batch_size=number(p))
    held = p.op(DATA + "DataLoader.dataset", loader)
    return [p.op("python.iter", held), p.op("python.List", held), p.op("python.Tuple", held)]


@program
def a_tuple_with_a_public_failure(p: Any) -> list[Ref]:
    """Of a copy of the list that was chosen, its failure was told."""
    one, other = p.put([1]), p.put([2])
    chosen = choose(p, one, other)
    p.do(LISTS + "append", one, p.op("torch.nope"))
    return [p.op("python.Tuple", chosen)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_private_length_shows_nowhere(name: str) -> None:
    made = PROGRAMS[name]
    with torch.random.fork_rng(()):
        assert not difference(Neighbour(ONE).shown(made), Neighbour(OTHER).shown(made))


# by the raw wire: the number itself


def _written_in_a_slice(p: RawPeer) -> Ref:
    box = p.put([1])
    p.do(LISTS + "__setitem__", box, slice(0, 1), p.op("python.Range", laundering_kit.number(p)))
    return box


TOLD: dict[str, Callable[[RawPeer], Ref]] = {
    "items of an iterator over a range": lambda p: p.op(
        "python.iter", p.op("python.Range", laundering_kit.number(p))
    ),
    "items of an iterator over a text": lambda p: p.op(
        "python.iter", p.op(TEXTS + "__mul__", "a", laundering_kit.number(p))
    ),
    "a list of the parts": lambda p: p.op(
        "python.List", p.op("torch.split", p.put(torch.ones(60)), laundering_kit.number(p))
    ),
    "a slice of a list, written over": _written_in_a_slice,
}


@pytest.fixture(scope="module")
def session() -> Iterator[tuple[OwnerDuet, RawPeer]]:
    with against({"secret": laundering_kit.VALUES}) as (duet, raw):
        duet.requests.add_handler(name="loss", action="accept")
        yield duet, raw


@pytest.mark.parametrize("what", TOLD)
def test_no_length_gives_a_private_number_away(session: Any, what: str) -> None:
    duet, raw = session
    before = len(raw.told(wire.Meta))
    length = raw.op("python.len", TOLD[what](raw))
    answer = raw.get(length)
    assert isinstance(answer, wire.NotYours) and answer.state == "never", answer
    assert not [meta for meta in raw.told(wire.Meta)[before:] if meta.length]
    request = waiting(duet, raw, length, "loss")
    assert not request.failed and request.sources == ["secret"] and request.min_records == 1
    taken_back(raw, request)


def test_two_lists_that_are_compared_give_no_private_number_away() -> None:
    """The answer of two tensors is one, which had no label: so a list of it was public."""
    with against({"secret": torch.tensor([5.0, 6.0])}) as (_, raw):
        element, own = raw.op(T + "__getitem__", X, slice(0, 1)), raw.put(torch.tensor([5.5]))
        for kind in ("List", "Tuple"):
            pair = [raw.op(f"python.{kind}", raw.op("python.collect", t)) for t in (element, own)]
            for name in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"):
                for way in ("python.List", "python.Tuple", "python.collect", T + "clone"):
                    answer = raw.op(f"python.{kind}.{name}", *pair)
                    ref = raw.op(way, answer)  # before anything else looks at the answer
                    assert isinstance(raw.get(ref), wire.NotYours), (kind, name, way)
                    assert raw.ask(ref, "loss") == raw.ask(answer, "loss") == "Expired"
