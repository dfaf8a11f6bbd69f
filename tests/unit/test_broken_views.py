"""Views whose base was written to: torch refuses them, and the engine goes on.

Its own look at them raises nothing: the scientist's command fails like in local torch, for all to
see, and what else it names is as it was.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.surface.callables import CALLABLES
from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver

T = "torch.Tensor."
MODES = {"g": torch.enable_grad, "n": torch.no_grad, "i": torch.inference_mode}
SEVERAL: dict[str, tuple[Any, ...]] = {
    "torch.split": (2,), T + "split": (2,), "torch.split_with_sizes": ([2, 2],),
    "torch.unbind": (), "torch.chunk": (2,),
}  # fmt: skip
"""Names that give several views, with what they are given beside the tensor."""
READS: list[tuple[Any, ...]] = [
    ("is_leaf",), ("requires_grad",), ("retain_grad",), ("retains_grad",), ("grad",), ("sum",),
    ("detach",), ("data",), ("clone",), ("view", -1), ("argmax",), ("requires_grad_",),
    ("requires_grad=", True), ("add_", 1.0), ("zero_",), ("__setitem__", 0, 1.0), ("shape",),
    ("grad=", None), ("data=", "itself"), ("copy_", "itself"), ("stride",),
    ("backward", "itself"), ("type_as", "itself"), ("eq", "itself"), ("tolist",),
]  # fmt: skip


class Here:
    """The same program in local torch."""

    def __init__(self, made: torch.Tensor, weight: torch.Tensor) -> None:
        self.base = made * weight.clone().requires_grad_()

    def run(self, name: str, *args: Any, mode: str = "g", outs: int = 1) -> Any:
        with MODES[mode]():
            return CALLABLES[name](*args)


class There:
    """The program in an engine."""

    def __init__(self, made: torch.Tensor, weight: torch.Tensor, *, is_private: bool) -> None:
        self.driver = Driver()
        data = self.driver.share(made) if is_private else self.driver.put(made)
        self.base = self.driver.ok("torch.mul", data, self.driver.put(weight.requires_grad_()))

    def run(self, name: str, *args: Any, mode: str = "g", outs: int = 1) -> Any:
        result = self.driver.run(name, *args, mode=mode, outs=outs)
        if failures := self.driver.failures():
            (failure,) = failures
            assert failure.is_public, failure
            raise RuntimeError(failure.text)
        return result


def several(p: Here | There, name: str) -> list[Any]:
    parts = p.run(name, p.base, *SEVERAL[name], outs=4 if name.endswith("unbind") else 2)
    return list(parts)


def one_by_one(p: Here | There, _: str) -> list[Any]:
    """Views that were made without gradients."""
    return [p.run(T + "narrow", p.base, 0, start, 2, mode="n") for start in (0, 2)]


def inferred(p: Here | There, _: str) -> list[Any]:
    return [p.run(T + "narrow", p.base, 0, start, 2, mode="i") for start in (0, 2)]


WAYS: dict[str, Callable[[Here | There, str], list[Any]]] = {
    **dict.fromkeys(SEVERAL, several), "no_grad": one_by_one, "inference_mode": inferred,
}  # fmt: skip

USUAL = {"torch.split", "no_grad"}


def outcome(p: Here | There, way: str, write: str, mode: str, read: tuple[Any, ...]) -> list[str]:
    """What fails of a program, with what it says."""
    views, told = WAYS[way](p, way), []
    target = {"base": p.base, "another": views[1], "itself": views[0]}[write]
    short, *args = read
    args = [views[0] if arg == "itself" else arg for arg in args]
    for name, *rest, how in ((T + "mul_", target, 2.0, mode), (T + short, views[0], *args, "g")):
        if name in CALLABLES:
            try:
                p.run(name, *rest, mode=how)
            except RuntimeError as error:
                told.append(str(error).removeprefix("RuntimeError: "))
    return told


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    made, weight = torch.rand(2, 4, 2, 2, generator=generator)
    return made, weight


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
@pytest.mark.parametrize("is_private", [False, True])
@pytest.mark.parametrize(
    "way", [way if way in USUAL else pytest.param(way, marks=pytest.mark.slow) for way in WAYS]
)
def test_a_command_fails_like_in_local_torch(
    way: str, is_private: bool, caplog: pytest.LogCaptureFixture
) -> None:
    count = 0
    for write, mode, read in [(w, m, r) for w in WRITES for m in "gn" for r in READS]:
        here = outcome(Here(*tensors()), way, write, mode, read)
        there = There(*tensors(), is_private=is_private)
        told = outcome(there, way, write, mode, read)
        assert [text[:60] for text in told] == [text[:60] for text in here], (write, mode, read)
        count += len(told)
        there.driver.ok("torch.sum", there.base, mode="n")  # nothing of it is lost
        assert not there.driver.facts(there.base).failed
    assert count > 50
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


WRITES = ("base", "another", "itself")


def test_a_list_of_broken_views_is_dropped_listed_and_read(
    caplog: pytest.LogCaptureFixture,
) -> None:
    p = There(*tensors(), is_private=True)
    views = several(p, "torch.split")
    box = p.run("python.collect", *views)
    p.run(T + "mul_", p.base, 2.0)
    assert p.driver.facts(views[0]).kind == p.driver.facts(box).kind
    assert torch.equal(p.driver.release(box)[0], p.driver.release(views[0]))
    with contextlib.suppress(RuntimeError):
        p.run("torch.cat", box)
    p.driver.ok("torch.cat", p.run("python.collect", p.run(T + "detach", views[0])))
    p.driver.delete(box, *views)
    assert not caplog.records


class Neighbour:
    """A program on a secret: how it is told of at its end."""

    def __init__(self, secret: float) -> None:
        self.driver = d = Driver()
        one = d.share(torch.full((4, 2), secret), record_axis=None)
        self.number = d.ok(T + "item", d.ok("torch.mean", one))
        self.places = d.ok(T + "reshape", d.ok(T + "long", d.ok("torch.mean", one)), [1])
        self.two = d.ok("torch.cat", d.ok("python.collect", self.places, d.put(torch.tensor([0]))))
        self.leaf = d.put(torch.ones(4, 2, requires_grad=True))
        self.base = d.ok("torch.mul", self.leaf, 2.0)
        self.views = d.run("torch.split", self.base, 2, outs=2)
        self.of_leaf = d.run("torch.split", self.leaf, 2, outs=2)

    def told(self) -> list[Any]:
        found = []
        for view in (self.views[0], self.of_leaf[0]):
            self.driver.run("torch.sum", view)
            found += [(f.is_public, f.code, f.text) for f in self.driver.failures()]
            found.append(self.driver.facts(view).kind)
        return found


def rows(n: Neighbour) -> Ref:
    return n.driver.ok("torch.ones", 1, 2)


LEFT_OUT: dict[str, Callable[[Neighbour], Any]] = {
    "index_fill_": lambda n: n.driver.run(T + "index_fill_", n.base, 0, n.places, 1.0, mode="n"),
    "index_copy_": lambda n: n.driver.run(
        T + "index_copy_", n.base, 0, n.places, rows(n), mode="n"
    ),
    "of a leaf": lambda n: n.driver.run(T + "index_fill_", n.leaf, 0, n.places, 1.0, mode="n"),
    "an item": lambda n: n.driver.run(T + "__setitem__", n.base, n.places, 1.0, outs=0, mode="n"),
    "an embedding": lambda n: n.driver.run(
        "torch.nn.functional.embedding", n.places, n.leaf, None, 1.0
    ),
}  # fmt: skip


REFUSED: dict[str, Callable[[Neighbour], Any]] = {
    "index_fill_": lambda n: n.driver.run(T + "index_fill_", n.views[0], 0, n.two, 1.0),
    "index_fill_ of a leaf": lambda n: n.driver.run(T + "index_fill_", n.leaf, 0, n.two, 1.0),
    "an item": lambda n: n.driver.run(T + "__setitem__", n.views[0], n.two, 1.0, outs=0),
    "an item of a leaf": lambda n: n.driver.run(T + "__setitem__", n.leaf, n.two, 1.0, outs=0),
    "of what wants no gradient": lambda n: n.driver.run(
        T + "index_add_", n.driver.run("torch.split", n.driver.put(torch.ones(4, 2)), 2, outs=2)[0],
        0, n.two, n.driver.put(torch.ones(2, 2, requires_grad=True)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("write", REFUSED)
def test_a_write_that_torch_refuses_is_refused_also_where_it_fails_in_private(write: str) -> None:
    told = []
    for secret in (1.0, 9.0):
        neighbour = Neighbour(secret)
        REFUSED[write](neighbour)
        told.append([(f.is_public, f.code) for f in neighbour.driver.failures()])
    assert told == [[(True, "RuntimeError")]] * 2


@pytest.mark.parametrize("write", LEFT_OUT)
def test_a_write_that_failed_in_private_shows_in_no_view(write: str) -> None:
    told = []
    for secret in (1.0, 9.0):
        neighbour = Neighbour(secret)
        LEFT_OUT[write](neighbour)
        assert all(not failure.is_public for failure in neighbour.driver.failures())
        told.append(neighbour.told())
    assert told[0] == told[1]
    assert any(part[0] is True for part in told[0] if isinstance(part, tuple))


def test_a_dropout_that_a_private_number_leaves_out_shows_in_no_view() -> None:
    told = []
    for secret in (0.0, 0.5):
        neighbour = Neighbour(secret)
        name = "torch.nn.functional.dropout"
        neighbour.driver.ok(name, neighbour.base, neighbour.number, True, True, mode="n")
        told.append(neighbour.told())
    assert told[0] == told[1]
    assert any(part[0] is True for part in told[0] if isinstance(part, tuple))
