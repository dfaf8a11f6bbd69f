"""Requests through a service with a recorded engine and a recorded scientist."""

import asyncio
import time
from dataclasses import replace

import pytest

from duet_p2p import limits
from duet_p2p.engine import messages as engine
from duet_p2p.engine.departure import Departure
from duet_p2p.engine.landing import HAS_MEMORY_FILES
from duet_p2p.errors import ConnectionLost, NotAllowed, RequestClosed
from duet_p2p.owner.requests import Status
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Blob, Span, TensorData
from tests.unit.owner_kit import LOSS, PUBLIC, RAW, Stage, ask, handler

needs_memory_files = pytest.mark.skipif(not HAS_MEMORY_FILES, reason="needs memory files")


@pytest.fixture
async def stage():
    made = await Stage().start()
    yield made
    await made.service.close()


# gets


async def test_a_public_value_is_answered_at_once(stage):
    stage.receive(wire.Get(11, 5))
    assert stage.host.take() == [engine.Snapshot(11, 5, "never")]
    stage.candidate(11, PUBLIC, 2.5)
    assert stage.answers() == [wire.Value(11, 2.5, None)]
    assert stage.host.take() == [engine.Discard(11)]


async def test_a_public_value_needs_no_decision_when_requested(stage):
    stage.receive(ask())
    stage.candidate(11, PUBLIC, 2.5)
    assert stage.answers() == [wire.Value(11, 2.5, None)]
    assert stage.desk.book.opened() == []
    assert stage.desk.book.decided() == []


async def test_a_large_public_value_goes_by_the_bulk_channel(stage):
    stage.receive(wire.Get(11, 5))
    stage.candidate(11, PUBLIC, None, has_value=False)
    assert engine.Release(11) in stage.host.take()
    value = TensorData("uint8", (4,), Span(0, 4))
    stage.host.say(engine.Bytes(11, value, b"abcd"))
    assert stage.answers() == [wire.Value(11, value, Blob(1, 4))]
    assert stage.session.blobs == [b"abcd"]


async def test_a_number_is_in_use_until_the_engine_gave_the_bytes(stage):
    stage.receive(wire.Get(11, 5))
    stage.candidate(11, PUBLIC, None, has_value=False)
    stage.receive(wire.Get(11, 6))
    assert stage.answers() == [wire.NotYours(11, "unknown", "")]
    stage.host.say(engine.Bytes(11, 2.5, None))
    assert stage.answers() == [wire.Value(11, 2.5, None)]


async def test_a_private_value_is_not_released_by_a_get(stage):
    stage.receive(wire.Get(11, 5))
    stage.candidate(11, LOSS, 2.5)
    assert stage.answers() == [wire.NotYours(11, "never", "")]
    assert stage.host.take()[-1] == engine.Discard(11)
    assert stage.desk.book.opened() == []


async def test_an_unknown_id_is_unknown(stage):
    stage.receive(wire.Get(11, 5), ask(12, 6))
    stage.candidate(11, None)
    stage.candidate(12, None)
    assert stage.answers() == [wire.NotYours(11, "unknown", ""), wire.NotYours(12, "unknown", "")]
    assert stage.desk.book.opened() == []


async def test_the_state_of_what_was_asked_is_told(stage):
    stage.receive(ask(11))
    stage.candidate(11)
    stage.receive(wire.Get(12, 5))
    stage.candidate(12)
    assert stage.answers() == [wire.NotYours(12, "waiting", "")]
    stage.desk.deny(11, "too soon")
    stage.receive(wire.Get(13, 5))
    stage.candidate(13)
    assert stage.answers(wire.NotYours) == [wire.NotYours(13, "denied", "too soon")]


async def test_a_public_failure_is_told_and_a_private_one_is_a_request(stage):
    failed = replace(PUBLIC, failed="bad shape", failed_seq=3, failed_op="torch.mm",
                     failed_code="RuntimeError", failed_is_public=True)  # fmt: skip
    told = wire.Failed(11, 3, "torch.mm", "RuntimeError", "bad shape")
    stage.receive(wire.Get(11, 5))
    stage.candidate(11, failed, None, has_value=False)
    assert stage.answers() == [told]
    private = replace(failed, kind="per_record", failed_is_public=False, failed="Target 3 is …")
    stage.receive(wire.Get(12, 5))
    stage.candidate(12, private, None, has_value=False)
    assert stage.answers() == [wire.NotYours(12, "never", "")]
    stage.receive(ask(13))
    stage.candidate(13, private, None, has_value=False)
    assert stage.answers() == []
    stage.desk.accept(13)
    assert stage.answers() == [wire.Failed(13, 3, "torch.mm", "RuntimeError", "Target 3 is …")]


# requests by hand


async def test_accept_releases_the_snapshot_once(stage):
    stage.receive(ask())
    stage.candidate(11, LOSS, 0.25)
    (record,) = stage.desk.book.pending()
    assert (record.name, record.reason, record.requester) == ("loss", "why not", "scientist-id")
    stage.desk.accept(11)
    assert stage.answers() == [wire.Value(11, 0.25, None)]
    assert record.status is Status.ACCEPTED
    for again in (stage.desk.accept, stage.desk.deny):
        with pytest.raises(RequestClosed):
            again(11)
    assert stage.answers() == []
    kinds = ["session", "engine", "session", "peer", "request", "decision", "release"]
    assert stage.journal.kinds() == kinds


async def test_deny_tells_the_reason(stage):
    stage.receive(ask())
    stage.candidate(11)
    stage.desk.deny(11, "not\nyet\x1b[31m")
    assert stage.answers() == [wire.Denied(11, "not yet[31m")]
    assert engine.Discard(11) in stage.host.take()


async def test_a_large_value_is_fetched_after_the_decision(stage):
    stage.receive(ask())
    stage.candidate(11, RAW, None, has_value=False)
    assert engine.Release(11) not in stage.host.take()
    stage.desk.accept(11)
    assert stage.host.take() == [engine.Release(11)]
    assert stage.answers() == []
    value = TensorData("uint8", (4,), Span(0, 4))
    stage.host.say(engine.Bytes(11, value, memoryview(b"abcd")))
    assert stage.answers() == [wire.Value(11, value, Blob(1, 4))]


async def test_what_left_is_counted_for_each_source_once(stage):
    stage.receive(ask(1, 1))
    stage.candidate(1, value=0.5)
    totals = stage.desk.releases.totals
    assert dict(totals) == {}
    stage.desk.accept(1)
    (left,) = totals.about([-1])
    assert (left.releases, left.numbers, list(left.newest)) == (1, 1, [1])
    stage.receive(wire.Get(2, 1))
    stage.candidate(2, value=0.5)  # a repeat
    stage.receive(wire.Get(3, 9))
    stage.candidate(3, PUBLIC, 0.5)
    stage.receive(ask(4, 4))
    stage.candidate(4)
    stage.desk.deny(4)
    assert (left.releases, dict(totals).keys()) == (1, {-1})


async def test_the_text_of_a_failure_that_left_is_counted_like_for_a_quota(stage):
    stage.receive(ask())
    stage.candidate(11, replace(LOSS, failed="x" * 17, elements=0))
    stage.desk.accept(11)
    (left,) = stage.desk.releases.totals.about([-1])
    assert str(left) == "once, 3 numbers in all"


async def test_what_is_not_frozen_yet_or_never_was_is_closed(stage):
    stage.receive(ask())
    for call in (11, 12):
        for word in (stage.desk.accept, stage.desk.deny, stage.desk.bind, stage.desk.case):
            with pytest.raises(RequestClosed):
                word(call)
    stage.candidate(11, LOSS, 0.25)
    stage.desk.accept(11)
    assert stage.answers(wire.Value) == [wire.Value(11, 0.25, None)]


async def test_who_waits_for_a_decision_is_told_of_it(stage):
    stage.receive(ask())
    stage.candidate(11, LOSS, 0.25)
    waiting = [asyncio.ensure_future(stage.desk.decided(11, 60.0)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    stage.desk.deny(11)
    await asyncio.wait_for(waiting[1], 10)


async def test_the_same_content_again_is_a_repeat(stage):
    stage.receive(ask())
    stage.candidate(11, LOSS, 0.25)
    stage.desk.accept(11)
    stage.answers()
    stage.receive(wire.Get(12, 5), ask(13))
    stage.candidate(12, LOSS, 0.25)
    stage.candidate(13, LOSS, 0.25)
    assert stage.answers() == [wire.Value(12, 0.25, None), wire.Value(13, 0.25, None)]
    assert stage.journal.kinds()[-2:] == ["repeat", "repeat"]


async def test_changed_content_is_not_covered(stage):
    stage.receive(ask())
    stage.candidate(11, LOSS, 0.25)
    stage.desk.accept(11)
    stage.answers()
    changed = replace(LOSS, version=2)
    stage.receive(wire.Get(12, 5), ask(13))
    stage.candidate(12, changed, 0.5)
    stage.candidate(13, changed, 0.5)
    # the get comes first in the program, but an open request for the object is known by then
    assert stage.answers() == [wire.NotYours(12, "waiting", "")]
    assert len(stage.desk.book.pending()) == 1
    stage.receive(wire.Withdraw(13), wire.Get(14, 5))
    stage.candidate(14, changed, 0.5)
    assert stage.answers() == [wire.NotYours(14, "changed", "")]


async def test_a_dead_id_is_not_covered(stage):
    stage.receive(ask())
    stage.candidate(11, LOSS, 0.25)
    stage.desk.accept(11)
    stage.answers()
    stage.receive(wire.Del((5,)), wire.Get(12, 5))
    stage.candidate(12, LOSS, 0.25)
    assert stage.answers() == [wire.NotYours(12, "never", "")]


async def test_what_cannot_be_sent_is_never_accepted(stage):
    stage.receive(ask(), ask(call=12))
    stage.candidate(11, replace(RAW, type="torch.optim.Adam"), None, has_value=False)
    assert stage.answers() == []  # values may have decided that it is an optimizer
    with pytest.raises(NotAllowed, match="owner's side"):
        stage.desk.accept(11)
    metadata = replace(RAW, kind="metadata", type="torch.optim.Adam")
    stage.candidate(12, metadata, None, has_value=False)
    (answer,) = stage.answers()
    assert isinstance(answer, wire.Denied)
    assert "owner's side" in answer.reason


async def test_a_refused_release_gives_the_quota_back(stage):
    rule = handler("accept", name="loss", element_quota=1)
    stage.desk.add_handler(rule)
    stage.receive(ask())
    stage.candidate(11, LOSS, None, has_value=False)
    assert rule.quota_left == 0
    stage.host.say(engine.Refused(11, "no such snapshot"))
    assert rule.quota_left == 1
    assert stage.answers() == [wire.Denied(11, "this value cannot be sent")]


async def test_a_value_too_large_for_a_message_gives_the_quota_back(stage):
    rule = handler("accept")
    stage.desk.add_handler(rule)
    stage.receive(ask())
    stage.candidate(11, LOSS, "x" * 100_000)
    assert rule.uses == 0
    assert stage.answers() == [wire.Denied(11, "this value cannot be sent")]


async def test_no_transfer_begins_for_a_value_that_cannot_be_announced(stage):
    stage.desk.add_handler(handler("accept"))
    stage.receive(ask())
    stage.candidate(11, RAW, None, has_value=False)
    stage.host.say(engine.Bytes(11, ["x" * 100_000], b"abcd"))
    assert stage.session.blobs == []
    assert stage.answers() == [wire.Denied(11, "this value cannot be sent")]


# handlers


async def test_a_new_handler_is_applied_to_what_waits(stage):
    stage.receive(ask(11), ask(12, name="other"))
    stage.candidate(11, LOSS, 0.5)
    stage.candidate(12)
    assert stage.answers() == []
    stage.desk.add_handler(handler("accept", name="loss"))
    assert stage.answers() == [wire.Value(11, 0.5, None)]
    assert [r.name for r in stage.desk.book.pending()] == ["other"]


async def test_the_handlers_reason_is_not_told(stage):
    stage.desk.add_handler(handler("deny", name="loss"))
    stage.receive(ask())
    stage.candidate(11)
    assert stage.answers() == [wire.Denied(11, "")]


async def test_print_local_shows_a_denied_value_and_peeks_before_it_discards(stage, capsys):
    stage.desk.add_handler(handler("deny", name="loss", print_local=True))
    stage.receive(ask())
    stage.host.take()
    stage.candidate(11, LOSS, 0.25)
    assert stage.host.take() == [
        engine.Peek(11, limits.PRINTED_VALUE_CHARS),
        engine.Discard(11),
    ]
    stage.host.say(engine.Text(11, "0.25\x07"))
    assert capsys.readouterr().out == "HANDLER deny 'loss' ('why not'): 0.25\n"


async def test_print_local_says_deny_when_the_quota_is_used_up(stage, capsys):
    stage.desk.add_handler(handler("accept", name="loss", print_local=True, element_quota=0))
    stage.receive(ask())
    stage.candidate(11, LOSS, 0.25)
    stage.host.say(engine.Text(11, "0.25"))
    assert stage.answers() == [wire.Denied(11, "")]
    assert capsys.readouterr().out == "HANDLER deny 'loss' ('why not'): 0.25\n"


async def test_an_unprinted_handler_prints_nothing(stage, capsys):
    stage.desk.add_handler(handler("deny", name="loss"))
    stage.receive(ask())
    stage.candidate(11)
    assert not [c for c in stage.host.take() if isinstance(c, engine.Peek)]
    assert capsys.readouterr().out == ""


async def test_an_open_handler_warns(stage, capsys):
    stage.desk.add_handler(handler("accept"))
    assert "OPEN" in capsys.readouterr().out
    assert stage.service.counts().is_open_to_all


async def test_always_accepts_the_next_one_by_itself(stage):
    stage.receive(ask())
    stage.candidate(11, LOSS, 0.5)
    stage.desk.accept(11, always=True)
    stage.receive(ask(12, id=6, name="whatever"))
    stage.candidate(12, replace(LOSS, version=9), 0.25)
    assert stage.answers() == [wire.Value(11, 0.5, None), wire.Value(12, 0.25, None)]


async def test_always_that_cannot_bind_changes_nothing(stage):
    stage.receive(ask())
    stage.candidate(11, RAW, None, has_value=False)
    with pytest.raises(NotAllowed):
        stage.desk.accept(11, always=True)
    assert stage.desk.book.find(11).status is Status.PENDING
    assert stage.desk.policy.handlers() == ()
    assert stage.answers() == []


# the other side's numbers


@pytest.mark.parametrize("call", [0, -1, 2**63, True, None, "x", 1.5])
async def test_a_call_that_is_none_is_unknown(stage, call):
    assert stage.desk.intake._is_used(call)


async def test_a_call_is_used_once(stage):
    stage.receive(ask(11), ask(11), wire.Get(11, 5))
    assert len(stage.host.take(engine.Snapshot)) == 1
    assert stage.answers() == [wire.NotYours(11, "unknown", "")] * 2


async def test_open_requests_are_bounded():
    stage = await Stage(limits={"open_requests": 2}).start()
    stage.receive(ask(11), ask(12), ask(13))
    (answer,) = stage.answers()
    assert answer.call == 13
    assert isinstance(answer, wire.Denied)
    stage.receive(wire.Withdraw(11), ask(14))
    assert stage.answers() == []
    await stage.service.close()


async def test_name_and_reason_are_cleaned_and_capped(stage):
    stage.receive(ask(name=" lo\u202ess\x1b\n" + "n" * 500, reason="r\u200b" * 5_000))
    stage.candidate(11)
    (record,) = stage.desk.book.pending()
    assert record.name.startswith("loss n")
    assert len(record.name) == limits.REQUEST_NAME_CHARS
    assert set(record.reason) == {"r"}
    assert len(record.reason) <= limits.REQUEST_REASON_CHARS


# the owner looks


async def test_the_owner_looks_at_a_large_value_and_releases_those_bytes(stage):
    stage.receive(ask())
    stage.candidate(11, RAW, None, has_value=False)
    looking = asyncio.create_task(stage.desk.look(11))
    await stage.settle()
    peek = engine.Peek(11, limits.PRINTED_VALUE_CHARS)
    assert stage.host.take()[-2:] == [peek, engine.Release(11, is_look=True)]
    value = TensorData("uint8", (4,), Span(0, 4))
    stage.host.say(engine.Text(11, "tensor"), engine.Bytes(11, value, b"abcd"))
    record = await looking
    assert (record.value, record.data, record.text) == (value, b"abcd", "tensor")
    stage.desk.accept(11)
    assert stage.answers() == [wire.Value(11, value, Blob(1, 4))]
    assert stage.host.take() == []
    assert record.data is None


async def test_accepting_while_looking_sends_what_comes(stage):
    stage.receive(ask())
    stage.candidate(11, RAW, None, has_value=False)
    looking = asyncio.create_task(stage.desk.look(11))
    await stage.settle()
    stage.desk.accept(11)
    stage.host.say(engine.Bytes(11, 7, None))
    assert stage.answers() == [wire.Value(11, 7, None)]
    with pytest.raises(RequestClosed):
        await looking


async def test_looking_at_a_small_value_needs_no_engine(stage):
    stage.receive(ask())
    stage.candidate(11, LOSS, 0.5)
    stage.host.take()
    assert (await stage.desk.look(11)).value == 0.5
    assert stage.host.take() == []


@needs_memory_files
async def test_a_large_value_leaves_while_the_engine_writes_it(stage):
    for number, question in enumerate((ask(), wire.Get(12, 5)), 1):
        stage.receive(question)
        stage.host.take()
        data = Departure.empty(4)
        stage.host.say(engine.Candidate(question.call, RAW, "spans", False, data))
        if question.call == 11:
            assert stage.session.sources == [] and stage.answers() == []
            stage.desk.accept(11)
        assert stage.answers() == [wire.Value(question.call, "spans", Blob(number, 4))]
        assert stage.session.sources[-1] is data and data.ready() == 0
        assert stage.host.take() == [engine.Discard(question.call)]


@needs_memory_files
async def test_the_owner_looks_at_a_value_when_it_is_written(stage):
    stage.receive(ask())
    stage.host.take()
    data = Departure.empty(4)
    stage.host.say(engine.Candidate(11, RAW, "spans", False, data))
    looking = asyncio.create_task(stage.desk.look(11))
    await stage.settle()
    assert not looking.done()
    data.write([memoryview(b"done")])
    record = await looking
    assert (record.value, bytes(record.data)) == ("spans", b"done")
    assert stage.host.take() == []
    stage.desk.deny(11)
    assert stage.host.take() == [engine.Discard(11)]
    assert stage.answers() == [wire.Denied(11, "")] and stage.session.sources == []


# the session ends within a decision


@pytest.mark.parametrize("action", ["accept", "deny"])
async def test_a_rule_whose_first_answer_ends_the_session_decides_no_more(stage, action):
    """A partner who takes nothing: what a rule answers is what is too much at once."""
    for call in (1, 2, 3):
        stage.receive(ask(call, call))
        stage.candidate(call, LOSS, 0.5)
    nobody_takes_answers(stage)
    rule = handler(action)
    stage.desk.add_handler(rule)
    states = [record.status for record in stage.desk.book.decided()]
    assert states == ["Accepted" if action == "accept" else "Rejected", "Expired", "Expired"]
    assert rule.uses == (action == "deny")  # what did not leave is given back


async def test_time_that_is_up_for_several_when_nobody_takes_answers(stage):
    for call in (1, 2, 3):
        stage.receive(ask(call, call, limit_s=0.001))
        stage.candidate(call, RAW, 0.5)
    nobody_takes_answers(stage)
    time.sleep(0.01)  # no turn of the loop, whose own timer would be first
    stage.desk.tick()
    assert [record.status for record in stage.desk.book.decided()] == ["Expired"] * 3


def nobody_takes_answers(stage):
    def post(message, *, at_once=False):
        stage.session.fail(ConnectionLost())
        raise ConnectionLost()

    stage.session.post = post
