"""The audit log on disk: one SQLite file of this user, append-only, one chain for all sessions.

WAL with full sync: what `append` returned from is on the disk. Several processes may append; each
group takes SQLite's write lock, reads the newest row and continues there. Triggers refuse what is
not an append. They stop mistakes and scripts, not somebody who owns the file: for that there is
the chain.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from duet_p2p import limits
from duet_p2p.errors import AuditUnavailable, IdentityFileUnsafe
from duet_p2p.identity.files import check_private_file, home, locked, read_private, write_private
from duet_p2p.objects.words import clean_line
from duet_p2p.owner.audit_chain import GENESIS, Entry, Row, next_row

__all__ = ["AuditFile", "LogInUse", "audit_path", "error_text"]

_VERSION: Final = 1
_KEY_BYTES: Final = 32
_LOOK_SECONDS: Final = 0.005
_BESIDE: Final = ("", "-wal", "-shm")
"""The log, and what SQLite keeps beside it while it is open: rows are in the second one first, and
writers find each other by the third."""
_READ_FIRST: Final = (*_BESIDE, "-journal")
"""What SQLite makes a log of when it opens one; it follows links, and asks for nobody's consent."""
_ERROR_CHARS: Final = 500
_ROW_BYTES: Final = 12  # of the shortest row that a file can hold
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS rows (
    number  INTEGER PRIMARY KEY,
    time    TEXT NOT NULL,
    session TEXT NOT NULL,
    kind    TEXT NOT NULL,
    facts   TEXT NOT NULL,
    salt    BLOB NOT NULL,
    hash    BLOB NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS rows_stay BEFORE UPDATE ON rows
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS rows_remain BEFORE DELETE ON rows
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS rows_follow BEFORE INSERT ON rows
    WHEN NEW.number IS NOT (SELECT coalesce(max(number), 0) + 1 FROM rows)
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
"""


def audit_path() -> Path:
    """Where the log of this user is, unless `launch_duet(audit=…)` names another file."""
    return home() / "audit.sqlite"


class LogInUse(Exception):
    """Another process writes to the log, and was not waited for; nothing was written."""


class AuditFile:
    """One open log. One thread at a time.

    Args:
        path: made with mode 0600 if there is none.
        create: False for reading: a missing file is an error.

    Attributes:
        path: of the file.
        connection: to SQLite, in autocommit.

    Raises:
        AuditUnavailable: it cannot be opened, or is no audit log.
        IdentityFileUnsafe: others can read or change it.
        FileNotFoundError: there is none, and `create` is False.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self._waits = True
        self._looked_at = -math.inf
        try:
            if create:
                _make_private(path)
            check_private_file(path)
            self._check_beside()
            # Locked out by another process for longer than this is a failure like a full disk.
            self.connection = sqlite3.connect(
                path,
                timeout=limits.AUDIT_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        except IdentityFileUnsafe:
            raise
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, FileNotFoundError) and not create:
                raise
            raise _unavailable(path, error) from error
        self.connection.text_factory = _text_or_bytes
        try:
            self._prepare(create)
            self._check_beside()  # again: now they are all there
            self._opened = dict(self._beside())
        except IdentityFileUnsafe:
            self.connection.close()
            raise
        except (OSError, sqlite3.Error) as error:
            self.connection.close()
            raise _unavailable(path, error) from error

    def _prepare(self, create: bool) -> None:
        version = self.connection.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"version {version} is not of this release")
        self._check_schema()
        self.connection.execute("PRAGMA synchronous=FULL")
        if create:
            self._keep_rows_apart()
            if not version:  # else nothing is written, and nobody waited for
                self.connection.executescript(_SCHEMA)
                self.connection.execute(f"PRAGMA user_version={_VERSION}")

    def _check_schema(self) -> None:
        """Refuses a file in which something else is declared than the table and our triggers.

        A trigger can have an append write nothing, and a view under the name of the table can give
        rows without end. That a trigger of ours is gone shows in the chain if it was of use.
        """
        if not _schema_of(self.connection) <= _own_schema():
            raise sqlite3.DatabaseError("it holds something else than an audit log")

    def _check_beside(self) -> None:
        for end in _READ_FIRST:
            with contextlib.suppress(FileNotFoundError):
                check_private_file(self.path.with_name(f"{self.path.name}{end}"))

    def _keep_rows_apart(self) -> None:
        """Has SQLite use WAL.

        Two processes that begin a log at once are in each other's way here, and SQLite itself
        waits for neither.
        """
        end = time.monotonic() + limits.AUDIT_BUSY_SECONDS
        while True:
            try:
                self.connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() >= end:
                    raise
            time.sleep(_LOOK_SECONDS)

    def append(self, entries: Sequence[Entry], *, waits: bool = True) -> bytes:
        """Writes a group with one disk sync and returns the new head.

        Args:
            entries: in order.
            waits: up to `AUDIT_BUSY_SECONDS` for another process that writes to the log.

        Raises:
            LogInUse: another one does, and `waits` is False.
            sqlite3.Error: nothing of the group was written.
            OSError: the file, or one of those beside it, was moved or deleted. SQLite would write
                on into one without a name, which nobody can read afterwards.
        """
        connection = self.connection
        self._begin(waits)
        try:
            number, previous = self._last()
            rows = []
            for entry in entries:
                number += 1
                row = next_row(number, previous, entry)
                previous = row.hash
                rows.append(
                    (number, entry.time, entry.session, entry.kind, entry.facts, row.salt, row.hash)
                )
            connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
        except BaseException:
            # SQLite has rolled back by itself after some errors; then there is nothing to do.
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        if time.monotonic() - self._looked_at > limits.AUDIT_LOOK_SECONDS:
            self._check_files()  # else nobody can read them
        return previous

    def look(self) -> None:
        """Does beforehand what an `append` that follows soon would have to do.

        The files are looked for, and what reads the newest row was at work a moment ago.

        Raises:
            OSError, sqlite3.Error: as `append`, which will raise it again.
        """
        self._looked_at = -math.inf
        self._check_files()
        self._last()
        self._looked_at = time.monotonic()

    def make_room(self) -> None:
        """Gives the file that rows go to first its full size, by a row that is taken back.

        What is written over is on the disk in three quarters of the time of what is added. Does
        nothing where the file is large enough, or the disk has no room.
        """
        size = os.stat(f"{self.path}-wal").st_size
        if size >= limits.AUDIT_ROOM_BYTES:
            return
        pages = self.connection.execute("PRAGMA cache_size").fetchone()[0]
        with contextlib.suppress(sqlite3.Error):
            self._begin(waits=True)
            self.connection.execute("PRAGMA cache_size=16")  # so that the row is written at all
            self.connection.execute(
                "INSERT INTO rows SELECT coalesce(max(number), 0) + 1, '', '', '', '', "
                "zeroblob(?), x'' FROM rows",
                (limits.AUDIT_ROOM_BYTES,),
            )
        with contextlib.suppress(sqlite3.Error):
            self.connection.execute("ROLLBACK")
        self.connection.execute(f"PRAGMA cache_size={pages}")

    def _begin(self, waits: bool) -> None:
        if waits is not self._waits:
            seconds = limits.AUDIT_BUSY_SECONDS if waits else 0
            self.connection.execute(f"PRAGMA busy_timeout={1_000 * seconds:.0f}")
            self._waits = waits
        try:
            self.connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not waits and _is_busy(error):
                raise LogInUse from error
            raise

    def _beside(self) -> Iterator[tuple[str, os.stat_result]]:
        for end in _BESIDE:
            path = f"{self.path}{end}"
            if not end or os.path.lexists(path):
                yield path, os.lstat(path)

    def _check_files(self) -> None:
        for path, opened in self._opened.items():
            if not os.path.samestat(os.lstat(path), opened):
                raise FileNotFoundError(f"another file is in the place of {path}")

    def head(self) -> bytes:
        """Hash of the newest row."""
        return self._last()[1]

    def _last(self) -> tuple[int, bytes]:
        found = self.connection.execute(
            "SELECT number, hash FROM rows ORDER BY number DESC LIMIT 1"
        ).fetchone()
        return (0, GENESIS) if found is None else (int(found[0]), bytes(found[1]))

    def rows(self, *, last: int | None = None) -> Iterator[Row]:
        """The rows in order, all or the last ones.

        Raises:
            sqlite3.Error: the file is damaged. One that was made for it could lead back to the same
                rows for ever.
        """
        query = "SELECT number, time, session, kind, facts, salt, hash FROM rows"
        if last is None:
            cursor = self.connection.execute(f"{query} ORDER BY number")
        else:
            cursor = self.connection.execute(
                f"SELECT * FROM ({query} ORDER BY number DESC LIMIT ?) ORDER BY number", (last,)
            )
        newest = -math.inf
        for columns in cursor:
            if columns[0] <= newest:
                raise sqlite3.DatabaseError("its rows are not in their order")
            newest = columns[0]
            yield _row(columns)

    def find(
        self, text: str = "", *, kind: str = "", session: str = "", before: int = 0, limit: int
    ) -> list[Row]:
        """Rows whose kind or facts contain a text, newest first.

        Args:
            text: upper and lower case of ASCII letters are the same; empty: all.
            kind: of the row; empty: all.
            session: the owner's ID; empty: all sessions.
            before: only rows with smaller numbers; 0: from the end.
            limit: most rows.
        """
        pattern = "".join(f"\\{c}" if c in "\\%_" else c for c in text)
        self.count()  # else a search for what is in no row would not end in some files
        cursor = self.connection.execute(
            "SELECT number, time, session, kind, facts, salt, hash FROM rows "
            "WHERE (? = 0 OR number < ?) AND (? = '' OR kind = ?) AND (? = '' OR session = ?) "
            "AND (? = '' OR kind || ' ' || facts LIKE '%' || ? || '%' ESCAPE '\\') "
            "ORDER BY number DESC LIMIT ?",
            (before, before, kind, kind, session, session, text, pattern, limit),
        )
        return list(map(_row, cursor))

    def count(self) -> int:
        """How many rows there are.

        Raises:
            sqlite3.Error: the file is damaged. One that was made for it could lead back to the same
                rows for ever, so no more are counted than its bytes can hold.
        """
        pages, size = (
            self.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "page_size")
        )
        most = pages * size // _ROW_BYTES
        count = self.connection.execute(
            "SELECT count(*) FROM (SELECT number FROM rows LIMIT ?)", (most + 1,)
        ).fetchone()[0]
        if count > most:
            raise sqlite3.DatabaseError("its rows are not in their order")
        return int(count)

    def value_key(self) -> bytes:
        """The key of the HMACs of values, made on first use; a file beside the log.

        Raises:
            IdentityFileUnsafe: others can read it.
        """
        path = self.path.with_name(f"{self.path.name}.key")
        with locked(path):
            if not path.exists():
                write_private(path, secrets.token_bytes(_KEY_BYTES))
            return read_private(path, limit=_KEY_BYTES)

    def close(self) -> None:
        """Closes the file."""
        self.connection.close()


def _is_busy(error: sqlite3.OperationalError) -> bool:
    """Whether another connection holds a lock that is wanted."""
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _schema_of(connection: sqlite3.Connection) -> frozenset[tuple[Any, ...]]:
    """Everything that is declared in a file."""
    return frozenset(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


@functools.cache
def _own_schema() -> frozenset[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(_SCHEMA)
        return _schema_of(connection)


def _row(columns: Sequence[Any]) -> Row:
    number, *texts, salt, digest = columns
    return Row(int(number), Entry(*map(str, texts)), _blob(salt), _blob(digest))


def _blob(value: object) -> bytes:
    """Bytes as they stand; what somebody put in their place fits no hash."""
    return value if isinstance(value, bytes) else b""


def _text_or_bytes(data: bytes) -> str | bytes:
    """Text as it stands; what is none fits no hash, and the other rows can still be read."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _make_private(path: Path) -> None:
    """SQLite gives its own files beside the log the mode of the log."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NOFOLLOW, mode=0o600))


def error_text(error: Exception) -> str:
    """What an error says, for people: SQLite repeats what stands in a file."""
    return clean_line(str(error), _ERROR_CHARS)


def _unavailable(path: Path, error: Exception) -> AuditUnavailable:
    return AuditUnavailable(
        f"The audit log {path} cannot be opened: {error_text(error)}. Make room on its disk, let "
        "this user write there, or name another file with launch_duet(audit=…)."
    )
