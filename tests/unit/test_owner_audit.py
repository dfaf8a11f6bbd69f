"""`duet.audit` over a real engine: what a session leaves behind, and what its end is."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from duet_p2p import limits
from duet_p2p.errors import NotAllowed
from duet_p2p.identity.keys import Key
from duet_p2p.identity.signed_head import SignedHead
from duet_p2p.owner.audit import AuditLog
from duet_p2p.owner.audit_file import AuditFile
from duet_p2p.owner.audit_view import AuditView
from duet_p2p.session.bridge import Bridge
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.unit.owner_kit import owner_on

KEY = Key.from_seed(bytes(range(32)), "owner")
AGES = torch.tensor([25, 32, 49, 65, 88, 22])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.sqlite"


@pytest.fixture
def pair(path):
    bridge = Bridge("owner audit")
    duet, scientist = owner_on(bridge, audit=AuditLog(AuditFile(path), KEY))
    yield duet, scientist
    duet.close()
    bridge.close()


def ask_for_the_mean(duet, scientist):
    duet.send(AGES, tags=["ages"])
    scientist.op("torch.Tensor.float", 1, Ref(-1))
    scientist.op("torch.Tensor.mean", 2, Ref(1))
    call = scientist.request(2, name="mean", reason="to see it")
    scientist.wait_for(lambda: len(duet.requests) == 1)
    return call


def heads(scientist):
    return [
        SignedHead(KEY.id, m.pub, m.head, m.signature)
        for m in scientist.session.posted
        if isinstance(m, wire.AuditHead)
    ]


def kinds(view):
    return [row.entry.kind for row in view.rows()]


def test_a_session_is_told_from_start_to_end_and_the_scientist_has_its_head(pair, path):
    duet, scientist = pair
    call = ask_for_the_mean(duet, scientist)
    duet.requests[0].accept()
    assert scientist.value(call).item() == pytest.approx(46.8333, abs=1e-3)
    (head,) = scientist.wait_for(lambda: heads(scientist))
    duet.requests.add_handler(name="loss", action="deny")
    assert kinds(duet.audit) == [
        "session", "engine", "session", "peer", "share", "request", "decision", "release",
        "handler",
    ]  # fmt: skip
    assert duet.audit.verify(head)
    release = json.loads(duet.audit.rows()[7].entry.facts)
    assert release["how"] == "accepted by hand"
    assert len(release["hmac"]) == 64
    decision = json.loads(duet.audit.rows()[6].entry.facts)
    assert {name: decision[name] for name in ("name", "reason", "status", "why", "sources")} == {
        "name": "mean", "reason": "to see it", "status": "Accepted", "why": "accepted by hand",
        "sources": [-1],
    }  # fmt: skip
    assert (decision["value_kind"], decision["min_records"]) == ("aggregate", 6)
    assert decision["requester"] == "scientist-id"
    assert "46.8" not in json.dumps(release)
    assert isinstance(scientist.get(2), wire.Value)  # the same content again
    (repeat,) = [row.entry.facts for row in duet.audit.rows() if row.entry.kind == "repeat"]
    assert json.loads(repeat)["hmac"] == release["hmac"]
    scientist.answer(scientist.request(1, name="loss"))  # by a rule, which is named
    told = [json.loads(row.entry.facts) for row in duet.audit.rows()]
    assert told[-1]["status"] == "Rejected" and "name='loss'" in told[-1]["why"]
    duet.close()
    last = heads(scientist)[-1]
    view = AuditView(path)
    assert last.head == view.verify().head != head.head  # of the very last row
    assert view.verify(head, str(last))
    assert json.loads(view.rows()[-1].entry.facts)["state"] == "closed"


def test_cutting_the_end_off_is_noticed_with_what_the_scientist_kept(pair, path):
    duet, scientist = pair
    call = ask_for_the_mean(duet, scientist)
    duet.requests[0].accept()
    scientist.value(call)
    duet.close()
    head = heads(scientist)[-1]
    file = AuditFile(path)
    file.connection.execute("DROP TRIGGER rows_remain")
    file.connection.execute("DELETE FROM rows WHERE kind IN ('release', 'session') AND number > 3")
    file.close()
    view = AuditView(path)
    assert view.verify()
    assert not view.verify(head)


def test_what_is_asked_for_without_a_decision_is_on_record_too(pair):
    duet, scientist = pair
    call = ask_for_the_mean(duet, scientist)
    duet.requests[0].deny()
    scientist.answer(call)
    scientist.op("torch.ones", 5, 2)
    for id in (5, 999, 5, 998, -99):  # one's own, and guesses
        scientist.get(id)
    scientist.answer(scientist.request(997, name="guess"))
    duet.requests.add_handler(name="a", action="accept", element_quota=3, timeout_secs=60)
    found = [(row.entry.kind, json.loads(row.entry.facts)) for row in duet.audit.rows()]
    asked = {facts["reason"]: facts.get("times", 1) for kind, facts in found if kind == "refusal"}
    assert asked == {"get: unknown": 4}
    (public,) = [facts for kind, facts in found if kind == "public"]
    assert (public["type"], public["times"]) == ("torch.Tensor", 2)
    (handler,) = [facts for kind, facts in found if kind == "handler"]
    assert (handler["element_quota"], handler["timeout_secs"]) == (3, 60)


def facts_of(view, kind):
    return [json.loads(row.entry.facts) for row in view.rows() if row.entry.kind == kind]


def test_all_that_the_scientist_may_see_is_on_record(pair, tmp_path):
    """Objects that were hidden at first, and directories whose files data sets may read."""
    duet, _ = pair
    handle = duet.send(AGES, tags=["ages"], searchable=False)
    handle.update_searchability(searchable=True)
    handle.update_searchability(searchable=False)
    duet.data.register("faces", tmp_path)
    shared, *later = facts_of(duet.audit, "share")
    assert (shared["object"], shared["listed"]) == (-1, False)
    assert later == [
        {"object": -1, "listed": True},
        {"object": -1, "listed": False},
        {"data_dirs": {"faces": str(tmp_path)}},
    ]


def test_directories_of_the_start_are_on_record(tmp_path):
    bridge = Bridge("directories")
    log = AuditLog(AuditFile(tmp_path / "log.sqlite"), KEY)
    duet, _ = owner_on(bridge, audit=log, data_dirs={"faces": tmp_path})
    assert facts_of(duet.audit, "session")[0]["data_dirs"] == {"faces": str(tmp_path)}
    duet.close()
    bridge.close()


def test_what_waits_when_the_owner_closes_ends_in_the_log(pair, path):
    duet, scientist = pair
    ask_for_the_mean(duet, scientist)
    duet.close()
    *_, ended, closed = AuditView(path).rows()
    assert json.loads(closed.entry.facts) == {"state": "closed", "why": "by the owner"}
    ended = json.loads(ended.entry.facts)
    assert (ended["status"], ended["why"]) == ("Expired", "the session ended")


def test_rules_that_go_or_end_are_on_record(pair):
    duet, scientist = pair
    kept = duet.requests.add_handler(name="loss", action="deny")
    other = duet.requests.add_handler(name="loss", action="accept")
    duet.requests.remove_handler(other)
    ends = duet.requests.add_handler(name="acc", action="accept", timeout_secs=0)
    scientist.wait_for(lambda: len(duet.requests.handlers) == 0)
    added, again, removed, *ended = facts_of(duet.audit, "handler")
    assert (added["id"], added["replaced"]) == (kept.id, [])
    assert (again["id"], again["replaced"]) == (other.id, [kept.id])
    assert removed == {"id": other.id, "removed": True}
    assert [row.get("expired") for row in ended] == [None, True] and ended[1]["id"] == ends.id


def test_no_row_holds_a_private_value_or_the_text_of_a_failure(pair, path):
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    scientist.op("torch.sum", 1, Ref(-1))
    scientist.op("torch.Tensor.neg", 2, Ref(1))
    scientist.op("python.Int", 3, Ref(2))
    scientist.op("python.List.index", 4, [1, 2], Ref(3))
    call = scientist.request(4, name="place")
    scientist.wait_for(lambda: len(duet.requests) == 1)
    assert "-281" in duet._service.failures[-1].text
    duet.requests[0].accept()
    scientist.answer(call)
    duet._audit.flush()
    assert "-281" not in "".join(row.entry.facts for row in duet.audit.rows())


def test_a_name_that_does_not_exist_is_in_the_log_as_it_is_shown(pair):
    duet, scientist = pair
    scientist.op("torch.\u202e\u200bnus\x00", 1, 2)
    scientist.wait_for(lambda: duet.errors)
    row = json.loads(duet.audit.rows()[-1].entry.facts)
    assert row["op"] == duet.errors[-1].op == "torch.nus"


def test_a_new_link_does_not_tell_whether_something_failed_on_private_values(pair, path):
    """Its proof has the head that the scientist knows; what failed in between is on the disk."""
    duet, scientist = pair
    call = ask_for_the_mean(duet, scientist)
    duet.requests[0].accept()
    scientist.answer(call)
    (known,) = scientist.wait_for(lambda: heads(scientist))
    scientist.op("torch.nn.functional.one_hot", 3, Ref(-1), 80)  # 88 is no class of these
    scientist.wait_for(lambda: duet.errors)
    assert not duet.errors[-1].is_public
    assert duet.audit.rows()[-1].entry.kind == "fault"
    assert duet.audit.rows()[-1].hash != known.head
    assert duet._audit.head() == known.head


def test_a_flood_of_words_does_not_fill_the_disk(pair, monkeypatch):
    """After so many characters of names and reasons a row has none, and a burst is one row."""
    monkeypatch.setattr(limits, "AUDIT_WORDS_CHARS", 20_000)
    duet, scientist = pair
    duet.send(AGES, tags=["ages"])
    for number in range(100):
        scientist.request(-1, f"n{number}", f"{number}" * 400, 0.0)
    scientist.answer(scientist.call)
    rows = [json.loads(row.entry.facts) for row in duet.audit.find(kind="request", limit=1_000)]
    assert 5_000 < sum(len(row["reason"]) for row in rows) <= 20_000
    assert sum(row.get("times", 1) for row in rows) == 100
    assert rows[0]["name"] == rows[0]["reason"] == "…"


def test_a_flood_of_sizes_does_not_fill_the_disk(pair, monkeypatch):
    """Each request is about another number of records, so no two of a burst were one row."""
    monkeypatch.setattr(limits, "AUDIT_ASKED_ROWS", 20)
    duet, scientist = pair
    duet.send(torch.arange(200.0), tags=["ages"])
    for many in range(1, 101):
        scientist.op("torch.Tensor.narrow", many, Ref(-1), 0, 0, many)
        scientist.request(many, "part", "", 0.0)
    scientist.answer(scientist.call)
    for kind in ("request", "decision"):
        rows = [json.loads(row.entry.facts) for row in duet.audit.find(kind=kind, limit=1_000)]
        assert len(rows) < 50
        assert sum(row.get("times", 1) for row in rows) == 100


def test_what_is_accepted_has_a_row_after_a_flood_too(pair, monkeypatch):
    monkeypatch.setattr(limits, "AUDIT_ASKED_ROWS", 0)
    duet, scientist = pair
    duet.send(torch.arange(200.0), tags=["ages"])
    duet.requests.add_handler("accept", name="part", kinds={"verbatim"}, max_elements=None,
                              min_records=1)  # fmt: skip
    for many in range(1, 11):
        scientist.op("torch.Tensor.narrow", many, Ref(-1), 0, 0, many)
        scientist.request(many, "part", "", 0.0)
    scientist.answer(scientist.call)
    rows = [json.loads(row.entry.facts) for row in duet.audit.find(kind="decision", limit=1_000)]
    assert sorted(row["elements"] for row in rows) == list(range(1, 11))


def test_a_full_disk_stops_releases_and_not_the_session(pair):
    duet, scientist = pair
    call = ask_for_the_mean(duet, scientist)
    file = duet._audit.file
    duet._audit.flush()
    with duet._audit._writing:
        pages = file.connection.execute("PRAGMA page_count").fetchone()[0]
        file.connection.execute(f"PRAGMA max_page_count={pages}")
    for number in range(8):  # what is left of the last page
        duet.send(AGES, tags=["x" * 250] * 8, description=str(number))
    duet.requests[0].accept()
    answer = scientist.answer(call)
    assert answer == wire.Denied(call, "this value cannot be sent")
    assert "cannot be written" in duet.status()["audit"]
    scientist.op("torch.zeros", 3, 2)
    assert isinstance(scientist.get(3), wire.Value)
    assert scientist.get(2).state in ("never", "denied")
    with duet._audit._writing:
        file.connection.execute("PRAGMA max_page_count=1000000")
    call = scientist.request(2, name="mean")
    scientist.wait_for(lambda: len(duet.requests) == 1)
    duet.requests[0].accept()
    assert isinstance(scientist.answer(call), wire.Value)
    assert duet.audit.verify(*heads(scientist))


@pytest.mark.skipif(sys.platform == "win32", reason="open files are not deleted there")
def test_a_deleted_log_stops_releases_and_not_the_session(pair, path):
    duet, scientist = pair
    call = ask_for_the_mean(duet, scientist)
    duet._audit.flush()
    path.unlink()
    duet.requests[0].accept()
    assert scientist.answer(call) == wire.Denied(call, "this value cannot be sent")
    assert "cannot be written" in duet.status()["audit"]
    scientist.op("torch.zeros", 3, 2)
    assert isinstance(scientist.get(3), wire.Value)


RELEASES = """
import sys
from pathlib import Path
import torch
from duet_p2p.engine.host import ThreadHost
from duet_p2p.identity.keys import Key
from duet_p2p.owner.audit import AuditLog
from duet_p2p.owner.audit_file import AuditFile
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import attacked

class Arrived(list):
    def append(self, message):
        super().append(message)
        if isinstance(message, wire.Value):
            print(f"{message.call:016x}", flush=True)

log = AuditLog(AuditFile(Path(sys.argv[1])), Key.from_seed(bytes(range(32)), "owner"))
duet, raw, _ = attacked({}, ThreadHost(), journal=log)
raw.answers = Arrived()
duet.send(torch.arange(20.0))
duet.requests.add_handler(name="sum", action="accept", max_elements=None)
while True:
    total = raw.op("torch.sum", Ref(-1))
    for call in [raw.request(total, "sum") for _ in range(20)]:
        raw.answer(call)
"""


@pytest.mark.slow
def test_an_owner_who_is_killed_between_releases_has_all_that_left_in_the_log(path):
    """Never less than what arrived; what did not leave any more may be in it."""
    root = Path(__file__).parents[2]
    owner = subprocess.Popen(
        [sys.executable, "-c", RELEASES, str(path)], stdout=subprocess.PIPE, text=True, cwd=root
    )
    arrived = [owner.stdout.readline() for _ in range(45)]
    owner.send_signal(signal.SIGKILL)
    arrived += owner.stdout.readlines()
    owner.wait()
    owner.stdout.close()
    view = AuditView(path)
    assert view.verify()
    kept = {
        json.loads(row.entry.facts)["request"]
        for row in view.rows()
        if row.entry.kind in ("release", "repeat")
    }
    whole = {line.strip() for line in arrived if line.endswith("\n")}
    assert len(whole) >= 45
    assert whole <= kept


def test_a_session_without_a_log_says_so():
    bridge = Bridge("no audit")
    duet, _ = owner_on(bridge)
    with pytest.raises(NotAllowed, match="audit=False"):
        _ = duet.audit
    assert duet.status()["audit"] == "off"
    duet.close()
    bridge.close()
