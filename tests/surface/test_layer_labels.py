"""Layers and losses as people write them, on an owner's records: each sum is an aggregate.

A module calls several functions of torch, by position and by keyword, and a function with one rule
may be called through another name. So the rules are asked here through the pointers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.unit.scientist_kit import accept, pair

N = 70

Program = Callable[[Any, Any, Any], Any]
PROGRAMS: dict[str, Program] = {
    "PairwiseDistance": lambda x, y, c: nn.PairwiseDistance(1)(x, y),
    "CosineSimilarity": lambda x, y, c: nn.CosineSimilarity()(x, y),
    "GaussianNLLLoss": lambda x, y, c: nn.GaussianNLLLoss(full=True)(x, y, x.exp()),
    "GaussianNLLLoss, one variance": lambda x, y, c: nn.GaussianNLLLoss()(x, y, x.exp()[:, :1]),
    "MultiMarginLoss": lambda x, y, c: nn.MultiMarginLoss(weight=torch.ones(4))(x, c),
    "MultiLabelMarginLoss": lambda x, y, c: nn.MultiLabelMarginLoss()(x, (y * 4).long()),
    "MultiLabelSoftMarginLoss": lambda x, y, c: nn.MultiLabelSoftMarginLoss()(x, y.round()),
    "TripletMarginLoss": lambda x, y, c: nn.TripletMarginLoss(swap=True)(x, y, x * y),
    "TripletMarginWithDistanceLoss": lambda x, y, c: nn.TripletMarginWithDistanceLoss()(x, y, x),
    "CosineEmbeddingLoss": lambda x, y, c: nn.CosineEmbeddingLoss(0.1)(x, y, (c > 1) * 2 - 1),
    "MarginRankingLoss": lambda x, y, c: nn.MarginRankingLoss(0.1)(x[:, 0], y[:, 0], x[:, 1]),
    "BCEWithLogitsLoss": lambda x, y, c: nn.BCEWithLogitsLoss(pos_weight=torch.rand(4))(x, y),
    "BCELoss": lambda x, y, c: nn.BCELoss(torch.rand(4))(x.sigmoid(), y),
    "AlphaDropout": lambda x, y, c: nn.AlphaDropout(0.3)(x),
    "AlphaDropout at rest": lambda x, y, c: nn.AlphaDropout(0.3).eval()(x),
    "RReLU at rest": lambda x, y, c: nn.RReLU().eval()(x - 0.5),
    "ReLU in place": lambda x, y, c: nn.ReLU(inplace=True)(x * 2),
    "Unflatten": lambda x, y, c: nn.Unflatten(1, (2, 2))(x),
    "a residual in place": lambda x, y, c: (x * 2).add_(x),
    "accuracy": lambda x, y, c: x.argmax(1, keepdim=True).eq(c.view_as(x.argmax(1, keepdim=True))),
    "a loss over all steps": lambda x, y, c: nn.functional.cross_entropy(
        torch.stack([x, y], 1).view(-1, 4), torch.stack([c, c], 1).view(-1)
    ),
    "a regression": lambda x, y, c: torch.linalg.solve(x.T @ x, x.T @ y[:, 0]),
    "clusters": lambda x, y, c: (
        nn.functional.one_hot(torch.cdist(x, torch.rand(3, 4)).argmin(1), 3).float().T @ x
    ),
    "covariances": lambda x, y, c: torch.cov(x.T),
    "a histogram": lambda x, y, c: nn.functional.one_hot(
        torch.bucketize(x[:, 0], torch.tensor([0.2, 0.6])), 3
    ),
    "CrossEntropyLoss by class": lambda x, y, c: nn.CrossEntropyLoss(
        torch.rand(4), ignore_index=1, label_smoothing=0.1
    )(x, c),
    "CrossEntropyLoss of each": lambda x, y, c: nn.CrossEntropyLoss(
        torch.rand(4), reduction="none"
    )(x, c),
    "a focal loss": lambda x, y, c: (
        (1 - (-nn.functional.cross_entropy(x, c, reduction="none")).exp()) ** 2
        * nn.functional.cross_entropy(x, c, reduction="none")
    ),
    "a divergence by hand": lambda x, y, c: -0.5 * (1 + y - x**2 - y.exp()).sum(1),
    "a table of confusions": lambda x, y, c: (
        nn.functional.one_hot(c, 4).T @ nn.functional.one_hot(x.argmax(1), 4)
    ),
    "f1": lambda x, y, c: (
        2 * ((x[:, 0] > 0.5) & (c == 1)).sum() / ((x[:, 0] > 0.5).sum() + (c == 1).sum())
    ),
    "Bilinear": lambda x, y, c: nn.Bilinear(4, 4, 2)(x, y),
    "EmbeddingBag": lambda x, y, c: nn.EmbeddingBag(4, 3)(torch.stack([c, c], 1)),
    "causal attention": lambda x, y, c: nn.functional.scaled_dot_product_attention(
        *[torch.stack([x, y], 1)] * 3, is_causal=True
    ),
    "TransformerDecoderLayer": lambda x, y, c: nn.TransformerDecoderLayer(
        4, 2, 8, dropout=0.0, batch_first=True
    )(
        torch.stack([x, y], 1),
        torch.stack([y, x], 1),
        tgt_mask=nn.Transformer.generate_square_subsequent_mask(2),
    ),
    "class by class": lambda x, y, c: torch.std_mean(x[:, [0, 2]], 0)[1],
}


@pytest.fixture(scope="module")
def scene() -> Any:
    with pair(accept) as both:
        x, y = (both.share(torch.rand(N, 4)) for _ in range(2))
        yield both, x, y, both.share(torch.arange(N) % 4)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_sum_is_an_aggregate_of_all_records(scene: Any, name: str) -> None:
    both, x, y, c = scene
    PROGRAMS[name](x, y, c).sum().get(request_block=True)
    facts = both.owner.asked[-1][1]
    assert (facts.kind, facts.min_records, facts.injected) == ("aggregate", N, False)


def test_numbers_of_a_known_seed_that_meet_each_record_are_injected(scene: Any) -> None:
    both, x, *_ = scene
    # rrelu last: how many numbers it draws is private
    noisy: tuple[Any, ...] = (
        lambda x: x + torch.randn_like(x) * x.exp(),  # of a VAE; (noise > 3) * x is one record
        nn.functional.gumbel_softmax, nn.AlphaDropout(0.6), nn.RReLU(),
    )  # fmt: skip
    for layer in noisy:
        layer(x).sum().get(request_block=True)
        facts = both.owner.asked[-1][1]
        assert (facts.kind, facts.min_records, facts.injected) == ("aggregate", N, True)


@pytest.mark.parametrize("settings", [{"momentum": 0.9}, {"nesterov": True, "momentum": 0.5}, {}])
def test_a_checkpoint_between_steps_leaves_the_loss_what_it_was(scene: Any, settings: Any) -> None:
    both, x, _, c = scene
    model = nn.Linear(4, 4).send(both.duet)  # type: ignore[operator]
    optimizer = both.duet.torch.optim.SGD(model.parameters(), lr=0.1, **settings)
    for _ in range(2):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), c)
        loss.backward()
        optimizer.step()
        checkpoint = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    loss.get(request_block=True)
    facts = both.owner.asked[-1][1]
    assert (facts.kind, facts.min_records, facts.injected) == ("aggregate", N, False)
    optimizer.load_state_dict(checkpoint["optimizer"])
