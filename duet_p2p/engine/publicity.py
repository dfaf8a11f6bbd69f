"""Whether a failure follows from public facts, so that it may be told."""

from __future__ import annotations

from typing import Final

import torch

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.failures import is_structural
from duet_p2p.engine.labels import Label
from duet_p2p.engine.lineage import Lineage
from duet_p2p.errors import NotAllowed, QuotaExceeded
from duet_p2p.surface.table import Rule

__all__ = ["is_public_failure"]

# Constructors look at shapes and public settings of what they are given, never at values.
_BY_SHAPE: Final = ("torch.optim.", "torch.utils.data.", "torch.nn.Parameter")


def is_public_failure(
    rule: Rule, given: Arguments, error: Exception, label: Label, lineage: Lineage
) -> bool:
    """Whether a failure while running follows from public facts.

    Args:
        rule: of the command.
        given: its arguments.
        error: what it raised.
        label: of everything that took part.
        lineage: labels of tensors and objects.
    """
    if not is_private(label):
        return True
    if not given.has_public_facts(lineage):
        return False
    if isinstance(error, NotAllowed):
        return True
    if rule.name.startswith(_BY_SHAPE) and rule.form == "constructor":
        if rule.short != "TensorDataset" and is_private(given.settings(lineage)):
            return False
        return isinstance(error, TypeError | ValueError | QuotaExceeded)
    # a tensor that was taken as a flag or a size has decided by its value
    if rule.name == "torch.Tensor.backward":
        return is_structural(error, of_graph=False)  # stand-ins have graphs of their own
    return is_structural(error) and not _has_numbers(given, lineage)


def _has_numbers(given: Arguments, lineage: Lineage) -> bool:
    return any(
        isinstance(value, torch.Tensor) and value.numel() == 1 and is_private(lineage.label(value))
        for value in given.beside_first()
    )
