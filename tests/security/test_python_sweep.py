"""Names of Python's types, each on two data sets, with arguments that private values decided.

`python_sweep.py` has the rest: `python -m tests.security.python_sweep` runs every name.
"""

from __future__ import annotations

import pytest
import torch

from tests.security.python_sweep import NAMES, swept

KINDS = ("List", "Tuple", "Iterator", "Range", "iter", "len", "collect", "Set", "Slice", "next")
IN_ONE_ONLY = {"python.Range.index"}
"""There is no number in the empty range of one of the data sets."""
SOME = [name for name in NAMES if name.split(".")[1] in KINDS]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SOME)
def test_a_name_works_and_shows_the_same_of_two_data_sets(name: str) -> None:
    with torch.random.fork_rng(()):
        worked, difference = swept(name)
    assert worked or name in IN_ONE_ONLY
    assert not difference
