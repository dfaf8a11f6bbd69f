"""Transforms of transforms that are chosen and ordered by torch's generator, not by Python's."""

import random
from collections import Counter
from typing import Any

import pytest
import torch

from duet_p2p.engine.batches import is_of_any_size, is_random_transform
from duet_p2p.engine.lineage import reach
from duet_p2p.surface.callables import CALLABLES
from duet_p2p.surface.transforms import is_transform
from duet_p2p.surface.types import type_name_of
from tests.unit.engine_kit import Driver

transforms = pytest.importorskip("torchvision.transforms")

V = "torchvision.transforms."
INNER: list[tuple[str, tuple[float, ...]]] = [
    ("RandomHorizontalFlip", (1.0,)), ("CenterCrop", (3,)), ("Pad", (2,)),
]  # fmt: skip


def made(name: str, **settings: Any) -> Any:
    return CALLABLES[V + name]([CALLABLES[V + inner](*args) for inner, args in INNER], **settings)


def shapes(transform: Any, times: int = 200) -> list[int]:
    """Sides of images: 4 after the flip, 3 after the crop, 8 after the padding."""
    image = torch.arange(16.0).reshape(1, 4, 4)
    apply = CALLABLES[V + "Transform.__call__"]
    return [apply(transform, image).shape[-1] for _ in range(times)]


@pytest.mark.parametrize(
    ("name", "settings"),
    [("RandomChoice", {}), ("RandomChoice", {"p": [0.2, 0.3, 0.5]}), ("RandomOrder", {})],
)
def test_a_seed_binds_them_and_pythons_generator_is_left_alone(
    name: str, settings: dict[str, Any]
) -> None:
    transform, before = made(name, **settings), random.getstate()
    told = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        told.append(shapes(transform))
    assert told[0] == told[1] != told[2]
    assert random.getstate() == before


def test_one_is_chosen_with_the_chances_that_were_said() -> None:
    torch.manual_seed(1)
    even, odd = Counter(shapes(made("RandomChoice"), 600)), made("RandomChoice", p=[0, 1, 3])
    assert set(even) == {4, 3, 8} and min(even.values()) > 150
    often = Counter(shapes(odd, 600))
    assert set(often) == {3, 8} and often[8] > 2 * often[3]
    for wrong in ([1], [0, 0, 0], [float("nan")] * 3):
        with pytest.raises(ValueError):
            shapes(made("RandomChoice", p=wrong), 1)
    with pytest.raises(TypeError):
        made("RandomChoice", p=0.5)


def test_all_are_applied_in_any_order() -> None:
    torch.manual_seed(1)
    told = Counter(shapes(made("RandomOrder"), 200))  # cut to 3 and padded to 7, or 8 cut to 3
    assert set(told) == {7, 3} and min(told.values()) > 60


@pytest.mark.parametrize(("name", "settings"), [("RandomChoice", {"p": [1, 2, 3]}),
                                                ("RandomOrder", {})])  # fmt: skip
def test_they_are_what_a_user_of_torchvision_expects(name: str, settings: dict[str, Any]) -> None:
    transform, theirs = made(name, **settings), getattr(transforms, name)
    assert isinstance(transform, theirs) and is_transform(transform)
    assert type_name_of(transform) == V + name
    inner = [getattr(transforms, short)(*args) for short, args in INNER]
    assert repr(transform) == repr(theirs(inner, **settings))


@pytest.mark.parametrize("name", ["RandomChoice", "RandomOrder"])
def test_seeds_bind_them_within_other_transforms_and_data_sets(name: str) -> None:
    d = Driver()
    inner = [d.ok(V + short, *args) for short, args in INNER[:1]] + [d.ok(V + "Pad", 1)]
    step = d.ok(V + "Compose", [d.ok(V + name, inner), d.ok(V + "RandomCrop", 3)])
    image = d.put(torch.arange(16.0).reshape(1, 4, 4))
    told = []
    for seed in (3, 3, 4):
        d.ok("torch.manual_seed", seed, outs=0)
        told.append([d.release(d.ok(V + "Transform.__call__", step, image)) for _ in range(9)])
    same = [all(map(torch.equal, told[0], other)) for other in told[1:]]
    assert same == [True, False]


# which transforms draw, and which give images of several sizes: found by calling torchvision

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "CenterCrop": (6,), "ColorJitter": (0.2, 0.2, 0.2, 0.1), "ConvertImageDtype": (torch.float64,),
    "FiveCrop": (5,), "GaussianBlur": (3,), "Grayscale": (), "Normalize": ([0.5] * 3, [0.5] * 3),
    "LinearTransformation": (torch.eye(576), torch.zeros(576)), "Pad": (2,),
    "RandomAdjustSharpness": (2.0, 0.5), "RandomAffine": (10,), "RandomAutocontrast": (0.5,),
    "RandomCrop": (20, None, True), "RandomEqualize": (0.5,), "RandomErasing": (0.5,),
    "RandomGrayscale": (0.5,), "RandomHorizontalFlip": (0.5,), "RandomInvert": (0.5,),
    "RandomPerspective": (0.5, 0.5), "RandomPosterize": (3, 0.5), "RandomResizedCrop": (6,),
    "RandomRotation": (90,), "RandomSolarize": (0.5, 0.5), "RandomVerticalFlip": (0.5,),
    "Resize": (6,), "TenCrop": (5,),
}  # fmt: skip
OF_TRANSFORMS = {"Compose", "RandomApply", "RandomChoice", "RandomOrder"}
OF_PICTURES = {"PILToTensor", "ToPILImage", "ToTensor"}
NAMES = sorted(n.removeprefix(V) for n in CALLABLES if n.startswith(V) and n.count(".") == 2)


@pytest.mark.parametrize("name", sorted({*NAMES} - OF_PICTURES))
def test_what_draws_and_what_gives_several_sizes_is_known(name: str) -> None:
    """Of a name that `batches` does not know, the size would show what was drawn."""
    transform = made(name) if name in OF_TRANSFORMS else CALLABLES[V + name](*ARGUMENTS[name])
    kind = torch.uint8 if name in ("RandomEqualize", "RandomPosterize") else torch.float32
    image, sizes = torch.ones(3, 12, 16, dtype=kind), set()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    for _ in range(40):
        given = transform(image)
        sizes.add(tuple(g.shape for g in given) if isinstance(given, tuple) else given.shape)
    draws, parts = not torch.equal(state, torch.get_rng_state()), reach(transform)
    assert any(map(is_random_transform, parts)) == draws
    assert any(map(is_of_any_size, parts)) == (len(sizes) > 1)
