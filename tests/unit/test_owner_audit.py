"""`duet.audit` over a real engine: what a session leaves behind, and what its end is."""

import json

import pytest
import torch

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
    assert "46.8" not in json.dumps(release)
    duet.close()
    last = heads(scientist)[-1]
    view = AuditView(path)
    assert last.head != head.head
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


def test_a_full_disk_stops_releases_and_not_the_session(pair):
    duet, scientist = pair
    call = ask_for_the_mean(duet, scientist)
    file = duet._audit.file
    duet._audit.flush()
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
    file.connection.execute("PRAGMA max_page_count=1000000")
    call = scientist.request(2, name="mean")
    scientist.wait_for(lambda: len(duet.requests) == 1)
    duet.requests[0].accept()
    assert isinstance(scientist.answer(call), wire.Value)
    assert duet.audit.verify(*heads(scientist))


def test_a_session_without_a_log_says_so():
    bridge = Bridge("no audit")
    duet, _ = owner_on(bridge)
    with pytest.raises(NotAllowed, match="audit=False"):
        _ = duet.audit
    assert duet.status()["audit"] == "off"
    duet.close()
    bridge.close()
