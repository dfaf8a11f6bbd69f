"""Kinds, records and sources of values that ordinary programs make."""

from __future__ import annotations

import torch

from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver, digits

F = "torch.nn.functional."


def _network(d: Driver):
    torch.manual_seed(0)
    shapes = [(4, 1, 3, 3), (4,), (10, 4 * 3 * 3), (10,)]
    return [d.put((torch.randn(shape) * 0.1).requires_grad_()) for shape in shapes]


def _step(d: Driver, parameters, batch, optimizer):
    x, y = d.ok("python.List.__getitem__", batch, 0), d.ok("python.List.__getitem__", batch, 1)
    w, b, v, c = parameters
    d.ok("torch.optim.Optimizer.zero_grad", optimizer, outs=0)
    h = d.ok(F + "relu", d.ok(F + "conv2d", x, w, b))
    h = d.ok("torch.flatten", d.ok(F + "max_pool2d", h, 2), 1)
    out = d.ok(F + "log_softmax", d.ok(F + "linear", h, v, c), dim=1)
    loss = d.ok(F + "nll_loss", out, y)
    d.ok("torch.Tensor.backward", loss, outs=0)
    d.ok("torch.optim.Optimizer.step", optimizer, outs=0)
    return loss


def _training(d: Driver, count=20, batch=10, **loader):
    data = d.share(list(digits(count)), "torch.utils.data.Dataset")
    parameters = _network(d)
    listed = d.ok("python.collect", *parameters)
    optimizer = d.ok("torch.optim.Adadelta", listed, lr=1.0)
    made = d.ok("torch.utils.data.DataLoader", data, batch_size=batch, **loader)
    return data, parameters, optimizer, made


def test_a_loss_is_an_aggregate_over_its_batch_also_after_100_steps():
    d = Driver()
    _, parameters, optimizer, loader = _training(d, count=20, batch=10, shuffle=True)
    for _ in range(50):
        iterator = d.ok("python.iter", loader)
        for _ in range(2):
            batch = d.ok("python.next", iterator)
            loss = _step(d, parameters, batch, optimizer)
            assert d.label(d.ok("torch.Tensor.item", loss)) == ("aggregate", 10, False)
    assert d.facts(loss).sources == (-1,)


def test_a_trained_state_dict_is_a_model_and_trained_by_what_torch_trains():
    d = Driver()
    _, parameters, optimizer, loader = _training(d)
    values = [torch.randn(0)]
    torch.manual_seed(0)
    w, b, v, c = [
        (torch.randn(s) * 0.1).requires_grad_() for s in [(4, 1, 3, 3), (4,), (10, 36), (10,)]
    ]
    local = torch.optim.Adadelta([w, b, v, c], lr=1.0)
    images, targets = digits(20)
    iterator = d.ok("python.iter", loader)
    for at in (0, 10):
        _step(d, parameters, d.ok("python.next", iterator), optimizer)
        local.zero_grad()
        h = torch.relu(torch.conv2d(images[at : at + 10], w, b))
        h = torch.nn.functional.max_pool2d(h, 2).flatten(1) @ v.T + c
        torch.nn.functional.nll_loss(h.log_softmax(1), targets[at : at + 10]).backward()
        local.step()
    state = d.ok("python.state_dict", ["w", "b", "v", "c"], *parameters)
    assert d.label(state) == ("model", 10, False)
    values = d.release(state)
    for name, parameter in zip("wbvc", [w, b, v, c], strict=True):
        assert torch.allclose(values[name], parameter, atol=1e-6)


def test_losses_of_one_pass_add_up_and_of_two_shuffled_passes_do_not():
    d = Driver()
    _, parameters, optimizer, loader = _training(d, shuffle=True)

    def sum_of_pass(total):
        iterator = d.ok("python.iter", loader)
        for _ in range(2):
            loss = _step(d, parameters, d.ok("python.next", iterator), optimizer)
            total = d.ok("python.Float.__iadd__", total, d.ok("torch.Tensor.item", loss))
        return total

    total = sum_of_pass(d.ok("python.Float", 0))
    assert d.label(total) == ("aggregate", 10, False)
    assert d.label(sum_of_pass(total)) == ("aggregate", 1, False)


def test_a_step_over_a_single_record_marks_the_losses_that_come_after_it():
    d = Driver()
    _, parameters, optimizer, loader = _training(d, count=11, batch=10)
    iterator = d.ok("python.iter", loader)
    for records in (10, 1):
        loss = _step(d, parameters, d.ok("python.next", iterator), optimizer)
        assert d.label(loss) == ("aggregate", records, False)
    again = d.ok("python.next", d.ok("python.iter", loader))
    assert d.label(_step(d, parameters, again, optimizer)) == ("aggregate", 1, False)


def test_batches_are_verbatim_and_lengths_are_metadata():
    d = Driver()
    data, _, _, loader = _training(d)
    batch = d.ok("python.next", d.ok("python.iter", loader))
    assert d.label(batch) == ("verbatim", 1, False)
    assert d.label(d.ok("python.List.__getitem__", batch, 0)) == ("verbatim", 1, False)
    assert d.label(d.ok("torch.utils.data.Dataset.__len__", data))[0] == "metadata"
    assert d.label(d.ok("torch.utils.data.DataLoader.__len__", loader))[0] == "metadata"
    assert d.label(d.ok("python.len", loader))[0] == "metadata"


def test_a_private_shape_makes_its_length_per_record():
    d = Driver()
    x = d.share(torch.ones(5), public=False)
    assert d.label(d.ok("torch.Tensor.__len__", x))[0] == "per_record"
    data = d.share(list(digits(20)), "torch.utils.data.Dataset", public=False)
    assert d.label(d.ok("torch.utils.data.Dataset.__len__", data))[0] == "per_record"


def test_ages():
    d = Driver()
    ages = d.share(torch.tensor([25, 32, 49, 65, 88, 22]), tags=["ages"])
    floats = d.ok("torch.Tensor.float", ages)
    mean = d.ok("torch.Tensor.mean", floats)
    assert d.label(ages) == d.label(floats) == ("verbatim", 1, False)
    assert d.label(mean) == ("aggregate", 6, False)
    assert d.facts(mean).tags == ("ages", "float", "mean")
    assert d.facts(mean).recipe == "v1 = store['ages'].float()\nv1.mean()"
    assert d.label(d.ok("torch.Tensor.amax", floats)) == ("per_record", 1, False)
    assert d.label(d.ok("torch.Tensor.__getitem__", ages, 2)) == ("verbatim", 1, False)


def test_own_values_and_what_is_made_of_them_are_public():
    d = Driver()
    x = d.put(torch.ones(3))
    y = d.ok("torch.Tensor.__add__", x, d.ok("torch.rand", 3))
    assert d.label(x) == d.label(y) == ("public", 0, False)
    assert d.label(d.ok("torch.device.type", d.ok("torch.device", "cpu")))[0] == "public"


def test_facts_of_the_machine_are_metadata():
    d = Driver()
    assert d.label(d.ok("torch.cuda.is_available")) == ("metadata", 0, False)


def test_sources_of_two_objects_are_joined():
    d = Driver()
    x, y = d.share(torch.ones(20)), d.share(torch.ones(20))
    loss = d.ok(F + "mse_loss", x, y)
    assert d.facts(loss).sources == (-1, -2)
    assert d.label(loss) == ("aggregate", 20, False)


def test_a_public_weight_per_record_is_reported():
    d = Driver()
    x = d.share(torch.ones(20))
    mask = d.put(torch.tensor([0.0] * 19 + [1.0]))
    masked = d.ok("torch.Tensor.__mul__", x, mask)
    assert d.label(d.ok("torch.Tensor.sum", masked)) == ("aggregate", 20, True)


def test_a_weight_with_a_gradient_would_receive_single_records():
    d = Driver()
    x, w = d.share(torch.ones(20)), d.put(torch.ones(20, requires_grad=True))
    loss = d.ok("torch.Tensor.sum", d.ok("torch.Tensor.__mul__", x, w))
    assert d.label(loss)[0] == "per_record"
    d.ok("torch.Tensor.backward", loss, outs=0)
    assert d.label(d.ok("torch.Tensor.grad", w))[0] == "per_record"


def test_gradients_for_the_data_are_per_record():
    d = Driver()
    x = d.share(torch.ones(20, 3, requires_grad=True))
    w = d.put(torch.ones(3, 2, requires_grad=True))
    loss = d.ok("torch.Tensor.mean", d.ok("torch.matmul", x, w))
    d.ok("torch.Tensor.backward", loss, outs=0)
    assert d.label(d.ok("torch.Tensor.grad", x))[0] == "per_record"
    assert d.label(d.ok("torch.Tensor.grad", w)) == ("aggregate", 20, False)


def test_a_model_trained_on_per_record_gradients_is_per_record():
    d = Driver()
    x, w = d.share(torch.ones(20)), d.put(torch.ones(20, requires_grad=True))
    optimizer = d.ok("torch.optim.SGD", d.ok("python.collect", w), lr=1.0)
    loss = d.ok("torch.Tensor.sum", d.ok("torch.Tensor.__mul__", x, w))
    d.ok("torch.Tensor.backward", loss, outs=0)
    d.ok("torch.optim.Optimizer.step", optimizer, outs=0)
    assert d.label(w)[0] == "per_record"


def test_retained_gradients_are_labelled():
    d = Driver()
    x, w = d.share(torch.ones(20, 3)), d.put(torch.ones(3, 2, requires_grad=True))
    v = d.ok("torch.Tensor.__mul__", w, 2.0)
    d.ok("torch.Tensor.retain_grad", v, outs=0)
    loss = d.ok("torch.Tensor.mean", d.ok("torch.matmul", x, v))
    d.ok("torch.Tensor.backward", loss, outs=0)
    assert d.label(d.ok("torch.Tensor.grad", v))[0] == "per_record"


def test_a_private_seed_marks_all_random_numbers_after_it():
    d = Driver()
    x = d.share(torch.tensor(7))
    d.ok("torch.manual_seed", d.ok("torch.Tensor.item", x))
    assert d.label(d.ok("torch.rand", 3))[0] != "public"
    d.ok("torch.manual_seed", 3)
    assert d.label(d.ok("torch.rand", 3))[0] == "public"


def test_a_hidden_number_of_draws_marks_the_generator():
    d = Driver()
    x = d.share(torch.arange(5.0))
    chosen = d.ok("torch.masked_select", x, d.ok("torch.Tensor.__gt__", x, 2.0))
    assert d.label(chosen)[0] == "per_record"
    d.ok("torch.rand_like", chosen)
    assert d.label(d.ok("torch.rand", 3))[0] == "per_record"


def test_a_hidden_shape_gives_a_private_length():
    d = Driver()
    x = d.share(torch.arange(5.0))
    chosen = d.ok("torch.nonzero", x)
    assert d.label(d.ok("torch.Tensor.shape", chosen))[0] == "per_record"
    assert not [e for e in d.last if type(e).__name__ == "Learnt"]


def test_running_statistics_are_a_model_of_the_batch():
    d = Driver()
    x = d.share(torch.rand(20, 3))
    mean, var = d.put(torch.zeros(3)), d.put(torch.ones(3))
    y = d.ok(F + "batch_norm", x, mean, var, None, None, True)
    assert d.label(mean) == d.label(var) == ("model", 20, False)
    assert d.label(d.ok("torch.Tensor.mean", y)) == ("aggregate", 20, False)


def test_the_length_of_a_list_of_losses_is_public_and_the_losses_are_not():
    d = Driver()
    x = d.share(torch.ones(20))
    losses = d.ok("python.List")
    item = d.ok("torch.Tensor.item", d.ok("torch.Tensor.mean", x))
    d.ok("python.List.append", losses, item, outs=0)
    assert d.label(d.ok("python.len", losses))[0] == "public"
    assert d.label(losses) == ("aggregate", 20, False)
    assert d.label(d.ok("python.List.__getitem__", losses, 0)) == ("aggregate", 20, False)


def test_a_list_sorted_by_private_values_has_a_private_order():
    d = Driver()
    x = d.share(torch.ones(20))
    item = d.ok("torch.Tensor.item", d.ok("torch.Tensor.sum", x))
    made = d.ok("python.List", [5.0])
    d.ok("python.List.append", made, item, outs=0)
    d.ok("python.List.sort", made, outs=0)
    assert d.label(d.ok("python.List.__getitem__", made, 0))[0] != "public"
    index = d.ok("torch.Tensor.item", d.ok("torch.argmax", x))
    public = d.ok("python.collect", d.put(torch.zeros(1)), d.put(torch.ones(1)))
    assert d.label(d.ok("python.List.__getitem__", public, index))[0] == "per_record"


def test_a_scheduler_that_saw_a_private_value_marks_the_optimizer():
    d = Driver()
    x = d.share(torch.ones(20))
    w = d.put(torch.ones(3, requires_grad=True))
    optimizer = d.ok("torch.optim.SGD", d.ok("python.collect", w), lr=1.0)
    scheduler = d.ok("torch.optim.lr_scheduler.ReduceLROnPlateau", optimizer)
    d.ok("torch.optim.lr_scheduler.LRScheduler.step", scheduler, d.ok("torch.amax", x), outs=0)
    d.ok("torch.Tensor.backward", d.ok("torch.Tensor.sum", w), outs=0)
    d.ok("torch.optim.Optimizer.step", optimizer, outs=0)
    assert d.label(w)[0] == "per_record"
    state = d.ok("torch.optim.Optimizer.state_dict", optimizer)
    assert d.label(state)[0] == "per_record"


def test_versions_change_when_a_command_could_have_written():
    d = Driver()
    x = d.put(torch.zeros(4))
    view = d.ok("torch.Tensor.__getitem__", x, slice(0, 2))
    before = d.facts(x).version
    d.ok("torch.Tensor.__add__", x, 1)
    assert d.facts(x).version == before
    d.ok("torch.Tensor.add_", view, 1, outs=0)
    assert d.facts(x).version != before
    listed = d.ok("python.List", [1])
    before = d.facts(listed).version
    d.ok("python.List.append", listed, 2, outs=0)
    assert d.facts(listed).version != before


def test_the_labels_of_objects_that_are_gone_are_forgotten():
    d = Driver()
    x = d.share(torch.ones(20))
    lineage = d.engine.lineage
    for _ in range(5):
        pair = d.ok("python.collect", d.ok("torch.Tensor.__add__", x, 1), d.ok("python.List"))
        d.delete(pair)
    d.delete(*[type(pair)(id) for id in range(1, d.next_id + 1)])
    lineage.sweep()
    assert len(lineage._storages) == 1
    assert not lineage._objects


def test_a_tensor_of_a_list_of_aggregates_is_an_aggregate():
    d = Driver()
    d.share(torch.rand(32, 2), tags=["x"])
    mean = d.ok("torch.Tensor.item", d.ok("torch.mean", Ref(-1)))
    listed = d.ok("python.List")
    for _ in range(3):
        d.ok("python.List.append", listed, mean)
    for name in ("torch.Tensor", "torch.tensor"):
        assert d.label(d.ok(name, listed)) == ("aggregate", 32, False)


def test_a_tensor_of_a_list_of_private_length_is_hidden():
    d = Driver()
    d.share(torch.rand(32, 2), tags=["x"])
    count = d.ok("torch.Tensor.item", d.ok("torch.count_nonzero", Ref(-1)))
    listed = d.ok("python.List.__mul__", d.ok("python.List", [1.0]), count)
    assert d.facts(d.ok("torch.tensor", listed)).kind == "per_record"


def test_a_loss_through_an_lstm_cell_is_an_aggregate():
    d = Driver()
    d.share(torch.rand(32, 2), tags=["x"])
    state = [d.put(torch.zeros(32, 4)), d.put(torch.zeros(32, 4))]
    weights = [d.put(torch.rand(16, n)) for n in (2, 4)] + [d.put(torch.rand(16))] * 2
    hidden, _ = d.run("torch.lstm_cell", Ref(-1), state, *weights, outs=2)
    again, _ = d.run("torch.lstm_cell", Ref(-1), [hidden, hidden], *weights, outs=2)
    assert d.label(d.ok("torch.mean", again)) == ("aggregate", 32, False)


def test_after_a_dropout_over_a_short_batch_what_is_trained_stays_injected():
    """Its mask could have left one record, whose gradient the weights would hold from then on."""
    d = Driver()
    d.share(torch.rand(160, 2), tags=["x"])
    data = d.ok("torch.utils.data.TensorDataset", Ref(-1))
    kinds = {}
    for drop_last in (False, True):
        loader = d.ok("torch.utils.data.DataLoader", data, batch_size=64, drop_last=drop_last)
        weight = d.ok("torch.nn.Parameter", d.put(torch.rand(3, 2)))
        optimizer = d.ok("torch.optim.SGD", [weight], lr=0.1)
        losses = []
        for _ in range(2):
            iterator = d.ok("python.iter", loader)
            for _ in range(2 if drop_last else 3):
                x = d.ok("python.List.__getitem__", d.ok("python.next", iterator), 0)
                out = d.ok("torch.nn.functional.linear", x, weight)
                loss = d.ok("torch.mean", d.ok("torch.nn.functional.dropout", out, 0.5))
                d.ok("torch.Tensor.backward", loss)
                d.ok("torch.optim.Optimizer.step", optimizer)
                losses.append(d.label(loss))
        kinds[drop_last] = losses
    assert kinds[True] == [("aggregate", 64, False)] * 4
    assert kinds[False][:3] == [("aggregate", 64, False)] * 2 + [("aggregate", 32, True)]
    assert all(kind == "aggregate" and injected for kind, _, injected in kinds[False][3:])


def test_layers_that_write_in_place_keep_the_way_to_an_aggregate():
    d = Driver()
    images = d.share(torch.rand(64, 2, 6, 6))
    weight = d.put(torch.rand(3, 2, 3, 3).requires_grad_())
    hidden = d.ok("torch.nn.functional.conv2d", images, weight)
    d.ok("torch.Tensor.add_", hidden, d.ok("torch.nn.functional.conv2d", images, weight))
    d.ok("torch.nn.functional.relu", hidden, inplace=True)
    d.ok("torch.Tensor.backward", d.ok("torch.mean", hidden), outs=0)
    assert d.label(d.ok("torch.Tensor.grad", weight)) == ("aggregate", 64, False)


def test_what_another_name_of_the_same_numbers_was_written_with_has_no_rows():
    d = Driver()
    own = d.ok("torch.mul", d.share(torch.rand(64, 4)), 2.0)
    column = d.ok("torch.Tensor.__getitem__", own, (slice(None), 0))
    d.ok("torch.Tensor.mul_", column, 2.0)
    assert d.label(d.ok("torch.sum", column)) == ("aggregate", 64, False)
    assert d.label(d.ok("torch.sum", own))[:2] == ("per_record", 1)


def test_parts_of_records_count_as_the_records_that_they_are_of():
    d = Driver()
    scores, classes = d.share(torch.rand(20, 5, 4)), d.share(torch.randint(0, 4, (20, 5)))
    parts = d.ok("torch.Tensor.view", scores, -1, 4)
    loss = d.ok("torch.nn.functional.cross_entropy", parts, d.ok("torch.Tensor.view", classes, -1))
    assert d.label(loss) == ("aggregate", 20, False)
    # a mask over a hundred parts is one over twenty records
    masked = d.ok("torch.nn.functional.dropout", parts, 0.5)
    assert d.label(d.ok("torch.sum", masked)) == ("aggregate", 20, True)
    other = d.ok("torch.Tensor.view", d.share(torch.rand(25, 4, 4)), -1, 4)
    assert d.label(d.ok("torch.sum", d.ok("torch.mul", parts, other)))[0] == "per_record"
