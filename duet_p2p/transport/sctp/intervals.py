"""Sets of numbers as ascending blocks (first, last) that do not touch: what a SACK speaks of."""

from __future__ import annotations

from bisect import bisect_right

__all__ = ["add", "difference"]


def add(blocks: list[list[int]], number: int) -> None:
    """Adds a number that is in none of the blocks; nearly always it continues the last one."""
    if not blocks or number > blocks[-1][1] + 1:
        blocks.append([number, number])
        return
    if number == blocks[-1][1] + 1:
        blocks[-1][1] = number
        return
    at = bisect_right(blocks, number, key=lambda block: block[0])
    joins_before = at > 0 and blocks[at - 1][1] + 1 == number
    joins_after = at < len(blocks) and blocks[at][0] - 1 == number
    if joins_before and joins_after:
        blocks[at - 1][1] = blocks[at][1]
        del blocks[at]
    elif joins_before:
        blocks[at - 1][1] = number
    elif joins_after:
        blocks[at][0] = number
    else:
        blocks.insert(at, [number, number])


def difference(
    blocks: list[tuple[int, int]], known: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """The parts of `blocks` that are not in `known`."""
    if not known:
        return blocks
    found = []
    at = 0
    for first, end in blocks:
        while at < len(known) and known[at][1] < first:
            at += 1
        look = at
        while look < len(known) and known[look][0] <= end:
            if known[look][0] > first:
                found.append((first, known[look][0] - 1))
            first = known[look][1] + 1
            look += 1
        if first <= end:
            found.append((first, end))
    return found
