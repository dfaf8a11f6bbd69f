"""A malicious relay between a page and a real owner: the page opens nothing, and says so.

The attacks are those of tests/security/test_relay_webrtc.py, which also has the controls that show
that the same relay does read along where one check is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from duet_p2p.identity.keys import Key
from duet_p2p.protocol.bodies import Sdp, parse_body
from tests.browser.client_kit import Client, bare_pages
from tests.browser.owner_kit import Owner
from tests.security.malicious_relay import DuetWire, MaliciousRelay, ManInTheMiddle, Posted
from tests.security.test_relay_webrtc import SDP_ATTACKS

MALLORY = Key.fresh("owner")
QUICK = ("key and signature", "fingerprint everywhere", "candidates", "old version")
DROPPED = ("no signature", "cut signature", "two keys")  # no messages at all
COUNTED = """
globalThis.connections = 0;
globalThis.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...options) { super(...options); globalThis.connections += 1; }
};
"""


class Switched(MaliciousRelay):
    """Does to offers what the present attack says, five times at once."""

    attack: Callable[[Any], bytes] | None = None

    async def on_body(self, sender: str, to: str, body: bytes) -> Iterable[Posted]:
        message = parse_body(body)
        if self.attack is None or not isinstance(message, Sdp) or message.kind != "offer":
            return [(sender, to, body)]
        return [(sender, to, self.attack(message))] * 5


@contextmanager
def running(relay: MaliciousRelay) -> Iterator[MaliciousRelay]:
    """`malicious_relay.running` for tests without a loop."""
    relay._thread.start()
    assert relay._started.wait(10)
    yield relay
    assert relay._loop is not None and relay._stop is not None
    relay._loop.call_soon_threadsafe(relay._stop.set)
    relay._thread.join(10)
    assert not relay._thread.is_alive()


@pytest.fixture(scope="module")
def bare(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with bare_pages(tmp_path_factory.mktemp("pages"), "http://127.0.0.1:1") as url:
        yield url


@pytest.fixture(scope="module")
def relay() -> Iterator[Switched]:
    with running(Switched()) as found:
        assert isinstance(found, Switched)
        yield found


@pytest.fixture(scope="module")
def session_id(owner: Owner, relay: Switched) -> str:
    """One session for all attacks; it waits for each page in turn."""
    return owner.launch(relay.url)


@contextmanager
def victim(chromium: Any, bare: str) -> Iterator[Client]:
    context = chromium.new_context()
    page = context.new_page()
    page.add_init_script(COUNTED)
    yield Client(page, bare)
    context.close()


def outcome(client: Client) -> str:
    """The code with which the page gave up."""
    return str(client.run("connecting.then(() => 'opened', ({code}) => code)"))


@pytest.mark.parametrize(
    "name",
    [
        *QUICK,
        *(pytest.param(n, marks=pytest.mark.slow) for n in SDP_ATTACKS if n not in QUICK),
    ],
)
def test_a_changed_offer_opens_nothing_and_not_a_packet_goes_out(
    chromium: Any, bare: str, owner: Owner, relay: Switched, session_id: str, name: str
) -> None:
    relay.attack = SDP_ATTACKS[name].change
    with victim(chromium, bare) as client:
        client.begin(session_id, relay.url)
        owner.expect(client.client_id)
        if name in DROPPED:
            client.page.wait_for_timeout(1_500)
            assert client.run("session.state") == "connecting"
        else:
            assert outcome(client) == "PeerProofError"
            assert client.run("session.state") == "closed"
            failed = client.told("stage")[-1]
            assert failed["state"] == "failed"
            assert failed["message"] == "Messages in your partner's name fail verification."
            assert "another signalling server" in failed["remedy"]
        assert client.run("connections") == 0
        assert client.run("session.store") == []
    assert owner.run("duet.status()['state']") == "connecting"


def test_a_relay_that_passes_everything_on_is_used(
    chromium: Any, bare: str, owner: Owner, relay: Switched
) -> None:
    """The control: with the same relay, the same page does connect."""
    relay.attack = None
    with victim(chromium, bare) as client:
        session_id = owner.launch(relay.url)
        client.begin(session_id, relay.url)
        owner.expect(client.client_id)
        client.connected()
        assert client.run("connections") == 1
        client.run("session.close()")
    owner.run("duet.close()")


@pytest.mark.parametrize("sign", ["kept", "by Mallory", "Mallory's key"])
def test_a_relay_with_ends_of_its_own_reads_nothing(
    chromium: Any, bare: str, owner: Owner, sign: str
) -> None:
    """It hopes to end the encryption itself, towards both sides."""

    def forge(message: Sdp) -> Sdp:
        if sign == "kept":
            return message
        changed = replace(message, pub=MALLORY.pub) if sign == "Mallory's key" else message
        return replace(changed, sig=MALLORY.sign(changed.signed()))

    with running(ManInTheMiddle(DuetWire(forge), kinds=["offer"])) as relay:
        assert isinstance(relay, ManInTheMiddle)
        session_id = owner.launch(relay.url)
        with victim(chromium, bare) as client:
            client.begin(session_id, relay.url)
            owner.expect(client.client_id)
            client.page.wait_for_function("told.some(([, d]) => d.kind === 'rejected')")
            assert client.run("[connections, session.state]") == [0, "connecting"]
        assert relay.read == [] and relay.open == 0
        owner.run("duet.close()")


def test_a_server_that_calls_itself_by_another_name_gets_no_registration(
    chromium: Any, bare: str
) -> None:
    class Other(MaliciousRelay):
        async def on_hello(self) -> Any:
            hello = await super().on_hello()
            return msgspec.structs.replace(hello, origin="https://sig.example.org")

    with running(Other()) as relay, victim(chromium, bare) as client:
        client.begin("SGX2NCYHG6RXHHGMFG3GD2RPQ8KDAEZ0", relay.url)
        assert outcome(client) == "OriginMismatch"
        assert relay.registered == []
