"""Rules of operations that work on the features of each record and leave the record axis alone."""

from __future__ import annotations

from typing import Any, Final

import torch

from duet_p2p.engine.axis_rules import (
    REDUCED,
    Call,
    Rule,
    dims_of,
    elementwise,
    first_rows,
    met,
    others_have_none,
    over_features,
)

__all__ = [
    "TRANSFORMS",
    "batch_layer",
    "batch_of",
    "bilinear",
    "covariance",
    "distance",
    "distances",
    "drawn",
    "einsum",
    "last_two",
    "leaky",
    "members",
    "pad",
    "unfold",
]


def pad(call: Call) -> int | None:
    """Sizes are given from the last axis on; they must end before the record axis."""
    first = first_rows(call)
    sizes = call.get("pad", 1)
    if first is None or not others_have_none(call, first[0]):
        return None
    if not isinstance(sizes, list | tuple) or len(sizes) % 2:
        return None
    tensor, rows = first
    return rows.axis if rows.axis < tensor.ndim - len(sizes) // 2 else None


def batch_layer(least: int) -> Rule:
    """Layers over the last axes of a batch of so many axes at least: records on the first one."""

    def rule(call: Call) -> int | None:
        first = first_rows(call)
        if first is None or not others_have_none(call, first[0]) or len(call.tensors()) != 1:
            return None
        tensor, rows = first
        return 0 if rows.axis == 0 and tensor.ndim >= least else None

    return rule


def unfold(call: Call) -> int | None:
    """``F.unfold(x, kernel)`` of images, and ``x.unfold(dim, size, step)`` along a feature axis.

    The first takes a batch from four axes to three, the second adds one.
    """
    first, results = first_rows(call), call.results()
    if first is None or not others_have_none(call, first[0]) or len(results) != 1:
        return None
    tensor, rows = first
    if results[0].ndim == 3 and tensor.ndim == 4:
        return 0 if rows.axis == 0 else None
    if results[0].ndim != tensor.ndim + 1:
        return None
    dims = dims_of(call.get("dimension", 1), tensor.ndim)
    return rows.axis if dims and len(dims) == 1 and rows.axis not in dims else None


def bilinear(call: Call) -> int | None:
    """``bilinear(x, y, weight, bias)``: both sides have the records, or one that is injected."""
    left, right = call.get("input1", 0), call.get("input2", 1)
    weight, bias = call.get("weight", 2), call.get("bias", 3)
    sides = [left, right]
    if not all(isinstance(t, torch.Tensor) and t.ndim >= 2 for t in sides):
        return None
    if left.ndim != right.ndim or any(
        isinstance(t, torch.Tensor) and call.rows(t) is not None for t in (weight, bias)
    ):
        return None
    if isinstance(bias, torch.Tensor) and bias.ndim > 1:
        return None
    found = [rows for t in sides if (rows := call.rows(t)) is not None]
    if not found or any(rows.axis != found[0].axis for rows in found):
        return None
    axis = found[0].axis
    if axis >= left.ndim - 1:
        return None
    return axis if all(met(call, t, axis) for t in sides if call.rows(t) is None) else None


def distance(call: Call) -> int | None:
    """``pairwise_distance(x, y)``: over the last axis, and before that like `elementwise`."""
    found, results = elementwise(call), call.results()
    if found is None or len(call.tensors()) != 2 or len(results) != 1:
        return None
    is_kept = bool(call.get("keepdim", 4, False))
    axis = found if is_kept else found + 1  # `elementwise` counted from the right
    return axis if axis < results[0].ndim - is_kept else None


def distances(call: Call) -> int | None:
    """``cdist(x, centres)``: each record against points without records, or its own points."""
    left, right = call.get("x1", 0), call.get("x2", 1)
    if not isinstance(left, torch.Tensor) or not isinstance(right, torch.Tensor):
        return None
    of_left, of_right = call.rows(left), call.rows(right)
    if of_left and of_right:
        is_batch = left.ndim == right.ndim == 3 and of_left.axis == of_right.axis == 0
        return 0 if is_batch else None
    if left.ndim != 2 or right.ndim != 2:
        return None
    if of_left:
        return 0 if of_left.axis == 0 else None
    return 1 if of_right and of_right.axis == 0 else None


def covariance(call: Call) -> int | None:
    """``cov`` and ``corrcoef`` of variables by observations: sums over the observations."""
    first = first_rows(call)
    if first is None or len(call.tensors()) != 1 or first[0].ndim != 2:
        return None
    tensor, rows = first
    return REDUCED if rows.axis == tensor.ndim - 1 else None


def members(call: Call) -> int | None:
    """``bucketize(x, bounds)`` and ``isin(x, set)``: each number against all of the second.

    Where `isin` is told that none stands twice, it finds equal ones in the first beside each other,
    all but the last of them.
    """
    if call.kwargs.get("assume_unique", False) is not False:
        return None
    first = first_rows(call)
    other = call.get("boundaries" if call.short == "bucketize" else "test_elements", 1)
    if first is None or not others_have_none(call, first[0]):
        return None
    return first[1].axis if isinstance(other, torch.Tensor) else None


def last_two(call: Call) -> int | None:
    """``tril`` and ``triu`` of each matrix of a batch."""
    first = first_rows(call)
    if first is None or not others_have_none(call, first[0]):
        return None
    return first[1].axis if first[1].axis < first[0].ndim - 2 else None


def batch_of(least: int) -> Rule:
    """Layers whose operands all have the records on axis 0, or meet them there."""

    def rule(call: Call) -> int | None:
        tensors = call.tensors()
        for tensor in tensors:
            rows = call.rows(tensor)
            if tensor.ndim < least:
                return None
            if rows is not None:
                if rows.axis != 0:
                    return None
            elif not met(call, tensor, 0):
                return None
        return 0 if len({t.shape[0] for t in tensors}) == 1 else None

    return rule


def drawn(call: Call) -> int | None:
    """``gumbel_softmax(x, tau, hard, eps, dim)``: numbers of a known seed meet each record."""
    call.injected = True
    return over_features(4, -1)(call)


def leaky(call: Call) -> int | None:
    """``rrelu``: a slope of its own for each number below zero in training, else one for all."""
    is_training = call.get("training", 3, False)
    call.injected = bool(is_training)
    return elementwise(call)


def einsum(call: Call) -> int | None:
    """The letter of the record axis stays, or is a sum over all records, of whatever many factors.

    A letter that stands twice in one operand takes a diagonal. What an ellipsis stands for is laid
    along each other from the right.
    """
    text = call.get("equation", 0)
    operands = list(call.args[1:])
    if len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = list(operands[0])
    if not isinstance(text, str) or not operands or call.kwargs:
        return None
    if not all(isinstance(t, torch.Tensor) for t in operands):
        return None
    spelt = _spelt(text, [tensor.ndim for tensor in operands])
    if spelt is None:
        return None
    inputs, output = spelt
    letters = {
        s[rows.axis]
        for s, t in zip(inputs, operands, strict=True)
        if (rows := call.rows(t)) is not None
    }
    if len(letters) != 1:
        return None
    letter = letters.pop()
    for subscripts, tensor in zip(inputs, operands, strict=True):
        is_met = call.rows(tensor) is None and letter in subscripts
        if is_met and not met(call, tensor, subscripts.index(letter)):
            return None
    return output.index(letter) if letter in output else REDUCED


_UNNAMED: Final = 0xE000
"""Characters from here on stand for the axes of an ellipsis, the last one first; no text has them:
torch takes letters only."""


def _spelt(text: str, ranks: list[int]) -> tuple[list[str], str] | None:
    """The subscripts of each operand and of the result, each with a character for each axis."""
    sides = text.replace(" ", "").split("->")
    if len(sides) != 2 or any(side.count("...") != side.count(".") / 3 for side in sides):
        return None
    inputs, output = sides[0].split(","), sides[1]
    if len(inputs) != len(ranks):
        return None
    named, widest = [], 0
    for subscripts, rank in zip(inputs, ranks, strict=True):
        many = rank - len(subscripts.replace("...", "")) if "..." in subscripts else 0
        if many < 0 or subscripts.count("...") > 1:
            return None
        widest = max(widest, many)
        named.append(subscripts.replace("...", _unnamed(many)))
    output = output.replace("...", _unnamed(widest))
    if any(len(set(s)) != len(s) for s in (*named, output)):
        return None
    if any(len(s) != rank for s, rank in zip(named, ranks, strict=True)):
        return None
    return named, output


def _unnamed(many: int) -> str:
    return "".join(chr(_UNNAMED + place) for place in reversed(range(many)))


def paired(position: int, default: int) -> Rule:
    """``cosine_similarity(x, y, dim)``: laid along each other, then over one axis that goes.

    The axis is counted among those of both together.
    """

    def rule(call: Call) -> int | None:
        found, results = elementwise(call), call.results()
        if found is None or len(call.tensors()) != 2 or len(results) != 1:
            return None
        ndim = results[0].ndim + 1
        dims = dims_of(call.get("dim", position, default), ndim)
        axis = found + 1  # `elementwise` counted from the right of one axis fewer
        if dims is None or len(dims) != 1 or axis in dims or not 0 <= axis < ndim:
            return None
        return axis - (dims[0] < axis)

    return rule


def turned(call: Call) -> int | None:
    """``rot90(x, k, dims)`` of two feature axes."""
    first = first_rows(call)
    if first is None or len(call.tensors()) != 1:
        return None
    dims = dims_of(call.get("dims", 2, (0, 1)), first[0].ndim)
    return first[1].axis if dims and first[1].axis not in dims else None


def diagonal(call: Call) -> int | None:
    """``diagonal(x, offset, dim1, dim2)`` of feature axes, which go to the end."""
    first = first_rows(call)
    if first is None:
        return None
    tensor, rows = first
    dims = dims_of([call.get("dim1", 2, 0), call.get("dim2", 3, 1)], tensor.ndim)
    if dims is None or rows.axis in dims:
        return None
    return rows.axis - sum(dim < rows.axis for dim in dims)


def diag_embed(call: Call) -> int | None:
    """A matrix for the last axis."""
    first = first_rows(call)
    if first is None or (call.get("dim1", 2, -2), call.get("dim2", 3, -1)) != (-2, -1):
        return None
    return first[1].axis if first[1].axis < first[0].ndim - 1 else None


def split_along(axis: int) -> Rule:
    """``hsplit``, ``fliplr`` and their kin: each works along an axis of its own."""

    def rule(call: Call) -> int | None:
        first = first_rows(call)
        if first is None or not others_have_none(call, first[0]) or len(call.tensors()) != 1:
            return None
        tensor, rows = first
        place = 0 if axis == 1 and tensor.ndim == 1 else axis
        return rows.axis if rows.axis != place else None

    return rule


def searched(call: Call) -> int | None:
    """``searchsorted(bounds, x)``: each number against all of the bounds."""
    bounds, data = call.get("sorted_sequence", 0), call.get("input", 1)
    if not isinstance(bounds, torch.Tensor) or not isinstance(data, torch.Tensor):
        return None
    if bounds.ndim != 1 or call.rows(bounds) is not None or len(call.tensors()) != 2:
        return None
    rows = call.rows(data)
    return None if rows is None else rows.axis


def spectrum(call: Call) -> int | None:
    """``stft`` of a signal per record, and ``istft``."""
    first = first_rows(call)
    least = 3 if call.short == "istft" else 2
    if first is None or not others_have_none(call, first[0]) or first[1].axis != 0:
        return None
    window: Any = [t for t in call.tensors() if t is not first[0]]
    return 0 if first[0].ndim >= least and all(t.ndim == 1 for t in window) else None


TRANSFORMS: Final[dict[str, Rule]] = {
    "cosine_similarity": paired(2, 1), "vecdot": paired(2, -1), "rot90": turned,
    **dict.fromkeys(
        ("frexp", "chebyshev_polynomial_t", "chebyshev_polynomial_u", "chebyshev_polynomial_v",
         "chebyshev_polynomial_w", "hermite_polynomial_h", "hermite_polynomial_he",
         "laguerre_polynomial_l", "legendre_polynomial_p", "shifted_chebyshev_polynomial_t",
         "shifted_chebyshev_polynomial_u", "shifted_chebyshev_polynomial_v",
         "shifted_chebyshev_polynomial_w"),
        elementwise,
    ),
    "diagonal": diagonal, "diag_embed": diag_embed, "searchsorted": searched,
    **{f"{letter}split": split_along(axis) for letter, axis in (("h", 1), ("v", 0), ("d", 2))},
    "fliplr": split_along(1), "flipud": split_along(0), "view_as_real": split_along(-1),
    **dict.fromkeys(("stft", "istft"), spectrum),
    **dict.fromkeys(
        ("fft_fft", "fft_ifft", "fft_rfft", "fft_irfft", "fft_hfft", "fft_ihfft"),
        over_features(2, -1),
    ),
    **dict.fromkeys(
        ("fft_fft2", "fft_ifft2", "fft_rfft2", "fft_irfft2", "fft_hfft2", "fft_ihfft2"),
        over_features(2, (-2, -1)),
    ),
    **dict.fromkeys(
        ("fft_fftn", "fft_ifftn", "fft_rfftn", "fft_irfftn", "fft_hfftn", "fft_ihfftn"),
        over_features(2, None),
    ),
    **dict.fromkeys(("fft_fftshift", "fft_ifftshift"), over_features(1, None)),
}  # fmt: skip
"""Rules of names that stand in no other list."""
