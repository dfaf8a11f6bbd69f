"""torchvision's transforms by name, with the sizes that they make admitted first.

torchvision is an optional part and slow to import, so it is loaded when the first of its names is
used. No transform here takes a callable: `Compose` and its like take other transforms. Each keeps
copies of what it is given, so that nothing can be written into it later. Nor can it into an image
of PIL: made of a tensor of bytes it would lie in the tensor's memory, and no label hangs there.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import torch

from duet_p2p import limits
from duet_p2p.errors import NotAllowed, QuotaExceeded
from duet_p2p.surface.random_transforms import DRAWN, drawn_class

__all__ = ["FUNCTIONS", "apply", "batch_steps", "constructor", "has_torchvision", "is_transform"]

_MODULE: Final = "torchvision.transforms"
_OF_TRANSFORMS: Final = frozenset({"Compose", "RandomApply", "RandomChoice", "RandomOrder"})
_TO_IMAGE: Final = "ToPILImage"
_POSTERIZE_BITS: Final = 8
_NUMBERS: Final = 2 * limits.ARRAY_ITEMS
"""Most numbers, lists and transforms in the arguments of one transform."""
_BYTES: Final = 16
"""Of an element while a transform works on it: two copies in float64."""


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
    bases = type(value).__mro__  # also of the classes that stand for torchvision's own
    return not isinstance(value, type) and any(
        base.__module__.startswith(_MODULE) for base in bases
    )


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


def _admit_numbers(name: str, values: Iterable[Any]) -> None:
    for value in _numbers(values):
        if isinstance(value, int) and abs(value) > limits.IMAGE_SIDE:
            raise QuotaExceeded(f"{name} with {value}; the limit is {limits.IMAGE_SIDE}")


def _copied(name: str, value: Any, room: list[int]) -> Any:
    """An argument as a transform may keep it: nobody else holds a part of it.

    Args:
        name: of the transform.
        value: what it is given.
        room: for how many numbers there still is room, as its only item.
    """
    is_matrix = isinstance(value, torch.Tensor) and name == "LinearTransformation"
    is_many = isinstance(value, torch.Tensor) and not is_matrix
    room[0] -= value.numel() if is_many else 1
    if room[0] < 0:
        raise QuotaExceeded(f"{name} with so many numbers")
    if isinstance(value, torch.Tensor):
        return value.detach().clone() if is_matrix else value.tolist()
    if isinstance(value, (list, tuple)):
        return type(value)([_copied(name, part, room) for part in value])
    return value


def _mode(value: Any) -> Any:
    """A text among the arguments that names an interpolation."""
    if type(value) is not str:
        return value
    modes = _module().InterpolationMode
    return modes(value) if value in {mode.value for mode in modes} else value


def constructor(name: str) -> Callable[..., Any]:
    """What makes one transform, ``Resize``."""

    def construct(*args: Any, **kwargs: Any) -> Any:
        module, room = _module(), [_NUMBERS]
        cls = drawn_class(name) if name in DRAWN else getattr(module, name)
        args = tuple([_copied(name, value, room) for value in args])
        kwargs = {key: _copied(name, value, room) for key, value in kwargs.items()}
        if name in _OF_TRANSFORMS:
            given = args[0] if args else kwargs.get("transforms")
            if not isinstance(given, (list, tuple)) or not all(map(is_transform, given)):
                raise TypeError(f"{name} takes a list of transforms")
            if len(given) > limits.ARRAY_ITEMS:
                raise QuotaExceeded(f"{name} of {len(given)} transforms")
            if args:
                return cls(list(given), *args[1:], **kwargs)
            return cls(**{**kwargs, "transforms": list(given)})
        _admit_numbers(name, [*args, *kwargs.values()])
        if kwargs.get("expand"):
            raise ValueError("expand=True gives images of any size and is not offered")
        made = cls(*map(_mode, args), **{key: _mode(value) for key, value in kwargs.items()})
        if getattr(made, "inplace", False):
            raise ValueError("a transform does not write to what it is given here")
        return made

    return construct


def apply(transform: Any, image: Any) -> Any:
    """One transform of one tensor."""
    if not is_transform(transform):
        raise TypeError("a transform is needed")
    if not isinstance(image, torch.Tensor):
        raise TypeError("a tensor is needed")
    steps = list(_steps(transform))
    sizes = [getattr(step, name, None) for step in steps for name in ("size", "crop_size")]
    paddings = [getattr(step, "padding", None) for step in steps]
    _admit_image(image, sizes, paddings)
    is_kept = any(type(step).__name__ == _TO_IMAGE for step in steps)
    return transform(image.detach().clone() if is_kept else image)


def _steps(transform: Any) -> Iterable[Any]:
    yield transform
    for inner in getattr(transform, "transforms", None) or ():
        yield from _steps(inner)


def _admit_image(image: Any, sizes: Iterable[Any], paddings: Iterable[Any]) -> None:
    """The largest image that sizes and paddings can make, times whatever stands before it."""
    if not isinstance(image, torch.Tensor) or image.dim() < 2 or not image.numel():
        return
    height, width = image.shape[-2:]
    side = max((abs(int(n)) for n in _numbers(sizes) if isinstance(n, (int, float))), default=0)
    padding = sum(abs(int(n)) for n in _numbers(paddings) if isinstance(n, (int, float)))
    # one size means the shorter side: the other grows with it
    scale = max(1.0, side / min(height, width))
    area = (height * scale + 2 * padding) * (width * scale + 2 * padding)
    nbytes = math.prod(image.shape[:-2]) * area * _BYTES
    if nbytes > limits.RESULT_BYTES:
        raise QuotaExceeded(f"an image of {nbytes:.0f} bytes; the limit is {limits.RESULT_BYTES}")


def _is_image(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return True
    from PIL import Image

    return isinstance(value, Image.Image)


def _function(name: str) -> Callable[..., Any]:
    """One of ``torchvision.transforms.functional``."""

    def run(*args: Any, **kwargs: Any) -> Any:
        _module()  # says how to install it
        function = getattr(importlib.import_module(f"{_MODULE}.functional"), name)
        bound = inspect.signature(function).bind(*args, **kwargs)
        given: Mapping[str, Any] = bound.arguments
        first, *rest = given
        image = given[first]
        if not _is_image(image):
            raise TypeError(f"{name} takes a tensor")
        if given.get("expand") or given.get("inplace"):
            raise ValueError(f"{name} is not offered with expand= or inplace=")
        _admit_numbers(name, [given[key] for key in rest])
        bits = given.get("bits", 0)
        if not isinstance(bits, int) or not 0 <= bits <= _POSTERIZE_BITS:
            raise ValueError("a byte has 0 to 8 bits")
        sizes = [given.get(key) for key in ("size", "output_size", "height", "width")]
        offsets = [given.get(key) for key in ("padding", "top", "left")]
        _admit_image(image, sizes, offsets)
        if name == "to_pil_image" and isinstance(image, torch.Tensor):
            bound.arguments[first] = image.detach().clone()
        for key in rest:
            bound.arguments[key] = _mode(given[key])
        return function(*bound.args, **bound.kwargs)

    return run


_FUNCTIONS: Final = """
adjust_brightness adjust_contrast adjust_gamma adjust_hue adjust_saturation adjust_sharpness affine
autocontrast center_crop convert_image_dtype crop equalize erase five_crop gaussian_blur hflip
invert normalize pad perspective pil_to_tensor posterize resize resized_crop rgb_to_grayscale rotate
solarize ten_crop to_grayscale to_pil_image to_tensor vflip
"""
FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    f"{_MODULE}.functional.{name}": _function(name) for name in _FUNCTIONS.split()
}
"""What runs for each of torchvision's functions of one image."""
