"""Recipes as text."""

from __future__ import annotations

import pytest

from duet_p2p.engine.recipe import boundary, made, recipe_text
from duet_p2p.limits import RECIPE_CHARS, RECIPE_STEPS
from duet_p2p.objects.words import clean_text
from duet_p2p.wire.values import Dtype, Ref, TensorData


def test_readable_code_oldest_first():
    x, w = boundary("store['ages']"), boundary("parameter")
    a = made("torch.Tensor.float", (Ref(-1),), {}, {-1: x})
    b = made("torch.Tensor.__radd__", (Ref(1), 2), {}, {1: a})
    c = made("torch.nn.functional.linear", (Ref(2), Ref(3)), {}, {2: b, 3: w})
    d = made("torch.sum", (Ref(4),), {"dtype": Dtype("float64")}, {4: c})
    assert recipe_text(d).split("\n") == [
        "v2 = store['ages'].float()",
        "v3 = 2 + v2",
        "v4 = torch.nn.functional.linear(v3, parameter)",
        "torch.sum(v4, dtype=torch.float64)",
    ]


def test_boundaries_and_unknown_objects():
    assert recipe_text(boundary("batch")) == "batch"
    assert recipe_text(None) == ""
    node = made("torch.add", (Ref(8), TensorData("float32", (2,), b"")), {}, {})
    assert recipe_text(node) == "torch.add(object 8, <float32 tensor (2,) of the scientist>)"


def test_a_long_chain_is_cut_and_does_not_grow_for_ever():
    node = boundary("store['x']")
    first = node
    for _ in range(10 * RECIPE_STEPS):
        node = made("torch.Tensor.__iadd__", (Ref(1), 1), {}, {1: node})
    text = recipe_text(node)
    assert text.startswith("# … earlier operations left out") and len(text) <= RECIPE_CHARS + 1
    count, seen = 0, node
    while seen.inputs:
        (seen,) = seen.inputs.values()
        count += 1
    assert count <= 2 * RECIPE_STEPS
    assert seen is not first


def test_a_text_is_bounded():
    node = made("torch.add", tuple(["x" * 70] * 16 + [list(range(16))] * 200), {}, {})
    text = recipe_text(node)
    assert len(text) == RECIPE_CHARS and text.startswith("…") and text.endswith("15])")
    assert clean_text(text, RECIPE_CHARS) == text  # its end is what was done last


T = "torch.Tensor."
FUNCTIONAL = "torch.nn.functional."
AS_WRITTEN = [
    (T + "__getitem__", (Ref(1), (slice(None), None)), {}, "store['x'][:, None]"),
    (T + "__getitem__", (Ref(1), slice(2, None, 3)), {}, "store['x'][2::3]"),
    (T + "__getitem__", (Ref(1), (slice(None, 4),)), {}, "store['x'][:4,]"),
    (T + "__getitem__", (Ref(1), ()), {}, "store['x'][()]"),
    (T + "__setitem__", (Ref(1), (slice(None), 0), 1.5), {}, "store['x'][:, 0] = 1.5"),
    (T + "__invert__", (Ref(1),), {}, "~store['x']"),
    (T + "__neg__", (Ref(1),), {}, "-store['x']"),
    (T + "T", (Ref(1),), {}, "store['x'].T"),
    (T + "t", (Ref(1),), {}, "store['x'].t()"),
    (
        FUNCTIONAL + "mse_loss",
        (Ref(1), 0.5),
        {"size_average": None, "reduce": None, "reduction": "mean", "weight": None},
        FUNCTIONAL + "mse_loss(store['x'], 0.5)",
    ),
    (
        FUNCTIONAL + "mse_loss",
        (Ref(1), 0.5),
        {"reduction": "sum", "reduce": True},
        FUNCTIONAL + "mse_loss(store['x'], 0.5, reduction='sum', reduce=True)",
    ),
    (
        FUNCTIONAL + "dropout",
        (Ref(1),),
        {"p": 0.5, "training": True, "inplace": False},
        FUNCTIONAL + "dropout(store['x'], p=0.5, training=True)",
    ),
    # a number of another type is another argument
    (
        FUNCTIONAL + "cross_entropy",
        (Ref(1), Ref(1)),
        {"ignore_index": -100.0, "label_smoothing": 0.0},
        FUNCTIONAL + "cross_entropy(store['x'], store['x'], ignore_index=-100.0)",
    ),
    ("torch.optim.Adam", ([Ref(1)],), {"lr": 0.001}, "torch.optim.Adam([store['x']], lr=0.001)"),
]


@pytest.mark.parametrize(("op", "args", "kwargs", "text"), AS_WRITTEN)
def test_it_is_as_people_write_it_and_leaves_out_what_is_so_anyway(op, args, kwargs, text):
    assert recipe_text(made(op, args, kwargs, {1: boundary("store['x']")})) == text


def test_what_is_left_out_has_no_number_of_an_object():
    node = boundary("store['x']")
    for _ in range(RECIPE_STEPS + 1):
        node = made(T + "add", (Ref(1), Ref(2)), {}, {1: node, 2: boundary("store['y']")})
    first, *_ = [line for line in recipe_text(node).splitlines() if line.startswith("v")]
    assert "….add(" in recipe_text(node) and "object" not in recipe_text(node), first
