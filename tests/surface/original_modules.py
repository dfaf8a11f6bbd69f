"""How each module class of the original is made, and an input for its forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Case = tuple[Callable[[Any], Any], Callable[[], tuple[Any, ...]]]
"""What makes it, of `torch` or of `duet.torch`; and what goes into its forward."""


def _rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(7))


def vector() -> torch.Tensor:
    return _rand(3, 4)


def sequence() -> torch.Tensor:
    return _rand(2, 4, 8)


def picture() -> torch.Tensor:
    return _rand(2, 4, 8, 8)


def volume() -> torch.Tensor:
    return _rand(1, 4, 6, 6, 6)


def signs() -> torch.Tensor:
    return torch.tensor([1.0, -1.0, 1.0])


def classes() -> torch.Tensor:
    return torch.tensor([0, 3, 1])


_INPUTS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "1d": lambda: (sequence(),),
    "2d": lambda: (picture(),),
    "3d": lambda: (volume(),),
}

# Arguments of the constructor where some are needed.
_MADE: dict[str, tuple[Any, ...]] = {
    "AdaptiveAvgPool": (2,),
    "AdaptiveMaxPool": (2,),
    "AvgPool": (2,),
    "BatchNorm": (4,),
    "ConstantPad": (1, 0.5),
    "Conv": (4, 3, 3),
    "ConvTranspose": (4, 3, 3),
    "FractionalMaxPool": (2, 3),
    "InstanceNorm": (4,),
    "LPPool": (2, 2),
    "MaxPool": (2,),
    "ReflectionPad": (1,),
    "ReplicationPad": (1,),
    "ZeroPad": (1,),
}
_FIXED: dict[str, tuple[tuple[Any, ...], Callable[[], tuple[Any, ...]]]] = {
    "BCELoss": ((), lambda: (vector(), vector())),
    "BCEWithLogitsLoss": ((), lambda: (vector(), vector())),
    "Bilinear": ((4, 4, 2), lambda: (vector(), vector())),
    "CosineEmbeddingLoss": ((), lambda: (vector(), vector(), signs())),
    "CosineSimilarity": ((), lambda: (vector(), vector())),
    "CrossEntropyLoss": ((), lambda: (vector(), classes())),
    "CrossMapLRN2d": ((2,), lambda: (picture(),)),
    "Embedding": ((5, 3), lambda: (classes(),)),
    "EmbeddingBag": ((5, 3), lambda: (classes().unsqueeze(0),)),
    "Fold": (((4, 4), 2), lambda: (_rand(1, 8, 9),)),
    "GroupNorm": ((2, 4), lambda: (vector(),)),
    "GRU": ((4, 5), lambda: (_rand(3, 2, 4),)),
    "GRUCell": ((4, 5), lambda: (vector(),)),
    "HingeEmbeddingLoss": ((), lambda: (vector()[:, 0], signs())),
    "KLDivLoss": ((), lambda: (vector().log(), vector())),
    "L1Loss": ((), lambda: (vector(), vector() * 2)),
    "LayerNorm": ((4,), lambda: (vector(),)),
    "Linear": ((4, 2), lambda: (vector(),)),
    "LocalResponseNorm": ((2,), lambda: (picture(),)),
    "LSTM": ((4, 5), lambda: (_rand(3, 2, 4),)),
    "LSTMCell": ((4, 5), lambda: (vector(),)),
    "MarginRankingLoss": ((), lambda: (vector()[:, 0], vector()[:, 1], signs())),
    "MSELoss": ((), lambda: (vector(), vector() * 2)),
    "MultiheadAttention": ((4, 2), lambda: (_rand(3, 2, 4), _rand(3, 2, 4), _rand(3, 2, 4))),
    "MultiLabelMarginLoss": (
        (),
        lambda: (vector(), torch.tensor([[0, 3, -1, 1], [1, -1, 0, 0], [2, 0, -1, -1]])),
    ),
    "MultiLabelSoftMarginLoss": ((), lambda: (vector(), vector().round())),
    "MultiMarginLoss": ((), lambda: (vector(), classes())),
    "NLLLoss": ((), lambda: (vector(), classes())),
    "NLLLoss2d": ((), lambda: (picture(), torch.zeros(2, 8, 8, dtype=torch.int64))),
    "PairwiseDistance": ((), lambda: (vector(), vector() * 2)),
    "PixelShuffle": ((2,), lambda: (picture(),)),
    "PoissonNLLLoss": ((), lambda: (vector(), vector())),
    "RNN": ((4, 5), lambda: (_rand(3, 2, 4),)),
    "RNNCell": ((4, 5), lambda: (vector(),)),
    "SmoothL1Loss": ((), lambda: (vector(), vector() * 2)),
    "SoftMarginLoss": ((), lambda: (vector()[:, 0], signs())),
    "Softmax2d": ((), lambda: (picture(),)),
    "Threshold": ((0.5, 2.0), lambda: (vector(),)),
    "Transformer": ((4, 2, 1, 1, 8, 0.0), lambda: (_rand(3, 2, 4), _rand(3, 2, 4))),
    "TransformerDecoderLayer": ((4, 2, 8, 0.0), lambda: (_rand(3, 2, 4), _rand(3, 2, 4))),
    "TransformerEncoderLayer": ((4, 2, 8, 0.0), lambda: (_rand(3, 2, 4),)),
    "TripletMarginLoss": ((), lambda: (vector(), vector() * 2, vector() + 1)),
    "Unfold": ((2,), lambda: (picture(),)),
    "Upsample": ((None, 2), lambda: (picture(),)),
    "UpsamplingBilinear2d": ((None, 2), lambda: (picture(),)),
    "UpsamplingNearest2d": ((None, 2), lambda: (picture(),)),
}

_BUILT: dict[str, Case] = {
    "Sequential": (
        lambda t: t.nn.Sequential(t.nn.Linear(4, 3), t.nn.ReLU()),
        lambda: (vector(),),
    ),
    "ModuleList": (lambda t: t.nn.ModuleList([t.nn.Linear(4, 3), t.nn.ReLU()]), tuple),
    "ModuleDict": (lambda t: t.nn.ModuleDict({"fc": t.nn.Linear(4, 3)}), tuple),
    "Container": (lambda t: t.nn.Container(fc=t.nn.Linear(4, 3)), tuple),
    "RNNBase": (lambda t: t.nn.RNNBase("LSTM", 4, 5), tuple),
    "RNNCellBase": (lambda t: t.nn.RNNCellBase(4, 5, True, 4), tuple),
    "TransformerEncoder": (
        lambda t: t.nn.TransformerEncoder(t.nn.TransformerEncoderLayer(4, 2, 8, 0.0), 1),
        lambda: (_rand(3, 2, 4),),
    ),
    "TransformerDecoder": (
        lambda t: t.nn.TransformerDecoder(t.nn.TransformerDecoderLayer(4, 2, 8, 0.0), 1),
        lambda: (_rand(3, 2, 4), _rand(3, 2, 4)),
    ),
    "AdaptiveLogSoftmaxWithLoss": (
        lambda t: t.nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2]),
        lambda: (vector(), classes()),
    ),
    "CTCLoss": (
        lambda t: t.nn.CTCLoss(),
        lambda: (
            _rand(5, 2, 4).log_softmax(-1),
            torch.tensor([[1, 2], [2, 3]]),
            torch.tensor([5, 5]),
            torch.tensor([2, 2]),
        ),
    ),
}
for _n, _x in (("1", sequence), ("2", picture), ("3", volume)):
    _BUILT[f"MaxUnpool{_n}d"] = (
        lambda t, n=_n: getattr(t.nn, f"MaxUnpool{n}d")(2),
        lambda n=_n, x=_x: getattr(nn, f"MaxPool{n}d")(2, return_indices=True)(x()),
    )


def case_of(name: str) -> Case:
    """The case of a class, ``Conv2d``; classes of one input of features need no entry."""
    if name in _BUILT:
        return _BUILT[name]
    if name in _FIXED:
        args, inputs = _FIXED[name]
        return (lambda t: getattr(t.nn, name)(*args)), inputs
    stem, dims = name[:-2], name[-2:]
    if dims in _INPUTS:
        args = _MADE.get(stem, ())
        return (lambda t: getattr(t.nn, name)(*args)), _INPUTS[dims]
    if name in ("FeatureAlphaDropout",):
        return (lambda t: getattr(t.nn, name)()), _INPUTS["3d"]
    if name == "SyncBatchNorm":
        return (lambda t: t.nn.SyncBatchNorm(4)), lambda: (vector(),)
    return (lambda t: getattr(t.nn, name)()), lambda: (vector(),)
