"""A quota that is used up: the owner reads which one of which rule, the scientist a denial."""

from dataclasses import replace

import pytest

from duet_p2p.owner.policy import DENY, QUEUE
from duet_p2p.wire import messages as wire
from tests.unit.owner_kit import Stage, ask
from tests.unit.policy_kit import LOSS, MODEL, case, decide, handler, policy


def why(said, *cases):
    """How a rule looks at the last of these cases, and what comes of it, in words."""
    p = policy(handler(**said))
    for each in cases[:-1]:
        decide(p, each)
    (look,) = p.explain(cases[-1], 0.0)
    decision = decide(p, cases[-1])
    assert look.why.removeprefix("and denies: ") in decision.why
    assert "handler for name='loss'" in str(look)
    assert "name='loss'" in decision.why
    return decision.action, decision.why


def test_an_element_quota_is_named_with_what_is_left_and_what_to_do():
    action, said = why({"name": "loss", "max_elements": None, "element_quota": 5},
                       case(elements=3), case(elements=4))  # fmt: skip
    assert action == DENY
    assert "its element_quota of 5 numbers has 2 numbers left, this has 4" in said
    assert "Add the rule again" in said


def test_uses_that_are_used_up_are_named_with_what_to_do():
    action, said = why({"name": "loss", "max_uses": 2}, case(), case(), case())
    assert action == QUEUE
    assert "its max_uses of 2 is used up. Add the rule again, which counts anew" in said


def test_a_rule_that_is_added_again_counts_anew():
    p = policy(handler(name="loss", max_uses=1))
    assert [decide(p, case()).action for _ in range(2)] == ["accept", QUEUE]
    p.add(handler(name="loss", max_uses=1))
    assert decide(p, case()).action == "accept"


def test_a_second_model_is_said_to_be_one_too_many():
    said = {"name": "loss", "kinds": {"model"}, "max_elements": None}
    action, told = why(said, case(MODEL, name="loss"), case(MODEL, name="loss"))
    assert (action, "it decided about one model" in told) == (QUEUE, True)


@pytest.mark.parametrize(("sources", "which"), [((-1,), "its source"), ((-2, -1), "source 2 of 2")])
def test_the_numbers_of_a_source_are_named_with_their_limit(sources, which):
    p = policy(handler(name="loss"), numbers_per_source=3)
    for _ in range(3):
        assert decide(p, case()).action == "accept"
    (look,) = p.explain(case(sources=sources), 0.0)
    assert f"3 numbers of {which} went out by handlers on labels, this has 1" in look.why
    assert "the limit is 3 in a session" in look.why
    assert "max_elements=None" in look.why


async def asked_twice(**quota):
    """What is on the stage once a rule with this quota met two values, of which it takes one."""
    stage = await Stage().start()
    stage.desk.add_handler(handler(name="loss", **quota))
    for call in (11, 12):
        stage.receive(ask(call))
        stage.candidate(call, replace(LOSS, version=call), 0.5)
    return stage


async def test_the_log_and_the_request_say_it_and_the_scientist_is_told_nothing_more():
    stage = await asked_twice(element_quota=1)
    assert stage.answers() == [wire.Value(11, 0.5, None), wire.Denied(12, "")]
    said = "denied by handler: name='loss': its element_quota of 1 numbers has 0 numbers left"
    assert stage.desk.book.find(12).why.startswith(said)
    rows = [facts for kind, facts in stage.journal.lines if kind == "decision"]
    assert rows[-1]["why"].startswith(said)
    await stage.service.close()


async def test_a_request_that_waits_says_which_uses_are_used_up():
    stage = await asked_twice(max_uses=1)
    assert stage.answers() == [wire.Value(11, 0.5, None)]
    (waiting,) = stage.desk.book.pending()
    assert "name='loss', max_uses=1 does not take it: its max_uses of 1 is used up" in waiting.why
    await stage.service.close()
