"""Policy is plain values: facts in, a decision out."""

from dataclasses import replace

import pytest

from duet_p2p import limits
from duet_p2p.engine.messages import Facts
from duet_p2p.errors import NotAllowed
from duet_p2p.owner.binding import Binding
from duet_p2p.owner.handlers import (
    UNSET,
    Case,
    Conditions,
    Handler,
    normal_name,
    tag_filter,
)
from duet_p2p.owner.policy import ACCEPT, DENY, QUEUE, Decision, Policy

LOSS = Facts(
    kind="aggregate",
    sources=(-1,),
    min_records=64,
    injected=False,
    elements=1,
    nbytes=4,
    type="torch.Tensor",
    shape=(),
    dtype="float32",
    tags=("digits", "nll_loss"),
    recipe="torch.nn.functional.nll_loss(out, batch of 64 of store['x'])",
    version=1,
    failed="",
    failed_seq=0,
    failed_op="",
    failed_code="",
    failed_is_public=False,
    form="form of the loss",
)
RAW = replace(LOSS, kind="verbatim", min_records=1, elements=60_000, recipe="store['digits']")
MODEL = replace(LOSS, kind="model", elements=1_199_882, min_records=32, shape=None, recipe="state")


def handler(action="accept", **said):
    made = {k: said.pop(k) for k in ("print_local", "element_quota", "timeout_secs") if k in said}
    created = said.pop("created_at", 0.0)
    for key in ("kinds", "sources"):
        if key in said:
            said[key] = frozenset(said[key])
    if "tags" in said:
        said["tags"] = tag_filter(said["tags"])
    if "name" in said:
        said["name"] = normal_name(said["name"])
    return Handler(action=action, conditions=Conditions(**said), created_at=created, **made)


def case(facts=LOSS, name="loss", **changes):
    return Case(name, replace(facts, **changes))


def policy(*handlers, **settings):
    made = Policy(**settings)
    for one in handlers:
        made.add(one)
    return made


def decide(p, c, now=0.0):
    return p.decide(c, now)


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


# the guard


@pytest.mark.parametrize(
    ("facts", "is_taken"),
    [
        ({}, True),
        ({"min_records": 10}, True),
        ({"min_records": 9}, False),
        ({"elements": 2}, False),
        ({"injected": True}, False),
        ({"kind": "metadata", "min_records": 1}, True),
        ({"kind": "public", "min_records": 1, "sources": ()}, True),
        ({"kind": "per_record"}, False),
        ({"kind": "verbatim"}, False),
        ({"kind": "model"}, False),
        ({"failed": "IndexError: Target 3", "failed_seq": 2}, False),
    ],
)
@pytest.mark.parametrize("said", [{"name": "loss"}, {"tags": ["digits", "nll_loss"]}])
def test_the_guard_of_a_labelled_accept_handler(said, facts, is_taken):
    decision = decide(policy(handler(**said)), case(**facts))
    assert decision.action == (ACCEPT if is_taken else QUEUE)


def test_what_the_guard_stops_says_why():
    decision = decide(policy(handler(name="loss")), case(RAW))
    assert decision.action == QUEUE
    assert "guard: the kind is verbatim" in decision.why


def test_the_smallest_group_is_a_setting_of_the_session():
    assert decide(policy(handler(name="loss"), min_records=100), case()).action == QUEUE
    assert decide(policy(handler(name="loss"), min_records=64), case()).action == ACCEPT


@pytest.mark.parametrize(
    ("widened", "facts"),
    [
        ({"kinds": {"per_record"}}, {"kind": "per_record", "min_records": 10}),
        ({"max_elements": 5}, {"elements": 5}),
        ({"max_elements": None}, {"elements": 50_000}),
        ({"min_records": 1}, {"min_records": 1}),
        ({"allow_injected": True}, {"injected": True}),
    ],
)
def test_each_part_of_the_guard_is_widened_in_words(widened, facts):
    assert decide(policy(handler(name="loss")), case(**facts)).action == QUEUE
    assert decide(policy(handler(name="loss", **widened)), case(**facts)).action == ACCEPT


def test_a_finite_max_elements_is_a_limit():
    p = policy(handler(name="loss", max_elements=5))
    assert decide(p, case(elements=6)).action == QUEUE


def test_widening_one_part_leaves_the_others():
    p = policy(handler(name="loss", max_elements=None))
    assert decide(p, case(RAW)).action == QUEUE
    assert decide(p, case(injected=True)).action == QUEUE
    assert decide(p, case(min_records=9)).action == QUEUE


def test_a_deny_handler_has_no_guard():
    assert decide(policy(handler("deny", name="loss")), case(RAW)).action == DENY


def test_an_unfiltered_accept_handler_takes_everything():
    p = policy(handler())
    for facts in (RAW, MODEL, replace(LOSS, failed="boom"), replace(LOSS, injected=True)):
        assert decide(p, case(facts)).action == ACCEPT


def test_a_handler_on_facts_alone_is_not_guarded_but_takes_no_failure():
    p = policy(handler(kinds={"verbatim"}))
    assert decide(p, case(RAW)).action == ACCEPT
    assert decide(p, case(RAW, failed="boom")).action == QUEUE


def test_numbers_of_one_source_are_counted_over_all_labelled_handlers():
    p = policy(handler(name="loss"), handler(name="accuracy"), numbers_per_source=3)
    for name in ("loss", "accuracy", "loss"):
        p.release(decide(p, case(name=name)).reservation)
    assert p.counted(-1) == 3
    decision = decide(p, case(name="accuracy"))
    assert decision.action == QUEUE
    assert "guard" in decision.why
    assert decide(p, case(sources=(-2,))).action == ACCEPT


def test_the_default_limit_of_numbers_per_source():
    p = policy(handler(name="loss"))
    for _ in range(limits.GUARDED_NUMBERS_PER_SOURCE):
        decision = decide(p, case())
        assert decision.action == ACCEPT
        p.release(decision.reservation)
    assert decide(p, case()).action == QUEUE
    p.add(handler(name="loss", max_elements=None))
    assert decide(p, case()).action == ACCEPT


def test_what_a_widened_handler_releases_does_not_block_the_guarded_one():
    p = policy(handler(name="loss"), handler(name="model", kinds={"model"}, max_elements=None))
    p.release(decide(p, case(MODEL, name="model")).reservation)
    assert p.counted(-1) == 0
    assert decide(p, case()).action == ACCEPT


# conditions


@pytest.mark.parametrize(
    ("said", "facts", "is_taken"),
    [
        ({"kinds": {"aggregate"}}, {}, True),
        ({"kinds": {"aggregate"}}, {"kind": "model"}, False),
        ({"max_elements": 1}, {"elements": 2}, False),
        ({"max_elements": 0}, {}, False),
        ({"min_records": 64}, {}, True),
        ({"min_records": 65}, {}, False),
        ({"min_records": 65}, {"kind": "metadata"}, True),
        ({"sources": {-1, -2}}, {}, True),
        ({"sources": {-2}}, {}, False),
        ({"sources": {-1}}, {"sources": (-1, -2)}, False),
        ({"recipe": LOSS.recipe}, {}, True),
        ({"recipe": "another"}, {}, False),
        ({"allow_injected": False}, {"injected": True}, False),
        ({"allow_injected": True, "kinds": {"aggregate"}}, {"injected": True}, True),
        ({"max_uses": 0}, {}, False),
    ],
)
@pytest.mark.parametrize("action", ["accept", "deny"])
def test_conditions_on_facts(action, said, facts, is_taken):
    decision = decide(policy(handler(action, **said)), case(**facts))
    assert (decision.action != QUEUE) is is_taken


def test_max_uses_counts_what_was_taken():
    p = policy(handler(name="loss", max_uses=2))
    assert [decide(p, case()).action for _ in range(3)] == [ACCEPT, ACCEPT, QUEUE]


def test_max_uses_of_a_deny_handler():
    p = policy(handler("deny", name="loss", max_uses=1))
    assert [decide(p, case()).action for _ in range(2)] == [DENY, QUEUE]


def test_a_model_leaves_once_unless_said_otherwise():
    once = handler(name="model", kinds={"model", "aggregate"}, max_elements=None)
    p = policy(once)
    assert decide(p, case(MODEL, name="model")).action == ACCEPT
    assert decide(p, case(MODEL, name="model")).action == QUEUE
    assert decide(p, case(name="model")).action == ACCEPT
    often = handler(name="model", kinds={"model"}, max_elements=None, max_uses=None)
    p = policy(often)
    assert [decide(p, case(MODEL, name="model")).action for _ in range(3)] == [ACCEPT] * 3


def test_a_model_of_single_records_waits_under_a_widened_handler():
    p = policy(handler(name="model", kinds={"model"}, max_elements=None))
    assert decide(p, case(MODEL, name="model", min_records=1)).action == QUEUE


def test_seen_only_takes_what_matches_a_decision_by_hand():
    p = policy(handler(name="loss", seen_only=True))
    assert decide(p, case()).action == QUEUE
    p.remember(ACCEPT, LOSS)
    assert decide(p, case()).action == ACCEPT
    assert decide(p, case(version=7, min_records=65)).action == ACCEPT
    for other in (
        {"form": "x"},
        {"sources": (-2,)},
        {"kind": "metadata"},
        {"shape": (1,)},
        {"min_records": 63},
    ):
        assert decide(p, case(**other)).action == QUEUE


def test_a_denial_by_hand_is_not_seen_as_an_acceptance():
    p = policy(handler(name="loss", seen_only=True))
    p.remember(DENY, LOSS)
    assert decide(p, case()).action == QUEUE


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
        ({"min_records": 1}, False),
        ({"seen_only": True}, False),
        ({"sources": {-1}}, False),
    ],
)
def test_open_is_an_accept_handler_without_filter_and_condition(said, is_open):
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
        ("accept", {"max_elements": -1}),
        ("accept", {"max_elements": 1.5}),
        ("accept", {"min_records": True}),
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


# always


def test_always_binds_recipe_and_facts():
    p = policy()
    p.add(p.always(LOSS))
    assert decide(p, case(name="any", version=9)).action == ACCEPT
    for other in (
        {"form": "x"},
        {"form": ""},
        {"writers": ("step",)},
        {"sources": ()},
        {"sources": (-1, -2)},
        {"kind": "per_record"},
        {"injected": True},
        {"shape": (2,)},
        {"type": "python.Float"},
        {"min_records": 63},
        {"failed": "boom"},
    ):
        assert decide(p, case(**other)).action == QUEUE, other


def test_always_is_refused_where_it_would_bind_too_little():
    p = policy()
    for facts in (
        RAW,
        replace(LOSS, kind="per_record"),
        replace(LOSS, injected=True, has_random=True),
        replace(LOSS, injected=True, writers=("random:step",)),
        replace(LOSS, form="*"),
        replace(LOSS, form=""),
        replace(LOSS, writers=("step", "*")),
        replace(LOSS, recipe=""),
        replace(LOSS, recipe="# … earlier operations left out\nx"),
        replace(LOSS, failed="boom"),
    ):
        with pytest.raises(NotAllowed):
            p.always(facts)


def test_always_for_a_model_is_not_once():
    p = policy()
    p.add(p.always(MODEL))
    assert [decide(p, case(MODEL)).action for _ in range(2)] == [ACCEPT, ACCEPT]


def test_a_binding_without_a_form_covers_nothing():
    for form in ("", "*"):
        assert Binding.of(replace(LOSS, form=form)).difference(replace(LOSS, form=form))


def test_always_covers_state_that_was_trained_by_steps_that_it_has_seen():
    p = policy()
    p.add(p.always(replace(LOSS, writers=("backward", "step"))))
    assert decide(p, case(writers=("backward", "step"))).action == ACCEPT
    assert decide(p, case(writers=())).action == ACCEPT
    decision = decide(p, case(writers=("backward", "other step")))
    assert decision.action == QUEUE and "accept it once more" in str(p.explain(case(
        writers=("other step",)), 0.0)[0])  # fmt: skip


def test_a_plans_runs_cover_its_own_training_only_with_the_same_inputs():
    seen = replace(LOSS, plan="ab" * 32, plan_given="run")
    binding = Binding.of(seen)
    assert not binding.difference(replace(seen, writers=("run",)))
    assert binding.difference(replace(seen, plan_given="other", writers=("other",)))
    assert binding.difference(replace(seen, writers=("other",)))


def test_an_injected_value_without_random_numbers_can_be_bound():
    p = policy()
    p.add(p.always(replace(LOSS, injected=True)))
    assert decide(p, case(injected=True)).action == ACCEPT
    assert decide(p, case(injected=True, form="another mask")).action == QUEUE


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


def test_a_recipe_as_text_is_guarded_like_a_name():
    p = policy(handler(recipe=RAW.recipe), handler(recipe=LOSS.recipe))
    assert decide(p, case(RAW)).action == QUEUE
    assert decide(p, case(injected=True)).action == QUEUE
    assert decide(p, case()).action == ACCEPT
    assert p.counted(-1) == 1
    assert decide(policy(handler("deny", recipe=RAW.recipe)), case(RAW)).action == DENY
