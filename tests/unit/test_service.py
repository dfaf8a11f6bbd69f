"""The service between a recorded session and a recorded engine: order, uploads, restarts."""

import asyncio
from dataclasses import replace

import pytest

from duet_p2p import limits
from duet_p2p.engine import messages as engine
from duet_p2p.errors import DuetError, ProtocolError, QuotaExceeded, SessionClosed, SessionLost
from duet_p2p.owner.sharing import Prepared
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Blob, Ref, Span, TensorData
from tests.unit.owner_kit import DEADLINE, LOSS, Stage


@pytest.fixture
async def stage():
    made = await Stage().start()
    yield made
    await made.service.close()


def op(out, name="torch.relu"):
    return wire.Op(name, (out,), (Ref(-1),), {}, "g")


def put(out, value=1, *, blob=None, listed=False, tags=()):
    return wire.Put((out,), (value,), blob, tags, "", listed)


def shared(id=-1, **facts):
    known = {
        "type": "torch.Tensor",
        "shape": (6,),
        "dtype": "int64",
        "length": 6,
        "requires_grad": False,
        "keys": None,
        "nbytes": 48,
        "error": "",
    } | facts
    return engine.Shared(id=id, **known)


async def share(stage, *, listed=True, tags=("ages",), **facts):
    task = asyncio.create_task(
        stage.service.shares.share(
            Prepared(TensorData("int64", (6,), Span(0, 48)), bytes(48), "torch.Tensor"),
            tags=tags,
            description="",
            listed=listed,
            shapes_public=True,
        )
    )
    await stage.settle()
    stage.host.say(shared(stage.host.sent[-1].id if listed else stage.host.sent[-2].id, **facts))
    return await task


# order


async def test_what_arrives_together_goes_in_one_run(stage):
    stage.receive(op(1), put(2), wire.Del((1,)), wire.Note(2, ("a",), "", False))
    assert stage.host.take() == []
    await stage.settle()
    (run,) = stage.host.take()
    assert [seq for seq, _ in run.commands] == [1, 2, 3, 4]


async def test_a_request_keeps_its_place_among_commands(stage):
    stage.receive(op(1), wire.Get(11, 1), op(2))
    await stage.settle()
    first, snapshot, last = stage.host.take()
    assert [seq for seq, _ in first.commands] == [1]
    assert snapshot == engine.Snapshot(11, 1, "never")
    assert [seq for seq, _ in last.commands] == [3]


async def test_settled_is_told_up_to_what_was_executed(stage):
    stage.receive(op(1), op(2))
    await stage.settle()
    assert stage.session.settled_to == []
    stage.host.say(engine.SettledUpTo(1))
    assert stage.session.settled_to == [1]
    stage.host.say(engine.SettledUpTo(2))
    assert stage.session.settled_to == [1, 2]


async def test_what_waits_for_its_run_is_not_settled_by_an_older_answer(stage):
    stage.receive(op(1))
    await stage.settle()
    stage.receive(op(2), op(3))
    stage.host.say(engine.SettledUpTo(1))
    assert stage.session.settled_to == [1]
    await stage.settle()
    stage.host.say(engine.SettledUpTo(3))
    assert stage.session.settled_to == [1, 3]


async def test_messages_without_the_engine_settle_behind_it_only(stage):
    stage.receive(op(1), wire.Withdraw(99))
    assert stage.session.settled_to == []
    await stage.settle()
    stage.host.say(engine.SettledUpTo(1))
    assert stage.session.settled_to == [2]
    stage.receive(wire.Withdraw(99))
    assert stage.session.settled_to == [2, 3]


async def test_a_get_is_settled_by_its_candidate(stage):
    stage.receive(wire.Get(11, 5), wire.Withdraw(1))
    assert stage.session.settled_to == []
    stage.candidate(11, None)
    assert stage.session.settled_to == [2]


@pytest.mark.parametrize("limits", [(60.0, 0.2), (0.1, 0.2)])
async def test_a_request_expires_at_its_own_time_whatever_another_one_was_given(stage, limits):
    for call, limit in zip((11, 12), limits, strict=True):
        stage.receive(wire.Request(call, 5, "loss", "", limit))
    stage.receive(wire.Withdraw(11))
    stage.candidate(12)
    expired = []
    async with asyncio.timeout(10):
        while not expired:
            await asyncio.sleep(0.01)
            expired = stage.answers(wire.Expired)
    assert [message.call for message in expired] == [12]


# the store


async def test_the_first_answer_is_the_whole_store():
    stage = Stage()
    stage.service.start()
    await stage.service.revival.done()
    await share(stage)
    assert stage.session.posted == []
    stage.session.on_state("open", None)
    (snapshot,) = stage.answers()
    assert isinstance(snapshot, wire.StoreSnapshot)
    assert [entry.tags for entry in snapshot.entries] == [("ages",)]
    assert snapshot.epoch == b"\x01" * 16
    assert snapshot.settings["versions"] == {"torch": "2.14.1"}
    stage.session.on_state("lost", None)
    stage.session.on_state("open", None)
    assert stage.answers() == []
    await stage.service.close()


async def test_a_large_store_goes_in_several_messages():
    stage = Stage()
    stage.service.start()
    await stage.service.revival.done()
    for _ in range(40):
        await share(stage, keys=tuple(f"layer{n}.weight" for n in range(200)))
    await share(stage, tags=("huge",), keys=tuple(f"layer{n}.weight" for n in range(4_000)))
    stage.session.on_state("open", None)
    first, *more = stage.answers()
    entries = [*first.entries, *(e for message in more for e in message.added)]
    assert len(more) > 1
    assert [e.id for e in entries] == [-n for n in range(1, 42)]
    assert [e.keys is None for e in entries] == [False] * 40 + [True]
    await stage.service.close()


async def test_sharing_is_pushed(stage):
    item = await share(stage)
    (changed,) = stage.answers()
    assert changed == wire.StoreChanged((item.entry(),), ())
    stage.service.shares.delete(item.id)
    assert stage.answers() == [wire.StoreChanged((), (item.id,))]
    assert stage.host.take()[-1] == engine.Drop((item.id,))


async def test_an_object_that_is_not_listed_never_stays_in_the_engine(stage):
    item = await share(stage, listed=False)
    assert [type(c) for c in stage.host.take()] == [engine.Share, engine.Drop]
    assert stage.answers() == []
    stage.service.shares.set_listed(item.id, True)
    assert stage.host.take() == [item.share]
    assert len(stage.answers(wire.StoreChanged)) == 1
    stage.service.shares.set_listed(item.id, False)
    assert stage.host.take() == [engine.Drop((item.id,))]
    assert stage.answers() == [wire.StoreChanged((), (item.id,))]


async def test_what_cannot_be_shared_says_why(stage):
    with pytest.raises(QuotaExceeded, match="too large"):
        await share(stage, error="too large")
    assert len(stage.service.catalog) == 0


async def test_what_the_scientist_sends_is_listed_for_the_owner(stage):
    tensor = TensorData("float32", (3, 2), bytes(24))
    stage.receive(put(1, tensor, listed=True, tags=("up\x07",)), put(2, 5), put(3, 7, listed=True))
    assert [(i.id, i.type, i.tags) for i in stage.service.catalog] == [
        (1, "torch.Tensor", ("up",)),
        (3, "python.Int", ()),
    ]
    assert stage.service.catalog.find(1).shape == (3, 2)
    pushed = stage.answers(wire.StoreChanged)
    assert [entry.id for change in pushed for entry in change.added] == [1, 3]
    stage.host.say(engine.OpFailed(1, "put", "QuotaExceeded", "full", True))
    stage.receive(wire.Note(3, ("n",), "text", True), wire.Del((1, 2, -1)))
    assert [(i.id, i.tags) for i in stage.service.catalog] == [(3, ("n",))]
    first, second = stage.answers(wire.StoreChanged)
    assert first.removed == (1,)
    assert second.added[0].tags == ("n",)
    stage.receive(wire.Del((3,)))
    assert stage.answers(wire.StoreChanged) == [wire.StoreChanged((), (3,))]


async def test_a_note_cannot_touch_what_the_owner_shared(stage):
    item = await share(stage)
    stage.receive(wire.Note(item.id, ("mine",), "", False), wire.Del((item.id,)))
    assert stage.service.catalog.find(item.id) == item


async def test_the_list_for_people_is_bounded(stage, monkeypatch):
    monkeypatch.setattr(limits, "LISTED_OBJECTS", 2)
    stage.receive(*(put(n, n, listed=True) for n in range(1, 5)))
    assert len(stage.service.catalog) == 2


# reading


async def test_the_owner_reads_what_the_scientist_sent(stage):
    stage.receive(put(1, 5, listed=True))
    reading = asyncio.create_task(stage.service.shares.read(1))
    await stage.settle()
    read = stage.host.take()[-1]
    assert read == engine.Read(-1, 1)
    stage.host.say(engine.Bytes(-1, 5, None))
    assert await reading == (5, None)


async def test_own_objects_are_read_from_memory(stage):
    item = await share(stage)
    stage.host.take()
    assert await stage.service.shares.read(item.id) == (item.share.value, item.share.data)
    assert stage.host.take() == []


# uploads


async def test_an_upload_reaches_the_engine_when_it_is_there(stage):
    tensor = TensorData("float32", (2,), Span(0, 8))
    stage.receive(put(1, tensor, blob=Blob(7, 8)))
    assert list(stage.session.expected) == [7]
    await stage.settle()
    assert [type(c) for c in stage.host.take()] == [engine.Run]
    stage.session.expected[7].set_result(memoryview(bytes(8)))
    await stage.settle()
    assert stage.host.take() == [engine.Arrived(7, memoryview(bytes(8)))]


async def test_an_upload_beyond_the_quota_is_not_received(stage):
    quota = limits.UPLOAD_BYTES
    stage.receive(put(1, 0, blob=Blob(7, quota)), put(2, 0, blob=Blob(8, quota + 1)))
    assert list(stage.session.expected) == [7]
    assert stage.session.refused == [8]
    await stage.settle()
    (run,) = stage.host.take()
    assert [m.outs for _, m in run.commands] == [(1,), (2,)]  # the engine poisons it


@pytest.mark.parametrize("end", ["cancel", "error", "twice"])
async def test_an_upload_that_does_not_come_is_told_to_the_engine(stage, end):
    stage.receive(put(1, 0, blob=Blob(7, 8)))
    if end == "cancel":
        stage.session.expected[7].cancel()
    elif end == "error":
        stage.session.expected[7].set_exception(DuetError("given up"))
    else:
        stage.receive(put(2, 0, blob=Blob(7, 8)))
    await stage.settle()
    assert engine.Arrived(7, b"") in stage.host.take()


# failures


async def test_public_failures_are_told_and_private_ones_are_not(stage):
    stage.host.say(
        engine.OpFailed(1, "torch.mm", "RuntimeError", "shapes do not fit", True),
        engine.OpFailed(2, "torch.nn.functional.nll_loss", "IndexError", "Target 3", False),
    )
    assert stage.answers() == [wire.Fail(1, "torch.mm", "RuntimeError", "shapes do not fit")]
    assert [f.text for f in stage.service.failures] == ["shapes do not fit", "Target 3"]
    assert "not told" in str(stage.service.failures[1])
    assert not any("Target 3" in str(line) for line in stage.journal.lines)


async def test_public_facts_are_passed_on(stage):
    stage.host.say(engine.Learnt(5, "torch.Tensor", (3,), "int64", 3, {}))
    assert stage.answers() == [wire.Meta(5, "torch.Tensor", (3,), "int64", 3, {})]


# restart


async def test_a_dead_engine_is_replaced_and_the_session_survives(stage):
    item = await share(stage)
    stage.receive(op(1), put(2, 5, listed=True), wire.Request(11, 1, "loss", "", None))
    stage.candidate(11)
    stage.answers()
    stage.host.take()
    stage.host.die("ended by signal 11 in secret data")
    stage.receive(op(3), wire.Get(12, 3), put(4, 0, blob=Blob(9, 100)))
    await stage.settle()
    assert stage.host.starts == 2
    assert stage.host.take() == [item.share]
    restarted, snapshot = stage.answers()
    assert restarted == wire.EngineRestarted(b"\x02" * 16, "restarted")
    assert [e.id for e in snapshot.entries] == [item.id]
    assert snapshot.epoch == b"\x02" * 16
    assert stage.session.refused == [9]
    assert stage.session.settled_to[-1] == stage.seq
    assert stage.desk.book.find(11).status == "Expired"
    assert [i.id for i in stage.service.catalog] == [item.id]
    stage.receive(wire.Get(13, -1))
    stage.candidate(13, LOSS)
    assert stage.answers() == [wire.NotYours(13, "never", "")]


async def die_on_private_data(stage):
    stage.host.is_running = False
    stage.host.say(engine.Died("signal 9, while it ran torch.mm (#3)", True))
    assert not stage.service.revival.is_suspended  # it is told on a tick
    async with asyncio.timeout(DEADLINE):
        while not stage.service.revival.is_suspended:
            await asyncio.sleep(0.001)


async def test_a_death_on_private_data_suspends_until_the_owner_resumes(stage):
    await share(stage)
    stage.answers()
    await die_on_private_data(stage)
    (told,) = stage.answers()
    assert isinstance(told, wire.Suspended)
    assert "torch.mm" not in told.reason
    await stage.settle()
    assert stage.host.starts == 2  # the owner's objects are there again …
    assert [type(c) for c in stage.host.take()][-1] is engine.Share
    stage.receive(op(1), wire.Get(11, 1), wire.Request(12, -1, "x", "", None))
    await stage.settle()
    assert stage.host.take() == stage.answers() == []  # … and nothing is done with them
    assert stage.session.settled_to[-1] == stage.seq
    assert ("session", {"state": "suspended"}) in stage.journal.lines
    assert stage.service.resume()
    assert stage.journal.lines[-1] == ("session", {"state": "resumed"})
    restarted, snapshot = stage.answers()
    assert restarted == wire.EngineRestarted(b"\x02" * 16, "resumed")
    assert [entry.id for entry in snapshot.entries] == [-1]
    stage.receive(op(2))
    await stage.settle()
    assert len(stage.host.take(engine.Run)) == 1
    assert not stage.service.resume()


async def test_resuming_before_the_new_engine_is_up_waits_for_it(stage):
    stage.host.may_start.clear()
    await die_on_private_data(stage)
    assert stage.service.resume()
    assert [type(m) for m in stage.answers()] == [wire.Suspended]
    stage.host.may_start.set()
    await stage.settle()
    assert [type(m) for m in stage.answers()] == [wire.EngineRestarted, wire.StoreSnapshot]


async def test_commands_that_waited_for_their_turn_die_with_the_engine():
    stage = await Stage(limits={"commands_per_second": 2}).start()
    stage.receive(op(1), op(2), op(3), op(4))
    await stage.settle()
    (run,) = stage.host.take()
    assert [seq for seq, _ in run.commands] == [1, 2]
    stage.host.die()
    await stage.settle()
    assert stage.host.take(engine.Run) == []
    assert stage.session.settled_to[-1] == 4
    await stage.service.close()


async def test_releases_do_not_survive_the_engine(stage):
    stage.receive(wire.Request(11, 5, "loss", "", None))
    stage.candidate(11, LOSS, 0.5)
    stage.desk.accept(11)
    stage.host.die()
    await stage.settle()
    stage.answers()
    stage.receive(wire.Get(12, 5))
    stage.candidate(12, LOSS, 0.5)
    assert stage.answers() == [wire.NotYours(12, "never", "")]


async def test_what_was_being_shared_is_shared_again(stage):
    sharing = asyncio.create_task(
        stage.service.shares.share(
            Prepared(5, None, "python.Int"),
            tags=(),
            description="",
            listed=True,
            shapes_public=True,
        )
    )
    await stage.settle()
    stage.host.die()
    await stage.settle()
    assert [type(c) for c in stage.host.take()] == [engine.Share, engine.Share]
    stage.host.say(shared(type="python.Int", shape=None, dtype=None, length=None))
    assert (await sharing).type == "python.Int"


async def test_reading_ends_with_the_engine(stage):
    stage.receive(put(1, 5, listed=True))
    reading = asyncio.create_task(stage.service.shares.read(1))
    await stage.settle()
    stage.host.die()
    with pytest.raises(SessionLost):
        await reading


async def test_an_engine_that_dies_again_and_again_ends_the_session(stage):
    for _ in range(limits.ENGINE_RESTARTS):
        stage.host.die()
        await stage.settle()
    assert stage.service.is_open
    stage.host.die()
    await stage.settle()
    assert not stage.service.is_open
    assert isinstance(stage.service.error, SessionLost)


async def test_an_engine_that_cannot_start_ends_the_session(stage):
    stage.host.fail_start = DuetError("no memory")
    stage.host.die()
    await stage.settle()
    assert not stage.service.is_open


# the end


async def test_an_operation_that_only_the_engine_found_malformed_ends_the_session(stage):
    left = engine.Unread(b"\x91\x01")
    stage.receive(left)
    await stage.settle()
    (run,) = stage.host.take(engine.Run)
    assert run.commands[0][1] is left
    stage.host.say(engine.Malformed("a reason"))
    assert isinstance(stage.session.failed, ProtocolError)


async def test_the_end_ends_everything_that_waits(stage):
    sharing = asyncio.create_task(
        stage.service.shares.share(
            Prepared(5, None, "python.Int"),
            tags=(),
            description="",
            listed=True,
            shapes_public=True,
        )
    )
    await stage.settle()
    gone = []
    stage.service.watchers.append(lambda: gone.append(stage.service.is_open))
    stage.session.on_state("closed", SessionClosed())
    with pytest.raises(SessionClosed):
        await sharing
    stage.session.on_state("closed", None)
    assert gone[-1] is False
    stage.session.is_over = True
    stage.host.say(engine.OpFailed(1, "x", "RuntimeError", "late", True))
    assert stage.answers() == []


async def test_answers_after_the_partner_left_do_not_raise(stage):
    stage.receive(wire.Get(11, 5), wire.Request(12, 6, "", "", None))
    stage.session.is_over = True
    stage.candidate(11, replace(LOSS, kind="public"), 5)
    stage.candidate(12, LOSS, 5)
    stage.desk.accept(12)
    assert stage.answers() == []


async def test_closing_twice(stage):
    await stage.service.close()
    await stage.service.close()
    assert not stage.host.is_running
