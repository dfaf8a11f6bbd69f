"""Labels hang on storages: whatever else lies over a tensor's memory must not be there.

A result under a storage of its own, or an object that is no tensor, over the memory of an own
tensor would be public for ever, and hold what is written into that tensor later.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from duet_p2p.surface.callables import CALLABLES
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Dtype, Ref
from tests.security.raw_peer import RawPeer, against
from tests.surface.test_unnoticed_writes import calls, tensors

X, T = Ref(-1), "torch.Tensor."
V, F = "torchvision.transforms.", "torchvision.transforms.functional."
SIDE = 8
BYTES = (torch.arange(SIDE * SIDE) + 1).to(torch.uint8).view(1, SIDE, SIDE)


def by(p: RawPeer, transform: Ref, image: Ref) -> Ref:
    return p.op(V + "Transform.__call__", transform, image)


IMAGES: dict[str, tuple[tuple[int, ...], str, Callable[[RawPeer, Ref], Ref]]] = {
    "a function": ((1, SIDE, SIDE), "uint8", lambda p, t: p.op(F + "to_pil_image", t)),
    "of two axes": ((SIDE, SIDE), "uint8", lambda p, t: p.op(F + "to_pil_image", t)),
    "of colours": ((3, SIDE, SIDE), "uint8", lambda p, t: p.op(F + "to_pil_image", t)),
    "in a mode": ((1, SIDE, SIDE), "uint8", lambda p, t: p.op(F + "to_pil_image", t, "L")),
    "by a keyword": ((1, SIDE, SIDE), "uint8", lambda p, t: p.op(F + "to_pil_image", pic=t)),
    "of whole numbers": ((SIDE, SIDE), "int32", lambda p, t: p.op(F + "to_pil_image", t)),
    "of short ones": ((SIDE, SIDE), "int16", lambda p, t: p.op(F + "to_pil_image", t)),
    "of fractions": ((SIDE, SIDE), "float32", lambda p, t: p.op(F + "to_pil_image", t, "F")),
    "a view": ((2, SIDE, SIDE), "uint8", lambda p, t: p.op(
        F + "to_pil_image", p.op(T + "select", t, 0, 0))),
    "a transform": ((1, SIDE, SIDE), "uint8", lambda p, t: p.op(
        V + "Transform.__call__", p.op(V + "ToPILImage"), t)),
    "one of several": ((1, SIDE, SIDE), "uint8", lambda p, t: by(
        p, p.op(V + "Compose", [p.op(V + "CenterCrop", SIDE), p.op(V + "ToPILImage")]), t)),
    "within one": ((1, SIDE, SIDE), "uint8", lambda p, t: p.op(
        V + "Transform.__call__", p.op(V + "RandomApply", [p.op(V + "ToPILImage")], 1.0), t)),
    "chosen": ((1, SIDE, SIDE), "uint8", lambda p, t: p.op(
        V + "Transform.__call__", p.op(V + "RandomChoice", [p.op(V + "ToPILImage")]), t)),
}  # fmt: skip


@pytest.mark.parametrize("way", IMAGES)
def test_what_is_written_into_a_tensor_later_is_in_no_image_of_it(way: str) -> None:
    """The data was copied into a tensor of one's own, and left by the image of it."""
    pytest.importorskip("torchvision")
    shape, dtype, made = IMAGES[way]
    with against({"x": BYTES}) as (_, raw):
        own = raw.op("torch.zeros", list(shape), dtype=Dtype(dtype))
        image = made(raw, own)
        pixels = raw.op(F + "pil_to_tensor", image)
        before = raw.get(pixels)
        assert isinstance(before, wire.Value) and not raw.value(before).any()  # the control
        raw.do(T + "copy_", own, raw.op(T + "expand", raw.op(T + "view", X, SIDE, SIDE), *shape))
        after = raw.get(raw.op(F + "pil_to_tensor", image))
        assert isinstance(after, wire.NotYours) or not raw.value(after).any()


# every name: by torch's own samples, and by images


def span(tensor: torch.Tensor) -> tuple[int, int]:
    store = tensor.untyped_storage()
    return store.data_ptr(), store.data_ptr() + store.nbytes()


def lies_over(made: torch.Tensor, given: torch.Tensor) -> bool:
    """Whether it is in the same memory under a storage of its own."""
    if made.untyped_storage()._cdata == given.untyped_storage()._cdata:
        return False
    (start, end), (first, last) = span(made), span(given)
    return start < last and first < end


def pixels(value: Any) -> list[bytes]:
    """Of the images in a result."""
    if isinstance(value, list | tuple):
        return [found for part in value for found in pixels(part)]
    return [value.tobytes()] if hasattr(value, "tobytes") else []


def shares(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool | None:
    """Whether something of a result lies over an argument unseen; None if it is no call."""
    given = list(tensors((args, kwargs)))
    try:
        result = CALLABLES[name](*args, **kwargs)
    except Exception:  # of whatever class: a name has calls of its own kind only
        return None
    if any(lies_over(made, tensor) for made in tensors(result) for tensor in given):
        return True
    before = pixels(result)
    for tensor in given if before else ():
        tensor.detach().fill_(1)
    return pixels(result) != before


def images() -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Calls of each function of torchvision."""
    rest: tuple[tuple[Any, ...], ...] = (
        (), (4,), ([4, 4],), (0.5,), (1, 1, 4, 4), (1, 1, 4, 4, [4, 4]), (0.0, [0, 0], 1.0, [0.0]),
        ([0.5], [0.5]), (3,), ([1, 1],), (2, 1.0), (torch.float32,), (1, 1, 2, 2, torch.ones(1)),
        ([[0, 0], [7, 0], [7, 7], [0, 7]], [[0, 0], [7, 0], [7, 7], [0, 7]]),
    )  # fmt: skip
    for name in CALLABLES:
        for shape in ((1, SIDE, SIDE), (3, SIDE, SIDE), (SIDE, SIDE)):
            for dtype in (torch.uint8, torch.float32, torch.int32):
                if name.startswith(F):
                    image = CALLABLES[F + "to_pil_image"](torch.zeros(3, SIDE, SIDE))
                    for more in rest:
                        yield name, (torch.zeros(shape, dtype=dtype), *more), {}
                        yield name, (image, *more), {}


def test_what_lies_over_another_is_found() -> None:
    one = torch.zeros(4)
    other = torch.frombuffer(one.numpy(), dtype=torch.int32)
    assert lies_over(other, one) and not lies_over(one.view(2, 2), one)


def test_no_image_lies_over_its_tensor() -> None:
    pytest.importorskip("torchvision")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [(name, shares(name, args, kw)) for name, args, kw in images()]
    assert {name for name, wrong in found if wrong} == set()
    worked = {name for name, wrong in found if wrong is not None}
    assert len(worked) > 25 and F + "to_pil_image" in worked


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_result_lies_over_an_argument_unseen() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db

        found = [(name, shares(name, args, kw)) for name, args, kw in calls(op_db)]
    assert {name for name, wrong in found if wrong} == set()
    assert len({name for name, wrong in found if wrong is not None}) > 700
