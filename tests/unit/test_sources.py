"""The source of a request, behind proxies and without."""

import pytest

from signaling_server.sources import SourceCounts, parse_networks, source_of

TRUSTED = parse_networks(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unknown"),
        ("/run/socket", "unknown"),
    ],
)
def test_a_source_is_an_ipv4_address_or_an_ipv6_network(peer: str | None, source: str) -> None:
    assert source_of(peer, ()) == source
    assert source_of(peer, (), ["198.51.100.1"], ["for=198.51.100.2"]) == source


@pytest.mark.parametrize(
    ("hops", "source"),
    [
        (["192.0.2.1"], "192.0.2.1"),
        (["203.0.113.1, 192.0.2.1"], "192.0.2.1"),  # what is left of it may be forged
        (["203.0.113.1", "192.0.2.1, 10.2.2.2"], "192.0.2.1"),
        (["192.0.2.1:5678"], "192.0.2.1"),
        (["[2001:db8::1]:5678"], "2001:db8::/64"),
        (["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        (["192.0.2.1, unknown"], "10.0.0.1"),
        (["192.0.2.1, nonsense, 10.2.2.2"], "10.2.2.2"),
        ([""], "10.0.0.1"),
        ([], "10.0.0.1"),
    ],
)
def test_the_right_most_hop_that_is_not_trusted_is_the_source(hops: list[str], source: str) -> None:
    assert source_of("10.0.0.1", TRUSTED, hops) == source


@pytest.mark.parametrize(
    ("lines", "source"),
    [
        (["for=192.0.2.1;proto=https;by=10.0.0.9"], "192.0.2.1"),
        (['for=203.0.113.1, For="[2001:db8::1]:80"'], "2001:db8::/64"),
        (["for=203.0.113.1", "proto=https;for=192.0.2.1"], "192.0.2.1"),
        (["for=_hidden"], "10.0.0.1"),
        (["proto=https"], "10.0.0.1"),
    ],
)
def test_the_standard_header_is_read_too(lines: list[str], source: str) -> None:
    assert source_of("10.0.0.1", TRUSTED, (), lines) == source


def test_two_headers_that_disagree_make_the_proxy_the_source() -> None:
    assert source_of("10.0.0.1", TRUSTED, ["192.0.2.1"], ["for=192.0.2.1"]) == "192.0.2.1"
    assert source_of("10.0.0.1", TRUSTED, ["192.0.2.1"], ["for=192.0.2.2"]) == "10.0.0.1"


def test_a_proxy_of_the_ipv6_network_is_trusted_and_mapped_addresses_are_ipv4() -> None:
    assert source_of("fd00::1", TRUSTED, ["192.0.2.1"]) == "192.0.2.1"
    assert source_of("::ffff:10.0.0.1", TRUSTED, ["192.0.2.1"]) == "192.0.2.1"


def test_counts_go_back_to_nothing() -> None:
    counts = SourceCounts()
    counts.enter("a")
    counts.enter("a")
    counts.register()
    assert (counts.all, counts.unregistered, counts.of("a"), counts.of("b")) == (2, 1, 2, 0)
    counts.leave("a", registered=True)
    counts.leave("a", registered=False)
    assert (counts.all, counts.unregistered, counts.of("a")) == (0, 0, 0)
    assert counts._by_source == {}
