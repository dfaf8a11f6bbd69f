"""Statistics and losses as people write them, on an owner's records: which are aggregates of all.

What an owner's rule can accept without a look is `OPEN`; what waits for a decision, and why, is
`CLOSED`. docs/surface.md lists the latter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Categorical, Normal, kl_divergence

from tests.unit.scientist_kit import accept, pair

N = 70

Program = Callable[[Any, Any, Any, Any], Any]


def grouped(x: Any, c: Any) -> Any:
    sums = torch.zeros(4, 4).index_add(0, c, x)
    return sums / torch.zeros(4).index_add(0, c, torch.ones(N))[:, None]


def best_two(x: Any, c: Any) -> Any:
    _, guess = x.topk(2, 1, True, True)
    guess = guess.t()
    right = guess.eq(c.view(1, -1).expand_as(guess))
    return right[:2].reshape(-1).float().sum(0)


def smoothed(x: Any, c: Any) -> Any:
    target = torch.zeros_like(x)
    target.fill_(0.1 / 3)
    target.scatter_(1, c.unsqueeze(1), 0.9)
    return (-target * x.log_softmax(1)).sum(1).mean()


def with_intercept(x: Any, y: Any) -> Any:
    table = torch.cat([x, torch.ones(N, 1)], 1)
    return torch.linalg.solve(table.T @ table, table.T @ y)


def newton(x: Any, y: Any) -> Any:
    weights = torch.zeros(4)
    for _ in range(2):
        guess = (x @ weights).sigmoid()
        curve = (x * (guess * (1 - guess))[:, None]).T @ x
        weights = weights - torch.linalg.solve(curve, x.T @ (guess - y[:, 0]))
    return weights


def bayes(x: Any, c: Any) -> Any:
    ones = F.one_hot(c, 4).float()
    many = ones.sum(0)[:, None]
    mean = ones.T @ x / many
    spread = ones.T @ (x**2) / many - mean**2
    fit = -0.5 * ((x[:, None] - mean) ** 2 / spread).sum(-1)
    return (fit.argmax(1) == c).float().mean()


def thresholds(x: Any, c: Any) -> Any:
    guess, is_one = x[:, 0][:, None] >= torch.linspace(0, 1, 11), (c > 1)[:, None]
    hits, alarms = (guess & is_one).sum(0) / is_one.sum(), (guess & ~is_one).sum(0) / N
    return torch.trapezoid(hits.flip(0), alarms.flip(0))


def reliability(x: Any, c: Any) -> Any:
    sure, guess = x.softmax(1).max(1)
    right, edges, error = guess.eq(c), torch.linspace(0, 1, 6), 0.0
    for low, high in itertools.pairwise(edges.tolist()):
        mask = (sure > low) & (sure <= high)
        error = error + ((sure * mask).sum() - (right * mask).sum()).abs()
    return error / N


def discriminated(x: Any) -> Any:
    net = nn.Linear(4, 1)
    real, fake = net(x), net(torch.rand(N, 4))
    ones = torch.full((N,), 1.0)
    return F.binary_cross_entropy_with_logits(
        real.view(-1), ones
    ) + F.binary_cross_entropy_with_logits(fake, torch.zeros(N, 1))


def in_time(d: Any) -> Any:
    """Steps first, as a recurrent network has them unless it is told otherwise."""
    table, net, head = nn.Embedding(4, 5), nn.LSTM(5, 6), nn.Linear(6, 4)
    words = (d[:, :, 0] * 3.99).long().t()
    out, _ = net(table(words[:-1]))
    return F.cross_entropy(head(out).view(-1, 4), words[1:].reshape(-1))


def masked_attention(d: Any) -> Any:
    scores = (d @ d.transpose(1, 2)).masked_fill(d[:, None, :, 0] > 0.9, -1e9)
    return (scores.softmax(-1) @ d).mean()


def of_length(d: Any, c: Any) -> Any:
    mask = (torch.arange(5)[None] < (c + 1)[:, None]).float()
    return ((d * mask[:, :, None]).sum(1) / (c + 1)[:, None]).mean(0)


def put(target: Any, index: Any, value: Any) -> Any:
    target[index] = value
    return target


def penalized(x: Any) -> Any:
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
    own = x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(net(own).sum(), own, create_graph=True)
    return ((slope.norm(2, dim=1) - 1) ** 2).mean()


def salient(x: Any, c: Any) -> Any:
    own = x.detach().clone()
    own.requires_grad = True
    losses = F.cross_entropy(nn.Linear(4, 4)(own), c, reduction="none")
    (slope,) = torch.autograd.grad(losses, [own], torch.ones(N))
    return slope.abs().mean(0)


def steered(x: Any) -> Any:
    """The gradient by one's own numbers for each record."""
    own = x.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad((own**2).sum(1), own, torch.arange(N) * 1.0)
    return slope.mean()


def offset(x: Any) -> Any:
    """A number of one's own beside each record: the gradient by it is one record's."""
    own = torch.zeros_like(x).requires_grad_(True)
    (slope,) = torch.autograd.grad(((x + own) ** 2).sum(), own)
    return slope.sum()


OPEN: dict[str, Program] = {
    # counts and groups
    "a histogram between ends": lambda x, y, c, d: torch.histc(x[:, 0], 10, 0, 1),
    "sums by class": lambda x, y, c, d: torch.zeros(4, 4).index_add(0, c, x),
    "means by class": lambda x, y, c, d: grouped(x, c),
    "means by scatter": lambda x, y, c, d: torch.zeros(4).scatter_reduce(
        0, c, x[:, 0], "mean", include_self=False
    ),
    "counts by scatter": lambda x, y, c, d: torch.zeros(4).scatter_add(0, c, torch.ones(N)),
    "rows by scatter": lambda x, y, c, d: torch.zeros(N, 4).scatter_(1, c[:, None], 1.0).sum(0),
    "a table of confusions": lambda x, y, c, d: (
        torch.zeros(16).index_add(0, c * 4 + x.argmax(1), torch.ones(N)).view(4, 4)
    ),
    "a clustering": lambda x, y, c, d: torch.zeros(3, 4).index_add(
        0, ((x[:, None] - torch.rand(3, 4)[None]) ** 2).sum(-1).argmin(1), x
    ),
    "a mixture": lambda x, y, c, d: (
        (-((x[:, None] - torch.rand(2, 4)) ** 2).sum(-1)).softmax(1).T @ x
    ),
    # scores
    "accuracy": lambda x, y, c, d: (x.argmax(1) == c).float().mean(),
    "accuracy of two": lambda x, y, c, d: (
        (x.topk(2, 1).indices == c[:, None]).any(1).float().mean()
    ),
    "accuracy of two, turned": lambda x, y, c, d: best_two(x, c),
    "a curve over thresholds": lambda x, y, c, d: thresholds(x, c),
    "calibration": lambda x, y, c, d: reliability(x, c),
    "bayes": lambda x, y, c, d: bayes(x, c),
    # moments and algebra
    "correlations": lambda x, y, c, d: (
        ((x - x.mean(0)) / x.std(0)).T @ ((y - y.mean(0)) / y.std(0)) / N
    ),
    "components": lambda x, y, c, d: torch.linalg.eigh(torch.cov(x.T))[0],
    "singular values": lambda x, y, c, d: torch.linalg.svdvals(x - x.mean(0)),
    "a regression": lambda x, y, c, d: with_intercept(x, y),
    "a pseudoinverse": lambda x, y, c, d: torch.linalg.pinv(x) @ y,
    "powers of a number": lambda x, y, c, d: torch.vander(x[:, 0], 3).T @ y,
    "a logistic regression": lambda x, y, c, d: newton(x, y),
    "products of pairs": lambda x, y, c, d: torch.bmm(x[:, :, None], y[:, None]).mean(0),
    "a product over named axes": lambda x, y, c, d: torch.tensordot(x, y, ([0], [0])),
    "a distance": lambda x, y, c, d: torch.dist(x, y),
    "an inverse per record": lambda x, y, c, d: torch.linalg.inv(
        d.transpose(1, 2) @ d + torch.eye(4)
    ).mean(0),
    "a norm per record": lambda x, y, c, d: torch.linalg.norm(x, dim=1).mean(),
    # features
    "a spectrum": lambda x, y, c, d: torch.fft.rfft(x).abs().pow(2).mean(0),
    "chosen features": lambda x, y, c, d: x[:, torch.tensor([0, 2])].mean(0),
    "a feature of one's own": lambda x, y, c, d: -x.log_softmax(1)[range(N), c].mean(),
    "the last step of each": lambda x, y, c, d: d[torch.arange(N), c].mean(0),
    "weights by class": lambda x, y, c, d: (torch.rand(4)[c] * x[:, 0]).mean(),
    "up to a length": lambda x, y, c, d: of_length(d, c),
    "features by a mask": lambda x, y, c, d: x[:, torch.tensor([True, False, True, True])].mean(0),
    "features by a list of bools": lambda x, y, c, d: x[:, [True, False, False, True]].mean(0),
    "zeros where each record says so": lambda x, y, c, d: put(x.clone(), x > 0.5, 0.0).mean(0),
    "zeros in whole records": lambda x, y, c, d: put(x.clone(), c == 1, 0.0).mean(0),
    "a feature left out": lambda x, y, c, d: put(x.clone(), (slice(None), 0), 0.0).mean(0),
    "ones where records say so": lambda x, y, c, d: put(torch.zeros_like(x), x > y, 1.0).mean(0),
    "a product of three": lambda x, y, c, d: torch.linalg.multi_dot(
        [x, torch.rand(4, 5), torch.rand(5, 2)]
    ).mean(0),
    "a form of pairs": lambda x, y, c, d: torch.einsum(
        "ni,ij,nj->n", x, torch.rand(4, 4), y
    ).mean(),
    "a product over whatever is before": lambda x, y, c, d: torch.einsum(
        "...i,ij->...j", d, torch.rand(4, 2)
    ).mean(),
    "likeness to points": lambda x, y, c, d: F.cosine_similarity(
        x[:, None], torch.rand(3, 4), -1
    ).mean(0),
    "each feature twice": lambda x, y, c, d: x.repeat_interleave(2, 1).mean(0),
    "each feature with weights": lambda x, y, c, d: torch.kron(x, torch.rand(1, 3)).mean(0),
    # losses
    "a likelihood": lambda x, y, c, d: Normal(torch.zeros(4), 1.5).log_prob(x).sum(1).mean(),
    "a likelihood of classes": lambda x, y, c, d: Categorical(logits=x).log_prob(c).mean(),
    "a bonus for being unsure": lambda x, y, c, d: Categorical(logits=x).entropy().mean(),
    "a divergence": lambda x, y, c, d: kl_divergence(
        Normal(x, y.exp()), Normal(torch.zeros(4), torch.ones(4))
    ).sum(1).mean(),
    "a gradient penalty": lambda x, y, c, d: penalized(x),
    "the size of an input's gradient": lambda x, y, c, d: salient(x, c),
    "a smoothed loss": lambda x, y, c, d: smoothed(x, c),
    "a loss of two": lambda x, y, c, d: discriminated(x),
    "a spelt loss": lambda x, y, c, d: F.ctc_loss(
        d.log_softmax(2).transpose(0, 1), c.clamp(min=1)[:, None], [5] * N, [1] * N
    ),
    "steps before records": lambda x, y, c, d: in_time(d),
    "attention with a mask": lambda x, y, c, d: masked_attention(d),
    "a transformer with padding": lambda x, y, c, d: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), 1
    )(d, src_key_padding_mask=d[:, :, 0] > 0.9).mean(),
    "attention with padding": lambda x, y, c, d: nn.MultiheadAttention(4, 2, batch_first=True)(
        d, d, d, key_padding_mask=d[:, :, 0] > 0.9
    )[0].mean(),
}  # fmt: skip


@pytest.fixture(scope="module")
def scene() -> Any:
    torch.manual_seed(0)
    with pair(accept) as both:
        x, y = (both.share(torch.rand(N, 4)) for _ in range(2))
        yield both, x, y, both.share(torch.arange(N) % 4), both.share(torch.rand(N, 5, 4))


@pytest.mark.parametrize("name", OPEN)
def test_it_is_an_aggregate_of_all_records(scene: Any, name: str) -> None:
    both, *data = scene
    OPEN[name](*data).get(request_block=True)
    facts = both.owner.asked[-1][1]
    assert (facts.kind, facts.min_records, facts.injected) == ("aggregate", N, False)


def test_a_gradient_by_weights_of_ones_own_is_injected(scene: Any) -> None:
    both, x, *_ = scene
    steered(x).get(request_block=True)
    facts = both.owner.asked[-1][1]
    assert (facts.kind, facts.min_records, facts.injected) == ("aggregate", N, True)


def components(x: Any) -> Any:
    return torch.linalg.svd(x - x.mean(0), full_matrices=False)[2]


CLOSED: dict[str, Program] = {
    # one record's number
    "the median": lambda x, y, c, d: x.median(0).values,
    "a quantile": lambda x, y, c, d: torch.quantile(x, 0.5, 0),
    "the largest by class": lambda x, y, c, d: torch.zeros(4).scatter_reduce(
        0, c, x[:, 0], "amax"
    ),
    "the last by class": lambda x, y, c, d: torch.zeros(4).scatter(0, c, x[:, 0]),
    "a histogram without ends": lambda x, y, c, d: torch.histc(x[:, 0], 10),
    # a size that values decide
    "counts up to the largest": lambda x, y, c, d: torch.bincount(c, minlength=4),
    "the values that occur": lambda x, y, c, d: c.unique(),
    "a mean of some": lambda x, y, c, d: x[c == 1].mean(0),
    "a solution with its residuals": lambda x, y, c, d: torch.linalg.lstsq(x, y).solution,
    "as often as a number says": lambda x, y, c, d: x.repeat_interleave(c, 0).mean(0),
    # an order, or pairs, of records
    "each record twice": lambda x, y, c, d: x.repeat_interleave(2, 0).mean(0),
    "records crossed": lambda x, y, c, d: torch.kron(x, torch.rand(2, 1)).mean(0),
    "a running sum": lambda x, y, c, d: x.cumsum(0).mean(),
    "an area by sorting": lambda x, y, c, d: c[x[:, 0].sort().indices].cumsum(0).sum(),
    "a transform along the records": lambda x, y, c, d: torch.fft.fft(x, dim=0).abs().mean(),
    "components of the records": lambda x, y, c, d: components(x),
    "all pairs": lambda x, y, c, d: (x @ x.T).mean(),
    "a loss against the rest of the batch": lambda x, y, c, d: F.cross_entropy(
        x @ y.T, torch.arange(N)
    ),
    "the slope by numbers of one's own": lambda x, y, c, d: offset(x),
    # assignments that name records, or bring rows
    "a record left out": lambda x, y, c, d: put(x.clone(), 3, 0.0).mean(0),
    "all but some": lambda x, y, c, d: put(x.clone(), slice(1, None), 0.0).mean(0),
    "all records but those of a list": lambda x, y, c, d: put(x.clone(), [1, 2], 0.0).mean(0),
    "a mask of one's own": lambda x, y, c, d: put(x.clone(), torch.arange(N) > 0, 0.0).mean(0),
    "a row for each": lambda x, y, c, d: put(x.clone(), (slice(None), 0), y[:, 1]).mean(0),
    "a value of a record": lambda x, y, c, d: put(x.clone(), (slice(None), 0), y[3, 1]).mean(0),
    "a part that is turned": lambda x, y, c, d: put(x.clone(), x[:, 0] > y.T[0], x[3]).mean(0),
    # groups that somebody made
    "sums of one's own groups": lambda x, y, c, d: torch.zeros(4, 4).index_add(
        0, torch.arange(N) % 4, x
    ),
    "a pick of one's own": lambda x, y, c, d: x[torch.arange(N).flip(0), c].mean(),
    "a pick of one": lambda x, y, c, d: x[torch.zeros(N, dtype=torch.long), c].mean(),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOSED)
def test_it_waits_for_a_decision(scene: Any, name: str) -> None:
    both, *data = scene
    CLOSED[name](*data).get(request_block=True)
    facts = both.owner.asked[-1][1]
    assert (facts.kind, facts.min_records) == ("per_record", 1)
