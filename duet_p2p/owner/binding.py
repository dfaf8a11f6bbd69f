"""What ties later requests to a decision by hand: `accept(always=True)`, `recipe=`, `seen_only`.

The engine has worked out a *form* (engine/form.py): commands with their scalars, the owner's
objects, loaders with their settings, and the contents of all public inputs. Equal forms are the
same question. State that training changes is in no form; a value names the steps that wrote it, and
is covered only if this decision has seen each of them, or has foreseen it: the first loss of a run
has none behind it, so the engine says which ones follow if the run goes on as it looks
(engine/foresight.py), and the owner reads that before deciding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from duet_p2p import limits
from duet_p2p.engine.labels import UNBOUND
from duet_p2p.engine.messages import Facts
from duet_p2p.engine.provenance import RANDOM

__all__ = ["Binding", "always_text", "same_text", "why_unbound"]

_BINDABLE_KINDS: Final = frozenset({"metadata", "aggregate", "model"})


@dataclass(frozen=True, slots=True)
class Binding:
    """What a later value must equal.

    The smallest group may have grown, and of the known training steps some may be missing.
    """

    form: str
    writers: frozenset[str]
    sources: frozenset[int]
    kind: str
    min_records: int
    injected: bool
    type: str
    """Empty, and no shape, where values may have decided them: else a rule would tell which."""
    shape: tuple[int, ...] | None
    run: str = ""
    """Of a plan's output: the plan and the contents of all that it was given. Runs that are equal
    in this may train the state."""
    recipe: str = field(compare=False, default="")
    """For people."""

    @staticmethod
    def of(facts: Facts, *, is_ahead: bool = False) -> Binding:
        """The binding of one value.

        Args:
            facts: of the value.
            is_ahead: also of what its run makes of it next, by the steps that are foreseen.
        """
        return Binding(
            form=facts.form,
            writers=frozenset((*facts.writers, *(facts.foreseen if is_ahead else ()))),
            sources=frozenset(facts.sources),
            kind=facts.kind,
            min_records=facts.min_records,
            injected=facts.injected,
            type="" if facts.sized_by_values else facts.type,
            shape=None if facts.sized_by_values else facts.shape,
            run=facts.plan_given,
            recipe=facts.recipe,
        )

    def difference(self, facts: Facts) -> str:
        """The first fact in which a value differs, in words; empty if it is covered."""
        if frozenset(facts.sources) != self.sources:
            return "the sources are others"
        if facts.kind != self.kind:
            return f"the kind is {facts.kind}, not {self.kind}"
        if facts.injected != self.injected:
            return "something public met the data" if facts.injected else "nothing was injected"
        known = ("", None) if facts.sized_by_values else (facts.type, facts.shape)
        if known != (self.type, self.shape):
            return "type or shape are others"
        if self.form in ("", UNBOUND) or facts.form != self.form:
            if same_text(facts.recipe) != same_text(self.recipe):
                return "the recipe is another one"
            return "a public input (a mask, weights) or a loader's settings are others"
        is_of_plan = self.run or facts.plan  # whose commands are bound by its digest
        if not is_of_plan and self.recipe and same_text(facts.recipe) != same_text(self.recipe):
            return "the recipe is another one"  # which of several that are alike, a form has not
        if facts.plan_given != self.run:
            return "it comes from another plan, or the run was given other public inputs"
        if UNBOUND in facts.writers or not self.writers | {self.run} >= set(facts.writers):
            return (
                "its state was trained by steps that this decision has not seen (another loss, "
                "optimizer, learning rate, or none at that time); accept it once more, always"
            )
        if facts.min_records < self.min_records:
            return f"fewer records ({facts.min_records}) than in the decision ({self.min_records})"
        return ""


def always_text(facts: Facts) -> str:
    """What an approval for always takes of a training run, in one line; empty if it is of none."""
    if not facts.foreseen_text or why_unbound(facts):
        return ""
    if facts.foreseen:
        return (
            f"it takes later losses of this run, trained by {facts.foreseen_text}, and nothing else"
        )
    return f"the loss after the next training step asks once more, since {facts.foreseen_text}"


_VARIES: Final = re.compile(
    r"""(?P<kept>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")|\bbatch of \d+|\bown\d+"""
)
"""Not within quotes: there are the owner's tags, and ``town1`` is not ``town2``."""


@lru_cache(limits.COMPARED_TEXTS + 2 * limits.REMEMBERED_DECISIONS)  # all that `seen_only` goes by
def same_text(recipe: str) -> str:
    """A recipe's text for every batch of a loader, and for what is uploaded once more."""
    return _VARIES.sub(lambda found: found["kept"] or "…", recipe)


def why_unbound(facts: Facts, *, is_listed: bool = False) -> str:
    """Why nothing can be bound to a value, as a sentence; empty if it can.

    Args:
        facts: of the value.
        is_listed: the owner reads all commands in a plan's listing.
    """
    if facts.failed:
        return "A failure cannot be accepted always. Accept it once, or deny it."
    if not is_listed and (not facts.recipe or "…" in facts.recipe):
        return (
            "The recipe of this value was cut, so nothing can be bound to it: you would allow what "
            "you cannot read. Accept it once."
        )
    if facts.form in ("", UNBOUND) or UNBOUND in facts.writers:
        return (
            "How this value came to be cannot be told completely (a closure that runs as often as "
            "values want, or too many different training steps), so nothing can be bound to it. "
            "Accept it once."
        )
    if facts.kind not in _BINDABLE_KINDS:
        return (
            "Only values that name no single record can be bound to a recipe (metadata, aggregate, "
            f"model), and this one is {facts.kind}: always would release record after record."
        )
    is_drawn = facts.has_random or any(writer.startswith(RANDOM) for writer in facts.writers)
    if facts.injected and is_drawn:
        return (
            "Random numbers that the scientist's seed decides met the data along its records, and "
            "they are not bound. Accept it once."
        )
    return ""
