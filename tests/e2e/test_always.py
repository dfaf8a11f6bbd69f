"""Ordinary loops of a scientist: one `accept(always=True)`, and the rule takes the run."""

import pytest

from tests.e2e.conftest import wait_for_request, wait_for_store
from tests.e2e.notebook import Notebook

Pair = tuple[Notebook, Notebook]

OWNER = """
torch.manual_seed(3)
torch.randn(256, 4).tag("x").send(duet)
torch.randint(0, 3, (256,)).tag("y").send(duet)
"""

SCIENTIST = """
tools, rt = duet.torch.utils.data, duet.torch
data = tools.TensorDataset(duet.store["x"], duet.store["y"])
batches = [batch for _ in range(8) for batch in tools.DataLoader(data, batch_size=64)]

class Run:
    def __init__(self, seed, schedule=None):
        torch.manual_seed(seed)
        self.model = nn.Linear(4, 3).send(duet)
        self.optimizer = rt.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.schedule = None if schedule is None else schedule(self.optimizer)
        self.batches = iter(batches)

    def train(self, many=1, divided=1):
        for _ in range(many):
            x, y = next(self.batches)
            loss = rt.nn.functional.cross_entropy(self.model(x), y)
            (loss / divided).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.schedule is not None:
            self.schedule.step()
        return loss

def asked(loss, timeout_secs=0):
    got = loss.get(name="loss", reason="to see it", request_block=True, timeout_secs=timeout_secs)
    return None if got is None else got.item()
"""


@pytest.fixture(scope="module")
def loops(pair: Pair) -> Pair:
    owner, scientist = pair
    owner.run(OWNER)
    wait_for_store(scientist, 2)
    scientist.run(SCIENTIST)
    return pair


def accepted_once(owner: Notebook, scientist: Notebook, code: str) -> str:
    """The first loss, accepted always; the line that the owner read of it."""
    asking = scientist.start(code)
    wait_for_request(owner)
    told = owner.run(
        """
        (request,) = duet.requests
        told = str(request)
        request.accept(always=True)
        next(line for line in told.splitlines() if line.strip().startswith("always"))
        """
    )
    assert asking.result(60) is not None
    return str(told)


def test_accumulated_gradients_are_accepted_once(loops: Pair) -> None:
    owner, scientist = loops
    line = accepted_once(owner, scientist, "run = Run(1)\nasked(run.train(2, divided=2), 60)")
    assert "very loss / 2, 2 of them added up for each step and step() of SGD (lr=0.1, " in line
    losses = scientist.run("[asked(run.train(2, divided=2)) for _ in range(4)]")
    assert None not in losses and len(set(losses)) == 4
    # the loss behind another number of them, and behind it all later ones, wait
    assert scientist.run("run.train(3, divided=2)\n[asked(run.train(2, divided=2))] * 2") == [
        None,
        None,
    ]
    assert scientist.run("other = Run(1); other.train(2, divided=3); asked(other.train(2))") is None


def test_schedulers_one_after_the_other_are_accepted_once(loops: Pair) -> None:
    owner, scientist = loops
    scientist.run(
        """
        def schedule(optimizer, milestone=2, gamma=0.5):
            place = rt.optim.lr_scheduler
            warmup = place.LinearLR(optimizer, start_factor=0.1, total_iters=2)
            decay = place.ExponentialLR(optimizer, gamma=gamma)
            return place.SequentialLR(optimizer, [warmup, decay], milestones=[milestone])
        """
    )
    line = accepted_once(owner, scientist, "run = Run(2, schedule)\nasked(run.train(), 60)")
    assert "SequentialLR ([LinearLR (start_factor=0.1, total_iters=2), Exponen" in line
    losses = scientist.run("[asked(run.train()) for _ in range(5)]")
    assert None not in losses and len(set(losses)) == 5
    waiting = scientist.run(
        """
        later = Run(2, lambda o: schedule(o, milestone=3))
        faster = Run(2, lambda o: schedule(o, gamma=0.9))
        [(run.train(), asked(run.train()))[1] for run in (later, faster)]
        """
    )
    assert waiting == [None, None]


def test_schedulers_at_once_are_accepted_once(loops: Pair) -> None:
    owner, scientist = loops
    scientist.run(
        """
        def at_once(optimizer):
            place = rt.optim.lr_scheduler
            first = place.ConstantLR(optimizer, factor=0.5, total_iters=3)
            second = place.ExponentialLR(optimizer, gamma=0.9)
            return place.ChainedScheduler([first, second])
        """
    )
    line = accepted_once(owner, scientist, "run = Run(3, at_once)\nasked(run.train(), 60)")
    assert "ChainedScheduler ([ConstantLR (factor=0.5, total_iters=3), Exponenti" in line
    losses = scientist.run("[asked(run.train()) for _ in range(5)]")
    assert None not in losses and len(set(losses)) == 5
    assert scientist.run("run.optimizer.param_groups[0]['lr'] = 9.0; run.train(); "
                         "asked(run.train())") is None  # fmt: skip
