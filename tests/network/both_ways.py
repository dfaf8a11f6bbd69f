"""Both peers in one process, for a network namespace of its own; prints ``equal``."""

import asyncio

from tests.network.test_interop import connect, exchange, peers


async def main() -> None:
    owner, scientist = peers(("fast", "fast"))
    await connect(owner, scientist)
    await exchange(owner, scientist, 100)
    await asyncio.gather(owner.close(), scientist.close())
    print("equal")


if __name__ == "__main__":
    asyncio.run(main())
