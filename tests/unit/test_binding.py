"""What `always` binds: the recipe, its form and the facts about a value."""

from dataclasses import replace

import pytest

from duet_p2p.engine.labels import UNBOUND
from duet_p2p.errors import NotAllowed
from duet_p2p.owner.binding import Binding
from duet_p2p.owner.policy import ACCEPT, QUEUE
from tests.unit.policy_kit import LOSS, MODEL, RAW, case, decide, policy


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


def test_steps_that_cannot_be_told_are_not_covered_by_themselves():
    """A denial by hand keeps a binding of any value."""
    untold = replace(LOSS, writers=(UNBOUND,))
    assert "not seen" in Binding.of(untold).difference(untold)


def test_a_difference_says_in_which_way_the_data_was_met():
    masked = replace(LOSS, injected=True)
    assert Binding.of(LOSS).difference(masked) == "something public met the data"
    assert Binding.of(masked).difference(LOSS) == "nothing was injected"
