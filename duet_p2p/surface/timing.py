"""Which operations take a time that depends on the values in them. CLOSED SET, reviewed by hand.

What is public and waits behind one of them on private data would tell by its arrival how long that
took. So the owner's side answers on a tick after such an operation, and runs only so many a minute.
The rule is conservative: every operation whose *shape* depends on values, and everything with a
hidden size among its arguments (the engine tells), belongs here; the names below are the rest.

Not here, and in the threat model: what every operation's time tells (denormal numbers, caches,
sorting networks that see ordered data); torchvision's transforms, whose shapes are called dynamic
since sizes are not worked out, and whose time follows from sizes.
"""

from __future__ import annotations

from typing import Final

from duet_p2p.surface.table import TABLE, Rule

__all__ = ["VALUE_TIMED", "is_value_timed"]

_ITERATIVE_NAMES: Final = """
torch.linalg.cond torch.linalg.eig torch.linalg.eigh torch.linalg.eigvals torch.linalg.eigvalsh
torch.linalg.lstsq torch.linalg.matrix_exp torch.linalg.matrix_norm torch.linalg.matrix_rank
torch.linalg.norm torch.linalg.pinv torch.linalg.polar torch.linalg.svd torch.linalg.svdvals
torch.linalg.matrix_sqrth
torch.svd torch.Tensor.svd torch.svd_lowrank torch.pca_lowrank torch.lobpcg torch.pinverse
torch.Tensor.pinverse torch.matrix_exp torch.Tensor.matrix_exp torch.nuclear_norm
"""
"""They go on until they converge."""

_SAMPLER_NAMES: Final = """
torch.poisson torch.binomial torch.distributions.Distribution.sample
torch.distributions.Distribution.rsample
"""
"""They reject and draw again."""

_PYTHON_NAMES: Final = """
python.Int.__pow__ python.Int.__ipow__ python.Int.__rpow__ python.Int.__lshift__
python.Int.__rlshift__ python.Int.__mul__ python.Int.__imul__
python.String.__mul__ python.String.__rmul__ python.String.__contains__ python.String.find
python.String.index python.String.count python.String.replace python.String.split
python.String.join python.List.sort python.List.index python.List.count python.List.remove
python.List.__contains__ python.List.__eq__ python.Tuple.__contains__ python.Tuple.__eq__
python.List.__mul__ python.List.__rmul__ python.List.__imul__ python.Tuple.__mul__
python.Tuple.__rmul__ python.String.zfill python.String.center python.String.ljust
python.String.rjust python.String.expandtabs
"""
"""Their work grows with the number, or ends at the first that fits."""

VALUE_TIMED: Final = frozenset(
    name for name in (_ITERATIVE_NAMES + _SAMPLER_NAMES + _PYTHON_NAMES).split() if name in TABLE
)

_BY_SIZE: Final = ("torchvision.transforms.", "torch.distributions.", "torch.native_batch_norm")
"""Called dynamic in the table although only sizes decide their time."""


def is_value_timed(rule: Rule) -> bool:
    """Whether values decide how long a call of this name takes."""
    if rule.name in VALUE_TIMED:
        return True
    return rule.shape == "dynamic" and not rule.name.startswith(_BY_SIZE)
