"""The data scientist of the walk-through: trains a network on digits that it never sees.

    python -m duet_p2p.demo.scientist URL SESSION_ID DIRECTORY --report FILE [--epochs N]

`DIRECTORY` holds only test digits that the scientist has for itself, to measure accuracy here.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import duet_p2p as sy
from duet_p2p.demo.digits import MEAN, STD, read_digits
from duet_p2p.demo.net import SyNet
from duet_p2p.demo.part import play

__all__ = ["main"]

BATCH = 64
SEED = 42
LOSS_EVERY = 10
"""Batches from one request for the loss to the next."""


def main() -> None:
    """Joins, trains for some epochs, asks for the model, measures it on own digits."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("session_id")
    arguments.add_argument("directory", type=Path)
    arguments.add_argument("--report", type=Path, required=True)
    arguments.add_argument("--epochs", type=int, default=1)
    options = arguments.parse_args()

    images, labels = read_digits(options.directory, train=False)
    with sy.join_duet(options.session_id, network_url=options.url) as duet:
        torch.manual_seed(SEED)
        local = SyNet(torch)
        before = accuracy(local, images, labels)
        print(f"Accuracy before training: {before:.1%} of {len(labels):,} digits", flush=True)

        started = time.perf_counter()
        model = train(duet, local, options.epochs)
        asked = time.perf_counter()
        print("Asking for the model…", flush=True)
        trained = model.get(
            request_block=True,
            name="model_download",
            reason="to test it on digits of my own",
            timeout_secs=60,
        )
        if trained is None:
            raise SystemExit("The owner did not release the model.")
        received = time.perf_counter()
        after = accuracy(trained, images, labels)
        print(f"Accuracy after training: {after:.1%}", flush=True)
        report = {
            "before": before,
            "after": after,
            "train_s": asked - started,
            "download_s": received - asked,
            "status": duet.status(),
            "decided": [(r.name, str(r.status)) for r in duet.requests.history],
        }
        options.report.write_text(json.dumps(report, default=str))


def train(duet: sy.ScientistDuet, local: Any, epochs: int) -> Any:
    """The published training loop; returns the remote model."""
    rt, tv = duet.torch, duet.torchvision
    model = local.send(duet)
    cuda = rt.cuda.is_available().get(
        request_block=True, name="cuda_is_available", reason="where to run", timeout_secs=20
    )
    device = rt.device("cuda:0" if cuda else "cpu")
    print(f"The owner's device: {device.type.get()}", flush=True)
    model.cuda(device) if cuda else model.cpu()
    rt.manual_seed(SEED)

    optimizer = rt.optim.Adadelta(model.parameters(), lr=1.0)
    scheduler = rt.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    steps = duet.python.List()
    steps.append(tv.transforms.ToTensor())
    steps.append(tv.transforms.Normalize(MEAN, STD))
    dataset = tv.datasets.MNIST(
        "mnist", train=True, download=True, transform=tv.transforms.Compose(steps)
    )
    # A short last batch would be seen through dropout's holes: the guard would then hold back every
    # later loss (docs/threat-model.md).
    loader = rt.utils.data.DataLoader(dataset, batch_size=BATCH, drop_last=True)
    size = dataset.__len__().get(request_block=True, name="train_size", reason="progress bar")
    batches = size // BATCH
    print(f"{size:,} digits in {batches} batches, on the owner's side", flush=True)

    model.train()
    for epoch in range(1, epochs + 1):
        bar = tqdm(total=batches, desc=f"epoch {epoch}", unit="batch", disable=None)
        for number, (data, target) in enumerate(loader):
            optimizer.zero_grad()
            loss = rt.nn.functional.nll_loss(model(data), target)
            loss.backward()
            optimizer.step()
            if number % LOSS_EVERY == 0:
                value = loss.item().get(
                    name="loss", reason="watch training", request_block=True, timeout_secs=20
                )
                shown = "?" if value is None else f"{value:.4f}"
                bar.write(f"batch {number:4d}  loss {shown}")
            bar.update()
        bar.close()
        scheduler.step()
    return model


def accuracy(model: Any, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of digits that a local model names right."""
    model.eval()
    with torch.no_grad():
        predicted = torch.cat([model(part).argmax(dim=1) for part in torch.split(images, 500)])
    model.train()
    return (predicted == labels).float().mean().item()


if __name__ == "__main__":
    play(main)
