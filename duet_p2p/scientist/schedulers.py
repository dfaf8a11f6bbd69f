"""Learning rate schedulers on the owner's side.

`LambdaLR` and `MultiplicativeLR` multiply by what a Python function gives for an epoch. The
function stays here: before a step its number for the epoch that comes is worked out and sent. A
`SequentialLR` or `ChainedScheduler` steps the schedulers in it over there, so this side keeps count
with it: `Count` is what is known of a scheduler's epochs, in the same nesting.
"""

from __future__ import annotations

import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from duet_p2p.errors import NotAllowed
from duet_p2p.scientist.pointer import Pointer

if TYPE_CHECKING:
    from duet_p2p.scientist.client import Client

__all__ = ["MAKERS", "Count", "SchedulerPointer"]

_PLACE: Final = "torch.optim.lr_scheduler."
_FEED: Final = f"{_PLACE}LRScheduler.feed"


class Count:
    """The epoch of one scheduler and of those in it."""

    def __init__(
        self,
        epoch: int = 0,
        functions: Sequence[Callable[[int], Any]] | Callable[[int], Any] | None = None,
        inner: Sequence[Count] = (),
        milestones: Sequence[int] | None = None,
        kept: Sequence[Any] = (),
    ) -> None:
        self.epoch = epoch
        self.functions = functions
        self.inner = tuple(inner)
        self.milestones = milestones
        self.kept = tuple(kept)  # pointers to the inner ones, which nobody else may hold
        self.pointer: weakref.ref[Any] | None = None

    def advance(self) -> Iterator[Count]:
        """One step; gives the counts whose functions the step will call."""
        self.epoch += 1
        if self.functions is not None:
            yield self
        elif self.milestones is not None:
            index = bisect_right(self.milestones, self.epoch)
            if index and self.milestones[index - 1] == self.epoch:
                yield from self.inner[index].restart()
            else:
                yield from self.inner[index].advance()
        else:
            for child in self.inner:
                yield from child.advance()

    def restart(self) -> Iterator[Count]:
        """As `SequentialLR` does with the scheduler whose turn begins."""
        self.epoch = 0
        if self.functions is not None:
            yield self

    def undo(self) -> None:
        """As `SequentialLR` does with every scheduler that is put into it."""
        for child in self.inner:
            child.undo()
        self.epoch -= 1

    def numbers(self) -> Any:
        """What the functions give for the epoch."""
        if isinstance(self.functions, list | tuple):
            return [function(self.epoch) for function in self.functions]
        assert callable(self.functions)
        return self.functions(self.epoch)

    def epochs(self) -> list[Any]:
        """The epochs of this and of what is in it."""
        return [self.epoch, [child.epochs() for child in self.inner]]

    def set_epochs(self, epochs: Sequence[Any]) -> None:
        """What `epochs` gave."""
        self.epoch = epochs[0]
        for child, of_child in zip(self.inner, epochs[1], strict=True):
            child.set_epochs(of_child)

    def has_functions(self) -> bool:
        """Whether a function of this side takes part."""
        return self.functions is not None or any(child.has_functions() for child in self.inner)


class SchedulerPointer(Pointer):
    """A scheduler; its `step` sends the numbers of this side's functions first."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True  # as every scheduler is: `if scheduler:` asks whether there is one

    def step(self, *args: Any, **kwargs: Any) -> None:
        """One step on the owner's side; takes what torch's takes, pointers included."""
        count = self._items
        if isinstance(count, Count):
            for stepped in count.advance():
                pointer = stepped.pointer() if stepped.pointer is not None else None
                assert pointer is not None, "whoever counts a scheduler keeps its pointer"
                self._client.call(_FEED, pointer, stepped.epoch, stepped.numbers())
        self._client.call(f"{_PLACE}LRScheduler.step", self, *args, **kwargs)

    def state_dict(self) -> Any:
        """A pointer to the scheduler's numbers; functions are not in it, as in torch."""
        state = self._client.call(f"{_PLACE}LRScheduler.state_dict", self)
        if isinstance(self._items, Count):
            key = state.id_at_location
            _EPOCHS[key] = self._items.epochs()
            weakref.finalize(state, _EPOCHS.pop, key, None)
        return state

    def load_state_dict(self, state_dict: Any) -> None:
        """Sets the numbers that `state_dict` of such a scheduler gave."""
        if isinstance(self._items, Count) and self._items.has_functions():
            epochs = _EPOCHS.get(getattr(state_dict, "id_at_location", ""))
            if epochs is None:
                raise NotAllowed(
                    "a scheduler with functions of this side loads what state_dict() of such a "
                    "scheduler gave in this session: otherwise its epoch is not known here"
                )
            self._client.call(f"{_PLACE}LRScheduler.load_state_dict", self, state_dict)
            self._items.set_epochs(epochs)
            return
        self._client.call(f"{_PLACE}LRScheduler.load_state_dict", self, state_dict)


_EPOCHS: Final[dict[str, list[Any]]] = {}
"""Of states that `state_dict` gave, by their pointers' ids, as long as the pointers live."""


def _checked(value: Any) -> Any:
    functions = value if isinstance(value, list | tuple) else [value]
    if not functions or not all(callable(f) and not isinstance(f, Pointer) for f in functions):
        raise TypeError("lr_lambda is a function of the epoch, or a list with one for each group")
    return list(value) if isinstance(value, list | tuple) else value


def _with_functions(name: str) -> Callable[..., Any]:
    def make(client: Client, optimizer: Any, lr_lambda: Any, last_epoch: int = -1) -> Any:
        count = Count(last_epoch + 1, _checked(lr_lambda))
        if name == "MultiplicativeLR" and last_epoch == -1:
            # torch asks for no factor at the first epoch
            first = [1.0] * len(lr_lambda) if isinstance(lr_lambda, list | tuple) else 1.0
        else:
            first = count.numbers()
        return _counted(client.call(_PLACE + name, optimizer, first, last_epoch), count)

    return make


def _counted(pointer: Any, count: Count) -> Any:
    pointer._items = count
    count.pointer = weakref.ref(pointer)
    return pointer


def _counts(schedulers: Any) -> list[Count] | None:
    found = [getattr(s, "_items", None) for s in schedulers if isinstance(s, SchedulerPointer)]
    if not any(isinstance(count, Count) for count in found):
        return None
    return [count if isinstance(count, Count) else Count() for count in found]


def _sequential(
    client: Client, optimizer: Any, schedulers: Any, milestones: Any, last_epoch: int = -1
) -> Any:
    made = client.call(f"{_PLACE}SequentialLR", optimizer, schedulers, milestones, last_epoch)
    counts = _counts(schedulers)
    if counts is None:
        return made
    for count in counts:
        count.undo()
    first = counts[bisect_right(list(milestones), 0)]
    first.epoch += 1
    count = Count(last_epoch + 1, None, counts, list(milestones), schedulers)
    return _counted(made, count)


def _chained(client: Client, schedulers: Any, optimizer: Any = None) -> Any:
    made = client.call(f"{_PLACE}ChainedScheduler", schedulers, optimizer)
    counts = _counts(schedulers)
    return made if counts is None else _counted(made, Count(inner=counts, kept=schedulers))


MAKERS: Final[Mapping[str, Callable[..., Any]]] = {
    f"{_PLACE}LambdaLR": _with_functions("LambdaLR"),
    f"{_PLACE}MultiplicativeLR": _with_functions("MultiplicativeLR"),
    f"{_PLACE}SequentialLR": _sequential,
    f"{_PLACE}ChainedScheduler": _chained,
}
"""Constructors that take more than travels; the session's client comes first."""
