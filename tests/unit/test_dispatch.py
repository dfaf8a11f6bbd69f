from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from duet_p2p.errors import ForeignPointer, NotAllowed, PointerDeleted, TensorTooLarge
from duet_p2p.limits import AUTO_UPLOAD_BYTES, INLINE_TENSOR_BYTES
from duet_p2p.wire.messages import Op, Put
from duet_p2p.wire.values import Ref, TensorData

from .scientist_kit import Pair, pair


@pytest.fixture
def both() -> Iterator[Pair]:
    with pair() as made:
        yield made


def last_op(both: Pair) -> Op:
    return [c for c in both.owner.commands if isinstance(c, Op)][-1]


def test_one_call_is_one_command(both: Pair) -> None:
    x = torch.ones(1, 1, 4, 4).send(both.duet)
    before = len(both.owner.commands)
    F.conv2d(x, torch.ones(1, 1, 3, 3), padding=1)
    assert [c.name for c in both.owner.commands[before:]] == ["torch.nn.functional.conv2d"]
    op = last_op(both)
    assert op.args[0] == Ref(x._id)
    assert isinstance(op.args[1], TensorData)
    assert op.kwargs == {"padding": 1}
    assert len(op.outs) == 1
    assert op.mode == "g"


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda x: torch.relu(x), "torch.relu"),
        (lambda x: F.relu(x), "torch.nn.functional.relu"),
        (lambda x: x.relu(), "torch.Tensor.relu"),
        (lambda x: x + 1, "torch.Tensor.__add__"),
        (lambda x: torch.ones(()) + x, "torch.Tensor.add"),
        (lambda x: 1 - x, "torch.Tensor.__rsub__"),
        (lambda x: x[0], "torch.Tensor.__getitem__"),
        (lambda x: F.dropout(x, 0.5, training=False), "torch.nn.functional.dropout"),
        (lambda x: F.max_pool2d(x[None, None], 2), "torch.nn.functional.max_pool2d"),
        (lambda x: nn.functional.log_softmax(x, dim=1), "torch.nn.functional.log_softmax"),
        (lambda x: torch.linalg.norm(x), "torch.linalg.norm"),
        (lambda x: nn.init.kaiming_uniform_(x), "torch.nn.init.kaiming_uniform_"),
    ],
)
def test_names(both: Pair, call: object, name: str) -> None:
    x = torch.ones(2, 2).send(both.duet)
    call(x)  # type: ignore[operator]
    assert last_op(both).name == name
    assert both.owner.failures == []


def test_containers_slices_and_keywords_are_searched_for_pointers(both: Pair) -> None:
    x = torch.arange(6.0).send(both.duet)
    n = both.duet.python.Int(2)
    x[n:5]
    assert last_op(both).args[1] == slice(Ref(n._id), 5, None)
    torch.stack([x, torch.zeros(6)], dim=0)
    assert last_op(both).args[0][0] == Ref(x._id)
    torch.add(input=x, other=x)
    assert last_op(both).kwargs == {"input": Ref(x._id), "other": Ref(x._id)}


def test_a_small_tensor_goes_inline_a_larger_one_is_uploaded_once(both: Pair) -> None:
    x = torch.ones(64, 64).send(both.duet)
    small = torch.ones(INLINE_TENSOR_BYTES // 4 // 64 - 1, 64)
    F.linear(small, x)
    assert isinstance(last_op(both).args[0], TensorData)
    larger = torch.ones(64, 64)
    x + larger
    x * larger
    puts = [c for c in both.owner.commands if isinstance(c, Put) and not c.listed]
    assert len(puts) == 1
    ref = last_op(both).args[1]
    assert ref == Ref(puts[0].outs[0])
    larger.add_(1)
    total = (x * larger).sum()
    assert total.get() == 2 * 64 * 64
    puts = [c for c in both.owner.commands if isinstance(c, Put) and not c.listed]
    assert len(puts) == 2


def test_a_large_tensor_must_be_sent_on_purpose(both: Pair) -> None:
    x = torch.ones(()).send(both.duet)
    fits = torch.ones(AUTO_UPLOAD_BYTES - 1, dtype=torch.uint8)
    assert (x + fits).shape == fits.shape
    with pytest.raises(TensorTooLarge, match=r"\.send\(duet\)"):
        x + torch.ones(AUTO_UPLOAD_BYTES, dtype=torch.uint8)


def test_pointers_of_two_sessions_cannot_meet(both: Pair) -> None:
    with pair(peer="S-other") as other:
        a, b = torch.ones(2).send(both.duet), torch.ones(2).send(other.duet)
        with pytest.raises(ForeignPointer, match="S-other"):
            a + b
        with pytest.raises(ForeignPointer):
            torch.stack([b, a])


def test_what_does_not_travel_is_refused_here(both: Pair) -> None:
    x = torch.ones(2).send(both.duet)
    sent = len(both.owner.commands)
    for wrong in (lambda: 1, print, nn.Linear(1, 1), np.ones(2), object()):
        with pytest.raises(NotAllowed):
            x.add(wrong)
    for refused in (
        lambda: both.duet.send(np.ones(2)),
        lambda: both.duet.send(object()),
        lambda: both.duet.send(torch.eye(2).to_sparse()),
    ):
        with pytest.raises(NotAllowed):
            refused()
    with pytest.raises(NotAllowed, match="not on the surface"):
        both.duet._client.call("torch.load", "x")
    assert len(both.owner.commands) == sent


def adds(own: torch.Tensor, x: Any) -> None:
    own.add_(x)


def copies(own: torch.Tensor, x: Any) -> None:
    own.copy_(x)


def sets(own: torch.Tensor, x: Any) -> None:
    own[0] = x[0]


def adds_to_a_part(own: torch.Tensor, x: Any) -> None:
    own[0] += x[0]


def adds_rows(own: torch.Tensor, x: Any) -> None:
    own.index_add_(0, torch.arange(2), x)


def keeps_statistics(own: torch.Tensor, x: Any) -> Any:
    return nn.BatchNorm1d(2)(x)


def only_shows(own: torch.Tensor, x: Any) -> None:
    exec(compile("own.add_(x)", "<cell>", "single"), {"own": own, "x": x})


@pytest.mark.parametrize(
    "write",
    [adds, copies, sets, adds_to_a_part, adds_rows, keeps_statistics, only_shows],
)
def test_a_tensor_of_this_side_is_not_written_to_over_there(both: Pair, write: Any) -> None:
    own, x = torch.zeros(2, 2), torch.ones(2, 2).send(both.duet)
    with pytest.raises(NotAllowed, match=r"tensor of this side.*send\(duet\)"):
        write(own, x)


def test_an_augmented_assignment_puts_a_pointer_in_place_of_a_tensor(both: Pair) -> None:
    total, x = torch.zeros(2, 2), torch.ones(2, 2).send(both.duet)
    total += x
    total *= 3
    total -= 1
    assert torch.equal(total.get(request_block=True), torch.full((2, 2), 2.0))


def test_a_tensor_made_to_be_written_to_once_becomes_a_pointer(both: Pair) -> None:
    classes = torch.tensor([[1], [0]]).send(both.duet)
    hot = torch.zeros(2, 2).scatter_(1, classes, 1.0)
    assert torch.equal(hot.get(request_block=True), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))


def test_a_deleted_pointer_says_what_deleted_it(both: Pair) -> None:
    x = torch.ones(2).send(both.duet)
    x.delete()
    with pytest.raises(PointerDeleted, match=r"\.delete\(\)"):
        torch.relu(x)


def test_the_grad_mode_travels(both: Pair) -> None:
    x = torch.ones(2).send(both.duet)
    with torch.no_grad():
        x + 1
        assert last_op(both).mode == "n"
        with torch.enable_grad():
            x + 1
            assert last_op(both).mode == "g"
    with torch.inference_mode():
        x + 1
        assert last_op(both).mode == "i"


@pytest.mark.parametrize(
    "value",
    [
        None, True, 5, 2**80, 0.5, 1j, "text", [1, [2.0]], (1, "a"), {"a": 1}, {1, 2}, range(3),
        OrderedDict(a=1), slice(1, 2), torch.ones(2), torch.ones(100, 100), [torch.ones(3), 1],
        torch.tensor(3), torch.ones(0, 2), torch.ones(2, dtype=torch.bfloat16),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_sent_comes_back(both: Pair, value: object) -> None:
    pointer = both.duet.send(value)
    back = pointer.get()
    if isinstance(value, torch.Tensor):
        assert back.dtype == value.dtype
        assert torch.equal(back, value)
    elif isinstance(value, list) and isinstance(value[0], torch.Tensor):
        assert torch.equal(back[0], value[0])
    else:
        assert back == value
        assert type(back) is type(value)


def test_requires_grad_comes_back_with_a_leaf(both: Pair) -> None:
    x = torch.ones(2, requires_grad=True).send(both.duet)
    assert x.requires_grad is True
    back = x.get()
    assert back.is_leaf
    assert back.requires_grad is True
