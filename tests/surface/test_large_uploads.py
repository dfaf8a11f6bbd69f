"""A large tensor is sent from where it is, so `send` waits until the other side has it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from duet_p2p.errors import DuetError
from duet_p2p.scientist import uploads
from duet_p2p.session.bulk_receiver import BulkReceiver
from tests.surface.joined import Joined, joined

LARGE = 100_000  # bytes


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Joined]:
    monkeypatch.setattr(uploads, "UPLOAD_IN_PLACE_BYTES", LARGE)
    with joined() as session:
        yield session


@pytest.mark.parametrize("count", [LARGE // 8, LARGE])
def test_what_is_changed_after_send_is_not_changed_over_there(pair: Joined, count: int) -> None:
    tensor = torch.arange(float(count))
    pointer = tensor.send(pair.scientist)
    tensor.zero_()
    assert torch.equal(pointer.get(), torch.arange(float(count)))


def test_nothing_is_copied_before_it_is_sent(pair: Joined, monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = torch.ones(LARGE)
    sent: list[memoryview] = []
    outbox = pair.scientist._client.session.outbox
    real = outbox.send_blob

    def send_blob(buffers, nbytes, progress=None):
        sent.extend(buffers)
        return real(buffers, nbytes, progress)

    monkeypatch.setattr(outbox, "send_blob", send_blob)
    tensor.send(pair.scientist)
    [buffer] = sent
    tensor[0] = 2.0
    assert bytes(buffer[:4]) == bytes(torch.tensor([2.0]).numpy().tobytes())
    assert not outbox._awaited


def test_a_refused_upload_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_IN_PLACE_BYTES", LARGE)
    with joined(limits={"upload_bytes": LARGE}) as session:
        pointer = torch.ones(LARGE).send(session.scientist)
        with pytest.raises(DuetError, match="upload"):
            pointer.get()


def test_the_end_of_the_session_ends_the_wait(
    pair: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BulkReceiver, "_take", lambda *_: None)  # the other side takes nothing
    failed: list[BaseException] = []

    def send() -> None:
        try:
            torch.ones(LARGE).send(pair.scientist)
        except DuetError as error:
            failed.append(error)

    sending = threading.Thread(target=send)
    sending.start()
    sending.join(0.2)
    assert sending.is_alive()
    pair.scientist.close()
    sending.join(10)
    assert len(failed) == 1
