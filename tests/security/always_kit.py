"""A training loop for which a loss is accepted always, and what its owner's side says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from duet_p2p.engine.messages import Facts
from duet_p2p.owner.binding import Binding, always_text
from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver, digits

X, Y = Ref(-1), Ref(-2)
T, F, OPTIM = "torch.Tensor.", "torch.nn.functional.", "torch.optim."
STEP, MOVE = OPTIM + "Optimizer.step", OPTIM + "lr_scheduler.LRScheduler.step"
CLIP = "torch.nn.utils.clip_grad_norm_"


class Loop:
    """A training loop on a loader, one command after the other, as its scientist writes it."""

    def __init__(
        self, kind: str = "SGD", *, drop: float = 0.0, clip: float = 0.0, added: int = 1,
        scaled: str = "", schedule: tuple[str, dict[str, Any]] | None = None, **settings: Any,
    ) -> None:  # fmt: skip
        self.driver = driver = Driver()
        images, targets = digits(256)
        driver.share(images.flatten(1))
        driver.share(targets)
        self.drop = drop
        self.settings = {"lr": 0.1, **settings}
        self.weights = self.parameter(torch.linspace(-1, 1, 640).reshape(10, 64))
        self.more = self.parameter(torch.linspace(0, 1, 4096).reshape(64, 64))
        self.statistics = [driver.put(torch.zeros(64)), driver.put(torch.ones(64))]
        self.optimizer = self.optim(kind, [self.weights, self.more], **self.settings)
        self.clip = clip
        self.added, self.scaled = added, scaled
        self.schedule = None if schedule is None else self.scheduled(schedule[0], **schedule[1])
        self.loader = self.batches()
        self.left = 0

    def do(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.driver.ok(name, *args, **kwargs)

    def parameter(self, values: torch.Tensor) -> Ref:
        return self.do("torch.nn.Parameter", self.driver.put(values))

    def optim(self, kind: str, parameters: list[Ref], **settings: Any) -> Ref:
        return self.do(OPTIM + kind, parameters, **settings)

    def batches(self, **settings: Any) -> Ref:
        data = self.do("torch.utils.data.TensorDataset", X, Y)
        return self.do("torch.utils.data.DataLoader", data, **{"batch_size": 64, **settings})

    def loss(self, iterator: Ref | None = None) -> Ref:
        if iterator is None:
            if not self.left:
                self.iterator, self.left = self.do("python.iter", self.loader), 4
            self.left -= 1
        batch = self.do("python.next", iterator or self.iterator)
        x, y = (self.do("python.List.__getitem__", batch, place) for place in (0, 1))
        out = self.do(F + "linear", x, self.more)
        out = self.do(F + "batch_norm", out, *self.statistics, training=True)
        if self.drop:
            out = self.do(F + "dropout", out, self.drop)
        return self.do(F + "cross_entropy", self.do(F + "linear", out, self.weights), y)

    def zero(self, **settings: Any) -> None:
        self.do(OPTIM + "Optimizer.zero_grad", self.optimizer, **settings)

    def backward(self, loss: Ref, **settings: Any) -> None:
        self.do(T + "backward", loss, outs=0, **settings)

    def step(self) -> None:
        self.do(STEP, self.optimizer, outs=0)

    def scheduled(self, kind: str, **settings: Any) -> Ref:
        return self.do(OPTIM + "lr_scheduler." + kind, self.optimizer, **settings)

    def move(self, schedule: Ref | None = None, *args: Any) -> None:
        self.do(MOVE, schedule or self.schedule, *args, outs=0)

    def clipped(self, most: float) -> None:
        self.do(CLIP, [self.weights, self.more], most)

    def train(self) -> Ref:
        self.zero()
        for _ in range(self.added):
            loss = self.divided()
        if self.clip:
            self.clipped(self.clip)
        self.step()
        if self.schedule is not None:
            self.move()
        return loss

    def divided(self) -> Ref:
        """A loss and its backward, by one of the ways in which a mean of several is written."""
        loss = self.loss()
        if self.scaled == "for backward":
            self.backward(self.do(T + "__truediv__", loss, 3))
            return loss
        if self.scaled:
            name = "__itruediv__" if self.scaled == "in place" else "__truediv__"
            loss = self.do(T + name, loss, 3)
        self.backward(loss)
        return self.do(T + "__mul__", loss, 3) if self.scaled == "and back" else loss

    def facts(self, ref: Ref) -> Facts:
        return self.driver.facts(ref)

    def first(self) -> Binding:
        """What the owner binds to the first loss, asked for as a number."""
        facts = self.facts(self.do(T + "item", self.train()))
        assert len(facts.writers) == 1, "statistics alone were written"
        many = 3 + bool(self.clip) + (self.added > 1)
        assert len(facts.foreseen) == many, always_text(facts)
        return Binding.of(facts, is_ahead=True)

    def asked(self) -> Ref:
        """The next loss, as it is asked for, without its backward."""
        loss = self.loss()
        if self.scaled in ("before", "in place", "and back"):
            name = "__itruediv__" if self.scaled == "in place" else "__truediv__"
            loss = self.do(T + name, loss, 3)
        if self.scaled == "and back":
            loss = self.do(T + "__mul__", loss, 3)
        return self.do(T + "item", loss)

    def taken(self, binding: Binding) -> str:
        """Why the next loss is not taken; empty if it is."""
        return binding.difference(self.facts(self.asked()))

    def form_against(self, binding: Binding) -> str:
        """The same where its kind and group are none of the reasons."""
        facts = self.facts(self.asked())
        return binding.difference(replace(
            facts, kind=binding.kind, min_records=binding.min_records, injected=binding.injected
        ))  # fmt: skip


def check_is_seen(loop: Loop, attack: Callable[[Loop], object]) -> None:
    """An attack on a loop whose losses are taken: none behind it is, nor one step later."""
    binding = loop.first()
    loop.train()
    assert loop.taken(binding) == ""  # the control
    attack(loop)
    assert loop.form_against(binding)
    loop.train()
    assert loop.form_against(binding), "it is forgotten one step later"


def of_the_model(loop: Loop) -> None:
    """As `model.zero_grad()` does it."""
    for weights in (loop.weights, loop.more):
        loop.do(T + "grad=", weights, None, outs=0)


def group(loop: Loop) -> Ref:
    groups = loop.do(OPTIM + "Optimizer.param_groups", loop.optimizer)
    return loop.do("python.List.__getitem__", groups, 0)


def prepared(loop: Loop) -> None:
    loop.zero()
    loop.backward(loop.loss())
