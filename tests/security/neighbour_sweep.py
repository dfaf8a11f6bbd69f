"""Every name of the surface on two data sets that differ in one value, and what shows of it.

Commands that worked, one by one, with one of their arguments the owner's. That one is what it was
in one run, and in the other it is what makes such commands fail, or give another size: nothing, no
number, a negative or a large one. Behind the command comes whatever could tell the two apart: facts
of its results, their gradients, writes into tensors of one's own, lengths, random numbers. Whatever
leaves the engine's side without a decision is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch.utils._pytree import tree_map

from duet_p2p.engine import messages as m
from duet_p2p.engine.store import Slot
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref
from tests.security.test_soundness import Seen, shown
from tests.surface.hostile import Kept, _copied

__all__ = ["differences", "neighbours"]

T: Final = "torch.Tensor."
OWN: Final = 1 << 30
"""The first id of what a command is given besides."""
FACTS: Final = (T + "dtype", T + "size", T + "numel", T + "requires_grad", T + "is_leaf",
                T + "element_size", "python.len")  # fmt: skip


def neighbours(value: Any) -> Iterator[Any]:
    """What could stand in the place of a value."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (0, -7, value + 1, 1, 5_000)
    elif isinstance(value, float):
        yield from (0.0, -1.5, float("nan"), 1e30)
    elif isinstance(value, torch.Tensor):
        yield from _tensors(value.detach())


def _tensors(value: torch.Tensor) -> Iterator[torch.Tensor]:
    yield torch.zeros_like(value)
    if value.dtype is torch.bool:
        yield torch.ones_like(value)
        return
    yield torch.full_like(value, 3)
    if value.dtype.is_signed:
        yield torch.full_like(value, -2)
    one = value.clone()
    is_float = value.is_floating_point() or value.is_complex()
    if one.numel():
        one.view(-1)[-1] = float("nan") if is_float else 77
        yield one
    if is_float:
        yield torch.full_like(value, float("nan"))


class Neighbour(Seen):
    """An engine with one private value, and a command on it."""

    def __init__(self, value: Any) -> None:
        shared = value if isinstance(value, torch.Tensor) else torch.tensor(value)
        super().__init__({"x": shared.detach().clone()})
        self.names: dict[int, str] = {}
        self.ref = self.refs[0]
        if not isinstance(value, torch.Tensor):
            kind = {bool: "Bool", int: "Int", float: "Float"}[type(value)]
            self.ref = self.run(f"python.{kind}", self.refs[0])

    def send(self, command: Any) -> list[Any]:
        """See `Driver.send`."""
        if hasattr(self, "names"):
            self.names[self.seq + 1] = getattr(command, "name", "")
        return super().send(command)

    def tell(self, command: Kept, place: int, *, grads: bool) -> list[Any]:
        """Runs the command, and what looks at it; everything that shows."""
        torch.manual_seed(1)
        owns, args, kwargs = self._given(command, place, grads)
        op = command.op
        outs = tuple(range(self.next_id + 1, self.next_id + 1 + len(op.outs)))
        self.next_id += len(outs)
        self.send(Op(op.name, outs, args, kwargs, op.mode))
        for ref in (*map(Ref, outs), *owns):
            self._look_at(ref, owns)
        self.run("torch.rand", 1)
        told = [[(self.names.get(e.seq, ""), e) if isinstance(e, m.SettledUpTo) else e
                 for e in shown(self.events)]]  # fmt: skip
        ids = (*(ref.id for ref in owns), *range(1, self.next_id + 1))
        return [*told, *((id, self.verdict(id)) for id in ids)]

    def _given(
        self, command: Kept, place: int, grads: bool
    ) -> tuple[list[Ref], tuple[Any, ...], dict[str, Any]]:
        count = -1
        known: dict[int, Ref] = {}

        def swap(leaf: Any) -> Any:
            nonlocal count
            count += 1
            if count == place:
                return self.ref
            if not isinstance(leaf, Ref):
                return leaf
            if leaf.id not in known:
                known[leaf.id] = Ref(OWN + len(known))
                value = _copied(command.values.get(leaf.id))
                if isinstance(value, torch.Tensor):
                    value = value.detach()
                    if grads and value.is_floating_point():
                        value.requires_grad_()
                self.engine.store.put(known[leaf.id].id, Slot(value))
            return known[leaf.id]

        args, kwargs = tree_map(swap, (command.op.args, command.op.kwargs))
        return list(known.values()), args, kwargs

    def _look_at(self, ref: Ref, owns: list[Ref]) -> None:
        for fact in FACTS:
            self.run(fact, ref)
        self.run("python.len", self.run("python.collect", ref))
        self.run("torch.mul", ref, 2.0)
        flat = self.run("torch.reshape", ref, [-1])
        own = self.run("torch.zeros", [3])
        self.run(T + "add_", own, self.run("torch.sum", flat))
        self.run(T + "numel", own)
        self.run(T + "backward", self.run("torch.sum", ref), outs=0)
        for leaf in owns:
            self.run(T + "grad", leaf)
        self.run(T + "zero_", self.run(T + "detach", ref))
        self.run("torch.sum", ref)


def places(command: Kept) -> Iterator[tuple[int, Any]]:
    """Which arguments are a number or a tensor, and which."""
    for place, value in enumerate(command.leaves()):
        if isinstance(value, torch.Tensor):
            if value.layout is torch.strided and value.numel() <= 4096:
                yield place, value.detach()
        elif isinstance(value, bool | int | float):
            yield place, value


def differences(command: Kept) -> Iterator[str]:
    """What shows of one command, by argument and by neighbour."""
    for place, value in places(command):
        for grads in (False, True):
            if (
                isinstance(value, torch.Tensor)
                and grads
                and not any(
                    isinstance(v, torch.Tensor) and v.is_floating_point()
                    for v in command.values.values()
                )
            ):
                continue
            seen = Neighbour(value).tell(command, place, grads=grads)
            for number, other in enumerate(neighbours(value)):
                also = Neighbour(other).tell(command, place, grads=grads)
                if seen != also:
                    yield f"{command.op.name} {place}:{number} grads={grads} {_first(seen, also)}"


def _first(one: list[Any], other: list[Any]) -> str:
    for left, right in zip(one, other, strict=False):
        if left == right:
            continue
        if isinstance(left, list):
            at = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), 0)
            return f"{left[at : at + 3]!r:.300} | {right[at : at + 3]!r:.300}"
        return f"{left!r:.300} | {right!r:.300}"
    return "another number"
