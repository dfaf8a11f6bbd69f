"""Private ints that no int64 holds, beside tensors: torch refuses them, and that shows nowhere.

An int can be scaled before, by any power of two, so whether it overflows would tell every digit.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from duet_p2p.surface.table import TABLE
from duet_p2p.wire.values import Ref
from tests.security.other_data_sets import Holder, Kept
from tests.security.test_soundness import told

T = "torch.Tensor."
N = Ref(-1)
OPERATORS = [
    T + f"__{name}__" for name in (
        "add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "floordiv",
        "rfloordiv", "mod", "rmod", "pow", "rpow", "eq", "ne", "lt", "le", "gt", "ge", "and", "or",
        "xor", "lshift", "rshift", "rlshift", "iadd", "isub", "imul", "ifloordiv", "ipow", "iand",
    ) if T + f"__{name}__" in TABLE
]  # fmt: skip
FUNCTIONS = ["torch.add", "torch.gt", "torch.eq", "torch.bitwise_and", T + "mul_", T + "fill_"]


LISTS: dict[str, Callable[[Holder], Ref]] = {
    "a tensor of it": lambda d: d.run("torch.tensor", N),
    "a tensor of a list": lambda d: d.run("torch.tensor", [N, 1]),
    "of another type": lambda d: d.run("torch.tensor", [N, 1], dtype=torch.float16),
    "of a small type": lambda d: d.run("torch.tensor", [N, 1], dtype=torch.int8),
    "of a list that is there": lambda d: d.run("torch.tensor", d.run("python.collect", N, 1)),
    "of a list in a list": lambda d: d.run("torch.tensor", [[N, 1], [2, 3]]),
    "of a tuple": lambda d: d.run("torch.tensor", d.run("python.Tuple", [N, 1])),
    "of ints and floats": lambda d: d.run("torch.as_tensor", [N, 1.5]),
    "by the class": lambda d: d.run("torch.Tensor", [N, 1]),
    "a range": lambda d: d.run("python.Range", N),
    "a part of a range": lambda d: d.run(
        "python.Range.__getitem__", d.run("python.Range", 3), slice(0, N)),
}  # fmt: skip


def look(number: int, make: Callable[[Holder, Ref], Ref]) -> list[object]:
    """What shows of what is made of a private int on one of two data sets."""
    with torch.random.fork_rng(()):
        d = Holder({"n": Kept(number, "python.Int", True)})
        own = d.run("torch.ones", [6], dtype=torch.int64)
        view = d.run(T + "__getitem__", own, slice(0, 3))
        made = make(d, own)
        for fact in ("numel", "size", "dtype"):
            d.run(T + fact, made)
        d.run(T + "__getitem__", view, d.run(T + "bool", made))
        d.run(T + "__getitem__", view, made)
        d.run("python.collect", made)
        for ref in (own, view):
            d.run(T + "numel", ref)
        return [told(d), *[d.verdict(id) for id in range(1, d.next_id + 1)]]


@pytest.mark.parametrize("name", OPERATORS + FUNCTIONS)
def test_whether_an_int_overflows_beside_a_tensor_shows_nowhere(name: str) -> None:
    assert look(1, lambda d, own: d.run(name, own, N)) == look(
        1 << 70, lambda d, own: d.run(name, own, N)
    )


@pytest.mark.parametrize("number", [1 << 70, -1 << 70, 300])
@pytest.mark.parametrize("name", LISTS)
def test_whether_it_does_in_a_list_or_range_shows_nowhere(name: str, number: int) -> None:
    assert look(1, lambda d, _: LISTS[name](d)) == look(number, lambda d, _: LISTS[name](d))


def test_a_tensor_of_a_list_of_a_private_length_has_a_private_shape() -> None:
    d = Holder({"n": Kept(2, "python.Int", True)})
    listed = d.run("python.List.__getitem__", d.put([1, 2, 3]), slice(0, N))
    size = d.run(T + "numel", d.run("torch.tensor", listed))
    assert d.verdict(size.id) == ("private",)
