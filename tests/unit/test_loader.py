import gzip
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

import duet_p2p as sy
from duet_p2p.engine.learning import of_results
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.store import Slot, Store
from duet_p2p.errors import RequestDenied
from duet_p2p.wire.messages import Op

from .scientist_kit import Pair, deny, pair


@pytest.fixture
def both() -> Iterator[Pair]:
    with pair() as made:
        yield made


def loader_of(both: Pair, x: torch.Tensor, y: torch.Tensor, **options: Any) -> Any:
    data = both.duet.torch.utils.data
    return data.DataLoader(data.TensorDataset(both.share(x), both.share(y)), **options)


def test_batches_are_those_of_a_local_loader(both: Pair) -> None:
    x, y = torch.randn(10, 3), torch.arange(10)
    loader = loader_of(both, x, y, batch_size=4)
    shapes, seen = [], []
    for data, target in loader:
        shapes.append((tuple(data.shape), tuple(target.shape), target.dtype))
        seen.append(target)
    assert shapes == [((4, 3), (4,), torch.int64)] * 2 + [((2, 3), (2,), torch.int64)]
    assert torch.equal(torch.cat(seen).get(request_block=True), y)
    assert len(loader) == 3
    assert loader.batch_size.get(request_block=True) == 4
    assert [request.name for request, _ in both.owner.asked if request.name] == []


def test_batch_by_index_and_new_pass_each_time(both: Pair) -> None:
    loader = loader_of(both, torch.randn(6, 2), torch.arange(6), batch_size=3, drop_last=True)
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == 2
        assert batches[0][1].get(request_block=True).tolist() == [0, 1, 2]
        assert len(batches[0]) == 2


def test_shuffling_follows_the_sessions_seed(both: Pair) -> None:
    x, y = torch.randn(9, 2), torch.arange(9)
    torch.manual_seed(4)
    expected = [t.tolist() for _, t in DataLoader(TensorDataset(x, y), batch_size=2, shuffle=True)]
    both.duet.torch.manual_seed(4)
    loader = loader_of(both, x, y, batch_size=2, shuffle=True)
    assert [t.get(request_block=True).tolist() for _, t in loader] == expected


def test_no_round_trip_per_batch(both: Pair) -> None:
    loader = loader_of(both, torch.randn(20, 2), torch.arange(20), batch_size=4)
    len(loader)
    before = len(both.owner.commands)
    for data, _ in loader:
        data.sum()
    names = [c.name for c in both.owner.commands[before:] if isinstance(c, Op)]
    assert names.count("python.next") == 5
    assert len([c for c in both.owner.commands[before:] if type(c).__name__ == "Request"]) == 0


def test_at_most_eight_batches_run_ahead(both: Pair) -> None:
    loader = loader_of(both, torch.randn(40, 2), torch.arange(40), batch_size=2)
    both.settle()
    passing = iter(loader)
    waited: list[int] = []
    client = both.duet._client
    settle = client.settle
    client.settle = lambda seq, *rest: (waited.append(seq), settle(seq, *rest))  # type: ignore[method-assign,assignment]
    for _ in range(8):
        next(passing)
    assert waited == []
    next(passing)
    assert len(waited) == 1


def test_break_and_take(both: Pair) -> None:
    loader = loader_of(both, torch.randn(20, 2), torch.arange(20), batch_size=4)
    for data, _ in loader:
        assert data.shape == (4, 2)
        break
    assert len(list(loader.take(2))) == 2


def test_a_private_length_is_asked_for_once_as_train_size() -> None:
    with pair() as both:
        x = both.share(torch.randn(10, 3), shapes_public=False)
        data = both.duet.torch.utils.data
        loader = data.DataLoader(data.TensorDataset(x, x), batch_size=4)
        assert len(list(loader)) == 3
        assert len(list(loader)) == 3
        assert [request.name for request, _ in both.owner.asked] == ["train_size"]


def test_a_refused_length_raises() -> None:
    with pair(deny) as both:
        x = both.share(torch.randn(10, 3), shapes_public=False)
        data = both.duet.torch.utils.data
        loader = data.DataLoader(data.TensorDataset(x, x), batch_size=4)
        with pytest.raises(RequestDenied):
            iter(loader)


# the walk-through


class SyNet(sy.Module):
    def __init__(self, torch_ref: Any) -> None:
        super().__init__(torch_ref=torch_ref)
        self.conv1 = self.torch_ref.nn.Conv2d(1, 4, 3, 1)
        self.conv2 = self.torch_ref.nn.Conv2d(4, 8, 3, 1)
        self.dropout1 = self.torch_ref.nn.Dropout2d(0.25)
        self.dropout2 = self.torch_ref.nn.Dropout2d(0.5)
        self.fc1 = self.torch_ref.nn.Linear(1152, 16)
        self.fc2 = self.torch_ref.nn.Linear(16, 10)

    def forward(self, x: Any) -> Any:
        functional = self.torch_ref.nn.functional
        x = functional.relu(self.conv1(x))
        x = functional.relu(self.conv2(x))
        x = functional.max_pool2d(x, 2)
        x = self.torch_ref.flatten(self.dropout1(x), 1)
        x = functional.relu(self.fc1(x))
        x = self.fc2(x)
        return functional.log_softmax(x, dim=1)


def write_digits(folder: Path, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """MNIST's own file format with made-up pixels; real digits are for the end-to-end test."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 10, (count,), dtype=torch.uint8, generator=generator)
    for split in ("train", "t10k"):
        head = struct.pack(">4i", 2051, count, 28, 28)
        path = folder / f"{split}-images-idx3-ubyte.gz"
        path.write_bytes(gzip.compress(head + images.numpy().tobytes()))
        head = struct.pack(">2i", 2049, count)
        path = folder / f"{split}-labels-idx1-ubyte.gz"
        path.write_bytes(gzip.compress(head + labels.numpy().tobytes()))
    pixels = images.float().div(255).sub(0.1307).div(0.3081).unsqueeze(1)
    return pixels, labels.long()


def local_losses(model: SyNet, x: torch.Tensor, y: torch.Tensor, steps: int) -> list[float]:
    torch.manual_seed(42)
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    losses = []
    model.train()
    for _ in range(2):
        for data, target in DataLoader(TensorDataset(x, y), batch_size=16):
            if len(losses) == steps:
                return losses
            optimizer.zero_grad()
            loss = F.nll_loss(model(data), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        scheduler.step()
    return losses


def test_the_walk_through_gives_the_losses_of_a_local_run(tmp_path: Path) -> None:
    def rules(request: Any, facts: Any) -> str:
        return "deny" if request.name == "loss" and facts.kind == "never" else "accept"

    x, y = write_digits(tmp_path, 168)
    torch.manual_seed(1)
    start = SyNet(torch)
    with pair(rules, {"mnist": str(tmp_path)}) as both:
        duet = both.duet
        rt, tv = duet.torch, duet.torchvision
        model = start.send(duet)
        expected = local_losses(start, x, y, 20)
        assert model.is_local is False
        cuda = rt.cuda.is_available().get(
            request_block=True, name="cuda_is_available", reason="where to run", timeout_secs=5
        )
        assert cuda is False
        rt.manual_seed(42)
        assert rt.device("cpu").type.get() == "cpu"
        model.cpu()
        optimizer = rt.optim.Adadelta(model.parameters(), lr=1.0)
        scheduler = rt.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
        steps = duet.python.List()
        steps.append(tv.transforms.ToTensor())
        steps.append(tv.transforms.Normalize(0.1307, 0.3081))
        transform = tv.transforms.Compose(steps)
        dataset = tv.datasets.MNIST("mnist", train=True, download=True, transform=transform)
        loader = rt.utils.data.DataLoader(dataset, batch_size=16)
        size = dataset.__len__().get(request_block=True, name="train_size", reason="loop")
        assert size == 168
        model.train()
        losses: list[float] = []
        total = duet.python.Float(0)
        for _ in range(2):
            for batch in loader:
                if len(losses) == 20:
                    break
                optimizer.zero_grad()
                out = model(batch[0])
                loss = rt.nn.functional.nll_loss(out, batch[1])
                loss.backward()
                optimizer.step()
                total += loss.item()
                losses.append(loss.item().get(name="loss", request_block=True, timeout_secs=5))
            scheduler.step()
        assert both.owner.failures == []
        assert losses == pytest.approx(expected, abs=1e-5)
        assert total.get(request_block=True) == pytest.approx(sum(expected), abs=1e-3)
        trained = model.get(request_block=True, name="model_download", timeout_secs=10)
        for name, value in start.named_parameters():
            assert torch.allclose(trained.get_parameter(name), value, atol=1e-4), name
        trained.save(tmp_path / "model.pt")
        model.eval(), trained.eval()
        image = x[:1]
        with torch.no_grad():
            inferred = rt.exp(model(rt.Tensor(image))).get(request_block=True)
            assert torch.allclose(inferred, torch.exp(trained(image)), atol=1e-5)


def test_of_a_loader_whose_items_lie_too_deep_nothing_is_told() -> None:
    """What is told beforehand comes from its first item, and the engine ended over it."""
    data: Any = TensorDataset(torch.ones(4))
    store, lineage = Store(), Lineage()
    for id in (1, 2):
        store.put(id, Slot(DataLoader(data)))
        for _ in range(1_100):
            data = ConcatDataset([data])
    name = "torch.utils.data.DataLoader"
    told = [of_results(Op(name, (id,), (), {}, "g"), store, lineage) for id in (1, 2)]
    assert list(map(len, told)) == [1, 0]
