"""Commands of odd but possible forms: they fail, or work, and the engine goes on."""

from __future__ import annotations

import logging

import pytest
import torch
from torch.nn import functional

from duet_p2p.surface.callables import CALLABLES
from tests.unit.engine_kit import Driver

T, CTC = "torch.Tensor.", "torch.nn.functional.ctc_loss"


@pytest.fixture
def d(caplog: pytest.LogCaptureFixture):
    yield Driver()
    assert not [
        record for record in caplog.get_records("call") if record.levelno >= logging.WARNING
    ]


def hide_generator(d: Driver) -> None:
    """What is drawn from now on is private."""
    d.ok("torch.poisson", d.share(torch.ones(4)))


def test_next_of_nothing(d: Driver) -> None:
    hide_generator(d)
    d.run("python.next")
    d.run("python.next", outs=0)
    d.ok("torch.ones", 2)


@pytest.mark.parametrize("name", ["backward", "autograd.grad"])
def test_a_switch_that_is_a_tensor_of_several_numbers(d: Driver, name: str) -> None:
    weight = d.put(torch.ones(3, requires_grad=True))
    loss = d.ok("torch.dot", weight, d.share(torch.ones(3)))
    several = d.put(torch.ones(2))
    for key in ("retain_graph", "create_graph"):
        if name == "backward":
            d.failed(T + name, loss, **{key: several}, outs=0)
        else:
            d.failed("torch.autograd.grad", loss, weight, **{key: several})
    d.run(T + "backward", d.ok("torch.sum", weight), outs=0)
    assert not d.failures()


def test_a_keyword_of_an_operator_is_shown(d: Driver) -> None:
    power = d.ok(T + "__pow__", d.share(torch.ones(3)), exponent=2)
    assert "exponent=2" in d.facts(power).recipe


def test_a_broken_view_that_would_be_given_back_fails_as_any_other_result_does(d: Driver) -> None:
    factor = d.ok(T + "item", d.ok("torch.mean", d.share(torch.ones(4))))
    told = []
    for side in (2, 4):  # an image of two lines is given back as it is
        base = d.ok("torch.mul", d.put(torch.rand(2, 3, side, side, requires_grad=True)), 1.0)
        view = d.run("torch.unbind", base, outs=2)[0]
        d.ok(T + "mul_", base, 1.0)
        d.run("torchvision.transforms.functional.adjust_sharpness", view, factor)
        told += [(failure.is_public, failure.code) for failure in d.failures()]
    assert told == [(False, "RuntimeError")] * 2  # as of any function with a private number


# indices of other types than torch's own


def loss_of(targets: torch.Tensor) -> torch.Tensor:
    log_probs = torch.arange(40.0).reshape(5, 2, 4).log_softmax(-1)
    found: torch.Tensor = CALLABLES[CTC](log_probs, targets, [5, 5], [2, 2])
    return found


TARGETS = torch.tensor([[1, 2], [3, 1]])
TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
         torch.uint16, torch.uint32, torch.uint64]  # fmt: skip


@pytest.mark.parametrize("dtype", TYPES)
def test_targets_of_any_type_are_in_range(dtype: torch.dtype) -> None:
    log_probs = torch.arange(40.0).reshape(5, 2, 4).log_softmax(-1)
    usual = functional.ctc_loss(log_probs, TARGETS, [5, 5], [2, 2])
    assert torch.equal(loss_of(TARGETS.to(dtype)), usual)
    wrong = TARGETS.clone()
    wrong[1, 1] = 4  # torch would read behind the numbers
    with pytest.raises(IndexError, match="out of range"):
        loss_of(wrong.to(dtype))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e30])
def test_targets_that_are_no_numbers_of_classes_are_refused(value: float) -> None:
    wrong = TARGETS.double()
    wrong[0, 0] = value
    with pytest.raises(IndexError, match="out of range"):
        loss_of(wrong)


def test_offsets_of_truths_are_in_range() -> None:
    with pytest.raises(IndexError, match="out of range"):
        CALLABLES["torch.nn.functional.embedding_bag"](
            torch.zeros(0, dtype=torch.int64), torch.ones(3, 2), torch.tensor([False, True, True])
        )
