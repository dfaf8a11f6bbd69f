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

Names that take few of such calls (scatters, transforms along named axes) have forms of their own
in record_forms.py.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from random import Random
from typing import Any

import torch

from duet_p2p.engine import axes
from duet_p2p.engine.labels import Atom, Rows
from duet_p2p.surface.callables import CALLABLES, NEEDS_CONTEXT
from duet_p2p.surface.keywords import plain_keywords
from duet_p2p.surface.table import TABLE
from tests.surface.record_forms import FORMS, N, Operand

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

GROUPS = frozenset({
    "scatter", "scatter_add", "scatter_reduce", "index_add", "index_put", "histc", "histogram",
})  # fmt: skip
"""Sums by group: a record adds to one of several numbers."""

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
        if found.rekeyed is not None:  # by its index they lie in another order
            index = self.run().get("index", 2)  # type: ignore[union-attr]
            before, *others = [
                [t.index_select(found.axis, index.argsort()) for t in results]
                for results in (before, *(call.results() for call in runs if call is not None))
            ]
            pairs = [(t, found.axis) for t in before]
        else:
            others = [call.results() for call in runs if call is not None]
        after, *changes = others
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
