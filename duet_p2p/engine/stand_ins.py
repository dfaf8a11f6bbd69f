"""What is put in the place of results that could not be computed: zeros of the same form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import torch

from duet_p2p.engine.aliases import is_always_view
from duet_p2p.engine.arguments import Arguments
from duet_p2p.engine.containers import GETTERS
from duet_p2p.engine.joined import joined
from duet_p2p.engine.lineage import is_atomic, reach
from duet_p2p.engine.missing_groups import fill_group
from duet_p2p.engine.missing_numbers import NUMBERS, number_for
from duet_p2p.engine.running import Running
from duet_p2p.engine.store import Memory, MissingGradient, Poison
from duet_p2p.surface.shapes import TensorSpec
from duet_p2p.surface.table import Rule, result_of

__all__ = ["has_numbers", "standing_for", "values_for"]

_NUMBERS: Final = NUMBERS | {"item", "number", "truth"}
_NO_OBJECTS: Final = frozenset({"python.Tuple", "python.Slice", "torch.nn.Parameter"})
"""Constructors of what carries its label in its slot, or as a tensor."""
_OF_RECORDS: Final = ("torch.utils.data.", "torchvision.datasets.")

_PASSES: Final = ("iter", "__iter__")
_NESTED: Final = "histogramdd"
"""Its second result is a list of tensors."""


def values_for(rule: Rule, given: Arguments, spec: Any, count: int, like: Any) -> list[Any]:
    """A value for each result; none, or another number of them, if nothing can stand in.

    Args:
        rule: of the command.
        given: its arguments.
        spec: what its results would have been, as far as that is public.
        count: how many results it names.
        like: a result that has the right graph, if there is one.
    """
    if rule.result == "self" and given.args:
        return [given.args[0]]  # it is spoilt, and the very object
    if rule.short == "batch_size" and getattr(given.args[0], "has_batches", False):
        return [None]  # which is what stands in its place
    if spec is None:
        number = number_for(rule, given)
        is_split = isinstance(number, tuple) and count > 1
        return [] if number is None else list(number) if is_split else [number]
    made = _made(spec, given) if like is None else like
    return [made] if count == 1 else list(made) if isinstance(made, list | tuple) else []


def _made(spec: Any, given: Arguments) -> Any:
    if isinstance(spec, TensorSpec):
        made = torch.zeros(spec.shape, dtype=spec.dtype, device=spec.device)
        if not spec.requires_grad:
            return made
        sources = [t for t in given.tensors() if t.requires_grad]
        with torch.enable_grad():
            if not sources:
                return made.requires_grad_()
            return joined(made, sources)
    if isinstance(spec, list):
        return [_made(part, given) for part in spec]
    if isinstance(spec, tuple) and not isinstance(spec, torch.Size):
        return tuple(_made(part, given) for part in spec)
    return spec


def _is_one_tensor(rule: Rule, given: Arguments, outs: tuple[int, ...], id: int) -> bool:
    """Whether one of the results of a call is a tensor, and no list of some."""
    kind = result_of(rule, given.args, given.kwargs, _is_tensor)
    if kind in ("number", "truth"):  # with a tensor it is one, whatever it is
        return any(map(_is_tensor, given.args))
    if rule.short == _NESTED and id != outs[0]:
        return False
    if kind == "self" and rule.name.startswith("python."):  # a list, a set or a pass
        return any(map(_is_tensor, given.args[:1]))
    return kind in ("tensor", "self", "torch.nn.Parameter") or (len(outs) > 1 and "tensor" in kind)


def _is_number(rule: Rule, given: Arguments) -> bool:
    """Whether what a call gives has no parts, where it is no tensor."""
    return result_of(rule, given.args, given.kwargs, _is_tensor) in _NUMBERS


def records_of(named: Running | None) -> str:
    """See `Poison.records`: of what a call that failed would have given."""
    if named is None:
        return ""
    rule, given = named.rule, named.given
    if rule.form == "constructor" and rule.name.startswith("torch.distributions."):
        return "copies"
    first = given.args[0] if given.args else None
    of_first = first.records if isinstance(first, Poison) else ""
    if rule.form == "constructor" and rule.name.startswith(_OF_RECORDS):
        return "one"
    if rule.short == "random_split" or (rule.short in ("List", "Tuple") and of_first == "many"):
        return "many"
    is_part = rule.short in ("iter", "__iter__", "dataset") and of_first == "one"
    is_part = is_part or (rule.short in GETTERS and of_first == "many")
    return "one" if is_part else ""


def is_loader(named: Running | None) -> bool:
    """See `Poison.is_loader`."""
    if named is None or named.rule.short == "DataLoader":
        return named is not None
    first = named.given.args[0] if named.given.args else None
    return isinstance(first, Poison) and first.is_loader and named.rule.short in _PASSES


def _is_tuple_of_tensors(rule: Rule, given: Arguments, count: int) -> bool:
    """Whether the one result of a call is a tuple of so many tensors as its name says."""
    return count == 1 and result_of(rule, given.args, given.kwargs, _is_tensor)[:8] == "tensors:"


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor) or (isinstance(value, Poison) and value.is_tensor)


def standing_for(
    poison: Poison, named: Running | None, outs: tuple[int, ...], id: int
) -> Poison:  # fmt: skip
    """The poison of a result that nothing else can stand in for.

    Args:
        poison: the failure.
        named: the command that it is a result of.
        outs: the ids of all its results.
        id: of this one.
    """
    rule = None if named is None else named.rule
    first = named.given.args[0] if named is not None and named.given.args else None
    is_same = rule is not None and rule.result == "self"
    is_same_memory = is_same or (rule is not None and is_always_view(rule.name))
    made = replace(
        poison, is_list=False, is_tensor=False, is_number=False, is_tuple=False,
        has_batches=False, is_group=False, may_alias=False,
        gradient=first.gradient if is_same and isinstance(first, Poison) else MissingGradient(),
        is_object=rule is not None and rule.form == "constructor" and rule.name not in _NO_OBJECTS,
        is_loader=is_loader(named), records=records_of(named),
        memory=first.memory if is_same_memory and isinstance(first, Poison) else Memory(),
    )  # fmt: skip
    if named is not None and rule is not None and not made.is_object:
        made.is_tensor = _is_one_tensor(rule, named.given, outs, id)
        made.is_number = not made.is_tensor and _is_number(rule, named.given)
        made.is_tuple = _is_tuple_of_tensors(rule, named.given, len(outs))
        if made.is_tensor or _holds_none(rule, first):
            made.parts = ()  # those of an object that it was to come from
        if rule.short == "state_dict":  # in which no tensor has a graph
            made.leaves, made.made_of, made.kept = {}, (), ()
        fill_group(made, rule, first)
    return made


def _holds_none(rule: Rule, first: Any) -> bool:
    """Whether this is to give nothing of what the missing object that it is of was made of.

    The batch of a loader has new tensors and no views, and a state has no parameters.
    """
    if rule.name.startswith("torch.optim.") and rule.short == "state_dict":
        return True
    return rule.short in ("next", "__next__") and isinstance(first, Poison) and first.is_loader


def has_numbers(value: Any) -> bool:
    """Whether this is a tuple whose slot has its label, as that of a result would have."""
    return isinstance(value, tuple) and any(
        not part or any(map(is_atomic, part)) for part in reach(value) if isinstance(part, tuple)
    )
