import copy
import gc
import io
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from duet_p2p.errors import (
    HiddenShape,
    NotAllowed,
    NotReleased,
    PointerDeleted,
    PrivateValueError,
    RemoteError,
    RequestDenied,
    RequestExpired,
    WrongSide,
)
from duet_p2p.objects import python as p
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.wire.messages import Del, Note, Request

from .scientist_kit import Pair, deny, pair, wait

AGES = torch.tensor([25, 32, 49, 65, 88, 22])


@pytest.fixture
def both() -> Iterator[Pair]:
    with pair() as made:
        yield made


def local(value: Any) -> Any:
    return value.get(request_block=True, timeout_secs=5)


# facts


def test_facts_are_plain_local_values(both: Pair) -> None:
    ages = both.share(AGES.float().reshape(2, 3), "ages", description="in years")
    sent = len(both.owner.commands)
    assert ages.shape == torch.Size([2, 3])
    assert ages.size(0) == 2
    assert ages.ndim == ages.dim() == 2
    assert ages.dtype == torch.float32
    assert ages.device == torch.device("cpu")
    assert ages.requires_grad is False
    assert ages.numel() == 6
    assert len(ages) == 2
    assert ages.tags == ["ages"]
    assert ages.description == "in years"
    assert ages.object_type == "torch.Tensor"
    assert len(ages.id_at_location) == 32
    assert ages.pointable is True
    assert torch.is_floating_point(ages)
    assert torch.numel(ages) == 6
    assert "shape=(2, 3)" in repr(ages)
    assert "ages" in f"{ages}"
    assert len(both.owner.commands) == sent


def test_tags_of_a_result_are_those_of_its_inputs_and_the_name(both: Pair) -> None:
    ages = both.share(AGES, "ages")
    mean = ages.float().mean()
    assert mean.tags == ["ages", "float", "mean"]
    assert both.owner.engine.store.get(mean._id).tags == ("ages", "float", "mean")


# operations


def test_operators_and_methods_give_what_torch_gives(both: Pair) -> None:
    x, y = torch.randn(4, 3), torch.randn(4, 3)
    px, py = x.send(both.duet), y.send(both.duet)
    pairs = [
        (px + py, x + y),
        (0.5 * px, 0.5 * x),
        (y - px, y - x),
        (2 - px, 2 - x),
        (px @ py.T, x @ y.T),
        (px[1], x[1]),
        (px[:, 1:], x[:, 1:]),
        (px[px > 0].sum(), x[x > 0].sum()),
        (-px, -x),
        (px**2, x**2),
        (px == py, x == y),
        (px.relu().sum(dim=1), x.relu().sum(dim=1)),
        (torch.nn.functional.softmax(px, dim=1), torch.softmax(x, dim=1)),
        (torch.cat([px, py]), torch.cat([x, y])),
        (both.duet.torch.stack([px, py]), torch.stack([x, y])),
        (torch.where(px > 0, px, torch.zeros(())), torch.where(x > 0, x, torch.zeros(()))),
    ]
    for remote, expected in pairs:
        if remote._spec is not None:
            assert remote.shape == expected.shape
        assert torch.equal(local(remote), expected)


def test_in_place_methods_return_the_same_pointer(both: Pair) -> None:
    x = torch.zeros(3).send(both.duet)
    assert x.add_(1) is x
    before = x
    x += 2
    assert x is before
    x[0] = 7
    assert local(x).tolist() == [7, 3, 3]


def test_named_results_unpack(both: Pair) -> None:
    x = torch.tensor([[3.0, 1.0], [2.0, 5.0]]).send(both.duet)
    values, indices = x.max(dim=1)
    assert local(values).tolist() == [3, 5]
    assert local(indices).tolist() == [0, 1]
    assert local(x.sort(dim=1).values)[0].tolist() == [1, 3]
    first, second = x.split(1)
    assert local(second).tolist() == [[2, 5]]
    assert first.shape == (1, 2)


def test_gradients(both: Pair) -> None:
    w = torch.ones(3).send(both.duet)
    w.requires_grad = True
    assert w.requires_grad is True
    loss = (w * torch.tensor([1.0, 2.0, 3.0])).sum()
    loss.backward()
    assert local(w.grad).tolist() == [1, 2, 3]
    assert local(w.data).tolist() == [1, 1, 1]
    w.grad = None
    w.data = torch.zeros(3)
    assert local(w).tolist() == [0, 0, 0]


def test_iteration_and_unpacking(both: Pair) -> None:
    x = torch.arange(3.0).send(both.duet)
    assert [local(item) for item in x] == [0, 1, 2]
    _, b, c = x
    assert local(b) == 1
    assert c.shape == ()
    with pytest.raises(TypeError):
        iter(c)


def test_python_scalars_have_operators(both: Pair) -> None:
    python = both.duet.python
    total = python.Float(0)
    x = torch.tensor([1.5, 2.5]).send(both.duet)
    for item in x:
        total += item.item()
    assert type(total).__name__ == "FloatPointer"
    assert local(total) == 4.0
    r, gamma = python.Float(1.0), 0.5
    assert local(r + gamma * total) == 3.0
    assert local(python.Int(7) // 2) == 3
    assert type(python.Int(7) / 2).__name__ == "FloatPointer"
    assert type(x.sum().item() > 3).__name__ == "BoolPointer"
    assert torch.equal(local(x * python.Float(2.0)), torch.tensor([3.0, 5.0]))
    assert torch.equal(local(python.Float(2.0) * x), torch.tensor([3.0, 5.0]))
    assert torch.equal(local(torch.ones(2) + python.Float(2.0)), torch.tensor([3.0, 3.0]))


def test_containers(both: Pair) -> None:
    items = both.duet.python.List([])
    x = torch.ones(2).send(both.duet)
    items.append(x)
    items.insert(0, x * 2)
    assert len(items) == 2
    assert items[1] is x
    assert local(torch.stack(tuple(items)).sum()) == 6
    assert local(both.duet.torch.stack(items).sum()) == 6
    assert [tuple(item.shape) for item in items] == [(2,), (2,)]
    with pytest.raises(IndexError):
        items[5]
    d = both.duet.python.Dict({"a": 1})
    d["b"] = x
    assert d["b"] is x
    assert list(d.keys()) == ["a", "b"]
    assert local(d["a"]) == 1


# what raises here


def test_what_needs_the_value_raises_here(both: Pair) -> None:
    x = both.share(AGES.float())
    sent = len(both.owner.commands)
    wrong: list[Any] = [
        lambda: bool(x),
        lambda: not x,
        lambda: 1 if x else 2,
        lambda: 3 in x,
        lambda: max(x.sum(), x.mean()),
        lambda: float(x),
        lambda: int(x),
        lambda: range(x),  # type: ignore[call-overload]
        lambda: f"{x:.2f}",
        lambda: np.asarray(x),
        lambda: x.numpy(),
        lambda: x.tolist(),
        lambda: pickle.dumps(x),
        lambda: torch.save(x, io.BytesIO()),
        lambda: copy.copy(x),
        lambda: copy.deepcopy([x]),
    ]
    for expression in wrong:
        with pytest.raises(PrivateValueError, match=r"owner's side"):
            expression()
    assert [c for c in both.owner.commands[sent:] if isinstance(c, Request)] == []


def test_unknown_names_say_the_nearest(both: Pair) -> None:
    x = both.share(AGES.float())
    with pytest.raises(NotAllowed, match="relu"):
        x.rellu()
    assert not hasattr(x, "storage")
    assert not hasattr(x, "data_ptr")
    with pytest.raises(NotAllowed):
        x.nonsense = 3
    with pytest.raises(NotAllowed, match="callable"):
        x.add(lambda: 1)


def test_a_shape_mistake_is_torchs_own_error_before_anything_is_sent(both: Pair) -> None:
    a, b = torch.ones(2, 3).send(both.duet), torch.ones(2, 3).send(both.duet)
    sent = len(both.owner.commands)
    with pytest.raises(RuntimeError, match=r"mat1 and mat2|cannot be multiplied|size mismatch"):
        a @ b
    assert len(both.owner.commands) == sent


def test_a_hidden_shape_says_how_to_ask(both: Pair) -> None:
    x = both.share(AGES.float())
    found = x[x > 30]
    with pytest.raises(HiddenShape, match="numel"):
        _ = found.shape
    assert "hidden" in repr(found)
    assert len(found) == 4  # one blocking request, which this owner accepts
    request, _ = both.owner.asked[-1]
    assert request.name == "len"
    assert request.limit_s == 25


# get and request


def test_get_gives_none_where_nothing_was_allowed() -> None:
    with pair(deny) as both:
        mean = both.share(AGES, "ages").float().mean()
        with pytest.raises(NotReleased, match="request_block"):
            mean.get()
        assert mean.get(request_block=True, name="loss", reason="why", timeout_secs=5) is None
        assert str(mean.last_request.status) == "Rejected"
        with pytest.raises(RequestDenied, match="not today"):
            mean.get(request_block=True, raises=True)
        both.duet.raise_on_denied = True
        with pytest.raises(RequestDenied):
            mean.get(request_block=True)
        with pytest.raises(RequestDenied):
            mean.get()
        request, _ = both.owner.asked[0]
        assert (request.name, request.reason, request.limit_s) == ("loss", "why", 5)


def test_get_gives_the_value_again_without_asking_again(both: Pair) -> None:
    mean = both.share(AGES).float().mean()
    assert mean.get(request_block=True, timeout_secs=5) == pytest.approx(46.8333, abs=1e-3)
    asked = len(both.owner.asked)
    assert mean.get() == pytest.approx(46.8333, abs=1e-3)
    assert mean.get_copy() == mean.get(request_block=True)
    assert len(both.owner.asked) == asked


def test_what_changed_must_be_asked_for_again(both: Pair) -> None:
    x = both.share(AGES).float().mean()
    x.get(request_block=True, timeout_secs=5)
    x.add_(1)
    with pytest.raises(NotReleased, match="changed since"):
        x.get()
    assert x.get(request_block=True, timeout_secs=5) == pytest.approx(47.8333, abs=1e-3)


def test_own_values_need_no_request(both: Pair) -> None:
    x = torch.ones(2).send(both.duet)
    assert (x + 1).get().tolist() == [2, 2]
    assert (x + 1).get(request_block=True).tolist() == [2, 2]
    assert both.duet.torch.device("cpu").type.get() == "cpu"
    assert both.owner.asked == []


def test_a_request_that_waits() -> None:
    with pair(wait) as both:
        mean = both.share(AGES).float().mean()
        request = mean.request(reason="first", name="mean")
        assert mean.request() is request
        assert len(both.duet.requests) == 1
        with pytest.raises(NotReleased, match="waiting"):
            mean.get()
        with pytest.raises(RequestExpired):
            request.wait(0.05)
        both.owner.decide_waiting("accept")
        assert str(request.wait(5)) == "Accepted"
        assert mean.check_access() is request.status
        assert mean.get() == pytest.approx(46.8333, abs=1e-3)
        assert len(both.duet.requests) == 0


def test_no_decision_in_time_is_none() -> None:
    with pair(lambda request, facts: "expire") as both:
        mean = both.share(AGES).float().mean()
        assert mean.get(request_block=True, timeout_secs=0) is None
        assert str(mean.last_request.status) == "Expired"
        with pytest.raises(RequestExpired):
            mean.get(request_block=True, timeout_secs=0.1, raises=True)


def test_an_owner_that_says_nothing_does_not_hang_the_scientist() -> None:
    with pair(wait) as both:
        mean = both.share(AGES).float().mean()
        assert mean.get(request_block=True, timeout_secs=0.05) is None
        assert str(mean.last_request.status) == "Expired"
        assert both.owner.waiting == {}  # it was withdrawn


def test_a_large_value_comes_as_a_blob(both: Pair) -> None:
    x = both.share(torch.randn(200, 50))
    value = (x * 1).get(request_block=True, timeout_secs=5)
    assert value.shape == (200, 50)
    value[0, 0] = 3.0  # owns its memory


def test_a_failure_is_never_none(both: Pair) -> None:
    x = torch.ones(3).send(both.duet)
    index = torch.tensor([5]).send(both.duet)
    bad = x.index_select(0, index)
    with pytest.raises(RemoteError, match=r"test_pointer\.py:\d+   bad = x\.index_select") as info:
        bad.sum().get(request_block=True, timeout_secs=5)
    assert info.value.op == "torch.Tensor.index_select"
    with pytest.raises(RemoteError):
        bad.get()


# own objects


def test_tag_and_describe_own_objects(both: Pair) -> None:
    x = torch.ones(2).tag("first").send(both.duet)
    assert x.tags == ["first"]
    assert x.tag("second") is x
    assert x.describe("text") is x
    note = both.owner.commands[-1]
    assert note == Note(x._id, ("second",), "text", True)
    owners = both.share(AGES)
    for refused in (lambda: owners.tag("x"), owners.delete, lambda: owners.describe("x")):
        with pytest.raises(WrongSide):
            refused()
    with pytest.raises(WrongSide):
        x.update_searchability(False)


def test_delete_and_delete_obj(both: Pair) -> None:
    x = torch.ones(2).send(both.duet)
    assert x.get(delete_obj=True).tolist() == [1, 1]
    with pytest.raises(PointerDeleted, match="delete"):
        x.get()
    with pytest.raises(PointerDeleted):
        x + 1
    assert both.owner.engine.store.find(x._id) is None


def test_delete_obj_changes_nothing_of_the_owners(
    both: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    ages = both.share(AGES)
    for _ in range(2):
        assert ages.get(request_block=True, delete_obj=True).tolist() == AGES.tolist()
    assert capsys.readouterr().out.count("no effect") == 1


def test_dead_pointers_are_deleted_in_batches(both: Pair) -> None:
    x = torch.ones(2).send(both.duet)
    for _ in range(100):
        x = x + 1
    del _
    gc.collect()
    both.duet._client.bury()
    deletions = [c for c in both.owner.commands if isinstance(c, Del)]
    assert sum(len(c.ids) for c in deletions) == 99
    assert len(both.owner.engine.store) == 2  # the listed one and the last sum


def test_a_listed_object_outlives_its_pointer(both: Pair) -> None:
    x = torch.ones(2).send(both.duet)
    y = torch.ones(2).send(both.duet, pointable=False)
    ids = x._id, y._id
    del x, y
    gc.collect()
    both.duet._client.bury()
    assert both.owner.engine.store.find(ids[0]) is not None
    assert both.owner.engine.store.find(ids[1]) is None


def test_print_shows_the_value_only_after_its_release(
    both: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = both.share(AGES).float().mean()
    sent = len(both.owner.commands)
    assert mean.print() is mean
    assert "not released" in capsys.readouterr().out
    assert len(both.owner.commands) == sent
    mean.request(name="mean", block=True)
    mean.print()
    assert "46.8" in capsys.readouterr().out


def test_request_config_names_the_request_of_len(both: Pair) -> None:
    found = both.share(AGES.float())
    few = found[found > 30]
    few.set_request_config({"name": "how_many", "reason": "loop", "timeout_secs": 3})
    assert few.get_request_config()["name"] == "how_many"
    assert len(few) == 4
    request, _ = both.owner.asked[-1]
    assert (request.name, request.reason, request.limit_s) == ("how_many", "loop", 3)


def test_pointers_are_keys_and_hash_by_identity(both: Pair) -> None:
    x = torch.ones(2).send(both.duet)
    y = x + 0
    held = {x: 1, y: 2}
    assert held[x] == 1
    assert held[y] == 2
    assert isinstance(x == y, Pointer)


def test_wrappers_are_plain_values_as_arguments(both: Pair) -> None:
    x = torch.ones(2).send(both.duet)
    assert (x * p.Float(2.0)).get().tolist() == [2, 2]
    n = p.Int(3).tag("n").send(both.duet)
    assert type(n).__name__ == "IntPointer"
    assert n.tags == ["n"]
    assert n.get() == 3


def test_an_unknown_kind_becomes_what_the_owners_side_tells(both: Pair) -> None:
    items = both.share([torch.ones(2, 3), 5])
    first, second = items
    assert type(first.resolve_pointer_type()).__name__ == "TensorPointer"
    assert first.shape == (2, 3)
    assert local(first.sum()) == 6
    assert local(second + 1) == 6
    data = both.duet.torch.utils.data
    pair_of = data.TensorDataset(both.share(torch.ones(4, 2)))[1]
    assert pair_of.resolve_pointer_type() is pair_of
    assert len(pair_of) == 1
    assert pair_of[0].shape == (2,)
