"""Scenario 1, the walk-through: a network on the owner's digits, losses equal to local ones."""

from pathlib import Path

import pytest

from tests.e2e.conftest import connect
from tests.e2e.notebook import Notebook

Pair = tuple[Notebook, Notebook]
DIGITS = Path(__file__).resolve().parents[2] / "duet_p2p" / "demo" / "mnist"

LOAD = """
from duet_p2p.demo.net import SyNet
model = SyNet(torch).send(duet)
tv = duet.torchvision
ts = duet.python.List()
ts.append(tv.transforms.ToTensor())
ts.append(tv.transforms.Normalize(0.1307, 0.3081))
ds = tv.datasets.MNIST("mnist", train=True, download=True, transform=tv.transforms.Compose(ts))
loader = rt.utils.data.DataLoader(ds, batch_size=64)
"""


@pytest.fixture(scope="module")
def digits(server: str, owner: Notebook, scientist: Notebook) -> Pair:
    connect(server, owner, scientist, data_dirs={"mnist": str(DIGITS)})
    owner.run(
        """
        duet.requests.add_handler(name="cuda_is_available", action="accept")
        duet.requests.add_handler(name="train_size", action="accept")
        duet.requests.add_handler(
            name="loss", action="deny", timeout_secs=-1, print_local=True)
        """
    )
    scientist.run("torch.manual_seed(42)\n" + LOAD)
    return owner, scientist


def test_the_model_is_remote_and_the_machine_tells_what_it_may(digits: Pair) -> None:
    _, scientist = digits
    assert scientist.run("model.is_local") is False
    asked = (
        "rt.cuda.is_available().get(request_block=True, name='cuda_is_available', timeout_secs=40)"
    )
    assert scientist.run(asked) in (True, False)
    assert scientist.run("rt.device('cpu').type.get()") == "cpu"
    size = "ds.__len__().get(request_block=True, name='train_size', reason='loop')"
    assert scientist.run(size) == 6000
    assert scientist.run("len(loader)") == 94


def test_a_denied_loss_is_none_at_once_and_the_owner_sees_it(digits: Pair) -> None:
    owner, scientist = digits
    value = scientist.run(
        """
        rt.manual_seed(42)
        model.cpu()
        opt = rt.optim.Adadelta(model.parameters(), lr=1.0)
        sched = rt.optim.lr_scheduler.StepLR(opt, step_size=1, gamma=0.7)
        model.train()
        def step(batch):
            opt.zero_grad()
            out = model(batch[0])
            loss = rt.nn.functional.nll_loss(out, batch[1])
            loss.backward()
            opt.step()
            return loss
        batches = iter(loader)
        losses = [step(next(batches))]
        total = duet.python.Float(0)
        total += losses[0].item()
        losses[0].item().get(name="loss", request_block=True, timeout_secs=30)
        """
    )
    assert value is None
    owner.wait_for_print(r"loss.*\d\.\d")
    assert owner.run("[str(r.status) for r in duet.requests.history][-1]").endswith("Rejected")


def test_losses_equal_a_local_run_once_the_owner_allows_them(digits: Pair) -> None:
    owner, scientist = digits
    owner.run("duet.requests.add_handler(name='loss', action='accept')")
    remote = scientist.run(
        """
        losses += [step(batch) for batch, _ in zip(batches, range(19))]
        [loss.item().get(name="loss", request_block=True, timeout_secs=60) for loss in losses]
        """,
        timeout=100,
    )
    local = owner.run(
        f"""
        from pathlib import Path
        from duet_p2p.demo.digits import read_digits
        from duet_p2p.demo.net import SyNet
        images, labels = read_digits(Path({str(DIGITS)!r}), train=True)
        torch.manual_seed(42)
        net = SyNet(torch)
        torch.manual_seed(42)
        opt = torch.optim.Adadelta(net.parameters(), lr=1.0)
        local = []
        data = torch.utils.data.TensorDataset(images, labels)
        for (x, y), _ in zip(torch.utils.data.DataLoader(data, batch_size=64), range(20)):
            opt.zero_grad()
            loss = torch.nn.functional.nll_loss(net(x), y)
            loss.backward()
            opt.step()
            local.append(loss.item())
        local
        """,
        timeout=100,
    )
    assert remote == pytest.approx(local, abs=1e-5)


def test_the_model_comes_by_hand_in_one_request(digits: Pair, home: Path) -> None:
    owner, scientist = digits
    asked = scientist.start(
        "got = model.get(name='model_download', request_block=True, timeout_secs=60)\n"
        "got is not None and got.is_local"
    )
    facts = owner.run(
        """
        import time
        deadline = time.monotonic() + 30
        while not len(duet.requests) and time.monotonic() < deadline:
            time.sleep(0.01)
        request = duet.requests[0]
        facts = [len(duet.requests), request.kind, request.elements]
        duet.requests[0].accept()
        facts
        """
    )
    assert asked.result(60) is True
    # the names of the parameters count too, as the strings that they are
    assert facts[:2] == [1, "model"]
    assert 1_199_882 <= facts[2] < 1_199_882 + 20
    path = str(home / "model.safetensors")
    same = scientist.run(
        f"""
        got.save({path!r})
        again = SyNet(torch)
        again.load({path!r})
        all(torch.equal(a, b) for a, b in zip(got.parameters(), again.parameters()))
        """
    )
    assert same is True


def test_a_widened_handler_gives_the_model_once(digits: Pair) -> None:
    owner, scientist = digits
    owner.run(
        "duet.requests.add_handler(name='model_download', action='accept', kinds={'model'},"
        " max_elements=None)"
    )
    get = "model.get(name='model_download', request_block=True, timeout_secs={}) is not None"
    scientist.run("opt.zero_grad(); step(next(batches))")
    assert scientist.run(get.format(30)) is True
    scientist.run("step(next(batches))")
    assert scientist.run(get.format(1)) is False


def test_inference_on_own_digits_is_asked_for(digits: Pair) -> None:
    owner, scientist = digits
    asked = scientist.start(
        """
        model.eval()
        with torch.no_grad():
            probabilities = rt.exp(model(rt.Tensor(torch.zeros(1, 1, 28, 28))))
        got = probabilities.get(name="inference", request_block=True, timeout_secs=30)
        None if got is None else [tuple(got.shape), got.sum().item()]
        """
    )
    owner.run(
        """
        deadline = time.monotonic() + 20
        while not any(r.name == "inference" for r in duet.requests) and time.monotonic() < deadline:
            time.sleep(0.01)
        [r for r in duet.requests if r.name == "inference"][0].accept()
        """
    )
    shape, total = asked.result(40)
    assert shape == [1, 10]
    assert total == pytest.approx(1, abs=1e-5)
