"""Programs with containers that one of two data sets cannot make, or does not choose.

What is put into one, or would have lain in it, is the scientist's own, and is looked at afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_choices import secret
from tests.security.failing_gradients import either
from tests.security.failing_kit import N, Programs, last, weights, whole
from tests.security.neighbour_kit import DATA, OPT, T

PROGRAMS = Programs()
program = PROGRAMS.program
LISTS, TUPLES, SETS, DICTS, ORDERED, TEXTS = (
    f"python.{name}." for name in ("List", "Tuple", "Set", "Dict", "OrderedDict", "String")
)
Make = Callable[[Any], Ref]


def empty(p: Any) -> Ref:
    """A text, or an empty one, of which there is a dict."""
    return p.op(TEXTS + "strip", p.op("python.String", whole(p)), "9")


MISSING: dict[str, Make] = {
    "a dict of a text": lambda p: p.op("python.Dict", empty(p)),
    "an ordered dict of a text": lambda p: p.op("python.OrderedDict", empty(p)),
    "a copy of one": lambda p: p.op(DICTS + "copy", p.op("python.Dict", empty(p))),
    "a dict of one": lambda p: p.op("python.Dict", p.op("python.Dict", empty(p))),
    "its values": lambda p: p.op(DICTS + "values", p.op("python.Dict", empty(p))),
    "a list of it": lambda p: p.op("python.List", p.op("python.Dict", empty(p))),
    "a list of a number": lambda p: p.op("python.List", either(p, [1], 1)),
    "a tuple of a number": lambda p: p.op("python.Tuple", either(p, 1, [1])),
    "a set of lists": lambda p: p.op("python.Set", p.op("python.collect", either(p, [1], 1))),
    "a list and a number": lambda p: p.op(LISTS + "__add__", [1], either(p, [1], 1)),
    "a tuple and a number": lambda p: p.op(TUPLES + "__add__", p.put((1,)), either(p, 1, (1,))),
    "a list so many times": lambda p: p.op(LISTS + "__mul__", [1], p.op("python.Int", last(p, N))),
    "keys of a number": lambda p: p.op(DICTS + "fromkeys", either(p, 1, [1]), 0),
    "parts of a text": lambda p: p.op(TEXTS + "split", "a1b", empty(p)),
    "an element": lambda p: p.op(LISTS + "__getitem__", p.op("python.collect", {}, [2]), whole(p)),
}  # fmt: skip
CHOSEN: dict[str, Make] = {
    "a list or nothing": lambda p: p.op(DICTS + "dict_get", {1: [3]}, whole(p)),
    "a text or a list": lambda p: either(p, "ab", p.put(["a"])),
    "a tensor or a list": lambda p: either(p, p.put(torch.zeros(2)), p.put(["a"])),
    "a dict or a tensor": lambda p: either(p, p.put({0: 1}), p.put(torch.zeros(2))),
    "a tuple or a list": lambda p: either(p, p.put((1, 2)), p.put([3])),
}
"""A container or something else, in both of which nothing has failed."""


def put_into(p: Any, box: Ref, name: str, value: Ref) -> list[Ref]:
    """One value, in one of the ways; what that gave."""
    listed = {"extend", "__iadd__", "__add__"}
    short = name.rpartition(".")[2]
    if short in listed:
        value = p.op("python.collect", value)
    before = [0] if short in ("insert", "setdefault", "dict_get") or "set" in short else []
    if short == "pop":
        before = [0]
    if short in ("__setitem__", "append", "insert", "extend", "add"):
        p.do(name, box, *before, value)
        return []
    if short == "update":
        p.do(name, box, {0: value})
        return []
    return [p.op(name, box, *before, value)]


WAYS = (
    DICTS + "__setitem__", DICTS + "setdefault", ORDERED + "setdefault", DICTS + "dict_get",
    DICTS + "pop", DICTS + "update", DICTS + "fromkeys", LISTS + "append", LISTS + "insert",
    LISTS + "__setitem__", LISTS + "extend", LISTS + "__iadd__", LISTS + "__add__", SETS + "add",
    LISTS + "__contains__", "python.collect",
)  # fmt: skip


def filled(make: Make, held: Callable[[Any], Ref]) -> Callable[[Any], list[Ref]]:
    """Something of the scientist's own is put into the container in every way, each a new one."""

    def made(p: Any) -> list[Ref]:
        refs: list[Ref] = []
        for name in WAYS:
            own = held(p)
            given = put_into(p, make(p), name, own)
            refs += [own, p.op("python.collect", own), *given]
        return refs

    return made


TAKEN = (
    (DICTS + "__getitem__", 0), (LISTS + "__getitem__", 0), (LISTS + "__getitem__", slice(0, 1)),
    (LISTS + "pop",), (DICTS + "pop", 0), (DICTS + "popitem",), (DICTS + "values",),
    ("python.List",), ("python.Tuple",), ("python.Dict",), (LISTS + "__mul__", 2), ("python.len",),
    ("torch.stack",),
)  # fmt: skip


def taken(make: Make) -> Callable[[Any], list[Ref]]:
    """Own tensors are taken out in every way, and then another source is written to them."""

    def made(p: Any) -> list[Ref]:
        refs: list[Ref] = []
        for put in (DICTS + "__setitem__", LISTS + "append"):
            for name, *args in TAKEN:
                own, box = p.put(torch.ones(3)), make(p)
                put_into(p, box, put, own)
                out = p.op(name, box, *args)
                p.do(T + "add_", own, secret(p))
                refs += [own, out, box]
            box = make(p)
            put_into(p, box, put, own)
            refs.append(p.op("python.next", p.op("python.iter", box)))
        return refs

    return made


def tensor(p: Any) -> Ref:
    return p.put(torch.zeros(3))


def box(p: Any) -> Ref:
    return p.op("python.collect", tensor(p))


def loader(p: Any) -> Ref:
    return p.op(DATA + "DataLoader", p.op(DATA + "TensorDataset", tensor(p)))


def optimizer(p: Any) -> Ref:
    return p.op("torch.optim.SGD", [weights(p, 2)], lr=0.1)


OWN = {"tensors": tensor, "boxes": box, "loaders": loader, "optimizers": optimizer}
for _name, _make in {**MISSING, **CHOSEN}.items():
    for _held, _hold in OWN.items():
        PROGRAMS[f"{_held}_into_{_name.replace(' ', '_')}"] = filled(_make, _hold)
    PROGRAMS[f"out_of_{_name.replace(' ', '_')}"] = taken(_make)


@program
def trained_by_what_lies_in_one(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for make in ("a dict of a text", "a list of a number"):
        w = weights(p, 2)
        held = MISSING[make](p)
        name = DICTS + "__setitem__" if "dict" in make else LISTS + "append"
        put_into(p, held, name, w)
        stepper = p.op("torch.optim.SGD", p.op("python.List", held), lr=0.1)
        p.do(T + "backward", p.op("torch.sum", w))
        p.do(OPT + "step", stepper)
        made += [w, p.op(T + "grad", w), stepper, held]
    return made


@program
def a_tuple_that_nothing_is_added_to(p: Any) -> list[Ref]:
    own = tensor(p)
    held = p.op(TUPLES + "__add__", p.op("python.Tuple", p.op("python.collect", own)),
                either(p, 1, (1,)))  # fmt: skip
    more = p.op(LISTS + "__iadd__", held, p.op("python.collect", tensor(p)))
    return [more, own, p.op("torch.mul", more, 2.0), held]


@program
def an_element_of_a_tensor_or_of_a_dict(p: Any) -> list[Ref]:
    made: list[Ref] = []
    for one, other in (({0: 1}, torch.zeros(2)), ([3], torch.zeros(2)), (torch.zeros(2), "ab")):
        going = p.op("python.iter", either(p, p.put(one), p.put(other)))
        made += [p.op("python.next", going), p.op("python.next", going)]
    return [*made, *[p.op("python.collect", ref) for ref in made]]
