"""torchvision's transforms through pointers, compared with local ones, and their sizes."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from .scientist_kit import Pair, pair

transforms = pytest.importorskip("torchvision.transforms")
functional = pytest.importorskip("torchvision.transforms.functional")

CORNERS = [[0, 0], [15, 0], [15, 11], [0, 11]]
MOVED = [[1, 1], [14, 0], [15, 10], [0, 11]]


def image() -> torch.Tensor:
    return torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(1))


def bytes_() -> torch.Tensor:
    return (image() * 255).to(torch.uint8)


FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "adjust_brightness": (1.5,),
    "adjust_contrast": (1.5,),
    "adjust_gamma": (2.0,),
    "adjust_hue": (0.1,),
    "adjust_saturation": (0.5,),
    "adjust_sharpness": (2.0,),
    "affine": (10.0, [1, 2], 1.1, [3.0, 1.0]),
    "autocontrast": (),
    "center_crop": ([6, 6],),
    "convert_image_dtype": (torch.uint8,),
    "crop": (1, 2, 5, 6),
    "equalize": (),
    "erase": (1, 1, 3, 3, torch.zeros(1)),
    "five_crop": ([5, 5],),
    "gaussian_blur": ([3, 3],),
    "hflip": (),
    "invert": (),
    "normalize": ([0.5] * 3, [0.5] * 3),
    "pad": ([1, 2],),
    "perspective": (CORNERS, MOVED),
    "posterize": (3,),
    "resize": ([6, 8],),
    "resized_crop": (1, 1, 6, 6, [4, 4]),
    "rgb_to_grayscale": (),
    "rotate": (30.0,),
    "solarize": (0.5,),
    "ten_crop": ([5, 5],),
    "vflip": (),
}
CLASSES: dict[str, tuple[Any, ...]] = {
    "CenterCrop": (6,),
    "ColorJitter": (0.2, 0.2, 0.2, 0.1),
    "ConvertImageDtype": (torch.float64,),
    "FiveCrop": (5,),
    "GaussianBlur": (3,),
    "Grayscale": (),
    "Normalize": ([0.5] * 3, [0.5] * 3),
    "Pad": (2,),
    "RandomAffine": (10,),
    "RandomCrop": (6,),
    "RandomErasing": (1.0,),
    "RandomGrayscale": (1.0,),
    "RandomHorizontalFlip": (1.0,),
    "RandomPerspective": (0.5, 1.0),
    "RandomResizedCrop": (6,),
    "RandomRotation": (10,),
    "RandomVerticalFlip": (1.0,),
    "Resize": (6,),
    "TenCrop": (5,),
}


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with pair() as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_failed_before(both: Pair) -> None:
    both.owner.failures.clear()


def assert_same(got: Any, expected: Any) -> None:
    if isinstance(expected, tuple):
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert torch.equal(one, other)
    else:
        assert torch.equal(got, expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_of_an_image(both: Pair, name: str) -> None:
    args = FUNCTIONS[name]
    picture = bytes_() if name in ("equalize", "posterize") else image()
    expected = getattr(functional, name)(picture, *args)
    remote = getattr(both.duet.torchvision.transforms.functional, name)
    assert_same(both.value(remote(both.duet.send(picture), *args)), expected)


@pytest.mark.parametrize("name", CLASSES)
def test_a_transform_of_an_image(both: Pair, name: str) -> None:
    args = CLASSES[name]
    torch.manual_seed(2)
    expected = getattr(transforms, name)(*args)(image())
    remote = getattr(both.duet.torchvision.transforms, name)(*args)
    both.duet.torch.manual_seed(2)
    assert_same(both.value(remote(both.duet.send(image()))), expected)


@pytest.mark.parametrize("name", ["Compose", "RandomApply", "RandomChoice", "RandomOrder"])
def test_transforms_of_transforms(both: Pair, name: str) -> None:
    place = both.duet.torchvision.transforms
    inner = [place.RandomHorizontalFlip(1.0)]
    made = (
        getattr(place, name)(inner, p=1.0) if name == "RandomApply" else getattr(place, name)(inner)
    )
    assert torch.equal(both.value(made(both.duet.send(image()))), image().flip(-1))


def test_pictures_and_whitening(both: Pair) -> None:
    place = both.duet.torchvision.transforms
    picture = place.functional.to_pil_image(both.duet.send(bytes_()))
    assert torch.equal(both.value(place.functional.pil_to_tensor(picture)), bytes_())
    assert torch.equal(both.value(place.functional.to_tensor(picture)), bytes_() / 255)
    grey = place.functional.to_tensor(place.functional.to_grayscale(picture))
    assert both.value(grey).shape == (1, 12, 16)
    small = torch.ones(1, 2, 2)
    whitening = place.LinearTransformation(
        both.duet.send(torch.eye(4)), both.duet.send(torch.zeros(4))
    )
    assert torch.equal(both.value(whitening(both.duet.send(small))), small)


def test_an_interpolation_is_torchvisions_own_or_a_remote_name(both: Pair) -> None:
    place = both.duet.torchvision.transforms
    for mode in (transforms.InterpolationMode.NEAREST, place.InterpolationMode.NEAREST):
        got = both.value(place.Resize(6, interpolation=mode)(both.duet.send(image())))
        expected = transforms.Resize(6, interpolation=transforms.InterpolationMode.NEAREST)
        assert torch.equal(got, expected(image()))


@pytest.mark.parametrize(
    ("use", "code"),
    [
        (lambda p, x: p.Resize(10**6), "QuotaExceeded"),
        (lambda p, x: p.Resize(4096)(x.expand(3, 12, 16).unsqueeze(0).expand(500, 3, 12, 16)),
         "QuotaExceeded"),
        (lambda p, x: p.Resize(4096)(x[:, :1, :]), "QuotaExceeded"),
        (lambda p, x: p.functional.pad(x, [10**8]), "QuotaExceeded"),
        (lambda p, x: p.functional.crop(x, 0, 0, 10**6, 10**6), "QuotaExceeded"),
        (lambda p, x: p.functional.posterize(x, -(10**3)), "ValueError"),
        (lambda p, x: p.functional.rotate(x, 10.0, expand=True), "ValueError"),
        (lambda p, x: p.functional.normalize(x, [0.5], [0.5], True), "ValueError"),
        (lambda p, x: p.Normalize([0.5], [0.5], True), "ValueError"),
        (lambda p, x: p.RandomErasing(inplace=True), "ValueError"),
    ],
)  # fmt: skip
def test_sizes_are_admitted_and_nothing_is_written_in_place(
    both: Pair, use: Any, code: str
) -> None:
    use(both.duet.torchvision.transforms, both.duet.send(image()))
    both.settle()
    assert both.owner.failures[0].code == code
