"""Calls that draw random numbers, also those whose names do not say so.

A transform draws as its settings and the size of the image say; attention and recurrent layers
draw for their dropout, as many numbers as their input has. Where a private value decided that, all
random numbers behind the call are as private: the next public one would tell it.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import Arguments, is_private, tensors_in
from duet_p2p.engine.batches import of_shapes
from duet_p2p.engine.labels import PUBLIC, Label, join
from duet_p2p.engine.lineage import Lineage, is_atomic, reach
from duet_p2p.engine.store import Slot
from duet_p2p.surface.table import TABLE
from duet_p2p.surface.transforms import is_transform
from duet_p2p.wire.values import Ref

__all__ = ["drawn_by", "draws_by_shape", "draws_by_values", "is_random"]

_RANDOM_NAMES: Final = """
rand randn randint randperm rand_like randn_like randint_like normal bernoulli multinomial poisson
binomial dropout dropout1d dropout2d dropout3d feature_dropout alpha_dropout feature_alpha_dropout
rrelu gumbel_softmax sample rsample random uniform exponential cauchy geometric log_normal
random_split next iter __next__ fractional_max_pool2d fractional_max_pool3d
fractional_max_pool2d_with_indices fractional_max_pool3d_with_indices svd_lowrank pca_lowrank
"""
_RANDOM: Final = frozenset(_RANDOM_NAMES.split())

_BY_SHAPE_NAMES: Final = """
rand randn randint randperm rand_like randn_like randint_like dropout dropout1d dropout2d
dropout3d feature_dropout alpha_dropout feature_alpha_dropout gumbel_softmax next iter __next__
fractional_max_pool2d fractional_max_pool3d fractional_max_pool2d_with_indices
fractional_max_pool3d_with_indices svd_lowrank pca_lowrank
"""
_BY_SHAPE: Final = frozenset(_BY_SHAPE_NAMES.split())
"""They draw as many numbers as the shape says, whatever the values are.

Not so ``bernoulli`` and ``normal``: they fail before they draw if a chance or a deviation is none.
Nor ``rrelu``: it draws one for each number that is not above zero.
"""
_ITEM: Final = "torch.utils.data.Dataset.__getitem__"
_APPLYING: Final = frozenset({
    _ITEM, "torchvision.transforms.Transform.__call__", "torchvision.transforms.FiveCrop.__call__",
    "torchvision.transforms.TenCrop.__call__",
})  # fmt: skip
"""They apply transforms."""
_STARTING: Final = "torch.lobpcg"
"""It draws where it starts, whatever its numbers are."""
_WITH_DROPOUT: Final = frozenset({
    "torch.lstm", "torch.gru", "torch.rnn_tanh", "torch.rnn_relu",
    "torch.nn.functional.scaled_dot_product_attention",
    "torch.nn.functional.multi_head_attention_forward",
})  # fmt: skip


@cache
def is_random(name: str) -> bool:
    """Whether a name draws from the session's generator."""
    short = name.rpartition(".")[2]
    return short.rstrip("_") in _RANDOM or short in _RANDOM or name.startswith("torch.nn.init.")


def draws_by_shape(name: str) -> bool:
    """Whether a random name draws as many numbers whatever the values are."""
    short = name.rpartition(".")[2]
    is_listed = short.rstrip("_") in _BY_SHAPE or short in _BY_SHAPE
    return is_listed or name.startswith("torch.nn.init.")


def draws_by_values(name: str, given: Arguments, lineage: Lineage) -> bool:
    """Whether private values may decide how many numbers a random call draws, or that it fails.

    What draws as the shape says has drawn before it fails on values; a layer draws while it trains.
    """
    if not is_random(name):
        return False
    short = name.rpartition(".")[2]
    if short.rstrip("_") == "rrelu" and given.setting("training", 3) is False:
        return False
    # the first argument is a size, or a tensor of which only the shape is looked at
    is_size = TABLE[name].form == "factory" and not name.endswith("_like")
    others = tensors_in(given.values() if is_size else given.beside_first())
    # a chance that is no chance fails, and then nothing is drawn
    is_chosen = any(is_private(lineage.label(value)) for value in others)
    return is_chosen or not (draws_by_shape(name) and given.has_public_facts(lineage))


def drawn_by(name: str, given: Arguments, lineage: Lineage) -> Label:
    """What private values decided of how many numbers a call draws; public for all other names."""
    if name in _APPLYING:
        return join(_of_applied(name, given, lineage))
    if name in _WITH_DROPOUT and not any(type(v) is float and v > 0 for v in _told(given)):
        return PUBLIC
    if name in _WITH_DROPOUT or name == _STARTING:
        # lengths of a packed sequence are whole numbers
        counts = [t for t in given.tensors() if t.dtype is torch.int64]
        labels = [given.beside(lineage), *map(lineage.label, counts)]
        return join((*labels, *_of_sizes(given, lineage)))
    return PUBLIC


def _told(given: Arguments) -> list[Any]:
    """The arguments that public facts say, as the chance of a dropout must be."""
    slots: dict[int | str, Slot | None] = dict(enumerate(given.at))
    slots |= {k: given.slots.get(w.id) for k, w in given.named.items() if isinstance(w, Ref)}
    every: list[tuple[int | str, Any]] = [*enumerate(given.args), *given.kwargs.items()]
    return [
        value for place, value in every
        if (slot := slots.get(place)) is None or not (slot.is_loose or is_private(slot.label))
    ]  # fmt: skip


def _of_applied(name: str, given: Arguments, lineage: Lineage) -> list[Label]:
    """Settings of the transforms, sizes, and which item it is."""
    labels = _of_sizes(given, lineage)
    if name == _ITEM and any(map(is_transform, reach(given.values()))):
        labels.append(given.label_from(1, 2, lineage))
    return labels


def _of_sizes(given: Arguments, lineage: Lineage) -> list[Label]:
    labels = [slot.label for slot in given.slots.values() if slot.is_loose]
    return labels + [of_shapes(value, lineage) for value in given.values() if not is_atomic(value)]
