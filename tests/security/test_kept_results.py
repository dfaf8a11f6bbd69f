"""What an object works out of its parts while they are private, and keeps for when they are not.

torch's distributions keep ``probs`` of ``logits`` and the like once they were read. An own tensor
held the data for a moment, the distribution was asked for anything, and the tensor was written
over: what was kept was public. Each program is run twice, with the data in between and without; all
that is free afterwards is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from duet_p2p.owner import tick
from duet_p2p.surface.distributions import NAMES
from duet_p2p.wire import messages as wire
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, against

T, D, OPT = "torch.Tensor.", "torch.distributions.", "torch.optim."
SECRET = torch.tensor([0.25, 0.75])
READ = ("concentration", "loc", "logits", "mean", "mode", "probs", "rate", "scale", "stddev",
        "variance", "entropy")  # fmt: skip
Made = Callable[[RawPeer, Ref], list[Ref]]
"""Distributions of an own tensor of two numbers, the outermost last."""


def law(name: str, *given: object, **more: object) -> Made:
    """One whose parameters are the tensor where `given` says so."""

    def made(p: RawPeer, own: Ref) -> list[Ref]:
        of = {"own": lambda: own, "row": lambda: p.op(T + "view", own, 2, 1),
              "one": lambda: p.op(T + "narrow", own, 0, 0, 1),
              "matrix": lambda: p.op("torch.diag_embed", own),
              "half": lambda: p.put(torch.tensor(0.5))}  # fmt: skip
        args = [of[each]() if isinstance(each, str) else each for each in given]
        named = {key: of[e]() if isinstance(e, str) else e for key, e in more.items()}
        return [p.op(D + name, *args, **named)]

    return made


def around(name: str, inner: list[Made], *given: object) -> Made:
    def made(p: RawPeer, own: Ref) -> list[Ref]:
        parts = [part(p, own)[-1] for part in inner]
        return [*parts, p.op(D + name, *parts, *given)]

    return made


def both(*ways: Made) -> Made:
    return lambda p, own: [ref for way in ways for ref in way(p, own)]


def chances(name: str, *given: object) -> Made:
    """Made of logits, and of chances."""
    return both(law(name, *given, logits="own"), law(name, *given, probs="own"))


LAWS: dict[str, Made] = {
    **{name: law(name, "own", "own") for name in str.split(
        "Beta Cauchy FisherSnedecor Gamma Gumbel InverseGamma Kumaraswamy Laplace LogNormal "
        "LogisticNormal Normal Pareto VonMises Weibull")},
    **{name: law(name, "own") for name in str.split(
        "Chi2 Dirichlet Exponential HalfCauchy HalfNormal Poisson StudentT")},
    **{name: chances(name) for name in str.split(
        "Bernoulli Categorical ContinuousBernoulli Geometric OneHotCategorical "
        "OneHotCategoricalStraightThrough")},
    **{name: chances(name, 3) for name in ("Binomial", "Multinomial", "NegativeBinomial")},
    **{name: chances(name, "half") for name in ("RelaxedBernoulli", "RelaxedOneHotCategorical")},
    "GeneralizedPareto": law("GeneralizedPareto", "own", "own", "own"),
    "Uniform": law("Uniform", "own", 2.0),
    "LKJCholesky": law("LKJCholesky", 2, "one"),
    "Independent": around("Independent", [law("Bernoulli", logits="own")], 1),
    "MixtureSameFamily": around(
        "MixtureSameFamily", [law("Categorical", logits="own"), law("Bernoulli", logits="own")]),
    "MultivariateNormal": both(law("MultivariateNormal", "own", covariance_matrix="matrix"),
                               law("MultivariateNormal", "own", precision_matrix="matrix")),
    "LowRankMultivariateNormal": law("LowRankMultivariateNormal", "own", "row", "own"),
    "Wishart": law("Wishart", 3.0, covariance_matrix="matrix"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def without_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "TIMED_TICK_SECONDS", 0.001)


def touched(p: RawPeer, made: Ref) -> None:
    """Whatever it may work out, it does."""
    for name in READ:
        p.op(f"{D}Distribution.{name}", made)
    for name in ("sample", "rsample"):
        drawn = p.op(f"{D}Distribution.{name}", made)
        p.op(D + "Distribution.log_prob", made, drawn)
    for name in ("log_prob", "cdf", "icdf"):
        p.op(f"{D}Distribution.{name}", made, p.put(torch.tensor([0.5, 0.5])))
    p.op(D + "kl_divergence", made, made)


def read(p: RawPeer, made: Ref) -> list[Ref]:
    refs = [p.op(f"{D}Distribution.{name}", made) for name in READ]
    half = p.put(torch.tensor([0.5, 0.5]))
    refs += [p.op(f"{D}Distribution.{name}", made, half) for name in ("log_prob", "cdf", "icdf")]
    return [*refs, p.op(D + "kl_divergence", made, made)]


def written(p: RawPeer, own: Ref, *, is_private: bool) -> None:
    p.do(T + "copy_", own, Ref(-1) if is_private else p.put(torch.tensor([0.5, 0.5])))


def answers(name: str, *, is_private: bool, is_late: bool) -> Iterator[wire.Message]:
    with against({"x": SECRET}) as (_, raw):
        own = raw.put(torch.tensor([0.5, 0.5]))
        if not is_late:
            written(raw, own, is_private=is_private)
        laws = LAWS[name](raw, own)
        if is_late:
            written(raw, own, is_private=is_private)
        for made in reversed(laws):
            touched(raw, made)
        written(raw, own, is_private=False)
        for made in laws:
            for ref in read(raw, made):
                yield raw.get(ref)


def test_each_distribution_is_here() -> None:
    assert set(LAWS) == set(NAMES)


QUICK = {"Bernoulli", "VonMises", "Independent", "MixtureSameFamily", "MultivariateNormal"}
EACH = [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in LAWS]


@pytest.mark.parametrize("is_late", [True, False])
@pytest.mark.parametrize("name", EACH)
def test_what_a_distribution_was_in_between_shows_nowhere(name: str, is_late: bool) -> None:
    with_it = list(answers(name, is_private=True, is_late=is_late))
    without = list(answers(name, is_private=False, is_late=is_late))
    values = [message for message in without if isinstance(message, wire.Value)]
    assert values  # something of it can be read
    for one, other in zip(with_it, without, strict=True):
        if isinstance(one, wire.Value):
            assert isinstance(other, wire.Value)
            assert encode_message(one) == encode_message(other)
