import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import duet_p2p as sy
from duet_p2p.errors import WrongSide
from duet_p2p.objects.shell import tensors_of


class Inner(sy.Module):
    def __init__(self, torch_ref: Any) -> None:
        super().__init__(torch_ref=torch_ref)
        self.fc = self.torch_ref.nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        return self.torch_ref.relu(self.fc(x))


class Net(sy.Module):
    def __init__(self, torch_ref: Any) -> None:
        super().__init__(torch_ref=torch_ref)
        self.inner = Inner(torch_ref)
        self.norm = self.torch_ref.nn.BatchNorm1d(3)
        self.out = self.torch_ref.nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        return self.out(self.norm(self.inner(x)))

    def decode(self, z: Any) -> Any:
        return self.torch_ref.sigmoid(self.out(z))


def test_a_local_module_is_an_ordinary_one() -> None:
    net = Net(torch)
    assert net.is_local is True
    assert net.torch_ref is torch
    assert net.real_module is net
    assert isinstance(net, nn.Module)
    assert net(torch.ones(5, 4)).shape == (5, 2)
    assert len(list(net.modules())) == 5
    assert list(net.modules) == ["inner", "norm", "out"]
    assert net.modules["inner"] is net.inner


def test_parameters_are_a_list_and_an_iterator() -> None:
    net = Net(torch)
    parameters = net.parameters()
    assert len(parameters) == 6
    assert next(parameters) is parameters[0]
    assert next(parameters) is parameters[1]
    assert [id(p) for p in parameters] == [id(p) for _, p in net.named_parameters()]
    assert next(net.parameters()) is parameters[0]
    torch.optim.SGD(net.parameters(), lr=0.1).step()


def test_parameters_end() -> None:
    parameters = nn.Linear(1, 1).parameters()
    module = Inner(torch)
    listed = module.parameters()
    assert sum(1 for _ in parameters) == len(listed)
    for _ in range(len(listed)):
        next(listed)
    with pytest.raises(StopIteration):
        next(listed)


def test_copies_and_pickles_hold_no_reference_to_torch() -> None:
    net = Net(torch)
    other = copy.deepcopy(net)
    assert other.torch_ref is torch
    x = torch.ones(3, 4)
    net.eval(), other.eval()
    assert torch.equal(other(x), net(x))
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), net(x))


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_save_and_load(tmp_path: Path, name: str) -> None:
    net, other = Net(torch), Net(torch)
    path = tmp_path / name
    assert net.save(path) is None
    assert other.load(str(path)) is None
    for key, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[key]), key
    third = Net(torch)
    third.load_state_dict(path)
    assert torch.equal(third.out.weight, net.out.weight)


def test_loading_never_unpickles(tmp_path: Path) -> None:
    path = tmp_path / "evil.pt"
    torch.save({"fc.weight": Net(torch)}, path)
    with pytest.raises(pickle.UnpicklingError):
        Net(torch).load(path)


def test_get_belongs_to_a_remote_module() -> None:
    with pytest.raises(WrongSide):
        Net(torch).get(request_block=True)


def test_zero_layers_and_sums(capsys: pytest.CaptureFixture[str]) -> None:
    net = Inner(torch)
    net.zero_layers()
    assert all(bool((p == 0).all()) for p in net.parameters())
    net.debug_sum_layers()
    assert "fc.weight tensor(0.)" in capsys.readouterr().out


def test_shared_tensors_stand_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(2, 2, bias=False)
            self.b = nn.Linear(2, 2, bias=False)
            self.b.weight = self.a.weight

    assert list(tensors_of(Tied())) == ["a.weight"]
