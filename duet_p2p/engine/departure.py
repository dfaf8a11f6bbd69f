"""Where a download starts from: a memory file that holds the frozen bytes, and is sent as it is.

The engine writes a large value once, when it is frozen. The file is sealed, so it is the snapshot:
no later command can change it. Its descriptor goes to the owner's process when the value leaves,
which reads it chunk by chunk and maps nothing: neither of the two processes grows.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import TypeVar

from duet_p2p.engine.landing import check_sealed, mapped, sealed

__all__ = ["Departure", "in_memory"]

_READ_BYTES = 1024 * 1024
_Data = TypeVar("_Data")


class Departure:
    """A sealed memory file of a known size.

    Args:
        fd: of the file; it belongs to this object.
        nbytes: its size.

    Raises:
        ValueError: it is not sealed, or has another size. The descriptor is closed then.
    """

    def __init__(self, fd: int, nbytes: int) -> None:
        self._fd = fd
        self.nbytes = nbytes
        check_sealed(fd, nbytes)

    @classmethod
    def holding(cls, parts: Iterable[memoryview], nbytes: int) -> Departure:
        """A new file of these bytes.

        Raises:
            OSError: no more files, or no memory.
        """
        return cls(sealed(parts), nbytes)

    def __len__(self) -> int:
        return self.nbytes

    def __bytes__(self) -> bytes:
        return self.read(0, self.nbytes)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from an offset on, fewer at the end of the file. Any thread."""
        parts = []
        while size and (part := os.pread(self._fd, size, offset)):
            parts.append(part)
            size, offset = size - len(part), offset + len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def parts(self) -> Iterator[bytes]:
        """All bytes, some at a time."""
        for offset in range(0, self.nbytes, _READ_BYTES):
            yield self.read(offset, _READ_BYTES)

    def map(self) -> memoryview:
        """The bytes in this process, for somebody who wants to look at the value."""
        return mapped(os.dup(self._fd), self.nbytes)

    def descriptor(self) -> int:
        """One more descriptor of the file, for another process; it is the caller's to close."""
        return os.dup(self._fd)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            if self._fd >= 0:
                os.close(self._fd)


def in_memory(data: _Data) -> _Data | memoryview:
    """The bytes of a value for somebody who looks at it."""
    return data.map() if isinstance(data, Departure) else data
