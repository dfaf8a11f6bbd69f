"""Recipes as text."""

from __future__ import annotations

from duet_p2p.engine.recipe import boundary, made, recipe_text
from duet_p2p.limits import RECIPE_CHARS, RECIPE_STEPS
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
    assert len(recipe_text(node)) <= RECIPE_CHARS + 1
