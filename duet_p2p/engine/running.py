"""One command on its way through the executor, and how it can end early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.labels import PUBLIC, Label
from duet_p2p.engine.lineage import Owned
from duet_p2p.engine.provenance import NOTHING, Origin
from duet_p2p.engine.routine import Question
from duet_p2p.engine.store import Poison
from duet_p2p.surface.table import Rule
from duet_p2p.wire.messages import Op

__all__ = ["MODES", "Failed", "LeftOut", "Running"]

MODES: Final[dict[str, Callable[[], Any]]] = {
    "g": torch.enable_grad,
    "n": torch.no_grad,
    "i": torch.inference_mode,
}
"""What puts torch into a command's grad mode."""
_NOTHING: Final[list[Any]] = []  # nobody adds to it


class Running:
    """What is known about the command so far.

    One is made with each operation, so what few of them have stands on the class.
    """

    __slots__ = ("__dict__", "function", "given", "is_met", "op", "question", "rule")

    is_container: bool = False
    targets: list[torch.Tensor] = _NOTHING
    """What it may write to."""
    poison: Poison | None = None
    """Of a stand-in that it runs on."""
    before: Label | None = None
    """Of its arguments, before it ran; None: not looked up."""
    extra: Label = PUBLIC
    """Of the random state, where it draws."""
    origin: Origin = NOTHING
    shared: list[tuple[torch.Tensor, int]] = _NOTHING
    """Owner's objects among its arguments, with their versions."""
    owned: list[Owned] = _NOTHING
    """Entries of the targets, of an optimizer's: it writes to them where they lie."""
    state: torch.Tensor | None = None
    """The random state, where it must not draw."""

    def __init__(
        self, op: Op, rule: Rule, function: Callable[..., Any], given: Arguments,
        *, is_met: bool = False,
    ) -> None:  # fmt: skip
        self.op = op
        self.rule = rule
        self.function = function
        self.given = given
        self.is_met = is_met
        """Private values take part."""
        self.question: Question | None = None
        """What it asks, if it is plain."""


class Failed(Exception):
    """An operation failed for a new cause."""

    def __init__(self, poison: Poison, *, is_known: bool = False) -> None:
        super().__init__(poison.text)
        self.poison = poison
        self.is_known = is_known  # it failed on what stands in for another failure


class LeftOut(Exception):
    """A command stopped at what failed within it; that has been told and spread."""
