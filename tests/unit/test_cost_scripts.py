"""The scripts that measure what a call costs reach into the engine: they still run."""

from __future__ import annotations

from scripts import add_cost, label_cost, step_cost


def test_labels_adds_and_steps_can_be_measured() -> None:
    for measured in (
        label_cost.measure(1),
        add_cost.measure(1),
        step_cost.measure("Adam", rounds=1, steps=2),
    ):
        assert measured
        assert all(seconds[0] > 0 for seconds in measured.values())
