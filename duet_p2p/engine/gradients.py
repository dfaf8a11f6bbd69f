"""What a backward leaves in ``.grad``, and the labels of it.

torch does not always add to the gradient that is there: with ``create_graph=True``, for a sparse
one, and for a tensor that is no leaf (``retain_grad``, or named in ``inputs=``) it puts a new
tensor in its place, whose storage nothing is known about. So everything that a backward can reach
is noted before it runs, with what it had and what comes, and marked again afterwards.

Nor does torch always give a gradient memory of its own: it takes a view of what the backward began
with, or one part of a buffer of which another leaf has the next. What is written to the gradient
later would be written there, too, so such a one is copied.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

import torch

from duet_p2p.engine.arguments import Arguments, is_private, tensors_in
from duet_p2p.engine.joined import joined
from duet_p2p.engine.kept import (
    chosen_among,
    is_used_up,
    kept_by,
    nodes_of,
    perhaps_behind,
    perhaps_kept_by,
)
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record, written_by
from duet_p2p.engine.lineage import Lineage, Owned, storage_of
from duet_p2p.engine.nodes import is_leaf, node_of
from duet_p2p.engine.store import Poison
from duet_p2p.engine.ties import tie
from duet_p2p.surface.sparse import settled

__all__ = [
    "Gradients", "chosen_in", "chosen_of", "goes_back_to", "gradient_of", "is_hidden_way",
    "keeps_graph", "leaves_behind", "leaves_met", "leaves_of", "met_by", "reached_by",
    "tensors_within",
]  # fmt: skip


_STATISTICS: Final = ("_saved_running_mean", "_saved_running_var")


class _Expected(NamedTuple):
    """The gradient that a tensor will have."""

    tensor: torch.Tensor
    label: Label
    """What it had and what comes."""
    poison: Poison | None
    """Of what it had: what is added to it is as worthless."""
    grad: torch.Tensor | None = None
    """What it had."""


class Gradients:
    """The labels of gradients across the backwards of one engine."""

    def __init__(self, lineage: Lineage) -> None:
        self._lineage = lineage
        self._retaining: list[weakref.ref[torch.Tensor]] = []
        self._expected: list[_Expected] = []
        self._poison: Poison | None = None
        self._is_hidden = False
        self._begun: set[int] = set()  # storages of what a backward was given
        self._bound: list[torch.Tensor] = []
        """Leaves that all gradients go back to which this backward gives a graph."""
        self._kept: list[tuple[torch.Tensor, torch.Tensor | None, int]] = []
        """What keeps a gradient although it is no leaf, and which it had."""
        self._worst = PUBLIC  # label of what comes to it all the same

    def retain(self, tensor: torch.Tensor) -> None:
        """This tensor will keep its gradient although it is no leaf."""
        if not any(reference() is tensor for reference in self._retaining):
            self._retaining.append(weakref.ref(tensor))

    def retained(self) -> list[torch.Tensor]:
        """Living tensors that keep a gradient although they are no leaves."""
        return list(self._inner())

    def before(self, given: Arguments, writers: frozenset[str]) -> None:
        """A backward is about to run: note who gets what."""
        root = given.args[0] if given.args else None
        if not isinstance(root, torch.Tensor):
            return
        lineage = self._lineage
        if given.graph is None:
            given.graph = reached_by(root)
        leaves, kept = given.graph
        loss = join([given.beside(lineage), *map(lineage.label, given.tensors())])
        looked_at = [lineage.label(tensor) for tensor in kept]
        given.loss = loss = met_by(loss, looked_at + chosen_of([root], lineage))
        came = PUBLIC
        if is_private(loss):
            # An aggregate's gradients are sums over the same records. Anything else hands single
            # records to the leaves.
            came = written_by(to_per_record(loss) if loss.is_data else loss, writers)
        every, inputs = [came], given.setting("inputs", 4, None)
        self._begun = {storage_of(tensor)._cdata for tensor in given.tensors()}
        named = set(map(id, leaves if inputs is None else tensors_in(inputs)))
        self._poison = lineage.poison(root)
        self._is_hidden = is_hidden_way(given, lineage)
        self._bound = self.bound(given)[0] if self._is_hidden else []
        for leaf in leaves:
            of_leaf = came
            if is_private(loss) and lineage.label(leaf).is_data:
                of_leaf = to_per_record(join((came, lineage.label(leaf))))
            every.append(of_leaf)
            if id(leaf) in named:
                self._expect(leaf, of_leaf, writers)
        for tensor in given.tensors()[1:]:  # the first is the root
            if not is_leaf(tensor):
                self.retain(tensor)  # what stands in inputs= retains from now on
        worst = to_per_record(join(every)) if is_private(loss) else PUBLIC
        # those of other graphs get nothing, and who asks one for its node may make it another
        self._kept = [
            (tensor, grad := gradient_of(tensor), -1 if grad is None else grad._version)
            for tensor in self._inner()
        ]  # fmt: skip
        self._worst = worst

    def within(self, roots: list[torch.Tensor]) -> list[torch.Tensor]:
        """Tensors in the graph of these that keep a gradient although they are no leaves."""
        inner = list(self._inner())
        return tensors_within(inner, set(nodes_of(roots))) if inner else []

    def bound(self, given: Arguments) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """What a backward that gives gradients a graph goes through: leaves, and within."""
        given_first = [*given.args[:1], given.setting("gradient", 1, None)]
        roots = [part for part in given_first if isinstance(part, torch.Tensor)]
        return leaves_of(roots), self.within(roots[:1])

    def fresh(self, root: torch.Tensor) -> list[torch.Tensor] | None:
        """The leaves of a graph, if a backward through it leaves new gradients on them alone.

        None: some have one already or carry records, something else keeps its gradient, or the
        graph looks at private statistics once more.
        """
        if any(True for _ in self._inner()):
            return None
        lineage, (leaves, kept) = self._lineage, reached_by(root)
        if any(is_private(lineage.label(tensor)) for tensor in kept):
            return None
        if chosen_of([root], lineage):
            return None
        for leaf in leaves:
            entry = lineage.entry(leaf)
            if leaf.grad is not None or (entry is not None and entry.label.is_data):
                return None
            if entry is not None and entry.tie is not None:
                return None
        return leaves

    def enter(self, leaves: Iterable[torch.Tensor], loss: Label, writers: frozenset[str]) -> None:
        """`before` of a backward whose `fresh` leaves are these, and whose root is this private."""
        came = came_to(loss, writers)
        self._expected += [_Expected(leaf, came, None) for leaf in leaves]

    def leave(
        self, leaves: Iterable[torch.Tensor], loss: Label, writers: frozenset[str]
    ) -> dict[int, Owned]:
        """`enter` and `after` of a backward that has run; entries of gradients by identity."""
        own, came, found = self._lineage.own_storage, came_to(loss, writers), {}
        for leaf in leaves:
            grad = leaf.grad
            if grad is None:
                continue
            if grad.is_sparse:
                grad = leaf.grad = settled(grad)
            elif self._lineage.at(grad.untyped_storage()._cdata) is not None:
                grad = leaf.grad = grad.clone()
            entry = found[id(grad)] = own(grad.untyped_storage())
            entry.label = came if entry.label is PUBLIC else join((entry.label, came))
            entry.stays = True
        return found

    def _inner(self) -> Iterator[torch.Tensor]:
        for reference in list(self._retaining):
            tensor = reference()
            if tensor is None:
                self._retaining.remove(reference)
            elif not is_leaf(tensor):
                yield tensor

    def _expect(
        self, tensor: torch.Tensor, came: Label, writers: frozenset[str] = frozenset()
    ) -> None:
        lineage = self._lineage
        grad = gradient_of(tensor)
        if grad is None:
            self._expected.append(_Expected(tensor, came, self._poison))
            return
        if is_private(came):
            # others may hold the old one, and it may be what is added to
            entry = lineage.own(grad)
            entry.label = join((entry.label, came))
            entry.version += 1
        known = lineage.entry(grad)
        if known is not None and is_private(known.label):  # what is added may be public
            known.label = written_by(known.label, writers)
        label, poison = (came, None) if known is None else (known.label, known.poison)
        self._expected.append(_Expected(tensor, label, poison or self._poison, grad))

    def after(self) -> None:
        """A backward ran, or failed half way: mark what there is now."""
        for tensor, before, version in self._kept:
            now = gradient_of(tensor)
            if now is not before or (now is not None and now._version != version):
                known = None if before is None else self._lineage.entry(before)
                label = self._worst if known is None else join((self._worst, known.label))
                poison = None if known is None else known.poison
                self._expected.append(_Expected(tensor, label, poison or self._poison))
                if now is not None and now is before:
                    self._lineage.written(now)
        self._kept = []
        for expected in self._expected:
            grad = gradient_of(expected.tensor)
            if grad is None:
                continue
            if grad.is_sparse:
                grad = expected.tensor.grad = settled(grad)
            elif not (grad is expected.grad or grad.requires_grad) and is_leaf(expected.tensor):
                grad = self._alone(expected.tensor, grad)
            if self._bound:
                grad = expected.tensor.grad = goes_back_to(grad, self._bound)
            if expected.label.is_public and expected.poison is None:
                continue
            entry = self._lineage.own_storage(storage_of(grad))
            known = self._lineage.entry(expected.tensor)
            is_hidden = self._lineage.hidden(expected.tensor)  # what is missing tells of no other
            if known is not None and (is_hidden or known.tie is not None):
                tie([known, entry], self._lineage)  # what comes to it may have come to others
            entry.label = join((entry.label, expected.label))
            entry.stays = True
            entry.hidden = entry.hidden or self._is_hidden
            entry.poison = entry.poison or expected.poison
        self._expected.clear()
        self._begun = set()
        self._is_hidden, self._bound = False, []

    def _alone(self, leaf: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        """A new gradient, as a copy if its memory is that of something else."""
        address = storage_of(grad)._cdata
        entry = self._lineage.at(address)
        if address in self._begun or (entry is not None and entry.read_only):
            grad = leaf.grad = grad.clone()
        else:
            self._begun.add(address)
        return grad

    def read(self, tensor: torch.Tensor, copy: torch.Tensor) -> None:
        """The gradient of a tensor was read; a dense copy of a sparse one is as private as it."""
        grad = gradient_of(tensor)
        if grad is None or grad is copy:
            return
        known, entry = self._lineage.entry(grad), self._lineage.own(copy)
        entry.is_copy = True
        if known is not None:
            entry.label, entry.poison = join((entry.label, known.label)), known.poison


def came_to(loss: Label, writers: frozenset[str]) -> Label:
    """The label of the gradients that come from a private loss, of leaves without records.

    An aggregate's gradients are sums over the same records. Anything else hands single records to
    the leaves.
    """
    return written_by(to_per_record(loss) if loss.is_data else loss, writers)


def keeps_graph(given: Arguments) -> bool:
    """Whether a backward gives gradients that can have a graph.

    Whether they have one is private where the root is hidden: if it is missing nobody can tell.
    """
    return given.flag("create_graph", 3)


def is_hidden_way(given: Arguments, lineage: Lineage) -> bool:
    """Whether a backward gives gradients a graph of which it is private what it reaches.

    Where what it goes back from is missing nobody can tell. So all of them go back to all leaves.
    """
    if not keeps_graph(given):
        return False
    is_loose = any([slot.is_loose for slot in given.slots.values()])  # it may be no tensor
    return is_loose or any(map(lineage.hidden, given.tensors()))


def goes_back_to(grad: torch.Tensor, leaves: list[torch.Tensor]) -> torch.Tensor:
    """A gradient whose graph reaches all of these leaves, as one of nothing where it did not."""
    reached = set(map(id, leaves_of([grad])))
    if all([id(leaf) in reached for leaf in leaves]):
        return grad
    zeros = torch.zeros_like(grad, requires_grad=False)
    with torch.enable_grad():
        return grad + joined(zeros, leaves, is_linear=True)


def tensors_within(tensors: Iterable[torch.Tensor], nodes: Collection[Any]) -> list[torch.Tensor]:
    """Those of these tensors that lie in a graph of these nodes."""
    return [tensor for tensor in tensors if node_of(tensor) in nodes]


def gradient_of(tensor: torch.Tensor) -> torch.Tensor | None:
    """The gradient of a tensor that can have one; torch warns if others are asked."""
    return tensor.grad if is_leaf(tensor) or tensor.retains_grad else None


def met_by(label: Label, kept: Iterable[Label]) -> Label:
    """The label of what comes out of a graph that looks at these once more on the way back."""
    private = [other for other in kept if is_private(other)]
    if not private:
        return label
    if label.is_data or any(other.is_data for other in private):
        return to_per_record(join((label, *private)))
    every = join((label, *private))
    kind = label.kind if is_private(label) else every.kind
    least = min(label.min_records, *(other.min_records for other in private))
    return replace(every, kind=kind, atoms=label.atoms if least > 1 else frozenset(),
                   min_records=least)  # fmt: skip


def chosen_of(roots: Iterable[torch.Tensor], lineage: Lineage) -> list[Label]:
    """Labels of what the graphs of these tensors kept and private values chose among since.

    A write to one of those breaks its graph, and to which of them there was one is private.
    """
    return chosen_in(nodes_of(roots), lineage) if lineage.chosen else []


def chosen_in(nodes: Iterable[Any], lineage: Lineage) -> list[Label]:
    """`chosen_of` of a graph with these nodes."""
    chosen = [counter for _, counter in lineage.chosen]
    labels: list[Label] = []
    for node in perhaps_behind(nodes):
        labels += chosen_among(perhaps_kept_by(node))
        if not is_used_up(node):
            entries = [entry for kept in kept_by(node, chosen) if (entry := lineage.entry(kept))]
            labels += [entry.label for entry in entries if entry.is_chosen]
    return labels


def reached_by(root: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The leaves of a graph, and the running statistics that it keeps; see `leaves_of`."""
    kept: list[torch.Tensor] = []
    return leaves_of([root], kept), kept


def leaves_of(
    roots: Iterable[torch.Tensor], kept: list[torch.Tensor] | None = None
) -> list[torch.Tensor]:
    """Every leaf that the graphs of these tensors reach.

    Args:
        roots: where to begin.
        kept: gets the running statistics that the graphs keep. Unlike all else that a graph keeps
            they are written without torch noticing it, so that they can be other ones by now.
    """
    leaves: list[torch.Tensor] = []
    seen: set[Any] = set()
    stack = []
    for root in roots:
        if (node := node_of(root)) is not None:
            stack.append(node)
        elif root.requires_grad and is_leaf(root):
            leaves.append(root)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        below = node.next_functions
        if below:
            stack += [child for child, _ in below if child is not None]
            if kept is not None and "Norm" in node.name():
                kept += _statistics(node)
        elif (variable := getattr(node, "variable", None)) is not None:
            leaves.append(variable)  # only what accumulates a gradient has none below
    return leaves


def leaves_met(given: Arguments, *, only_given: bool = False) -> list[torch.Tensor]:
    """Every leaf with a gradient that the arguments' graphs reach, or that is an argument."""
    tensors = [t for t in given.tensors() if t.requires_grad]
    return leaves_of(t for t in tensors if not only_given or is_leaf(t))


def leaves_behind(gradients: list[Any]) -> dict[int, Any]:
    """Every leaf that the graphs of these reach, by identity; some may be missing themselves."""
    found: dict[int, Any] = {}
    for value in gradients:
        if isinstance(value, Poison):
            found |= value.leaves
        elif isinstance(value, torch.Tensor):
            found |= {id(leaf): leaf for leaf in leaves_of([value])}
    return found


def _statistics(node: Any) -> list[torch.Tensor]:
    """What a norm keeps of them; nothing any more if its graph is used up."""
    try:
        found = [getattr(node, name, None) for name in _STATISTICS]
    except RuntimeError:
        return []
    return [tensor for tensor in found if isinstance(tensor, torch.Tensor)]
