"""Reading MNIST's own files (IDX, plain or gzip) on the side that has them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import torch

__all__ = ["MEAN", "STD", "SUBSET", "read_digits"]

SUBSET = Path(__file__).parent / "mnist"
"""The 6,000 training and 1,000 test digits that ship with the package."""

MEAN, STD = 0.1307, 0.3081
"""Of MNIST's training pixels scaled to 0 … 1; the constants of the original walk-through."""


def read_digits(directory: Path, *, train: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The digits of one split, normalised.

    Args:
        directory: holds ``train-images-idx3-ubyte`` and so on, with or without ``.gz``.
        train: the training split, else the test split.

    Returns:
        float32 of shape (N, 1, 28, 28) and int64 of shape (N,).

    Raises:
        FileNotFoundError: a file is missing; the text names it.
        ValueError: a file is not IDX of the expected kind.
    """
    split = "train" if train else "t10k"
    images = _read(directory, f"{split}-images-idx3-ubyte", magic=2051)
    labels = _read(directory, f"{split}-labels-idx1-ubyte", magic=2049)
    pixels = images.float().div_(255).sub_(MEAN).div_(STD)
    return pixels.unsqueeze(1), labels.long()


def _read(directory: Path, name: str, *, magic: int) -> torch.Tensor:
    plain, packed = directory / name, directory / f"{name}.gz"
    if plain.exists():
        raw = plain.read_bytes()
    elif packed.exists():
        raw = gzip.decompress(packed.read_bytes())
    else:
        raise FileNotFoundError(f"{plain} (or .gz) is missing; --data names a folder with MNIST")
    found, ndim = struct.unpack(">i", raw[:4])[0], raw[3]
    if found != magic:
        raise ValueError(f"{name} starts with {found} instead of {magic}; it is not MNIST's file")
    shape = struct.unpack(f">{ndim}i", raw[4 : 4 + 4 * ndim])
    return torch.frombuffer(bytearray(raw[4 + 4 * ndim :]), dtype=torch.uint8).reshape(shape)
