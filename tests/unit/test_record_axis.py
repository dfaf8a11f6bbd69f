"""The axis along which an owner says that the records of a tensor lie."""

import os
import signal

import pytest
import torch
from torch.utils.data import TensorDataset

from duet_p2p.errors import NotAllowed, WrongSide
from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.scientist.duet import ScientistDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.unit.engine_kit import Driver
from tests.unit.owner_kit import (  # noqa: F401 (two are fixtures)
    owner_bridge,
    owner_pair,
    waiting,
)
from tests.unit.test_owner_process import pair as process_pair  # noqa: F401

T, F = "torch.Tensor.", "torch.nn.functional."
GENES = torch.rand(20, 500, generator=torch.Generator().manual_seed(1))
"""Twenty genes of five hundred people."""


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def x(driver: Driver) -> Ref:
    return driver.share(GENES, record_axis=1)


PEOPLE = 500
AGGREGATES = {
    "a mean over the people": lambda d, x: d.run("torch.mean", x, 1),
    "the same by a negative axis": lambda d, x: d.run(T + "sum", x, dim=-1),
    "a sum over all": lambda d, x: d.run("torch.sum", x),
    "some genes": lambda d, x: d.run(T + "mean", d.run(T + "__getitem__", x, slice(2, 5)), 1),
    "one gene": lambda d, x: d.run("torch.sum", d.run(T + "__getitem__", x, 3)),
    "of all people, some genes": lambda d, x: d.run(
        "torch.sum", d.run(T + "__getitem__", x, (slice(2, 5), slice(None)))
    ),
    "turned": lambda d, x: d.run("torch.mean", d.run(T + "t", x), 0),
    "genes weighted": lambda d, x: d.run(
        "torch.sum", d.run("torch.matmul", d.put(torch.rand(3, 20)), x)
    ),
    "a layer over the turned ones": lambda d, x: d.run(
        "torch.mean", d.run(F + "linear", d.run(T + "t", x), d.put(torch.rand(3, 20)))
    ),
    "a covariance of the genes": lambda d, x: d.run("torch.cov", x),
    "a product over the people": lambda d, x: d.run("torch.matmul", x, d.run(T + "t", x)),
    "each person's largest gene": lambda d, x: d.run("torch.mean", d.run("torch.amax", x, 0)),
    "each person's order": lambda d, x: d.run("torch.sum", d.run("torch.cumsum", x, 0)),
}


@pytest.mark.parametrize("what", AGGREGATES)
def test_what_is_summed_over_the_records_is_an_aggregate_of_all(
    driver: Driver, x: Ref, what: str
) -> None:
    assert driver.label(AGGREGATES[what](driver, x)) == ("aggregate", PEOPLE, False)
    assert not driver.failures()


SINGLE = {
    "a mean over the genes": lambda d, x: d.run("torch.mean", x, 0),
    "one person": lambda d, x: d.run("torch.sum", d.run(T + "__getitem__", x, (slice(None), 3))),
    "some people": lambda d, x: d.run("torch.sum", d.run("torch.narrow", x, 1, 0, 100)),
    "the largest of all": lambda d, x: d.run("torch.amax", x, 1),
    "an order of people": lambda d, x: d.run("torch.sum", d.run("torch.cumsum", x, 1)),
    "a softmax over people": lambda d, x: d.run("torch.sum", d.run("torch.softmax", x, 1)),
    "a layer over the people": lambda d, x: d.run(
        "torch.sum", d.run(F + "linear", x, d.put(torch.rand(3, PEOPLE)))
    ),
    "a product with a public row": lambda d, x: d.run(
        "torch.matmul", x, d.put(torch.rand(PEOPLE))
    ),
    "a norm of layers over the people": lambda d, x: d.run(
        "torch.sum", d.run(F + "layer_norm", x, [PEOPLE])
    ),
    "columns in a row": lambda d, x: d.run("torch.sum", d.run(T + "reshape", x, [PEOPLE, 20])),
}  # fmt: skip


@pytest.mark.parametrize("what", SINGLE)
def test_what_looks_along_the_records_is_not(driver: Driver, x: Ref, what: str) -> None:
    kind, records, _ = driver.label(SINGLE[what](driver, x))
    assert kind in ("per_record", "verbatim") and records == 1
    assert not driver.failures()


def test_a_loader_over_the_first_axis_gives_no_batches_of_records(driver: Driver, x: Ref) -> None:
    def loss(source: Ref) -> tuple[str, int, bool]:
        data = driver.ok("torch.utils.data.TensorDataset", source)
        loader = driver.ok("torch.utils.data.DataLoader", data, batch_size=20)
        batch = driver.ok("python.next", driver.ok("python.iter", loader))
        return driver.label(driver.ok("torch.mean", driver.ok("python.List.__getitem__", batch, 0)))

    assert loss(x)[:2] == ("per_record", 1)
    assert loss(driver.ok(T + "t", x)) == ("aggregate", 20, False)


def test_records_of_two_tensors_meet_where_the_owner_said(driver: Driver, x: Ref) -> None:
    ages = driver.share(torch.rand(PEOPLE))
    rows = driver.share(torch.rand(PEOPLE, 20))
    scaled = driver.ok("torch.mul", x, ages)
    assert driver.label(driver.ok("torch.mean", scaled)) == ("aggregate", PEOPLE, False)
    assert driver.label(driver.ok("torch.matmul", x, rows)) == ("aggregate", PEOPLE, False)
    square = driver.share(torch.rand(20, 20), record_axis=1)
    other = driver.share(torch.rand(20, 20))
    crossed = driver.ok("torch.mul", square, other)
    assert driver.label(driver.ok("torch.sum", crossed))[:2] == ("per_record", 1)


def test_without_an_axis_a_tensor_is_one_record(driver: Driver) -> None:
    image = driver.share(torch.rand(64, 64), record_axis=None)
    assert driver.label(driver.ok("torch.mean", image))[:2] == ("per_record", 1)
    data = driver.ok("torch.utils.data.TensorDataset", image)
    batch = driver.ok("torch.utils.data.DataLoader", data, batch_size=64)
    first = driver.ok("python.next", driver.ok("python.iter", batch))
    total = driver.ok("torch.sum", driver.ok("python.List.__getitem__", first, 0))
    assert driver.label(total)[:2] == ("per_record", 1)


# the owner's side


@pytest.mark.parametrize(("axis", "shape", "found"), [
    (0, (3, 4), 0), (1, (3, 4), 1), (-1, (3, 4), 1), (-2, (3, 4), 0), (None, (3, 4), None),
    (2, (3, 4, 5), 2), (0, (), None), (None, (), None), (torch.tensor(1), (3, 4), 1),
])  # fmt: skip
def test_axes_are_counted_from_either_side(pair, axis, shape, found) -> None:
    duet, _ = pair
    assert torch.rand(shape).send(duet, record_axis=axis).record_axis == found


@pytest.mark.parametrize(("obj", "axis", "error", "text"), [
    (torch.rand(3, 4), 2, ValueError, "axes 0 to 1"),
    (torch.rand(3, 4), -3, ValueError, "axes 0 to 1"),
    (torch.tensor(1.0), 1, ValueError, "no axis"),
    (torch.tensor(1.0), -1, ValueError, "no axis"),
    (torch.rand(3, 4), True, TypeError, "record_axis"),
    (torch.rand(3, 4), 1.0, TypeError, "float"),
    (torch.rand(3, 4), "1", TypeError, "str"),
    ([torch.rand(3, 4)], 1, NotAllowed, "each of their tensors"),
    ({"x": torch.rand(3, 4)}, 1, NotAllowed, "each of their tensors"),
    (TensorDataset(torch.rand(3, 4)), 1, NotAllowed, "its items"),
    (torch.nn.Linear(2, 2), 1, NotAllowed, "single tensor"),
    (5, None, NotAllowed, "single tensor"),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_an_axis_that_makes_no_sense_is_refused_and_nothing_is_shared(
    pair, obj, axis, error, text
) -> None:
    duet, _ = pair
    with pytest.raises(error, match=text):
        duet.send(obj, record_axis=axis)
    assert len(duet.store) == 0


def test_a_scientists_own_object_has_no_records() -> None:
    duet = ScientistDuet.__new__(ScientistDuet)
    with pytest.raises(WrongSide, match="record_axis"):
        duet.send(GENES, record_axis=1)


def test_the_owner_reads_where_the_records_lie(pair) -> None:
    duet, scientist = pair
    genes = GENES.tag("genes").send(duet, record_axis=1)
    duet.send(TensorDataset(torch.rand(1, 2)), tags=["set"])
    duet.send(5, tags=["n"])
    duet.send(GENES, tags=["hidden"], record_axis=1, shapes="private")
    duet.send(GENES, tags=["one"], record_axis=None)
    text = "500 records along axis 1"
    assert text in repr(genes) and text in repr(duet.store)
    assert text in genes._repr_html_() and text in duet.store._repr_html_()
    assert list(duet.store.pandas["Records"]) == [text, "1 record", "", text, ""]
    scientist.op("torch.mean", 1, Ref(-1), 1)
    scientist.request(1, name="means")
    waiting(duet, scientist)
    request = duet.requests[0]
    assert (request.kind, request.min_records) == ("aggregate", 500)
    assert request.rows == [f"whole of {text}"] == duet.requests.pandas.iloc[0]["Rows"]
    assert f"  rows        genes: whole of {text}\n" in str(request)
    genes.delete()
    assert request.rows == [f"whole of {text}"]


def test_the_log_says_where_they_lie(pair, monkeypatch) -> None:
    duet, _ = pair
    kept: list[tuple[str, dict[str, object]]] = []
    journal = duet._service.shares._journal
    monkeypatch.setattr(journal, "record", lambda kind, facts: kept.append((kind, dict(facts))))
    duet.send(GENES, record_axis=-1)
    duet.send(5)
    assert kept[0][1]["records"] == "500 records along axis 1"
    assert "records" not in kept[1][1]


def means(duet: OwnerDuet, scientist, id: int) -> tuple[str, int]:
    scientist.op("torch.mean", id, Ref(-1), 1)
    scientist.request(id, name=f"means {id}")
    scientist.wait_for(lambda: any(r.name == f"means {id}" for r in duet.requests))
    request = next(r for r in duet.requests if r.name == f"means {id}")
    return request.kind, request.min_records


def test_a_new_engine_knows_it_too(process_pair) -> None:  # noqa: F811
    duet, scientist = process_pair
    duet.send(GENES, record_axis=1)
    assert means(duet, scientist, 1) == ("aggregate", 500)
    os.kill(duet.status()["engine"]["pid"], signal.SIGKILL)
    scientist.wait_for(
        lambda: [m for m in scientist.session.posted if isinstance(m, wire.EngineRestarted)]
    )
    assert means(duet, scientist, 2) == ("aggregate", 500)


def test_what_is_listed_later_lies_as_it_was_sent(pair) -> None:
    duet, scientist = pair
    genes = duet.send(GENES, record_axis=1, pointable=False)
    genes.update_searchability(True)
    assert means(duet, scientist, 1) == ("aggregate", 500)
