"""Missing results that would have been views: of own tensors, and of what is missing as well."""

from __future__ import annotations

import torch

from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.axes import BY_VALUES, base_name
from duet_p2p.engine.labels import join, to_per_record
from duet_p2p.engine.lineage import Lineage, Tracked, reach, storage_of
from duet_p2p.engine.store import Poison
from duet_p2p.engine.trial import views_of
from duet_p2p.surface.table import Rule

__all__ = ["mark_viewed", "name_of"]


def name_of(poison: Poison, lineage: Lineage) -> Tracked:
    """The entry of something new that is missing: that of what would lie in the same memory."""
    known = None if poison.is_object else poison.memory()
    entry = lineage.track(poison if known is None else known)
    if known is not None:
        entry.ref = poison.memory
    poison.memory.append(lineage.enter_name(poison, entry))
    return entry


def mark_viewed(poison: Poison, rule: Rule, given: Arguments, lineage: Lineage) -> None:
    """Labels own tensors that the result would have been a view of, as it would have done.

    A private number that chose the view is told by what is later written through it. Which
    tensors they are is found by the call on zeros in the place of private values.

    Args:
        poison: the failure.
        rule: of the command that failed.
        given: its arguments.
        lineage: gets the labels.
    """
    values = given.values()
    own = [
        v for v in values
        if isinstance(v, torch.Tensor) and not ((e := lineage.entry(v)) and e.is_shared)
    ]  # fmt: skip
    is_known = not any(isinstance(v, Poison) for v in values) or rule.short != "__getitem__"
    base = base_name(rule.name)
    if not own or not is_known or not base or "tensor" not in rule.result or base in BY_VALUES:
        return
    tried = views_of(rule, given, lineage)
    if tried is None:
        return  # it gives no view whatever the values are, or none that public facts tell
    (args, kwargs), result = tried
    viewed = {storage_of(t)._cdata for t in reach(result) if isinstance(t, torch.Tensor)}
    for tensor, made in zip(values, [*args, *kwargs.values()], strict=True):
        is_own = any(tensor is one for one in own)
        if is_own and isinstance(made, torch.Tensor) and storage_of(made)._cdata in viewed:
            entry = lineage.own(tensor)
            entry.label = join((entry.label, to_per_record(poison.label)))
