"""Forms of training steps: what they leave in the labels of all that they write.

A backward is known by the form of what it starts from and by whether it adds to gradients that are
there. An optimizer's step is known by its kind, its settings now, the parameters that it moves (by
what they were first, as everywhere in form.py), how many backwards added to their gradients, and by
all that no covered step made: gradients and states that were put there, or changed, by hand. So is
a clipping: that of each of several gradients is another one than that of their sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import torch
from torch.optim import Optimizer

from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.form import content_of, first_content, form_of, grads_of, hashed, settings_of
from duet_p2p.engine.holding import Holding, parameters_of
from duet_p2p.engine.labels import Kind
from duet_p2p.engine.lineage import Lineage, Owned, Tracked, is_atomic, reach
from duet_p2p.engine.nodes import is_leaf
from duet_p2p.engine.recipe import Made
from duet_p2p.engine.schedules import scheduled

__all__ = [
    "RANDOM",
    "Added",
    "Sums",
    "add_up",
    "added_to",
    "break_off",
    "is_written",
    "keep_added",
    "kept_state",
    "mark_clipped",
    "mark_zeroed",
    "of_node",
    "of_step",
    "of_sums",
    "state_of",
]

RANDOM: Final = "random:"
"""Begins the form of a training step on values for which random numbers were drawn."""


Added = tuple[int | None, ...]
"""How many backwards added to the first gradient of each parameter; None: it has none.

Below zero where one of them failed.
"""
Sums = list[tuple[torch.Tensor, Owned]]
"""Leaves whose gradients a backward adds to, and the entries of these."""


def of_node(node: Made, *, is_added: bool = False, added: Added = ()) -> str:
    """The form of a backward, a clipping or a norm in train mode by its command's node.

    Args:
        node: of the command.
        is_added: a backward that adds to gradients that are there.
        added: of the gradients that a clipping scales.
    """
    form = form_of(node)
    if is_added:
        form = hashed("added", form)
    if any(added):
        form = hashed("added", repr(added), form)
    return (RANDOM if node.has_random else "") + form


def added_to(parameters: Iterable[torch.Tensor], lineage: Lineage) -> Added:
    """How many backwards added to the gradients of these; empty if none did."""
    added: list[int | None] = []
    for parameter in parameters:
        grad = parameter.grad if is_leaf(parameter) else None
        entry = None if grad is None else lineage.entry(grad)
        added.append(None if grad is None else 0 if entry is None else entry.added)
    return tuple(added) if any(added) else ()


def add_up(leaves: Iterable[torch.Tensor], lineage: Lineage) -> Sums:
    """A backward to these leaves is about to run: counts it where a gradient is added to.

    One that is zeros since a `zero_grad` is not.
    """
    sums: list[tuple[torch.Tensor, Owned]] = []
    for leaf in leaves:
        entry = None if leaf.grad is None else lineage.own(leaf.grad)
        if entry is not None and entry.zeroed != entry.version:
            entry.added += -1 if entry.added < 0 else 1
            sums.append((leaf, entry))
    return sums


def keep_added(sums: Sums, lineage: Lineage) -> None:
    """It ran, and may have put sums in the place of gradients: they have the counts as well."""
    for leaf, entry in sums:
        if leaf.grad is not None:
            lineage.own(leaf.grad).added = entry.added


def break_off(sums: Sums) -> None:
    """It failed, perhaps half way: these are no sums of so many, and of no other number."""
    for _, entry in sums:
        entry.added = -abs(entry.added)


def mark_zeroed(optimizer: Optimizer, lineage: Lineage) -> None:
    """A `zero_grad` ran: gradients that are still there are zeros until they are written.

    Where one is a part of a tensor that was set there, other gradients may be other parts of it.
    """
    for parameter in parameters_of(optimizer):
        if (grad := parameter.grad) is not None:
            entry = lineage.own(grad)
            if grad.numel() * grad.element_size() >= entry.nbytes:
                entry.zeroed, entry.added = entry.version, 0


def mark_clipped(
    name: str, given: Arguments, writers: frozenset[str], lineage: Lineage
) -> None:  # fmt: skip
    """A clipping ran: its parameters know its form, and how it is told to an owner."""
    if len(writers) != 1:
        return
    words = [repr(v) if is_atomic(v) else "…" for v in given.args[1:]]
    words += [
        f"{key}={value!r}" if is_atomic(value) else f"{key}=…"
        for key, value in given.kwargs.items() if key != "parameters"
    ]  # fmt: skip
    parameters = {id(tensor): tensor for tensor in given.tensors()}.values()
    short = name.rpartition(".")[2]
    text = f"{short}({', '.join(words)}) of the gradients of {len(parameters)} of its weights"
    for parameter in parameters:
        lineage.own(parameter).clipped = (min(writers), text)


def of_step(optimizer: Optimizer, lineage: Lineage, ahead: Added | None = None) -> str:
    """The form of a step that is about to be made.

    Args:
        optimizer: that makes it.
        lineage: where forms are kept.
        ahead: it will use gradients that are not there yet; None: those that are there.
    """
    parts = kept_state(optimizer, lineage)
    if ahead is None:
        parameters = parameters_of(optimizer)
        parts += grads_of([p.grad for p in parameters if p.grad is not None], lineage)
        ahead = added_to(parameters, lineage)
    parts += of_sums(ahead)
    parts += state_of(optimizer, lineage)
    tracked = lineage.find(optimizer)
    if tracked is not None and tracked.written is not None:
        parts.append(form_of(tracked.written))
    return hashed("step", *parts)


def of_sums(added: Added) -> list[str]:
    """What a step's form says of sums among its gradients; nothing if there are none."""
    return [f"added {added}"] if added else []


def kept_state(optimizer: Optimizer, lineage: Lineage) -> list[str]:
    """Settings, and what the parameters were first: as long as they stay, these do."""
    plan = scheduled(optimizer, lineage)
    if plan is None:
        parts = settings_of(optimizer, lineage)
    else:
        parts = [type(optimizer).__name__, "scheduled", plan.form]
    return parts + [first_content(p, lineage) for p in parameters_of(optimizer)]


def state_of(optimizer: Optimizer, lineage: Lineage) -> Iterator[str]:
    """Forms of what an optimizer remembers that no step of its own made: loaded, or written to.

    What stands in its groups is told by its settings and parameters.
    """
    parameters = set(map(id, parameters_of(optimizer)))
    for part in reach(optimizer.state):
        if isinstance(part, torch.Tensor):
            entry = lineage.entry(part)
            if id(part) in parameters:
                continue
            if entry is None or entry.label.kind is Kind.PUBLIC:
                yield content_of(part, lineage)
            elif entry.written is not None:
                yield form_of(entry.written)
        elif (tracked := lineage.find(part)) is not None and tracked.written is not None:
            yield form_of(tracked.written)


def is_written(optimizer: Optimizer, holding: Holding, owned: list[Owned],
               tracked: list[Tracked]) -> bool:  # fmt: skip
    """Whether something may have been written to that an optimizer remembers, see `state_of`.

    Args:
        optimizer: that is about to make a step.
        holding: what it holds.
        owned: entries of the tensors that it holds.
        tracked: entries of everything else, its own first.
    """
    for tensor, entry in zip(holding.tensors, owned, strict=True):
        if entry.written is not None and not tensor.requires_grad:
            return True
    groups = optimizer.param_groups
    for part, other in zip(holding.objects, tracked[1:], strict=True):
        if other.written is None or part is groups:
            continue
        if not any(part is group for group in groups):
            return True
    return False
