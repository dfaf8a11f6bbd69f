"""Random programs of ordinary torch code give the same here and through pointers, gradients too.

A program is a list of steps on a pool of values; each step is ordinary code that does not know on
which side its tensors are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from duet_p2p.surface.shapes import GENERATOR
from tests.surface.joined import Joined, joined
from tests.surface.replay import SEED, assert_same, fetched

Step = Callable[[list[Any], random.Random], Any]
SIZES = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def both() -> Iterator[Joined]:
    with joined() as made:
        made.owner.requests.add_handler(action="accept")
        yield made


def chosen(pool: list[Any], draw: random.Random) -> Any:
    return draw.choice(pool)


def pair_of(pool: list[Any], draw: random.Random) -> tuple[Any, Any]:
    return chosen(pool, draw), chosen(pool, draw)


def unary(pool: list[Any], draw: random.Random) -> Any:
    x = chosen(pool, draw)
    return draw.choice(
        [
            lambda: torch.tanh(x),
            lambda: x.sigmoid(),
            lambda: -x,
            lambda: abs(x),
            lambda: F.softplus(x),
            lambda: torch.exp(-(x**2)),
            lambda: x.clamp(-1, 1),
            lambda: x.detach() * 2 + x,
            lambda: x.T if x.ndim == 2 else x,
            lambda: x.reshape(-1),
            lambda: x[None],
            lambda: x.flip(0),
            lambda: x.clone().mul_(0.5),
        ]
    )()


def binary(pool: list[Any], draw: random.Random) -> Any:
    x, y = pair_of(pool, draw)
    return draw.choice(
        [
            lambda: x + y,
            lambda: x * y,
            lambda: x - 0.5 * y,
            lambda: 2 / (1 + y * y) - x,
            lambda: torch.where(x > y, x, y * 0.1),
            lambda: torch.maximum(x, y),
            lambda: x.unsqueeze(-1) * y.reshape(-1),
            lambda: torch.cat([x.flatten(), y.flatten()]),
            lambda: x.reshape(-1, 1) @ y.reshape(1, -1),
            lambda: torch.stack([x, x * 2], dim=-1).sum(-1) + y.mean(),
        ]
    )()


def reduction(pool: list[Any], draw: random.Random) -> Any:
    x = chosen(pool, draw)
    dim = draw.randrange(x.ndim) if x.ndim else None
    return draw.choice(
        [
            lambda: x.sum(),
            lambda: x.mean(),
            lambda: torch.logsumexp(x.reshape(-1), 0),
            lambda: x.sum(axis=dim) if dim is not None else x,
            lambda: x.max(dim).values if dim is not None else x,
            lambda: x.softmax(-1) if x.ndim else x,
            lambda: x.reshape(-1).sort(descending=True)[0],
            lambda: F.layer_norm(x, x.shape[-1:]) if x.ndim else x,
        ]
    )()


def selection(pool: list[Any], draw: random.Random) -> Any:
    x = chosen(pool, draw)
    flat = x.reshape(-1)
    end = draw.randint(1, flat.shape[0])
    return draw.choice(
        [
            lambda: flat[:end],
            lambda: flat[-1],
            lambda: flat[flat > 0].sum(),
            lambda: flat[torch.arange(flat.shape[0] - 1, -1, -1)],
            lambda: x[..., 0] if x.ndim else x,
            lambda: torch.split(flat, end)[0],
            lambda: [part * 2 for part in flat.chunk(2)][-1],
            lambda: F.pad(flat, (1, 2)),
        ]
    )()


def mutation(pool: list[Any], draw: random.Random) -> Any:
    x = chosen(pool, draw).clone().reshape(-1)
    value = draw.uniform(-1, 1)

    def setitem() -> Any:
        x[0] = value
        x[x > 1] = 0.0
        return x

    def in_place() -> Any:
        nonlocal x
        x += value
        x *= 1.5
        return x.add_(x.detach(), alpha=0.1)

    def without_graph() -> Any:
        with torch.no_grad():
            scale = x.abs().mean() + 1
        return x / scale

    def of_numbers() -> Any:
        total = x.detach().sum().item() * 2 + 1
        return x * 0.1 + total

    return draw.choice([setitem, in_place, without_graph, of_numbers])()


def drawn(pool: list[Any], draw: random.Random) -> Any:
    x = chosen(pool, draw)
    return draw.choice(
        [
            lambda: F.dropout(x, 0.5),
            lambda: x + torch.rand_like(x),
            lambda: x * torch.bernoulli(torch.full_like(x, 0.5).detach()),
        ]
    )()


STEPS: tuple[Step, ...] = (unary, unary, binary, binary, reduction, selection, mutation, drawn)


def program(seed: int, inputs: list[Any], length: int) -> list[Any]:
    """Runs the program of this seed; the values of its pool and the gradients of its inputs."""
    draw = random.Random(seed)
    pool = list(inputs)
    for _ in range(length):
        made = draw.choice(STEPS)(pool, draw)
        if made.numel() <= 64:
            pool.append(made)
    total = sum((value * 0.1).sum() for value in pool)
    total.backward()
    return [*pool, total, *[leaf.grad for leaf in inputs]]


def compare(both: Joined, seed: int, length: int) -> None:
    draw = random.Random(-seed - 1)
    torch.manual_seed(seed)
    inputs = [
        torch.randn([draw.choice(SIZES) for _ in range(draw.randrange(3))], requires_grad=True)
        for _ in range(3)
    ]
    with GENERATOR:
        try:
            torch.manual_seed(SEED)
            here = program(
                seed, [leaf.detach().clone().requires_grad_() for leaf in inputs], length
            )
            mistake = None
        except (RuntimeError, IndexError) as error:
            here, mistake = [], error
    both.scientist.torch.manual_seed(SEED)
    there = both.scientist._client.put_many(inputs)
    if mistake is not None:  # shapes that do not fit: the same words, at the same line
        with pytest.raises(type(mistake)) as found:
            program(seed, there, length)
        assert str(found.value) == str(mistake)
        return
    assert_same(here, fetched(program(seed, there, length)))


@pytest.mark.parametrize("seed", range(40))
def test_a_random_program_gives_the_same_on_both_sides(both: Joined, seed: int) -> None:
    compare(both, seed, length=8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1_000, 1_400))
def test_a_longer_random_program_does(both: Joined, seed: int) -> None:
    compare(both, seed, length=25)


def test_such_programs_leave_nothing_behind(both: Joined) -> None:
    compare(both, 3, length=8)
    assert both.own_objects() == 0
