"""Programs in which private values set what an optimizer's steps are made with, or might have.

In one of the two data sets a number is another one, or is missing. Each way is gone once before the
first step of the training and once behind one, and a step is made behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_gradients import either
from tests.security.failing_kit import SCHED, C, N, P, Programs, last, weights, whole
from tests.security.neighbour_kit import OPT, T

PROGRAMS = Programs()
SCHEDULER = SCHED + "LRScheduler."
Way = Callable[[Any, Ref, Ref], list[Ref]]
"""Of a session, an optimizer and its group; gives what else is looked at."""


def trained(p: Any, optimizer: Ref, w: Ref) -> None:
    p.do(OPT + "zero_grad", optimizer)
    p.do(T + "backward", p.op("torch.dot", w, N))
    p.do(OPT + "step", optimizer)


def new(p: Any, kind: str = "SGD", **settings: Any) -> tuple[Ref, Ref]:
    w = weights(p, 4)
    return w, p.op(f"torch.optim.{kind}", [w], **{"lr": 1, **settings})


def group_of(p: Any, optimizer: Ref) -> Ref:
    return p.op("python.List.__getitem__", p.op(OPT + "param_groups", optimizer), 0)


def way(function: Way) -> Way:
    """A program of a way."""

    def made(p: Any) -> list[Ref]:
        found: list[Ref] = []
        for is_trained in (False, True):
            w, optimizer = new(p)
            for _ in range(2 * is_trained):  # the second of them runs a short way
                trained(p, optimizer, w)
            more = function(p, optimizer, group_of(p, optimizer))
            trained(p, optimizer, w)
            found += [w, optimizer, group_of(p, optimizer), *more, *remembered(p, optimizer)]
        return found

    PROGRAMS[function.__name__] = made
    return function


def remembered(p: Any, optimizer: Ref) -> list[Ref]:
    """The state of an optimizer, and how much is in it."""
    state = p.op(OPT + "state_dict", optimizer)
    every = p.op("python.Dict.__getitem__", state, "state")
    inner = p.op("python.Dict.__getitem__", every, 0)
    return [state, p.op("python.len", every), p.op("python.len", inner)]


def rate(p: Any) -> Ref:
    """A number that can be a rate, and one that is not the same."""
    return p.op("python.Float", last(p, P))


def missing(p: Any, value: float = 0.5) -> Ref:
    """A tensor in one of the sets, nothing in the other."""
    return p.op(T + "detach", either(p, p.put(torch.tensor(value)), None))


def put(p: Any, box: Ref, key: Any, value: Any) -> None:
    kind = "Dict" if isinstance(key, str) else "List"
    p.do(f"python.{kind}.__setitem__", box, key, value)


def plateau(p: Any, optimizer: Ref, *metrics: Any) -> Ref:
    made: Ref = p.op(SCHED + "ReduceLROnPlateau", optimizer, patience=0)
    for metric in metrics:
        p.do(SCHEDULER + "step", made, metric)
    return made


def stepped(p: Any, scheduler: Ref) -> list[Ref]:
    """The scheduler, which made a step."""
    p.do(SCHEDULER + "step", scheduler)
    return [scheduler]


def taught(p: Any, optimizer: Ref) -> list[Ref]:
    """Another optimizer that is given the state of this one, and makes a step."""
    w, other = new(p)
    p.do(OPT + "load_state_dict", other, p.op(OPT + "state_dict", optimizer))
    trained(p, other, w)
    return [w, other]


# a group that is written to


@way
def a_rate_that_is_private(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    put(p, group, "lr", rate(p))
    return taught(p, optimizer)


@way
def a_rate_that_is_the_same_in_one_of_them(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    """The very object that stood there."""
    put(p, group, "lr", whole(p))
    return []


@way
def a_rate_that_is_missing(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    put(p, group, "lr", p.op("python.Float", either(p, 0.3, "a")))
    put(p, group, "momentum", missing(p))
    return []


@way
def settings_from_a_dict(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    p.do("python.Dict.update", group, p.op("python.collect", lr=rate(p)))
    p.do("python.Dict.update", group, p.op("python.Dict", [["momentum", rate(p)]]))
    return []


@way
def a_momentum_that_may_be_zero(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    """Without one there is nothing to remember."""
    put(p, group, "momentum", p.op("python.Int.__floordiv__", whole(p), 9))
    return taught(p, optimizer)


@way
def a_flag_among_the_settings(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    w, other = new(p, "Adam")
    flag = p.op("python.Bool", p.op("python.Int.__floordiv__", whole(p), 9))
    put(p, group_of(p, other), "amsgrad", flag)
    trained(p, other, w)
    return [w, other, *remembered(p, other)]


@way
def a_setting_that_goes_again(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    put(p, group, "more", rate(p))
    return [p.op("python.Dict.pop", group, "more")]


@way
def a_list_among_the_settings(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    box = p.op("python.collect", 1)
    put(p, group, "more", box)
    p.do("python.List.append", box, rate(p))
    return [box]


@way
def a_tuple_among_the_settings(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    put(p, group, "more", p.op("python.Tuple", p.op("python.collect", rate(p))))
    return []


@way
def a_group_in_place_of_another(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    copy = p.op("python.Dict.copy", group)
    put(p, copy, "lr", rate(p))
    put(p, p.op(OPT + "param_groups", optimizer), 0, copy)
    return [copy]


@way
def a_default_of_groups_to_come(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    put(p, p.op(OPT + "defaults", optimizer), "momentum", rate(p))
    more = weights(p, 4)
    p.do(OPT + "add_param_group", optimizer, {"params": [more]})
    return [more]


@way
def an_optimizer_of_groups_of_another(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    put(p, group, "lr", rate(p))
    other = p.op("torch.optim.SGD", p.op(OPT + "param_groups", optimizer), lr=0.1)
    return [other]


# schedulers


@way
def a_plateau_of_private_numbers(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    made = plateau(p, optimizer, last(p, C), 5.0)
    return [p.op(SCHEDULER + "get_last_lr", made), *taught(p, optimizer)]


@way
def a_plateau_of_what_is_missing(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    made = plateau(p, optimizer, missing(p), p.op("python.Float", either(p, 1.0, "a")), 5.0)
    return [p.op(SCHEDULER + "get_last_lr", made), p.op("python.Dict.__getitem__", group, "lr")]


@way
def a_plateau_and_a_state_from_before(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    """What the scheduler remembers is private when the settings are public again."""
    state = p.op(OPT + "state_dict", optimizer)
    made = plateau(p, optimizer, last(p, C))
    p.do(OPT + "load_state_dict", optimizer, state)
    p.do(SCHEDULER + "step", made, 5.0)
    return [made]


@way
def an_epoch_that_is_private(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    made = p.op(SCHED + "StepLR", optimizer, 2)
    p.do(SCHEDULER + "step", made, whole(p))
    return [made]


@way
def an_epoch_that_is_missing(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    made = p.op(SCHED + "StepLR", optimizer, 2)
    p.do(SCHEDULER + "step", made, missing(p, 3))
    return [made, p.op("python.Dict.__getitem__", group, "lr")]


@way
def settings_of_a_scheduler(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    made = p.op(SCHED + "StepLR", optimizer, 1, gamma=rate(p))
    return stepped(p, made)


@way
def settings_of_a_scheduler_that_are_missing(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    made = p.op(SCHED + "StepLR", optimizer, missing(p, 3))
    return stepped(p, made)


@way
def numbers_that_a_scheduler_is_fed(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    made = p.op(SCHED + "LambdaLR", optimizer, [1.0])
    p.do(SCHEDULER + "feed", made, 1, [rate(p)])
    return stepped(p, made)


@way
def numbers_that_a_scheduler_is_not_fed(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    made = p.op(SCHED + "LambdaLR", optimizer, [1.0])
    p.do(SCHEDULER + "feed", made, 1, [missing(p)])
    return stepped(p, made)


@way
def a_state_of_a_scheduler(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    made = p.op(SCHED + "StepLR", optimizer, 5)
    state = p.op(SCHEDULER + "state_dict", made)
    put(p, state, "last_epoch", whole(p))
    p.do(SCHEDULER + "load_state_dict", made, state)
    p.do(SCHEDULER + "step", made)
    return [made, state]


@way
def a_list_that_a_scheduler_gave_out(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    made = p.op(SCHED + "LambdaLR", optimizer, [1.0])
    rates = p.op(SCHEDULER + "get_last_lr", made)
    put(p, rates, 0, rate(p))
    p.do(SCHEDULER + "feed", made, 1, [0.5])
    p.do(SCHEDULER + "step", made)
    return [made, rates]


@way
def a_schedule_that_one_of_them_broke(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    """A number that stood there keeps it, another one does not; then all stands as before."""
    made = p.op(SCHED + "StepLR", optimizer, 1, gamma=1)
    state = p.op(OPT + "state_dict", optimizer)
    put(p, group, "lr", whole(p))
    p.do(SCHEDULER + "step", made)
    p.do(OPT + "load_state_dict", optimizer, state)
    return [made]


@way
def a_rate_that_a_scheduler_was_made_of(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    state = p.op(OPT + "state_dict", optimizer)
    put(p, group, "lr", p.op("python.Float", whole(p)))
    made = p.op(SCHED + "LambdaLR", optimizer, [0.5])
    p.do(OPT + "load_state_dict", optimizer, state)
    p.do(SCHEDULER + "feed", made, 1, [0.25])
    return stepped(p, made)


@way
def one_of_two_schedulers(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    other = new(p)[1]
    first, second = (p.op(SCHED + "StepLR", each, 1) for each in (optimizer, other))
    p.do(SCHEDULER + "step", either(p, first, second))
    p.do(SCHEDULER + "step", either(p, first, None))
    return [first, second]


@way
def several_schedulers_with_a_place_between(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    inner = [p.op(SCHED + "ConstantLR", optimizer, 0.5, 2), p.op(SCHED + "StepLR", optimizer, 1)]
    made = p.op(SCHED + "SequentialLR", optimizer, inner, [whole(p)])
    return stepped(p, made)


# states that are loaded, and what an optimizer is made with


@way
def a_state_with_a_private_rate(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    state = p.op(OPT + "state_dict", optimizer)
    groups = p.op("python.Dict.__getitem__", state, "param_groups")
    put(p, p.op("python.List.__getitem__", groups, 0), "lr", rate(p))
    p.do(OPT + "load_state_dict", optimizer, state)
    return taught(p, optimizer)


@way
def a_state_or_none(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    p.do(OPT + "load_state_dict", optimizer, either(p, p.op(OPT + "state_dict", optimizer), None))
    return []


@way
def a_state_of_what_is_missing(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    other = p.op("torch.optim.SGD", [weights(p, 4)], lr=0.1, momentum=either(p, 0.1, "a"))
    p.do(OPT + "load_state_dict", optimizer, p.op(OPT + "state_dict", other))
    return []


@way
def a_rate_that_is_a_tensor(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    w, other = new(p, lr=p.op("torch.mul", last(p, C), 0.1))
    own, third = new(p, lr=p.put(torch.tensor(0.1)))
    plateau(p, third, last(p, C), 5.0)
    trained(p, other, w)
    trained(p, third, own)
    return [w, other, own, third]


@way
def settings_that_an_optimizer_is_made_with(p: Any, optimizer: Ref, group: Ref) -> list[Ref]:
    w, other = new(p, lr=rate(p))
    own = weights(p, 4)
    third = p.op("torch.optim.Adam", [{"params": [own], "lr": rate(p)}], lr=0.1)
    trained(p, other, w)
    trained(p, third, own)
    return [w, other, own, third]
