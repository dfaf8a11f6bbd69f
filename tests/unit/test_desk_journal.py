"""What leaves the desk is kept in the journal before it leaves."""

import asyncio
from dataclasses import replace

import pytest

from duet_p2p import limits
from duet_p2p.engine import messages as engine
from duet_p2p.errors import AuditUnavailable
from duet_p2p.identity.keys import Key
from duet_p2p.identity.signed_head import SignedHead
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Span, TensorData
from tests.unit.owner_kit import LOSS, PUBLIC, SlowJournal, Stage, ask, handler


@pytest.fixture
async def slow():
    made = await Stage(journal=SlowJournal()).start()
    yield made
    await made.service.close()


KEY = Key.from_seed(bytes(range(32)), "owner")
HEAD, NEWER = (SignedHead.sign(KEY, bytes(range(first, first + 32))) for first in (0, 1))


def told(head):
    return wire.AuditHead(head.head, head.pub, head.signature)


async def heads(stage):
    """Those that were sent, once there is one."""
    async with asyncio.timeout(10):
        while not (found := stage.answers(wire.AuditHead)):
            await asyncio.sleep(limits.AUDIT_HEAD_SECONDS)
    return found


async def accepted(stage):
    stage.receive(ask())
    stage.candidate(11, LOSS, 0.25)
    stage.desk.accept(11)
    assert stage.answers() == []
    (kept,) = stage.journal.waiting
    return kept


async def test_nothing_leaves_before_the_journal_has_kept_it(slow):
    kept = await accepted(slow)
    await slow.settle()
    assert slow.answers() == []
    left = []

    def sign():
        left.extend(slow.answers())
        return HEAD

    kept.set_result(sign)
    assert await heads(slow) == [told(HEAD)]
    assert left == [wire.Value(11, 0.25, None)]  # it does not wait for the signature


async def test_what_the_journal_keeps_at_once_leaves_at_once(slow):
    def commit(kind, facts, content):
        assert slow.answers() == []
        done = asyncio.get_running_loop().create_future()
        done.set_result(lambda: HEAD)
        return done

    slow.journal.commit = commit
    slow.receive(ask())
    slow.candidate(11, LOSS, 0.25)
    slow.desk.accept(11)
    assert slow.answers(wire.Value) == [wire.Value(11, 0.25, None)]
    assert await heads(slow) == [told(HEAD)]


async def test_values_that_leave_in_a_moment_share_the_newest_head(slow):
    for call in (11, 13):
        slow.receive(ask(call, id=call))
        slow.candidate(call, LOSS, 0.25)
        slow.desk.accept(call)
    for kept, head in zip(slow.journal.waiting, (HEAD, NEWER), strict=True):
        kept.set_result(lambda head=head: head)
    assert await heads(slow) == [told(NEWER)]
    await asyncio.sleep(2 * limits.AUDIT_HEAD_SECONDS)
    assert slow.answers(wire.AuditHead) == []


async def test_no_older_head_comes_behind_the_last_one(slow):
    kept = await accepted(slow)
    kept.set_result(lambda: HEAD)
    await slow.settle()
    slow.desk.releases.close(NEWER)
    await asyncio.sleep(2 * limits.AUDIT_HEAD_SECONDS)
    assert slow.answers() == [wire.Value(11, 0.25, None), told(NEWER)]


async def test_what_the_journal_cannot_keep_does_not_leave_and_the_session_goes_on(slow):
    slow.desk.add_handler(handler("accept", name="loss", max_uses=1))
    slow.receive(ask())
    slow.candidate(11, LOSS, 0.25)
    slow.journal.waiting.pop().set_exception(AuditUnavailable("disk full"))
    await slow.settle()
    assert slow.answers() == [wire.Denied(11, "this value cannot be sent")]
    assert slow.desk.book.find(11).why.startswith("not sent: disk full (")  # the owner reads that
    told = {"request": f"{11:016x}", "reason": "disk full"}  # and whoever reads the log
    assert ("fault", told) in slow.journal.lines
    slow.receive(wire.Get(12, 5))
    slow.candidate(12, LOSS, 0.25)
    assert slow.answers(wire.NotYours)  # it was not released, so it is no repeat
    slow.receive(ask(13))
    slow.candidate(13, LOSS, 0.25)  # and the handler's one use was given back
    slow.journal.waiting.pop().set_result(lambda: HEAD)
    await slow.settle()
    assert slow.answers(wire.Value) == [wire.Value(13, 0.25, None)]


async def test_a_value_of_an_engine_that_died_meanwhile_does_not_leave(slow):
    kept = await accepted(slow)
    slow.host.die()
    await slow.settle()
    slow.answers()
    kept.set_result(lambda: HEAD)
    await slow.settle()
    assert slow.answers() == []
    told = {"request": f"{11:016x}", "reason": "not sent after all"}
    assert ("fault", told) in slow.journal.lines  # the row of its release is there
    assert slow.desk.book.find(11).why == ("not sent: the engine was restarted (accepted by hand)")
    slow.receive(wire.Get(12, 5))
    slow.candidate(12, LOSS, 0.25)  # the same number and version, in the new engine
    assert slow.answers() == [wire.NotYours(12, "never", "")]


async def test_public_values_leave_at_once(slow):
    slow.receive(wire.Get(11, 5))
    slow.candidate(11, PUBLIC, 2.5)
    assert slow.answers() == [wire.Value(11, 2.5, None)]


async def test_a_repeat_is_kept_first_too(slow):
    (await accepted(slow)).set_result(lambda: HEAD)
    await slow.settle()
    slow.answers()
    slow.receive(wire.Get(12, 5))
    slow.candidate(12, LOSS, 0.25)
    assert slow.answers() == []
    assert slow.journal.kinds()[-1] == "repeat"
    slow.receive(wire.Get(12, 5))  # the number is in use until it is answered
    assert slow.answers() == [wire.NotYours(12, "unknown", "")]
    slow.journal.waiting[-1].set_result(lambda: HEAD)
    await slow.settle()
    assert slow.answers(wire.Value) == [wire.Value(12, 0.25, None)]


async def test_a_journal_that_answers_after_the_end_breaks_nothing(slow):
    kept = await accepted(slow)
    await slow.service.close()
    kept.set_exception(AuditUnavailable("closed"))
    await slow.settle()
    assert slow.answers() == []


async def test_the_reason_of_a_denial_is_on_record_as_it_was_told(slow):
    """It is what the owner let out with the denial."""
    for call, reason in ((11, "too few people\x1b[2J"), (12, "")):
        slow.receive(ask(call=call))
        slow.candidate(call, LOSS, 0.25)
        slow.desk.deny(call, reason)
    first, second = [facts for kind, facts in slow.journal.lines if kind == "decision"]
    assert slow.answers(wire.Denied)[0].reason == first["answer"] == "too few people[2J"
    assert first["why"] == second["why"] == "denied by hand" and "answer" not in second


async def test_bytes_that_wait_for_the_journal_have_a_limit_and_one_value_has_none(slow):
    slow.desk.releases.together = 8

    def asked(call):
        slow.receive(ask(call, id=call))
        value = TensorData("uint8", (5,), Span(0, 5))
        slow.host.say(engine.Candidate(call, LOSS, value, False, b"12345"))
        slow.desk.accept(call)

    asked(11)
    asked(12)
    (refused,) = slow.answers(wire.Denied)
    assert refused.call == 12 and "5 bytes wait to be recorded in the audit log" in refused.reason
    refusal = {"request": f"{12:016x}", "reason": refused.reason}
    assert slow.journal.lines[-1] == ("refusal", refusal)
    slow.journal.waiting.pop().set_result(lambda: HEAD)
    await slow.settle()
    slow.desk.releases.together = 4
    asked(13)
    assert slow.answers(wire.Denied) == [] and len(slow.journal.waiting) == 1


async def test_the_code_in_the_journal_is_that_of_what_leaves(slow):
    """Of a failure that is its text."""
    contents = []

    def commit(kind, facts, content):
        contents.append(content)

    slow.journal.commit = commit
    for call, facts in ((11, LOSS), (12, replace(LOSS, failed="the text"))):
        slow.receive(ask(call, id=call))
        slow.candidate(call, facts, 0.25)
        slow.desk.accept(call)
    assert contents == [(0.25, None), ("the text", None)]


async def test_a_denial_that_reaches_nobody_is_on_record(slow):
    slow.receive(ask())
    slow.candidate(11, LOSS, 0.25)
    slow.session.is_over = True
    slow.desk.deny(11)
    assert [facts["not_sent"] for kind, facts in slow.journal.lines if kind == "fault"] == [
        "Denied"
    ]


async def test_what_an_engine_took_with_it_is_not_called_released(slow):
    """The owner read "accepted by hand" of a value that never left, and so did the log."""
    slow.receive(ask())
    slow.candidate(11, LOSS, has_value=False)
    slow.desk.accept(11)
    slow.host.die()
    assert slow.answers(wire.Value) == []
    assert slow.desk.book.find(11).why == ("not sent: the engine was restarted (accepted by hand)")
    told = {"request": f"{11:016x}", "reason": "not sent: the engine was restarted"}
    assert ("fault", told) in slow.journal.lines
