"""What a small training step costs in the engine alone: ``python scripts/step_cost.py``.

The iris network (4-20-30-3) and an optimizer, run as commands one by one, as a recorded plan (each
run in a message of its own, and ten in one, as a loop's are that reads nothing in between), and by
torch itself: CPU time of one thread in one process, by turns, so that other work on the machine
counts for all three alike. The wire is not in it.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import torch
import torch.nn.functional as F

from duet_p2p.engine.engine import Engine
from duet_p2p.engine.messages import Configure, Run, Share
from duet_p2p.surface.values import pack, to_wire
from duet_p2p.wire.messages import DefinePlan, Del, Op, PlanStep, Put, RunPlan
from duet_p2p.wire.values import Ref

__all__ = ["measure"]

SIZES: Final = ((20, 4), (30, 20), (3, 30))
MANY: Final = "recorded, ten a message"
_AT_ONCE: Final = 10
OPTIMIZERS: Final = {"Adadelta": {"lr": 0.1}, "Adam": {"lr": 0.01}, "SGD": {"lr": 0.1}}


class Remote:
    """An engine with the network's parameters, an optimizer and the owner's data."""

    def __init__(self, optimizer: str) -> None:
        self.engine = Engine(is_alone=True)  # as in a process of its own
        self.engine.handle(Configure({}, {}, 1))
        self._seqs = itertools.count(1)
        self._ids = itertools.count(1)
        for id, value in ((-1, torch.rand(150, 4)), (-2, torch.randint(0, 3, (150,)))):
            packed = pack(value)
            self.engine.handle(
                Share(id, packed.value, b"".join(packed.buffers), "torch.Tensor", (), "", True)
            )
        self.parameters = [self._put(p) for p in _parameters()]
        of = self.op("python.List", [])
        for parameter in self.parameters:
            self.op("python.List.append", of, parameter, outs=0)
        self.optimizer = self.op(f"torch.optim.{optimizer}", of, **OPTIMIZERS[optimizer])
        self.plan = next(self._ids)
        number = {ref.id: n for n, ref in enumerate(self._captures(), 1)}
        steps, loss = _commands(self._captures(), itertools.count(len(number) + 1))
        plan = tuple(
            PlanStep(op.name, op.outs, _renumbered(op.args, number), op.kwargs, op.mode)
            for op in steps
        )
        captures = tuple(ref.id for ref in self._captures())
        self.send(DefinePlan(self.plan, "step", 0, captures, plan, (loss,), True))

    def _captures(self) -> list[Ref]:
        return [Ref(-1), Ref(-2), self.optimizer, *self.parameters]

    def send(self, *commands: Any) -> None:
        """Commands in one batch; nothing may fail."""
        events = self.engine.handle(Run(tuple([(next(self._seqs), c) for c in commands])))
        assert not [e for e in events if type(e).__name__ == "OpFailed"], events

    def op(self, name: str, *args: Any, outs: int = 1, **kwargs: Any) -> Ref:
        """One command; its result."""
        ids = tuple([next(self._ids) for _ in range(outs)])
        self.send(Op(name, ids, args, kwargs, "g"))
        return Ref(ids[0] if ids else 0)

    def _put(self, value: torch.Tensor) -> Ref:
        id = next(self._ids)
        self.send(Put((id,), (to_wire(value, None, 1 << 20),), None))
        return Ref(id)

    def eager(self) -> None:
        """One step, command by command; results die as the client's pointers would."""
        ops, _ = _commands(self._captures(), self._ids)
        made = tuple([id for op in ops for id in op.outs])
        self.send(*ops, Del(made))

    def recorded(self, runs: int = 1) -> None:
        """Runs of the plan, in one message."""
        commands: list[Any] = []
        for _ in range(runs):
            id = next(self._ids)
            commands += (RunPlan(self.plan, (), (id,), 0), Del((id,)))
        self.send(*commands)


def _parameters() -> list[torch.Tensor]:
    return [
        torch.randn(shape).mul_(0.1).requires_grad_()
        for out, of in SIZES for shape in ((out, of), (out,))
    ]  # fmt: skip


def _renumbered(args: tuple[Any, ...], number: dict[int, int]) -> tuple[Any, ...]:
    return tuple([Ref(number.get(a.id, a.id)) if isinstance(a, Ref) else a for a in args])


def _commands(captures: list[Ref], ids: Any) -> tuple[list[Op], int]:
    """The commands of one step, and the id of its loss."""
    x, target, optimizer, *parameters = captures
    ops = [Op("torch.optim.Optimizer.zero_grad", (), (optimizer,), {}, "g")]

    def run(name: str, *args: Any, **kwargs: Any) -> Ref:
        ops.append(Op(f"torch.nn.functional.{name}", (next(ids),), args, kwargs, "g"))
        return Ref(ops[-1].outs[0])

    for layer in range(3):
        x = run("linear", x, *parameters[2 * layer : 2 * layer + 2])
        x = run("relu", x) if layer < 2 else run("log_softmax", x, dim=1)
    loss = run("nll_loss", x, target)
    ops.append(Op("torch.Tensor.backward", (), (loss,), {}, "g"))
    ops.append(Op("torch.optim.Optimizer.step", (), (optimizer,), {}, "g"))
    return ops, loss.id


def _local(optimizer: str) -> Callable[[], None]:
    x, target, parameters = torch.rand(150, 4), torch.randint(0, 3, (150,)), _parameters()
    steps = getattr(torch.optim, optimizer)(parameters, **OPTIMIZERS[optimizer])

    def step() -> None:
        steps.zero_grad()
        y = x
        for layer in range(3):
            y = F.linear(y, *parameters[2 * layer : 2 * layer + 2])
            y = F.relu(y) if layer < 2 else F.log_softmax(y, dim=1)
        F.nll_loss(y, target).backward()
        steps.step()

    return step


def measure(optimizer: str, rounds: int = 60, steps: int = 20) -> dict[str, tuple[float, float]]:
    """Median CPU seconds of a step and the median of its ratios to local ones, by way."""
    remote = Remote(optimizer)
    ways: dict[str, Callable[[], None]] = {
        "local": _local(optimizer),
        "recorded": remote.recorded,
        MANY: lambda: remote.recorded(_AT_ONCE),
        "eager": remote.eager,
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds + 2):
        for way, step in ways.items():
            begin = time.process_time()
            at_once = _AT_ONCE if way == MANY else 1
            calls = max(1, steps // at_once)
            for _ in range(calls):
                step()
            times[way].append((time.process_time() - begin) / (calls * at_once))
    kept = {way: found[2:] for way, found in times.items()}
    return {
        way: (median(found), median(a / b for a, b in zip(found, kept["local"], strict=True)))
        for way, found in kept.items()
    }


def main() -> None:
    """Prints milliseconds of CPU per step, and what that is in local steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    for optimizer in OPTIMIZERS:
        for way, (seconds, ratio) in measure(optimizer, rounds).items():
            print(f"{optimizer}, {way}: {seconds * 1e3:.2f} ms of CPU ({ratio:.2f} local)")


if __name__ == "__main__":
    main()
