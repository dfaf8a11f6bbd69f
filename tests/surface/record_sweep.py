"""Calls of every name that has a record rule, drawn at random, against what the rule says of them.

``python -m tests.surface.record_sweep [CALLS] [NAME]`` tries so many calls of each name (or of one)
and prints those that break a promise; with ``closed`` it prints the names that have no rule.

All axes are as long as there are records, so that a rule that looks at the wrong one is found: a
size confirms nothing here. What a rule promises is asked of torch itself:

* records in another order give the results in that order, or the same numbers if they were reduced
  (public operands stay where they are, so one that tells records apart shows, unless the rule calls
  it injected);
* a record that changes changes its own results only;
* a number over all records is changed by many of them, or by none: by one alone, it is that one.
  Each record is changed in several ways, since a group has a number of each record that it could
  have held.

Names that take few of such calls (scatters, transforms along named axes) have forms of their own.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

import torch

from duet_p2p.engine import axes
from duet_p2p.engine.labels import Atom, Rows
from duet_p2p.surface.callables import CALLABLES, NEEDS_CONTEXT
from duet_p2p.surface.keywords import plain_keywords
from duet_p2p.surface.table import TABLE

N = 4
ATOMS = frozenset({Atom(frozenset({-1}), ("whole",))})
NAMES = sorted(
    name
    for name, rule in TABLE.items()
    if axes.base_name(name) in axes._RULES and name in CALLABLES and name not in NEEDS_CONTEXT
    and rule.form in ("function", "method", "inplace", "property")
)  # fmt: skip
MIXES = frozenset({"batch_norm", "linalg_pinv"})
"""Sums over all records are in each row: the mean of the batch, the inverse of all products."""
LISTS = frozenset({"cat", "stack", "hstack", "column_stack", "dstack"})

CHANGES = range(1, N * N + 2)
"""Ways to change a record: its first two whole numbers become each other pair below N."""

SHAPES = ((N,), (N, N), (1, N), (N, 1), (N, N, N), (N, 1, N), (N, N, N, N), (N,) * 5)
PLAIN: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, -2, 3, 0.5, 1.5, "mean", "none", "sum", "batchmean", "fro",
    (0,), (1,), (-1,), (0, 1), (), [0], [1], (N, N), [N, -1], (1, 1), (N, N, N),
    slice(None), (slice(None), 1), (..., 0), (slice(None), [0, 2, 1]), (slice(None), slice(1, 3)),
    (None, slice(None)),
)  # fmt: skip
AXES = (0, 1, 1, 1, -1, 2, -2)
TEXTS = (
    "i->", "i->i", "ij->j", "ij->i", "ij->ji", "ij->", "ii->i", "...i->i", "ijk->ikj", "i,i->i",
    "...i->...", "...i,ij->...j", "...->", "...,...->...", "i...->...", "i...->...i", "...,i->...i",
    "ij,jk,kl->il", "ij,ij,ij->j", "ni,ij,nj->n", "...,...,...->", "i...j->j...",
    "ij,jk->ik", "ij,ik->jk", "ij,ij->", "ij,ij->ij", "ij,j->i", "ij,i->j", "ij,kj->ik", "ij,jk",
)  # fmt: skip
WORDS: dict[str, tuple[Any, ...]] = {
    "dim": (0, 1, -1, -2, (0,), (1,), (), None), "keepdim": (True, False), "p": (1, 2, 0.5, 3),
    "reduction": ("mean", "none", "sum"), "training": (True, False), "correction": (0, 1, N - 1),
    "dims": (0, 1, (0, 1), -1), "unbiased": (True, False), "swap": (True,), "stable": (True,),
    "descending": (True,), "weight": (), "pos_weight": (), "full": (True,), "num_classes": (N,),
    "dtype": (torch.float64, torch.int64), "normalized_shape": ([N], (N, N)), "num_groups": (2,),
    "return_indices": (True,), "label_smoothing": (0.1,), "ignore_index": (1,), "margin": (0.5,),
}  # fmt: skip


class Operand(NamedTuple):
    """A tensor of a call, with where its records are; None: a public one."""

    tensor: torch.Tensor
    axis: int | None


class Attempt:
    """One call: its arguments, each a plain value or an `Operand`."""

    def __init__(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> None:
        self.name, self.args, self.kwargs = name, args, dict(plain_keywords(name, kwargs))

    def __repr__(self) -> str:
        def said(value: Any) -> str:
            if isinstance(value, list | tuple) and any(isinstance(p, Operand) for p in value):
                return f"[{', '.join(map(said, value))}]"
            if not isinstance(value, Operand):
                return repr(value)
            kind = str(value.tensor.dtype)[6:]
            return f"{kind}{tuple(value.tensor.shape)}@{value.axis}"

        parts = [said(a) for a in self.args] + [f"{k}={said(v)}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(parts)})"

    def run(
        self, order: torch.Tensor | None = None, changed: int | None = None, way: int = 1
    ) -> axes.Call | None:
        """The call that torch ran; None if it is none."""
        rows: dict[int, Rows] = {}

        def made(value: Any) -> Any:
            if isinstance(value, list | tuple) and any(isinstance(p, Operand) for p in value):
                return type(value)(made(part) for part in value)
            if not isinstance(value, Operand):
                return value
            tensor = value.tensor.clone()
            if value.axis is not None:
                if order is not None:
                    tensor = tensor.index_select(value.axis, order)
                if changed is not None:
                    target = tensor.select(value.axis, changed)
                    is_float = tensor.is_floating_point()
                    if tensor.dtype is torch.bool:
                        target.logical_not_()
                    else:
                        by = target * 0.5 + 0.27 if way == 1 else target * 0.05 + 0.08 * way
                        step = way if not rows or way == 1 else way // N
                        target.copy_(by if is_float else (target + step) % N)
                rows[id(tensor)] = Rows(value.axis, N, ("whole",), ATOMS)
            kept.append(tensor)
            return tensor

        kept: list[torch.Tensor] = []
        args = tuple(made(value) for value in self.args)
        kwargs = {key: made(value) for key, value in self.kwargs.items()}
        torch.manual_seed(0)
        try:
            result = CALLABLES[self.name](*args, **kwargs)
        except Exception:  # of whatever class: most calls are none
            return None
        return axes.Call(
            axes.base_name(self.name), args, kwargs, result, lambda t: rows.get(id(t)),
            lambda t: kept is None,
        )  # fmt: skip

    def judged(self) -> tuple[bool, str]:
        """Whether the rule keeps the way open; and which promise is broken, empty if none."""
        call = self.run()
        found = None if call is None else axes.outcome(call)
        if call is None or found is None or found.injected:
            return False, ""
        return True, self._broken(found, call.results())

    def _broken(self, found: axes.Outcome, before: list[torch.Tensor]) -> str:
        places = found.axes or (found.axis,) * len(before)
        pairs = [(t, axis) for t, axis in zip(before, places, strict=False)]
        if not found.is_reduced:
            size = N * found.parts
            pairs = [(t, a) if a < t.ndim and t.shape[a] == size else (t, None) for t, a in pairs]
        short = axes.base_name(self.name)
        order = torch.tensor([1, 3, 0, 2])
        ways = CHANGES if short in GROUPS else CHANGES[:1]
        runs = [self.run(order=order)]
        runs += [self.run(changed=record, way=way) for record in range(N) for way in ways]
        if None in runs:
            return ""  # classes that do not fit are found by their own check
        after, *changes = [call.results() for call in runs if call is not None]
        for number, (one, axis) in enumerate(pairs):
            if axis is None or (found.thinned and not found.is_reduced):
                continue
            moved = one if found.is_reduced else one.index_select(axis, parts(order, found))
            if moved.shape != after[number].shape or not same(moved, after[number]):
                return "another order of the records gives something else"
            touched = [~alike(one, other[number]) for other in changes]
            touched = [
                torch.stack(touched[at : at + len(ways)]).any(0)
                for at in range(0, len(touched), len(ways))
            ]
            if found.is_reduced:
                counts = torch.stack([t.reshape(-1) for t in touched]).sum(0)
                if (counts == 1).any() and not one.dtype.is_floating_point:
                    continue  # a count changes with few of the records
                if (counts == 1).any():
                    return "a number over all records depends on one of them"
            elif short not in MIXES:
                for record, where in enumerate(touched):
                    rest = torch.tensor([r for r in range(N) if r != record])
                    if where.index_select(axis, parts(rest, found)).any():
                        return "a change of one record changed another's result"
        return ""


def parts(records: torch.Tensor, found: axes.Outcome) -> torch.Tensor:
    """Where these records lie in the result, in which each can have several parts."""
    apart, together = found.folded
    places = torch.arange(apart)[:, None] * N + records
    return (places[..., None] * together + torch.arange(together)).reshape(-1)


def alike(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Where two results are the same but for rounding."""
    if one.shape != other.shape:
        return torch.zeros(one.shape, dtype=torch.bool)
    if one.is_floating_point() or one.is_complex():
        return torch.isclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True)
    return one == other


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(alike(one, other).all())


def operand(random: Random, *, first: bool = False) -> Operand:
    shape = random.choice(SHAPES[:7] if first else SHAPES[:6])
    generator = torch.Generator().manual_seed(random.randrange(1 << 30))
    kind = random.random()
    if kind < (0.15 if first else 0.3):
        tensor = torch.randint(0, N, shape, generator=generator)
    elif kind < 0.4 and not first:
        tensor = torch.rand(shape, generator=generator) > 0.5
    else:
        tensor = torch.rand(shape, generator=generator) * 0.8 + 0.1
    places = [axis for axis, size in enumerate(shape) if size == N]
    if not first and random.random() < 0.4:
        return Operand(tensor, None)
    # most records lie on the first axis
    return Operand(tensor, places[0] if random.random() < 0.4 else random.choice(places))


def argument(random: Random) -> Any:
    kind = random.random()
    if kind < 0.4:
        return operand(random)
    return random.choice(AXES) if kind < 0.7 else random.choice(PLAIN)


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
    "ctc_loss": _spelt,
    **dict.fromkeys(("linalg_multi_dot", "chain_matmul"), _chains),
    **dict.fromkeys(("addmm", "addmv", "addbmm"), _added),
    **dict.fromkeys(("cosine_similarity", "vecdot"), _pairs),
}  # fmt: skip
"""By base: what most calls of these names are."""
GROUPS = frozenset({
    "scatter", "scatter_add", "scatter_reduce", "index_add", "index_put", "histc", "histogram",
})  # fmt: skip
"""Sums by group: a record adds to one of several numbers."""


def attempts(name: str, count: int, seed: int = 0) -> Iterator[Attempt]:
    """Calls of one name; most of them are none that torch takes."""
    random = Random(f"{name}{seed}")
    for _ in range(count):
        first: Any = operand(random, first=True)
        many = random.choice((0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5))
        kind = random.random()
        if axes.base_name(name) in LISTS or kind < 0.05:
            other = first if random.random() < 0.5 else operand(random)
            first = [first, other] + [operand(random)] * (random.random() < 0.3)
        args = [first] + [argument(random) for _ in range(many)]
        if kind > 0.95 and many:  # the data second, as in `rmatmul`, `polygamma`, `einsum`
            args[0], args[1] = args[1], args[0]
        if axes.base_name(name) == "einsum":
            args = [
                random.choice(TEXTS),
                *(operand(random) for _ in range(random.choice((1, 2, 2, 3)))),
            ]
        form = FORMS.get(axes.base_name(name))
        if form is not None and random.random() < 0.8:
            yield Attempt(name, form(random, axes.base_name(name)), {})
            continue
        words = random.sample(sorted(WORDS), random.choice((0, 0, 1, 1, 2)))
        kwargs = {
            word: random.choice(WORDS[word]) if WORDS[word] else operand(random) for word in words
        }
        yield Attempt(name, args, kwargs)


def sweep(name: str, count: int, seed: int = 0) -> tuple[int, list[str]]:
    """How many calls the name's rule kept the way open for, and which of them break a promise."""
    opened, found = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for attempt in attempts(name, count, seed):
            is_open, broken = attempt.judged()
            opened += is_open
            if broken:
                found.append(f"{attempt}: {broken}")
    return opened, found


def closed() -> list[str]:
    """Names of operations on numbers that have no rule: whatever records they get is closed."""
    return sorted(
        {
            axes.base_name(name) or name
            for name, rule in TABLE.items()
            if name.rpartition(".")[0] in axes._PREFIXES and rule.result != "none"
            and rule.form in ("function", "method", "inplace")
            and rule.record not in ("metadata", "state")
            and axes.base_name(name) not in axes._RULES
        }
    )  # fmt: skip


def main() -> None:
    if sys.argv[1:] == ["closed"]:
        print(*closed(), sep="\n")
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    for name in [sys.argv[2]] if len(sys.argv) > 2 and sys.argv[2] != "all" else NAMES:
        opened, found = sweep(name, count, seed)
        print(f"{name}: {opened} open, {len(found)} broken", *found[:3], sep="\n    ", flush=True)


if __name__ == "__main__":
    main()
