"""Whether a distribution could be made does not show in what it was made of.

Some classes hold views of their parameters and some hold copies. What a private number chooses, or
leaves out, marks all that lies in it: the former are marked and the latter are not, whether the
distribution is there or not.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

import pytest
import torch

from duet_p2p.engine.lineage import reach, storage_of
from duet_p2p.engine.missing_distributions import COPIED
from duet_p2p.surface.distributions import NAMES
from duet_p2p.wire.values import Ref
from tests.security.test_soundness import WHOLE, Seen, T, V, X, told

DIST = "torch.distributions."
LIST = "python.List."
EITHER: Final = ("probs", "logits", "covariance_matrix", "precision_matrix", "scale_tril")
"""Parameters of which a distribution takes one."""


def number(d: Seen) -> Ref:
    return d.run("python.Int", d.run(T + "__getitem__", WHOLE, 0))


def box(d: Seen, *parts: Any) -> Ref:
    return d.run("python.collect", *parts)


WAYS: dict[str, Callable[[Seen, Ref], Any]] = {
    "a place that is set": lambda d, made: d.run(
        LIST + "__setitem__", box(d, X, 1), made, X, outs=0
    ),
    "a place that is deleted": lambda d, made: d.run(
        LIST + "__delitem__", box(d, X, 1), made, outs=0
    ),
    "a key": lambda d, made: d.run(
        "python.Dict.__setitem__", d.run("python.Dict"), made, 1, outs=0
    ),
    "a count": lambda d, made: d.run(LIST + "__mul__", box(d, X, 1), made),
    "an element": lambda d, made: d.run(LIST + "__getitem__", box(d, made, 1), number(d)),
    "an element that is left out": lambda d, made: d.run(
        LIST + "__delitem__", box(d, made, 1), number(d), outs=0
    ),
    "a default": lambda d, made: d.run(
        "python.Dict.dict_get", d.run("python.Dict"), number(d), made
    ),
    "put into one of two lists": lambda d, made: d.run(
        LIST + "append",
        d.run(LIST + "__getitem__", box(d, box(d, 1), box(d, 2)), number(d)), made,
    ),
}  # fmt: skip
MADE: dict[str, Callable[[Seen, Ref, Ref], Ref]] = {
    "Beta": lambda d, own, p: d.run(DIST + "Beta", p, own),
    "Beta by name": lambda d, own, p: d.run(DIST + "Beta", concentration0=own, concentration1=p),
    "Normal": lambda d, own, p: d.run(DIST + "Normal", own, p),
    "Gamma": lambda d, own, p: d.run(DIST + "Gamma", p, own),
    "Categorical": lambda d, own, p: d.run(DIST + "Categorical", p),
    "Chi2": lambda d, own, p: d.run(DIST + "Chi2", p),
    "ContinuousBernoulli": lambda d, own, p: d.run(DIST + "ContinuousBernoulli", p),
    "Multinomial": lambda d, own, p: d.run(DIST + "Multinomial", 3, p),
    "OneHotCategorical": lambda d, own, p: d.run(DIST + "OneHotCategorical", p),
    "RelaxedOneHotCategorical": lambda d, own, p: d.run(
        DIST + "RelaxedOneHotCategorical", own, p
    ),
    "Independent": lambda d, own, p: d.run(
        DIST + "Independent", d.run(DIST + "Beta", p, own), 1
    ),
}  # fmt: skip


class InMode(Seen):
    """An engine that is given commands in a mode of gradients, which can be changed."""

    now = "g"

    def run(self, name: str, *args: Any, outs: int = 1, mode: str = "", **kwargs: Any) -> Any:
        return super().run(name, *args, outs=outs, mode=mode or self.now, **kwargs)


def labels(d: Seen) -> list[Any]:
    """Of all that an ID names and that is a tensor in the store."""
    found = [(id, d.look(id)) for id in range(1, d.next_id + 1)]
    return [(id, d.engine.lineage.label(v)) for id, v in found if isinstance(v, torch.Tensor)]


@pytest.mark.parametrize(
    ("mode", "wants_gradient"),
    [
        ("g", True),
        pytest.param("g", False, marks=pytest.mark.slow),
        pytest.param("n", True, marks=pytest.mark.slow),
        pytest.param("i", True, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", MADE)
def test_what_a_distribution_was_to_be_made_of_tells_not_that_it_failed(
    name: str, mode: str, wants_gradient: bool
) -> None:
    whole, v = torch.zeros(6, dtype=torch.int64), torch.full((6,), 0.5)
    wrong = torch.tensor([-0.5, *[0.5] * 5])
    for way, take in WAYS.items():
        seen = []
        for values, index in ((v, whole), (wrong, whole - 9)):
            d = InMode({"x": torch.ones(6, 4), "v": values, "i": index, "b": whole > 0})
            own = d.run("torch.full", [6], 2.0, requires_grad=wants_gradient)
            other = d.run("torch.full", [6], 1.0, requires_grad=wants_gradient)
            private = d.run("torch.mul", V, other)
            d.now = mode
            take(d, MADE[name](d, own, private))
            d.now = "g"
            d.run("torch.add", own, 1)
            d.run("torch.add", other, 1)
            d.run("torch.add", private, 1)
            d.run(T + "backward", d.run("torch.sum", d.run("torch.mul", own, other)), outs=0)
            d.run("torch.add", d.run(T + "grad", own), 1)
            seen.append(d)
        first, second = seen
        assert told(first) == told(second), way
        assert labels(first) == labels(second), way
        for id in range(1, first.next_id + 1):
            assert first.verdict(id) == second.verdict(id), (way, id)


def parameters(made: Any, chosen: str | None) -> dict[str, Any]:
    """Arguments that a distribution takes, each tensor with numbers of its own."""
    eye = torch.eye(3)
    known: dict[str, Any] = {
        "total_count": 3, "dim": 3, "cov_factor": torch.ones(3, 2), "df": torch.tensor(5.0),
        "temperature": torch.tensor(1.0), "concentration": torch.ones(3), "high": torch.ones(3),
        **{name: eye.clone() for name in EITHER[2:]},
    }  # fmt: skip
    named = [p for p in inspect.signature(made).parameters if p not in ("validate_args", "lims")]
    named = [p for p in named if p not in EITHER or p == chosen]
    return {p: known.get(p, torch.full((3,), 0.5)) for p in named}


HOLDING: Final = ("Independent", "MixtureSameFamily")
"""They are made of distributions, which they hold themselves."""


@pytest.mark.parametrize("name", [name for name in NAMES if name not in HOLDING])
def test_which_parameters_are_copied_is_what_torch_does(name: str) -> None:
    kind, copied = getattr(torch.distributions, name), COPIED.get(name, ())
    named = list(inspect.signature(kind).parameters)
    for chosen in [p for p in named if p in EITHER] or [None]:
        given = parameters(kind, chosen)
        parts = [p for p in reach(kind(**given)) if isinstance(p, torch.Tensor)]
        held = {storage_of(part)._cdata for part in parts}
        for key, value in given.items():
            if isinstance(value, torch.Tensor):
                is_copied = storage_of(value)._cdata not in held
                assert (key in copied, named.index(key) in copied) == (is_copied,) * 2, key
