"""Densities of distributions, composed of operations that are offered.

A distribution on the owner's side draws, and says what its parameters are. Whether it can be made,
and whether a number may be asked for its density, is a private fact there; so everything that it
computes has a private shape, and is nothing that the rules on records know. `log_prob`, `entropy`,
`kl_divergence` and their kin are arithmetic on the parameters: torch's own code does it here, on
pointers, with a distribution of this side (the *formula*) that is made beside the one over there.
Each of its operations is one that rules know, and its shape is public.

Nothing is validated then, as values are not known here: of numbers that fit no distribution comes
what the formula makes of them. With ``validate_args=True`` all is computed over there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import distributions
from torch.distributions import Distribution

from duet_p2p.errors import HiddenShape, NotAllowed, PrivateValueError
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.scientist.tensor import TensorPointer
from duet_p2p.surface.distributions import NAMES
from duet_p2p.surface.shapes import TensorSpec

if TYPE_CHECKING:
    from duet_p2p.scientist.client import Client

__all__ = ["MAKERS", "DistributionPointer", "divergence", "is_composing", "laid_along"]

_COMPOSING: Final[ContextVar[list[Any] | None]] = ContextVar("composing", default=None)
_OF: Final = "torch.distributions.Distribution."


def is_composing() -> bool:
    """Whether a distribution is made here of pointers, instead of on the owner's side."""
    return _COMPOSING.get() is not None


@contextmanager
def _composing() -> Iterator[list[Any]]:
    """Distributions are made here within; gives what was chosen for each record."""
    chosen: list[Any] = []
    token = _COMPOSING.set(chosen)
    try:
        yield chosen
    finally:
        _COMPOSING.reset(token)


def laid_along(*values: Any) -> Any:
    """``torch.broadcast_tensors``, within a formula or beside a tensor of this side.

    A parameter that is one for all records is chosen for each of them, not expanded: an expanded
    one has as many gradients as records, and rules on records must take each for one of them.
    """
    there = [value for value in values if isinstance(value, Pointer)]
    is_plain = len(there) == len(values) or any(map(_is_unknown, there))
    if is_plain and not is_composing():
        return there[0]._client.call("torch.broadcast_tensors", *values)
    sizes = [tuple(value.shape) for value in values]
    shape: torch.Size = torch.broadcast_shapes(*sizes)  # type: ignore[no-untyped-call]
    if all(size == shape for size in sizes):
        return values
    wide = [v for v, size in zip(values, sizes, strict=True) if size == shape][:1] or values
    places = torch.eq(wide[0], wide[0])
    for value in wide[1:]:
        places = torch.logical_or(places, torch.eq(value, value))
    found = [
        value if size == shape else torch.where(places, value, value)
        for value, size in zip(values, sizes, strict=True)
    ]
    if (chosen := _COMPOSING.get()) is not None:
        chosen += found
    return tuple(found)


class _Formula:
    """A distribution of this side with pointers for parameters.

    Torch's own looks at parameters that it expanded as at a view: what is written to them later
    counts, and a graph may be gone back through again and again. One in which some are chosen for
    each record is made anew each time.
    """

    def __init__(self, make: Callable[[], Distribution]) -> None:
        self._make = make
        self._has_grad = torch.is_grad_enabled()
        with _composing() as chosen:
            self._made = make()
        self._is_used_up = bool(chosen)

    def now(self) -> Distribution:
        """The distribution; within `_composing`."""
        if not self._is_used_up:
            return self._made
        with torch.set_grad_enabled(self._has_grad):
            return self._make()


class DistributionPointer(Pointer):
    """A distribution on the owner's side; its formula is kept here, where there is one."""

    __slots__ = ()

    def log_prob(self, value: Any) -> Any:
        """Logarithm of the density, or of the probability, of each of these."""
        return self._worked_out("log_prob", value)

    def cdf(self, value: Any) -> Any:
        """The probability of at most this."""
        return self._worked_out("cdf", value)

    def icdf(self, value: Any) -> Any:
        """The number below which lies so much of the probability."""
        return self._worked_out("icdf", value)

    def entropy(self) -> Any:
        """The entropy of each of the batch."""
        return self._worked_out("entropy")

    def rsample(self, sample_shape: Any = ()) -> Any:
        """Numbers drawn on the owner's side, through which gradients flow to the parameters."""
        formula: _Formula | None = self._items
        if formula is not None:
            with _composing():
                drawn = _drawn(self._client, formula.now(), sample_shape)
            if drawn is not None:
                return drawn
        return self._client.call(f"{_OF}rsample", self, sample_shape)

    def _worked_out(self, short: str, *args: Any) -> Any:
        formula: _Formula | None = self._items
        if formula is not None:
            with suppress(*_NO_FORMULA), _composing():
                found = getattr(formula.now(), short)
                found = found if short in _PARAMETERS else found(*args)
                if isinstance(found, Pointer):  # of numbers alone it is nothing remote
                    return found
        return self._client.call(_OF + short, self, *args)


def _parameter(short: str) -> property:
    def read(self: DistributionPointer) -> Any:
        return self._worked_out(short)

    return property(read, doc=f"{short} on the owner's side.")


_PARAMETERS: Final = frozenset(
    str.split("concentration loc logits mean mode probs rate scale stddev variance")
)
for _short in _PARAMETERS:
    setattr(DistributionPointer, _short, _parameter(_short))

_NO_FORMULA: Final = (
    AttributeError, HiddenShape, NotAllowed, NotImplementedError, PrivateValueError, TypeError,
)  # fmt: skip
"""What torch's code says where it needs values, hidden sizes or names that are not offered."""


def divergence(client: Client, p: Any, q: Any) -> Any:
    """``torch.distributions.kl_divergence`` of two distributions over there."""
    formulas = [d._items for d in (p, q) if isinstance(d, DistributionPointer) and d._items]
    if len(formulas) == 2:
        with suppress(*_NO_FORMULA), _composing():
            found: Any = distributions.kl_divergence(*(formula.now() for formula in formulas))
            if isinstance(found, Pointer):
                return found
    return client.call("torch.distributions.kl_divergence", p, q)


def _drawn(client: Client, formula: Distribution, sample_shape: Any) -> Any:
    """``rsample`` of those that draw so many numbers whatever the parameters are, else None."""
    if isinstance(formula, distributions.Independent):
        return _drawn(client, formula.base_dist, sample_shape)
    moved = _MOVED.get(type(formula))
    if moved is None or not isinstance(sample_shape, tuple | list):
        return None
    kind, names, move = moved
    first, second = (getattr(formula, name) for name in names)
    shape = formula._extended_shape(torch.Size(sample_shape))
    return move(client.call(kind, tuple(shape), dtype=first.dtype), first, second)


_MOVED: Final[Mapping[type, tuple[str, tuple[str, str], Callable[..., Any]]]] = {
    distributions.Normal: (
        "torch.randn", ("loc", "scale"), lambda drawn, loc, scale: loc + drawn * scale,
    ),
    distributions.Uniform: (
        "torch.rand", ("low", "high"), lambda drawn, low, high: low + drawn * (high - low),
    ),
}  # fmt: skip
"""What is drawn, and what torch makes of it and of two parameters."""


def _formula(cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Formula | None:
    """The distribution of this side that computes with the same parameters; None if none does."""
    every = [*args, *kwargs.values()]
    if kwargs.get("validate_args") or any(map(_is_unknown, every)):
        return None
    kinds = [v.dtype for v in every if isinstance(v, TensorPointer)]
    kind = next((kind for kind in kinds if kind.is_floating_point), None)

    def make() -> Distribution:
        made: Distribution = cls(
            *(_held(value, kind) for value in args),
            **{key: _held(value, kind) for key, value in kwargs.items() if key != _CHECKS},
            validate_args=False,
        )
        return made

    try:
        return _Formula(make)
    except (*_NO_FORMULA, ValueError, RuntimeError):
        return None  # what is wrong with them is told by the owner's side


_CHECKS: Final = "validate_args"


def _is_unknown(value: Any) -> bool:
    if isinstance(value, DistributionPointer):
        return value._items is None
    return isinstance(value, Pointer) and not (
        isinstance(value, TensorPointer) and isinstance(value._spec, TensorSpec)
    )


def _held(value: Any, kind: torch.dtype | None) -> Any:
    """A parameter of a formula: numbers have the precision of the tensors beside them."""
    if isinstance(value, DistributionPointer):
        return value._items.now()
    return torch.tensor(value, dtype=kind) if type(value) is float and kind is not None else value


def _maker(name: str) -> Callable[..., Any]:
    cls = getattr(distributions, name)

    def make(client: Client, *args: Any, **kwargs: Any) -> Any:
        made = client.call(f"torch.distributions.{name}", *args, **kwargs)
        made._items = _formula(cls, args, kwargs)
        return made

    return make


MAKERS: Final[Mapping[str, Callable[..., Any]]] = {
    **{f"torch.distributions.{name}": _maker(name) for name in NAMES},
    "torch.distributions.kl_divergence": divergence,
}
"""What is made, or computed, with a formula of this side; the session's client comes first."""
