"""Programs that draw by a chance which is none in one of two data sets."""

from __future__ import annotations

from typing import Any

import torch

from duet_p2p.wire.values import Ref
from tests.security.failing_kit import C, D, M, P, Programs, last, weights, whole
from tests.security.neighbour_kit import F, T

PROGRAMS = Programs()
program = PROGRAMS.program


# chances and random numbers


@program
def drawn_by_a_chance(p: Any) -> list[Ref]:
    made = [
        p.op("torch.multinomial", P, 2),
        p.op("torch.bernoulli", P),
        p.op("torch.normal", 0.0, P),
        p.op("torch.poisson", P),
        p.op("torch.rand", 1),
    ]
    p.do("torch.manual_seed", 5)
    return made


@program
def drawn_in_place_by_a_chance(p: Any) -> list[Ref]:
    own = p.put(torch.zeros(4))
    p.do(T + "bernoulli_", own, P)
    chance = p.op("python.Float", last(p, P))
    other = p.put(torch.zeros(4))
    p.do(T + "bernoulli_", other, chance)
    third = p.put(torch.zeros(4))
    p.do(T + "exponential_", third, chance)
    made = [own, other, third, p.op("torch.rand", 1)]
    p.do("torch.manual_seed", 5)
    return made


@program
def a_range_of_random_numbers(p: Any) -> list[Ref]:
    high = p.op("python.Int.__sub__", whole(p), 1)  # 0 or 8
    made = [
        p.op("torch.randint", high, [3]),
        p.op("torch.randperm", high),
        p.op("torch.rand", high),
        p.op("torch.randint", 5, [2]),
    ]
    p.do("torch.manual_seed", 5)
    return made


@program
def a_dropout_by_a_chance(p: Any) -> list[Ref]:
    own = weights(p, 4)
    made = [p.op(F + "dropout", own, p.op("python.Float", last(p, P))), own, p.op("torch.rand", 1)]
    p.do("torch.manual_seed", 5)
    return made


# distributions look at their arguments


def _distribution(name: str, *given: Any, size: int = 4) -> None:
    def of_distribution(p: Any) -> list[Ref]:
        made = p.op(D + name, *[g(p) if callable(g) else g for g in given])
        facts = [p.op(D + f"Distribution.{f}", made) for f in ("sample", "mean", "entropy")]
        facts.append(p.op(D + "Distribution.log_prob", made, p.put(torch.ones(size))))
        facts.append(p.op(D + "kl_divergence", made, made))
        facts.append(p.op("torch.rand", 1))
        p.do("torch.manual_seed", 5)
        return [made, *facts]

    PROGRAMS[f"a_distribution_{name}"] = of_distribution


_distribution("Normal", 0.0, P)
_distribution("Categorical", P)
_distribution("Bernoulli", P)
_distribution("Gamma", P, P)
_distribution("Dirichlet", P)
_distribution("Poisson", P)
_distribution("Uniform", 0.0, P)
_distribution("MultivariateNormal", lambda p: p.put(torch.zeros(3)), M, size=3)


@program
def a_value_out_of_the_support(p: Any) -> list[Ref]:
    bernoulli = p.op(D + "Bernoulli", p.put(torch.full((4,), 0.5)))
    made = [p.op(D + "Distribution.log_prob", bernoulli, p.op(T + "float", C))]
    categorical = p.op(D + "Categorical", p.put(torch.ones(3)))
    return [*made, p.op(D + "Distribution.log_prob", categorical, C), bernoulli, categorical]
