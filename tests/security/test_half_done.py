"""What a call makes or writes to beside its result, also when it fails half way.

An optimizer fills its state parameter by parameter, and a scheduler writes the first rates as soon
as it is made: into tensors that were set as rates, and beside copies of these. A group that is
refused was filled with settings before. Each test looks for the secret where nobody decides. What
torch gives to a leaf as its gradient has memory of its own, so nothing is written through it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.raw_peer import against, waits
from tests.unit.engine_kit import Driver

SECRET = 0.625
T, D, OPT = "torch.Tensor.", "python.Dict.", "torch.optim."
STEP, RATES = OPT + "Optimizer.", OPT + "lr_scheduler."


@pytest.fixture
def d() -> Driver:
    return Driver()


def shared(d: Driver) -> Ref:
    return d.share(torch.full((6, 4), SECRET))


def leaf(d: Driver, *shape: int) -> Ref:
    made = d.put(torch.zeros(shape))
    d.ok(T + "requires_grad_", made)
    return made


def backward(d: Driver, *operands: Any) -> None:
    d.ok(T + "backward", d.ok("torch.sum", d.ok("torch.mul", *operands)), outs=0)


def group(d: Driver, parameter: Ref, **settings: Any) -> Ref:
    return d.ok("python.Dict", [("params", [parameter]), *settings.items()])


def is_told(d: Driver, value: Ref) -> bool:
    """Whether anybody may have it."""
    return d.facts(value).kind in ("public", "metadata")


def none_is_told(d: Driver, box: Ref, *keys: Any) -> int:
    """How many of these keys are there; none of what lies there is for everybody."""
    there = 0
    for key in keys:
        value = d.run(D + "__getitem__", box, key)
        if not d.failures():
            there += 1
            assert not is_told(d, value), key
    return there


STATES = ("momentum_buffer", "exp_avg", "square_avg", "ax", "prev", "exp_inf")


@pytest.mark.parametrize(
    "name", ["SGD", "Adam", "AdamW", "ASGD", "Rprop", "NAdam", "RAdam", "Adadelta", "Adamax"]
)
def test_a_step_that_fails_at_its_second_group_tells_no_gradient_of_the_first(
    d: Driver, name: str
) -> None:
    x, first, second = shared(d), leaf(d, 6, 4), leaf(d, 2)
    broken = group(d, second)
    settings = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = d.ok(OPT + name, [group(d, first), broken], lr=0.5, **settings)
    backward(d, first, x)
    backward(d, second, 3.0)
    d.ok(D + "__setitem__", broken, "lr", "none", outs=0)
    failure = d.failed(STEP + "step", optimizer, outs=0)
    assert failure.is_public, "the rate is a text for all to see"
    state = d.ok(D + "__getitem__", d.ok(STEP + "state_dict", optimizer), "state")
    assert none_is_told(d, d.ok(D + "__getitem__", state, 0), *STATES)


def test_a_state_that_fails_to_be_loaded_tells_no_copy_of_it(d: Driver) -> None:
    secret = d.ok(T + "double", d.ok(T + "__getitem__", shared(d), 0))
    optimizer = d.ok(OPT + "Adam", [leaf(d, 4)], lr=0.5)
    state = d.ok(STEP + "state_dict", optimizer)
    d.ok(D + "__setitem__", state, "state", {0: {"exp_avg": secret}}, outs=0)
    d.failed(STEP + "load_state_dict", optimizer, state, outs=0)  # it has no "step"
    found = d.ok(D + "__getitem__", d.ok(STEP + "state_dict", optimizer), "state")
    assert none_is_told(d, d.ok(D + "__getitem__", found, 0), "exp_avg") == 1


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_group_that_is_refused_tells_no_setting_that_it_was_filled_with(
    d: Driver, name: str
) -> None:
    secret = d.ok(T + "item", d.ok(T + "__getitem__", shared(d), (0, 0)))
    parameter = leaf(d, 4)
    optimizer = d.ok(OPT + name, [parameter], lr=secret)
    refused = d.ok("python.Dict", [("params", [parameter])])
    d.failed(STEP + "add_param_group", optimizer, refused, outs=0)
    assert none_is_told(d, refused, "lr") == 1


MADE: dict[str, Callable[[Any], tuple[Any, ...]]] = {
    "ConstantLR": lambda secret: (secret,),
    "LinearLR": lambda secret: (secret,),
    "LambdaLR": lambda secret: (secret,),
    "OneCycleLR": lambda secret: (secret, 10),
    "CyclicLR": lambda secret: (secret, 9.0),
}


@pytest.mark.parametrize("name", MADE)
def test_a_tensor_that_is_a_rate_is_private_once_a_scheduler_wrote_to_it(
    d: Driver, name: str
) -> None:
    secret = d.ok(T + "item", d.ok(T + "__getitem__", shared(d), (0, 0)))
    rate = d.put(torch.tensor(1.0))
    optimizer = d.ok(OPT + "SGD", [group(d, leaf(d, 4), lr=rate)], lr=0.1, momentum=0.5)
    d.ok(RATES + name, optimizer, *MADE[name](secret))
    assert not is_told(d, rate)


LATE: dict[str, tuple[Any, ...]] = {
    "StepLR": (3,), "OneCycleLR": (9.0, 10), "CyclicLR": (0.1, 0.5), "SWALR": (0.5,),
    "MultiStepLR": ([0], [1]),
}  # fmt: skip
"""The last one fails as soon as it has kept the first rates."""


@pytest.mark.parametrize("name", LATE)
def test_what_a_scheduler_keeps_of_a_tensor_that_is_a_rate_is_as_private(
    d: Driver, name: str
) -> None:
    rate = d.put(torch.tensor(1.0))
    settings = group(d, leaf(d, 4), lr=rate)
    optimizer = d.ok(OPT + "SGD", [settings], lr=0.1, momentum=0.5)
    d.ok(T + "copy_", rate, d.ok(T + "__getitem__", shared(d), (0, 0)))
    d.run(RATES + name, optimizer, *LATE[name])
    assert bool(d.failures()) is (name == "MultiStepLR")
    assert none_is_told(d, settings, "lr", "initial_lr", "max_lr", "min_lr", "swa_lr") >= 2


def test_a_gradient_does_not_lie_over_what_the_backward_began_with(d: Driver) -> None:
    x, parameter = shared(d), leaf(d, 6, 4)
    flat = d.ok(T + "view", x, 24)
    d.ok(T + "backward", d.ok(T + "view", parameter, 24), flat, outs=0)
    d.ok("torch.nn.utils.clip_grad_norm_", [parameter], 0.001)
    d.ok("torch.nn.utils.clip_grad_value_", [parameter], 0.001, outs=0)
    assert torch.equal(d.release(x), torch.full((6, 4), SECRET)), "an owner's object was changed"
    assert d.facts(x).kind == "verbatim", "a backward is no reason to forget its records"
    own = d.put(torch.ones(24))
    d.ok(T + "backward", d.ok(T + "view", parameter, 24), own, outs=0)
    backward(d, parameter, x)
    assert d.facts(own).kind == "public" and torch.equal(d.release(own), torch.ones(24))


def test_gradients_of_two_leaves_do_not_share_their_memory(d: Driver) -> None:
    for factor in (2.0, shared(d)):
        first, second = leaf(d, 3, 4), leaf(d, 3, 4)
        backward(d, d.ok("torch.cat", [first, second]), factor)
        grads = [d.engine.store.get(one.id).value.grad for one in (first, second)]
        assert len({grad.untyped_storage()._cdata for grad in grads}) == 2


def test_a_zero_grad_of_one_part_hides_no_sum_in_the_other(d: Driver) -> None:
    x, first, second = shared(d), leaf(d, 4), leaf(d, 4)
    both = d.put(torch.zeros(8))
    for at, one in enumerate((first, second)):
        d.ok(T + "grad=", one, d.ok(T + "narrow", both, 0, 4 * at, 4), outs=0)
    mine, other = d.ok(OPT + "SGD", [first], lr=0.5), d.ok(OPT + "SGD", [second], lr=0.5)
    for drops in (False, True):
        backward(d, x, second)
        if drops:
            d.ok(STEP + "zero_grad", mine, set_to_none=False, outs=0)
        backward(d, x, second)
        d.ok(STEP + "step", other, outs=0)
        entry = d.engine.lineage.own(d.engine.store.get(second.id).value.grad)
        assert entry.added, "two backwards added to it"


def test_on_the_wire_it_waits_for_the_owner() -> None:
    with against({"x": torch.full((4,), SECRET)}) as (duet, raw):
        weights = [raw.put(torch.zeros(4, requires_grad=True)) for _ in range(2)]
        groups = [raw.op("python.Dict", [("params", [one])]) for one in weights]
        optimizer = raw.op(OPT + "SGD", groups, lr=0.5, momentum=0.9)
        for one in weights:
            raw.do(T + "backward", raw.op("torch.sum", raw.op("torch.mul", one, Ref(-1))))
        raw.do(D + "__setitem__", groups[1], "lr", "none")
        raw.do(STEP + "step", optimizer)
        state = raw.op(D + "__getitem__", raw.op(STEP + "state_dict", optimizer), "state")
        kept = raw.op(D + "__getitem__", raw.op(D + "__getitem__", state, 0), "momentum_buffer")
        waits(duet, raw, kept)


def test_a_state_of_an_optimizer_that_was_not_made_marks_what_that_of_a_made_one_does() -> None:
    kinds = []
    for value in (1.0, -1.0):  # no optimizer takes the second one
        d = Driver()
        secret = d.ok(T + "item", d.ok(T + "__getitem__", d.share(torch.full((6,), value)), 0))
        parameter = leaf(d, 4)
        state = d.run(STEP + "state_dict", d.run(OPT + "SGD", [parameter], lr=secret))
        d.run(D + "__getitem__", d.run(D + "__getitem__", state, "state"), 0)
        kinds.append(d.facts(parameter).kind)
    assert kinds[0] == kinds[1]
