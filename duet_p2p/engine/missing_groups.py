"""The groups, settings and states of an optimizer that is missing, since it failed in private.

What a private value may have kept from being there is a choice: whoever takes something out of it
marks all that lies in it (containers.py). So what stands for it has in it what it would have held,
and that is marked as well.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from duet_p2p.engine.choice import mark
from duet_p2p.engine.containers import GETTERS
from duet_p2p.engine.labels import Label
from duet_p2p.engine.lineage import Lineage, reach
from duet_p2p.engine.store import Poison
from duet_p2p.surface.table import Rule

__all__ = ["fill_group", "mark_group"]

_OPTIMIZER: Final = "torch.optim.Optimizer."
_GROUPS: Final = frozenset({"param_groups"})
_SETTINGS: Final = frozenset({"defaults", "state_dict"})
"""Last parts of names that give what has no parameters in it."""


def fill_group(made: Poison, rule: Rule, first: Any) -> None:
    """Puts into what stands for a group, or for settings, what they would have held.

    Args:
        made: it.
        rule: of the command that was to give it.
        first: what that was to look at.
    """
    is_part = isinstance(first, Poison) and first.is_group and rule.short in GETTERS
    is_own = rule.name.startswith(_OPTIMIZER) and rule.short in _GROUPS | _SETTINGS
    made.is_group = is_part or is_own
    if not (is_own and rule.short in _SETTINGS and isinstance(first, Poison)):
        return
    groups = [group for group in _listed(first.parts[:1]) if isinstance(group, dict)]
    own = [value for group in groups for key, value in group.items() if key != "params"]
    made.parts = (*first.parts[1:], *(own if rule.short == "state_dict" else ()))
    made.leaves, made.made_of, made.kept = {}, (), ()


def _listed(parts: tuple[Any, ...]) -> list[Any]:
    return [one for part in parts if isinstance(part, list | tuple) for one in part]


def mark_group(missing: Poison, label: Label, lineage: Lineage) -> None:
    """Something was to be taken out of a missing group: all tensors that would lie there count."""
    mark([part for part in reach(missing) if isinstance(part, torch.Tensor)], label, lineage)
