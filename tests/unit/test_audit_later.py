"""Rows that say more of what has a row: behind it, together, and never in a release's way."""

import asyncio
import json

import pytest

from duet_p2p import limits
from duet_p2p.errors import AuditUnavailable
from duet_p2p.identity.keys import Key
from duet_p2p.owner.audit import AuditLog
from duet_p2p.owner.audit_file import AuditFile
from duet_p2p.owner.audit_view import AuditView

KEY = Key.from_seed(bytes(range(32)), "owner")
VALUE = (1, None)


@pytest.fixture
async def log(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_GATHER_SECONDS", 60.0)
    monkeypatch.setattr(limits, "AUDIT_QUICK_SECONDS", 60.0)  # whatever this machine's disk is
    made = AuditLog(AuditFile(tmp_path / "log.sqlite"), KEY)
    await made.commit("release", {"request": "r0"}, VALUE)
    with made._writing:  # the writer is at work behind what it confirmed
        pass
    yield made
    await made.finish()


def rows(log):
    view = AuditView(log.file.path)
    assert view.verify()
    return [(row.entry.kind, json.loads(row.entry.facts)) for row in view.rows()]


def recipes(log):
    return [facts for kind, facts in rows(log) if kind == "recipe"]


def told(log, request, what="sum of x"):
    log.record("recipe", {"request": request, "what": what})


async def test_no_release_is_written_with_them(log):
    told(log, "r0")
    log.record("share", {"object": -1})
    assert log.commit("release", {"request": "r1"}, VALUE).done()
    assert [kind for kind, _ in rows(log)] == ["release", "share", "release"]
    await asyncio.to_thread(log.flush)
    assert [kind for kind, _ in rows(log)][3:] == ["recipe"]


async def test_those_that_say_the_same_are_one_row_however_many_releases_are_between(log):
    for number in range(5):
        assert log.commit("release", {"request": f"r{number}"}, VALUE).done()
        told(log, f"r{number}", "mean of x" if number == 3 else "sum of x")
        await asyncio.sleep(0)
    await asyncio.to_thread(log.flush)
    assert recipes(log) == [
        {"request": "r0", "what": "sum of x", "times": 4, "more_requests": ["r1", "r2", "r4"]},
        {"request": "r3", "what": "mean of x"},
    ]


async def test_each_request_is_named_in_one_of_them(log, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_MERGED_IDS", 4)
    for number in range(23):
        told(log, f"r{number}")
    await asyncio.to_thread(log.flush)
    found = recipes(log)
    named = [name for row in found for name in (row["request"], *row.get("more_requests", ()))]
    assert named == [f"r{number}" for number in range(23)]
    assert [row.get("times", 1) for row in found] == [5, 5, 5, 5, 3]


async def test_very_many_that_differ_do_not_gather(log, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_MERGED_IDS", 4)
    for number in range(10):
        told(log, f"r{number}", f"recipe {number}")
    assert (len(log._later), len(log._pending)) == (2, 8)


async def test_they_are_written_without_anything_else_to_write(log, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_GATHER_SECONDS", 0.01)
    monkeypatch.setattr(limits, "AUDIT_WAKE_SECONDS", 0.01)
    told(log, "r0")
    async with asyncio.timeout(20):
        while not recipes(log):
            await asyncio.sleep(0.02)


async def test_the_end_has_them(log):
    told(log, "r0")
    await log.finish()
    assert recipes(log) == [{"request": "r0", "what": "sum of x"}]
    told(log, "r1")
    assert len(log._later) == 0


async def test_a_disk_that_refuses_gets_so_many_of_them_and_the_rest_is_counted(log, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_PENDING_ROWS", 3)
    with log._writing:
        pages = log.file.connection.execute("PRAGMA page_count").fetchone()[0]
        log.file.connection.execute(f"PRAGMA max_page_count={pages}")
    for number in range(8):
        told(log, f"r{number}", f"{number} " + "x" * 5_000)
    with pytest.raises(AuditUnavailable):
        await asyncio.to_thread(log.flush)
    with log._writing:
        log.file.connection.execute("PRAGMA max_page_count=1000000")
    monkeypatch.setattr(limits, "AUDIT_GATHER_SECONDS", 0.01)
    log.record("share", {"object": -1})  # there is room for no more: it is counted, too
    await log.finish()
    found = rows(log)
    assert len(recipes(log)) == 3
    assert sum(facts.get("rows_not_kept", 0) for _, facts in found) == 6
