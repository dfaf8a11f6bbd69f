"""A command that runs like an earlier one gets what it would have got on the whole way."""

from random import Random

import pytest
import torch

from duet_p2p.engine.admission import Admission
from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of commands that went the whole way."""
    names: list[str] = []
    real = Admission.admit_size

    def admit_size(self, rule, *args, **kwargs):
        names.append(rule.name)
        return real(self, rule, *args, **kwargs)

    monkeypatch.setattr(Admission, "admit_size", admit_size)
    return names


def test_only_the_first_goes_the_whole_way(whole: list[str]) -> None:
    driver = Driver()
    x = driver.share(torch.ones(40, 3), tags=["x"])
    first, second = (driver.ok("torch.Tensor.mul", x, 2.0) for _ in range(2))
    assert whole == ["torch.Tensor.mul"]
    one, two = driver.facts(first), driver.facts(second)
    assert (one.kind, one.sources, one.tags, one.recipe, one.form) == (
        two.kind, two.sources, two.tags, two.recipe, two.form,
    )  # fmt: skip
    assert torch.equal(driver.engine.store.get(second.id).value, torch.full((40, 3), 2.0))


def test_a_view_of_a_public_tensor_is_labelled_each_time(whole: list[str]) -> None:
    driver = Driver()
    x = driver.share(torch.ones(40, 3))
    for _ in range(2):
        own = driver.put(torch.zeros(1, 3))
        driver.ok("torch.Tensor.expand_as", own, x)
        kinds = driver.label(own)[0]
    again = driver.put(torch.zeros(1, 3))
    driver.ok("torch.Tensor.expand_as", again, x)
    assert driver.label(again)[0] == kinds


def test_quotas_are_asked_each_time(whole: list[str]) -> None:
    driver = Driver({"objects": 4})
    x = driver.share(torch.ones(40, 3))
    for _ in range(3):
        driver.ok("torch.Tensor.mul", x, 2.0)
    assert driver.failed("torch.Tensor.mul", x, 2.0).code == "QuotaExceeded"
    driver = Driver({"stored_bytes": 2_000})
    x = driver.share(torch.ones(40, 3))
    for _ in range(4):
        driver.ok("torch.Tensor.mul", x, 2.0)
    assert driver.failed("torch.Tensor.mul", x, 2.0).code == "QuotaExceeded"


def test_an_id_is_written_once(whole: list[str]) -> None:
    driver = Driver()
    x = driver.share(torch.ones(40, 3))
    made = driver.ok("torch.Tensor.mul", x, 2.0)
    driver.next_id = made.id - 1
    assert driver.failed("torch.Tensor.mul", x, 2.0).code == "PointerDeleted"


def test_a_failure_is_as_silent_as_the_first(whole: list[str]) -> None:
    driver = Driver()
    x = driver.share(torch.rand(40, 3))
    for value in (0, 0, 7):  # the last one is no class; which one, values tell
        targets = driver.share(torch.full((40,), value))
        driver.run("torch.nn.functional.nll_loss", x, targets)
        assert [f.is_public for f in driver.failures()] == ([False] if value else [])


def test_poison_and_hidden_shapes_go_the_whole_way(whole: list[str]) -> None:
    driver = Driver()
    x = driver.share(torch.full((20,), 3.0))
    driver.ok("torch.Tensor.neg", driver.ok("torch.Tensor.narrow", x, 0, 0, 3))
    length = driver.ok("python.Int", driver.ok("torch.Tensor.__getitem__", x, 0))
    hidden = driver.ok("torch.Tensor.narrow", x, 0, 0, length)
    whole.clear()
    driver.ok("torch.Tensor.neg", hidden)
    assert whole == ["torch.Tensor.neg"]


def test_a_switch_that_writes_is_another_question(whole: list[str]) -> None:
    driver = Driver()
    x = driver.share(-torch.ones(40, 3))
    own = driver.ok("torch.Tensor.clone", x)
    for _ in range(2):
        driver.ok("torch.nn.functional.relu", own)
    assert driver.failed("torch.nn.functional.relu", x, True).code == "NotAllowed"
    driver.ok("torch.nn.functional.relu", own, True)
    assert torch.equal(driver.engine.store.get(own.id).value, torch.zeros(40, 3))


def test_rows_that_a_write_took_are_not_taken_for_those_before(whole: list[str]) -> None:
    driver = Driver()
    x = driver.ok("torch.Tensor.clone", driver.share(torch.ones(40, 3)))
    assert [driver.label(driver.ok("torch.Tensor.sum", x))[0] for _ in range(2)] == [
        "aggregate", "aggregate",
    ]  # fmt: skip
    driver.ok("torch.Tensor.__setitem__", x, 0, 5.0)
    assert driver.label(driver.ok("torch.Tensor.sum", x))[0] == "per_record"


def test_another_batch_of_a_pass_is_the_same_question_about_its_own_records(
    whole: list[str],
) -> None:
    driver = Driver()
    data = driver.ok("torch.utils.data.TensorDataset", driver.share(torch.rand(40, 3)))
    loader = driver.ok("torch.utils.data.DataLoader", data, batch_size=10)
    batches = driver.ok("python.iter", loader)
    found = []
    for _ in range(3):
        batch = driver.ok("python.next", batches)
        x = driver.ok("python.List.__getitem__", batch, 0)
        found.append(driver.ok("torch.Tensor.mul", x, 2.0))
        assert driver.label(driver.ok("torch.Tensor.sum", found[-1])) == ("aggregate", 10, False)
    assert whole.count("torch.Tensor.mul") == whole.count("torch.Tensor.sum") == 1
    mixed = driver.ok("torch.Tensor.mul", found[0], found[1])  # one batch with another
    assert driver.label(driver.ok("torch.Tensor.sum", mixed))[0] == "per_record"
    alike = driver.ok("torch.Tensor.mul", found[1], found[1])
    assert driver.label(driver.ok("torch.Tensor.sum", alike))[0] == "aggregate"
    for one, two, kind in ((2, 2, "aggregate"), (1, 2, "per_record"), (0, 2, "per_record")):
        copy = driver.ok("torch.Tensor.clone", found[two])
        made = driver.ok("torch.Tensor.mul", found[one], copy)
        assert driver.label(driver.ok("torch.Tensor.sum", made))[0] == kind


NAMES = ("mul", "add", "matmul", "expand_as", "view_as", "sum", "exp", "relu", "t", "maximum")


@pytest.mark.parametrize("seed", range(6))
def test_random_programs_end_alike_with_and_without_routines(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same program twice; in the second engine every command goes the whole way."""

    def run() -> list[object]:
        random, driver = Random(seed), Driver()
        torch.manual_seed(0)
        known: list[Ref] = [driver.share(torch.rand(4, 4)) for _ in range(2)]
        known += [driver.put(torch.rand(4, 4)), driver.put(torch.rand(1, 4).requires_grad_())]
        told: list[object] = []
        for _ in range(60):
            name, one, two = random.choice(NAMES), random.choice(known), random.choice(known)
            where = "torch.nn.functional" if name == "relu" else "torch.Tensor"
            rest = (two,) if name in ("mul", "add", "matmul", "expand_as", "view_as",
                                      "maximum") else ()  # fmt: skip
            made = driver.run(f"{where}.{name}", one, *rest)
            if random.random() < 0.1:
                driver.run("torch.Tensor.__setitem__", made, 0, 1.0, outs=0)
            told.append([(f.code, f.is_public) for f in driver.failures()])
            known = [*known[-12:], made]
        for ref in known:
            facts = driver.facts(ref)
            told.append((facts.kind, facts.sources, facts.min_records, facts.injected,
                         facts.form, facts.recipe, facts.shape, facts.tags))  # fmt: skip
        return told

    with_routines = run()
    monkeypatch.setattr("duet_p2p.engine.routine.Routines.question", lambda *_: None)
    assert run() == with_routines
