"""Commands that work, of names of torch that no suite's sample reaches.

Constructors of distributions, optimizers, schedulers, data sets and transforms, with what is done
with what they give, and methods of those. `torch_sweep.py` makes their arguments private.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Final

import torch

from duet_p2p.surface.distributions import NAMES as DISTRIBUTIONS
from duet_p2p.surface.table import TABLE
from duet_p2p.wire.values import Ref
from tests.security.neighbour_kit import DATA, OPT, T
from tests.security.torch_sweep import IMAGES, SCHED, D, Owner, Sample

__all__ = ["samples"]

Given = tuple[tuple[Any, ...], dict[str, Any]]
PARAMETERS: Final = {
    "Bernoulli": "h", "Beta": "pp", "Binomial": "4h", "Categorical": "h", "Cauchy": "lp",
    "Chi2": "p", "ContinuousBernoulli": "h", "Dirichlet": "p", "Exponential": "p",
    "FisherSnedecor": "pp", "Gamma": "pp", "GeneralizedPareto": "lpp", "Geometric": "h",
    "Gumbel": "lp", "HalfCauchy": "p", "HalfNormal": "p", "Independent": "n1",
    "InverseGamma": "pp", "Kumaraswamy": "pp", "LKJCholesky": "3r", "Laplace": "lp",
    "LogNormal": "lp", "LogisticNormal": "lp", "LowRankMultivariateNormal": "lcp",
    "MixtureSameFamily": "kn", "Multinomial": "4h", "MultivariateNormal": "le",
    "NegativeBinomial": "4h", "Normal": "lp", "OneHotCategorical": "h",
    "OneHotCategoricalStraightThrough": "h", "Pareto": "pp", "Poisson": "p",
    "RelaxedBernoulli": "rh", "RelaxedOneHotCategorical": "rh", "StudentT": "plp",
    "Uniform": "lp", "VonMises": "lp", "Weibull": "pp", "Wishart": "4e",
}  # fmt: skip
"""h: chances, l: any numbers, p: positive ones, n: a normal, k: a categorical distribution, r: a
positive number, c: a column, e: a matrix."""
METHODS: Final = {
    "log_prob": "p", "cdf": "p", "icdf": "h", "sample": "", "rsample": "", "entropy": "",
    "mean": "", "variance": "", "stddev": "", "mode": "", "batch_shape": "", "event_shape": "",
    "loc": "", "scale": "",
}  # fmt: skip
BYTES: Final = ("equalize", "posterize")
"""Names that take images of whole numbers only."""
SCHEDULES: Final[dict[str, dict[str, Any]]] = {
    "CosineAnnealingLR": {"T_max": 5}, "CosineAnnealingWarmRestarts": {"T_0": 2},
    "CyclicLR": {"base_lr": 0.1, "max_lr": 0.2}, "ExponentialLR": {"gamma": 0.5},
    "MultiStepLR": {"milestones": [1, 2]}, "OneCycleLR": {"max_lr": 0.2, "total_steps": 10},
    "StepLR": {"step_size": 1}, "SWALR": {"swa_lr": 0.1}, "LambdaLR": {"lr_lambda": [0.5]},
    "MultiplicativeLR": {"lr_lambda": [0.5]}, "ConstantLR": {}, "LinearLR": {},
    "PolynomialLR": {}, "ReduceLROnPlateau": {},
}  # fmt: skip


def floats(p: Owner, grads: str, value: torch.Tensor) -> Ref:
    """An own tensor, with or without a gradient."""
    made = p.own(value.clone().requires_grad_(bool(grads)))
    return p.op("torch.clone", made) if grads == "inner" else made


def parameter(p: Owner, grads: str, letter: str) -> Any:
    """What a letter of `PARAMETERS` stands for."""
    if letter.isdigit():
        return int(letter)
    if letter == "r":
        return 1.5
    if letter in "nk":
        letters = "lp" if letter == "n" else "h"
        return p.op(D + ("Normal" if letter == "n" else "Categorical"),
                    *[parameter(p, grads, each) for each in letters])  # fmt: skip
    value = {
        "h": torch.tensor([0.2, 0.3, 0.5]), "l": torch.tensor([0.0, 0.5, 0.25]), "e": torch.eye(3),
        "p": torch.tensor([1.0, 2.0, 1.5]), "c": torch.ones(3, 1),
    }[letter]  # fmt: skip
    return floats(p, grads, value)


def defaults(name: str) -> dict[str, Any]:
    """Settings of a constructor that are plain numbers or texts, as they are if nothing is said."""
    module = torch.optim.lr_scheduler if name.startswith(SCHED) else torch.optim
    target = getattr(module, name.rpartition(".")[2], None)
    listed = inspect.signature(target).parameters.values() if target else ()
    kinds = bool | int | float | str | tuple
    return {p.name: p.default for p in listed
            if isinstance(p.default, kinds) and p.name not in ("fused", "verbose")}  # fmt: skip


def weight(p: Owner) -> Ref:
    """What an optimizer trains, with a gradient."""
    shape = (2, 2)
    made = p.own(torch.ones(shape, requires_grad=True))
    p.do(T + "backward", p.op("torch.sum", made))
    return made


def optimizer(p: Owner) -> Ref:
    return p.op("torch.optim.SGD", [weight(p)], lr=0.1, momentum=0.9)


def dataset(p: Owner) -> Ref:
    return p.op(DATA + "TensorDataset", p.own(torch.arange(8.0).reshape(4, 2)))


def samples() -> Iterator[Sample]:
    """One command or more of each name."""
    yield from _of_distributions()
    yield from _of_training()
    yield from _of_data()
    yield from _of_images()


def _of_distributions() -> Iterator[Sample]:
    for name in DISTRIBUTIONS:
        letters = PARAMETERS[name]

        def build(p: Owner, grads: str, letters: str = letters) -> Given:
            return tuple(parameter(p, grads, letter) for letter in letters), {}

        yield Sample(D + name, build)
    yield Sample(D + "Normal", lambda p, grads: ((0.5, 1.5), {"validate_args": True}))
    for short, letters in METHODS.items():

        def method(p: Owner, grads: str, letters: str = letters, short: str = short) -> Given:
            given = [parameter(p, grads, letter) for letter in ("n", *letters)]
            return (*given, [2]) if short.endswith("sample") else tuple(given), {}

        if D + "Distribution." + short in TABLE:
            yield Sample(D + "Distribution." + short, method)


def _of_training() -> Iterator[Sample]:
    for name in TABLE:
        short = name.removeprefix("torch.optim.")
        if name.startswith("torch.optim.") and "." not in short and short != "Optimizer":

            def build(p: Owner, grads: str, name: str = name) -> Given:
                return ([weight(p)],), {"lr": 0.1, **defaults(name)}

            yield Sample(name, build)
    for short, settings in SCHEDULES.items():

        def schedule(p: Owner, grads: str, name: str = SCHED + short,
                     settings: dict[str, Any] = settings) -> Given:  # fmt: skip
            return (optimizer(p),), {**defaults(name), **settings}

        yield Sample(SCHED + short, schedule)
    yield Sample(OPT + "zero_grad", lambda p, grads: ((optimizer(p), True), {}), 0)
    yield Sample(OPT + "step", lambda p, grads: ((optimizer(p),), {}), 0)
    yield Sample(
        OPT + "add_param_group",
        lambda p, grads: ((optimizer(p), {"params": [weight(p)], "lr": 0.1}), {}), 0,
    )  # fmt: skip
    clips = "torch.nn.utils.clip_grad_"
    yield Sample(clips + "norm_", lambda p, grads: (([weight(p)], 1.0), {"norm_type": 2.0}))
    yield Sample(clips + "value_", lambda p, grads: (([weight(p)], 1.0), {}), 0)
    for has_graph in (False, True):
        yield Sample("torch.autograd.grad", lambda p, grads, g=has_graph: _gradient(p, g))
    yield Sample(T + "grad=", lambda p, grads: ((weight(p), p.own(torch.ones(2, 2))), {}), 0)
    yield Sample(T + "data=", lambda p, grads: ((weight(p), p.own(torch.ones(2, 2))), {}), 0)
    yield Sample(T + "requires_grad=", lambda p, grads: ((p.own(torch.ones(2)), True), {}), 0)
    yield Sample("torch.nn.Parameter", lambda p, grads: ((p.own(torch.ones(2)), True), {}))
    yield Sample("torch.manual_seed", lambda p, grads: ((5,), {}), 0)


def _gradient(p: Owner, has_graph: bool) -> Given:
    leaf = p.own(torch.ones(2, requires_grad=True))
    total = p.op("torch.sum", p.op("torch.square", leaf))
    settings = {"retain_graph": True, "create_graph": has_graph, "allow_unused": True}
    return (total, [leaf]), settings


def _of_data() -> Iterator[Sample]:
    yield Sample(DATA + "TensorDataset", lambda p, grads: (
        (p.own(torch.ones(4, 2)), p.own(torch.ones(4))), {}))  # fmt: skip
    yield Sample(DATA + "ConcatDataset", lambda p, grads: (([dataset(p), dataset(p)],), {}))
    yield Sample(DATA + "Subset", lambda p, grads: ((dataset(p), [0, 2]), {}))
    yield Sample(DATA + "random_split", lambda p, grads: ((dataset(p), [1, 3]), {}))
    yield Sample(DATA + "DataLoader", lambda p, grads: (
        (dataset(p),), {"batch_size": 2, "shuffle": True, "drop_last": False}))  # fmt: skip
    yield Sample(DATA + "DataLoader", lambda p, grads: ((dataset(p), 2, False), {}))
    yield Sample(DATA + "Dataset.__getitem__", lambda p, grads: ((dataset(p), 1), {}))
    yield Sample("torch.Size.__getitem__", lambda p, grads: (
        (p.op(T + "size", p.own(torch.ones(2, 3))), 1), {}))  # fmt: skip


def _of_images() -> Iterator[Sample]:
    from tests.unit.test_transforms import CLASSES, FUNCTIONS

    for place, listed in (("functional.", FUNCTIONS), ("", CLASSES)):
        for short, args in listed.items():

            def build(p: Owner, grads: str, place: str = place, args: Any = args,
                      name: str = short) -> Given:  # fmt: skip
                image = [p.own(torch.rand(3, 12, 16))] if place else []
                if name in BYTES:
                    image = [p.own(torch.ones(3, 12, 16, dtype=torch.uint8))]
                plain = [p.own(a) if isinstance(a, torch.Tensor) else a for a in args]
                return (*image, *plain), {}

            if not any(isinstance(a, torch.dtype) for a in args):
                yield Sample(IMAGES + place + short, build)
    inner = [IMAGES + "RandomCrop", IMAGES + "CenterCrop"]
    for short, more in (("Compose", ()), ("RandomApply", (0.5,)), ("RandomChoice", ([0.5, 0.5],)),
                        ("RandomOrder", ())):  # fmt: skip
        yield Sample(
            IMAGES + short,
            lambda p, grads, more=more: (([p.op(name, 6) for name in inner], *more), {}),
        )
    yield Sample(IMAGES + "Transform.__call__", lambda p, grads: (
        (p.op(IMAGES + "RandomCrop", 6), p.own(torch.rand(1, 12, 12))), {}))  # fmt: skip
