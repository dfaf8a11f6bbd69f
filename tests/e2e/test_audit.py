"""The audit log between two real processes: heads arrive, stay, and show a log that was cut."""

from pathlib import Path

import pytest

from tests.e2e.conftest import connect, wait_for_store
from tests.e2e.notebook import CellError, Notebook

UNTIL = """
import time
deadline = time.monotonic() + 30
while {} and time.monotonic() < deadline:
    time.sleep(0.02)
"""


@pytest.mark.slow
def test_the_scientist_keeps_the_heads_of_the_owners_log(
    server: str, owner: Notebook, scientist: Notebook
) -> None:
    connect(server, owner, scientist, engine="thread", logging=False)
    owner.run("p = duet.send(torch.arange(20.0), tags=['data']); path = duet.audit.path")
    owner.run("duet.requests.add_handler(name='mean', action='accept')")
    wait_for_store(scientist, 1)
    assert scientist.run("duet.audit_head is None") is True
    value = scientist.run("float(duet.store[0].mean().get(request_block=True, name='mean'))")
    assert value == 9.5
    head = scientist.run(UNTIL.format("duet.audit_head is None") + "str(duet.audit_head)")
    assert owner.run(f"bool(duet.audit.verify({head!r}))") is True
    owner.run("duet.close()")
    last = scientist.run(UNTIL.format("duet.is_open") + "str(duet.audit_head)")
    assert last != head
    check = "from duet_p2p.owner.audit_view import AuditView; bool(AuditView(path).verify({!r}))"
    assert owner.run(check.format(last)) is True
    owner.run(
        """
        import sqlite3
        file = sqlite3.connect(path)
        file.execute("DROP TRIGGER rows_remain")
        file.execute("DELETE FROM rows WHERE number = (SELECT max(number) FROM rows)")
        file.commit(); file.close()
        """
    )
    assert owner.run(check.format(head)) is True
    assert owner.run(check.format(last)) is False
    scientist.run("duet.close()")


def test_the_log_can_be_elsewhere_or_off(owner: Notebook, tmp_path: Path) -> None:
    owner.run("import duet_p2p as sy")
    path = tmp_path / "mine.sqlite"
    for audit, found in ((repr(str(path)), str(path)), ("False", "off")):
        owner.run(f"duet = sy.launch_duet(loopback='none', wait=False, audit={audit})")
        assert owner.run("duet.status()['audit']") == found
        owner.run("duet.close()")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(CellError, match="IdentityFileUnsafe"):
        owner.run(f"sy.launch_duet(loopback='none', wait=False, audit={str(path)!r})")
    with pytest.raises(CellError, match="AuditUnavailable"):
        owner.run("sy.launch_duet(loopback='none', wait=False, audit='/nowhere/log')")
