"""The guard of handlers on labels, with the real engine behind it: facts decide, never names."""

import itertools
import time

import pytest
import torch
from torch.utils.data import TensorDataset

from duet_p2p.engine.host import ThreadHost
from duet_p2p.errors import RequestClosed
from duet_p2p.session.bridge import Bridge
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref, TensorData
from tests.unit.owner_kit import Scientist, owner_on

AGES = torch.arange(20.0, 52.0)  # 32 records


@pytest.fixture
def pair():
    bridge = Bridge("guard")
    duet, scientist = owner_on(bridge, host=ThreadHost())
    yield duet, scientist
    duet.close()
    bridge.close()


class Program(Scientist):
    """Small programs of a scientist, with fresh ids."""

    def __init__(self, scientist):
        super().__init__(scientist.bridge, scientist.session)
        self.ids = itertools.count(1)

    def run(self, name, *args, **kwargs):
        out = next(self.ids)
        self.op(name, out, *args, **kwargs)
        return Ref(out)

    def put(self, tensor):
        out = next(self.ids)
        data = TensorData("float32", tuple(tensor.shape), tensor.numpy().tobytes())
        self.send(wire.Put((out,), (data,), None))
        return Ref(out)

    def ask(self, ref, name):
        """The outcome of a request that only handlers may answer."""
        return type(self.answer(self.request(ref.id, name=name, limit_s=0.0))).__name__


def mean(program):
    return program.run("torch.Tensor.mean", Ref(-1))


def first_record(program):
    return program.run("torch.Tensor.__getitem__", Ref(-1), 0)


def masked_record(program, record=5):
    mask = torch.zeros(32)
    mask[record] = 1
    product = program.run("torch.Tensor.__mul__", Ref(-1), program.put(mask))
    return program.run("torch.Tensor.sum", product)


def sliced_sum(program):
    part = program.run("torch.Tensor.__getitem__", Ref(-1), slice(0, 11))
    return program.run("torch.Tensor.sum", part)


def difference_of_sums(program):
    whole = program.run("torch.Tensor.sum", Ref(-1))
    return program.run("torch.Tensor.__sub__", whole, sliced_sum(program))


def largest(program):
    return program.run("torch.Tensor.amax", Ref(-1))


def whole(program):
    return Ref(-1)


def copied(program):
    return program.run("torch.Tensor.clone", Ref(-1))


def in_a_list(program):
    return program.run("python.collect", Ref(-1))


HONEST = [mean]
SPOOFS = [
    first_record,
    masked_record,
    sliced_sum,
    difference_of_sums,
    largest,
    whole,
    copied,
    in_a_list,
]


@pytest.mark.parametrize("made", HONEST + SPOOFS, ids=lambda made: made.__name__)
def test_what_passes_under_the_name_loss(pair, made):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    duet.requests.add_handler(name="loss", action="accept")
    program = Program(scientist)
    outcome = program.ask(made(program), "loss")
    assert outcome == ("Value" if made in HONEST else "Expired")


@pytest.mark.parametrize("made", HONEST + SPOOFS, ids=lambda made: made.__name__)
def test_a_spoof_waits_for_the_owner_with_the_reason(pair, made):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    duet.requests.add_handler(name="loss", action="accept")
    program = Program(scientist)
    program.request(made(program).id, name="loss")
    if made in HONEST:
        program.wait_for(lambda: duet.requests.history)
        return
    program.wait_for(lambda: len(duet.requests) == 1)
    assert "does not take it" in duet.requests[0].why
    assert duet.requests[0].sources == ["ages"]


def test_renaming_never_changes_what_the_guard_lets_through(pair):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    names = ["loss", "accuracy", "model_download", "a\u200bge", "LOSS "]
    for name in names:
        duet.requests.add_handler(name=name, action="accept")
    program = Program(scientist)
    for made in SPOOFS:
        ref = made(program)
        assert {program.ask(ref, name) for name in names} == {"Expired"}, made.__name__


def test_tags_are_labels_too(pair):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    duet.requests.add_handler(tags=["ages"], action="accept")
    program = Program(scientist)
    assert program.ask(Ref(-1), "") == "Expired"


def test_a_small_group_waits(pair):
    duet, scientist = pair
    duet.send(AGES[:9], tags=["few"])
    duet.requests.add_handler(name="loss", action="accept")
    program = Program(scientist)
    assert program.ask(mean(program), "loss") == "Expired"
    duet.requests.add_handler(name="loss", action="accept", min_records=9)
    assert program.ask(mean(program), "loss") == "Value"


def test_numbers_per_source_end(pair):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    duet._service.desk.policy.numbers_per_source = 5
    duet.requests.add_handler(name="loss", action="accept")
    program = Program(scientist)
    outcomes = [program.ask(mean(program), "loss") for _ in range(7)]
    assert outcomes == ["Value"] * 5 + ["Expired"] * 2


def test_a_repeat_costs_nothing_and_a_change_is_a_new_question(pair):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    duet.requests.add_handler(name="loss", action="accept", element_quota=1)
    program = Program(scientist)
    ref = mean(program)
    assert [program.ask(ref, "loss") for _ in range(3)] == ["Value"] * 3
    program.run("torch.Tensor.add_", ref, 1.0)
    assert program.get(ref.id).state == "changed"
    assert program.ask(ref, "loss") == "Denied"


def test_a_quota_cannot_be_overrun_by_many_at_once(pair):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    duet.requests.add_handler(name="loss", action="accept", element_quota=3)
    program = Program(scientist)
    refs = [mean(program) for _ in range(10)]
    calls = range(5_000, 5_010)
    program.send(
        *(
            wire.Request(call, ref.id, "loss", "", None)
            for call, ref in zip(calls, refs, strict=True)
        )
    )
    outcomes = [type(program.answer(call)).__name__ for call in calls]
    assert outcomes == ["Value"] * 3 + ["Denied"] * 7


def test_a_denied_loss_is_not_had_under_another_name(pair):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    duet.requests.add_handler(name="loss", action="deny")
    duet.requests.add_handler(name="accuracy", action="accept")
    program = Program(scientist)
    assert program.ask(mean(program), "loss") == "Denied"
    assert program.ask(mean(program), "accuracy") == "Denied"
    for name, *args in (("clone",), ("__add__", 0.0), ("view", 1), ("item",), ("detach",)):
        again = program.run(f"torch.Tensor.{name}", mean(program), *args)
        assert program.ask(again, "accuracy") == "Denied", name
    doubled = program.run("torch.Tensor.__mul__", mean(program), 2.0)
    assert program.ask(doubled, "accuracy") == "Value"


def test_the_snapshot_is_judged_and_released(pair):
    """A write between the request and the owner's word does not change what leaves."""
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    program = Program(scientist)
    own = program.put(torch.zeros(32))
    call = program.request(mean(program).id, name="first")
    ref = mean(program)
    waiting = program.request(ref.id, name="loss")
    program.run("torch.Tensor.copy_", ref, program.run("torch.Tensor.__getitem__", Ref(-1), 7))
    program.wait_for(lambda: len(duet.requests) == 2)
    for request in duet.requests:
        assert request.kind == "aggregate"
        request.accept()
    assert program.value(call).item() == AGES.mean().item()
    assert program.value(waiting).item() == AGES.mean().item()
    assert program.get(ref.id).state == "changed"
    assert isinstance(program.get(own.id), wire.Value)


def test_a_withdrawal_does_not_move_another_request_up(pair):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    program = Program(scientist)
    harmless = program.request(mean(program).id, name="harmless")
    harmful = program.request(-1, name="harmful")
    program.wait_for(lambda: len(duet.requests) == 2)
    assert list(duet.requests.pandas["Name"]) == ["harmless", "harmful"]
    program.send(wire.Withdraw(harmless))
    program.wait_for(lambda: len(duet.requests) == 1)
    with pytest.raises(RequestClosed):
        duet.requests[0].accept()
    assert duet.requests[f"{harmful:016x}"].status == "Pending"


def test_an_upload_of_ones_own_is_free_until_it_met_the_data(pair):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    program = Program(scientist)
    own = program.put(torch.zeros(32))
    assert isinstance(program.get(own.id), wire.Value)
    program.run("torch.Tensor.copy_", own, Ref(-1))
    assert program.get(own.id).state == "never"


def test_a_list_with_the_data_is_the_data(pair):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    duet.requests.add_handler(name="loss", action="accept")
    program = Program(scientist)
    box = program.run("python.List")
    assert isinstance(program.get(box.id), wire.Value)
    program.run("python.List.append", box, Ref(-1))
    assert program.get(box.id).state == "never"
    assert program.ask(box, "loss") == "Expired"


# models


def train(program, *, batch_size, passes):
    """Least squares by SGD over a loader on the owner's side; the weight's reference."""
    weight = program.put(torch.zeros(1, 1))
    program.op("torch.Tensor.requires_grad=", next(program.ids), weight, True)
    adadelta = program.run("torch.optim.Adadelta", [weight], lr=1.0)
    loader = program.run("torch.utils.data.DataLoader", Ref(-1), batch_size=batch_size)
    loss = None
    for _ in range(passes):
        iterator = program.run("python.iter", loader)
        for _ in range(32 // batch_size):
            batch = program.run("python.next", iterator)
            x = program.run("python.List.__getitem__", batch, 0)
            y = program.run("python.List.__getitem__", batch, 1)
            program.run("torch.optim.Optimizer.zero_grad", adadelta)
            out = program.run("torch.nn.functional.linear", x, weight)
            loss = program.run("torch.nn.functional.mse_loss", out, y)
            program.run("torch.Tensor.backward", loss)
            program.run("torch.optim.Optimizer.step", adadelta)
    return weight, loss


def share_pairs(duet):
    x = torch.linspace(0, 1, 32).reshape(32, 1)
    duet.send(TensorDataset(x, 3 * x), tags=["pairs"])


def test_an_honest_model_leaves_once_under_a_widened_handler(pair):
    duet, scientist = pair
    share_pairs(duet)
    duet.requests.add_handler(
        name="model_download", action="accept", kinds={"model"}, max_elements=None
    )
    duet.requests.add_handler(name="loss", action="accept")
    program = Program(scientist)
    weight, loss = train(program, batch_size=16, passes=2)
    assert program.ask(loss, "loss") == "Value"
    assert program.ask(weight, "loss") == "Expired"
    assert program.ask(weight, "model_download") == "Value"
    copy = program.run("torch.Tensor.clone", weight)
    assert program.ask(copy, "model_download") == "Expired"


def test_a_model_of_single_records_waits_under_a_widened_handler(pair):
    duet, scientist = pair
    share_pairs(duet)
    duet.requests.add_handler(
        name="model_download", action="accept", kinds={"model"}, max_elements=None
    )
    program = Program(scientist)
    weight, _ = train(program, batch_size=1, passes=1)
    assert program.ask(weight, "model_download") == "Expired"


def test_no_answer_comes_before_the_owner_decides(pair):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    program = Program(scientist)
    call = program.request(-1)
    program.wait_for(lambda: len(duet.requests) == 1)
    time.sleep(0.1)
    assert not [m for m in program.session.posted if getattr(m, "call", 0) == call]


def test_a_recipe_does_not_cover_another_mask(pair):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    program = Program(scientist)
    first = masked_record(program)
    program.request(first.id, name="masked")
    program.wait_for(lambda: len(duet.requests) == 1)
    (request,) = duet.requests
    duet.requests.add_handler("accept", recipe=request.recipe)
    assert request.status == "Pending"
    request.accept(always=True)  # with this very mask
    assert program.ask(masked_record(program), "anything") == "Value"
    assert program.ask(masked_record(program, 6), "masked") == "Expired"
    looks = duet.requests.explain(duet.requests.history[-1])
    assert any("public input" in look.why for look in looks)


def test_a_recipe_covers_the_same_question(pair):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    program = Program(scientist)
    program.request(mean(program).id, name="mean")
    program.wait_for(lambda: len(duet.requests) == 1)
    (request,) = duet.requests
    duet.requests.add_handler("accept", recipe=request)
    assert request.status == "Accepted"
    assert program.ask(mean(program), "anything") == "Value"
    assert program.ask(first_record(program), "mean") == "Expired"
