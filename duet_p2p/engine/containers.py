"""Labels of lists, tuples, dicts, sets and iterators.

Tensors and containers that lie in a container carry their own labels. What carries none (numbers,
texts) is joined into the container's *content*; what decided its length, keys and order into its
*structure*. So the length of a list of private losses is public, and the losses are not.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.utils.data import DataLoader, Dataset

from duet_p2p.engine import choice, ties
from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.batches import Pass, next_batch, of_items, of_shapes, start_pass
from duet_p2p.engine.keyed import Keyed, is_by_name
from duet_p2p.engine.labels import METADATA, PUBLIC, UNBOUNDED, Kind, Label, join, to_per_record
from duet_p2p.engine.lineage import ATOMIC, Lineage, Tracked, is_atomic, reach
from duet_p2p.engine.rates import put_into
from duet_p2p.engine.selection import (
    HOLDING,
    are_dicts,
    choose,
    chooser,
    is_perhaps_one,
    labels_of,
    of_loose,
    pick,
    picker,
    put_missing,
    valued,
)
from duet_p2p.engine.store import Poison
from duet_p2p.surface.iteration import RemoteIterator
from duet_p2p.surface.plan import refs_of
from duet_p2p.wire.values import Ref

__all__ = [
    "GETTERS", "LENGTHS", "OF_TUPLES", "STEPWISE", "WITH_LENGTH", "can_hold", "chooses",
    "is_container_call", "is_perhaps_container", "label_results", "of_lengths", "prepare", "taken",
]  # fmt: skip

_TYPES: Final = frozenset({"List", "Tuple", "Dict", "OrderedDict", "Set", "Iterator", "Any"})
_BUILDERS: Final = frozenset({
    "python.collect", "python.state_dict", "python.List", "python.Tuple", "python.Dict",
    "python.OrderedDict", "python.Set", "python.iter", "python.next", "python.len",
})  # fmt: skip

_PLACES: Final = frozenset({"append", "insert", "__setitem__", "setdefault"})
"""Put one value at a place that only the index decides."""
_SHIFTS: Final = frozenset({
    "extend", "__iadd__", "__imul__", "update", "clear", "reverse", "pop", "popitem", "__delitem__",
    "move_to_end",
})  # fmt: skip
"""Change the structure in a way that no element decides."""
_COUNTS: Final = frozenset({"__imul__", "pop", "popitem", "__delitem__", "move_to_end"})
"""Those of them whose arguments are numbers or keys."""
_MUTATORS: Final = frozenset({
    *_PLACES, *_SHIFTS, "remove", "sort", "add", "discard", "__iand__", "__ior__", "__isub__",
    "__ixor__", "difference_update", "intersection_update", "symmetric_difference_update",
})  # fmt: skip
_DROPPING: Final = frozenset({
    "__setitem__", "__delitem__", "update", "__imul__", "remove", "discard", "pop", "popitem",
    "move_to_end",
})  # fmt: skip
"""Mutators after which something that lay in the container may lie there no more.

Or which fail if a key is not there, and leave what is worthless then, with all that lies in it.
"""
_PICKING: Final = frozenset({
    "Dict", "OrderedDict", "fromkeys", "state_dict", "__mul__", "__rmul__",
})  # fmt: skip
"""They make a container of others, and not always of all that lies in them."""
_SPREADING: Final = frozenset({"List", "Tuple", "Set", "extend", "__iadd__"})
"""They take the parts of a tensor one by one."""
OF_TUPLES: Final = frozenset({"Tuple", "__mul__", "__rmul__"})
_KEEPING: Final = ("python", "torch.optim", "torch.utils.data", "torch.distributions")
"""Beginnings of names that keep lists and dicts which they are given."""
GETTERS: Final = frozenset({
    "__getitem__", "pop", "popitem", "dict_get", "setdefault", "__next__", "next",
})  # fmt: skip
"""They give an element, or a slice."""
LENGTHS: Final = frozenset({"__len__", "len", "batch_size"})
_FACTS: Final = frozenset({
    "torch.utils.data.DataLoader.__len__", "torch.utils.data.DataLoader.batch_size",
    "torch.utils.data.DataLoader.dataset", "torch.utils.data.Dataset.__len__",
})  # fmt: skip
_COPIES: Final = frozenset({
    "collect", "state_dict", "List", "Tuple", "Dict", "OrderedDict", "iter", "__iter__", "copy",
    "keys", "values", "items", "__add__", "__reversed__",
})  # fmt: skip

STEPWISE: Final = frozenset({
    "python.iter", "python.next", "python.len", "python.Iterator.__next__", "python.Any.__next__",
    "torch.utils.data.DataLoader.dataset",
})  # fmt: skip
"""Elements of these are labelled one by one, with their rows."""
WITH_LENGTH: Final = (*HOLDING, DataLoader, Dataset, RemoteIterator)
_HOLDERS: Final = {
    "collect": 0, "state_dict": 1, "append": 1, "add": 1, "insert": 2, "__setitem__": 2,
    "setdefault": 2, "List": 9, "Tuple": 9, "Dict": 9, "OrderedDict": 9, "Set": 9, "extend": 9,
    "update": 9,
}  # fmt: skip
"""Last parts of names to the first position where a value that failed may stand."""


def can_hold(name: str, given: Arguments) -> bool:
    """Whether a value that failed may be put into this container: only that value has failed."""
    first = _HOLDERS.get(name.rpartition(".")[2])
    if first is None or not is_container_call(name, given):
        return False
    return not any(isinstance(value, Poison) for value in given.args[:first])


def is_container_call(name: str, given: Arguments) -> bool:
    """Whether this module knows the call; everything else is judged as an operation."""
    if given.item is not None:  # it gives a copy
        return False
    if name in _BUILDERS:
        # measuring a tensor or a text is an operation on a value
        is_value = bool(given.args) and isinstance(given.args[0], (torch.Tensor, *ATOMIC))
        return not is_value or name not in ("python.len", "python.next")
    prefix, _, short = name.rpartition(".")
    if name in _FACTS:
        return bool(given.args)
    if not prefix.startswith("python.") or prefix[7:] not in _TYPES or not given.args:
        return False
    target = given.args[0]
    return not isinstance(target, (torch.Tensor, *ATOMIC)) and short not in ("count", "index")


def is_perhaps_container(name: str, given: Arguments) -> bool:
    """Whether private values chose what the call looks at, and might have chosen a container."""
    return name.startswith("python.") and name.split(".")[1] in _TYPES and is_perhaps_one(given)


def prepare(name: str, given: Arguments, lineage: Lineage) -> None:
    """Join labels into a container that the call may change; before it runs, if it fails or not.

    Where a private value chose the container, something else may stand in its place, and what the
    call would have marked beside it is marked all the same.
    """
    prefix, _, short = name.rpartition(".")
    if prefix.startswith(_KEEPING):
        _label_written_out(given, lineage)
    if not prefix.startswith("python"):
        return
    is_fixed = short in _MUTATORS and isinstance(given.args[0] if given.args else None, tuple)
    if is_fixed or not is_container_call(name, given):
        if is_perhaps_container(name, given):
            _prepare_missing(short, given, lineage)
        return
    if short in GETTERS:
        choose(given, lineage)
        choice.mark_items(given, of_items(given, lineage), lineage)
    if short in _PICKING:
        pick(picker(short, given, lineage), given, lineage, also=valued(short, given))
    if short in _SPREADING:
        choice.mark_parts(given, lineage)
    if short not in _MUTATORS:
        return
    target = given.args[0]
    if is_atomic(target):
        return
    entry = lineage.track(target)
    before = entry.structure
    entry.version += 1
    _put_into_several(entry, given, lineage)
    rest = labels_of(given.args[1:], lineage)
    slots = join(slot.label for slot in given.slots.values())
    _put(short, given, join((slots, rest[0])), lineage)
    if short == "append":
        return
    if short in _PLACES:
        added = given.label_from(1, 2, lineage)
        if is_private(added):
            added = to_per_record(added)
            entry.content = join((entry.content, added))
        if any(isinstance(value, slice) for value in given.args[1:2]):  # as many as there are
            added = join((added, rest[1], slots, *of_lengths(given, lineage)))
    elif short in _COUNTS:
        added = given.label_from(1, len(given.args), lineage)
        for value in given.kwargs.values():  # whether it goes to the end, or is the last one
            added = join((added, slots, PUBLIC if is_atomic(value) else lineage.whole(value)))
    elif short in _SHIFTS:
        added = join((rest[1], slots, *of_lengths(given, lineage)))
        if short == "update" and not isinstance(given.args[-1], dict):
            added = join((added, to_per_record(rest[0])))  # what the keys are decides how many
    else:  # which element goes where is decided by values
        added = to_per_record(join((lineage.whole(target), rest[0], rest[1], slots)))
    entry.structure = join((entry.structure, added))
    if short in _DROPPING:
        chooser = join((before, added))
        if is_private(chooser):  # what lies there no more may lie there elsewhere
            entry.content = join((entry.content, to_per_record(given.all(lineage))))
        pick(chooser, given, lineage, None if entry.is_shared else entry)


def _put_into_several(entry: Tracked, given: Arguments, lineage: Lineage) -> None:
    """What is put into one of several that a private number chose among may lie in any of them."""
    if entry.tie is not None:
        chosen = to_per_record(join((entry.content, entry.structure)))
        choice.mark(given.values()[1:], chosen, lineage, to=entry)
        entry.content = join((entry.content, to_per_record(given.all(lineage))))


def _label_written_out(given: Arguments, lineage: Lineage) -> None:
    """Lists and dicts that are written out in a command hold what it names in them.

    They may lie in a container from then on, and are taken out of it as they are.
    """
    if all([slot.label is PUBLIC for slot in given.slots.values()]):
        return
    pairs = list(zip(given.wire, given.args, strict=False))
    pairs += [(wire, given.kwargs[key]) for key, wire in given.named.items()]
    for wire, value in pairs:
        if type(wire) is Ref:
            continue
        slots = [given.slots[id] for id in refs_of(wire) if id in given.slots]
        content = join(slot.label for slot in slots)
        named, stack = {id(slot.value) for slot in slots}, [value]
        while stack and not content.is_public:
            part = stack.pop()
            if isinstance(part, HOLDING) and id(part) not in named:
                stack += _items(part)
                if not isinstance(part, tuple):
                    entry = lineage.track(part)
                    entry.content = join((entry.content, content))
                    entry.structure = join((entry.structure, of_loose(given)))


def _items(part: Any) -> list[Any]:
    return [*part, *part.values()] if isinstance(part, dict) else list(part)


def _put(short: str, given: Arguments, content: Label, lineage: Lineage) -> None:
    """What the call brings, of this content, comes into its container."""
    target, *others = given.args
    entry = lineage.track(target)
    is_keyed = short in ("__setitem__", "setdefault") and others
    put_into(target, others[0] if is_keyed else None, content, lineage)
    entry.content = join((entry.content, content))
    entry.structure = join((entry.structure, of_loose(given)))
    entries, parts = ties.taken(short, given, lineage)
    if entries or parts:
        ties.tie([entry, *entries], lineage, (), parts)


def _prepare_missing(short: str, given: Arguments, lineage: Lineage) -> None:
    if short in GETTERS:
        choose(given, lineage)
    if short in _DROPPING or short in _PICKING:
        pick(of_loose(given), given, lineage, also=valued(short, given))
    if short in _MUTATORS:
        put_missing(given, lineage)


def chooses(short: str, given: Arguments, lineage: Lineage) -> bool:
    """Whether private values decide which element a call gives, or gets into what it gives."""
    if short in GETTERS:
        return is_private(join((chooser(given, lineage), of_items(given, lineage))))
    return short in _PICKING and is_private(picker(short, given, lineage))


def taken(name: str, given: Arguments, result: Any, lineage: Lineage) -> Any:
    """What a getter gave, able to carry the label of what chose it.

    Args:
        name: of the call.
        given: its arguments.
        result: what it gave.
        lineage: where labels are kept.
    """
    if name.rpartition(".")[2] not in GETTERS or not given.args or is_atomic(result):
        return result
    if not is_private(chooser(given, lineage)):
        return result
    is_slice = len(given.args) > 1 and isinstance(given.args[1], slice)
    return choice.apart(result, lineage, is_new=is_slice)


def label_results(name: str, given: Arguments, result: Any, lineage: Lineage) -> Label:
    """Labels of what the call gave; returns the label for its slot."""
    short = name.rpartition(".")[2]
    if short in LENGTHS:
        return _length(given, lineage)
    if short == "dataset":  # the very object, with its own labels
        chosen = of_shapes(given.args[0], lineage)
        return to_per_record(chosen) if is_private(chosen) else PUBLIC
    if name in ("python.next", "python.Iterator.__next__", "python.Any.__next__") and given.args:
        return _next(given, result, lineage)
    if short in GETTERS:
        content = labels_of(given.args[:1], lineage)[0]
        index = chooser(given, lineage)
        # the default of dict_get may be what comes
        content = join((content, *(slot.label for slot in given.slots.values())))
        return _element(result, content, index, given, lineage)
    is_copy = short in _COPIES or short in OF_TUPLES
    if is_copy or isinstance(result, list | dict | set):
        return _copy(short, given, result, lineage)
    # comparisons, membership: an answer about all of it, which can be that of two elements
    every = given.all(lineage)
    every = to_per_record(every) if every.is_data else every
    lineage.add(result, every, hidden=is_private(every))
    return every


def of_lengths(given: Arguments, lineage: Lineage) -> list[Label]:
    """What decided how many items the arguments have that are run over."""
    tensors = [v for v in given.values() if isinstance(v, torch.Tensor) and lineage.hidden(v)]
    # how long a tuple is has no other place than its slot
    tuples = [s.label for s in given.slots.values() if isinstance(s.value, tuple)]
    every = [*map(lineage.label, tensors), *filter(is_private, tuples)]
    return list(map(to_per_record, every))


def _of_hidden(target: Any, lineage: Lineage) -> list[Label]:
    """What decided the shapes below a loader or data set."""
    labels = []
    for part in reach(target):
        if isinstance(part, torch.Tensor):
            labels += [lineage.label(part)] if lineage.hidden(part) else []
        elif (entry := lineage.find(part)) is not None:
            labels.append(entry.structure)
    return labels


def _length(given: Arguments, lineage: Lineage) -> Label:
    target = getattr(given.args[0], "source", given.args[0])  # of a RemoteIterator
    content, structure = labels_of([target, *given.args[:1]], lineage)
    if isinstance(target, DataLoader | Dataset):
        private = join((content, lineage.whole(target)))
        chosen = join((structure, *_of_hidden(target, lineage), given.label_at(0)))
        if is_private(chosen):
            return to_per_record(join((chosen, private)))
        if private.is_public:
            return PUBLIC
        return Label(Kind.METADATA, private.sources, frozenset(), UNBOUNDED, False)
    if isinstance(target, torch.Tensor):
        return METADATA if not lineage.hidden(target) else to_per_record(lineage.label(target))
    entry = lineage.find(target)
    if is_by_name(given) and entry is not None and isinstance(entry.origin, Keyed):
        return PUBLIC  # its keys are private, and how many there are is told by the list
    return join((structure, given.label_at(0)))


def _next(given: Arguments, result: Any, lineage: Lineage) -> Label:
    iterator = given.args[0]
    entry = lineage.track(iterator)
    entry.version += 1
    if isinstance(entry.origin, Pass):
        is_hidden = is_private(of_shapes(iterator, lineage))
        label = None if is_hidden else next_batch(entry.origin, iterator, result, lineage)
        if label is None:
            every = lineage.whole(iterator)
            label = to_per_record(every) if is_private(every) else every
            lineage.add(result, label, hidden=is_hidden)
        return label if is_hidden or isinstance(result, (tuple, *ATOMIC)) else PUBLIC
    source = getattr(iterator, "source", iterator)
    if isinstance(source, Dataset | DataLoader):
        return _item(given, result, lineage)
    content, structure = labels_of([iterator, source], lineage)
    if isinstance(source, torch.Tensor) and not is_private(content):  # else it may be no tensor
        if isinstance(result, torch.Tensor) and lineage.hidden(source):
            lineage.hide(result)
        return PUBLIC if isinstance(result, torch.Tensor) else lineage.label(source)
    return _element(result, join((content, given.label_at(0))), structure, given, lineage)


def _item(given: Arguments, result: Any, lineage: Lineage) -> Label:
    """One item of a data set that is gone through without a loader.

    A view of a tensor has the label of its storage; all that was made for this item has none.
    """
    shapes = of_shapes(given.args[0], lineage)
    chosen = join((given.beside(lineage), shapes))
    if not is_private(chosen):
        return chosen
    label = to_per_record(join((chosen, given.all(lineage))))
    lineage.add(result, label, hidden=is_private(shapes))
    return label


def _element(
    result: Any, content: Label, index: Label, given: Arguments, lineage: Lineage
) -> Label:
    """One element, or a slice, of a container."""
    if is_private(index):
        # which element it is tells about the index, and the index about any of them
        label = to_per_record(join((index, given.all(lineage))))
        if not is_atomic(result):
            lineage.add(result, label, hidden=True)
        return label
    if is_atomic(result):
        return join((content, index))
    if isinstance(result, tuple):
        return content
    is_slice = isinstance(result, list) and isinstance(given.args[0], list)
    if is_slice and not content.is_public and lineage.find(result) is None:
        lineage.track(result).content = content
    return PUBLIC


def _copy(short: str, given: Arguments, result: Any, lineage: Lineage) -> Label:
    """A container made of the elements of others."""
    inputs = given.values()
    loose = of_loose(given)
    is_any = any(slot.is_loose and slot.is_element for slot in given.slots.values())
    is_one = len(inputs) == 1 and short in ("collect", "state_dict") and not is_any
    if is_one and isinstance(inputs[0], Poison) and inputs[0].is_tensor:
        return PUBLIC  # as of the tensor
    if is_one and isinstance(inputs[0], torch.Tensor):
        return PUBLIC  # a list of one
    if len(inputs) == 1 and isinstance(inputs[0], torch.Tensor) and short != "collect":
        every = join((lineage.label(inputs[0]), *(slot.label for slot in given.slots.values())))
        if lineage.hidden(inputs[0]) and not isinstance(result, (tuple, *ATOMIC)):
            entry = lineage.track(result)
            entry.structure = join((entry.structure, to_per_record(every)))
            entry.content = join((entry.content, loose))
        if lineage.hidden(inputs[0]):
            for part in reach(result):
                if isinstance(part, torch.Tensor):
                    lineage.hide(part)
        return every if loose is PUBLIC or isinstance(result, tuple) else PUBLIC
    content, structure = labels_of(inputs, lineage)
    slots = join(slot.label for slot in given.slots.values())
    content = join((content, slots))
    if loose is not PUBLIC:
        structure = join((structure, to_per_record(slots)))
    if short in ("keys", "items"):
        content = join((content, structure))
    is_spread = short[:1].isupper() or short in ("iter", "__iter__")
    if is_spread and given.args and is_atomic(given.args[0]) and is_private(slots):
        # of a text or range, what it is made of decides how long it is
        structure = join((structure, to_per_record(slots)))
    if short not in ("collect", "state_dict", "List", "Tuple", "Dict", "OrderedDict", "iter",
                     "__iter__", "copy", "keys", "values", "items", "__add__"):  # fmt: skip
        # a tensor among the arguments is a number here, or is looked for
        numbers = given.label_from(0, len(given.args), lineage)
        structure = to_per_record(join((structure, content, numbers)))
    elif short in ("Dict", "OrderedDict", "state_dict") and not are_dicts(inputs):
        structure = join((structure, to_per_record(content)))  # keys decide how many there are
    elif short != "collect":
        structure = join((structure, *of_lengths(given, lineage)))
    if isinstance(result, (tuple, *ATOMIC)):
        return join((content, structure))
    entry = lineage.track(result)
    if short in ("iter", "__iter__"):
        source = getattr(result, "source", None)
        if isinstance(source, DataLoader):
            if not isinstance(entry.origin, Pass):
                entry.origin = start_pass(source, lineage)
            content = PUBLIC
        if isinstance(source, DataLoader | Dataset):
            structure = join((of_shapes(source, lineage), loose))
    if not content.is_public or not structure.is_public:
        entry.content = join((entry.content, content))
        entry.structure = join((entry.structure, structure))
    return PUBLIC
