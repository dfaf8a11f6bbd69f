"""What an owner can share, and what the scientist is told of it."""

from collections import OrderedDict

import pandas
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import duet_p2p.objects.python as python
from duet_p2p.errors import (
    NotAllowed,
    PointerDeleted,
)
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref, TensorData
from tests.unit.owner_kit import (  # noqa: F401 (two are fixtures)
    AGES,
    owner_bridge,
    owner_on,
    owner_pair,
    share_ages,
    waiting,
)


def test_basics_ages(pair, capsys):
    duet, scientist = pair
    pointer = share_ages(duet)
    assert (pointer.tags, pointer.description, pointer.shape) == (["ages"], "in years", (6,))
    scientist.op("torch.Tensor.float", 1, Ref(-1))
    scientist.op("torch.Tensor.mean", 2, Ref(1))
    assert scientist.get(2).state == "never"
    first = scientist.request(2, reason="first")
    waiting(duet, scientist)
    assert duet.requests[0].request_description == "first"
    assert duet.requests[0].object_tags == ["ages", "float", "mean"]
    assert duet.requests[0].sources == ["ages"]
    assert scientist.get(2).state == "waiting"
    duet.requests[0].deny()
    assert isinstance(scientist.answer(first), wire.Denied)
    assert duet.requests.pandas.empty
    second = scientist.request(2, reason="second")
    waiting(duet, scientist)
    duet.requests[0].accept()
    assert scientist.value(second).item() == pytest.approx(46.8333, abs=1e-4)
    assert scientist.get(2).value == scientist.answer(second).value
    duet.requests.add_handler(action="accept")
    assert "OPEN" in duet.status()
    assert duet.status()["OPEN"] is True
    raw = scientist.request(-1)
    assert torch.equal(scientist.value(raw), AGES)
    assert torch.equal(duet.store["ages"].get(), AGES)
    assert [r.status for r in duet.requests.history] == ["Rejected", "Accepted", "Accepted"]


def test_raw_data_under_the_name_loss_waits(pair):
    duet, scientist = pair
    share_ages(duet)
    duet.requests.add_handler(name="loss", action="accept")
    scientist.request(-1, name="loss")
    waiting(duet, scientist)
    request = duet.requests[0]
    assert "guard" in request.why
    assert request.kind == "verbatim"
    assert torch.equal(request.value, AGES)
    (look,) = duet.requests.explain(request)
    assert not look.took


def test_the_owners_variable_and_the_engine_are_apart(pair):
    duet, _ = pair
    mine = torch.ones(3)
    pointer = duet.send(mine, tags=["x"])
    mine.zero_()
    got = pointer.get()
    assert got.tolist() == [1, 1, 1]
    got.zero_()
    assert pointer.get().tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("obj", "type_name"),
    [
        (5, "python.Int"),
        (2.5, "python.Float"),
        ("text", "python.String"),
        (None, "python.NoneType"),
        (True, "python.Bool"),
        ([1, "a", None], "python.List"),
        ((1, 2), "python.Tuple"),
        ({"a": [1]}, "python.Dict"),
        ({1, 2}, "python.Set"),
        (range(3), "python.Range"),
        (slice(1, 2), "python.Slice"),
        (1 + 2j, "python.Complex"),
        (OrderedDict(a=1), "python.OrderedDict"),
    ],
)
def test_python_values(pair, obj, type_name):
    duet, _ = pair
    pointer = duet.send(obj, tags=["v"])
    assert pointer.object_type == type_name
    assert pointer.get() == obj


def test_wrappers_send_themselves_with_their_notes(pair):
    duet, _ = pair
    pointer = python.Int(5).tag("n").describe("five").send(duet)
    assert (pointer.tags, pointer.description, pointer.get()) == (["n"], "five", 5)


def test_tensors_in_containers_and_parameters(pair):
    duet, _ = pair
    pointer = duet.send({"x": torch.ones(2), "n": 1})
    assert torch.equal(pointer.get()["x"], torch.ones(2))
    parameter = torch.nn.Parameter(torch.zeros(2))
    assert duet.send(parameter).shape == (2,)


def test_a_module_is_its_state_dict(pair):
    duet, _ = pair
    module = torch.nn.Linear(2, 1)
    pointer = module.send(duet, tags=["net"])
    assert pointer.object_type == "torch.nn.Module"
    assert torch.equal(pointer.get()["weight"], module.weight)


def test_data_sets_of_tensors(pair):
    duet, scientist = pair

    class Pairs(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return torch.full((2,), float(index)), index

    for dataset in (TensorDataset(torch.arange(3.0)), Pairs()):
        pointer = duet.send(dataset, tags=["ds"])
        assert pointer.object_type == "torch.utils.data.Dataset"
        pointer.delete()
    duet.send(Pairs(), tags=["ds"])
    changed = [m for m in scientist.session.posted if isinstance(m, wire.StoreChanged)]
    assert changed[-1].added[0].length == 3


class Texts(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return "text"


class Ragged(Texts):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.zeros(index + 1)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (pandas.DataFrame({"a": [1]}), "not in this version"),
        (torch.ones(1).numpy(), "not in this version"),
        ([torch.ones(1).numpy()], "not in this version"),
        (len, "Callables"),
        (object(), "cannot be sent"),
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.nn.LazyLinear(3), "not initialised"),
        (Texts(), "holds a str"),
        (Ragged(), "shape"),
        (Stream(), "length"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_sent_says_so(pair, obj, text):
    duet, _ = pair
    with pytest.raises(NotAllowed, match=text):
        duet.send(obj)
    assert len(duet.store) == 0


def test_private_shapes_are_not_told(pair):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"], shapes="private")
    (changed,) = [m for m in scientist.session.posted if isinstance(m, wire.StoreChanged)]
    entry = changed.added[0]
    assert (entry.shape, entry.dtype, entry.length) == (None, None, None)
    with pytest.raises(ValueError):
        duet.send(AGES, shapes="secret")


def test_what_is_not_listed_does_not_exist_for_the_scientist(pair):
    duet, scientist = pair
    pointer = duet.send(AGES, tags=["ages"], pointable=False)
    assert len(duet.store) == 0
    assert scientist.get(-1).state == "unknown"
    pointer.update_searchability(True)
    assert scientist.get(-1).state == "never"
    pointer.update_searchability(searchable=False)
    assert scientist.get(-1).state == "unknown"
    assert torch.equal(pointer.get(), AGES)


def test_what_the_scientist_sends_can_be_read_and_deleted(pair):
    duet, scientist = pair
    tensor = TensorData("float32", (2,), torch.ones(2).numpy().tobytes())
    scientist.send(wire.Put((1,), (tensor,), None, ("noise",), "n", True))
    pointer = duet.store["noise"]
    assert not pointer.is_mine
    assert pointer.get().tolist() == [1, 1]
    del duet.store["noise"]
    assert scientist.get(1).state == "unknown"
    with pytest.raises(PointerDeleted):
        pointer.get()
