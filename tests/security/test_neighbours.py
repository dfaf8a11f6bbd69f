"""Two data sets that differ in values, and programs made to show by what is *not* touched which.

Each program ends with objects that are asked for in every way that needs no decision. All that the
owner sent is compared, byte for byte. The random programs of test_noninterference.py do not find
these: each needs a private number at one place of one call.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Dtype, Ref
from tests.security.neighbour_kit import (
    ONE,
    OPT,
    OTHER,
    F,
    I,
    Program,
    T,
    X,
    choose,
    few,
    flag,
    fraction,
    goes_back,
    ints,
    loader,
    nested,
    number,
    optimizer,
    past_the_end,
    planned,
    row,
    seen,
    weight,
)
from tests.security.raw_peer import RawPeer, against

PROGRAMS: dict[str, Program] = {}


def program(function: Program) -> Program:
    PROGRAMS[function.__name__] = function
    return function


# a private choice between objects


@program
def an_optimizer_or_a_tensor(p: RawPeer) -> list[Ref]:
    """A request for what cannot be sent was denied at once, and for what can be it was not."""
    return [choose(p, p.put(torch.zeros(2)), optimizer(p))]


@program
def an_object_that_may_have_failed(p: RawPeer) -> list[Ref]:
    normal = p.op("torch.distributions.Normal", 0.0, p.op(T + "__getitem__", X, 0))
    return [normal, p.op("torch.distributions.Distribution.sample", normal)]


@program
def a_public_failure_or_a_number(p: RawPeer) -> list[Ref]:
    """A failure that anybody knows of is told, also out of a list."""
    bad = p.op("torch.nope")
    chosen = choose(p, bad, 3)
    return [chosen, p.op("torch.add", p.put(torch.ones(1)), chosen)]


@program
def a_list_with_a_public_failure(p: RawPeer) -> list[Ref]:
    bad = p.op("torch.nope")
    chosen = choose(p, p.op("python.collect", bad), p.op("python.collect", 3))
    return [chosen, p.op("python.List.__getitem__", chosen, 0), p.op("python.len", chosen)]


@program
def which_loss_goes_back(p: RawPeer) -> list[Ref]:
    """The weights of the other one had no gradient, and that was public."""
    w, v = weight(p), weight(p)
    one, other = (p.op("torch.sum", p.op("torch.square", t)) for t in (w, v))
    p.do(T + "backward", choose(p, one, other))
    p.do(T + "backward", one)
    return [p.op(T + "grad", w), p.op(T + "grad", v)]


@program
def whose_graph_is_used_up(p: RawPeer) -> list[Ref]:
    """A later backward over the same graph failed or not, for all to see."""
    w, v = weight(p), weight(p)
    inner = p.op("torch.square", w)
    later = p.op("torch.mean", inner)
    p.do(T + "backward", choose(p, p.op("torch.sum", inner), p.op("torch.sum", v)))
    p.do(T + "backward", later)
    return [p.op(T + "grad", w), later, p.op(T + "grad", v)]


@program
def an_optimizers_next_parameter(p: RawPeer) -> list[Ref]:
    """Refused where it is there already: the number of groups told it."""
    w, v = weight(p), weight(p)
    made = optimizer(p, w)
    p.do(OPT + "add_param_group", made, {"params": [choose(p, w, v)]})
    return [w, v, p.op("python.len", p.op(OPT + "param_groups", made))]


@program
def one_parameter_twice(p: RawPeer) -> list[Ref]:
    w, v = weight(p), weight(p)
    groups = p.op(OPT + "param_groups", optimizer(p, choose(p, w, v), w))
    return [groups, p.op("python.len", groups)]


# the type of a private number


def _sums(p: RawPeer, value: Any) -> list[Ref]:
    made = p.op("torch.mul", ints(p), value)
    return [made, p.op(T + "dtype", made), p.op(T + "element_size", made)]


@program
def an_int_or_a_float(p: RawPeer) -> list[Ref]:
    """The type of the sum with it was public."""
    return _sums(p, choose(p, 1, 2.5))


@program
def a_float_or_a_text(p: RawPeer) -> list[Ref]:
    return _sums(p, choose(p, 1.0, "x"))


@program
def through_a_list_a_tuple_and_a_dict(p: RawPeer) -> list[Ref]:
    loose = choose(p, 1, 2.5)
    listed = p.op("python.List.__getitem__", p.op("python.collect", loose), 0)
    paired = p.op("python.Tuple.__getitem__", p.op("python.Tuple", [loose]), 0)
    kept = p.op("python.Dict.__getitem__", p.op("python.Dict", [("a", loose)]), "a")
    added = p.op("python.Int.__add__", 1, loose)
    return [r for value in (listed, paired, kept, added) for r in _sums(p, value)]


@program
def a_default_of_another_type(p: RawPeer) -> list[Ref]:
    return _sums(p, p.op("python.Dict.dict_get", {0: 1}, number(p), 2.5))


@program
def a_number_out_of_a_tensor_of_a_private_type(p: RawPeer) -> list[Ref]:
    chosen = choose(p, p.put(torch.tensor(1)), p.put(torch.tensor(1.5)))
    return _sums(p, p.op(T + "item", chosen))


@program
def a_rounding_or_none(p: RawPeer) -> list[Ref]:
    made = p.op("torch.div", ints(p), 2, rounding_mode=choose(p, "floor", None))
    return [made, p.op(T + "dtype", made)]


@program
def a_private_dtype(p: RawPeer) -> list[Ref]:
    """Its own tensor comes back if it has that type already, and was marked only then."""
    own, dtype = p.put(torch.ones(2)), choose(p, Dtype("int64"), Dtype("float32"))
    made = p.op(T + "to", own, dtype)
    return [own, made, p.op(T + "dtype", made), p.op("torch.sum", own, dtype=dtype)]


# whether a result is its own tensor


@program
def a_chance_of_zero(p: RawPeer) -> list[Ref]:
    own = p.put(torch.ones(2))
    return [p.op(F + "dropout", own, fraction(p)), own, p.op("torch.rand", 1)]


@program
def a_shape_that_needs_a_copy(p: RawPeer) -> list[Ref]:
    own = p.op(T + "t", p.put(torch.arange(4.0).reshape(2, 2)))
    return [own, p.op(T + "reshape", own, [p.op("python.Int.__add__", 1, number(p)), -1])]


# settings that say what is written, kept or drawn


@program
def written_in_place_or_not(p: RawPeer) -> list[Ref]:
    own, other = (p.put(torch.tensor([-1.0, 2.0])) for _ in range(2))
    p.op(F + "relu", own, flag(p))
    p.op(F + "relu", other, inplace=p.op(T + "__getitem__", I, 0))
    return [own, other]


@program
def statistics_that_are_updated_or_not(p: RawPeer) -> list[Ref]:
    mean, variance = p.put(torch.zeros(2)), p.put(torch.ones(2))
    p.op(F + "batch_norm", p.put(torch.rand(4, 2)), mean, variance, None, None, flag(p))
    return [mean, variance]


@program
def weights_that_are_scaled_or_not(p: RawPeer) -> list[Ref]:
    table = p.put(torch.ones(3, 2) * 9)
    p.op(F + "embedding", p.put(torch.tensor([1])), table, max_norm=choose(p, None, 1.0))
    return [table]


@program
def a_graph_that_is_kept_or_not(p: RawPeer) -> list[Ref]:
    w = weight(p)
    inner = p.op("torch.square", w)
    loss, later = p.op("torch.sum", inner), p.op("torch.mean", inner)
    p.do(T + "backward", loss, retain_graph=flag(p))
    p.do(T + "backward", later)
    return [p.op(T + "grad", w), later]


@program
def a_gradient_with_a_graph_or_without(p: RawPeer) -> list[Ref]:
    w = weight(p)
    p.do(T + "backward", p.op("torch.sum", p.op("torch.square", w)), create_graph=flag(p))
    grad = p.op(T + "grad", w)
    return [grad, p.op(T + "requires_grad", grad)]


@program
def gradients_of_zero_or_none(p: RawPeer) -> list[Ref]:
    w = weight(p)
    made = optimizer(p, w)
    p.do(T + "backward", p.op("torch.sum", w))
    p.do(OPT + "zero_grad", made, flag(p))
    return [p.op(T + "grad", w)]


@program
def numbers_that_are_drawn_or_not(p: RawPeer) -> list[Ref]:
    own, query = p.put(torch.ones(40)), p.put(torch.ones(1, 3, 2))
    p.op(F + "dropout", own, 0.5, flag(p))
    p.op(F + "scaled_dot_product_attention", query, query, query, None, fraction(p))
    return [own, p.op("torch.rand", 1)]


# random numbers after a private seed


@program
def a_shuffle_after_a_private_seed(p: RawPeer) -> list[Ref]:
    """The order of a public loader was public."""
    p.do("torch.manual_seed", number(p))
    passing = p.op("python.iter", loader(p, p.put(torch.arange(5.0)), shuffle=True))
    return [p.op("python.next", passing), p.op("python.next", passing)]


@program
def a_shuffle_into_a_list(p: RawPeer) -> list[Ref]:
    """A list took all batches, with no label at all; it takes none now."""
    p.do("torch.manual_seed", number(p))
    shuffled = loader(p, p.put(torch.arange(5.0)), shuffle=True)
    more = p.op("python.List")
    p.do("python.List.extend", more, p.op("python.iter", shuffled))
    return [p.op("python.List", shuffled), p.op("python.Tuple", shuffled), more]


@program
def as_many_batches_as_values_decide(p: RawPeer) -> list[Ref]:
    more = p.op("python.List")
    p.do("python.List.extend", more, loader(p, few(p), shuffle=True))
    return [p.op("python.len", more), p.op("torch.rand", 1)]


@program
def everything_that_draws(p: RawPeer) -> list[Ref]:
    p.do("torch.manual_seed", number(p))
    own, query = p.put(torch.ones(6)), p.put(torch.ones(1, 8, 4))
    p.do(T + "normal_", own)
    return [
        own,
        p.op(F + "rrelu", p.put(torch.ones(6)), 0.1, 0.3, True),
        p.op("torch.randperm", 4),
        p.op(F + "scaled_dot_product_attention", query, query, query, None, 0.5),
        p.op("torch.nn.init.xavier_uniform_", p.put(torch.zeros(2, 2))),
        p.op("torch.multinomial", p.put(torch.ones(4)), 1),
        p.op(F + "fractional_max_pool2d", p.put(torch.rand(1, 1, 8, 8)), 2, 2),
    ]


# containers, places and ends


@program
def a_list_that_one_is_taken_out_of(p: RawPeer) -> list[Ref]:
    left, sorted_ = p.put([0, 1, 2]), p.put([3, 1])
    p.do("python.List.remove", left, number(p))
    p.do("python.List.append", sorted_, number(p))
    p.do("python.List.sort", sorted_)
    return [left, p.op("python.len", left), p.op("python.List.__getitem__", sorted_, 0)]


@program
def a_dict_that_changes_while_one_goes_through_it(p: RawPeer) -> list[Ref]:
    box = p.put({0: 1, 5: 2})
    going = p.op("python.iter", box)
    p.do("python.Dict.__setitem__", box, number(p), 1)
    return [p.op("python.next", going) for _ in range(3)]


@program
def which_of_two_lists_grows(p: RawPeer) -> list[Ref]:
    one, other = p.put([1]), p.put([1])
    p.do("python.List.append", choose(p, one, other), 7)
    return [one, other, p.op("python.len", one), p.op("python.len", other)]


@program
def which_of_two_lists_holds_what(p: RawPeer) -> list[Ref]:
    """The owner's tensors lie in lists of one's own, and ways to them do not go by an index."""
    lists = [p.op("python.collect", p.op("python.collect", ref), ref) for ref in (X, I)]
    chosen = choose(p, *lists)
    inner = p.op("python.List.__getitem__", chosen, 0)
    firsts = [
        p.op("python.List.__getitem__", inner, 0),
        p.op("python.Tuple.__getitem__", p.op("python.Tuple", chosen), 1),
        p.op("python.next", p.op("python.iter", inner)),
        p.op("python.List.__getitem__", lists[1], 1),
    ]
    facts = [p.op(T + name, ref) for ref in firsts for name in ("dtype", "shape", "element_size")]
    return [chosen, inner, *firsts, *facts, p.op(T + "dtype", X), p.op("torch.zeros_like", X)]


@program
def an_index_past_the_end(p: RawPeer) -> list[Ref]:
    own = p.put(torch.zeros(1))
    p.do(T + "__setitem__", own, number(p), 5.0)
    return [own, p.op("torch.sum", own)]


@program
def a_row_past_the_end_written_over(p: RawPeer) -> list[Ref]:
    return goes_back(p, p.op(F + "embedding", past_the_end(p), row(p)))


@program
def a_row_added_past_the_end(p: RawPeer) -> list[Ref]:
    own = p.put(torch.zeros(1, 2))
    p.do(T + "index_add_", own, 0, past_the_end(p), row(p))
    return goes_back(p, own)


@program
def a_row_placed_past_the_end(p: RawPeer) -> list[Ref]:
    own, view = p.put(torch.zeros(1, 2)), p.put(torch.zeros(2, 2))
    p.do(T + "__setitem__", own, past_the_end(p), row(p))
    part = p.op(T + "__getitem__", view, slice(0, 1))
    p.do(T + "__setitem__", part, past_the_end(p), row(p))
    return [*goes_back(p, own), *goes_back(p, view)]


@program
def rows_of_a_hidden_number_placed(p: RawPeer) -> list[Ref]:
    index = past_the_end(p)
    few = p.op(T + "__getitem__", index, p.op(T + "__lt__", index, 9))
    owns = [p.put(torch.zeros(2, 2)) for _ in range(3)]
    rows = p.op("torch.index_select", row(p), 0, few)
    p.do(T + "__setitem__", owns[0], few, rows)
    p.do(T + "__setitem__", owns[1], few, p.op(T + "detach", rows))
    p.do(T + "index_add_", owns[2], 0, few, rows)
    return [ref for own in owns for ref in goes_back(p, own)]


@program
def as_many_results_as_values_decide(p: RawPeer) -> list[Ref]:
    return [*p.ops("torch.unbind", 2, few(p)), p.op("python.len", p.op("torch.unbind", few(p)))]


@program
def a_norm_that_is_not_finite(p: RawPeer) -> list[Ref]:
    w = p.put(torch.ones(4, requires_grad=True))
    p.do(T + "backward", p.op("torch.dot", w, p.op("torch.log", X)))
    p.op("torch.nn.utils.clip_grad_norm_", [w], 1.0, 2.0, True)
    p.do(OPT + "step", optimizer(p, w))
    return [p.op(T + "grad", w), w]


# what a frame, or memory, does not hold


@program
def too_deep_to_be_copied(p: RawPeer) -> list[Ref]:
    """A get of the deep one was answered by "unknown", and of the other by "never"."""
    return [choose(p, nested(p, depth), p.put([1])) for depth in (33, 60)]


@program
def too_large_for_a_frame(p: RawPeer) -> list[Ref]:
    long = p.op("python.List", p.op("python.Range", 5_000))
    bits = p.op("python.Int.__mul__", number(p), 40_000)
    chars = p.op("python.Int.__mul__", number(p), 1_000_000)
    return [
        choose(p, long, p.put([1])),
        p.op("python.Int.__lshift__", 1, bits),
        p.op("python.String.__mul__", "\u20ac", chars),
        choose(p, p.op("python.iter", p.put([1])), p.put([1])),
    ]


@program
def notes_on_what_was_chosen(p: RawPeer) -> list[Ref]:
    chosen = choose(p, p.put(torch.zeros(2)), p.put(torch.zeros(3)))
    refs = (chosen, few(p))
    p.wait_for_end()  # a note is answered at once, what runs when it ran
    for ref in refs:
        p.send(wire.Note(ref.id, ("a",), "mine", True))
    return [chosen]


@program
def a_plan_that_fails_on_one_of_them(p: RawPeer) -> list[Ref]:
    own, plan, out = p.put(torch.zeros(1)), p.new_id(), p.new_id()
    steps = (wire.PlanStep(T + "__getitem__", (3,), (Ref(2), Ref(1)), {}, "g"),)
    p.send(wire.DefinePlan(plan, "p", 1, (own.id,), steps, (3,), True))
    p.send(wire.RunPlan(plan, (number(p).id,), (out,), 0))
    return [Ref(out), own]


@program
def runs_of_which_each_may_fail(p: RawPeer) -> list[Ref]:
    """Public results of the runs, and what was drawn behind a failure, are the same."""
    steps = (
        wire.PlanStep(T + "__getitem__", (3,), (Ref(2), Ref(1)), {}, "g"),
        wire.PlanStep("torch.rand", (4,), (2,), {}, "g"),
        wire.PlanStep(T + "add_", (5,), (Ref(2), 1.0), {}, "g"),
        wire.PlanStep("torch.mul", (6,), (Ref(3), Ref(4)), {}, "g"),
    )
    own = p.put(torch.zeros(1))
    made = planned(p, steps, (4, 5, 6), (number(p),), (own,), times=3)
    return [*made, own, p.op("python.len", made[0]), p.op("torch.rand", 1)]


@program
def a_plan_of_hidden_sizes(p: RawPeer) -> list[Ref]:
    steps = (
        wire.PlanStep(T + "__gt__", (2,), (Ref(1), 0.5), {}, "g"),
        wire.PlanStep(T + "__getitem__", (3,), (Ref(1), Ref(2)), {}, "g"),
        wire.PlanStep(T + "numel", (4,), (Ref(3),), {}, "g"),
        wire.PlanStep("torch.zeros_like", (5,), (Ref(3),), {}, "g"),
    )
    made = planned(p, steps, (3, 4, 5), (X,)) + planned(p, steps, (3, 4, 5), (X,), times=2)
    return [*made, *[p.op("python.len", ref) for ref in made]]


@program
def a_plan_that_trains_with_what_values_chose(p: RawPeer) -> list[Ref]:
    w, v = weight(p), weight(p)
    made = optimizer(p, w)
    steps = (
        wire.PlanStep("torch.sum", (4,), (Ref(1),), {}, "g"),
        wire.PlanStep(T + "backward", (), (Ref(4),), {}, "g"),
        wire.PlanStep(OPT + "step", (), (Ref(3),), {}, "g"),
        wire.PlanStep(OPT + "zero_grad", (), (Ref(3),), {}, "g"),
    )
    loss = planned(p, steps, (4,), (choose(p, w, v),), (w, made), times=2)
    return [*loss, w, v, p.op(T + "grad", v)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_shows_the_same_of_two_data_sets(name: str) -> None:
    assert seen(ONE, PROGRAMS[name]) == seen(OTHER, PROGRAMS[name])


def test_the_control_shows_what_is_public() -> None:
    with against() as (duet, raw):
        duet.send(ONE[0])
        assert raw.is_free(raw.op("torch.sum", weight(raw)))
        relu = raw.op(F + "relu", raw.put(torch.ones(1)), True)
        assert raw.is_free(relu)
        passing = raw.op("python.iter", loader(raw, raw.put(torch.arange(3.0)), shuffle=True))
        assert raw.is_free(raw.op("python.next", passing))
