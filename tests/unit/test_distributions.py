"""Distributions through pointers, compared with local ones."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from duet_p2p.surface.distributions import NAMES

from .scientist_kit import Pair, pair

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with pair() as made:
        yield made


def positive() -> torch.Tensor:
    return torch.tensor([0.5, 1.5, 2.5])


def probs() -> torch.Tensor:
    return torch.tensor([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])


def matrix() -> torch.Tensor:
    return torch.tensor([[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 3.0]])


MADE: dict[str, Callable[[Any, Callable[[torch.Tensor], Any]], Any]] = {
    "Bernoulli": lambda d, s: d.Bernoulli(s(probs())),
    "Binomial": lambda d, s: d.Binomial(5, s(probs())),
    "Categorical": lambda d, s: d.Categorical(s(probs())),
    "ContinuousBernoulli": lambda d, s: d.ContinuousBernoulli(s(probs())),
    "Dirichlet": lambda d, s: d.Dirichlet(s(positive())),
    "Geometric": lambda d, s: d.Geometric(s(probs())),
    "Independent": lambda d, s: d.Independent(d.Normal(s(positive()), s(positive())), 1),
    "LKJCholesky": lambda d, s: d.LKJCholesky(3, 1.5),
    "LowRankMultivariateNormal": lambda d, s: d.LowRankMultivariateNormal(
        s(positive()), s(matrix()[:, :1]), s(positive())
    ),
    "MixtureSameFamily": lambda d, s: d.MixtureSameFamily(
        d.Categorical(s(positive())), d.Normal(s(positive()), s(positive()))
    ),
    "Multinomial": lambda d, s: d.Multinomial(4, s(probs())),
    "MultivariateNormal": lambda d, s: d.MultivariateNormal(s(positive()), s(matrix())),
    "NegativeBinomial": lambda d, s: d.NegativeBinomial(5, s(probs())),
    "OneHotCategorical": lambda d, s: d.OneHotCategorical(s(probs())),
    "OneHotCategoricalStraightThrough": lambda d, s: d.OneHotCategoricalStraightThrough(s(probs())),
    "RelaxedBernoulli": lambda d, s: d.RelaxedBernoulli(s(torch.tensor(2.0)), s(probs())),
    "RelaxedOneHotCategorical": lambda d, s: d.RelaxedOneHotCategorical(
        s(torch.tensor(2.0)), s(probs())
    ),
    "Uniform": lambda d, s: d.Uniform(s(positive()), s(positive() + 1)),
    "Wishart": lambda d, s: d.Wishart(s(torch.tensor(4.0)), s(matrix())),
}
for _name in ["Chi2", "Exponential", "HalfCauchy", "HalfNormal", "Poisson", "StudentT"]:
    MADE[_name] = lambda d, s, n=_name: getattr(d, n)(s(positive()))


def make(name: str, d: Any, s: Callable[[torch.Tensor], Any]) -> Any:
    if name in MADE:
        return MADE[name](d, s)
    if name == "GeneralizedPareto":
        return d.GeneralizedPareto(s(positive()), s(positive()), s(torch.tensor(0.1)))
    return getattr(d, name)(s(positive()), s(positive()))


@pytest.mark.parametrize("name", NAMES)
def test_samples_and_densities_are_those_of_a_local_distribution(both: Pair, name: str) -> None:
    both.owner.failures.clear()
    local = make(name, torch.distributions, lambda tensor: tensor)
    remote = make(name, both.duet.torch.distributions, both.duet.send)
    torch.manual_seed(1)
    expected = local.sample((2,))
    both.duet.torch.manual_seed(1)
    got = remote.sample((2,))
    torch.testing.assert_close(both.value(got), expected)
    torch.testing.assert_close(both.value(remote.log_prob(got)), local.log_prob(expected))
    for short in ("mean", "variance", "stddev", "mode"):
        try:
            known = getattr(local, short)
        except NotImplementedError:
            continue
        torch.testing.assert_close(both.value(getattr(remote, short)), known, equal_nan=True)
    for short in ("entropy", "cdf", "icdf"):
        given = () if short == "entropy" else (expected.clamp(0.2, 0.8),)
        try:
            known = getattr(local, short)(*given)
        except (NotImplementedError, ValueError):
            continue
        answer = getattr(remote, short)(*map(both.duet.send, given))
        torch.testing.assert_close(both.value(answer), known, equal_nan=True)
    assert both.value(remote.batch_shape) == local.batch_shape
    assert both.owner.failures == []


def test_divergence_and_gradients_through_a_sample(both: Pair) -> None:
    rt = both.duet.torch
    mean = rt.zeros(3, requires_grad=True)
    normal = rt.distributions.Normal(mean, rt.ones(3))
    other = rt.distributions.Normal(rt.ones(3), rt.ones(3))
    rt.distributions.kl_divergence(normal, other).sum().backward()
    assert both.value(mean.grad).tolist() == [-1.0] * 3
    normal.rsample((4,)).sum().backward()
    assert both.value(mean.grad).tolist() == [3.0] * 3


@pytest.mark.parametrize(
    "use",
    [
        lambda rt: rt.distributions.Normal(0.0, 1.0).sample((10**6, 10**6)),
        lambda rt: rt.distributions.Normal(rt.zeros(9).expand(10**9, 9), 1.0),
        lambda rt: rt.distributions.LKJCholesky(10**6),
        lambda rt: rt.distributions.Multinomial(10**9, rt.ones(3)).sample((10,)),
        lambda rt: rt.distributions.Normal(rt.zeros(10**6, 1), rt.ones(10**6)),
    ],
)
def test_sizes_are_admitted_before_anything_is_made(both: Pair, use: Any) -> None:
    both.owner.failures.clear()
    use(both.duet.torch)
    both.settle()
    assert both.owner.failures[0].code == "QuotaExceeded"


def test_parameters_are_validated_even_if_the_caller_says_no(both: Pair) -> None:
    both.owner.failures.clear()
    rt = both.duet.torch
    bad = rt.tensor([float("nan")])
    rt.distributions.VonMises(bad, bad, validate_args=False).sample()
    both.settle()
    assert both.owner.failures[0].op == "torch.distributions.VonMises"
    fine = rt.distributions.Uniform(0.0, 1.0, validate_args=False)
    assert both.value(fine.log_prob(rt.tensor([2.0]))).item() == float("-inf")
