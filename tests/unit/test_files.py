import os
import subprocess
import sys
import threading

import pytest

from duet_p2p import limits
from duet_p2p.errors import IdentityFileUnsafe, IdentityInUse
from duet_p2p.identity import files
from duet_p2p.identity.files import (
    check_private_file,
    home,
    is_locked,
    locked,
    open_identity,
    read_private,
    try_lock,
    unlock,
    write_private,
)

OPENS = """
import sys
from duet_p2p.errors import IdentityInUse
from duet_p2p.identity.files import open_identity
try:
    open_identity("lab", "owner")
except IdentityInUse as error:
    sys.exit(str(error))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "duet"))
    return home()


def mode(path):
    return path.lstat().st_mode & 0o777


def test_the_folder_is_made_private(folder):
    assert mode(folder) == 0o700
    assert home() == folder


def test_an_open_folder_is_refused_with_the_command(folder):
    folder.chmod(0o750)
    with pytest.raises(IdentityFileUnsafe, match=f"chmod 700 {folder}$"):
        home()


def test_a_link_is_no_folder(folder, tmp_path, monkeypatch):
    link = tmp_path / "link"
    link.symlink_to(folder)
    monkeypatch.setenv("DUET_HOME", str(link))
    with pytest.raises(IdentityFileUnsafe, match="not a folder"):
        home()


def test_files_are_written_private_and_whole(folder):
    path = folder / "a"
    write_private(path, b"one")
    write_private(path, b"two")
    assert read_private(path) == b"two"
    assert mode(path) == 0o600
    assert [entry.name for entry in folder.iterdir()] == ["a"]


def test_a_crash_in_mid_write_leaves_the_old_file(folder, monkeypatch):
    path = folder / "a"
    write_private(path, b"old")

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_private(path, b"new")
    assert read_private(path) == b"old"
    assert [entry.name for entry in folder.iterdir()] == ["a"]


@pytest.mark.parametrize("bits", [0o040, 0o020, 0o004, 0o002])
def test_a_file_open_to_others_is_refused_with_the_command(folder, bits):
    path = folder / "a"
    write_private(path, b"x")
    path.chmod(0o600 | bits)
    for use in (check_private_file, read_private):
        with pytest.raises(IdentityFileUnsafe, match=f"chmod 600 {path}$"):
            use(path)


def test_links_and_folders_are_no_files(folder):
    write_private(folder / "a", b"x")
    (folder / "link").symlink_to(folder / "a")
    (folder / "deeper").mkdir()
    for name in ("link", "deeper"):
        with pytest.raises(IdentityFileUnsafe):
            read_private(folder / name)
    (folder / "a.lock").symlink_to(folder / "a")
    with pytest.raises(IdentityFileUnsafe):
        try_lock(folder / "a.lock")


def test_a_foreign_file_is_refused(folder, monkeypatch):
    path = folder / "a"
    write_private(path, b"x")
    monkeypatch.setattr(files.os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(IdentityFileUnsafe, match="another user"):
        read_private(path)


def test_size_limit(folder):
    write_private(folder / "a", b"x" * 10)
    assert len(read_private(folder / "a", limit=10)) == 10
    with pytest.raises(IdentityFileUnsafe, match="too large"):
        read_private(folder / "a", limit=9)


def test_two_writers_lose_nothing(folder):
    path = folder / "count"
    write_private(path, b"0")

    def add():
        for _ in range(20):
            with locked(path):
                write_private(path, b"%d" % (int(read_private(path)) + 1))

    threads = [threading.Thread(target=add) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert read_private(path) == b"60"


def test_a_lock_that_is_never_given_back_ends_the_wait(folder, monkeypatch):
    monkeypatch.setattr(limits, "FILE_LOCK_SECONDS", 0.1)
    fd = try_lock(folder / "a.lock")
    assert fd is not None and is_locked(folder / "a.lock")
    with pytest.raises(IdentityInUse), locked(folder / "a"):
        raise AssertionError("not locked")
    unlock(fd)
    assert not is_locked(folder / "a.lock")
    assert not is_locked(folder / "none.lock")


def test_a_named_identity_stays(folder):
    first = open_identity("lab", "owner")
    first.close()
    first.close()
    second = open_identity("lab", "owner")
    assert second.key.id == first.key.id
    assert mode(folder / "identity-lab.key") == 0o600
    second.close()


def test_sessions_of_one_process_share_an_identity_and_another_process_may_not(folder):
    one, two = open_identity("lab", "owner"), open_identity("lab", "scientist")
    one.close()
    other = subprocess.run(
        [sys.executable, "-c", OPENS], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Another process uses the identity 'lab'" in other.stderr
    two.close()
    other = subprocess.run([sys.executable, "-c", OPENS], timeout=60, check=False)
    assert other.returncode == 0


def test_a_damaged_identity_is_refused_and_kept(folder):
    path = folder / "identity-lab.key"
    write_private(path, b"nonsense")
    for _ in range(2):
        with pytest.raises(IdentityFileUnsafe, match="holds no key"):
            open_identity("lab", "owner")
    assert read_private(path) == b"nonsense"


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "a" * 33, "a\n", "ä"])
def test_names(folder, name):
    with pytest.raises(ValueError, match="1 to 32"):
        open_identity(name, "owner")
    assert os.listdir(folder) == []
