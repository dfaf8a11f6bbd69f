"""A plan's form: its numbering, its digest, and its text as torch code.

A plan is a list of commands over local numbers. The numbering is fixed (inputs, captures, results
in order), so the same commands are written in one way only, and the digest is over exactly that:
equal digests mean equal commands, whoever works them out. Both sides do, from the commands
themselves; nothing that a partner says about its plan is believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgpack

from duet_p2p import limits
from duet_p2p.errors import NotAllowed, QuotaExceeded
from duet_p2p.surface import table
from duet_p2p.surface.callables import CALLABLES
from duet_p2p.wire import values as wire
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.messages import DefinePlan, PlanStep
from duet_p2p.wire.packing import pack_item

__all__ = ["check", "digest_of", "is_part", "joined", "listing_of", "refs_of", "split"]

_DOMAIN: Final = b"duet/plan/v1"


def refs_of(value: Any) -> Iterator[int]:
    """Every local number that an argument names, at any depth."""
    return (atom.id for atom in wire.atoms_of(value) if type(atom) is wire.Ref)


def joined(parts: Sequence[DefinePlan]) -> DefinePlan:
    """One definition of those that came for one plan, in order; the last one counts."""
    last = parts[-1]
    if len(parts) == 1:
        return last
    steps = tuple(step for part in parts for step in part.steps)
    return replace(last, steps=steps)


def is_part(part: DefinePlan) -> bool:
    """Whether a message may stand in a definition: all but the last bring steps, nothing else."""
    return part.is_last or (bool(part.steps) and not part.captures and not part.outputs)


def split(plan: DefinePlan) -> list[DefinePlan]:
    """The messages of a plan: parts that fit into a frame each, the last one with everything else.

    Raises:
        ValueError: one command alone is too large.
    """
    parts: list[DefinePlan] = []
    steps: list[PlanStep] = []
    room = limits.FRAME_MAX_BYTES
    for step in plan.steps:
        nbytes = len(encode_message(DefinePlan(1, "", 0, (), (step,), (), False)))
        if steps and (nbytes > room or len(steps) >= limits.ARRAY_ITEMS):
            parts.append(DefinePlan(plan.plan, "", 0, (), tuple(steps), (), False))
            steps, room = [], limits.FRAME_MAX_BYTES
        steps.append(step)
        room -= nbytes
    return [*parts, replace(plan, steps=tuple(steps), is_last=True)]


def check(plan: DefinePlan) -> None:
    """Whether a plan is in its one form and names nothing off the surface.

    Raises:
        NotAllowed: a name off the surface.
        QuotaExceeded: more commands, or values among their arguments, than one plan may have.
        ValueError: another numbering, or a reference to what is not there (yet).
    """
    if len(plan.steps) > limits.PLAN_STEPS:
        raise QuotaExceeded(f"a plan of {len(plan.steps)} commands, {limits.PLAN_STEPS} allowed")
    if plan.inputs > limits.ARRAY_ITEMS:
        raise QuotaExceeded(f"a plan of {plan.inputs} inputs, {limits.ARRAY_ITEMS} allowed")
    first = plan.inputs + len(plan.captures) + 1
    known = first
    parts = 0
    for number, step in enumerate(plan.steps):
        parts = _counted((step.args, step.kwargs), parts)
        rule = table.find(step.name)
        if rule is None or rule.name not in CALLABLES:
            raise NotAllowed(f"{step.name} is not on the surface")
        if step.name != rule.name:
            raise ValueError(f"command {number} is not called by its canonical name")
        if not all(key.isascii() and key.isidentifier() for key in step.kwargs):
            raise ValueError(f"command {number} has a keyword that is none")
        if any(not 0 < ref < known for ref in refs_of((step.args, step.kwargs))):
            raise ValueError(f"command {number} refers to a local that is not there")
        if step.outs != tuple(range(known, known + len(step.outs))):
            raise ValueError(f"command {number} numbers its results in another way")
        known += len(step.outs)
    if len(set(plan.outputs)) != len(plan.outputs) or any(
        not first <= out < known for out in plan.outputs
    ):
        raise ValueError("an output is not the result of a command")


def _counted(value: Any, parts: int) -> int:
    """How many values there are with those in this one, containers included.

    Raises:
        QuotaExceeded: more than one plan may have. An empty list is a byte of a message, and all of
            them are walked through several times, by the owner's process too.
    """
    left = [value]
    while left:
        parts += 1
        if parts > limits.PLAN_PARTS:
            raise QuotaExceeded(f"a plan with more than {limits.PLAN_PARTS} values in its commands")
        one = left.pop()
        if isinstance(one, list | tuple | set | dict | slice):
            left.extend(wire.parts_of(one))
    return parts


def digest_of(plan: DefinePlan) -> str:
    """SHA-256 over the commands, 64 hex digits; ids, names and notes are no part of it."""
    steps = [
        [step.name, list(step.outs), _canonical(pack_item(step.args)),
         [[key, _canonical(pack_item(value))] for key, value in step.kwargs.items()], step.mode]
        for step in plan.steps
    ]  # fmt: skip
    body = [plan.inputs, len(plan.captures), list(plan.outputs), steps]
    return hashlib.sha256(_DOMAIN + msgpack.packb(body)).hexdigest()


def _canonical(packed: Any) -> Any:
    """Sets have no order of their own; in a digest they have that of their bytes."""
    if isinstance(packed, list):
        return [_canonical(item) for item in packed]
    if isinstance(packed, dict):
        ((tag, payload),) = packed.items()
        if tag == "s":
            return {tag: sorted((_canonical(item) for item in payload), key=msgpack.packb)}
        return {tag: _canonical(payload)}
    return packed


# the text that an owner reads


def listing_of(plan: DefinePlan, captures: Mapping[int, str] | None = None) -> str:
    """The plan as torch code, one command a line; made of the commands and of nothing else.

    Args:
        plan: complete.
        captures: texts for what it captures, by position from 1.
    """
    names = {number: f"x{number}" for number in range(1, plan.inputs + 1)}
    lines = [f"def plan({', '.join(names.values())}):"]
    for position in range(1, len(plan.captures) + 1):
        names[plan.inputs + position] = f"c{position}"
        if captures and position in captures:
            lines.append(f"    # c{position}: {captures[position]}")
    mode = "g"
    for step in plan.steps:
        names.update((out, f"v{out}") for out in step.outs)
        left = ", ".join(names[out] for out in step.outs)
        if step.mode != mode:
            mode = step.mode
            lines.append(f"    # from here with {_MODES[mode]}")
        lines.append(f"    {left + ' = ' if left else ''}{_call(step, names)}")
    lines.append(f"    return {', '.join(names[out] for out in plan.outputs) or 'None'}")
    return "\n".join(lines)


_MODES: Final = {"g": "gradients", "n": "no_grad", "i": "inference_mode"}


def _call(step: PlanStep, names: Mapping[int, str]) -> str:
    args = [_shown(value, names) for value in step.args]
    keywords = [f"{key}={_shown(value, names)}" for key, value in step.kwargs.items()]
    short = step.name.rpartition(".")[2]
    if step.name.startswith("torch.Tensor.") and args and not short.startswith("__"):
        if short.endswith("=") and not step.kwargs:
            return f"{args[0]}.{short[:-1]} = {', '.join(args[1:])}"
        return f"{args[0]}.{short}({', '.join(args[1:] + keywords)})"
    return f"{step.name}({', '.join(args + keywords)})"


def _shown(value: Any, names: Mapping[int, str]) -> str:
    if type(value) is wire.Ref:
        return names[value.id]
    if isinstance(value, wire.TensorData):
        # whole: a constant is part of what the owner allows
        data = value.data if isinstance(value.data, bytes) else b""
        mark = hashlib.sha256(data).hexdigest()[:16]
        return f"<{_word(value.dtype)} tensor {tuple(value.shape)} {mark}>"
    if isinstance(value, wire.Dtype | wire.Layout | wire.MemoryFormat):
        return f"torch.{_word(value.name)}"
    if isinstance(value, wire.Device):
        return f"torch.device({value.name!a})"
    if isinstance(value, wire.Size):
        return str(value.dims)
    if type(value) is slice:
        return f"slice({', '.join(_all((value.start, value.stop, value.step), names))})"
    if isinstance(value, list):
        return f"[{', '.join(_all(value, names))}]"
    if isinstance(value, tuple):
        inner = ", ".join(_all(value, names))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, set):
        return f"{{{', '.join(sorted(_all(value, names)))}}}" if value else "set()"
    if isinstance(value, dict):
        pairs = (f"{_shown(k, names)}: {_shown(v, names)}" for k, v in value.items())
        return f"{{{', '.join(pairs)}}}"
    return "..." if value is Ellipsis else ascii(value)


def _word(name: str) -> str:
    """A name as it is, or harmless: a listing must not be able to pretend other lines."""
    return name if name.isascii() and name.isidentifier() else ascii(name)


def _all(parts: Iterable[Any], names: Mapping[int, str]) -> list[str]:
    return [_shown(part, names) for part in parts]
