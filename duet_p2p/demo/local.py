"""The same training without anybody else, for the comparison at the end of the demo.

python -m duet_p2p.demo.local DIRECTORY --report FILE [--epochs N]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from duet_p2p.demo.digits import read_digits
from duet_p2p.demo.net import SyNet
from duet_p2p.demo.part import play
from duet_p2p.demo.scientist import BATCH, SEED, accuracy

__all__ = ["main"]


def main() -> None:
    """Trains with the same seeds, order and optimizer; writes seconds and accuracy."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--report", type=Path, required=True)
    arguments.add_argument("--epochs", type=int, default=1)
    options = arguments.parse_args()

    images, labels = read_digits(options.directory, train=True)
    torch.manual_seed(SEED)
    model = SyNet(torch)
    torch.manual_seed(SEED)
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    dataset = torch.utils.data.TensorDataset(images, labels)
    loader = torch.utils.data.DataLoader(dataset, batch_size=BATCH, drop_last=True)
    model.train()
    started = time.perf_counter()
    for _ in range(options.epochs):
        for data, target in loader:
            optimizer.zero_grad()
            loss: Any = F.nll_loss(model(data), target)
            loss.backward()
            optimizer.step()
        scheduler.step()
    seconds = time.perf_counter() - started
    test = read_digits(options.directory, train=False)
    options.report.write_text(json.dumps({"train_s": seconds, "after": accuracy(model, *test)}))


if __name__ == "__main__":
    play(main)
