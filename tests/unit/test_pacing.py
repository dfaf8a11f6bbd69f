"""Operations of value-dependent time: which they are, how many may run, what the engine says."""

from __future__ import annotations

import pytest
import torch

from duet_p2p.engine import messages as m
from duet_p2p.engine.pacing import Pacing
from duet_p2p.errors import QuotaExceeded
from duet_p2p.limits import TIMED_SECONDS
from duet_p2p.surface import timing
from duet_p2p.surface.table import TABLE
from duet_p2p.surface.timing import VALUE_TIMED, is_value_timed
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver

X = Ref(-1)


@pytest.fixture
def driver() -> Driver:
    driver = Driver({"timed_per_minute": 3})
    driver.share(torch.arange(16.0).reshape(4, 4), tags=["x"])
    return driver


def holds(driver: Driver) -> bool:
    return any(isinstance(event, m.Hold) for event in driver.last)


def test_every_reviewed_name_is_on_the_surface():
    names = (timing._ITERATIVE_NAMES + timing._SAMPLER_NAMES + timing._PYTHON_NAMES).split()
    missing = set(names) - set(TABLE)
    assert len(VALUE_TIMED) + len(missing) == len(set(names)) and not missing


@pytest.mark.parametrize(
    ("name", "timed"),
    [
        ("torch.nonzero", True),
        ("torch.masked_select", True),
        ("torch.unique", True),
        ("torch.bincount", True),
        ("torch.linalg.svd", True),
        ("torch.nn.functional.linear", False),
        ("torch.nn.functional.nll_loss", False),
        ("torchvision.transforms.functional.resize", False),
    ],
)
def test_which_operations_take_a_time_that_values_decide(name, timed):
    assert is_value_timed(TABLE[name]) is timed


def test_the_engine_says_hold_before_what_follows(driver):
    driver.ok("torch.Tensor.nonzero", X)
    kinds = [type(event) for event in driver.last]
    assert kinds.index(m.Hold) < kinds.index(m.SettledUpTo)
    driver.ok("torch.Tensor.sum", X)
    assert not holds(driver)


def test_a_mask_and_what_has_a_hidden_size_are_such_operations(driver):
    mask = driver.ok("torch.Tensor.__gt__", X, 3.0)
    assert not holds(driver)
    chosen = driver.ok("torch.Tensor.__getitem__", X, mask)
    assert holds(driver)
    driver.ok("torch.Tensor.sum", chosen)
    assert holds(driver)


def test_repeats_are_such_an_operation_where_values_say_how_many(driver):
    driver.ok("torch.repeat_interleave", X, 2, 0)
    assert not holds(driver)
    times = driver.ok("torch.Tensor.long", driver.ok("torch.Tensor.select", X, 1, 0))
    driver.ok("torch.repeat_interleave", X, times, 0)
    assert holds(driver)


def test_on_public_values_nothing_is_held_or_counted(driver):
    own = driver.put(torch.arange(5.0))
    for _ in range(9):
        driver.ok("torch.Tensor.nonzero", own)
        assert not holds(driver)


def test_a_failure_inside_such_an_operation_is_behind_the_hold(driver):
    driver.share(torch.full((3,), float("nan")))
    driver.run("torch.linalg.eigvalsh", driver.run("torch.diag", Ref(-2)))
    kinds = [type(event) for event in driver.last]
    assert m.Hold in kinds
    assert m.OpFailed not in kinds[: kinds.index(m.Hold)]


def test_one_more_than_allowed_is_a_public_failure_that_says_so(driver):
    for _ in range(3):
        driver.ok("torch.Tensor.nonzero", X)
    failure = driver.failed("torch.Tensor.nonzero", X)
    assert failure.is_public and "timed_per_minute" in failure.text
    driver.ok("torch.Tensor.sum", X)


def test_the_minute_counts_arrivals_and_not_executions():
    pacing = Pacing(2)
    for at in (100.0, 101.0):
        pacing.arrived(at)
        pacing.take()
    pacing.arrived(100.0 + TIMED_SECONDS - 0.01)
    with pytest.raises(QuotaExceeded):
        pacing.take()
    pacing.arrived(100.0 + TIMED_SECONDS)
    pacing.take()
    with pytest.raises(QuotaExceeded):
        pacing.take()


def test_the_engine_takes_the_time_of_arrival_from_the_command(driver):
    for number, at in enumerate((5.0, 5.0, 5.0, 5.0 + TIMED_SECONDS), 900):
        op = Op("torch.Tensor.nonzero", (number,), (X,), {}, "g")
        events = driver.engine.handle(m.Run(((number, op),), at))
        assert not any(isinstance(event, m.OpFailed) for event in events)
