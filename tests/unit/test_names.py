from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F

from duet_p2p.surface.names import NAMES, name_of
from duet_p2p.surface.table import TABLE


class Spy:
    """Stands where a pointer will stand: records the names that torch hands over."""

    seen: ClassVar[list[str | None]] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> "Spy":
        cls.seen.append(name_of(func))
        return Spy()


SPY: Any = Spy()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: torch.relu(SPY), "torch.relu"),
        (lambda: torch.ones(2) + SPY, "torch.Tensor.add"),
        (lambda: torch.ones(2) @ SPY, "torch.Tensor.matmul"),
        (lambda: torch.ones(2).where(SPY, SPY), "torch.Tensor.where"),
        (lambda: F.conv2d(SPY, SPY), "torch.nn.functional.conv2d"),
        (lambda: torch.conv2d(SPY, SPY), "torch.nn.functional.conv2d"),
        (lambda: F.linear(SPY, SPY), "torch.nn.functional.linear"),
        (lambda: F.max_pool2d(SPY, 2), "torch.nn.functional.max_pool2d"),
        (lambda: F.log_softmax(SPY, dim=1), "torch.nn.functional.log_softmax"),
        (lambda: F.nll_loss(SPY, SPY), "torch.nn.functional.nll_loss"),
        (lambda: F.gelu(SPY), "torch.nn.functional.gelu"),
        (lambda: F.logsigmoid(SPY), "torch.nn.functional.logsigmoid"),
        (lambda: F.dropout(SPY, 0.5), "torch.nn.functional.dropout"),
        (lambda: torch._VF.lstm_cell(SPY, (SPY, SPY), SPY, SPY), "torch.lstm_cell"),  # type: ignore[attr-defined]
        (lambda: torch.nn.init.kaiming_uniform_(SPY, 1.0), "torch.nn.init.kaiming_uniform_"),
        (lambda: torch.flatten(SPY, 1), "torch.flatten"),
        (lambda: torch.cat([SPY, SPY]), "torch.cat"),
        (lambda: torch.split(SPY, 2), "torch.split"),
        (lambda: torch.einsum("i,i->", SPY, SPY), "torch.einsum"),
        (lambda: torch.linalg.norm(SPY), "torch.linalg.norm"),
        (lambda: torch.autograd.grad(SPY, SPY), "torch.autograd.grad"),
        (lambda: torch.ones(3).__setitem__(0, SPY), "torch.Tensor.__setitem__"),
        (lambda: torch.ones(3).index_fill_(0, SPY, 1), "torch.Tensor.index_fill_"),
        (lambda: torch.as_strided(SPY, (1,), (1,)), None),
    ],
)
def test_what_torch_hands_over_has_its_canonical_name(call: Any, name: str | None) -> None:
    Spy.seen.clear()
    call()
    assert Spy.seen == [name]


def test_properties_are_known_by_their_descriptors() -> None:
    assert name_of(torch.Tensor.grad.__get__) == "torch.Tensor.grad"
    assert name_of(torch.Tensor.grad.__set__) == "torch.Tensor.grad="
    assert name_of(torch.Tensor.shape.__get__) == "torch.Tensor.shape"


def test_what_is_not_offered_has_no_name() -> None:
    for func in (torch.load, torch.save, torch.Tensor.numpy, torch.Tensor.set_, print, 3, []):
        assert name_of(func) is None


def test_every_name_is_a_rule() -> None:
    assert set(NAMES.values()) <= set(TABLE)
    overridable = {n for n, rule in TABLE.items() if rule.form in ("function", "method", "inplace")}
    named = {
        n for n in overridable if n.startswith(("torch.nn.f", "torch.Tensor.", "torch.linalg."))
    }
    assert named <= set(NAMES.values())
