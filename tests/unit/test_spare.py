"""A file with pages is kept ready for the next large value, and is no other file for its reader."""

import os

import pytest
import torch

from duet_p2p import limits
from duet_p2p.engine import landing, spare
from duet_p2p.engine.departure import Departure, in_memory
from duet_p2p.engine.spare import Spare
from duet_p2p.surface.values import from_wire
from tests.unit.engine_kit import Driver

pytestmark = pytest.mark.skipif(not landing.HAS_MEMORY_FILES, reason="needs memory files")

_BLOCK = 512  # of `st_blocks`
LARGE = 3 * limits.SPARE_STEP_BYTES + 5_000


def prepared(nbytes: int = LARGE) -> Spare:
    found = Spare()
    found.note(nbytes)
    while found.is_due:
        found.prepare()
    return found


def test_it_has_pages_and_no_bytes() -> None:
    fd = prepared().take()
    assert fd is not None
    status = os.fstat(fd)
    assert status.st_size == 0
    assert status.st_blocks * _BLOCK >= LARGE
    os.close(fd)


@pytest.mark.parametrize("nbytes", [10, 100_000, LARGE, LARGE + 100_000])
def test_what_is_written_is_all_that_there_is(nbytes: int) -> None:
    made = Departure.empty(nbytes, prepared().take())
    assert made.ready() == 0
    data = os.urandom(nbytes)
    made.write([memoryview(data)])
    assert made.is_written and bytes(made) == data
    blocks = os.fstat(made._fd).st_blocks * _BLOCK
    assert blocks < nbytes + 2 * os.sysconf("SC_PAGE_SIZE")  # the other pages went back


def test_it_is_taken_once_and_then_due_again() -> None:
    found = prepared()
    fd = found.take()
    assert fd is not None and found.take() is None and found.is_due
    os.close(fd)


def test_nothing_is_kept_for_what_is_small_or_too_large() -> None:
    found = Spare()
    for nbytes in (0, limits.PIPE_MEMORY_FILE_BYTES - 1, limits.SPARE_BYTES + 1):
        found.note(nbytes)
        assert not found.is_due


def test_without_memory_it_gives_up_until_the_next_large_value(monkeypatch) -> None:
    found = Spare()
    monkeypatch.setattr(found, "_allocate", lambda fd, offset, nbytes: False)
    found.note(LARGE)
    found.prepare()
    assert not found.is_due
    fd = found.take()
    if fd is not None:
        os.close(fd)


def test_where_nothing_can_be_allocated_nothing_is_due(monkeypatch) -> None:
    monkeypatch.setattr(spare, "HAS_MEMORY_FILES", False)
    found = Spare()
    found.note(LARGE)
    assert not found.is_due and found.take() is None


def test_a_file_that_nobody_took_is_closed() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        prepared(100_000)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_frozen_value_takes_it_and_asks_for_the_next() -> None:
    driver = Driver()
    x = driver.put(torch.arange(50_000.0))
    kept = driver.engine.files.spare
    first = driver.candidate(x)
    assert kept.is_due
    while kept.is_due:
        kept.prepare()
    second = driver.candidate(x)
    driver.engine.finish()
    for told in (first, second):
        assert told.data is not None and told.data.is_written
        assert torch.equal(from_wire(told.value, in_memory(told.data)), torch.arange(50_000.0))
    assert kept.is_due
