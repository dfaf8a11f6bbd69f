"""Training steps, eager and recorded, against the same step on a local tensor."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

import duet_p2p as sy
from duet_p2p.demo.net import SyNet
from scripts.benchmark.operations import _stored
from scripts.benchmark.pair import Pair, get, shared_pair
from scripts.benchmark.rows import Report, Row, median, timed

__all__ = ["measure"]


class Iris(sy.Module):
    """Three linear layers, 4-20-30-3."""

    def __init__(self, torch_ref: Any) -> None:
        super().__init__(torch_ref=torch_ref)
        self.fc1 = self.torch_ref.nn.Linear(4, 20)
        self.fc2 = self.torch_ref.nn.Linear(20, 30)
        self.fc3 = self.torch_ref.nn.Linear(30, 3)

    def forward(self, x: Any) -> Any:
        """Measures of shape (N, 4) to log-probabilities of shape (N, 3)."""
        functional = self.torch_ref.nn.functional
        x = functional.relu(self.fc1(x))
        x = functional.relu(self.fc2(x))
        return functional.log_softmax(self.fc3(x), dim=1)


class Wide(torch.nn.Module):
    """Two square layers: `width` squared twice is the number of parameters."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one = torch.nn.Linear(width, width)
        self.two = torch.nn.Linear(width, width)

    def forward(self, x: Any) -> Any:
        """Rows of `width` numbers to rows of `width` log-probabilities."""
        return F.log_softmax(self.two(F.relu(self.one(x))), dim=1)


def measure(report: Report, *, repeats: int, curve_to: int, mnist_steps: int) -> None:
    """MNIST and iris, and the curve of the recorded step over the number of parameters.

    Args:
        report: takes the rows.
        repeats: of each figure; the median of the ratios counts.
        curve_to: most parameters of the curve.
        mnist_steps: in one measured run of the MNIST network.
    """
    with shared_pair() as session:
        torch.manual_seed(0)
        mnist = _ratios(session, SyNet(torch), (64, 1, 28, 28), 10, mnist_steps, repeats)
        report.add(
            Row("MNIST step (4.8 MB, batch 64), eager", mnist[0], "×", _of(mnist), 1.10),
            Row("the same with `@duet.step`", mnist[1], "×", "of local", 1.05),
        )
        iris = _ratios(session, Iris(torch), (150, 4), 3, 50, repeats)
        report.add(
            Row("iris step (4-20-30-3), eager", iris[0], "×", _of(iris), 3.0),
            Row("the same with `@duet.step`", iris[1], "×", "of local", 1.3),
        )
        size = 1000
        while size <= curve_to:
            width = max(4, round((size / 2) ** 0.5))
            steps = 20 if size <= 10**5 else 5 if size <= 10**6 else 1
            found = _ratios(session, Wide(width), (64, width), width, steps, 3)
            report.point("step ratio: eager", 2 * width * width, found[0])
            report.point("step ratio: recorded", 2 * width * width, found[1])
            size *= 10


def _of(found: tuple[float, float, float]) -> str:
    return f"of local, {found[2] * 1e3:.2f} ms, {torch.get_num_threads()} threads on both sides"


def _ratios(
    session: Pair, net: Any, shape: tuple[int, ...], classes: int, steps: int, repeats: int
) -> tuple[float, float, float]:
    """Eager and recorded against local, and the seconds of a local step.

    The three take turns, with as many threads and the same data, so that only the way differs.
    """
    make = (
        "torch.manual_seed(1)\n"
        f"x = torch.randn({shape})\ny = torch.randint(0, {classes}, ({shape[0]},))\n"
    )
    tags = [f"{name} {shape} {classes}" for name in "xy"]
    session.owner.run(f"{make}x.tag({tags[0]!r}).send(duet)\ny.tag({tags[1]!r}).send(duet)\n1")
    data, target = (_stored(session, tag) for tag in tags)
    local_data: dict[str, Any] = {"torch": torch}
    exec(make, local_data)
    rt = session.duet.torch
    local = _training(copy.deepcopy(net), torch, local_data["x"], local_data["y"], steps)
    eager = _training(net.send(session.duet), rt, data, target, steps)
    recorded = _training(net.send(session.duet), rt, data, target, steps, record=session.duet.step)
    local(), eager(), recorded(), recorded()
    mine, ratios = [], ([], [])  # type: ignore[var-annotated]
    for _ in range(repeats):  # by turns, so that the machine's moods hit all
        mine.append(timed(local) / steps)
        ratios[0].append(timed(eager) / steps / mine[-1])
        ratios[1].append(timed(recorded) / steps / mine[-1])
    return median(ratios[0]), median(ratios[1]), median(mine)


def _training(
    net: Any,
    where: Any,
    data: Any,
    target: Any,
    steps: int,
    record: Callable[[Any], Any] | None = None,
) -> Callable[[], object]:
    """One measured run: some steps with Adadelta, and the loss read at the end."""
    optimizer = where.optim.Adadelta(net.parameters(), lr=0.1)
    functional = F if where is torch else where.nn.functional

    def step() -> Any:
        optimizer.zero_grad()
        loss = functional.nll_loss(net(data), target)
        loss.backward()
        optimizer.step()
        return loss

    run_step = step if record is None else record(step)

    def run() -> object:
        for _ in range(steps):
            loss = run_step()
        value = loss.item()
        return value if isinstance(value, float) else get(value)

    return run
