"""Which request a position means: `duet.requests[0]`.

A position is dangerous: between what a person read and the call that names row 0, a request can go
away, and another would move up and be accepted unseen. So a position means the row that this
process last *showed*: in a listing (a repr, a loop, `.pandas`, `.requests`), or by a fact that was
read of ``duet.requests[0]`` itself. A row whose request is gone stays empty and raises
`RequestClosed`. What arrived since counts on from there.

A row of a listing stays for whatever reason its request ended. A row of which only a fact was read
stays where the scientist can end it, by taking it back or by its limit; one that was decided makes
room, as a program wants it that decides about row 0 again and again.
"""

from __future__ import annotations

from typing import Final

from duet_p2p.errors import RequestClosed
from duet_p2p.owner.requests import Record, Status

__all__ = ["Positions"]

_NOT_DECIDED: Final = frozenset({Status.PENDING, Status.WITHDRAWN, Status.EXPIRED})


class Positions:
    """The rows that were shown; for the user's thread.

    Attributes:
        shown: the listing that was shown last.
    """

    def __init__(self) -> None:
        self.shown: list[Record] = []
        self._read: list[Record] = []

    def show(self, rows: list[Record]) -> None:
        """These were listed."""
        self.shown, self._read = rows, []

    def read(self, rows: list[Record], record: Record) -> None:
        """A fact of one of these was read."""
        self._read = rows[: rows.index(record) + 1]

    def at(self, key: int, pending: list[Record]) -> tuple[Record, list[Record]]:
        """The request in a row, and all rows as they are now.

        Raises:
            IndexError: there is no such row.
            RequestClosed: the request in it is not pending any more.
        """
        known = list(self.shown)
        known += [r for r in self._read if r not in known and r.status in _NOT_DECIDED]
        rows = known + [record for record in pending if record not in known]
        try:  # the last row is the last that was shown, whatever came since
            record = known[key] if key < 0 and known else rows[key]
        except IndexError:
            raise IndexError(f"there are {len(pending)} requests, none at {key}") from None
        if not record.is_pending:
            raise RequestClosed(
                f"The request that was shown in row {key} is {record.status.value}. "
                "Look at duet.requests again."
            )
        return record, rows
