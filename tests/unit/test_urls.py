"""One spelling for each signalling server."""

import pytest

from signaling_server.urls import is_loopback_url, is_private_url, normalise_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("wss://Sig.Example.org:443/duet/", "https://sig.example.org/duet"),
        ("ws://127.0.0.1:8765", "http://127.0.0.1:8765"),
        ("  http://localhost:80/ ", "http://localhost"),
        ("https://sig.example.org:8443", "https://sig.example.org:8443"),
        ("http://[0:0:0:0:0:0:0:1]:8765", "http://[::1]:8765"),
        ("HTTPS://[2001:DB8::1]", "https://[2001:db8::1]"),
        ("http://a.example:443", "http://a.example:443"),
        ("https://a.example/Case/Kept", "https://a.example/Case/Kept"),
    ],
)
def test_spellings(text: str, url: str) -> None:
    assert normalise_url(text) == url
    assert normalise_url(url) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sig.example.org",
        "sig.example.org:8765",
        "ftp://a.example",
        "http://",
        "http:///path",
        "http://user@a.example",
        "http://:pw@a.example",
        "http://a.example?x",
        "http://a.example#x",
        "http://a.example:99999",
        "http://a.example:x",
        "http://a b.example",
        "http://ä.example",
        "http://a.example/../b",
        "http://a.example//b",
        "http://a.example\\b",
        "http://[::1",
        "http://[fe80::1%25eth0]",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        normalise_url(text)


def test_this_machine_and_private_networks() -> None:
    for url in ("http://127.9.9.9", "http://[::1]:1", "http://localhost", "http://x.localhost"):
        assert is_loopback_url(url) and is_private_url(url)
    for url in ("http://192.168.1.1", "http://10.0.0.1", "http://[fd00::1]", "http://[fe80::1]"):
        assert not is_loopback_url(url) and is_private_url(url)
    for url in (
        "http://8.8.8.8",
        "http://a.example",
        "http://0.0.0.0",
        "http://localhost.evil.org",
    ):
        assert not is_loopback_url(url) and not is_private_url(url)
