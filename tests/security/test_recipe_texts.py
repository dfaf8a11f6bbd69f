"""What an owner reads of how a value was made says all that was done, and nothing else."""

from __future__ import annotations

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
