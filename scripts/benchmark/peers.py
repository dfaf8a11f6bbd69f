"""What else people would use between two processes: RPyC 6, and TLS over TCP."""

from __future__ import annotations

import asyncio
import datetime
import importlib.util
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scripts.benchmark.rows import Report, Row

__all__ = ["measure"]

_SMALL = 200
_PIECE = 65_536
_CALLS = 500
_RPYC_BYTES = 4 << 20  # one argument; more of it takes minutes
_SECONDS = 60


def measure(report: Report, *, nbytes: int) -> None:
    """Round trips and bulk of both, as rows."""
    ping, bulk = asyncio.run(_tls(nbytes))
    report.add(
        Row("TLS over TCP: 200 B round trip", ping, "s"),
        Row("TLS over TCP: bulk", bulk, "B/s"),
    )
    if importlib.util.find_spec("rpyc") is None:
        report.skipped["RPyC"] = "not installed"
        return
    ping, bulk = _rpyc(min(nbytes, _RPYC_BYTES))
    report.add(Row("RPyC 6: call", ping, "s"), Row("RPyC 6: bulk", bulk, "B/s"))


# RPyC

_RPYC = """
import rpyc
from rpyc.utils.server import OneShotServer
class Service(rpyc.Service):
    def exposed_add(self, x): return x + 1
    def exposed_take(self, data): return len(data)
server = OneShotServer(Service, hostname="127.0.0.1", port=0)
print(server.port, flush=True)
server.start()
"""


def _rpyc(nbytes: int) -> tuple[float, float]:
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _RPYC], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            connection = _connected(int(server.stdout.readline()))
            times = []
            for number in range(_CALLS):
                started = time.perf_counter()
                connection.root.add(number)
                times.append(time.perf_counter() - started)
            data = os.urandom(nbytes)
            started = time.perf_counter()
            assert connection.root.take(data) == nbytes
            seconds = time.perf_counter() - started
            connection.close()
            server.wait(_SECONDS)
        finally:
            server.kill()  # else the block waits for it after a failure
    return statistics.median(times), nbytes / seconds


def _connected(port: int) -> Any:
    """A connection; the server knows its port a moment before it listens."""
    import rpyc

    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            return rpyc.connect("127.0.0.1", port)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


# TLS


def _certificate(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, private


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for _ in range(_CALLS):
        writer.write(await reader.readexactly(_SMALL))
    left = int.from_bytes(await reader.readexactly(8), "big")
    while left:
        left -= len(await reader.read(min(left, 1 << 20)))
    writer.write(b"done")
    await writer.drain()
    writer.close()


async def _serve(cert: str, key: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    ended = asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _answer(reader, writer)
        finally:
            ended.set()

    server = await asyncio.start_server(once, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()
    server.close()


async def _tls(nbytes: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        cert, key = _certificate(Path(folder))
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-m", __spec__.name, str(cert), str(key)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert server.stdout is not None
        try:
            async with asyncio.timeout(_SECONDS):
                port = int(await server.stdout.readline())
                context = ssl.create_default_context(cafile=str(cert))
                context.check_hostname = False
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                times = []
                for _ in range(_CALLS):
                    started = time.perf_counter()
                    writer.write(bytes(_SMALL))
                    await reader.readexactly(_SMALL)
                    times.append(time.perf_counter() - started)
                writer.write(nbytes.to_bytes(8, "big"))
                piece = os.urandom(_PIECE)
                started = time.perf_counter()
                for at in range(0, nbytes, _PIECE):
                    writer.write(piece[: nbytes - at])
                    await writer.drain()
                await reader.readexactly(4)
                seconds = time.perf_counter() - started
                writer.close()
                await server.wait()
        finally:
            if server.returncode is None:
                server.kill()
    return statistics.median(times), nbytes / seconds


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], sys.argv[2]))
