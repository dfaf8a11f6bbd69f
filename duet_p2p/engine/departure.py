"""Where a download starts from: a memory file that holds the frozen bytes, and is sent as it is.

The engine writes a large value once, when it is frozen, before it looks at another command. The
file is sealed then, so it is the snapshot: nobody can change it. Its descriptor goes to the owner's
process with the facts, which is before the bytes are written: whatever a rule lets out begins to
leave while the rest is written. How much is there is the size of the file; that no more will come,
its seals. The owner's process reads it chunk by chunk and maps nothing, so neither process grows.

Until it is sealed the engine's process could still change what was read. So whoever keeps a record
of the bytes waits for the seals before it reads the first one, and so does who looks at them.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from duet_p2p.engine.landing import SEALS, check_sealed, mapped, memory_file, seal
from duet_p2p.limits import DEPARTURE_LOOK_SECONDS, DEPARTURE_SECONDS

__all__ = ["Departure", "in_memory", "written"]

_READ_BYTES = 1024 * 1024
_Data = TypeVar("_Data")


class Departure:
    """A memory file of a known size, sealed or on its way there.

    Args:
        fd: of the file; it belongs to this object.
        nbytes: its size when it is sealed.
        is_written: whether it has to be sealed by now.

    Raises:
        ValueError: it is not sealed, or has another size. The descriptor is closed then.
        OSError: it is no memory file. The same.
    """

    def __init__(self, fd: int, nbytes: int, *, is_written: bool = True) -> None:
        self._fd = fd
        self.nbytes = nbytes
        self._is_written = is_written
        if is_written:
            check_sealed(fd, nbytes)
        elif nbytes <= 0 or fcntl.fcntl(fd, fcntl.F_GET_SEALS) & ~SEALS:
            raise ValueError("a memory file of no size, or with foreign seals")

    @classmethod
    def empty(cls, nbytes: int, fd: int | None = None) -> Departure:
        """A new file, to be written; or this one, without bytes and perhaps with pages.

        Raises:
            OSError: no more files.
        """
        return cls(memory_file() if fd is None else fd, nbytes, is_written=False)

    @classmethod
    def holding(cls, parts: Iterable[memoryview], nbytes: int) -> Departure:
        """A new file of these bytes.

        Raises:
            OSError: no more files, or no memory.
        """
        made = cls.empty(nbytes)
        made.write(parts)
        return made

    def write(self, parts: Iterable[memoryview]) -> None:
        """Puts all bytes into the new file and seals it; for whoever made it.

        Raises:
            OSError: no memory. It is sealed all the same: too short, which readers notice. Or
                somebody holds a page of it all the time; then it is not, and readers give it up.
        """
        try:
            for part in parts:
                while part:
                    part = part[os.write(self._fd, part) :]
            os.ftruncate(self._fd, self.nbytes)  # pages behind the end, if there are any
        finally:
            seal(self._fd)
        self.ready()

    def ready(self) -> int:
        """Bytes from the beginning that can be read.

        Raises:
            EOFError: there are fewer than there should be, and no more will come.
        """
        if self._is_written:
            return self.nbytes
        is_sealed = fcntl.fcntl(self._fd, fcntl.F_GET_SEALS) & SEALS == SEALS
        size = os.fstat(self._fd).st_size  # after the seals: nothing changes behind them
        if not is_sealed:
            return min(size, self.nbytes)
        if size != self.nbytes:
            raise EOFError("a value was not written to its end")
        self._is_written = True
        return size

    @property
    def is_written(self) -> bool:
        """Whether all of it is there, sealed; EOFError as for `ready`."""
        self.ready()
        return self._is_written

    def __len__(self) -> int:
        return self.nbytes

    def __bytes__(self) -> bytes:
        return b"".join(self.parts())

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from an offset on, fewer at the end of the file. Any thread."""
        parts = []
        while size and (part := os.pread(self._fd, size, offset)):
            parts.append(part)
            size, offset = size - len(part), offset + len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def parts(self) -> Iterator[bytes]:
        """All bytes, some at a time, once they cannot change any more; waits for that.

        Raises:
            EOFError: they do not come.
        """
        deadline = time.monotonic() + DEPARTURE_SECONDS
        while not self.is_written:
            if time.monotonic() > deadline:
                raise EOFError("a value is not written in time")
            time.sleep(DEPARTURE_LOOK_SECONDS)
        for offset in range(0, self.nbytes, _READ_BYTES):
            yield self.read(offset, _READ_BYTES)

    def map(self) -> memoryview:
        """The bytes in this process, for somebody who wants to look at the value."""
        return mapped(self.descriptor(), self.nbytes)

    def descriptor(self) -> int:
        """One more descriptor of the file, for another process; it is the caller's to close."""
        return os.dup(self._fd)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            if self._fd >= 0:
                os.close(self._fd)


async def written(data: object) -> None:
    """Waits until a value that the engine still writes is all there.

    Raises:
        EOFError: it will not be.
        TimeoutError: it is not in time.
    """
    if isinstance(data, Departure):
        async with asyncio.timeout(DEPARTURE_SECONDS):
            while not data.is_written:
                await asyncio.sleep(DEPARTURE_LOOK_SECONDS)


def in_memory(data: _Data | Departure) -> _Data | memoryview:
    """The bytes of a value for somebody who looks at it."""
    return data.map() if isinstance(data, Departure) else data
