"""Programs as people write them, for either side.

Each takes a `Side` and gives what it would print: losses, weights, accuracies. None knows whether
its data is here or is an owner's. They use what torch's own tutorials use, and nothing of ours
beyond `side`: where the remote namespaces begin, which data is whose, which modules are sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from tests.surface.draws import digits, normal
from tests.surface.networks import VAE, ActorCritic, Characters, Texts, Transformer

__all__ = ["SCRIPTS", "Side"]


class Side(Protocol):
    """Where a program runs."""

    rt: Any
    """`torch`, or `duet.torch`."""

    def data(self, tensor: torch.Tensor) -> Any:
        """A tensor of the owner's."""

    def parameter(self, tensor: torch.Tensor) -> Any:
        """A leaf of the scientist's that wants a gradient."""

    def sent(self, module: nn.Module) -> Any:
        """A module of the scientist's, over there."""

    def step(self, function: Callable[[], Any]) -> Any:
        """`duet.step`."""


SCRIPTS: Final[dict[str, Callable[[Any], list[Any]]]] = {}


def script(function: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    SCRIPTS[function.__name__] = function
    return function


@script
def variational_auto_encoder(side: Any) -> list[Any]:
    model = side.sent(VAE())
    x = side.data(normal(32, 4, 5).sigmoid())
    optimizer = side.rt.optim.Adam(model.parameters(), lr=1e-3)
    shown = []
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        drawn, mean, log_variance = model(x)
        likeness = F.binary_cross_entropy(drawn, x.view(-1, 20), reduction="sum")
        divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        loss = likeness + divergence
        loss.backward()
        optimizer.step()
        shown.append(loss.item())
    model.eval()
    with torch.no_grad():
        shown += [model(x)[0].mean(), model.decoder(torch.ones(3, 4))]
    return shown


@script
def actor_critic(side: Any) -> list[Any]:
    model = side.sent(ActorCritic())
    optimizer = side.rt.optim.Adam(model.parameters(), lr=3e-2)
    states, rewards = side.data(normal(6, 4)), side.data(normal(6, seed=2))
    shown = []
    for _ in range(2):
        saved, paid = [], []
        for turn in range(6):
            chances, value = model(states[turn])
            drawn = side.rt.distributions.Categorical(chances)
            action = drawn.sample()
            saved.append((drawn.log_prob(action), value))
            paid.append(rewards[turn] * (1 + action))
        total, returns = 0, []
        for reward in paid[::-1]:
            total = reward + 0.99 * total
            returns.insert(0, total)
        wanted = torch.stack(returns)
        wanted = (wanted - wanted.mean()) / (wanted.std() + 1e-8)
        policy, critic = [], []
        for (log_prob, value), target in zip(saved, wanted, strict=True):
            policy.append(-log_prob * (target - value.detach().squeeze()))
            critic.append(F.smooth_l1_loss(value.squeeze(), target))
        optimizer.zero_grad()
        loss = torch.stack(policy).sum() + torch.stack(critic).sum()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        shown.append(loss.item())
    return shown


@script
def proximal_policy(side: Any) -> list[Any]:
    space = side.rt.distributions
    net = side.sent(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)))
    log_deviation = side.parameter(torch.zeros(2))
    optimizer = side.rt.optim.Adam([*net.parameters(), log_deviation], lr=1e-2)
    x, advantage = side.data(normal(16, 3)), side.data(normal(16, seed=2))
    with torch.no_grad():
        old = space.Normal(net(x), log_deviation.exp())
        action = old.sample()
        before = old.log_prob(action).sum(-1)
    shown = []
    for _ in range(3):
        now = space.Independent(space.Normal(net(x), log_deviation.exp().expand(16, 2)), 1)
        ratio = (now.log_prob(action) - before).exp()
        bounded = torch.min(ratio * advantage, torch.clamp(ratio, 0.8, 1.2) * advantage)
        loss = -bounded.mean() - 1e-3 * now.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shown.append(loss.item())
    return shown


@script
def characters(side: Any) -> list[Any]:
    model = side.sent(Characters(11, 12))
    text = side.data(digits(11, 4, 25))
    optimizer = side.rt.optim.Adam(model.parameters(), lr=0.005)
    hidden, shown = model.first(4), []
    for at in range(0, 24, 8):
        x, y = text[:, at : at + 8], text[:, at + 1 : at + 9]
        hidden = hidden.detach()
        model.zero_grad()
        output, hidden = model(x, hidden)
        loss = nn.CrossEntropyLoss()(output.reshape(-1, 11), y.reshape(-1))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=0.25)
        optimizer.step()
        shown += [loss.item(), norm]
    return shown


@script
def a_state_carried_over(side: Any) -> list[Any]:
    lstm = side.sent(nn.LSTM(5, 6, batch_first=True))
    head = side.sent(nn.Linear(6, 3))
    parameters = list(lstm.parameters()) + list(head.parameters())
    optimizer = side.rt.optim.SGD(
        parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    x, y = side.data(normal(2, 12, 5)), side.data(digits(3, 2, 12))
    state: Any = None
    shown = []
    for at in range(0, 12, 4):
        if state is not None:
            state = tuple(part.detach() for part in state)
        output, state = lstm(x[:, at : at + 4], state)
        scores = F.log_softmax(head(output), -1).transpose(1, 2)
        loss = F.nll_loss(scores, y[:, at : at + 4])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(parameters, 0.1)
        optimizer.step()
        shown.append(loss.item())
    return shown + [p.data.norm() for p in parameters]


@script
def texts_in_classes(side: Any) -> list[Any]:
    model = side.sent(Texts())
    x = side.data(torch.tensor([[1, 2, 3, 0], [4, 0, 0, 0], [5, 6, 7, 8]]))
    y = side.data(torch.tensor([0, 1, 1]))
    optimizer = side.rt.optim.AdamW(model.parameters(), lr=1e-2)
    shown = []
    for _ in range(3):
        scores = model(x)
        loss = F.cross_entropy(scores, y, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right = scores.argmax(dim=1) == y
        shown += [loss.item(), right.float().mean().item(), right.sum()]
    return shown


@script
def transformer_with_warm_up(side: Any) -> list[Any]:
    model = side.sent(Transformer())
    x = side.data(digits(12, 3, 9))
    optimizer = side.rt.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-9)
    scheduler = side.rt.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) ** -0.5, (step + 1) * 4**-1.5)
    )
    shown = []
    for _ in range(2):
        optimizer.zero_grad()
        scores = model(x[:, :-1])
        loss = F.cross_entropy(scores.reshape(-1, 12), x[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        scheduler.step()
        shown.append(loss.item())
    model.eval()
    with torch.inference_mode():
        shown.append(model(x))
    return shown


@script
def pictures_over_a_loader(side: Any) -> list[Any]:
    model = side.sent(
        nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
            nn.MaxPool2d(2), nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(8, 3),
        )
    )  # fmt: skip
    space = side.rt.utils.data
    whole = space.TensorDataset(side.data(normal(22, 1, 8, 8)), side.data(torch.arange(22) % 3))
    loader = space.DataLoader(whole, batch_size=8, shuffle=True)
    optimizer = side.rt.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = side.rt.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    shown: list[Any] = []
    for _ in range(2):
        model.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.CrossEntropyLoss()(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * x.size(0)
        scheduler.step()
        model.eval()
        correct = 0
        with torch.no_grad():
            for x, y in loader:
                guess = model(x).max(1)[1]
                correct += guess.eq(y.view_as(guess)).sum().item()
        shown += [total / len(whole), scheduler.get_last_lr()[0], correct]
    return [*shown, model[1].running_mean, model[1].num_batches_tracked]


@script
def one_cycle_and_plateau(side: Any) -> list[Any]:
    model = side.sent(nn.Linear(3, 1))
    space, rates = side.rt.utils.data, side.rt.optim.lr_scheduler
    whole = space.TensorDataset(side.data(normal(12, 3)), side.data(normal(12, 1, seed=2)))
    loader = space.DataLoader(whole, batch_size=4)
    optimizer = side.rt.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    cycle = rates.OneCycleLR(optimizer, max_lr=0.2, steps_per_epoch=len(loader), epochs=2)
    other = side.rt.optim.SGD(model.parameters(), lr=0.1)
    plateau = rates.ReduceLROnPlateau(other, "min", patience=0, factor=0.3)
    shown: list[Any] = []
    for _ in range(2):
        total: Any = 0
        for x, y in loader:
            loss = F.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
            total += loss.detach()
        plateau.step(total)
        plateau.step(total + 1)
        shown += [total, cycle.get_last_lr()[0], other.param_groups[0]["lr"]]
    return shown


@script
def quasi_newton(side: Any) -> list[Any]:
    model = side.sent(nn.Linear(3, 1))
    x, y = side.data(normal(12, 3)), side.data(normal(12, 1, seed=2))
    optimizer = side.rt.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4)

    @side.step  # type: ignore[untyped-decorator]
    def closure() -> Any:
        optimizer.zero_grad()
        loss = F.mse_loss(model(x), y)
        loss.backward()
        return loss

    return [optimizer.step(closure) for _ in range(3)]


@script
def groups_and_freezing(side: Any) -> list[Any]:
    model = side.sent(
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 2))
    )
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    optimizer = side.rt.optim.AdamW(
        [
            {"params": [p for name, p in named if "weight" in name], "weight_decay": 0.1},
            {"params": (p for name, p in named if "bias" in name), "lr": 0.5},
        ],
        lr=0.01,
    )
    x, y = side.data(normal(6, 4)), side.data(torch.tensor([0, 1, 0, 1, 1, 0]))
    shown: list[Any] = []
    for _ in range(2):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shown.append(loss.item())
        for group in optimizer.param_groups:
            group["lr"] *= 0.5
    optimizer.add_param_group({"params": model[0].parameters(), "lr": 0.1})
    model.requires_grad_(True)
    last = side.rt.optim.SGD(filter(lambda p: p.requires_grad, model.parameters()), lr=0.1)
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    last.step()
    return [*shown, len(optimizer.param_groups), *model.parameters()]


@script
def moved_after_the_optimizer(side: Any) -> list[Any]:
    model = side.sent(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)))
    optimizer = side.rt.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = side.data(normal(6, 4)), side.data(torch.tensor([0, 1, 0, 1, 1, 0]))
    shown: list[Any] = []

    def train(x: Any) -> None:
        for _ in range(2):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            shown.append(loss.item())

    train(x)
    model.double()
    train(x.double())
    shown.append(model[1].running_mean.clone())
    model.to("cpu").to(torch.float32)
    train(x)
    device, dtype = next(model.parameters()).device, next(model.parameters()).dtype
    return [*shown, *model.parameters(), device.type, dtype]


@script
def splits_and_samplers(side: Any) -> list[Any]:
    space = side.rt.utils.data
    whole = space.TensorDataset(side.data(normal(20, 3)), side.data(torch.arange(20.0)))
    train, test = space.random_split(whole, [15, 5])
    more, rest = space.random_split(whole, [0.8, 0.2])
    shown: list[Any] = [len(train), len(test), len(more), len(rest)]
    for sampler in (
        space.RandomSampler(whole),
        space.SequentialSampler(whole),
        space.SubsetRandomSampler([1, 5, 9, 3]),
        space.RandomSampler(whole, replacement=True, num_samples=8),
        space.WeightedRandomSampler([0.1] * 10 + [0.9] * 10, 12),
        space.WeightedRandomSampler(torch.ones(20), 5, replacement=False),
        torch.utils.data.SequentialSampler(range(6)),
        [4, 2, 0],
    ):
        loader = space.DataLoader(whole, batch_size=4, sampler=sampler)
        shown.append(len(loader))
        shown += [y for _, y in loader]
    batches = space.BatchSampler(space.SequentialSampler(whole), batch_size=3, drop_last=True)
    shown += [y for _, y in space.DataLoader(whole, batch_sampler=batches)]
    joined = space.ConcatDataset([train, space.Subset(whole, range(10, 14))])
    shown += [y for _, y in space.DataLoader(joined, batch_size=10)]
    return shown


class Pairs(torch.utils.data.Dataset[Any]):
    """A data set of this side whose tensors may be elsewhere."""

    def __init__(self, x: Any, y: Any) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        return self.x[index], self.y[index], index % 2


@script
def a_loader_of_this_side(side: Any) -> list[Any]:
    x, y = side.data(normal(10, 3)), side.data(torch.arange(10.0))
    space, seed = torch.utils.data, torch.Generator().manual_seed(5)
    shown: list[Any] = []
    for batch in space.DataLoader(Pairs(x, y), batch_size=4, shuffle=True, generator=seed):
        shown += batch
    for batch in space.DataLoader(space.TensorDataset(x, y), batch_size=6, generator=seed):
        shown += batch
    return shown


@script
def two_networks(side: Any) -> list[Any]:
    critic = side.sent(nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1)))
    maker = side.sent(
        nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(True), nn.Linear(8, 4))
    )
    of_critic = side.rt.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.9))
    of_maker = side.rt.optim.RMSprop(maker.parameters(), lr=2e-3)
    real, shown = side.data(normal(6, 4)), []
    for _ in range(2):
        fake = maker(side.rt.randn(6, 2))
        mix = side.rt.rand(6, 1)
        between = (mix * real + (1 - mix) * fake.detach()).requires_grad_(True)
        scores = critic(between)
        (slope,) = torch.autograd.grad(
            outputs=scores, inputs=between, grad_outputs=torch.ones_like(scores),
            create_graph=True, retain_graph=True,
        )  # fmt: skip
        penalty = ((slope.norm(2, dim=1) - 1) ** 2).mean()
        of_critic.zero_grad()
        loss = critic(fake.detach()).mean() - critic(real).mean() + 10 * penalty
        loss.backward()
        of_critic.step()
        of_maker.zero_grad()
        made = -critic(fake).mean()
        made.backward()
        of_maker.step()
        shown += [loss, penalty, made]
    return shown


@script
def states_kept_and_averaged(side: Any) -> list[Any]:
    model = side.sent(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    twin = side.sent(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    x = side.data(normal(5, 3))
    optimizer = side.rt.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (model(x) ** 2).sum().backward()
        optimizer.step()
    twin.load_state_dict(model.state_dict())
    again = side.rt.optim.Adam(twin.parameters(), lr=0.5)
    again.load_state_dict(optimizer.state_dict())
    again.zero_grad()
    (twin(x) ** 2).sum().backward()
    again.step()
    with torch.no_grad():
        for mean, new in zip(model.parameters(), twin.parameters(), strict=True):
            mean.mul_(0.9).add_(new, alpha=0.1)
    kept = {name: value.clone() for name, value in twin.state_dict().items()}
    return [list(kept), *kept.values(), *model.parameters()]


@script
def by_hand(side: Any) -> list[Any]:
    x, y = side.data(normal(20, 2)), side.data(normal(20, 1, seed=5))
    weight, bias = side.parameter(torch.zeros(2, 1)), side.parameter(torch.zeros(1))
    shown: list[Any] = []
    for _ in range(3):
        loss = ((x @ weight + bias - y) ** 2).mean()
        loss.backward()
        with torch.no_grad():
            weight -= 0.1 * weight.grad
            bias -= 0.1 * bias.grad
            weight.grad.zero_()
            bias.grad = None
        shown.append(loss.item())
    for _ in range(2):
        slopes = torch.autograd.grad(((x @ weight + bias - y) ** 2).mean(), [weight, bias])
        with torch.no_grad():
            weight.sub_(0.1 * slopes[0])
            bias.copy_(bias - 0.1 * slopes[1])
    return [*shown, weight, bias]


@script
def here_and_there_mixed(side: Any) -> list[Any]:
    x, other = side.data(normal(4, 5)), normal(5, 3, seed=2)
    shown: list[Any] = [x @ other, torch.einsum("ij,jk->ik", x, other), other.T @ x.T]
    shown += [2 * x - 1, 1 / (1 + torch.exp(-x)), x[torch.tensor([True, False, True, True])]]
    shown += [x[[0, 2]], x[..., -1], x[None, ::2], *x.max(dim=1), x.topk(2).indices]
    shown += [*x.split([1, 3]), *x.unbind(0), sum(row.sum() for row in x)]
    changed = x.clone()
    changed[0] = 0
    changed[:, 1] += 5
    changed[changed < 0] = 0
    changed.masked_fill_(changed > 1, 1.0)
    shown += [changed, torch.where(x > 0, x, torch.zeros_like(x)), F.normalize(x)]
    shown += [torch.cat([x, normal(1, 5)]), F.one_hot(torch.tensor([1, 0]), 3), x.shape, len(x)]
    rows, columns = x.shape
    return [*shown, rows * columns, (x - x.mean(0)) / x.std(0), torch.cdist(x, x)]
