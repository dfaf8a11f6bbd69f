"""Arguments that names take which few random calls fit: scatters, chains, transforms along axes.

Every axis is as long as there are records, wherever a call allows it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import torch

N = 4
"""How many records there are."""


class Operand(NamedTuple):
    """A tensor of a call, with where its records are; None: a public one."""

    tensor: torch.Tensor
    axis: int | None


def index(random: Random, shape: tuple[int, ...], axis: int | None) -> Operand:
    """Whole numbers that are an index of any axis."""
    generator = torch.Generator().manual_seed(random.randrange(1 << 30))
    tensor = torch.randint(0, N, shape, generator=generator)
    return Operand(tensor if random.random() < 0.8 else tensor * 0 + 1, axis)


def numbers(random: Random, shape: tuple[int, ...], axis: int | None) -> Operand:
    """Random ones, or the same for all."""
    generator = torch.Generator().manual_seed(random.randrange(1 << 30))
    tensor = torch.rand(shape, generator=generator)
    return Operand(tensor if random.random() < 0.7 else torch.full(shape, 0.5), axis)


def place(random: Random, ndim: int) -> int | None:
    """An axis for the records, or none."""
    return random.choice((None, 0, 0, *range(ndim)))


def _scatters(random: Random, base: str) -> list[Any]:
    ndim = random.choice((1, 2, 2, 3))
    sizes = [(N,) * ndim] * 3 + [(N,) * (ndim - 1) + (2,), (2,) + (N,) * (ndim - 1)]
    shape, axis = random.choice(sizes), place(random, ndim)
    at = [axis if random.random() < 0.8 else place(random, ndim) for _ in range(3)]
    at = [a if a is not None and shape[a] == N else None for a in at]
    target = numbers(random, (N,) * ndim, None if random.random() < 0.7 else at[0])
    args = [target, random.randrange(-ndim, ndim), index(random, shape, at[1])]
    if base == "scatter" and random.random() < 0.4:
        return [*args, 1.5]
    args.append(numbers(random, shape, at[2]))
    how = random.choice(("sum", "mean", "amax", "prod"))
    return [*args, how] if base == "scatter_reduce" else args


def _index_adds(random: Random, base: str) -> list[Any]:
    ndim = random.choice((1, 2, 3))
    dim = random.randrange(ndim)
    return [
        numbers(random, (N,) * ndim, None if random.random() < 0.7 else place(random, ndim)), dim,
        index(random, (N,), random.choice((None, 0))),
        numbers(random, (N,) * ndim, place(random, ndim)),
    ]  # fmt: skip


def _puts(random: Random, base: str) -> list[Any]:
    ndim = random.choice((1, 2, 2, 3))
    many = random.randrange(1, min(ndim, 2) + 1)
    places = [index(random, (N,), random.choice((None, 0, 0, 0))) for _ in range(many)]
    values = numbers(random, (N,) * (1 + ndim - many), random.choice((None, 0, 0)))
    target = numbers(random, (N,) * ndim, random.choice((None, None, 0)))
    return [target, places, values, random.random() < 0.8]


def _counts(random: Random, base: str) -> list[Any]:
    data = numbers(random, random.choice(((N,), (N, N))), 0)
    ends = random.choice(((0, 1), (0.0, 1.2), (0, 0), ()))
    return [data, random.choice((1, 2, 3)), *ends]


def _picks(random: Random, base: str) -> list[Any]:
    ndim = random.choice((1, 2, 2, 3, 4))
    axis = place(random, ndim)
    parts: list[Any] = []
    for _ in range(random.randrange(1, ndim + 2)):
        parts.append(random.choice((
            slice(None), slice(None), slice(None), None, ..., 1, -1, slice(1, 3), [0, 2], range(N),
            Operand(torch.arange(N), None), Operand(torch.arange(N), None),
            index(random, (N,), 0), index(random, (N,), None), index(random, (N, N), 0),
            Operand(torch.tensor([True, False, True, True]), None),
        )))  # fmt: skip
    key: Any = tuple(parts) if len(parts) > 1 or random.random() < 0.5 else parts[0]
    return [numbers(random, (N,) * ndim, axis), key]


def _systems(random: Random, base: str) -> list[Any]:
    shapes = ((N, N), (N, N, N), (N, N, 2), (2, N, N), (N,), (N, N, N, N))
    sides = []
    for _ in range(2):
        shape = random.choice(shapes)
        axis = place(random, len(shape))
        sides.append(
            numbers(random, shape, axis if axis is not None and shape[axis] == N else None)
        )
    return sides


def _tall(random: Random, base: str) -> list[Any]:
    shape = random.choice(((N, 2), (2, N), (N, N), (N, 2, 2), (2, 2, N), (N, 3), (N, N, N)))
    axes_of = [axis for axis, size in enumerate(shape) if size == N]
    return [numbers(random, shape, random.choice(axes_of))]


def _dots(random: Random, base: str) -> list[Any]:
    left, right = (
        numbers(random, (N,) * n, place(random, n)) for n in random.choices((1, 2, 3), k=2)
    )
    dims: Any = random.choice((0, 1, 2, ([0], [0]), ([1], [0]), ([0, 1], [0, 1]), ([0, 1], [1, 0])))
    return [left, right, dims]


def _along(random: Random, base: str) -> list[Any]:
    ndim = random.choice((1, 2, 3))
    many = random.choice((N, N, 2))
    chosen = index(random, (many,), random.choice((None, None, 0)) if many == N else None)
    if base != "index_select":
        chosen = Operand(torch.arange(many), chosen.axis)
    data = numbers(random, (N,) * ndim, place(random, ndim))
    args: list[Any] = [data, random.randrange(-ndim, ndim), chosen]
    if base == "index_fill":
        args.append(random.choice((0.5, Operand(torch.tensor(0.5), None))))
    elif base == "index_copy":
        args.append(numbers(random, (N,) * ndim, place(random, ndim)))
    return args


def _batches(random: Random, base: str) -> list[Any]:
    shape = (N, N, N)
    return [numbers(random, shape, place(random, 3)) for _ in range(2 + (base == "baddbmm"))]


def _chains(random: Random, base: str) -> list[Any]:
    """Square matrices one after another, mostly with one that has records."""
    many, places = random.choice((2, 3, 3, 4)), random.choice((1, 1, 2))
    at = {random.randrange(many): random.choice((0, 1)) for _ in range(places)}
    shapes = [
        (N,) if place in (0, many - 1) and random.random() < 0.2 else (N, N)
        for place in range(many)
    ]
    parts = []
    for place, shape in enumerate(shapes):
        axis = at.get(place)
        parts.append(numbers(random, shape, None if axis is None else min(axis, len(shape) - 1)))
    return [parts] if base == "linalg_multi_dot" else parts


def _added(random: Random, base: str) -> list[Any]:
    ranks = {"addmm": (2, 2, 2), "addmv": (1, 2, 1), "addbmm": (2, 3, 3)}[base]
    ranks = (random.randrange(ranks[0] + 1), *ranks[1:])
    return [numbers(random, (N,) * n, place(random, n) if n else None) for n in ranks]


def _pairs(random: Random, base: str) -> list[Any]:
    shapes = ((N,), (N, N), (1, N), (N, 1), (N, N, N), (1, N, N), (N, 1, N))
    sides = []
    for shape in random.choices(shapes, k=2):
        axis = random.choice([None, *(at for at, size in enumerate(shape) if size == N)])
        sides.append(numbers(random, shape, axis))
    return [*sides, random.choice((0, 1, -1, -2, 2))][: 2 if base == "vecdot" else 3]


def _signals(random: Random, base: str) -> list[Any]:
    axis = random.choice((0, 1))
    data = numbers(random, (N, 16) if axis == 0 else (16, N), axis)
    return [data, random.choice((4, 2)), 2, None, Operand(torch.ones(random.choice((4, 2))), None)]


def _shapes(random: Random, base: str) -> list[Any]:
    shape = random.choice(((N, 2, 3), (2, N, 3), (3, 2, N), (2, N), (N,), (N, N)))
    sizes = random.choice((
        (-1,), (-1, 3), (1, -1), (N, -1), (2, -1), (2, N, -1), (N, 2, -1), (-1, N), (-1, 1, N),
        (2, 3, N), (-1, 2, 3), (2, N, 3, 1), (2 * N, 3), (2, 2, 2, -1),
    ))  # fmt: skip
    axis = random.choice([axis for axis, size in enumerate(shape) if size == N])
    return [numbers(random, shape, axis), *sizes]


def _spelt(random: Random, base: str) -> list[Any]:
    shape = random.choice(((N, 5, 3), (5, N, 3)))
    classes = index(random, (N, 2), random.choice((0, 0, None)))
    classes = Operand(classes.tensor.clamp(1, 2), classes.axis)
    lengths = random.choice(((5,) * N, (5, 4, 5, 3), Operand(torch.full((N,), 5), None)))
    targets = random.choice(((1,) * N, (2, 1, 1, 2), Operand(torch.full((N,), 1), 0)))
    scores = numbers(random, shape, shape.index(N))
    return [scores, classes, lengths, targets, 0, random.choice(("mean", "sum", "none"))]


def _repeats(random: Random, base: str) -> list[Any]:
    shape = random.choice(((N, N), (N, 2), (2, N), (N, N, N), (N,)))
    axis = random.choice([axis for axis, size in enumerate(shape) if size == N])
    many: Any = random.choice((1, 2, 2, 3, index(random, (N,), random.choice((None, 0)))))
    return [numbers(random, shape, axis), many, random.choice((0, 1, -1, -2, None))]


def _krons(random: Random, base: str) -> list[Any]:
    shapes = ((N,), (N, N), (1, N), (N, 1), (1,), (N, 2), (1, 2), (2, N, 1), (N, 1, 1))
    sides = [numbers(random, shape, None) for shape in random.choices(shapes, k=2)]
    for at in random.choice(((0,), (0,), (1,), (0, 1))):
        places = [axis for axis, size in enumerate(sides[at].tensor.shape) if size == N]
        if places:
            sides[at] = sides[at]._replace(axis=random.choice(places))
    return list(sides)


FORMS: dict[str, Callable[[Random, str], list[Any]]] = {
    **dict.fromkeys(("scatter", "scatter_add", "scatter_reduce"), _scatters),
    "index_add": _index_adds, "index_put": _puts, "getitem": _picks, "tensordot": _dots,
    **dict.fromkeys(("histc",), _counts),
    **dict.fromkeys(
        ("linalg_solve", "cholesky_solve", "matmul", "inner", "outer", "searchsorted", "dist"),
        _systems,
    ),
    **dict.fromkeys(
        ("linalg_pinv", "pinverse", "linalg_svdvals", "linalg_svd", "linalg_qr", "linalg_det",
         "linalg_inv", "vander", "diag_embed"),
        _tall,
    ),
    **dict.fromkeys(("index_select", "index_fill", "index_copy"), _along),
    **dict.fromkeys(("bmm", "baddbmm"), _batches), "stft": _signals,
    **dict.fromkeys(("view", "reshape"), _shapes),
    "ctc_loss": _spelt, "repeat_interleave": _repeats, "kron": _krons,
    **dict.fromkeys(("linalg_multi_dot", "chain_matmul"), _chains),
    **dict.fromkeys(("addmm", "addmv", "addbmm"), _added),
    **dict.fromkeys(("cosine_similarity", "vecdot"), _pairs),
}  # fmt: skip
"""By base: what most calls of these names are."""
