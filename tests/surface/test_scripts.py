"""Ordinary programs give the same here and on an owner's data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from duet_p2p.surface.shapes import GENERATOR
from tests.surface import papers, tutorials
from tests.surface.replay import SEED, assert_same, fetched
from tests.surface.scripts import SCRIPTS
from tests.unit.scientist_kit import Pair, pair


class Here:
    rt = torch

    def data(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.clone()

    def parameter(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.clone().requires_grad_()

    def sent(self, module: nn.Module) -> nn.Module:
        return module

    def step(self, function: Callable[[], Any]) -> Any:
        return function


class There:
    def __init__(self, both: Pair) -> None:
        self.both, self.rt = both, both.duet.torch

    def data(self, tensor: torch.Tensor) -> Any:
        return self.both.share(tensor.clone())

    def parameter(self, tensor: torch.Tensor) -> Any:
        return tensor.clone().requires_grad_().send(self.both.duet)  # type: ignore[attr-defined]

    def sent(self, module: nn.Module) -> Any:
        return module.send(self.both.duet)  # type: ignore[operator]

    def step(self, function: Callable[[], Any]) -> Any:
        return self.both.duet.step(function)


@pytest.fixture
def both() -> Iterator[Pair]:
    with pair() as made:
        yield made


assert papers and tutorials  # they add to the programs


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_program_is_equal(both: Pair, name: str) -> None:
    run = SCRIPTS[name]
    with GENERATOR, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(SEED)
        expected = [_still(value) for value in _made_with(SEED, run, Here())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = fetched(_made_with(SEED, run, There(both)))
    assert_close(expected, found)


def _made_with(seed: int, run: Callable[[Any], list[Any]], side: Any) -> list[Any]:
    """The program's first weights come from a generator of this side, its draws from the seed."""

    class Seeded:
        def __getattr__(self, name: str) -> Any:
            return getattr(side, name)

        def sent(self, module: nn.Module) -> Any:
            draws = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=draws))
            remote = side.sent(module)
            side.rt.manual_seed(seed)  # making the module drew from the generator of this side
            return remote

    side.rt.manual_seed(seed)
    return run(Seeded())


def _still(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def assert_close(expected: list[Any], found: list[Any]) -> None:
    """Equal; a number that is a sum of rounded ones may differ in its last digits."""
    assert len(expected) == len(found)
    for here, there in zip(expected, found, strict=True):
        if isinstance(here, float):
            assert there == pytest.approx(here, rel=1e-5, abs=1e-6)
        else:
            assert_same(here, there)
