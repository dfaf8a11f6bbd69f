"""Recorded steps: the same values as the function itself, and clear errors for what cannot be."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from duet_p2p import limits
from duet_p2p.errors import NotAllowed, PointerDeleted, PrivateValueError, StepError
from duet_p2p.scientist import recorder
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.messages import DefinePlan, EngineRestarted, Op, RunPlan
from tests.unit.scientist_kit import Pair, pair


def value(pointer: Any) -> Any:
    return pointer.get(request_block=True)


def sent(both: Pair, kind: type) -> list[Any]:
    return [command for command in both.owner.commands if isinstance(command, kind)]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.25)
        self.two = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return F.log_softmax(self.two(self.drop(F.relu(self.norm(self.one(x))))), dim=1)


def test_a_training_run_equals_eager_and_local() -> None:
    torch.manual_seed(1)
    net, x, y = Net(), torch.randn(64, 4), torch.randint(0, 3, (64,))

    def train(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.nll_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    local = copy.deepcopy(net)
    optimizer = torch.optim.Adam(local.parameters(), lr=0.05)
    torch.manual_seed(7)
    here = [train(local, optimizer, x, y).item() for _ in range(8)]
    runs = []
    for is_recorded in (False, True):
        with pair() as both:
            remote = net.send(both.duet)  # type: ignore[attr-defined]
            adam = both.duet.torch.optim.Adam(remote.parameters(), lr=0.05)
            function = both.duet.step(train) if is_recorded else train
            data, target = both.share(x), both.share(y)
            both.duet.torch.manual_seed(7)
            losses = [function(remote, adam, data, target) for _ in range(8)]
            runs.append([value(loss).item() for loss in losses])
            assert not both.owner.failures
            if is_recorded:
                buffers = both.value(remote.norm.running_mean)
                assert torch.allclose(buffers, local.norm.running_mean, atol=1e-5)
                assert len(sent(both, DefinePlan)) == 1 and len(sent(both, RunPlan)) == 8
                facts = both.owner.asked[-1][1]
                assert facts.kind == "aggregate" and facts.min_records == 64
    assert runs[0] == pytest.approx(here, abs=1e-5)
    assert runs[1] == runs[0]


def test_a_run_is_one_small_message() -> None:
    with pair() as both:
        step = both.duet.step(lambda a, b: (a * b).sum())
        x = both.share(torch.ones(4))
        for _ in range(4):
            out = step(x, x)
        assert len(encode_message(sent(both, RunPlan)[-1])) < 20
        assert len(sent(both, Op)) == 0
        assert value(out).item() == 4


def test_the_training_flag_is_a_part_of_the_key() -> None:
    with pair() as both:
        drop = nn.Dropout(0.5)
        step = both.duet.step(lambda x: drop(x))
        x = both.share(torch.ones(100))
        step(x), step(x)
        drop.eval()
        assert value(step(x)).tolist() == [1] * 100
        drop.train()
        assert len(sent(both, DefinePlan)) == 2
        assert 0 in value(step(x)).tolist()
        assert len(sent(both, DefinePlan)) == 2


def test_scalars_shapes_dtypes_and_grad_mode_are_parts_of_the_key() -> None:
    with pair() as both:
        step = both.duet.step(lambda x, factor=2: x * factor)
        x = both.share(torch.ones(3))
        step(x), step(x, 3), step(x, 3.0), step(x, factor=3)
        step(both.share(torch.ones(4))), step(both.share(torch.ones(3).double()))
        with torch.no_grad():
            step(x)
        assert len(sent(both, DefinePlan)) == 7
        assert value(step(x, 3)).tolist() == [3, 3, 3]


def test_a_side_effect_is_found_at_the_second_use_with_its_line() -> None:
    counter = [0]

    def body(x: Any) -> Any:
        counter[0] += 1
        return x * counter[0]  # this line differs

    with pair() as both:
        step = both.duet.step(body)
        x = both.share(torch.ones(3))
        step(x)
        with pytest.raises(StepError, match="this line differs"):
            step(x)
        relaxed = both.duet.step(verify=False)(body)
        assert value(relaxed(x)).tolist() == value(relaxed(x)).tolist()


def test_a_branch_on_a_remote_value_is_refused_and_nothing_is_sent() -> None:
    def body(x: Any) -> Any:
        return x if x.sum() > 0 else -x

    with pair() as both:
        x = both.share(torch.ones(3))
        with pytest.raises(PrivateValueError, match=r"body is being recorded, at .*x.sum\(\) > 0"):
            both.duet.step(body)(x)
        assert not sent(both, DefinePlan) and not sent(both, Op)
        assert value(x + 1).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (lambda x: x.get(), "return the pointer"),
        (lambda x: x.sum().get(request_block=True), "return the pointer"),
        (lambda x: x.request(), "return the pointer"),
        (lambda x: (x * 2).delete(), "freed by itself"),
        (lambda x: (x * 2).tag("a"), "what the step gives"),
        (lambda x: x[x > 0].shape, "cannot ask"),
    ],
)
def test_what_needs_the_owner_now_is_refused_while_recording(body: Any, text: str) -> None:
    with pair() as both:
        mine = both.duet.torch.ones(3)
        with pytest.raises(StepError, match=text):
            both.duet.step(body)(mine)


def test_send_inside_a_step_is_refused() -> None:
    with pair() as both:
        step = both.duet.step(lambda x: x + both.duet.send(torch.ones(3)))
        with pytest.raises(StepError, match="before the step"):
            step(both.share(torch.ones(3)))


def test_a_pointer_that_leaks_says_so_when_it_is_used() -> None:
    leaked: list[Any] = []

    def body(x: Any) -> Any:
        leaked.append(x)
        leaked.append(x * 2)
        return leaked[-1].sum()

    with pair() as both:
        out = both.duet.step(body)(both.share(torch.ones(3)))
        for pointer in leaked[:2]:
            with pytest.raises(PointerDeleted, match="made inside a recorded step"):
                pointer + 1
        assert value(out).item() == 6


def test_results_may_be_nested_and_hold_arguments_and_plain_values() -> None:
    def body(x: Any, y: Any) -> Any:
        double = x * 2
        return {"sum": double.sum(), "again": [double, double], "y": y, "n": 3, "none": None}

    with pair() as both:
        step = both.duet.step(body)
        x, y = both.share(torch.ones(2)), both.share(torch.zeros(2))
        for _ in range(3):
            found = step(x, y)
            assert value(found["sum"]).item() == 4 and value(found["again"][0]).tolist() == [2, 2]
            assert found["again"][0] is found["again"][1]
            assert found["y"] is y and found["n"] == 3 and found["none"] is None


def test_captured_objects_are_changed_in_place() -> None:
    with pair() as both:
        total = both.duet.python.Float(0)
        losses = both.duet.python.List([])
        weights = both.duet.torch.zeros(2)

        @both.duet.step
        def body(x: Any) -> None:
            nonlocal total
            weights.add_(x)
            losses.append(x.sum().item() + total)

        x = both.share(torch.ones(2))
        for _ in range(4):
            assert body(x) is None
        assert both.value(weights).tolist() == [4, 4]
        assert both.value(losses) == [2, 2, 2, 2]


def test_arguments_that_are_changed_in_place_are_known_as_they_are_now() -> None:
    def body(x: Any, held: Any) -> Any:
        held.append(x.sum())
        x.unsqueeze_(0)
        return x

    with pair() as both:
        step = both.duet.step(body)
        for _ in range(3):
            x, held = both.duet.torch.ones(3), both.duet.python.List([])
            assert step(x, held) is x
            assert tuple(x.shape) == (1, 3) == tuple(x.get().shape)
            assert held.get()[0].item() == 3
            assert held[0].get().item() == 3


def test_a_step_that_changes_a_captured_shape_is_recorded_for_each_shape() -> None:
    with pair() as both:
        x = both.duet.torch.ones(2, 3)
        step = both.duet.step(lambda: x.t_())
        for shape in ((3, 2), (2, 3), (3, 2)):
            step()
            assert tuple(x.shape) == shape == tuple(x.get().shape)


def test_local_tensors_as_arguments_are_inputs_and_not_constants() -> None:
    with pair() as both:
        step = both.duet.step(lambda x, y: x + y)
        x = both.duet.torch.zeros(2)
        got = [step(x, torch.full((2,), float(n))).get().tolist() for n in range(4)]
        assert got == [[0, 0], [1, 1], [2, 2], [3, 3]]
        assert len(sent(both, DefinePlan)) == 1


def test_a_step_in_a_step_becomes_a_part_of_it() -> None:
    with pair() as both:
        inner = both.duet.step(lambda x: x * 2)
        outer = both.duet.step(lambda x: inner(x) + 1)
        x = both.duet.torch.ones(2)
        assert [outer(x).get().tolist() for _ in range(3)] == [[3, 3]] * 3
        assert len(sent(both, DefinePlan)) == 1


def test_a_remote_module_made_by_the_session_works_inside() -> None:
    with pair() as both:
        rt = both.duet.torch
        model = rt.nn.Sequential(rt.nn.Linear(3, 5), rt.nn.ReLU(), rt.nn.Linear(5, 1))
        criterion = rt.nn.MSELoss()
        optimizer = rt.optim.SGD(model.parameters(), lr=0.1)

        @both.duet.step
        def train(x: Any, y: Any) -> Any:
            model.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            return loss.item()

        x, y = both.share(torch.randn(20, 3)), both.share(torch.randn(20, 1))
        losses = [value(train(x, y)) for _ in range(5)]
        assert losses[4] < losses[0] and not both.owner.failures


def loader_of(both: Pair, n: int, batch_size: int) -> Any:
    x, y = both.share(torch.arange(float(n))), both.share(torch.arange(n) % 2)
    data = both.duet.torch.utils.data
    return data.DataLoader(data.TensorDataset(x, y), batch_size=batch_size)


def test_a_pass_over_a_loader_is_one_message() -> None:
    with pair() as both:
        loader = loader_of(both, 12, 4)
        step = both.duet.step(lambda x, y: {"sum": x.sum(), "count": (y == 1).sum()})
        found = step.run(loader, epochs=2)
        assert [t.item() for t in both.value(found["sum"])] == [6, 22, 38] * 2
        assert [t.item() for t in both.value(found["count"])] == [2, 2, 2] * 2
        assert len(found["sum"]) == 6
        assert len(sent(both, RunPlan)) == 2 and len(sent(both, DefinePlan)) == 1
        assert value(found["sum"][1]).item() == 22


def test_training_over_a_loader_equals_local_training() -> None:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3), nn.LogSoftmax(1))
    x, y = torch.randn(60, 4), torch.randint(0, 3, (60,))

    def train(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.nll_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    local = copy.deepcopy(net)
    optimizer = torch.optim.Adam(local.parameters(), lr=0.05)
    here = [
        train(local, optimizer, *b)
        for _ in range(4)
        for b in zip(x.split(20), y.split(20), strict=True)
    ]
    with pair() as both:
        data = both.duet.torch.utils.data
        loader = data.DataLoader(data.TensorDataset(both.share(x), both.share(y)), batch_size=20)
        model = net.send(both.duet)  # type: ignore[attr-defined]
        adam = both.duet.torch.optim.Adam(model.parameters(), lr=0.05)
        step = both.duet.step(lambda x, y: train(model, adam, x, y))
        losses = [value(loss) for _ in range(2) for loss in step.run(loader, epochs=2)]
    assert losses == here


def test_a_short_last_batch_is_a_recording_of_its_own() -> None:
    with pair() as both:
        loader = loader_of(both, 10, 4)
        step = both.duet.step(lambda x, y: x.sum() / x.shape[0])
        means = step.run(loader)
        assert [t.item() for t in both.value(means)] == [1.5, 5.5, 8.5]
        assert len(sent(both, DefinePlan)) == 2 and len(step.digests) == 2


def test_losses_of_a_pass_are_labelled_as_in_a_loop() -> None:
    with pair() as both:
        loader = loader_of(both, 64, 32)
        means = both.duet.step(lambda x, y: x.mean()).run(loader)
        value(means[0])
        eager = [batch[0].mean() for batch in loader]
        value(eager[0])
        mine, theirs = both.owner.asked[-2][1], both.owner.asked[-1][1]
        assert (mine.kind, mine.min_records, mine.injected) == ("aggregate", 32, False)
        assert (theirs.kind, theirs.min_records, theirs.injected) == ("aggregate", 32, False)


def test_listing_and_digest_are_those_of_the_engine() -> None:
    with pair() as both:
        step = both.duet.step(lambda x: x.mean())
        with pytest.raises(StepError, match="Nothing is recorded"):
            step.listing()
        out = step(both.share(torch.ones(20)))
        value(out)
        assert step.digest == both.owner.asked[-1][1].plan
        assert "x1.mean()" in step.listing()


def test_a_step_that_is_gone_is_deleted_on_the_owners_side() -> None:
    with pair() as both:
        x = both.share(torch.ones(3))
        step = both.duet.step(lambda x: x + 1)
        step(x)
        plan = sent(both, RunPlan)[0].plan
        assert plan in both.owner.engine._plans
        del step
        both.duet._client.bury()
        assert plan not in both.owner.engine._plans


def test_a_step_keeps_as_many_recordings_as_the_limit_says(monkeypatch: Any) -> None:
    monkeypatch.setattr(recorder, "STEP_VARIANTS", 2)
    with pair() as both:
        step = both.duet.step(lambda x, n: x * n)
        x = both.duet.torch.ones(1)
        for n in (1, 2, 3):
            step(x, n)
        assert len(step.digests) == 2
        assert limits.STEP_VARIANTS >= 2


def test_a_failing_step_says_where_it_was_called() -> None:
    with pair() as both:
        step = both.duet.step(lambda x, i: x[i])
        x, i = both.duet.torch.ones(3), both.duet.torch.tensor([7])
        out = step(x, i)
        with pytest.raises(Exception, match="out = step\\(x, i\\)"):
            out.get()


def test_a_step_is_recorded_again_for_a_new_engine() -> None:
    with pair() as both:
        x = both.share(torch.ones(20))
        step = both.duet.step(lambda x: x.mean())
        step(x), step(x)
        both.link.answer(EngineRestarted(bytes(16), "restarted"))
        both.settle()
        assert value(step(x)).item() == 1
        assert len(sent(both, DefinePlan)) == 2


def test_pointers_of_another_session_are_refused() -> None:
    with pair() as one, pair() as two:
        other = two.duet.torch.ones(1)
        with pytest.raises(StepError, match="one session"):
            one.duet.step(lambda x: other + 1)(one.duet.torch.ones(1))


def test_a_shape_mistake_raises_at_its_line() -> None:
    with pair() as both:
        with pytest.raises(RuntimeError, match="mat1"):
            both.duet.step(lambda x: x @ x)(both.share(torch.ones(2, 3)))
        with pytest.raises(NotAllowed):
            both.duet.step(lambda x: x.data_ptr())(both.share(torch.ones(2)))


def test_an_mnist_step_is_defined_in_about_a_kilobyte() -> None:
    from duet_p2p.demo.net import SyNet

    with pair() as both:
        net = SyNet(torch).send(both.duet)  # type: ignore[attr-defined]
        optimizer = both.duet.torch.optim.Adadelta(net.parameters(), lr=1.0)

        @both.duet.step
        def train(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = F.nll_loss(net(x), y)
            loss.backward()
            optimizer.step()
            return loss.item()

        train(both.share(torch.randn(4, 1, 28, 28)), both.share(torch.randint(0, 10, (4,))))
        (definition,) = sent(both, DefinePlan)
        assert len(encode_message(definition)) < 1300
        assert not both.owner.failures
