"""The writer between the loop and the disk: groups, bursts, a disk that refuses."""

import asyncio
import json
import logging
import threading

import pytest

from duet_p2p import limits
from duet_p2p.errors import AuditUnavailable
from duet_p2p.identity.keys import Key
from duet_p2p.owner.audit import AuditLog
from duet_p2p.owner.audit_chain import check
from duet_p2p.owner.audit_file import AuditFile
from duet_p2p.owner.audit_view import AuditView, check_export

KEY = Key.from_seed(bytes(range(32)), "owner")
VALUE = (46.83333, None)


class Trouble:
    def __init__(self):
        self.said = []

    def __call__(self, text):
        self.said.append(text)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.sqlite"


@pytest.fixture
async def log(path):
    made = AuditLog(AuditFile(path), KEY, on_trouble=Trouble())
    yield made
    await made.finish()


def rows(path):
    file = AuditFile(path, create=False)
    try:
        return [(row.entry.kind, json.loads(row.entry.facts)) for row in file.rows()]
    finally:
        file.close()


def fill(log):
    """From now on the file may not grow: SQLite answers that the disk is full."""
    with log._writing:  # the writer may still be at work, behind what it confirmed
        pages = log.file.connection.execute("PRAGMA page_count").fetchone()[0]
        log.file.connection.execute(f"PRAGMA max_page_count={pages}")


def free(log):
    with log._writing:
        log.file.connection.execute("PRAGMA max_page_count=1000000")


async def test_a_release_is_on_the_disk_when_it_is_confirmed_with_all_before_it(log, path):
    log.record("share", {"object": -1})
    head = (await log.commit("release", {"request": "ab"}, VALUE))()
    assert [kind for kind, _ in rows(path)] == ["share", "release"]
    assert head.is_genuine
    assert AuditView(path).verify(head)
    assert log.head() == head.head


async def test_many_releases_at_once_share_syncs(log, path):
    calls = []
    original = log.file.append

    def counted(entries, **how):
        calls.append(len(entries))
        return original(entries, **how)

    log.file.append = counted
    await asyncio.gather(*[log.commit("release", {"n": n}, VALUE) for n in range(200)])
    assert sum(calls) == 200
    assert len(calls) <= 10
    assert [facts["n"] for _, facts in rows(path)] == list(range(200))


async def test_values_appear_only_as_codes_that_need_the_owners_key(log, path, tmp_path):
    await log.commit("release", {"request": "1"}, (46.83333, None))
    await log.commit("release", {"request": "2"}, (46.83333, None))
    await log.commit("release", {"request": "3"}, (46.83334, None))
    await log.commit("release", {"request": "4"}, (46.83333, b"bytes"))
    await log.commit("release", {"request": "5"}, ("Target 3 is out of bounds", None))
    codes = [facts["hmac"] for _, facts in rows(path)]
    assert codes[0] == codes[1]
    assert len(set(codes)) == 4
    assert all(len(code) == 64 for code in codes)
    everything = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert b"Target 3" not in everything
    assert b"46.8333" not in everything
    other = AuditLog(AuditFile(tmp_path / "other.sqlite"), KEY)
    await other.commit("release", {"request": "1"}, (46.83333, None))
    assert rows(tmp_path / "other.sqlite")[0][1]["hmac"] != codes[0]
    await other.finish()


async def test_a_name_that_is_no_text_stops_no_release(log, path):
    """A directory's name can be bytes that are no text: its row could never be written."""
    log.record("session", {"data_dirs": {"ward": "/data/caf\udce9", "other": "/data/café"}})
    kept = await log.commit("release", {"request": "1"}, VALUE)
    assert kept().is_genuine and log.trouble == ""
    (first, facts), (last, _) = rows(path)
    assert (first, last) == ("session", "release")
    assert facts["data_dirs"] == {"ward": "/data/caf\udce9", "other": "/data/café"}
    view = AuditView(path)
    assert view.verify(kept()) and "café" in repr(view)
    view.export(path.with_name("exported"))
    with open(path.with_name("exported"), encoding="utf-8") as lines:
        assert check_export(lines, kept())


async def test_a_burst_is_one_row_with_a_count(log, path):
    for seq in range(1_000):
        log.record("fault", {"seq": seq, "op": f"invented{seq}", "code": "NotAllowed", "told": True})  # fmt: skip # noqa: E501
    for number in range(200):
        log.record("request", {"request": f"{number:x}", "object": number, "name": "loss"})
    log.record("request", {"request": "ff", "object": 7, "name": "model"})
    await log.commit("release", {}, VALUE)
    kept = rows(path)
    assert [kind for kind, _ in kept] == ["fault", "request", "request", "release"]
    assert kept[0][1]["times"] == 1_000
    assert kept[0][1]["op"] == "invented0"
    assert kept[1][1]["times"] == 200
    assert len(kept[1][1]["more_requests"]) == limits.AUDIT_MERGED_IDS
    assert "times" not in kept[2][1]


async def test_what_differs_from_the_first_of_its_kind_has_a_row_of_its_own(log, path):
    for reason in ("a", "b", "a", "b", "b"):
        log.record("refusal", {"reason": reason})
    await asyncio.to_thread(log.flush)
    assert [(facts["reason"], facts["times"]) for _, facts in rows(path)] == [("a", 2), ("b", 3)]
    log.record("refusal", {"reason": "a"})  # rows that are written are not added to
    await asyncio.to_thread(log.flush)
    assert [facts.get("times", 1) for _, facts in rows(path)] == [2, 3, 1]


async def test_releases_and_shares_are_never_merged(log, path):
    for _ in range(5):
        log.record("share", {"object": -1})
    await asyncio.gather(*[log.commit("release", {"n": 1}, VALUE) for _ in range(5)])
    assert len(rows(path)) == 10


async def test_a_full_disk_stops_releases_and_says_so_and_ends(log, path):
    await log.commit("release", {"n": 0}, VALUE)
    fill(log)
    refused = 0
    for n in range(1, 200):
        try:
            await log.commit("release", {"n": n, "pad": "x" * 2_000}, VALUE)
        except AuditUnavailable as error:
            assert "full" in str(error)
            refused += 1
            if refused == 2:
                break
    assert refused == 2
    assert "full" in log.trouble
    (said,) = log._on_trouble.said
    assert "Nothing is released" in said
    log.record("decision", {"status": "Accepted", "pad": "y" * 9_000})
    free(log)
    await log.commit("release", {"n": 999}, VALUE)
    assert log.trouble == ""
    assert log._on_trouble.said[-1] == "The audit log is written again."
    numbers = [facts.get("n") for kind, facts in rows(path) if kind == "release"]
    assert n not in numbers
    assert numbers[-1] == 999
    assert [kind for kind, _ in rows(path)][-2:] == ["decision", "release"]
    assert AuditView(path).verify()


async def test_rows_that_a_full_disk_refuses_are_bounded_and_their_loss_is_a_row(
    log, path, monkeypatch
):
    monkeypatch.setattr(limits, "AUDIT_PENDING_ROWS", 5)
    monkeypatch.setattr(limits, "AUDIT_QUICK_SECONDS", 0.0)  # all is the writer's
    log.record("share", {"object": 0})
    await log.commit("release", {}, VALUE)
    fill(log)
    for number in range(20):
        log.record("share", {"object": number, "pad": "x" * 9_000})
    with pytest.raises(AuditUnavailable):
        await log.commit("release", {}, VALUE)
    free(log)
    await asyncio.to_thread(_flush_until_good, log)
    kinds = rows(path)
    assert len(kinds) == 2 + 5 + 1
    assert kinds[-1] == ("fault", {"rows_not_kept": 16})
    assert await log.commit("release", {}, VALUE)
    assert len(rows(path)) == 9


async def test_what_the_disk_refused_is_written_before_what_came_meanwhile(log, path):
    original = log.file.append

    def refused(entries, **how):
        log.file.append = original
        log.record("share", {"n": 2})
        raise OSError("no room")

    log.file.append = refused
    log.record("share", {"n": 1})
    await asyncio.to_thread(_flush_until_good, log)
    assert numbers(path) == [1, 2]


def _flush_until_good(log):
    for _ in range(100):
        try:
            log.flush()
        except AuditUnavailable:
            threading.Event().wait(0.05)
        else:
            return
    raise AssertionError("never written")


async def test_a_mistake_in_the_writer_is_a_refusal_and_not_silence(log, caplog):
    log.file.append = lambda entries, **how: 1 / 0
    with caplog.at_level(logging.ERROR), pytest.raises(AuditUnavailable):
        await log.commit("release", {}, VALUE)
    del log.file.append
    assert await log.commit("release", {}, VALUE)


async def test_what_cannot_travel_is_refused_before_anything_is_kept(log, path):
    with pytest.raises(TypeError):
        log.commit("release", {}, (object(), None))
    log.record("share", {})
    await asyncio.to_thread(log.flush)
    assert [kind for kind, _ in rows(path)] == ["share"]


async def test_the_end_writes_what_is_left_and_gives_the_last_head(path):
    log = AuditLog(AuditFile(path), KEY)
    log.record("session", {"state": "closed"})
    head = await log.finish()
    assert AuditView(path).verify(head)
    assert rows(path) == [("session", {"state": "closed"})]
    assert await log.finish() is None
    with pytest.raises(AuditUnavailable, match="closed"):
        await log.commit("release", {}, VALUE)
    log.record("session", {})


async def test_nor_is_a_repeat_among_very_many_kept_after_the_end(log, monkeypatch):
    """Those are counted, and nobody counts any more."""
    monkeypatch.setattr(limits, "AUDIT_REPEATS", 0)
    assert await log.commit("repeat", {"request": "a"}, VALUE)
    await log.finish()
    with pytest.raises(AuditUnavailable, match="closed"):
        await log.commit("repeat", {"request": "b"}, VALUE)


async def test_the_loop_does_not_wait_for_the_disk(log, path):
    hold = threading.Event()
    original = log.file.append

    def slow(entries, **how):
        hold.wait(20)
        return original(entries, **how)

    log.file.append = slow
    future = log.commit("release", {}, VALUE)
    for number in range(1_000):
        log.record("share", {"object": number})
    await asyncio.sleep(0)
    assert not future.done()
    hold.set()
    await future
    await asyncio.to_thread(log.flush)
    assert len(rows(path)) == 1_001


# where the disk is quick


@pytest.fixture
async def quick(log, monkeypatch):
    """A log whose disk was quick, whatever this machine's is."""
    monkeypatch.setattr(limits, "AUDIT_QUICK_SECONDS", 60.0)
    await log.commit("release", {"n": 0}, VALUE)
    with log._writing:  # the writer is at work behind what it confirmed
        return log


def numbers(path):
    return [facts["n"] for _, facts in rows(path)]


async def test_the_loop_writes_a_release_with_all_before_it(quick, path):
    quick.record("share", {"n": 1})
    kept = quick.commit("release", {"n": 2}, VALUE)
    assert kept.done()
    assert numbers(path) == [0, 1, 2]
    assert AuditView(path).verify(kept.result()())


async def test_but_one_of_each_of_its_turns(quick, path):
    kept = [quick.commit("release", {"n": n}, VALUE) for n in range(1, 100)]
    assert [future.done() for future in kept[:2]] == [True, False]
    await asyncio.gather(*kept)
    assert numbers(path) == list(range(100))
    with quick._writing:  # the writer has told before it is done
        pass
    assert quick.commit("release", {"n": 100}, VALUE).done()


async def test_the_file_is_looked_at_when_something_is_asked_for(quick, path, monkeypatch):
    """Once for all that is asked in a turn; what is wrong is said when a row is to be written."""
    looks = []
    look = quick.file.look
    monkeypatch.setattr(quick.file, "look", lambda: (looks.append(1), look()))
    quick.expect()
    quick.expect()
    assert not looks  # what was asked goes on to the engine first
    await asyncio.sleep(0)
    assert len(looks) == 1
    path.unlink()
    quick.expect()
    await asyncio.sleep(0)
    assert (len(looks), quick.trouble) == (2, "")
    with pytest.raises(AuditUnavailable, match="open another one"):
        quick.commit("release", {"n": 1}, VALUE).result()


async def test_nor_behind_a_disk_that_took_its_time(quick, path, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_QUICK_SECONDS", 0.0)
    assert quick.commit("release", {"n": 1}, VALUE).done()  # this one was not quick
    await asyncio.sleep(0)
    kept = quick.commit("release", {"n": 2}, VALUE)
    assert not kept.done()
    await kept
    assert numbers(path) == [0, 1, 2]


async def test_nor_while_another_process_writes_to_the_log(quick, path):
    other = AuditFile(path)
    other.connection.execute("BEGIN IMMEDIATE")
    quick.record("share", {"n": 1})
    kept = quick.commit("release", {"n": 2}, VALUE)
    quick.record("share", {"n": 3})
    assert not kept.done()
    other.connection.execute("COMMIT")
    await kept
    await asyncio.to_thread(quick.flush)
    assert numbers(path) == [0, 1, 2, 3]
    assert quick.trouble == ""
    other.close()


async def test_what_the_disk_refuses_the_loop_is_told_at_once_and_tried_by_the_writer(quick, path):
    fill(quick)
    kept = quick.commit("release", {"n": 1, "pad": "x" * 90_000}, VALUE)
    with pytest.raises(AuditUnavailable, match="full"):
        kept.result()
    await asyncio.sleep(0)
    assert not quick.commit("release", {"n": 2}, VALUE).done()
    free(quick)
    await asyncio.to_thread(_flush_until_good, quick)
    await quick.commit("release", {"n": 3}, VALUE)
    assert numbers(path)[0] == 0 and numbers(path)[-1] == 3 and 1 not in numbers(path)
    assert quick.trouble == ""


async def test_events_go_to_the_logger_too(log, caplog):
    with caplog.at_level(logging.INFO, "duet_p2p.audit"):
        log.record("share", {"object": -1})
        await log.commit("release", {"request": "ab"}, VALUE)
    lines = [json.loads(record.message) for record in caplog.records]
    assert [line["kind"] for line in lines] == ["share", "release"]
    assert lines[0]["session"] == KEY.id


# for people


async def test_the_owner_reads_checks_and_exports(log, path, tmp_path):
    view = AuditView(path, flush=log.flush)
    log.record("share", {"object": -1, "tags": ("ages",)})
    log.record("request", {"request": "ab", "name": "mean\x1b[31m\nHANDLER accept", "why": ""})
    table = await asyncio.to_thread(lambda: view.pandas)
    assert list(table["Kind"]) == ["share", "request"]
    assert table["Facts"][0] == {"object": -1, "tags": ["ages"]}
    text = repr(view)
    assert "2 rows" in text
    assert "\x1b" not in text
    assert len(text.splitlines()) == 3
    assert len(view) == 2
    assert view.verify()
    out = tmp_path / "out.jsonl"
    assert view.export(out) == 2
    assert out.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert lines[1]["hash"] == check(view.rows()).head.hex()
    with pytest.raises(FileExistsError):
        view.export(out)


def test_there_is_nothing_to_read_without_a_log(tmp_path):
    with pytest.raises(AuditUnavailable, match="no audit log"):
        AuditView(tmp_path / "none.sqlite").verify()
