"""A command that ended while it was played goes on in the ordinary way."""

import logging

import pytest

from duet_p2p.engine.call import RepeatedCall
from duet_p2p.engine.played import Halt, Optimizing, ended
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Ref

STEP = Op("torch.optim.Optimizer.step", (), (Ref(1),), {}, "g")


@pytest.fixture
def command() -> Optimizing:
    return Optimizing(RepeatedCall(STEP), {}, 1, "")


def test_what_was_not_called_is_called_there(command: Optimizing) -> None:
    assert ended(command, Halt(None)) is None


def test_what_was_called_is_not_called_again(command: Optimizing) -> None:
    call = ended(command, Halt(lambda *_: "done"))
    assert call is not None
    assert (call.op, call.function(None)) == (STEP, "done")


def test_a_mistake_of_ours_is_logged_and_fails_like_the_call(
    command: Optimizing, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "duet_p2p.engine"):
        call = ended(command, KeyError("ours"))
    assert "the engine failed in torch.optim.Optimizer.step" in caplog.text
    assert call is not None
    with pytest.raises(KeyError, match="ours"):
        call.function(None)
