"""Two data sets that differ in one record's value, on which operations fail or not, and what shows.

Each program is one thing that torch or Python refuses, or does in another way, for the value in one
of the sets. What it gives is then asked for, looked at and written over in every way that needs no
decision. All that leaves the engine's side for the partner is compared, and which answers had to
wait for a tick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.security import (
    failing_arguments,
    failing_choices,
    failing_draws,
    failing_gradients,
    failing_graphs,
    failing_loaders,
    failing_matrices,
    failing_parts,
    failing_places,
    failing_plans,
    failing_python,
    failing_rates,
    failing_training,
    failing_views,
)
from tests.security.failing_kit import ONE, OTHER, Program, Side, difference
from tests.unit.test_datasets import write_files

SUBJECTS = (
    failing_matrices, failing_draws, failing_places, failing_python, failing_training,
    failing_plans, failing_loaders, failing_gradients, failing_graphs, failing_choices,
    failing_arguments, failing_rates, failing_views, failing_parts,
)  # fmt: skip
PROGRAMS: dict[str, Program] = {
    name: made for subject in SUBJECTS for name, made in subject.PROGRAMS.items()
}

SLOW = {"a_learning_rate_that_is_none", "a_loss_that_is_no_number_trained_on"}


def _case(name: str) -> Any:
    return pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])


@pytest.mark.parametrize("name", [_case(name) for name in PROGRAMS])
def test_what_fails_on_one_of_them_shows_on_neither(name: str, tmp_path: Path) -> None:
    write_files(tmp_path)
    program, dirs, state = PROGRAMS[name], {"digits": str(tmp_path)}, torch.get_rng_state()
    try:
        assert not difference(Side(ONE, dirs).shown(program), Side(OTHER, dirs).shown(program))
    finally:
        torch.set_rng_state(state)
