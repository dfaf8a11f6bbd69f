"""The owner's facade over a real engine in a thread, with a recorded scientist."""

import time
from collections import OrderedDict

import pandas
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import duet_p2p.objects.python as python
from duet_p2p.engine.host import ThreadHost
from duet_p2p.errors import (
    InvalidId,
    NotAllowed,
    PartnerLeft,
    PointerDeleted,
    RequestClosed,
    SessionClosed,
)
from duet_p2p.identity.keys import Key, format_id
from duet_p2p.owner.duet import start_service
from duet_p2p.owner.request_view import COLUMNS
from duet_p2p.session.bridge import Bridge
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref, TensorData
from tests.unit.owner_kit import DEADLINE, FakeSession, owner_on


@pytest.fixture
def bridge():
    made = Bridge("test owner")
    yield made
    made.close()


@pytest.fixture
def pair(bridge):
    duet, scientist = owner_on(bridge)
    yield duet, scientist
    duet.close()


AGES = torch.tensor([25, 32, 49, 65, 88, 22])


def share_ages(duet):
    return AGES.clone().tag("ages").describe("in years").send(duet)


def waiting(duet, scientist, count=1):
    scientist.wait_for(lambda: len(duet.requests) == count)


# sharing


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


# requests


def test_positions_mean_the_listing_that_was_shown(pair):
    duet, scientist = pair
    share_ages(duet)
    a = scientist.request(-1, name="a")
    scientist.request(-1, name="b")
    waiting(duet, scientist, 2)
    assert list(duet.requests.pandas["Name"]) == ["a", "b"]
    scientist.send(wire.Withdraw(a))
    waiting(duet, scientist, 1)
    with pytest.raises(RequestClosed, match="Withdrawn"):
        duet.requests[0].accept()
    assert duet.requests[1].name == "b"
    assert duet.requests[-1].name == "b"
    assert list(duet.requests.pandas["Name"]) == ["b"]
    assert duet.requests[0].name == "b"


def test_a_repeated_cell_accepts_nothing_else(pair):
    duet, scientist = pair
    share_ages(duet)
    scientist.request(-1, name="a")
    scientist.request(-1, name="b")
    waiting(duet, scientist, 2)
    repr(duet.requests)
    duet.requests[0].accept()
    with pytest.raises(RequestClosed):
        duet.requests[0].accept()
    assert len(duet.requests) == 1


def test_a_shown_request_pins_its_row(pair):
    duet, scientist = pair
    share_ages(duet)
    a = scientist.request(-1, name="a")
    scientist.request(-1, name="b")
    waiting(duet, scientist, 2)
    assert "'a'" in repr(duet.requests[0])
    scientist.send(wire.Withdraw(a))
    waiting(duet, scientist, 1)
    with pytest.raises(RequestClosed):
        duet.requests[0].accept()


def test_new_arrivals_count_on_from_the_shown_rows(pair):
    duet, scientist = pair
    share_ages(duet)
    assert duet.requests.pandas.empty
    assert list(duet.requests.pandas.columns) == list(COLUMNS)
    scientist.request(-1, name="a")
    waiting(duet, scientist)
    assert duet.requests[0].name == "a"
    with pytest.raises(IndexError):
        duet.requests[1]


def test_a_request_in_full(pair):
    duet, scientist = pair
    share_ages(duet)
    scientist.request(-1, name="raw", reason="why", limit_s=50.0)
    waiting(duet, scientist)
    (request,) = duet.requests
    assert duet.requests[request.id] == request
    assert request.request_id == request.id == f"{scientist.call:016x}"
    assert request.requester == request.requester_verify_key == "scientist-id"
    assert request.object_id == duet.store["ages"].id
    assert duet.requests.get_request_id_from_object_id(request.object_id) == request.id
    assert duet.requests.get_request_id_from_object_id("0" * 32) is None
    assert (request.timeout_secs, request.status, request.shape) == (50.0, "Pending", (6,))
    assert (request.elements, request.nbytes, request.injected) == (6, 48, False)
    assert abs(request.arrival_time - time.time()) < 10
    assert request.wait(0.01) == "Pending"
    for alias in ("approve", "grant", "reject", "withdraw"):
        assert callable(getattr(request, alias))
    row = duet.requests.pandas.iloc[0]
    assert row["Requested Object's type"] == "torch.Tensor"
    assert row["Sources"] == ["ages"]
    request.approve()
    assert request.wait(5) == "Accepted"
    with pytest.raises(RequestClosed):
        request.reject()
    with pytest.raises(KeyError):
        duet.requests["ffffffffffffffff"]
    with pytest.raises(TypeError):
        duet.requests[1.5]


# handlers


def test_handlers_as_the_owner_sees_them(pair):
    duet, _ = pair
    requests = duet.requests
    loss = requests.add_handler(name="loss", action="deny", timeout_secs=-1, print_local=True)
    tagged = requests.add_handler("accept", tags=["tag_x", "__len__"], element_quota=5)
    table = requests.handlers.pandas
    assert list(table.columns)[:4] == ["tags", "ID", "action", "remaining time (s):"]
    assert list(table["remaining time (s):"]) == [-1, -1]
    assert requests.handlers["loss"] is requests.handlers[0] is loss
    assert requests.handlers["tag_x"] is requests.handlers[tagged.id] is tagged
    assert tagged["tags"] == ["__len__", "tag_x"]
    assert requests.handlers.handlers == list(requests.handlers) == [loss, tagged]
    replaced = requests.add_handler(name=" LOSS", action="accept")
    assert [h.id for h in requests.handlers] == [tagged.id, replaced.id]
    requests.clear_handlers()
    assert len(requests.handlers) == 0
    assert requests.handlers.pandas.empty


@pytest.mark.parametrize(
    "remove",
    [
        lambda r, h: r.remove_handler(0),
        lambda r, h: r.remove_handler("loss"),
        lambda r, h: r.remove_handler(h.id),
        lambda r, h: r.remove_handler(h),
        lambda r, h: r.remove_handler(name="Loss", action="deny"),
        lambda r, h: r.remove_handler("deny", name="loss", print_local=False),
        lambda r, h: r.remove_handler(action="deny", name="loss", timeout_secs=-1),
    ],
)
def test_removing_a_handler(pair, remove):
    duet, _ = pair
    handler = duet.requests.add_handler(name="loss", action="deny")
    other = duet.requests.add_handler(name="other", action="accept")
    remove(duet.requests, handler)
    assert duet.requests.handlers.handlers == [other]
    for missing in ({"key": "loss"}, {"name": "loss"}):
        with pytest.raises(KeyError):
            duet.requests.remove_handler(**missing)


def test_removing_a_handler_by_its_conditions(pair):
    duet, _ = pair
    share_ages(duet)
    options = {"action": "accept", "name": "model", "kinds": ["model"], "sources": ["ages"]}
    duet.requests.add_handler(**options)
    other = duet.requests.add_handler(**options | {"kinds": ["aggregate"]})
    duet.requests.remove_handler(**options)
    assert duet.requests.handlers.handlers == [other]


def test_sources_are_named_by_tag_handle_or_id(pair):
    duet, _ = pair
    pointer = share_ages(duet)
    for source in ("ages", pointer, pointer.id[:8]):
        handler = duet.requests.add_handler("accept", sources=[source])
        assert handler["sources"] == {-1}
    with pytest.raises(KeyError):
        duet.requests.add_handler("accept", sources=["nothing"])


# store


def test_the_store_reads_like_a_sequence(pair):
    duet, _ = pair
    share_ages(duet)
    duet.send(5, tags=["ages", "n"])
    store = duet.store
    assert len(store) == 2
    assert store[0] == store[-2] == store[:1][0]
    assert store["n"].get() == 5
    assert store[store[0].id] == store[0]
    assert store[store[0].id[:5]] == store[0]
    assert "n" in store
    assert "m" not in store
    with pytest.raises(KeyError, match="several"):
        store["ages"]
    assert list(store.pandas.columns) == [
        "ID",
        "Tags",
        "Description",
        "object_type",
        "Shape",
        "dtype",
    ]
    assert "in years" in repr(store)


def test_update_vars_shadows_nothing(pair):
    duet, _ = pair
    duet.send(1, tags=["open", "torch", "class", "not a name", "__file__", "ages"])
    variables = {"torch": torch}
    duet.update_vars(variables)
    assert set(variables) == {"torch", "ages"}
    assert variables["torch"] is torch
    duet.update_vars(variables)
    assert variables["ages"].get() == 1


# the session


def test_errors_are_the_owners_to_read(pair):
    duet, scientist = pair
    share_ages(duet)
    scientist.op("torch.mm", 1, Ref(-1), Ref(-1))
    scientist.wait_for(lambda: duet.errors)
    (failure,) = duet.errors
    assert (failure.op, failure.seq) == ("torch.mm", 1)
    assert failure.text


def test_directories_for_data_sets(pair, tmp_path):
    duet, _ = pair
    duet.data.register("digits", tmp_path)
    assert dict(duet.data) == {"digits": tmp_path.resolve()}
    assert "digits" in repr(duet.data)
    with pytest.raises(ValueError):
        duet.data.register("../x", tmp_path)
    with pytest.raises(NotADirectoryError):
        duet.data.register("x", tmp_path / "missing")
    assert len(duet.data) == 1


def test_status_and_facts(pair):
    duet, _ = pair
    share_ages(duet)
    status = duet.status()
    assert (status["objects"], status["requests"], status["handlers"]) == (1, 0, 0)
    assert status["is_open"] is True
    assert duet.peer == "scientist-id"
    assert duet.wait(1) is duet
    assert "scientist-id" in repr(duet)


def test_partners_are_named_by_valid_ids(pair):
    duet, _ = pair
    client_id = Key.fresh("scientist").id
    assert duet.expect_client(format_id(client_id))
    assert duet._handshake.expected == [client_id]
    forgotten = []
    duet._forget = forgotten.append
    duet.forget(client_id)
    assert forgotten == [client_id]
    for call in (duet.expect_client, duet.forget):
        with pytest.raises(InvalidId):
            call("someone")


def test_the_partner_leaves(pair, bridge):
    duet, scientist = pair
    share_ages(duet)
    scientist.request(-1)
    waiting(duet, scientist)
    (request,) = duet.requests

    async def leave():
        scientist.session.on_state("closed", PartnerLeft("left", reason="closed"))

    bridge.call(leave(), DEADLINE)
    assert not duet.is_open
    assert request.status == "Expired"
    with pytest.raises(PartnerLeft):
        duet.send(1)


def test_closing_twice_and_in_a_with_block(pair):
    duet, _ = pair
    closed = []
    duet._on_close = lambda: closed.append(True)
    with duet:
        assert duet.is_open
    duet.close()
    assert closed == [True]
    assert not duet.is_open
    with pytest.raises(SessionClosed):
        duet.send(1)


def test_unknown_limits_are_refused(bridge):
    async def build(**limits):
        await start_service(
            FakeSession(),
            ThreadHost(),
            callback_thread=bridge.callback_thread,
            session_id="x",
            limits=limits,
        )

    for limits in ({"cheese": 1}, {"objects": -1}, {"objects": True}):
        with pytest.raises(ValueError):
            bridge.call(build(**limits), DEADLINE)
