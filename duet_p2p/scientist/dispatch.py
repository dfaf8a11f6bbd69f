"""From a call on pointers to one `Op`, and from its results to pointers.

In order: the name is looked up in the surface table, the arguments become specs, the result's
shape is inferred (a shape mistake raises torch's own error here, before anything is sent), the
arguments become wire values (a small local tensor is uploaded now), the command leaves, and each
result gets a pointer of its kind. Nothing waits.
"""

from __future__ import annotations

import difflib
import types as python_types
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from operator import index
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from duet_p2p.errors import ForeignPointer, NotAllowed, PointerDeleted, PrivateValueError
from duet_p2p.limits import ARRAY_ITEMS
from duet_p2p.objects.python import plain
from duet_p2p.objects.remote import Remote
from duet_p2p.scientist import composites, habits, knowledge, local_facts, sites
from duet_p2p.scientist.arrays import without_numpy
from duet_p2p.scientist.pointer import Pointer, make, put_seq
from duet_p2p.scientist.results import results_of
from duet_p2p.scientist.tensor import TensorPointer
from duet_p2p.surface import names, shapes, table, values
from duet_p2p.surface.keywords import plain_keywords
from duet_p2p.surface.shapes import UNKNOWN, TensorSpec
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref

if TYPE_CHECKING:
    from duet_p2p.scientist.client import Client
    from duet_p2p.surface.table import Rule

__all__ = ["check", "denied", "refuse", "run", "spec_of", "torch_function", "wire_of"]

_BARE: Final = frozenset({type(None), bool, int, float, str, complex, bytes, type(Ellipsis)})
_TRAVEL: Final = (
    *(type(None), bool, int, float, complex, str, bytes, type(Ellipsis), slice),
    *(list, tuple, dict, set, frozenset, range),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)
_LAZY: Final = (python_types.GeneratorType, filter, map, chain)
_CALLABLES: Final = (
    python_types.FunctionType,
    python_types.BuiltinFunctionType,
    python_types.MethodType,
    type,
)


def denied(name: str) -> NotAllowed:
    """The error for a name that is not on the surface, with the nearest one that is."""
    place, _, short = name.rpartition(".")
    beside = difflib.get_close_matches(short, table.names_under(place), 1, 0.6)
    near = f"{place}.{beside[0]}" if beside else table.nearest(name)
    hint = f" Did you mean {near}?" if near and near != name else ""
    return NotAllowed(
        f"{name} is not on the surface that is offered.{hint} The surface is a reviewed table in "
        f"duet_p2p; only a new release adds to it."
    )


def grad_mode() -> str:
    """The caller's grad mode as the wire knows it."""
    if torch.is_inference_mode_enabled():
        return "i"
    return "g" if torch.is_grad_enabled() else "n"


def run(client: Client, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Sends one operation; gives pointers to its results.

    Raises:
        NotAllowed: no such name, or an argument that does not travel.
        ForeignPointer, PointerDeleted, TensorTooLarge: about one of the arguments.
    """
    mode = grad_mode()
    call = None if kwargs else habits.asked(name, args, mode)
    habit = None if call is None else habits.find(call)
    if call is not None and habit is not None:
        return _run_again(client, call, habit, mode)
    rule = table.find(name)
    if rule is None:
        raise denied(name)
    if not args and "tensor" in kwargs:  # torch.nn.init passes everything by keyword
        args, kwargs = (kwargs["tensor"],), {k: v for k, v in kwargs.items() if k != "tensor"}
    kwargs = plain_keywords(rule.name, kwargs)
    if kwargs.get("out") is not None:
        raise NotAllowed(f"{name} is not offered with out=: use its result, or p.copy_(result)")
    _refuse_autocast()
    _refuse_local_writes(name, rule, args, kwargs)
    inferred = _infer(rule, args, kwargs, mode)
    inputs: list[Pointer] = []
    wire_args = tuple([_wire(client, value, inputs) for value in args])
    wire_kwargs = {key: _wire(client, value, inputs) for key, value in kwargs.items()}
    # The pointers exist before the command leaves: what the owner's side tells of them finds them.
    result, made = results_of(client, rule, args, kwargs, inferred, inputs)
    outs = tuple([pointer._id for pointer in made])
    seq = client.issue(Op(rule.name, outs, wire_args, wire_kwargs, mode), inputs, made)
    for pointer in made:
        put_seq(pointer, seq)
    if result is not None and not made and isinstance(inferred, TensorSpec):
        result._spec = inferred  # changed in place
    effect = knowledge.EFFECTS.get(rule.name)
    if effect is not None:
        effect(result, args, kwargs, inferred)
    if type(inferred) in (list, tuple) and isinstance(result, Pointer):
        return tuple(result)  # one result of a function that gives several
    if call is not None:
        habits.learn(call, rule, result, inferred)
    return result


def _run_again(client: Client, call: habits.Asked, habit: habits.Habit, mode: str) -> Any:
    """`run` of a call like one before."""
    _refuse_autocast()
    _, wire, inputs = call
    for pointer in inputs:
        check(client, pointer)
    made = make(client, client.new_id(), habit.type, tags=habit.tags, spec=habit.spec)
    op = Op(habit.name, (made._id,), wire, {}, mode)
    put_seq(made, client.issue(op, inputs, (made,)))
    return made


def _refuse_autocast() -> None:
    if torch.is_autocast_enabled("cpu"):
        raise NotAllowed("autocast does not reach an owner's side: convert with .bfloat16(), .to()")


def _refuse_local_writes(
    name: str, rule: Rule, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """A tensor of this side would stay as it was: only its copy over there would be written to."""
    if not table.writes(rule):
        return
    try:
        found = table.written(rule, args, kwargs)
    except PrivateValueError:
        return  # the switch that decides it is over there, and is refused there
    if any(isinstance(value, torch.Tensor) for value in found):
        if rule.result == "self" and sites.is_result_used():
            return  # of `x += p` and `torch.zeros(9).scatter_(…)`: it takes the tensor's place
        raise NotAllowed(
            f"{name} would write to a tensor of this side, which an operation on pointers cannot. "
            f"Make it remote first: t = t.send(duet), or a factory such as duet.torch.zeros(...); "
            f"a module's buffers go over with module.send(duet)."
        )


def _infer(rule: Rule, args: Sequence[Any], kwargs: Mapping[str, Any], mode: str) -> Any:
    if rule.shape != "static":
        return UNKNOWN
    return shapes.infer(
        rule.name,
        tuple([spec_of(value) for value in args]),
        {key: spec_of(value) for key, value in kwargs.items()},
        mode,
    )


# arguments


def spec_of(value: Any) -> Any:
    """What shape inference gets in place of an argument."""
    kind = type(value)
    if kind in _BARE:
        return value
    if isinstance(value, Pointer):
        return value._spec_for_inference()
    if isinstance(value, torch.Tensor):
        return shapes.spec_of(value)
    if kind is list or kind is tuple:
        return kind(spec_of(item) for item in value)
    if isinstance(value, (list, tuple)) and kind is not torch.Size:
        return [spec_of(item) for item in value]
    if isinstance(value, dict):
        return {key: spec_of(item) for key, item in value.items()}
    if kind is slice:
        return slice(*(spec_of(part) for part in _bounds(value)))
    value = without_numpy(plain(value))
    refuse(value)
    return value


def _bounds(value: slice) -> list[Any]:
    """Of a slice; a tensor of this side is a number there (``x[i : i + 8]`` for i in `randint`)."""
    parts = (value.start, value.stop, value.step)
    return [index(part) if isinstance(part, torch.Tensor) else part for part in parts]


def refuse(value: Any) -> None:
    """Raises for what can never be an argument.

    Raises:
        NotAllowed: a callable, a module, or anything else that has no form on the wire.
    """
    if isinstance(value, _TRAVEL):
        return
    if isinstance(value, _CALLABLES):
        raise NotAllowed(
            f"{getattr(value, '__name__', value)!r} is a callable, and callables do not travel: "
            f"write what it does with operations on pointers."
        )
    if isinstance(value, nn.Module):
        raise NotAllowed(
            f"a module ({type(value).__name__}) is not an argument of an operation; call it here, "
            f"model(pointer), and its operations run on the owner's side"
        )
    raise NotAllowed(
        f"a value of type {type(value).__module__}.{type(value).__qualname__} cannot be an "
        f"argument of a remote operation"
    )


def wire_of(client: Client, value: Any) -> Any:
    """An argument as a closed value; a small local tensor is uploaded."""
    return _wire(client, value, [])


def _wire(client: Client, value: Any, inputs: list[Pointer]) -> Any:
    kind = type(value)
    if kind in _BARE:
        return value
    if isinstance(value, Pointer):
        check(client, value)
        inputs.append(value)
        return Ref(value._id)
    if isinstance(value, torch.Tensor):
        sent = client.uploads.automatic(value)
        if not isinstance(sent, Pointer):
            return sent
        inputs.append(sent)  # it must live until the command has left
        return Ref(sent._id)
    value = without_numpy(plain(value))
    kind = type(value)
    if kind is list or kind is tuple:
        return kind([_wire(client, item, inputs) for item in value])
    if kind is dict or kind is OrderedDict:
        return kind(
            (_wire(client, key, inputs), _wire(client, item, inputs)) for key, item in value.items()
        )
    if kind is slice:
        return slice(*(_wire(client, part, inputs) for part in _bounds(value)))
    if kind is torch.Size and min(value, default=0) < 0:  # `x.shape[:1] + (-1,)` is one to torch
        return tuple(value)
    if isinstance(value, list | tuple) and kind is not torch.Size:  # a named tuple, a list's kin
        return [_wire(client, item, inputs) for item in value]
    if isinstance(value, _LAZY):  # `filter(lambda p: p.requires_grad, model.parameters())`
        return [_wire(client, item, inputs) for item in islice(value, ARRAY_ITEMS + 1)]
    refuse(value)
    return values.to_wire(value, None, 0)


def check(client: Client, pointer: Pointer) -> None:
    """Raises if this pointer cannot be used in this session (any more)."""
    if pointer._client is not client:
        raise ForeignPointer(
            f"{pointer!r} is of the session with {pointer._client.label}, the operation belongs to "
            f"the session with {client.label}. Pointers of two sessions cannot meet: get one of "
            f"them first."
        )
    if pointer._gone:
        raise PointerDeleted(pointer._gone)
    client.check_id(pointer._id)


# __torch_function__


def torch_function(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What a torch function does that got a pointer among its arguments."""
    fact = local_facts.attribute_of(func)
    if fact is not None and args and isinstance(args[0], TensorPointer):
        answer = getattr(args[0], fact)
        return answer(*args[1:], **kwargs) if callable(answer) else answer
    name = names.name_of(func)
    if func is torch._is_all_true:
        raise NotAllowed(
            "a distribution of this side's torch.distributions looks at its values when it is made "
            "and used: take the same one from duet.torch.distributions"
        )
    if name is None:
        inner = composites.private(func)
        if inner is not None:
            return inner(*args, **kwargs)
        shown = getattr(func, "__qualname__", None) or getattr(func, "__name__", repr(func))
        module = getattr(func, "__module__", None)
        raise denied(f"{module}.{shown}" if module else str(shown))
    composite = composites.find(name, kwargs)
    if composite is not None:
        return composite(*args, **kwargs)
    pointer = first_pointer(args, kwargs)
    assert pointer is not None, "torch called __torch_function__ without a pointer"
    return run(pointer._client, name, composites.unwrapped(name, args), kwargs)


def first_pointer(*places: Any) -> Pointer | None:
    """Any pointer among nested arguments, to know the session."""
    for value in places:
        if isinstance(value, Remote):
            assert isinstance(value, Pointer)
            return value
        if isinstance(value, Mapping):
            found = first_pointer(*value.values())
        elif isinstance(value, list | tuple):
            found = first_pointer(*value)
        elif isinstance(value, slice):
            found = first_pointer(value.start, value.stop, value.step)
        else:
            continue
        if found is not None:
            return found
    return None
