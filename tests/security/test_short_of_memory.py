"""Values that find no memory on their way, or cannot be read again: each of them fails alone."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from duet_p2p.engine.departure import Departure
from duet_p2p.engine.landing import HAS_MEMORY_FILES, Landing
from duet_p2p.errors import ConnectionLost, QuotaExceeded, RemoteError
from duet_p2p.owner import shares
from tests.surface.joined import Joined, joined, until

NUMBERS = 300_000  # several chunks of a transfer
needs_files = pytest.mark.skipif(not HAS_MEMORY_FILES, reason="needs memory files")


@pytest.fixture
def both() -> Iterator[Joined]:
    with joined() as made:
        made.owner.send(torch.arange(10.0), tags=["x"])
        yield made
        assert made.owner.is_open and made.scientist.is_open
        assert torch.ones(NUMBERS).send(made.scientist).sum().get() == NUMBERS
        assert made.scientist.torch.ones(NUMBERS).get().sum() == NUMBERS
        until(lambda: made.owner._session.transfers.counts == (0, 0))
        until(lambda: not made.owner._service._uploads.under_way)
        assert torch.equal(made.owner.store[0].get(), torch.arange(10.0))


def failing_at(number: int, error: Exception, real: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose call with this number raises."""
    calls = [0]

    def call(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            raise error
        return real(*args, **kwargs)

    return call


@needs_files
@pytest.mark.parametrize("number", [1, 2, 10, 19])  # the first comes early; the last is the last
def test_an_upload_that_finds_no_memory_fails_alone(
    both: Joined, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    full = OSError(errno.ENOMEM, "Cannot allocate memory")
    with monkeypatch.context() as patch:
        patch.setattr(Landing, "write", failing_at(number, full, Landing.write))
        with pytest.raises(RemoteError, match=r"could not be kept .Cannot allocate memory"):
            torch.ones(NUMBERS).send(both.scientist).sum().get()


def test_a_download_that_finds_no_memory_fails_alone(
    both: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = both.scientist.torch.ones(NUMBERS)
    with monkeypatch.context() as patch:
        patch.setattr(np, "empty", failing_at(1, MemoryError("no room"), np.empty))
        with pytest.raises(MemoryError, match="no room"):
            value.get()
    assert value.get().sum() == NUMBERS


@needs_files
@pytest.mark.parametrize("number", [1, 5])
def test_a_value_that_cannot_be_read_any_more_is_given_up_alone(
    both: Joined, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    value = both.scientist.torch.ones(NUMBERS)
    with monkeypatch.context() as patch:
        gone = OSError(errno.EIO, "Input/output error")
        patch.setattr(Departure, "read", failing_at(number, gone, Departure.read))
        with pytest.raises(ConnectionLost, match="gave up"):
            value.get()
    assert value.get().sum() == NUMBERS


def test_the_owners_look_at_what_finds_no_memory_is_an_error_at_once(
    both: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = torch.ones(NUMBERS).tag("theirs").send(both.scientist)
    until(lambda: len(both.owner.store) == 2)
    with monkeypatch.context() as patch:
        full = OSError(errno.EMFILE, "Too many open files")
        patch.setattr(shares, "in_memory", failing_at(1, full, shares.in_memory))
        with pytest.raises(QuotaExceeded, match="Too many open files"):
            both.owner.store["theirs"].get()
    assert both.owner.store["theirs"].get().sum() == theirs.sum().get()
