"""Random programs over odd but possible values, in which no command may fail inside the engine.

The values are tensors of every type and state that torch's own operations leave: views that were
made without gradients or whose base was written to, inference tensors, graphs that are used up,
gradients with graphs, lazy conjugates, nothing at all; some are private, hidden or have failed. Any
name is called with any of them. Most calls are refused, as they would be anywhere.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from random import Random
from typing import Any, Final

import torch
from torch.distributions import Distribution
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset

from duet_p2p.engine import messages as m
from duet_p2p.engine.labels import Kind, Label
from duet_p2p.engine.store import Poison, Slot
from duet_p2p.surface.table import TABLE
from duet_p2p.wire.messages import Del, Op
from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver

__all__ = ["ODD", "OddProgram", "told_by"]

T, OPT = "torch.Tensor.", "torch.optim.Optimizer."
NAMES: Final = sorted(TABLE)
BELOW: Final[dict[str, list[str]]] = defaultdict(list)
for _name in NAMES:
    BELOW[_name.rpartition(".")[0]].append(_name)
OF_TYPES: Final[dict[str, Any]] = {
    "torch.Tensor": torch.Tensor, "torch.optim.Optimizer": Optimizer,
    "torch.optim.lr_scheduler.LRScheduler": LRScheduler,
    "torch.distributions.Distribution": Distribution, "torch.utils.data.DataLoader": DataLoader,
    "torch.utils.data.Dataset": Dataset, "torch.Size": torch.Size, "python.Bool": bool,
    "python.Int": int, "python.Float": float, "python.Complex": complex, "python.String": str,
    "python.OrderedDict": OrderedDict, "python.Dict": dict, "python.List": list,
    "python.Set": set, "python.Range": range, "python.Slice": slice, "python.Tuple": tuple,
}  # fmt: skip
"""What methods of these names are called on; the first that fits."""
OF_GRAPHS: Final = [
    T + "backward", "torch.autograd.grad", T + "grad", T + "grad=", T + "data=", T + "detach_",
    T + "requires_grad_", T + "retain_grad", T + "requires_grad=", T + "__setitem__",
    "torch.nn.utils.clip_grad_norm_", "torch.nn.utils.clip_grad_value_", "torch.split", T + "mul_",
]  # fmt: skip
PLAIN: Final = [
    0, 1, -1, 2, None, True, False, "lr", 0.5, [1, 2], (2,), slice(0, 1), ..., float("nan"),
    1 << 70, "a", 1j, torch.float32, [], {}, {"lr": 0.1},
]  # fmt: skip
PRIVATE: Final = Label(Kind.PER_RECORD, frozenset({7}), frozenset(), 1, False)


def _leaf(t: torch.Tensor) -> torch.Tensor:
    return t.detach().clone().requires_grad_()


def _broken(t: torch.Tensor) -> torch.Tensor:
    base = _leaf(torch.stack([t, t])) * 1
    views = base.unbind()
    base.mul_(1.5)
    return views[0]


def _without(mode: Any, *, is_written: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    def made(t: torch.Tensor) -> torch.Tensor:
        base = _leaf(t) * 1
        with mode():
            view = base.view_as(base)
        return view if not is_written else (base.mul_(1.0), view)[1]

    return made


def _behind_backward(t: torch.Tensor, *, has_graph: bool) -> torch.Tensor:
    leaf = _leaf(t)
    leaf.square().sum().backward(create_graph=has_graph)
    return leaf


def _used_up(t: torch.Tensor) -> torch.Tensor:
    inner = _leaf(t).exp()
    inner.retain_grad()
    inner.sum().backward()
    return inner


def _inference(t: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return t.clone()


ODD: Final[dict[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "plain": torch.clone, "leaf": _leaf, "inner": lambda t: _leaf(t) * 1, "broken": _broken,
    "view": lambda t: _leaf(t).view_as(t), "no_grad": _without(torch.no_grad, is_written=False),
    "no_grad, written": _without(torch.no_grad, is_written=True), "inference": _inference,
    "inference view": _without(torch.inference_mode, is_written=True), "used up": _used_up,
    "gradient": lambda t: _behind_backward(t, has_graph=False),
    "graph of a gradient": lambda t: _behind_backward(t, has_graph=True),
    "parameter": lambda t: torch.nn.Parameter(t.clone()), "nothing": lambda t: t[:0].clone(),
    "number": lambda t: t.sum(), "expanded": lambda t: t[:1].expand_as(t), "mT": lambda t: t.mT,
    "conj": lambda t: t.to(torch.complex64).conj(), "bool": torch.Tensor.bool,
    "neg": lambda t: t.to(torch.complex64).conj().imag, "nan": lambda t: t * float("nan"),
    **{str(dtype): lambda t, dtype=dtype: t.to(dtype) for dtype in (  # type: ignore[misc]
        torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn, torch.uint8,
        torch.uint16, torch.uint64, torch.int16, torch.int64, torch.complex32,
    )},
}  # fmt: skip
STATES: Final = ("public", "public", "private", "hidden", "stand-in", "missing")


class OddProgram:
    """One program in an engine of its own."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        torch.manual_seed(seed)
        self.driver = Driver()
        self._ids = [self.driver.share(torch.rand(6, 3)).id]
        for _ in range(8):
            self._ids.append(self._placed(self._random.choice([*ODD]), self._random.choice(STATES)))

    def _placed(self, kind: str, state: str) -> int:
        value, lineage = ODD[kind](torch.rand(4, 4)), self.driver.engine.lineage
        self.driver.next_id += 1
        poison = Poison(1, "torch.zeros", "RuntimeError", "RuntimeError: -", False, PRIVATE)
        slot, entry = Slot(value), lineage.own(value)
        lineage.has_leaves = True
        if state in ("stand-in", "missing"):
            lineage.has_poison = True
        if state == "missing":
            slot = Slot(poison, PRIVATE)
        elif state != "public":
            entry.label, entry.hidden = PRIVATE, state == "hidden"
            entry.poison = poison if state == "stand-in" else None
        self.driver.engine.store.put(self.driver.next_id, slot)
        return self.driver.next_id

    def run(self, count: int) -> None:
        """So many commands, and looks at what there is."""
        for _ in range(count):
            if self._random.random() < 0.1:
                self._look(self._random.choice(self._ids))
                continue
            name, args = self._command()
            outs = tuple(range(self.driver.next_id + 1, self.driver.next_id + 1
                               + self._random.choice([0, 1, 1, 1, 2])))  # fmt: skip
            self.driver.next_id += len(outs)
            wire = self.driver._wire(tuple(args))
            self.driver.send(Op(name, outs, wire, {}, self._random.choice("gggni")))
            self._ids += [id for id in outs if self.driver.engine.store.find(id) is not None]
            if len(self._ids) > 40:
                gone, self._ids = self._ids[9:24], self._ids[:9] + self._ids[24:]
                self.driver.send(Del(tuple(gone)))

    def _command(self) -> tuple[str, list[Any]]:
        choose, kind = self._random.choice, self._random.random()
        first = self._any()
        more = [self._argument() for _ in range(choose([0, 0, 1, 1, 2]))]
        if kind < 0.35:
            slot = self.driver.engine.store.find(first.id)
            value = None if slot is None else slot.value
            fits = [name for name, cls in OF_TYPES.items() if isinstance(value, cls)]
            return choose(BELOW[fits[0] if fits else "python.Any"]), [first, *more]
        if kind < 0.5:
            return choose(OF_GRAPHS), [first, *more]
        if kind < 0.6:
            return choose(BELOW["torch.optim"]), [[first, *more[:1]], 0.1]
        if kind < 0.7:
            return choose(BELOW["python"] + BELOW["torch.utils.data"]), [first, *more]
        return choose(NAMES), [first, *more]

    def _any(self) -> Ref:
        return Ref(self._random.choice(self._ids))

    def _argument(self) -> Any:
        kind = self._random.random()
        if kind < 0.5:
            return self._any()
        if kind < 0.6:
            return [self._any(), self._any()]
        return {"params": [self._any()]} if kind < 0.65 else self._random.choice(PLAIN)

    def _look(self, id: int) -> None:
        d = self.driver
        d.next_call += 1
        d.engine.handle(m.Snapshot(d.next_call, id, self._random.choice(["with", "after"])))
        d.engine.finish()
        d.engine.handle(m.Peek(d.next_call, 200))
        d.engine.handle(m.Release(d.next_call))
        d.engine.handle(m.Read(d.next_call, id))


def told_by(seed: int, count: int) -> list[str]:
    """What the engine wrote into its log in one program."""
    told: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(  # type: ignore[method-assign]
        f"{record.getMessage()}: {record.exc_info[1] if record.exc_info else ''}"
    )
    log = logging.getLogger("duet_p2p")
    log.addHandler(handler)
    try:
        OddProgram(seed).run(count)
    finally:
        log.removeHandler(handler)
    return told
