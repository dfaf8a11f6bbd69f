"""What a private number chose: the choice is in the label of what was chosen, and of nothing else.

``box[i]`` gives one of the very objects that lie in the box, and ``x[i]`` a view of the numbers of
``x``. Which one it is tells the number, so everything that is done with it must carry the number's
label. Labels lie on storages and objects: an own tensor is marked for good, and so is everything
else that could have been chosen, since what is written through the one shows in it.

An owner's tensor is never written to, so nothing shows in it. It is handed out as another tensor
over the same bytes, whose storage is its own: that one has the label, and the owner's object keeps
what it had. Which of the two an element is does not depend on what is chosen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from operator import is_
from typing import Any, Final

import torch
from torch.utils.dlpack import from_dlpack

from duet_p2p.engine.aliases import note
from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.gradients import leaves_behind, leaves_of
from duet_p2p.engine.held_gradient import held_gradient
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage, Owned, Tracked, is_atomic, reach, storage_of
from duet_p2p.engine.store import Poison
from duet_p2p.engine.ties import Tie, add, entry_for, entry_of, perhaps_behind, tie

__all__ = [
    "apart", "apart_views", "choose", "mark", "mark_graphs", "mark_items", "mark_leaves",
    "mark_parts", "mark_set", "tie_held", "viewed_by",
]  # fmt: skip

_ONLY_LIKE: Final = frozenset({
    "view_as", "reshape_as", "expand_as", "type_as", "broadcast_tensors",
})  # fmt: skip
"""They look at the shape or the type of their other arguments, and at none of their numbers."""


def mark(
    elements: Iterable[Any], label: Label, lineage: Lineage, *, to: Owned | Tracked | None = None,
    beside: Label = PUBLIC, holders: Iterable[Owned | Tracked] = (), known: Iterable[Tie] = (),
) -> None:  # fmt: skip
    """One of these is chosen: all that can be written to are marked, since one would tell it.

    An owner's tensor that lies deeper, in a list or dict of the scientist's, is what it was: in its
    place there stands one of its own over the same bytes from now on, and that one is marked. So
    whatever way leads to it later, it is the marked one. Each part is looked at once, however often
    and however deep it lies.

    Args:
        elements: of which one is chosen.
        label: of the choice.
        lineage: gets the labels.
        to: what else has one label with them from now on.
        beside: of what may be a number or nothing among them, and otherwise might have a graph.
        holders: of what they lie in, where that is tied to what may lie there: it may be empty.
        known: to what else that is tied which has no entry.
    """
    made, marks = _Apart(lineage), _Marks(label, lineage)
    # identities are taken while `kept` holds the parts, some of which are made on the fly
    # one that stands apart was chosen: it might be missing instead, which is marked
    once = {id(value): value for value in elements}  # how often a private number may have said
    kept = [value for value in once.values() if not _is_left(value, lineage, but_apart=True)]
    seen = set(map(id, kept))
    stack = list(kept)
    while stack:
        part = stack.pop()
        if isinstance(part, list | tuple | dict) and not _is_shared(part, lineage):
            if not isinstance(part, tuple):
                made.put_into(part)
            marks.put_on(part)
            for inner in _items(part):
                # an owner's tensor in a tuple right here is taken `apart` when that is chosen
                if id(inner) not in seen and not _is_left(inner, lineage, but_apart=True):
                    seen.add(id(inner))
                    kept.append(inner)
                    stack.append(inner)
            continue
        for below in reach(part):  # of an optimizer, a data set, an owner's list
            if below is part or id(below) not in seen:
                seen.add(id(below))
                kept.append(below)
                marks.put_on(below)
    for holder in (holders := list(holders)):
        add(holder, label)
    for tied in (known := list(known)):
        tied.label = join((tied.label, label))
    others = perhaps_behind((*marks.before, beside), lineage)
    way = label if marks.reaches or others else PUBLIC
    entries = [*marks.entries, *holders, *(() if to is None else (to,))]
    tie(entries, lineage, (), [*others, *known], way=way)


def mark_items(given: Arguments, label: Label, lineage: Lineage) -> None:
    """An item of a data set is a view of a tensor below it, and private values chose of which."""
    if is_private(label):
        mark([t for t in given.reached() if isinstance(t, torch.Tensor)], label, lineage)


class _Marks:
    """One label, put on many parts of which most have the same before and so have one after."""

    def __init__(self, label: Label, lineage: Lineage) -> None:
        self._label, self._lineage = label, lineage
        self._hidden = to_per_record(label)
        self.entries: list[Owned | Tracked] = []  # of all that can be written to
        self.reaches = False  # a way back through one of them would come to leaves
        self.before: list[Label] = []  # of what may have a graph
        self._joined: dict[tuple[int, bool], tuple[Label, Label]] = {}

    def put_on(self, part: Any) -> None:
        """On one part alone, and on what tells beside it that it was chosen."""
        lineage = self._lineage
        if isinstance(part, torch.Tensor | Poison) and lineage.ties:
            self.before.append(lineage.whole(part))
        if isinstance(part, torch.Tensor):
            entry = lineage.own(part)
            entry.label, entry.hidden = self._with(entry.label), True
            entry.stays = True  # also if it is written over
            if not entry.is_shared or entry.is_apart:
                self.entries.append(entry)
            choose(part, lineage)
        elif not isinstance(part, tuple | frozenset | slice | Poison):
            tracked = lineage.track(part)
            tracked.content = self._with(tracked.content)
            tracked.structure = self._with(tracked.structure, is_hidden=True)
            self.entries.append(tracked)
        elif isinstance(part, Poison):
            tracked = lineage.track(part)
            tracked.is_chosen = True
            self.entries.append(tracked)
            for other in [name() for name in part.memory]:
                if other is not None and other is not part:
                    other.is_public, other.label = False, join((other.label, self._label))
                    note([other], lineage)
        leaves = _leaves_behind(part)
        self.reaches = self.reaches or bool(leaves)
        self.entries += _mark_behind(part, leaves, self._label, lineage)
        note([part], lineage)  # also what had failed for all to see until now

    def _with(self, before: Label, *, is_hidden: bool = False) -> Label:
        key = id(before), is_hidden
        if key not in self._joined:
            added = self._hidden if is_hidden else self._label
            self._joined[key] = before, join((before, added))  # which keeps the identity
        return self._joined[key][1]


def mark_set(given: Arguments, lineage: Lineage) -> None:
    """What is set as the gradient of one of several tensors may be read from any of them."""
    chosen, grad = given.args[:2] if len(given.args) > 1 else (None, None)
    if isinstance(chosen, Poison):
        label = PUBLIC if chosen.is_public else join((chosen.label, lineage.whole(chosen)))
    else:
        is_one = isinstance(chosen, torch.Tensor) and lineage.hidden(chosen)
        label = lineage.label(chosen) if is_one else PUBLIC
        slot = given.at[0] if given.at else None
        if slot is not None and slot.is_loose:  # it need not be a tensor
            label = join((label, slot.label))
    is_missing = isinstance(grad, Poison) and not (grad.is_public or grad.is_object)
    if (is_missing or isinstance(grad, torch.Tensor)) and is_private(label):
        # with it, since a private value decides if it is read
        to = None if is_atomic(chosen) else entry_for(chosen, lineage)
        mark([grad], to_per_record(label), lineage, to=to)


def tie_held(holder: torch.Tensor, grad: Any, lineage: Lineage) -> None:
    """A gradient was set that may be missing, or not fit: then something stands for it.

    What is read off the tensor is that, or what was set itself, so they have one label.
    """
    if isinstance(grad, Poison):
        is_perhaps = not (grad.is_public or grad.is_object)
    else:
        is_perhaps = isinstance(grad, torch.Tensor) and lineage.hidden(grad)
    held = held_gradient(holder)
    if is_perhaps and held is not None:
        entries = [entry_of(part, lineage) for part in (grad, held)]
        tie([entry for entry in entries if entry is not None], lineage)


def choose(tensor: torch.Tensor, lineage: Lineage) -> None:
    """Whether this is written to from now on, and so whether a graph that kept it still runs.

    A tensor without numbers stands for it, which has the same count of writes.
    """
    entry = lineage.own(tensor)
    if entry.is_chosen or tensor.is_inference():  # no graph keeps one of those
        return
    entry.is_chosen = True
    counter = tensor.detach()
    counter.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    is_gone = torch.UntypedStorage._expired
    lineage.chosen = [known for known in lineage.chosen if not is_gone(known[0].reference)]
    lineage.chosen.append((entry, counter))


def _is_left(value: Any, lineage: Lineage, *, but_apart: bool = False) -> bool:
    """Whether nothing of it has to be marked: a number, or a tensor that is never written to."""
    if is_atomic(value) or (isinstance(value, Poison) and value.is_number):
        return True
    return _stands_apart(value, lineage) and not (but_apart and lineage.own(value).is_apart)


def _items(part: Any) -> Iterable[Any]:
    return (*part, *part.values()) if isinstance(part, dict) else part


def _is_shared(part: Any, lineage: Lineage) -> bool:
    entry = lineage.find(part)
    return entry is not None and entry.is_shared


class _Apart:
    """Tensors of their own in the place of the owner's, each made once."""

    def __init__(self, lineage: Lineage, *, is_again: bool = False) -> None:
        self._lineage = lineage
        self._is_again = is_again  # also of tensors that are apart already
        self._made: dict[int, Any] = {}
        self._kept: list[Any] = []  # so that no identity is used again

    def put_into(self, box: Any) -> None:
        """Into a list or dict, which stays the same object."""
        for key, value in box.items() if isinstance(box, dict) else enumerate(box):
            other = self.of(value)
            if other is not value:
                box[key] = other

    def of(self, value: Any) -> Any:
        """What stands for this: itself, or a tensor apart, or a tuple with some."""
        if type(value) is not tuple:
            return self._of_one(value)
        stack = [value]
        while stack:
            part = stack[-1]
            below = [p for p in part if type(p) is tuple and id(p) not in self._made]
            if below:
                stack += below
                continue
            stack.pop()
            if id(part) in self._made:
                continue
            parts = [self._made[id(p)] if type(p) is tuple else self._of_one(p) for p in part]
            is_same = all(map(is_, parts, part))
            self._keep(part, part if is_same else tuple(parts))
        return self._made[id(value)]

    def _of_one(self, value: Any) -> Any:
        if not _stands_apart(value, self._lineage):
            return value
        if self._lineage.own(value).is_apart and not self._is_again:
            return value
        if id(value) not in self._made:
            self._keep(value, _alias(value, self._lineage))
        return self._made[id(value)]

    def _keep(self, value: Any, other: Any) -> None:
        self._made[id(value)] = other
        self._kept += (value, other)


def _leaves_behind(part: Any) -> list[Any]:
    """The leaves of a part and of the gradient that it holds, which may have a graph of its own."""
    if isinstance(part, Poison):
        return list((part.leaves | leaves_behind(part.gradient)).values())
    if not isinstance(part, torch.Tensor):
        return []
    grad = held_gradient(part)
    return leaves_of([part] if grad is None else [part, grad])


def _mark_behind(
    part: Any, leaves: list[Any], label: Label, lineage: Lineage
) -> list[Owned | Tracked]:  # fmt: skip
    """What else tells which one was chosen: that it has failed, and what a backward reaches.

    Returns:
        Entries of what a backward reaches: what comes to one of them later tells it, too.
    """
    if isinstance(part, Poison):
        tracked = lineage.track(part)
        tracked.structure = join((tracked.structure, label))
        part.is_public, part.label = False, join((part.label, label))
        return [*mark_leaves(leaves, part, label, lineage), *_mark_held(part, label, lineage)]
    entry: Owned | Tracked | None
    reached: list[Owned | Tracked] = []
    if isinstance(part, torch.Tensor):
        entry = lineage.own(part)
        reached = mark_leaves((*leaves, part), part, label, lineage)
    else:
        entry = lineage.find(part)
    if entry is not None and (poison := entry.poison) is not None:  # others may have the same
        label = join((poison.label, label))
        entry.poison = replace(poison, is_public=False, label=label)
    return reached


def mark_leaves(
    leaves: Iterable[Any], part: Any, label: Label, lineage: Lineage
) -> list[Owned | Tracked]:  # fmt: skip
    """Which leaves a backward through a part reaches, or would if that had not failed.

    Returns:
        Their entries, and those of their gradients.
    """
    entries: list[Owned | Tracked] = []
    for leaf in leaves:
        if isinstance(leaf, Poison):
            names = [part for name in leaf.gradient.names if (part := name()) is not None]
            for tracked in map(lineage.track, names):
                tracked.content = join((tracked.content, label))
                entries.append(tracked)
            entries += _mark_held(leaf, label, lineage)
            continue
        entries.append(entry_for(leaf, lineage))
        lineage.add(leaf, label)
        lineage.choose(leaf)
        if (grad := held_gradient(leaf)) is not None:
            lineage.add(grad, label, hidden=leaf is part)  # as it is when it is read
            entries.append(lineage.own(grad))
    return entries


def _mark_held(part: Poison, label: Label, lineage: Lineage) -> list[Owned | Tracked]:
    """The gradient of what is missing: one that was set, or that a backward would have left."""
    grads = [grad for grad in part.gradient if isinstance(grad, torch.Tensor | Poison)]
    entries = [entry for grad in grads if (entry := entry_of(grad, lineage)) is not None]
    for entry in entries:
        add(entry, label)
    return entries


def mark_graphs(
    leaves: Iterable[Any], holders: Iterable[Any], lineage: Lineage, loss: Label,
    by: Label = PUBLIC,
) -> None:  # fmt: skip
    """A backward gives gradients a graph: that of one which is chosen later tells which it is.

    Args:
        leaves: of the graph that it goes back through; some may be missing themselves.
        holders: what else keeps a gradient there, or would.
        lineage: gets the labels.
        loss: of what it goes back from.
        by: what decides if it goes back at all, where that is private.
    """
    others = perhaps_behind((loss,), lineage)
    every = [*leaves, *holders]
    tensors = [tensor for tensor in every if isinstance(tensor, torch.Tensor)]
    entries = [entry for tensor in tensors if (entry := lineage.entry(tensor)) is not None]
    chosen = [entry.label for entry in entries if entry.is_chosen]
    label = join((by, *chosen, *(part.label for part in others)))
    if is_private(label):
        marked = mark_leaves(leaves, None, to_per_record(label), lineage)
        held = [entry_for(holder, lineage) for holder in holders]
        tie([*marked, *held], lineage, (), others)


def mark_parts(given: Arguments, lineage: Lineage) -> None:
    """A list is filled with the parts of a tensor of a private size, or of one that is missing.

    Any of them is chosen when it is taken out, if there are any: so it is now.
    """
    label = to_per_record(given.all(lineage))
    for whole in given.values():
        if isinstance(whole, torch.Tensor) and lineage.hidden(whole):
            leaves: Iterable[Any] = leaves_of([whole])
        elif isinstance(whole, Poison) and not (whole.is_public or whole.is_object):
            leaves = whole.leaves.values()
        else:
            continue
        marked = mark_leaves(leaves, None, label, lineage)
        others = perhaps_behind((lineage.whole(whole),), lineage)  # where it has another graph
        tie([entry_for(whole, lineage), *marked] if marked or others else [], lineage, (), others)


def apart(chosen: Any, lineage: Lineage, *, is_new: bool = False) -> Any:
    """What was chosen, with owner's tensors as tensors of their own over the same bytes.

    Args:
        chosen: an element, or several.
        lineage: where labels are kept.
        is_new: nothing else holds the list that these lie in.
    """
    made = _Apart(lineage, is_again=True)
    if is_new and type(chosen) is list:
        return [made.of(part) for part in chosen]
    return made.of(chosen)


def apart_views(name: str, given: Arguments, result: Any, lineage: Lineage) -> Any:
    """The result of an operation, `apart` where private values decided which view it is.

    Args:
        name: last part of the operation's.
        given: its arguments.
        result: what it gave.
        lineage: where labels are kept.
    """
    if is_atomic(result) or not isinstance(result, torch.Tensor | tuple | list):
        return result
    parts = [result] if isinstance(result, torch.Tensor) else result
    is_chosen = any(
        isinstance(part, torch.Tensor) and _stands_apart(part, lineage)
        and is_private(viewed_by(name, given, part, lineage)) for part in parts
    )  # fmt: skip
    return apart(result, lineage, is_new=True) if is_chosen else result


def viewed_by(name: str, given: Arguments, view: torch.Tensor, lineage: Lineage) -> Label:
    """The label of what decided which view of one of its arguments a call gives."""
    storage = storage_of(view)._cdata
    others = [t for t in given.tensors() if storage_of(t)._cdata != storage]
    if name in _ONLY_LIKE:
        others = [t for t in others if lineage.hidden(t)]
    else:  # a number of the very tensor can say where the view lies, too
        first = given.args[0] if given.args else None
        beside = [*given.beside_first(), *(t for t in given.tensors() if t is not first)]
        others += [t for t in beside if isinstance(t, torch.Tensor) and not t.ndim]
    return join([given.beside(lineage), *map(lineage.label, others)])


def _stands_apart(value: Any, lineage: Lineage) -> bool:
    """Whether this is an owner's tensor that another one can stand for.

    One with a gradient hands it to the object itself, and a lazy conjugate is more than its bytes.
    """
    if type(value) is not torch.Tensor or value.layout is not torch.strided:
        return False
    entry = lineage.entry(value)
    if entry is None or not entry.is_shared or entry.poison is not None:
        return False
    is_plain = not (value.requires_grad or value.is_conj() or value.is_neg())
    return is_plain and (value.is_cpu or value.is_cuda)


def _alias(tensor: torch.Tensor, lineage: Lineage) -> torch.Tensor:
    known, storage = lineage.own(tensor), tensor.untyped_storage()
    with torch.no_grad():
        flat = torch.empty(0, dtype=torch.uint8, device=tensor.device)
        if storage.nbytes():
            flat = from_dlpack(flat.set_(storage))
        alias = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        place = tensor.storage_offset(), tensor.shape, tensor.stride()
        alias.set_(flat.untyped_storage(), *place)
    entry = lineage.own(alias)
    entry.label, entry.hidden = known.label, known.hidden
    entry.is_shared = entry.is_apart = entry.is_chosen = True
    return alias
