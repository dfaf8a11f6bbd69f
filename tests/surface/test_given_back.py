"""Which names give back a tensor itself, or a view of it, as settings say: found by calling torch.

Where such a setting is private the tensor is marked before the call (engine/settings.py), and what
is found here is looked up there. A name that is missing from a list would tell by a label which of
the two it was, or whether it failed.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import pytest
import torch

from duet_p2p.engine.aliases import is_always_view
from duet_p2p.engine.axes import BY_VALUES, base_name
from duet_p2p.engine.settings import gives_views, takes_none_private
from duet_p2p.surface.callables import CALLABLES, NEEDS_CONTEXT
from duet_p2p.surface.table import TABLE
from tests.surface.test_unnoticed_writes import by_short_name, sample_tensors, tensors

SAMPLES: Final = 6
SETTINGS: Final[tuple[Any, ...]] = (
    0, 1, 2, -1, 0.0, 0.5, True, [2, 2], [1], torch.float32, torch.float64, torch.channels_last,
)  # fmt: skip
"""Tried as the second argument, and the third."""
_ATOMIC: Final = (bool, int, float, str, torch.dtype, torch.memory_format)
Call = tuple[str, tuple[Any, ...], dict[str, Any]]
PLACES: Final = ("torch.", "torchvision.transforms.functional.")


def firsts() -> list[torch.Tensor]:
    image = torch.rand(1, 4, 4, 4)
    return [torch.rand(4), torch.rand(4, 4), torch.rand(4, 4).t()[:2], image, image.mT,
            torch.zeros(2, 0)]  # fmt: skip


def is_given_back(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a call gives one of its arguments, or a view of it, and writes to none."""
    given = list(tensors((args, kwargs)))
    before = [tensor._version for tensor in given]
    places = {t.untyped_storage()._cdata for t in given if t.untyped_storage().nbytes()}
    try:
        result = CALLABLES[name](*args, **kwargs)
    except Exception:  # of whatever class: a name takes calls of its own kind only
        return False
    if [tensor._version for tensor in given] != before:
        return False
    return any(
        made.untyped_storage()._cdata in places or any(made is tensor for tensor in given)
        for made in tensors(result)
    )


def has_setting(args: Iterable[Any]) -> bool:
    return any(
        isinstance(value, _ATOMIC) or (isinstance(value, list | tuple) and has_setting(value))
        for value in args
    )


def of_samples() -> Iterator[Call]:
    """Calls of torch's own samples that have a setting."""
    from torch.testing._internal.common_methods_invocations import op_db

    by_short = by_short_name()
    for op in op_db:
        shorts = {op.name.rpartition(".")[2], *(a.name.rpartition(".")[2] for a in op.aliases)}
        known = {name for short in shorts for name in by_short.get(short, ())}
        if not known or torch.float32 not in op.supported_dtypes("cpu"):
            continue
        for sample in itertools.islice(op.sample_inputs("cpu", torch.float32), SAMPLES):
            if any(part.layout is not torch.strided for part in sample_tensors(sample)):
                continue
            args, kwargs = (sample.input, *sample.args), dict(sample.kwargs)
            if has_setting((*args, *kwargs.values())):
                for name in known:
                    yield name, *copy.deepcopy((args, kwargs))


def of_settings(settings: int) -> Iterator[Call]:
    """Calls of every function with tensors of several shapes, and so many settings."""
    names = [n for n in CALLABLES if n.startswith(PLACES) and n not in NEEDS_CONTEXT]
    inputs = firsts()
    for name in names:
        for first in inputs:
            for others in itertools.product(SETTINGS, repeat=settings):
                yield name, (first, *others), {}


def of_images() -> Iterator[Call]:
    """Calls of torchvision's functions, also with what changes nothing and what cuts nothing off.

    An argument is the size of the image itself, or none of it, in turn.
    """
    from tests.unit.test_transforms import FUNCTIONS

    image, whole = torch.rand(3, 12, 16), [12, 16]
    for short, args in FUNCTIONS.items():
        for values in itertools.product(*[(value, 0, 0.0, 1.0, *whole, whole) for value in args]):
            yield f"{PLACES[1]}{short}", (image, *values), {}


def of_tensors() -> Iterator[Call]:
    """Calls of every function with a tensor, or a list of one, and with no setting."""
    shapes = [torch.rand(()), torch.rand(4, 2), torch.rand(2, 2, 2)]
    inputs = [*shapes, torch.rand(2, 2, dtype=torch.complex64), torch.ones(2, dtype=torch.int64)]
    for name in CALLABLES:
        if name.startswith(PLACES) and name not in NEEDS_CONTEXT:
            for first in inputs:
                yield name, (first,), {}
                yield name, ([first],), {}


def is_listed(name: str) -> bool:
    """Whether what a call gives is known to be what it was given, or always is.

    A dropout is given as a copy, a mask of `torch.dropout` and its like takes no private number,
    an in-place name writes to what it gives, and a parameter is always a view.
    """
    is_known = gives_views(name) or base_name(name) in BY_VALUES or takes_none_private(name)
    return is_known or TABLE[name].result == "self" or name == "torch.nn.Parameter"


def unlisted(calls: Iterable[Call], is_known: Callable[[str], bool] = is_listed) -> set[str]:
    """Names that give back what they are given and are in no list."""
    found = set[str]()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for name, args, kwargs in calls:
            if name not in found and not is_known(name) and is_given_back(name, args, kwargs):
                found.add(name)
    return found


def test_each_name_that_gives_views_by_numbers_is_listed() -> None:
    assert unlisted(of_settings(1)) == set()


@pytest.mark.slow
def test_each_function_of_an_image_that_gives_views_by_numbers_is_listed() -> None:
    pytest.importorskip("torchvision")
    assert unlisted(of_images()) == set()


def test_each_name_that_always_gives_views_is_listed() -> None:
    """What stands for a view that failed may lie in the memory of others as that would."""
    assert unlisted(of_tensors(), lambda name: is_listed(name) or is_always_view(name)) == set()
    assert not is_always_view("torch.sum") and not is_always_view("python.Tensor")


def test_a_name_that_is_missing_is_found() -> None:
    """As were some of these; the rest is told by no number, or never a view."""
    square, no_chance = torch.ones(2, 2), (torch.ones(2, 2), 0.0, True)
    calls: list[Call] = [
        ("torch.flatten", (torch.ones(3), 0), {}),
        ("torch.linalg.diagonal", (square,), {"offset": 0}),
        ("torch.Tensor.to", (square, torch.float32), {}),
        ("torch.dropout", no_chance, {}),
        ("torch.nn.functional.dropout", no_chance, {}),
    ]
    assert all(is_given_back(*call) and is_listed(call[0]) for call in calls)
    assert not is_given_back("torch.diff", (torch.ones(3), 1), {})
    assert not is_listed("torch.sum")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_so_it_is_with_two_settings_and_in_torchs_own_samples() -> None:
    assert unlisted(itertools.chain(of_settings(2), of_samples())) == set()
