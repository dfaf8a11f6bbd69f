"""Networks as people write them, for the programs in `scripts`."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["VAE", "ActorCritic", "Characters", "Positions", "Texts", "Transformer"]


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 16), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(16, 4), nn.Linear(16, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 20), nn.Sigmoid())

    def reparameterize(self, mean: Any, log_variance: Any) -> Any:
        if not self.training:
            return mean
        deviation = torch.exp(0.5 * log_variance)
        return torch.randn_like(deviation).mul(deviation).add_(mean)

    def forward(self, x: Any) -> Any:
        hidden = self.encoder(x.view(-1, 20))
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        return self.decoder(self.reparameterize(mean, log_variance)), mean, log_variance


class ActorCritic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.affine = nn.Linear(4, 16)
        self.action, self.value = nn.Linear(16, 2), nn.Linear(16, 1)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.affine(x))
        return F.softmax(self.action(x), dim=-1), self.value(x)


class Characters(nn.Module):
    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.embedding = nn.Embedding(size, 8)
        self.rnn = nn.GRU(8, hidden, 2, dropout=0.1, batch_first=True)
        self.out = nn.Linear(hidden, size)

    def forward(self, x: Any, hidden: Any) -> Any:
        outputs, hidden = self.rnn(self.embedding(x), hidden)
        return self.out(outputs), hidden

    def first(self, batch: int) -> Any:
        return next(iter(self.parameters())).new_zeros(2, batch, self.hidden)


class Texts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 6, padding_idx=0)
        self.rnn = nn.LSTM(6, 5, batch_first=True, bidirectional=True)
        self.out = nn.Linear(10, 2)

    def forward(self, x: Any) -> Any:
        mask = (x != 0).unsqueeze(-1).float()
        outputs, _ = self.rnn(self.embedding(x))
        return self.out((outputs * mask).sum(1) / mask.sum(1).clamp(min=1))


class Positions(nn.Module):
    def __init__(self, size: int, length: int) -> None:
        super().__init__()
        place = torch.arange(length).unsqueeze(1).float()
        rate = torch.exp(torch.arange(0, size, 2).float() * (-math.log(10_000.0) / size))
        table = torch.zeros(length, size)
        table[:, 0::2], table[:, 1::2] = torch.sin(place * rate), torch.cos(place * rate)
        self.register_buffer("table", table.unsqueeze(0))

    def forward(self, x: Any) -> Any:
        return x + self.table[:, : x.size(1)]  # type: ignore[index]


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(12, 16), Positions(16, 20)
        layer = nn.TransformerEncoderLayer(
            16, 4, 32, dropout=0.0, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(16, 12)

    def forward(self, x: Any) -> Any:
        mask = nn.Transformer.generate_square_subsequent_mask(x.size(1))
        hidden = self.positions(self.embedding(x) * math.sqrt(16))
        return self.out(self.encoder(hidden, mask=mask, is_causal=True))
