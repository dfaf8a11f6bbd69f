"""``python -m duet_p2p.demo``, the same as ``duet demo``."""

import typer

from duet_p2p.demo.command import demo

if __name__ == "__main__":
    typer.run(demo)
