"""`@duet.step`: an ordinary function of pointers, recorded once and replayed as one small message.

The function runs here the first time it is called with arguments of a new kind, and what it does is
kept as a plan on the owner's side. After that a call sends the plan's id and those of its
arguments. Python code in the function (a counter, a print, an `if` on a local number) is not part
of a plan, so the second use runs it again and compares: a difference is an error that names the
line.
"""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from duet_p2p.errors import PrivateValueError, SessionLost, StepError
from duet_p2p.limits import PLAN_TIMES, STEP_VARIANTS
from duet_p2p.objects.python import plain
from duet_p2p.scientist import sites
from duet_p2p.scientist.dispatch import check, grad_mode
from duet_p2p.scientist.knowledge import Known, known_of
from duet_p2p.scientist.pointer import Pointer, make
from duet_p2p.scientist.recording import Recording, active
from duet_p2p.scientist.trace import Made, Trace, fill, parts_of, trace_of
from duet_p2p.surface.plan import listing_of, split
from duet_p2p.surface.tags import result_tags
from duet_p2p.wire.messages import RunClosure, RunPlan

if TYPE_CHECKING:
    from duet_p2p.scientist.client import Client

__all__ = ["Step", "Variant", "send_plan"]


_STEP: Final = "torch.optim.Optimizer.step"


class Variant:
    """One recording that the owner's side has."""

    def __init__(self, client: Client, key: Any, trace: Trace, kept: Sequence[Any]) -> None:
        self.client = client
        self.key = key
        self.trace = trace
        self.is_verified = False
        self._kept = kept  # objects whose identity is in the key
        self.id = send_plan(client, trace)
        self._parts = tuple(parts_of(trace.form))

    def __del__(self) -> None:
        if getattr(self, "id", 0):
            self.client.forget(self.id)

    @property
    def is_lost(self) -> bool:
        """Whether it went with the engine that had it."""
        try:
            self.client.check_id(self.id)
        except SessionLost:
            return True
        return False

    def run(self, given: Sequence[Any], times: int = 0) -> Any:
        """Sends one `RunPlan`; the function's result, with lists of `times` for its pointers."""
        made = [self._result(part, times) for part in self._parts]
        outs = tuple([pointer._id for pointer in made])
        ids = tuple([pointer._id for pointer in given])
        seq = self.client.emit(RunPlan(self.id, ids, outs, times))
        for pointer in made:
            pointer._seq = seq
        self.trace.apply(given)
        return fill(self.trace.form, made, given)

    def step(self, optimizer: Any) -> Any:
        """Sends one `RunClosure`: a step of an optimizer with this as its closure; its loss.

        Raises:
            StepError: this is no closure.
        """
        if self.trace.plan.inputs or type(self.trace.form) is not Made:
            raise StepError(
                f"{self.trace.plan.name} cannot be a closure: it takes no pointer and returns its "
                f"loss, one pointer that is made inside, and nothing else."
            )
        (part,) = self._parts
        tags = result_tags(_STEP, (optimizer._tags,))
        loss = make(
            self.client, self.client.new_id(), part.type, tags=tags, spec=part.spec,
            items=part.items, length=part.length,
        )  # fmt: skip
        loss._seq = self.client.emit(RunClosure(self.id, optimizer._id, loss._id))
        self.trace.apply(())
        return loss

    def _result(self, part: Any, times: int) -> Any:
        if not times:
            known = Known(part.type, part.spec, part.items, part.length)
            tags = part.tags
        else:
            one = Known(part.type, part.spec, part.items, part.length)
            known = Known("python.List", None, [one] * times, times)
            tags = tuple(sorted({*part.tags, "collect"}))
        return make(
            self.client, self.client.new_id(), known.type, tags=tags, spec=known.spec,
            items=known.items, length=known.length,
        )  # fmt: skip


def send_plan(client: Client, trace: Trace) -> int:
    """Sends a plan's definition; its fresh id."""
    ident = client.new_id()
    for part in split(replace(trace.plan, plan=ident)):
        client.emit(part)
    return ident


class Step:
    """A function of pointers that was given to `duet.step`.

    Args:
        client: of the session.
        function: takes pointers, remote modules and plain values; gives pointers in any nesting.
        verify: whether the second use of a recording runs the function again and compares.
    """

    def __init__(
        self, client: Client, function: Callable[..., Any], *, verify: bool = True
    ) -> None:
        functools.update_wrapper(self, function)
        self._client = client
        self._function = function
        self._verify = verify
        self._variants: list[Variant] = []
        self._body: Step | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Records the function, or replays it; gives what the function gives.

        Raises:
            StepError: it does what a recorded step may not do, or is not the same each time.
            PrivateValueError: it branches on a value that is on the owner's side.
        """
        if active() is not None:
            return self._function(*args, **kwargs)  # becomes a part of the step around it
        call = _Call(self._client, args, kwargs)
        return self._variant(call).run(call.given)

    def of_optimizer(self, optimizer: Any) -> Any:
        """One step of an optimizer that calls this as its closure; the loss that it gives.

        Raises:
            StepError: it is no closure: it takes something, or returns more than the loss.
        """
        check(self._client, optimizer)
        recording = active()
        if recording is not None:
            raise StepError(
                f"A step with a closure cannot be part of a step{recording.here()}: call it outside"
            )
        parameters = inspect.signature(self._function).parameters.values()
        if any(parameter.default is parameter.empty for parameter in parameters):
            raise StepError(f"{self._name()} cannot be a closure: it takes arguments.")
        return self._variant(_Call(self._client, (), {})).step(optimizer)

    def run(self, loader: Any, epochs: int = 1) -> Any:
        """Runs the step over a loader on the owner's side, one message a pass.

        Where the last batch is shorter than the others it is another recording, and a message of
        its own. The number of batches is known, or asked for once as for a loop.

        Args:
            loader: a remote DataLoader. The function is called with the elements of a batch.
            epochs: passes over it.

        Returns:
            What the function gives, with a `ListPointer` over all batches of all passes in place of
            each pointer that is made inside.
        """
        if self._body is None:
            self._body = Step(self._client, self._of_next, verify=self._verify)
            functools.update_wrapper(self._body, self._function)
        batches = int(loader.__len__())
        loader._public_length()
        result: Any = None
        for _ in range(epochs):
            iterator = self._client.call("python.iter", loader)
            for first, count in _groups(loader, batches):
                iterator._items = loader._batch(first)
                part = self._body._repeated(iterator, count)
                result = part if result is None else _extended(result, part)
        return result

    def listing(self) -> str:
        """The newest recording as torch code, as the owner reads it."""
        trace = self._newest().trace
        shown = {number: repr(pointer) for number, pointer in enumerate(trace.captured, 1)}
        return listing_of(trace.plan, shown)

    @property
    def digest(self) -> str:
        """Digest of the newest recording; the owner's side works it out for itself."""
        return self._newest().trace.digest

    @property
    def digests(self) -> list[str]:
        """Digests of all recordings: one for each kind of arguments, oldest first."""
        inner = self._body._variants if self._body is not None else []
        return [variant.trace.digest for variant in (*self._variants, *inner)]

    def _newest(self) -> Variant:
        found: list[Variant] = list(self._variants)
        if self._body is not None:
            found += self._body._variants
        if not found:
            raise StepError("Nothing is recorded yet: call the step once, or run it.")
        return max(found, key=lambda variant: variant.id)

    def _of_next(self, iterator: Any) -> Any:
        batch = next(iterator)
        if isinstance(batch._items, list):
            return self._function(*batch)
        return self._function(batch)

    def _repeated(self, iterator: Any, count: int) -> Any:
        call = _Call(self._client, (iterator,), {})
        variant = self._variant(call)
        if self._verify and not variant.is_verified:
            self._compare(variant, call)
        if count > 1 and any(
            before != after for before, after, *_ in (*variant.trace.specs, *variant.trace.inputs)
        ):
            raise StepError("A step that changes the shape of an object from outside runs once.")
        result: Any = None
        while count > 0:
            times = min(count, PLAN_TIMES)
            part = variant.run(call.given, times)
            result = part if result is None else _extended(result, part)
            count -= times
        return result

    # recordings

    def _variant(self, call: _Call) -> Variant:
        self._variants = [v for v in self._variants if not v.is_lost]
        for variant in self._variants:
            if call.key == variant.key and variant.trace.holds():
                if self._verify and not variant.is_verified:
                    self._compare(variant, call)
                return variant
        fresh = Variant(self._client, call.key, self._record(call), call.kept)
        self._variants.append(fresh)
        del self._variants[:-STEP_VARIANTS]
        return fresh

    def _compare(self, variant: Variant, call: _Call) -> None:
        difference = variant.trace.difference(self._record(call))
        if difference:
            self._variants.remove(variant)
            raise StepError(
                f"{self._name()} does not do the same each time: {difference}. Python code in a "
                f"step runs when it is recorded and not when it is replayed; pass what changes as "
                f"an argument, or use @duet.step(verify=False) if it does not matter."
            )
        variant.is_verified = True

    def _record(self, call: _Call) -> Trace:
        recording = Recording(self._client)
        with recording.running():
            args, kwargs = call.with_stand_ins(recording)
            try:
                result = self._function(*args, **kwargs)
            except PrivateValueError as error:
                where = sites.shown(sites.raised_at(error))
                raise PrivateValueError(
                    f"{error} {self._name()} is being recorded, at {where}."
                ) from error
        return trace_of(recording, self._name(), result)

    def _name(self) -> str:
        return str(getattr(self._function, "__name__", "step"))

    def __repr__(self) -> str:
        return f"<step {self._name()}, {len(self.digests)} recordings>"


class _Call:
    """The arguments of one call: which are pointers, and what else it was called with.

    Attributes:
        given: pointers, in order.
        key: equal for calls that one recording serves.
        kept: objects whose identity is in the key.
    """

    def __init__(self, client: Client, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        self._client = client
        self.given: list[Any] = []
        self.kept: list[Any] = []
        self._args = tuple([self._taken(value) for value in args])
        self._kwargs = {key: self._taken(value) for key, value in kwargs.items()}
        self.key = (
            grad_mode(),
            tuple([self._keyed(value) for value in self._args]),
            tuple([(key, self._keyed(value)) for key, value in self._kwargs.items()]),
        )

    def _taken(self, value: Any) -> Any:
        """The argument with pointers in place of local tensors."""
        if isinstance(value, Pointer):
            check(self._client, value)
            self.given.append(value)
            return value
        if isinstance(value, torch.Tensor):
            sent = self._client.uploads.automatic(value)
            if not isinstance(sent, Pointer):
                (sent,) = self._client.uploads.put_tensors([value])
            self.given.append(sent)
            return sent
        return _rebuilt(value, self._taken)

    def _keyed(self, value: Any) -> Any:
        if isinstance(value, Pointer):
            known = known_of(value)
            if known.type == "python.Iterator":  # its length comes late, and matters to nobody
                known = replace(known, length=None)
            return (value._tags, _key_of(known))
        value = plain(value)
        if type(value) in (list, tuple) or hasattr(value, "_fields"):
            return (type(value), *map(self._keyed, value))
        if type(value) in (dict, OrderedDict):
            return (type(value), *((key, self._keyed(item)) for key, item in value.items()))
        if type(value) in _PLAIN:
            return (type(value), value)
        self.kept.append(value)  # a module, or anything else that is what it is
        return (type(value), id(value))

    def with_stand_ins(self, recording: Recording) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with a placeholder for each pointer, in the order of `given`."""

        def swap(value: Any) -> Any:
            if isinstance(value, Pointer):
                return recording.placeholder(value)
            return _rebuilt(value, swap)

        args = tuple([swap(value) for value in self._args])
        return args, {key: swap(value) for key, value in self._kwargs.items()}


_PLAIN: Final = frozenset({
    type(None), bool, int, float, complex, str, bytes, type(Ellipsis), range, torch.Size,
    torch.dtype, torch.device, torch.layout, torch.memory_format,
})  # fmt: skip


def _rebuilt(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, nn.Module):
        return value
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(change, value))
    if type(value) in (list, tuple):
        return type(value)(map(change, value))
    if type(value) in (dict, OrderedDict):
        return type(value)((key, change(item)) for key, item in value.items())
    return value


def _key_of(known: Any) -> Any:
    """What is known of an object, in a form that can be compared and hashed."""
    if isinstance(known, Pointer):
        known = known_of(known)
    if isinstance(known, Known):
        return (known.type, known.spec, _key_of(known.items), known.length)
    if isinstance(known, list | tuple) and not hasattr(known, "_fields"):
        return tuple([_key_of(item) for item in known])
    if isinstance(known, dict):
        return tuple([(key, _key_of(item)) for key, item in known.items()])
    return (type(known), known)


def _groups(loader: Any, batches: int) -> list[tuple[int, int]]:
    """Runs of batches of one shape: the first one's number, and how many."""
    if batches > 1 and _key_of(loader._batch(0)) != _key_of(loader._batch(batches - 1)):
        return [(0, batches - 1), (batches - 1, 1)]
    return [(0, batches)] if batches else []


def _extended(result: Any, more: Any) -> Any:
    """The same result with the elements of further runs in its lists."""
    if isinstance(result, Pointer):
        if result is not more:
            result.extend(more)
        return result
    if isinstance(result, dict):
        for key, item in result.items():
            _extended(item, more[key])
    elif isinstance(result, list | tuple):
        for item, extra in zip(result, more, strict=True):
            _extended(item, extra)
    return result
