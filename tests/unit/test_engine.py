"""Commands in, events out."""

from __future__ import annotations

import weakref

import pytest
import torch

from duet_p2p import limits
from duet_p2p.engine import messages as m
from duet_p2p.engine.departure import in_memory
from duet_p2p.engine.engine import Engine
from duet_p2p.surface.values import from_wire, pack, to_wire
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.messages import Del, Note, Op, Put
from duet_p2p.wire.values import Blob, Ref
from tests.unit.engine_kit import Driver


@pytest.fixture
def d():
    return Driver()


def blob_put(out, value, transfer):
    packed = pack(value)
    return (
        Put((out,), (packed.value,), Blob(transfer, packed.nbytes)),
        b"".join(packed.buffers),
    )


def test_the_first_command_configures():
    with pytest.raises(RuntimeError):
        Engine().handle(m.Snapshot(1, 1))
    (started,) = Engine().handle(m.Configure({}, {}, None))
    (other,) = Engine().handle(m.Configure({}, {}, None))
    assert len(started.epoch) == 16 and started.epoch != other.epoch


def test_configuring_again_changes_settings_and_forgets_nothing():
    quotas = {"stored_bytes": 1_000_000}
    d = Driver(quotas)
    kept = d.ok("torch.ones", 225_000)
    assert d.engine.handle(m.Configure(quotas, {"mnist": "somewhere"}, None)) == []
    d.run("torch.ones", 50_000)
    assert [(e.code, e.is_public) for e in d.failures()] == [("QuotaExceeded", True)]
    assert d.facts(kept).elements == 225_000
    d.engine.handle(m.Configure({"stored_bytes": 2_000_000}, {}, None))
    d.ok("torch.ones", 50_000)


def test_a_batch_is_settled_with_its_last_number(d):
    ops = tuple((seq, Op("torch.ones", (seq,), (2,), {}, "g")) for seq in (3, 4, 9))
    assert d.engine.handle(m.Run(ops)) == [m.SettledUpTo(9)]


def test_a_put_that_waits_for_its_bytes_holds_up_everything_behind_it(d):
    put, data = blob_put(1, torch.ones(100), 5)
    run = m.Run(((1, put), (2, Op("torch.sum", (2,), (Ref(1),), {}, "g")), (3, Del((1,)))))
    assert d.engine.handle(run) == []
    assert d.engine.handle(m.Snapshot(7, 2)) == []
    assert d.engine.handle(m.Release(7)) == []
    assert d.engine.handle(m.Run(((4, Op("torch.ones", (3,), (2,), {}, "g")),))) == []
    (shared,) = d.engine.handle(m.Share(-1, 5, None, "python.Int", (), "", True))
    assert not shared.error
    events = d.engine.handle(m.Arrived(5, data))
    candidate, answer, settled = events
    assert from_wire(candidate.value) == 100 and answer.call == 7 and settled.seq == 4
    assert d.facts(Ref(1)) is None


def test_bytes_may_arrive_before_their_put(d):
    put, data = blob_put(1, torch.ones(100), 5)
    assert d.engine.handle(m.Arrived(5, data)) == []
    assert d.engine.handle(m.Run(((1, put),))) == [m.SettledUpTo(1)]
    assert torch.equal(d.release(Ref(1)), torch.ones(100))


def test_a_discarded_snapshot_is_not_answered_later(d):
    put, data = blob_put(1, torch.ones(3), 5)
    d.engine.handle(m.Run(((1, put),)))
    d.engine.handle(m.Snapshot(7, 1))
    d.engine.handle(m.Discard(7))
    assert d.engine.handle(m.Arrived(5, data)) == [m.SettledUpTo(1)]
    assert isinstance(d.engine.handle(m.Release(7))[0], m.Refused)


def test_an_upload_above_the_quota_is_refused_and_its_bytes_are_dropped():
    d = Driver({"upload_bytes": 1000})
    put, data = blob_put(1, torch.ones(251), 5)
    failure, settled = d.engine.handle(m.Run(((1, put),)))
    assert failure.code == "QuotaExceeded" and failure.is_public and settled.seq == 1
    assert d.engine.handle(m.Arrived(5, data)) == []
    assert not d.engine._blobs


def test_a_snapshot_is_frozen_at_its_place_in_the_program(d):
    x = d.put(torch.zeros(3))
    listed = d.ok("python.collect", x)
    first, second = d.candidate(x), d.candidate(listed)
    assert from_wire(first.value).tolist() == [0, 0, 0]
    d.ok("torch.Tensor.add_", x, 1.0, outs=0)
    d.ok("python.List.append", listed, 5, outs=0)
    d.delete(x, listed)
    (answer,) = d.engine.handle(m.Release(first.call))
    assert from_wire(answer.value, in_memory(answer.data)).tolist() == [0, 0, 0]
    (text,) = d.engine.handle(m.Peek(second.call, 100))
    assert text.text == "[tensor([0., 0., 0.])]"
    (text,) = d.engine.handle(m.Peek(second.call, 5))
    assert text.text == "[tens"
    (answer,) = d.engine.handle(m.Release(second.call))
    assert [t.tolist() for t in from_wire(answer.value, in_memory(answer.data))] == [[0, 0, 0]]
    assert isinstance(d.engine.handle(m.Release(second.call))[0], m.Refused)


def test_large_values_come_with_release_only(d):
    x = d.put(torch.zeros(100_000))
    candidate = d.candidate(x)
    assert not candidate.has_value and candidate.facts.elements == 100_000
    assert torch.equal(d.release(x), torch.zeros(100_000))


def test_shared_storages_stay_shared_in_a_release(d):
    x = d.put(torch.zeros(50_000))
    (answer,) = d.engine.handle(m.Release(d.candidate(d.ok("python.collect", x, x)).call))
    assert len(answer.data) == 200_000


def test_an_unknown_id_has_no_facts(d):
    assert d.candidate(Ref(99)) == m.Candidate(d.next_call, None, None, False)
    assert isinstance(d.engine.handle(m.Read(5, 99))[0], m.Refused)
    assert isinstance(d.engine.handle(m.Peek(77, 5))[0], m.Refused)


def test_what_cannot_be_sent_is_refused_with_its_type(d):
    w = d.put(torch.ones(3, requires_grad=True))
    optimizer = d.ok("torch.optim.SGD", d.ok("python.collect", w), lr=0.1)
    candidate = d.candidate(optimizer)
    assert candidate.facts.type == "torch.optim.SGD"
    (answer,) = d.engine.handle(m.Release(candidate.call))
    assert "cannot be sent" in answer.reason


def test_share_tells_public_facts(d):
    def share(value, kind, public=True):
        packed = pack(value)
        d.shared -= 1
        data = b"".join(packed.buffers) or None
        (event,) = d.engine.handle(m.Share(d.shared, packed.value, data, kind, ("t",), "", public))
        return event

    tensor = share(torch.ones(6, 2), "torch.Tensor")
    assert (tensor.shape, tensor.dtype, tensor.length, tensor.nbytes) == ((6, 2), "float32", 6, 48)
    hidden = share(torch.ones(6, 2), "torch.Tensor", public=False)
    assert (hidden.shape, hidden.dtype, hidden.length) == (None, None, None)
    module = share({"w": torch.ones(2)}, "torch.nn.Module")
    assert module.keys == ("w",) and module.type == "torch.nn.Module"
    data = share([torch.ones(5, 2), torch.ones(5)], "torch.utils.data.Dataset")
    assert data.length == 5
    (again,) = d.engine.handle(m.Share(-1, 5, None, "python.Int", (), "", True))
    assert "exists" in again.error
    (bad,) = d.engine.handle(m.Share(-50, object(), None, "python.Int", (), "", True))
    assert bad.error and -50 not in d.engine.store


def test_the_owners_memory_is_copied(d):
    data = bytearray(pack(torch.ones(3)).buffers[0])
    d.engine.handle(m.Share(-1, pack(torch.ones(3)).value, data, "torch.Tensor", (), "", True))
    data[:] = bytes(12)
    assert d.release(Ref(-1)).tolist() == [1, 1, 1]


def test_notes_belong_to_the_scientists_own_objects(d):
    x, secret = d.put(torch.ones(2)), d.share(torch.ones(2), tags=["ages"])
    d.send(Note(x.id, ("mine",), "text", True))
    assert d.facts(x).tags == ("mine",)
    (failure, _) = d.send(Note(secret.id, ("loss",), "", True))
    assert failure.is_public and d.facts(secret).tags == ("ages",)


def test_drop_removes_objects_of_both_sides(d):
    x, secret = d.put(1), d.share(torch.ones(2))
    assert d.engine.handle(m.Drop((x.id, secret.id))) == []
    assert d.facts(x) is None and d.facts(secret) is None


def test_the_process_generator_is_never_touched(d):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    d.ok("torch.manual_seed", 5, outs=0)
    first = d.release(d.ok("torch.rand", 3))
    d.ok("torch.manual_seed", 5, outs=0)
    torch.rand(2)
    torch.set_rng_state(state)
    assert torch.equal(first, d.release(d.ok("torch.rand", 3)))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_mistake_of_ours_fails_closed(d, monkeypatch):
    secret = d.share(torch.ones(20))
    own = d.put(torch.ones(20))

    def broken(*args, **kwargs):
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("duet_p2p.engine.precedents.judge", broken)
    failure = d.failed("torch.Tensor.add_", own, secret)
    assert not failure.is_public
    monkeypatch.undo()
    assert d.facts(own).failed and d.facts(own).kind == "per_record"
    assert d.facts(own).sources == (-1,)
    assert not d.facts(secret).failed


def test_learnt_tells_lengths_and_elements_and_nothing_private(d):
    x = d.share(torch.arange(5.0))
    listed = d.ok("python.List", [1, 2, 3])
    assert d.last[0] == m.Learnt(listed.id, "python.List", None, None, 3, {})
    d.ok("python.state_dict", ["w"], [d.put(torch.ones(2))])  # who made it knows its names
    assert not any(isinstance(event, m.Learnt) for event in d.last)
    item = d.ok("python.List.__getitem__", d.ok("python.collect", x), 0)
    assert d.last[0] == m.Learnt(item.id, "torch.Tensor", (5,), "float32", None, {})
    unique = d.ok("torch.unique", d.put(torch.tensor([1, 1, 2])))
    assert d.last[0] == m.Learnt(unique.id, "torch.Tensor", (2,), "int64", None, {})
    for name in ("torch.unique", "torch.nonzero"):
        d.ok(name, x)
        assert [type(e) for e in d.last] == [m.Hold, m.SettledUpTo]
    number = d.ok("python.Int", d.ok("torch.Tensor.__getitem__", x, 3))
    d.ok("python.List", d.ok("python.Range", number))
    assert [type(e) for e in d.last if not isinstance(e, m.Hold)] == [m.SettledUpTo]


def test_uploads_of_every_closed_value(d):
    for value in (None, True, 2**70, 1.5, "text", b"b", [1, (2,)], {"a": 1}, range(3), slice(1)):
        assert d.release(d.put(value)) == value
    assert to_wire(d.release(d.put(torch.float32)), None).name == "float32"


def test_nothing_of_a_run_is_executed_when_an_operation_in_it_cannot_be_read(d):
    good = Op("torch.ones", (1,), (3,), {}, "g")
    bad = m.Unread(b"\x96\x01\xa4name\x91\x02\x91\xc0\x90\xa1?")
    (event,) = d.engine.handle(m.Run(((1, good), (2, bad))))
    assert isinstance(event, m.Malformed) and "mode" in event.reason
    assert d.candidate(Ref(1)).facts is None
    d.engine.handle(m.Run(((1, m.Unread(encode_message(good))),)))
    assert d.candidate(Ref(1)).facts.elements == 3


@pytest.mark.parametrize("size", [4, 8000])
def test_whole_numbers_that_a_number_with_a_graph_was_written_into_leave_like_any(
    size: int,
) -> None:
    """torch then says that they require a gradient, which nothing that is read may say of them."""
    d = Driver()
    loss = d.ok(
        "torch.sum",
        d.ok("torch.mul", d.share(torch.ones(2)), d.put(torch.ones(2, requires_grad=True))),
    )
    own = d.put(torch.zeros(1, size, dtype=torch.uint8))
    d.ok("torch.Tensor.__setitem__", own, 0, loss, outs=0)
    assert d.release(own).sum() == 2 * size


def test_files_of_values_that_are_gone_are_given_back_when_there_is_no_work(d):
    x = d.put(torch.zeros(100_000))
    calls = [d.candidate(x).call for _ in range(3)]
    d.engine.finish()
    files = [weakref.ref(d.engine._frozen[call].parcel.departure) for call in calls]
    for call in calls:
        assert d.engine.handle(m.Discard(call)) == []
    # an answer may be waited for, so two stay for the moment, and never more
    assert d.engine.is_untidy and [file() is not None for file in files] == [False, True, True]
    d.engine.handle(m.Snapshot(99, d.put(torch.ones(1)).id, "after"))
    d.engine.finish()
    assert [file() is not None for file in files] == [False, False, True]
    d.engine.tidy()
    assert files[2]() is None and not d.engine.is_untidy


def test_the_memory_of_a_huge_value_is_given_back_at_once(d):
    x = d.put(torch.zeros(limits.SPARE_BYTES // 4 + 1))
    call = d.candidate(x).call
    d.engine.finish()
    d.engine.handle(m.Discard(call))
    assert not d.engine.is_untidy
