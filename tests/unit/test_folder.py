"""Loopback folders: two processes of one user, here two halves in one home."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from duet_p2p import limits
from duet_p2p.errors import IdentityFileUnsafe, IdentityInUse, PairingTimeout, PartnerLeft
from duet_p2p.transport import rendezvous
from duet_p2p.transport.folder import FolderSignaling, OwnerFolder, ScientistFolder, find_owner
from duet_p2p.transport.rendezvous import OwnedFolder
from tests.unit.signaling_kit import owner, scientist

SECONDS = 5.0


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "duet"))
    return rendezvous.loopback_root()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


def record(side: FolderSignaling) -> tuple[list[tuple[str, bytes]], list[tuple[str, str]]]:
    messages: list[tuple[str, bytes]] = []
    events: list[tuple[str, str]] = []
    side.on_message = lambda sender, body: messages.append((sender, body))
    side.on_event = lambda event, id: events.append((event, id))
    return messages, events


async def test_two_halves_find_each_other_and_pass_messages_in_order(root: Path) -> None:
    seen: list[str] = []
    ours = OwnerFolder(owner(), on_client=seen.append)
    to_owner, owner_events = record(ours)
    await ours.start()
    theirs: ScientistFolder | None = None
    try:
        session_id = await find_owner(None, scientist().id, timeout=SECONDS)
        assert session_id == owner().id
        theirs = ScientistFolder(scientist(), session_id)
        to_scientist, scientist_events = record(theirs)
        await theirs.start()
        await until(lambda: seen)
        for number in range(12):
            theirs.post(owner().id, b"s%d" % number, is_join=number == 0)
            ours.post(scientist().id, b"o%d" % number)
        await until(lambda: len(to_owner) == len(to_scientist) == 12)
        assert to_owner == [(scientist().id, b"s%d" % n) for n in range(12)]
        assert to_scientist == [(owner().id, b"o%d" % n) for n in range(12)]
        assert seen == [scientist().id]
        assert owner_events == [("registered", ""), ("online", scientist().id)]
        assert scientist_events == [("registered", "")]
        assert {p.name for p in (root / session_id).iterdir()} == {"owner.json", "client.json"}
        assert ours.is_local and theirs.is_local and ours.url == ""
        assert await theirs.refresh_ice() == []
    finally:
        if theirs is not None:
            await theirs.close(forget=True)
        await ours.close(forget=True)
    assert list(root.iterdir()) == []


async def test_files_are_private_and_say_what_the_specification_names(root: Path) -> None:
    ours = OwnerFolder(owner(), "lab")
    await ours.start()
    try:
        folder = root / owner().id
        facts = json.loads((folder / "owner.json").read_text())
        assert facts.keys() == {"v", "pid", "session_id", "name", "created"}
        assert (facts["v"], facts["pid"], facts["name"]) == (1, os.getpid(), "lab")
        assert rendezvous.take_folder(folder, scientist().id)
        client = json.loads((folder / "client.json").read_text())
        assert client == {
            "v": 1,
            "pid": os.getpid(),
            "session_id": owner().id,
            "client_id": scientist().id,
        }
        assert (root.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o700, 0o700)
        assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o600}
    finally:
        await ours.close(forget=True)


async def test_the_longest_waiting_owner_is_taken_first_and_each_only_once(root: Path) -> None:
    folders = []
    for number in (1, 2, 3):
        folders.append(OwnedFolder.make(root, owner(number).id, None))
        time.sleep(0.01)
    try:
        taken = [await find_owner(None, scientist(n).id, timeout=SECONDS) for n in (1, 2, 3)]
        assert taken == [owner(n).id for n in (1, 2, 3)]
        with pytest.raises(PairingTimeout):
            await find_owner(None, scientist(4).id, timeout=0.1)
    finally:
        for folder in folders:
            folder.remove()


async def test_two_scientists_at_once_get_two_owners(root: Path) -> None:
    folders = [OwnedFolder.make(root, owner(n).id, None) for n in (1, 2)]
    try:
        async with asyncio.timeout(SECONDS):
            taken = await asyncio.gather(
                *(find_owner(None, scientist(n).id, timeout=SECONDS) for n in (1, 2))
            )
        assert sorted(taken) == sorted(owner(n).id for n in (1, 2))
    finally:
        for folder in folders:
            folder.remove()


async def test_names_are_matched_exactly(root: Path) -> None:
    named = OwnedFolder.make(root, owner(1).id, "lab")
    nameless = OwnedFolder.make(root, owner(2).id, None)
    try:
        assert [p.name for p in rendezvous.waiting_folders(root, "lab")] == [owner(1).id]
        assert [p.name for p in rendezvous.waiting_folders(root, None)] == [owner(2).id]
        assert rendezvous.waiting_folders(root, "LAB") == []
    finally:
        named.remove()
        nameless.remove()


async def test_a_scientist_may_come_first(root: Path) -> None:
    waiting = asyncio.create_task(find_owner("lab", scientist().id, timeout=SECONDS))
    await asyncio.sleep(0.05)
    folder = OwnedFolder.make(root, owner().id, "lab")
    try:
        assert await waiting == owner().id
    finally:
        folder.remove()


async def test_one_owner_cannot_wait_twice(root: Path) -> None:
    first, second = OwnerFolder(owner()), OwnerFolder(owner())
    await first.start()
    with pytest.raises(IdentityInUse):
        await second.start()
    assert [path.name for path in root.iterdir()] == [owner().id]
    await first.close(forget=True)


def test_the_folder_of_a_killed_process_is_removed(root: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from duet_p2p.transport.rendezvous import *;"
        "f = OwnedFolder.make(Path(sys.argv[1]), sys.argv[2], None);"
        "print('made', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(root), owner().id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"made\n"
        assert [p.name for p in rendezvous.waiting_folders(root, None)] == [owner().id]
        process.kill()
        process.wait(SECONDS)
    assert rendezvous.waiting_folders(root, None) == []
    assert list(root.iterdir()) == []


async def test_the_scientist_hears_that_the_owner_is_gone(root: Path) -> None:
    folder = OwnedFolder.make(root, owner().id, None)
    await find_owner(None, scientist().id, timeout=SECONDS)
    theirs = ScientistFolder(scientist(), owner().id)
    _, events = record(theirs)
    await theirs.start()
    try:
        folder.remove()
        await until(lambda: ("closed", "PartnerLeft") in events)
        theirs.post(owner().id, b"nobody reads this")
    finally:
        await theirs.close(forget=True)
    with pytest.raises(PartnerLeft):
        await ScientistFolder(scientist(), owner().id).start()


async def test_16_messages_wait_and_the_17th_is_lost(root: Path) -> None:
    folder = OwnedFolder.make(root, owner().id, None)
    await find_owner(None, scientist().id, timeout=SECONDS)
    theirs = ScientistFolder(scientist(), owner().id)
    await theirs.start()
    try:
        for number in range(limits.FOLDER_MESSAGES + 1):
            theirs.post(owner().id, b"%d" % number)
        waiting = sorted(p.name for p in folder.path.iterdir() if p.name.startswith("s-"))
        assert len(waiting) == limits.FOLDER_MESSAGES
        assert f"s-{limits.FOLDER_MESSAGES}.json" not in waiting
    finally:
        await theirs.close(forget=True)
        folder.remove()


async def test_a_message_of_64_kib_goes_through_and_one_byte_more_does_not(root: Path) -> None:
    ours = OwnerFolder(owner())
    messages, _ = record(ours)
    await ours.start()
    try:
        await find_owner(None, scientist().id, timeout=SECONDS)
        theirs = ScientistFolder(scientist(), owner().id)
        await theirs.start()
        theirs.post(owner().id, b"x" * (limits.FOLDER_MESSAGE_BYTES + 1))
        theirs.post(owner().id, b"y" * limits.FOLDER_MESSAGE_BYTES)
        theirs.post(scientist(2).id, b"to somebody else")
        await until(lambda: messages)
        assert [body[:1] for _, body in messages] == [b"y"]
        await theirs.close(forget=True)
    finally:
        await ours.close(forget=True)


async def test_a_folder_that_others_can_open_is_refused(root: Path) -> None:
    folder = OwnedFolder.make(root, owner().id, None)
    try:
        folder.path.chmod(0o750)
        with pytest.raises(IdentityFileUnsafe, match="chmod 700"):
            await find_owner(None, scientist().id, timeout=SECONDS)
        folder.path.chmod(0o700)
        (folder.path / "owner.json").chmod(0o644)
        with pytest.raises(IdentityFileUnsafe, match="chmod 600"):
            await find_owner(None, scientist().id, timeout=SECONDS)
    finally:
        folder.path.chmod(0o700)
        folder.remove()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="changing owners needs root")
async def test_a_folder_of_another_user_is_refused_and_kept(root: Path) -> None:
    folder = OwnedFolder.make(root, owner().id, None)
    os.chown(folder.path, 12345, 12345)
    try:
        with pytest.raises(IdentityFileUnsafe):
            await find_owner(None, scientist().id, timeout=SECONDS)
        assert folder.path.exists()
    finally:
        os.chown(folder.path, 0, 0)
        folder.remove()


async def test_links_are_refused_and_what_they_point_at_is_left_alone(
    root: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (elsewhere / "owner.json").write_text("{}")
    (root / owner().id).symlink_to(elsewhere)
    with pytest.raises(IdentityFileUnsafe):
        await find_owner(None, scientist().id, timeout=SECONDS)
    assert (elsewhere / "owner.json").exists()


async def test_a_message_that_is_a_link_ends_the_session_loudly(root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not for anybody")
    secret.chmod(0o600)
    ours = OwnerFolder(owner())
    messages, events = record(ours)
    await ours.start()
    try:
        await find_owner(None, scientist().id, timeout=SECONDS)
        (root / owner().id / "s-0.json").symlink_to(secret)
        await until(lambda: ("closed", "IdentityFileUnsafe") in events)
        assert messages == []
    finally:
        await ours.close(forget=True)


async def test_a_client_file_that_is_not_complete_yet_is_read_later(root: Path) -> None:
    seen: list[str] = []
    ours = OwnerFolder(owner(), on_client=seen.append)
    await ours.start()
    try:
        client = root / owner().id / "client.json"
        facts = {"v": 1, "pid": 1, "session_id": owner().id, "client_id": scientist().id}
        text = json.dumps(facts)
        rendezvous.write_file(client, text[:20].encode())
        await asyncio.sleep(0.05)
        assert seen == []
        client.write_text(text)
        await until(lambda: seen)
    finally:
        await ours.close(forget=True)


@pytest.mark.parametrize(
    "change",
    [{"client_id": "C" + "0" * 31}, {"client_id": owner().id}, {"v": 2}, {"session_id": ""}],
)
def test_a_client_file_without_a_valid_id_of_this_session_names_nobody(
    root: Path, change: dict[str, Any]
) -> None:
    folder = OwnedFolder.make(root, owner().id, None)
    facts = {"v": 1, "pid": 1, "session_id": owner().id, "client_id": scientist().id}
    try:
        rendezvous.write_file(folder.path / "client.json", json.dumps(facts | change).encode())
        assert rendezvous.read_client(folder.path) is None
    finally:
        folder.remove()


def test_what_does_not_belong_to_a_folder_is_not_deleted(root: Path) -> None:
    folder = OwnedFolder.make(root, owner().id, None)
    (folder.path / "thesis.txt").write_text("important")
    folder.remove()
    assert (folder.path / "thesis.txt").read_text() == "important"


def test_unfinished_folders_go_when_they_are_old(root: Path) -> None:
    fresh, old = root / ".new-1", root / ".new-2"
    for path in (fresh, old):
        path.mkdir(mode=0o700)
    os.utime(old, (1, 1))
    assert rendezvous.waiting_folders(root, None) == []
    assert fresh.exists() and not old.exists()


async def test_files_are_looked_for_less_often_once_paired(root: Path) -> None:
    ours = OwnerFolder(owner())
    messages, _ = record(ours)
    await ours.start()
    try:
        await find_owner(None, scientist().id, timeout=SECONDS)
        theirs = ScientistFolder(scientist(), owner().id)
        await theirs.start()
        theirs.post(owner().id, b"join")
        await until(lambda: messages)
        ours.rest()
        await asyncio.sleep(0.05)
        theirs.post(owner().id, b"later")
        await asyncio.sleep(0.1)
        assert len(messages) == 1
        ours.hurry(True)
        await until(lambda: len(messages) == 2)
        await theirs.close(forget=True)
    finally:
        await ours.close(forget=True)
