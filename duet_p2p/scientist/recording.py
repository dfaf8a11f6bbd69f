"""What one function of pointers does, collected in place of being sent.

While a recording is active in a thread, the commands of that thread are kept here. The function is
given *placeholders* for its arguments, so that a pointer which it also reaches in another way is
told apart from the argument; everything that it names and that nobody made inside is *captured*.
When the function has returned, pointers that were made inside mean nothing any more and say so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from duet_p2p.errors import StepError
from duet_p2p.scientist import knowledge, sites
from duet_p2p.scientist.pointer import Pointer, make
from duet_p2p.wire.messages import Message, Op, Put

if TYPE_CHECKING:
    from duet_p2p.scientist.client import Client

__all__ = ["Recording", "active", "frozen_items"]

INSIDE: Final = -1
"""The sequence number of what was never sent."""

_REFUSED: Final = {
    "Get": "get() needs the value now; return the pointer, and get() what the step gives",
    "Request": "a request asks the owner now; return the pointer, and request what the step gives",
    "Withdraw": "a request cannot be withdrawn",
    "Note": "tag() and describe() are about one object; use them on what the step gives",
    "Del": "what is made inside is freed by itself; delete other objects outside",
    "Put": "send() objects before the step, and use their pointers inside",
    "RunPlan": "a plan cannot run inside",
    "RunClosure": "a step with a closure cannot run inside; call it outside",
    "DefinePlan": "a plan cannot be sent inside",
}


class _Active(threading.local):
    now: Recording | None = None


_ACTIVE: Final = _Active()


def active() -> Recording | None:
    """The recording of this thread."""
    return _ACTIVE.now


class Recording:
    """The commands of one call of a function.

    Attributes:
        ops: in order, with ids of this side.
        sites: where each was issued.
        captured: objects from outside, in the order of their first use, by id.
        modules: local or remote modules whose forward ran, with their `training`.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.ops: list[Op] = []
        self.sites: list[sites.Site | None] = []
        self.captured: dict[int, Pointer] = {}
        self.before: dict[int, Any] = {}
        self.modules: list[tuple[nn.Module, bool]] = []
        self.placeholders: list[Pointer] = []
        self.touched: list[Pointer] = []
        self._made: dict[int, Pointer] = {}

    def placeholder(self, pointer: Any) -> Any:
        """A stand-in for an argument."""
        return self.stand_in(knowledge.known_of(pointer), pointer._tags)

    def stand_in(self, known: knowledge.Known, tags: tuple[str, ...] = ()) -> Any:
        """A placeholder for an argument of which so much is known."""
        stand_in = make(
            self.client,
            self.client.new_id(),
            known.type,
            tags=tags,
            spec=known.spec,
            items=frozen_items(known.items),
            length=known.length,
        )
        stand_in._seq = INSIDE
        self.placeholders.append(stand_in)
        self.before[stand_in._id] = stand_in._spec
        self._made[stand_in._id] = stand_in
        return stand_in

    @contextmanager
    def running(self) -> Iterator[None]:
        """Commands of this thread are kept here."""
        if _ACTIVE.now is not None:
            raise StepError("A recording is under way in this thread already.")
        thread = threading.get_ident()

        def note(module: nn.Module, args: Any) -> None:
            if threading.get_ident() == thread:
                self.modules.append((module, module.training))

        hook = register_module_forward_pre_hook(note)
        _ACTIVE.now = self
        try:
            yield
        except BaseException:
            self._undo()
            raise
        finally:
            _ACTIVE.now = None
            hook.remove()
            self._close()

    def add(self, op: Op, inputs: Sequence[Pointer], made: Sequence[Pointer]) -> int:
        """Keeps one command; what it gives has no sequence number."""
        for pointer in inputs:
            if pointer._id not in self._made and pointer._id not in self.captured:
                self.captured[pointer._id] = pointer
                self.before[pointer._id] = pointer._spec
        self._made.update((pointer._id, pointer) for pointer in made)
        if op.name in knowledge.EFFECTS and inputs:
            self.touched.append(inputs[0])
        self.ops.append(op)
        self.sites.append(sites.current())
        return INSIDE

    def refuse(self, message: Message) -> None:
        """Raises for a message that cannot be part of a step.

        Raises:
            StepError: unless it is the upload of a tensor that stands in the program as it is.
        """
        if isinstance(message, Put) and not message.listed:
            return
        kind = type(message).__name__
        what = _REFUSED.get(kind, f"{kind} cannot be part of it")
        raise StepError(f"{what[0].upper()}{what[1:]}. A step is being recorded{self.here()}.")

    def here(self) -> str:
        """``, at train.py:31``: the scientist's line that runs now."""
        site = sites.current()
        return f", at {sites.shown(site)}" if site is not None else ""

    def holds(self, pointer: Pointer) -> bool:
        """Whether it was made inside, or stands for an argument."""
        return pointer._id in self._made

    def _undo(self) -> None:
        """Nothing of it ran, and nothing will: what was learnt from it on the way is forgotten."""
        for ident, pointer in self.captured.items():
            pointer._spec = self.before[ident]

    def _close(self) -> None:
        moved = [ident for ident, pointer in self.captured.items() if pointer._id != ident]
        for ident in moved:
            self.captured[ident]._id, self.captured[ident]._gone = ident, ""
        for pointer in self.touched:
            if pointer._id in self.captured and pointer._spec is None:
                # what it holds after the step is known on the owner's side only
                pointer._items = pointer._length = None
        for pointer in self._made.values():
            pointer._gone = (
                "This pointer was made inside a recorded step and means nothing outside: let the "
                "step return it."
            )
        if moved:
            raise StepError(
                "A step cannot move an object to another type or device in place; do it before."
            )


def frozen_items(items: Any) -> Any:
    """What is known of a container's elements, without the pointers to them."""
    known: Callable[[Any], Any] = knowledge.known_of
    if isinstance(items, Pointer):
        items = known(items)
    if isinstance(items, knowledge.Known):
        return knowledge.Known(items.type, items.spec, frozen_items(items.items), items.length)
    if isinstance(items, list):
        return [frozen_items(i) if isinstance(i, Pointer | knowledge.Known) else i for i in items]
    if isinstance(items, dict):
        return {
            key: frozen_items(i) if isinstance(i, Pointer | knowledge.Known) else i
            for key, i in items.items()
        }
    return items
