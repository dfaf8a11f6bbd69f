"""Networks of torchvision, sent as they are, give what they give here, gradients too."""

from __future__ import annotations

import copy

import pytest
import torch

from duet_p2p.surface.shapes import GENERATOR
from tests.surface.joined import joined
from tests.surface.replay import SEED, assert_same, fetched

SIDES = {"resnet18": 64, "vit_b_16": 224}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SIDES)
def test_a_network_of_torchvision_is_equal(name: str) -> None:
    models = pytest.importorskip("torchvision.models", reason="needs torchvision")
    torch.manual_seed(SEED)
    local = getattr(models, name)(weights=None, num_classes=5)
    picture = torch.rand(2, 3, SIDES[name], SIDES[name])
    with joined() as both:
        both.owner.requests.add_handler(action="accept")
        remote = copy.deepcopy(local).send(both.scientist)
        there = both.scientist.send(picture)
        both.scientist.torch.manual_seed(SEED)
        found = remote(there)
        found.pow(2).mean().backward()
        gradients = fetched([p.grad for _, p in remote.named_parameters()])
        values = fetched([found, *remote.state_dict().values()])
    with GENERATOR:
        torch.manual_seed(SEED)
        expected = local(picture)
        expected.pow(2).mean().backward()
    assert_same([expected, *local.state_dict().values()], values)
    for parameter, gradient in zip(local.parameters(), gradients, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-5)
