"""Arguments under another name than a rule on the record axis reads them by.

torch's functions of C take NumPy's names besides their own, also where they lie in
torch.nn.functional. A rule that did not see ``axis=0`` went by the default, along the features, and
took what was computed from all records for the rows of single ones. Each attack ends with one
record in what looks like a sum over all; a handler accepts what is called ``loss``.
"""

from __future__ import annotations

from types import BuiltinFunctionType
from typing import Any

import pytest
import torch

from duet_p2p.surface.callables import original
from duet_p2p.surface.keywords import plain_keywords
from duet_p2p.surface.table import TABLE as NAMES
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, waits
from tests.security.rules_kit import TABLE, Session, X, session  # noqa: F401

T, F = "torch.Tensor.", "torch.nn.functional."
WIDE = 64  # as many features as records, so that sizes do not tell the axes apart


@pytest.fixture
def guarded(session: Session) -> Session:  # noqa: F811
    session[0].requests.add_handler(name="loss", action="accept")
    return session


def wide(p: RawPeer) -> Ref:
    """Each record once more as each of its features."""
    return p.op(T + "expand", p.op("torch.unsqueeze", X, 1), WIDE, WIDE)


def one_of(p: RawPeer) -> Ref:
    """The same, with nothing in all features but one."""
    kept = torch.zeros(WIDE)
    kept[5] = 1
    return p.op("torch.mul", wide(p), p.put(kept))


def along_the_records(p: RawPeer) -> Ref:
    """1 for one feature and 0 for all others, which are taken for records then."""
    found = p.op(F + "cosine_similarity", one_of(p), wide(p), axis=0)
    return p.op("torch.sum", p.op("torch.mul", found, X))


def an_axis_that_is_kept(p: RawPeer) -> Ref:
    """The records lie on the first axis, and were looked for on the second one."""
    cube, other = (p.op(T + "expand", p.op("torch.reshape", part(p), [WIDE, 1, WIDE]),
                        WIDE, WIDE, WIDE) for part in (wide, one_of))  # fmt: skip
    found = p.op(F + "pairwise_distance", cube, other, keepdims=True)
    return p.op("torch.sum", p.op(T + "__getitem__", found, (5, slice(None), 0)))


@pytest.mark.parametrize("attack", [along_the_records, an_axis_that_is_kept])
def test_another_name_of_an_argument_waits_for_the_owner(guarded: Session, attack: Any) -> None:
    duet, raw = guarded
    why = waits(duet, raw, attack(raw), "loss")
    assert "accept handler for name='loss' does not take it: " in why


def test_the_same_over_the_features_passes(guarded: Session) -> None:
    _, raw = guarded
    alike = raw.op(F + "cosine_similarity", TABLE, raw.op("torch.exp", TABLE), axis=1)
    assert raw.ask(raw.op("torch.mean", alike), "loss") == "Value"


def test_every_function_that_takes_another_name_of_an_axis_is_read_by_the_plain_one() -> None:
    """Asked of torch itself: what it does not call unexpected, it takes."""
    missed = []
    for name in NAMES:
        function = original(name) if name.startswith("torch.") else None
        if isinstance(function, BuiltinFunctionType):
            for other in ("axis", "keepdims"):
                try:
                    function(**{other: object()})
                except TypeError as error:
                    is_taken = "unexpected keyword" not in str(error)
                    if is_taken and other in plain_keywords(name, {other: 0}):
                        missed.append((name, other))
    assert missed == [("torch.segment_reduce", "axis")]  # its own name, and it has no rule
