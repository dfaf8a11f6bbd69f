"""What must never be public: the original's four leaks, single records, owner's objects."""

from __future__ import annotations

import pytest
import torch

from duet_p2p.engine import messages as m
from tests.unit.engine_kit import Driver, digits

F = "torch.nn.functional."


@pytest.fixture
def d():
    return Driver()


@pytest.fixture
def secret(d):
    return d.share(torch.arange(20.0), tags=["secret"])


def kind(d, ref):
    return d.facts(ref).kind


# the four routes by which raw data left PySyft 0.5 without a request


def test_a_secret_in_ones_own_list(d, secret):
    own = d.ok("python.List")
    d.ok("python.List.append", own, secret, outs=0)
    assert kind(d, own) == "verbatim"
    assert kind(d, d.ok("python.List.__getitem__", own, 0)) == "verbatim"


def test_a_secret_as_the_data_of_ones_own_tensor(d, secret):
    own = d.put(torch.zeros(20))
    d.run("torch.Tensor.data=", own, secret, outs=0)
    assert kind(d, own) in ("verbatim", "per_record")
    assert d.facts(own).sources == (-1,)


def test_a_secret_through_out(d, secret):
    own = d.put(torch.zeros(20))
    d.run("torch.add", secret, secret, out=own)
    assert d.failures()
    assert torch.equal(d.release(own), torch.zeros(20))


def test_a_secret_through_a_view_of_ones_own_tensor(d, secret):
    own = d.put(torch.zeros(2, 20))
    view = d.ok("torch.Tensor.__getitem__", own, 1)
    d.ok("torch.Tensor.copy_", view, secret)
    assert kind(d, own) in ("verbatim", "per_record")


# other ways round


WRITES = [
    ("torch.Tensor.__setitem__", lambda own, secret: (own, slice(None), secret)),
    ("torch.Tensor.add_", lambda own, secret: (own, secret)),
    ("torch.Tensor.__iadd__", lambda own, secret: (own, secret)),
    ("torch.Tensor.masked_fill_", lambda own, secret: (own, secret, 1.0)),
    ("torch.Tensor.copy_", lambda own, secret: (own, secret)),
    ("torch.Tensor.addcmul_", lambda own, secret: (own, secret, secret)),
]


@pytest.mark.parametrize(("name", "arguments"), WRITES, ids=[name for name, _ in WRITES])
def test_what_is_written_into_ones_own_tensor_is_seen_by_every_alias(d, secret, name, arguments):
    own = d.put(torch.zeros(20))
    aliases = [
        d.ok("torch.Tensor.detach", own),
        d.ok("torch.Tensor.view", own, 4, 5),
        d.ok("torch.Tensor.__getitem__", own, slice(0, 3)),
        d.ok("torch.Tensor.data", own),
        d.ok("torch.nn.Parameter", own),
        d.ok("python.collect", own),
    ]
    given = secret
    if "masked" in name:
        given = d.ok("torch.Tensor.__gt__", secret, 3)
    d.ok(name, *arguments(own, given), outs=0)
    for ref in (own, *aliases):
        assert kind(d, ref) in ("verbatim", "per_record"), ref


def test_a_secret_in_a_gradient(d, secret):
    own = d.put(torch.zeros(20))
    d.ok("torch.Tensor.grad=", own, secret, outs=0)
    assert kind(d, d.ok("torch.Tensor.grad", own)) == "verbatim"
    w = d.put(torch.zeros(20, requires_grad=True))
    d.ok("torch.Tensor.backward", d.ok("torch.dot", w, secret), outs=0)
    assert kind(d, d.ok("torch.Tensor.grad", w)) == "per_record"


def test_a_secret_in_the_state_of_an_optimizer(d, secret):
    w = d.put(torch.zeros(20, requires_grad=True))
    optimizer = d.ok("torch.optim.SGD", d.ok("python.collect", w), lr=1.0, momentum=0.9)
    d.ok("torch.Tensor.grad=", w, secret, outs=0)
    d.ok("torch.optim.Optimizer.step", optimizer, outs=0)
    assert kind(d, w) == "per_record"
    assert kind(d, d.ok("torch.optim.Optimizer.state_dict", optimizer)) == "per_record"
    other = d.put(torch.zeros(20, requires_grad=True))
    second = d.ok("torch.optim.SGD", d.ok("python.collect", other), lr=1.0, momentum=0.9)
    state = d.ok("torch.optim.Optimizer.state_dict", optimizer)
    d.ok("torch.optim.Optimizer.load_state_dict", second, state, outs=0)
    assert kind(d, d.ok("torch.optim.Optimizer.state_dict", second)) == "per_record"
    d.ok("torch.Tensor.backward", d.ok("torch.sum", other), outs=0)
    d.ok("torch.optim.Optimizer.step", second, outs=0)
    assert kind(d, other) == "per_record"


def test_a_secret_in_containers_of_containers(d, secret):
    inner = d.ok("python.List")
    outer = d.ok("python.collect", inner)
    copied = d.ok("python.List.copy", outer)
    number = d.ok("torch.Tensor.item", d.ok("torch.Tensor.__getitem__", secret, 3))
    d.ok("python.List.append", inner, number, outs=0)
    made = d.ok("python.Dict")
    d.ok("python.Dict.__setitem__", made, "x", outer, outs=0)
    pair = d.ok("python.Tuple", d.ok("python.collect", number, number))
    iterator = d.ok("python.iter", inner)
    refs = [inner, outer, copied, made, pair, d.ok("python.Dict.values", made),
            d.ok("python.next", iterator), d.ok("python.List.__add__", inner, inner),
            d.ok("python.Tuple.__getitem__", pair, 1), d.ok("python.List.pop", inner)]  # fmt: skip
    for ref in refs:
        assert kind(d, ref) in ("verbatim", "per_record"), ref


def test_a_secret_as_key_index_text_or_length(d, secret):
    number = d.ok("python.Int", d.ok("torch.Tensor.__getitem__", secret, 3))
    made = d.ok("python.Dict")
    d.ok("python.Dict.__setitem__", made, number, 1, outs=0)
    zeros = d.ok("torch.zeros", number)
    refs = [made, d.ok("python.Dict.keys", made), zeros, d.ok("torch.Tensor.shape", zeros),
            d.ok("python.Range", number), d.ok("python.len", d.ok("python.Range", number)),
            d.ok("torch.arange", number),
            d.ok("python.Int.__lshift__", 1, number),
            d.ok("torch.Tensor.__getitem__", d.put(torch.arange(9.0)), number)]  # fmt: skip
    for ref in refs:
        assert kind(d, ref) not in ("public", "metadata", "aggregate"), ref


SINGLE = {
    "a slice": lambda d, x: d.ok("torch.Tensor.__getitem__", x, slice(0, 1)),
    "a scan": lambda d, x: d.ok("torch.cumsum", x, 0),
    "an order": lambda d, x: d.ok("torch.Tensor.sort", x, outs=2)[0],
    "a pad": lambda d, x: d.ok(F + "pad", x, [0, 1]),
    "an expansion": lambda d, x: d.ok(
        "torch.Tensor.expand", d.ok("torch.Tensor.__getitem__", x, slice(3, 4)), 64
    ),
    "a transform": lambda d, x: d.ok("torch.abs", d.ok("torch.fft.fft", x)),
    "a triangle": lambda d, x: d.ok("torch.tril", d.ok("torch.Tensor.view", x, 1, -1)),
    "a pool": lambda d, x: d.ok(F + "max_pool1d", d.ok("torch.Tensor.view", x, 1, -1), 5),
    "a maximum": lambda d, x: d.ok("torch.amax", x),
    "a soft maximum": lambda d, x: d.ok("torch.logsumexp", d.ok("torch.mul", x, 100.0), 0),
    "a high norm": lambda d, x: d.ok("torch.norm", x, 100),
    "a product": lambda d, x: d.ok("torch.prod", x),
    "a choice": lambda d, x: d.ok("torch.masked_select", x, d.ok("torch.Tensor.__gt__", x, 18)),
    "a gather": lambda d, x: d.ok("torch.take", x, d.put(torch.tensor([3, 3]))),
    "a reflection": lambda d, x: d.ok("torch.dot", x, d.ok("torch.flip", x, [0])),
}


@pytest.mark.parametrize("way", SINGLE)
def test_no_sum_raises_a_single_record(d, secret, way):
    value = d.ok("torch.sum", SINGLE[way](d, secret))
    assert d.label(value)[:2] == ("per_record", 1)


def test_zeroing_all_but_one_record_of_a_copy(d, secret):
    copy = d.ok("torch.Tensor.clone", secret)
    assert d.label(d.ok("torch.sum", copy)) == ("aggregate", 20, False)
    d.ok("torch.Tensor.__setitem__", copy, slice(1, None), 0.0, outs=0)
    assert d.label(d.ok("torch.sum", copy))[0] == "per_record"


def test_a_mask_made_of_positions_is_injected(d, secret):
    ones = d.ok("torch.ones_like", secret)
    mask = d.ok("torch.Tensor.__eq__", d.ok("torch.cumsum", ones, 0), 5.0)
    masked = d.ok("torch.Tensor.__mul__", secret, mask)
    assert d.label(d.ok("torch.sum", masked))[2] is True


def test_the_difference_of_two_sums_is_one_record(d, secret):
    parts = [
        d.ok("torch.sum", d.ok("torch.Tensor.__getitem__", secret, slice(0, n))) for n in (11, 10)
    ]
    assert d.label(d.ok("torch.Tensor.__sub__", *parts))[:2] == ("per_record", 1)


def test_data_sets_that_name_records_close_the_way(d):
    data = d.share(list(digits(20)), "torch.utils.data.Dataset")
    subset = d.ok("torch.utils.data.Subset", data, [0])
    repeated = d.ok("torch.utils.data.ConcatDataset", d.ok("python.List", [subset] * 20))
    for made in (subset, repeated):
        loader = d.ok("torch.utils.data.DataLoader", made, batch_size=20)
        batch = d.ok("python.next", d.ok("python.iter", loader))
        x = d.ok("python.List.__getitem__", batch, 0)
        assert d.label(d.ok("torch.mean", x))[:2] == ("per_record", 1)


def test_the_whole_against_a_pass_over_it_gives_one_batch_away(d):
    images, targets = digits(21)
    x, y = d.share(images), d.share(targets)
    data = d.ok("torch.utils.data.TensorDataset", x, y)
    loader = d.ok("torch.utils.data.DataLoader", data, batch_size=20, drop_last=True)
    batch = d.ok("python.next", d.ok("python.iter", loader))
    part = d.ok("torch.sum", d.ok("python.List.__getitem__", batch, 0))
    assert d.label(part) == ("aggregate", 20, False)
    whole = d.ok("torch.sum", x)
    assert d.label(d.ok("torch.Tensor.__sub__", whole, part)) == ("aggregate", 1, False)


def test_uploads_beside_private_records_are_injected(d, secret):
    data = d.ok("torch.utils.data.TensorDataset", secret, d.put(torch.eye(20)[5]))
    loader = d.ok("torch.utils.data.DataLoader", data, batch_size=20)
    batch = d.ok("python.next", d.ok("python.iter", loader))
    x, mask = (d.ok("python.List.__getitem__", batch, i) for i in (0, 1))
    assert d.label(d.ok("torch.sum", d.ok("torch.mul", x, mask)))[2] is True


@pytest.mark.parametrize("way", ["List", "Tuple", "extend"])
def test_batches_that_a_container_took_out_of_a_loader(d, way):
    data = d.share(list(digits(20)), "torch.utils.data.Dataset")
    loader = d.ok("torch.utils.data.DataLoader", data, batch_size=10)
    made = d.ok("python.List")
    if way == "extend":
        d.run("python.List.extend", made, loader, outs=0)
    else:
        made = d.run(f"python.{way}", loader)
    if not d.failures():
        batch = d.ok(f"python.{'Tuple' if way == 'Tuple' else 'List'}.__getitem__", made, 0)
        assert kind(d, batch) == "per_record"
        assert kind(d, d.ok("python.List.__getitem__", batch, 0)) == "per_record"


def test_a_view_that_lies_over_some_bytes_twice_does_not_clean_the_others(d, secret):
    own = d.ok("torch.zeros", [12])
    part = d.ok("torch.Tensor.__getitem__", secret, slice(0, 12))
    d.run("torch.Tensor.copy_", own, part, outs=0)
    start = d.ok("torch.Tensor.__getitem__", own, slice(0, 11))
    windows = d.ok("torch.Tensor.unfold", start, 0, 2, 1)
    d.run("torch.Tensor.zero_", windows, outs=0)
    assert kind(d, own) in ("verbatim", "per_record")
    d.ok("torch.Tensor.zero_", own, outs=0)
    assert kind(d, own) == "public"


def test_what_private_values_made_stays_theirs_whatever_is_written_over_it(d, secret):
    """What stands in for a failure lies otherwise: that it was cleaned would tell it."""
    own = d.ok("torch.Tensor.clone", secret)
    d.ok("torch.Tensor.zero_", own, outs=0)
    assert kind(d, own) in ("verbatim", "per_record")


# the owner's objects are read-only


READ_ONLY = {
    "in place": lambda d, x: d.run("torch.Tensor.add_", x, 1.0, outs=0),
    "operator": lambda d, x: d.run("torch.Tensor.__iadd__", x, 1.0),
    "item": lambda d, x: d.run("torch.Tensor.__setitem__", x, 0, 5.0, outs=0),
    "copy": lambda d, x: d.run("torch.Tensor.copy_", x, d.put(torch.zeros(20)), outs=0),
    "view": lambda d, x: d.run("torch.Tensor.zero_", d.ok("torch.Tensor.view", x, 4, 5), outs=0),
    "slice": lambda d, x: d.run(
        "torch.Tensor.fill_", d.ok("torch.Tensor.__getitem__", x, slice(0, 2)), 1.0, outs=0
    ),
    "detached": lambda d, x: d.run("torch.Tensor.mul_", d.ok("torch.Tensor.detach", x), 2.0),
    "data": lambda d, x: d.run("torch.Tensor.mul_", d.ok("torch.Tensor.data", x), 2.0),
    "set data": lambda d, x: d.run("torch.Tensor.data=", x, d.put(torch.zeros(20)), outs=0),
    "set data of a view": lambda d, x: d.run(
        "torch.Tensor.data=", d.ok("torch.Tensor.detach", x), d.put(torch.zeros(20)), outs=0
    ),
    "set grad": lambda d, x: d.run("torch.Tensor.grad=", x, d.put(torch.zeros(20)), outs=0),
    "requires grad": lambda d, x: d.run("torch.Tensor.requires_grad_", x, outs=0),
    "function": lambda d, x: d.run(F + "relu", x, inplace=True),
    "function by position": lambda d, x: d.run(F + "relu", x, True),
    "function in place": lambda d, x: d.run("torch.relu_", x),
    "dropout": lambda d, x: d.run(F + "dropout", x, 0.5, True, True),
    "init": lambda d, x: d.run("torch.nn.init.zeros_", x),
    "out": lambda d, x: d.run("torch.add", d.put(torch.ones(20)), 1.0, out=x),
    "parameter": lambda d, x: d.run("torch.Tensor.zero_", d.ok("torch.nn.Parameter", x), outs=0),
    "expanded": lambda d, x: d.run(
        "torch.Tensor.zero_", d.ok("torch.Tensor.expand", x, 1, 20), outs=0
    ),
    "split": lambda d, x: d.run(
        "torch.Tensor.zero_", d.ok("torch.split", x, 10, outs=2)[0], outs=0
    ),
    "from a list": lambda d, x: d.run(
        "torch.Tensor.zero_",
        d.ok("python.List.__getitem__", d.ok("python.collect", x), 0),
        outs=0,
    ),
    "out of the same call": lambda d, x: d.run("torch.Tensor.sub_", x, x, outs=0),
}


@pytest.mark.parametrize("way", READ_ONLY)
def test_an_owners_tensor_cannot_be_written(d, secret, way):
    before = d.facts(secret).version
    READ_ONLY[way](d, secret)
    (failure,) = d.failures()
    assert failure.is_public
    assert torch.equal(d.release(secret), torch.arange(20.0))
    assert d.facts(secret).version == before


def test_running_statistics_in_an_owners_tensor(d):
    mean = d.share(torch.zeros(3))
    x, var = d.put(torch.rand(8, 3)), d.put(torch.ones(3))
    assert d.failed(F + "batch_norm", x, mean, var, None, None, True).is_public
    assert d.failed(F + "batch_norm", x, var, mean, None, None, training=True).is_public
    assert torch.equal(d.release(mean), torch.zeros(3))
    d.ok(F + "batch_norm", x, mean, var, None, None, False)


def test_an_optimizer_over_an_owners_parameters(d):
    w = d.share(torch.ones(3, requires_grad=True))
    for given in (w, d.ok("torch.nn.Parameter", w)):
        listed = d.ok("python.collect", given)
        assert d.failed("torch.optim.SGD", listed, lr=1.0).code == "NotAllowed"
    own = d.put(torch.ones(3, requires_grad=True))
    optimizer = d.ok("torch.optim.SGD", d.ok("python.collect", own), lr=1.0)
    d.ok("torch.Tensor.backward", d.ok("torch.sum", w), outs=0)
    d.ok("torch.optim.Optimizer.step", optimizer, outs=0)
    assert torch.equal(d.release(w).detach(), torch.ones(3))


def test_an_owners_tensor_as_gradient_is_a_copy(d, secret):
    w = d.put(torch.ones(20, requires_grad=True))
    d.ok("torch.Tensor.grad=", w, secret, outs=0)
    d.ok("torch.Tensor.backward", d.ok("torch.sum", w), outs=0)
    optimizer = d.ok("torch.optim.SGD", d.ok("python.collect", w), lr=1.0)
    d.ok("torch.optim.Optimizer.zero_grad", optimizer, set_to_none=False, outs=0)
    assert torch.equal(d.release(secret), torch.arange(20.0))


def test_an_owners_table_is_not_renormalised(d):
    table = d.share(torch.ones(4, 3) * 9)
    d.run(F + "embedding", d.put(torch.tensor([1])), table, max_norm=1.0)
    assert d.failures()
    assert torch.equal(d.release(table), torch.ones(4, 3) * 9)


def test_owners_containers_cannot_be_changed(d):
    listed = d.share([torch.zeros(2), 5], "python.List")
    mapped = d.share({"a": 1}, "python.Dict")
    for name, args in [
        ("python.List.append", (listed, 1)), ("python.List.pop", (listed,)),
        ("python.List.__setitem__", (listed, 0, 1)), ("python.List.clear", (listed,)),
        ("python.Dict.__setitem__", (mapped, "b", 1)), ("python.Dict.clear", (mapped,)),
    ]:  # fmt: skip
        assert d.failed(name, *args, outs=0).is_public, name
    inside = d.ok("python.List.__getitem__", listed, 0)
    assert d.failed("torch.Tensor.add_", inside, 1.0, outs=0).is_public
    assert d.release(mapped) == {"a": 1}


def written_where_chosen(d, secret, *, keys_public, index=0):
    """An owner's dict, and one of the scientist's: a private number chose what was written to."""
    mapped = d.share({"a": 1}, "python.Dict", keys_public=keys_public)
    own = d.ok("python.Dict")
    both = d.ok("python.collect", mapped, own)
    number = d.ok("python.Int", d.ok("torch.Tensor.__getitem__", secret, index))
    chosen = d.ok("python.List.__getitem__", both, number)
    d.run("python.Dict.__setitem__", chosen, "b", 1, outs=0)
    assert [failure.is_public for failure in d.failures()] == ([False] if index == 0 else [])
    return mapped, own


@pytest.mark.parametrize("keys_public", [True, False])
def test_a_chosen_container_is_refused_in_silence_and_the_same_by_its_name_aloud(
    d, secret, keys_public
):
    mapped, _ = written_where_chosen(d, secret, keys_public=keys_public)
    assert d.failed("python.Dict.__setitem__", mapped, "b", 1, outs=0).is_public


@pytest.mark.parametrize("index", [0, 1], ids=["it was chosen", "another one was"])
def test_and_it_can_be_released_afterwards_whichever_was_chosen(d, secret, index):
    mapped, own = written_where_chosen(d, secret, keys_public=True, index=index)
    assert not d.facts(mapped).failed
    assert d.release(mapped) == {"a": 1}
    for ref in (mapped, own):
        assert (d.facts(ref).kind, d.facts(ref).sources) == ("per_record", (-1, -2))


# ids


def test_an_owners_id_cannot_be_deleted_or_written(d, secret):
    (failure, _) = d.delete(secret)
    assert isinstance(failure, m.OpFailed)
    assert torch.equal(d.release(secret), torch.arange(20.0))


def test_a_name_does_not_change_what_a_value_is(d, secret):
    from duet_p2p.wire.messages import Note

    clone = d.ok("torch.Tensor.clone", secret)
    d.send(Note(clone.id, ("loss",), "a harmless loss", True))
    assert kind(d, clone) == "verbatim"


# failures


def test_a_failure_that_depends_on_values_is_silent_and_labelled(d, secret):
    index = d.ok("torch.Tensor.long", d.ok("torch.Tensor.__getitem__", secret, slice(5, 20)))
    failure = d.failed("torch.index_select", d.put(torch.ones(10)), 0, index)
    assert not failure.is_public
    facts = d.facts(type(secret)(d.next_id))
    assert facts.failed and facts.kind == "per_record" and facts.sources == (-1,)


def test_a_failed_loss_poisons_the_model_that_it_would_have_trained(d, secret):
    w = d.put(torch.ones(10, requires_grad=True))
    index = d.ok("torch.Tensor.long", secret)
    loss = d.run("torch.sum", d.run("torch.index_select", w, 0, index))
    d.run("torch.Tensor.backward", loss, outs=0)
    assert not d.facts(w).failed  # as if it had worked: whether it failed is private
    assert d.facts(d.ok("torch.Tensor.grad", w)).failed
    optimizer = d.ok("torch.optim.SGD", d.ok("python.collect", w), lr=1.0)
    d.ok("torch.optim.Optimizer.step", optimizer, outs=0)
    assert d.facts(w).failed and d.facts(w).sources == (-1,)


def test_a_failed_write_poisons_its_target(d, secret):
    own = d.put(torch.ones(10))
    index = d.ok("torch.Tensor.long", secret)
    d.run("torch.Tensor.index_fill_", own, 0, index, 5.0, outs=0)
    facts = d.facts(own)
    assert facts.failed and not facts.failed_is_public and facts.sources == (-1,)


def test_a_failed_value_in_a_list_leaves_the_list_as_long_as_a_good_one(d, secret):
    index = d.ok("torch.Tensor.long", secret)
    bad = d.run("torch.index_select", d.put(torch.ones(10)), 0, index)
    listed = d.ok("python.List")
    d.ok("python.List.append", listed, bad, outs=0)
    d.ok("python.List.append", listed, 3, outs=0)
    assert d.release(d.ok("python.len", listed)) == 2
    assert d.release(d.ok("python.List.__getitem__", listed, 1)) == 3
    assert d.facts(listed).failed
    assert d.facts(d.run("python.List.__getitem__", listed, 0)).failed


# how many records a private mask chose is private


@pytest.mark.parametrize("of", ["secret", "own"])
def test_the_number_of_records_that_a_private_mask_chose_is_hidden(d, secret, of):
    mask = d.ok("torch.Tensor.__gt__", secret, 5)
    data = secret if of == "secret" else d.put(torch.arange(20.0))
    chosen = d.ok("torch.Tensor.__getitem__", data, mask)
    assert d.facts(chosen).kind in ("per_record", "verbatim")
    for name in ("torch.Tensor.numel", "torch.Tensor.size", "python.len"):
        assert kind(d, d.ok(name, chosen)) == "per_record", name
    doubled = d.ok("torch.Tensor.mul", chosen, 2)
    assert kind(d, d.ok("torch.Tensor.numel", doubled)) == "per_record"
    told = [event.id for event in d.events if isinstance(event, m.Learnt)]
    assert chosen.id not in told and doubled.id not in told


def test_the_number_that_a_mask_of_ones_own_chose_is_told(d):
    own = d.put(torch.arange(20.0))
    chosen = d.ok("torch.Tensor.__getitem__", own, d.ok("torch.Tensor.__gt__", own, 5))
    doubled = d.ok("torch.Tensor.mul", chosen, 2)
    shapes = {e.id: e.shape for e in d.events if isinstance(e, m.Learnt)}
    assert shapes[chosen.id] == shapes[doubled.id] == (14,)
