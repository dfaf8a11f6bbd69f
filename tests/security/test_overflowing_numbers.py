"""Private ints that no int64 holds, beside tensors: torch refuses them, and that shows nowhere.

An int can be scaled before, by any power of two, so whether it overflows would tell every digit.
"""

from __future__ import annotations

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


def look(scale: int, name: str) -> list[object]:
    """What shows of an operator on one of two data sets."""
    with torch.random.fork_rng(()):
        d = Holder({"n": Kept(1, "python.Int", True)} if not scale else
                   {"n": Kept(1 << scale, "python.Int", True)})  # fmt: skip
        own = d.run("torch.ones", [6], dtype=torch.int64)
        view = d.run(T + "__getitem__", own, slice(0, 3))
        made = d.run(name, own, N)
        for fact in ("numel", "size", "dtype"):
            d.run(T + fact, made)
        d.run(T + "__getitem__", view, d.run(T + "bool", made))
        d.run(T + "__getitem__", view, made)
        d.run("python.collect", made)
        for ref in (own, view):
            d.run(T + "numel", ref)
        return [told(d), *[d.verdict(id) for id in range(1, d.next_id + 1)]]


@pytest.mark.parametrize("name", OPERATORS + FUNCTIONS)
def test_whether_an_int_overflows_shows_nowhere(name: str) -> None:
    assert look(0, name) == look(70, name)
