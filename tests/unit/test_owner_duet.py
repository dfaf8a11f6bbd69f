"""The owner's facade over a real engine in a thread, with a recorded scientist."""

import itertools
import time

import pytest
import torch

from duet_p2p.engine.host import ThreadHost
from duet_p2p.errors import (
    InvalidId,
    PartnerLeft,
    RequestClosed,
    SessionClosed,
)
from duet_p2p.identity.keys import Key, format_id
from duet_p2p.owner.duet import start_service
from duet_p2p.owner.request_view import COLUMNS
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Blob, Ref, Span, TensorData
from tests.unit.owner_kit import (  # noqa: F401 (two are fixtures)
    DEADLINE,
    FakeSession,
    owner_bridge,
    owner_on,
    owner_pair,
    share_ages,
    waiting,
)

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


def test_the_last_row_is_the_last_that_was_shown(pair):
    duet, scientist = pair
    share_ages(duet)
    a = scientist.request(-1, name="a")
    waiting(duet, scientist)
    repr(duet.requests)
    scientist.request(-1, name="came since")
    waiting(duet, scientist, 2)
    assert duet.requests[-1].name == "a"
    scientist.send(wire.Withdraw(a))
    waiting(duet, scientist, 1)
    with pytest.raises(RequestClosed):
        duet.requests[-1].accept()


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
        assert "sources={'ages'}" in repr(duet.requests.handlers)
    with pytest.raises(KeyError):
        duet.requests.add_handler("accept", sources=["nothing"])


def test_what_is_left_of_a_quota_stands_beside_the_uses(pair):
    duet, _ = pair
    one = duet.requests.add_handler("accept", name="loss", element_quota=3)
    two = duet.requests.add_handler("accept", name="model")
    assert repr(one).endswith("0 uses, 3 numbers left>") and repr(two).endswith("0 uses>")


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
        "Records",
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


def test_update_vars_binds_no_object_of_the_scientist_to_a_name_of_the_owners(pair):
    duet, scientist = pair
    duet.send(1, tags=["ages"])
    scientist.send(wire.Put((5,), (2,), None, ("ages", "theirs"), "", True))
    scientist.wait_for(lambda: len(duet.store) == 2)
    variables = {}
    for _ in range(2):
        duet.update_vars(variables)
        assert (variables["ages"].get(), variables["theirs"].get()) == (1, 2)


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
    duet.requests.add_handler("accept", name="loss")
    assert status["OPEN"] is duet.status()["OPEN"] is False
    everything = duet.requests.add_handler("accept", print_local=True)
    assert duet.status()["OPEN"] is True and "OPEN" in duet.requests.handlers._repr_html_()
    duet.requests.remove_handler(everything)
    assert duet.status()["OPEN"] is False
    assert "OPEN" not in duet.requests.handlers._repr_html_()


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


SMALL = {"result_bytes": 1_000, "stored_bytes": 3_000, "objects": 30, "upload_bytes": 100}
FEW = {"open_requests": 2, "timed_per_minute": 1}


def test_each_quota_is_named_by_what_it_refuses(bridge):
    duet, scientist = owner_on(bridge, limits=SMALL | FEW)
    duet.send(torch.arange(8.0), tags=["x"])
    ids = itertools.count(1)

    def refused(limit, *calls):
        told = len(scientist.session.posted)
        for name, *args in calls:
            scientist.op(name, next(ids), *args)
        posted = scientist.session.posted  # the last words about the calls before can come late
        scientist.wait_for(
            lambda: any(f"({limit})" in m.text for m in posted[told:] if isinstance(m, wire.Fail))
        )

    refused("result_bytes", ("torch.ones", 251))
    refused("timed_per_minute", *[("torch.unique", Ref(-1))] * 2)
    refused("stored_bytes", *[("torch.ones", 250)] * 4)
    refused("objects", *[("torch.ones", 1)] * 30)
    large = TensorData("uint8", (101,), Span(0, 101))
    scientist.send(wire.Put((next(ids),), (large,), Blob(1, 101)))
    scientist.wait_for(lambda: "(upload_bytes)" in scientist.session.posted[-1].text)
    calls = [scientist.request(-1, name=str(number)) for number in range(3)]
    assert "(open_requests)" in scientist.answer(calls[-1]).reason
    duet.close()
