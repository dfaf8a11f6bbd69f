"""Distributions of torch, made of tensors, numbers and other distributions.

Parameters are always validated, whatever ``validate_args`` says: with a NaN some samplers
never end. A distribution that is made of another (`Independent`, `MixtureSameFamily`) takes it
as it is. Sizes are admitted in checks.py.

A distribution has its parameters by reference, and torch keeps what it works out of them on the way
(``probs`` of ``logits``), for the next time. What is written into a parameter later would be there
as it was in between, without a label: that of a distribution is what its parameters have now. So
nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Final

import torch
from torch import distributions
from torch.distributions import Distribution, Transform

from duet_p2p import limits
from duet_p2p.errors import QuotaExceeded

__all__ = ["DISTRIBUTIONS", "NAMES", "keeping_nothing"]

NAMES: Final = tuple(
    str.split(
        "Bernoulli Beta Binomial Categorical Cauchy Chi2 ContinuousBernoulli Dirichlet Exponential "
        "FisherSnedecor Gamma GeneralizedPareto Geometric Gumbel HalfCauchy HalfNormal Independent "
        "InverseGamma Kumaraswamy LKJCholesky Laplace LogNormal LogisticNormal "
        "LowRankMultivariateNormal MixtureSameFamily Multinomial MultivariateNormal "
        "NegativeBinomial Normal OneHotCategorical OneHotCategoricalStraightThrough Pareto Poisson "
        "RelaxedBernoulli RelaxedOneHotCategorical StudentT Uniform VonMises Weibull Wishart"
    )
)
_PLAIN: Final = (torch.Tensor, bool, int, float, type(None), Distribution)
_BYTES: Final = 16


def _constructor(name: str) -> Callable[..., Any]:
    cls: Any = getattr(distributions, name)

    def make(*args: Any, **kwargs: Any) -> Any:
        for value in (*args, *kwargs.values()):
            is_pair = isinstance(value, (tuple, list)) and all(
                isinstance(part, (int, float)) for part in value
            )
            if not isinstance(value, _PLAIN) and not is_pair:
                raise TypeError(f"{name} is made of tensors and numbers")
        if name == "Independent":
            dims = args[1] if len(args) > 1 else kwargs.get("reinterpreted_batch_ndims")
            if type(dims) is not int or dims < 0:
                raise ValueError("reinterpreted_batch_ndims counts dimensions")
        _admit(name, args, kwargs)
        checked = cls(*args, **{**kwargs, "validate_args": True})
        if kwargs.get("validate_args") is False:
            return cls(*args, **kwargs)
        return checked

    return make


def _admit(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """What the parameters broadcast to; ``LKJCholesky`` makes a matrix of its dimension."""
    tensors = [v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor)]
    numbers = 1
    if name == "LKJCholesky":
        dim = args[0] if args else kwargs.get("dim")
        if type(dim) is not int:
            raise TypeError("dim is an int")
        numbers = dim * dim
    for size in _broadcast(tensors):
        numbers *= size
    if numbers * _BYTES > limits.RESULT_BYTES:
        raise QuotaExceeded(f"{name} of {numbers} numbers")


def _broadcast(tensors: list[torch.Tensor]) -> list[int]:
    """The largest shape that they could broadcast to, without the mistakes that torch will find."""
    dims = max((t.dim() for t in tensors), default=0)
    shapes = [[1] * (dims - t.dim()) + list(t.shape) for t in tensors]
    return [max(sizes) for sizes in zip(*shapes, strict=True)]


def _log_prob(distribution: Any, value: Any) -> Any:
    if not isinstance(distribution, Distribution) or not isinstance(value, torch.Tensor):
        raise TypeError("log_prob takes a tensor")
    return distribution.log_prob(value)


def _parameter(name: str) -> Callable[[Any], Any]:
    def read(distribution: Any) -> Any:
        if not isinstance(distribution, Distribution):
            raise TypeError(f"{name} is of a distribution")
        value = getattr(distribution, name)
        return value.clone() if isinstance(value, torch.Tensor) else value

    return read


_PARAMETERS: Final = tuple(
    str.split("concentration loc logits mean mode probs rate scale stddev variance")
)
"""Read as copies: whether a distribution can be made is private where its numbers are, and a view
of one's own tensor would be labelled only if it could."""


def keeping_nothing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, and the distributions that it is given are afterwards as they were."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        before = [(part, dict(vars(part))) for part in _parts_of([*args, *kwargs.values()])]
        try:
            return function(*args, **kwargs)
        finally:
            for part, held in before:
                vars(part).clear()
                vars(part).update(held)

    return run


def _parts_of(values: list[Any]) -> Iterator[Distribution | Transform]:
    """Distributions in values, with those that they are made of."""
    seen, left = set[int](), values
    while left:
        value = left.pop()
        if isinstance(value, list | tuple):
            left += value
        elif isinstance(value, Distribution | Transform) and id(value) not in seen:
            seen.add(id(value))
            left += vars(value).values()
            yield value


DISTRIBUTIONS: Final[dict[str, Callable[..., Any]]] = {
    **{f"torch.distributions.{name}": _constructor(name) for name in NAMES},
    "torch.distributions.Distribution.log_prob": _log_prob,
    **{f"torch.distributions.Distribution.{name}": _parameter(name) for name in _PARAMETERS},
}
"""Constructors, and the methods that take more than a sample shape."""
