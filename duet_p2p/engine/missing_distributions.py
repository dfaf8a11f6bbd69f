"""What a distribution that is missing, since it failed, would have held of what it was made of.

Most classes hold views of their parameters, and some hold tensors of their own that they computed
of them. What a private number chooses is marked with all that lies in it, so a parameter of a
`Normal` is marked and one of a `Beta` is not. Whether the distribution is there must not show in
that: in one that is missing, other tensors stand in the place of parameters of which it would have
held copies.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import torch

from duet_p2p.engine.gradients import leaves_of
from duet_p2p.engine.joined import joined
from duet_p2p.engine.labels import Label
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.running import MODES, Running
from duet_p2p.engine.store import Poison

__all__ = ["COPIED", "put_into"]

_PLACE: Final = "torch.distributions."
_EITHER: Final[frozenset[int | str]] = frozenset({0, 1, "probs", "logits"})
COPIED: Final[dict[str, frozenset[int | str]]] = {
    "Beta": frozenset({0, 1, "concentration1", "concentration0"}),
    "Categorical": _EITHER,
    "Chi2": frozenset({0, "df"}),
    "ContinuousBernoulli": frozenset({0, "probs"}),
    "Multinomial": frozenset({1, 2, "probs", "logits"}),
    "OneHotCategorical": _EITHER,
    "OneHotCategoricalStraightThrough": _EITHER,
    "RelaxedOneHotCategorical": frozenset({1, 2, "probs", "logits"}),
}
"""Distributions to the positions and names of those parameters that they hold no views of."""


def put_into(poison: Poison, named: Running, label: Label, lineage: Lineage) -> None:
    """Puts into what stands for a missing object what that would have held.

    Args:
        poison: it.
        named: the call of its constructor.
        label: of the failure.
        lineage: where labels are kept.
    """
    rule, given = named.rule, named.given
    copied = COPIED.get(rule.short) if rule.name.startswith(_PLACE) else None
    if copied is None:
        poison.parts = tuple(given.values())
        return
    lineage.track(poison).origin = tuple(given.values())  # as of one that is there
    with MODES[named.op.mode]():
        poison.parts = tuple(
            _copied(value, label, lineage) if place in copied else value
            for place, value in (*enumerate(given.args), *given.kwargs.items())
        )
        if not torch.is_grad_enabled():  # then a copy has no graph
            tensors = [part for part in poison.parts if isinstance(part, torch.Tensor)]
            poison.leaves = {id(leaf): leaf for leaf in leaves_of(tensors)}


def _copied(value: Any, label: Label, lineage: Lineage) -> Any:
    """Something of the same form, in the same graph, that is nobody else's."""
    if isinstance(value, Poison):
        known, leaves = lineage.track(value), value.leaves if torch.is_grad_enabled() else {}
        other = replace(value, parts=(), leaves={**leaves})
        tracked = lineage.track(other)
        tracked.content, tracked.structure = known.content, known.structure
        return other
    if not isinstance(value, torch.Tensor):
        return value
    made = torch.zeros((), dtype=value.dtype, device=value.device)  # no memory for its numbers
    if torch.is_grad_enabled() and value.requires_grad:
        made = joined(made, [value], is_linear=True)
    made = made.expand(value.shape)
    entry = lineage.own(made)
    entry.label, entry.hidden = label, lineage.hidden(value)
    return made
