"""Recorded steps between two real processes: train, review, allow; and an owner's own plan."""

import pytest

from tests.e2e.conftest import wait_for_store
from tests.e2e.notebook import Notebook

Pair = tuple[Notebook, Notebook]

DATA = """
torch.manual_seed(3)
x, y = torch.randn(150, 4), torch.randint(0, 3, (150,))
"""

NET = """
class Net(sy.Module):
    def __init__(self, torch_ref):
        super().__init__(torch_ref=torch_ref)
        self.one = self.torch_ref.nn.Linear(4, 20)
        self.two = self.torch_ref.nn.Linear(20, 3)

    def forward(self, x):
        F = self.torch_ref.nn.functional
        return F.log_softmax(self.two(F.relu(self.one(x))), dim=1)

torch.manual_seed(7)
local = Net(torch)

def train(model, optimizer, x, y):
    optimizer.zero_grad()
    loss = torch.nn.functional.nll_loss(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()
"""

SEQUENCE = """
class Sequence(sy.SyModule):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.lstm1 = torch.nn.LSTMCell(1, 5)
        self.lstm2 = torch.nn.LSTMCell(5, 5)
        self.linear = torch.nn.Linear(5, 1)

    def forward(self, x):
        rtorch, python = sy.ROOT_CLIENT.torch, sy.ROOT_CLIENT.python
        h1, c1, h2, c2 = (rtorch.zeros(x.shape[0], 5) for _ in range(4))
        outputs = python.List([])
        for part in x.split(1, dim=1):
            h1, c1 = self.lstm1(part, (h1, c1))
            pair = python.Tuple((h2, c2))
            h2, c2 = self.lstm2(h1, (pair[0], pair[1]))
            outputs.append(self.linear(h2))
        return rtorch.cat(outputs, dim=1)
"""


@pytest.fixture(scope="module")
def steps(pair: Pair) -> Pair:
    owner, scientist = pair
    owner.run(DATA)
    owner.run('x.tag("x").send(duet); y.tag("y").send(duet)')
    wait_for_store(scientist, 2)
    scientist.run(NET)
    return pair


def test_a_step_is_reviewed_once_and_then_its_losses_arrive(steps: Pair) -> None:
    owner, scientist = steps
    digest = scientist.run(
        """
        data, target = duet.store["x"], duet.store["y"]
        model = local.send(duet)
        optimizer = rt.optim.Adam(model.parameters(), lr=0.05)
        step = duet.step(train)
        first = step(model, optimizer, data, target)
        first.request(reason="to see the loss")
        step.digest
        """
    )
    listing = owner.run(
        """
        import time
        while not len(duet.requests):
            time.sleep(0.01)
        print(duet.plans, duet.requests)
        plan = duet.plans[0]
        plan.listing()
        """
    )
    assert "nll_loss" in listing and "torch.optim.Optimizer.step" in listing
    assert owner.run("plan.digest") == digest
    assert owner.run("(plan.runs, plan.outputs)") == [1, 1]
    owner.run("duet.requests.allow_plan(plan.digest, outputs=[0], max_runs=10)")
    losses = scientist.run(
        """
        losses = [first.get(request_block=True)]
        for _ in range(9):
            loss = step(model, optimizer, data, target)
            losses.append(loss.get(request_block=True, name="anything", timeout_secs=40))
        losses
        """
    )
    owner.run(NET)
    expected = owner.run(
        """
        adam = torch.optim.Adam(local.parameters(), lr=0.05)
        [train(local, adam, x, y) for _ in range(10)]
        """
    )
    assert losses == pytest.approx(expected, abs=1e-5)
    beyond = scientist.run(
        "step(model, optimizer, data, target).get(request_block=True, timeout_secs=0)"
    )
    assert beyond is None
    assert owner.run("duet.errors") == []
    assert scientist.run("data.mean().get(request_block=True, timeout_secs=0)") is None


def test_a_pass_over_a_loader_gives_a_list(steps: Pair) -> None:
    _, scientist = steps
    lengths = scientist.run(
        """
        tools = rt.utils.data
        loader = tools.DataLoader(tools.TensorDataset(data, target), batch_size=50)
        batch_step = duet.step(lambda x, y: train(model, optimizer, x, y))
        passed = batch_step.run(loader, epochs=2)
        [len(passed), len(batch_step.digests)]
        """
    )
    assert lengths == [6, 1]


def test_an_owners_plan_trains_a_scientists_model(steps: Pair) -> None:
    owner, scientist = steps
    owner.run(SEQUENCE)
    owner.run(
        """
        waves = torch.sin(torch.arange(40.0).view(8, 5) / 3)
        waves.tag("waves").send(duet)

        @sy.make_plan
        def train_sequence(x=torch.zeros(8, 4), y=torch.zeros(8, 4), model=Sequence()):
            rtorch = sy.ROOT_CLIENT.torch
            optimizer = rtorch.optim.AdamW(model.parameters(), lr=0.01)
            criterion = rtorch.nn.MSELoss()
            optimizer.zero_grad()
            (out,) = model(x=x)
            loss = criterion(out, y)
            loss.backward()
            optimizer.step()
            return [model, loss]

        train_sequence.tag("train").describe("one step").send(duet)
        duet.requests.add_handler(action="accept")
        """
    )
    wait_for_store(scientist, 4)
    scientist.run(SEQUENCE)
    losses = scientist.run(
        """
        torch.manual_seed(1)
        plan, waves = duet.store["train"], duet.store["waves"]
        sequence, seen = Sequence(input_size=(8, 4)), []
        for _ in range(15):
            result = plan(x=waves[:, :-1], y=waves[:, 1:], model=sequence)
            sequence = result[0].get(request_block=True)
            seen.append(result[1].get(request_block=True).item())
        plain = Sequence()
        plain.load_state_dict(sequence.state_dict())
        assert type(sequence) is Sequence
        seen
        """
    )
    assert len(losses) == 15 and losses[-1] < losses[0]
    assert owner.run("(len(duet.plans), list(duet.plans)[-1].runs)") == [3, 15]
    assert owner.run("duet.errors") == []
