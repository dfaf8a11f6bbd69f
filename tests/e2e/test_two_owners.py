"""Scenario 5: three processes, two owners, one scientist who averages their linear models."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import connect, wait_for_store
from tests.e2e.notebook import CellError, Notebook

pytestmark = pytest.mark.slow  # three processes

STEPS = """
def train(duet, local, data, target):
    remote = local.send(duet)
    optimizer = duet.torch.optim.Adam(remote.parameters(), lr=0.1)
    loss_fn = duet.torch.nn.functional.mse_loss
    for _ in range(100):
        optimizer.zero_grad()
        loss = loss_fn(remote(data), target)
        loss.backward()
        optimizer.step()
    return remote

class Linear(sy.Module):
    def __init__(self, torch_ref):
        super().__init__(torch_ref=torch_ref)
        self.linear = self.torch_ref.nn.Linear(1, 1)

    def forward(self, x):
        return self.linear(x)
"""


@pytest.fixture(scope="module")
def second_owner(home: Path) -> Iterator[Notebook]:
    notebook = Notebook("second-owner", home)
    yield notebook
    notebook.close()


@pytest.fixture(scope="module")
def three(
    server: str, owner: Notebook, second_owner: Notebook, scientist: Notebook
) -> tuple[Notebook, Notebook, Notebook]:
    connect(server, owner, scientist)
    scientist.run("first = duet")
    connect(server, second_owner, scientist)
    scientist.run("second = duet")
    for number, notebook in enumerate((owner, second_owner)):
        notebook.run(
            f"""
            data = torch.tensor([[1.0], [2.0], [3.0], [4.0]]) + {number}
            data.tag("data").send(duet)
            duet.requests.add_handler(action="accept")
            """
        )
    for duet in ("first", "second"):
        wait_for_store(scientist, 1, duet)
    return owner, second_owner, scientist


def test_the_average_equals_the_same_computation_done_locally(
    three: tuple[Notebook, Notebook, Notebook],
) -> None:
    scientist = three[2]
    scientist.run(STEPS)
    average = scientist.run(
        """
        torch.manual_seed(1)
        start = Linear(torch)
        targets = [torch.tensor([[2.0], [4.1], [5.9], [8.2]]),
                   torch.tensor([[4.2], [5.8], [8.1], [9.9]])]
        remotes = [train(d, start, d.store["data"], t) for d, t in zip((first, second), targets)]
        pairs = [r.parameters().get(request_block=True) for r in remotes]
        states = [r.get(request_block=True).state_dict() for r in remotes]
        assert all(torch.equal(p[0], s["linear.weight"]) for p, s in zip(pairs, states))
        combined = Linear(torch)
        combined.load_state_dict({k: (states[0][k] + states[1][k]) / 2 for k in states[0]})
        [p.item() for p in combined.parameters()]
        """
    )
    expected = scientist.run(
        """
        import copy
        models = []
        for number, target in enumerate(targets):
            model = copy.deepcopy(start)
            optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
            data = torch.tensor([[1.0], [2.0], [3.0], [4.0]]) + number
            for _ in range(100):
                optimizer.zero_grad()
                torch.nn.functional.mse_loss(model(data), target).backward()
                optimizer.step()
            models.append(model)
        [((a + b) / 2).item() for a, b in zip(models[0].parameters(), models[1].parameters())]
        """
    )
    assert average == pytest.approx(expected, abs=1e-4)


def test_pointers_of_two_sessions_do_not_mix(
    three: tuple[Notebook, Notebook, Notebook],
) -> None:
    scientist = three[2]
    with pytest.raises(CellError) as failure:
        scientist.run("first.store['data'] + second.store['data']")
    assert failure.value.kind == "ForeignPointer"
