"""What would stop an owner's machine, sent by a partner who speaks the wire by itself.

Behind each of them the owner's process is alive, its data is what it was, and the session goes on.
"""

import msgpack
import pytest
import torch

from duet_p2p import limits
from duet_p2p.protocol.description import Channel
from duet_p2p.session.bulk_header import Kind, pack
from duet_p2p.wire import messages as wire
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.values import Blob, Ref, Span, TensorData
from tests.security.raw_peer import attacked

MIB = 1024 * 1024
LIMITS = {
    "command_seconds": 60,
    "memory_bytes": 1024 * MIB,
    "result_bytes": 256 * MIB,
    "stored_bytes": 300 * MIB,
    "objects": 7_000,
    "upload_bytes": MIB,
    "uploads_bytes": 4 * MIB,
    "open_requests": 8,
}
DATA = torch.arange(1.0, 1_001.0)


def opened(limits):
    duet, raw, bridge = attacked(limits)
    handle = duet.send(DATA, tags=["data"])
    yield duet, raw, handle
    duet.close()
    bridge.close()


@pytest.fixture(scope="module")
def attack():
    yield from opened(LIMITS)


@pytest.fixture(scope="module")
def hurried_attack():
    yield from opened(LIMITS | {"command_seconds": 3})


@pytest.fixture
def raw(attack):
    """The partner; when the test is over, all is as if nothing had been."""
    attack[1].answers.clear()
    yield attack[1]
    check_usable(*attack)


@pytest.fixture
def hurried(hurried_attack):
    hurried_attack[1].answers.clear()
    yield hurried_attack
    check_usable(*hurried_attack)


def check_usable(duet, raw, handle):
    duet.resume()
    raw.forget_all()
    raw.answers.clear()
    assert duet.is_open
    assert torch.equal(handle.get(), DATA)
    sum_of_data = raw.op("torch.Tensor.sum", Ref(handle_id(duet)))
    assert raw.get(sum_of_data).state == "never"
    call = next(raw.calls)
    raw.send(wire.Request(call, sum_of_data.id, "sum", "", None))
    raw.wait(lambda: len(duet.requests) == 1)
    duet.requests[0].accept()
    answer = raw.answer(call)
    assert isinstance(answer, wire.Value)
    mine = raw.op("torch.ones", 3)
    assert isinstance(raw.get(mine), wire.Value)
    raw.forget_all()


def handle_id(duet):
    return next(item.id for item in duet._service.catalog if item.id < 0)


def pid(duet):
    return duet.status()["engine"]["pid"]


def refused(raw, ref):
    answer = raw.get(ref)
    assert isinstance(answer, wire.Failed), answer
    return answer.code


# refused before anything is made


BEFORE = {
    "ones(10**6, 10**6)": lambda raw: raw.op("torch.ones", 10**6, 10**6),
    "zeros(1).expand(10**13).clone()": lambda raw: raw.op(
        "torch.Tensor.clone", raw.op("torch.Tensor.expand", raw.op("torch.zeros", 1), 10**13)
    ),
    "the same on private data": lambda raw: raw.op(
        "torch.Tensor.clone",
        raw.op("torch.Tensor.expand", raw.op("torch.Tensor.sum", Ref(-1)), 10**13),
    ),
    "repeat": lambda raw: raw.op("torch.Tensor.repeat", raw.op("torch.ones", 1_000), 10**9),
    "einsum": lambda raw: raw.op("torch.einsum", "i,j,k->ijk", *[raw.op("torch.ones", 2_000)] * 3),
    "broadcasting": lambda raw: raw.op(
        "torch.Tensor.__add__", raw.op("torch.ones", 10**5, 1), raw.op("torch.ones", 10**5)
    ),
    "int power": lambda raw: raw.op("python.Int.__pow__", 10**9, 10**9),
    "a text by a number": lambda raw: raw.op("python.String.__mul__", "x", 10**12),
    "a list by a number": lambda raw: raw.op(
        "python.List.__mul__", raw.op("python.List", [1]), 10**12
    ),
}


@pytest.mark.parametrize("bomb", BEFORE)
def test_what_would_be_enormous_is_refused_by_the_same_engine(attack, raw, bomb):
    duet, _, _ = attack
    before = pid(duet)
    assert refused(raw, BEFORE[bomb](raw)) in ("QuotaExceeded", "TypeError", "NotAllowed")
    assert pid(duet) == before
    assert not raw.told(wire.EngineRestarted)


@pytest.mark.parametrize(
    "name", ["torch.sparse_coo_tensor", "torch.Tensor.to_sparse", "torch.empty"]
)
def test_what_has_no_reviewed_size_is_not_offered(raw, name):
    one = raw.op("torch.ones", 1)
    assert refused(raw, raw.op(name, one)) == "NotAllowed"


# memory


def test_many_medium_objects_end_at_the_quota(raw):
    made = [raw.op("torch.ones", 2_621_440) for _ in range(40)]  # 10 MiB each
    raw.wait_for_end()
    assert refused(raw, made[-1]) == "QuotaExceeded"
    fails = raw.told(wire.Fail)
    assert len(fails) == 10  # 30 fit, not one more
    assert "bytes in the store" in fails[0].text


def test_many_small_objects_end_at_the_quota(raw):
    made = [next(raw.ids) for _ in range(7_100)]
    raw.send(*[wire.Op("python.Int", (out,), (1,), {}, "g") for out in made])
    raw.wait_for_end()
    fails = raw.told(wire.Fail)
    assert len(fails) == 101  # with the owner's own
    assert "7000 objects" in fails[0].text


@pytest.mark.slow
def test_a_gradient_graph_that_only_grows_ends_at_the_limit_of_the_process(raw):
    """Nothing of it is in the store: each step's result is forgotten, its graph is not."""
    out = raw.op("torch.ones", 2_500_000, requires_grad=True)  # 10 MB
    for _ in range(160):
        grown = raw.op("torch.exp", out)
        raw.send(wire.Del((out.id,)))
        out = grown
    raw.wait_for_end()
    if not raw.told(wire.EngineRestarted):
        assert refused(raw, out) in ("RuntimeError", "MemoryError")


def test_what_an_operation_needs_while_it_runs_ends_at_the_limit_too(raw):
    """The result is one number, what is between is 6.4 GB."""
    x = raw.op("torch.ones", 40_000, 1)
    total = raw.op("torch.cdist", x, x)
    answer = raw.get(total)
    assert isinstance(answer, wire.Failed)


def test_failures_past_the_quota_are_no_objects_without_end(attack, raw):
    """A failed operation leaves its failure under the result's id, up to the quota once more."""
    made = [next(raw.ids) for _ in range(14_500)]
    raw.send(*[wire.Op("python.NoSuchName", (out,), (1,), {}, "g") for out in made])
    raw.wait_for_end()
    assert refused(raw, Ref(made[0])) == "NotAllowed"
    assert raw.get(Ref(made[-1])).state == "unknown"


# time


def test_an_operation_that_would_take_for_ever_ends_with_its_engine(hurried):
    duet, raw, _ = hurried
    before = pid(duet)
    square = raw.op("torch.ones", 2_500, 2_500)
    raw.op("torch.linalg.matrix_power", square, 2**62 + 1)
    (again,) = raw.wait(lambda: raw.told(wire.EngineRestarted))
    assert again.reason == "restarted"
    assert not raw.told(wire.Suspended)
    assert pid(duet) != before
    assert "command_seconds" in duet.errors[-1].text
    assert "matrix_power" in duet.errors[-1].text
    assert raw.get(square).state == "unknown"


def test_on_private_data_it_suspends_the_session_until_the_owner_resumes(hurried):
    duet, raw, handle = hurried
    data = raw.op("torch.Tensor.expand", Ref(handle_id(duet)), 1_000, 1_000)
    large = raw.op("torch.Tensor.repeat", data, 3, 3)
    raw.op("torch.linalg.matrix_power", large, 2**62 + 1)
    (told,) = raw.wait(lambda: raw.told(wire.Suspended))
    assert "seconds" not in told.reason
    raw.wait(lambda: not duet._service.revival.is_under_way)
    assert duet.status()["suspended"]
    asked = len(raw.answers)
    lost = raw.op("torch.ones", 1)
    raw.send(wire.Get(next(raw.calls), lost.id), wire.Request(next(raw.calls), -1, "x", "", None))
    raw.wait_for_end()
    assert len(raw.answers) == asked  # neither answered nor remembered
    assert len(duet.requests) == 0
    assert torch.equal(handle.get(), DATA)
    assert duet.resume()
    (again,) = raw.wait(lambda: raw.told(wire.EngineRestarted))
    assert again.reason == "resumed"
    assert raw.get(lost).state == "unknown"
    assert not duet.resume()


# depth


def test_deep_containers_are_refused_or_carried(attack, raw):
    duet, _, _ = attack
    before = pid(duet)
    inner = raw.op("python.List", [1])
    for _ in range(500):
        inner = raw.op("python.collect", [inner])
    raw.wait_for_end()
    assert type(raw.get(inner)) in (wire.Failed, wire.NotYours, wire.Value, wire.Denied)
    raw.op("python.len", inner)
    raw.op("python.List.__eq__", inner, inner)
    raw.wait_for_end()
    assert pid(duet) == before


def test_a_list_in_itself_is_no_recursion(raw):
    own = raw.op("python.List", [1])
    raw.op("python.List.append", own, own)
    raw.op("python.List.append", own, own)
    copied = raw.op("python.collect", [own, own])
    raw.wait_for_end()
    for ref in (own, copied):
        assert type(raw.get(ref)) in (wire.Failed, wire.NotYours, wire.Value, wire.Denied)


# floods


def test_a_flood_of_requests_is_answered_and_bounded(attack, raw):
    duet, _, _ = attack
    secret = raw.op("torch.Tensor.sum", Ref(handle_id(duet)))
    calls = [next(raw.calls) for _ in range(3_000)]
    raw.send(*[wire.Request(call, secret.id, "x" * 100, "y" * 500, None) for call in calls])
    raw.wait_for_end()
    raw.wait(lambda: len(duet.requests) == 8)
    assert len(raw.told(wire.Denied)) == 2_992
    assert "8 open requests" in raw.told(wire.Denied)[0].reason
    raw.send(*[wire.Withdraw(call) for call in calls[:8]])
    raw.wait(lambda: len(duet.requests) == 0)


def test_a_flood_of_uploads_takes_no_more_memory_than_is_allowed(attack, raw):
    """Announced, and never sent: what is announced counts, and the commands behind it wait."""
    duet, _, _ = attack
    outs = [next(raw.ids) for _ in range(60)]
    raw.send(
        *[
            wire.Put((out,), (TensorData("uint8", (MIB,), Span(0, MIB)),), Blob(number, MIB))
            for number, out in enumerate(outs, 1)
        ]
    )
    raw.wait(lambda: duet._service._uploads.under_way == 4 * MIB)
    for number in range(1, 61):
        raw.raw(Channel.BULK, pack(Kind.CANCEL, number))
    raw.wait_for_end()
    assert duet._service._uploads.under_way == 0
    # the first ones were taken and never came; there was no room for the last ones
    assert [refused(raw, Ref(out)) for out in (outs[0], outs[-1])] == ["OSError", "QuotaExceeded"]


def test_one_upload_is_taken_at_its_limit_and_refused_one_past_it(raw):
    for number, nbytes, kind in ((101, MIB, wire.Value), (102, MIB + 1, wire.Failed)):
        out = next(raw.ids)
        data = TensorData("uint8", (nbytes,), Span(0, nbytes))
        raw.send(wire.Put((out,), (data,), Blob(number, nbytes)))
        for offset in range(0, MIB, 16_384) if kind is wire.Value else ():
            raw.raw(Channel.BULK, pack(Kind.CHUNK, number, offset, nbytes) + bytes(16_384))
        assert type(raw.get(Ref(out))) is kind


# the wire itself


def test_nesting_past_the_limit_ends_the_session_and_nothing_else():
    duet, raw, bridge = attacked(LIMITS)
    handle = duet.send(DATA, tags=["data"])
    nested = msgpack.packb(1)
    for _ in range(900):
        nested = b"\x91" + nested
    op = encode_message(wire.Op("python.List", (1,), (7,), {}, "g"))
    bomb = op.replace(b"\x91\x07", b"\x91" + nested)
    assert bomb != op
    raw.raw(Channel.OPS, b"\x92\x01" + bomb)
    raw.wait(lambda: not duet.is_open)
    assert torch.equal(handle.get(), DATA)
    duet.close()
    bridge.close()


def test_a_plan_longer_than_allowed_is_refused_and_runs_nothing(raw):
    plan, each = next(raw.ids), 250
    step = [
        wire.PlanStep("torch.ones", (local,), (2,), {}, "g")
        for local in range(1, limits.PLAN_STEPS + 2)
    ]
    parts = [step[at : at + each] for at in range(0, len(step), each)]
    for number, steps in enumerate(parts, 1):
        is_last = number == len(parts)
        outputs = (len(step),) if is_last else ()
        raw.send(wire.DefinePlan(plan, "", 0, (), tuple(steps), outputs, is_last))
    out = next(raw.ids)
    raw.send(wire.RunPlan(plan, (), (out,), 0))
    assert refused(raw, Ref(out)) == "PointerDeleted"
    assert [fail.op for fail in raw.told(wire.Fail)] == ["DefinePlan", "RunPlan"]


def test_operations_of_private_time_past_their_quota_are_refused_and_the_rest_goes_on(attack, raw):
    data = Ref(handle_id(attack[0]))
    for _ in range(limits.TIMED_PER_MINUTE):
        raw.op("torch.Tensor.nonzero", data)
    one_more = raw.op("torch.Tensor.nonzero", data)
    assert refused(raw, one_more) == "QuotaExceeded"
    assert "timed_per_minute" in raw.told(wire.Fail)[-1].text
    assert isinstance(raw.get(raw.op("torch.ones", 1)), wire.Value)
