"""ICE servers from an untrusted relay."""

from typing import Any

import pytest

from duet_p2p.transport.ice_servers import usable_ice_servers

PUBLIC = "stun:stun.example.org:3478"


def usable(*urls: Any, allow_private: bool = False) -> list[str]:
    found = usable_ice_servers([{"urls": [url]} for url in urls], allow_private=allow_private)
    return [url for entry in found for url in entry["urls"]]


@pytest.mark.parametrize(
    "url",
    [
        PUBLIC,
        "stun:stun.example.org",
        "turn:turn.example.org:3478?transport=udp",
        "turns:turn.example.org:5349?transport=tcp",
        "stun:8.8.8.8:3478",
        "turn:[2606:4700::1]:3478",
    ],
)
def test_public_servers_are_used(url: str) -> None:
    assert usable(url) == [url]


@pytest.mark.parametrize(
    "url",
    [
        "stun:127.0.0.1:1",
        "stun:localhost",
        "turn:LOCALHOST.:1",
        "turn:a.localhost:1",
        "stun:[::1]:1",
        "stun:[::ffff:127.0.0.1]:1",
        "stun:10.0.0.1",
        "stun:172.16.0.1",
        "stun:192.168.1.1",
        "stun:100.64.0.1",
        "stun:169.254.1.1",
        "stun:[fe80::1]",
        "stun:[fd00::1]",
    ],
)
def test_this_machine_and_its_networks_only_where_the_server_was_reached_there(url: str) -> None:
    assert usable(url) == []
    assert usable(url, allow_private=True) == [url]


@pytest.mark.parametrize(
    "url",
    [
        "stuns:a.example",
        "http://a.example",
        "stun://a.example",
        "stun:a.example:0",
        "stun:a.example:65536",
        "stun:",
        "stun:a b",
        "stun:127.1",
        "stun:2130706433",
        "stun:0x7f.0.0.1",
        "stun:0x7f000001",
        "stun:0177.0.0.1",
        "stun:224.0.0.1",
        "stun:0.0.0.0",
        "stun:[::]",
        "stun:[fe80::1%eth0]",
        "stun:[a.example]",
        "turn:a.example?transport=sctp",
        "stun:a.example\n",
        "stun:" + "a" * 300,
        7,
        None,
    ],
)
def test_what_is_no_server_is_left_out_always(url: Any) -> None:
    assert usable(url) == usable(url, allow_private=True) == []


def test_8_entries_of_4_urls_and_no_more() -> None:
    urls = [f"stun:s{n}.example.org" for n in range(5)]
    found = usable_ice_servers([{"urls": urls}] * 9, allow_private=False)
    assert found == [{"urls": urls[:4]}] * 8


def test_entries_are_rebuilt_from_known_fields() -> None:
    offered = [
        {"urls": PUBLIC, "username": "u", "credential": "c", "credentialType": "password"},
        {"urls": [PUBLIC], "username": 7, "credential": "c" * 513},
        {"urls": 7},
        "nonsense",
        {},
    ]
    assert usable_ice_servers(offered, allow_private=False) == [
        {"urls": [PUBLIC], "username": "u", "credential": "c"},
        {"urls": [PUBLIC]},
    ]
