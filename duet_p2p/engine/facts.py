"""Frozen values and the facts about them: what handlers judge and what the owner reads."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import is_private
from duet_p2p.engine.charges import numbers_of
from duet_p2p.engine.failures import is_exhaustion
from duet_p2p.engine.foresight import NOTHING, foreseen
from duet_p2p.engine.form import form_of, may_be_another, reference
from duet_p2p.engine.labels import (
    PUBLIC,
    THINNED,
    UNBOUNDED,
    Atom,
    Kind,
    Label,
    Rows,
    join,
    to_per_record,
)
from duet_p2p.engine.lineage import Lineage, is_atomic, reach
from duet_p2p.engine.messages import Facts
from duet_p2p.engine.parcel import Files, Parcel, parcelled
from duet_p2p.engine.private_sizes import charge_of_structure, sized_by_values
from duet_p2p.engine.recipe import recipe_text
from duet_p2p.engine.store import Poison, Slot
from duet_p2p.engine.summary import summary_of
from duet_p2p.engine.ties import touches
from duet_p2p.engine.training import described
from duet_p2p.engine.untold import untold
from duet_p2p.limits import INLINE_TENSOR_BYTES
from duet_p2p.surface.types import type_name_of
from duet_p2p.surface.values import from_wire, logical_numbers, to_wire, words_of
from duet_p2p.wire.codec import pack_value
from duet_p2p.wire.values import TensorData

__all__ = ["NO_ACCOUNT", "Frozen", "account_of", "dtype_name", "freeze", "label_of_slot", "type_of"]

_log = logging.getLogger("duet_p2p.engine")


@dataclass(frozen=True, slots=True)
class _Uncopied:
    """Stands for a value that is nested too deeply, or too large, to be copied.

    It is judged all the same. An answer at once would tell which of several values a private number
    chose, so this waits for a decision like the others, and cannot be sent then.
    """

    is_full: bool
    """There was no memory for it."""

    def __repr__(self) -> str:
        return "<nested too deeply, or too large, to be shown>"


_UNCOUNTED: Final = 2**40  # numbers of such a value: more than any rule lets out unseen


@dataclass(frozen=True, slots=True)
class Frozen:
    """A value as it was at one place in the program."""

    copy: Any
    """The value; None where the bytes are in a file."""
    facts: Facts
    parcel: Parcel | None = None

    def opened(self) -> Any:
        """The value itself."""
        if self.parcel is not None:
            return self.parcel.opened()
        return from_wire(self.copy) if type(self.copy) is TensorData else self.copy

    def shown(self) -> str:
        """The value as text, for the owner's eyes."""
        return repr(self.opened())

    def small(self) -> tuple[Any, bool]:
        """The closed value, if it can go inline."""
        if type(self.copy) is TensorData:
            return self.copy, True
        if self.facts.failed or self.facts.nbytes > INLINE_TENSOR_BYTES:
            return None, False
        try:
            closed = to_wire(self.copy, None, INLINE_TENSOR_BYTES)
            if not isinstance(self.copy, torch.Tensor):
                pack_value(closed)  # small, and past a limit of the wire: deep, long, a large int
        except (TypeError, ValueError):
            return None, False
        return closed, True


def freeze(
    slot: Slot,
    lineage: Lineage,
    dataset_names: dict[int, str],
    files: Files | None = None,
    beside: Callable[[], Label] = lambda: PUBLIC,
    account: Mapping[str, Any] | None = None,
) -> Frozen:
    """A copy of a slot's value that no later command can change, with its facts.

    Args:
        slot: of the value.
        lineage: knows its label.
        dataset_names: of data sets, by id.
        files: of the frozen values that there are already.
        beside: the label of how much memory is left.
        account: of the same slot, see `account_of`; None: facts without it.
    """
    poison, label = _state(slot, lineage)
    elements, nbytes, value, parcel = (
        (0, 0, None, None) if poison is not None else _kept(slot.value, files or Files())
    )
    is_full = isinstance(value, _Uncopied) and value.is_full
    if is_full:
        label = join((label, beside()))
    if (poison is not None or is_full) and is_private(label):
        label = to_per_record(label)
    tensor = slot.value if isinstance(slot.value, torch.Tensor) else None
    tensors = _tensors(slot.value)
    sources = tuple(sorted(label.sources, reverse=True))
    version = lineage.version(slot.value, slot.uid, touches(slot, lineage))
    is_sized = is_full or (poison is None and sized_by_values(slot, label, lineage))
    is_counted = is_sized and not isinstance(value, _Uncopied)
    facts = Facts(
        kind=str(Kind.PER_RECORD if label.kind is Kind.ROWS else label.kind),
        sources=sources,
        min_records=0 if label.min_records >= UNBOUNDED else label.min_records,
        injected=label.injected,
        dropout=label.dropout,
        elements=elements,
        nbytes=nbytes,
        type=type_of(slot),
        shape=None if tensor is None else tuple(tensor.shape),
        dtype=None if tensor is None else dtype_name(tensor),
        tags=slot.tags,
        version=version,
        source_names=tuple(dataset_names.get(source, "") for source in sources),
        writers=tuple(sorted(label.writers)),
        has_random=slot.made is not None and slot.made.has_random,
        charge=_charge(tensors, elements, lineage)
        + (charge_of_structure(slot.value) if is_counted else 0),
        rows=_row_sets(label, None if tensor is None else lineage.rows(tensor), sources),
        sized_by_values=is_sized,
        **_origin(slot, version),
        **_failure(poison),
        **(account or NO_ACCOUNT),
    )
    return Frozen(value, facts, parcel)


NO_ACCOUNT: Final[Mapping[str, Any]] = {"recipe": ""}


def account_of(slot: Slot, lineage: Lineage, slots: Iterable[Slot] = ()) -> Mapping[str, Any]:
    """The facts that only people and bound rules read: how a value came to be, and what may follow.

    They are the longer part of the work, so an answer that needs none of them does not wait.

    Args:
        slot: of the value.
        lineage: knows its label.
        slots: all objects, among which a loss's optimizer is looked for.
    """
    poison, label = _state(slot, lineage)
    ahead = foreseen(slot, label, lineage, slots) if poison is None else NOTHING
    return {
        "recipe": recipe_text(slot.made),
        "form": "" if label.is_public else _form(slot, label, lineage),
        "summary": summary_of(slot.made),
        "training": described(_tensors(slot.value), lineage),
        "foreseen": ahead.writers,
        "foreseen_text": ahead.text,
    }


def _form(slot: Slot, label: Label, lineage: Lineage) -> str:
    """What equal questions have in common; of an object that values chose, not which one it is."""
    is_object = not isinstance(slot.value, torch.Tensor)
    if may_be_another(slot, lineage) or (is_object and sized_by_values(slot, label, lineage)):
        return form_of(slot.made)
    return reference(slot, lineage) or form_of(slot.made)


def _state(slot: Slot, lineage: Lineage) -> tuple[Poison | None, Label]:
    """The failure in place of a value, if there is one, and the label of either."""
    poison = slot.value if isinstance(slot.value, Poison) else slot.poison
    if poison is None and (within := lineage.poison(slot.value)) is not None:
        poison = untold(within, slot.value, lineage, slot.label)
    if poison is None:
        return None, label_of_slot(slot, lineage)
    if poison.is_public:
        return poison, poison.label
    return poison, join(
        (poison.label, label_of_slot(slot, lineage))
    )  # all that it would be made of


OPAQUE: Final = "cannot be told"


def _row_sets(label: Label, rows: Rows | None, sources: Iterable[int]) -> tuple[str, ...]:
    """Which records of each source are behind a value, as far as that is known."""
    atoms = label.atoms if rows is None else rows.atoms
    return tuple(
        " and ".join(sorted({_row_set(atom, rows) for atom in atoms if source in atom.sources}))
        or OPAQUE
        for source in sources
    )


def _row_set(atom: Atom, rows: Rows | None) -> str:
    kind, *of = atom.group
    text = "whole"
    if kind == "pass":
        number = f" {of[1]}" if of[1] else ""  # in order, all passes have the same batches
        text = f"batches of pass{number} over a loader"
        if rows is not None and rows.key[:3] == ("batch", *of[:2]):
            text = f"batch {int(rows.key[3]) + 1} of pass{number} over a loader"
    return f"{text}, less what a dropout left out" if of[-1:] == [THINNED] else text


def _origin(slot: Slot, version: int) -> dict[str, Any]:
    """What facts say of the plan that gave a value, if nothing wrote it since."""
    origin = slot.origin
    if origin is None or origin.version != version:
        return {}
    return {
        "plan": origin.digest, "plan_output": origin.output, "plan_run": origin.run,
        "plan_runs": origin.runs, "plan_given": origin.given,
    }  # fmt: skip


def _failure(poison: Poison | None) -> dict[str, Any]:
    """What facts say of a failure, or of none."""
    if poison is None:
        seq, op, code, text, is_public = 0, "", "", "", False
    else:
        seq, op, code, is_public = poison.seq, poison.op, poison.code, poison.is_public
        text = poison.text or code
    return {
        "failed": text,
        "failed_seq": seq,
        "failed_op": op,
        "failed_code": code,
        "failed_is_public": is_public,
    }


def _tensors(value: Any) -> list[torch.Tensor]:
    if type(value) is torch.Tensor:  # most values are one
        return [value]
    return [part for part in reach(value) if isinstance(part, torch.Tensor)]


def _charge(tensors: Sequence[torch.Tensor], elements: int, lineage: Lineage) -> int:
    """Numbers of a value; of hidden sizes, as many as it could have been.

    One at least, since a hidden size tells one where it is that of no numbers.
    """
    least = [int(lineage.hidden(t)) for t in tensors]
    more = [max(numbers_of(t, lineage), n) - t.numel() for t, n in zip(tensors, least, strict=True)]
    return elements + sum([count * words_of(t) for count, t in zip(more, tensors, strict=True)])


def label_of_slot(slot: Slot, lineage: Lineage) -> Label:
    """Everything that a release of this slot would give away, its shape included."""
    value = slot.value
    is_tensor = type(value) is torch.Tensor  # most values are one
    labels = [slot.label, lineage.label(value) if is_tensor else lineage.whole(value)]
    for part in _tensors(value):
        if lineage.hidden(part):
            entry = lineage.own(part)
            if is_private(entry.label):
                labels.append(to_per_record(entry.label))
    label = join(labels)
    if slot.is_shared and label.kind is Kind.PER_RECORD and len(label.sources) == 1:
        return replace(label, kind=Kind.VERBATIM)  # its shape is private, and it is raw data
    return label


def type_of(slot: Slot) -> str:
    """The type name of a slot's value."""
    if isinstance(slot.value, Poison):
        return "python.Any"
    return slot.type or type_name_of(slot.value)


def dtype_name(tensor: torch.Tensor) -> str:
    """``float32``."""
    return str(tensor.dtype).removeprefix("torch.")


def _kept(value: Any, files: Files) -> tuple[int, int, Any, Parcel | None]:
    """Numbers and bytes of a value, and the copy of it or the file that it is in."""
    try:
        elements, nbytes = logical_numbers(value)
        if type(value) is torch.Tensor:  # by itself, so nothing else can be the same
            closed = _closed(value, nbytes)
            if closed is not None:
                return elements, nbytes, closed, None
            parcel = parcelled(value, nbytes, files)
            return elements, nbytes, None if parcel is not None else _clone(value), parcel
        parcel = parcelled(value, nbytes, files)
        return elements, nbytes, None if parcel is not None else _copied(value, {}), parcel
    except Exception as error:  # whatever there is no way for: too deep, too many, no memory
        _log.warning("a value could not be copied, so it cannot be released: %s", _reason(error))
        return _UNCOUNTED, _UNCOUNTED, _Uncopied(is_exhaustion(error)), None


def _reason(error: Exception) -> str:
    """Why there is no copy; torch's words can hold numbers of the value."""
    # as of a list that was put into itself: those words are of `logical_numbers`
    return str(error) if type(error) is ValueError else type(error).__name__


def _closed(value: torch.Tensor, nbytes: int) -> Any:
    """The form in which a small tensor leaves, which is a copy of it; None: it has none."""
    if nbytes > INLINE_TENSOR_BYTES:
        return None
    try:
        return to_wire(value, None, INLINE_TENSOR_BYTES)
    except (TypeError, ValueError, RuntimeError):
        return None


def _clone(value: torch.Tensor) -> torch.Tensor:
    copy = value.detach().clone()
    # requires_grad travels with the value, unless it is the mark of a number in whole ones
    wants = value.requires_grad and (value.is_floating_point() or value.is_complex())
    return copy.requires_grad_() if wants else copy


def _copied(value: Any, memo: dict[tuple[Any, ...], torch.Tensor]) -> Any:
    """Tensors cloned, the same one once; containers rebuilt; everything else does not change."""
    if isinstance(value, torch.Tensor):
        key = (value.untyped_storage()._cdata, value.storage_offset(), value.shape, value.stride(),
               value.dtype, value.requires_grad)  # fmt: skip
        copy = memo.get(key)
        if copy is None:
            memo[key] = copy = _clone(value)
        return copy
    if is_atomic(value):
        return value
    if isinstance(value, OrderedDict):
        return OrderedDict((k, _copied(v, memo)) for k, v in value.items())
    if isinstance(value, dict):
        return {k: _copied(v, memo) for k, v in value.items()}
    if isinstance(value, list):
        return [_copied(v, memo) for v in value]
    if isinstance(value, tuple):
        return tuple(_copied(v, memo) for v in value)
    return set(value) if isinstance(value, set) else value
