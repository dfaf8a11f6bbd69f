"""Programs that write to one of several objects, of which a private number chose another or none.

In one of the two data sets it chose one of them, in the other another, or it names a place that is
not there. What is written has a source of its own, which a rule on sources would look at.
"""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.failing_gradients import chosen, either
from tests.security.failing_kit import M, N, P, Programs, last, weights, whole
from tests.security.neighbour_kit import OPT, T

PROGRAMS = Programs()
program = PROGRAMS.program
LISTS, DICTS = "python.List.", "python.Dict."
CHOICES = (either, chosen)


def ones(p: Any) -> Ref:
    return p.put(torch.ones(3))


def secret(p: Any) -> Ref:
    """Three public places of it say nothing of the number that chooses."""
    return p.op(T + "__getitem__", P, slice(0, 3))


def inner(p: Any, box: Ref) -> Ref:
    return p.op(LISTS + "__getitem__", box, 0)


@program
def a_source_is_written_into_one_of_several_tensors(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for choose in CHOICES:
        for write in ("add_", "copy_", "data=", "set"):
            one, other = ones(p), ones(p)
            one_of = choose(p, one, other)
            view = p.op(T + "view", one, [3, 1])
            if write == "set":
                p.do(T + "__setitem__", other, 0, last(p, N))
            else:
                p.do(T + write, view if write == "add_" else one, secret(p))
            made += [one, other, one_of, view, p.op("torch.sum", one_of)]
    return made


@program
def a_source_is_written_into_what_was_chosen(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for choose in CHOICES:
        one, other = ones(p), ones(p)
        one_of = choose(p, one, other)
        p.do(T + "add_", one_of, secret(p))
        p.do(T + "zero_", one)
        made += [one, other, one_of, p.op("torch.sum", other)]
    return made


@program
def a_source_is_put_into_one_of_several_lists(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for choose in CHOICES:
        for put in ("append", "extend", "insert", "__iadd__"):
            one, other = p.put([1]), p.put([2])
            one_of = choose(p, one, other)
            value = secret(p) if put in ("append", "insert") else p.op("python.collect", secret(p))
            p.do(LISTS + put, one, *([0] if put == "insert" else []), value)
            made += [one, other, one_of, p.op("python.len", one_of), inner(p, one_of)]
    return made


@program
def an_own_tensor_is_put_into_one_of_several_and_then_written_to(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for choose in CHOICES:
        for first in (True, False):
            one, other, own = p.put([1]), p.put([2]), ones(p)
            one_of = choose(p, one, other)
            p.do(LISTS + "append", one if first else one_of, own)
            p.do(T + "add_", own, secret(p))
            at_end = p.op(LISTS + "__getitem__", one_of, -1)
            made += [one, other, own, at_end, one_of]
    return made


@program
def a_source_is_written_into_what_lies_in_one_of_several(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for choose in CHOICES:
        own, more = ones(p), ones(p)
        one, other = p.op("python.collect", own), p.op("python.Tuple", [more])
        one_of = choose(p, one, other)
        p.do(T + "add_", own, secret(p))
        made += [own, more, one, other, one_of, p.op("python.len", one_of)]
        number = p.op("python.Float", last(p, N))
        one_of = choose(p, p.op("python.collect", own), number, p.put([4]))
        p.do(T + "mul_", own, M)
        made += [one_of, number]
    return made


@program
def a_number_or_a_list_that_is_changed_later(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for choose in CHOICES:
        for first in (True, False):
            box = p.put([1])
            parts = [p.op("python.Int", 3), box]
            one_of = choose(p, *(parts if first else parts[::-1]))
            p.do(LISTS + "append", box, secret(p))
            made += [box, one_of, p.op("python.collect", one_of)]
    return made


@program
def an_owners_tensor_or_an_own_one(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for choose in CHOICES:
        for first in (True, False):
            own = ones(p)
            part = p.op(T + "__getitem__", N, slice(0, 3))
            one_of = choose(p, *((own, part) if first else (part, own)))
            p.do(T + "add_", own, secret(p))
            made += [own, one_of, p.op("torch.sum", one_of)]
            p.do(T + "add_", one_of, p.op("torch.sum", M))
            made += [own, one_of]
    return made


@program
def what_is_left_when_something_was_taken_out(p: Any) -> list[Ref]:
    made: list[Ref] = []
    place = p.op("python.Int.__floordiv__", whole(p), 9)
    for name in ("pop", "__delitem__"):
        part, own = p.op(T + "__getitem__", N, slice(0, 3)), ones(p)
        box = p.op("python.collect", part, own)
        taken = p.ops(LISTS + name, 1, box, place) if name == "pop" else p.do(
            LISTS + name, box, place)  # fmt: skip
        left = inner(p, box)
        p.do(T + "add_", left, secret(p))
        made += [box, own, left, *(taken or [])]
        p.do(T + "add_", own, p.op("torch.sum", M))
        made += [left, own, box]
    return made


@program
def one_of_two_that_have_the_same_key(p: Any) -> list[Ref]:
    made: list[Ref] = []
    key = p.op("python.Int.__floordiv__", whole(p), 9)
    for values in ((ones(p), ones(p)), (p.op(T + "__getitem__", N, slice(0, 3)), ones(p))):
        pairs = p.op("python.collect", *(
            p.op("python.Tuple", [k, v]) for k, v in zip((key, 0), values, strict=True)
        ))  # fmt: skip
        found = p.op(DICTS + "dict_get", p.op("python.Dict", pairs), 1, p.put([1]))
        zero = p.op(DICTS + "__getitem__", p.op("python.Dict", pairs), 0)
        p.do(T + "add_", values[1], secret(p))
        made += [*values, found, zero, p.op("torch.sum", zero)]
    return made


@program
def one_that_two_private_numbers_chose(p: Any) -> list[Ref]:
    """The first decides what lies in a list, the second which of it is taken."""
    made: list[Ref] = []
    second = p.op("python.Int", p.op(T + "__gt__", p.op(T + "__getitem__", P, 0), 0.5))
    for choose in CHOICES:
        one, other, third = ones(p), ones(p), ones(p)
        box = p.op("python.collect", choose(p, one, other), third)
        twice = p.op(LISTS + "__getitem__", box, second)
        made += [one, other, third, box, twice]
        p.do(T + "add_", third, p.op("torch.sum", M))
        made += [one, twice]
    return made


@program
def a_view_at_a_private_place_and_what_it_is_a_view_of(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for size in (2, 16):
        own = p.put(torch.zeros(size, 2))
        row = p.op(T + "__getitem__", own, whole(p))
        part = p.op(T + "view", row, [-1])
        p.do(T + "add_", own, last(p, N))
        made += [own, row, part]
        p.do(T + "mul_", part, p.op(T + "__getitem__", P, 0))
        made += [own, row, part, p.op("torch.sum", own)]
    return made


@program
def one_of_several_of_which_some_are_gone(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for kept in (0, 1):
        parts = [ones(p), ones(p)]
        view = p.op(T + "view", parts[kept], [3, 1])
        one_of = either(p, *parts)
        p.delete(*parts)
        p.do(T + "copy_", one_of, secret(p))
        made += [view, one_of]
        p.do(T + "copy_", view, p.op(T + "reshape", secret(p), [3, 1]))
        made += [view, one_of]
    return made


@program
def a_step_moves_one_of_several(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for choose in CHOICES:
        w, v = weights(p, 3), weights(p, 3)
        one_of = choose(p, w, v)
        p.do(T + "grad=", w, secret(p))
        p.do(OPT + "step", p.op("torch.optim.SGD", [w], lr=0.1))
        made += [w, v, p.op(T + "detach", one_of)]
    return made


@program
def a_run_of_a_plan_writes_to_one_of_several(p: Any) -> list[Ref]:
    made: list[Ref] = []
    steps = (
        wire.PlanStep(T + "add_", (3,), (Ref(1), Ref(2)), {}, "g"),
        wire.PlanStep("torch.sum", (4,), (Ref(3),), {}, "g"),
    )
    for times in (0, 2):
        plan, out = p.new_id(), p.new_id()
        one, other = ones(p), ones(p)
        one_of = either(p, one, other)
        p.send(wire.DefinePlan(plan, "p", 2, (), steps, (4,), True))
        p.send(wire.RunPlan(plan, (one.id, secret(p).id), (out,), times))
        made += [one, other, one_of, Ref(out)]
    return made


@program
def runs_of_a_plan_that_train_one_of_several(p: Any) -> list[Ref]:
    """A plan that is played when it has run before."""
    plan, w, v = p.new_id(), weights(p, 3), weights(p, 3)
    optimizer = p.op("torch.optim.SGD", [w], lr=0.1)
    steps = (
        wire.PlanStep("torch.mul", (4,), (Ref(2), Ref(1)), {}, "g"),
        wire.PlanStep("torch.sum", (5,), (Ref(4),), {}, "g"),
        wire.PlanStep(T + "backward", (), (Ref(5),), {}, "g"),
        wire.PlanStep(OPT + "step", (), (Ref(3),), {}, "g"),
        wire.PlanStep(OPT + "zero_grad", (), (Ref(3),), {}, "g"),
    )
    p.send(wire.DefinePlan(plan, "p", 1, (w.id, optimizer.id), steps, (5,), True))
    own, source, made = ones(p), secret(p), list[Ref]()
    for number in range(8):
        out = p.new_id()
        p.send(wire.RunPlan(plan, ((source if number > 5 else own).id,), (out,), 0))
        if number == 4:
            made.append(either(p, w, v))
        made.append(Ref(out))
    return [*made, w, v]
