"""Random programs of gradients: leaves and inner tensors, what holds them, scales and steps along.

Every tensor has three numbers, so that most commands fit. Operands are chosen by what they are in
one of the engines: public, in a graph, with a gradient. Single calls of any name are the subject of
random_programs.py; here it is what one command leaves for the next ones.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import is_private
from duet_p2p.engine.facts import label_of_slot
from duet_p2p.engine.store import Slot
from duet_p2p.surface.values import to_wire
from duet_p2p.wire.messages import Op, Put
from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver

__all__ = ["GradientProgram"]

T, OPT, CLIP = "torch.Tensor.", "torch.optim.Optimizer.", "torch.nn.utils.clip_grad_"
LATEST: Final = 25
"""Operands are among so many of the newest tensors."""
_KINDS: Final = ("SGD", "SGD", "Adam", "RMSprop", "Adagrad", "Adadelta", "ASGD", "Adamax", "AdamW")
_STATE: Final = ("exp_avg", "momentum_buffer", "square_avg", "sum", "step")


class GradientProgram:
    """One program, which runs in two engines while it is drawn.

    Args:
        draw: decides everything.
        one, other: engines that have each shared one tensor of three numbers.

    Attributes:
        count: of the ids that it used, from 1 on.
        sent: its commands.
    """

    def __init__(self, draw: Random, one: Driver, other: Driver) -> None:
        self._draw, self._engines = draw, (one, other)
        self.count = 0
        self.sent: list[Any] = []
        self._tensors: list[Ref] = [Ref(-1)]
        self._optimizers: list[Ref] = []
        for _ in range(3):
            self._leaf()
        self._op("torch.mul", self._own(), 1.0)
        self._op("torch.mul", self._own(), Ref(-1))

    def step(self) -> None:
        """One more thing that a program does."""
        makers = (self._leaf, self._arithmetic, self._view, self._write, self._hold, self._backward,
                  self._clip, self._optimizer, self._move, self._regroup, self._norm)  # fmt: skip
        self._draw.choices(makers, (1, 4, 2, 3, 3, 3, 1, 1, 3, 1, 1))[0]()

    # commands

    def _send(self, command: Any) -> None:
        self.sent.append(command)
        for engine in self._engines:
            engine.send(command)

    def _op(self, name: str, *args: Any, outs: int = 1, mode: str = "g", **kwargs: Any) -> Ref:
        def wired(value: Any) -> Any:
            return to_wire(value, None, 1 << 30, refer=lambda v: v if isinstance(v, Ref) else None)

        ids = tuple(range(self.count + 1, self.count + 1 + outs))
        self.count += outs
        self._send(Op(name, ids, wired(args), wired(kwargs), mode))
        return Ref(self.count)

    def _made(self, name: str, *args: Any, **kwargs: Any) -> Ref:
        """Runs something that gives a tensor."""
        made = self._op(name, *args, **kwargs)
        self._tensors.append(made)
        return made

    def _do(self, name: str, *args: Any, **kwargs: Any) -> None:
        self._op(name, *args, outs=0, **kwargs)

    # operands

    def _any(self) -> Ref:
        return self._draw.choice(self._tensors[-8:] if self._draw.random() < 0.6 else self._tensors)

    def _that(self, fits: Callable[[torch.Tensor, bool], bool]) -> Ref:
        """A tensor of this kind, if there is one; `fits` is told whether it is private."""
        store, lineage = self._engines[0].engine.store, self._engines[0].engine.lineage

        def is_one(slot: Slot | None) -> bool:
            if slot is None or not isinstance(slot.value, torch.Tensor):
                return False
            return fits(slot.value, is_private(label_of_slot(slot, lineage)))

        found = [ref for ref in self._tensors[-LATEST:] if is_one(store.find(ref.id))]
        return self._draw.choice(found) if found else self._any()

    def _public(self) -> Ref:
        return self._that(lambda t, private: not private)

    def _joined(self) -> Ref:
        return self._that(lambda t, private: t.requires_grad)

    def _own(self) -> Ref:
        return self._that(lambda t, private: t.requires_grad and not private)

    def _inner(self) -> Ref:
        return self._that(lambda t, private: t.requires_grad and not (t.is_leaf or private))

    def _moved(self) -> Ref:
        """What an optimizer takes."""
        return self._that(lambda t, private: (t.is_leaf or t.retains_grad) and not private)

    def _holding(self) -> Ref:
        return self._that(lambda t, private: t.requires_grad and t.grad is not None)

    # steps

    def _leaf(self) -> None:
        self.count += 1
        made = torch.Generator().manual_seed(self._draw.randrange(1 << 30))
        value = torch.rand(3, generator=made, dtype=torch.float64)
        value.requires_grad_(self._draw.random() < 0.6)
        self._send(Put((self.count,), (to_wire(value, None, 1 << 30),), None))
        self._tensors.append(Ref(self.count))

    def _arithmetic(self) -> None:
        d = self._draw
        first = d.choice((self._any, self._public, self._own))()
        if d.random() < 0.3:
            self._made("torch." + d.choice(("exp", "clone", "detach", "tanh", "sum")), first)
        else:
            other = d.choice((self._any(), self._public(), 2.0))
            self._made("torch." + d.choice(("mul", "add", "sub", "div")), first, other)

    def _view(self) -> None:
        base = self._any()
        self._draw.choice((
            lambda: self._made(T + "__getitem__", base, slice(0, 2)),
            lambda: self._made(T + "view_as", base, base),
            lambda: self._made(T + "data", base),
            lambda: self._made("torch.nn.Parameter", base),
            lambda: self._made(T + "expand", self._made("torch.sum", base), 3),
        ))()  # fmt: skip

    def _write(self) -> None:
        d, target = self._draw, self._any()
        mode, other = d.choice("gnni"), self._any()
        name = d.choice(("add_", "mul_", "copy_", "zero_", "fill_", "__setitem__", "data="))
        if name == "zero_":
            behind = self._that(lambda t, private: private or t.requires_grad)
            self._op(T + name, behind, mode=mode)
        elif name == "__setitem__":
            self._do(T + name, target, slice(0, 2), d.choice((0.5, other)), mode=mode)
        elif name == "data=":
            self._do(T + name, target, other, mode=mode)
        else:
            self._op(T + name, target, 0.5 if name == "fill_" else other, mode=mode)

    def _hold(self) -> None:
        d = self._draw
        d.choice((
            lambda: self._do(T + "retain_grad", self._inner()),
            lambda: self._do(T + "grad=", d.choice((self._any, self._inner))(), self._any()),
            lambda: self._do(T + "grad=", self._any(), None),
            lambda: self._made(T + "grad", d.choice((self._holding, self._joined))()),
            lambda: self._made(T + "grad", d.choice((self._holding, self._joined))()),
            lambda: self._op(T + "requires_grad_", self._any(), d.random() < 0.8),
        ))()  # fmt: skip

    def _backward(self) -> None:
        d = self._draw
        root = self._op("torch.sum", d.choice((self._joined, self._own))())
        if d.random() < 0.15:
            self._made("torch.autograd.grad", root, [self._joined()], allow_unused=True)
            return
        keeps = {"create_graph": d.random() < 0.4, "retain_graph": d.choice((None, True))}
        self._do(T + "backward", root, **keeps)

    def _clip(self) -> None:
        name = CLIP + self._draw.choice(("norm_", "norm_", "value_"))
        self._op(name, [self._holding(), self._holding()], 0.3, outs=int(name.endswith("norm_")))

    def _optimizer(self) -> None:
        d = self._draw
        moved = [d.choice((self._moved, self._any))() for _ in range(d.choice((1, 1, 2)))]
        settings: dict[str, Any] = {"lr": 0.1, "differentiable": d.random() < 0.5}
        kind = d.choice(_KINDS)
        if kind == "SGD":
            settings["momentum"] = d.choice((0, 0.9))
        self._optimizers.append(self._op("torch.optim." + kind, moved, **settings))

    def _move(self) -> None:
        if self._optimizers:
            optimizer, d = self._draw.choice(self._optimizers[-3:]), self._draw
            if d.random() < 0.7:
                self._do(OPT + "step", optimizer)
            else:
                self._do(OPT + "zero_grad", optimizer, d.random() < 0.5)

    def _regroup(self) -> None:
        if not self._optimizers:
            return
        d, optimizer = self._draw, self._draw.choice(self._optimizers[-3:])
        state = self._op(OPT + "state_dict", optimizer)
        groups = self._op(OPT + "param_groups", optimizer)
        group = self._op("python.List.__getitem__", groups, 0)
        kind = d.random()
        if kind < 0.3:
            held = self._op("python.Dict.__getitem__", group, "params")
            self._do("python.List.append", held, self._joined())
        elif kind < 0.5:
            rate = self._op("torch.sum", self._any())
            self._do("python.Dict.__setitem__", group, d.choice(("lr", "weight_decay")), rate)
        elif kind < 0.7:
            self._do(OPT + "load_state_dict", d.choice(self._optimizers), state)
        else:
            of_all = self._op("python.Dict.__getitem__", state, "state")
            of_first = self._op("python.Dict.__getitem__", of_all, 0)
            self._made("python.Dict.__getitem__", of_first, d.choice(_STATE))

    def _norm(self) -> None:
        table = self._op(T + "expand", self._op("torch.reshape", self._any(), [-1, 1]), -1, 3)
        self._made("torch.nn.functional.batch_norm", table, self._public(), self._public(),
                   training=self._draw.random() < 0.8)  # fmt: skip
