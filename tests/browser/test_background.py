"""A tab that nobody looks at: its timers are slowed down, and its session goes on all the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from duet_p2p import limits
from tests.browser.client_kit import Client, bare_pages, pair
from tests.browser.owner_kit import Owner, owner, signalling_server
from tests.browser.tab_kit import Tab, Window, window
from tests.browser.visit_kit import accept

pytestmark = pytest.mark.slow  # a session must be silent longer than one that is lost

SHARE = 'torch.tensor([1.0, 2.0, 6.0]).tag("x").send(duet)'
ASK = """(globalThis.asked = session.pointer(session.store[0]).call('mean')
  .request({name: 'mean', reason: 'while nobody looks'}), 0)"""
TICKS = "globalThis.ticks = 0; setInterval(() => { ticks += 1; }, 50); 0"
PAST_SILENCE_MS = (limits.PEER_LOST_SECONDS + 3) * 1000


@pytest.fixture(scope="module")
def opened() -> Iterator[Window]:
    with window() as made:
        yield made


@pytest.fixture(scope="module")
def signalling(opened: Window) -> Iterator[str]:
    with signalling_server() as url:
        yield url


@pytest.fixture(scope="module")
def owning(opened: Window, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owner]:
    with owner(tmp_path_factory.mktemp("owner")) as made:
        yield made


@pytest.fixture(scope="module")
def paired(
    opened: Window, owning: Owner, signalling: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Client, Tab]]:
    with bare_pages(tmp_path_factory.mktemp("pages"), signalling) as url:
        tab = opened.tab()
        client = Client(tab, url)
        pair(owning, client, signalling, SHARE)
        tab.evaluate(TICKS)
        yield client, tab
        owning.run("duet.close()")


def test_a_hidden_tab_keeps_its_session_and_hears_of_decisions(
    opened: Window, owning: Owner, paired: tuple[Client, Tab]
) -> None:
    client, tab = paired
    tab.to_front()
    other = opened.tab()
    client.until("document.visibilityState === 'hidden'")
    before = client.run("ticks")
    tab.wait_for_timeout(PAST_SILENCE_MS)
    slowed = client.run("ticks") - before
    assert 0 < slowed < PAST_SILENCE_MS / 50 / 5, "the browser did not slow it down"
    assert client.run("session.state") == "open"
    client.run(ASK)
    accept(owning)
    answer = client.run("asked.done.then(({state, value}) => [state, value.scalar()])")
    assert answer == ["released", 3.0]
    status = owning.run("(duet.status()['state'], duet.status()['links'])")
    assert status == ("open", 1), "it was lost and came back"
    other.send("Page.close")


def test_a_frozen_tab_comes_back_to_its_session_by_itself(
    owning: Owner, paired: tuple[Client, Tab]
) -> None:
    client, tab = paired
    tab.to_front()
    client.run("(globalThis.counted = session.pointer(session.store[0]).call('clone'), 0)")
    tab.freeze()
    owning.run(
        "deadline = time.monotonic() + 40\n"
        "while duet.status()['state'] == 'open':\n"
        "    assert time.monotonic() < deadline\n"
        "    time.sleep(0.05)",
    )
    owning.run("torch.zeros(2).tag('while it slept').send(duet)")
    tab.thaw()
    client.until("session.state === 'open' && session.store.length === 2")
    client.run("(globalThis.asked = counted.call('sum').request({name: 'sum'}), 0)")
    accept(owning)
    assert client.run("asked.done.then(({state, value}) => [state, value.scalar()])") == [
        "released",
        9.0,
    ]
    assert owning.run("duet.status()['links']") == 2
