"""Lists and dicts that are written out in a command, with private numbers named in them.

They have no id of their own and no command made them, but they lie in a container from then on, in
a dict or deeper, and can be taken out of it. Each program puts one somewhere and takes it out
again, level by level: no level of it is for everybody. A list of numbers that are all public stays
public, however it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.raw_peer import against, waits
from tests.unit.engine_kit import Driver

L, D, T = "python.List.", "python.Dict.", "torch.Tensor."
Kept = Callable[[Driver, Any], Ref]


def mutated(box: str, name: str, *where: Any, key: Any) -> Kept:
    """A container into which a mutator put it."""

    def keep(d: Driver, what: Any) -> Ref:
        made = d.ok(box, [] if box == "python.List" else [("b", 1)])
        d.ok(f"{box}.{name}", made, *where, what, outs=int(name == "setdefault"))
        return d.ok(f"{box}.__getitem__", made, key)

    return keep


def of(name: str, given: Callable[[Any], list[Any]], *keys: Any) -> Kept:
    """What a call gave that was given it, and then by these places."""

    def keep(d: Driver, what: Any) -> Ref:
        made = d.ok(name, *given(what))
        for key in keys:
            box = type(d.engine.store.get(made.id).value).__name__.capitalize()
            made = d.ok(f"python.{box}.__getitem__", made, key)
        return made

    return keep


def of_next(d: Driver, what: Any) -> Ref:
    return d.ok("python.next", d.ok("python.iter", [what]))


def of_group(d: Driver, what: Any) -> Ref:
    own = d.put(torch.ones(2))
    d.ok(T + "requires_grad_", own)
    group = d.ok("python.Dict", [("params", [own]), ("told", what)])
    d.ok("torch.optim.SGD", [group], lr=0.1)
    return d.ok(D + "__getitem__", group, "told")


PLACES: dict[str, Kept] = {
    "set": mutated("python.Dict", "__setitem__", "a", key="a"),
    "set_ordered": mutated("python.OrderedDict", "__setitem__", "a", key="a"),
    "setdefault": mutated("python.Dict", "setdefault", "a", key="a"),
    "append": mutated("python.List", "append", key=-1),
    "insert": mutated("python.List", "insert", 0, key=0),
    "given_back": of(D + "setdefault", lambda w: [{}, "a", w]),
    "default": of(D + "dict_get", lambda w: [{}, "a", w]),
    "default_of_pop": of(D + "pop", lambda w: [{"b": 1}, "a", w]),
    "update": of(D + "copy", lambda w: [{"a": w}], "a"),
    "list": of("python.List", lambda w: [[w]], 0),
    "tuple": of("python.Tuple", lambda w: [[w]], 0),
    "dict": of("python.Dict", lambda w: [[("a", w)]], "a"),
    "collected": of("python.collect", lambda w: [w, 1], 0),
    "added": of(L + "__add__", lambda w: [[1], [w]], 1),
    "repeated": of(L + "__mul__", lambda w: [[w], 2], 1),
    "copied": of(L + "copy", lambda w: [[w]], 0),
    "reversed": of(L + "__reversed__", lambda w: [[w]], 0),
    "values": of(D + "values", lambda w: [{"a": w}], 0),
    "items": of(D + "items", lambda w: [{"a": w}], 0, 1),
    "taken": of(L + "__getitem__", lambda w: [[w], 0]),
    "cut": of(L + "__getitem__", lambda w: [[w], slice(0, 1)], 0),
    "next": of_next,
    "group": of_group,
}


def shapes(number: Any) -> dict[str, tuple[Any, list[Any]]]:
    """What is written out, and the places that lead to the number in it."""
    return {
        "list": ([number, 1], [0]), "dict": ({"x": number}, ["x"]),
        "pair": ([(number, 1)], [0, 0]), "deep": ({"x": [[number]]}, ["x", 0, 0]),
    }  # fmt: skip


def levels(d: Driver, place: str, shape: str, number: Any) -> list[str]:
    """The kinds of what is taken out, from what was put in to the number."""
    what, keys = shapes(number)[shape]
    found = PLACES[place](d, what)
    kinds = [d.facts(found).kind]
    for key in keys:
        box = type(d.engine.store.get(found.id).value).__name__.capitalize()
        found = d.ok(f"python.{box}.__getitem__", found, key)
        kinds.append(d.facts(found).kind)
    return kinds


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("shape", ["list", "dict", "pair", "deep"])
def test_no_level_of_it_is_for_everybody(place: str, shape: str) -> None:
    d = Driver()
    first = d.ok(T + "__getitem__", d.share(torch.full((6,), 0.625)), 0)
    number = d.ok(T + "item", first)
    kinds = levels(d, place, shape, number)
    assert not {"public", "metadata"} & set(kinds), kinds


@pytest.mark.parametrize("place", PLACES)
def test_of_public_numbers_all_of_it_is_public(place: str) -> None:
    d = Driver()
    d.share(torch.ones(6))
    for number in (2, d.ok("python.Int", 2)):
        assert set(levels(d, place, "deep", number)) == {"public"}


def test_on_the_wire_it_waits_for_the_owner() -> None:
    with against({"x": torch.tensor(0.625)}) as (duet, raw):
        number, box = raw.op("python.Float", Ref(-1)), raw.op("python.Dict", [])
        raw.do(D + "__setitem__", box, "a", [number])
        waits(duet, raw, raw.op(D + "__getitem__", box, "a"))


def test_lists_that_only_a_command_held_are_given_back() -> None:
    d = Driver()
    number = d.ok(T + "item", d.ok(T + "__getitem__", d.share(torch.ones(6)), 0))
    for _ in range(4_200):
        d.delete(d.run("python.List", [[number], 1]))
    assert len(d.engine.lineage._objects) < 4_150
