"""aiortc as it comes: two `RTCPeerConnection`s in two processes, one negotiated channel."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

__all__ = ["measure"]

_MESSAGE = 65_536  # bytes, as in our own bulk channel
_BUFFERED = 1 << 20
_SECONDS = 120


def _connection() -> tuple[RTCPeerConnection, object]:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    return connection, connection.createDataChannel("bench", negotiated=True, id=0)


async def _other() -> None:
    connection, channel = _connection()
    offer = json.loads(sys.stdin.readline())
    await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await connection.setLocalDescription(await connection.createAnswer())
    print(json.dumps(connection.localDescription.sdp), flush=True)
    done = asyncio.Event()

    def heard(data: bytes) -> None:
        if data.endswith(b"last"):
            channel.send(b"done")
        elif data == b"bye":
            done.set()

    channel.on("message", heard)  # type: ignore[attr-defined]
    await done.wait()
    await connection.close()


async def _measure(
    nbytes: int, messages: int, small: int, sizes: Sequence[int]
) -> tuple[float, float, list[tuple[int, float]]]:
    connection, channel = _connection()
    answers: asyncio.Queue[bytes] = asyncio.Queue()
    opened = asyncio.Event()
    channel.on("message", answers.put_nowait)  # type: ignore[attr-defined]
    channel.on("open", opened.set)  # type: ignore[attr-defined]
    await connection.setLocalDescription(await connection.createOffer())
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", __spec__.name),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    assert other.stdin is not None and other.stdout is not None
    try:
        other.stdin.write(json.dumps(connection.localDescription.sdp).encode() + b"\n")
        answer = json.loads(await other.stdout.readline())
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        if channel.readyState != "open":  # type: ignore[attr-defined]
            await opened.wait()

        async def stream(message: bytes, count: int) -> float:
            started = time.perf_counter()
            for number in range(count):
                channel.send(message if number < count - 1 else message[:-4] + b"last")
                while channel.bufferedAmount > _BUFFERED:  # type: ignore[attr-defined]
                    await asyncio.sleep(0.001)
            await answers.get()
            return time.perf_counter() - started

        count = max(1, nbytes // _MESSAGE)
        bulk = count * _MESSAGE / await stream(os.urandom(_MESSAGE), count)
        rate = messages / await stream(bytes(small), messages)
        throughput = []
        for size in sizes:
            count = max(1, min(messages, nbytes // 8 // size))
            throughput.append((size, count * size / await stream(os.urandom(size), count)))
        channel.send(b"bye")  # type: ignore[attr-defined]
        await other.wait()
    finally:
        if other.returncode is None:
            other.kill()
        await connection.close()
    return bulk, rate, throughput


def measure(
    nbytes: int, messages: int, small: int, sizes: Sequence[int] = ()
) -> tuple[float, float, list[tuple[int, float]]]:
    """Bytes per second of large messages, and small ones per second, one way.

    Also bytes per second of messages of each of `sizes`.
    """

    async def bounded() -> tuple[float, float, list[tuple[int, float]]]:
        async with asyncio.timeout(_SECONDS):
            return await _measure(nbytes, messages, small, sizes)

    return asyncio.run(bounded())


if __name__ == "__main__":
    asyncio.run(_other())
