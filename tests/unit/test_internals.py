"""The private parts that the fast path touches are where they are expected, or it is not used.

The first tests fail when a new aiortc, aioice or pyOpenSSL moves one of them: that is what they are
for. Then the fast path has to be tried with it, and its version be named in `internals.KNOWN`.
"""

import asyncio
import inspect
import logging
from types import SimpleNamespace
from typing import Any

import aioice.ice
import aiortc
import pytest
from aiortc import RTCDtlsTransport
from OpenSSL import SSL

from duet_p2p.errors import ConnectFailed
from duet_p2p.transport.sctp import choice, internals
from duet_p2p.transport.sctp.choice import choose
from duet_p2p.transport.sctp.transport import FastSctpTransport
from duet_p2p.transport.webrtc import WebRtcPeer
from tests.unit.webrtc_kit import close, connect


@pytest.fixture(autouse=True)
def no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DUET_SCTP", raising=False)
    monkeypatch.setattr(choice, "_warned", set())
    internals.missing.cache_clear()


def test_the_installed_versions_are_known() -> None:
    assert internals.missing() is None
    assert set(internals.KNOWN) == {"aiortc", "aioice", "pyOpenSSL"}


async def test_everything_that_is_touched_is_there() -> None:
    owner = WebRtcPeer(controlling=True, loopback=True, sctp="fast")
    scientist = WebRtcPeer(controlling=False, loopback=True, sctp="fast")
    await connect(owner, scientist)
    ssl = owner._dtls._ssl
    assert isinstance(ssl, SSL.Connection)
    assert all(hasattr(ssl, name) for name in ("_ssl", "_into_ssl", "_from_ssl"))
    connection = owner._ice._connection
    pair = connection._nominated[1]
    assert isinstance(pair.protocol, aioice.ice.StunProtocol)
    assert pair.protocol.receiver is connection
    assert hasattr(pair.protocol.transport, "_sock_fd") and hasattr(
        pair.protocol.transport, "_sock"
    )
    assert callable(getattr(asyncio.get_running_loop(), "_add_reader", None))
    assert list(inspect.signature(connection.data_received).parameters) == ["data", "component"]
    assert isinstance(owner._sctp, FastSctpTransport) and owner._sctp._path is not None
    assert owner._sctp._path._wire is not None and owner._sctp._path._wire.socket is not None
    assert pair.local_candidate in connection.local_candidates
    await close(owner, scientist)
    assert hasattr(RTCDtlsTransport, "_register_data_receiver")
    assert hasattr(RTCDtlsTransport, "_unregister_data_receiver")
    assert isinstance(aiortc.__version__, str)


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "is_local"),
    [
        ("host", "127.0.0.1", "127.0.0.1", True),
        ("host", "10.0.0.5", "127.0.0.1", True),
        ("host", "127.0.0.1", "10.0.0.5", True),
        ("host", "10.0.0.5", "10.0.0.6", True),
        ("host", "10.0.0.5", "10.0.0.7", False),
        ("host", "::1", "::1", True),
        ("relay", "10.0.0.5", "127.0.0.1", False),
    ],
)
def test_what_is_sent_to_an_address_of_this_machine_stays_on_it(
    kind: str, ours: str, theirs: str, is_local: bool
) -> None:
    pair = SimpleNamespace(
        protocol=SimpleNamespace(transport=None),
        local_candidate=SimpleNamespace(type=kind, host=ours),
        remote_addr=(theirs, 5000),
    )
    assert internals.Wire(pair, {"127.0.0.1", "10.0.0.5", "10.0.0.6"}).is_local is is_local


def test_the_variable_takes_the_place_of_auto_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (choose("auto"), choose("fast"), choose("stock")) == (choice.AUTO, "fast", "stock")
    for named in ("fast", "stock"):
        monkeypatch.setenv("DUET_SCTP", named)
        assert (choose("auto"), choose("fast"), choose("stock")) == (named, "fast", "stock")


@pytest.mark.parametrize("wish", ["auto", "fast"])
@pytest.mark.parametrize("name", ["aiortc", "aioice", "pyOpenSSL"])
def test_another_version_means_stock_with_one_warning(
    name: str, wish: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choice, "AUTO", "fast")
    monkeypatch.setattr(internals, "version", lambda asked: "99.0" if asked == name else "1.16.0")
    monkeypatch.setitem(internals.KNOWN, "aioice", ("1.16",))  # type: ignore[attr-defined]
    monkeypatch.setitem(internals.KNOWN, "pyOpenSSL", ("1.16",))  # type: ignore[attr-defined]
    with caplog.at_level(logging.WARNING):
        assert [choose(wish) for _ in range(3)] == ["stock"] * 3
    [record] = caplog.records
    assert name in record.getMessage() and "99.0" in record.getMessage()
    assert choose("stock") == "stock"


def test_another_platform_means_stock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "AUTO", "fast")
    monkeypatch.setattr("sys.platform", "plan9")
    assert choose("auto") == "stock"


@pytest.mark.parametrize("variable", [True, False])
def test_a_wish_that_is_not_known_is_refused(
    variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv("DUET_SCTP", "swift")
    with pytest.raises(ValueError, match="swift"):
        choose("auto" if variable else "swift")  # type: ignore[arg-type]


async def test_a_part_that_moved_without_a_new_version_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = WebRtcPeer(controlling=True, loopback=True, sctp="fast")
    scientist = WebRtcPeer(controlling=False, loopback=True, sctp="fast")

    def moved(_self: object, _dtls: object) -> None:
        raise AttributeError("_into_ssl")

    monkeypatch.setattr(internals.Records, "__init__", moved)
    with pytest.raises(ConnectFailed, match="sctp='stock'"):
        await connect(owner, scientist)
    await close(owner, scientist)
