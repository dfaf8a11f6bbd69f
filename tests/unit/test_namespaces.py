from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import duet_p2p as sy
from duet_p2p.errors import NotAllowed, WrongSide
from duet_p2p.scientist.pointer import Pointer

from .scientist_kit import Pair, pair


@pytest.fixture
def both() -> Iterator[Pair]:
    with pair() as made:
        yield made


def test_functions_factories_and_constants(both: Pair) -> None:
    rt = both.duet.torch
    assert rt.arange(3).get().tolist() == [0, 1, 2]
    assert rt.exp(torch.zeros(2)).get().tolist() == [1, 1]
    assert rt.nn.functional.relu(rt.tensor([-1.0, 1.0])).get().tolist() == [0, 1]
    assert rt.einsum("i,i->", torch.ones(3), torch.ones(3)).get() == 3
    assert rt.float32 is torch.float32
    assert rt.pi == torch.pi
    assert rt.Size([1]) == torch.Size([1])
    assert rt.Tensor([[1.0, 2.0]]).shape == (1, 2)
    assert rt.relu is rt.relu


def test_grad_modes_are_the_local_ones_and_travel(both: Pair) -> None:
    rt = both.duet.torch
    w = rt.ones(2, requires_grad=True)
    assert (w * 2).requires_grad is True
    with rt.no_grad():
        assert (w * 2).requires_grad is False
    with torch.inference_mode():
        w * 2
    modes = [c.mode for c in both.owner.commands if getattr(c, "name", "").endswith("__mul__")]
    assert modes == ["g", "n", "i"]


def test_dir_and_hasattr_tell_what_is_offered(both: Pair) -> None:
    rt = both.duet.torch
    names = dir(rt)
    assert {"relu", "nn", "optim", "float32", "no_grad", "Tensor"} <= set(names)
    assert {"Linear", "functional", "Conv2d"} <= set(dir(rt.nn))
    for denied in ("load", "save", "hub", "jit", "ops", "compile", "empty", "from_file"):
        assert not hasattr(rt, denied), denied
        assert denied not in names
    assert "names" in repr(rt)


def test_an_unknown_name_says_the_nearest(both: Pair) -> None:
    with pytest.raises(NotAllowed, match=r"torch\.relu"):
        _ = both.duet.torch.rellu
    with pytest.raises(NotAllowed):
        both.duet.torch.relu = 3


def test_python_is_also_the_originals_long_name(both: Pair) -> None:
    assert both.duet.syft.lib.python is both.duet.python
    assert len(both.duet.python.List([1, 2])) == 2
    assert both.duet.python.String("abc").upper().get() == "ABC"
    with pytest.raises(NotAllowed):
        both.duet.python.String("{}").format(1)


def test_devices(both: Pair) -> None:
    rt = both.duet.torch
    device = rt.device("cpu")
    assert type(device).__name__ == "DevicePointer"
    assert device.type.get() == "cpu"
    assert rt.ones(2).to(device).get().tolist() == [1, 1]
    available = rt.cuda.is_available()
    assert type(available).__name__ == "BoolPointer"
    assert available.get(request_block=True, name="cuda_is_available") is False
    assert both.owner.asked[0][0].name == "cuda_is_available"


@pytest.mark.parametrize(
    "make",
    [
        lambda t: t.nn.Linear(4, 3),
        lambda t: t.nn.Conv2d(1, 2, 3, bias=False),
        lambda t: t.nn.BatchNorm1d(3),
        lambda t: t.nn.LSTM(4, 3),
        lambda t: t.nn.LSTMCell(4, 3),
        lambda t: t.nn.Embedding(5, 2),
        lambda t: t.nn.MultiheadAttention(4, 2),
        lambda t: t.nn.Bilinear(2, 3, 4),
        lambda t: t.nn.PReLU(),
        lambda t: t.nn.LayerNorm(4),
        lambda t: t.nn.ConvTranspose2d(2, 3, 3),
        lambda t: t.nn.TransformerEncoderLayer(4, 2, 8),
        lambda t: t.nn.Sequential(t.nn.Linear(2, 2), t.nn.ReLU(), t.nn.Linear(2, 1)),
    ],
)
def test_first_weights_are_those_of_a_local_module_with_the_same_seed(
    both: Pair, make: Any
) -> None:
    torch.manual_seed(7)
    local = make(torch)
    both.duet.torch.manual_seed(7)
    remote = make(both.duet.torch)
    assert type(remote).__name__ == type(local).__name__
    got = remote.get(request_block=True, timeout_secs=5)
    assert type(got) is type(local)
    assert list(got.state_dict()) == list(local.state_dict())
    for key, value in local.state_dict().items():
        assert torch.equal(got.state_dict()[key], value), key
    for name, parameter in got.named_parameters():
        assert parameter.requires_grad == dict(local.named_parameters())[name].requires_grad


class Tied(nn.Module):
    """What a copy can get wrong: one tensor twice, numbers of several types, flat weights."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5)
        self.out.weight = self.embedding.weight
        self.lstm = nn.LSTM(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.scale = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16), requires_grad=False)
        self.register_buffer("mask", torch.tensor([True, False]))

    def forward(self, x: Any) -> Any:
        return self.norm(self.lstm(self.embedding(x))[0])


@pytest.mark.parametrize("is_asked", [True, False], ids=["requested", "public"])
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_module_that_comes_back_is_whole(both: Pair, is_asked: bool, mode: Any) -> None:
    net = Tied()
    remote = net.send(both.duet)
    with mode():
        got = remote.get(request_block=is_asked, timeout_secs=5)
    assert type(got) is Tied
    assert got.out.weight is got.embedding.weight
    assert {n: p.requires_grad for n, p in got.named_parameters()} == {
        n: p.requires_grad for n, p in net.named_parameters()
    }
    for name, value in net.state_dict().items():
        found = got.state_dict()[name]
        assert found.dtype == value.dtype and torch.equal(found, value), name
    assert all(a is b for a, b in zip(got.lstm._flat_weights, got.lstm.parameters(), strict=True))
    x = torch.tensor([[1, 4], [0, 2]])
    got.eval(), net.eval()
    with torch.no_grad():
        assert torch.equal(got(x[0]), net(x[0]))


def test_a_module_comes_back_as_it_was_when_it_was_asked_for(both: Pair) -> None:
    remote = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).send(both.duet)
    fetched = both.duet._client.fetch_state

    def changing(state: Any, meanwhile: Any, options: Any) -> Any:
        values = fetched(state, meanwhile, options)
        remote[1].p = 0.1
        return values

    both.duet._client.fetch_state = changing
    try:
        assert remote.get(request_block=True, timeout_secs=5)[1].p == 0.5
    finally:
        del both.duet._client.fetch_state


def test_losses_and_activations(both: Pair) -> None:
    rt = both.duet.torch
    x, y = torch.rand(4, 1), torch.rand(4, 1)
    loss = rt.nn.BCELoss(reduction="sum")(rt.nn.Sigmoid()(x.send(both.duet)), y.send(both.duet))
    expected = nn.BCELoss(reduction="sum")(torch.sigmoid(x), y)
    assert loss.get().item() == pytest.approx(expected.item(), abs=1e-5)
    weighted = rt.nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))
    logits, target = torch.randn(3, 2), torch.tensor([0, 1, 1])
    expected = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))(logits, target)
    assert weighted(logits.send(both.duet), target.send(both.duet)).get().item() == pytest.approx(
        expected.item(), abs=1e-5
    )


# remote modules


class Net(sy.Module):
    def __init__(self, torch_ref: Any) -> None:
        super().__init__(torch_ref=torch_ref)
        self.fc1 = self.torch_ref.nn.Linear(4, 5)
        self.drop = self.torch_ref.nn.Dropout(0.5)
        self.norm = self.torch_ref.nn.BatchNorm1d(5)
        self.fc2 = self.torch_ref.nn.Linear(5, 2)

    def forward(self, x: Any) -> Any:
        x = self.drop(self.norm(self.torch_ref.nn.functional.relu(self.fc1(x))))
        return self.fc2(x)

    def decode(self, z: Any) -> Any:
        return self.torch_ref.sigmoid(self.fc2(z))


def test_a_sent_module_runs_its_own_code_on_the_owners_side(both: Pair) -> None:
    local = Net(torch)
    model = local.send(both.duet)
    assert isinstance(model, Net)
    assert model.is_local is False
    assert model.torch_ref is both.duet.torch
    assert model.fc1.is_local is False
    assert isinstance(model.fc1.weight, Pointer)
    x = torch.randn(6, 4)
    local.eval(), model.eval()
    assert torch.allclose(model(x.send(both.duet)).get(), local(x), atol=1e-6)
    assert torch.allclose(model.decode(torch.ones(1, 5)).get(), local.decode(torch.ones(1, 5)))
    assert local.is_local is True
    assert isinstance(local.fc1.weight, nn.Parameter)


def test_a_module_comes_back_with_one_request(both: Pair) -> None:
    local = Net(torch)
    model = local.send(both.duet)
    model.train()
    x = both.share(torch.randn(20, 4))
    optimizer = both.duet.torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        model(x).pow(2).mean().backward()
        optimizer.step()
    got = model.get(request_block=True, name="model_download", reason="test")
    assert len(both.owner.asked) == 1
    assert both.owner.asked[0][0].name == "model_download"
    assert type(got) is Net
    assert got.is_local is True
    assert got.training is True
    assert not torch.equal(got.fc1.weight, local.fc1.weight)
    assert int(got.norm.num_batches_tracked) == 2
    assert torch.equal(got.fc1.weight, both.value(model.fc1.weight))
    got(torch.randn(4, 4)).sum().backward()  # an ordinary module
    assert isinstance(model, Net)
    assert model.is_local is False


def test_parameters_are_a_list_pointer(both: Pair) -> None:
    model = Net(torch).send(both.duet)
    parameters = model.parameters()
    assert type(parameters).__name__ == "ListPointer"
    assert len(parameters) == 6
    assert next(iter(parameters)) is model.fc1.weight
    values = parameters.get(request_block=True)
    assert [tuple(v.shape) for v in values] == [tuple(p.shape) for p in parameters]
    assert len(list(nn.Linear(1, 1).send(both.duet).parameters())) == 2


def test_state_dicts_go_both_ways(both: Pair) -> None:
    model, other = Net(torch).send(both.duet), Net(torch)
    state = model.state_dict()
    assert list(state) == list(other.state_dict())
    assert all(isinstance(value, Pointer) for value in state.values())
    model.load_state_dict(other.state_dict())
    got = model.get(request_block=True)
    for key, value in other.state_dict().items():
        assert torch.equal(got.state_dict()[key], value)
    third = Net(torch).send(both.duet)
    third.load_state_dict(model.state_dict())
    assert torch.equal(third.fc1.weight.get(), other.fc1.weight)
    with pytest.raises(RuntimeError, match="size mismatch"):
        model.load_state_dict({**other.state_dict(), "fc1.bias": torch.ones(9)})


def test_what_belongs_to_the_other_side_says_so(both: Pair, tmp_path: Any) -> None:
    model = Net(torch).send(both.duet)
    for refused in (
        lambda: model.send(both.duet),
        lambda: model.save(tmp_path / "x"),
        lambda: model.load(tmp_path / "x"),
    ):
        with pytest.raises(WrongSide):
            refused()


def test_training_moving_and_grads(both: Pair) -> None:
    model = Net(torch).send(both.duet)
    assert model.train() is model
    assert model.eval() is model
    assert model.fc1.training is False
    sent = len(both.owner.ops)
    assert model.cpu() is model
    assert "torch.Tensor.data=" not in both.owner.ops[sent:]
    model.double()
    assert model.fc1.weight.dtype == torch.float64
    assert both.value(model.fc1.weight).dtype == torch.float64
    assert model.norm.num_batches_tracked.dtype == torch.int64
    model.to(both.duet.torch.device("cpu"))
    model.float()
    model.requires_grad_(False)
    assert model.fc1.weight.requires_grad is False
    model.fc2.requires_grad_(True)
    model(torch.ones(3, 4)).sum().backward()
    assert model.fc2.weight.grad.get().shape == (2, 5)
    model.zero_grad()
    assert both.value(model.fc2.weight).grad is None


def test_any_module_can_be_sent(both: Pair) -> None:
    torch.manual_seed(0)
    tied = nn.Linear(3, 3)
    local = nn.Sequential(tied, nn.ReLU(), tied, nn.ModuleDict({"a": nn.LSTM(3, 2)})["a"])
    remote = local.send(both.duet)
    assert remote[0].weight is remote[2].weight
    x = torch.randn(5, 3)
    out, _ = remote(x.send(both.duet))
    expected, _ = local(x)
    assert torch.allclose(out.get(), expected, atol=1e-6)
    got = remote.get(request_block=True)
    assert got[0].weight is got[2].weight
    assert torch.allclose(got(x)[0], expected, atol=1e-6)
    hooked = nn.Linear(1, 1)
    hooked.register_forward_hook(lambda *_: None)
    with pytest.raises(NotAllowed, match="hooks"):
        hooked.send(both.duet)
    with pytest.raises(NotAllowed, match="lazy"):
        nn.LazyLinear(2).send(both.duet)


def test_a_remote_model_from_the_start(both: Pair) -> None:
    torch.manual_seed(3)
    local = Net(torch)
    both.duet.torch.manual_seed(3)
    model = Net(both.duet.torch)
    assert isinstance(model, Net)
    assert model.is_local is False
    got = model.get(request_block=True)
    for key, value in local.state_dict().items():
        assert torch.equal(got.state_dict()[key], value), key


def test_first_weights_afresh(both: Pair) -> None:
    local = Net(torch)
    torch.manual_seed(5)
    expected = Net(torch)
    both.duet.torch.manual_seed(5)
    model = local.send(both.duet, send_parameters=False)
    got = model.get(request_block=True)
    for key, value in expected.state_dict().items():
        assert torch.equal(got.state_dict()[key], value), key


@pytest.mark.parametrize(
    "make",
    [
        lambda t: t.nn.Linear(10**6, 10**6),
        lambda t: t.nn.Embedding(10**9, 100),
        lambda t: t.nn.BatchNorm1d(10**9),
        lambda t: t.nn.Conv2d(10**5, 10**5, 3),
    ],
)
def test_a_layer_that_is_too_large_is_refused_before_it_is_made(both: Pair, make: Any) -> None:
    make(both.duet.torch)
    both.settle()
    assert both.owner.failures[0].code == "QuotaExceeded"
