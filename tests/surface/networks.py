"""Networks as people write them, for the programs in `scripts`."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import rnn

__all__ = [
    "VAE", "ActorCritic", "Attending", "Characters", "Positions", "Segmenting", "Texts",
    "Transformer", "Variable",
]  # fmt: skip


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


class Variable(nn.Module):
    """Reads sequences of several lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 4, padding_idx=0)
        self.rnn = nn.LSTM(4, 5, batch_first=True, bidirectional=True, num_layers=2)
        self.out = nn.Linear(10, 2)

    def forward(self, x: Any, lengths: Any) -> Any:
        packed = rnn.pack_padded_sequence(
            self.embedding(x), lengths, batch_first=True, enforce_sorted=False
        )
        outputs, (state, _) = self.rnn(packed)
        padded, again = rnn.pad_packed_sequence(outputs, batch_first=True)
        return self.out(torch.cat((state[-2], state[-1]), dim=1)), padded, again


class Segmenting(nn.Module):
    """A small U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.joined = _twice(1, 4), _twice(4, 8), _twice(8, 4)
        self.pool, self.up = nn.MaxPool2d(2), nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.coarse = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.out = nn.Conv2d(12, 2, 1)

    def forward(self, x: Any) -> Any:
        fine = self.first(x)
        deep = self.second(self.pool(fine))
        up, coarse = self.up(deep), self.coarse(deep)
        down, right = fine.size(2) - up.size(2), fine.size(3) - up.size(3)
        edges = [right // 2, right - right // 2, down // 2, down - down // 2]
        joined = self.joined(torch.cat([fine, F.pad(up, edges)], dim=1))
        return self.out(torch.cat([joined, F.pad(coarse, edges)], dim=1))


def _twice(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1), nn.GroupNorm(2, after), nn.ReLU(inplace=True),
    )  # fmt: skip


class Attending(nn.Module):
    """Reads words and says others, after Bahdanau and others, arXiv 1409.0473."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.encoder = nn.Embedding(7, 5), nn.GRU(5, 6, batch_first=True)
        self.match, self.weigh = nn.Linear(12, 6), nn.Parameter(torch.rand(6))
        self.decoder, self.out = nn.GRU(11, 6, batch_first=True), nn.Linear(6, 7)

    def read(self, x: Any) -> Any:
        return self.encoder(self.words(x))

    def say(self, word: Any, state: Any, memory: Any) -> Any:
        batch, steps = memory.size(0), memory.shape[1]
        asked = state[-1].unsqueeze(1).repeat(1, steps, 1)
        energy = torch.tanh(self.match(torch.cat((asked, memory), dim=2))).permute(0, 2, 1)
        weights = F.softmax(
            torch.bmm(self.weigh.repeat(batch, 1).unsqueeze(1), energy).squeeze(1), dim=1
        )
        found = torch.bmm(weights.unsqueeze(1), memory)
        outputs, state = self.decoder(torch.cat((self.words(word), found), 2), state)
        return F.log_softmax(self.out(outputs[:, 0]), dim=1), state, weights
