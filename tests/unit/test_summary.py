"""What an owner reads first of a request: one line that says what the value is."""

from __future__ import annotations

from typing import Any

import pytest

from duet_p2p.engine.recipe import Made, boundary, made
from duet_p2p.engine.summary import summary_of
from duet_p2p.wire.values import Ref

T, F = "torch.Tensor.", "torch.nn.functional."


def source(name: str = "x") -> Made:
    return boundary(f"store['{name}']")


def own(number: int = 4) -> Made:
    return boundary(f"own{number}<float32 (3,)>")


def step(op: str, *parts: Any, **kwargs: Any) -> Made:
    """A node; nodes among the parts are its inputs."""
    inputs = {number: part for number, part in enumerate(parts) if isinstance(part, Made)}
    args = [Ref(n) if isinstance(part, Made) else part for n, part in enumerate(parts)]
    return made(op, tuple(args), kwargs, inputs)


def loss(x: Made) -> Made:
    scores = step(F + "linear", x, own(5), own(6))
    return step(F + "cross_entropy", scores, source("y"))


def test_the_first_words_are_what_was_done_last() -> None:
    """Of names that came twice the first was left out, and what stood last was another one."""
    members = step(F + "one_hot", source(), 3)
    centres = step(T + "__truediv__", step(T + "sum", members, 0), 2)
    nearest = step(F + "one_hot", step("torch.cdist", source(), centres), 3)
    assert summary_of(step(T + "sum", nearest, 0)).startswith("sum of one_hot of ")


def test_a_loss_beside_a_value_does_not_make_it_a_loss() -> None:
    few = step(T + "sum", step(T + "__mul__", source(), step(T + "__add__", own(), 0)))
    mixed = step(T + "__add__", few, step(T + "__mul__", loss(source()), 0))
    assert summary_of(mixed).startswith("add of a network ")


@pytest.mark.parametrize("condition", ["__gt__", "__eq__"])
def test_rows_that_were_chosen_are_a_part_of_what_they_were_chosen_of(condition: str) -> None:
    """It read as the condition."""
    rows = step(T + "__getitem__", source(), step(T + condition, source("y"), 0))
    assert summary_of(rows).startswith("part of ")
    assert summary_of(step(T + "__getitem__", source(), 3)) == "part of store['x']"


def test_a_sum_of_one_record_does_not_read_as_a_sum_of_all() -> None:
    """The index was left out wherever something was done before or after it."""
    record = step(T + "__getitem__", source(), 5)
    assert summary_of(step(T + "sum", record)) == "sum of part of store['x']"
    squared = step(T + "sum", step(T + "__pow__", record, 2))
    assert summary_of(squared) == "sum of pow of part of store['x']"
    of_each = step(T + "__getitem__", step(T + "sum", source(), 1), 5)
    assert summary_of(of_each) == "part of sum on store['x']"
    twice = step(T + "__getitem__", record, 0)
    assert summary_of(step(T + "item", twice)) == "part of store['x']"
    few = step(F + "linear", record, own(5), own(6))
    network = "a network (linear; 2 weights) after part on store['y'], store['x']"
    assert summary_of(step(F + "cross_entropy", few, source("y"))) == (
        f"mean of cross_entropy of {network}"
    )


def test_a_list_says_what_each_of_its_elements_is() -> None:
    """A copy of the data beside a mean was left out: it read as a list of means."""
    mean, copy = step(T + "mean", source()), step(T + "clone", source())
    assert summary_of(step("python.collect", mean, copy)) == "list of mean, copy on store['x']"
    record = step(T + "__getitem__", source(), 5)
    assert summary_of(step("python.List", mean, record)) == "list of mean, part on store['x']"
    data = step("python.collect", mean, source(), own())
    assert summary_of(data).startswith("list of mean, copy on store['x']")


def test_an_element_of_a_batch_or_of_a_result_is_no_part_of_it() -> None:
    batch = boundary("batch of 64 of store['x']")
    element = step("python.List.__getitem__", batch, 0)
    assert summary_of(step(T + "mean", element)) == "mean of batch of 64 of store['x']"


def test_reductions_are_told_in_their_order() -> None:
    away = step(T + "__pow__", step(T + "__rsub__", source(), 1), 2)
    inertia = step(T + "mean", step(T + "sum", away, 1))
    assert summary_of(inertia) == "mean of sum of pow of sub on store['x']"
    assert summary_of(step(T + "mean", source())) == "mean of store['x']"


@pytest.mark.parametrize("kwargs", [{}, {"reduction": "sum"}, {"reduction": "none"}])
def test_a_loss_says_how_it_was_reduced(kwargs: dict[str, str]) -> None:
    node = step(F + "mse_loss", step(F + "linear", source(), own()), source("y"), **kwargs)
    head = {"sum": "sum of ", "none": ""}.get(kwargs.get("reduction", ""), "mean of ")
    network = "a network (linear; 1 weight) on store['y'], store['x']"
    assert summary_of(step(T + "item", node)) == f"{head}mse_loss of {network}"


def test_tensors_of_the_scientist_are_weights_only_where_there_is_a_network() -> None:
    few = step(T + "sum", step(T + "__mul__", step(T + "sigmoid", source()), own()))
    assert summary_of(few) == "sum of mul of sigmoid on store['x'] with 1 tensor of the scientist"
    assert summary_of(step(T + "clone", own())) == "copy of 1 tensor of the scientist"
    assert "network (linear; 2 weights)" in summary_of(loss(source()))


def test_a_model_is_a_network_whatever_its_statistics_were_made_of() -> None:
    count = own(7)
    counted = step("changed", count, step(T + "add_", count, 1))
    names, parts = ["weight", "count"], [Ref(2), Ref(3)]
    state = made("python.state_dict", (names, parts), {}, {2: own(), 3: counted})
    assert summary_of(state) == "a network (2 weights)"
