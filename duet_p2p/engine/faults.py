"""What becomes of a command in which the engine itself failed: by a mistake, or without memory.

Nothing is known about what such a command left behind, so everything is given up that it named, and
that it failed is no public fact. Only where the engine had no memory left, and no private value
took part in that, it is known better: the failure follows from the program then, like that of an
operation which asks for too much, and what the command could only read is as it was.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from duet_p2p.engine import rates
from duet_p2p.engine.arguments import is_private, resolve
from duet_p2p.engine.damage import Damage
from duet_p2p.engine.drawing import is_random
from duet_p2p.engine.failures import code_of, is_exhaustion, text_of
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage, reach
from duet_p2p.engine.reserve import RESERVE
from duet_p2p.engine.store import Poison, Store
from duet_p2p.surface.table import find, written
from duet_p2p.wire.messages import Op

__all__ = ["for_failure", "give_up", "lost"]

_log = logging.getLogger("duet_p2p.engine")

_NOTHING: Final = contextlib.nullcontext()
_PLAIN: Final = frozenset({"function", "method", "factory"})
"""Forms of names that leave nothing behind but results, where they write to no argument."""


def for_failure(error: BaseException) -> contextlib.AbstractContextManager[None]:
    """In its block there is memory for what becomes of an error, where that was for want of it."""
    return RESERVE if is_exhaustion(error) else _NOTHING


def lost(
    seq: int, op: Op, error: Exception, store: Store, lineage: Lineage, damage: Damage,
    every: Label, of_memory: Label,
) -> Poison:  # fmt: skip
    """The poison of such a command, put where it belongs but for its results.

    Args:
        seq: of the command.
        op: the command.
        error: that came out of the engine.
        store: with the command's arguments.
        lineage: their labels.
        damage: spoils them.
        every: the label of what may depend on everything that there is.
        of_memory: the label of how much memory is left.
    """
    _log.exception("the engine failed in %s", op.name)
    lineage.count += 1
    poison = Poison(seq, op.name, code_of(error), text_of(error), False, every)
    is_full, is_met = is_exhaustion(error), True
    with contextlib.suppress(Exception):
        given = resolve(op, store)
        is_met = is_private(given.all(lineage))
        if not (is_full and _only_reads(op)):
            give_up(poison, given.values(), damage, lineage)
    if is_private(every) and is_random(op.name):  # numbers may have been drawn for it
        lineage.generator = join((lineage.generator, to_per_record(every)))
    if is_full and not (is_met or is_private(of_memory)):
        return replace(poison, is_public=True, label=PUBLIC)
    return poison


def give_up(
    poison: Poison, values: Iterable[Any], damage: Damage, lineage: Lineage
) -> None:  # fmt: skip
    """Spoils everything that can be reached from these values."""
    for value in values:
        damage.spoil(parts := reach(value), poison)
        rates.doubt(parts, lineage)


def _only_reads(op: Op) -> bool:
    rule = find(op.name)
    return (
        rule is not None
        and rule.form in _PLAIN
        and rule.result == "tensor"
        and rule.record != "state"
        and not rule.name.startswith("python.")
        and (rule.short.endswith("__") or not rule.short.endswith("_"))
        and not written(rule, op.args, op.kwargs)
    )
