"""The owner's side with the engine in a process of its own: it can die, and comes back."""

import logging
import os
import signal

import pytest
import torch

from duet_p2p.engine.host import ProcessHost
from duet_p2p.session.bridge import Bridge
from duet_p2p.wire import messages as wire
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.values import Blob, Ref, Span, TensorData
from tests.unit.owner_kit import DEADLINE, owner_on

X = torch.arange(100_000, dtype=torch.float32)


async def made_on_loop():
    return ProcessHost()


@pytest.fixture
def pair():
    bridge = Bridge("owner process")
    host = bridge.call(made_on_loop(), DEADLINE)
    duet, scientist = owner_on(bridge, host=host, limits={"upload_bytes": 1_000})
    yield duet, scientist
    duet.close()
    bridge.close()


def test_a_killed_engine_comes_back_with_what_the_owner_shared(pair):
    duet, scientist = pair
    pointer = duet.send(X, tags=["x"])
    scientist.op("torch.Tensor.mean", 1, Ref(-1))
    call = scientist.request(1, name="mean")
    scientist.wait_for(lambda: len(duet.requests.requests) == 1)  # a look at all
    (waiting,) = duet.requests
    killed = duet.status()["engine"]["pid"]
    os.kill(killed, signal.SIGKILL)
    scientist.wait_for(
        lambda: [m for m in scientist.session.posted if isinstance(m, wire.EngineRestarted)]
    )
    assert waiting.status == "Expired"
    assert duet.is_open
    assert duet.status()["engine"]["pid"] != killed
    assert not [m for m in scientist.session.posted if getattr(m, "call", 0) == call]
    assert scientist.get(1).state == "unknown"
    scientist.op("torch.Tensor.mean", 2, Ref(-1))
    call = scientist.request(2, name="mean")
    scientist.wait_for(lambda: len(duet.requests.requests) == 1)  # a look at all
    duet.requests[0].accept()
    assert scientist.value(call).item() == pytest.approx(X.mean().item())
    assert torch.equal(pointer.get(), X)
    assert duet.errors[-1].code == "Died"


def test_a_large_value_leaves_by_the_bulk_channel(pair):
    duet, scientist = pair
    duet.send(X, tags=["x"])
    call = scientist.request(-1)
    scientist.wait_for(lambda: len(duet.requests.requests) == 1)  # a look at all
    assert torch.equal(duet.requests[0].value, X)
    duet.requests[0].accept()
    assert scientist.answer(call).blob.nbytes == X.numel() * 4
    assert torch.equal(scientist.value(call), X)
    again = scientist.get(-1)
    assert isinstance(again, wire.Value)


def test_an_upload_beyond_the_quota_fails_alone(pair):
    duet, scientist = pair
    small = TensorData("uint8", (1_000,), Span(0, 1_000))
    large = TensorData("uint8", (1_001,), Span(0, 1_001))
    scientist.send(
        wire.Put((1,), (large,), Blob(1, 1_001)),
        wire.Put((2,), (small,), Blob(2, 1_000)),
    )

    async def arrive():
        scientist.session.expected[2].set_result(memoryview(bytes(1_000)))

    scientist.bridge.call(arrive(), DEADLINE)
    assert isinstance(scientist.get(1), wire.Failed)
    assert isinstance(scientist.get(2), wire.Value)
    assert scientist.session.refused == [1]
    (fail,) = [m for m in scientist.session.posted if isinstance(m, wire.Fail)]
    assert (fail.seq, fail.code) == (1, "QuotaExceeded")
    assert duet.is_open


def test_directories_can_be_registered_while_it_runs(pair, tmp_path):
    duet, scientist = pair
    scientist.op("torchvision.datasets.MNIST", 1, "digits", train=True)
    scientist.wait_for(lambda: duet.errors)
    duet.data.register("digits", tmp_path)
    duet.send(X, tags=["x"])
    scientist.op("torch.Tensor.mean", 2, Ref(-1))
    assert scientist.get(2).state == "never"


def test_what_the_engine_says_on_its_terminal_is_in_the_owners_log_alone(pair, caplog):
    """Torch warns in words that hold how many records are below 37."""
    caplog.set_level(logging.INFO, "duet_p2p.engine")
    duet, scientist = pair
    duet.send(X, tags=["x"])
    scientist.op("torch.Tensor.__lt__", 11, Ref(-1), 37.0)
    scientist.op("torch.Tensor.__getitem__", 12, Ref(-1), Ref(11))
    scientist.op("torch.Tensor.unsqueeze", 13, Ref(12), 0)
    scientist.op("torch.nn.functional.mse_loss", 14, Ref(12), Ref(13))
    assert scientist.get(14).state == "never"
    scientist.wait_for(lambda: "target size (torch.Size([1, 37]))" in caplog.text)
    assert not any(b"target" in encode_message(m) for m in scientist.session.posted)
