"""Rules of single operations on the record axis; axes.py says which name has which.

A rule gets one call and answers where the records lie in the result, `REDUCED` if a sum over all of
them took the axis away, or None if records got mixed, told apart or chosen.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from duet_p2p.engine.labels import Rows

__all__ = [
    "REDUCED",
    "Call",
    "Rule",
    "alike",
    "are_per_feature",
    "binary_or_dim",
    "dims_of",
    "dropout",
    "elementwise",
    "embedding",
    "first_rows",
    "is_the_same_for_all",
    "layer_norm",
    "linear",
    "met",
    "norm_layer",
    "one_hot",
    "others_have_none",
    "over_features",
    "per_record_layer",
    "sum_rule",
    "thin",
    "where",
]

REDUCED: Final = -1
_DROPOUT_LOG2: Final = 64  # 2^-64: the chance that a mask leaves a sum over no or one record
_REPEATED_LOG2: Final = 40  # the same for all masks on the way together
_DROPPED_LOG2: Final = 16  # 2^-16: the chance that a mask drops none, so that one is rarely dropped
_DROPOUTS: Final = itertools.count(1)
_RESTING: Final = frozenset({"alpha_dropout", "feature_alpha_dropout"})
"""Dropouts that do nothing unless they are told that this is training."""


@dataclass(slots=True)
class Call:
    """One call that ran, as far as its rule needs it."""

    short: str
    """Last part of the name, without in-place underscore: ``add`` for ``Tensor.__iadd__``."""
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    result: Any
    rows: Callable[[torch.Tensor], Rows | None]
    is_private: Callable[[torch.Tensor], bool]
    alike: Mapping[int, frozenset[int]] = field(default_factory=dict)
    """Of public tensors that the call has written over: axes along which they were the same."""
    injected: bool = False
    """Set by `met` when something public told the records apart."""
    thinned: tuple[int, float] | None = None
    """Set by `dropout`: a number of its own, and the chance."""
    folded: tuple[int, int] = (1, 1)
    """Set by `reshape`: how many parts of each record lie before those of the next one, one of each
    at a time, and how many one after another."""
    is_joined: bool = False
    """Set by `reshape`: it put those parts together again."""
    rekeyed: tuple[int, tuple[str | int, ...]] | None = None
    """Set where the rows of the results are others than those of the arguments: how many, and their
    key."""
    states: tuple[int, tuple[str | int, ...]] | None = None
    """The same of all results but the first."""
    is_mixed: bool = False
    """Set where a sum over all records went into each one."""
    is_by_values: bool = False
    """Set where values of something public decided the answer: other ones can have another."""

    def get(self, name: str, position: int, default: Any = None) -> Any:
        """An argument by name or position."""
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[position] if len(self.args) > position else default

    def tensors(self) -> list[torch.Tensor]:
        """All tensor operands, those in lists too."""
        return list(_flat((*self.args, *self.kwargs.values())))

    def results(self) -> list[torch.Tensor]:
        """All tensors of the result."""
        return list(_flat((self.result,)))


Rule = Callable[[Call], int | tuple[int, ...] | None]


def _flat(values: Any, depth: int = 0) -> Any:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple) and depth < 3:
            yield from _flat(value, depth + 1)
        elif isinstance(value, dict) and depth < 3:
            yield from _flat(value.values(), depth + 1)


def met(call: Call, tensor: torch.Tensor, axis: int) -> bool:
    """A tensor without records meets the record axis here (counted from the left); may it?"""
    if not (0 <= axis < tensor.ndim) or tensor.shape[axis] == 1:
        return True
    if call.is_private(tensor) or tensor.requires_grad:
        return False
    if not is_the_same_for_all(call, tensor, axis):
        call.injected = True
    return True


def is_the_same_for_all(call: Call, tensor: torch.Tensor, axis: int) -> bool:
    """Whether a public tensor is alike for all records, which lie on this axis.

    It tells none apart: a column of ones, or the state that a recurrent network begins with.
    """
    if call.is_private(tensor) or tensor.requires_grad:
        return False
    call.is_by_values = True
    if (before := call.alike.get(id(tensor))) is not None:
        return axis in before
    return _is_alike(tensor, axis)


def alike(tensor: torch.Tensor) -> frozenset[int]:
    """The axes along which a tensor is the same."""
    return frozenset([axis for axis in range(tensor.ndim) if _is_alike(tensor, axis)])


_OF_BITS: Final = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def _is_alike(tensor: torch.Tensor, axis: int) -> bool:
    """By bits: zeros of either sign are equal, and the sign of one says which record it is."""
    if tensor.layout is not torch.strided or tensor.is_quantized or not tensor.numel():
        return False
    bits = tensor.detach().resolve_conj().resolve_neg()
    if bits.is_complex():
        bits = torch.view_as_real(bits)
    bits = bits.view(_OF_BITS[bits.element_size()])
    return bool((bits == bits.narrow(axis, 0, 1)).all())


def dims_of(value: Any, ndim: int) -> tuple[int, ...] | None:
    """Dimensions of an argument, from the left; None if it is not plain ints."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        value = (value,)
    if not isinstance(value, list | tuple):
        return None
    if not all(isinstance(d, int) and not isinstance(d, bool) for d in value):
        return None
    return tuple(d % ndim if ndim else 0 for d in value)


def first_rows(call: Call) -> tuple[torch.Tensor, Rows] | None:
    """The first argument, if it has records."""
    tensor = call.args[0] if call.args else call.kwargs.get("input")
    if not isinstance(tensor, torch.Tensor):
        return None
    rows = call.rows(tensor)
    return None if rows is None else (tensor, rows)


def others_have_none(call: Call, first: torch.Tensor) -> bool:
    """No operand but the first has records; the same tensor a second time is another operand."""
    with_rows = [t for t in call.tensors() if call.rows(t) is not None]
    return len(with_rows) == 1 and with_rows[0] is first


def elementwise(call: Call) -> int | None:
    """Broadcasting: axes are compared from the right."""
    from_right: int | None = None
    plain = []
    for tensor in call.tensors():
        rows = call.rows(tensor)
        if rows is None:
            plain.append(tensor)
        elif from_right is None:
            from_right = rows.axis - tensor.ndim
        elif from_right != rows.axis - tensor.ndim:
            return None
    results = call.results()
    if from_right is None or not results:
        return None
    if not all(met(call, tensor, tensor.ndim + from_right) for tensor in plain):
        return None
    return results[0].ndim + from_right


def where(call: Call) -> int | None:
    """With one argument it is `nonzero`."""
    return elementwise(call) if len(call.args) + len(call.kwargs) == 3 else None


def binary_or_dim(call: Call) -> int | None:
    """``max(x, y)`` is elementwise, ``max(x, dim=1)`` goes over features."""
    if isinstance(call.get("other", 1), torch.Tensor):
        return elementwise(call)
    return over_features(1, None)(call)


def dropout(call: Call) -> int | None:
    """The same for all records in distribution only; a mask that leaves one record is injected.

    So are masks that leave few records together, and one that drops so few that what is missing
    from a sum is one record.
    """
    first = first_rows(call)
    if first is None or not others_have_none(call, first[0]):
        return None
    chance = call.get("p", 1, 0.5)
    is_training = call.get("training", 2, call.kwargs.get("train", call.short not in _RESTING))
    if isinstance(chance, bool) or not isinstance(chance, int | float):
        return None
    if not is_training or chance == 0:
        return first[1].axis
    return first[1].axis if thin(call, first[1], chance) else None


def thin(call: Call, rows: Rows, chance: Any, masks: int = 1) -> bool:
    """Masks of this chance fall on the records, one behind the other; False if it is no number."""
    if isinstance(chance, bool) or not isinstance(chance, int | float):
        return False
    records = min(rows.records, rows.floor)  # parts of records are no records
    if (
        not 0 < chance <= 0.5
        or -math.log2(chance) * records < _DROPOUT_LOG2
        or -math.log2(1 - chance) * records < _DROPPED_LOG2
    ):
        call.injected = True
    own = (1 - chance) ** masks
    kept = math.prod(1 - c for _, c in rows.thinned) * own
    if (rows.thinned or masks > 1) and -math.log2(1 - kept) * records < _REPEATED_LOG2:
        call.injected = True
    call.thinned = (next(_DROPOUTS), chance if masks == 1 else 1 - own)
    return True


def sum_rule(call: Call, position: int = 1) -> int | None:
    """Permutation-invariant sums and moments; over the record axis they make an aggregate."""
    first = first_rows(call)
    if first is None or not others_have_none(call, first[0]):
        return None
    tensor, rows = first
    given = call.kwargs.get("dim", call.kwargs.get("axis"))
    if given is None and len(call.args) > position:
        rest = call.args[position:]
        ints = [d for d in rest if isinstance(d, int) and not isinstance(d, bool)]
        given = rest[0] if not isinstance(rest[0], int) or isinstance(rest[0], bool) else ints
        if isinstance(given, bool):
            given = None  # std(unbiased)
    if given is None or given == [] or given == ():
        return REDUCED
    dims = dims_of(given, tensor.ndim)
    if dims is None:
        return None
    if rows.axis in dims:
        return REDUCED
    return _without(call, tensor, rows, dims)


def _without(call: Call, tensor: torch.Tensor, rows: Rows, dims: tuple[int, ...]) -> int | None:
    """The record axis after these others were reduced, kept with size 1 or worked along."""
    results = call.results()
    if not results:
        return None
    if results[0].ndim == tensor.ndim:
        return rows.axis
    if results[0].ndim == tensor.ndim - len(set(dims)):
        return rows.axis - sum(d < rows.axis for d in set(dims))
    return None


def over_features(
    position: int, default: int | tuple[int, ...] | None, *, name: str = "dim"
) -> Callable[[Call], int | None]:
    """Any function along given axes, as long as none of them is the record axis."""

    def rule(call: Call) -> int | None:
        first = first_rows(call)
        if first is None:
            return None
        tensor, rows = first
        given = call.get(name, position, default)
        if isinstance(given, str) or given is None:
            return None
        dims = dims_of(given, tensor.ndim)
        if not dims or rows.axis in dims:
            return None
        for other in call.tensors():
            found = call.rows(other)
            if other is tensor:
                continue
            if found is None:
                # Of fewer axes it is laid along the last ones: its places are not what they seem.
                if other.ndim != tensor.ndim:
                    return None
                if not met(call, other, rows.axis):
                    return None
            elif found.axis != rows.axis or other.ndim != tensor.ndim:
                return None
        return _without(call, tensor, rows, dims)

    return rule


def per_record_layer(feature_dims: int) -> Rule:
    """Convolutions and pools: axis 0 of a batch, weights without records."""

    def rule(call: Call) -> int | None:
        first = first_rows(call)
        if first is None or not others_have_none(call, first[0]):
            return None
        tensor, rows = first
        if rows.axis != 0 or tensor.ndim != feature_dims + 2:
            return None
        return 0

    return rule


def linear(call: Call) -> int | None:
    """The last axis holds features."""
    first = first_rows(call)
    if first is None or not others_have_none(call, first[0]):
        return None
    tensor, rows = first
    if not are_per_feature(call.get("weight", 1), call.get("bias", 2)):
        return None
    return rows.axis if rows.axis < tensor.ndim - 1 else None


def are_per_feature(weight: Any, bias: Any) -> bool:
    """Whether the bias of a layer has a number for each of its features, and for no record.

    torch multiplies and adds: it takes a matrix with a row for each record, or, beside a weight of
    one axis, as many numbers as there are records.
    """
    if not isinstance(bias, torch.Tensor):
        return True
    return bias.ndim < 2 and (bias.numel() == 1 or getattr(weight, "ndim", 2) == 2)


def norm_layer(call: Call) -> int | None:
    """batch_norm, group_norm, instance_norm, prelu: channels are axis 1, records axis 0.

    In training mode batch_norm mixes the batch's mean and variance in. Those are aggregates over
    the same records, like ``x - x.mean(0)``.
    """
    first = first_rows(call)
    if first is None or not others_have_none(call, first[0]) or first[1].axis != 0:
        return None
    call.is_mixed = call.short == "batch_norm" and bool(call.get("training", 5, False))
    return 0 if first[0].ndim >= 2 else None


def layer_norm(call: Call) -> int | None:
    """Normalises over the last axes."""
    first = first_rows(call)
    shape = call.get("normalized_shape", 1)
    if first is None or not others_have_none(call, first[0]):
        return None
    if not isinstance(shape, list | tuple):
        return None
    return first[1].axis if first[1].axis < first[0].ndim - len(shape) else None


def embedding(call: Call) -> int | None:
    """Indices with records look up rows of a table without."""
    indices, table = call.get("input", 0), call.get("weight", 1)
    if not isinstance(indices, torch.Tensor) or not isinstance(table, torch.Tensor):
        return None
    rows = call.rows(indices)
    return rows.axis if rows is not None and call.rows(table) is None else None


def one_hot(call: Call) -> int | None:
    """Each index becomes a row of its own."""
    first = first_rows(call)
    # without a number of classes the shape tells the largest value
    return first[1].axis if first and call.get("num_classes", 1, -1) > 0 else None
