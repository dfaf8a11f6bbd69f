"""Two processes in two networks, and between them a link whose width is real and changes."""

import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import IO, Any

import pytest

from duet_p2p import limits
from tests.network.test_interop import messages

PATIENCE = 60.0
ETHERNET, TUNNEL, NARROW = 1_500, 1_420, 1_300
numbers = itertools.count()


def ip(line: str) -> None:
    done = subprocess.run(["ip", *line.split()], capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise OSError(f"ip {line}: {done.stderr.strip()}")


class Networks:
    """Three namespaces: a, b, and what joins them. Links end at ``out``, ``to-a`` and ``to-b``."""

    def __init__(self, kind: str) -> None:
        self.names = {place: f"duet-{os.getpid()}-{next(numbers)}-{place}" for place in "amb"}
        try:
            for name in self.names.values():
                ip(f"netns add {name}")
                ip(f"-n {name} link set lo up")
            for place in "ab":
                there, middle = self.names[place], self.names["m"]
                ip(f"-n {there} link add out type veth peer name to-{place} netns {middle}")
            if kind == "bridge":
                self.at("m", "link add name both type bridge")
        except OSError as problem:
            self.close()
            pytest.skip(f"network namespaces cannot be made here: {problem}")
        (self._bridge if kind == "bridge" else self._route)()
        if kind == "silent router":
            self.write("a", "ip_no_pmtu_disc", 2)  # what a router says is not heard
        for place in "ab":
            self.at("m", f"link set to-{place} up")

    def at(self, place: str, line: str) -> None:
        ip(f"-n {self.names[place]} {line}")

    def write(self, place: str, option: str, value: int) -> None:
        shell = f"echo {value} > /proc/sys/net/ipv4/{option}"
        subprocess.run(["ip", "netns", "exec", self.names[place], "sh", "-c", shell], check=True)

    def _route(self) -> None:
        """A router, which says so when a packet is too large."""
        self.write("m", "ip_forward", 1)
        for number, place in enumerate("ab"):
            self.at("m", f"address add 10.77.{number}.1/24 dev to-{place}")
            self.at(place, f"address add 10.77.{number}.2/24 dev out")
            self.at(place, "link set out up")
            self.at(place, f"route add default via 10.77.{number}.1")

    def _bridge(self) -> None:
        """A bridge, which drops what is too large without a word."""
        self.at("m", "link set both up")
        for number, place in enumerate("ab"):
            self.at("m", f"link set to-{place} master both")
            self.at(place, f"-6 address add fd77::{number + 1}/64 dev out nodad")
            self.at(place, "link set out up")

    def set_width(self, mtu: int) -> None:
        """The link to b is so wide in the middle; b itself does not know."""
        self.at("m", f"link set to-b mtu {mtu}")

    def close(self) -> None:
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20)


class Far:
    """A peer in one of the networks."""

    def __init__(self, network: str, role: str) -> None:
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", network, sys.executable, "-m", "tests.network.far_peer", role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self) -> str:
        out: IO[str] | None = self.process.stdout
        assert out is not None
        line = out.readline().strip()
        assert line, "the far peer has ended"
        return line

    def write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ask(self, line: str) -> str:
        self.write(line)
        return self.read()

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait(20)
            self.process.stdout.close()


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def networks(request: pytest.FixtureRequest) -> Iterator[Networks]:
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and ip")
    made = Networks(request.param)
    try:
        yield made
    finally:
        made.close()


def joined(stack: ExitStack, networks: Networks) -> tuple[Far, Far]:
    pair = []
    for place, role in (("a", "owner"), ("b", "scientist")):
        far = Far(networks.names[place], role)
        stack.callback(far.close)
        pair.append(far)
    owner, scientist = pair
    offer, answer = owner.read(), scientist.read()
    owner.write(answer)
    scientist.write(offer)
    return owner, scientist


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(4 * PATIENCE)
@pytest.mark.parametrize("networks", ["router", "silent router"], indirect=True)
def test_packets_fit_a_link_of_any_width_and_follow_it_when_it_narrows(networks: Networks) -> None:
    largest, smaller, *_ = limits.SCTP_PROBE_SIZES
    with ExitStack() as stack:
        owner, scientist = joined(stack, networks)
        until(lambda: owner.ask("size") == str(largest))
        for number, (width, size) in enumerate(
            [(TUNNEL, smaller), (NARROW, limits.SCTP_PACKET_BYTES)]
        ):
            before = int(scientist.ask("heard").split()[0])
            owner.ask(f"send 200 {number}")
            until(lambda: int(scientist.ask("heard").split()[0]) > before + 5)  # noqa: B023
            networks.set_width(width)
            owner.ask(f"send 200 {number}")
            until(lambda: int(scientist.ask("heard").split()[0]) == before + 400)  # noqa: B023
            until(lambda: owner.ask("size") == str(size))  # noqa: B023
        said = [message for seed in (0, 0, 1, 1) for message in messages(seed, 200)]
        whole = hashlib.sha256(b"".join(said)).hexdigest()
        assert scientist.ask("heard") == f"{len(said)} {whole}"


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("networks", ["router", "bridge"], indirect=True)
def test_every_message_arrives_in_order_on_a_link_that_is_narrow_from_the_start(
    networks: Networks,
) -> None:
    networks.set_width(TUNNEL)
    _, smaller, *_ = limits.SCTP_PROBE_SIZES
    with ExitStack() as stack:
        owner, scientist = joined(stack, networks)
        until(lambda: owner.ask("size") == str(smaller))
        owner.ask("send 200 7")
        until(lambda: scientist.ask("heard").startswith("200 "))
        whole = hashlib.sha256(b"".join(messages(7, 200))).hexdigest()
        assert scientist.ask("heard") == f"200 {whole}"
