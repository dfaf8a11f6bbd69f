"""torchvision's transforms by name, with the sizes that they make admitted first.

torchvision is an optional part and slow to import, so it is loaded when the first of its names is
used. No transform here takes a callable: `Compose` and its like take other transforms.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch

from duet_p2p import limits
from duet_p2p.errors import NotAllowed, QuotaExceeded

__all__ = ["apply", "batch_steps", "constructor", "has_torchvision", "is_transform"]

_MODULE: Final = "torchvision.transforms"
_OF_TRANSFORMS: Final = frozenset({"Compose", "RandomApply"})


def has_torchvision() -> bool:
    """Whether this side has torchvision; does not import it."""
    return importlib.util.find_spec("torchvision") is not None


def _module() -> Any:
    try:
        return importlib.import_module(_MODULE)
    except ImportError:
        raise NotAllowed("the owner has no torchvision: pip install 'duet-p2p[vision]'") from None


def is_transform(value: object) -> bool:
    """Whether a value is one of torchvision's transforms."""
    return type(value).__module__.startswith(_MODULE) and not isinstance(value, type)


def batch_steps(transform: Any) -> list[Any] | None:
    """What remains to be applied to a whole batch after ``ToTensor``, bit for bit the same.

    ``ToTensor`` first, then only ``Normalize``, both of one value per element: done for a batch at
    once they are twenty times as fast as image by image. None for anything else.
    """
    if transform is None or not is_transform(transform):
        return None
    steps = list(transform.transforms) if type(transform).__name__ == "Compose" else [transform]
    names = [type(step).__name__ for step in steps]
    if names[:1] != ["ToTensor"] or any(name != "Normalize" for name in names[1:]):
        return None
    return steps[1:]


def _numbers(values: Iterable[Any]) -> Iterable[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _numbers(value)
        else:
            yield value


def constructor(name: str) -> Callable[..., Any]:
    """What makes one transform, ``Resize``."""

    def construct(*args: Any, **kwargs: Any) -> Any:
        cls = getattr(_module(), name)
        values = [*args, *kwargs.values()]
        if name in _OF_TRANSFORMS:
            given = args[0] if args else kwargs.get("transforms")
            if not isinstance(given, (list, tuple)) or not all(map(is_transform, given)):
                raise TypeError(f"{name} takes a list of transforms")
            if len(given) > limits.ARRAY_ITEMS:
                raise QuotaExceeded(f"{name} of {len(given)} transforms")
            if args:
                return cls(list(given), *args[1:], **kwargs)
            return cls(**{**kwargs, "transforms": list(given)})
        for value in _numbers(values):
            if isinstance(value, int) and abs(value) > limits.IMAGE_SIDE:
                raise QuotaExceeded(f"{name} with {value}; the limit is {limits.IMAGE_SIDE}")
        if kwargs.get("expand"):
            raise ValueError("expand=True gives images of any size and is not offered")
        return cls(*args, **kwargs)

    return construct


def apply(transform: Any, image: Any) -> Any:
    """One transform of one tensor."""
    if not is_transform(transform):
        raise TypeError("a transform is needed")
    if not isinstance(image, torch.Tensor):
        raise TypeError("a tensor is needed")
    return transform(image)
