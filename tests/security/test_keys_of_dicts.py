"""Whether a dict of the owner's has a key that the scientist names, by what a look-up shows.

The list of shared objects tells how long a dict is, and none of its keys, which can be persons.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.other_data_sets import Holder, Kept
from tests.security.random_programs import Program
from tests.security.test_labels_behind_failures import differences
from tests.security.test_soundness import told

T, D, O = "torch.Tensor.", "python.Dict.", "python.OrderedDict."  # noqa: E741
L, S, OPT = "python.List.", "python.Set.", "torch.optim.Optimizer."
PERSONS, X = Ref(-1), Ref(-2)
Use = Callable[[Holder, Ref], Ref]
KEPT: dict[str, Callable[[str], Any]] = {
    "of one form": lambda person: {"Kim": torch.ones(2), person: torch.ones(2)},
    "of two forms": lambda person: {"Kim": torch.ones(2), person: torch.ones(3)},
    "numbers": lambda person: {"Kim": 1, person: 2},
    "with gradients": lambda person: {
        "Kim": torch.ones(2, requires_grad=True), person: torch.ones(2, requires_grad=True)},
    "ordered": lambda person: OrderedDict([("Kim", torch.ones(2)), (person, torch.ones(2))]),
    "in a list": lambda person: [{"Kim": torch.ones(2), person: torch.ones(2)}],
    "dicts": lambda person: {"Kim": {"a": 1}, person: {"a": 1, "b": 2}},
}  # fmt: skip
LOOKS: dict[str, Use] = {
    "an item": lambda d, of: d.run(D + "__getitem__", of, "Anna"),
    "an item or one's own": lambda d, of: d.run(
        D + "dict_get", of, "Anna", d.run("torch.zeros", [2])),
    "an item or nothing": lambda d, of: d.run(D + "dict_get", of, "Anna", None),
    "what is taken out of a copy": lambda d, of: d.run(
        D + "pop", d.run(D + "copy", of), "Anna", d.run("torch.zeros", [2])),
    "a copy that has it or gets it": lambda d, of: d.run(
        D + "setdefault", d.run(D + "copy", of), "Anna", 1),
    "an item of an ordered copy": lambda d, of: d.run(
        O + "__getitem__", d.run("python.OrderedDict", of), "Anna"),
    "an item by a key of one's own": lambda d, of: d.run(D + "__getitem__", of, d.put("Anna")),
}  # fmt: skip
OTHERS: dict[str, Use] = {
    "whether it is there": lambda d, of: d.run(D + "__contains__", of, "Anna"),
    "all of them": lambda d, of: d.run(D + "keys", of),
    "a list of them": lambda d, of: d.run("python.List", of),
    "whether it is equal": lambda d, of: d.run(D + "__eq__", of, d.put({"Anna": 1})),
    "what is refused, taken out of the owner's own": lambda d, of: d.run(
        D + "pop", of, "Anna", 1),
    "what is refused, put into the owner's own": lambda d, of: changed(
        d, of, "__setitem__", "Anna", 1),
    "a copy that gets it": lambda d, of: changed(
        d, d.run(D + "copy", of), "__setitem__", "Anna", 1),
    "a copy without it": lambda d, of: changed(d, d.run(D + "copy", of), "__delitem__", "Anna"),
    "one's own with all of it": lambda d, of: changed(d, d.put({"Anna": 1}), "update", of),
    "a copy with one's own": lambda d, of: changed(
        d, d.run("python.Dict", of), "update", d.put({"Anna": 1})),
    "others with its keys": lambda d, of: changed(
        d, d.run(D + "fromkeys", of, 1), "__setitem__", "Anna", 1),
    "a copy in another order": lambda d, of: d.run(D + "keys", changed(
        d, d.run("python.OrderedDict", of), "move_to_end", "Anna", of=O)),
    "the last of a copy": lambda d, of: d.run(
        D + "popitem", changed(d, d.run(D + "copy", of), "__setitem__", "Anna", 1)),
    "a set of them": lambda d, of: changed(d, d.run("python.Set", of), "add", "Anna", of=S),
}  # fmt: skip
MADE: dict[str, Use] = {
    "written to": lambda d, item: changed(d, item, "add_", 1, of=T),
    "a view": lambda d, item: d.run(T + "stride", d.run(T + "view", item, 1, 2)),
    "written to by a view": lambda d, item: changed(
        d, d.run(T + "__getitem__", item, slice(0, 1)), "zero_", of=T),
    "written over": lambda d, item: changed(d, item, "copy_", d.run("torch.ones", [2]), of=T),
    "written over with others of the owner's": lambda d, item: changed(
        d, item, "copy_", d.run("torch.Tensor.__getitem__", X, (0, slice(0, 2))), of=T),
    "another's numbers": lambda d, item: changed(
        d, d.run("torch.zeros", [2]), "data=", item, of=T),
    "trained": lambda d, item: trained(d, changed(d, item, "requires_grad_", of=T)),
    "joined to a graph": lambda d, item: trained(
        d, d.run(T + "mul", item, d.run("torch.ones", [2], requires_grad=True))),
    "a graph written into it": lambda d, item: trained(
        d, changed(d, item, "mul_", d.run("torch.ones", [2], requires_grad=True), of=T)),
    "in a list": lambda d, item: d.run(L + "__getitem__", d.run("python.collect", item, item), 1),
    "chosen": lambda d, item: d.run(
        L + "__getitem__", d.run("python.collect", item, d.run("torch.ones", [2])),
        d.run("python.Int", d.run(T + "__getitem__", item, 0))),
    "records": lambda d, item: d.run("python.len", d.run("torch.utils.data.TensorDataset", item)),
    "a row of the whole": lambda d, item: d.run(
        T + "sum", d.run("torch.stack", [item, d.run(D + "__getitem__", PERSONS, "Kim")]), 0),
    "drawn alike": lambda d, item: d.run("torch.rand_like", item),
    "an index": lambda d, item: d.run(T + "__getitem__", X, d.run(T + "__gt__", item, 0.5)),
    "taken apart by another number": lambda d, item: after(d, item, d.run(
        "torch.kthvalue", item, whole(d), outs=2)),
    "a gradient in a list": lambda d, item: after(d, item, d.run(
        T + "grad=", [item], [d.run(T + "clone", X)], outs=0)),
    "to be written to beside another item": lambda d, item: after(d, item, d.run(
        T + "scatter_reduce_", item, d.run(T + "sum", X), d.run(D + "__getitem__", PERSONS, "Kim"),
        item, "sum")),
    "made into a number that is to be stepped": lambda d, item: after(d, item, d.run(
        OPT + "step", d.run(T + "sum", item), closure=d.run(T + "sum", X), outs=0)),
    "to be stepped with a loss": lambda d, item: after(d, item, d.run(
        OPT + "step", item, closure=d.run(T + "sum", X), outs=0)),
    "to follow what private numbers are in": lambda d, item: after(d, item, d.run(
        OPT + "follow", item, [d.run(T + "clone", X)], d.run("python.collect", X), outs=0)),
    "a key": lambda d, item: d.run(
        D + "__getitem__", PERSONS, d.run("python.Int", d.run(T + "sum", item))),
}  # fmt: skip


def changed(d: Holder, box: Ref, name: str, *args: Any, of: str = D) -> Ref:
    """After this call on it."""
    d.run(of + name, box, *args, outs=0)
    return box


def after(d: Holder, item: Ref, _: object) -> Ref:
    """The item, after something else was made of it."""
    return item


def whole(d: Holder) -> Ref:
    return d.run("python.Int", d.run(T + "__getitem__", X, (0, 0)))


def trained(d: Holder, tensor: Ref) -> Ref:
    d.run(T + "backward", d.run(T + "sum", tensor), outs=0)
    return d.run(T + "grad", tensor)


def held(kept: Any, *, is_public: bool = True) -> Kept:
    names = {list: "python.List", OrderedDict: "python.OrderedDict", set: "python.Set"}
    return Kept(kept, names.get(type(kept), "python.Dict"), is_public)


def look(kept: Any, use: Use, *, is_public: bool) -> tuple[Holder, list[object]]:
    """What shows of a program on one of two data sets."""
    with torch.random.fork_rng(()):
        x = Kept(torch.ones(3, 4), "torch.Tensor", True)
        d = Holder({"persons": held(kept, is_public=is_public), "x": x})
        of = d.run(L + "__getitem__", PERSONS, 0) if isinstance(kept, list) else PERSONS
        found = use(d, of)
        for fact in (T + "numel", T + "requires_grad", "python.len", D + "keys"):
            d.run(fact, found)
        return d, [told(d), *[d.verdict(id) for id in range(1, d.next_id + 1)]]


def alike(use: Use, made: Callable[[str], Any], *, is_public: bool = True) -> None:
    (one, shown), (other, also) = (
        look(made(person), use, is_public=is_public) for person in ("Anna", "Ines")
    )
    assert shown == also
    assert not differences(one, other, [(Ref(id), Ref(id)) for id in range(1, one.next_id + 1)])


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("name", LOOKS)
def test_looking_a_key_up_tells_not_whether_it_is_there(name: str, kept: str) -> None:
    alike(LOOKS[name], KEPT[kept])


@pytest.mark.parametrize("name", LOOKS | OTHERS)
def test_it_does_not_where_shapes_are_private(name: str) -> None:
    alike((LOOKS | OTHERS)[name], KEPT["of one form"], is_public=False)


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("name", OTHERS)
def test_nor_does_what_gives_no_item(name: str, kept: str) -> None:
    alike(OTHERS[name], KEPT[kept])


@pytest.mark.parametrize("kept", ["of one form", "of two forms"])
@pytest.mark.parametrize("name", MADE)
def test_nor_does_what_is_made_of_an_item(name: str, kept: str) -> None:
    item = LOOKS["an item"]
    alike(lambda d, of: MADE[name](d, item(d, of)), KEPT[kept])


IN_SETS: dict[str, Use] = {
    "with it": lambda d, of: changed(d, d.run("python.Set", of), "add", "Anna", of=S),
    "with a list": lambda d, of: changed(d, d.run("python.Set", of), "update", ["Anna"], of=S),
    "without it": lambda d, of: changed(d, d.run("python.Set", of), "discard", "Anna", of=S),
    "or fails": lambda d, of: changed(d, d.run("python.Set", of), "remove", "Anna", of=S),
    "one's own with all": lambda d, of: changed(
        d, d.run("python.Set", ["Anna"]), "update", of, of=S),
    "both": lambda d, of: d.run(S + "__or__", of, d.run("python.Set", ["Anna"])),
    "a dict": lambda d, of: changed(d, d.run(D + "fromkeys", of, 1), "__setitem__", "Anna", 1),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_SETS)
def test_nor_does_what_is_in_a_set(name: str) -> None:
    alike(IN_SETS[name], lambda person: {"Kim", person})


def test_the_form_of_items_that_are_alike_shows_and_a_key_that_is_missing_looks_the_same() -> None:
    d = Holder({"persons": held(KEPT["of one form"]("Anna"))})
    for key in ("Anna", "Ines"):
        item = d.run(D + "__getitem__", PERSONS, key)
        (event,) = [event for event in d.last if getattr(event, "shape", None) is not None]
        assert (event.id, event.type, event.shape) == (item.id, "torch.Tensor", (2,))
    assert d.verdict(d.run("python.len", PERSONS).id)[:2] == ("public", "python.Int")


def test_of_names_of_fields_a_look_up_tells_the_form() -> None:
    d = Holder({})
    d.share({"a": torch.ones(2), "b": torch.ones(3)}, "python.Dict", keys_public=True)
    d.run(D + "__getitem__", PERSONS, "b")
    assert [event.shape for event in d.last if hasattr(event, "shape")] == [(3,)]
    assert d.failed(D + "__getitem__", PERSONS, "c").code == "KeyError"


def of_random_programs(seed: int) -> None:
    """Two dicts of one form, or of two, looked up among random commands."""
    draw, sets = Random(seed), []
    made = torch.Generator().manual_seed(seed)
    shape = draw.choice([(2,), (3, 4), (), (1, 3)])
    dtype = draw.choice([torch.float32, torch.float32, torch.int64, torch.bool])
    is_alike = draw.random() < 0.7
    more = ((), ()) if is_alike else ((2,), (3,))
    for person in ("Anna", "Ines"):
        kept = {
            key: (3 * torch.rand(shape + end, generator=made)).to(dtype)
            for key, end in zip(("Kim", person), more, strict=True)
        }
        sets.append({"persons": held(kept), "x": Kept(torch.rand(3, 4), "torch.Tensor", True)})
    one, other = map(Holder, sets)
    program = Program([-1, -2], one.look)
    for _ in range(draw.randint(2, 9)):
        steps = program.step(draw.randrange(1 << 48))
        if draw.random() < 0.4 or not program.own:
            key = draw.choice(["Anna", "Anna", "Kim"])
            steps = [*steps, program.op(D + "__getitem__", PERSONS, key)]
        for command in steps:
            assert one.do(command) == other.do(command), (seed, command)
    for id in program.own:
        assert one.verdict(id) == other.verdict(id), (seed, id, program.sent)
    if is_alike:  # else docs/threat-model.md, rare programs
        refs = [(Ref(id), Ref(id)) for id in program.own]
        assert not differences(one, other, refs), (seed, program.sent)


FEW, MANY = range(40), pytest.param(range(100, 1100), marks=pytest.mark.slow)


@pytest.mark.parametrize("seeds", [FEW, MANY], ids=["few", "many"])
def test_nor_do_random_programs(seeds: range) -> None:
    with torch.random.fork_rng(()):
        for seed in seeds:
            of_random_programs(seed)
