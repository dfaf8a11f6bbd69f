"""One sample of every operator of torch's database between two processes, over the data channel."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.notebook import Notebook

ROOT = Path(__file__).parents[2]

REPLAY = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.surface.listed import LISTED
from tests.surface.replay import assert_same, function_of, locally, remotely, tensors_in
from tests.surface.test_op_db import ENTRIES, samples

def replay():
    done, wrong = 0, []
    for entry, op in ENTRIES.items():
        listed = LISTED.get(("op", entry))
        if listed is not None and listed.is_whole:
            continue
        for sample in samples(op, 1):
            args, kwargs = (sample.input, *sample.args), sample.kwargs
            if next(tensors_in((args, kwargs)), None) is None:
                continue
            try:
                here = locally(function_of(op), args, kwargs)
                assert_same(here, remotely(duet, function_of(op), args, kwargs))
                done += 1
            except Exception as error:
                wrong.append(f"{{entry}}: {{type(error).__name__}}: {{error}}"[:300])
    return done, wrong
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_sample_of_each_operator_is_equal(pair: tuple[Notebook, Notebook]) -> None:
    owner, scientist = pair
    owner.run("duet.requests.add_handler(action='accept')")
    scientist.run(REPLAY)
    done, wrong = scientist.run("replay()", timeout=280)
    assert wrong == []
    assert done >= 600
    used = scientist.run("duet.status()['operations']")
    assert used > done
