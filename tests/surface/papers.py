"""Methods of well-known papers, as people write them, for either side (see `scripts`)."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from tests.surface.draws import normal
from tests.surface.scripts import script

__all__: list[str] = []


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))

    def forward(self, x: Any) -> Any:
        return self.layers(x).squeeze(-1)


@script
def gradient_penalty(side: Any) -> list[Any]:
    """Gulrajani et al. 2017."""
    critic, real = side.sent(Critic()), side.data(normal(8, 4))
    optimizer = side.rt.optim.Adam(critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
    shown = []
    for _ in range(2):
        fake = side.rt.randn(8, 4)
        share = side.rt.rand(8, 1)
        between = (share * real + (1 - share) * fake).requires_grad_(True)
        score = critic(between)
        (gradient,) = torch.autograd.grad(
            outputs=score, inputs=between, grad_outputs=torch.ones_like(score),
            create_graph=True, retain_graph=True,
        )  # fmt: skip
        penalty = ((gradient.view(8, -1).norm(2, dim=1) - 1) ** 2).mean()
        loss = critic(fake).mean() - critic(real).mean() + 10 * penalty
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        shown += [loss.item(), penalty.item()]
    return shown


class Block(nn.Module):
    """GPT's: causal attention and a small network, both on top of what came in."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        mask = torch.tril(torch.ones(length, length)).view(1, 1, length, length)
        self.register_buffer("mask", mask)

    def forward(self, x: Any) -> Any:
        b, t, c = x.size()
        q, k, v = self.qkv(self.first(x)).split(c, dim=2)
        q, k, v = (z.view(b, t, self.heads, c // self.heads).transpose(1, 2) for z in (q, k, v))
        scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
        scores = scores.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf"))
        mixed = (F.softmax(scores, dim=-1) @ v).transpose(1, 2).contiguous().view(b, t, c)
        x = x + self.out(mixed)
        return x + self.mlp(self.second(x))


class SmallGPT(nn.Module):
    def __init__(self, words: int = 11, width: int = 8, length: int = 6) -> None:
        super().__init__()
        self.length = length
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList([Block(width, 2, length) for _ in range(2)])
        self.head = nn.Linear(width, words, bias=False)
        self.words.weight = self.head.weight

    def forward(self, indices: Any, targets: Any = None) -> Any:
        _, t = indices.size()
        x = self.words(indices) + self.places(torch.arange(t, device=indices.device))
        for block in self.blocks:
            x = block(x)
        logits = self.head(x)
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1))

    @torch.no_grad()
    def generate(self, indices: Any, count: int, k: int = 3) -> Any:
        for _ in range(count):
            logits, _ = self(indices[:, -self.length :])
            logits = logits[:, -1, :] / 0.8
            best, _ = torch.topk(logits, k)
            logits = logits.masked_fill(logits < best[:, [-1]], -float("inf"))
            drawn = torch.multinomial(F.softmax(logits, dim=-1), num_samples=1)
            indices = torch.cat((indices, drawn), dim=1)
        return indices


@script
def language_model(side: Any) -> list[Any]:
    """Radford et al. 2018, with tied weights; batches are cut from one text at random places."""
    model = side.sent(SmallGPT())
    text = side.data(torch.arange(60) * 7 % 11)
    decay = [p for p in model.parameters() if p.dim() >= 2]
    rest = [p for p in model.parameters() if p.dim() < 2]
    optimizer = side.rt.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=3e-3
    )
    shown: list[Any] = []
    for step in range(3):
        starts = torch.randint(54, (4,), generator=torch.Generator().manual_seed(step)).tolist()
        x = torch.stack([text[i : i + 6] for i in starts])
        y = torch.stack([text[i + 1 : i + 7] for i in starts])
        rate = 3e-3 * 0.5 * (1 + math.cos(math.pi * step / 3))
        for group in optimizer.param_groups:
            group["lr"] = rate
        _, loss = model(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        shown.append(loss.item())
    model.eval()
    return [*shown, model.generate(text[None, :4], 4)]


class Coupling(nn.Module):
    """An affine coupling of RealNVP (Dinh et al. 2017)."""

    def __init__(self, flip: bool) -> None:
        super().__init__()
        self.flip, self.net = flip, nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 4))

    def forward(self, x: Any) -> Any:
        a, b = x.chunk(2, dim=1)
        if self.flip:
            a, b = b, a
        scale, move = self.net(a).chunk(2, dim=1)
        scale = torch.tanh(scale)
        b = b * torch.exp(scale) + move
        return torch.cat([b, a] if self.flip else [a, b], dim=1), scale.sum(dim=1)


@script
def normalizing_flow(side: Any) -> list[Any]:
    flow = side.sent(nn.ModuleList([Coupling(False), Coupling(True)]))
    x = side.data(normal(8, 4))
    prior = side.rt.distributions.MultivariateNormal(side.rt.zeros(4), side.rt.eye(4))
    optimizer = side.rt.optim.Adam(flow.parameters(), lr=1e-2)
    shown = []
    for _ in range(3):
        z, volume = x, 0
        for part in flow:
            z, part_volume = part(z)
            volume = volume + part_volume
        loss = -(prior.log_prob(z) + volume).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shown.append(loss.item())
    return shown


@script
def contrastive_views(side: Any) -> list[Any]:
    """NT-Xent of SimCLR (Chen et al. 2020)."""
    encoder = side.sent(nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4)))
    x = side.data(normal(6, 5))
    first = encoder(x + 0.1 * side.rt.randn_like(x))
    second = encoder(x * side.rt.bernoulli(side.rt.full((6, 5), 0.8)))
    z = F.normalize(torch.cat([first, second]), dim=1)
    alike = F.cosine_similarity(z.unsqueeze(1), z.unsqueeze(0), dim=2) / 0.5
    alike = alike.masked_fill(torch.eye(12, dtype=torch.bool), -1e9)
    other = torch.cat([torch.arange(6) + 6, torch.arange(6)])
    loss = F.cross_entropy(alike, other)
    loss.backward()
    return [loss.item(), *(p.grad for p in encoder.parameters())]


@script
def fast_gradient_sign(side: Any) -> list[Any]:
    """Goodfellow et al. 2015, and a saliency map."""
    model = side.sent(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)))
    x, y = side.data(normal(4, 1, 8, 8).sigmoid()), side.data(torch.tensor([0, 2, 1, 1]))
    x = x.clone().detach().requires_grad_(True)
    loss = F.cross_entropy(model(x), y)
    model.zero_grad()
    loss.backward()
    turned = torch.clamp(x + 0.1 * x.grad.sign(), 0, 1)
    saliency, _ = x.grad.data.abs().max(dim=1)
    agree = (model(turned).argmax(dim=1) == y).float().mean()
    return [loss.item(), turned.mean(), saliency.sum(), agree]


@script
def quick_adaptation(side: Any) -> list[Any]:
    """MAML (Finn et al. 2017): a gradient through the inner step, over `functional_call`."""
    model = side.sent(nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1)))
    x, y = side.data(normal(8, 1)), side.data(normal(8, 1, seed=5))
    optimizer = side.rt.optim.SGD(model.parameters(), lr=0.01)
    weights = dict(model.named_parameters())
    inner = F.mse_loss(functional_call(model, weights, (x[:4],)), y[:4])
    slopes = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
    fast = {name: w - 0.1 * g for (name, w), g in zip(weights.items(), slopes, strict=True)}
    outer = F.mse_loss(functional_call(model, fast, (x[4:],)), y[4:])
    optimizer.zero_grad()
    outer.backward()
    optimizer.step()
    return [inner.item(), outer.item(), *model.parameters()]


@script
def mixture_density(side: Any) -> list[Any]:
    """Bishop 1994."""
    trunk, heads = side.sent(nn.Linear(2, 6)), side.sent(nn.Linear(6, 9))
    x, y = side.data(normal(8, 2)), side.data(normal(8, 1, seed=5))
    both = [*trunk.parameters(), *heads.parameters()]
    optimizer = side.rt.optim.RMSprop(both, lr=1e-2)
    shown = []
    for _ in range(2):
        shares, means, spreads = heads(torch.tanh(trunk(x))).split(3, dim=1)
        likeness = side.rt.distributions.Normal(means, F.softplus(spreads) + 1e-3).log_prob(y)
        loss = -torch.logsumexp(F.log_softmax(shares, dim=1) + likeness, dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shown.append(loss.item())
    return shown


@script
def vector_quantization(side: Any) -> list[Any]:
    """VQ-VAE (van den Oord et al. 2017): nearest codes, gradients straight through."""
    encoder, decoder = side.sent(nn.Linear(5, 3)), side.sent(nn.Linear(3, 5))
    codes, x = side.sent(nn.Embedding(4, 3)), side.data(normal(8, 5))
    z = encoder(x)
    distances = (
        torch.sum(z**2, dim=1, keepdim=True) + torch.sum(codes.weight**2, dim=1)
        - 2 * torch.matmul(z, codes.weight.t())
    )  # fmt: skip
    nearest = torch.argmin(distances, dim=1)
    chosen = F.one_hot(nearest, 4).float() @ codes.weight
    loss = F.mse_loss(chosen, z.detach()) + 0.25 * F.mse_loss(z, chosen.detach())
    through = z + (chosen - z).detach()
    loss = loss + F.mse_loss(decoder(through), x)
    loss.backward()
    share = F.one_hot(nearest, 4).float().mean(0)
    surprise = torch.exp(-torch.sum(share * torch.log(share + 1e-10)))
    return [loss.item(), surprise, codes.weight.grad, *(p.grad for p in encoder.parameters())]


@script
def deep_q_learning(side: Any) -> list[Any]:
    """Mnih et al. 2015: a target network, a batch of remembered steps."""
    policy, target = side.sent(nn.Linear(4, 3)), side.sent(nn.Linear(4, 3))
    target.load_state_dict(policy.state_dict())
    states, following = side.data(normal(10, 4)), side.data(normal(10, 4, seed=3))
    actions, rewards = side.data(torch.arange(10) % 3), side.data(normal(10, seed=4))
    done = side.data(torch.arange(10) % 4 == 0)
    optimizer = side.rt.optim.AdamW(policy.parameters(), lr=1e-2, amsgrad=True)
    shown = []
    for _ in range(2):
        chosen = policy(states).gather(1, actions.unsqueeze(1))
        value = torch.zeros(10)
        with torch.no_grad():
            value = torch.where(done, value, target(following).max(1).values)
        loss = nn.SmoothL1Loss()(chosen, (rewards + 0.99 * value).unsqueeze(1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_value_(policy.parameters(), 100)
        optimizer.step()
        state, kept = policy.state_dict(), target.state_dict()
        for key in state:
            kept[key] = state[key] * 0.1 + kept[key] * 0.9
        target.load_state_dict(kept)
        shown.append(loss.item())
    return [*shown, *target.parameters()]


@script
def tagging_with_transitions(side: Any) -> list[Any]:
    """The forward sum and the best path of a linear-chain CRF (Lafferty et al. 2001)."""
    scores = side.data(normal(4, 5, 3))
    moves = side.parameter(normal(3, 3, seed=7))
    tags = side.data(torch.arange(20).view(4, 5) % 3)
    alpha = best = scores[:, 0]
    paths = []
    for t in range(1, 5):
        alpha = torch.logsumexp(alpha.unsqueeze(2) + moves, dim=1) + scores[:, t]
        best, came = (best.unsqueeze(2) + moves).max(dim=1)
        best = best + scores[:, t]
        paths.append(came)
    gold = scores.gather(2, tags.unsqueeze(2)).squeeze(2).sum(1)
    gold = gold + moves[tags[:, :-1], tags[:, 1:]].sum(1)
    loss = (torch.logsumexp(alpha, dim=1) - gold).mean()
    loss.backward()
    last = best.argmax(dim=1, keepdim=True)
    route = [last]
    for came in reversed(paths):
        last = came.gather(1, last)
        route.insert(0, last)
    return [loss.item(), moves.grad, torch.cat(route, dim=1)]


@script
def graph_convolution(side: Any) -> list[Any]:
    """Kipf and Welling 2017, with a normalized adjacency matrix and a mask for training nodes."""
    edges = torch.tensor([[0, 1, 2, 3, 4, 5, 0], [1, 2, 3, 4, 5, 0, 3]])
    adjacency = side.data(torch.zeros(6, 6).index_put((edges[0], edges[1]), torch.ones(7)))
    adjacency = adjacency + adjacency.t() + torch.eye(6)
    degree = adjacency.sum(1).pow(-0.5)
    adjacency = degree[:, None] * adjacency * degree[None, :]
    x, y = side.data(normal(6, 4)), side.data(torch.tensor([0, 1, 1, 0, 1, 0]))
    first, second = side.sent(nn.Linear(4, 5)), side.sent(nn.Linear(5, 2))
    optimizer = side.rt.optim.Adam([*first.parameters(), *second.parameters()], lr=0.05)
    train = torch.tensor([True, True, True, True, False, False])
    shown = []
    for _ in range(3):
        out = F.log_softmax(second(adjacency @ F.relu(first(adjacency @ x))), dim=1)
        loss = F.nll_loss(out[train], y[train])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shown.append(loss.item())
    return [*shown, (out.argmax(1)[~train] == y[~train]).sum() / 2]


@script
def skip_gram(side: Any) -> list[Any]:
    """word2vec (Mikolov et al. 2013) with negative sampling and sparse-free embeddings."""
    inner, outer = side.sent(nn.Embedding(9, 4)), side.sent(nn.Embedding(9, 4))
    centre, context = side.data(torch.arange(6)), side.data(torch.arange(6) + 3)
    optimizer = side.rt.optim.Adagrad([*inner.parameters(), *outer.parameters()], lr=0.1)
    shown = []
    for _ in range(2):
        negative = side.rt.randint(0, 9, (6, 3))
        v, u, n = inner(centre), outer(context), outer(negative)
        near = F.logsigmoid((v * u).sum(dim=1))
        far = F.logsigmoid(-torch.bmm(n, v.unsqueeze(2)).squeeze(2)).sum(1)
        loss = -(near + far).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shown.append(loss.item())
    return [*shown, inner.weight[2] @ inner.weight.T]


@script
def boltzmann_machine(side: Any) -> list[Any]:
    """One step of contrastive divergence (Hinton 2002), written on bare tensors."""
    visible = side.data((normal(8, 6) > 0).float())
    w, b, c = side.rt.zeros(6, 4) + 0.1, side.rt.zeros(6), side.rt.zeros(4)
    for _ in range(2):
        hidden = torch.sigmoid(visible @ w + c)
        drawn = hidden.bernoulli()
        back = torch.sigmoid(drawn @ w.t() + b).bernoulli()
        again = torch.sigmoid(back @ w + c)
        w += 0.1 * (visible.t() @ hidden - back.t() @ again) / visible.shape[0]
        b += 0.1 * (visible - back).mean(0)
        c.add_((hidden - again).mean(0), alpha=0.1)
    return [w, b, c, (visible - back).pow(2).mean()]


class Patches(nn.Module):
    """A vision transformer's first layer by `unfold`, and rotary places (Su et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.token = nn.Linear(16, 8), nn.Parameter(torch.zeros(1, 1, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        b = x.shape[0]
        patches = x.unfold(2, 4, 4).unfold(3, 4, 4).reshape(b, 1, 4, 16).squeeze(1)
        z = torch.cat([self.token.expand(b, -1, -1), self.embed(patches)], dim=1)
        angle = torch.outer(torch.arange(5.0), 10000 ** (-torch.arange(0, 4.0) / 4))
        even, odd = z[..., 0::2], z[..., 1::2]
        turned = [even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()]
        z = torch.stack(turned, dim=-1).flatten(-2)
        return self.head(self.encoder(z)[:, 0])


@script
def patches_with_rotary_places(side: Any) -> list[Any]:
    model, x = side.sent(Patches()), side.data(normal(4, 1, 8, 8))
    y = side.data(torch.tensor([0, 1, 2, 1]))
    loss = F.cross_entropy(model(x), y, label_smoothing=0.1)
    loss.backward()
    return [loss.item(), model.token.grad, model.embed.weight.grad.norm()]
