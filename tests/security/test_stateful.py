"""Private data put into a stateful object comes out labelled."""

from __future__ import annotations

import pytest
import torch

from tests.unit.engine_kit import Driver


@pytest.fixture
def d():
    return Driver()


@pytest.fixture
def secret(d):
    return d.share(torch.arange(1.0, 21.0), tags=["secret"])


def number(d, secret):
    return d.ok("torch.Tensor.item", d.ok("torch.Tensor.__getitem__", secret, 3))


@pytest.fixture
def optimizer(d):
    weight = d.ok("torch.nn.Parameter", d.put(torch.ones(2)))
    return d.ok("torch.optim.SGD", [weight], lr=0.1)


def lr(d, optimizer):
    groups = d.ok("torch.optim.Optimizer.param_groups", optimizer)
    group = d.ok("python.List.__getitem__", groups, 0)
    return d.ok("python.Dict.__getitem__", group, "lr")


def is_labelled(d, ref):
    facts = d.facts(ref)
    return facts.kind in ("per_record", "verbatim", "model") and facts.sources == (-1,)


def test_a_fresh_optimizers_settings_are_public(d, optimizer):
    assert d.facts(lr(d, optimizer)).kind == "public"


def test_a_learning_rate_written_into_a_group_labels_all_that_the_step_writes(d, secret):
    weight = d.ok("torch.nn.Parameter", d.put(torch.ones(2)))
    optimizer = d.ok("torch.optim.SGD", [weight], lr=0.1)
    groups = d.ok("torch.optim.Optimizer.param_groups", optimizer)
    group = d.ok("python.List.__getitem__", groups, 0)
    d.ok("python.Dict.__setitem__", group, "lr", number(d, secret), outs=0)
    assert is_labelled(d, lr(d, optimizer))
    loss = d.ok("torch.Tensor.sum", weight)
    d.ok("torch.Tensor.backward", loss, outs=0)
    d.ok("torch.optim.Optimizer.step", optimizer, outs=0)
    assert is_labelled(d, d.ok("torch.Tensor.detach", weight))


def test_a_setting_given_to_the_constructor_is_labelled_in_groups_and_defaults(d, secret):
    weight = d.ok("torch.nn.Parameter", d.put(torch.ones(2)))
    optimizer = d.ok("torch.optim.SGD", [weight], lr=number(d, secret))
    assert is_labelled(d, lr(d, optimizer))
    defaults = d.ok("torch.optim.Optimizer.defaults", optimizer)
    assert is_labelled(d, d.ok("python.Dict.__getitem__", defaults, "lr"))


@pytest.mark.parametrize("name", ["LambdaLR", "MultiplicativeLR"])
def test_a_number_fed_to_a_scheduler_labels_the_learning_rate(d, secret, optimizer, name):
    place = "torch.optim.lr_scheduler."
    scheduler = d.ok(place + name, optimizer, 1.0)
    d.ok(place + "LRScheduler.feed", scheduler, 1, number(d, secret), outs=0)
    d.ok(place + "LRScheduler.step", scheduler, outs=0)
    assert is_labelled(d, lr(d, optimizer))
    assert is_labelled(d, d.ok(place + "LRScheduler.get_last_lr", scheduler))
    assert is_labelled(d, d.ok(place + "LRScheduler.state_dict", scheduler))


def test_a_first_number_of_a_scheduler_labels_the_learning_rate(d, secret, optimizer):
    d.ok("torch.optim.lr_scheduler.LambdaLR", optimizer, number(d, secret))
    assert is_labelled(d, lr(d, optimizer))


def test_what_is_inside_a_scheduler_labels_the_outer_one(d, secret, optimizer):
    place = "torch.optim.lr_scheduler."
    inner = d.ok(place + "LambdaLR", optimizer, 1.0)
    outer = d.ok(place + "ChainedScheduler", [inner])
    d.ok(place + "LRScheduler.feed", inner, 1, number(d, secret), outs=0)
    d.ok(place + "LRScheduler.step", outer, outs=0)
    assert is_labelled(d, d.ok(place + "LRScheduler.get_last_lr", outer))
    assert is_labelled(d, lr(d, optimizer))
