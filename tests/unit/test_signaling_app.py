"""The signalling server with real sockets: registration, origins, links, slow readers, shutdown."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from typing import Any

import aiohttp
import pytest

from signaling_server.app import SignalingConfig
from signaling_server.ids import b64decode
from signaling_server.limits import Limits
from signaling_server.server import Server, own_urls
from signaling_server.sources import parse_networks
from tests.unit.signaling_kit import SECONDS, owner, running, scientist

FAST: Any = {"message_burst": 10_000, "message_rate": 1e6}


async def test_health_readiness_and_facts() -> None:
    async with running() as run:
        for path in ("/healthz", "/readyz"):
            async with run.http.get(run.url + path) as answer:
                assert answer.status == 200
                assert answer.headers["Cache-Control"] == "no-store"
        async with run.http.get(run.url + "/v1/info") as answer:
            facts = await answer.json()
            assert facts.keys() == {"version", "limits", "server_time"}
            assert facts["version"].startswith("duet-signaling/")
            assert facts["limits"]["max_frame"] == 65_536
            assert abs(facts["server_time"] - time.time()) < 60
        for path in ("/", "/metrics", "/v1/sessions", "/v1"):
            async with run.http.get(run.url + path) as answer:
                assert answer.status == 404
                assert "aiohttp" not in answer.headers["Server"].lower()


async def test_hello_then_registered() -> None:
    async with running() as run:
        raw = await run.connect()
        assert raw.hello.keys() == {"t", "v", "challenge", "conn", "origin", "limits"}
        assert raw.hello["origin"] == run.url
        assert len(b64decode(raw.hello["challenge"])) == 32
        registered = await raw.register(owner())
        assert registered == {
            "t": "registered",
            "epoch": 1,
            "ttl": 7200.0,
            "ice": [],
            "ice_expires": None,
        }
        other = await run.connect()
        assert other.hello["challenge"] != raw.hello["challenge"]
        assert raw.ws.protocol == "duet.v1"
        assert raw.ws.compress == 0


async def test_each_own_name_is_signed_for_as_itself() -> None:
    async with running() as run:
        port = run.server.port
        for host in (
            f"localhost:{port}",
            f"127.0.0.1:{port}",
            f"[::1]:{port}",
            f"LOCALHOST:{port}",
        ):
            raw = await run.connect(headers={"Host": host})
            assert raw.hello["origin"] == f"http://{host.lower()}"


async def test_another_host_is_misdirected() -> None:
    async with running() as run:
        for host in ("evil.example", "127.0.0.1", "localhost:1", "", "a b", "127.0.0.1:99999"):
            refused = await run.refusal(headers={"Host": host})
            assert refused.status == 421
        headers = {"Host": "evil.example"}
        async with run.http.get(run.url + "/v1/info", headers=headers) as answer:
            assert answer.status == 421
        async with run.http.get(run.url + "/healthz", headers=headers) as answer:
            assert answer.status == 200  # probes of a load balancer


async def test_pages_of_other_origins_may_not_connect() -> None:
    config = SignalingConfig((), allow_origins=("https://page.example",))
    async with running(config=config) as run:
        for origin in (run.url, "https://page.example", "http://localhost:3000", "https://[::1]"):
            await run.connect(headers={"Origin": origin})
        for origin in ("https://evil.example", "null", "https://page.example.evil.example", "x"):
            assert (await run.refusal(headers={"Origin": origin})).status == 403


async def test_a_challenge_that_another_relay_forwards_does_not_register_there() -> None:
    async with running() as run:
        honest = await run.member(owner())
        stolen = await run.connect()
        # The owner signed for the relay it talks to, with the challenge of this server.
        proof = stolen.proof(owner(), origin="https://evil.example")
        await stolen.send(**proof)
        assert await stolen.close_code() == 4001
        assert await honest.is_silent()


async def test_squatting_fails_and_the_honest_owner_stays() -> None:
    async with running() as run:
        honest = await run.member(owner())
        squatter = await run.connect()
        proof = squatter.proof(owner(2)) | {"id": owner().id}
        await squatter.send(**proof)
        assert await squatter.close_code() == 4001
        replay = await run.connect()
        await replay.send(**honest.proof(owner()))  # the proof of another socket
        assert await replay.close_code() == 4001
        assert await honest.is_silent()


async def test_the_newest_registration_wins_with_4000() -> None:
    async with running() as run:
        old = await run.member(owner())
        new = await run.connect()
        assert (await new.register(owner()))["epoch"] == 2
        assert await old.close_code() == 4000
        client = await run.member(scientist())
        await client.join(owner().id)
        assert (await new.next())["from"] == scientist().id


async def test_a_late_registration_closes_with_4001_but_a_registered_socket_stays() -> None:
    async with running(Limits(register_timeout=0.2)) as run:
        raw = await run.connect()
        member = await run.member(owner())
        assert await raw.close_code() == 4001
        assert raw.close_reason == "late"
        assert await member.is_silent(0.3)


async def test_without_the_subprotocol_the_socket_is_closed_with_4002() -> None:
    async with running() as run:
        for protocols in ((), ("other",)):
            raw = await run.connect(greet=False, protocols=protocols)
            assert await raw.close_code() == 4002


async def test_a_pairing_from_join_to_linked_signals() -> None:
    async with running() as run:
        session, client = await run.pair()
        assert (await client.signal(owner().id, body="YW5zd2Vy"))["status"] == "delivered"
        assert await session.next() == {"t": "signal", "from": scientist().id, "body": "YW5zd2Vy"}
        await client.ws.close()
        assert await session.next() == {"t": "peer", "id": scientist().id, "event": "offline"}
        client = await run.member(scientist())
        assert await session.next() == {"t": "peer", "id": scientist().id, "event": "online"}
        await client.send(t="bye")
        assert await client.close_code() == 1000
        assert (await session.next())["event"] == "offline"


async def test_a_join_waits_for_a_session_that_was_there_before() -> None:
    async with running() as run:
        session = await run.member(owner())
        await session.ws.close()
        client = await run.member(scientist())
        assert (await client.join(owner().id, body="d2FpdGluZw"))["status"] == "accepted"
        assert (await client.join(owner(9).id))["status"] == "accepted"
        session = await run.connect()
        await session.register(owner())
        assert await session.next() == {
            "t": "join",
            "from": scientist().id,
            "body": "d2FpdGluZw",
        }


@pytest.mark.parametrize(
    "text", ["{", '{"t":"ice","t":"ice"}', '{"t":"ice","x":NaN}', "[" * 9 + "]" * 9]
)
async def test_what_is_not_strict_json_closes_with_4002(text: str) -> None:
    async with running() as run:
        raw = await run.member(owner())
        await raw.ws.send_str(text)
        assert await raw.close_code() == 4002


async def test_binary_frames_close_with_4002() -> None:
    async with running() as run:
        raw = await run.member(owner())
        await raw.ws.send_bytes(b"{}")
        assert await raw.close_code() == 4002


async def test_a_frame_of_the_largest_size_is_read_and_one_byte_more_closes_with_1009() -> None:
    async with running() as run:
        raw = await run.member(owner())
        start = '{"t":"ice","x":"'
        await raw.ws.send_str(start + "a" * (65_536 - len(start) - 2) + '"}')
        assert (await raw.next())["t"] == "ice"
        await raw.ws.send_str(start + "a" * (65_536 - len(start) - 1) + '"}')
        assert await raw.close_code() == 1009


async def test_a_body_of_the_largest_size_arrives_and_one_character_more_is_too_big() -> None:
    async with running() as run:
        session, client = await run.pair()
        assert (await client.signal(owner().id, body="a" * 49_152))["status"] == "delivered"
        assert len((await session.next())["body"]) == 49_152
        refused = await client.signal(owner().id, mid="big", body="a" * 49_153)
        assert (refused["code"], refused["mid"]) == ("too_big", "big")


async def test_unknown_frames_get_an_error_and_the_socket_lives() -> None:
    async with running() as run:
        raw = await run.member(owner())
        await raw.send(t="list")
        assert (await raw.next())["code"] == "bad_frame"
        await raw.send(t="ice")
        assert (await raw.next())["t"] == "ice"


async def test_refused_frames_close_with_4003_and_say_how_long_to_wait() -> None:
    async with running(Limits(message_burst=2, message_rate=1)) as run:
        raw = await run.member(owner())
        for _ in range(30):
            await raw.send(t="list")
        assert await raw.close_code() == 4003
        assert raw.close_reason == "retry_after=60"


async def test_pings_are_answered_but_cost_as_much_as_frames() -> None:
    async with running(Limits(message_burst=5, message_rate=1)) as run:
        raw = await run.connect(autoping=False)
        await raw.register(owner())
        await raw.ws.ping(b"x")
        message = await raw.ws.receive(SECONDS)
        assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"x")
        for _ in range(30):
            await raw.ws.ping()
        async with asyncio.timeout(SECONDS):
            while (message := await raw.ws.receive()).type is not aiohttp.WSMsgType.CLOSE:
                pass
        assert message.data == 4003


async def test_a_socket_that_answers_no_ping_is_closed() -> None:
    async with running(Limits(heartbeat=0.2)) as run:
        session, client = await run.pair()
        raw = await run.connect(autoping=False)
        await raw.register(scientist())  # replaces the client, then stays silent
        assert await client.close_code() == 4000
        assert (await session.until("peer"))["event"] == "online"
        started = time.monotonic()
        while (await session.until("peer"))["event"] != "offline":
            pass
        assert time.monotonic() - started < 12


async def test_a_slow_reader_is_closed_with_4005_and_hurts_nobody() -> None:
    limits = Limits(**FAST, out_queue_messages=8, ttl_idle=100)
    async with running(limits) as run:
        session, client = await run.pair()
        assert session.ws._response is not None
        connection = session.ws._response.connection
        assert connection is not None and connection.transport is not None
        connection.transport.pause_reading()
        started = time.monotonic()
        statuses: list[str] = []
        while "queued" not in statuses and len(statuses) < 2000:
            statuses.append(await client.until_ack(owner().id, "a" * 49_152))
        assert statuses[-1] == "queued"
        assert (await client.until("peer"))["event"] == "offline"
        assert time.monotonic() - started < 20
        connection.transport.resume_reading()
        new = await run.connect()
        await new.register(owner())
        assert (await new.next())["t"] == "signal"  # what did not fit was kept


async def test_drain_tells_when_to_come_back_then_closes_with_1012() -> None:
    server = Server(SignalingConfig(()), Limits(grace=0.5, drain_jitter=0.2), port=0)
    await server.start()
    async with aiohttp.ClientSession() as http:
        ws = await http.ws_connect(server.url + "/v1/ws", protocols=("duet.v1",))
        await ws.receive(SECONDS)
        closing = asyncio.create_task(server.close())
        frame = json.loads((await ws.receive(SECONDS)).data)
        assert frame["t"] == "drain"
        assert 0 <= frame["after_ms"] <= 200
        async with http.get(server.url + "/readyz") as answer:
            assert answer.status == 503
        async with http.get(server.url + "/healthz") as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(server.url + "/v1/ws", protocols=("duet.v1",))
        assert caught.value.status == 503
        assert caught.value.headers is not None and "Retry-After" in caught.value.headers
        message = await ws.receive(SECONDS)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1012)
        async with asyncio.timeout(SECONDS):
            await closing
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(server.url + "/healthz")


async def test_a_drain_ends_as_soon_as_everybody_left() -> None:
    server = Server(SignalingConfig(()), Limits(grace=60), port=0)
    await server.start()
    async with aiohttp.ClientSession() as http:
        ws = await http.ws_connect(server.url + "/v1/ws", protocols=("duet.v1",))
        closing = asyncio.create_task(server.close())
        await ws.receive(SECONDS)
        await ws.close()
        async with asyncio.timeout(SECONDS):
            await closing


async def test_a_plain_request_for_the_socket_is_told_to_upgrade() -> None:
    async with running() as run, run.http.get(run.url + "/v1/ws") as answer:
        assert answer.status == 426


async def test_below_a_path_and_behind_a_proxy_that_takes_it_off() -> None:
    config = SignalingConfig(("https://sig.example.org/duet",), base_path="/duet")
    async with running(config=config) as run:
        url = f"http://127.0.0.1:{run.server.port}/duet/v1/ws"
        for host in ("sig.example.org", "SIG.example.org:443"):
            ws = await run.http.ws_connect(url, protocols=("duet.v1",), headers={"Host": host})
            hello = json.loads((await ws.receive(SECONDS)).data)
            assert hello["origin"] == "https://sig.example.org/duet"
            await ws.close()
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await run.http.ws_connect(url)
        assert caught.value.status == 421
    proxies = parse_networks(["127.0.0.1/32"])
    config = SignalingConfig(("https://sig.example.org/duet",), trusted_proxies=proxies)
    async with running(config=config) as run:
        url = f"http://127.0.0.1:{run.server.port}/v1/ws"
        headers = {"Host": "sig.example.org"}
        ws = await run.http.ws_connect(url, protocols=("duet.v1",), headers=headers)
        hello = json.loads((await ws.receive(SECONDS)).data)
        assert hello["origin"] == "https://sig.example.org/duet"
        await ws.close()


async def test_built_in_tls(tmp_path: Any) -> None:
    context, trusted = _certificate(tmp_path)
    server = Server(SignalingConfig(()), port=0, ssl_context=context)
    await server.start()
    try:
        assert server.url.startswith("https://127.0.0.1:")
        async with aiohttp.ClientSession() as http:
            ws = await http.ws_connect(server.url + "/v1/ws", protocols=("duet.v1",), ssl=trusted)
            hello = json.loads((await ws.receive(SECONDS)).data)
            assert hello["origin"] == server.url
            await ws.close()
    finally:
        await server.close(grace=0)


async def test_a_taken_port_and_a_wildcard_without_a_url_are_errors() -> None:
    async with running() as run:
        with pytest.raises(OSError, match="in use"):
            await Server(SignalingConfig(()), port=run.server.port).start()
    with pytest.raises(ValueError, match="--public-url"):
        await Server(SignalingConfig(()), host="0.0.0.0", port=0).start()


def test_own_urls() -> None:
    assert own_urls("127.0.0.1", 8765) == (
        "http://127.0.0.1:8765",
        "http://localhost:8765",
        "http://[::1]:8765",
    )
    assert own_urls("::1", 80)[0] == "http://[::1]"
    assert own_urls("192.168.1.7", 443, scheme="https", base_path="/d") == (
        "https://192.168.1.7/d",
    )
    assert own_urls("0.0.0.0", 80) == own_urls("::", 80) == ()


async def test_a_client_that_vanishes_in_the_middle_of_a_frame_leaves_nothing() -> None:
    async with running() as run:
        before = len(asyncio.all_tasks())
        reader, writer = await asyncio.open_connection("127.0.0.1", run.server.port)
        writer.write(
            (
                f"GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:{run.server.port}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                "Sec-WebSocket-Protocol: duet.v1\r\n\r\n"
            ).encode()
        )
        assert b"101" in await reader.readline()
        writer.write(b"\x81\xff\x00")  # the start of a text frame
        await writer.drain()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()
        async with asyncio.timeout(SECONDS):
            while len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0.01)


def _certificate(tmp_path: Any) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server context with a fresh certificate, and a client context that trusts it."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "pair.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context, ssl.create_default_context(cafile=str(pem))
