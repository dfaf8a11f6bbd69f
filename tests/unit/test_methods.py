import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from duet_p2p import methods
from duet_p2p.objects import notes


class Duet:
    """Records what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, dict[str, Any]]] = []

    def send(self, obj: Any, **options: Any) -> str:
        self.sent.append((obj, options))
        return "pointer"


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    methods.install_methods()
    yield
    methods.install_methods()


def test_a_tensor_is_tagged_described_and_sent() -> None:
    duet, x = Duet(), torch.ones(2)
    assert x.tag("a").describe("d").send(duet, pointable=False) == "pointer"
    obj, options = duet.sent[0]
    assert obj is x
    assert options["pointable"] is False
    assert notes.tags_of(x) == ("a",)


def test_a_module_is_sent_and_stays_a_module() -> None:
    duet, module = Duet(), nn.Linear(1, 1)
    module.send(duet, tags=["net"])
    assert duet.sent == [(module, {"tags": ["net"]})]
    module.send(duet, send_parameters=False)
    assert duet.sent[1][1] == {"send_parameters": False}


def test_a_child_called_send_hides_the_method() -> None:
    class Mailer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.send = nn.Linear(2, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.send(x)

    mailer = Mailer()
    assert mailer(torch.ones(1, 2)).shape == (1, 3)
    assert "send.weight" in mailer.state_dict()
    assert copy.deepcopy(mailer)(torch.ones(1, 2)).shape == (1, 3)


@pytest.mark.parametrize("register", ["register_parameter", "register_buffer", "add_module"])
def test_send_can_be_registered(register: str) -> None:
    value = {"add_module": nn.ReLU(), "register_buffer": torch.ones(1)}.get(
        register, nn.Parameter(torch.ones(1))
    )
    module = nn.Module()
    getattr(module, register)("send", value)
    assert module.send is value


def test_removing_takes_off_what_was_put_there_and_nothing_else() -> None:
    methods.remove_methods()
    assert not hasattr(torch.Tensor, "tag")
    assert not hasattr(torch.Tensor, "send")
    assert not hasattr(nn.Module, "send")
    methods.remove_methods()
    methods.install_methods()
    assert hasattr(torch.Tensor, "describe")


def test_a_name_of_somebody_else_is_left_alone_with_a_warning() -> None:
    methods.remove_methods()
    torch.Tensor.tag = lambda self: "theirs"  # type: ignore[assignment,attr-defined]
    try:
        with pytest.warns(UserWarning, match=r"Tensor\.tag exists already"):
            methods.install_methods()
        assert torch.ones(1).tag() == "theirs"
        assert hasattr(torch.Tensor, "send")
        methods.remove_methods()
        assert torch.ones(1).tag() == "theirs"
    finally:
        del torch.Tensor.tag


def test_installing_twice_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        methods.install_methods()
