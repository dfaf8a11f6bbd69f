"""What a handler takes: the guard of labelled ones, and conditions on facts."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duet_p2p import limits
from duet_p2p.owner.handlers import KINDS, normal_name
from duet_p2p.owner.policy import ACCEPT, DENY, QUEUE
from tests.unit.policy_kit import LOSS, MODEL, RAW, case, decide, handler, policy

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


def test_numbers_of_a_source_stay_counted_whatever_becomes_of_the_handlers():
    p = policy(handler(name="loss"), numbers_per_source=2)
    p.release(decide(p, case()).reservation)
    p.add(handler(name="loss", print_local=True))  # replaces it
    p.release(decide(p, case()).reservation)
    p.clear()
    p.engine_died()
    p.add(handler(tags=["digits", "nll_loss"], element_quota=1_000))
    decision = decide(p, case())
    assert decision.action == QUEUE and "the limit is 2" in decision.why


@given(
    facts=st.fixed_dictionaries(
        {
            "kind": st.just("aggregate") | st.sampled_from(sorted(KINDS)),
            "elements": st.sampled_from([1, 1, 2, 1_000]),
            "min_records": st.sampled_from([64, 64, 10, 9, 1]),
            "injected": st.sampled_from([False, False, True]),
            "failed": st.sampled_from(["", "", "", "boom"]),
            "sources": st.sampled_from([(), (-1,), (-1, -2)]),
        }
    ),
    names=st.lists(
        st.sampled_from(["", "loss", " LOSS", "model_download", "l\u200boss"])
        | st.text(max_size=8),
        min_size=2,
        max_size=4,
    ),
    asked=st.integers(1, 4),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_renaming_never_changes_what_the_guard_lets_through(facts, names, asked):
    """However often it is asked for, and under whatever name, of all that are accepted."""
    given_names = [normal_name(name) for name in names]
    outcomes = []
    for name in given_names:
        p = policy(*(handler(name=each) for each in given_names), numbers_per_source=2)
        decisions = [decide(p, case(name=name, **facts)) for _ in range(asked)]
        outcomes.append([decision.action for decision in decisions])
    assert all(outcome == outcomes[0] for outcome in outcomes)
    assert outcomes[0].count(ACCEPT) <= (2 if facts["sources"] else asked)


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
        ({"recipe": LOSS.recipe}, {}, True),
        ({"recipe": "another"}, {}, False),
        ({"allow_injected": False}, {"injected": True}, False),
        ({"allow_injected": True, "kinds": {"aggregate"}}, {"injected": True}, True),
        ({"allow_dropout": False}, {"dropout": True}, False),
        ({"allow_dropout": False}, {}, True),
        ({"allow_dropout": True}, {"dropout": True}, True),
        ({"max_uses": 0}, {}, False),
    ],
)
@pytest.mark.parametrize("action", ["accept", "deny"])
def test_conditions_on_facts(action, said, facts, is_taken):
    decision = decide(policy(handler(action, **said)), case(**facts))
    assert (decision.action != QUEUE) is is_taken


@pytest.mark.parametrize(
    ("said", "is_taken"),
    [
        ({"min_records": 10}, False),
        ({"min_records": 2, "kinds": {"aggregate"}, "max_elements": 1}, False),
        ({"min_records": 10, "allow_injected": True}, True),
        ({"min_records": 1, "kinds": {"aggregate"}}, True),
        ({"kinds": {"aggregate"}}, True),
    ],
)
def test_a_group_of_which_a_mask_may_have_left_one_record_is_none(said, is_taken):
    """A rule that wants so many records behind each number took a sum over one of them."""
    p, masked = policy(handler(**said)), case(injected=True)
    look = p.explain(masked, 0.0)[0]
    assert (decide(p, masked).action == ACCEPT) is is_taken is look.took
    assert is_taken or "injected" in look.why
    assert decide(p, case()).action == ACCEPT
    denies = {key: value for key, value in said.items() if key != "max_elements"}
    assert decide(policy(handler("deny", **denies)), masked).action == DENY  # that is another way


def test_sources_are_all_that_is_accepted_and_any_that_is_denied():
    """Else a denial would be evaded by one more source."""
    both = case(sources=(-1, -2))
    assert decide(policy(handler(sources={-1})), both).action == QUEUE
    assert decide(policy(handler("deny", sources={-1})), both).action == DENY


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


@pytest.mark.parametrize(
    "facts",
    [RAW, case(kind="per_record").facts, case(injected=True, has_random=True).facts,
     case(recipe="# … earlier operations left out").facts],
)  # fmt: skip
def test_seen_only_takes_nothing_that_could_not_be_accepted_always(facts):
    """Which batch it is may differ: what names records would leave one after the other."""
    p = policy(handler(seen_only=True))
    p.remember(ACCEPT, facts)
    decision = decide(p, case(facts))
    assert decision.action == QUEUE and "seen_only" in decision.why
    p = policy(handler("deny", seen_only=True))
    p.remember(DENY, facts)
    assert decide(p, case(facts)).action == DENY


def test_a_denial_by_hand_is_not_seen_as_an_acceptance():
    p = policy(handler(name="loss", seen_only=True))
    p.remember(DENY, LOSS)
    assert decide(p, case()).action == QUEUE


def test_silence_about_a_failure_is_counted_for_a_recipe_and_a_binding():
    """Both leave all that is made otherwise, failed or not, so that tells nothing."""
    failed, other = (
        case(name="x", failed="boom", elements=0, recipe=recipe, form=form)
        for recipe, form in ((LOSS.recipe, LOSS.form), ("other()", "another form"))
    )
    for rule in (handler(recipe=LOSS.recipe), policy().always(LOSS)):
        p = policy(rule)
        assert decide(p, other).action == QUEUE and rule.uses == 0
        assert decide(p, failed).action == QUEUE and rule.uses == 1


def test_every_kind_of_value_is_not_every_failure():
    """A rule that lists the kinds of private values is open, and what failed waits all the same."""
    p = policy(handler(kinds=KINDS - {"public"}))
    assert decide(p, case(RAW)).action == ACCEPT
    assert decide(p, case(failed="boom", elements=0)).action == QUEUE
