"""More programs for `scripts`: what tutorials of torch's companion modules teach.

Packed sequences, parametrized weights, averaged weights, an inner loop that is differentiated
through, constructors of `torch.optim` and `torch.distributions` as everybody writes them, linear
algebra, losses by hand.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Categorical, Independent, Normal, kl_divergence
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector, rnn, vector_to_parameters
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm
from torch.optim import swa_utils

from tests.surface.draws import digits, normal
from tests.surface.networks import Attending, Segmenting, Variable
from tests.surface.scripts import script


@script
def sequences_of_several_lengths(side: Any) -> list[Any]:
    model = side.sent(Variable())
    x, shown = side.data(digits(9, 3, 6)), []
    for lengths in ([3, 6, 2], torch.tensor([3, 6, 2])):
        scores, outputs, again = model(x, lengths)
        (scores.sum() + outputs.pow(2).sum()).backward()
        shown += [scores, outputs, again, model.rnn.weight_hh_l0.grad.clone()]
    steps = side.data(normal(6, 3, 4))
    packed = rnn.pack_padded_sequence(steps, [6, 4, 1])
    for layer in (nn.GRU(4, 5), nn.RNN(4, 5, nonlinearity="relu"), nn.LSTM(4, 5, proj_size=2)):
        outputs, state = side.sent(layer)(packed)
        padded, _ = rnn.pad_packed_sequence(outputs, padding_value=-1.0, total_length=7)
        shown += [outputs.data, padded, *(state if isinstance(state, tuple) else [state])]
    return shown


@script
def sequences_in_a_list(side: Any) -> list[Any]:
    long, short = side.data(normal(4, 2)), side.data(normal(2, 2, seed=3))
    padded = rnn.pad_sequence([long, short], batch_first=True, padding_value=-1.0)
    packed, (state, _) = side.sent(nn.LSTM(2, 3))(rnn.pack_sequence([long, short]))
    left = rnn.pad_sequence((short, long), padding_side="left")
    apart = rnn.unpad_sequence(padded, torch.tensor([4, 2]), batch_first=True)
    return [padded, left, *apart, state, *rnn.unpack_sequence(packed)]


@script
def parametrized_weights(side: Any) -> list[Any]:
    torch.manual_seed(3)
    model = side.sent(
        nn.Sequential(
            weight_norm(nn.Linear(4, 5)), nn.ReLU(), spectral_norm(nn.Linear(5, 3)),
            orthogonal(nn.Linear(3, 3)), weight_norm(nn.Conv1d(1, 2, 2), dim=None), nn.Flatten(0),
        )
    )  # fmt: skip
    optimizer = side.rt.optim.SGD(model.parameters(), lr=0.1)
    x, shown = side.data(normal(6, 4)), []
    for _ in range(2):
        rows = model[:4](x)
        loss = rows.pow(2).mean() + model[4](rows.unsqueeze(1)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shown.append(loss.item())
    model.eval()
    return [*shown, model[:4](x), list(model.state_dict()), *(model[at].weight for at in (0, 2, 4))]


@script
def inner_loop(side: Any) -> list[Any]:
    model = side.sent(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))
    outer = side.rt.optim.Adam(model.parameters(), lr=0.01)
    x, y, shown = side.data(normal(8, 3)), side.data(normal(8, 1, seed=2)), []
    for _ in range(2):
        weights = dict(model.named_parameters())
        for _ in range(2):
            loss = F.mse_loss(functional_call(model, weights, (x[:4],)), y[:4])
            slopes = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            pairs = zip(weights.items(), slopes, strict=True)
            weights = {name: weight - 0.1 * slope for (name, weight), slope in pairs}
        loss = F.mse_loss(functional_call(model, weights, x[4:]), y[4:])
        outer.zero_grad()
        loss.backward()
        outer.step()
        shown += [loss.item(), *(p.grad for p in model.parameters())]
    return shown


@script
def averaged_weights(side: Any) -> list[Any]:
    model = side.sent(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)))
    mean = swa_utils.AveragedModel(model)
    fading = swa_utils.AveragedModel(model, multi_avg_fn=swa_utils.get_ema_multi_avg_fn(0.9))
    own = swa_utils.AveragedModel(model, avg_fn=lambda old, new, count: 0.9 * old + 0.1 * new)
    x, y = side.data(normal(8, 3)), side.data(normal(8, 1, seed=4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    rates = swa_utils.SWALR(optimizer, swa_lr=0.01, anneal_epochs=3)
    shown: list[Any] = []
    for _ in range(3):
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()
        rates.step()
        for average in (mean, fading, own):
            average.update_parameters(model)
        shown.append(rates.get_last_lr()[0])
    space = side.rt.utils.data
    swa_utils.update_bn(space.DataLoader(space.TensorDataset(x, y), batch_size=4), mean)
    mean.eval()
    return [*shown, mean(x), fading(x), own(x), *mean.parameters(), mean.module[1].running_mean]


@script
def weights_as_one_vector(side: Any) -> list[Any]:
    model = side.sent(nn.Linear(3, 2))
    flat = parameters_to_vector(model.parameters())
    vector_to_parameters(flat * 2, model.parameters())
    x = side.data(normal(2, 3))
    F.mse_loss(model(x), x[:, :2]).backward()
    slopes = [p.grad for p in model.parameters()]
    norm = nn.utils.get_total_norm(slopes)
    nn.utils.clip_grads_with_norm_(model.parameters(), 0.1, norm)
    return [flat, model.weight, norm, parameters_to_vector(slopes)]


@script
def ordinary_constructors(side: Any) -> list[Any]:
    body, policy = side.sent(nn.Linear(4, 6)), side.sent(nn.Linear(6, 3))
    both = itertools.chain(body.parameters(), policy.parameters())
    optimizer = torch.optim.AdamW([{"params": list(both), "lr": 0.1}], weight_decay=0.01)
    rates = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=2),
            torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.9**epoch),
        ],
        milestones=[2],
    )
    x, shown = side.data(normal(5, 4)), []
    for _ in range(4):
        hidden = torch.tanh(body(x))
        choice = Categorical(logits=policy(hidden))
        place = Independent(Normal(hidden, hidden.exp()), 1)
        action, drawn = choice.sample(), place.rsample()
        loss = -(choice.log_prob(action) + place.log_prob(drawn)).mean()
        loss = loss - 0.1 * choice.entropy().mean() + choice.probs.pow(2).sum()
        prior = Normal(torch.zeros(6), torch.ones(6))
        loss = loss + kl_divergence(Normal(hidden, torch.ones(6)), prior).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        shown += [loss.item(), rates.get_last_lr()[0], action]
    return shown


@script
def segmentation(side: Any) -> list[Any]:
    model = side.sent(Segmenting())
    x, y = side.data(normal(2, 1, 9, 9)), side.data(digits(2, 2, 9, 9))
    optimizer = side.rt.optim.RMSprop(model.parameters(), lr=1e-3, weight_decay=1e-8, momentum=0.9)
    shown = []
    for _ in range(2):
        scores = model(x)
        loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))(scores, y)
        chances = F.softmax(scores, dim=1)
        wanted = F.one_hot(y, 2).permute(0, 3, 1, 2).float()
        common, sizes = 2 * (chances * wanted).sum((-1, -2)), (chances + wanted).sum((-1, -2))
        loss += 1 - ((common + 1e-6) / (torch.where(sizes == 0, common, sizes) + 1e-6)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        shown.append(loss.item())
    guess, there = scores.argmax(1) == 1, y == 1
    return [*shown, (guess & there).sum().float() / (guess | there).sum().clamp(min=1)]


@script
def translation_with_attention(side: Any) -> list[Any]:
    model = side.sent(Attending())
    x, y = side.data(digits(7, 3, 5)), side.data(digits(7, 3, 4, seed=7))
    optimizer, shown = side.rt.optim.Adam(model.parameters()), []
    for forced in (True, False):
        optimizer.zero_grad()
        memory, state = model.read(x)
        word, loss, said = torch.zeros(3, 1, dtype=torch.long), 0, []
        for at in range(y.size(1)):
            scores, state, weights = model.say(word, state, memory)
            loss += F.nll_loss(scores, y[:, at], ignore_index=0)
            said.append(scores)
            word = y[:, at].unsqueeze(1) if forced else scores.topk(1)[1].detach()
        loss.backward()  # type: ignore[attr-defined]
        optimizer.step()
        shown += [loss.item() / y.size(1), torch.stack(said, 1).argmax(-1), weights]  # type: ignore[attr-defined]
    return shown


@script
def gaussian_process(side: Any) -> list[Any]:
    x, y, new = side.data(normal(8, 1)), side.data(normal(8, seed=2)), torch.linspace(-2, 2, 5)
    width, scale, noise = (side.parameter(torch.tensor([start])) for start in (0.0, 0.0, -1.0))

    def kernel(a: Any, b: Any) -> Any:
        return scale.exp() * torch.exp(-0.5 * torch.cdist(a, b) ** 2 / width.exp() ** 2)

    optimizer, shown = side.rt.optim.Adam([width, scale, noise], lr=0.1), []
    for _ in range(3):
        lower = torch.linalg.cholesky(kernel(x, x) + noise.exp() * torch.eye(x.size(0)))
        solved = torch.cholesky_solve(y.unsqueeze(-1), lower)
        loss = 0.5 * y @ solved.squeeze() + lower.diagonal().log().sum() + 4 * math.log(2 * math.pi)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shown.append(loss.item())
    cross = kernel(x, new.unsqueeze(1))
    part = torch.linalg.solve_triangular(lower, cross, upper=False)
    return [*shown, cross.T @ solved, part.T @ part, *torch.linalg.slogdet(lower)]


@script
def clusters_and_components(side: Any) -> list[Any]:
    x = side.data(normal(20, 3))
    centres = x[:3].clone()
    for _ in range(3):
        nearest = torch.cdist(x, centres).argmin(dim=1)
        centres = torch.stack([x[nearest == which].mean(0) for which in range(3)])
    counts = torch.bincount(nearest, minlength=3).unsqueeze(1)
    again = torch.zeros(3, 3).index_add(0, nearest, x) / counts
    centred = x - x.mean(dim=0, keepdim=True)
    left, values, right = torch.linalg.svd(centred, full_matrices=False)
    variances, axes = torch.linalg.eigh(torch.cov(x.T))
    shown = [centres, again, values, variances, axes.abs(), (centred @ right.T[:, :2]).abs()]
    return [*shown, left[:, :2] * values[:2] @ right[:2], torch.linalg.lstsq(x, x[:, :1]).solution]


@script
def losses_by_hand(side: Any) -> list[Any]:
    scores, y = side.data(normal(6, 4)).clone().requires_grad_(), side.data(digits(4, 6))
    each = F.cross_entropy(scores, y, reduction="none")
    focal = (
        torch.tensor([0.1, 0.2, 0.3, 0.4]).gather(0, y) * (1 - (-each).exp()) ** 2 * each
    ).mean()
    focal.backward()
    logs = F.log_softmax(scores, -1)
    with torch.no_grad():
        smooth = torch.zeros_like(logs).fill_(0.1 / 3).scatter_(1, y.unsqueeze(1), 0.9)
    shown = [
        focal,
        scores.grad,
        -(smooth * logs).sum(-1).mean(),
        -logs.gather(1, y[:, None]).mean(),
    ]
    views = F.normalize(torch.cat([scores, scores.flip(0)]), dim=1)
    alike = (views @ views.T / 0.5).masked_fill(torch.eye(12, dtype=torch.bool), float("-inf"))
    shown += [F.cross_entropy(alike, torch.arange(12).roll(6))]
    order = side.rt.randperm(scores.size(0))
    share = side.rt.distributions.Beta(0.4, 0.4).sample()
    shown += [share * each.mean() + (1 - share) * F.cross_entropy(scores, y[order])]
    confused = torch.bincount(y * 4 + scores.argmax(1), minlength=16).reshape(4, 4)
    return [*shown, confused, (scores.topk(2, 1)[1] == y.view(-1, 1)).any(1).float().sum()]


@script
def loaders_by_torchs_own_name(side: Any) -> list[Any]:
    space = torch.utils.data
    x, y = side.data(normal(20, 3)), side.data(torch.arange(20.0))
    whole = side.rt.utils.data.TensorDataset(x, y)
    some = space.Subset(whole, [3, 1, 12, 7, 19, 0, 5])
    both = space.ConcatDataset([some, whole])
    shown: list[Any] = [len(some), len(both)]
    for data in (whole, some, both):
        loader = space.DataLoader(data, batch_size=6, drop_last=data is both, num_workers=0)
        shown.append(len(loader))
        for batch in loader:
            shown += [batch[0], batch[1]]
    parts = space.random_split(whole, [15, 5], generator=torch.Generator().manual_seed(7))
    return shown + [y for part in parts for _, y in space.DataLoader(part, batch_size=5)]


@script
def slopes_of_a_whole_model(side: Any) -> list[Any]:
    model = side.sent(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))
    x, y = side.data(normal(8, 3)), side.data(normal(8, 1, seed=2))

    def loss() -> Any:
        return F.mse_loss(model(x), y)

    shown = [*torch.autograd.grad(loss(), model.parameters())]
    shown += torch.autograd.grad([loss(), loss()], model.parameters())
    shown += torch.autograd.grad(loss(), inputs=tuple(model.parameters()))
    shown += torch.autograd.grad(loss(), dict(model.named_parameters())).values()
    squared = sum(g.pow(2).sum() for g in torch.autograd.grad(loss(), model.parameters()))
    loss().backward(inputs=model.parameters())
    return [*shown, squared, *(p.grad for p in model.parameters())]


@script
def numbers_of_numpy(side: Any) -> list[Any]:
    x, i = side.data(normal(6, 4)), side.data(torch.arange(6))
    half, two = np.float32(0.5), np.int64(2)
    shown = [x * half, half * x, np.float64(0.5) * x, x > half, half < x, x**two, two**x]
    shown += [i + two, two - i, i * half, x[two], x[:, np.int64(1)], x[two : np.int64(4)]]
    shown += [x.sum(np.int64(1)), x.reshape([np.int64(3), -1]), torch.clamp(x, -half, half)]
    number = x.mean().item()
    shown += [number * half, half * number, half / number]
    return [*shown, torch.where(x > 0, half, x), torch.nn.functional.softplus(x, beta=half)]
