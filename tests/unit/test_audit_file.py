"""The audit log on disk: append-only, private, whole after a crash, shared by processes."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from duet_p2p import limits
from duet_p2p.errors import AuditUnavailable, IdentityFileUnsafe
from duet_p2p.identity.keys import Key
from duet_p2p.identity.signed_head import SignedHead
from duet_p2p.owner.audit_chain import GENESIS, Entry, check
from duet_p2p.owner.audit_file import AuditFile, LogInUse, audit_path

KEY = Key.from_seed(bytes(range(32)), "owner")
ENTRY = Entry("2026-01-01T00:00:00", "S1", "request", '{"name": "loss"}')

deletes_open_files = pytest.mark.skipif(
    sys.platform == "win32", reason="open files are not deleted there"
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.sqlite"


def test_rows_go_on_where_the_file_ended(path):
    first = AuditFile(path)
    assert first.head() == GENESIS
    first.append([ENTRY, ENTRY])
    first.close()
    second = AuditFile(path)
    head = second.append([ENTRY])
    found = check(second.rows())
    assert found
    assert (found.rows, found.head, second.head(), second.count()) == (3, head, head, 3)
    assert [row.number for row in second.rows(last=2)] == [2, 3]
    second.close()


def test_every_connection_waits_for_the_disk(path):
    for _ in range(2):  # one that makes the log, and one that finds it
        file = AuditFile(path)
        assert file.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert file.connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        file.close()


def test_a_log_that_is_there_is_opened_while_another_process_writes_to_it(path, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_BUSY_SECONDS", 0.01)
    other = AuditFile(path)
    assert other.connection.execute("PRAGMA user_version").fetchone() == (1,)
    other.connection.execute("BEGIN IMMEDIATE")
    file = AuditFile(path)
    with pytest.raises(sqlite3.OperationalError, match="locked"):  # waited for, and in vain
        file.append([ENTRY])
    other.connection.execute("COMMIT")
    file.connection.execute("BEGIN")
    with pytest.raises(sqlite3.OperationalError, match="within a transaction"):
        file.append([ENTRY], waits=False)  # that is a mistake, and no other process
    file.close()
    other.close()


def test_rows_are_found_by_text_kind_and_session_newest_first(path):
    file = AuditFile(path)
    facts = ['{"name": "loss_1"}', '{"name": "lossX1"}', '{"name": "100%"}', '{"name": "acc"}']
    file.append([Entry("t", "S1", "request", text) for text in facts])
    file.append([Entry("t", "S2", "release", facts[0])])

    def found(**options):
        return [row.number for row in file.find(**{"limit": 10, **options})]

    assert found() == [5, 4, 3, 2, 1]
    assert found(text="LOSS_1") == [5, 1]  # an underscore is no wildcard
    assert found(text="%") == [3]
    assert found(text="\\") == []
    assert found(text="release") == [5]
    assert found(kind="request", text="loss") == [2, 1]
    assert found(session="S2") == [5]
    assert found(before=4, limit=2) == [3, 2]
    assert found(text="' OR 1=1 --") == []
    file.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rows SET kind = 'share' WHERE number = 1",
        "DELETE FROM rows WHERE number = 2",
        "DELETE FROM rows",
        "INSERT INTO rows SELECT 1, time, session, kind, facts, salt, hash FROM rows",
        "INSERT OR REPLACE INTO rows SELECT 1, time, session, 'x', facts, salt, hash FROM rows",
        "INSERT INTO rows SELECT 9, time, session, kind, facts, salt, hash FROM rows LIMIT 1",
        "INSERT INTO rows SELECT NULL, time, session, kind, facts, salt, hash FROM rows LIMIT 1",
    ],
)
def test_triggers_refuse_what_is_no_append(path, statement):
    file = AuditFile(path)
    file.append([ENTRY, ENTRY])
    with pytest.raises(sqlite3.Error):
        file.connection.execute(statement)
    assert check(file.rows()).rows == 2
    file.close()


def test_damage_past_the_triggers_is_found(path):
    file = AuditFile(path)
    head = file.append([ENTRY] * 5)
    for name in ("rows_stay", "rows_remain"):
        file.connection.execute(f"DROP TRIGGER {name}")
    file.connection.execute("UPDATE rows SET facts = '{}' WHERE number = 3")
    found = check(file.rows())
    assert not found
    assert found.head == head
    assert found.problems == ("row 3 is not what was written behind the row before it",)
    file.connection.execute("DELETE FROM rows WHERE number = 3")
    assert not check(file.rows())
    file.close()


@deletes_open_files
@pytest.mark.parametrize("is_replaced", [False, True])
@pytest.mark.parametrize("end", ["", "-wal", "-shm"])
def test_a_log_that_was_deleted_or_replaced_takes_no_rows(path, end, is_replaced):
    """Rows are in the second file first: without it a crash would lose what was confirmed."""
    AuditFile(path).close()
    file = AuditFile(path)  # one that was there before
    file.append([ENTRY])
    gone = path.with_name(path.name + end)
    gone.unlink()
    if is_replaced:
        gone.touch(0o600)
    with pytest.raises(FileNotFoundError):
        file.append([ENTRY])
    file.close()


@deletes_open_files
def test_a_look_beforehand_is_in_place_of_the_one_behind_the_rows_for_a_moment(path, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_LOOK_SECONDS", 60.0)
    file = AuditFile(path)
    file.look()
    path.unlink()
    file.append([ENTRY])  # it was there a moment ago
    with pytest.raises(FileNotFoundError):
        file.look()
    with pytest.raises(FileNotFoundError):  # what the look found is found again
        file.append([ENTRY])
    file.close()


@deletes_open_files
def test_and_not_for_longer(path, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_LOOK_SECONDS", 0.0)
    file = AuditFile(path)
    file.look()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        file.append([ENTRY])
    file.close()


@deletes_open_files
def test_a_second_file_that_goes_while_rows_are_written_confirms_nothing(path):
    file = AuditFile(path)
    file.append([ENTRY])

    class Deleting:
        """SQLite's connection; the file goes with the last statement."""

        def __init__(self, connection):
            self.connection = connection

        def execute(self, statement):
            result = self.connection.execute(statement)
            if statement == "COMMIT":
                path.with_name(f"{path.name}-wal").unlink()
            return result

        def __getattr__(self, name):
            return getattr(self.connection, name)

    file.connection = Deleting(file.connection)
    with pytest.raises(FileNotFoundError):
        file.append([ENTRY])
    file.close()


def test_a_write_ahead_file_that_was_cut_is_a_cut_end(path, tmp_path):
    """What a crash, or somebody, left of SQLite's second file is a beginning of the chain."""
    file = AuditFile(path)
    heads = [SignedHead.sign(KEY, file.append([ENTRY] * 3)) for _ in range(20)]
    copy = tmp_path / "copy.sqlite"
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", f"{copy}{end}")
    wal = tmp_path / "copy.sqlite-wal"
    os.truncate(wal, wal.stat().st_size // 2)
    found = AuditFile(copy)
    assert 0 < found.count() < 60
    assert check(found.rows())
    assert not check(found.rows(), [heads[-1]])
    assert check(found.rows(), [heads[0]])
    found.close()
    file.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no modes")
def test_the_log_and_what_sqlite_puts_beside_it_are_private(path):
    old = os.umask(0)
    try:
        file = AuditFile(path)
        file.append([ENTRY])
        file.value_key()
    finally:
        os.umask(old)
    modes = {p.name: p.stat().st_mode & 0o777 for p in path.parent.iterdir()}
    assert {"log.sqlite", "log.sqlite-wal", "log.sqlite.key"} <= set(modes)
    assert set(modes.values()) == {0o600}
    file.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no modes")
def test_a_log_that_others_can_read_or_a_link_is_refused(path):
    AuditFile(path).close()
    path.chmod(0o640)
    with pytest.raises(IdentityFileUnsafe, match="chmod 600"):
        AuditFile(path)
    path.chmod(0o600)
    link = path.with_name("link.sqlite")
    link.symlink_to(path)
    with pytest.raises(IdentityFileUnsafe):
        AuditFile(link)


@pytest.mark.skipif(sys.platform == "win32", reason="no modes")
@pytest.mark.parametrize("end", ["-wal", "-shm"])
def test_what_others_can_read_once_it_is_open_is_refused_too(path, monkeypatch, end):
    """SQLite's own files may be made between the look at them and the opening."""
    prepare = AuditFile._prepare
    opened = []

    def prepared(file, create):
        prepare(file, create)
        path.with_name(path.name + end).chmod(0o644)
        opened.append(file.connection)

    monkeypatch.setattr(AuditFile, "_prepare", prepared)
    with pytest.raises(IdentityFileUnsafe, match="chmod 600"):
        AuditFile(path)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_a_group_that_cannot_be_written_keeps_nobody_waiting(path):
    file, other = AuditFile(path), AuditFile(path)
    for wrong in (Entry("t", "S1", None, "{}"), None):
        with pytest.raises(AttributeError):
            file.append([ENTRY, wrong])
        other.append([ENTRY], waits=False)
        file.append([ENTRY], waits=False)
    assert check(file.rows()).rows == 4
    file.close()
    other.close()


def test_what_is_no_log_is_not_written_to(path):
    path.write_bytes(b"this is not a database, it is a letter" * 100)
    path.chmod(0o600)
    with pytest.raises(AuditUnavailable, match="cannot be opened"):
        AuditFile(path)
    assert path.read_bytes().startswith(b"this is not")
    with pytest.raises(AuditUnavailable):
        AuditFile(path.parent / "missing" / "log.sqlite")
    with pytest.raises(FileNotFoundError):
        AuditFile(path.with_name("none.sqlite"), create=False)


@pytest.mark.parametrize("version", [2, 9, -1])
def test_a_log_of_another_release_is_left_alone(path, version):
    file = AuditFile(path)
    file.connection.execute(f"PRAGMA user_version={version}")
    file.close()
    with pytest.raises(AuditUnavailable, match=f"version {version}"):
        AuditFile(path)


def test_the_key_of_values_is_made_once(path):
    file = AuditFile(path)
    key = file.value_key()
    assert len(key) == 32
    assert AuditFile(path).value_key() == key
    assert AuditFile(path.with_name("other.sqlite")).value_key() != key


def test_the_default_is_in_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "duet"))
    assert audit_path() == tmp_path / "duet" / "audit.sqlite"


def test_several_writers_make_one_chain(path):
    files = [AuditFile(path) for _ in range(4)]

    def write(file):
        for number in range(25):
            file.append([ENTRY] * (1 + number % 3))

    threads = [threading.Thread(target=write, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = check(files[0].rows())
    assert found
    assert found.rows == 4 * sum(1 + number % 3 for number in range(25))
    for file in files:
        file.close()


def test_a_log_that_two_begin_at_once_is_waited_for(path):
    """SQLite does not wait for a lock where it would change how it keeps rows."""
    path.touch(mode=0o600)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    ends = threading.Timer(0.1, other.execute, ["COMMIT"])
    ends.start()
    file = AuditFile(path)
    ends.join()
    file.append([ENTRY])
    assert check(file.rows())
    file.close()
    other.close()


def test_but_not_for_ever(path, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_BUSY_SECONDS", 0.01)
    path.touch(mode=0o600)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(AuditUnavailable, match="locked"):
        AuditFile(path)
    other.close()


def test_the_room_that_is_made_holds_no_row(path):
    file = AuditFile(path)
    file.append([ENTRY])
    file.make_room()
    rows_first = path.with_name(f"{path.name}-wal")
    assert rows_first.stat().st_size >= limits.AUDIT_ROOM_BYTES
    assert path.stat().st_size < 100_000
    file.append([ENTRY])
    assert check(file.rows()).rows == 2
    assert rows_first.stat().st_size < limits.AUDIT_ROOM_BYTES + 100_000
    file.close()
    file = AuditFile(path)
    assert check(file.rows()).rows == 2
    file.close()


def test_room_that_is_there_is_not_made_again(path):
    file = AuditFile(path)
    file.append([ENTRY])
    pages = file.connection.execute("PRAGMA cache_size").fetchone()
    file.make_room()
    assert file.connection.execute("PRAGMA cache_size").fetchone() == pages
    said = []
    file.connection.set_trace_callback(said.append)
    file.make_room()
    assert not said
    file.close()


def test_who_is_not_to_wait_for_another_writer_is_told(path):
    file, other = AuditFile(path), AuditFile(path)
    other.connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogInUse):
        file.append([ENTRY], waits=False)
    ends = threading.Timer(0.1, other.connection.execute, ["COMMIT"])
    ends.start()
    file.append([ENTRY])
    ends.join()
    file.append([ENTRY], waits=False)
    assert check(file.rows()).rows == 2
    file.close()
    other.close()


WRITER = """
import sys
from pathlib import Path
from duet_p2p.owner.audit_chain import Entry
from duet_p2p.owner.audit_file import AuditFile
file, number = AuditFile(Path(sys.argv[1])), 0
while True:
    number += 3
    file.append([Entry("t", sys.argv[2], "request", str(n)) for n in range(number - 2, number + 1)])
    print(number, flush=True)
"""


def test_kill_in_the_middle_leaves_a_chain_with_all_that_was_confirmed(path):
    """Two processes write to one log and are killed: it is whole, with all that either was told."""
    writers = {
        name: subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "other")
    }
    lines = {name: [writer.stdout.readline()] for name, writer in writers.items()}
    time.sleep(0.15)
    for writer in writers.values():
        writer.send_signal(signal.SIGKILL)
    file = AuditFile(path)
    for name, writer in writers.items():
        lines[name] += writer.stdout.readlines()
        writer.wait()
        writer.stdout.close()
        confirmed = int([line for line in lines[name] if line.endswith("\n")][-1])
        kept = [row.entry.facts for row in file.rows() if row.entry.session == name]
        assert confirmed >= 3
        assert len(kept) in (confirmed, confirmed + 3)
        assert kept == [str(number) for number in range(1, len(kept) + 1)]
    assert check(file.rows())
    file.append([ENTRY])
    assert check(file.rows())
    file.close()
