"""Programs on arguments that names of torch take in one of two data sets only.

They were found by `torch_sweep.py`, which puts something private in the place of each argument of
each name.
"""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.wire.values import Dtype, Ref
from tests.security.failing_gradients import either
from tests.security.failing_kit import C, M, N, P, Programs, few, last, weights, whole
from tests.security.neighbour_kit import T, optimizer

PROGRAMS = Programs()
program = PROGRAMS.program


def gone_back(p: Any, value: Ref) -> None:
    p.do(T + "backward", p.op("torch.sum", value))


# elements of what is missing


@program
def an_element_of_a_list_of_something_missing(p: Any) -> list[Ref]:
    """What is in a list of a private length is chosen, and so is what a backward reaches."""
    w = weights(p, 3, 2)
    scanned = p.op("torch.cumsum", w, last(p, C))
    taken = p.op("python.List.__getitem__", p.op("python.List", scanned), 0)
    gone_back(p, taken)
    return [w, taken]


@program
def an_element_of_a_tensor_that_has_none(p: Any) -> list[Ref]:
    w, numbers = p.put(torch.ones((), requires_grad=True)), [p.put(torch.ones(())), weights(p, 1)]
    product = p.op("torch.mul", either(p, *numbers), w)
    return [w, p.op("python.List.__getitem__", p.op("python.List", product), 0)]


# what has no graph


@program
def a_comparison_of_a_private_size_gone_back_through(p: Any) -> list[Ref]:
    w = weights(p, 4)
    gone_back(p, p.op("torch.eq", few(p), w))
    return [w, p.op("python.collect", p.op(T + "grad", w))]


@program
def a_comparison_with_nothing_gone_back_through(p: Any) -> list[Ref]:
    w = weights(p, 4)
    gone_back(p, p.op(T + "eq", either(p, weights(p, 4), None), w))
    return [w, p.op("python.collect", p.op(T + "grad", w))]


@program
def written_at_a_place_that_may_be_a_tensor(p: Any) -> list[Ref]:
    own = p.op("torch.mul", weights(p, 3), 2.0)
    p.do(T + "__setitem__", own, either(p, 0, p.put(torch.tensor(0))), 1.0)
    return [own]


@program
def an_element_of_a_list_that_may_be_empty(p: Any) -> list[Ref]:
    w = weights(p, 3, 2)
    count = p.op("torch.floor_divide", last(p, C), 9)
    rows = p.op("torch.narrow_copy", w, 0, 0, count)
    return [w, p.op("python.List.__getitem__", p.op("python.List", rows), 0)]


@program
def more_places_than_there_are_drawn_and_gone_back_through(p: Any) -> list[Ref]:
    w = weights(p, 3)
    gone_back(p, p.op("torch.multinomial", w, whole(p)))
    return [w, p.op("python.collect", p.op(T + "grad", w))]


@program
def filled_with_nothing_and_gone_back_through(p: Any) -> list[Ref]:
    made = []
    for other in (None, [1.0]):
        w = weights(p, 3)
        gone_back(p, p.op(T + "new_full", w, [2], either(p, 1.0, other)))
        made += [w, p.op("python.collect", p.op(T + "grad", w))]
    return made


# what is refused for all to see


def recurrent(p: Any, x: Ref) -> Ref:
    own = [p.put(torch.ones(*shape)) for shape in ((3, 1), (3, 1), (3,), (3,))]
    return p.ops("torch.gru", 2, x, p.put(torch.zeros(1, 1, 1)), own, True, 1, 0.0, False, False,
                 False)[0]  # fmt: skip


@program
def steps_that_are_nothing(p: Any) -> list[Ref]:
    """Every number that torch.gru is given has to be public, and None is none."""
    return [recurrent(p, either(p, p.put(torch.ones(4, 1, 1)), None))]


@program
def steps_that_are_missing(p: Any) -> list[Ref]:
    rows = p.op("torch.narrow_copy", p.put(torch.ones(4, 1, 1)), 0, 0, last(p, C))
    return [recurrent(p, rows)]


@program
def a_switch_that_may_be_a_list(p: Any) -> list[Ref]:
    return [p.op("torch.dropout", p.put(torch.ones(4)), 0.5, either(p, True, [True]))]


@program
def a_missing_distribution_where_a_tensor_belongs(p: Any) -> list[Ref]:
    """It would have held a copy of the own tensor, of which no operation gives a view."""
    own = p.put(torch.ones(4))
    made = p.op("torch.distributions.Beta", p.op("torch.abs", P), own)
    broken = p.op("torch.distributions.Beta", P, own)
    return [own, *(p.op("torch.reshape", each, [-1]) for each in (made, broken))]


# what is no tensor


@program
def ends_of_boxes_that_are_missing(p: Any) -> list[Ref]:
    """The second result is a list, whose length is private then."""
    count = p.op("python.Int.__floordiv__", whole(p), 9)
    return p.ops("torch.histogramdd", 2, p.put(torch.ones(4, 2)), [count, 2])


@program
def something_chosen_that_was_written_to(p: Any) -> list[Ref]:
    """What is given back need not be a tensor, as it was."""
    made = []
    for name, other in (("add_", None), ("ne_", 1), ("mul_", torch.ones(3, dtype=torch.int64))):
        own = p.put(torch.ones(3))
        if isinstance(other, torch.Tensor):
            other = p.put(other)
        made.append(p.op(T + name, either(p, own, other), 1.5))
    return [*made, *(p.op("python.collect", each) for each in made)]


# what stands for a result


@program
def parts_of_what_stands_there_written_to_and_summed(p: Any) -> list[Ref]:
    """Nothing that stands for a result is a view that nobody may write to."""
    w = weights(p, 3, 3)
    pivots = p.op(T + "to", p.op(T + "__getitem__", C, slice(1, 4)), Dtype("int32"))
    parts = p.ops("torch.lu_unpack", 3, w, pivots)
    for part in parts:
        p.do(T + "zero_", p.op(T + "detach", part))
    return [w, *parts, *(p.op("torch.sum", part) for part in parts)]


@program
def what_stands_for_an_inverse_written_to(p: Any) -> list[Ref]:
    w = weights(p, 3, 3)
    inverse = p.op("torch.linalg.inv", p.op("torch.mul", M, w))
    p.do(T + "zero_", p.op(T + "detach", inverse))
    gone_back(p, inverse)
    return [w, inverse, p.op(T + "add_", inverse, 1.0), p.op("torch.sum", inverse)]


@program
def one_tensor_or_two_by_a_switch(p: Any) -> list[Ref]:
    own, name = p.put(torch.ones(1, 1, 4)), "torch.nn.functional.adaptive_max_pool1d"
    pooled = p.op(name, own, 2, return_indices=either(p, False, "a"))
    return [pooled, p.op("python.collect", pooled)]


@program
def combinations_of_none(p: Any) -> list[Ref]:
    """They have no graph, whatever they are of."""
    w = weights(p, 4)
    count = p.op("torch.floor_divide", last(p, C), 9)
    made = p.op("torch.combinations", w, r=count)
    return [w, p.op("python.List.__getitem__", p.op("python.List", made), 0)]


# a tensor that stands where a number is meant


def number(p: Any, factor: float = 1.0) -> Ref:
    """1 in one of the sets, 9 in the other, times a factor."""
    return p.op("torch.mul", last(p, C), factor)


def with_a_gradient(p: Any) -> Ref:
    w = weights(p, 4)
    gone_back(p, p.op("torch.mul", w, 2.0))
    return w


@program
def gradients_clipped_by_a_tensor(p: Any) -> list[Ref]:
    """They were public, and told the number."""
    w, v, u = [with_a_gradient(p) for _ in range(3)]
    clip = "torch.nn.utils.clip_grad_"
    norms = [p.op(clip + "norm_", [w], number(p, 0.1)),
             p.op(clip + "norm_", [v], 1.0, norm_type=number(p))]  # fmt: skip
    p.do(clip + "value_", [u], number(p, 0.1))
    return [*norms, *(p.op(T + "grad", each) for each in (w, v, u))]


@program
def a_parameter_that_wants_a_gradient_or_not(p: Any) -> list[Ref]:
    flag = p.op(T + "bool", p.op("torch.floor_divide", number(p), 9))
    return [p.op("torch.nn.Parameter", p.put(torch.ones(2)), flag)]


@program
def as_many_random_numbers_as_a_tensor_says(p: Any) -> list[Ref]:
    count = last(p, C)
    drawn = [p.op("torch.rand", count), p.op("torch.randn", [count, 2]),
             p.op("torch.randperm", count)]  # fmt: skip
    return [*drawn, p.op("torch.rand", 1)]


@program
def a_layer_that_draws_nothing_of_ends_that_are_none(p: Any) -> list[Ref]:
    """A rectifier draws while it trains."""
    own = p.put(-torch.ones(4))
    return [own, p.op("torch.nn.functional.rrelu", own, number(p, 0.1), 0.5), p.op("torch.rand", 1)]


@program
def a_graph_of_a_gradient_or_none(p: Any) -> list[Ref]:
    w = weights(p, 4)
    flag = p.op(T + "bool", p.op("torch.floor_divide", number(p), 9))
    total = p.op("torch.sum", p.op("torch.square", w))
    p.op("torch.autograd.grad", total, [w], create_graph=flag)
    p.do(T + "backward", total)
    return [w, p.op("python.collect", p.op(T + "grad", w))]


@program
def an_initializer_that_fails(p: Any) -> list[Ref]:
    """It puts no graph behind what it writes to."""
    own = p.op("torch.clone", weights(p, 4))
    p.op("torch.nn.init.uniform_", own, number(p), 2.0)
    for _ in range(2):
        gone_back(p, own)
    return [own]


# what an object that is missing would have held


def of_other_sizes(p: Any, own: Ref) -> Ref:
    """A data set of four records of each, of which there are three in one of the sets."""
    return p.op("torch.utils.data.TensorDataset", few(p), own)


@program
def an_item_of_a_data_set_that_is_missing(p: Any) -> list[Ref]:
    own, other = p.put(torch.ones(4)), p.put(torch.ones(4))
    item = p.op("torch.utils.data.Dataset.__getitem__", of_other_sizes(p, own), 0)
    following = p.op("python.next", p.op("python.iter", of_other_sizes(p, other)))
    return [own, other, item, following]


@program
def a_part_of_a_list_of_missing_data_sets(p: Any) -> list[Ref]:
    own = p.put(torch.ones(3))
    data = p.op("torch.utils.data.TensorDataset", own)
    parts = p.op("torch.utils.data.random_split", data, [whole(p), 2])
    return [own, p.op("python.List.__getitem__", p.op("python.List", parts), 0)]


@program
def a_parameter_of_nothing(p: Any) -> list[Ref]:
    made = p.op("torch.nn.Parameter", either(p, p.put(torch.ones(2)), None))
    return [made, p.op("python.collect", made)]


@program
def a_gradient_that_is_set_of_nothing(p: Any) -> list[Ref]:
    own = p.put(torch.ones(2))
    p.do(T + "grad=", either(p, weights(p, 2), None), own)
    return [own]


@program
def places_in_what_may_be_nothing(p: Any) -> list[Ref]:
    own, source = p.put(torch.ones(4)), p.put(torch.ones(4))
    return [own, p.op("torch.slice_inverse", own, either(p, source, None))]


@program
def a_chance_of_rows_without_a_batch(p: Any) -> list[Ref]:
    """It is the tensor itself, seen anew, if none is dropped."""
    own = p.put(torch.ones(3, 4))
    chance = p.op("python.Int.__floordiv__", whole(p), 9)
    return [own, p.op("torch.nn.functional.dropout1d", own, chance)]


@program
def a_number_of_a_schedule_of_what_may_be_nothing(p: Any) -> list[Ref]:
    """What holds weights that were chosen gives numbers of any type, and so what is missing."""
    place, made = "torch.optim.lr_scheduler.", []
    for chosen, step in (
        (either(p, optimizer(p), None), 2),
        (optimizer(p), either(p, 2, p.put(torch.tensor(2)))),
    ):
        schedule = p.op(place + "StepLR", chosen, step)
        made.append(p.op(place + "LRScheduler.last_epoch", schedule))
    return made


@program
def a_scale_that_is_no_chance(p: Any) -> list[Ref]:
    """Whether a dropout draws is said by its chance alone."""
    x, name = p.put(torch.ones(1, 1, 2, 2)), "torch.nn.functional.scaled_dot_product_attention"
    made = p.op(name, x, x, x, None, 0.0, False, scale=either(p, None, 0.5))
    return [made, p.op("torch.rand", 1)]


@program
def weights_of_an_attention_or_none(p: Any) -> list[Ref]:
    x, square = p.put(torch.ones(2, 1, 4)), p.put(torch.ones(4, 4))
    settings = (4, 1, p.put(torch.ones(12, 4)), p.put(torch.ones(12)), None, None, False, 0.0)
    flag = p.op("python.Bool", p.op("python.Int.__floordiv__", whole(p), 9))
    made = p.ops(
        "torch.nn.functional.multi_head_attention_forward", 2, x, x, x, *settings, square,
        p.put(torch.zeros(4)), need_weights=flag,
    )  # fmt: skip
    return [*made, *(p.op("python.collect", each) for each in made)]


@program
def a_matrix_of_low_rank_with_no_number_in_it(p: Any) -> list[Ref]:
    """It fails when its numbers are drawn, as many as the shape says."""
    matrix = p.op("torch.outer", N, p.put(torch.ones(3)))
    return [*p.ops("torch.pca_lowrank", 3, matrix, 2), p.op("torch.rand", 1)]
