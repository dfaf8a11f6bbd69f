"""Requests that wait: until when, for whom, and how waiting ends."""

import asyncio
import sys
import time

import pytest

from duet_p2p.engine import messages as engine
from duet_p2p.errors import RequestClosed, SessionClosed
from duet_p2p.owner import clock
from duet_p2p.owner.handlers import Conditions, Handler
from duet_p2p.owner.requests import Status
from duet_p2p.wire import messages as wire
from tests.unit.owner_kit import LOSS, Stage, ask, handler


@pytest.fixture
async def stage():
    made = await Stage().start()
    yield made
    await made.service.close()


# time


async def test_a_request_expires_on_the_owners_clock(stage):
    stage.receive(ask(limit_s=0.05))
    stage.candidate(11)
    async with asyncio.timeout(5):
        while not (expired := stage.answers(wire.Expired)):
            await asyncio.sleep(0.01)
    assert expired == [wire.Expired(11)]
    assert stage.desk.book.find(11).status is Status.EXPIRED
    with pytest.raises(RequestClosed):
        stage.desk.accept(11)
    assert engine.Discard(11) in stage.host.take()


async def test_a_request_expires_while_the_engine_is_busy(stage):
    stage.receive(ask(limit_s=0.02))
    async with asyncio.timeout(5):
        while not stage.answers(wire.Expired):
            await asyncio.sleep(0.01)
    stage.host.take()
    stage.candidate(11)
    assert stage.answers() == []
    assert stage.host.take() == [engine.Discard(11)]


@pytest.mark.parametrize("limit", [0, -3, float("nan")])
async def test_a_limit_of_zero_lets_handlers_answer_only(stage, limit):
    stage.desk.intake.request(ask(11, limit_s=limit))
    stage.desk.intake.request(ask(12, name="ok", limit_s=limit))
    stage.desk.add_handler(handler("accept", name="ok"))
    stage.candidate(11)
    stage.candidate(12, LOSS, 1.5)
    assert stage.answers() == [wire.Expired(11), wire.Value(12, 1.5, None)]
    assert stage.desk.book.pending() == []


@pytest.mark.parametrize("limit", [None, float("inf"), 1e300, "soon", True])
async def test_a_limit_that_is_no_number_is_none(stage, limit):
    stage.desk.intake.request(ask(limit_s=limit))
    stage.candidate(11)
    assert stage.desk.next_deadline() is None
    assert len(stage.desk.book.pending()) == 1


async def test_an_expired_handler_is_taken_off(stage):
    rule = Handler(
        action="accept",
        conditions=Conditions(name="loss"),
        timeout_secs=0.03,
    )
    stage.desk.add_handler(rule)
    async with asyncio.timeout(5):
        while stage.desk.policy.handlers():
            await asyncio.sleep(0.01)
    stage.receive(ask())
    stage.candidate(11)
    assert len(stage.desk.book.pending()) == 1


async def test_a_rule_and_a_request_end_while_the_machine_sleeps(monkeypatch):
    """The loop's clock stands still meanwhile: what is asked then is not taken."""
    slept = 0.0
    monkeypatch.setattr(clock, "seconds", lambda: time.monotonic() + slept)
    stage = await Stage().start()
    stage.desk.add_handler(Handler("accept", Conditions(name="loss"), timeout_secs=3_600))
    stage.desk.add_handler(Handler("accept", Conditions(), timeout_secs=7_200))
    stage.receive(ask(11, name="raw", limit_s=3_600))
    assert stage.service.counts().is_open_to_all
    slept = 8_000.0
    assert not stage.service.counts().is_open_to_all
    stage.candidate(11)
    stage.receive(ask(12, limit_s=0.01))  # the loss: a rule of the evening is for it
    stage.candidate(12)
    async with asyncio.timeout(5):
        while len(expired := stage.answers(wire.Expired)) != 2:
            stage.session.posted += expired
            await asyncio.sleep(0.01)
    assert stage.desk.policy.handlers() == ()
    await stage.service.close()


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_the_clock_is_the_one_that_counts_sleep():
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    told = clock.seconds()
    assert before <= told <= time.clock_gettime(time.CLOCK_BOOTTIME)


async def test_what_expired_is_told_to_who_gets_it(stage):
    stage.receive(ask(11, limit_s=0))
    stage.candidate(11)
    stage.receive(wire.Get(12, 5))
    stage.candidate(12)
    assert stage.answers(wire.NotYours) == [wire.NotYours(12, "expired", "")]


# withdraw


async def test_withdrawn_before_the_engine_answers(stage):
    stage.receive(ask(), wire.Withdraw(11))
    stage.host.take()
    stage.candidate(11)
    assert stage.host.take() == [engine.Discard(11)]
    assert stage.answers() == []
    assert stage.desk.book.find(11).status is Status.WITHDRAWN


async def test_withdrawn_while_it_waits(stage):
    stage.receive(ask())
    stage.candidate(11)
    stage.receive(wire.Withdraw(11), wire.Withdraw(11), wire.Withdraw(999))
    assert stage.desk.book.find(11).status is Status.WITHDRAWN
    with pytest.raises(RequestClosed):
        stage.desk.accept(11)
    assert stage.answers() == []


async def test_withdrawing_what_is_decided_changes_nothing(stage):
    stage.receive(ask())
    stage.candidate(11, LOSS, 0.5)
    stage.desk.accept(11)
    stage.receive(wire.Withdraw(11))
    assert stage.desk.book.find(11).status is Status.ACCEPTED


# waiting


async def test_waiting_for_a_decision(stage):
    stage.receive(ask())
    stage.candidate(11)
    await stage.desk.decided(11, 0.01)
    assert stage.desk.book.find(11).is_pending
    waiting = asyncio.create_task(stage.desk.decided(11, 5))
    await stage.settle()
    stage.desk.deny(11)
    await waiting
    await stage.desk.decided(11, None)


async def test_the_end_of_the_session_ends_waiting(stage):
    stage.receive(ask())
    stage.candidate(11)
    waiting = asyncio.create_task(stage.desk.decided(11, 5))
    await stage.settle()
    stage.session.on_state("closed", None)
    with pytest.raises(SessionClosed):
        await waiting
    assert stage.desk.book.find(11).status is Status.EXPIRED
