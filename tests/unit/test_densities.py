"""Densities of the owner's records: numbers, gradients, and what the owner reads of their sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import distributions
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from duet_p2p.surface.distributions import NAMES
from tests.unit.scientist_kit import Pair, pair
from tests.unit.test_distributions import make

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

N = 40
CLOSED = frozenset({
    "ContinuousBernoulli", "LKJCholesky", "LowRankMultivariateNormal", "Wishart",
})  # fmt: skip
"""Their code asks for values, is of one matrix, or writes within a matrix of each record."""
NO_ENTROPY = frozenset({
    *CLOSED, "Binomial", "FisherSnedecor", "LogisticNormal", "MixtureSameFamily", "Multinomial",
    "NegativeBinomial", "Poisson", "RelaxedBernoulli", "RelaxedOneHotCategorical", "VonMises",
})  # fmt: skip
"""Torch has none of them either, or takes values to work out how many there are."""


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with pair() as made:
        yield made


def of_each(tensor: torch.Tensor) -> torch.Tensor:
    """The same parameter for each record, nearly."""
    if not tensor.ndim:
        return tensor
    return tensor.expand(N, *tensor.shape) * 1.0


def made(both: Pair, name: str) -> tuple[Any, Any, Any]:
    """A distribution of each record here and there, and records that it could have given."""
    torch.manual_seed(1)
    local = make(name, torch.distributions, of_each)
    remote = make(
        name, both.duet.torch.distributions,
        lambda t: both.share(of_each(t)) if t.ndim else both.duet.send(t),
    )  # fmt: skip
    return local, remote, local.sample()


@pytest.mark.parametrize("name", sorted(set(NAMES) - CLOSED))
def test_a_mean_of_densities_is_an_aggregate_of_all_records(both: Pair, name: str) -> None:
    both.owner.failures.clear()
    local, remote, drawn = made(both, name)
    densities = remote.log_prob(both.share(drawn))
    assert densities.shape == local.log_prob(drawn).shape
    torch.testing.assert_close(both.value(densities), local.log_prob(drawn))
    assert both.label(densities.mean()) == ("aggregate", N, False)
    if name not in NO_ENTROPY:
        torch.testing.assert_close(both.value(remote.entropy()), local.entropy())
        assert both.label(remote.entropy().sum()) == ("aggregate", N, False)
    assert both.owner.failures == []


@pytest.mark.parametrize("name", sorted(CLOSED))
def test_the_others_are_worked_out_over_there(both: Pair, name: str) -> None:
    local, remote, drawn = made(both, name)
    densities = remote.log_prob(both.share(drawn))
    torch.testing.assert_close(both.value(densities), local.log_prob(drawn))
    assert both.label(densities.mean())[:2] == ("per_record", 1)


FAMILIES: dict[str, Callable[[Any], Any]] = {
    "Normal": lambda s: Normal(s(torch.rand(N, 3)), s(torch.rand(N, 3) + 1)),
    "Independent": lambda s: Independent(Normal(s(torch.rand(N, 3)), s(torch.ones(N, 3))), 1),
    "Categorical": lambda s: Categorical(logits=s(torch.rand(N, 3))),
    "Bernoulli": lambda s: distributions.Bernoulli(s(torch.rand(N, 3) / 2 + 0.1)),
    "Gamma": lambda s: distributions.Gamma(s(torch.rand(N, 3) + 1), s(torch.rand(N, 3) + 1)),
    "Beta": lambda s: distributions.Beta(s(torch.rand(N, 3) + 1), s(torch.rand(N, 3) + 1)),
    "Exponential": lambda s: distributions.Exponential(s(torch.rand(N, 3) + 1)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_divergences_of_each_record_too(both: Pair, name: str) -> None:
    torch.manual_seed(2)
    here = FAMILIES[name](lambda t: t), FAMILIES[name](lambda t: t)
    torch.manual_seed(2)
    there = FAMILIES[name](both.share), FAMILIES[name](both.share)
    found = kl_divergence(*there)
    torch.testing.assert_close(both.value(found), kl_divergence(*here))
    assert both.label(found.mean()) == ("aggregate", N, False)


def test_an_encoders_divergence_and_noise(both: Pair) -> None:
    rt = both.duet.torch
    x = both.share(torch.rand(N, 3))
    weight = torch.rand(2, 3).send(both.duet).requires_grad_()
    posterior = Normal(rt.nn.functional.linear(x, weight), torch.ones(2))
    divergence = kl_divergence(posterior, Normal(torch.zeros(2), torch.ones(2))).sum(1).mean()
    assert both.label(divergence) == ("aggregate", N, False)
    divergence.backward()
    assert both.label(weight.grad) == ("aggregate", N, False)
    latent = posterior.rsample()
    assert latent.shape == (N, 2)
    assert both.label(latent.mean()) == ("aggregate", N, True)  # a seed is no secret
    latent.sum().backward()
    assert both.label(weight.grad)[2]


def test_one_parameter_for_all_records_is_trained_by_a_sum_over_them(both: Pair) -> None:
    x, drawn = torch.rand(N, 3), torch.rand(N, 3)
    spread, sigma = torch.ones(3, requires_grad=True), torch.full((), 0.5, requires_grad=True)
    there = [t.detach().send(both.duet).requires_grad_() for t in (spread, sigma)]
    y = both.share(drawn)
    remote = [Normal(both.share(x), there[0]), Normal(there[1], there[0])]
    local = [Normal(x, spread), Normal(sigma, spread)]
    for one, other in zip(local, remote, strict=True):
        for _ in range(2):  # of torch's own the graph is there a second time
            one.log_prob(drawn).mean().backward()
            other.log_prob(y).mean().backward()
    for mine, theirs in ((spread, there[0]), (sigma, there[1])):
        torch.testing.assert_close(both.value(theirs.grad), mine.grad)
        assert both.label(theirs.grad) == ("aggregate", N, False)


def test_what_is_written_to_a_parameter_later_counts(both: Pair) -> None:
    spread = torch.ones(3).send(both.duet)
    remote = Normal(both.duet.torch.zeros(2, 3), spread)
    spread.mul_(2)
    expected = Normal(torch.zeros(2, 3), 2 * torch.ones(3)).log_prob(torch.ones(2, 3))
    torch.testing.assert_close(both.value(remote.log_prob(torch.ones(2, 3))), expected)
    torch.testing.assert_close(both.value(remote.scale), 2 * torch.ones(2, 3))


def test_parameters_are_those_that_were_given(both: Pair) -> None:
    mean = both.share(torch.rand(N, 3))
    remote = Normal(mean, torch.ones(3))
    assert both.label(remote.mean.sum()) == ("aggregate", N, False)
    assert both.label(remote.variance.sum()) == ("aggregate", N, False)
    chances = Categorical(both.share(torch.rand(N, 3))).probs
    assert both.label(chances.mean(0)) == ("aggregate", N, False)


def test_a_sample_is_the_one_that_torch_draws(both: Pair) -> None:
    for family, args in ((Normal, (0.5, 2.0)), (distributions.Uniform, (0.5, 2.0))):
        given = [torch.full((4, 3), value) for value in args]
        remote = family(*(both.duet.send(t) for t in given))
        for shape in ((), (2,), torch.Size((2, 2))):
            torch.manual_seed(3)
            both.duet.torch.manual_seed(3)
            expected = family(*given).rsample(shape)
            torch.testing.assert_close(both.value(remote.rsample(shape)), expected)


def test_records_as_samples_of_one_distribution(both: Pair) -> None:
    """Maximum likelihood: the parameters are the scientist's, the records are drawn from it."""
    heights = both.share(torch.rand(N))
    fitted = Normal(torch.zeros(()).send(both.duet).requires_grad_(), 1.0)
    assert both.label(fitted.log_prob(heights).mean()) == ("aggregate", N, False)
    classes = both.share(torch.arange(N) % 3)
    chances = Categorical(torch.ones(3).send(both.duet))
    assert both.label(chances.log_prob(classes).sum()) == ("aggregate", N, False)


def test_a_distribution_of_this_side_is_a_formula_too(both: Pair) -> None:
    drawn = torch.rand(N, 3)
    x = both.share(drawn)
    for prior in (Normal(0.0, 1.5), Normal(torch.zeros(3), torch.ones(1)),
                  distributions.Bernoulli(torch.full((3,), 0.3)), Independent(Normal(0.5, 1.0), 0),
                  distributions.LogNormal(torch.zeros(3), torch.ones(3))):  # fmt: skip
        y, there = (drawn > 0.5).float(), (x > 0.5).float()
        y, there = (y, there) if isinstance(prior, distributions.Bernoulli) else (drawn, x)
        found: Any = prior.log_prob(there)
        torch.testing.assert_close(both.value(found), prior.log_prob(y))
        assert both.label(found.mean()) == ("aggregate", N, False)
    classes: Any = torch.arange(N) % 3
    found = Categorical(torch.ones(3)).log_prob(both.share(classes))
    assert both.label(found.mean()) == ("aggregate", N, False)
    some = both.share(drawn[:, 0])
    some = some[some > 0.5]
    found = distributions.Bernoulli(torch.tensor(0.3)).log_prob((some > 0.7).float())
    assert both.label(found.mean())[0] == "per_record"
    with pytest.raises(ValueError, match="support"):
        distributions.Bernoulli(0.5).log_prob(torch.tensor(0.5))


def test_what_tells_records_apart_is_no_aggregate(both: Pair) -> None:
    x = both.share(torch.rand(N, 3))
    spread = torch.full((N, 1), 1e6)
    spread[5] = 1e-3
    weighted = Normal(x, spread.send(both.duet)).log_prob(torch.zeros(N, 3))
    assert both.label(weighted.sum()) == ("aggregate", N, True)
    across = Categorical(both.share(torch.rand(3, N)).t())  # the records are the classes
    assert both.label(across.log_prob(torch.zeros(N)).sum())[0] == "per_record"
    mixed = Independent(Normal(x, torch.ones(3)), 2)
    assert both.label(mixed.log_prob(x)) == ("aggregate", N, False)
    assert both.label(Normal(x, 1.0).log_prob(x.flip(0)).mean())[0] == "per_record"


def test_with_validation_it_is_over_there(both: Pair) -> None:
    both.owner.failures.clear()
    wrong = Normal(both.share(torch.zeros(N)), -1.0, validate_args=True)
    wrong.log_prob(torch.zeros(N))
    both.settle()
    assert [failure.op for failure in both.owner.failures] == ["torch.distributions.Normal"]


def test_hidden_sizes_are_worked_out_over_there(both: Pair) -> None:
    x = both.share(torch.rand(N))
    some = x[x > 0.5]
    density = Normal(some, 1.0).log_prob(some)
    assert both.label(density.mean())[0] == "per_record"
    assert both.value(density).shape == both.value(some).shape
