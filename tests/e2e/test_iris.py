"""Scenario 4, iris: three linear layers, Adam, 100 iterations, every loss asked for."""

import pytest

from tests.e2e.conftest import wait_for_store
from tests.e2e.notebook import Notebook

pytestmark = pytest.mark.slow  # 01-basics and the walk-through are its like in the default run

Pair = tuple[Notebook, Notebook]

NET = """
class Net(sy.Module):
    def __init__(self, torch_ref):
        super().__init__(torch_ref=torch_ref)
        self.fc1 = self.torch_ref.nn.Linear(4, 20)
        self.fc2 = self.torch_ref.nn.Linear(20, 30)
        self.fc3 = self.torch_ref.nn.Linear(30, 3)

    def forward(self, x):
        F = self.torch_ref.nn.functional
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return F.log_softmax(self.fc3(x), dim=1)

torch.manual_seed(7)
local = Net(torch)
"""

DATA = """
from sklearn.datasets import load_iris
iris = load_iris()
x, y = torch.FloatTensor(iris.data), torch.FloatTensor(iris.target)
"""


@pytest.fixture(scope="module")
def iris(pair: Pair) -> Pair:
    owner, scientist = pair
    owner.run(DATA)
    owner.run(
        """
        x.tag("iris-data").describe("150 flowers, 4 measures each").send(duet)
        y.tag("iris-target").describe("their species").send(duet)
        duet.requests.add_handler(action="accept", print_local=True)
        """
    )
    wait_for_store(scientist, 2)
    scientist.run(NET)
    return pair


def test_the_store_describes_both(iris: Pair) -> None:
    _, scientist = iris
    assert scientist.run("duet.store.pandas['Description'][0]") == "150 flowers, 4 measures each"
    assert scientist.run("[tuple(p.shape) for p in duet.store]") == [[150, 4], [150]]


def test_training_equals_the_same_training_done_locally(iris: Pair) -> None:
    owner, scientist = iris
    losses = scientist.run(
        """
        data, target = duet.store["iris-data"], duet.store["iris-target"]
        model = local.send(duet)
        optim = rt.optim.Adam(params=model.parameters(), lr=0.01)
        losses = []
        for i in range(100):
            optim.zero_grad()
            out = model(data)
            loss = rt.nn.functional.nll_loss(out, target.long())
            losses.append(loss.item().get(
                reason=f"loss of iteration {i}", request_block=True, timeout_secs=40))
            loss.backward()
            optim.step()
        losses
        """,
        timeout=100,
    )
    owner.run(NET)
    expected = owner.run(
        """
        optim = torch.optim.Adam(local.parameters(), lr=0.01)
        expected = []
        for i in range(100):
            optim.zero_grad()
            loss = torch.nn.functional.nll_loss(local(x), y.long())
            expected.append(loss.item())
            loss.backward()
            optim.step()
        expected
        """
    )
    assert losses == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert losses[-1] < 0.2 < losses[0]


def test_the_trained_model_predicts_here(iris: Pair) -> None:
    owner, scientist = iris
    scientist.run("trained = model.get(request_block=True, name='model', reason='to predict')")
    owner.run("weights = {k: v.tolist() for k, v in local.state_dict().items()}")
    assert scientist.run("type(trained) is Net and trained.is_local")
    assert scientist.run("trained(torch.tensor([[5.1, 3.5, 1.4, 0.2]])).argmax().item()") == 0
    assert scientist.run("trained(torch.tensor([[6.7, 3.0, 5.2, 2.3]])).argmax().item()") == 2
