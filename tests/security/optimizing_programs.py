"""Random programs over optimizers, schedulers and their groups, for two engines at once.

Settings are numbers, private numbers, tensors that can be written to, or nothing that fits, so
calls fail half way as often as they work; groups and states are read and written as dicts.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

import torch

from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver

__all__ = ["OptimizingProgram"]

T, D, O, S = "torch.Tensor.", "python.Dict.", "torch.optim.", "torch.optim.lr_scheduler."  # noqa: E741
_OPTIMIZERS: Final = (
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam",
    "RMSprop", "Rprop", "SGD", "Muon",
)  # fmt: skip
_SETTINGS: Final = ("lr", "momentum", "weight_decay", "eps", "initial_lr", "step", "params", "told")
_FLAGS: Final = ("maximize", "differentiable", "capturable", "foreach")
_STATES: Final = ("step", "exp_avg", "momentum_buffer", "prev", "sum", "square_avg")


class OptimizingProgram:
    """Both engines, and what the program has made so far.

    Args:
        draw: of the program and its data.
    """

    def __init__(self, draw: Random) -> None:
        self._draw = draw
        self.engines = [Driver(), Driver()]
        self.sent: list[Any] = []
        self._made: dict[str, list[Ref]] = {}
        made = torch.Generator().manual_seed(draw.randrange(1 << 30))
        wild = draw.choice([1.0, -1.0, 5.0, 0.0, float("nan")])
        for engine, factor in zip(self.engines, (1.0, wild), strict=True):
            self._x = engine.share(torch.rand(6, 4, generator=made) * factor + 0.1)

    def step(self) -> None:
        """A few commands."""
        self._draw.choice(_STEPS)(self)

    def _op(self, kind: str, name: str, *args: Any, outs: int = 1, **kwargs: Any) -> Ref:
        self.sent.append((name, args, kwargs))
        found = [engine.run(name, *args, outs=outs, **kwargs) for engine in self.engines]
        if outs and any(not engine.failures() for engine in self.engines):
            self._made.setdefault(kind, []).append(found[0])
        return found[0] if outs else self._x

    def _do(self, name: str, *args: Any, **kwargs: Any) -> None:
        self._op("", name, *args, outs=0, **kwargs)

    def _put(self, kind: str, value: torch.Tensor) -> Ref:
        found = [engine.put(value.clone()) for engine in self.engines]
        self._made.setdefault(kind, []).append(found[0])
        return found[0]

    def _one(self, *kinds: str) -> Ref:
        """One of the newest of these kinds; without any, what was shared."""
        found = [ref for kind in kinds for ref in self._made.get(kind, ())[-6:]]
        return self._draw.choice(found) if found else self._x

    def _number(self) -> Any:
        number, rate = self._one("number"), self._one("rate")
        return self._draw.choice([0.1, 0.5, 1.0, 0, number, number, rate, rate, None, [number]])

    # what programs do

    def parameter(self) -> None:
        made = self._put("parameter", torch.rand(self._draw.choice([(4,), (6, 4)])))
        self._op("", T + "requires_grad_", made)

    def secret(self) -> None:
        place = self._draw.randrange(6), self._draw.randrange(4)
        self._op("number", T + "item", self._op("private", T + "__getitem__", self._x, place))

    def rate(self) -> None:
        self._put("rate", torch.tensor(self._draw.choice([1.0, 0.5])))
        if self._draw.random() < 0.4:
            self._op("", T + "copy_", self._one("rate"), self._one("private", "rate"))

    def group(self) -> None:
        few = self._draw.sample(_SETTINGS[:4] + _FLAGS, self._draw.randrange(3))
        settings = [(k, True if k in _FLAGS else self._number()) for k in few]
        self._op("group", "python.Dict", [("params", [self._one("parameter")]), *settings])

    def optimizer(self) -> None:
        kinds = self._draw.choice([["parameter"], ["group"], ["group", "group"]])
        settings = {"lr": self._number()} if self._draw.random() < 0.7 else {}
        if self._draw.random() < 0.3:
            settings[self._draw.choice(("weight_decay", "momentum", *_FLAGS))] = self._number()
        name = O + self._draw.choice(_OPTIMIZERS)
        self._op("optimizer", name, [self._one(kind) for kind in kinds], **settings)

    def scheduler(self) -> None:
        n = self._number
        name, args = self._draw.choice([
            ("StepLR", (3, n())), ("OneCycleLR", (n(), 10)), ("CyclicLR", (n(), n())),
            ("LinearLR", (n(), n(), 3)), ("ConstantLR", (n(), 3)), ("LambdaLR", (n(),)),
            ("MultiplicativeLR", (n(),)), ("SWALR", (n(),)), ("ExponentialLR", (n(),)),
            ("CosineAnnealingLR", (3, n())), ("PolynomialLR", (4, n())),
            ("MultiStepLR", ([0, 2], n())), ("ReduceLROnPlateau", ("min", n())),
        ])  # fmt: skip
        self._op("scheduler", S + name, self._one("optimizer"), *args)

    def backward(self) -> None:
        factor = self._draw.choice([self._x, 2.0, self._one("number")])
        loss = self._op("", "torch.sum", self._op("", "torch.mul", self._one("parameter"), factor))
        self._do(T + "backward", loss)

    def move(self) -> None:
        self._do(O + "Optimizer.step", self._one("optimizer"))

    def reschedule(self) -> None:
        given = [self._number()] if self._draw.random() < 0.4 else []
        self._do(S + "LRScheduler.step", self._one("scheduler"), *given)

    def state(self) -> None:
        state = self._op("state", O + "Optimizer.state_dict", self._one("optimizer"))
        one = self._op(
            "group", D + "__getitem__", self._op("", D + "__getitem__", state, "state"), 0
        )
        self._op("rate", D + "__getitem__", one, self._draw.choice(_STATES))

    def load(self) -> None:
        self._do(O + "Optimizer.load_state_dict", self._one("optimizer"), self._one("state"))

    def add(self) -> None:
        self._do(O + "Optimizer.add_param_group", self._one("optimizer"), self._one("group"))

    def write(self) -> None:
        key, value = self._draw.choice(_SETTINGS), self._number()
        self._do(D + "__setitem__", self._one("group"), key, self._draw.choice([value, [value]]))

    def read(self) -> None:
        groups = self._op("", O + "Optimizer.param_groups", self._one("optimizer"))
        self._op("group", "python.List.__getitem__", groups, 0)
        self._op("group", O + "Optimizer.defaults", self._one("optimizer"))

    def clip(self) -> None:
        self._op("", "torch.nn.utils.clip_grad_norm_", [self._one("parameter")], self._number())

    def combine(self) -> None:
        inner = [self._one("scheduler"), self._one("scheduler")]
        if self._draw.random() < 0.5:
            self._op("scheduler", S + "ChainedScheduler", inner)
        else:
            self._op("scheduler", S + "SequentialLR", self._one("optimizer"), inner, [1])

    def follow(self) -> None:
        before = self._one("parameter")
        self.parameter()
        self._do(O + "Optimizer.follow", self._one("optimizer"), [before], [self._one("parameter")])


_P = OptimizingProgram
_STEPS: Final[tuple[Callable[[OptimizingProgram], None], ...]] = (
    _P.parameter, _P.secret, _P.rate, _P.rate, _P.group, _P.group, _P.optimizer, _P.optimizer,
    _P.scheduler, _P.scheduler, _P.backward, _P.backward, _P.move, _P.move, _P.reschedule, _P.state,
    _P.load, _P.add, _P.write, _P.read, _P.clip, _P.combine, _P.follow,
)  # fmt: skip
