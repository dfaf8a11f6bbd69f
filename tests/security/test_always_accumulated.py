"""`accept(always=True)` where several gradients are added up for one step.

How many, and by what number each loss is scaled, is what was read at the first loss. Anything else
is another training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.owner.binding import Binding, always_text
from duet_p2p.wire.values import Ref
from tests.security.always_kit import STEP, F, Loop, T, X, Y, check_is_seen, of_the_model

WAYS = {
    "": "backward() of this very loss, 3 of them added up for each step and step() of",
    "before": "backward() of this very loss, 3 of them added up for each step and step() of",
    "in place": "backward() of this very loss, 3 of them added up for each step and step() of",
    "for backward": "backward() of this very loss / 3, 3 of them added up for each step and",
    "and back": "backward() of this very loss before it was scaled (* 3), 3 of them added up for",
}
"""How the scientist writes the mean of several losses, and what the owner reads."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_accumulated_gradients_are_taken_as_many_as_were_read(way: str, kind: str) -> None:
    loop = Loop(kind, added=3, scaled=way)
    loss = loop.do(T + "item", loop.train())
    assert WAYS[way] in always_text(loop.facts(loss))
    binding = Binding.of(loop.facts(loss), is_ahead=True)
    for _ in range(3):  # 12 batches of 4 in a pass: a step goes from one pass to the next
        loop.train()
        assert loop.taken(binding) == ""


HONEST: dict[str, Callable[[Loop], Any]] = {
    "zeros, not None": lambda loop: (
        loop.zero(set_to_none=False), [loop.divided() for _ in range(3)], loop.step()),
    "gradients dropped by the model": lambda loop: (
        of_the_model(loop), [loop.divided() for _ in range(3)], loop.step()),
    "a loss asked for between": lambda loop: (
        loop.zero(), loop.divided(), loop.facts(loop.asked()), [loop.divided() for _ in range(2)],
        loop.step()),
    "gradients that were dropped unused": lambda loop: (
        loop.zero(), loop.divided(), loop.zero(), [loop.divided() for _ in range(3)], loop.step()),
}  # fmt: skip


@pytest.mark.parametrize("way", HONEST)
def test_what_gives_the_same_sums_is_the_same_training(way: str) -> None:
    loop = Loop(momentum=0.9, added=3, scaled="for backward")
    binding = loop.first()
    for _ in range(2):
        HONEST[way](loop)
        assert loop.taken(binding) == ""


def test_clipping_of_sums_under_a_schedule_of_several_is_taken() -> None:
    loop = Loop(momentum=0.9, added=3, scaled="before", clip=1.0)
    inner = [loop.scheduled("LinearLR", start_factor=0.1, total_iters=2),
             loop.scheduled("ExponentialLR", gamma=0.9)]  # fmt: skip
    loop.schedule = loop.scheduled("SequentialLR", schedulers=inner, milestones=[2])
    binding = loop.first()
    for _ in range(4):
        loop.train()
        assert loop.taken(binding) == ""


def test_before_a_step_shows_how_many_the_owner_reads_that_it_asks_once_more() -> None:
    loop = Loop(added=3)
    loop.backward(loop.loss())
    loss = loop.loss()
    loop.backward(loss)
    facts = loop.facts(loss)
    assert facts.foreseen == ()
    assert "asks once more, since its gradients are added up" in always_text(facts)


def test_where_a_backward_failed_nothing_is_foreseen_before_the_next_step() -> None:
    loop = Loop(momentum=0.9, added=3)
    loop.train()
    failed(loop)
    facts = loop.facts(loop.asked())
    assert facts.foreseen == () and "a backward failed" in always_text(facts)
    loop.train()
    assert "3 of them" in always_text(loop.facts(loop.asked()))


def test_in_the_middle_of_a_later_step_the_last_one_shows_how_many() -> None:
    loop = Loop(added=3)
    loop.train()
    binding = Binding.of(loop.facts(loop.asked()), is_ahead=True)
    loop.zero()
    loop.divided()
    assert "3 of them" in always_text(loop.facts(loop.divided()))
    loop.divided()
    loop.step()
    assert loop.taken(binding) == ""


def test_of_the_last_step_of_a_plan_it_is_not_said_how_many() -> None:
    loop = Loop(added=3)
    loop.train()
    provenance = loop.driver.engine._executor.provenance
    provenance.run = "a run of some plan"
    loop.train()
    provenance.run = ""
    assert "added up" not in always_text(loop.facts(loop.asked()))


# what is another training


def so_many(loop: Loop, many: int) -> None:
    for _ in range(many):
        loop.divided()
    loop.step()


def drop_one(loop: Loop) -> None:
    loop.do(T + "grad=", loop.more, None, outs=0)


def scaled_by(loop: Loop, *numbers: float) -> None:
    loop.zero()
    for number in numbers:
        loop.backward(loop.do(T + "__truediv__", loop.loss(), number))
    loop.step()


def by_a_tensor(loop: Loop) -> None:
    """A weight for each step, uploaded."""
    loop.zero()
    for weight in (1.0, 2.0, 3.0):
        loop.backward(loop.do(T + "__mul__", loop.loss(), loop.driver.put(torch.tensor(weight))))
    loop.step()


def other_loss(loop: Loop) -> None:
    loop.zero()
    [loop.divided() for _ in range(2)]
    out = loop.do(F + "linear", loop.do(F + "linear", X, loop.more), loop.weights)
    loop.backward(loop.do(F + "cross_entropy", out, Y))
    loop.step()


def put_back(loop: Loop) -> None:
    """Gradients of older batches in the place of those of now."""
    loop.zero()
    loop.divided()
    kept = loop.do(T + "grad", loop.more)
    of_the_model(loop)
    [loop.divided() for _ in range(3)]
    loop.do(T + "grad=", loop.more, kept, outs=0)
    loop.step()


def one_held_still(loop: Loop) -> None:
    loop.zero()
    loop.divided()
    loop.do(T + "requires_grad=", loop.more, False, outs=0)
    loop.divided()
    loop.do(T + "requires_grad=", loop.more, True, outs=0)
    loop.divided()
    loop.step()


def each_clipped(loop: Loop) -> None:
    loop.zero()
    for _ in range(3):
        loop.divided()
        loop.clipped(1.0)
    loop.step()


def public_one(loop: Loop) -> None:
    loop.zero()
    [loop.divided() for _ in range(2)]
    other = loop.parameter(torch.ones(3))
    loop.backward(loop.do("torch.sum", other))
    so_many(loop, 2)


def another_optimizer(loop: Loop, kind: str, **settings: Any) -> None:
    loop.zero()
    [loop.divided() for _ in range(3)]
    other = loop.optim(kind, [loop.weights, loop.more], **settings)
    loop.do(STEP, other, outs=0)


def graph_kept(loop: Loop) -> None:
    loop.zero()
    loss = loop.do(T + "__truediv__", loop.loss(), 3)
    loop.backward(loss, retain_graph=True)
    loop.backward(loss, retain_graph=True)
    loop.backward(loss)
    loop.step()


def created_graph(loop: Loop) -> None:
    """torch puts the sums in the place of gradients then, in storages of their own."""
    loop.zero()
    for _ in range(4):
        loss = loop.do(T + "__truediv__", loop.loss(), 3)
        loop.backward(loss, create_graph=True)
    loop.step()


def failed(loop: Loop, many: int = 2) -> None:
    """A backward that fails counts as none that worked, and may have added to some of them."""
    loop.zero()
    losses = [loop.do(T + "__truediv__", loop.loss(), 3) for _ in range(many)]
    [loop.backward(loss) for loss in losses]
    assert "a second time" in loop.driver.failed(T + "backward", losses[0], outs=0).text
    loop.step()


ATTACKS: dict[str, Callable[[Loop], Any]] = {
    "one that failed in the place of one": failed,
    "one that failed beside them": lambda loop: failed(loop, 3),
    "one more": lambda loop: (loop.zero(), so_many(loop, 4)),
    "one less": lambda loop: (loop.zero(), so_many(loop, 2)),
    "only one": lambda loop: (loop.zero(), so_many(loop, 1)),
    "very many": lambda loop: (loop.zero(), so_many(loop, 9)),
    "a zero_grad left out": lambda loop: so_many(loop, 3),
    "a zero_grad left out, zeros": lambda loop: (
        loop.zero(set_to_none=False), so_many(loop, 3), so_many(loop, 3)),
    "a step between": lambda loop: (loop.zero(), so_many(loop, 2), so_many(loop, 1)),
    "a gradient dropped between": lambda loop: (
        loop.zero(), loop.divided(), drop_one(loop), so_many(loop, 2)),
    "one gradient not dropped": lambda loop: (drop_one(loop), so_many(loop, 3)),
    "another number": lambda loop: scaled_by(loop, 4, 4, 4),
    "a number for each": lambda loop: scaled_by(loop, 3, 2, 1),
    "one much larger": lambda loop: scaled_by(loop, 3, 3, 1e-6),
    "a sign": lambda loop: scaled_by(loop, 3, 3, -3),
    "a tensor for each": by_a_tensor,
    "the loss as it is": lambda loop: (
        loop.zero(), [loop.backward(loop.loss()) for _ in range(3)], loop.step()),
    "another loss among them": other_loss,
    "older gradients put back": put_back,
    "a weight held still for one": one_held_still,
    "one batch three times": graph_kept,
    "a graph of the gradients": created_graph,
    "a clipping": lambda loop: (
        loop.zero(), [loop.divided() for _ in range(3)], loop.clipped(1.0), loop.step()),
    "gradients scaled": lambda loop: (
        loop.zero(), [loop.divided() for _ in range(3)],
        loop.do(T + "mul_", loop.do(T + "grad", loop.more), 100.0), loop.step()),
    "another optimizer": lambda loop: another_optimizer(loop, "Adam", lr=0.1),
    "another optimizer of this kind": lambda loop: another_optimizer(loop, "SGD", lr=0.2),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_else_is_done_with_the_sums_is_another_training(attack: str) -> None:
    check_is_seen(Loop(momentum=0.9, added=3, scaled="for backward"), ATTACKS[attack])


@pytest.mark.parametrize("way", ["each", "two of three"])
def test_a_clipping_of_each_gradient_is_none_of_their_sum(way: str) -> None:
    loop = Loop(momentum=0.9, added=3, clip=1.0)
    binding = loop.first()
    loop.train()
    assert loop.taken(binding) == ""
    if way == "each":
        each_clipped(loop)
    else:
        loop.zero()
        [loop.divided() for _ in range(2)]
        loop.clipped(1.0)
        so_many(loop, 1)
    assert loop.form_against(binding)


def test_without_sums_a_zero_grad_that_is_left_out_is_another_training() -> None:
    loop = Loop(momentum=0.9)
    binding = loop.first()
    loop.train()
    assert loop.taken(binding) == ""
    so_many(loop, 1)
    assert loop.form_against(binding)


@pytest.mark.parametrize("is_first", [True, False])
def test_a_public_loss_added_to_the_first_gradients_is_a_training_step(is_first: bool) -> None:
    """Then no parameter is private yet, and any vector of the scientist's can be added."""
    loop = Loop(momentum=0.9)

    def public() -> None:
        chosen = loop.driver.put(torch.rand(64, 64))
        loop.backward(loop.do("torch.sum", loop.do(T + "mul", loop.more, chosen)))

    before = Binding.of(loop.facts(loop.asked()), is_ahead=True)
    if is_first:
        public()
    loop.backward(loop.loss())
    if not is_first:
        public()
    loop.step()
    assert loop.form_against(before)


def test_sums_of_another_network_beside_change_nothing() -> None:
    loop = Loop(momentum=0.9, added=3)
    binding = loop.first()
    other = loop.parameter(torch.ones(64, 1))
    loop.zero()
    for _ in range(3):
        loop.divided()
        loop.backward(loop.do("torch.mean", loop.do("torch.matmul", X, other)))
    loop.step()
    assert loop.taken(binding) == ""


def test_a_scaling_is_read_only_where_it_is_a_plain_number_that_can_be_read() -> None:
    loop = Loop(momentum=0.9)
    loss = loop.loss()
    loop.backward(loop.do(T + "__mul__", loss, loop.driver.put(torch.tensor(7.0))))
    text = always_text(loop.facts(loss))
    assert "backward() of this very loss and step()" in text and "7" not in text


class OfWords(Loop):
    """Its second network's gradients are sparse: torch puts each sum in the place of the last."""

    def loss(self, iterator: Ref | None = None) -> Ref:
        if not self.left:
            self.iterator, self.left = self.do("python.iter", self.loader), 4
        self.left -= 1
        batch = self.do("python.next", self.iterator)
        words = self.do("python.List.__getitem__", batch, 1)
        out = self.do(F + "embedding", words, self.more, sparse=True)
        return self.do(F + "cross_entropy", self.do(F + "linear", out, self.weights), words)


@pytest.mark.parametrize("many", [2, 3, 4])
def test_sums_of_sparse_gradients_are_counted_as_well(many: int) -> None:
    loop = OfWords(added=3, scaled="for backward")
    loop.driver.delete(loop.optimizer)
    loop.do(T + "requires_grad=", loop.weights, False, outs=0)
    loop.optimizer = loop.optim("SGD", [loop.more], lr=0.1)
    loop.train()
    binding = Binding.of(loop.facts(loop.asked()), is_ahead=True)
    loop.zero()
    so_many(loop, many)
    assert (loop.form_against(binding) == "") is (many == 3)


def test_a_step_by_the_short_way_and_by_the_whole_one_have_the_same_form() -> None:
    """After the first step the short way is open, until it is closed here."""
    loop = Loop(momentum=0.9, added=3)
    binding = loop.first()
    short_ways = loop.driver.engine._executor.short_ways
    loop.train()
    assert loop.taken(binding) == ""
    short_ways._step = lambda run: False
    loop.train()
    assert loop.taken(binding) == ""
    loop.zero()
    so_many(loop, 2)
    assert loop.form_against(binding)


def test_which_of_the_weights_have_sums_is_part_of_a_step() -> None:
    loop = Loop(momentum=0.9, added=2)
    binding = loop.first()
    loop.train()
    assert loop.taken(binding) == ""
    loop.zero()
    [loop.divided() for _ in range(2)]
    drop_one(loop)
    loop.step()
    assert loop.form_against(binding)
