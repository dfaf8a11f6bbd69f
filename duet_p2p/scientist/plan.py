"""`PlanPointer`: a plan on the owner's side, sent by either side, called with keywords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from duet_p2p.errors import NotAllowed, WrongSide
from duet_p2p.objects.notes import checked_tags, description_of, tags_of
from duet_p2p.objects.plan import PLAN_TYPE, Plan, arguments_of, is_signature
from duet_p2p.objects.shell import Shell, send_module, tensors_of
from duet_p2p.scientist.dispatch import check
from duet_p2p.scientist.pointer import Pointer, make
from duet_p2p.surface.shapes import TensorSpec
from duet_p2p.surface.values import DTYPES
from duet_p2p.wire.messages import RunPlan

if TYPE_CHECKING:
    from duet_p2p.scientist.client import Client

__all__ = ["PlanPointer", "send_plan"]


class PlanPointer(Pointer):
    """A plan that the owner's engine keeps."""

    __slots__ = ()
    _expects_meta = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the plan; one small message.

        Args:
            args: none; a plan is called with keywords.
            kwargs: an argument each: pointers, local tensors and values (uploaded), remote or local
                modules (sent).

        Returns:
            A `ListPointer` of what the plan returns; a module that was given and trained is a
            remote module in it.

        Raises:
            TypeError: other arguments than those of the plan.
            NotAllowed: nothing is known of this plan's arguments.
        """
        client = self._client
        check(client, self)
        signature = self._items
        if not is_signature(signature):
            raise NotAllowed(f"{self!r} does not say what its arguments are")
        wanted = arguments_of(signature)
        if args or set(kwargs) != set(wanted):
            raise TypeError(f"this plan is called with keywords: {', '.join(wanted) or 'none'}")
        given: dict[int, Pointer] = {}
        modules: dict[str, Any] = {}
        for name, form in wanted.items():
            if form[0] == "m":
                modules[name] = _module(client, name, kwargs[name], form, given)
            else:
                given[form[2]] = _object(client, kwargs[name])
        inputs = [given[position] for position in range(len(given))]
        made = _made(client, signature["result"], inputs)
        outs = [made[output]._id for output in range(len(made))]
        seq = client.emit(RunPlan(self._id, tuple([p._id for p in inputs]), tuple(outs), 0))
        for pointer in made.values():
            pointer._seq = seq
        result = _filled(signature["result"], made, inputs, modules)
        return _listed(client, list(result) if isinstance(result, list | tuple) else [result])

    def _facts_shown(self) -> str:
        names = arguments_of(self._items) if is_signature(self._items) else {}
        return f" ({', '.join(names)})"


def _object(client: Client, value: Any) -> Any:
    if isinstance(value, Pointer):
        check(client, value)
        return value
    return client.uploads.send(value, listed=False)


def _module(
    client: Client, name: str, module: Any, form: Any, given: dict[int, Pointer]
) -> nn.Module:
    """The remote module of an argument; its tensors take their places."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"{name} is a {form[1]}, not a {type(module).__name__}")
    remote = module if isinstance(module, Shell) else send_module(client, module)
    tensors = tensors_of(remote)
    places = dict(form[2])
    if set(tensors) != set(places):
        other = sorted(set(tensors) ^ set(places))[0]
        raise TypeError(f"{name} is another module than the one that was traced: see {other!r}")
    for key, position in places.items():
        check(client, tensors[key])
        given[position] = tensors[key]
    return remote


def _made(client: Client, form: Any, inputs: Sequence[Pointer]) -> dict[int, Any]:
    """A fresh pointer for each output that a result has."""
    made: dict[int, Any] = {}

    def walk(part: Any) -> None:
        if part[0] == "o":
            _, output, kind, shape, name, length = part
            dtype = DTYPES.get(name or "")
            spec = None
            if shape is not None and dtype is not None:
                spec = TensorSpec(tuple(shape), dtype)
            if output not in made:
                made[output] = make(client, client.new_id(), kind, spec=spec, length=length)
        elif part[0] in ("l", "t"):
            for item in part[1]:
                walk(item)
        elif part[0] == "d":
            for _, item in part[1]:
                walk(item)

    walk(form)
    return made


def _filled(form: Any, made: dict[int, Any], inputs: Sequence[Any], modules: dict[str, Any]) -> Any:
    kind, content = form[0], form[1]
    if kind == "o":
        return made[content]
    if kind == "i":
        return inputs[content]
    if kind == "m":
        return modules[content]
    if kind == "d":
        return {key: _filled(part, made, inputs, modules) for key, part in content}
    if kind in ("l", "t"):
        parts = [_filled(part, made, inputs, modules) for part in content]
        return parts if kind == "l" else tuple(parts)
    return content


def _listed(client: Client, results: list[Any]) -> Any:
    """A remote list of the results; on this side its elements are the objects themselves."""

    def remote(value: Any) -> Any:
        if isinstance(value, nn.Module):
            named = tensors_of(value)
            return client.call("python.state_dict", list(named), list(named.values()))
        return value

    pointer = client.call("python.collect", *[remote(value) for value in results])
    pointer._items = results
    return pointer


def send_plan(
    client: Client,
    plan: Plan,
    *,
    tags: Sequence[str] | None = None,
    description: str = "",
    listed: bool = True,
) -> Any:
    """Sends a plan of one's own; a pointer that can be called.

    Raises:
        WrongSide: its signature does not fit it.
    """
    if not is_signature(plan.signature):
        raise WrongSide("this plan was not made by make_plan")
    noted = checked_tags(tuple(tags)) if tags is not None else tags_of(plan)
    text = description or description_of(plan)
    pointer = make(client, client.new_id(), PLAN_TYPE, tags=noted, items=plan.signature)
    for part in plan.messages(pointer._id, tags=noted, description=text, listed=listed):
        pointer._seq = client.emit(part)
    more = pointer._extra()
    more.description, more.listed, more.kept = text, listed, listed
    return pointer
