"""The pointers that an operation gives: how many, of which kinds, and what is known of them."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import torch

from duet_p2p.objects.python import plain
from duet_p2p.scientist import knowledge
from duet_p2p.scientist.arrays import without_numpy
from duet_p2p.scientist.pointer import Pointer, make
from duet_p2p.scientist.tensor import TensorPointer
from duet_p2p.surface import table, tags, types
from duet_p2p.surface.shapes import TensorSpec

if TYPE_CHECKING:
    from duet_p2p.scientist.client import Client
    from duet_p2p.surface.table import Rule

__all__ = ["results_of"]


def results_of(
    client: Client,
    rule: Rule,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    inferred: Any,
    inputs: Sequence[Pointer],
) -> tuple[Any, list[Pointer]]:
    """What the call gives to its caller, and the new pointers in it, in the order of their ids.

    Args:
        client: of the session.
        rule: of the name.
        args: of the call.
        kwargs: of the call.
        inferred: what shape inference said.
        inputs: the pointers among the arguments, at any depth.
    """
    kind = table.result_of(rule, args, kwargs, _stands_for_tensor)
    if kind == "tensor" and type(inferred) is TensorSpec:  # nearly always
        tags_of = dict.fromkeys([pointer._tags for pointer in inputs])
        noted = tags.result_tags(rule.name, tuple(tags_of))
        one = make(client, client.new_id(), "torch.Tensor", tags=noted, spec=inferred)
        return one, [one]
    if kind == "none":
        return None, []
    if kind == "self":
        if isinstance(args[0], Pointer):
            return args[0], []
        kind = "tensor"  # in place on a local tensor: what comes back is remote
    if kind in ("tensor", "tensors"):  # of one tensor or of several, as it was called
        if isinstance(inferred, TensorSpec):
            kind = "tensor"
        elif _is_several(inferred):
            kind = "tensors"
    tags_of = dict.fromkeys([pointer._tags for pointer in inputs])
    noted = tags.result_tags(rule.name, tuple(tags_of))
    if kind == "tensors" and _is_several(inferred):
        if len(inferred) == 1:  # one id would stand for the whole
            whole = _part(client, inferred, noted)
            return whole, [whole]
        made = [_part(client, spec, noted) for spec in inferred]
        return tuple(made), made
    if kind.startswith("tensors:"):
        fields = tuple(kind.removeprefix("tensors:").split(","))
        is_known = _is_several(inferred)
        specs = inferred if is_known else [_HIDDEN] * len(fields)
        made = [_part(client, spec, noted) for spec in specs]
        given = [None if spec is None else part for spec, part in zip(specs, made, strict=True)]
        return _named(rule.short, fields)(*given), made
    one = _one(client, rule, kind, args, inferred, noted)
    return one, [one]


def _one(
    client: Client,
    rule: Rule,
    kind: str,
    args: Sequence[Any],
    inferred: Any,
    noted: tuple[str, ...],
) -> Any:
    if kind == "tensor":
        return _tensor(client, inferred, noted)
    if kind == "tensors":  # nobody here knows how many
        kind = "python.Tuple"
    elif kind in ("number", "truth"):
        kind = types.number_type(rule.short, tuple(args), _type_of_operand)
    elif kind == "item":
        kind = knowledge.item_type(args)
    elif kind == "element":
        known = knowledge.element_of(args)
        return make(
            client,
            client.new_id(),
            known.type,
            tags=noted,
            spec=known.spec,
            items=known.items,
            length=known.length,
        )
    items, length = knowledge.made(rule.name, args)
    spec = inferred if isinstance(inferred, TensorSpec) else None
    return make(client, client.new_id(), kind, tags=noted, spec=spec, items=items, length=length)


_HIDDEN: Final = object()


def _part(client: Client, inferred: Any, noted: tuple[str, ...]) -> Any:
    """One of several results: a tensor, a sequence of tensors, or nothing."""
    if inferred is None:
        return make(client, client.new_id(), "python.NoneType", tags=noted)
    if _is_several(inferred):
        kind = "python.List" if isinstance(inferred, list) else "python.Tuple"
        items = [knowledge.Known("torch.Tensor", spec) for spec in inferred]
        return make(client, client.new_id(), kind, tags=noted, items=items, length=len(items))
    return _tensor(client, inferred, noted)


def _tensor(client: Client, inferred: Any, noted: tuple[str, ...]) -> Any:
    spec = inferred if isinstance(inferred, TensorSpec) else None
    return make(client, client.new_id(), "torch.Tensor", tags=noted, spec=spec)


def _is_several(inferred: Any) -> bool:
    return isinstance(inferred, list | tuple) and not isinstance(inferred, TensorSpec)


def _stands_for_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor | TensorPointer)


def _type_of_operand(value: Any) -> str:
    if isinstance(value, Pointer):
        return value._type
    return types.type_name_of(without_numpy(plain(value)))


@lru_cache(maxsize=256)
def _named(short: str, fields: tuple[str, ...]) -> Any:
    return namedtuple(short.strip("_") or "result", fields)
