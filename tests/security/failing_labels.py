"""Programs of which one of two data sets breaks a step, a loss or a norm, or what is beside it."""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_graphs import gradients, turned
from tests.security.failing_kit import SCHED, C, L, M, N, P, Programs, last, weights, whole
from tests.security.neighbour_kit import OPT, F, T

PROGRAMS = Programs()
program = PROGRAMS.program
ONE = (
    torch.diag(torch.tensor([2.0, 3.0, 4.0])),
    torch.tensor([0.2, 0.3, 0.1, 0.4]),
    torch.arange(64) % 3,
    torch.arange(1.0, 65.0),
)
OTHER = (
    torch.diag(torch.tensor([2.0, 3.0, 0.0])),
    torch.tensor([0.2, 0.3, 0.1, -0.4]),
    torch.cat([torch.arange(63) % 3, torch.tensor([9])]),
    torch.cat([torch.arange(1.0, 64.0), torch.tensor([float("nan")])]),
)
"""As in failing_kit.py, of enough records for a mean of them to be one."""


def logits(p: Any, w: Ref) -> Ref:
    return p.op("torch.mul", p.op(T + "unsqueeze", N, 1), w)


def mean(p: Any, w: Ref) -> Ref:
    return p.op("torch.mean", p.op(F + "relu", logits(p, w)))


def classified(p: Any, w: Ref) -> Ref:
    """A loss that one of the sets has a class for which there is none in."""
    return p.op(F + "nll_loss", logits(p, w), C)


def trained(p: Any, w: Ref, loss: Ref, name: str = "SGD", **settings: Any) -> list[Ref]:
    """Weights, what they were trained by, and a loss of them."""
    optimizer = p.op(f"torch.optim.{name}", [w], **{"lr": 0.1, **settings})
    p.do(T + "backward", loss)
    p.do(OPT + "step", optimizer)
    state = p.op(OPT + "state_dict", optimizer)
    return [w, *gradients(p, w), optimizer, state, loss, p.op("torch.mul", w, 2.0)]


@program
def a_class_that_is_too_large(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for name in ("SGD", "Adam"):
        w = weights(p, 1, 3)
        made += [*trained(p, w, classified(p, w), name), mean(p, w)]
    return made


@program
def two_steps_of_which_one_fails(p: Any) -> list[Ref]:
    w = weights(p, 1, 3)
    optimizer = p.op("torch.optim.SGD", [w], lr=0.1, momentum=0.9)
    for loss in (classified(p, w), mean(p, w)):
        p.do(OPT + "zero_grad", optimizer)
        p.do(T + "backward", loss)
        p.do(OPT + "step", optimizer)
    return [w, *gradients(p, w), p.op(OPT + "state_dict", optimizer)]


@program
def a_way_back_that_fails(p: Any) -> list[Ref]:
    w = weights(p, 3, 3)
    return trained(p, w, turned(p, w))


@program
def a_rate_that_is_none(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for name in ("SGD", "Adam"):
        w = weights(p, 1, 3)
        rate = p.op("python.Float", last(p, P))
        made += trained(p, w, mean(p, w), name, lr=rate)
    return made


@program
def a_rate_with_a_graph(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for name in ("SGD", "Adam", "RMSprop"):
        w, other = weights(p, 1, 3), weights(p, 1)
        rate = p.op("torch.mul", last(p, P), p.op("torch.mean", other))
        made += [*trained(p, w, mean(p, w), name, lr=rate), rate, other]
        w, other = weights(p, 1, 3), weights(p, 1)
        rate = p.op("torch.mul", p.op("torch.sum", p.op(L + "inv", M)), other)
        made += [*trained(p, w, mean(p, w), name, lr=rate), rate, other]
    return made


@program
def a_gradient_that_is_not_finite_clipped(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for outs in (0, 1):
        w = weights(p, 1, 3)
        optimizer = p.op("torch.optim.SGD", [w], lr=0.1)
        p.do(T + "backward", mean(p, w))
        made += p.ops("torch.nn.utils.clip_grad_norm_", outs, [w], 1.0, 2.0, True)
        p.do(OPT + "step", optimizer)
        made += [w, *gradients(p, w), mean(p, w)]
    return made


@program
def statistics_of_what_failed(p: Any) -> list[Ref]:
    w, table = weights(p, 3), p.put(torch.ones(5, 3))
    kept = [p.put(torch.zeros(3)), p.put(torch.ones(3))]
    rows = p.op(F + "embedding", C, table)
    normed = p.op(F + "batch_norm", rows, *kept, w, None, True)
    return [*trained(p, w, p.op("torch.mean", normed)), *kept, table]


@program
def an_old_gradient_that_a_failed_one_was_added_to(p: Any) -> list[Ref]:
    w = weights(p, 1, 3)
    p.do(T + "backward", mean(p, w))
    old = gradients(p, w)
    p.do(T + "backward", classified(p, w), create_graph=True)
    return [*old, w, *gradients(p, w)]


@program
def other_sources_beside_what_failed(p: Any) -> list[Ref]:
    """A rule on a source denies what would depend on it, failed or not."""
    made: list[Ref] = []
    bad = p.op(L + "inv", M)
    normal = p.op("torch.distributions.Normal", 0.0, P)
    sample = p.op("torch.distributions.Distribution.sample", normal)
    few = p.op(T + "__getitem__", bad, p.op(T + "__gt__", bad, 0.0))
    for value in (bad, sample, few):
        made += [value, p.op("torch.add", value, last(p, N)), p.op("torch.mul", value, last(p, C))]
        p.do(T + "mul_", value, last(p, C))
        made += [p.op("torch.sum", value), p.op("python.collect", value, last(p, N))]
    return [*made, p.op("torch.rand", 1)]


@program
def weights_beside_a_schedule_of_what_failed(p: Any) -> list[Ref]:
    w = weights(p, 1, 3)
    made = trained(p, w, mean(p, w))
    number = p.op("torch.sum", p.op(F + "embedding", C, p.put(torch.ones(3, 1))))
    scheduler = p.op(SCHED + "LambdaLR", made[2], number)
    box = p.op("python.collect", w, number, p.op("python.Int", number))
    return [*made, scheduler, box, p.op("python.List.__getitem__", box, 0)]


@program
def a_place_that_a_failed_number_chose(p: Any) -> list[Ref]:
    """Those that it could have chosen are marked with what it was made of."""
    w, v = weights(p, 1, 3), p.put(torch.zeros(3))
    number = p.op("python.Int", classified(p, w))
    box = p.op("python.collect", w, v, whole(p))
    return [number, p.op("python.List.__getitem__", box, number), w, v, box]


@program
def a_schedule_that_could_not_be_made_is_gone_through(p: Any) -> list[Ref]:
    """It is no list, whether it is there or not."""
    w = weights(p, 2)
    optimizer = p.op("torch.optim.SGD", [w], lr=0.1)
    least = p.op("python.List.__getitem__", p.op("python.collect", 0.01), whole(p))
    schedule = p.op(SCHED + "CosineAnnealingLR", optimizer, 2, eta_min=least)
    for name in ("List", "Tuple"):
        p.op(f"python.{name}", schedule)
    return [w]


@program
def a_seed_that_is_refused_behind_another(p: Any) -> list[Ref]:
    """What was drawn by before stays behind all numbers that a private seed gives."""
    p.do("torch.manual_seed", whole(p))
    made = [p.op("torch.rand", 2)]
    p.do("torch.manual_seed", p.op("torch.sum", N))
    made.append(p.op("torch.rand", 2))
    p.do("torch.manual_seed", 3)
    return [*made, p.op("torch.rand", 2)]


def few(p: Any) -> Ref:
    """No rows of one of the sets, and one of the other."""
    return p.op(T + "__getitem__", C, p.op(T + "__gt__", C, 5))


def cut(p: Any, box: Ref) -> None:
    """What lies in a list may be left out of it by another source's number."""
    p.op("python.List.__getitem__", box, slice(0, p.op("python.Int", last(p, P))))


@program
def lists_of_rows_of_which_there_may_be_none(p: Any) -> list[Ref]:
    """What is done by way of their elements reaches the tensor, if there are any."""
    made: list[Ref] = []
    for way in ("List", "List.copy", "List.__add__", "Tuple", "List.extend", "List.__iadd__"):
        rows = few(p)
        listed = p.op("python.collect", 1) if way in ("List.extend", "List.__iadd__") else None
        if listed is not None:
            p.ops(f"python.{way}", int("iadd" in way), listed, rows)
        elif way in ("List", "Tuple"):
            listed = p.op(f"python.{way}", rows)
        else:
            more = [[1]] if "add" in way else []
            listed = p.op(f"python.{way}", p.op("python.List", rows), *more)
        cut(p, p.op("python.collect", listed))
        made += [rows, listed]
    return made


@program
def elements_of_lists_of_rows_are_written_to(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for make in ("List", "Tuple"):
        rows = few(p)
        listed = p.op(f"python.{make}", rows)
        first = p.op(f"python.{make}.__getitem__", listed, 0)
        p.op(T + "add_", first, p.op(T + "long", last(p, P)))
        again = few(p)
        taken = p.op("python.next", p.op("python.iter", p.op("python.List", again)))
        p.op(T + "add_", taken, p.op(T + "long", last(p, P)))
        straight = few(p)
        taken = p.op("python.next", p.op("python.iter", straight))
        p.op(T + "add_", taken, p.op(T + "long", last(p, P)))
        made += [rows, again, straight]
    return made


@program
def what_was_set_as_the_gradient_of_a_loss_that_did_not_fail(p: Any) -> list[Ref]:
    loss, w = mean(p, weights(p, 1, 3)), weights(p, 1, 3)
    p.do(T + "grad=", loss, classified(p, w))
    return [loss, *gradients(p, loss)]
