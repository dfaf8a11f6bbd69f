"""Two data sets that differ in values, what a scientist makes of them, and what shows of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, against

X, I = Ref(-1), Ref(-2)  # noqa: E741
T, F, OPT, DATA = (
    "torch.Tensor.",
    "torch.nn.functional.",
    "torch.optim.Optimizer.",
    "torch.utils.data.",
)
ONE = (torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([0, 0, 1, 0]))
OTHER = (torch.tensor([1.0, 1.0, 1.0, -1.0]), torch.tensor([1, 0, 0, 1]))
Program = Callable[[RawPeer], list[Ref]]


# what a scientist makes of private numbers


def number(p: RawPeer) -> Ref:
    """0 in one of the data sets, 1 in the other."""
    return p.op("python.Int", p.op(T + "__getitem__", I, 0))


def fraction(p: RawPeer) -> Ref:
    return p.op("python.Float.__mul__", p.op("python.Float", number(p)), 0.5)


def flag(p: RawPeer) -> Ref:
    return p.op("python.Bool", number(p))


def few(p: RawPeer) -> Ref:
    return p.op(T + "__getitem__", X, p.op(T + "__gt__", X, 0.5))


def choose(p: RawPeer, *parts: Any) -> Ref:
    return p.op("python.List.__getitem__", p.op("python.collect", *parts), number(p))


def weight(p: RawPeer) -> Ref:
    return p.put(torch.ones(2, requires_grad=True))


def optimizer(p: RawPeer, *weights: Any, **settings: Any) -> Ref:
    return p.op("torch.optim.SGD", list(weights) or [weight(p)], **{"lr": 0.1, **settings})


def ints(p: RawPeer) -> Ref:
    return p.put(torch.ones(2, dtype=torch.int64))


def loader(p: RawPeer, data: Ref, **settings: Any) -> Ref:
    return p.op(DATA + "DataLoader", p.op(DATA + "TensorDataset", data), **settings)


def past_the_end(p: RawPeer) -> Ref:
    """An index into one row, which is there in one of the data sets only."""
    return p.op(T + "__getitem__", I, slice(0, 1))


def row(p: RawPeer) -> Ref:
    return p.put(torch.ones(1, 2, requires_grad=True))


def goes_back(p: RawPeer, value: Ref) -> list[Ref]:
    """Whether there is a graph, and what it is after its end was written over."""
    wants = p.op(T + "requires_grad", value)
    p.do(T + "backward", p.op("torch.sum", value))
    p.do(T + "zero_", p.op(T + "detach", value))
    return [wants, value, p.op("torch.sum", value)]


def nested(p: RawPeer, depth: int) -> Ref:
    inner = p.put([1])
    for _ in range(depth):
        inner = p.op("python.collect", inner)
    return inner


def planned(
    p: RawPeer,
    steps: tuple[wire.PlanStep, ...],
    outputs: tuple[int, ...],
    given: tuple[Ref, ...],
    captured: tuple[Ref, ...] = (),
    times: int = 0,
) -> list[Ref]:
    """Runs a plan of these steps over what it is given."""
    plan, outs = p.new_id(), tuple(p.new_id() for _ in outputs)
    known = tuple(ref.id for ref in captured)
    p.send(wire.DefinePlan(plan, "p", len(given), known, steps, outputs, True))
    p.send(wire.RunPlan(plan, tuple(ref.id for ref in given), outs, times))
    return [Ref(out) for out in outs]


# what shows


def seen(data: tuple[torch.Tensor, torch.Tensor], made: Program) -> list[bytes]:
    """All that the owner sent, but the store's first message, which has a random epoch in it."""
    with against() as (duet, raw):
        for value in data:
            duet.send(value)
        duet.requests.add_handler(name="loss", action="accept")
        duet.requests.add_handler(name="big", action="deny")
        raw.do("torch.manual_seed", 5)
        for ref in made(raw):
            raw.get(ref)
            for name in ("other", "loss", "big"):
                raw.ask(ref, name)
        raw.wait_for_end()
        return raw.told_bytes()[1:]
