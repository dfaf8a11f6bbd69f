"""A private number's choice is in the label of what it chose, and not in the owner's objects."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from duet_p2p.engine.choice import apart, mark
from duet_p2p.engine.labels import METADATA, to_per_record
from duet_p2p.engine.lineage import Lineage, storage_of
from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver

T, LIST = "torch.Tensor.", "python.List."
N = 64


class Scene(Driver):
    """Two owner's tensors of the same shape, and a private number that is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.x = self.share(torch.rand(N, 4))
        self.y = self.share(torch.rand(N, 4))
        self.zero = self.ok("python.Int", self.ok(T + "select", self.share(torch.zeros(N)), 0, 3))

    def kept(self) -> None:
        """Both are what they were: a mean of either is an aggregate."""
        for ref in (self.x, self.y):
            assert self.label(ref) == ("verbatim", 1, False)
            assert self.label(self.ok("torch.mean", ref)) == ("aggregate", N, False)
            assert not self.engine.store.get(ref.id).value.__dict__.get("_duet_hidden")


def box(d: Scene) -> Ref:
    return d.ok("python.collect", d.x, d.y)


def pairs(d: Scene) -> Ref:
    both = d.ok("python.Dict")
    for key, ref in enumerate((d.x, d.y)):
        d.run("python.Dict.__setitem__", both, key, ref, outs=0)
    return both


def sliced(d: Scene) -> Ref:
    part = d.ok(LIST + "__getitem__", box(d), slice(d.zero, None))
    return d.ok(LIST + "__getitem__", part, 0)


def sliced_tuple(d: Scene) -> Ref:
    part = d.ok("python.Tuple.__getitem__", d.ok("python.Tuple", box(d)), slice(d.zero, None))
    return d.ok("python.Tuple.__getitem__", part, 0)


def popped(d: Scene) -> Ref:
    of = box(d)
    d.ok(LIST + "pop", of, d.zero)
    return d.ok(LIST + "__getitem__", of, 0)


def two_lists(d: Scene) -> Ref:
    """Lists of the scientist's with the owner's tensors in them, in a list."""
    return d.ok("python.collect", d.ok("python.collect", d.x), d.ok("python.collect", d.y))


def one_list(d: Scene) -> Ref:
    return d.ok(LIST + "__getitem__", two_lists(d), d.zero)


def extended(d: Scene, chosen: Ref) -> Ref:
    other = d.ok("python.List")
    d.run(LIST + "extend", other, chosen, outs=0)
    return d.ok(LIST + "__getitem__", other, 0)


def by_its_own_name(d: Scene) -> Ref:
    """What is written to the chosen one shows in both, so both tell it."""
    lists = [d.ok("python.collect", ref) for ref in (d.x, d.y)]
    chosen = d.ok(LIST + "__getitem__", d.ok("python.collect", *lists), d.zero)
    d.run(LIST + "append", chosen, d.x, outs=0)
    return d.ok(LIST + "__getitem__", lists[1], 0)


def deep(d: Scene) -> Ref:
    """A tuple in a dict in a list in a list."""
    inner = [d.ok("python.Tuple", d.ok("python.collect", ref, ref)) for ref in (d.x, d.y)]
    boxes = []
    for ref in inner:
        box = d.ok("python.Dict")
        d.run("python.Dict.__setitem__", box, "a", ref, outs=0)
        boxes.append(d.ok("python.collect", d.ok("python.collect", box)))
    chosen = d.ok(LIST + "__getitem__", d.ok("python.collect", *boxes), d.zero)
    box = d.ok(LIST + "__getitem__", d.ok(LIST + "__getitem__", chosen, 0), 0)
    pair = d.ok("python.Dict.__getitem__", box, "a")
    return d.ok("python.Tuple.__getitem__", pair, 1)


CHOICES = {
    "an element of a list": lambda d: d.ok(LIST + "__getitem__", box(d), d.zero),
    "an element of a tuple": lambda d: d.ok(
        "python.Tuple.__getitem__", d.ok("python.Tuple", box(d)), d.zero),
    "a value of a dict": lambda d: d.ok("python.Dict.__getitem__", pairs(d), d.zero),
    "a value or a default": lambda d: d.ok("python.Dict.dict_get", pairs(d), d.zero, d.y),
    "one of a part": sliced,
    "one of a part of a tuple": sliced_tuple,
    "one taken out": lambda d: d.ok(LIST + "pop", box(d), d.zero),
    "one that was left": popped,
    "one that an iterator came to": lambda d: d.ok("python.next", d.ok(
        "python.iter", d.ok(LIST + "__getitem__", box(d), slice(d.zero, None)))),
    "the tensor in a list that was chosen": lambda d: d.ok(LIST + "__getitem__", one_list(d), 0),
    "by a tuple of that list": lambda d: d.ok("python.Tuple.__getitem__", d.ok(
        "python.Tuple", one_list(d)), 0),
    "by a list of that list": lambda d: d.ok(LIST + "__getitem__", d.ok(
        "python.List", one_list(d)), 0),
    "by another list that took it in": lambda d: extended(d, one_list(d)),
    "by a pass over that list": lambda d: d.ok("python.next", d.ok("python.iter", one_list(d))),
    "by the list under its own name": lambda d: by_its_own_name(d),
    "far below what was chosen": deep,
    "a row": lambda d: d.ok(T + "__getitem__", d.x, d.zero),
    "a row by a number that is a tensor": lambda d: d.ok(
        T + "__getitem__", d.x, d.ok(T + "long", d.ok(T + "select", Ref(-3), 0, 1))),
    "a stretch": lambda d: d.ok(T + "narrow", d.x, 0, d.zero, 3),
    "one of several parts": lambda d: d.ok("python.Tuple.__getitem__", d.ok(
        "torch.tensor_split", d.x, (d.zero,)), 1),
    "the same or a copy": lambda d: d.ok(T + "to", d.x, d.ok(T + "dtype", d.ok(
        LIST + "__getitem__", box(d), d.zero))),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_only_what_was_chosen_tells_the_choice(name: str) -> None:
    d = Scene()
    chosen = CHOICES[name](d)
    for told in (chosen, d.ok("torch.mean", chosen), d.ok(T + "shape", chosen)):
        facts = d.facts(told)
        assert facts.kind == "per_record"
        assert -3 in facts.sources
    d.kept()


@pytest.mark.parametrize("name", CHOICES)
def test_what_was_chosen_is_as_read_only_as_the_owners_object(name: str) -> None:
    d = Scene()
    d.run(T + "zero_", CHOICES[name](d))
    (failure,) = d.failures()
    assert failure.code == "NotAllowed"
    assert d.release(d.x).abs().sum() > 0
    d.kept()


def test_reading_it_costs_no_memory_and_gives_the_owners_numbers() -> None:
    d = Scene()
    lineage = d.engine.lineage
    before = lineage.stored_bytes()
    chosen = d.ok(LIST + "__getitem__", box(d), d.zero)
    assert lineage.stored_bytes() == before
    assert torch.equal(d.release(chosen), d.release(d.x))


def test_a_chosen_object_outlives_the_one_that_it_stands_for() -> None:
    lineage, x = Lineage(), torch.arange(6.0)
    lineage.own(x).is_shared = True
    alias = apart(x[2:], lineage)
    del x
    assert torch.equal(alias, torch.arange(2.0, 6))


ABLE_TO_LIE_APART: dict[str, Callable[[], torch.Tensor]] = {
    "a matrix": lambda: torch.rand(3, 4),
    "its transpose": lambda: torch.rand(3, 4).T,
    "a part with gaps": lambda: torch.rand(4, 3)[1:, ::2],
    "one row many times": lambda: torch.rand(3).expand(2, 3),
    "nothing": lambda: torch.zeros(0, 3),
    "a number": lambda: torch.tensor(2.0),
    "flags": lambda: torch.rand(3) > 0.5,
    "bfloat16": lambda: torch.rand(3).bfloat16(),
    "complex": lambda: torch.rand(3).cfloat(),
    "integers": lambda: torch.arange(3),
}


@pytest.mark.parametrize("name", ABLE_TO_LIE_APART)
def test_it_lies_apart_over_the_same_bytes(name: str) -> None:
    tensor, lineage = ABLE_TO_LIE_APART[name](), Lineage()
    lineage.own(tensor).is_shared = True
    alias = apart(tensor, lineage)
    one, other = storage_of(tensor), storage_of(alias)
    assert one._cdata != other._cdata and one.data_ptr() == other.data_ptr()
    assert torch.equal(alias, tensor)
    assert (alias.stride(), alias.dtype) == (tensor.stride(), tensor.dtype)
    assert lineage.own(alias).read_only


def test_what_can_be_written_to_is_marked_whatever_was_chosen() -> None:
    d = Scene()
    mine, other = d.put(torch.ones(3)), d.put(torch.ones(3))
    of = d.ok("python.collect", mine, other, d.x)
    d.ok(LIST + "__getitem__", of, d.zero)
    assert d.label(mine)[0] == d.label(other)[0] == "per_record"
    d.kept()


def test_a_default_that_a_private_key_could_have_chosen_is_marked() -> None:
    d = Scene()
    default = d.put(torch.ones(3))
    d.ok("python.Dict.dict_get", pairs(d), d.zero, default)
    assert d.label(default)[0] == "per_record"


@pytest.mark.parametrize("name", ["view_as", "reshape_as", "expand_as", "type_as"])
def test_a_shape_or_type_that_is_taken_over_tells_no_numbers(name: str) -> None:
    d = Scene()
    like = d.ok("torch.mul", d.y, 2.0)
    d.ok(T + name, d.x, like)
    d.kept()


def test_a_hidden_shape_that_is_taken_over_is_told() -> None:
    d = Scene()
    some = d.ok("torch.masked_select", d.y, d.ok(T + "gt", d.y, -1.0))
    hidden = d.ok(T + "view", d.ok("torch.masked_select", d.x, d.ok(T + "gt", d.x, -1.0)), N, 4)
    viewed = d.ok(T + "view_as", d.x, hidden)
    assert d.label(viewed)[0] == d.label(some)[0] == "per_record"
    d.kept()


@pytest.mark.parametrize("values", [torch.zeros(N), torch.full((N,), 1e6)])
def test_a_view_that_could_not_be_made_marks_what_one_that_could_would_have(
    values: torch.Tensor,
) -> None:
    d = Driver()
    x, number = d.share(torch.rand(N, 4)), d.share(values)
    own = d.ok("torch.mul", x, 2.0)
    d.run(T + "narrow", own, 0, d.ok("python.Int", d.ok(T + "select", number, 0, 3)), 1)
    assert d.label(own)[0] == d.label(d.ok("torch.mean", own))[0] == "per_record"
    assert d.label(d.ok("torch.mean", x)) == ("aggregate", N, False)


NESTED = ["python.collect", "python.Tuple"]


@pytest.mark.parametrize("kind", NESTED)
def test_what_lies_many_times_in_itself_is_marked_once(kind: str) -> None:
    """Two ways to each part, at every of so many levels: nobody could look at all ways."""
    d = Scene()
    nested = d.ok("python.collect", d.x, d.put(torch.ones(3)))
    for _ in range(60):
        nested = d.ok("python.collect", nested, nested)
        nested = d.ok(kind, nested) if kind != "python.collect" else nested
    get = "python.Tuple.__getitem__" if kind == "python.Tuple" else LIST + "__getitem__"
    chosen = d.ok(get, nested, d.zero)
    for level in range(60):
        chosen = d.ok(get if level < 59 else LIST + "__getitem__", chosen, 0)
    assert d.facts(chosen).kind == "per_record"
    d.kept()


def test_an_operation_on_a_list_that_was_chosen_tells_the_choice() -> None:
    d = Scene()
    facts = d.facts(d.ok("torch.mean", d.ok("torch.stack", one_list(d))))
    assert facts.kind == "per_record" and -3 in facts.sources
    d.kept()


def test_a_deep_list_is_marked_part_by_part() -> None:
    """As many marks as there are parts: none is put on twice."""
    counts = []
    for depth in (100, 200):
        lineage, inner = Lineage(), [torch.zeros(1)]
        for _ in range(depth):
            inner = [inner]
        marked: list[int] = []
        own = lineage.track
        lineage.track = lambda part, own=own, marked=marked: (marked.append(1), own(part))[1]
        mark(inner, to_per_record(METADATA), lineage)
        counts.append(len(marked))
    assert counts[1] == counts[0] + 100


def test_what_is_laid_along_records_is_as_public_as_before():
    d = Scene()
    own = d.put(torch.rand(4))
    along, laid = d.ok("torch.broadcast_tensors", d.x, own, outs=2)
    assert d.label(laid)[0] == d.label(own)[0] == "public"
    assert d.label(d.ok("torch.mean", d.ok("torch.mul", along, laid))) == ("aggregate", N, False)
    d.kept()
