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
from tests.security.bomb_kit import (
    DATA,
    LIMITS,
    MIB,
    check_usable,
    handle_id,
    opened,
    pid,
    refused,
)
from tests.security.raw_peer import attacked


@pytest.fixture(scope="module")
def attack():
    yield from opened(LIMITS)


@pytest.fixture
def raw(attack):
    """The partner; when the test is over, all is as if nothing had been."""
    attack[1].answers.clear()
    yield attack[1]
    check_usable(*attack)


# refused before anything is made

F = "torch.nn.functional."


def stacked(raw, depth, width):
    """A data set that stands many times in one that stands many times in one, and so on."""
    data = raw.op("torch.utils.data.TensorDataset", raw.op("torch.ones", 4))
    for _ in range(depth):
        data = raw.op("torch.utils.data.ConcatDataset", [data] * width)
    return data


def image(raw):
    return raw.op("torch.ones", 1, 1, 4, 4)


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
UNDER_OTHER_NAMES = {
    "int power of a power": lambda raw: raw.op("python.Int.__pow__", 9, 9**9),
    "the width of a text": lambda raw: raw.op("python.String.center", "x", 10**12),
    "tabs": lambda raw: raw.op("python.String.expandtabs", "\t" * 1_000, 10**9),
    "a list of a range": lambda raw: raw.op("python.List", raw.op("python.Range", 10**12)),
    "a range as an index": lambda raw: raw.op(
        "torch.Tensor.__getitem__", raw.op("torch.ones", 5), raw.op("python.Range", 10**12)
    ),
    "a tensor of a range": lambda raw: raw.op("torch.tensor", [range(10**12)]),
    "places of a triangle": lambda raw: raw.op("torch.tril_indices", 20_000, 20_000),
    "tuples": lambda raw: raw.op("torch.combinations", raw.op("torch.arange", 3_000), 3),
    "products": lambda raw: raw.op("torch.cartesian_prod", *[raw.op("torch.arange", 1_000)] * 4),
    "a grid": lambda raw: raw.op("torch.meshgrid", *[raw.op("torch.arange", 10**4)] * 4),
    "steps": lambda raw: raw.op("torch.arange", 0, 1, 1e-12),
    "a line": lambda raw: raw.op("torch.linspace", 0, 1, 10**12),
    "a border": lambda raw: raw.op(F + "pad", raw.op("torch.ones", 4), (10**9, 10**9)),
    "a border of a convolution": lambda raw: raw.op(
        F + "conv2d", image(raw), image(raw), padding=(10**6, 10**6)
    ),
    "a step of a convolution back": lambda raw: raw.op(
        F + "conv_transpose2d", image(raw), image(raw), stride=10**5
    ),
    "patches": lambda raw: raw.op(F + "unfold", image(raw), (2, 2), padding=10**5),
    "an enlarged image": lambda raw: raw.op(F + "interpolate", image(raw), scale_factor=10**6),
    "pools": lambda raw: raw.op(F + "adaptive_avg_pool2d", image(raw), (10**6, 10**6)),
    "classes": lambda raw: raw.op(F + "one_hot", raw.op("torch.arange", 5), 10**8),
    "counts": lambda raw: raw.op("torch.bincount", raw.op("torch.arange", 5), minlength=10**12),
    "counts of a large number": lambda raw: raw.op(
        "torch.bincount", raw.op("torch.full", [1], 10**12)
    ),
    "bins": lambda raw: raw.op("torch.histogramdd", raw.op("torch.ones", 3, 8), [1_000] * 8),
    "degrees": lambda raw: raw.op(
        "torch.special.chebyshev_polynomial_t", raw.op("torch.ones", 1), 10**12
    ),
    "draws": lambda raw: raw.op("torch.multinomial", raw.op("torch.ones", 9), 10**10, True),
    "data sets of data sets": lambda raw: raw.op("python.len", stacked(raw, 8, 1_000)),
    "rounds": lambda raw: raw.op("torch.svd_lowrank", raw.op("torch.ones", 9, 9), niter=10**12),
}


CODES = ("QuotaExceeded", "TypeError", "NotAllowed")


@pytest.mark.parametrize("bomb", BEFORE)
def test_what_would_be_enormous_is_refused_by_the_same_engine(attack, raw, bomb):
    duet, _, _ = attack
    before = pid(duet)
    assert refused(raw, BEFORE[bomb](raw)) in CODES
    assert pid(duet) == before
    assert not raw.told(wire.EngineRestarted)


def test_what_would_be_so_by_another_name_is_refused_too(attack, raw):
    """One test for all: each of them leaves the same engine behind."""
    before = pid(attack[0])
    codes = {bomb: refused(raw, make(raw)) for bomb, make in UNDER_OTHER_NAMES.items()}
    assert {bomb: code for bomb, code in codes.items() if code not in CODES} == {}
    assert pid(attack[0]) == before


@pytest.mark.parametrize(
    "name", ["torch.sparse_coo_tensor", "torch.Tensor.to_sparse", "torch.empty"]
)
def test_what_has_no_reviewed_size_is_not_offered(raw, name):
    one = raw.op("torch.ones", 1)
    assert refused(raw, raw.op(name, one)) == "NotAllowed"


def test_nor_is_what_reaches_further_than_its_arguments(raw):
    for name in ("torch.range", "torch.set_num_threads", "python.String.format",
                 "python.String.__mod__", "python.eval", "torch.Tensor.register_hook",
                 "torch.nn.Module.register_forward_hook", "torch.autograd.set_detect_anomaly",
                 "torch.optim.Optimizer.register_step_post_hook"):  # fmt: skip
        assert refused(raw, raw.op(name, 1)) == "NotAllowed", name


# what is in a step's way is no size: a huge one of a result that is small

SMALL = {
    "a stride": {"stride": (10**7, 10**7)},
    "a padding and a dilation": {"padding": 10**8, "dilation": 2 * 10**8},
    "a padding and a stride": {"padding": 10**5, "stride": 10**5},
}


def test_huge_steps_to_a_small_result_take_no_time(attack, raw):
    before = pid(attack[0])
    kernel = raw.op("torch.ones", 1, 1, 2, 2)
    for settings in SMALL.values():
        assert isinstance(raw.get(raw.op(F + "conv2d", image(raw), kernel, **settings)), wire.Value)
    assert pid(attack[0]) == before


# what no frame holds


LARGE = {
    "more items than a list of the wire": lambda raw: raw.op(
        "python.List", raw.op("python.Range", 5_000)
    ),
    "many texts": lambda raw: raw.op(
        "python.String.split", raw.op("python.String.__mul__", "a ", 100_000)
    ),
    "more bytes than a text of the wire": lambda raw: raw.op(
        "python.String.__mul__", "\u20ac", 1_000_000
    ),
    "more bits than an int of the wire": lambda raw: raw.op("python.Int.__lshift__", 1, 40_000),
    "deeper than a value of the wire": lambda raw: nested(raw, 40),
    "the same list in itself many times": lambda raw: doubled(raw, 30),
}


def nested(raw, depth):
    inner = raw.op("python.List", [1])
    for _ in range(depth):
        inner = raw.op("python.collect", inner)
    return inner


def doubled(raw, times):
    inner = raw.op("python.List", [1])
    for _ in range(times):
        inner = raw.op("python.collect", inner, inner)
    return inner


def test_what_no_frame_holds_is_refused_and_ends_no_engine(attack, raw):
    """The engine answered with a frame that it could not write, and was gone."""
    duet, _, _ = attack
    before = pid(duet)
    for bomb, make in LARGE.items():
        assert raw.get(make(raw)).reason == "this value cannot be sent", bomb
    assert pid(duet) == before
    assert not raw.told(wire.EngineRestarted)


# what a kernel does not survive

NAN, LEAST = float("nan"), -(2**63)


def whole(raw, *values, **settings):
    return raw.put(torch.tensor(values, **settings))


ENDS = {
    "eigenvalues of what is no number": lambda raw: raw.op(
        "torch.linalg.eigvals", raw.op("torch.full", [3, 3], NAN)
    ),
    "the least number by -1": lambda raw: raw.op(
        "torch.div", whole(raw, LEAST), -1, rounding_mode="trunc"
    ),
    "the same of 32 bits, by a tensor": lambda raw: raw.op(
        "torch.div",
        whole(raw, -(2**31), dtype=torch.int32),
        other=whole(raw, -1, dtype=torch.int32),
        rounding_mode="trunc",
    ),
    "the same in place": lambda raw: raw.op(
        "torch.Tensor.divide_", whole(raw, 5, LEAST), whole(raw, -1, 3), rounding_mode="trunc"
    ),
    "a mean that divides by -1": lambda raw: raw.op(
        F + "avg_pool2d", whole(raw, [[[LEAST]]]), 1, divisor_override=-1
    ),
    "counts that are no numbers": lambda raw: raw.op(
        "torch.binomial", raw.op("torch.full", [3], NAN), raw.op("torch.full", [3], 0.5)
    ),
    "a search without end": lambda raw: raw.op(
        "torch.lobpcg", raw.op("torch.eye", 9), niter=-1, tol=0.0
    ),
    "heads that are shared by none": lambda raw: raw.op(
        F + "scaled_dot_product_attention",
        raw.op("torch.ones", 4, 3, 8),
        raw.op("torch.ones", 0, 6, 8),
        raw.op("torch.ones", 4, 6, 8),
        enable_gqa=True,
    ),
    "an order of many matrices": lambda raw: raw.op(
        "torch.linalg.multi_dot", [raw.op("torch.ones", 1, 1)] * 2_000
    ),
    "schedulers in schedulers": lambda raw: raw.op(
        "torch.optim.lr_scheduler.LRScheduler.state_dict", chained(raw, 40)
    ),
}


def chained(raw, times):
    weight = raw.put(torch.ones(1, requires_grad=True))
    inner = raw.op("torch.optim.lr_scheduler.StepLR", raw.op("torch.optim.SGD", [weight], 0.1), 1)
    for _ in range(times):
        inner = raw.op("torch.optim.lr_scheduler.ChainedScheduler", [inner, inner])
    return inner


def test_what_would_end_a_kernel_or_never_end_is_refused_by_the_same_engine(attack, raw):
    """The first ones ended the engine by a signal (an engine in a thread: the owner's process)."""
    before = pid(attack[0])
    codes = {bomb: refused(raw, make(raw)) for bomb, make in ENDS.items()}
    allowed = (*CODES, "ValueError")
    assert {bomb: code for bomb, code in codes.items() if code not in allowed} == {}
    assert pid(attack[0]) == before


# memory


def test_public_results_of_a_size_that_values_decide_end_at_the_quota(raw):
    """Their size is not known before they are there, and counts then."""
    one, times = raw.op("torch.ones", 1), raw.put(torch.tensor([10_000_000]))
    made = [raw.op("torch.repeat_interleave", one, times) for _ in range(12)]  # 40 MB each
    raw.wait_for_end()
    assert refused(raw, made[-1]) == "QuotaExceeded"
    assert 2 <= len(raw.told(wire.Fail)) <= 6
    large = raw.op("torch.repeat_interleave", one, raw.put(torch.tensor([70_000_000])))
    assert refused(raw, large) == "QuotaExceeded"


def test_many_medium_objects_end_at_the_quota(raw):
    made = [raw.op("torch.ones", 2_621_440) for _ in range(40)]  # 10 MiB each
    raw.wait_for_end()
    assert refused(raw, made[-1]) == "QuotaExceeded"
    fails = raw.told(wire.Fail)
    assert len(fails) == 10  # 30 fit, not one more
    assert "bytes in the store (stored_bytes)" in fails[0].text


def test_many_small_objects_end_at_the_quota(raw):
    made = [next(raw.ids) for _ in range(7_100)]
    raw.send(*[wire.Op("python.Int", (out,), (1,), {}, "g") for out in made])
    raw.wait_for_end()
    fails = raw.told(wire.Fail)
    assert len(fails) == 101  # with the owner's own
    assert "7000 objects (objects)" in fails[0].text


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


def large_between(raw):
    """The result is one number, what is between is 6.4 GB."""
    column, row = raw.op("torch.ones", 40_000, 1), raw.op("torch.ones", 1, 40_000)
    return raw.op(F + "mse_loss", column, row)


def test_what_an_operation_needs_while_it_runs_ends_at_the_limit_too(raw):
    assert refused(raw, large_between(raw)) in ("RuntimeError", "MemoryError")


def test_failures_past_the_quota_are_no_objects_without_end(attack, raw):
    """A failed operation leaves its failure under the result's id, up to the quota once more."""
    made = [next(raw.ids) for _ in range(14_500)]
    raw.send(*[wire.Op("python.NoSuchName", (out,), (1,), {}, "g") for out in made])
    raw.wait_for_end()
    assert refused(raw, Ref(made[0])) == "NotAllowed"
    assert raw.get(Ref(made[-1])).state == "unknown"


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
    assert "8 open requests (open_requests)" in raw.told(wire.Denied)[0].reason
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


# last, since the engine's memory is private from here on: values decided times and sizes


def test_of_private_numbers_it_is_neither_told_nor_a_death(attack, raw):
    """A process that ends of some values and not of others tells which they are."""
    duet, before = attack[0], pid(attack[0])
    none = raw.op("torch.log", raw.op("torch.neg", Ref(handle_id(duet))))
    square = raw.op("torch.Tensor.view", raw.op("torch.Tensor.__getitem__", none, slice(9)), 3, 3)
    zero = raw.op("torch.Tensor.long", raw.op("torch.mul", Ref(handle_id(duet)), 0))
    least = raw.op("torch.Tensor.add", zero, LEAST)
    divided = raw.op("torch.div", least, -1, rounding_mode="trunc")
    for made in (raw.op("torch.linalg.eigvals", square), divided):
        assert raw.get(made).state == "never"
    assert not raw.told(wire.Fail) and not raw.told(wire.Suspended)
    assert pid(duet) == before


def test_that_no_memory_is_left_is_no_public_fact_once_private_sizes_are_in_it(attack, raw):
    """How much is left tells how large they are; before, it follows from the program."""
    raw.op("torch.Tensor.nonzero", Ref(handle_id(attack[0])))
    assert raw.get(large_between(raw)).state == "never"
    assert not raw.told(wire.Fail)


def test_operations_of_private_time_past_their_quota_are_refused_and_the_rest_goes_on(attack, raw):
    data = Ref(handle_id(attack[0]))
    for _ in range(limits.TIMED_PER_MINUTE):
        raw.op("torch.Tensor.nonzero", data)
    one_more = raw.op("torch.Tensor.nonzero", data)
    assert refused(raw, one_more) == "QuotaExceeded"
    assert "timed_per_minute" in raw.told(wire.Fail)[-1].text
    assert isinstance(raw.get(raw.op("torch.ones", 1)), wire.Value)
