"""No command on an odd value fails inside the engine; see odd_programs.py."""

from __future__ import annotations

import pytest

from tests.security.odd_programs import told_by

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("seed", range(12))
def test_the_engine_itself_fails_in_no_program(seed: int) -> None:
    assert told_by(seed, 200) == []


@pytest.mark.slow
@pytest.mark.parametrize("hundred", range(1, 11))
def test_the_engine_itself_fails_in_none_of_very_many(hundred: int) -> None:
    told = {seed: found for seed in range(100 * hundred, 100 * hundred + 100)
            if (found := told_by(seed, 250))}  # fmt: skip
    assert told == {}
