"""The label of an operation's results, from the labels and rows of its inputs.

Pure in the sense that it changes nothing: the executor applies what is decided here. Operations
that change something else than their result are in effects.py, containers in containers.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch

from duet_p2p.engine import axes
from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.choice import viewed_by
from duet_p2p.engine.labels import (
    FOLDED,
    METADATA,
    PUBLIC,
    THINNED,
    UNBOUNDED,
    Atom,
    Kind,
    Label,
    Rows,
    are_disjoint,
    join,
    to_per_record,
    to_verbatim,
)
from duet_p2p.engine.lineage import Lineage, Owned, is_atomic, reach, storage_of
from duet_p2p.engine.nodes import is_joined
from duet_p2p.engine.store import Poison
from duet_p2p.surface.table import Rule
from duet_p2p.surface.types import number_type

__all__ = [
    "OF_LISTS",
    "OVERWRITES",
    "Verdict",
    "apply",
    "hides",
    "hides_graph",
    "is_power_of_private",
    "judge",
    "label_fresh",
    "label_written",
    "look_before",
    "may_join",
    "typed",
]

_SELECTS_NAMES: Final = """
getitem select narrow narrow_copy flip fliplr flipud roll rot90 expand expand_as broadcast_to
repeat tile masked_select take gather index_select take_along_dim cat stack hstack vstack dstack
column_stack row_stack chunk split split_with_sizes tensor_split unbind hsplit vsplit dsplit item
unfold diagonal movedim moveaxis tril triu diag_embed repeat_interleave Tensor tensor as_tensor
"""
_SELECTS: Final = frozenset(_SELECTS_NAMES.split())

_OF_KERNELS: Final = frozenset({"stride", "is_contiguous", "output_nr"})
"""Facts that what computed a tensor decides, beside its shape: a stand-in has others."""
_OF_SIZES: Final = frozenset({"tril_indices", "triu_indices"})
"""Factories that torch has among its functions: a tensor is a size to them, and no pattern."""
_HEADS: Final = "multi_head_attention_forward"
OF_LISTS: Final = frozenset({"Tensor", "tensor", "as_tensor"})

OVERWRITES: Final = frozenset({"zero", "fill", "copy", "normal", "uniform"})
"""In-place operations whose result does not depend on what was there before."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the results."""

    label: Label
    rows: Rows | None = None
    """Where the records lie in each tensor of the result."""
    is_hidden: bool = False
    """Shapes of the results depend on private values."""
    axes: tuple[int, ...] = ()
    """Of each result, where they do not lie on the same axis."""
    states: Rows | None = None
    """Of all results but the first, where they have other rows."""
    is_by_values: bool = False
    """It holds for this call: other values of something public could have another."""


_FREE: Final = Verdict(PUBLIC)


def judge(
    name: str,
    rule: Rule,
    given: Arguments,
    result: Any,
    lineage: Lineage,
    extra: Label = PUBLIC,
    *,
    is_inferred: bool = True,
) -> Verdict:
    """The verdict on one call that ran.

    Args:
        name: canonical.
        rule: of the name.
        given: the arguments.
        result: what the call gave.
        lineage: labels of tensors and objects.
        extra: the label of anything else that took part.
        is_inferred: the result's shape follows from those of the arguments; else values decide it,
            as those of a mask do.
    """
    tensors = given.tensors()
    short = axes.base_name(name)
    if name.endswith("_") and short in OVERWRITES:
        tensors = tensors[1:]
    labels = [lineage.label(t) for t in tensors]
    beside = join((given.beside(lineage), extra))
    if beside.is_public and all(label.is_public for label in labels):
        # about the owner's machine, not about any data
        return Verdict(METADATA) if name.startswith("torch.cuda.") else _FREE

    is_hidden = _is_chosen(short, given, tensors, lineage)
    every = join([beside, *labels])
    if rule.record == "metadata":
        if is_hidden or _takes_values(rule, given, lineage):
            return Verdict(to_per_record(every), is_hidden=True)
        if is_private(extra):
            return Verdict(to_per_record(every))
        return Verdict(Label(Kind.METADATA, every.sources, frozenset(), UNBOUNDED, False))
    if (rule.shape == "dynamic" or not is_inferred) and is_private(every):
        is_hidden = True
    if not beside.is_data and not any(label.is_data for label in labels):
        return Verdict(every, is_hidden=is_hidden)

    by_values = False
    if not beside.is_data and not is_hidden:
        kept, by_values = _by_rows(short, given, tensors, labels, beside, result, lineage)
        if kept is not None:
            return kept
    private = {label.kind for label in (beside, *labels) if is_private(label)}
    if private == {Kind.VERBATIM} and (short in axes.COPIES or short in _SELECTS):
        return Verdict(to_verbatim(every), is_hidden=is_hidden, is_by_values=by_values)
    return Verdict(to_per_record(every), is_hidden=is_hidden, is_by_values=by_values)


def look_before(targets: list[torch.Tensor], given: Arguments, lineage: Lineage) -> None:
    """What rules ask about public values that will have been written over when they are asked."""
    written = {storage_of(target)._cdata for target in targets}
    given.alike = {
        id(tensor): axes.alike(tensor)
        for tensor in given.tensors()
        if storage_of(tensor)._cdata in written and not is_private(lineage.label(tensor))
    }


def hides(rule: Rule, given: Arguments, lineage: Lineage, *, is_inferred: bool) -> bool:
    """Whether a call that failed on private values would have given a shape that is private."""
    tensors, short = given.tensors(), axes.base_name(rule.name)
    if rule.name.endswith("_") and short in OVERWRITES:
        tensors = tensors[1:]
    if _is_chosen(short, given, tensors, lineage):
        return True
    is_open = rule.shape == "dynamic" or not is_inferred
    return is_open and is_private(join([given.beside(lineage), *map(lineage.label, tensors)]))


def hides_graph(rule: Rule, given: Arguments, mode: str, lineage: Lineage) -> bool:
    """Whether a write by index gives its tensor a graph, or none, as something hidden has one.

    The tensor keeps its shape. Where what is written is missing, because it failed, nobody can tell
    whether it would have had a graph; so nobody is told if it is there.
    """
    if rule.short != "__setitem__" or mode != "g":
        return False
    target, *others = given.values()
    if not isinstance(target, torch.Tensor) or not may_join(target):
        return False
    if any([slot.is_loose for slot in given.slots.values()]):
        return True  # it may be a tensor, and have one
    parts = [part for value in others for part in (value, *reach(value))]
    return any(
        lineage.hidden(part) if isinstance(part, torch.Tensor)
        else isinstance(part, Poison) and not part.is_object
        for part in parts
    )  # fmt: skip


def may_join(tensor: torch.Tensor) -> bool:
    """Whether a tensor can have a graph behind it."""
    return tensor.is_floating_point() or tensor.is_complex()


def _is_chosen(
    short: str, given: Arguments, tensors: list[torch.Tensor], lineage: Lineage
) -> bool:  # fmt: skip
    """Whether a private number, or the hidden size of an argument, decides the result's shape."""
    if any([slot.is_loose for slot in given.slots.values()]):  # it decides the type at least
        return True
    # a private random state decides numbers, and no shape; and a list of private numbers makes a
    # tensor as long as it is itself, whatever they are
    chooser = given.structure(lineage) if short in OF_LISTS else given.beside(lineage)
    is_chosen = is_private(chooser) and short not in axes.ELEMENTWISE
    return is_chosen or any(lineage.hidden(t) for t in tensors)


def _takes_values(rule: Rule, given: Arguments, lineage: Lineage) -> bool:
    """Whether a private tensor is more than a pattern here: what is filled in, an end, a size."""
    short = rule.short
    if short in _OF_KERNELS:
        return not all(e.is_shared for t in given.tensors() if (e := lineage.entry(t)))
    if rule.form == "property" or short == "is_same_size":
        return False
    is_factory = rule.form == "factory" or short in _OF_SIZES
    has_pattern = not is_factory or short.endswith("_like")
    first = list(given.args[:1]) or [given.kwargs.get("input")]
    if has_pattern and isinstance(first[0], torch.Tensor):
        # by place: the pattern may be given a second time, as what is filled in
        rest = {k: v for k, v in given.kwargs.items() if given.args or k != "input"}
        others = [*given.args[1:], *rest.values()]
    else:
        others = given.values()
    return any(is_private(lineage.whole(v)) for v in others if not is_atomic(v))


def _by_rows(
    short: str,
    given: Arguments,
    tensors: list[torch.Tensor],
    labels: list[Label],
    beside: Label,
    result: Any,
    lineage: Lineage,
) -> tuple[Verdict | None, bool]:
    """The verdict of the name's rule on the record axis, None if it closes the way.

    And whether other public values could have another.
    """
    if not short:
        return None, False
    opened = _opened(given, tensors, labels, lineage)
    if opened is None:
        return None, False
    met = [beside, *[label for label in labels if not label.is_data]]
    call = _called(short, given, result, lineage)
    found = axes.outcome(call)
    if found is None:
        return None, call.is_by_values

    if short in axes.LABELLED and len(opened) > 1:
        opened = _without_classes(given, tensors, labels, lineage) or opened
    # Masked and whole records beside each other: a difference of the two is what was dropped.
    thinned = opened[0].thinned
    is_mixed = any(r.thinned != thinned for r in opened)
    if found.thinned is not None:
        thinned |= {found.thinned}
    atoms = frozenset[Any]().union(
        *(r.atoms for r in opened), *(m.atoms for m in met if m.kind is Kind.AGGREGATE)
    )
    floor = min(*(r.floor for r in opened), *(m.min_records for m in met), UNBOUNDED)
    if found.is_mixed:
        floor = min(floor, opened[0].records)
    if not are_disjoint(atoms):
        floor, atoms = 1, frozenset()
    every = join([beside, *labels])
    if found.thinned is not None:
        atoms = frozenset(Atom(a.sources, (*a.group, THINNED)) for a in atoms)
    injected = found.injected or every.injected or is_mixed
    dropout = found.thinned is not None or every.dropout
    floor, records, key = _folded(found, floor, opened[0])
    if found.is_reduced:
        least = min(records, floor)
        label = Label(Kind.AGGREGATE, every.sources, atoms if least > 1 else frozenset(), least,
                      injected, every.writers, dropout)  # fmt: skip
        return Verdict(label, is_by_values=found.is_by_values), found.is_by_values
    is_copy = short in axes.COPIES and {lb.kind for lb in labels} <= {Kind.VERBATIM, Kind.PUBLIC}
    kind = Kind.VERBATIM if is_copy and not injected else Kind.ROWS
    label = Label(kind, every.sources, frozenset(), 1, injected, every.writers, dropout)
    thinned = thinned.union(*(r.thinned for r in opened))
    rows = Rows(found.axis, records, key, atoms, floor, thinned)
    states = None if found.states is None else Rows(0, *found.states, atoms, floor, thinned)
    by_values = found.is_by_values
    verdict = Verdict(label, rows, axes=found.axes, states=states, is_by_values=by_values)
    return verdict, by_values


def _called(short: str, given: Arguments, result: Any, lineage: Lineage) -> axes.Call:
    """A call as the rules on the record axis look at it."""
    return axes.Call(
        short,
        given.args,
        given.kwargs,
        result,
        lambda t: given.rows(t, lineage),
        lambda t: is_private(lineage.label(t)),
        given.alike,
    )


def _without_classes(
    given: Arguments, tensors: list[torch.Tensor], labels: list[Label], lineage: Lineage
) -> list[Rows] | None:
    """The rows of all but the owner's own classes, which a loss looks up.

    Probabilities are no classes: beside a mask the loss is a record's own numbers where it fell.
    """
    classes = given.args[1] if len(given.args) > 1 else given.kwargs.get("target")
    if isinstance(classes, torch.Tensor) and classes.is_floating_point():
        return None
    pairs = [(t, lb) for t, lb in zip(tensors, labels, strict=True) if t is not classes]
    is_theirs = any(
        t is classes and lb.kind is Kind.VERBATIM for t, lb in zip(tensors, labels, strict=True)
    )
    return (
        _opened(given, [t for t, _ in pairs], [lb for _, lb in pairs], lineage)
        if is_theirs
        else None
    )


def _folded(
    found: axes.Outcome, floor: int, rows: Rows
) -> tuple[int, int, tuple[str | int, ...]]:  # fmt: skip
    """Floor, records and key of rows after a reshape; see `axes.Outcome.folded`."""
    records, key, parts = rows.records, rows.key, found.parts
    if found.rekeyed is not None:
        return floor, *found.rekeyed
    if found.is_joined:
        return floor, records // parts, key[:-3]
    if parts > 1:
        return min(floor, records), records * parts, (*key, FOLDED, *found.folded)
    return floor, records, key


def _opened(
    given: Arguments, tensors: list[torch.Tensor], labels: list[Label], lineage: Lineage
) -> list[Rows] | None:
    """The rows of the tensors that carry records; None if not all are known to have the same."""
    opened: list[Rows] = []
    for tensor, label in zip(tensors, labels, strict=True):
        if not label.is_data:
            continue
        rows = given.rows(tensor, lineage)
        if rows is None:
            return None
        opened.append(rows)
    if any((r.key, r.records) != (opened[0].key, opened[0].records) for r in opened):
        return None
    return opened


def typed(rule: Rule, given: Arguments, result: Any) -> Any:
    """A private number of the type that public facts say: a power's could tell a sign.

    Raises:
        ValueError: a root of a negative number.
        OverflowError: a power of ints that no float holds.
    """
    expected = number_type(rule.short, given.args)
    if isinstance(result, complex) and expected in ("python.Float", "python.Any"):
        raise ValueError("a root of a negative number")
    is_float = isinstance(result, int) and is_power_of_private(rule, given)
    return float(result) if is_float else result


def is_power_of_private(rule: Rule, given: Arguments) -> bool:
    """Whether this is a power by a private exponent, which is a float whatever its sign is."""
    exponent = given.label_at(0 if rule.short == "__rpow__" else 1)
    return rule.short in ("__pow__", "__rpow__", "__ipow__") and is_private(exponent)


def label_fresh(
    verdict: Verdict, result: torch.Tensor, storage: torch.UntypedStorage, lineage: Lineage
) -> Owned:
    """Put the label on a result that is no view of any argument; gives its storage's entry."""
    entry = lineage.own_storage(storage)
    before, label = entry.label, verdict.label
    entry.label = label if before is PUBLIC else join((before, label))
    entry.stays = True
    if result.requires_grad:
        entry.in_graph = True
    if verdict.is_hidden:
        entry.hidden = True
    if verdict.rows is not None:
        lineage.mark_rows(result, verdict.rows, entry)
    return entry


def apply(
    name: str,
    verdict: Verdict,
    result: Any,
    given: Arguments,
    written: frozenset[int],
    lineage: Lineage,
) -> Label:
    """Put the labels on the results; gives the label for the slot.

    Args:
        name: last part of the call's.
        verdict: of the call.
        result: what the call gave.
        given: its arguments.
        written: identities of the tensors that it wrote to.
        lineage: where labels are kept.
    """
    label, is_hidden = verdict.label, verdict.is_hidden
    if is_atomic(result):
        return label
    if label.is_public and not written:
        return PUBLIC
    own = {storage_of(t)._cdata: t for t in given.tensors()}
    if not written and type(result) is torch.Tensor:
        storage = storage_of(result)
        if storage._cdata not in own:
            label_fresh(verdict, result, storage, lineage)
            return label if is_hidden else PUBLIC
    atomic = False
    for part in reach(result):
        if isinstance(part, torch.Tensor):
            if not label.is_public or id(part) in written:
                _apply_to(name, part, verdict, given, own, id(part) in written, lineage)
        elif isinstance(part, tuple):
            # an empty one has no parts that could carry the label of its length
            is_free = name == _HEADS  # that there are no weights was said by something public
            atoms = [p for p in part if is_atomic(p) and not (is_free and p is None)]
            atomic = atomic or not part or bool(atoms)
        elif not label.is_public:
            entry = lineage.track(part)
            entry.content = join((entry.content, label))
            if is_hidden:
                entry.structure = join((entry.structure, label))
    if verdict.rows is not None and verdict.axes:
        rows = verdict.rows
        for part, axis in zip(result, verdict.axes, strict=False):
            if isinstance(part, torch.Tensor):
                lineage.set_rows(part, rows.moved(axis))
            rows = verdict.states or rows
    return label if atomic or is_hidden else PUBLIC


def _apply_to(
    name: str,
    part: torch.Tensor,
    verdict: Verdict,
    given: Arguments,
    own: dict[int, torch.Tensor],
    is_written: bool,
    lineage: Lineage,
) -> None:
    """Put the label on one tensor of a result: what was written, a view, or a new one."""
    label, is_hidden = verdict.label, verdict.is_hidden
    owned, storage = lineage.own(part), part.untyped_storage()
    if is_written:
        label_written(part, verdict, lineage)
        if is_hidden:
            lineage.hide(part)
            owned.in_graph = True  # whether it has one is as private
    elif storage._cdata in own:
        # A view: the storage says where it came from; the choice of the view may say more.
        beside = viewed_by(name, given, part, lineage)
        if is_private(beside):
            owned.label = join((owned.label, to_per_record(beside)))
        if is_hidden:
            lineage.hide(part)
    else:
        owned.label = join((owned.label, label))
        owned.hidden = owned.hidden or is_hidden
        owned.stays = True
    if is_joined(part) and is_private(owned.label):
        owned.in_graph = True
    if verdict.rows is not None:
        lineage.set_rows(part, verdict.rows)


def label_written(part: torch.Tensor, verdict: Verdict, lineage: Lineage) -> None:
    """Put the label on a tensor that was written to, and say where its records lie."""
    owned, storage, label = lineage.own(part), part.untyped_storage(), verdict.label
    # contiguous: a view that lies over some bytes twice may leave others as they were
    covers = part.is_contiguous() and part.numel() * part.element_size() >= storage.nbytes()
    is_lost = owned.stays and not owned.label.sources <= label.sources
    # what was there before is one of the inputs, unless it was overwritten
    is_kept = not covers or is_lost or (owned.in_graph and _says_less(label, owned.label))
    owned.label = join((owned.label, label)) if is_kept else label
    if verdict.rows is not None:
        lineage.set_rows(part, verdict.rows)  # also of what is no result, as an assignment's target


def _says_less(new: Label, old: Label) -> bool:
    """Whether a label would hide something that the one before it told."""
    return not (
        old.sources <= new.sources
        and new.min_records <= old.min_records
        and new.injected >= old.injected
        and new.dropout >= old.dropout
        and (old.kind is new.kind or (new.is_data and old.kind is not Kind.PER_RECORD))
    )
