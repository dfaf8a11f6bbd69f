"""Which private source a data set of the owner's files is.

The same files are one source, whatever root and class they were asked for by: ``"digits/"``,
``"digits/MNIST/raw"``, or `FashionMNIST`, which finds what lies there, too. Else two sums over the
same records would count as sums over others, and each spelling would have a quota of its own. A
copy in another directory is known by its content.

The number of a source follows from the directory, so it is the same in the engine that comes after
a death, in whatever order data sets are opened there.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from duet_p2p.engine.batches import DATASET_SOURCES

__all__ = ["DatasetSources"]


class DatasetSources:
    """The sources of one engine that are files.

    Attributes:
        names: what the owner is shown, by source.
    """

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self.names: dict[int, str] = {}

    def of(self, dataset: Any) -> frozenset[int]:
        """The sources that share a directory or a file with this data set; most often one."""
        found = {self._known[key] for key in dataset.identity if key in self._known}
        if not found:
            code = blake2b(dataset.identity[0].encode(errors="surrogateescape"), digest_size=5)
            source = DATASET_SOURCES - int.from_bytes(code.digest())
            found = {source}
            self.names[source] = f"files in {dataset.place!r}"
        for key in dataset.identity:
            self._known.setdefault(key, max(found))
        return frozenset(found)
