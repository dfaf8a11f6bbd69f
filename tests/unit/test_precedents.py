"""A verdict that is remembered is the one that would be given anew."""

import pytest
import torch

from duet_p2p import limits
from duet_p2p.engine import precedents
from duet_p2p.engine.precedents import Precedents
from tests.unit.engine_kit import Driver


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that had to be judged anew."""
    names: list[str] = []
    real = precedents.judge

    def judge(name, *args, **kwargs):
        names.append(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(precedents, "judge", judge)
    return names


def test_the_same_call_is_judged_once(asked: list[str]) -> None:
    driver = Driver()
    x = driver.share(torch.randn(40, 3))
    first = driver.ok("torch.Tensor.mul", x, 2.0)
    labels = [driver.label(driver.ok("torch.Tensor.mul", x, 2.0)) for _ in range(3)]
    assert asked == ["torch.Tensor.mul"]
    assert labels == [driver.label(first)] * 3
    assert [driver.label(driver.ok("torch.Tensor.mean", first)) for _ in range(2)] == [
        ("aggregate", 40, False)
    ] * 2


def test_one_and_true_and_another_shape_are_other_calls(asked: list[str]) -> None:
    driver = Driver()
    x, y = driver.share(torch.ones(40, 3)), driver.share(torch.ones(40, 1, 3))
    for value in (1, 1.0, True):
        driver.ok("torch.Tensor.mul", x, value)
    driver.ok("torch.Tensor.mul", y, 1)
    assert len(asked) == 4


def test_what_tells_records_apart_is_seen_after_what_does_not(asked: list[str]) -> None:
    driver = Driver()
    x = driver.share(torch.randn(40, 3))
    same, apart = driver.put(torch.ones(1, 3)), driver.put(torch.eye(40, 3))
    alike = driver.put(torch.ones(40, 3))  # of the same shape, and it tells none apart
    leads = driver.put(torch.ones(40, 3).requires_grad_())
    assert driver.label(driver.ok("torch.Tensor.mul", x, same))[2] is False
    assert driver.label(driver.ok("torch.Tensor.mul", x, alike))[2] is False
    assert driver.label(driver.ok("torch.Tensor.mul", x, apart))[2] is True
    assert driver.label(driver.ok("torch.Tensor.mul", x, alike))[2] is False
    driver.ok("torch.Tensor.mul", x, leads)
    assert driver.label(driver.ok("torch.Tensor.mul", x, same))[2] is False
    assert len(asked) == 5


def test_whether_a_mask_was_the_same_for_all_does_not_hang_on_what_it_was_multiplied_by() -> None:
    driver = Driver()
    nothing = driver.share(torch.zeros(40, 3))
    for way in ("torch.Tensor.mul_", "torch.Tensor.__imul__"):
        apart = driver.put(torch.eye(40, 3))
        assert driver.label(driver.ok(way, apart, nothing))[2] is True
        alike = driver.put(torch.ones(40, 3))
        assert driver.label(driver.ok(way, alike, driver.share(torch.rand(40, 3))))[2] is False
    apart = driver.put(torch.eye(40, 3))
    view = driver.ok("torch.Tensor.view", apart, 40, 3)
    assert driver.label(driver.ok("torch.Tensor.addcmul_", apart, nothing, view))[2] is True


def test_rows_that_were_lost_are_not_found_again(asked: list[str]) -> None:
    driver = Driver()
    shared = driver.share(torch.randn(40, 3))
    x = driver.ok("torch.Tensor.clone", shared)
    assert driver.label(driver.ok("torch.Tensor.sum", x))[0] == "aggregate"
    driver.ok("torch.Tensor.__setitem__", x, 0, 1.0)  # one row is another one now
    assert driver.label(driver.ok("torch.Tensor.sum", x))[0] == "per_record"


def test_another_source_is_another_call(asked: list[str]) -> None:
    driver = Driver()
    for _ in range(2):
        x = driver.share(torch.randn(40, 3))
        driver.ok("torch.Tensor.exp", x)
    assert len(asked) == 2


def test_only_so_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PRECEDENTS", 3)
    driver = Driver()
    x = driver.share(torch.randn(40, 3))
    for number in range(9):
        driver.ok("torch.Tensor.mul", x, number)
    executor = driver.engine._executor
    assert executor is not None
    known: Precedents = executor._labelling.precedents
    assert len(known._known) == 3
    assert len(executor.short_ways.routines._known) == 3


def test_a_view_of_hidden_size_is_not_one_of_the_same_size(asked: list[str]) -> None:
    driver = Driver()
    x = driver.share(torch.full((20,), 3.0))
    length = driver.ok("python.Int", driver.ok("torch.Tensor.__getitem__", x, 0))
    hidden = driver.ok("torch.Tensor.narrow", x, 0, 0, length)
    plain = driver.ok("torch.Tensor.narrow", x, 0, 0, 3)
    driver.ok("torch.Tensor.clone", plain)
    copy = driver.ok("torch.Tensor.clone", hidden)
    assert asked.count("torch.Tensor.clone") == 2
    assert driver.label(driver.ok("torch.Tensor.numel", copy))[0] == "per_record"


def test_a_rule_that_looks_at_values_is_asked_each_time() -> None:
    driver = Driver()
    x = driver.share(torch.randn(40, 3))
    weights = [driver.put(torch.randn(2, 3)), driver.put(torch.randn(2, 2))]
    same, apart = driver.put(torch.ones(40, 2)), driver.put(torch.arange(80.0).view(40, 2))
    first = driver.ok("torch.rnn_tanh_cell", x, same, *weights)
    second = driver.ok("torch.rnn_tanh_cell", x, apart, *weights)
    assert driver.label(driver.ok("torch.Tensor.mean", first)) == ("aggregate", 40, False)
    assert driver.label(driver.ok("torch.Tensor.mean", second)) == ("aggregate", 40, True)
