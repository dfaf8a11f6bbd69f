"""One command: admission, modes, results, failures."""

from __future__ import annotations

import pytest
import torch

from duet_p2p.surface.table import TABLE
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver

F = "torch.nn.functional."


@pytest.fixture
def d():
    return Driver()


def test_an_unknown_name_is_a_public_failure_and_its_results_are_poison(d):
    assert d.failed("torch.load", "x").code == "NotAllowed"
    assert d.failed("torch.Tensor.__class__", d.put(1)).code == "NotAllowed"
    assert d.facts(Ref(d.next_id)).failed_is_public


def test_a_name_without_any_arguments_fails_for_all_to_see(d):
    d.share(torch.ones(3))
    for name in TABLE:
        d.run(name)
        assert all(failure.is_public for failure in d.failures()), name


@pytest.mark.parametrize("first", [[1, 2], {"a": 1}, "text", 3])
def test_one_with_its_first_argument_alone_does_too(d, first):
    own = d.put(first)
    for name in (name for name in TABLE if name.startswith("python.")):
        d.run(name, own)
        assert all(failure.is_public for failure in d.failures()), name


def test_an_id_that_does_not_exist(d):
    failure = d.failed("torch.relu", Ref(-77))
    assert (failure.code, failure.is_public) == ("PointerDeleted", True)


def test_an_existing_id_is_not_written_again(d):
    x = d.put(torch.ones(3))
    (failure, _) = d.send(Op("torch.zeros", (x.id,), (3,), {}, "g"))
    assert failure.is_public
    assert torch.equal(d.release(x), torch.ones(3))
    (failure, _) = d.send(Op("torch.zeros", (-1,), (3,), {}, "g"))
    assert failure.is_public and Ref(-1).id not in d.engine.store


def test_a_shape_mistake_on_private_data_is_public_and_runs_nothing(d):
    x = d.share(torch.ones(4, 3))
    failure = d.failed("torch.matmul", x, d.put(torch.ones(4, 3)))
    assert (failure.code, failure.is_public) == ("RuntimeError", True)


def test_a_shape_mistake_on_a_hidden_shape_is_silent(d):
    x = d.share(torch.ones(4, 3), public=False)
    assert not d.failed("torch.matmul", x, d.put(torch.ones(4, 3))).is_public


def test_one_failure_per_cause_and_the_same_poison_for_all_that_follows(d):
    x = d.run("torch.matmul", d.put(torch.ones(2, 2)), d.put(torch.ones(3)))
    seq = d.failures()[0].seq
    y = d.run("torch.relu", d.run("torch.sum", x))
    assert not d.failures()
    assert (d.facts(y).failed_seq, d.facts(y).failed_op) == (seq, "torch.matmul")


def test_an_enormous_result_is_refused_before_it_is_made(d):
    x = d.put(torch.zeros(1))
    assert d.failed("torch.Tensor.expand", x, 10**13).code == "QuotaExceeded"
    assert d.failed("torch.zeros", 10**13).code == "QuotaExceeded"
    small = Driver({"result_bytes": 1_000_000})
    assert small.failed("torch.ones", 250_001).code == "QuotaExceeded"
    small.ok("torch.ones", 250_000)


def test_stored_bytes_are_counted_and_come_back_on_delete():
    d = Driver({"stored_bytes": 1_000_000})
    refs = [d.ok("torch.ones", 50_000) for _ in range(5)]
    assert d.failed("torch.ones", 50_000).code == "QuotaExceeded"
    d.delete(*refs[:2])
    d.ok("torch.ones", 50_000)


def test_objects_are_counted():
    d = Driver({"objects": 2})
    d.ok("torch.ones", 1)
    d.ok("torch.ones", 1)
    assert d.failed("torch.ones", 1).code == "QuotaExceeded"


@pytest.mark.parametrize(("mode", "requires"), [("g", True), ("n", False), ("i", False)])
def test_the_callers_grad_mode_holds(d, mode, requires):
    w = d.put(torch.ones(3, requires_grad=True))
    y = d.ok("torch.mul", w, 2.0, mode=mode)
    assert d.release(d.ok("torch.Tensor.requires_grad", y)) is requires
    assert torch.is_grad_enabled()


def test_results_by_arity(d):
    x = d.put(torch.arange(6.0))
    a, b, c = d.ok("torch.split", x, 2, outs=3)
    assert torch.equal(d.release(b), torch.tensor([2.0, 3.0]))
    whole = d.ok("torch.split", x, 2)
    assert torch.equal(d.release(whole)[2], d.release(c))
    values, indices = d.ok("torch.sort", x, outs=2)
    assert d.facts(indices).dtype == "int64" and d.facts(values).dtype == "float32"
    assert d.release(a) is not None
    refs = d.run("torch.split", x, 2, outs=2)
    assert d.failures()[0].code == "ValueError"
    assert all(d.facts(ref).failed for ref in refs)


def test_in_place_methods_change_the_object_and_may_name_it_again(d):
    x = d.put(torch.ones(3))
    d.ok("torch.Tensor.add_", x, 1.0, outs=0)
    again = d.ok("torch.Tensor.mul_", x, 3.0)
    assert torch.equal(d.release(x), torch.full((3,), 6.0))
    assert torch.equal(d.release(again), d.release(x))


def test_a_failed_write_with_public_inputs_leaves_types_alone(d):
    x = d.put(torch.ones(3))
    d.failed("torch.Tensor.add_", x, "text", outs=0)
    assert torch.equal(d.release(x), torch.ones(3))


def test_backward_twice_is_a_public_mistake_and_keeps_the_model(d):
    x = d.share(torch.rand(20, 3))
    w = d.put(torch.ones(3, 1, requires_grad=True))
    loss = d.ok("torch.mean", d.ok("torch.exp", d.ok("torch.matmul", x, w)))
    d.ok("torch.Tensor.backward", loss, outs=0)
    assert d.failed("torch.Tensor.backward", loss, outs=0).is_public
    assert not d.facts(w).failed
    assert d.failed("torch.Tensor.backward", x, outs=0).is_public


def test_equal_to_local_torch_with_the_same_seed(d):
    d.ok("torch.manual_seed", 42, outs=0)
    x = d.ok("torch.rand", 4)
    dropped = d.ok(F + "dropout", d.put(torch.ones(8)))
    state = torch.get_rng_state()
    torch.manual_seed(42)
    expected = torch.rand(4), torch.nn.functional.dropout(torch.ones(8))
    torch.set_rng_state(state)
    assert torch.equal(d.release(x), expected[0])
    assert torch.equal(d.release(dropped), expected[1])


def test_data_sets_from_the_owners_directories_are_private_sources(tmp_path):
    import gzip
    import struct

    count = 20
    for name, header in (("train-images-idx3-ubyte", (2051, count, 28, 28)),
                         ("train-labels-idx1-ubyte", (2049, count))):  # fmt: skip
        size = count * (28 * 28 if len(header) > 2 else 1)
        data = struct.pack(f">{len(header)}I", *header) + bytes(i % 10 for i in range(size))
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data))
    d = Driver(dirs={"mnist": str(tmp_path)})
    transform = d.ok("torchvision.transforms.ToTensor")
    data = d.ok("torchvision.datasets.MNIST", "mnist", train=True, transform=transform)
    (learnt, *_) = d.last
    assert (learnt.id, learnt.length) == (data.id, count)
    loader = d.ok("torch.utils.data.DataLoader", data, batch_size=16, shuffle=True)
    (learnt, *_) = d.last
    assert learnt.facts["batches"] == 2 and learnt.facts["last"] == 4
    assert learnt.facts["element"][0]["shape"] == (1, 28, 28)
    batch = d.ok("python.next", d.ok("python.iter", loader))
    x = d.ok("python.List.__getitem__", batch, 0)
    mean = d.facts(d.ok("torch.mean", x))
    assert (mean.kind, mean.min_records) == ("aggregate", 16)
    assert mean.source_names == ("files in 'mnist'",) and mean.sources[0] < -(2**39)
    assert d.facts(d.ok("torch.utils.data.Dataset.__len__", data)).kind == "metadata"
    failure = d.failed("torchvision.datasets.MNIST", "../other", train=True)
    assert failure.is_public and str(tmp_path) not in failure.text
