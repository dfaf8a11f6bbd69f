"""Attacks on rules: what their silence, their denials and their counting tell or let through."""

import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
import torch

from duet_p2p import limits
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, against, taken_back
from tests.security.raw_peer import waiting as queued
from tests.security.rules_kit import CLASSES, TABLE, Session, X, session

__all__ = ["session"]

T, F, DATA = "torch.Tensor.", "torch.nn.functional.", "torch.utils.data."


def loss(raw: RawPeer, classes: int = 3) -> Ref:
    """Fails with 2: that a record's class is not below it is a fact about records."""
    logits = raw.op(F + "linear", TABLE, raw.put(torch.rand(classes, 3)))
    return raw.op(F + "cross_entropy", logits, CLASSES)


def asked(raw: RawPeer, *classes: int) -> list[str]:
    return [raw.ask(loss(raw, number), "loss") for number in classes]


def waiting(duet: OwnerDuet, raw: RawPeer, count: int = 1) -> Any:
    raw.wait(lambda: len(duet.requests) == count)
    return duet.requests[0]


# labels, however they are said


SPELT: dict[str, Callable[[list[str]], tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "a name": lambda tags: ((), {"name": "loss"}),
    "a name with spaces and capitals": lambda tags: ((), {"name": "  LOSS\n"}),
    "a name and no tags": lambda tags: ((), {"name": "loss", "tags": []}),
    "tags": lambda tags: ((), {"tags": tags}),
    "tags as a set": lambda tags: ((), {"tags": set(tags)}),
    "tags twice, with an empty one": lambda tags: ((), {"tags": (*tags, *tags, "")}),
    "tags by position": lambda tags: ((False, False, tags), {}),
    "a name and tags": lambda tags: ((), {"name": "loss", "tags": tags}),
    "with a life": lambda tags: ((), {"name": "loss", "timeout_secs": 600}),
    "with a quota": lambda tags: ((), {"name": "loss", "element_quota": 1_000}),
    "with uses": lambda tags: ((), {"name": "loss", "max_uses": 1_000}),
    "with its source": lambda tags: ((), {"name": "loss", "sources": ["x"]}),
    "that prints": lambda tags: ((), {"name": "loss", "print_local": False, "log_local": True}),
}


@pytest.mark.parametrize("way", SPELT)
def test_a_rule_on_a_label_is_guarded_however_it_is_said(session: Session, way: str) -> None:
    """Two numbers, one record, a masked sum and the data wait. The mean passes: it is in force."""
    duet, raw = session

    def tagged(value: Ref) -> Ref:
        raw.send(wire.Note(value.id, ("loss",), "", True))
        return value

    first = queued(duet, raw, tagged(raw.op("torch.mean", X)), "loss")
    args, said = SPELT[way](first.object_tags)
    rule = duet.requests.add_handler("accept", *args, **said)
    assert rule.is_guarded and not rule.is_open
    assert isinstance(raw.answer(first.call), wire.Value)
    mask = raw.put(torch.eye(64)[5])
    for value, why in (
        (raw.op("torch.Tensor.clone", X), "the kind is verbatim"),
        (raw.op(T + "__getitem__", X, 5), "the kind is verbatim"),
        (raw.op("torch.sum", raw.op("torch.mul", X, mask)), "injected"),
        (raw.op(T + "repeat", raw.op("torch.mean", X), 2), "max_elements"),
    ):
        request = queued(duet, raw, tagged(value), "loss")
        assert why in request.why, (request.why, request.object_tags)
        taken_back(raw, request)
    assert duet.status()["OPEN"] is False


def test_a_rule_that_wants_a_group_takes_no_record_that_a_mask_left(session: Session) -> None:
    """No label is in it, so nothing guarded it; and 64 records were said to be behind one."""
    duet, raw = session
    duet.requests.add_handler("accept", kinds={"aggregate"}, min_records=10, max_elements=1)
    assert raw.ask(raw.op("torch.mean", X)) == "Value"
    one = raw.op("torch.sum", raw.op("torch.mul", X, raw.put(torch.eye(64)[5])))
    request = queued(duet, raw, one, "loss")
    assert "injected" in duet.requests.explain(request)[0].why
    assert "at least 64 records per number" not in str(request)
    assert "met at least 64 records: it may have left one of them per number" in str(request)


def test_an_empty_name_is_a_label_too(session: Session) -> None:
    duet, raw = session
    assert duet.requests.add_handler("accept", name="").is_guarded
    assert raw.ask(raw.op("torch.mean", X), "  ") == "Value"
    taken_back(raw, queued(duet, raw, X, ""))


def test_long_ints_texts_and_containers_are_many_numbers(session: Session) -> None:
    """Of a length, which is a fact about the program: only its room is against it."""
    duet, raw = session
    duet.requests.add_handler("accept", name="loss")
    count = raw.op("python.len", X)
    assert raw.ask(count, "loss") == "Value"
    text = raw.op("python.String.__mul__", raw.op("python.String", count), 100)
    for value, numbers in (
        (raw.op("python.Int.__lshift__", count, 1_000), 16),  # 126 bytes
        (text, 25),  # 200 bytes
        (raw.op("python.collect", count, count), 2),
        (raw.op("python.collect", {count: text}), 26),
    ):
        request = queued(duet, raw, value, "loss")
        assert (request.kind, request.elements) == ("metadata", numbers)
        assert f"guard: it has {numbers} numbers" in request.why
        taken_back(raw, request)


def test_the_order_in_which_rules_are_asked(session: Session) -> None:
    """Hard denials and quotas of the session, then deny, then accept, then the owner."""
    duet, raw = session
    accepts = duet.requests.add_handler("accept", name="loss", element_quota=2)
    mean = raw.op("torch.mean", X)
    assert raw.ask(mean, "other") == "Expired"  # nobody is about it: only the owner is left
    denies = duet.requests.add_handler("deny", sources=["x"])
    assert raw.ask(mean, "loss") == "Denied"
    assert (accepts.uses, accepts.elements, denies.uses) == (0, 0, 1)
    duet.requests.remove_handler(denies)
    everything = duet.requests.add_handler("deny")
    calls = [next(raw.calls) for _ in range(2 * limits.OPEN_REQUESTS)]
    raw.send(*[wire.Request(call, mean.id, "loss", "", None) for call in calls])
    answers = [raw.answer(call) for call in calls]
    assert {type(answer) for answer in answers} == {wire.Denied}
    told = [answer for answer in answers if "open_requests" in answer.reason]
    assert everything.uses == len(calls) - len(told)
    duet.requests.remove_handler(everything)
    assert [raw.ask(mean, "loss") for _ in range(2)] == ["Value"] * 2  # the second is a repeat
    assert (accepts.uses, accepts.elements) == (1, 1)


# seen_only


def batch(raw: RawPeer, passing: Ref) -> Ref:
    return raw.op("python.List.__getitem__", raw.op("python.next", passing), 0)


def test_one_batch_by_hand_is_not_the_data_set_by_seen_only(session: Session) -> None:
    """Which batch it is may differ in a decision, so one of them would have stood for all."""
    duet, raw = session
    loader = raw.op(DATA + "DataLoader", raw.op(DATA + "TensorDataset", X), batch_size=16)
    passing = raw.op("python.iter", loader)
    duet.requests.add_handler("accept", seen_only=True)
    raw.request(batch(raw, passing))
    waiting(duet, raw).accept()
    assert [raw.ask(batch(raw, passing)) for _ in range(3)] == ["Expired"] * 3
    mean = raw.op("torch.mean", X)
    raw.request(mean)
    waiting(duet, raw).accept()
    assert raw.ask(raw.op("torch.mean", X)) == "Value"  # the control


# failures that a rule on facts answers in another way than values


@pytest.mark.parametrize(
    "said",
    [
        {"kinds": {"aggregate"}},
        {"kinds": {"per_record"}},
        {"min_records": 10},
        {"max_elements": 1},
        {"name": "loss", "kinds": {"aggregate"}},
        {"sources": ["table"], "kinds": {"aggregate"}},
    ],
)
def test_denials_by_facts_tell_of_so_many_failures_and_no_more(
    session: Session, said: dict[str, Any]
) -> None:
    """A denial where a failure would have waited says that it did not fail."""
    duet, raw = session
    duet._service.desk.policy.numbers_per_source = 3
    duet.requests.add_handler("deny", **said)
    first = asked(raw, 3, 2, 3, 2)
    assert len(set(first)) == 2  # so much is told
    asked(raw, 2)
    assert asked(raw, 3, 2, 3, 2) == ["Denied"] * 4
    assert duet.requests.explain(duet.requests.history[-1])[0].took


@pytest.mark.parametrize("said", [{}, {"name": "loss"}, {"sources": ["classes"]}])
def test_denials_by_what_a_failure_shares_tell_nothing(
    session: Session, said: dict[str, Any]
) -> None:
    duet, raw = session
    duet.requests.add_handler("deny", **said)
    assert asked(raw, 3, 2, 3, 2) == ["Denied"] * 4


@pytest.mark.parametrize("said", [{}, {"sources": ["table", "classes"]}, {"name": "loss"}])
@pytest.mark.parametrize("limit", [{"element_quota": 2}, {"max_uses": 2}])
def test_silence_uses_up_rules_on_facts_too(
    session: Session, said: dict[str, Any], limit: dict[str, int]
) -> None:
    duet, raw = session
    duet.requests.add_handler("accept", kinds={"aggregate"}, **said, **limit)
    assert asked(raw, 2, 2) == ["Expired"] * 2
    assert "Value" not in asked(raw, 3, 3)


def test_a_quota_that_is_used_up_tells_of_so_many_failures_and_no_more(session: Session) -> None:
    """A value is denied then, and a failure would have waited."""
    duet, raw = session
    duet._service.desk.policy.numbers_per_source = 3
    duet.requests.add_handler("accept", name="loss", element_quota=1)
    assert asked(raw, 3, 3, 2) == ["Value", "Denied", "Expired"]
    asked(raw, 2, 2)
    assert asked(raw, 3, 2, 3, 2) == ["Denied"] * 4
    assert raw.ask(loss(raw), "another") == "Expired"


def test_two_numbers_in_one_complex_number_are_two(session: Session) -> None:
    """The guard lets one number out at a time, and this one held two of 8 bytes."""
    duet, raw = session
    duet.requests.add_handler("accept", name="loss")
    wide = raw.op(T + "double", X)
    mean, second = raw.op("torch.mean", wide), raw.op("torch.sum", wide)
    asked = [raw.ask(value, "loss") for value in (mean, raw.op("torch.complex", mean, second))]
    assert asked == ["Value", "Expired"]
    raw.request(raw.op("torch.complex", mean, second), "loss")
    assert waiting(duet, raw).facts()["numbers"] == 2


EMPTY: dict[str, Callable[[RawPeer, Ref], Ref]] = {
    "a list of so many lists": lambda raw, n: raw.op(
        "python.List.__mul__", raw.op("python.List", [[]]), n
    ),
    "a tuple of so many tuples": lambda raw, n: raw.op(
        "python.Tuple", raw.op("python.List.__mul__", raw.op("python.List", [()]), n)
    ),
    "parts of nothing": lambda raw, n: raw.op(T + "split", raw.op("torch.zeros", 3, 0), n),
    "one of several tensors": lambda raw, n: raw.op(
        "python.List.__getitem__",
        raw.op("python.collect", *[raw.op("torch.zeros", 0, width) for width in range(4)]),
        n,
    ),
    "one of several lists": lambda raw, n: raw.op(
        "python.List.__getitem__", raw.op("python.List", [[[]], [], [[], []], [[[]]]]), n
    ),
}


@pytest.mark.parametrize("way", EMPTY)
def test_containers_that_tell_a_number_count_as_numbers(way: str) -> None:
    """Without a number in them they counted for nothing: a quota let out all records."""
    with against({"n": torch.tensor([1, 2, 3] * 9)}) as (duet, raw):
        duet.requests.add_handler("accept", element_quota=9)
        told = []
        for place in range(27):
            record = raw.op(T + "item", raw.op(T + "__getitem__", Ref(-1), place))
            told.append(raw.ask(EMPTY[way](raw, record)))
        assert 0 < told.count("Value") <= 9 and told[-1] == "Denied"
        assert raw.ask(raw.op("python.List", [[], [[]]])) == "Value"  # of the scientist's own


def test_the_texts_of_failures_count_by_their_length(session: Session) -> None:
    """They hold private numbers, and an accept-all rule with a quota lets them out."""
    duet, raw = session
    duet.requests.add_handler("accept", element_quota=20)
    answers = asked(raw, *[2] * 9)
    assert answers[0] == "Failed" and answers[-1] == "Denied"
    texts = "".join(failed.text for failed in raw.told(wire.Failed))
    assert 0 < len(texts) <= 20 * 8


def test_a_failed_model_is_the_one_that_a_rule_decides_about(session: Session) -> None:
    duet, raw = session
    duet.requests.add_handler("accept", name="m", kinds={"model"}, max_elements=None)

    def trained(classes: int) -> Ref:
        weight = raw.put(torch.zeros(classes, 3, requires_grad=True))
        optimizer = raw.op("torch.optim.SGD", [weight], lr=0.1)
        logits = raw.op(F + "linear", TABLE, weight)
        raw.do(T + "backward", raw.op(F + "cross_entropy", logits, CLASSES))
        raw.do("torch.optim.Optimizer.step", optimizer)
        return weight

    assert [raw.ask(trained(classes), "m") for classes in (2, 3)] == ["Expired", "Expired"]


# denials


@pytest.mark.parametrize(
    "name",
    [
        "LOSS",
        " loss\u00a0",
        "lo\u200bss",
        "loss\u202e",
        "\uff4c\uff4f\uff53s",
        "lo\u00ads\u017f\x07",
    ],
)
def test_a_name_that_looks_like_a_denied_one_is_denied(session: Session, name: str) -> None:
    """Letters of other alphabets are other names: what must not leave is denied by its source."""
    duet, raw = session
    duet.requests.add_handler("accept")
    duet.requests.add_handler("deny", name="loss")
    assert raw.ask(raw.op("torch.mean", X), name) == "Denied"
    assert raw.ask(raw.op("torch.sum", X), "another") == "Value"


@pytest.mark.parametrize("name", ["größe", "Ångström"])
def test_a_name_in_either_form_of_its_characters_is_the_same(session: Session, name: str) -> None:
    duet, raw = session
    duet.requests.add_handler("deny", name=unicodedata.normalize("NFD", name))
    asked = {raw.ask(X, unicodedata.normalize(form, name)) for form in ("NFC", "NFD")}
    assert asked == {"Denied"}


MIXED: dict[str, Callable[[RawPeer], Ref]] = {
    "with nothing of another": lambda p: p.op("torch.mean", p.op(
        "torch.add", p.op(T + "float", CLASSES), p.op("torch.mul", X, 0.0))),
    "in a list with another": lambda p: p.op("python.collect", CLASSES, X),
    "as an index": lambda p: p.op("torch.mean", p.op(T + "__getitem__", TABLE, CLASSES)),
    "as a seed": lambda p: (p.do("torch.manual_seed", p.op(T + "__getitem__", CLASSES, 1)),
                            p.op("torch.rand", 1))[1],
}  # fmt: skip


@pytest.mark.parametrize("way", MIXED)
def test_a_source_that_is_denied_is_denied_in_any_mixture(session: Session, way: str) -> None:
    duet, raw = session
    duet.requests.add_handler("accept")
    duet.requests.add_handler("deny", sources=["classes"])
    assert raw.ask(MIXED[way](raw), "any") == "Denied"
    assert raw.ask(raw.op("torch.mean", X), "any") == "Value"
