"""Sequences of several lengths: packed, padded and unpacked with operations that are offered.

`pack_padded_sequence` and its kin are Python around one private function each that believes its
lengths. The lengths are numbers of this side, so which row goes where is worked out here, by
torch's own function on row numbers, mistakes included; the rows move over there.
"""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.errors import NotAllowed
from duet_p2p.scientist.pointer import Pointer

__all__ = ["pack", "pad", "pad_all"]


def pack(data: Any, lengths: Any, batch_first: bool) -> tuple[Any, torch.Tensor]:
    """``torch._pack_padded_sequence``: rows step by step, and how many each step has.

    Args:
        data: pointer to (steps, batch, …), or (batch, steps, …) with `batch_first`.
        lengths: of this side, longest first.
        batch_first: which of the two.

    Raises:
        NotAllowed: the lengths are a pointer.
    """
    if isinstance(lengths, Pointer) or not isinstance(data, Pointer):
        raise NotAllowed(
            "the lengths of a packed sequence decide the shape of what follows, so they are known "
            "here: give numbers or a tensor of this side (get() the lengths, or mask the padding)"
        )
    outer = data.shape[:2]
    rows = torch.arange(outer[0] * outer[1]).view(outer)
    order, sizes = torch._VF._pack_padded_sequence(rows, lengths, batch_first)
    return data.flatten(0, 1).index_select(0, order), sizes


def pad(
    data: Any, sizes: Any, batch_first: bool, padding_value: float, total_length: int
) -> tuple[Any, torch.Tensor]:
    """``torch._pad_packed_sequence``: the inverse, and the lengths."""
    if isinstance(sizes, Pointer):
        raise NotAllowed("the batch sizes of a packed sequence are a tensor of this side")
    rows = torch.arange(data.shape[0])
    found, lengths = torch._VF._pad_packed_sequence(rows, sizes, batch_first, -1, total_length)
    flat = found.flatten()
    places = torch.empty_like(rows)
    places[flat[flat >= 0]] = flat.ge(0).nonzero()[:, 0]
    empty = data.new_full((len(flat), *data.shape[1:]), padding_value)
    padded = empty.index_copy(0, places, data)
    return padded.reshape(*found.shape, *data.shape[1:]), lengths


def pad_all(
    sequences: Any,
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Any:
    """``torch.nn.utils.rnn.pad_sequence``: all as long as the longest, stacked."""
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"padding_side must be 'left' or 'right', got {padding_side!r}")
    longest = max(sequence.shape[0] for sequence in sequences)
    padded = []
    for sequence in sequences:
        missing = longest - sequence.shape[0]
        ends = (missing, 0) if padding_side == "left" else (0, missing)
        sides = [0, 0] * (len(sequence.shape) - 1) + list(ends)
        padded.append(torch.nn.functional.pad(sequence, sides, value=padding_value))
    return torch.stack(padded, 0 if batch_first else 1)
