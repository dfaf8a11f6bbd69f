"""An owner with three objects, and a peer that speaks the raw protocol: for attacks on rules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, against

__all__ = ["CLASSES", "TABLE", "Session", "X", "session"]

X, CLASSES, TABLE = Ref(-1), Ref(-2), Ref(-3)
Session = tuple[OwnerDuet, RawPeer]


@pytest.fixture
def session() -> Iterator[Session]:
    """64 numbers, a class for each, and a table of three columns."""
    with against(
        {"x": torch.arange(64.0), "classes": torch.arange(64) % 3, "table": torch.rand(64, 3)}
    ) as made:
        yield made
