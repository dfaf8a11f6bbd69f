"""Label soundness: what is called public or metadata does not depend on private values.

Random programs run twice, on data sets that differ in values only, some of which break what they
meet. Whatever an engine tells without a decision, and whatever it labels as public or metadata, is
the same in both runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duet_p2p.engine import messages as m
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref
from tests.security.random_programs import Program, data_sets
from tests.unit.engine_kit import Driver

FREE = ("public", "metadata")
numbers = st.lists(st.integers(0, 1 << 48), min_size=3, max_size=12)


class Seen(Driver):
    """An engine, and what it tells."""

    def __init__(
        self, data: dict[str, torch.Tensor], dirs: dict[str, str] | None = None,
        record_axes: Mapping[str, int] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        super().__init__(dirs=dirs)
        self.refs = [
            self.share(value, tags=[name], record_axis=record_axes.get(name, 0))
            for name, value in data.items()
        ]
        self.run("torch.manual_seed", 5, outs=0)

    def look(self, id: int) -> Any:
        slot = self.engine.store.find(id)
        return None if slot is None else slot.value

    def do(self, command: Any) -> list[Any]:
        """Runs a command; what leaves the engine's side for the scientist."""
        return shown(self.send(command))

    def verdict(self, id: int) -> tuple[Any, ...]:
        """What anybody may know of an object."""
        self.next_call += 1
        (candidate,) = self.engine.handle(m.Snapshot(self.next_call, id))
        facts = candidate.facts
        if facts is None:
            return ("unknown",)
        if facts.failed:
            return ("failed", facts.failed) if facts.failed_is_public else ("private",)
        if facts.kind not in FREE:
            return ("private",)
        (event,) = self.engine.handle(m.Release(self.next_call))
        if isinstance(event, m.Refused):
            return (facts.kind, facts.type)
        text, data = repr(event.value), bytes(event.data or b"")
        if "{" in text:  # a set lies in an order of this process
            return (facts.kind, facts.type, sorted(text), sorted(data))
        return (facts.kind, facts.type, text, data)


def shown(events: list[Any]) -> list[Any]:
    """Without failures that are private."""
    return [e for e in events if not (isinstance(e, m.OpFailed) and not e.is_public)]


def told(seen: Seen) -> list[Any]:
    """Everything that the engine told so far."""
    return shown(seen.events)


def check(steps: list[int]) -> None:
    """Runs one program on both data sets and compares what shows."""
    one, other = data_sets(Random(sum(steps)))
    first, second = Seen(one), Seen(other)
    program = Program([ref.id for ref in first.refs], first.look)
    done = []
    for number in steps:
        for command in program.step(number):
            done.append(command)
            assert first.do(command) == second.do(command), done
    for id in program.own:
        assert first.verdict(id) == second.verdict(id), (id, done)


T = "torch.Tensor."
X, V, WHOLE, MASK = Ref(-1), Ref(-2), Ref(-3), Ref(-4)
FOUND: dict[str, Callable[[Seen], Any]] = {}
"""Programs that random ones were cut down to: each showed once whether its command had failed."""


def found(program: Callable[[Seen], Any]) -> Callable[[Seen], Any]:
    FOUND[program.__name__] = program
    return program


def masked(d: Seen) -> Ref:
    """As many records as values decide."""
    return d.run(T + "__getitem__", X, MASK)


def chance(d: Seen) -> Ref:
    """A number that is a chance on one of the data sets."""
    return d.run(T + "__getitem__", V, 0)


@found
def an_own_tensor_after_something_hidden_was_added(d: Seen) -> None:
    own = d.run("torch.zeros", [6, 4])
    d.run(T + "add_", own, masked(d))
    d.run(T + "numel", own)


@found
def an_own_tensor_that_something_hidden_was_to_be_written_to(d: Seen) -> None:
    own = d.run("torch.zeros", [6, 4])
    d.run("torch.add", masked(d), d.run("torch.ones", [6, 4]), out=own)
    d.run(T + "numel", own)


@found
def an_own_tensor_after_what_could_not_be_sampled_was_added(d: Seen) -> None:
    own = d.run("torch.zeros", [6])
    place = "torch.distributions."
    sample = d.run(place + "Distribution.sample", d.run(place + "Poisson", V))
    d.run(T + "add_", own, sample)
    d.run(T + "numel", own)


@found
def a_dict_of_what_something_missing_was_added_to(d: Seen) -> None:
    index = d.run(T + "long", d.run(T + "__getitem__", WHOLE, MASK))
    rows = d.run("torch.nn.functional.embedding", index, d.run("torch.ones", [4, 2]))
    own = d.run("torch.zeros", [6])
    added = d.run(T + "add_", own, d.run(T + "sum", rows))
    d.run("python.Dict", [(-1, added), (1, added)])


@found
def an_element_after_a_private_place_was_written(d: Seen) -> None:
    own = d.run("torch.zeros", [6])
    place = d.run(T + "__getitem__", WHOLE, 0)
    d.run(T + "__setitem__", own, place, 2.0, outs=0)
    element = d.run(T + "__getitem__", own, 0)
    d.run("torch.reshape", element)


@found
def a_public_failure_beside_a_private_one(d: Seen) -> None:
    own = d.run("torch.ones", [2])
    d.run(T + "grad=", own, own, outs=0)
    part = d.run(T + "narrow", X, 0, d.run("python.Int", d.run(T + "__getitem__", WHOLE, 0)), 1)
    d.run("python.collect", part, own)


@found
def what_is_sampled_from_a_distribution_that_was_refused(d: Seen) -> None:
    sample = d.run("torch.distributions.Distribution.sample",
                   d.run("torch.distributions.Normal", 0.0, V))  # fmt: skip
    d.run(T + "dtype", sample)
    d.run("python.collect", sample)
    d.run("torch.rand", 1)


@found
def a_tensor_that_was_too_large(d: Seen) -> None:
    d.run("torch.zeros", d.run("python.Int", d.run(T + "__getitem__", WHOLE, 0)))


@found
def weights_after_a_step_of_an_optimizer_that_was_refused(d: Seen) -> None:
    weight = d.run("torch.ones", [4], requires_grad=True)
    rate = d.run("python.Float", chance(d))
    optimizer = d.run("torch.optim.SGD", d.run("python.collect", weight), lr=rate)
    d.run(T + "backward", d.run("torch.sum", d.run(T + "mul", X, weight)), outs=0)
    d.run("torch.optim.Optimizer.step", optimizer, outs=0)
    d.run(T + "grad", weight)
    d.run(T + "numel", weight)


@found
def an_own_tensor_that_dropout_gave_back(d: Seen) -> None:
    own = d.run("torch.ones", [4])
    d.run("torch.nn.functional.dropout", own, chance(d), False)
    d.run("torch.rand", 1)


@found
def an_own_tensor_that_a_private_number_chose_a_view_of(d: Seen) -> None:
    own = d.run("torch.ones", [3])
    d.run(T + "narrow", own, 0, d.run("python.Int", d.run(T + "__getitem__", WHOLE, 0)), 1)


@found
def an_owners_object_that_a_private_number_chose(d: Seen) -> None:
    number = d.run("python.Int", d.run(T + "__getitem__", WHOLE, 0))
    chosen = d.run("python.List.__getitem__", d.run("python.collect", X, V), number)
    d.run(T + "requires_grad_", chosen)


@found
def an_own_default_beside_an_element_that_a_private_key_chose(d: Seen) -> None:
    number = d.run("python.Int", d.run(T + "__getitem__", WHOLE, 0))
    pairs, default = d.run("python.Dict"), d.run("torch.ones", [2])
    d.run("python.Dict.__setitem__", pairs, 1, d.run("torch.zeros", [3]), outs=0)
    chosen = d.run("python.Dict.dict_get", pairs, number, default)
    d.run(T + "zero_", chosen)
    d.run(T + "add", default, 1)


@found
def an_owners_object_that_is_the_same_or_a_copy(d: Seen) -> None:
    number = d.run("python.Int", d.run(T + "__getitem__", WHOLE, 0))
    either = d.run("python.List.__getitem__", d.run("python.collect", X, WHOLE), number)
    d.run(T + "zero_", d.run(T + "to", X, d.run(T + "dtype", either)))
    d.run(T + "is_set_to", X, either)


@found
def a_random_number_after_a_layer_that_draws_one_for_each_that_is_negative(d: Seen) -> None:
    d.run("torch.nn.functional.rrelu", V, training=True)
    d.run("torch.rand", 1)
    d.run("torch.manual_seed", 1, outs=0)
    d.run("torch.rrelu_", d.run(T + "clone", V), 0.1, 0.3, True)
    d.run("torch.rand", 1)


@found
def a_text_of_an_error_with_an_address_in_it(d: Seen) -> None:
    d.run("python.List.index", [1, 2], d.run("python.iter", [1]))


@found
def a_text_of_an_error_that_quotes_what_may_be_told(d: Seen) -> None:
    for text in ("1 takes no text", "f takes at most 2 positional arguments here"):
        d.run("python.List.index", [1, 2], d.run("python.collect", V, text))
        d.run("python.List.remove", d.run("python.collect", 1), [V, text], outs=0)


@found
def a_tuple_repeated_no_times(d: Seen) -> None:
    d.run("python.Complex.__mul__", (3, 1), d.run(T + "__getitem__", WHOLE, 0))


@found
def a_random_number_behind_a_seed_that_is_missing(d: Seen) -> None:
    index = d.run(T + "long", d.run(T + "__getitem__", WHOLE, MASK))
    rows = d.run("torch.nn.functional.embedding", index, d.run("torch.ones", [4, 2]))
    d.run("torch.manual_seed", d.run(T + "sum", rows), outs=0)
    d.run("torch.rand", 1)


@found
def an_own_tensor_that_was_to_be_split_by_a_private_size(d: Seen) -> None:
    own = d.run("torch.ones", [4, 2])
    d.send(Op(T + "split", (101, 102), (own, d.run(T + "__getitem__", WHOLE, 0)), {}, "g"))
    d.run("torch.add", own, 1)


@found
def weights_behind_a_step_at_a_rate_that_a_private_number_chose(d: Seen) -> None:
    weight = d.run("torch.ones", [4], requires_grad=True)
    number = d.run("python.Int", d.run(T + "__getitem__", WHOLE, 0))
    rates = d.run("python.collect", d.run("torch.ones", []), d.run("torch.ones", []))
    rate = d.run("python.List.__getitem__", rates, number)
    optimizer = d.run("torch.optim.Adam", d.run("python.collect", weight), lr=rate)
    d.run("torch.optim.Optimizer.step", optimizer, outs=0)
    d.run(T + "grad", weight)
    d.run(T + "numel", weight)


@found
def a_number_beside_something_missing_in_a_tuple(d: Seen) -> None:
    sample = d.run("torch.distributions.Distribution.sample",
                   d.run("torch.distributions.Normal", 1, chance(d)))  # fmt: skip
    number = d.run("python.Float.real", [1, 2], (sample, 1), 1)
    d.run("torch.linspace", 0, number, 3)


@found
def a_random_number_behind_a_seed_that_is_refused(d: Seen) -> None:
    d.run("torch.nn.functional.rrelu", V, training=True)
    d.run("torch.manual_seed", 0, 1, outs=0)
    d.run("torch.rand", 1)


@found
def a_length_that_is_asked_with_something_missing_beside(d: Seen) -> None:
    place = "torch.distributions."
    sample = d.run(place + "Distribution.sample", d.run(place + "Poisson", V))
    number = d.run("python.OrderedDict.__len__", [1, 2], sample)
    d.run("python.Tuple.__getitem__", [1, 2], number, slice(0, 1))


@found
def a_tensor_where_an_operator_of_numbers_gives_one(d: Seen) -> None:
    product = d.run("python.Any.__floordiv__", WHOLE, d.run(T + "add", WHOLE, -1))
    d.run(T + "numel", product)


@found
def indices_of_a_triangle_of_a_private_size(d: Seen) -> None:
    size = d.run(T + "abs", d.run(T + "__getitem__", WHOLE, 0))
    for name in ("torch.tril_indices", "torch.triu_indices"):
        d.run(T + "numel", d.run(name, size, 3))
        d.run(T + "numel", d.run(name, 3, size))


@found
def a_list_of_the_ends_of_a_slice(d: Seen) -> None:
    number = d.run("python.Int", d.run(T + "__getitem__", WHOLE, 0))
    ends = d.run("python.Slice.indices", d.run("python.Slice", 0, number), number)
    d.run("python.List", ends)


@pytest.mark.parametrize("name", FOUND)
def test_a_program_that_told_once_tells_no_more(name: str) -> None:
    whole = torch.ones(6, dtype=torch.int64)
    x, v = torch.ones(6, 4), torch.full((6,), 0.5)
    calm = {"x": x, "v": v, "i": whole, "b": whole > 0}
    wild = {"x": x, "v": -v, "i": whole * -9, "b": torch.arange(6) > 2}
    first, second = Seen(calm), Seen(wild)
    for seen in (first, second):
        FOUND[name](seen)
    assert told(first) == told(second)
    for id in range(1, first.next_id + 1):
        assert first.verdict(id) == second.verdict(id), id


@pytest.mark.brief
@given(numbers)
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_what_is_free_is_the_same_whatever_the_values_are(steps: list[int]) -> None:
    check(steps)


@pytest.mark.slow
@given(numbers)
@pytest.mark.timeout(900)
@settings(
    max_examples=2_000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
def test_it_is_in_many_more_programs(steps: list[int]) -> None:
    check(steps)


@pytest.mark.slow
def test_a_distribution_that_is_missing_is_no_place_in_a_list() -> None:
    draw = Random(11956 ^ 0x5EED)
    with torch.random.fork_rng(()):
        check([draw.randrange(1 << 48) for _ in range(draw.randint(3, 12))])
