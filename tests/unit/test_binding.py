"""What `always` binds: the recipe, its form and the facts about a value."""

from dataclasses import replace

import pytest

from duet_p2p.engine.labels import UNBOUND
from duet_p2p.errors import NotAllowed
from duet_p2p.owner.binding import Binding, always_text, same_text, why_unbound
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


def test_a_value_of_fewer_sources_is_another_one():
    both = replace(LOSS, sources=(-1, -2))
    for sources in ((), (-1,), (-1, -2, -3)):
        assert Binding.of(both).difference(replace(both, sources=sources))
    assert not Binding.of(both).difference(replace(both, sources=(-2, -1)))


def test_the_commands_are_compared_where_a_form_has_not_which_of_several_it_is():
    """Outputs of a plan are bound by its digest, and what they were given."""
    other = replace(LOSS, recipe="torch.sum(store['x'])")
    assert Binding.of(LOSS).difference(other) == "the recipe is another one"
    assert not Binding.of(replace(LOSS, recipe="")).difference(other)
    of_plan = replace(LOSS, plan="ab" * 32)
    assert not Binding.of(of_plan).difference(replace(of_plan, recipe=other.recipe))


def test_neither_does_an_output_of_a_plan_stand_for_commands_nor_they_for_it():
    run = replace(LOSS, plan="ab" * 32, plan_given="run")
    assert "another plan" in Binding.of(LOSS).difference(run)
    assert "another plan" in Binding.of(run).difference(replace(run, plan_given=""))


def test_of_a_size_that_values_decided_neither_type_nor_shape_is_compared():
    hidden = replace(LOSS, sized_by_values=True)
    other = replace(hidden, shape=(3,), type="python.Float")
    assert not Binding.of(hidden).difference(other)
    assert Binding.of(hidden).difference(LOSS) and Binding.of(LOSS).difference(hidden)


def test_steps_that_are_foreseen_are_covered_only_where_the_decision_says_so():
    first = replace(LOSS, writers=("backward",), foreseen=("step",))
    later = replace(LOSS, writers=("backward", "step"))
    assert Binding.of(first).difference(later)
    assert not Binding.of(first, is_ahead=True).difference(later)


def test_only_batches_and_what_is_uploaded_once_more_may_vary_in_a_text():
    for one, other in (
        ("batch of 64 of x", "batch of 32 of x"),
        ("own1 + 1", "own22 + 1"),
    ):
        assert same_text(one) == same_text(other)
    for one, other in (
        ("town1", "town2"),
        ("store['own1']", "store['own2']"),
        ('store["own1"]', 'store["own2"]'),
        (r"store['a\'own1']", r"store['a\'own2']"),
        ("v1 + 1", "v2 + 1"),
        ("own1 + 1", "own1 + 2"),
    ):
        assert same_text(one) != same_text(other)


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


def test_the_line_always_says_what_it_takes_and_nothing_where_nothing_can_be_bound():
    seen = replace(LOSS, foreseen=("step",), foreseen_text="step() of SGD")
    assert "it takes later losses" in always_text(seen)
    assert "asks once more, since" in always_text(replace(seen, foreseen=()))
    assert always_text(replace(seen, form="*")) == "" == always_text(LOSS)


def test_random_numbers_alone_do_not_keep_a_value_from_being_bound():
    assert not why_unbound(replace(LOSS, has_random=True))
    assert not why_unbound(replace(LOSS, writers=("random:step",)))
    assert not why_unbound(replace(LOSS, kind="metadata"))


def test_of_a_plan_the_owner_reads_the_commands_in_its_listing():
    for recipe in ("", "… x"):
        assert why_unbound(replace(LOSS, recipe=recipe))
        assert not why_unbound(replace(LOSS, recipe=recipe), is_listed=True)
