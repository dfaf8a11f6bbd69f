import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from duet_p2p.errors import (
    ConnectionLost,
    NotReleased,
    PartnerLeft,
    ProtocolError,
    RequestClosed,
    RequestExpired,
    SessionClosed,
    SessionLost,
    SessionSuspended,
    WrongSide,
)
from duet_p2p.identity.keys import Key
from duet_p2p.identity.signed_head import SignedHead
from duet_p2p.limits import REQUEST_NAME_CHARS, REQUEST_REASON_CHARS
from duet_p2p.scientist.requests import COLUMNS, RequestStatus
from duet_p2p.wire.messages import AuditHead, EngineRestarted, Suspended, Withdraw

from .scientist_kit import Pair, pair, wait


@pytest.fixture
def both() -> Iterator[Pair]:
    with pair(wait) as made:
        yield made


@pytest.fixture
def mean(both: Pair) -> Any:
    return both.share(torch.arange(20.0), "ages").mean()


def test_facts_of_a_request(both: Pair, mean: Any) -> None:
    request = mean.request(reason="to see", name="mean", timeout_secs=60)
    assert (request.name, request.reason) == ("mean", "to see")
    assert request.request_description == "to see"
    assert request.object_id == mean.id_at_location
    assert request.object_tags == ["ages", "mean"]
    assert request.object_type == "torch.Tensor"
    assert request.timeout_secs == 60
    assert request.id == request.request_id == f"{both.owner.asked[0][0].call:016x}"
    assert request.requester == both.duet.id
    assert abs(request.arrival_time - time.time()) < 10
    assert request.status is RequestStatus.Pending
    assert request.status == "Pending", "as on the owner's side"
    assert mean.abs().request().timeout_secs == -1, "no limit, as on the owner's side"


def test_the_list_holds_what_waits(both: Pair, mean: Any) -> None:
    first = mean.request(name="first")
    second = (mean + 1).request(name="second")
    requests = both.duet.requests
    assert len(requests) == 2
    assert requests[0] is first
    assert requests[second.id] is second
    assert list(requests) == requests.requests == [first, second]
    assert requests.get_request_id_from_object_id(mean.id_at_location) == first.id
    assert list(requests.pandas["Name"]) == ["first", "second"]
    both.owner.decide_waiting("deny")
    assert first.wait(5) is RequestStatus.Rejected
    second.wait(5)
    assert len(requests) == 0
    assert requests.history == [first, second]
    assert list(requests.pandas.columns) == list(COLUMNS)
    assert len(requests.pandas) == 0


def test_withdrawing(both: Pair, mean: Any) -> None:
    request = mean.request(name="x")
    request.withdraw()
    assert request.status is RequestStatus.Withdrawn
    assert both.owner.commands[-1] == Withdraw(int(request.id, 16))
    assert len(both.duet.requests) == 0
    for closed in (request.withdraw, request.deny, request.released):
        with pytest.raises(RequestClosed):
            closed()
    with pytest.raises(WrongSide):
        request.accept()
    with pytest.raises(WrongSide):
        both.duet.requests.add_handler(action="accept")


def test_a_released_value_is_kept_and_get_asks_the_owner_again(both: Pair, mean: Any) -> None:
    request = mean.request(name="mean")
    both.owner.decide_waiting("accept")
    assert request.wait(5) is RequestStatus.Accepted
    assert request.released() == 9.5
    assert mean.get() == 9.5
    mean.add_(1)
    with pytest.raises(NotReleased):
        mean.get()


def test_name_and_reason_are_bounded(both: Pair, mean: Any) -> None:
    request = mean.request(name="n" * 10_000, reason="r" * 10_000)
    assert len(request.name) == REQUEST_NAME_CHARS
    assert len(request.reason) == REQUEST_REASON_CHARS


def test_a_blocking_get_waits_for_the_open_request(both: Pair, mean: Any) -> None:
    mean.request(name="mean")
    threading.Timer(0.1, lambda: both.owner.decide_waiting("accept")).start()
    assert mean.get(request_block=True, timeout_secs=-1) == 9.5
    assert len(both.owner.asked) == 1


def test_a_blocking_request_gives_the_request(both: Pair, mean: Any) -> None:
    request = mean.request(block=True, timeout_secs=0.05)
    assert request.status is RequestStatus.Expired
    with pytest.raises(RequestExpired):
        mean.get(request_block=True, timeout_secs=0.05, raises=True)


# ends


def in_a_thread(call: Any) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    time.sleep(0.1)
    return thread, found


def test_a_closed_session_ends_every_wait(both: Pair, mean: Any) -> None:
    thread, found = in_a_thread(lambda: mean.get(request_block=True, timeout_secs=-1))
    both.duet.close()
    both.duet.close()
    thread.join(5)
    assert isinstance(found[0], SessionClosed)
    assert both.duet.is_open is False
    with pytest.raises(SessionClosed):
        mean + 1
    with pytest.raises(SessionClosed):
        mean.get()


def test_a_partner_that_leaves_ends_every_wait(both: Pair, mean: Any) -> None:
    thread, found = in_a_thread(lambda: mean.get(request_block=True, timeout_secs=-1))
    both.link.end("closed", PartnerLeft("gone"))
    thread.join(5)
    assert isinstance(found[0], PartnerLeft)
    with pytest.raises(PartnerLeft):
        mean.get()


def test_a_lost_connection_is_waited_for_until_the_deadline(both: Pair, mean: Any) -> None:
    both.link.end("lost", ConnectionLost())
    both.settle()
    with pytest.raises(ConnectionLost):
        mean.get(request_block=True, timeout_secs=0.1)
    both.link.end("open", None)
    both.settle()
    threading.Timer(0.1, lambda: both.owner.decide_waiting("accept")).start()
    assert (mean + 0).get(request_block=True, timeout_secs=5) == 9.5


def test_a_restarted_engine_loses_own_objects_only(both: Pair, mean: Any) -> None:
    own = torch.ones(2).send(both.duet)
    ages = both.duet.store["ages"]
    thread, found = in_a_thread(lambda: mean.get(request_block=True, timeout_secs=-1))
    both.link.answer(EngineRestarted(b"\1" * 16, "killed"))
    thread.join(5)
    assert isinstance(found[0], SessionLost)
    for lost in (own, mean):
        with pytest.raises(SessionLost, match="killed"):
            lost + 1
    ages + 1


def test_a_suspended_session_says_so_until_the_owner_resumes(both: Pair, mean: Any) -> None:
    ages = both.duet.store["ages"]
    thread, found = in_a_thread(lambda: mean.get(request_block=True, timeout_secs=-1))
    client = both.duet._client
    client._on_message(1, Suspended("the engine ended while it worked on the owner's data"))
    thread.join(5)
    assert isinstance(found[0], SessionSuspended)
    for use in (lambda: ages + 1, lambda: torch.ones(2).send(both.duet)):
        with pytest.raises(SessionSuspended, match="owner resumes"):
            use()
    assert both.duet.status()["suspended"]
    client._on_message(2, EngineRestarted(b"\1" * 16, "resumed"))
    ages + 1
    with pytest.raises(SessionLost):
        mean + 1
    assert not both.duet.status()["suspended"]


def test_the_newest_head_of_the_owners_audit_log_is_kept(both: Pair) -> None:
    duet = both.duet
    key = Key.fresh("owner")
    both.duet._client.session_id = key.id
    assert duet.audit_head is None
    for head in (bytes(32), bytes(range(32))):
        signed = SignedHead.sign(key, head)
        both.duet._client._on_message(1, AuditHead(head, key.pub, signed.signature))
        assert duet.audit_head == signed
        assert duet.status()["audit_head"] == str(signed)


def test_a_head_that_the_owner_did_not_sign_is_refused(both: Pair) -> None:
    key, other = Key.fresh("owner"), Key.fresh("owner")
    both.duet._client.session_id = key.id
    forged = SignedHead.sign(other, bytes(32))
    client = both.duet._client
    for message in (
        AuditHead(forged.head, other.pub, forged.signature),
        AuditHead(forged.head, key.pub, forged.signature),
    ):
        with pytest.raises(ProtocolError, match="did not sign"):
            client._on_message(1, message)
    assert both.duet.audit_head is None


def test_a_blocking_call_on_the_loop_is_refused(both: Pair, mean: Any) -> None:
    async def wrong() -> Any:
        return mean.get()

    with pytest.raises(RuntimeError, match="own loop"):
        both.link.bridge.call(wrong(), 5)


def test_ctrl_c_ends_a_wait(both: Pair, mean: Any) -> None:
    import _thread

    threading.Timer(0.2, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        mean.get(request_block=True, timeout_secs=-1)
    assert mean.last_request.status is RequestStatus.Pending
