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


def test_a_learning_rate_is_labelled_in_the_state_that_copies_it(d, secret, optimizer):
    groups = d.ok("torch.optim.Optimizer.param_groups", optimizer)
    group = d.ok("python.List.__getitem__", groups, 0)
    d.ok("python.Dict.__setitem__", group, "lr", number(d, secret), outs=0)
    state = d.ok("torch.optim.Optimizer.state_dict", optimizer)
    groups = d.ok("python.Dict.__getitem__", state, "param_groups")
    group = d.ok("python.List.__getitem__", groups, 0)
    for value in (state, group, d.ok("python.Dict.__getitem__", group, "lr")):
        assert is_labelled(d, value)


def test_a_sparse_state_that_is_copied_is_labelled(d, secret):
    table = d.ok("torch.nn.Parameter", d.put(torch.ones(20, 2)))
    optimizer = d.ok("torch.optim.SGD", [table], lr=0.1, momentum=0.9)
    index = d.ok("torch.Tensor.long", d.ok("torch.Tensor.sub", secret, 1))
    rows = d.ok("torch.nn.functional.embedding", index, table, sparse=True)
    d.ok("torch.Tensor.backward", d.ok("torch.Tensor.sum", rows), outs=0)
    d.ok("torch.optim.Optimizer.step", optimizer, outs=0)
    state = d.ok("torch.optim.Optimizer.state_dict", optimizer)
    kept = d.ok("python.Dict.__getitem__", d.ok("python.Dict.__getitem__", state, "state"), 0)
    assert is_labelled(d, d.ok("python.Dict.__getitem__", kept, "momentum_buffer"))


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


DISTRIBUTIONS = {
    "Categorical": lambda d, x: d.ok("torch.distributions.Categorical", x),
    "Bernoulli of logits": lambda d, x: d.ok("torch.distributions.Bernoulli", logits=x),
    "Normal": lambda d, x: d.ok("torch.distributions.Normal", 0.0, x),
    "Poisson": lambda d, x: d.ok("torch.distributions.Poisson", x),
    "Independent": lambda d, x: d.ok(
        "torch.distributions.Independent", d.ok("torch.distributions.Normal", x, 1.0), 1
    ),
    "a mixture": lambda d, x: d.ok(
        "torch.distributions.MixtureSameFamily",
        d.ok("torch.distributions.Categorical", x),
        d.ok("torch.distributions.Normal", d.put(torch.zeros(20)), 1.0),
    ),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_whatever_comes_out_of_a_distribution_of_private_data_is_labelled(d, secret, name):
    place = "torch.distributions.Distribution."
    distribution = DISTRIBUTIONS[name](d, secret)
    sample = d.ok(place + "sample", distribution)
    assert d.facts(sample).kind == "per_record"
    for short in ("mean", "variance", "batch_shape"):
        assert d.facts(d.ok(place + short, distribution)).sources == (-1,), short
    density = d.ok(place + "log_prob", distribution, d.put(torch.zeros(20)))
    assert d.facts(density).sources == (-1,)


def test_a_divergence_from_private_data_is_labelled(d, secret):
    private = d.ok("torch.distributions.Normal", secret, 1.0)
    public = d.ok("torch.distributions.Normal", 0.0, 1.0)
    assert d.facts(d.ok("torch.distributions.kl_divergence", public, private)).sources == (-1,)


def test_a_distribution_of_public_numbers_stays_public(d, secret):
    DISTRIBUTIONS["Normal"](d, secret)
    normal = d.ok("torch.distributions.Normal", 0.0, 1.0)
    assert d.facts(d.ok("torch.distributions.Distribution.sample", normal)).kind == "public"


@pytest.mark.parametrize(("name", "settings"), [
    ("RandomHorizontalFlip", (0.5,)), ("RandomCrop", (4,)), ("RandomRotation", (90,)),
    ("ColorJitter", (0.5,)), ("RandomErasing", (1.0,)), ("RandomResizedCrop", (4,)),
    ("GaussianBlur", (3,)),
])  # fmt: skip
def test_a_random_transform_after_a_private_seed_labels_what_goes_through_it(
    d, secret, name, settings
):
    """How a public picture was turned would tell the seed."""
    pytest.importorskip("torchvision")
    place = "torchvision.transforms."
    transform = d.ok(place + name, *settings)
    image = d.put(torch.arange(108.0).reshape(3, 6, 6) / 108)
    d.ok("torch.manual_seed", 3, outs=0)
    assert d.facts(d.ok(place + "Transform.__call__", transform, image)).kind == "public"
    d.ok("torch.manual_seed", number(d, secret), outs=0)
    assert is_labelled(d, d.ok(place + "Transform.__call__", transform, image))


def test_a_transform_made_of_a_private_number_labels_what_goes_through_it(d, secret):
    pytest.importorskip("torchvision")
    place = "torchvision.transforms."
    private = number(d, secret)
    transform = d.ok(place + "Normalize", [private], [1.0])
    for made in (
        transform,
        d.ok(place + "Compose", [transform]),
        d.ok(place + "RandomOrder", [transform]),
        d.ok(place + "RandomChoice", [transform]),
    ):
        image = d.put(torch.zeros(1, 4, 4))
        assert is_labelled(d, d.ok(place + "Transform.__call__", made, image))
    image = d.put(torch.zeros(1, 4, 4))
    crops = d.ok(place + "functional.five_crop", d.ok(place + "functional.hflip", image), [2, 2])
    assert d.facts(crops).kind == "public"
    bright = d.ok(place + "functional.adjust_brightness", image, private)
    assert is_labelled(d, bright)


def test_an_image_of_private_numbers_stays_labelled_as_a_picture_and_back(d):
    pytest.importorskip("torchvision")
    place = "torchvision.transforms.functional."
    secret = d.share(torch.rand(1, 4, 4))
    picture = d.ok(place + "to_pil_image", secret)
    assert d.facts(picture).sources == (-1,)
    assert d.facts(d.ok(place + "to_tensor", picture)).sources == (-1,)
    crops = d.ok(place + "five_crop", secret, [2, 2])
    assert d.facts(d.ok("python.Tuple.__getitem__", crops, 0)).sources == (-1,)


def test_parts_of_a_data_set_of_private_data_are_labelled(d, secret):
    place = "torch.utils.data."
    whole = d.ok(place + "TensorDataset", secret)
    parts = d.ok(place + "random_split", whole, [12, 8])
    first = d.ok("python.List.__getitem__", parts, 0)
    for dataset in (first, d.ok(place + "ConcatDataset", [first, whole])):
        item = d.ok(place + "Dataset.__getitem__", dataset, 0)
        assert d.facts(d.ok("python.Tuple.__getitem__", item, 0)).sources == (-1,)
