"""Settings of a call, which say what it writes, keeps and draws. CLOSED SET: never private.

``relu(own, inplace=secret)`` would leave one's own tensor as it was, or not, and so tell the secret
by what was *not* touched; ``backward(retain_graph=secret)`` by whether the next one fails. No label
on a result can make up for that. That a number is private is a public fact, so it is refused.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any, Final

import torch
from torch.distributions import Distribution
from torch.utils.data import DataLoader, Dataset

from duet_p2p.engine import aliases
from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.axes import BY_VALUES, ELEMENTWISE, base_name
from duet_p2p.engine.batches import Pass, of_items
from duet_p2p.engine.call import Call
from duet_p2p.engine.choice import choose, mark_items, mark_leaves
from duet_p2p.engine.gradients import leaves_met
from duet_p2p.engine.labels import PUBLIC, Label, join, to_per_record
from duet_p2p.engine.lineage import Lineage, Owned, is_atomic, reach
from duet_p2p.engine.missing_graphs import is_missing
from duet_p2p.engine.selection import of_loose
from duet_p2p.engine.store import Poison, Slot, Store
from duet_p2p.engine.ties import add, entry_for, tie
from duet_p2p.engine.unmade import GRAD, is_differentiable
from duet_p2p.errors import NotAllowed
from duet_p2p.surface.table import TABLE, Rule, switches
from duet_p2p.wire.values import Ref

__all__ = [
    "check_keys",
    "check_settings",
    "gives_views",
    "has_public_settings",
    "refused_run",
    "takes_none_private",
]

_GIVEN: Final[dict[str, tuple[tuple[str, int], ...]]] = {
    "torch.Tensor.backward": (("retain_graph", 2), ("create_graph", 3)),
    "torch.optim.Optimizer.zero_grad": (("set_to_none", 1),),
    "torch.nn.functional.scaled_dot_product_attention": (("dropout_p", 4),),
    "torch.nn.functional.multi_head_attention_forward": (("need_weights", 15),),
    "torch.autograd.grad": (("retain_graph", 3), ("create_graph", 4), ("allow_unused", 6)),
    "torch.nn.Parameter": (("requires_grad", 1),),
    "torch.combinations": (("r", 1),),  # of none there is no graph
}
_TENSORS: Final = frozenset({torch.Tensor, torch.nn.Parameter})
_NUMBERS: Final = frozenset({bool, int, float, str, type(None)})
_VIEWS_NAMES: Final = """
getitem narrow select expand broadcast_to view reshape flatten unflatten ravel squeeze unsqueeze
transpose permute movedim moveaxis diagonal unfold unbind chunk split split_with_sizes tensor_split
hsplit vsplit dsplit sum_to_size diff contiguous to type float double half bfloat16 int long short
char byte bool einsum meshgrid histogramdd type_as view_as reshape_as expand_as broadcast_tensors
slice_inverse
"""
_VIEWS: Final = frozenset(_VIEWS_NAMES.split())
"""Bases of names that give a tensor itself, a view of it, a copy or nothing, as numbers say.

A test looks for what is missing (tests/surface/test_given_back.py).
"""
_OF_OPERANDS: Final = frozenset({
    "einsum", "meshgrid", "histogramdd", "type_as", "view_as", "reshape_as", "expand_as",
    "broadcast_tensors",
})  # fmt: skip
"""Those of which no tensor stands for a number; its shape or type may be private."""
_ITEM: Final = "torch.utils.data.Dataset.__getitem__"
_IMAGES: Final = "torchvision.transforms."
_VIEWS_ELSEWHERE: Final = frozenset({
    "torch.linalg.diagonal", _ITEM,
    *(f"{_IMAGES}{short}.__call__" for short in ("Transform", "FiveCrop", "TenCrop")),
    *(f"{_IMAGES}functional.{short}" for short in (
        "adjust_hue", "adjust_saturation", "adjust_sharpness", "center_crop", "convert_image_dtype",
        "crop", "erase", "five_crop", "pad", "resize", "resized_crop", "ten_crop",
    )),
})  # fmt: skip
_DATA: Final = "torch.Tensor.data="
"""It gives nothing, and makes the one tensor a name of the other's memory."""
_GROUPS: Final = "torch.optim.Optimizer.add_param_group"
_KEYWORDS: Final = frozenset({"training", "train", "use_input_stats", "inplace", "dropout_p"})
_ALL: Final = frozenset({
    "torch.nn.functional.rrelu_",
    *(f"torch.{short}" for short in (
        "dropout", "dropout_", "alpha_dropout", "alpha_dropout_", "feature_dropout",
        "feature_dropout_", "feature_alpha_dropout", "feature_alpha_dropout_", "rrelu",
        "native_batch_norm", "lstm", "gru", "rnn_tanh", "rnn_relu",
    )),
})  # fmt: skip
"""Names of C functions, of whose arguments each number is one."""


_HOLD: Final = frozenset({
    "collect", "state_dict", "append", "insert", "__setitem__", "setdefault", "iter", "__iter__",
    "next", "__next__", "len", "__len__", "__getitem__",
})  # fmt: skip
"""Last parts of names that do not run over what they are given to its end."""


@cache
def _settings(name: str) -> tuple[tuple[str, int], ...]:
    rule = TABLE[name]
    found = dict(_GIVEN.get(rule.name, ()))
    found |= dict(switches(rule))
    place, _, short = rule.name.rpartition(".")
    function = getattr(torch.nn.functional, short, None)
    if place == "torch.nn.functional" and inspect.isfunction(function):
        names = list(inspect.signature(function).parameters)
        found |= {name: names.index(name) for name in _KEYWORDS.intersection(names)}
    return tuple(found.items())


@cache
def gives_views(name: str) -> bool:
    """Whether calls of a name give a tensor itself, a view of it or a copy, as numbers say."""
    return base_name(name) in _VIEWS or name in _VIEWS_ELSEWHERE


def takes_none_private(name: str) -> bool:
    """Whether every number that calls of a name are given must be public."""
    return name in _ALL


@cache
def _is_free(name: str) -> bool:
    """Whether calls of a name have no settings at all, nor views of what they are given."""
    base = base_name(name)
    if name.startswith("python.") or name == _GROUPS or _settings(name):
        return False
    if name in _ALL or gives_views(name):
        return False
    return not base or base in ELEMENTWISE


def check_settings(call: Call, given: Arguments, lineage: Lineage) -> None:
    """Looks at the settings of a call that is about to run, or to be left out.

    Raises:
        NotAllowed: one of them is private, a container is to be filled by running a loader, or a
            graph is written where it may be another tensor's, too.
    """
    rule = call.rule
    aliases.look(call, given, lineage)
    if has_public_settings(rule.name, given):
        return
    error, is_hidden = refused_run(rule, given, lineage)
    if error is not None and not is_hidden:
        raise error
    _refuse_private(call, rule, given, lineage)
    if rule.name == GRAD and is_differentiable(given):
        _mark_met(given, lineage)
    base = base_name(rule.name)
    if given.slots and (gives_views(rule.name) or (base and base not in ELEMENTWISE)):
        _mark_aliases(rule, given, lineage)


def has_public_settings(name: str, given: Arguments) -> bool:
    """Whether that is seen at once: there are none, or every object is a tensor and none is one."""
    if _is_free(name):
        return True
    if name.startswith("python.") or name == _GROUPS:
        return False
    for slot in given.slots.values():
        if slot.label is not PUBLIC or type(slot.value) not in _TENSORS:
            return False
    if len(given.slots) > 1 and gives_views(name) and _numbers(name, given):
        return False
    args, kwargs = given.args, given.kwargs
    for key, position in _settings(name):
        value = args[position] if position < len(args) else kwargs.get(key)
        if type(value) not in _NUMBERS:
            return False
    return True


def check_keys(call: Call, store: Store, lineage: Lineage) -> None:
    """Looks at the keys of dicts, and what is in sets and slices, before a call's are made.

    One entry is made of equal ones, and what else was in it would leave no trace.

    Raises:
        NotAllowed: a key is private.
        TypeError: a slice stands in a slice, for all to see.
    """
    for number in call.bounds:
        slot = store.get(number)
        if type(slot.value) is slice and not (slot.is_loose or is_private(slot.label)):
            raise TypeError("a slice in a slice")
    for number in call.keys:
        slot = store.get(number)
        if is_private(join((slot.label, lineage.whole(slot.value)))):
            raise NotAllowed(
                f"{call.rule.name} takes no dict with a private key, and no set of private "
                "values. Make it with python.Dict, of pairs, or with python.Set."
            )


def refused_run(rule: Rule, given: Arguments, lineage: Lineage) -> tuple[NotAllowed | None, bool]:
    """Why a call cannot run over what it is given, and whether a private value may have chosen it.

    How long a loader runs and what it draws is followed batch by batch only.
    """
    if not rule.name.startswith("python.") or rule.short in _HOLD:
        return None, False
    found = []
    loose = {id(slot.value) for slot in given.slots.values() if slot.is_loose}
    for value in given.values():
        entry = None if is_atomic(value) else lineage.find(value)
        is_pass = entry is not None and isinstance(entry.origin, Pass)
        if isinstance(value, Poison):
            is_pass = value.records == "one"  # it would have been one
        if is_pass or isinstance(value, DataLoader | Dataset):
            is_chosen = entry is not None and is_private(entry.structure)
            is_missing = isinstance(value, Poison) and not (value.is_object or value.is_public)
            found.append(is_chosen or is_missing or id(value) in loose)
    if not found:
        return None, False
    error = f"{rule.name} takes no loader or data set. Go through it with iter()."
    return NotAllowed(error), all(found)


def _mark_aliases(rule: Rule, given: Arguments, lineage: Lineage) -> None:
    """``own.to(secret_type)`` is its own tensor or a copy, and which of the two is the secret.

    So the tensor is marked either way, as the one that a result is a view of, and hidden where that
    can be: a graph that is written into a view is one of the tensor. What draws masks gives copies.
    So is what stands for a tensor that is missing, since another data set has that.
    """
    name, base = rule.name, base_name(rule.name)
    if rule.record == "metadata" or rule.form in ("factory", "property") or base in BY_VALUES:
        return
    if rule.result == "none" and name != _DATA:
        return  # there is no view
    is_view = gives_views(name) and (base != "einsum" or len(given.tensors()) == 1)
    numbers = _numbers(name, given) if is_view else []
    if name == _ITEM:  # which one, and not what lies in the data set
        mark_items(given, of_items(given, lineage), lineage)
        beside = join((given.label_from(1, 2, lineage), given.structure(lineage)))
    else:
        beside = given.beside(lineage)
    is_applied = name.startswith(_IMAGES) and rule.short == "__call__"
    drawn = lineage.generator if is_applied else PUBLIC
    chooser = join((beside, drawn, *map(lineage.label, numbers)))
    if not is_private(chooser):
        return
    if is_view:
        aliases.note_chosen(given, lineage, but=numbers)
    is_operation = base and name not in _VIEWS_ELSEWHERE
    public = [number for number in numbers if not lineage.hidden(number)]
    for part in _viewed(name, given, is_operation=bool(is_operation)):
        entry = entry_for(part, lineage)
        is_apart = isinstance(entry, Owned) and entry.is_apart  # in its place one may be missing
        if (entry.is_shared and not is_apart) or any(part is number for number in public):
            continue
        add(entry, to_per_record(chooser))
        if isinstance(entry, Owned):
            entry.stays, entry.hidden = True, entry.hidden or is_view
            choose(part, lineage)
        if is_view:
            tie([entry], lineage)


def _mark_met(given: Arguments, lineage: Lineage) -> None:
    """Private values chose what gradients are asked of, so whether those are there, with a graph.

    Whoever takes one out of their list would mark the leaves of its graph, or of none.
    """
    chosen = of_loose(given)
    if not is_private(chosen):
        return
    missing = [part for part in given.reached() if isinstance(part, Poison)]
    behind = [leaf for part in missing for leaf in part.leaves.values()]
    tie(mark_leaves([*leaves_met(given), *behind], None, chosen, lineage), lineage)


def _viewed(name: str, given: Arguments, *, is_operation: bool) -> list[Any]:
    """Tensors, and what stands for some, of which a call may give views.

    Of an operation that is no index, and nothing that a distribution holds, or would have.
    """
    named = given.args[:1] if name == "torch.Tensor.__getitem__" else given.values()
    values = [value for value in named if not is_atomic(value)]
    if is_operation:
        values = [value for value in values if not _holds_copies(value)]
    found = {id(part): part for value in values for part in reach(value)}
    return [
        part for part in found.values()
        if isinstance(part, torch.Tensor) or (is_missing(part) and not part.is_number)
    ]  # fmt: skip


def _holds_copies(value: Any) -> bool:
    is_missing = isinstance(value, Poison) and value.records == "copies"
    return is_missing or isinstance(value, Distribution)


def _numbers(name: str, given: Arguments) -> list[torch.Tensor]:
    """Tensors that stand where a call that gives views takes a number."""
    if base_name(name) in _OF_OPERANDS:
        return []
    first = given.args[0] if given.args else given.kwargs.get("input")
    is_any = name.endswith("tensor_split")
    return [
        slot.value for slot in given.slots.values()
        if isinstance(slot.value, torch.Tensor) and slot.value is not first
        and (is_any or not slot.value.ndim)
    ]  # fmt: skip


def _refuse_private(call: Call, rule: Rule, given: Arguments, lineage: Lineage) -> None:
    if rule.name == _GROUPS:
        if any(map(lineage.hidden, given.tensors())) or is_private(_group(given, lineage)):
            raise _refusal(rule, "parameters")
        return
    if not given.slots:
        return
    every = _settings(rule.name)
    if rule.name in _ALL:
        every += tuple(
            ("", at) for at, value in enumerate(given.args)
            if _is_number(rule.name, at, value, given.at[at] if at < len(given.at) else None)
        )  # fmt: skip
        every += tuple(
            (key, len(given.args)) for key, value in given.kwargs.items()
            if _is_number(rule.name, key, value, _slot_of(call.op.kwargs.get(key), given))
        )  # fmt: skip
    for name, position in every:
        if position < len(given.args):
            value, label = given.args[position], given.label_at(position)
        else:
            value, label = given.kwargs.get(name), _of_keyword(call.op.kwargs.get(name), given)
        if not is_atomic(value):  # a tensor that is taken for a number, or what stands for one
            label = join((label, lineage.whole(value)))
        if is_private(label):
            raise _refusal(rule, name)


def _is_number(name: str, at: int | str, value: Any, slot: Slot | None) -> bool:
    """Whether an argument is one that must be public: a number, or where one belongs.

    Of what need not be what it is only the place tells.
    """
    if slot is not None and slot.is_loose:
        return at in _number_places(name)
    return not value.is_tensor if isinstance(value, Poison) else is_atomic(value)


@cache
def _number_places(name: str) -> frozenset[int | str]:
    """Where a C function takes numbers in any of its forms: positions and keywords."""
    schemas = torch._C._jit_get_schemas_for_operator(f"aten::{name.rpartition('.')[2]}")
    found = [
        (at, argument.name) for schema in schemas for at, argument in enumerate(schema.arguments)
        if "Tensor" not in str(argument.type)
    ]  # fmt: skip
    return frozenset(place for pair in found for place in pair)


def _group(given: Arguments, lineage: Lineage) -> Label:
    """Of what says which parameters an optimizer gets: neither what it holds nor their values."""
    labels = [slot.label for slot in given.slots.values()]
    for value in (*given.args[1:], *given.kwargs.values()):
        for part in reach(value):
            if not isinstance(part, torch.Tensor) and (entry := lineage.find(part)):
                labels += (entry.content, entry.structure)
    return join(labels)


def _slot_of(wire: Any, given: Arguments) -> Slot | None:
    return given.slots[wire.id] if isinstance(wire, Ref) else None


def _of_keyword(wire: Any, given: Arguments) -> Label:
    slot = _slot_of(wire, given)
    return PUBLIC if slot is None else slot.label


def _refusal(rule: Rule, name: str) -> NotAllowed:
    return NotAllowed(
        f"{rule.name} takes no private value as {name or 'a setting'}, which decides what it "
        "writes, keeps or draws. Choose between results with torch.where."
    )
