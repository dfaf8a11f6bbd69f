"""A large frozen value is written once, in a file; later commands do not reach it."""

import pytest
import torch

from duet_p2p import limits
from duet_p2p.engine import landing
from duet_p2p.engine.departure import Departure, in_memory
from duet_p2p.surface.values import from_wire
from tests.unit.engine_kit import Driver, m

pytestmark = pytest.mark.skipif(not landing.HAS_MEMORY_FILES, reason="needs memory files")

MANY = limits.PIPE_MEMORY_FILE_BYTES  # numbers, so four times as many bytes


def answer(driver: Driver, call: int) -> m.Bytes:
    (event,) = driver.engine.handle(m.Release(call))
    assert isinstance(event, m.Bytes)
    return event


def test_a_write_after_the_request_does_not_reach_it() -> None:
    driver = Driver()
    x = driver.put(torch.zeros(MANY))
    call = driver.candidate(x).call
    driver.ok("torch.Tensor.add_", x, 1)
    data = answer(driver, call).data
    assert isinstance(data, Departure) and bytes(data) == bytes(4 * MANY)
    assert torch.equal(driver.release(x), torch.ones(MANY))


def test_the_owner_may_look_at_it_first() -> None:
    driver = Driver()
    x = driver.put(torch.full((MANY,), 7.0))
    call = driver.candidate(x).call
    (text,) = driver.engine.handle(m.Peek(call, 100))
    assert text.text.startswith("tensor([7., 7.")
    assert isinstance(answer(driver, call).data, Departure)


def test_small_values_are_copied() -> None:
    driver = Driver()
    data = answer(driver, driver.candidate(driver.put(torch.ones(10))).call).data
    assert bytes(in_memory(data)) == torch.ones(10).numpy().tobytes()
    assert not isinstance(data, Departure)


def test_past_the_limit_of_files_values_are_copied_and_come_all_the_same() -> None:
    driver = Driver()
    x = driver.put(torch.arange(MANY, dtype=torch.float32))
    calls = [driver.candidate(x).call for _ in range(limits.DEPARTURES + 1)]
    kinds = [type(answer(driver, call).data) for call in calls]
    assert kinds[:-1] == [Departure] * limits.DEPARTURES and kinds[-1] is not Departure
    assert isinstance(answer(driver, driver.candidate(x).call).data, Departure)


def test_the_file_comes_with_the_facts_and_is_written_before_the_next_command() -> None:
    driver = Driver()
    x = driver.put(torch.zeros(MANY))
    told = driver.candidate(x)
    assert told.data is not None and told.data.ready() == 0 and not told.has_value
    driver.ok("torch.Tensor.add_", x, 1)
    assert bytes(told.data) == bytes(4 * MANY)
    told = driver.candidate(x)
    driver.engine.finish()
    assert told.data is not None and told.data.is_written
    assert torch.equal(from_wire(told.value, in_memory(told.data)), torch.ones(MANY))
