"""What rules compare is worked out once, however many rules there are and requests wait.

A value may have 64 tags of 256 characters and a recipe of 8,000, and five rules on tags looked at
its tags fifteen times: a request took the loop 75 ms, and one more rule with 200 of them 9 s.
"""

from dataclasses import replace

import pytest

from duet_p2p.owner import binding, essence, handlers
from tests.unit.policy_kit import LOSS, case, handler, policy

RULES = 5


class Counting:
    """A pattern that knows how often it was asked."""

    def __init__(self, pattern):
        self.pattern = pattern
        self.asked = 0

    def sub(self, *args):
        self.asked += 1
        return self.pattern.sub(*args)


@pytest.fixture
def cleaned(monkeypatch):
    """The tags that were cleaned."""
    seen = []
    clean = handlers.clean_line
    monkeypatch.setattr(
        handlers, "clean_line", lambda text, chars: (seen.append(text), clean(text, chars))[1]
    )
    return seen


def judged_twice(made, facts):
    """By another object each time, as each candidate of the engine is one."""
    for _ in range(2):
        asked = case(replace(facts, tags=tuple(map(str.swapcase, map(str.swapcase, facts.tags)))))
        assert made.decide(asked, 0.0).action == "queue"
        made.explain(asked, 0.0)


def test_tags_are_cleaned_once(cleaned):
    made = policy(*[handler(tags=[f"tag {number}"]) for number in range(RULES)])
    tags = tuple(f"never {number} seen\u0301" for number in range(64))
    cleaned.clear()
    judged_twice(made, replace(LOSS, tags=tags))
    assert sorted(cleaned) == sorted(tags)


def test_recipes_are_made_comparable_once(monkeypatch):
    counting = Counting(binding._VARIES)
    monkeypatch.setattr(binding, "_VARIES", counting)
    made = policy(*[handler(recipe=f"never seen {number}") for number in range(RULES)])
    judged_twice(made, replace(LOSS, recipe="batch of 3 of never seen"))
    assert counting.asked == RULES + 1


def test_what_a_rule_denied_before_is_looked_for_once(monkeypatch):
    counting = Counting(essence._NAME)
    monkeypatch.setattr(essence, "_NAME", counting)
    denying = [handler("deny", name=f"name {number}") for number in range(RULES)]
    for one in denying:
        one.denied_recipes["another"] = None
    judged_twice(policy(*denying), replace(LOSS, recipe="this was never seen before, either"))
    assert counting.asked == 1
