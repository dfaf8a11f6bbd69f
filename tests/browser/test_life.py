"""Sessions of a page over time: reloads, cuts, tabs, ends, and owners that break the rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.client_kit import Client, bare_pages, pair
from tests.browser.owner_kit import Owner

pytestmark = pytest.mark.slow  # a session for each test

SHARE = """
torch.tensor([1.0, 2.0, 6.0]).tag("x").send(duet)
duet.requests.add_handler(action="accept")
"""
MEAN = """(async () => {
  const x = session.pointer(session.store[0]);
  const {state, value} = await x.call('mean').request({reason: 'the mean'}).done;
  return [state, value?.scalar()];
})()"""


@pytest.fixture(scope="module")
def bare(signalling: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bare_pages(tmp_path_factory.mktemp("pages"), signalling) as url:
        yield url


@pytest.fixture
def context(chromium: Any) -> Iterator[Any]:
    made = chromium.new_context()
    yield made
    made.close()


@pytest.fixture
def client(context: Any, owner: Owner, bare: str, signalling: str) -> Iterator[Client]:
    made = Client(context.new_page(), bare)
    pair(owner, made, signalling, SHARE)
    yield made
    owner.run("duet.close()")


def state_is(client: Client, state: str) -> None:
    client.until(f"session.state === '{state}'")


def test_a_reload_goes_on_with_the_same_session(
    owner: Owner, client: Client, signalling: str
) -> None:
    assert client.run(MEAN) == ["released", 3.0]
    before = owner.run("duet.status()['links']")
    again = Client(client.page, client.url)  # the same tab
    assert again.client_id == client.client_id
    again.begin(owner.session_id, signalling)
    again.connected()
    assert again.run("session.store.map(({tags}) => tags)") == [["x"]]
    assert again.run(MEAN) == ["released", 3.0]
    assert owner.run("duet.status()['links']") == before + 1
    owner.run('torch.zeros(2).tag("later").send(duet)')
    again.until("session.store.length === 2")


def test_a_cut_connection_comes_back_and_nothing_is_lost_or_done_twice(
    owner: Owner, client: Client
) -> None:
    client.run(
        """(() => {
          globalThis.total = session.pointer(session.store[0]).call('clone');
          for (let i = 0; i < 10; i++) total.call('add_', [1]);
        })()"""
    )
    client.run("session.channels.fail(new duet.DuetError('ConnectionLost', 'cut')), 0")
    assert client.run("session.state") in ("open", "reconnecting")
    client.run("(() => { for (let i = 0; i < 10; i++) total.call('add_', [1]); })()")
    client.until("told.some(([, d]) => d?.state === 'reconnecting')")
    state_is(client, "open")
    value = client.run("total.request().done.then(({value}) => value.toNested())")
    assert value == [21.0, 22.0, 26.0]
    assert owner.run("duet.status()['links']") == 2


def test_names_that_the_owner_cannot_look_up_are_no_obstacle(
    context: Any, owner: Owner, bare: str, signalling: str
) -> None:
    """Where multicast is not let through, the browser's own checks reach the owner."""
    owner.run("from duet_p2p import limits\nkept, limits.MDNS_NAMES = limits.MDNS_NAMES, 0")
    try:
        made = Client(context.new_page(), bare)
        pair(owner, made, signalling, SHARE)
        own = made.run("session.channels.connection.localDescription.sdp")
        hosts = [line.split()[4] for line in own.splitlines() if " typ host" in line]
        assert hosts and all(host.endswith(".local") for host in hosts)
        assert made.run(MEAN) == ["released", 3.0]
    finally:
        owner.run("limits.MDNS_NAMES = kept\nduet.close()")


def test_a_second_tab_is_another_scientist_and_leaves_the_first_alone(
    owner: Owner, client: Client, context: Any, signalling: str
) -> None:
    second = Client(context.new_page(), client.url)
    assert second.client_id != client.client_id
    second.begin(owner.session_id, signalling)
    owner.expect(second.client_id)  # refused: the first one is pinned
    second.page.wait_for_timeout(1_000)
    assert second.run("session.state") == "connecting"
    assert client.run(MEAN) == ["released", 3.0]
    # a duplicated tab copies what a tab remembers, and gets a key of its own all the same
    label = client.run("sessionStorage.getItem('duet-tab')")
    third = context.new_page()
    third.add_init_script(f"sessionStorage.setItem('duet-tab', '{label}')")
    assert Client(third, client.url).client_id not in (client.client_id, second.client_id)


def test_the_key_cannot_leave_the_browser(client: Client) -> None:
    kept = client.run(
        """new Promise((resolve) => {
          const open = indexedDB.open('duet');
          open.onsuccess = () => {
            const all = open.result.transaction('keys').objectStore('keys').getAll();
            all.onsuccess = () => resolve(all.result.map(({pair}) => pair.privateKey.extractable));
          };
        })"""
    )
    assert kept and not any(kept)


def test_an_owner_that_leaves_is_told_as_that(owner: Owner, client: Client) -> None:
    waiting = client.run(
        "(globalThis.asked = session.pointer(session.store[0]).request({name: 'x'}), 0)"
    )
    assert waiting == 0
    client.run("asked.done.then(() => 0)")
    owner.run("duet.close()")
    state_is(client, "closed")
    [last] = [told for told in client.told("state") if told["state"] == "closed"]
    assert last["reason"].startswith("The partner left: ")
    code = client.run(
        "(() => { try { session.torch.call('zeros', [1]); } catch ({code}) { return code; } })()"
    )
    assert code == "PartnerLeft"


def test_a_page_that_leaves_says_goodbye(owner: Owner, client: Client) -> None:
    client.run("session.close()")
    state = owner.run(
        """
import time
deadline = time.monotonic() + 20
while duet.status()["state"] == "open" and time.monotonic() < deadline:
    time.sleep(0.01)
duet.status()["state"], duet.status()["error"]
"""
    )
    assert state[0] == "closed"


WRONG = {
    "bytes that are no msgpack": (0, b"\xc1"),
    "a value with a reference": (0, b"\x92\x02\x94\x24\x01\x81\xa1r\x01\xc0"),
    "a command": (0, b"\x92\x01\x92\x03\x91\x01"),
    "an answer with a gap": (0, b"\x92\x64\x92\x26\x01"),
    "an answer on the commands' channel": (1, b"\x92\x01\x92\x26\x01"),
    "an acknowledgement of what was not sent": (0, b"\x92\x00\x92\x40\x7f"),
    "a second Resume": (0, b"\x92\x00\x94\x45\x00\xc4\x10" + bytes(16) + b"\x90"),
    "a chunk without a header": (2, b"\x01"),
    "a chunk past its end": (2, b"\x01" + bytes(7) + b"\x01" + bytes(16) + b"x"),
    "a head of the audit log that it did not sign": (
        0,
        b"\x92\x02\x94\x30\xc4\x20"
        + (bytes(32) + b"\xc4\x21\x01" + bytes(32) + b"\xc4\x40" + bytes(64)),
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_owner_that_breaks_a_rule_ends_the_session_cleanly(
    owner: Owner, client: Client, what: str
) -> None:
    channel, frame = WRONG[what]
    owner.run(
        f"peer = duet._session._peer\n"
        f"duet._bridge.loop.call_soon_threadsafe(peer.send, {channel}, {frame!r})"
    )
    state_is(client, "closed")
    [last] = [told for told in client.told("state") if told["state"] == "closed"]
    assert last.get("reason"), what
    failed = [told for told in client.told("stage") if told["state"] == "failed"]
    assert failed == [] or failed[-1].get("remedy")
    assert client.complaints == []
