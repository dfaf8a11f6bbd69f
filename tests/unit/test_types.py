from collections import OrderedDict

import pytest
import torch

from duet_p2p.surface.callables import CALLABLES
from duet_p2p.surface.types import TYPES, is_subtype, number_type, resolve, type_name_of

PARAMETER = torch.nn.Parameter(torch.zeros(2))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (torch.zeros(1), "torch.Tensor"),
        (PARAMETER, "torch.nn.Parameter"),
        (torch.Size([1]), "torch.Size"),
        (torch.device("cpu"), "torch.device"),
        (torch.float32, "torch.dtype"),
        (None, "python.NoneType"),
        (True, "python.Bool"),
        (1, "python.Int"),
        (1.0, "python.Float"),
        (1j, "python.Complex"),
        ("a", "python.String"),
        ([], "python.List"),
        ((), "python.Tuple"),
        (torch.zeros(2).max(0), "python.Tuple"),
        ({}, "python.Dict"),
        (OrderedDict(), "python.OrderedDict"),
        (set(), "python.Set"),
        (range(2), "python.Range"),
        (slice(1), "python.Slice"),
        (torch.optim.Adam([PARAMETER]), "torch.optim.Adam"),
        (torch.utils.data.TensorDataset(torch.zeros(2)), "torch.utils.data.TensorDataset"),
        (torch.distributions.Normal(0.0, 1.0), "torch.distributions.Normal"),
        (object(), "python.Any"),
    ],
)
def test_each_kind_of_value_has_its_type_name(value: object, name: str) -> None:
    assert type_name_of(value) == name
    assert name in TYPES


def test_a_type_resolves_methods_of_its_bases() -> None:
    assert resolve("torch.optim.Adam", "step") == "torch.optim.Optimizer.step"
    assert resolve("torch.Tensor", "relu") == "torch.Tensor.relu"
    assert resolve("torch.nn.Parameter", "grad=") == "torch.Tensor.grad="
    assert resolve("torchvision.datasets.MNIST", "__len__") == "torch.utils.data.Dataset.__len__"
    assert resolve("python.Bool", "__iadd__") == "python.Int.__iadd__"
    assert resolve("python.OrderedDict", "keys") == "python.OrderedDict.keys"
    assert resolve("torch.nn.Module", "keys") == "python.OrderedDict.keys"
    assert (
        resolve("torch.optim.lr_scheduler.StepLR", "step")
        == "torch.optim.lr_scheduler.LRScheduler.step"
    )


def test_what_is_not_offered_does_not_resolve() -> None:
    assert resolve("torch.Tensor", "numpy") is None
    assert resolve("torch.Tensor", "__class__") is None
    assert resolve("no.such.Type", "step") is None


def test_every_base_is_a_type_and_every_constructor_has_one() -> None:
    for known in TYPES.values():
        assert all(base in TYPES for base in known.bases)
    assert is_subtype("torch.optim.SGD", "torch.optim.Optimizer")
    assert not is_subtype("torch.optim.Optimizer", "torch.optim.SGD")


OPERANDS = [True, 3, 2.5, 1 + 2j, torch.ones(2)]
BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift"]
TYPE_OF = {bool: "Bool", int: "Int", float: "Float", complex: "Complex"}


@pytest.mark.parametrize("operator", [*BINARY, "eq", "lt"])
@pytest.mark.parametrize("reflected", ["", "r"])
def test_number_type_tells_what_the_operator_really_gives(operator: str, reflected: str) -> None:
    tried = 0
    for left in OPERANDS[:4]:
        for right in OPERANDS:
            short = f"__{reflected}{operator}__"
            call = CALLABLES.get(f"python.{TYPE_OF[type(left)]}.{short}")
            if call is None:
                continue
            try:
                result = call(left, right)
            except (TypeError, RuntimeError):
                continue  # not defined for these operands
            expected = number_type(short, (left, right))
            tried += 1
            assert expected in ("python.Any", type_name_of(result)), (left, short, right)
    assert tried or (reflected and operator in ("eq", "lt"))
