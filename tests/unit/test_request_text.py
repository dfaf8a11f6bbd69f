"""What an owner reads of a request before deciding."""

from __future__ import annotations

import time

import pytest
import torch

from duet_p2p import limits
from duet_p2p.errors import NotAllowed
from duet_p2p.owner.request_text import MODEL_WARNING
from duet_p2p.wire.values import Ref
from tests.security.test_guard import Program, pair  # noqa: F401
from tests.unit.owner_kit import DEADLINE

X, Y = Ref(-1), Ref(-2)
MANY = " of 80 records along axis 0"


def trained(program: Program, *, groups=0, milestones=()):
    """Two steps of a linear model over a loader of two of the owner's objects."""
    weight = program.run("torch.nn.Parameter", program.put(torch.zeros(3, 4)))
    data = program.run("torch.utils.data.TensorDataset", X, Y)
    loader = program.run("torch.utils.data.DataLoader", data, batch_size=16)
    more = [program.run("torch.nn.Parameter", program.put(torch.zeros(1))) for _ in range(groups)]
    every = [{"params": [w], "lr": 0.5 + n} for n, w in enumerate([weight, *more])]
    optimizer = program.run("torch.optim.SGD", every, lr=0.5)
    if milestones:
        program.run("torch.optim.lr_scheduler.MultiStepLR", optimizer, milestones)
    iterator = program.run("python.iter", loader)

    def step():
        batch = program.run("python.next", iterator)
        x, y = (program.run("python.List.__getitem__", batch, n) for n in (0, 1))
        out = program.run("torch.nn.functional.linear", x, weight)
        loss = program.run("torch.nn.functional.cross_entropy", out, y)
        program.run("torch.optim.Optimizer.zero_grad", optimizer)
        program.run("torch.Tensor.backward", loss)
        program.run("torch.optim.Optimizer.step", optimizer)
        return loss

    return step, weight


@pytest.fixture
def owner(pair):  # noqa: F811
    duet, scientist = pair
    duet.send(torch.rand(80, 4), tags=["images", "ward 3"])
    duet.send(torch.randint(0, 3, (80,)), tags=["classes"])
    return duet, Program(scientist)


def waiting(duet, program, ref, name="loss"):
    program.request(ref.id, name=name)
    program.wait_for(lambda: any(r.name == name for r in duet.requests))
    return next(r for r in duet.requests if r.name == name)


def test_a_loss_is_read_in_one_line_and_in_full(owner):
    duet, program = owner
    duet.requests.add_handler("accept", name="other")
    step, _ = trained(program)
    request = waiting(duet, program, step())
    assert request.summary == (
        "mean of cross_entropy of a network (linear; 1 weight) on batch of 16 of store['images']"
    )
    text = str(request)
    for part in (
        "at least 16 records per number",
        "depends on  images, also tagged ward 3 (released before: nothing yet)",
        "depends on  classes",
        "scientist-id",
        "1 number, 4 bytes",
        "accept handler for name='other' does not take it: the name is 'loss', not 'other'",
        "torch.nn.functional.cross_entropy(",
    ):
        assert part in text, text
    assert request.summary in repr(duet.requests)
    row = duet.requests.pandas.iloc[0]
    assert row["What"] == request.summary and row["Bytes"] == 4
    assert row["Released before"] == ["nothing yet", "nothing yet"]


def test_one_line_names_all_data_also_where_the_recipe_was_cut(owner):
    """Whoever made a recipe long enough could hide in a listing what data it began with."""
    duet, program = owner
    ref = program.run("torch.sum", X)
    for _ in range(2 * limits.RECIPE_STEPS):
        ref = program.run("torch.add", ref, 0.5)
    request = waiting(duet, program, ref)
    assert "images" not in request.summary
    assert "1 number, at least 80 records per number, depends on images; " in repr(request)
    assert "depends on images; " in repr(duet.requests)
    count = waiting(duet, program, program.run("torch.sum", Y, 0, True), name="classes")
    assert "depends on classes; " in repr(count)


def test_which_records_are_behind_it_is_told_by_source(owner):
    duet, program = owner
    data = program.run("torch.utils.data.TensorDataset", X, Y)

    def batch(**settings):
        loader = program.run("torch.utils.data.DataLoader", data, batch_size=16, **settings)
        iterator = program.run("python.iter", loader)
        program.run("python.next", iterator)
        return program.run("python.List.__getitem__", program.run("python.next", iterator), 0)

    thinned = program.run("torch.nn.functional.dropout", X, 0.5, True)
    one = program.run("torch.Tensor.__getitem__", X, 5)
    for ref, rows in {
        program.run("torch.sum", X): f"whole{MANY}",
        program.run("torch.sum", thinned): f"whole, less what a dropout left out{MANY}",
        batch(): f"batch 2 of pass over a loader{MANY}",
        program.run("torch.mean", batch(shuffle=True)): f"batches of pass 1 over a loader{MANY}",
        program.run("torch.sum", one): "cannot be told",
    }.items():
        request = waiting(duet, program, ref, rows)
        assert request.rows[0] == rows
        assert f"  rows        images: {rows}\n" in str(request)
        request.deny()


def test_every_listing_shows_all_that_a_decision_needs(owner):
    duet, program = owner
    duet.requests.add_handler("accept", name="other", kinds={"model"})
    step, weight = trained(program)
    for _ in range(2):
        waiting(duet, program, step()).accept()
    request = waiting(duet, program, weight, "model")
    row = duet.requests.pandas.iloc[0]
    assert (row["Requester"], row["Shape"], row["Rows"]) == (
        *("scientist-id", (3, 4), ["cannot be told"] * 2),
    )
    assert row["Source tags"] == [["images", "ward 3"], ["classes"]]
    assert row["Training"] == [*request.training, MODEL_WARNING]
    assert row["Recipe"] == request.recipe and "kinds={'model'}" in row["Handlers"][0]
    card = request._repr_html_()
    assert "images, also tagged ward 3" in card
    assert MODEL_WARNING in card and "trained in 2 steps of SGD" in card
    for name in ("bytes", "rows", "released before", "handlers"):
        assert f">{name}<" in card, card
    assert "images: twice" not in card and "images: 2 times, 2 numbers in all" in card


def test_what_left_before_is_told_by_source(owner):
    duet, program = owner
    mean = program.run("torch.mean", X)
    waiting(duet, program, mean, "mean").accept()
    assert program.ask(mean, "mean again") == "Value"  # a repeat counts for nothing
    other = waiting(duet, program, program.run("torch.sum", X))
    assert [str(before) for before in other.released_before] == ["once, 1 number in all"]
    assert "images, also tagged ward 3 (released before: once, 1 number in all)" in str(other)


def test_a_model_says_how_it_was_trained_and_what_it_can_contain(owner):
    duet, program = owner
    step, weight = trained(program)
    step(), step()
    request = waiting(duet, program, weight, "model")
    assert request.kind == "model"
    assert request.training == [
        "trained in 2 steps of SGD",
        "batches of 16 records",
        "learning rate 0.5",
        "first weights: chosen by the scientist, uploaded",
    ]
    assert MODEL_WARNING in str(request)


def test_what_an_optimizer_changed_is_said_to_be_trained_whatever_its_kind(owner):
    duet, program = owner
    weight = program.run("torch.nn.Parameter", program.put(torch.zeros(80, 4)))
    assert "then trained" not in str(waiting(duet, program, program.run("torch.mean", X), "mean"))
    optimizer = program.run("torch.optim.SGD", [weight], lr=0.5)
    loss = program.run("torch.sum", program.run("torch.mul", weight, X))
    program.run("torch.Tensor.backward", loss)
    program.run("torch.optim.Optimizer.step", optimizer)
    request = waiting(duet, program, weight, "harmless")
    assert request.kind == "per_record"
    what = next(line for line in str(request).splitlines() if line.startswith("  what"))
    assert what.endswith(", then trained in 1 step of SGD")
    assert MODEL_WARNING in str(request)


def test_always_covers_a_training_run_from_its_first_loss_on(owner):
    duet, program = owner
    step, _ = trained(program)
    request = waiting(duet, program, step(), "first")
    said = "takes later losses of this run, trained by backward() of this very loss and step() of "
    assert said + "SGD (lr=0.5)" in str(request)
    request.accept(always=True)
    assert [program.ask(step(), name) for name in ("second", "any")] == ["Value"] * 2


def test_where_the_first_loss_cannot_stand_for_a_run_the_owner_reads_that_it_asks_again(owner):
    duet, program = owner
    step, weight = trained(program)
    program.run("torch.optim.SGD", [weight], lr=1e6)
    request = waiting(duet, program, step(), "first")
    assert "asks once more, since 2 optimizers hold the parameters" in str(request)
    request.accept(always=True)
    assert program.ask(step(), "second") == "Expired"  # its weights were trained, the first's not
    looks = duet.requests.explain(duet.requests.history[-1])
    assert "accept it once more, always" in looks[0].why
    waiting(duet, program, step(), "third").accept(always=True)
    assert program.ask(step(), "any name") == "Value"


def test_a_recipe_that_had_to_be_cut_cannot_be_bound(owner):
    duet, program = owner
    value = program.run("torch.sum", X)
    for _ in range(200):
        value = program.run("torch.Tensor.__add__", value, 1.0)
    request = waiting(duet, program, value)
    with pytest.raises(NotAllowed, match="cut"):
        request.accept(always=True)
    with pytest.raises(NotAllowed, match="cut"):
        duet.requests.add_handler("accept", recipe=request)
    assert request.status == "Pending"
    deadline = time.monotonic() + DEADLINE
    request.accept()
    assert request.status == "Accepted" and time.monotonic() < deadline


def test_whatever_is_accepted_always_can_be_read(owner):
    """The last commands of a long recipe, and the last settings of a run."""
    duet, program = owner
    value, number = program.run("torch.mean", X), 1.2345678901234567e-100
    for _ in range(59):
        value = program.run("torch.Tensor.add", value, number, alpha=number)
    request = waiting(duet, program, program.run("torch.Tensor.mul", value, 7.5))
    assert 4_000 < len(request.recipe) < limits.RECIPE_CHARS
    for shown in (str(request), request._repr_html_()):
        assert "mul(7.5)" in shown and "…" not in shown
    request.accept(always=True)
    step, _ = trained(program, milestones=list(range(100_000, 100_033)))
    request = waiting(duet, program, step(), "first")
    assert "100032]) sets, and nothing else" in str(request)


def test_a_run_of_more_settings_than_can_be_read_is_not_foreseen(owner):
    duet, program = owner
    step, _ = trained(program, groups=100)
    request = waiting(duet, program, step(), "first")
    assert "asks once more, since it has more settings than can be read" in str(request)
    request.accept(always=True)
    assert program.ask(step(), "second") == "Expired"
