"""One command on its way through the executor, and how it can end early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.call import Call
from duet_p2p.engine.failures import PublicError
from duet_p2p.engine.keyed import looked_up
from duet_p2p.engine.labels import PUBLIC, Label
from duet_p2p.engine.lineage import Lineage, Owned
from duet_p2p.engine.provenance import NOTHING, Origin, Provenance
from duet_p2p.engine.room import Room
from duet_p2p.engine.routine import Question
from duet_p2p.engine.settings import check_keys, check_settings
from duet_p2p.engine.store import IdError, Poison, Store
from duet_p2p.errors import NotAllowed, ProtocolError, QuotaExceeded
from duet_p2p.surface.table import Rule
from duet_p2p.wire.messages import Op

__all__ = ["MODES", "Failed", "LeftOut", "Running", "admitted"]

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

    def given_before(self, provenance: Provenance) -> Origin:
        """What a command was given that fails: asked before anything is marked because of that."""
        if self.origin is NOTHING:
            self.origin = provenance.before(self.op, self.rule, self.given, self.targets, True)
        return self.origin


def admitted(op: Op, call: Call | None, store: Store, room: Room, lineage: Lineage) -> Running:
    """The command with what it names, if ids, keys and settings are in order.

    Raises:
        PublicError: they are not, for all to see.
    """
    try:
        call = call or Call(op)
        store.check_fresh(op.outs)
        room.admit_objects(store, len(op.outs))
        if call.keys or call.bounds:
            check_keys(call, store, lineage)
        given = call.arguments(store)
        check_settings(call, given, lineage)
    except ProtocolError as error:
        raise PublicError(TypeError(str(error))) from None
    except (IdError, NotAllowed, QuotaExceeded, TypeError, ValueError) as error:
        raise PublicError(error) from None
    function = call.function
    if (found := looked_up(call.rule, given, lineage)) is not None:
        given.item, function = found
    return Running(op, call.rule, function, given)


class Failed(Exception):
    """An operation failed for a new cause."""

    def __init__(self, poison: Poison, *, is_known: bool = False) -> None:
        super().__init__(poison.text)
        self.poison = poison
        self.is_known = is_known  # it failed on what stands in for another failure


class LeftOut(Exception):
    """A command stopped at what failed within it; that has been told and spread."""
