"""An engine with two private numbers and two own leaves, for programs of which one number decides.

What the programs leave is compared of several values of the first number. The second one chooses
between what they made, which gives its source to whatever a backward through that would reach.
"""

from __future__ import annotations

from typing import Any, Final

import torch

from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver

__all__ = ["CLIP", "Side", "T"]

T: Final = "torch.Tensor."
CLIP: Final = "torch.nn.utils.clip_grad_norm_"


class Side:
    """An engine with two private numbers, of which one decides what fails, and two own leaves."""

    def __init__(self, number: int) -> None:
        self.engine = Driver()
        self.place, self.other_place = self._private(number), self._private(0)
        self.leaf, self.other = self.ones(has_gradient=True), self.ones(has_gradient=True)

    def _private(self, number: int) -> Ref:
        secret = self.engine.share(torch.tensor([number]))
        return self.op("python.Int", self.op(T + "__getitem__", secret, 0))

    def ones(self, *, has_gradient: bool = False) -> Ref:
        return self.engine.put(torch.ones(1, 3, requires_grad=has_gradient))

    def op(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.engine.run(name, *args, **kwargs)

    def do(self, name: str, *args: Any, **kwargs: Any) -> None:
        self.engine.run(name, *args, outs=0, **kwargs)

    def inner(self, leaf: Ref) -> Ref:
        return self.op("torch.mul", leaf, 1.0)

    def missing(self, leaf: Ref) -> Ref:
        """A copy of a view that there is on the first data set only."""
        return self.op("torch.clone", self.op(T + "view", self.inner(leaf), self.place, -1))

    def hidden(self, leaf: Ref) -> Ref:
        """It has another shape on the second."""
        return self.op(T + "expand", self.inner(leaf), self.place, 3)

    def gradient(self, tensor: Ref) -> Ref:
        return self.op(T + "grad", tensor)

    def put(self, tensor: Ref, gradient: Ref | None) -> Ref:
        """The tensor, which was to hold this gradient."""
        self.do(T + "grad=", tensor, gradient)
        return tensor

    def refused(self) -> Ref:
        """It was to hold one that has its shape on the first data set only."""
        return self.put(self.inner(self.other), self.hidden(self.leaf))

    def choose(self, made: Ref) -> None:
        self.choose_of(self.op("torch.sum", made), made)

    def choose_of(self, *parts: Ref) -> None:
        """A private number of its own takes one of these out of a list."""
        box = self.op("python.collect", *parts)
        self.op("python.List.__getitem__", box, self.other_place)

    def go_back(self, made: Ref) -> None:
        self.do(T + "backward", self.op("torch.sum", made))

    def told(self) -> list[Any]:
        lineage, found = self.engine.engine.lineage, []
        for ref in (self.leaf, self.other):
            slot = self.engine.engine.store.find(ref.id)
            assert slot is not None
            grad = slot.value.grad
            found.append(sorted(lineage.label(slot.value).sources))
            found.append(None if grad is None else sorted(lineage.label(grad).sources))
        return found

    def third(self) -> Ref:
        """A private tensor of the form of the leaves."""
        return self.engine.share(torch.ones(1, 3))

    def go_back_with(self, made: Ref) -> None:
        """What comes to the leaves has one more source."""
        self.go_back(self.op("torch.mul", made, self.third()))

    def shown(self, *others: Ref) -> list[Any]:
        """What a rule may go by of the leaves, their gradients, and of others."""
        refs = [self.leaf, self.other]
        facts = [self.engine.facts(ref) for ref in (*refs, *map(self.gradient, refs), *others)]
        return [(known.kind, known.sources) for known in facts]

    def failures(self) -> list[Any]:
        """All failures that everybody is told of."""
        return [event for event in self.engine.events if getattr(event, "is_public", False)]

    def is_told_of_failures(self) -> bool:
        """Whether there was a public failure."""
        return bool(self.failures())
