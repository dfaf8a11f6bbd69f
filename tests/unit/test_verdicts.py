"""The verdict on single calls: what each part of `judge` adds to a label, in one small program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver

T, F, DATA = "torch.Tensor.", "torch.nn.functional.", "torch.utils.data."
N, FEW = 64, 5
Program = Callable[["Scene"], Ref]
ONE, OF_SHAPES = ("per_record", 1, False), ("metadata", 0, False)


class Scene(Driver):
    """Numbers of the owner's, a table, and a small group."""

    def __init__(self) -> None:
        super().__init__()
        self.x = self.share(torch.arange(float(N)))
        self.table = self.share(torch.rand(N, 3))
        self.small = self.share(torch.rand(FEW))

    def element(self) -> Ref:
        return self.ok(T + "__getitem__", self.x, 3)

    def number(self) -> Ref:
        """One record as an int."""
        return self.ok("python.Int", self.element())

    def average(self, of: Ref) -> Ref:
        """A mean as a float."""
        return self.ok("python.Float", self.ok("torch.mean", of))

    def total(self, of: Ref) -> Ref:
        return self.ok("torch.sum", of)

    def beside_zeros(self, value: Ref) -> Ref:
        """A number for each record, added to zeros that were the records."""
        return self.total(self.ok("torch.add", self.ok("torch.mul", self.x, 0.0), value))

    def seeded(self) -> None:
        self.run("torch.manual_seed", self.number(), outs=0)
        assert not self.failures()

    def batch(self, size: int) -> Ref:
        loader = self.ok(DATA + "DataLoader", self.ok(DATA + "TensorDataset", self.x), size)
        taken = self.ok("python.next", self.ok("python.iter", loader))
        return self.ok("python.List.__getitem__", taken, 0)

    def written(self, value: Ref, *shape: int, mode: str = "g") -> Ref:
        """Whether a tensor has a graph into which this was written by index."""
        own, all_of_it = self.put(torch.zeros(shape)), slice(0, shape[0])
        place = 0 if len(shape) > 1 else all_of_it
        self.run(T + "__setitem__", own, place, value, outs=0, mode=mode)
        return self.ok(T + "requires_grad", own)

    def missing(self) -> Ref:
        """Private values made it fail, and nobody knows how long it would have been."""
        below = self.ok(T + "long", self.ok("torch.sub", self.x, 5.0))
        counted = self.run("torch.bincount", below)
        assert self.failures()
        return counted

    def either(self) -> Ref:
        """A private number decided whether it is a tensor."""
        both = self.ok("python.collect", self.put(torch.zeros(3)), self.put(1.0))
        first = self.ok("python.Int", self.ok(T + "__getitem__", self.x, 0))
        return self.ok("python.List.__getitem__", both, first)


def less_a_batch(d: Scene) -> Ref:
    """All but one record were taken off: what is left is that one."""
    most = d.ok("torch.div", d.total(d.batch(N - 1)), float(N))
    return d.total(d.ok("torch.sub", d.x, most))


def some_of_their_steps(d: Scene) -> Ref:
    """Four records of three steps as rows of a packing; two of them lack some steps."""
    steps = d.ok(T + "view", d.share(torch.rand(4, 3, 2)), 12, 2)
    rows = [record * 3 + step for step, count in enumerate((4, 2, 1)) for record in range(count)]
    return d.ok("torch.index_select", steps, 0, d.put(torch.tensor(rows)))


VERDICTS: dict[str, tuple[Program, tuple[str, int, bool]]] = {
    # numbers beside the records
    "the mean of a small group, as a number": (
        lambda d: d.beside_zeros(d.average(d.small)), ("aggregate", FEW, False)),
    "the mean of all, as a number": (
        lambda d: d.beside_zeros(d.average(d.x)), ("aggregate", N, False)),
    "a record, as a number": (lambda d: d.beside_zeros(d.number()), ONE),
    "the mean of a batch, off all records": (less_a_batch, ("aggregate", 1, False)),
    "one record of another tensor": (
        lambda d: d.total(d.ok("torch.mul", d.table, d.share(torch.rand(1, 3)))), ONE),
    "the same records in another order": (
        lambda d: d.total(d.ok("torch.mul", d.x, d.ok(
            "torch.index_select", d.x, 0, d.put(torch.arange(N).flip(0))))), ONE),
    # how many records there are is private
    "a sum of a hidden shape": (
        lambda d: d.total(d.share(torch.rand(N), public=False)), ONE),
    # copies of what is raw data, and of something else
    "raw data twice": (lambda d: d.ok("torch.roll", d.x, 1), ("verbatim", 1, False)),
    "raw data and what was made of it": (
        lambda d: d.ok("torch.cat", [d.x, d.ok("torch.exp", d.x)]), ONE),
    "raw data, some of it left out": (some_of_their_steps, ("per_record", 1, True)),
    # what decides a shape
    "as many as a mean has parts above a half": (
        lambda d: d.ok("torch.numel", d.ok("torch.nonzero", d.ok("torch.gt", d.ok(
            "torch.mean", d.table, 0), 0.5))), ONE),
    "different numbers of a mean": (
        lambda d: d.ok("torch.unique", d.ok("torch.mean", d.table, 0)), ONE),
    # what follows from shapes, unless values are asked for
    "zeros like records": (lambda d: d.ok("torch.zeros_like", d.table), OF_SHAPES),
    "a value, filled in": (
        lambda d: d.ok("torch.full_like", d.x, d.ok("torch.mean", d.x)), ONE),
    "a value, filled into a new one": (
        lambda d: d.ok("torch.full", [3], d.ok("torch.mean", d.x)), ONE),
    "a value at the begin": (
        lambda d: d.ok("torch.linspace", d.ok("torch.mean", d.x), 0.0, 5), ONE),
    "a value at the end": (
        lambda d: d.ok("torch.linspace", 0.0, d.ok("torch.mean", d.x), 5), ONE),
    "a value as a size": (
        lambda d: d.ok("torch.tril_indices", d.ok(T + "long", d.element()), 3), ONE),
    "how the owner laid a table out": (
        lambda d: d.ok(T + "is_contiguous", d.table), OF_SHAPES),
    "how a kernel laid one out": (
        lambda d: d.ok(T + "is_contiguous", d.ok("torch.exp", d.table)), ONE),
    # random numbers behind a private seed
    "drawn behind a private seed": (lambda d: (d.seeded(), d.ok("torch.rand", 3))[1], ONE),
    "drawn in the shape of records": (
        lambda d: (d.seeded(), d.ok("torch.rand_like", d.x))[1], ONE),
    "drawn by chances": (
        lambda d: (d.seeded(), d.ok("torch.bernoulli", d.put(torch.full((3,), 0.5))))[1], ONE),
    "drawn around records": (lambda d: d.ok("torch.normal", d.x, 1.0), ONE),
    # whether what was written to has a graph
    "a graph of what takes records": (lambda d: d.written(d.element(), 8), OF_SHAPES),
    "a graph of what takes a missing one": (lambda d: d.written(d.missing(), 8), ONE),
    "no graph is asked for": (lambda d: d.written(d.missing(), 8, mode="n"), OF_SHAPES),
    "a graph of what takes a hidden one": (
        lambda d: d.written(d.ok(T + "__getitem__", d.x, d.ok("torch.gt", d.x, 3.0)), 60), ONE),
    "a graph of what takes a tensor or a number": (lambda d: d.written(d.either(), 8, 3), ONE),
}  # fmt: skip


@pytest.mark.parametrize("what", VERDICTS)
def test_each_part_of_a_verdict_counts(what: str) -> None:
    scene, (program, label) = Scene(), VERDICTS[what]
    assert scene.label(program(scene)) == label


def written_over(d: Scene, own: Ref, *values: Ref) -> Ref:
    """Multiplied by the first ones, and then the last one is copied over it."""
    for name, value in zip(("mul_", "copy_"), values, strict=True):
        d.ok(T + name, own, value)
    return own


def zeroed(d: Scene, own: Ref, *part: Any) -> Ref:
    d.ok(T + "zero_", d.ok(T + part[0], own, *part[1:]) if part else own)
    return own


def filled(d: Scene) -> Ref:
    """A tensor of the scientist's with the records in it."""
    own = d.put(torch.zeros(N))
    d.ok(T + "copy_", own, d.x)
    return own


def joined(d: Scene) -> Ref:
    """A tensor of the scientist's that has a graph."""
    return d.ok("torch.mul", d.put(torch.ones(N, requires_grad=True)), 1.0)


def masked(d: Scene) -> Ref:
    own = d.ok(T + "clone", d.x)
    d.ok(T + "__setitem__", own, d.ok("torch.gt", own, 3.0), 0.0, outs=0)
    return d.total(own)


def mean(d: Scene, of: Ref) -> Ref:
    return d.ok("torch.mean", of)


def steered(d: Scene) -> Ref:
    return mean(d, d.ok("torch.mul", d.x, d.put(torch.rand(N))))


OVERWRITTEN: dict[str, tuple[Program, tuple[str, int, bool], int]] = {
    # the last number says how many of the owner's objects are in it
    "one's own, all of it": (lambda d: zeroed(d, filled(d)), ("public", 0, False), 0),
    "by views that lie beside each other": (
        lambda d: zeroed(d, filled(d), "unfold", 0, 8, 8), ("public", 0, False), 0),
    "a part of it": (
        lambda d: zeroed(d, filled(d), "__getitem__", slice(0, 4)), ONE, 1),
    "by views that lie over each other": (
        lambda d: zeroed(d, d.ok(T + "narrow", filled(d), 0, 0, 20), "unfold", 0, 8, 1), ONE, 1),
    "what private values made": (
        lambda d: zeroed(d, d.ok(T + "clone", d.x)), ("verbatim", 1, False), 1),
    "what they made, one of two results": (
        lambda d: zeroed(d, d.run(T + "sort", d.x, outs=2)[0]), ONE, 1),
    "by a mask": (masked, ("aggregate", N, False), 1),
    # what has no graph keeps nothing of what was there
    "without a graph": (
        lambda d: written_over(d, d.put(torch.zeros(N)), d.x, mean(d, d.small)),
        ("aggregate", FEW, False), 1),
    "with a graph": (lambda d: written_over(d, joined(d), d.x, mean(d, d.small)), ONE, 2),
    "by one over as many of another": (
        lambda d: written_over(d, joined(d), mean(d, d.table), mean(d, d.x)),
        ("aggregate", N, False), 2),
    "by one over more": (
        lambda d: written_over(d, joined(d), mean(d, d.batch(10)), mean(d, d.x)),
        ("aggregate", 1, False), 1),
    "by one over fewer": (
        lambda d: written_over(d, joined(d), mean(d, d.x), mean(d, d.batch(10))),
        ("aggregate", 10, False), 1),
    "by one that nobody steered": (
        lambda d: written_over(d, joined(d), steered(d), mean(d, d.x)), ("aggregate", N, True), 1),
    "by a sum of which one record is left": (
        lambda d: written_over(d, joined(d), d.element(), less_a_batch(d)), ONE, 1),
    "what was made with a graph, by one over more": (
        lambda d: (made := d.ok("torch.mul", joined(d), mean(d, d.batch(10))),
                   d.ok(T + "copy_", made, mean(d, d.x)))[0], ("aggregate", 1, False), 1),
}  # fmt: skip


@pytest.mark.parametrize("what", OVERWRITTEN)
def test_what_was_written_over_counts_where_it_is_still_there(what: str) -> None:
    scene, (program, label, sources) = Scene(), OVERWRITTEN[what]
    written = program(scene)
    assert (scene.label(written), len(scene.facts(written).sources)) == (label, sources)


POWERS = {
    "two by a record": lambda d: ("__pow__", 2, d.number(), "python.Float"),
    "a record by two": lambda d: ("__pow__", d.number(), 2, "python.Int"),
    "two by a record, the other way": lambda d: ("__rpow__", d.number(), 2, "python.Float"),
    "a record by two, the other way": lambda d: ("__rpow__", d.put(2), d.number(), "python.Int"),
    "two by a record, in place": lambda d: ("__ipow__", d.put(2), d.number(), "python.Float"),
}


@pytest.mark.parametrize("what", POWERS)
def test_the_type_of_a_power_tells_no_sign(what: str) -> None:
    scene = Scene()
    name, base, exponent, kind = POWERS[what](scene)
    found = scene.ok(f"python.Int.{name}", base, exponent)
    assert (scene.label(found), scene.facts(found).type) == (ONE, kind)


def test_how_many_parts_there_are_is_as_private_as_a_hidden_length() -> None:
    scene = Scene()
    few = scene.ok(T + "__getitem__", scene.x, scene.ok("torch.gt", scene.x, 3.0))
    assert scene.label(scene.ok("python.len", scene.ok("torch.unbind", few))) == ONE
    for hidden in (few, scene.ok("torch.exp", few)):
        assert scene.label(scene.ok("torch.numel", hidden)) == ONE
    own = scene.put(torch.zeros(60))
    scene.ok(T + "add_", own, few)
    for fact in ("shape", "requires_grad"):
        assert scene.label(scene.ok(T + fact, own)) == ONE


@pytest.mark.parametrize(("count", "rows"), [(1, "cannot be told"), (2, "whole")])
def test_which_records_is_told_of_more_than_one(count: int, rows: str) -> None:
    driver = Driver()
    facts: Any = driver.facts(driver.ok("torch.sum", driver.share(torch.rand(count, 3))))
    assert (facts.kind, facts.min_records, facts.rows) == ("aggregate", count, (rows,))
