"""Lists to which a private value decides what is added, or that they cannot be made at all.

What stands for a list that could not be made, or is left of one that was to be extended, has the
tensors in it that were perhaps to be added. So an optimizer over it reaches the same weights, and
so does a way back through a stack of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_gradients import chosen, either
from tests.security.failing_kit import ONE, OTHER, P, Side, difference, weights
from tests.security.neighbour_kit import OPT, T
from tests.security.test_labels_behind_failures import differences

LIST: Final = "python.List"


def a_number_or_a_list(p: Any, own: Ref, _: Ref) -> Ref:
    return either(p, p.put(1), own)


def a_list_or_a_number(p: Any, own: Ref, _: Ref) -> Ref:
    return either(p, own, p.put(1))


def a_list_or_a_failure(p: Any, own: Ref, other: Ref) -> Ref:
    return chosen(p, other, own)


def a_tensor_or_a_number(p: Any) -> Ref:
    return either(p, p.put(torch.ones(2, 2)), p.put(1))


def a_number_or_a_tensor_with_a_graph(p: Any) -> Ref:
    return either(p, p.put(1), p.op("torch.mul", weights(p, 2, 2), 1.0))


def a_text_or_a_failure(p: Any) -> Ref:
    return chosen(p, p.put(1), p.put("ab"))


def added(p: Any, box: Ref, perhaps: Ref) -> Ref:
    return p.op(LIST + ".__add__", box, perhaps)


def added_to(p: Any, box: Ref, perhaps: Ref) -> Ref:
    return p.op(LIST + ".__add__", perhaps, box)


def copied(p: Any, box: Ref, perhaps: Ref) -> Ref:
    return p.op(LIST, perhaps)


def extended(p: Any, box: Ref, perhaps: Ref) -> Ref:
    p.do(LIST + ".extend", box, perhaps)
    return box


def extended_in_place(p: Any, box: Ref, perhaps: Ref) -> Ref:
    return p.op(LIST + ".__iadd__", box, perhaps)


def step(p: Any, box: Ref, source: Ref) -> list[Ref]:
    p.do(OPT + "step", p.op("torch.optim.SGD", box, lr=0.1))
    return []


def momentum(p: Any, box: Ref, source: Ref) -> list[Ref]:
    optimizer = p.op("torch.optim.SGD", box, lr=0.1, momentum=0.9)
    p.do(OPT + "step", optimizer)
    p.do(OPT + "zero_grad", optimizer)
    return [p.op(OPT + "state_dict", optimizer)]


def stack(p: Any, box: Ref, source: Ref) -> list[Ref]:
    made = p.op("torch.stack", box)
    p.do(T + "backward", p.op("torch.sum", p.op("torch.mul", made, source)))
    return [made]


def clip(p: Any, box: Ref, source: Ref) -> list[Ref]:
    return [p.op("torch.nn.utils.clip_grad_norm_", box, 1.0)]


def copy(p: Any, box: Ref, source: Ref) -> list[Ref]:
    return [p.op(LIST, box), p.op("python.len", box)]


CHOICES = (a_number_or_a_list, a_list_or_a_number, a_list_or_a_failure)
MAKES = (added, added_to, copied, extended, extended_in_place)
USES = (
    step, stack, pytest.param(momentum, marks=pytest.mark.slow),
    pytest.param(clip, marks=pytest.mark.slow), pytest.param(copy, marks=pytest.mark.slow),
)  # fmt: skip


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("choice", CHOICES)
def test_what_was_perhaps_added_shows_nowhere(
    choice: Callable[..., Ref], make: Callable[..., Ref], use: Callable[..., list[Ref]]
) -> None:
    def made(p: Any) -> list[Ref]:
        parts = [weights(p, 2) for _ in range(3)]
        boxes = [p.op("python.collect", part) for part in parts]
        source = p.op("torch.mul", p.op(T + "__getitem__", P, slice(0, 2)), 1.0)
        box = make(p, boxes[0], choice(p, *boxes[1:]))
        p.do(T + "backward", p.op("torch.sum", p.op("torch.mul", parts[0], source)))
        p.do(T + "backward", p.op("torch.sum", parts[1]))
        others = use(p, box, source)
        return [*others, box, *parts, *(p.op(T + "grad", part) for part in parts)]

    with torch.random.fork_rng(()):
        assert not difference(*[Side(data).shown(made) for data in (ONE, OTHER)])
        one, other = Side(ONE), Side(OTHER)
        assert not differences(one, other, list(zip(made(one), made(other), strict=True)))


@pytest.mark.parametrize("use", [step, clip, stack])
@pytest.mark.parametrize("make", [extended, extended_in_place])
@pytest.mark.parametrize("choice", [
    a_tensor_or_a_number, a_number_or_a_tensor_with_a_graph, a_text_or_a_failure,
])  # fmt: skip
def test_nor_do_parts_of_a_tensor_or_a_text(
    choice: Callable[..., Ref], make: Callable[..., Ref], use: Callable[..., list[Ref]]
) -> None:
    def made(p: Any) -> list[Ref]:
        weight = weights(p, 2)
        source = p.op("torch.mul", p.op(T + "__getitem__", P, slice(0, 2)), 1.0)
        box = make(p, p.op("python.collect", weight), choice(p))
        p.do(T + "backward", p.op("torch.sum", p.op("torch.mul", weight, source)))
        return [*use(p, box, source), box, weight, p.op(T + "grad", weight)]

    with torch.random.fork_rng(()):
        assert not difference(*[Side(data).shown(made) for data in (ONE, OTHER)])
        one, other = Side(ONE), Side(OTHER)
        assert not differences(one, other, list(zip(made(one), made(other), strict=True)))
