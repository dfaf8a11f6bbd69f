"""Two data sets, and a private value that chose what a command works on: programs that showed it.

Random programs (rare_programs.py, random_programs.py) were cut down to these.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_kit import Programs, difference
from tests.security.neighbour_kit import (
    DATA,
    ONE,
    OPT,
    OTHER,
    F,
    I,
    T,
    X,
    choose,
    flag,
    loader,
    number,
    optimizer,
    weight,
)
from tests.security.test_neighbour_containers import (
    DICTS,
    LISTS,
    ORDERED,
    SCHED,
    Neighbour,
    group,
    reached,
    zeros,
)

PROGRAMS = Programs()
program = PROGRAMS.program


@program
def a_comparison_with_a_list_of_what_is_none(p: Any) -> list[Ref]:
    listed = p.op("python.List", choose(p, 1.5, weight(p)))
    greater = p.op(LISTS + "__gt__", listed, p.put(2))
    return [greater, p.op(LISTS + "__gt__", p.put([1, 2, 3]), greater)]


@program
def a_list_of_a_tensor_or_of_a_list(p: Any) -> list[Ref]:
    listed = p.op("python.List", choose(p, p.put([1, 2]), weight(p)))
    first = p.op(LISTS + "__getitem__", listed, 0)
    return [listed, first, p.op("python.collect", first), p.op("python.len", listed)]


@program
def a_group_behind_a_schedule_over_what_was_chosen(p: Any) -> list[Ref]:
    """The one is the owner's, who is not written to, and the other is not there."""
    made = optimizer(p)
    held = group(p, made)
    chosen = p.op(LISTS + "__getitem__", p.op("python.collect", loader(p, X)), number(p))
    p.op(SCHED + "StepLR", made, chosen, last_epoch=flag(p))
    return [held, p.op("python.len", held), p.op(DICTS + "keys", held)]


@program
def an_own_tensor_in_a_list_that_one_of_two_takes(p: Any) -> list[Ref]:
    """A set that takes no list, or no set."""
    own, other = weight(p), zeros(p)
    chosen = choose(p, X, p.op("python.Set", [1, 2]))
    p.do("python.Set.update", chosen, [p.op("python.collect", own, other), number(p)])
    return [own, other, p.op("torch.mul", own, 2.0)]


@program
def an_own_default_of_one_of_two(p: Any) -> list[Ref]:
    """A dict that gives it, or no dict."""
    own = weight(p)
    got = p.op(DICTS + "dict_get", choose(p, X, p.op("python.Dict")), "a", own)
    return [own, got, reached(p, got)]


@program
def an_own_element_written_into_one_of_two(p: Any) -> list[Ref]:
    own = weight(p)
    chosen = choose(p, 1, p.op("python.collect", zeros(p)))
    p.do(LISTS + "__setitem__", chosen, 0, own)
    return [own, chosen]


@program
def an_item_deleted_of_a_list_or_a_tuple(p: Any) -> list[Ref]:
    fixed = p.put((1, 2))
    p.do(LISTS + "__delitem__", choose(p, fixed, p.put([1, 2])), 2)
    return [p.op("python.List", fixed)]


@program
def rows_of_an_own_tensor_that_a_loader_would_have_given(p: Any) -> list[Ref]:
    own = p.put(torch.rand(4, 2, generator=torch.Generator().manual_seed(1)).requires_grad_())
    data = p.op(DATA + "TensorDataset", own)
    batches = p.op(DATA + "DataLoader", data, batch_size=number(p), shuffle=False)
    batch = p.op("python.next", p.op("python.iter", batches))
    return [own, p.op(LISTS + "__getitem__", batch, 0), p.op(F + "relu", own)]


@program
def weights_beside_the_state_of_a_missing_optimizer(p: Any) -> list[Ref]:
    """A private key is written into the state, in which no weight lies."""
    own = weight(p)
    rate = p.op("torch.sub", p.op(T + "__getitem__", I, 0), 0.5)
    made = p.op("torch.optim.Adagrad", p.op("python.collect", own), lr=rate)
    p.do(OPT + "step", made)
    p.do(ORDERED + "__setitem__", p.op(OPT + "state_dict", made), number(p), 1)
    return [p.op("torch.nn.init.eye_", own), own]


@program
def a_part_of_a_tuple_that_is_missing(p: Any) -> list[Ref]:
    """What would have led to a leaf."""
    leaf = p.put(torch.ones(6, 1, requires_grad=True))
    parts = p.op("torch.chunk", p.op("torch.mul", leaf, leaf), number(p))
    p.do(T + "backward", p.op("torch.sum", p.op("python.Tuple.__getitem__", parts, 0)))
    return [leaf, p.op("python.collect", p.op(T + "grad", leaf))]


@program
def a_missing_one_of_two_that_leads_to_a_leaf(p: Any) -> list[Ref]:
    leaf = p.put(torch.ones(6, 1, requires_grad=True))
    part = p.op(T + "narrow", p.op("torch.mul", leaf, leaf), 0, number(p), 6)
    p.do(T + "backward", p.op("torch.sum", choose(p, part, p.put(torch.ones(1)))))
    return [leaf, p.op("python.collect", p.op(T + "grad", leaf))]


@program
def a_parameter_of_what_is_missing(p: Any) -> list[Ref]:
    own = p.put(torch.ones(6, 1))
    made = p.op("torch.nn.Parameter", p.op(T + "narrow", own, 0, number(p), 6))
    p.do(T + "backward", p.op("torch.sum", made))
    return [made, p.op("python.collect", p.op(T + "grad", made)), own]


@program
def numbers_that_do_not_fit_what_they_are_set_into(p: Any) -> list[Ref]:
    own, leaf = p.put(torch.ones(6, 1)), p.put(torch.ones(5, 1, requires_grad=True))
    part = p.op(T + "narrow", own, 0, number(p), 6)
    p.do(T + "data=", part, p.op("torch.mul", leaf, 2.0))
    p.do(T + "backward", p.op("torch.sum", own))
    return [own, leaf, p.op("python.collect", p.op(T + "grad", leaf))]


@program
def a_graph_written_into_what_was_made_of_something_missing(p: Any) -> list[Ref]:
    own, leaf = p.put(torch.ones(6, 1)), p.put(torch.ones((), requires_grad=True))
    made = p.op("torch.mul", p.op(T + "narrow", own, 0, number(p), 6), 2.0)
    p.do(T + "add_", made, leaf)
    p.do(T + "backward", p.op("torch.sum", made))
    return [leaf, p.op("python.collect", p.op(T + "grad", leaf))]


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_a_private_value_chose_shows_nowhere(name: str) -> None:
    state = torch.get_rng_state()
    try:
        made = PROGRAMS[name]
        assert not difference(Neighbour(ONE).shown(made), Neighbour(OTHER).shown(made))
    finally:
        torch.set_rng_state(state)
