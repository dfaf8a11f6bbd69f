"""Policy is plain values: facts in, a decision out."""

from dataclasses import replace

import pytest

from duet_p2p import limits
from duet_p2p.owner.handlers import (
    KINDS,
    UNSET,
    Case,
    tag_filter,
)
from duet_p2p.owner.policy import ACCEPT, DENY, QUEUE, Decision
from tests.unit.policy_kit import LOSS, MODEL, RAW, case, decide, handler, policy

# order


def test_nothing_said_means_the_owner_decides():
    decision = decide(policy(), case())
    assert decision.action == QUEUE
    assert decision.why == "no handler is about this request"


def test_deny_goes_before_an_earlier_accept():
    p = policy(handler(name="loss"), handler("deny", name="loss", min_records=1))
    assert decide(p, case()).action == DENY


def test_accept_handlers_go_in_order_of_adding():
    first, second = handler(name="loss"), handler(name="loss", min_records=5)
    p = policy(first, second)
    assert decide(p, case()).handler is first


def test_a_handler_that_the_guard_stops_leaves_the_way_to_the_next():
    second = handler()
    p = policy(handler(name="loss"), second)
    assert decide(p, case(RAW)).handler is second


def test_a_hard_denial_goes_before_everything():
    p = policy(handler())
    decision = decide(p, Case("x", replace(LOSS, kind="metadata"), refusal="cannot be sent"))
    assert (decision.action, decision.is_hard, decision.why) == (DENY, True, "cannot be sent")
    assert decision.handler is None


def test_what_cannot_be_sent_waits_where_values_may_have_decided_what_it_is():
    p = policy(handler(), handler(name="x"))
    waits = Case("x", LOSS, refusal="cannot be sent")
    assert decide(p, waits) == Decision(QUEUE, "cannot be sent")
    assert all(not look.took for look in p.explain(waits, now=0.0))
    p.add(handler(DENY, name="x"))
    assert decide(p, waits).action == DENY


# labels


@pytest.mark.parametrize("name", ["loss", " LOSS ", "Loss\t"])
def test_names_are_compared_stripped_and_lower_cased(name):
    assert decide(policy(handler(name="Loss ")), case(name=name)).action == ACCEPT


def test_another_name_waits():
    decision = decide(policy(handler(name="loss")), case(name="loss2"))
    assert decision.action == QUEUE


@pytest.mark.parametrize(
    ("wanted", "tags", "action"),
    [
        (["digits", "nll_loss"], ("nll_loss", "digits"), ACCEPT),
        (["digits"], ("nll_loss", "digits"), QUEUE),
        (["digits", "nll_loss", "more"], ("nll_loss", "digits"), QUEUE),
        ([""], (), ACCEPT),
        ([""], ("digits",), QUEUE),
    ],
)
def test_tags_are_compared_as_sets(wanted, tags, action):
    assert decide(policy(handler(tags=wanted)), case(tags=tags)).action == action


@pytest.mark.parametrize("tags", [None, []])
def test_no_tags_do_not_filter(tags):
    one = handler(tags=tags)
    assert one.conditions.tags is None
    assert one.is_open


def test_name_and_tags_must_both_match():
    p = policy(handler(name="loss", tags=["digits", "nll_loss"]))
    assert decide(p, case()).action == ACCEPT
    assert decide(p, case(name="other")).action == QUEUE
    assert decide(p, case(tags=("digits",))).action == QUEUE


def test_a_text_is_no_list_of_tags():
    with pytest.raises(TypeError):
        tag_filter("digits")


# deny and its recipe


def test_a_denied_recipe_stays_denied_under_another_name():
    p = policy(handler("deny", name="loss"), handler())
    assert decide(p, case(name="harmless")).action == ACCEPT
    assert decide(p, case(name="loss")).action == DENY
    assert decide(p, case(name="harmless")).action == DENY
    later = LOSS.recipe.replace("batch of 64 of store['x']", "batch of 60 of store['x']")
    assert decide(p, case(name="harmless", recipe=later)).action == DENY
    assert decide(p, case(name="harmless", recipe="other")).action == ACCEPT


def test_a_denied_recipe_is_forgotten_with_its_handler():
    p = policy(handler("deny", name="loss"))
    assert decide(p, case()).action == DENY
    p.add(handler("accept", name="loss"))
    assert decide(p, case()).action == ACCEPT


def test_an_empty_recipe_denies_nothing_else():
    p = policy(handler("deny", name="loss"))
    assert decide(p, case(recipe="")).action == DENY
    assert decide(p, case(name="other", recipe="")).action == QUEUE


def test_remembered_recipes_are_bounded():
    one = handler("deny", name="loss")
    p = policy(one)
    for number in range(limits.REMEMBERED_DECISIONS + 5):
        decide(p, case(recipe=f"recipe {number}"))
    assert len(one.denied_recipes) == limits.REMEMBERED_DECISIONS


# quotas


def test_a_request_beyond_the_quota_is_denied():
    p = policy(handler(name="x", max_elements=None, element_quota=5))
    assert decide(p, case(name="x", elements=3)).action == ACCEPT
    decision = decide(p, case(name="x", elements=3))
    assert decision.action == DENY
    assert "2 numbers left" in decision.why
    assert decide(p, case(name="x", elements=2)).action == ACCEPT
    assert decide(p, case(name="x", elements=1)).action == DENY


def test_the_guard_comes_before_the_quota_and_never_denies():
    p = policy(handler(name="loss", element_quota=0))
    assert decide(p, case(RAW)).action == QUEUE
    assert decide(p, case()).action == DENY


def test_a_reservation_counts_until_it_is_given_back():
    one = handler(name="loss", element_quota=1)
    p = policy(one)
    held = decide(p, case())
    assert (one.uses, one.elements, one.quota_left, p.counted(-1)) == (1, 1, 0, 1)
    assert decide(p, case()).action == DENY
    p.give_back(held.reservation)
    p.give_back(held.reservation)
    assert (one.uses, one.elements, one.quota_left, p.counted(-1)) == (0, 0, 1, 0)
    again = decide(p, case())
    p.release(again.reservation)
    p.give_back(again.reservation)
    assert one.quota_left == 0


def test_a_model_that_did_not_leave_may_be_taken_again():
    p = policy(handler(name="m", kinds={"model"}, max_elements=None))
    p.give_back(decide(p, case(MODEL, name="m")).reservation)
    assert decide(p, case(MODEL, name="m")).action == ACCEPT


# the list


def test_the_same_filters_and_conditions_replace_whatever_the_action():
    old = handler("deny", name="loss", print_local=True)
    p = policy(old, handler(name="other"))
    new = handler("accept", name=" LOSS", element_quota=7, timeout_secs=3)
    assert p.add(new) == [old]
    assert [h.name for h in p.handlers()] == ["other", "loss"]


def test_other_conditions_do_not_replace():
    p = policy(handler(name="loss"), handler(name="loss", max_elements=None), handler())
    assert len(p.handlers()) == 3


def test_handlers_expire_on_the_policys_clock():
    p = policy(handler(name="loss", created_at=100.0, timeout_secs=5), handler("deny", name="x"))
    assert p.next_expiry() == 105.0
    assert decide(p, case(), now=104.9).action == ACCEPT
    assert decide(p, case(), now=105.0).action == QUEUE
    assert p.expire(104.9) == []
    assert [h.name for h in p.expire(105.0)] == ["loss"]
    assert p.next_expiry() is None
    assert len(p.handlers()) == 1


def test_remove_and_clear():
    one = handler(name="loss")
    p = policy(one, handler())
    assert p.remove(one)
    assert not p.remove(one)
    assert p.clear() == 1
    assert p.handlers() == ()


@pytest.mark.parametrize(
    ("said", "is_open"),
    [
        ({}, True),
        ({"max_elements": None}, True),
        ({"max_uses": None}, True),
        ({"name": "loss"}, False),
        ({"tags": [""]}, False),
        ({"kinds": {"aggregate"}}, False),
        ({"max_elements": 10}, False),
        ({"min_records": 1}, True),  # what every value has
        ({"min_records": 2}, False),
        ({"kinds": KINDS - {"public"}, "allow_injected": True}, True),
        ({"kinds": KINDS - {"verbatim"}}, False),
        ({"allow_injected": False}, False),
        ({"allow_dropout": True}, True),
        ({"allow_dropout": False}, False),
        ({"max_uses": 9}, False),
        ({"recipe": "store['x']"}, False),
        ({"seen_only": True}, False),
        ({"sources": {-1}}, False),
    ],
)
def test_open_is_an_accept_handler_that_leaves_no_value_for_what_it_is(said, is_open):
    assert policy(handler(**said)).is_open(0.0) is is_open
    assert policy(handler("deny", **said)).is_open(0.0) is False


def test_open_ends_with_its_handler():
    p = policy(handler(timeout_secs=5))
    assert p.is_open(4.0)
    assert not p.is_open(5.0)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("allow", {}),
        ("accept", {"kinds": {"secret"}}),
        ("deny", {"kinds": {"verbatim", "per record"}}),  # the one beside it hides no mistake
        ("accept", {"max_elements": -1}),
        ("accept", {"max_elements": 1.5}),
        ("accept", {"min_records": True}),
        ("accept", {"min_records": None}),  # no limit of records is 0
        ("accept", {"max_uses": -1}),
        ("accept", {"max_uses": True}),
        ("accept", {"recipe": None}),
        ("deny", {"recipe": 5}),
        ("accept", {"allow_injected": None}),
        ("accept", {"allow_injected": 1}),
        ("deny", {"allow_dropout": "no"}),
        ("accept", {"seen_only": None}),
        ("accept", {"element_quota": -5}),
        ("accept", {"timeout_secs": -2}),
        ("accept", {"timeout_secs": float("nan")}),
        ("accept", {"timeout_secs": float("inf")}),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(action, said):
    p = policy(handler(name="kept"))
    with pytest.raises(ValueError):
        p.add(handler(action, **said))
    assert [h.name for h in p.handlers()] == ["kept"]


# explain


def test_explain_tells_about_each_handler_and_reserves_nothing():
    one = handler(name="loss", element_quota=1)
    p = policy(one, handler("deny", name="x"), handler(kinds={"model"}))
    looks = p.explain(case(), 0.0)
    assert [look.took for look in looks] == [False, True, False]
    assert looks[0].handler.action == DENY
    assert "'loss', not 'x'" in looks[0].why
    assert one.uses == 0
    assert "does not take it" in str(looks[0])
    decide(p, case())
    assert "denies" in p.explain(case(), 0.0)[1].why


# a handler as the owner reads it


def test_a_handler_reads_like_a_dict():
    one = handler(name="Loss", tags=["b", "a"], element_quota=3, kinds={"model"})
    assert one["name"] == "loss"
    assert one["tags"] == ["a", "b"]
    assert one["quota_left"] == 3
    assert one["min_records"] is None
    assert dict(one)["id"] == one.id
    with pytest.raises(KeyError):
        one["conditions"]


def test_a_handler_says_what_was_said():
    one = handler(name="m", kinds={"model"}, max_elements=None)
    assert repr(one).startswith(
        f"<Handler {one.id[:8]} action='accept', name='m', kinds={{'model'}}"
    )
    assert one.conditions.min_records is UNSET
    assert repr(UNSET) == "not said"


def test_a_handler_says_what_its_owner_calls_the_sources_and_a_long_recipe_in_short():
    long = "v" * 61
    said = handler(sources={-2, -1}, seen_only=True, recipe=long).conditions.described()
    assert said == f"sources={{-2, -1}}, recipe={long[:60] + '…'!r}, seen_only=True"
    named = handler(sources={-1}, source_names=frozenset({"ages"}), recipe="v" * 60)
    assert named.conditions.described() == f"sources={{'ages'}}, recipe={'v' * 60!r}"


def test_what_was_denied_again_is_not_the_oldest_that_is_forgotten(monkeypatch):
    monkeypatch.setattr(limits, "REMEMBERED_DECISIONS", 2)
    p = policy(handler("deny", name="loss"))
    for recipe in ("a()", "b()", "a()", "c()"):
        assert decide(p, case(recipe=recipe)).action == DENY
    kept = {recipe: decide(p, case(recipe=recipe, name="x")).action for recipe in ("a()", "b()")}
    assert kept == {"a()": DENY, "b()": QUEUE}


def test_a_recipe_as_text_is_guarded_like_a_name():
    p = policy(handler(recipe=RAW.recipe), handler(recipe=LOSS.recipe))
    assert decide(p, case(RAW)).action == QUEUE
    assert decide(p, case(injected=True)).action == QUEUE
    assert decide(p, case()).action == ACCEPT
    assert p.counted(-1) == 1
    assert decide(policy(handler("deny", recipe=RAW.recipe)), case(RAW)).action == DENY
