"""Blocks of numbers are what the sets that they stand for are."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from duet_p2p.transport.sctp.intervals import add, difference

numbers = st.lists(st.integers(0, 60), unique=True)


def blocks_of(found: list[int]) -> list[list[int]]:
    blocks: list[list[int]] = []
    for number in found:
        add(blocks, number)
    return blocks


def members(blocks: object) -> set[int]:
    return {
        number
        for first, end in blocks  # type: ignore[attr-defined]
        for number in range(first, end + 1)
    }


@given(numbers)
def test_blocks_hold_what_was_added_ascending_and_apart(found: list[int]) -> None:
    blocks = blocks_of(found)
    assert members(blocks) == set(found)
    assert all(one[1] + 1 < other[0] for one, other in itertools.pairwise(blocks))


@given(numbers, numbers)
def test_a_difference_is_that_of_the_sets(found: list[int], known: list[int]) -> None:
    one = [(first, end) for first, end in blocks_of(found)]
    other = [(first, end) for first, end in blocks_of(known)]
    assert members(difference(one, other)) == set(found) - set(known)
