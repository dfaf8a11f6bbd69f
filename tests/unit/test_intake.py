"""Requests until all facts of a value are there: those that a rule needs, and those it does not."""

import asyncio
from dataclasses import replace

import pytest
import torch

from duet_p2p.engine import messages as engine
from duet_p2p.owner.requests import Status
from duet_p2p.wire import messages as wire
from tests.unit.engine_kit import Driver
from tests.unit.owner_kit import LOSS, Stage, ask, handler

ACCOUNT = {
    "recipe": "loss.item()", "form": "f", "summary": "loss of a network",
    "training": (), "foreseen": ("step",), "foreseen_text": "one step",
}  # fmt: skip
BRIEF = replace(LOSS, recipe="", form="", summary="", foreseen=(), foreseen_text="")
WHOLE = replace(LOSS, **ACCOUNT)


@pytest.fixture
async def stage():
    made = await Stage().start()
    yield made
    await made.service.close()


def accounts(stage):
    return [c.account for c in stage.host.take() if isinstance(c, engine.Snapshot)]


def brief(stage, call, facts=BRIEF):
    stage.host.say(engine.Candidate(call, facts, 2.5, True, None, False))


def describe(stage, call):
    stage.host.say(engine.Described(call, **ACCOUNT))


@pytest.mark.parametrize("rule, account", [
    ({"action": "accept", "name": "loss"}, "after"),
    ({"action": "accept"}, "after"),
    ({"action": "accept", "seen_only": True}, "with"),
    ({"action": "accept", "recipe": "loss.item()"}, "with"),
    ({"action": "deny", "name": "else"}, "with"),
])  # fmt: skip
async def test_the_account_comes_after_where_no_rule_reads_it(stage, rule, account):
    stage.desk.add_handler(handler(**rule))
    stage.receive(ask(11))
    assert accounts(stage) == [account]


@pytest.mark.parametrize("name, asked", [("loss", 0), ("other", 1)])
async def test_the_engine_is_asked_for_it_where_somebody_waits(stage, name, asked):
    stage.desk.add_handler(handler("accept", name="loss"))
    stage.receive(ask(11, name=name))
    brief(stage, 11)
    assert sum(isinstance(c, engine.Describe) for c in stage.host.take()) == asked


async def test_where_nothing_is_accepted_it_comes_with_the_facts(stage):
    stage.receive(ask(11))
    assert accounts(stage) == ["with"]


async def test_an_accepted_value_leaves_before_its_account_is_there(stage):
    stage.desk.add_handler(handler(action="accept", name="loss"))
    stage.receive(ask(11))
    brief(stage, 11)
    assert stage.answers() == [wire.Value(11, 2.5, None)]
    waiting = asyncio.create_task(stage.desk.decided(11, None))
    await stage.settle()
    assert not waiting.done()
    describe(stage, 11)
    await asyncio.wait_for(waiting, 10)
    (record,) = stage.desk.book.decided()
    assert (record.status, record.facts) == (Status.ACCEPTED, WHOLE)


async def test_what_no_handler_takes_is_listed_once_and_whole(stage):
    stage.desk.add_handler(handler(action="accept", name="else"))
    stage.receive(ask(11))
    brief(stage, 11)
    assert stage.desk.book.pending() == [] and stage.answers() == []
    describe(stage, 11)
    (record,) = stage.desk.book.pending()
    assert record.facts == WHOLE
    assert stage.journal.kinds().count("request") == 1
    stage.desk.accept(11)
    assert stage.answers() == [wire.Value(11, 2.5, None)]


async def test_a_failure_and_a_full_quota_are_judged_once(stage):
    full = handler(action="accept", name="loss", element_quota=0)
    stage.desk.add_handler(full)
    stage.receive(ask(11), ask(12))
    brief(stage, 11, replace(BRIEF, failed="no"))
    brief(stage, 12)
    assert stage.answers() == [] and full.uses == 0
    describe(stage, 11)
    describe(stage, 12)
    assert stage.answers() == [wire.Denied(12, "")]
    assert [record.call for record in stage.desk.book.pending()] == [11]


async def test_a_rule_that_came_meanwhile_reads_the_account(stage):
    stage.desk.add_handler(handler(action="accept", name="loss"))
    stage.receive(ask(11))
    stage.desk.add_handler(handler(action="deny", recipe="loss.item()"))
    brief(stage, 11)
    assert stage.answers() == []
    describe(stage, 11)
    assert stage.answers() == [wire.Denied(11, "")]


async def test_one_that_is_withdrawn_meanwhile_is_given_up(stage):
    stage.desk.add_handler(handler(action="accept", name="else"))
    stage.receive(ask(11))
    brief(stage, 11)
    stage.receive(wire.Withdraw(11))
    describe(stage, 11)
    assert stage.host.take()[-1] == engine.Discard(11)
    assert stage.desk.book.pending() == [] and stage.answers() == []


async def test_a_call_that_waits_for_its_account_cannot_be_used_again(stage):
    stage.desk.add_handler(handler(action="accept", name="else"))
    stage.receive(ask(11))
    brief(stage, 11)
    stage.receive(wire.Get(11, 5))
    assert stage.answers() == [wire.NotYours(11, "unknown", "")]


async def test_nobody_waits_for_an_account_that_died_with_the_engine(stage):
    stage.desk.add_handler(handler(action="accept", name="loss"))
    stage.receive(ask(11))
    brief(stage, 11)
    waiting = asyncio.create_task(stage.desk.decided(11, 5))
    await stage.settle()
    stage.desk.engine_died()
    await waiting
    assert [record.call for record in stage.desk.book.decided()] == [11]


def test_the_engine_tells_the_same_before_and_after():
    driver = Driver()
    loss = driver.run("torch.sum", driver.share(torch.rand(64, 3), tags=["x"]))
    whole = driver.candidate(loss).facts
    (candidate,) = driver.engine.handle(engine.Snapshot(7, loss.id, "after"))
    (described,) = driver.engine.finish()
    assert whole.recipe and whole.summary and whole.form
    assert candidate.facts.recipe == candidate.facts.form == candidate.facts.summary == ""
    account = {name: getattr(described, name) for name in ACCOUNT}
    assert (described.call, replace(candidate.facts, **account)) == (7, whole)
    assert driver.engine.finish() == []


def test_it_is_given_when_it_is_asked_for():
    driver = Driver()
    x = driver.share(torch.rand(64, 3), tags=["x"])
    driver.engine.handle(engine.Snapshot(7, x.id, "after"))
    (described,) = driver.engine.handle(engine.Describe())
    assert (type(described), described.call) == (engine.Described, 7)
    assert driver.engine.handle(engine.Describe()) == []


def test_a_command_behind_a_snapshot_finds_the_account_told():
    driver = Driver()
    x = driver.share(torch.rand(64, 3), tags=["x"])
    driver.engine.handle(engine.Snapshot(7, x.id, "after"))
    described, candidate = driver.engine.handle(engine.Snapshot(8, x.id, "never"))
    assert (type(described), described.call) == (engine.Described, 7)
    assert (candidate.call, candidate.facts.recipe) == (8, "")
