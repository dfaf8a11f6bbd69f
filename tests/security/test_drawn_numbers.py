"""How many random numbers a call drew is told by the next public one.

So where private values decided it, by a size or by a setting of a transform, all random numbers
behind it are private: also those of calls whose names do not say that they draw.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.neighbour_kit import DATA, F, T
from tests.unit.engine_kit import Driver
from tests.unit.test_datasets import write_files

V = "torchvision.transforms."
ATTENTION, CALL = F + "scaled_dot_product_attention", V + "Transform.__call__"
Program = Callable[[Driver, Ref], Any]


def next_number(d: Driver) -> tuple[str, float]:
    drawn = d.ok("torch.rand", 1)
    return d.label(drawn)[0], float(d.release(drawn))


def shows_nothing(programs: list[Callable[[], Driver]]) -> bool:
    """Whether the next number is private behind each, or the same behind all."""
    told = [next_number(program()) for program in programs]
    assert len({kind for kind, _ in told}) == 1
    return told[0][0] == "per_record" or len(set(told)) == 1


# sizes


def of_size(program: Program, size: int) -> Driver:
    d = Driver()
    mask = d.share(torch.arange(8) < size)
    few = d.ok(T + "__getitem__", d.share(torch.ones(8, 4)), mask)
    d.ok("torch.manual_seed", 5, outs=0)
    program(d, few)
    return d


def attend(d: Driver, x: Ref, chance: float = 0.5) -> None:
    x = d.ok("torch.reshape", x, [1, 1, -1, 4])
    d.run(ATTENTION, x, x, x, None, chance)


def attend_by_hand(d: Driver, x: Ref) -> None:
    x, own = d.ok("torch.reshape", x, [-1, 1, 4]), d.put(torch.ones(4, 4))
    weights, bias = d.put(torch.ones(12, 4)), d.put(torch.ones(12))
    d.run(
        F + "multi_head_attention_forward", x, x, x, 4, 1, weights, bias, None, None, False, 0.5,
        own, d.put(torch.zeros(4)), training=True, outs=2,
    )  # fmt: skip


def recur(name: str, gates: int, chance: float = 0.5) -> Program:
    def program(d: Driver, x: Ref) -> None:
        shapes = [(gates * 4, 4), (gates * 4, 4), (gates * 4,), (gates * 4,)] * 2
        weights: Any = [d.put(torch.full(shape, 0.5)) for shape in shapes]
        first: Any = d.put(torch.zeros(2, 1, 4))
        first = [first, first] if name == "lstm" else first
        settings = (True, 2, chance, True, False, False)
        outs = 3 if name == "lstm" else 2
        x = d.ok("torch.reshape", x, [-1, 1, 4])
        d.run(f"torch.{name}", x, first, weights, *settings, outs=outs)

    return program


def spectrum(d: Driver, x: Ref) -> None:
    d.run("torch.lobpcg", d.ok("torch.mm", x, d.ok(T + "t", x)), 2, outs=2)


def cut(d: Driver, x: Ref) -> None:
    pytest.importorskip("torchvision")
    image = d.ok("torch.reshape", x, [1, -1, 4])
    d.run(CALL, d.ok(V + "RandomCrop", [3, 4]), image)


BY_SIZE: dict[str, Program] = {
    "attention": attend, "attention by hand": attend_by_hand, "lstm": recur("lstm", 4),
    "gru": recur("gru", 3), "rnn_tanh": recur("rnn_tanh", 1), "rnn_relu": recur("rnn_relu", 1),
    "lobpcg": spectrum, "crop": cut,
}  # fmt: skip


@pytest.mark.parametrize("name", BY_SIZE)
def test_the_next_number_does_not_tell_a_private_size(name: str) -> None:
    programs = [lambda n=n: of_size(BY_SIZE[name], n) for n in (8, 6, 3)]
    assert shows_nothing(programs)


@pytest.mark.parametrize("name", BY_SIZE)
def test_of_a_public_size_it_stays_public(name: str) -> None:
    d = Driver()
    BY_SIZE[name](d, d.share(torch.ones(8, 4)))
    assert not d.failures()
    assert next_number(d)[0] == "public"


def test_nothing_is_drawn_for_a_dropout_that_is_off() -> None:
    off: list[Program] = [lambda d, x: attend(d, x, 0.0), recur("lstm", 4, 0.0)]
    for program in off:
        assert next_number(of_size(program, 3))[0] == "public"


# settings of transforms


def setting(d: Driver, value: float) -> Ref:
    shared = d.share(torch.tensor(value))
    d.ok("torch.manual_seed", 5, outs=0)
    return d.ok("python.Float" if isinstance(value, float) else "python.Int", shared)


def inner(d: Driver) -> list[Ref]:
    """One that draws two numbers, and one that draws none."""
    return [d.ok(V + "RandomCrop", 6), d.ok(V + "CenterCrop", 6)]


SETTINGS: dict[str, tuple[Callable[[Driver, Ref], tuple[Any, ...]], tuple[float, ...]]] = {
    "RandomErasing": (lambda d, n: (n,), (0.0, 1.0, -3.0)),
    "RandomPerspective": (lambda d, n: (0.5, n), (0.0, 1.0)),
    "RandomApply": (lambda d, n: ([d.ok(V + "RandomCrop", 6)], n), (0.0, 1.0)),
    "RandomChoice": (lambda d, n: (inner(d), [1.0, n]), (0.0, 1.0, -1.0)),
    "RandomRotation": (lambda d, n: (n,), (0.0, 1.0, -3.0)),
    "ColorJitter": (lambda d, n: (n,), (0.0, 1.0, -3.0)),
    "RandomAffine": (lambda d, n: (n,), (1.0, -3.0)),
    "Normalize": (lambda d, n: ([0.0], [n]), (0.0, 1.0)),
    "RandomCrop": (lambda d, n: (n,), (3, 8, 100)),
    "Resize": (lambda d, n: (n,), (0, 3)),
    "Grayscale": (lambda d, n: (n,), (0, 1)),
}


def applied(name: str, value: float, how: str) -> Driver:
    d = Driver()
    step = d.run(V + name, *SETTINGS[name][0](d, setting(d, value)))
    if how == "with others":
        step = d.run(V + "Compose", [step, d.ok(V + "RandomHorizontalFlip", 0.5)])
    d.run(CALL, step, d.put(torch.arange(64.0).reshape(1, 8, 8)))
    return d


@pytest.mark.parametrize("how", ["alone", "with others"])
@pytest.mark.parametrize("name", SETTINGS)
def test_the_next_number_does_not_tell_a_private_setting(name: str, how: str) -> None:
    pytest.importorskip("torchvision")
    assert shows_nothing([lambda v=v: applied(name, v, how) for v in SETTINGS[name][1]])


@pytest.mark.parametrize("name", ["RandomChoice", "RandomOrder"])
def test_nor_does_what_python_draws_next(name: str) -> None:
    """Python's own generator has no label, and one who knows its state counts what was asked."""
    pytest.importorskip("torchvision")
    before = random.getstate()
    for size in (8, 3):
        d = Driver()
        step = d.ok(V + name, inner(d))
        image = d.ok("torch.reshape", d.share(torch.arange(64.0)), [1, 8, 8])
        mask = d.share(torch.arange(8) < size)
        d.run(CALL, step, d.ok(T + "__getitem__", image, (slice(None), mask)))
    assert random.getstate() == before


@pytest.mark.parametrize("name", ["RandomChoice", "RandomOrder"])
def test_what_is_chosen_after_a_private_seed_is_private(name: str) -> None:
    pytest.importorskip("torchvision")
    d = Driver()
    step, image = d.ok(V + name, inner(d)), d.put(torch.arange(64.0).reshape(1, 8, 8))
    assert d.label(d.ok(CALL, step, image))[0] == "public"
    d.ok("torch.manual_seed", setting(d, 7), outs=0)
    assert d.label(d.ok(CALL, step, image))[0] == "per_record"


def item(directory: Path, value: float) -> Driver:
    d = Driver(dirs={"digits": str(directory)})
    chance = setting(d, value)
    cut = d.ok(V + "RandomApply", [d.ok(V + "RandomCrop", 6)], chance)
    step = d.ok(V + "Compose", [cut, d.ok(V + "ToTensor")])
    data = d.ok("torchvision.datasets.MNIST", "digits", transform=step)
    d.ok(DATA + "Dataset.__getitem__", data, 0)
    return d


def test_nor_does_that_behind_an_item_of_the_owners_files(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    write_files(tmp_path)
    assert shows_nothing([lambda v=v: item(tmp_path, v) for v in (0.0, 1.0)])


def test_of_a_public_transform_it_stays_public(tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    write_files(tmp_path)
    d = Driver(dirs={"digits": str(tmp_path)})
    step = d.ok(V + "Compose", [d.ok(V + "RandomCrop", 6), d.ok(V + "ToTensor")])
    data = d.ok("torchvision.datasets.MNIST", "digits", transform=step)
    d.ok(DATA + "Dataset.__getitem__", data, 0)
    d.ok(CALL, d.ok(V + "RandomCrop", 6), d.share(torch.ones(1, 8, 8)))
    assert next_number(d)[0] == "public"


def test_a_private_place_in_a_data_set_that_draws_nothing_leaves_it_public() -> None:
    d = Driver()
    data = d.ok(DATA + "TensorDataset", d.share(torch.arange(6.0)))
    d.run(DATA + "Dataset.__getitem__", data, d.ok("python.Int", d.share(torch.tensor(2))))
    assert next_number(d)[0] == "public"
