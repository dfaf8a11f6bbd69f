"""Work that would not end ends with its engine; on private data the session waits for its owner."""

import pytest
import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.bomb_kit import (
    DATA,
    LIMITS,
    a_sample_without_end,
    check_usable,
    handle_id,
    opened,
    pid,
)


@pytest.fixture(scope="module")
def hurried_attack():
    yield from opened(LIMITS | {"command_seconds": 3})


@pytest.fixture
def hurried(hurried_attack):
    hurried_attack[1].answers.clear()
    yield hurried_attack
    check_usable(*hurried_attack)


@pytest.mark.slow
def test_an_operation_that_would_take_for_ever_ends_with_its_engine(hurried):
    duet, raw, _ = hurried
    before = pid(duet)
    square = raw.op("torch.ones", 2_500, 2_500)
    raw.op("torch.linalg.matrix_power", square, 2**62 + 1)
    (again,) = raw.wait(lambda: raw.told(wire.EngineRestarted))
    assert again.reason == "restarted"
    assert not raw.told(wire.Suspended)
    assert pid(duet) != before
    assert "command_seconds" in duet.errors[-1].text
    assert "matrix_power" in duet.errors[-1].text
    assert raw.get(square).state == "unknown"


def test_on_private_data_it_suspends_the_session_until_the_owner_resumes(hurried):
    duet, raw, handle = hurried
    data = raw.op("torch.Tensor.expand", Ref(handle_id(duet)), 1_000, 1_000)
    large = raw.op("torch.Tensor.repeat", data, 3, 3)
    raw.op("torch.linalg.matrix_power", large, 2**62 + 1)
    (told,) = raw.wait(lambda: raw.told(wire.Suspended))
    assert "seconds" not in told.reason
    raw.wait(lambda: not duet._service.revival.is_under_way)
    assert duet.status()["suspended"]
    asked = len(raw.answers)
    lost = raw.op("torch.ones", 1)
    raw.send(wire.Get(next(raw.calls), lost.id), wire.Request(next(raw.calls), -1, "x", "", None))
    raw.wait_for_end()
    assert len(raw.answers) == asked  # neither answered nor remembered
    assert len(duet.requests) == 0
    assert torch.equal(handle.get(), DATA)
    assert duet.resume()
    (again,) = raw.wait(lambda: raw.told(wire.EngineRestarted))
    assert again.reason == "resumed"
    assert raw.get(lost).state == "unknown"
    assert not duet.resume()


@pytest.mark.slow
def test_a_sampler_that_takes_nothing_ends_with_its_engine(hurried):
    duet, raw, _ = hurried
    before = pid(duet)
    a_sample_without_end(raw, 0.0)
    (again,) = raw.wait(lambda: raw.told(wire.EngineRestarted))
    assert again.reason == "restarted"
    assert not raw.told(wire.Suspended)
    assert pid(duet) != before
    assert "command_seconds" in duet.errors[-1].text


@pytest.mark.slow
def test_a_sampler_about_private_numbers_that_takes_nothing_suspends_the_session(hurried):
    duet, raw, handle = hurried
    a_sample_without_end(raw, raw.op("torch.Tensor.__getitem__", Ref(handle_id(duet)), slice(3)))
    (told,) = raw.wait(lambda: raw.told(wire.Suspended))
    assert "seconds" not in told.reason
    raw.wait(lambda: not duet._service.revival.is_under_way)
    assert torch.equal(handle.get(), DATA)
