"""Reading IDX files, the format of MNIST: a magic number, big-endian sizes, then bytes.

Source: the description on the page of the MNIST database. Plain and gzip-compressed files. A
compressed one is unpacked in memory, never to disk: unpacked private data is nowhere left behind.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO

import torch

__all__ = ["read_idx"]

_UNSIGNED_BYTE = 0x08
_MAX_DIMS = 4


def _read_from(file: BinaryIO, max_bytes: int) -> torch.Tensor:
    head = file.read(4)
    if len(head) != 4 or head[:2] != b"\0\0" or head[2] != _UNSIGNED_BYTE:
        raise ValueError("not an IDX file of bytes")
    if not 1 <= head[3] <= _MAX_DIMS:
        raise ValueError("not an IDX file of bytes")
    sizes = file.read(4 * head[3])
    if len(sizes) != 4 * head[3]:
        raise ValueError("an IDX file that ends too early")
    shape = [int.from_bytes(sizes[i : i + 4], "big") for i in range(0, len(sizes), 4)]
    nbytes = math.prod(shape)
    if nbytes > max_bytes:
        raise ValueError("an IDX file that is too large")
    data = bytearray(nbytes)
    view = memoryview(data)
    filled = 0
    while filled < nbytes:
        count = file.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            raise ValueError("an IDX file that ends too early")
        filled += count
    if not nbytes:
        return torch.zeros(shape, dtype=torch.uint8)
    return torch.frombuffer(data, dtype=torch.uint8).reshape(shape)


def read_idx(path: Path, max_bytes: int) -> torch.Tensor:
    """The content of one file as a uint8 tensor.

    Args:
        path: ``….idx3-ubyte`` or with ``.gz``.
        max_bytes: largest content, unpacked.

    Raises:
        ValueError: it is not an IDX file of bytes, is cut, or is larger.
    """
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                return _read_from(file, max_bytes)  # type: ignore[arg-type]
        with path.open("rb") as plain:
            return _read_from(plain, max_bytes)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise ValueError("a damaged IDX file") from None
