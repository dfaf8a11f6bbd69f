"""What an owner reads of how a value was made says all that was done, and nothing else."""

from __future__ import annotations

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer
from tests.security.rules_kit import TABLE, Session, X, session

__all__ = ["session"]

FORGED = "a)\nv1 = torch.mean(store['x'])\n# \u202e"


def recipe(made: Session, value: Ref) -> str:
    """What the owner reads of a value that waits."""
    duet, raw = made
    raw.request(value, "loss")
    raw.wait(lambda: len(duet.requests) == 1)
    (request,) = duet.requests
    text: str = str(request).partition("  recipe\n")[2]
    request.deny()
    return text


def test_a_keyword_is_no_line_of_code(session: Session) -> None:
    """A dict takes any keyword, and its text became lines that nobody had run."""
    text = recipe(session, session[1].op("python.Dict", **{FORGED: X}))
    assert len(text.strip().splitlines()) == 1
    assert "\\n" in text and "\u202e" not in text


def test_a_keyword_that_is_ignored_is_no_line_either(session: Session) -> None:
    _, raw = session
    data = raw.op("torch.utils.data.TensorDataset", TABLE)
    loader = raw.op("torch.utils.data.DataLoader", data, batch_size=16, **{FORGED: 1})
    batch = raw.op("python.next", raw.op("python.iter", loader))
    text = recipe(session, raw.op("torch.mean", raw.op("python.List.__getitem__", batch, 0)))
    assert "store['x']" not in text


def last_of_many(raw: RawPeer, name: str, *more: int) -> Ref:
    own = raw.put(torch.zeros(64))
    return raw.op("torch.amax", raw.op(name, [*[own] * 16, X], *more))


def test_what_stands_behind_the_sixteenth_is_not_left_out_in_silence(session: Session) -> None:
    for name in ("torch.cat", "torch.stack"):
        assert recipe(session, last_of_many(session[1], name)).count("…") == 1


def test_an_element_of_a_list_is_read_as_what_it_is_an_element_of(session: Session) -> None:
    """It was read as ``next element``, however the list had been made, and could be accepted."""
    _, raw = session
    means = raw.op("python.List", [raw.op("torch.mean", raw.op("torch.mul", TABLE, 3.0))])
    text = recipe(session, raw.op("python.next", raw.op("python.iter", means)))
    assert "torch.mean" in text and "3.0" in text


def test_a_list_with_a_loader_in_it_has_no_batches(session: Session) -> None:
    """Whatever stood behind the loader was read as a batch of its data."""
    _, raw = session
    data = raw.op("torch.utils.data.TensorDataset", TABLE)
    loader = raw.op("torch.utils.data.DataLoader", data, batch_size=16)
    other = raw.op("torch.mul", TABLE, 0.0)
    iterator = raw.op("python.iter", raw.op("python.List", [loader, other]))
    raw.op("python.next", iterator)
    text = recipe(session, raw.op("torch.mean", raw.op("python.next", iterator)))
    assert "batch of" not in text and "mul" in text


@pytest.mark.parametrize("deep", [1, 2])
def test_what_is_written_into_a_part_of_a_list_is_read(session: Session, deep: int) -> None:
    """The list was read as it had been made."""
    _, raw = session
    mean = raw.op("torch.mean", TABLE, 0)
    held = raw.op("python.List", [mean])
    for _ in range(deep - 1):
        held = raw.op("python.List", [held])
    raw.do("torch.Tensor.mul_", mean, 7.0)
    held = raw.op("python.List.copy", held)
    text = recipe(session, held)
    assert text.count("mul_(7.0)") == 1


def test_what_was_written_before_is_read_once(session: Session) -> None:
    _, raw = session
    mean = raw.op("torch.mean", TABLE, 0)
    raw.do("torch.Tensor.mul_", mean, 7.0)
    stacked = raw.op("torch.stack", raw.op("python.List", [mean]))
    assert recipe(session, stacked).count("changed(") == 1


def test_an_iterator_over_a_list_that_grew_is_read_as_one(session: Session) -> None:
    _, raw = session
    first, more = raw.op("torch.mean", TABLE), raw.op("torch.sum", TABLE)
    held = raw.op("python.List", [first])
    iterator = raw.op("python.iter", held)
    raw.op("python.next", iterator)
    raw.do("python.List.append", held, more)
    assert "torch.sum" in recipe(session, raw.op("python.next", iterator))
