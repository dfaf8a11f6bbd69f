"""Rules that answer by a value's size or type, asked for what a private number chose."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer, against

SETTING = "torch.optim.SGD"


def chosen(raw: RawPeer, other: str, which: int = 1) -> Ref:
    """One of two own objects, by a number of the owner's; the second is larger, or is not sent."""
    one = raw.put(torch.zeros(1))
    if other == "large":
        two = raw.put(torch.zeros(100))
    else:
        two = raw.op(SETTING, [raw.put(torch.zeros(2, requires_grad=True))], lr=0.1)
    number = raw.op("torch.Tensor.item", raw.op("torch.Tensor.__getitem__", Ref(-1), which))
    return raw.op("python.List.__getitem__", raw.op("python.collect", one, two), number)


@pytest.mark.parametrize("other", ["large", "of a type that is not sent"])
@pytest.mark.parametrize("limit", [{"max_uses": 3}, {"element_quota": 3}], ids=["uses", "quota"])
def test_no_more_choices_are_told_by_silence_than_by_answers(
    limit: dict[str, int], other: str
) -> None:
    """Which of two it was showed in whether a rule answered, and silence cost the rule nothing."""
    left = {}
    for number in (0, 1):
        with against({"n": torch.tensor([0, number])}) as (duet, raw):
            rule: dict[str, Any] = {"max_elements": 1, **limit}
            handler = duet.requests.add_handler("accept", **rule)
            for _ in range(3):
                raw.ask(chosen(raw, other), "a")
            left[number] = (handler.uses, handler.elements)
            last = raw.ask(raw.op("torch.Tensor.__getitem__", Ref(-1), 1), "a")
            assert last in ("Denied", "Expired")
    assert left[0] == left[1] == (3, 3)


def test_denials_of_what_is_larger_than_the_quota_use_it_up() -> None:
    """What is over the quota was denied as often as one liked, and the smaller one was not."""
    with against({"n": torch.tensor([0, 1])}) as (duet, raw):
        handler = duet.requests.add_handler("accept", element_quota=3)
        assert {raw.ask(chosen(raw, "large"), "a") for _ in range(3)} == {"Denied"}
        assert handler.quota_left == 0


def test_an_aggregate_that_is_too_large_uses_nothing_up() -> None:
    """Its size follows from the program, so it tells nothing."""
    with against({"x": torch.rand(64, 3)}) as (duet, raw):
        handler = duet.requests.add_handler("accept", max_elements=1, max_uses=3)
        assert raw.ask(raw.op("torch.mean", Ref(-1), 0), "a") == "Expired"
        assert (handler.uses, handler.elements) == (0, 0)


def test_an_int_of_an_aggregate_that_is_long_or_not_counts_too() -> None:
    """Whether a rounded mean has 8 bytes or more was told as often as one liked."""
    for factor, answers in ((1.0, ["Value"] * 3), (1e30, ["Expired"] * 3)):
        with against({"x": torch.rand(64, 3) + 1}) as (duet, raw):
            handler = duet.requests.add_handler("accept", name="a", max_uses=3)
            mean = raw.op("torch.mul", raw.op("torch.mean", Ref(-1)), factor)
            asked = [raw.ask(raw.op("python.Int", mean), "a") for _ in range(3)]
            assert asked == answers
            assert handler.uses == 3


# a rule without `max_uses` and `element_quota`


KEPT: dict[str, Any] = {"sources": ["n"], "kinds": {"per_record"}}
BY_SIZE: dict[str, tuple[dict[str, Any], str]] = {
    "size": ({"max_elements": 1}, "large"),
    "size, on its source": ({"max_elements": 1, **KEPT}, "large"),
    "type": (KEPT, "of a type that is not sent"),
    "type, under a name": ({"name": "a", "kinds": {"per_record"}, "max_elements": None},
                           "of a type that is not sent"),
}  # fmt: skip


@pytest.mark.parametrize("way", BY_SIZE)
def test_silence_about_sizes_tells_so_much_of_a_source_and_no_more(way: str) -> None:
    said, other = BY_SIZE[way]
    for number in (0, 1):
        with against({"n": torch.tensor([0, number, 1])}) as (duet, raw):
            duet._service.desk.policy.numbers_per_source = 3
            duet.requests.add_handler("accept", **said)

            def ask(which: int, raw: RawPeer = raw) -> str:
                return raw.ask(chosen(raw, other, which), "a")

            assert ask(1) == ("Value", "Expired")[number]
            for _ in range(3):
                assert ask(2) == "Expired"
            assert [ask(1), ask(1), ask(2)] == ["Expired"] * 3
            look = duet.requests.explain(duet.requests.history[-1])[0]
            assert not look.took and "private values may have decided its size" in look.why
            item = raw.op("torch.mul", raw.op("torch.Tensor.__getitem__", Ref(-1), 1), 1.0)
            assert raw.ask(item, "a") == "Value"  # its size is that of a number


def test_what_is_left_by_a_public_size_is_not_counted() -> None:
    with against({"x": torch.rand(64, 3)}) as (duet, raw):
        duet._service.desk.policy.numbers_per_source = 2
        handler = duet.requests.add_handler("accept", max_elements=1, kinds={"per_record"})
        row = raw.op("torch.mul", raw.op("torch.Tensor.__getitem__", Ref(-1), 5), 2.0)
        assert {raw.ask(row, "a") for _ in range(4)} == {"Expired"}
        assert handler.uses == 0
        assert raw.ask(raw.op("torch.sum", row), "a") == "Value"
        assert raw.ask(raw.op("python.Int", raw.op("torch.sum", row)), "a") == "Value"


# denials


DENIED: dict[str, dict[str, Any]] = {
    "by size": {"max_elements": 1},
    "by size and kind": {"max_elements": 1, "kinds": {"per_record"}},
    "under a name": {"name": "a", "max_elements": 1}, "of nothing": {"max_elements": 0},
}  # fmt: skip


@pytest.mark.parametrize("other", ["large", "of a type that is not sent"])
@pytest.mark.parametrize("way", DENIED)
def test_denials_by_size_tell_nothing_of_a_choice(way: str, other: str) -> None:
    """A size that is private counts as the smallest that it could be, so it is denied."""
    for number in (0, 1):
        with against({"n": torch.tensor([0, number])}) as (duet, raw):
            rule = duet.requests.add_handler("deny", **DENIED[way])
            assert raw.ask(chosen(raw, other), "a") == "Denied"
            assert rule.uses == 1
            look = duet.requests.explain(duet.requests.history[-1])[0]
            assert look.took and "the smallest there is" in look.why


def test_denials_by_size_take_what_is_small_for_all_to_see_and_leave_the_rest() -> None:
    with against({"x": torch.rand(64, 3)}) as (duet, raw):
        duet.requests.add_handler("deny", max_elements=3)
        rows = [raw.op("torch.Tensor.__getitem__", Ref(-1), part) for part in (5, slice(0, 2))]
        assert [raw.ask(row, "a") for row in rows] == ["Denied", "Expired"]
        few = raw.op("torch.Tensor.__getitem__", Ref(-1), raw.op("torch.gt", Ref(-1), 0.5))
        assert raw.ask(few, "a") == "Denied"  # it could be as small


def few_of_the_next(raw: RawPeer, passing: Ref) -> Ref:
    """Those of a batch that are large enough."""
    batch = raw.op("python.List.__getitem__", raw.op("python.next", passing), 0)
    return raw.op("torch.Tensor.__getitem__", batch, raw.op("torch.gt", batch, 0.5))


def test_what_was_denied_by_hand_is_so_in_any_size() -> None:
    """A batch of which as many are large enough was denied like the one before, others waited."""
    for last in (0.1, 0.9):
        with against({"x": torch.tensor([0.9, 0.1, 0.9, last])}) as (duet, raw):
            duet.requests.add_handler("deny", seen_only=True)
            data = raw.op("torch.utils.data.TensorDataset", Ref(-1))
            loader = raw.op("torch.utils.data.DataLoader", data, batch_size=2)
            passing = raw.op("python.iter", loader)
            raw.request(few_of_the_next(raw, passing), "a")
            raw.wait(lambda duet=duet: len(duet.requests) == 1)
            duet.requests[0].deny()
            assert raw.ask(few_of_the_next(raw, passing), "a") == "Denied"


def test_denials_by_a_source_tell_nothing_of_a_choice() -> None:
    """More is written into one of several, of which a private number chose one."""
    answers = set()
    for number in (0, 1):
        with against({"n": torch.tensor([0, number]), "m": torch.ones(1)}) as (duet, raw):
            duet.requests.add_handler("deny", sources=["m"])
            one, two = raw.put(torch.zeros(1)), raw.put(torch.zeros(1))
            place = raw.op("torch.Tensor.item", raw.op("torch.Tensor.__getitem__", Ref(-1), 1))
            either = raw.op("python.List.__getitem__", raw.op("python.collect", one, two), place)
            raw.op("torch.Tensor.add_", one, Ref(-2))
            answers.add(raw.ask(either, "a"))
    assert len(answers) == 1
