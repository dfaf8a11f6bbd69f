"""One owner, two scientists at the same time: what one of them sends takes nothing from the other.

Each has a session, a service and an engine of their own; the owner's process and the audit log are
shared. So one floods them, and the other works.
"""

import json

import pytest
import torch

from duet_p2p.identity.keys import Key
from duet_p2p.owner.audit import AuditLog
from duet_p2p.owner.audit_file import AuditFile
from duet_p2p.owner.audit_view import AuditView
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.bomb_kit import DATA, LIMITS, a_sample_without_end, handle_id, pid
from tests.security.raw_peer import attacked

TIGHT = LIMITS | {"command_seconds": 8}
KEYS = {name: Key.from_seed(name.encode().ljust(32), "owner") for name in ("loud", "quiet")}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.sqlite"


@pytest.fixture
def both(path):
    sides, bridges = [], []
    for name in ("loud", "quiet"):
        duet, raw, bridge = attacked(TIGHT, journal=AuditLog(AuditFile(path), KEYS[name]))
        duet.send(DATA, tags=["data"])
        sides.append((duet, raw))
        bridges.append(bridge)
    yield sides
    for (duet, _), bridge in zip(sides, bridges, strict=True):
        duet.close()
        bridge.close()


def released(duet, raw):
    """A request of the quiet one, accepted by hand."""
    call = raw.request(raw.op("torch.Tensor.sum", Ref(handle_id(duet))), "quiet")
    raw.wait(lambda: len(duet.requests) == 1)
    duet.requests[0].accept()
    answer = raw.answer(call)
    assert isinstance(answer, wire.Value), answer
    return answer


def flood(duet, raw):
    """More of everything than is allowed; the last of it is still on its way."""
    secret = raw.op("torch.Tensor.sum", Ref(handle_id(duet)))
    calls = [next(raw.calls) for _ in range(1_000)]
    raw.send(*[wire.Request(call, secret.id, f"loud {call}", "", None) for call in calls])
    for name in ("python.NoSuchName", "python.Int"):
        outs = [raw.new_id() for _ in range(7_500)]
        raw.send(*[wire.Op(name, (out,), (1,), {}, "g") for out in outs])
    for number in range(40):
        raw.op("torch.ones", 2_621_440)
        raw.get(Ref(10**6 + number))


@pytest.mark.slow
def test_a_flood_of_one_takes_no_quota_no_answer_and_no_row_of_the_other(both, path):
    (loud, loud_raw), (quiet, quiet_raw) = both
    before = pid(quiet)
    flood(loud, loud_raw)
    for _ in range(3):
        released(quiet, quiet_raw)
        mine = quiet_raw.op("torch.ones", 1_000)
        assert isinstance(quiet_raw.get(mine), wire.Value)
    loud_raw.wait_for_end()
    assert len(loud.requests) == LIMITS["open_requests"]
    assert len(quiet.requests) == 0 and not quiet_raw.told(wire.Fail)
    assert pid(quiet) == before and quiet.is_open and loud.is_open
    for duet in (loud, quiet):
        duet._service._journal.flush()
    view = AuditView(path)
    assert view.verify()
    rows = [row.entry for row in view.rows() if row.entry.session == KEYS["quiet"].id]
    asked = [json.loads(row.facts)["name"] for row in rows if row.kind == "request"]
    assert asked == ["quiet"] * 3
    assert [row.kind for row in rows].count("release") == 3


@pytest.mark.slow
def test_one_whose_engine_is_busy_for_ever_and_then_ends_is_not_waited_for(both):
    (_, loud_raw), (quiet, quiet_raw) = both
    before = pid(quiet)
    a_sample_without_end(loud_raw, 0.0)
    released(quiet, quiet_raw)
    assert loud_raw.settled < loud_raw.seq  # it is at it still
    loud_raw.wait(lambda: loud_raw.told(wire.EngineRestarted))
    released(quiet, quiet_raw)
    assert pid(quiet) == before
    assert torch.equal(quiet_raw.value(quiet_raw.get(quiet_raw.op("torch.ones", 2))), torch.ones(2))
