"""Hostile bytes at every reader: the corpora again, and random and damaged ones.

``scripts/fuzz`` runs the same targets for longer.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.security.fuzz_targets import TARGETS

CORPORA = Path(__file__).parents[1] / "data" / "corpora"
SEEDS = {name: [path.read_bytes() for path in sorted((CORPORA / name).iterdir())]
         for name in TARGETS}  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_is_read_or_refused(target: str) -> None:
    assert len(SEEDS[target]) >= 3
    for data in SEEDS[target]:
        TARGETS[target](data)


@st.composite
def damaged(draw: st.DrawFn, target: str) -> bytes:
    """A seed with some bytes changed, cut out, doubled, or from another seed."""
    data = bytearray(draw(st.sampled_from(SEEDS[target])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        end = min(len(data), at + draw(st.integers(0, 8)))
        how = draw(st.integers(0, 3))
        if how == 0:
            data[at:end] = draw(st.binary(max_size=4))
        elif how == 1:
            del data[at:end]
        elif how == 2:
            data[at:at] = data[at:end] * 2
        else:
            data[at:end] = draw(st.sampled_from(SEEDS[target]))[at:end]
    return bytes(data)


@pytest.mark.brief
@pytest.mark.parametrize("target", TARGETS)
def test_damaged_and_random_bytes_are_read_or_refused(target: str) -> None:
    @given(st.one_of(damaged(target), st.binary(max_size=64)))
    @settings(
        max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    def check(data: bytes) -> None:
        TARGETS[target](data)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_many_more_are(target: str) -> None:
    @given(st.one_of(damaged(target), st.binary(max_size=512)))
    @settings(
        max_examples=3_000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    def check(data: bytes) -> None:
        TARGETS[target](data)

    check()
