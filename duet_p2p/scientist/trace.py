"""From a recording to a plan: local numbers in place of ids, and the form of what it gives.

The form is a tree of the function's own result in which each pointer is replaced by where it comes
from: an output of the plan, an argument, or the very object from outside.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import nn

from duet_p2p.errors import StepError
from duet_p2p.scientist import sites
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.scientist.recording import Recording, frozen_items
from duet_p2p.surface.plan import digest_of
from duet_p2p.surface.shapes import TensorSpec
from duet_p2p.wire.messages import DefinePlan, PlanStep
from duet_p2p.wire.values import Ref

__all__ = ["Given", "Made", "Trace", "fill", "same_form", "trace_of"]


@dataclass(frozen=True, slots=True)
class Made:
    """In a form: an output of the plan, and what is known of it."""

    output: int
    type: str
    tags: tuple[str, ...]
    spec: TensorSpec | None
    items: Any
    length: int | None


@dataclass(frozen=True, slots=True)
class Given:
    """In a form: an argument."""

    position: int


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One recording, as a plan that has no id yet."""

    plan: DefinePlan
    digest: str
    form: Any
    captured: tuple[Pointer, ...]
    specs: tuple[tuple[Any, Any], ...]
    """Of each captured object: its spec before and after."""
    forgotten: tuple[Pointer, ...]
    """Containers from outside whose contents only the owner's side knows after a run."""
    inputs: tuple[tuple[Any, Any, bool], ...]
    """Of each argument: its spec before and after, and whether its contents are forgotten."""
    modules: tuple[tuple[nn.Module, bool], ...]
    sites: tuple[sites.Site | None, ...]

    def holds(self) -> bool:
        """Whether everything that it depends on besides its arguments is as it was."""
        return all(module.training == was for module, was in self.modules) and all(
            pointer._spec == before
            for pointer, (before, _) in zip(self.captured, self.specs, strict=True)
        )

    def apply(self, given: Sequence[Any]) -> None:
        """What a run changes in the knowledge of its arguments and of objects from outside."""
        for pointer, (before, after, is_forgotten) in zip(given, self.inputs, strict=True):
            if before is not after:
                pointer._spec = after
            if is_forgotten:
                pointer._items = pointer._length = None
        for pointer, (before, after) in zip(self.captured, self.specs, strict=True):
            if before is not after:
                pointer._spec = after
        for pointer in self.forgotten:
            if pointer._spec is None:
                pointer._items = pointer._length = None

    def difference(self, other: Trace) -> str:
        """Where another recording of the same call differs, in words; empty if it does not."""
        mine, theirs = self.plan.steps, other.plan.steps
        for number, (one, two) in enumerate(zip(mine, theirs, strict=False)):
            if one != two and _step_digest(one) != _step_digest(two):
                return f"{two.name} differs at {sites.shown(other.sites[number])}"
        if len(mine) != len(theirs):
            longer = self if len(mine) > len(theirs) else other
            number = min(len(mine), len(theirs))
            name, site = longer.plan.steps[number].name, longer.sites[number]
            return f"{name} at {sites.shown(site)} runs only one of the two times"
        if self.plan.captures != other.plan.captures:
            return "it uses other objects from outside"
        if self.digest != other.digest or not same_form(self.form, other.form):
            return "it returns something else"
        return ""


def _step_digest(step: PlanStep) -> str:
    return digest_of(DefinePlan(1, "", 0, (), (step,), (), True))


def trace_of(recording: Recording, name: str, result: Any) -> Trace:
    """The plan of a recording that is over.

    Args:
        recording: closed.
        name: of the function.
        result: what the function gave, with its own pointers.
    """
    numbers: dict[int, int] = {}
    for pointer in (*recording.placeholders, *recording.captured.values()):
        numbers[pointer._id] = len(numbers) + 1
    steps = []
    for op in recording.ops:
        args = renumbered(op.args, numbers)
        kwargs = {key: renumbered(value, numbers) for key, value in op.kwargs.items()}
        for out in op.outs:
            numbers[out] = len(numbers) + 1
        outs = tuple([numbers[out] for out in op.outs])
        steps.append(PlanStep(op.name, outs, args, kwargs, op.mode))
    outputs: dict[int, int] = {}
    form = _form(result, recording, numbers, outputs)
    captured = tuple(recording.captured.values())
    touched = _Identities(recording.touched)
    ids = tuple(recording.captured)
    plan = DefinePlan(1, name, len(recording.placeholders), ids, tuple(steps), tuple(outputs), True)
    return Trace(
        plan,
        digest_of(plan),
        form,
        captured,
        tuple([(recording.before[ident], p._spec) for ident, p in recording.captured.items()]),
        tuple([p for p in recording.touched if p._id in recording.captured]),
        tuple(
            [
                (recording.before[p._id], p._spec, p._spec is None and p in touched)
                for p in recording.placeholders
            ]
        ),
        tuple({id(module): (module, was) for module, was in recording.modules}.values()),
        tuple(recording.sites),
    )


class _Identities:
    """Pointers by identity: their `==` is an operation."""

    def __init__(self, pointers: Iterable[Pointer]) -> None:
        self._ids = {id(pointer) for pointer in pointers}

    def __contains__(self, pointer: object) -> bool:
        return id(pointer) in self._ids


def renumbered(value: Any, numbers: Mapping[int, int]) -> Any:
    """A closed value with other numbers in its references."""
    kind = type(value)
    if kind is Ref:
        return Ref(numbers[value.id])
    if kind is list or kind is tuple or kind is set:
        return kind([renumbered(item, numbers) for item in value])
    if kind is dict or kind is OrderedDict:
        return kind(
            (renumbered(key, numbers), renumbered(item, numbers)) for key, item in value.items()
        )
    if kind is slice:
        parts = (value.start, value.stop, value.step)
        return slice(*(renumbered(part, numbers) for part in parts))
    return value


def _form(
    value: Any, recording: Recording, numbers: Mapping[int, int], outputs: dict[int, int]
) -> Any:
    if isinstance(value, Pointer):
        for position, placeholder in enumerate(recording.placeholders):
            if placeholder is value:
                return Given(position)
        if not recording.holds(value):
            return value
        local = numbers[value._id]
        output = outputs.setdefault(local, len(outputs))
        return Made(
            output, value._type, value._tags, value._spec, frozen_items(value._items), value._length
        )
    return _mapped(value, lambda item: _form(item, recording, numbers, outputs))


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same list, tuple or dict of changed parts; anything else is returned itself."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(change, value))
    if type(value) is list or type(value) is tuple:
        return type(value)(map(change, value))
    if type(value) is dict or type(value) is OrderedDict:
        return type(value)((key, change(item)) for key, item in value.items())
    return value


def fill(form: Any, made: Sequence[Any], given: Sequence[Any]) -> Any:
    """The result of one run: the form with its pointers."""
    if type(form) is Made:
        return made[form.output]
    if type(form) is Given:
        return given[form.position]
    return _mapped(form, lambda item: fill(item, made, given))


def parts_of(form: Any) -> Iterable[Made]:
    """Each output in a form, once, in order of the outputs."""
    found: dict[int, Made] = {}

    def collect(item: Any) -> Any:
        if type(item) is Made:
            found.setdefault(item.output, item)
            return item
        return _mapped(item, collect)

    collect(form)
    return [found[output] for output in sorted(found)]


_CONTAINERS: Final = (list, tuple, dict)


def same_form(one: Any, two: Any) -> bool:
    """Whether two results have the same form, plain values included."""
    if type(one) is not type(two):
        return False
    if isinstance(one, Pointer | nn.Module):
        return one is two
    if isinstance(one, Made):
        return (one.output, one.type, one.spec) == (two.output, two.type, two.spec)
    if isinstance(one, dict):
        return list(one) == list(two) and all(same_form(one[key], two[key]) for key in one)
    if isinstance(one, _CONTAINERS):
        return len(one) == len(two) and all(map(same_form, one, two))
    try:
        return bool(one == two) or one is two
    except Exception as error:
        raise StepError(f"A step cannot return a {type(one).__name__}") from error
