"""Writes that private values left out: they count as made.

torch counts the writes to a tensor, and complains about views and graphs of before. So whether one
was made can be asked for, and what follows from a count is told. A command that failed in private
may have made none; a dropout in place makes none if its number is zero, nor does LBFGS where the
gradients are small. So what they might have written to counts as written once more, which is the
same to torch as once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
from torch.optim import LBFGS, Optimizer

from duet_p2p.engine.arguments import Arguments, is_private, tensors_in
from duet_p2p.engine.clips import CLIPS, clipped_by
from duet_p2p.engine.held_gradient import held_gradient
from duet_p2p.engine.holding import parameters_of
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.running import Running
from duet_p2p.surface.table import Rule, written

__all__ = ["count_left_out", "count_uncertain"]

_STEP: Final = "torch.optim.Optimizer.step"
_UNCOUNTED: Final = ("python.", "torch.optim.")
"""Begin names that write to what lies in their object, if to any tensor."""
_UNNOTICED: Final = frozenset({
    "torch.native_batch_norm", "torch.nn.functional.batch_norm",
    "torch.nn.functional.instance_norm", "torch.Tensor.data=", "torch.Tensor.grad=",
    "torch.Tensor.requires_grad=",
})  # fmt: skip
"""Names that write what torch does not count."""


def count_left_out(rule: Rule, given: Arguments, lineage: Lineage) -> None:
    """Counts the writes of a command that failed in private."""
    for tensor in _targets(rule, given):
        entry = lineage.entry(tensor)
        if not tensor.is_inference() and (entry is None or not entry.is_shared):
            torch.autograd.graph.increment_version(tensor)


def count_uncertain(run: Running, lineage: Lineage) -> None:
    """Counts the writes of a command that is about to run, where private values decide on them."""
    first = run.given.args[0] if run.given.args else None
    is_chosen = run.is_met and is_private(run.given.beside(lineage))
    if is_chosen or isinstance(first, LBFGS):
        count_left_out(run.rule, run.given, lineage)


def _targets(rule: Rule, given: Arguments) -> Iterator[torch.Tensor]:
    first = given.args[0] if given.args else None
    if rule.name == _STEP and isinstance(first, Optimizer):
        moves_all = isinstance(first, LBFGS)
        yield from [p for p in parameters_of(first) if moves_all or held_gradient(p) is not None]
    elif rule.name in CLIPS:
        yield from clipped_by(given)
    elif not (rule.name.startswith(_UNCOUNTED) or rule.name in _UNNOTICED):
        for value in written(rule, given.args, given.kwargs, given.slots):
            yield from tensors_in(value)
