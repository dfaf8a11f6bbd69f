"""Plans of `make_plan`: traced without a session, sent by either side, called with keywords."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import duet_p2p as sy
from duet_p2p.errors import (
    ForeignPointer,
    NotAllowed,
    PrivateValueError,
    StepError,
    TensorTooLarge,
    WrongSide,
)
from duet_p2p.objects.plan import is_signature
from tests.unit.scientist_kit import pair

rt = sy.ROOT_CLIENT.torch
ONES = torch.ones(3)
python = sy.ROOT_CLIENT.python


class Sequence(sy.SyModule):
    """The network of the time-sequence notebook, smaller."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lstm1 = nn.LSTMCell(1, 5)
        self.lstm2 = nn.LSTMCell(5, 5)
        self.linear = nn.Linear(5, 1)

    def forward(self, x: Any) -> Any:
        here = torch if isinstance(x, torch.Tensor) else rt
        rows = x.shape[0]
        h1, c1, h2, c2 = (here.zeros(rows, 5) for _ in range(4))
        outputs = [] if here is torch else python.List([])
        for part in x.split(1, dim=1):
            h1, c1 = self.lstm1(part, (h1, c1))
            pair = (h2, c2) if here is torch else python.Tuple((h2, c2))
            h2, c2 = self.lstm2(h1, (pair[0], pair[1]))
            outputs.append(self.linear(h2))
        return here.cat(outputs, dim=1)


def traced(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Any:
    @sy.make_plan
    def train(x: Any = x, y: Any = y, model: Any = model) -> Any:
        optimizer = rt.optim.AdamW(model.parameters(), lr=0.01)
        criterion = rt.nn.MSELoss()
        optimizer.zero_grad()
        (out,) = model(x=x)
        loss = criterion(out, y)
        loss.backward()
        optimizer.step()
        return [model, loss]

    return train


def trained(model: Any, x: Any, y: Any, steps: int) -> Any:
    model = copy.deepcopy(model)
    for _ in range(steps):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        optimizer.zero_grad()
        nn.MSELoss()(model(x), y).backward()
        optimizer.step()
    return model


def test_an_owners_plan_trains_a_scientists_local_model() -> None:
    torch.manual_seed(0)
    model = Sequence(input_size=(12, 4))
    x, y = torch.randn(12, 4), torch.randn(12, 4)
    plan = traced(Sequence(), torch.zeros(12, 4), torch.zeros(12, 4)).tag("train")
    wanted = trained(model, x, y, 15)
    with pair() as both:
        px, py = both.share(x, "x"), both.share(y, "y")
        both.share(plan)
        plan_ptr = both.duet.store["train"]
        assert plan_ptr.object_type == "duet.Plan" and "x, y, model" in repr(plan_ptr)
        for _ in range(15):
            res = plan_ptr(x=px, y=py, model=model)
            model = res[0].get(request_block=True)
            assert type(model) is Sequence
        assert not both.owner.failures
        for name, value in wanted.state_dict().items():
            assert torch.allclose(model.state_dict()[name], value, atol=1e-5), name
        plain = Sequence()
        plain.load_state_dict(model.state_dict())
        assert len(res) == 2 and res[1].get(request_block=True).item() >= 0
        assert {facts.sources for _, facts in both.owner.asked} == {(-1, -2)}


def test_a_scientists_own_plan_runs_too() -> None:
    @sy.make_plan
    def both_ways(a: Any = ONES, b: Any = ONES, n: Any = 2) -> Any:
        return {"sum": a + b * n, "a": a}

    with pair() as pairing:
        plan_ptr = both_ways.tag("mine").send(pairing.duet)
        assert plan_ptr.tags == ["mine"]
        a = pairing.duet.torch.ones(3)
        res = plan_ptr(a=a, b=torch.full((3,), 2.0), n=5)
        assert pairing.owner.failures == []
        assert res.get()[0]["sum"].tolist() == [11, 11, 11]


def test_a_plan_is_called_with_its_own_keywords() -> None:
    plan = traced(Sequence(), torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(WrongSide, match="send the plan first"):
        plan(x=1)
    with pair() as both:
        plan_ptr = plan.send(both.duet)
        x = both.duet.torch.zeros(2, 3)
        for wrong in ({"x": x}, {"x": x, "y": x, "model": Sequence(), "z": x}):
            with pytest.raises(TypeError, match="x, y, model"):
                plan_ptr(**wrong)
        with pytest.raises(TypeError, match="another module"):
            plan_ptr(x=x, y=x, model=nn.Linear(2, 2))
        with pytest.raises(TypeError, match="is a Sequence"):
            plan_ptr(x=x, y=x, model=x)


def test_what_a_plan_cannot_hold_is_refused_while_tracing() -> None:
    with pytest.raises(TypeError, match="default"):

        @sy.make_plan
        def no_example(x: Any) -> Any:
            return x

    with pytest.raises(PrivateValueError, match="truth"):

        @sy.make_plan
        def branches(x: Any = ONES) -> Any:
            return x if x.sum() > 0 else -x

    large = torch.ones(10_000)
    with pytest.raises(TensorTooLarge, match="argument"):

        @sy.make_plan
        def constant(x: Any = ONES) -> Any:
            return x[0] + large

    with pytest.raises(StepError, match="make_plan"):
        rt.ones(3)
    with pair() as both:
        outside = both.duet.torch.ones(1)
        with pytest.raises(ForeignPointer):

            @sy.make_plan
            def captures(x: Any = ONES) -> Any:
                return x + outside


def test_the_digest_does_not_depend_on_names_or_on_who_traces() -> None:
    one = traced(Sequence(), torch.zeros(2, 3), torch.zeros(2, 3))
    two = traced(Sequence(), torch.ones(2, 3), torch.ones(2, 3)).tag("t").describe("d")
    assert one.digest == two.digest
    assert one.digest != traced(Sequence(), torch.zeros(2, 4), torch.zeros(2, 4)).digest
    assert "torch.lstm_cell" in one.listing()
    assert (two.tags, two.description) == (["t"], "d")


def test_a_long_plan_is_sent_in_parts() -> None:
    plan = traced(Sequence(), torch.zeros(2, 70), torch.zeros(2, 70))
    assert len(plan.messages(1)) > 1
    with pair() as both:
        plan_ptr = plan.send(both.duet)
        x = both.duet.torch.zeros(2, 70)
        plan_ptr(x=x, y=x, model=Sequence())
        assert not both.owner.failures


def test_sequential_runs_layers_in_order() -> None:
    model = sy.SySequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    x = torch.ones(4, 2)
    (out,) = model(x=x)
    assert torch.equal(out, model(x)) and len(model) == 3 and isinstance(model[1], nn.ReLU)
    with pair() as both:
        remote = model.send(both.duet)
        (out,) = remote(x=both.duet.torch.ones(4, 2))
        assert torch.allclose(out.get(), model(x))


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"args": [], "result": ["v", []]},
        {"args": [["x", ["p", "torch.Tensor", 1]]], "result": ["v", None]},
        {"args": [["x", ["p", "t", 0]], ["x", ["p", "t", 1]]], "result": ["v", None]},
        {"args": [], "result": ["o", 1, "t", None, None, None]},
        {"args": [], "result": ["o", 0, "t", [-1], None, None]},
        {"args": [], "result": ["i", 0]},
        {"args": [], "result": ["m", "x"]},
    ],
)
def test_a_signature_that_does_not_fit_itself_is_none(value: Any) -> None:
    assert not is_signature(value)
    assert is_signature({"args": [["x", ["p", "t", 0]]], "result": ["l", [["i", 0]]]})


def test_a_pointer_is_no_example() -> None:
    with pair() as both:
        remote = both.duet.torch.ones(1)
        with pytest.raises(NotAllowed, match="local object"):
            sy.make_plan(lambda x=remote: x)
