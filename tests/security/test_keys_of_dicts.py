"""Whether a dict of the owner's has a key that the scientist names, by what a look-up shows.

The list of shared objects tells how long a dict is, and none of its keys, which can be persons.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.other_data_sets import Holder, Kept
from tests.security.test_soundness import told

T, D = "torch.Tensor.", "python.Dict."
PERSONS = Ref(-1)
Use = Callable[[Holder], Ref]
LOOKS: dict[str, Use] = {
    "an item": lambda d: d.run(D + "__getitem__", PERSONS, "Anna"),
    "an item or one's own": lambda d: d.run(
        D + "dict_get", PERSONS, "Anna", d.run("torch.zeros", [2])),
    "an item or nothing": lambda d: d.run(D + "dict_get", PERSONS, "Anna", None),
    "what is taken out of a copy": lambda d: d.run(
        D + "pop", d.run(D + "copy", PERSONS), "Anna", d.run("torch.zeros", [2])),
    "a copy that has it or gets it": lambda d: d.run(
        D + "setdefault", d.run(D + "copy", PERSONS), "Anna", 1),
}  # fmt: skip
OTHERS: dict[str, Use] = {
    "whether it is there": lambda d: d.run(D + "__contains__", PERSONS, "Anna"),
    "all of them": lambda d: d.run(D + "keys", PERSONS),
    "whether it is equal": lambda d: d.run(D + "__eq__", PERSONS, d.put({"Anna": 1})),
}  # fmt: skip


def look(person: str, use: Use, *, is_public: bool) -> list[object]:
    """What shows of a program on one of two data sets."""
    with torch.random.fork_rng(()):
        kept = {"Kim": torch.ones(2), person: torch.ones(2)}
        d = Holder({"persons": Kept(kept, "python.Dict", is_public)})
        d.run(T + "numel", use(d))
        return [told(d), *[d.verdict(id) for id in range(1, d.next_id + 1)]]


@pytest.mark.xfail(strict=True, reason="open: docs/threat-model.md, a dict's keys")
@pytest.mark.parametrize("name", LOOKS)
def test_looking_a_key_up_tells_not_whether_it_is_there(name: str) -> None:
    use = LOOKS[name]
    assert look("Anna", use, is_public=True) == look("Ines", use, is_public=True)


@pytest.mark.parametrize("name", LOOKS | OTHERS)
def test_it_does_not_where_shapes_are_private(name: str) -> None:
    use = (LOOKS | OTHERS)[name]
    assert look("Anna", use, is_public=False) == look("Ines", use, is_public=False)


@pytest.mark.parametrize("name", OTHERS)
def test_nor_does_what_gives_no_item(name: str) -> None:
    use = OTHERS[name]
    assert look("Anna", use, is_public=True) == look("Ines", use, is_public=True)
