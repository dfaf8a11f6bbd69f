"""`duet.audit` and ``duet audit``: the log for people.

Everything here reads with a connection of its own, in the caller's thread; a session's writer goes
on meanwhile.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from duet_p2p.errors import AuditUnavailable
from duet_p2p.identity.signed_head import SignedHead
from duet_p2p.objects import cards
from duet_p2p.objects.words import clean_line
from duet_p2p.owner.audit_chain import Check, Entry, Row, check
from duet_p2p.owner.audit_file import AuditFile, error_text
from duet_p2p.wire.pairs import unique

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["AuditView", "check_export", "exported", "line_of", "whole_of"]

_SHOWN_ROWS: Final = 20
_LINE_CHARS: Final = 240
_WORD_CHARS: Final = 32
_SAID_CHARS: Final = 48
_WHAT_CHARS: Final = 80
_FACT_CHARS: Final = 2_000
_FIRST: Final = ("status", "how", "action", "state")
_ASKED: Final = ("what", "value_kind", "elements", "min_records", "injected", "source_names")
"""What a request is about, as far as the engine worked it out."""
_WORDS: Final = ("name", "reason", "tags", "description")
"""Facts of the scientist's choice, or of whoever shared something."""
_ORDER: Final = (*_FIRST, *_ASKED, *_WORDS, "request")
"""What became of it, what it is, then the words, and what other rows about it say, too."""
_IF_TRUE: Final = ("injected", "failed")
_ROOM: Final = {"what": _WHAT_CHARS, **dict.fromkeys(_WORDS, _SAID_CHARS)}
_ONE_WORD: Final = re.compile(r"[^\s='\"]+")


class AuditView:
    """The audit log of this user, all sessions.

    Args:
        path: of the log.
        flush: has what a running session knows written first.

    Attributes:
        path: of the log.
    """

    def __init__(self, path: Path, *, flush: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self._flush = flush

    def rows(self, last: int | None = None) -> list[Row]:
        """The rows, oldest first; all, or the last ones.

        Raises:
            AuditUnavailable: the log cannot be read.
        """
        with self._open() as file:
            return list(file.rows(last=last))

    def find(
        self,
        text: str = "",
        *,
        kind: str = "",
        session: str = "",
        before: int = 0,
        limit: int = 100,
    ) -> list[Row]:
        """Rows that contain a text, newest first; see `AuditFile.find`.

        Raises:
            AuditUnavailable: the log cannot be read.
        """
        with self._open() as file:
            return file.find(text, kind=kind, session=session, before=before, limit=limit)

    @property
    def pandas(self) -> DataFrame:
        """A table of all rows; facts are dicts."""
        from duet_p2p.objects.frame import frame_of

        return frame_of(
            [
                {
                    "Number": row.number,
                    "Time": row.entry.time,
                    "Session": row.entry.session,
                    "Kind": row.entry.kind,
                    "Facts": _facts(row),
                }
                for row in self.rows()
            ],
            ["Number", "Time", "Session", "Kind", "Facts"],
        )

    def verify(self, *heads: str | SignedHead) -> Check:
        """Whether any row was changed, removed, moved or, with a head, cut off at the end.

        Args:
            heads: what scientists kept: their `duet.audit_head`, or its text.

        Raises:
            ValueError: a head's text is none.
            AuditUnavailable: the log cannot be read at all.
        """
        kept = [head if isinstance(head, SignedHead) else SignedHead.parse(head) for head in heads]
        with self._open() as file:
            return check(file.rows(), kept)

    def export(self, path: str | Path) -> int:
        """Writes all rows as lines of JSON, salts included, so that others can check the chain.

        Args:
            path: a new file; it is made with mode 0600.

        Returns:
            How many rows there are.

        Raises:
            FileExistsError: there is such a file.
            AuditUnavailable: the log cannot be read.
            OSError: the new file cannot be written, to its end; then there is none.
        """
        count = 0
        with self._open() as file:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode=0o600)
            try:
                with open(fd, "w", encoding="utf-8") as out:
                    for row in file.rows():
                        out.write(json.dumps(exported(row), ensure_ascii=False) + "\n")
                        count += 1
            except BaseException:  # part of a log is an unbroken chain too
                os.unlink(path)
                raise
        return count

    def __len__(self) -> int:
        with self._open() as file:
            return file.count()

    def __repr__(self) -> str:
        with self._open() as file:
            count, rows = file.count(), list(file.rows(last=_SHOWN_ROWS))
        lines = [line_of(row) for row in rows]
        older = [f"… {count - len(rows):,} older rows"] if count > len(rows) else []
        return "\n".join([f"Audit log {self.path}, {count:,} rows", *older, *lines])

    def _repr_html_(self) -> str:
        with self._open() as file:
            count, rows = file.count(), list(file.rows(last=_SHOWN_ROWS))
        shown = [(r.number, r.entry.time[:19], r.entry.kind, _told(r)) for r in rows]
        title = f"Audit log {self.path}, the last {len(rows):,} of {count:,} rows"
        return cards.table(title, ("", "time", "kind", "facts"), shown, empty="Nothing is logged.")

    @contextlib.contextmanager
    def _open(self) -> Iterator[AuditFile]:
        with contextlib.suppress(AuditUnavailable):  # what is written can be read all the same
            self._flush()
        try:
            file = AuditFile(self.path, create=False)
        except FileNotFoundError:
            raise AuditUnavailable(f"There is no audit log at {self.path}.") from None
        try:
            yield file
        except sqlite3.Error as error:
            raise AuditUnavailable(f"{self.path} cannot be read: {error_text(error)}") from error
        finally:
            file.close()


def line_of(row: Row) -> str:
    """One row for people; texts of the scientist are cleaned and cut."""
    return f"{_begun(row)}  {_told(row)}"


def whole_of(row: Row) -> str:
    """One row with all that it says, a fact a line; texts of the scientist are cleaned."""
    facts = _told_facts(_facts(row))
    names = dict.fromkeys([*(key for key in _ORDER if key in facts), *facts])
    shown = [(clean_line(key, _WORD_CHARS), clean_line(str(facts[key]), _FACT_CHARS))
             for key in names]  # fmt: skip
    return "\n".join([_begun(row).rstrip(), *(f"        {key:<14} {text}" for key, text in shown)])


def _begun(row: Row) -> str:
    entry = row.entry  # as it stands there: somebody may have changed it
    time, kind = (clean_line(text, _WORD_CHARS) for text in (entry.time[:19], entry.kind))
    return f"{row.number:>6}  {time}  {kind:<8}"


def _told_facts(facts: dict[str, Any]) -> dict[str, Any]:
    """Those that say something."""
    return {
        key: value
        for key, value in facts.items()
        if value not in ("", None, [], {}) and (value is not False or key not in _IF_TRUE)
    }


def _told(row: Row) -> str:
    facts = _facts(row)
    said = {key: _plain(value) for key, value in _told_facts(facts).items()}
    for key, chars in _ROOM.items():
        if len(said.get(key, "")) > chars:  # long words leave room for what is known
            said[key] = repr(clean_line(facts[key], chars - 2))
    order = dict.fromkeys([*_ORDER, *said])  # all the rest may be cut off
    return clean_line(" ".join(f"{key}={said[key]}" for key in order if key in said), _LINE_CHARS)


def _plain(value: Any) -> str:
    """A fact as one word: no text looks like the next fact."""
    if isinstance(value, str) and not _ONE_WORD.fullmatch(value):
        return repr(value)
    return str(value)


def _facts(row: Row) -> dict[str, Any]:
    try:
        facts = json.loads(row.entry.facts)
    except (ValueError, RecursionError):  # somebody changed it; `verify` says so
        return {"text": row.entry.facts}
    return facts if isinstance(facts, dict) else {"text": row.entry.facts}


def check_export(lines: Iterable[str], *heads: str | SignedHead) -> Check:
    """The same as `AuditView.verify` on lines that `AuditView.export` wrote, for whoever got them.

    Args:
        lines: of an open file, for example.
        heads: what scientists kept: their `duet.audit_head`, or its text.

    Raises:
        ValueError: a head's text is none, or a line is not one of an export.
    """
    kept = [head if isinstance(head, SignedHead) else SignedHead.parse(head) for head in heads]
    return check((_imported(line) for line in lines), kept)


def _imported(line: str) -> Row:
    """What is read as a row says nothing else to whoever reads the line."""
    try:
        found = json.loads(line, object_pairs_hook=unique)
        entry = Entry(*(str(found[name]) for name in ("time", "session", "kind", "facts")))
        for text in (entry.time, entry.session, entry.kind, entry.facts):
            text.encode()  # what is no text was never hashed
        salt, digest = (bytes.fromhex(found[name]) for name in ("salt", "hash"))
        row = Row(int(found["number"]), entry, salt, digest)
        if exported(row) != found or type(found["number"]) is not int:
            raise ValueError("it would be written otherwise")
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError("this is no line of an exported audit log") from error
    return row


def exported(row: Row) -> dict[str, Any]:
    """One row with all that is needed to check the chain."""
    entry = row.entry
    return {
        "number": row.number,
        "time": entry.time,
        "session": entry.session,
        "kind": entry.kind,
        "facts": entry.facts,
        "salt": row.salt.hex(),
        "hash": row.hash.hex(),
    }
