"""Where a signalling server may be, and what a name of it means."""

import pytest

from duet_p2p.errors import SignalingUnreachable
from duet_p2p.transport.endpoint import check_url


@pytest.mark.parametrize(
    "url",
    [
        "http://sig.example.org",
        "http://8.8.8.8",
        "ws://sig.example.org",
        "sig.example.org",
        "",
    ],
)
def test_plain_http_beyond_private_addresses_is_refused(url: str) -> None:
    with pytest.raises(SignalingUnreachable):
        check_url(url)


def test_plain_http_is_taken_on_private_addresses_or_when_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for url in ("http://127.0.0.1:8765", "http://localhost", "http://192.168.1.5", "http://[::1]"):
        assert check_url(url) == url
    assert check_url("wss://sig.example.org/") == "https://sig.example.org"
    monkeypatch.setenv("DUET_INSECURE_SIGNALING", "1")
    assert check_url("http://sig.example.org") == "http://sig.example.org"
