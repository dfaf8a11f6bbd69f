"""The engine starts while the two find each other: what waits for it, and what if it cannot."""

import asyncio

import pytest

from duet_p2p.engine import messages as engine
from duet_p2p.errors import DuetError, EngineFailed, SessionClosed
from duet_p2p.owner.sharing import Prepared
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.unit.owner_kit import Stage


def op(out):
    return wire.Op("torch.relu", (out,), (Ref(-1),), {}, "g")


def send(stage, value, *, listed=True):
    return asyncio.create_task(
        stage.service.shares.share(
            Prepared(value, None, "python.Int"),
            tags=(),
            description="",
            listed=listed,
            shapes_public=True,
        )
    )


def taken(share):
    return engine.Shared(share.id, "python.Int", None, None, None, False, None, 8, "")


@pytest.fixture
async def early():
    """A service whose engine starts only when the test says so."""
    stage = Stage()
    stage.host.may_start.clear()
    stage.service.start()
    await stage.settle()
    yield stage
    await stage.service.close()


async def up(stage):
    stage.host.may_start.set()
    await stage.service.revival.done()
    await stage.settle()


async def test_commands_and_shares_wait_for_the_first_engine_and_come_in_order(early):
    early.session.on_state("open", None)
    early.receive(op(1), wire.Request(11, 1, "loss", "", None), op(2))
    first, second = send(early, 5), send(early, 6)
    await early.settle()
    assert early.host.sent == early.session.posted == early.session.settled_to == []
    await up(early)
    a, b, run, snapshot, more = early.host.take()
    assert (a.value, b.value, snapshot) == (5, 6, engine.Snapshot(11, 1))
    assert [seq for seq, _ in (*run.commands, *more.commands)] == [1, 3]
    assert [type(answer) for answer in early.answers()] == [wire.StoreSnapshot]
    early.host.say(taken(a), taken(b), engine.SettledUpTo(3))
    assert [(await first).id, (await second).id] == [a.id, b.id]
    assert early.session.settled_to == [3]


async def test_whoever_comes_after_the_engine_is_greeted_once(early):
    await up(early)
    assert early.answers() == []
    early.session.on_state("open", None)
    early.receive(op(1))
    assert [answer.epoch for answer in early.answers()] == [b"\x01" * 16]


async def test_what_is_not_listed_leaves_the_engine_in_the_same_breath(early):
    sharing = send(early, 5, listed=False)
    await early.settle()
    early.receive(op(1))
    await up(early)
    share, drop, run = early.host.take()
    assert (drop, type(run)) == (engine.Drop((share.id,)), engine.Run)
    early.host.die()
    await early.settle()
    again, dropped = early.host.take()
    assert (again, dropped) == (share, drop)
    early.host.say(taken(share))
    assert not (await sharing).listed


async def test_a_directory_that_is_named_meanwhile_reaches_the_engine(early):
    naming = asyncio.create_task(early.service.configure({"digits": "/data/digits"}))
    await early.settle()
    assert not naming.done()
    await up(early)
    await naming
    (configured,) = early.host.take()
    assert configured.data_dirs == {"digits": "/data/digits"}


@pytest.mark.parametrize("failure", [DuetError("no torch"), OSError("no torch")])
async def test_an_engine_that_cannot_start_ends_every_wait_and_the_session(early, failure):
    told = []
    early.session.on_state("open", None)
    early.receive(op(1))
    early.service.watchers.append(lambda: told.append(early.service.is_open))
    sharing = send(early, 5)
    naming = asyncio.create_task(early.service.configure({}))
    await early.settle()
    early.host.fail_start = failure
    await up(early)
    for waiting in (sharing, naming):
        with pytest.raises(EngineFailed, match="no torch"):
            await waiting
    assert isinstance(early.service.error, EngineFailed)
    assert early.session.failed is early.service.error
    assert early.host.sent == [] and told[-1] is False
    assert "The session ends." in str(early.thread.told) and "no torch" in str(early.thread.told)
    assert early.service.failures[-1].code == "NotStarted"
    assert len([facts for _, facts in early.journal.lines if "not_started" in facts]) == 1


async def test_closing_while_the_engine_starts_ends_the_wait(early):
    sharing = send(early, 5)
    await early.settle()
    await early.service.close()
    with pytest.raises(SessionClosed):
        await sharing
    early.host.may_start.set()
    await early.settle()
    assert early.host.starts == 0


async def test_a_partner_that_leaves_before_the_engine_is_up_leaves_nothing_behind(early):
    early.session.on_state("open", None)
    early.receive(op(1))
    early.session.on_state("closed", SessionClosed())
    await up(early)
    assert early.host.take(engine.Run) == early.answers() == []
