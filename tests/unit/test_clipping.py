"""Clipping of gradients on the owner's side: equal to torch, and labelled as all of them."""

import copy

import torch
from torch import nn

from tests.unit.engine_kit import Driver
from tests.unit.scientist_kit import pair

CLIP = "torch.nn.utils.clip_grad_norm_"


def test_clipped_training_equals_torch() -> None:
    torch.manual_seed(0)
    local = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    x, y = torch.randn(16, 4) * 9, torch.randint(0, 2, (16,))
    with pair() as both:
        remote = copy.deepcopy(local).send(both.duet)  # type: ignore[operator]
        rt = both.duet.torch
        here = torch.optim.SGD(local.parameters(), lr=0.5)
        there = rt.optim.SGD(remote.parameters(), lr=0.5)
        rx, ry = both.duet.send(x), both.duet.send(y)
        for limit in (0.1, 1.0):
            here.zero_grad()
            nn.functional.cross_entropy(local(x), y).backward()
            norm = nn.utils.clip_grad_norm_(local.parameters(), limit)
            nn.utils.clip_grad_value_(local.parameters(), limit / 4)
            here.step()
            there.zero_grad()
            nn.functional.cross_entropy(remote(rx), ry).backward()
            far = rt.nn.utils.clip_grad_norm_(remote.parameters(), limit)
            rt.nn.utils.clip_grad_value_(remote.parameters(), limit / 4)
            there.step()
            assert far.shape == ()
            torch.testing.assert_close(far.get(), norm)
        for name, value in local.state_dict().items():
            torch.testing.assert_close(both.value(remote.state_dict()[name]), value.detach())
        assert not both.owner.failures


def test_every_gradient_depends_on_all_that_were_clipped_together() -> None:
    d = Driver()
    secret = d.share(torch.randn(64, 3))
    ours, theirs = d.put(torch.ones(3).requires_grad_()), d.put(torch.ones(3).requires_grad_())
    loss = d.ok("torch.mean", d.ok("torch.Tensor.matmul", secret, theirs))
    d.ok("torch.Tensor.backward", loss, outs=0)
    d.ok("torch.Tensor.backward", d.ok("torch.sum", ours), outs=0)
    assert d.facts(d.ok("torch.Tensor.grad", ours)).kind == "public"
    norm = d.ok(CLIP, d.ok("python.collect", ours, theirs), 0.5)
    assert d.facts(norm).sources == (-1,)
    for parameter in (ours, theirs):
        assert d.facts(d.ok("torch.Tensor.grad", parameter)).sources == (-1,)


def test_clipping_what_is_ones_own_stays_public() -> None:
    d = Driver()
    ours = d.put(torch.ones(3).requires_grad_())
    d.ok("torch.Tensor.backward", d.ok("torch.sum", ours), outs=0)
    assert d.facts(d.ok(CLIP, d.ok("python.collect", ours), 0.5)).kind == "public"
