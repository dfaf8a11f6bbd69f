"""An audit log on a disk that is full, that cannot be written, or from which it is removed.

The disk is a small one of its own, in a mount namespace, where such can be made.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.security.audit_disks import NO_MOUNTS

ROOT = Path(__file__).resolve().parents[2]


def seen(folder):
    """What an owner saw: name to how a release ended, an own value, and what `status` says."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("no mount namespaces on this platform")
    command = [sys.executable, "-m", "tests.security.audit_disks", str(folder)]
    for unshare in (["unshare", "-m"], ["unshare", "-rm"]):
        done = subprocess.run(
            unshare + command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode == 0:
            lines = [json.loads(line) for line in done.stdout.splitlines() if line[:1] == "["]
            return {line[0]: line[1:] for line in lines}
        if "unshare" not in done.stderr and done.returncode != NO_MOUNTS:
            raise AssertionError(done.stderr)
    pytest.skip("this user can make no mount namespace with a disk in it")


@pytest.mark.slow
def test_what_no_disk_keeps_does_not_leave_and_the_owner_is_told_what_to_do(tmp_path):
    told = seen(tmp_path)
    assert told["ordinary"][:2] == ["Value", "Value"]
    for what in ("full", "removed"):  # what is public goes on
        assert told[what][:2] == ["Denied", "Value"], what
    assert "make room on its disk" in told["full"][2]
    assert "close it and open another one" in told["removed"][2]
    assert told["room again"][0] == "Value" and told["verified"][0]
    for what in ("read-only", "read-only, old"):
        assert "name another file with launch_duet(audit=…)" in told[what][2]
