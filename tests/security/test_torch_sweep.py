"""Names of torch, each on two data sets, with each of their arguments private in turn.

`torch_sweep.py` says how. The default run has a few names that once showed something, the slow one
every sixteenth of the table. ``DUET_SWEEP=all`` runs every name, which takes an hour.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import torch

from duet_p2p.surface.table import TABLE
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref
from tests.security.torch_samples import samples
from tests.security.torch_sweep import Sample, differences, of_kept
from tests.surface.hostile import Kept, collected

EVERY = 1 if os.environ.get("DUET_SWEEP") == "all" else 16
NAMES = [name for name in sorted(TABLE) if not name.startswith("python.")]
ROWS, PLACES = torch.arange(12.0).reshape(3, 4), torch.tensor([0, 1, 2])
COMMANDS = {
    "torch.cumsum": ((Ref(1), 0), {1: ROWS}),
    "torch.Tensor.narrow_copy": ((Ref(1), 0, 1, 2), {1: ROWS}),
    "torch.Tensor.eq": ((Ref(1), Ref(2)), {1: ROWS, 2: ROWS + 1}),
    "torch.Tensor.__setitem__": ((Ref(1), 0, 1.0), {1: ROWS}),
}
MORE = {
    "torch.linalg.inv": ((Ref(1),), {1: torch.eye(3) * 2}),
    "torch.histogram": ((Ref(1), 3), {1: ROWS}),
    "torch.polygamma": ((1, Ref(1)), {1: ROWS}),
    "torch.multinomial": ((Ref(1), 2), {1: ROWS + 1}),
    "torch.Tensor.reshape": ((Ref(1), [4, 3]), {1: ROWS}),
    "torch.Tensor.expand": ((Ref(1), 2, 3, 4), {1: ROWS}),
    "torch.Tensor.new_full": ((Ref(1), [2, 3], 1.5), {1: ROWS}),
    "torch.Tensor.new_ones": ((Ref(1), 2, 3), {1: ROWS}),
    "torch.Tensor.exponential_": ((Ref(1), 0.5), {1: ROWS}),
    "torch.Tensor.index_add_": ((Ref(1), 0, Ref(2), Ref(3)), {1: ROWS, 2: PLACES, 3: ROWS}),
}


def shown(sample: Sample) -> list[str]:
    """What shows of a command, in each way to be given tensors."""
    is_written = TABLE[sample.name].form == "inplace"
    return [*differences(sample), *differences(sample, "inner" if is_written else "leaf")]


def _command(name: str, listed: dict[str, tuple[tuple[object, ...], dict[int, object]]]) -> Sample:
    args, values = listed[name]
    outs = () if name.endswith("__setitem__") else (9,)
    return of_kept(Kept(Op(name, outs, args, {}, "g"), values))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_private_argument_shows_nowhere(name: str) -> None:
    assert not shown(_command(name, COMMANDS))


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_nor_does_it_elsewhere(name: str) -> None:
    assert not shown(_command(name, MORE))


@pytest.fixture(scope="module")
def commands() -> Callable[[str], list[Sample]]:
    collection = collected()
    made = list(samples())

    def of(name: str) -> list[Sample]:
        own = [sample for sample in made if sample.name == name]
        return own or [of_kept(command) for command in collection.of(name)[:2]]

    return of


ONCE = (
    "torch.autograd.grad", "torch.utils.data.TensorDataset",
    "torchvision.transforms.functional.to_pil_image",
)  # fmt: skip
"""Names that showed something where a tensor need not be one."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted({*NAMES[::EVERY], *ONCE}))
def test_no_name_shows_it(name: str, commands: Callable[[str], list[Sample]]) -> None:
    for sample in commands(name):
        assert not shown(sample)
