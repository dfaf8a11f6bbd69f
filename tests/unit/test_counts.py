"""Numbers that decide how many tensors a call makes are looked at before anything else."""

from __future__ import annotations

import pytest
import torch

from duet_p2p import limits
from duet_p2p.errors import QuotaExceeded
from duet_p2p.surface import shapes
from duet_p2p.surface.callables import CALLABLES

MOST = limits.RESULT_PARTS
LINE = torch.zeros(MOST + 1)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("torch.unbind", (LINE,)),
        ("torch.Tensor.unbind", (LINE, -1)),
        ("torch.split", (LINE, 1)),
        ("torch.Tensor.split", (LINE, 1)),
        ("torch.chunk", (LINE, MOST + 1)),
        ("torch.tensor_split", (torch.zeros(2), MOST + 1)),
        ("torch.tensor_split", (torch.zeros(2), torch.tensor(MOST + 1))),
        ("torch.hsplit", (LINE, MOST + 1)),
        ("torch.svd_lowrank", (torch.ones(3, 3), 2, limits.LOWRANK_ROUNDS + 1)),
        ("torch.mvlgamma", (torch.ones(3), limits.GAMMA_TERMS + 1)),
        ("torch.Tensor.mvlgamma_", (torch.ones(3), limits.GAMMA_TERMS + 1)),
        ("torch.special.multigammaln", (torch.ones(3), limits.GAMMA_TERMS + 1)),
        ("torch.pca_lowrank", (torch.ones(3, 3), 2, True, limits.LOWRANK_ROUNDS + 1)),
    ],
)
def test_one_more_than_the_limit_is_refused_when_run_and_when_inferred(name, arguments):
    with pytest.raises(QuotaExceeded):
        CALLABLES[name](*arguments)
    specs = tuple(shapes.spec_of(a) if isinstance(a, torch.Tensor) else a for a in arguments)
    if not any(isinstance(argument, torch.Tensor) for argument in arguments[1:]):
        with pytest.raises(QuotaExceeded):
            shapes.infer(name, specs, {})


def test_keywords_count_too():
    with pytest.raises(QuotaExceeded):
        CALLABLES["torch.split"](LINE, split_size_or_sections=1, dim=0)
    with pytest.raises(QuotaExceeded):
        CALLABLES["torch.unbind"](LINE.reshape(1, -1), dim=1)
    with pytest.raises(QuotaExceeded):
        CALLABLES["torch.svd_lowrank"](torch.ones(3, 3), niter=limits.LOWRANK_ROUNDS + 1)


def test_as_many_as_allowed_are_made():
    assert len(CALLABLES["torch.unbind"](LINE[:MOST])) == MOST
    assert len(CALLABLES["torch.split"](LINE, 2)) == MOST // 2 + 1
    assert len(CALLABLES["torch.chunk"](torch.zeros(3), MOST + 5)) == 3
    assert len(CALLABLES["torch.svd_lowrank"](torch.ones(3, 3), 2, 3)) == 3
    many = limits.GAMMA_TERMS
    assert CALLABLES["torch.mvlgamma"](torch.tensor([float(many)]), many).shape == (1,)
