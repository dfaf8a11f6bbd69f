"""Failures whose text repeats what the scientist sent: on the owner's terminal it is text, too."""

import pytest
import torch

from duet_p2p.errors import NotAllowed
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.hostile_kit import assert_harmless_text
from tests.security.raw_peer import RawPeer, waiting
from tests.security.rules_kit import Session, X, session

__all__ = ["session"]

ESCAPES = "cuda\x1b]0;title\x07\x1b[2J\u202eabc"


def failed(raw: RawPeer) -> Ref:
    """A value that failed on a text which a private number chose, so it waits for the owner."""
    place = raw.op("torch.Tensor.item", raw.op("torch.Tensor.argmin", X))
    text = raw.op("python.List.__getitem__", raw.put([ESCAPES, f"{ESCAPES}!"]), place)
    return raw.op("torch.Tensor.to", X, text)


def shown(text: str) -> None:
    assert "title" in text
    assert_harmless_text(text)


def test_what_a_request_says_of_a_failure_is_text(session: Session) -> None:
    duet, raw = session
    request = waiting(duet, raw, failed(raw), "n")
    for text in (request.failed, str(request)):
        shown(text)
    with pytest.raises(NotAllowed) as refused:
        request.value  # noqa: B018
    shown(str(refused.value))


def test_what_reading_an_object_says_is_text(session: Session) -> None:
    duet, raw = session
    raw.send(wire.Note(failed(raw).id, ("mine",), "", True))
    raw.wait_for_end()
    with pytest.raises(NotAllowed) as refused:
        duet.store["mine"].get()
    shown(str(refused.value))


def test_what_the_list_of_failures_holds_is_text(session: Session) -> None:
    """Its fields as well as its lines: of public failures, of private ones and of their names."""
    duet, raw = session
    failed(raw)
    raw.op("torch.Tensor.to", raw.put(torch.ones(2)), ESCAPES)
    raw.op(f"torch.{ESCAPES}")
    raw.wait_for_end()
    fields = [text for failure in errors(duet) for text in (failure.op, failure.text, str(failure))]
    for text in fields:
        assert_harmless_text(text)
    assert len([text for text in fields if "title" in text]) >= 5


def errors(duet: OwnerDuet) -> list:
    return list(duet.errors)
