"""Two data sets of which one has a value that torch or Python refuses, and what shows of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from duet_p2p.engine import messages as m
from duet_p2p.owner.essence import essence_of
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.neighbour_kit import T
from tests.security.test_soundness import Seen, shown

M, P, C, N = map(Ref, (-1, -2, -3, -4))
L, D, SCHED = "torch.linalg.", "torch.distributions.", "torch.optim.lr_scheduler."
ONE = (
    torch.diag(torch.tensor([2.0, 3.0, 4.0])),
    torch.tensor([0.2, 0.3, 0.1, 0.4]),
    torch.tensor([0, 1, 2, 1]),
    torch.tensor([1.0, 2.0, 3.0, 4.0]),
)
OTHER = (
    torch.diag(torch.tensor([2.0, 3.0, 0.0])),
    torch.tensor([0.2, 0.3, 0.1, -0.4]),
    torch.tensor([0, 1, 2, 9]),
    torch.tensor([1.0, 2.0, 3.0, float("nan")]),
)
"""A matrix that is singular, a chance that is none, a class too large, a number that is none."""
Program = Callable[[Any], list[Ref]]


class Programs(dict[str, Program]):
    """The programs of one subject, each by its name."""

    def program(self, function: Program) -> Program:
        self[function.__name__] = function
        return function


# what a scientist makes of private numbers


def last(p: Any, of: Ref) -> Ref:
    """The one number that differs."""
    return p.op(T + "__getitem__", of, -1)


def whole(p: Any) -> Ref:
    """1 in one of the sets, 9 in the other."""
    return p.op("python.Int", last(p, C))


def broken(p: Any) -> Ref:
    """4.0 in one of the sets, no number in the other."""
    return p.op("python.Float", last(p, N))


def weights(p: Any, *shape: int) -> Ref:
    return p.put(torch.ones(*shape, requires_grad=True))


def few(p: Any) -> Ref:
    """Four numbers of one of the sets, three of the other."""
    return p.op(T + "__getitem__", N, p.op(T + "__gt__", N, 0.5))


# what shows


class Side(Seen):
    """An engine with one of the data sets, spoken to as a partner does, and what it tells."""

    def __init__(self, data: tuple[torch.Tensor, ...], dirs: dict[str, str] | None = None) -> None:
        super().__init__(dict(zip("mpcn", data, strict=True)), dirs)
        self.told: list[Any] = []

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    def op(self, name: str, *args: Any, **kwargs: Any) -> Ref:
        return self.ops(name, 1, *args, **kwargs)[0]

    def ops(self, name: str, outs: int, *args: Any, **kwargs: Any) -> list[Ref]:
        ids = tuple(self.new_id() for _ in range(outs))
        self.send(wire.Op(name, ids, args, kwargs, "g"))
        return [Ref(id) for id in ids]

    def do(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.send(wire.Op(name, (), args, kwargs, "g"))

    def get(self, ref: Ref) -> None:
        self.told.append((len(shown(self.events)), ref.id, self.verdict(ref.id)))

    def ask(self, ref: Ref) -> None:
        """What anybody may know of it, and which change of it is the last."""
        self.get(ref)

    def wait_for_end(self) -> None:
        """Everything is done with when `send` returns."""

    def words(self, ref: Ref) -> Any:
        """What rules on tags, and those that know a recipe again, compare of a private value."""
        self.next_call += 1
        (candidate,) = self.engine.handle(m.Snapshot(self.next_call, ref.id))
        facts = candidate.facts
        return facts and (facts.tags, essence_of(facts.recipe))

    def shown(self, made: Program) -> list[Any]:
        refs = made(self)
        for ref in refs:
            for name in ("dtype", "size", "requires_grad", "is_leaf"):
                self.get(self.op(T + name, ref))
            self.get(self.op("torch.mul", ref, 2.0))
            self.get(self.op("python.len", self.op("python.collect", ref)))
            self.get(ref)
        for ref in refs:
            self.do(T + "zero_", self.op(T + "detach", ref))
        for ref in (*refs, self.op("torch.rand", 1)):
            self.get(ref)
        return [shown(self.events), *self.told]


def difference(one: list[Any], other: list[Any]) -> str:
    """The first thing that shows another way; empty if nothing does."""
    (events, *told), (others, *more) = one, other
    pairs = [*zip(events, others, strict=False), *zip(told, more, strict=False)]
    found = next((f"{a} | {b}" for a, b in pairs if a != b), "")
    return found or ("" if len(pairs) == len(events) + len(told) else "another number of them")
