"""Audit logs that somebody else made or changed: what is read of them, and what is written to them.

A log is a file of SQLite, which is more than rows: views, triggers and a second file that is read
first. Who is given one looks at it with `duet audit`, and an owner may have one in the place of
their own.
"""

import os
import sqlite3
import sys
from contextlib import closing

import pytest

from duet_p2p import cli
from duet_p2p.errors import AuditUnavailable, IdentityFileUnsafe
from duet_p2p.owner.audit_chain import Entry, check
from duet_p2p.owner.audit_file import AuditFile
from duet_p2p.owner.audit_view import AuditView
from tests.hostile_kit import assert_harmless_text

ENTRY = Entry("2026-01-01T00:00:00", "S", "release", '{"name": "a"}')
ESCAPES = "\x1b]0;title\x07\x1b[2J\u202e"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "log.sqlite"
    with closing(AuditFile(path)) as file:
        file.append([ENTRY] * 3)
    return path


def change(path, *statements):
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


LOOKS = {
    "show": lambda view: repr(view),
    "rows": lambda view: view.rows(),
    "search": lambda view: view.find("a", limit=10),
    "verify": lambda view: view.verify(),
    "table": lambda view: view.pandas,
    "count": lambda view: len(view),
    "export": lambda view: view.export(view.path.with_name("out")),
}
DECLARED = {
    "a trigger that drops what is appended": (
        "CREATE TRIGGER t BEFORE INSERT ON rows BEGIN SELECT RAISE(IGNORE); END",
    ),
    "a trigger that changes it": (
        "DROP TRIGGER rows_stay",
        "CREATE TRIGGER rows_stay AFTER INSERT ON rows "
        "BEGIN UPDATE rows SET facts = '{}' WHERE number = NEW.number; END",
    ),
    "rows without end": (
        "DROP TABLE rows",
        "CREATE VIEW rows AS WITH RECURSIVE n(number) AS "
        "(SELECT 1 UNION ALL SELECT number + 1 FROM n) SELECT number, 't' AS time, 's' AS session, "
        "'k' AS kind, '{}' AS facts, x'00' AS salt, x'00' AS hash FROM n",
    ),
    "rows of any type": (
        "DROP TABLE rows",
        "CREATE TABLE rows (number, time, session, kind, facts, salt, hash)",
        "INSERT INTO rows VALUES ('one', 1, NULL, x'00', 2.5, 'salt', 'hash')",
    ),
    "a table of somebody else": ("CREATE TABLE letters (text)",),
    "escapes in a name": ("DROP TABLE rows", f'CREATE VIEW rows AS SELECT * FROM "{ESCAPES}"'),
}


@pytest.mark.parametrize("declared", DECLARED)
def test_what_declares_something_else_than_a_log_is_none(path, declared):
    change(path, *DECLARED[declared])
    before = path.read_bytes()
    with pytest.raises(AuditUnavailable, match="something else than an audit log"):
        AuditFile(path)
    for look in LOOKS.values():
        with pytest.raises(AuditUnavailable) as refused:
            look(AuditView(path))
        assert_harmless_text(str(refused.value), lines=False)
    assert path.read_bytes() == before


def test_another_programs_database_is_not_written_to(tmp_path):
    path = tmp_path / "letters.sqlite"
    change(path, "CREATE TABLE letters (text)", "INSERT INTO letters VALUES ('dear')")
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(AuditUnavailable, match="something else than an audit log"):
        AuditFile(path)
    assert path.read_bytes() == before


def test_what_sqlite_says_of_a_file_is_shown_as_text(path, monkeypatch):
    """Its errors repeat names and texts of the file, and `duet audit` prints errors."""
    change(
        path,
        "PRAGMA writable_schema=ON",
        f"UPDATE sqlite_master SET name = '{ESCAPES}', sql = '{ESCAPES}' WHERE name = 'rows_stay'",
    )
    with pytest.raises(AuditUnavailable) as refused:
        AuditView(path).verify()
    assert "title" in str(refused.value)
    assert_harmless_text(str(refused.value), lines=False)
    monkeypatch.setattr(sys, "argv", ["duet", "audit", "show", "--path", str(path)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert_harmless_text(str(ended.value.code), lines=False)


def test_bytes_that_are_no_text_damage_one_row(path):
    change(
        path,
        "DROP TRIGGER rows_stay",
        "UPDATE rows SET facts = CAST(x'ff1b5b324a' AS TEXT) WHERE number = 2",
    )
    view = AuditView(path)
    assert view.verify().problems == ("row 2 is not what was written behind the row before it",)
    assert [row.number for row in view.rows()] == [1, 2, 3]
    assert_harmless_text(repr(view))
    assert view.export(path.with_name("out")) == 3


def test_text_in_the_place_of_bytes_damages_one_row(path):
    """The table is strict again, as it was not while somebody wrote to it."""
    with closing(sqlite3.connect(path)) as connection:
        (strict,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'rows'")
    said = "UPDATE sqlite_master SET sql = '{}' WHERE name = 'rows'"
    change(path, "PRAGMA writable_schema=ON", said.format(strict[0].removesuffix(" STRICT")))
    change(
        path,
        "INSERT INTO rows VALUES (4, 't', 's', 'k', '{}', 'salt', 7)",
        "PRAGMA writable_schema=ON",
        said.format(strict[0]),
    )
    view = AuditView(path)
    assert view.verify().problems == ("row 4 is not what was written behind the row before it",)
    assert [row.number for row in view.rows()] == [1, 2, 3, 4]


@pytest.mark.parametrize("chars", [1, 3_000], ids=["many in a page", "one in a page"])
def test_a_file_that_leads_back_to_the_same_rows_is_not_followed(path, chars):
    """A page of pages whose entries are all one page; with some above each other it has no end."""
    with closing(AuditFile(path)) as file:
        file.append([Entry("2026-01-01T00:00:00", "S", "release", "a" * chars)] * 300)
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'rows'")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    data, start = bytearray(path.read_bytes()), (root[0] - 1) * size
    assert data[start] == 5  # of pages, not of rows
    count = int.from_bytes(data[start + 3 : start + 5], "big")
    cells = [start + int.from_bytes(data[at : at + 2], "big")
             for at in range(start + 12, start + 12 + 2 * count, 2)]  # fmt: skip
    for cell in cells:
        data[cell : cell + 4] = data[cells[1] : cells[1] + 4]  # in the first are shorter rows, too
    path.write_bytes(data)
    for look in (AuditView.verify, AuditView.rows):
        with pytest.raises(AuditUnavailable, match="not in their order"):
            look(AuditView(path))


PAGE, CELLS, RIGHTMOST = 4096, slice(3, 5), slice(8, 12)


def leading_back(path, levels):
    """Has so many pages above each other, each of whose entries all are the next one."""
    with closing(AuditFile(path)) as file:
        file.append([ENTRY] * 500)
        file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert file.connection.execute("PRAGMA page_size").fetchone() == (PAGE,)
        (root,) = file.connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'rows'")
    data, start = bytearray(path.read_bytes()), (root[0] - 1) * PAGE
    last = len(data) // PAGE
    page, above = data[start : start + PAGE], [start]
    for level in range(levels):
        data += page
        above.append((last + level) * PAGE)
    for start, below in zip(above, [at // PAGE + 1 for at in above[1:]], strict=False):
        count = int.from_bytes(page[CELLS], "big")
        for at in range(12, 12 + 2 * count, 2):
            cell = start + int.from_bytes(page[at : at + 2], "big")
            data[cell : cell + 4] = below.to_bytes(4, "big")
        data[start + RIGHTMOST.start : start + RIGHTMOST.stop] = below.to_bytes(4, "big")
    data[28:32] = (len(data) // PAGE).to_bytes(4, "big")  # how many pages there are
    path.write_bytes(data)


@pytest.mark.parametrize("look", ["count", "show", "search"])
def test_rows_that_lead_back_are_not_counted_for_ever(path, look):
    """With as many levels as SQLite follows it would take longer than anybody lives."""
    leading_back(path, 3)
    with pytest.raises(AuditUnavailable, match="not in their order"):
        LOOKS[look](AuditView(path))


def test_a_log_is_counted(path):
    with closing(AuditFile(path)) as file:
        file.append([Entry("", "", "", "")] * 2_000)  # rows as short as ours can be
    assert len(AuditView(path)) == 2_003


def test_an_export_that_ends_in_the_middle_leaves_no_file(path):
    """Part of a log is an unbroken chain, too."""
    with closing(AuditFile(path)) as file:
        file.append([ENTRY] * 500)
        file.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[-PAGE:] = bytes(PAGE)
    path.write_bytes(data)
    out = path.with_name("out")
    with pytest.raises(AuditUnavailable):
        AuditView(path).export(out)
    assert not out.exists()
    with pytest.raises(AuditUnavailable, match="no audit log"):
        AuditView(path.with_name("none")).export(out)
    assert not out.exists()


def test_a_log_without_its_triggers_is_read_and_continued(path):
    """Who dropped one shows in the chain if it was of use."""
    change(path, "DROP TRIGGER rows_stay", "DROP TRIGGER rows_remain")
    assert AuditView(path).verify()
    with closing(AuditFile(path)) as file:
        file.append([ENTRY])
        assert check(file.rows())


@pytest.mark.skipif(sys.platform == "win32", reason="no modes")
@pytest.mark.parametrize("end", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["link", "of others"])
def test_what_sqlite_would_read_first_is_as_private_as_the_log(path, end, kind):
    """Rows come from there, and a link there would have SQLite write where it leads to."""
    beside, elsewhere = path.with_name(path.name + end), path.with_name("elsewhere")
    elsewhere.write_bytes(b"a letter")
    if kind == "link":
        beside.symlink_to(elsewhere)
    else:
        beside.write_bytes(b"a letter")
        beside.chmod(0o666)
    for is_made in (True, False):
        with pytest.raises(IdentityFileUnsafe):
            AuditFile(path, create=is_made)
    with pytest.raises(IdentityFileUnsafe):
        AuditView(path).verify()
    assert elsewhere.read_bytes() == b"a letter"
    assert os.path.lexists(beside)
