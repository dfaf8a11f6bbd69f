"""The data owner of the walk-through: a process of its own, as a notebook would be.

    python -m duet_p2p.demo.owner URL DIRECTORY [--keep-open]

The loss is denied for the first requests and shown here only; then the owner changes one handler
and the scientist sees it too. The model leaves after a look at what it is.
"""

from __future__ import annotations

import argparse
import time

import duet_p2p as sy
from duet_p2p.demo.part import play

__all__ = ["main"]

DENIED_FIRST = 4
"""Losses that are denied before the owner allows them."""


def main() -> None:
    """Launches, sets handlers, decides what waits, until the scientist leaves; then again."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("directory")
    arguments.add_argument("--keep-open", action="store_true")
    options = arguments.parse_args()

    is_first = True
    while is_first or options.keep_open:
        is_first = False
        with sy.launch_duet(
            network_url=options.url, data_dirs={"mnist": options.directory}
        ) as duet:
            _decide(duet)


def _decide(duet: sy.OwnerDuet) -> None:
    requests = duet.requests
    requests.add_handler(name="cuda_is_available", action="accept")
    requests.add_handler(name="train_size", action="accept")
    requests.add_handler(name="loss", action="deny", print_local=True)
    print(requests.handlers.pandas.to_string(), flush=True)
    allowed = downloaded = False
    while duet.is_open:
        losses = [r for r in requests.history if r.name == "loss"]
        if not allowed and len(losses) >= DENIED_FIRST:
            print("The loss may be seen from here on.", flush=True)
            requests.add_handler(name="loss", action="accept")
            allowed = True
        for request in requests:
            print(
                f"{request.name!r} waits: {request.request_description!r}, kind {request.kind}, "
                f"{request.elements:,} numbers, {request.nbytes:,} bytes",
                flush=True,
            )
            if request.name == "model_download" and not downloaded:
                request.accept()
                downloaded = True
                print("Accepted, once.", flush=True)
            else:
                request.deny("not part of the walk-through")
        time.sleep(0.05)


if __name__ == "__main__":
    play(main)
