"""Transforms of transforms that torchvision lets Python's own generator choose and order.

That generator carries no label and no seed of the session: what it gives next tells how often it
was asked. Here they are the same classes with torch's generator behind them, so `manual_seed` binds
what they choose, and it is labelled as every other random number is.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any, Final

import torch

__all__ = ["DRAWN", "drawn_class"]

DRAWN: Final = frozenset({"RandomChoice", "RandomOrder"})
"""Names of torchvision's classes that draw from Python's generator."""


class _Drawn(random.Random):
    """Python's ways to choose and to shuffle, by numbers of torch's generator."""

    def random(self) -> float:
        """A number of 53 random bits, in ``[0, 1)``."""
        return torch.rand((), dtype=torch.float64).item()


_DRAWN: Final = _Drawn()


@cache
def drawn_class(name: str) -> Any:
    """The class that stands for one of `DRAWN`; torchvision is imported, and there is one."""
    from torchvision import transforms

    class RandomChoice(transforms.RandomChoice):  # type: ignore[misc]
        surface_type = "torchvision.transforms.RandomChoice"

        def __call__(self, *args: Any) -> Any:
            (chosen,) = _DRAWN.choices(self.transforms, weights=self.p)
            return chosen(*args)

    class RandomOrder(transforms.RandomOrder):  # type: ignore[misc]
        surface_type = "torchvision.transforms.RandomOrder"

        def __call__(self, img: Any) -> Any:
            order = list(self.transforms)
            _DRAWN.shuffle(order)
            for transform in order:
                img = transform(img)
            return img

    return {"RandomChoice": RandomChoice, "RandomOrder": RandomOrder}[name]
