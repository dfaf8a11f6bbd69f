"""The form of a value: a hash over how it was made, equal for what an owner would call the same.

`accept(always=True)` and `allow_plan` compare forms. A form holds every command with its scalars,
the owner's objects by id, loaders with all their settings, and every public input by its *content*:
the same text with another mask has another form. It is a hash over hashes of inputs, so nothing is
left out however long the way was; where an input cannot be told, the form is `UNBOUND`.

Two things are left out on purpose, or no second batch of a training run would ever be the same:

* which batch of which pass it is: ``next(iter(loader))`` is one form;
* what training has made of a parameter. A storage that was public and then got private values keeps
  the hash of its last public content, its *root*, and is known by that. How it was changed since is
  in the label's `writers`: one form for each backward, clipping and optimizer step, with gradients'
  forms and learning rates in it. An approval covers only values whose writers it has seen.

Any other writing in place becomes part of the form: what is written is a new node over the old one.
Random numbers drawn on the way are in no form (`Made.has_random`); an approval takes such values
only where no random number can have singled out a record.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import torch
from torch.distributions import Distribution
from torch.optim import Optimizer

from duet_p2p.engine.batches import Pass
from duet_p2p.engine.holding import Holding, groups_of, holding_of
from duet_p2p.engine.labels import UNBOUND, Kind
from duet_p2p.engine.lineage import Lineage, Owned, Tracked, is_atomic, reach, storage_of
from duet_p2p.engine.rates import are_public
from duet_p2p.engine.recipe import Made, collected, made
from duet_p2p.engine.store import Poison, Slot
from duet_p2p.limits import RECIPE_STEPS
from duet_p2p.wire import values as wire

__all__ = [
    "content_of",
    "first_content",
    "form_of",
    "grads_of",
    "hashed",
    "inputs_of",
    "keep_root",
    "may_be_another",
    "reference",
    "settings_of",
]


def hashed(*parts: str) -> str:
    """One form over several texts; `UNBOUND` if one of them is."""
    if any(part == UNBOUND for part in parts):
        return UNBOUND
    return sha256("\0".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()


# nodes


def form_of(node: Made | None) -> str:
    """The form of what a node made."""
    if node is None:
        return UNBOUND
    stack = [node]
    while stack:  # inputs first, without recursion
        step = stack[-1]
        if not step.form:
            below = [child for child in step.inputs.values() if not child.form]
            if below:
                stack += below
                continue
            step.form = _own_form(step)
        stack.pop()
    return node.form


def _own_form(step: Made) -> str:
    if step.is_cut or step.is_boundary:
        return UNBOUND
    facts = _facts(step)
    if facts is None:
        return _worked_out(step)
    form = _FORMS.get(facts)
    if form is None:
        form = _worked_out(step)
        while len(_FORMS) >= _FORMS_KEPT:
            del _FORMS[next(iter(_FORMS))]
        _FORMS[facts] = form
    return form


_FORMS: Final[dict[tuple[Any, ...], str]] = {}
"""Forms by what they are hashes of: a loop makes the same ones again and again."""
_FORMS_KEPT: Final = 4096


def _facts(step: Made) -> tuple[Any, ...] | None:
    """What the form of a node is a hash of; None if that takes more than a look."""
    parts: list[Any] = [step.op, step.mode, len(step.args)]
    values = step.args
    if step.kwargs:
        names = sorted(step.kwargs)
        parts += names
        values = (*values, *[step.kwargs[name] for name in names])
    for value in values:
        kind = type(value)
        if kind is wire.Ref:
            form = step.forms.get(value.id)
            if form is None:
                node = step.inputs.get(value.id)
                if node is None:
                    return None
                form = node.form
            parts += (kind, form)
        elif kind is int or kind is bool or kind is str or value is None:
            parts += (kind, value)
        else:
            return None
    return tuple(parts)


def _worked_out(step: Made) -> str:
    parts = [_canonical(value, step) for value in step.args]
    parts += [f"{key}={_canonical(step.kwargs[key], step)}" for key in sorted(step.kwargs)]
    if any(part.endswith(UNBOUND) for part in parts):
        return UNBOUND
    return hashed(step.op if step.mode == "g" else f"{step.mode} {step.op}", *parts)


_LONG_INT: Final = 4_096  # bits


def _canonical(value: Any, step: Made) -> str:
    """A text that is equal for equal arguments only; ends in `UNBOUND` if one cannot be told."""
    if isinstance(value, wire.Ref):
        known = step.forms.get(value.id)
        if known is None:
            node = step.inputs.get(value.id)
            known = UNBOUND if node is None else node.form
        return f"<{known}>" if known != UNBOUND else UNBOUND
    if isinstance(value, wire.TensorData):
        digest = sha256(value.data).hexdigest() if not isinstance(value.data, wire.Span) else ""
        return f"T{value.dtype}{value.shape}{digest}" if digest else UNBOUND
    if isinstance(value, dict):
        return _joined("dict", (part for pair in value.items() for part in pair), step)
    if isinstance(value, slice | range):
        return _joined(type(value).__name__, (value.start, value.stop, value.step), step)
    if isinstance(value, list | tuple):
        return _joined(type(value).__name__, value, step)
    if isinstance(value, set | frozenset):
        texts = sorted(_canonical(item, step) for item in value)
        return UNBOUND if any(text.endswith(UNBOUND) for text in texts) else f"set{texts}"
    text = _written_out(value)
    return f"{type(value).__name__}:{len(text)}:{text}."


def _written_out(value: Any) -> str:
    """Python writes no int of thousands of digits, but each in hex."""
    return hex(value) if type(value) is int and value.bit_length() > _LONG_INT else repr(value)


def _joined(kind: str, values: Iterable[Any], step: Made) -> str:
    texts = [_canonical(item, step) for item in values]
    if any(text.endswith(UNBOUND) for text in texts):
        return UNBOUND
    return f"{kind}({','.join(texts)})"


# values


def reference(slot: Slot, lineage: Lineage) -> str:
    """The form of an object at this moment, as the argument of a command.

    Empty if it is that of its node: private, never public before, and not written since.
    """
    value = slot.value
    if may_be_another(slot, lineage):
        return UNBOUND
    if isinstance(value, torch.Tensor):
        return _of_tensor(value, slot.made, lineage)
    if isinstance(value, Poison) and not (value.is_object or value.records == "one"):
        return ""  # it would have been private from the beginning
    if isinstance(value, Poison) and _is_optimizing(slot) and _is_chosen(value, lineage):
        return UNBOUND  # as `settings_of` would say
    if is_atomic(value):
        if slot.label.kind is Kind.PUBLIC and not isinstance(value, torch.Generator):
            return hashed(type(value).__name__, _written_out(value))
        return ""
    if isinstance(value, Optimizer):  # it is what it holds, whoever made that and when
        return _of_optimizer(value, lineage)
    made_of = lineage.find(value) if isinstance(value, Distribution | Poison) else None
    known = made_of.origin if made_of is not None and type(made_of.origin) is tuple else value
    inside = list(_inside(known, lineage))
    return hashed(form_of(slot.made), *inside) if inside else ""


def _of_optimizer(optimizer: Optimizer, lineage: Lineage) -> str:
    holding = holding_of(optimizer)
    facts = None if holding is None else _written(optimizer, holding, lineage)
    if holding is not None and facts is not None and holding.has_facts(facts):
        return holding.form
    form = hashed(*settings_of(optimizer, lineage), *_inside(optimizer, lineage))
    if holding is not None and facts is not None:
        holding.facts, holding.form = facts, form
    return form


def _written(optimizer: Optimizer, holding: Holding, lineage: Lineage) -> list[Any] | None:
    """Everything that the form of an optimizer follows from beside what stands where in it.

    None if it follows from more, as from the contents of what is public. How a tensor lies over its
    storage changes by commands only that write to it.
    """
    if not (holding.has_plain_settings and are_public(optimizer, lineage)):
        return None
    facts: list[Any] = []
    at, find = lineage.at, lineage.find
    for tensor in holding.tensors:
        entry = None if tensor.is_sparse else at(tensor.untyped_storage()._cdata)
        if entry is None or entry.label.kind is Kind.PUBLIC:
            return None
        facts += (entry.root, entry.written, entry.made, tensor.requires_grad)
    for part in (optimizer, *holding.objects):
        tracked = find(part)
        facts += (None, None) if tracked is None else (tracked.written, tracked.structure)
    return facts


def settings_of(optimizer: Optimizer, lineage: Lineage) -> list[str]:
    """The kind of an optimizer and the settings of its groups as they are now."""
    parts = [type(optimizer).__name__]
    if len(groups_of(optimizer)) < len(optimizer.param_groups):
        parts.append(UNBOUND)
    lists = [optimizer.param_groups, *(group["params"] for group in groups_of(optimizer))]
    if any(_is_chosen(part, lineage) for part in (optimizer, *groups_of(optimizer), *lists)):
        parts.append(UNBOUND)  # private values decided some of them
    elif not are_public(optimizer, lineage):
        parts.append(UNBOUND)
    for group in groups_of(optimizer):
        parts.append(str(len(group["params"])))
        parts += [f"{key}={_setting(group[key], lineage)}" for key in group if key != "params"]
    return parts


def _is_optimizing(slot: Slot) -> bool:
    return slot.made is not None and slot.made.op.startswith("torch.optim.")


def _is_chosen(part: Any, lineage: Lineage) -> bool:
    entry = lineage.find(part)
    return entry is not None and entry.structure.kind not in (Kind.PUBLIC, Kind.METADATA)


def _setting(value: Any, lineage: Lineage) -> str:
    if isinstance(value, torch.Tensor):
        return reference(Slot(value), lineage) or UNBOUND
    return _written_out(value)


def _of_tensor(tensor: torch.Tensor, node: Made | None, lineage: Lineage) -> str:
    entry = lineage.entry(tensor)
    if entry is None or entry.label.kind is Kind.PUBLIC:
        return content_of(tensor, lineage)
    base = ""
    if entry.root:
        base = _state(entry.root, _geometry(tensor, lineage))
    if entry.written is None:
        return base
    return hashed(base or form_of(node), form_of(entry.written))


def _inside(value: Any, lineage: Lineage) -> Iterator[str]:
    """What is in an object and may have come or changed after it was made.

    What stands for a tensor that is missing was written to as well as one that is there.
    """
    told: set[int] = set()
    for part in reach(value):
        entry: Owned | Tracked | None
        if isinstance(part, torch.Tensor):
            entry = lineage.entry(part)
            if entry is None or entry.label.kind is Kind.PUBLIC:
                yield content_of(part, lineage)
                continue
            if entry.root:
                yield _of_tensor(part, entry.made, lineage)
                continue
        else:
            entry = lineage.find(part)
        if entry is not None and entry.written is not None and id(entry.written) not in told:
            told.add(id(entry.written))
            yield form_of(entry.written)


def content_of(tensor: torch.Tensor, lineage: Lineage) -> str:
    """The form of a tensor that is known by its numbers: those of its whole storage, and its place.

    The whole storage, so that a parameter and a view of it share one hash.
    """
    return _state(_storage_hash(tensor, lineage), _geometry(tensor, lineage))


def _storage_hash(tensor: torch.Tensor, lineage: Lineage) -> str:
    entry = lineage.own(tensor)
    now = (entry.version, 0 if tensor.is_inference() else tensor._version)
    if entry.hash is not None and entry.hash[0] == now:
        return entry.hash[1]
    digest = _hash(tensor)
    entry.hash = (now, digest)
    return digest


def _hash(tensor: torch.Tensor) -> str:
    try:
        if tensor.is_sparse:
            parts = (tensor._indices(), tensor._values())
            return hashed(str(tuple(tensor.shape)), *map(_hash, parts))
        storage = storage_of(tensor)
        flat = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
        numbers: Any = flat.cpu().numpy()
        return sha256(numbers).hexdigest()
    except (RuntimeError, TypeError, ValueError, NotImplementedError):
        return UNBOUND


def _geometry(tensor: torch.Tensor, lineage: Lineage) -> tuple[Any, ...]:
    """How a tensor lies over its storage, and whether gradients reach it, if that is public."""
    wants_grad = tensor.requires_grad and not lineage.hidden(tensor)
    return (*_place(tensor), wants_grad)


def _place(tensor: torch.Tensor) -> tuple[Any, ...]:
    place: tuple[Any, ...] = ()
    if not tensor.is_sparse:
        place = (tensor.storage_offset(), tensor.stride())
    flags = (tensor.is_conj(), tensor.is_neg())
    return (tensor.dtype, tuple(tensor.shape), place, flags)


@lru_cache(4096)
def _state(content: str, geometry: tuple[Any, ...]) -> str:
    """The form of a tensor of this content (a hash) that lies like this over its storage."""
    dtype, *rest = geometry
    return hashed("state", content, repr((str(dtype), *rest)))


def keep_root(tensors: Iterable[torch.Tensor], lineage: Lineage) -> None:
    """These are about to get private values: what is public is remembered by its hash."""
    for tensor in tensors:
        entry = lineage.own(tensor)
        if entry.label.kind is Kind.PUBLIC:
            entry.root = _storage_hash(tensor, lineage)


def inputs_of(
    slots: Mapping[int, Slot], lineage: Lineage
) -> tuple[dict[int, Made], dict[int, str]]:
    """Nodes of a command's arguments, and the forms of those that have one of their own."""
    nodes, forms = {}, {}
    for id, slot in slots.items():
        if type(slot.value) is torch.Tensor and not (slot.is_loose and slot.is_element):
            entry = lineage.entry(slot.value)
            is_plain = entry is not None and entry.written is None and entry.tie is None
            if entry is not None and is_plain and entry.label.kind is not Kind.PUBLIC:
                # the usual cases: a result, whose node says it all, and a trained parameter
                if slot.made is not None:
                    nodes[id] = slot.made
                if entry.root:
                    forms[id] = _state(entry.root, _geometry(slot.value, lineage))
                continue
        if slot.made is not None:
            nodes[id] = _as_it_is(slot, lineage)
        form = reference(slot, lineage)
        if form:
            forms[id] = form
    return nodes, forms


def _as_it_is(slot: Slot, lineage: Lineage) -> Made:
    """The node of an object, with the newest writing in place for people to read.

    Of several that a private value chose one of, which one was written to is private. A rule that
    knows a recipe again would tell it, so all of them say the same, and nothing is bound to that.
    """
    assert slot.made is not None
    if may_be_another(slot, lineage):
        return made("perhaps changed", (wire.Ref(0), "…"), {}, {0: slot.made})
    entry = _entry_of(slot.value, lineage)
    said = [slot.made]
    if entry is not None and entry.written is not None and entry.written is not slot.made:
        said.append(entry.written)
    said += _changes_inside(slot, said, lineage)
    if len(said) == 1:
        return slot.made
    nodes = dict(enumerate(said))
    return made("changed", tuple(map(wire.Ref, nodes)), {}, nodes)


def _changes_inside(slot: Slot, said: Iterable[Made], lineage: Lineage) -> list[Made]:
    """What was written into a container's parts since they came into it.

    A pass over a loader is asked with each batch, whose text begins with itself.

    Args:
        slot: the container.
        said: the nodes that it has itself; what is behind them is not said once more.
        lineage: what is known of the parts.
    """
    value = slot.value
    if isinstance(value, torch.Tensor | Optimizer) or is_atomic(value):
        return []
    entry = lineage.find(value)
    is_pass = entry is not None and isinstance(entry.origin, Pass)
    if is_pass or (isinstance(value, Poison) and value.records == "one"):
        return []
    parts = [part for part in reach(value) if part is not value]
    entries = [e for part in parts if (e := _entry_of(part, lineage)) is not None]
    found = {form_of(e.written): e.written for e in entries if e.written is not None}
    for node in said if found else ():
        shown, is_cut = collected(node)
        if is_cut:
            return []  # nothing can be bound to it, and what comes after it would say all again
        for known in shown:  # nodes may be copies, so forms are compared
            found.pop(form_of(known), None)
    return [found[form] for form in sorted(found)][: RECIPE_STEPS + 1]  # one more: then it is cut


def _entry_of(value: Any, lineage: Lineage) -> Owned | Tracked | None:
    if isinstance(value, torch.Tensor):
        return lineage.entry(value)
    return None if is_atomic(value) else lineage.find(value)


def may_be_another(slot: Slot, lineage: Lineage) -> bool:
    """Whether this is one of several that a private value chose one of, or what it chose."""
    if slot.is_loose and slot.is_element:
        return True
    entry = _entry_of(slot.value, lineage)
    return entry is not None and entry.tie is not None


def first_content(tensor: torch.Tensor, lineage: Lineage) -> str:
    """The form of what a parameter was before private values were written over it.

    With its place: several parameters can lie over one storage.
    """
    entry = lineage.entry(tensor)
    if entry is None or entry.label.kind is Kind.PUBLIC:
        content = _storage_hash(tensor, lineage)
    else:
        content = entry.root or form_of(entry.made)
    return _state(content, _place(tensor))


def grads_of(tensors: Iterable[torch.Tensor], lineage: Lineage) -> Iterator[str]:
    """Of the gradients that a step uses, the forms of those that no backward made."""
    for tensor in tensors:
        entry = lineage.entry(tensor)
        if entry is None or entry.label.kind is Kind.PUBLIC:
            yield content_of(tensor, lineage)
        elif is_from_elsewhere(entry):
            yield _of_tensor(tensor, entry.made, lineage) or form_of(entry.made)


def is_from_elsewhere(entry: Owned) -> bool:
    """Whether a private storage was not made by a backward or a step, which its writers tell."""
    known = bool(entry.label.writers) and entry.made is None
    return not known or bool(entry.root) or entry.written is not None
