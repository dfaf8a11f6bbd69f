"""Bars of the scientist's side: in notebooks, for what takes long, drawn away from the loop."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
import torch

from duet_p2p import limits
from duet_p2p.scientist import progress
from tests.unit.scientist_kit import accept, pair


class Bars:
    """Stands for tqdm and keeps what was drawn."""

    def __init__(self):
        self.made = []

    def __call__(self, batches=None, **options):
        self.made.append(SimpleNamespace(n=0, is_closed=False, **options))
        bar = self.made[-1]

        def update(more):
            bar.n += more
            bar.thread = threading.current_thread().name

        def close():
            bar.is_closed = True

        bar.update, bar.close = update, close
        return bar if batches is None else iter(batches)


@pytest.fixture
def bars(monkeypatch):
    made = Bars()
    monkeypatch.setattr(progress, "_tqdm", lambda: made)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(limits, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr(limits, "PANEL_SECONDS", 0.0)
    return made


CLIENT = SimpleNamespace(
    shows_progress=True,
    bridge=SimpleNamespace(callback_thread=SimpleNamespace(tell=lambda fn, *a: fn(*a))),
)


def test_a_transfer_is_drawn_until_it_is_over(bars):
    bar = progress.transfer_bar(CLIENT, "sending", limits.PROGRESS_BYTES)
    for done in (10, 500, limits.PROGRESS_BYTES):
        bar(done, limits.PROGRESS_BYTES)
    (drawn,) = bars.made
    assert (drawn.total, drawn.n, drawn.desc) == (limits.PROGRESS_BYTES,) * 2 + ("sending",)
    assert drawn.is_closed


def test_what_is_small_or_fast_has_no_bar(bars, monkeypatch):
    assert progress.transfer_bar(CLIENT, "sending", limits.PROGRESS_BYTES - 1) is None
    monkeypatch.setattr(limits, "PROGRESS_SECONDS", 60.0)
    bar = progress.transfer_bar(CLIENT, "sending", limits.PROGRESS_BYTES)
    bar(5, limits.PROGRESS_BYTES)
    bar(limits.PROGRESS_BYTES, limits.PROGRESS_BYTES)
    assert bars.made == []


def test_in_a_script_and_with_logging_off_nothing_is_drawn(bars, monkeypatch):
    silent = SimpleNamespace(shows_progress=False, bridge=CLIENT.bridge)
    assert progress.transfer_bar(silent, "sending", limits.PROGRESS_BYTES) is None
    batches = iter([1, 2])
    assert progress.pass_bar(silent, batches, 2) is batches
    monkeypatch.setattr(progress, "in_notebook", lambda: False)
    assert progress.transfer_bar(CLIENT, "sending", limits.PROGRESS_BYTES) is None
    assert progress.pass_bar(CLIENT, batches, 2) is batches
    assert bars.made == []


def test_a_pass_over_a_loader_has_a_bar_and_the_same_batches(bars):
    with pair(accept) as made:
        data = made.duet.torch.utils.data
        loader = data.DataLoader(data.TensorDataset(made.share(torch.arange(5))), batch_size=2)
        assert [b[0].get(request_block=True).tolist() for b in loader] == [[0, 1], [2, 3], [4]]
        assert len(list(loader.take(2))) == 2
    assert [(bar.total, bar.unit) for bar in bars.made] == [(3, "batch"), (2, "batch")]


def test_a_large_value_is_drawn_on_the_callback_thread(bars):
    with pair(accept) as made:
        reported = []

        def expect(transfer, nbytes, bar=None, into=None):
            async def arrive():
                for done in (1, nbytes):
                    bar(done, nbytes)
                    reported.append(threading.current_thread().name)
                    await asyncio.sleep(0)
                return made.link.blobs.pop(transfer)

            return asyncio.ensure_future(arrive())

        made.link.expect_blob = expect
        value = made.share(torch.zeros(limits.PROGRESS_BYTES // 4 + 1)).get(request_block=True)
        assert value.numel() == limits.PROGRESS_BYTES // 4 + 1
        callbacks = made.link.bridge.callback_thread
        callbacks.close()
    (drawn,) = bars.made
    assert drawn.desc == "receiving" and drawn.is_closed
    assert drawn.thread not in reported
