"""Answers that no message holds: the engine says so, and the owner's process reads none of them."""

import pytest

from duet_p2p.engine import messages as m
from duet_p2p.owner.answers import Answers
from duet_p2p.wire import messages as wire
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.values import Ref
from tests.security.bomb_kit import LIMITS, handle_id, opened, unharmed
from tests.unit.engine_kit import Driver

ITEMS, TIMES = 4_000, 50
LOADER = "torch.utils.data.DataLoader"
DATA_SET = "torch.utils.data.TensorDataset"


@pytest.fixture(scope="module")
def attack():
    yield from opened(LIMITS)


@pytest.fixture
def raw(attack):
    yield from unharmed(attack)


def many(d, first):
    """A list of lists of this number."""
    inner = d.ok("python.List.__mul__", d.ok("python.collect", first), ITEMS)
    return d.ok("python.List.__mul__", d.ok("python.collect", inner), TIMES)


def given(d, ref, **how):
    d.next_call += 1
    d.engine.handle(m.Snapshot(d.next_call, ref.id))
    (event,) = d.engine.handle(m.Release(d.next_call, **how))
    return event


def test_the_engine_gives_it_for_the_owners_eyes_only():
    """A list of 900 times 4,000 numbers kept the owner's process busy for a second and a half."""
    d = Driver()
    large = many(d, 1)
    refused = given(d, large)
    assert isinstance(refused, m.Refused) and "65536 allowed" in refused.reason
    seen = given(d, large, is_look=True)
    assert isinstance(seen, m.Bytes) and len(seen.value) == TIMES


def test_what_a_message_holds_is_given_as_before():
    d = Driver()
    text = given(d, d.ok("python.String.__mul__", "x", 60_000))
    assert isinstance(text, m.Bytes)
    tensors = d.ok("python.collect", *[d.ok("torch.ones", 1_000) for _ in range(50)])
    assert isinstance(given(d, tensors), m.Bytes)  # 200 kB beside the message


def test_a_get_of_it_is_denied_in_words(raw):
    inner = raw.op("python.List.__mul__", raw.op("python.collect", 1), ITEMS)
    large = raw.op("python.List.__mul__", raw.op("python.collect", inner), TIMES)
    assert raw.get(large).reason == "this value cannot be sent"


def test_the_owner_may_look_at_it_and_it_is_not_sent(attack, raw):
    duet = attack[0]
    one = raw.op("python.Int", raw.op("torch.Tensor.__getitem__", Ref(handle_id(duet)), 0))
    inner = raw.op("python.List.__mul__", raw.op("python.collect", one), ITEMS)
    large = raw.op("python.List.__mul__", raw.op("python.collect", inner), TIMES)
    call = raw.request(large)
    raw.wait(lambda: len(duet.requests) == 1)
    assert len(duet.requests[0].value) == TIMES
    duet.requests[0].accept()
    denied = raw.answer(call)
    assert isinstance(denied, wire.Denied) and denied.reason == "this value cannot be sent"


@pytest.mark.parametrize(("parts", "is_told"), [(3, True), (ITEMS, False)])
def test_of_a_loader_is_told_what_a_message_holds(parts, is_told):
    d = Driver()
    data = d.ok(DATA_SET, *[d.ok("torch.ones", 4)] * parts)
    loader = d.ok(LOADER, data, batch_size=2)
    told = [event for event in d.last if isinstance(event, m.Learnt)]
    assert bool(told) is is_told
    batch = d.ok("python.next", d.ok("python.iter", loader))
    assert d.ok("python.len", batch)


def test_the_owners_process_hears_of_no_message_that_cannot_be_made(raw, caplog):
    """Each such loader was a traceback on the owner's screen."""
    data = raw.op(DATA_SET, *[raw.op("torch.ones", 4)] * ITEMS)
    for _ in range(3):
        raw.op("python.iter", raw.op(LOADER, data, batch_size=2))
    raw.wait_for_end()
    assert not [record for record in caplog.records if record.name == "asyncio"]


def test_an_answer_that_cannot_be_made_is_noted():
    noted = []

    class Session:
        def post(self, message):
            return encode_message(message)

    class Noting:
        def record(self, kind, facts):
            noted.append((kind, facts))

    answers = Answers(Session(), Noting(), lambda started: (), {})
    answers.tell(wire.Fail(1, "python.len", "TypeError", "x" * 100_000))
    ((kind, facts),) = noted
    assert kind == "fault" and facts["not_sent"] == "Fail" and facts["why"]
