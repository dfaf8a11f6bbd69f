"""What is public does not depend on private values, in random programs of gradients.

A program runs on two data sets. After each of its steps, whatever is public in one of the engines
is public in the other, and the same to the last bit.
"""

from __future__ import annotations

from random import Random

import pytest
import torch

from duet_p2p.engine.arguments import is_private
from duet_p2p.engine.facts import label_of_slot
from duet_p2p.engine.store import Poison, Slot
from duet_p2p.surface.values import pack
from tests.security.gradient_programs import GradientProgram
from tests.unit.engine_kit import Driver

# torch warns of gradients that are asked of tensors in a graph
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def is_worthless(slot: Slot, engine: Driver) -> bool:
    """It failed, or what it is made of did: that is what other programs are for."""
    is_known = slot.poison is not None or isinstance(slot.value, Poison)
    return is_known or engine.engine.lineage.poison(slot.value) is not None


def shown(slot: Slot) -> tuple[str, bytes]:
    packed = pack(slot.value)
    return repr(packed.value), b"".join(map(bytes, packed.buffers))


def differs(one: Driver, other: Driver, id: int) -> str:
    """What is otherwise about an object in the two engines; empty if nothing shows."""
    first, second = one.engine.store.find(id), other.engine.store.find(id)
    if first is None or second is None or is_worthless(first, one) or is_worthless(second, other):
        return ""
    private = [
        is_private(label_of_slot(slot, engine.engine.lineage))
        for slot, engine in ((first, one), (second, other))
    ]
    if private[0] != private[1]:
        return "public in one of them"
    if private[0] or not isinstance(first.value, torch.Tensor):
        return ""
    return "" if shown(first) == shown(second) else "public, and another value"


def check(seed: int) -> None:
    draw = Random(seed)
    made = torch.Generator().manual_seed(seed)
    engines = Driver(), Driver()
    for engine in engines:
        engine.share(torch.rand(3, generator=made, dtype=torch.float64) + 0.5)
    program = GradientProgram(draw, *engines)
    for _ in range(draw.randint(10, 40)):
        program.step()
        found = {id: why for id in range(1, program.count + 1) if (why := differs(*engines, id))}
        assert found == {}, program.sent


@pytest.mark.brief
def test_what_is_public_is_the_same_of_two_data_sets() -> None:
    for seed in range(100, 200):  # three of them have found something
        check(seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_is_so_in_many_more_programs() -> None:
    for seed in range(2_000):
        check(seed)
