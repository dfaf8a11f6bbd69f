"""One command on its way through the executor, and how it can end early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.labels import PUBLIC, Label
from duet_p2p.engine.lineage import Owned
from duet_p2p.engine.provenance import NOTHING, Origin
from duet_p2p.engine.routine import Question
from duet_p2p.engine.store import Poison
from duet_p2p.surface.table import Rule
from duet_p2p.wire.messages import Op

__all__ = ["Failed", "LeftOut", "Running"]


@dataclass(slots=True)
class Running:
    """What is known about the command so far."""

    op: Op
    rule: Rule
    function: Callable[..., Any]
    given: Arguments
    question: Question | None = None
    """What it asks, if it is plain."""
    is_container: bool = False
    targets: list[torch.Tensor] = field(default_factory=list)
    """What it may write to."""
    poison: Poison | None = None
    """Of a stand-in that it runs on."""
    before: Label | None = None
    """Of its arguments, before it ran; None: not looked up."""
    extra: Label = PUBLIC
    """Of the random state, where it draws."""
    is_met: bool = False
    """Private values take part."""
    origin: Origin = NOTHING
    shared: list[tuple[torch.Tensor, int]] = field(default_factory=list)
    """Owner's objects among its arguments, with their versions."""
    owned: list[Owned] = field(default_factory=list)
    """Entries of the targets, of an optimizer's: it writes to them where they lie."""
    state: torch.Tensor | None = None
    """The random state, where it must not draw."""


class Failed(Exception):
    """An operation failed for a new cause."""

    def __init__(self, poison: Poison, *, is_known: bool = False) -> None:
        super().__init__(poison.text)
        self.poison = poison
        self.is_known = is_known  # it failed on what stands in for another failure


class LeftOut(Exception):
    """A command stopped at what failed within it; that has been told and spread."""
