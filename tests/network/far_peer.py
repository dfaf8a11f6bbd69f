"""One peer in a process of its own, so that it can live in another network; told what to do.

Lines in, lines out: first a description each way, then ``send COUNT SEED``, ``size`` and ``heard``.
"""

import asyncio
import hashlib
import pickle
import sys
from typing import Any

from duet_p2p import limits
from duet_p2p.transport.base import Channel
from duet_p2p.transport.sctp.transport import FastSctpTransport
from duet_p2p.transport.webrtc import WebRtcPeer
from tests.network.test_interop import messages


async def say(peer: WebRtcPeer, turn: asyncio.Lock, count: int, seed: int) -> None:
    async with turn:
        for message in messages(seed, count):
            peer.send(Channel.BULK, message)
            await peer.drain(Channel.BULK, limits.BULK_BUFFER_BYTES)


async def main() -> None:
    loop = asyncio.get_running_loop()
    peer = WebRtcPeer(controlling=sys.argv[1] == "owner", sctp="fast")
    print(pickle.dumps(await peer.gather()).hex(), flush=True)
    heard, digest = 0, hashlib.sha256()

    def hear(channel: int, data: bytes) -> None:
        nonlocal heard
        heard += 1
        digest.update(data)

    peer.on_frame = hear
    theirs = await loop.run_in_executor(None, sys.stdin.readline)
    try:
        async with asyncio.timeout(20):
            await peer.connect(pickle.loads(bytes.fromhex(theirs)))
    except TimeoutError:
        sys.exit(f"not connected, at the stage {peer._stage}: {peer._ice._connection._check_list}")
    turn = asyncio.Lock()
    saying: list[asyncio.Task[None]] = []
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        word, *numbers = line.split()
        answer: Any = "ok"
        if word == "send":
            saying.append(asyncio.create_task(say(peer, turn, *map(int, numbers))))
        elif word == "size":
            assert isinstance(peer._sctp, FastSctpTransport)
            answer = peer._sctp._association.packet_size.size
        elif word == "heard":
            answer = f"{heard} {digest.hexdigest()}"
        print(answer, flush=True)
    for task in saying:
        task.cancel()
    await peer.close()


if __name__ == "__main__":
    asyncio.run(main())
