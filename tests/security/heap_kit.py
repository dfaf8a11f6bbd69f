"""Everything that can be reached from the objects of an engine, each part with its own label.

A value that anybody may have is looked for in the whole heap, not only under the ids that a program
knows: what lies free somewhere is a command away from being taken out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from duet_p2p.engine.labels import PUBLIC, Kind, Label, join
from duet_p2p.engine.lineage import is_atomic
from duet_p2p.engine.store import Poison
from tests.unit.engine_kit import Driver

__all__ = ["Part", "heap", "told_apart"]

_FREE = (Kind.PUBLIC, Kind.METADATA)
_DEPTH = 9


class Part(NamedTuple):
    """One place in the heap."""

    is_free: bool
    """Nobody has to decide about it."""
    value: Any


def heap(d: Driver) -> dict[str, Part]:
    """Tensors and numbers, by the way that leads to them."""
    found: dict[str, Part] = {}
    seen: set[int] = set()
    for id in range(1, d.next_id + 1):
        slot = d.engine.store.find(id)
        if slot is not None:
            for path, part in _walk(f"<{id}>", slot.value, slot.label, PUBLIC, d, seen, 0):
                found[path] = part
    return found


def _walk(
    path: str, value: Any, label: Label, holder: Label, d: Driver, seen: set[int], depth: int
) -> Iterator[tuple[str, Part]]:
    """A value and its parts.

    Args:
        path: that led to it.
        value: is looked at.
        label: of what carries none itself, here.
        holder: of the optimizer or scheduler that it is in: its own dicts are labelled with it
            when they are given.
        d: the engine.
        seen: objects whose parts were looked at.
        depth: bounds the way.
    """
    if isinstance(value, Poison) or depth > _DEPTH:
        return
    if isinstance(value, torch.Tensor):
        yield path, Part(d.engine.lineage.label(value).kind in _FREE, value.detach().clone())
        if id(value) not in seen and value.is_leaf and value.grad is not None:
            yield from _walk(path + ".grad", value.grad, PUBLIC, PUBLIC, d, seen, depth + 1)
        seen.add(id(value))
        return
    if is_atomic(value):
        yield path, Part(label.kind in _FREE, repr(value))
        return
    if not isinstance(value, tuple):
        entry = d.engine.lineage.find(value)
        own = PUBLIC if entry is None else join((entry.content, entry.structure))
        label = join((own, holder))
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, Optimizer | LRScheduler):
            holder = label
    for key, below in _parts(value):
        yield from _walk(f"{path}[{key}]", below, label, holder, d, seen, depth + 1)


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return [(k if is_atomic(k) else n, v) for n, (k, v) in enumerate(value.items())]
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, Optimizer | LRScheduler):
        return [
            (name, part) for name, part in vars(value).items()
            if not (name.startswith("_") or callable(part))
        ]  # fmt: skip
    return []


def told_apart(one: dict[str, Part], other: dict[str, Part]) -> list[str]:
    """Places that are free in both heaps, and hold other values."""
    return [
        path for path in one.keys() & other.keys()
        if one[path].is_free and other[path].is_free
        and not _same(one[path].value, other[path].value)
    ]  # fmt: skip


def _same(one: Any, other: Any) -> bool:
    if not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return type(one) is type(other) and one == other
    if one.shape != other.shape or one.dtype is not other.dtype:
        return False
    return (
        torch.equal(one.nan_to_num(7.0), other.nan_to_num(7.0))
        if one.is_floating_point()
        else torch.equal(one, other)
    )
