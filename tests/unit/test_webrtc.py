"""Two real peers on loopback: how they meet, and how an attempt ends."""

import asyncio
import socket
from dataclasses import replace
from typing import Any

import pytest

from duet_p2p import limits
from duet_p2p.errors import ConnectFailed, ConnectionLost
from duet_p2p.transport.base import Candidate, Channel, PeerFactory
from duet_p2p.transport.sctp.transport import FastSctpTransport
from duet_p2p.transport.webrtc import WebRtcPeer, webrtc_factory
from tests.unit.webrtc_kit import (  # noqa: F401 (two are fixtures for every test)
    DEADLINE,
    Ear,
    both_associations,
    close,
    connect,
    for_ever,
    new_pair,
    nothing_is_left,
    reach,
)


async def test_two_peers_connect_and_learn_each_others_real_certificate() -> None:
    owner, scientist = new_pair()
    started = asyncio.get_running_loop().time()
    offer, answer = await owner.gather(), await scientist.gather()
    seen_by_owner, seen_by_scientist = await asyncio.gather(
        owner.connect(answer), scientist.connect(offer)
    )
    assert asyncio.get_running_loop().time() - started < 2.0
    assert (offer.setup, answer.setup) == ("actpass", "active")
    assert seen_by_owner == answer.fingerprint
    assert seen_by_scientist == offer.fingerprint
    assert offer.fingerprint != answer.fingerprint
    assert owner.stage == scientist.stage == "open"
    await close(owner, scientist)


async def test_a_passive_answerer_is_the_dtls_server() -> None:
    owner, scientist = new_pair(answer_setup="passive")
    await connect(owner, scientist)
    ear = Ear(scientist)
    assert (owner._dtls._role, scientist._dtls._role) == ("client", "server")
    owner.send(Channel.CTL, b"hello")
    await ear.count(1)
    await close(owner, scientist)


async def test_loopback_addresses_are_gathered_only_when_asked_for() -> None:
    with_loopback = WebRtcPeer(controlling=True, loopback=True)
    addresses = {candidate.address for candidate in (await with_loopback.gather()).candidates}
    assert "127.0.0.1" in addresses
    without = WebRtcPeer(controlling=True)
    try:
        addresses = {candidate.address for candidate in (await without.gather()).candidates}
    except ConnectFailed as error:  # a machine with nothing but lo
        assert error.stage == "gathering"
        addresses = set()
    assert addresses.isdisjoint({"127.0.0.1", "::1"})
    await close(with_loopback, without)


async def test_without_remote_candidates_the_peers_own_checks_are_enough() -> None:
    owner, scientist = new_pair()
    offer, answer = await owner.gather(), await scientist.gather()
    hidden = Candidate("1", 1, "0b0f1c3e-0000-4000-8000-000000000000.local", 9, "host")
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(
            owner.connect(replace(answer, candidates=(hidden,))), scientist.connect(offer)
        )
    assert owner.path().remote.startswith("prflx")
    await close(owner, scientist)


@pytest.mark.parametrize("highest", ["owner", "scientist"])
@pytest.mark.parametrize("first", ["owner", "scientist"])
async def test_peers_agree_who_nominates_whoever_begins(first: str, highest: str) -> None:
    peers = dict(zip(("owner", "scientist"), new_pair(), strict=True))
    for name, peer in peers.items():  # what decides, where both claim one role
        peer._ice._connection._tie_breaker = 1 + (name == highest)
    halves = {name: await peer.gather() for name, peer in peers.items()}
    second = next(name for name in peers if name != first)
    begun = asyncio.ensure_future(peers[first].connect(halves[second]))
    async with asyncio.timeout(DEADLINE):
        while not peers[second]._ice._connection._early_checks:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # an answer that had denied the role would have had its effect
        await asyncio.gather(begun, peers[second].connect(halves[first]))
    assert [peer._ice.role for peer in peers.values()] == ["controlling", "controlled"]
    await close(*peers.values())


async def test_a_wrong_password_ends_by_the_callers_deadline_at_the_stage_ice() -> None:
    owner, scientist = new_pair()
    offer, answer = await owner.gather(), await scientist.gather()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await asyncio.gather(
                owner.connect(replace(answer, pwd="x" * 22)), scientist.connect(offer)
            )
    failure = owner.failure()
    assert (failure.stage, owner.stage) == ("ice", "ice")
    assert "TURN" in failure.remedy
    with pytest.raises(ConnectionLost):
        owner.send(Channel.CTL, b"no")
    await close(owner, scientist)


async def test_another_certificate_than_announced_is_returned_and_nothing_is_open() -> None:
    owner, scientist = new_pair()
    offer, answer = await owner.gather(), await scientist.gather()
    ear = Ear(owner)
    attempt = asyncio.ensure_future(scientist.connect(offer))
    async with asyncio.timeout(DEADLINE):
        seen = await owner.connect(replace(answer, fingerprint=bytes(32)))
    assert seen == answer.fingerprint
    with pytest.raises(ConnectionLost):
        owner.send(Channel.CTL, b"no")
    await close(owner, scientist)
    with pytest.raises((ConnectFailed, ConnectionLost)):
        await attempt
    assert (ear.frames, ear.ends) == ([], [])


@pytest.mark.parametrize("stage", ["gathering", "ice", "dtls", "channel"])
@pytest.mark.parametrize("way", ["cancel", "close"])
async def test_an_attempt_can_be_ended_at_each_stage(
    stage: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, scientist = new_pair()
    if stage == "gathering":
        owner = WebRtcPeer(controlling=True, ice_servers=[{"urls": "stun:127.0.0.1:9"}])
        attempt: asyncio.Task[Any] = asyncio.create_task(owner.gather())
        await asyncio.sleep(0.05)
    else:
        offer, answer = await owner.gather(), await scientist.gather()
        if stage == "ice":
            answer = replace(answer, pwd="x" * 22)
        elif stage == "dtls":
            monkeypatch.setattr(scientist, "_shake_hands", for_ever)
        else:
            monkeypatch.setattr(scientist._sctp, "start", for_ever)
        partner = asyncio.create_task(scientist.connect(offer))
        attempt = asyncio.create_task(owner.connect(answer))
        await reach(owner, stage)
        await asyncio.sleep(0.05)
    assert owner.stage == stage
    if way == "cancel":
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
    await close(owner, scientist)
    if way == "close":
        with pytest.raises(ConnectionLost):
            await attempt
    assert owner.failure().stage == stage
    if stage != "gathering":
        with pytest.raises((ConnectionLost, ConnectFailed)):
            await partner


async def test_a_peer_that_was_never_used_or_is_closed_twice_leaves_nothing() -> None:
    owner, scientist = new_pair()
    await close(owner, owner)
    await close(owner)
    with pytest.raises(ConnectionLost):
        await owner.gather()
    answer = await scientist.gather()
    await close(scientist)
    with pytest.raises(ConnectionLost):
        await scientist.connect(answer)
    await close(scientist)


async def test_a_peer_connects_only_once() -> None:
    owner, scientist = new_pair()
    offer, answer = await owner.gather(), await scientist.gather()
    await asyncio.gather(owner.connect(answer), scientist.connect(offer))
    with pytest.raises(ConnectionLost):
        await owner.connect(answer)
    await close(owner, scientist)


async def test_an_impossible_setup_is_refused() -> None:
    owner, scientist = new_pair()
    await owner.gather()
    answer = await scientist.gather()
    with pytest.raises(ConnectFailed) as caught:
        await owner.connect(replace(answer, setup="actpass"))
    assert caught.value.stage == "dtls"
    await close(owner, scientist)


async def test_the_association_that_was_wished_for_is_the_one_that_runs(association: str) -> None:
    for wish, kind in (("auto", association), ("fast", "fast"), ("stock", "stock")):
        peer = WebRtcPeer(controlling=True, sctp=wish)  # type: ignore[arg-type]
        assert isinstance(peer._sctp, FastSctpTransport) == (kind == "fast")
        await close(peer)
    with pytest.raises(ValueError, match="swift"):
        WebRtcPeer(controlling=True, sctp="swift")  # type: ignore[arg-type]


async def test_the_factory_is_a_peer_factory() -> None:
    make: PeerFactory = webrtc_factory
    peer = make(controlling=False, ice_servers=[], loopback=True)
    assert (await peer.gather()).setup == "active"
    assert peer.path().kind == "unknown"
    await peer.close()


# STUN and TURN


async def test_a_silent_stun_server_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STUN_SECONDS", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        peer = WebRtcPeer(
            controlling=True, loopback=True, ice_servers=[{"urls": f"stun:127.0.0.1:{port}"}]
        )
        started = asyncio.get_running_loop().time()
        half = await peer.gather()
        assert asyncio.get_running_loop().time() - started < 1.0
        assert {candidate.kind for candidate in half.candidates} == {"host"}
        await close(peer)


async def test_relayed_only_without_a_turn_server_fails_while_gathering() -> None:
    peer = WebRtcPeer(controlling=True, relay_only=True, loopback=True)
    with pytest.raises(ConnectFailed) as caught:
        await peer.gather()
    assert caught.value.stage == "gathering"
    assert "no TURN server is configured" in caught.value.remedy
    await close(peer)
