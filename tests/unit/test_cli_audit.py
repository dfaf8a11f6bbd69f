"""``duet audit``: the log for people at a terminal."""

import json

import pytest
from typer.testing import CliRunner

from duet_p2p import cli
from duet_p2p.errors import AuditUnavailable
from duet_p2p.identity.keys import Key
from duet_p2p.identity.signed_head import SignedHead
from duet_p2p.owner.audit_chain import Entry
from duet_p2p.owner.audit_file import AuditFile, audit_path

KEY = Key.from_seed(bytes(range(32)), "owner")


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "duet"))
    file = AuditFile(audit_path())
    yield file
    file.close()


def run(*words):
    result = CliRunner().invoke(cli.app, ["audit", *map(str, words)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def fill(log, count=5):
    entries = [Entry("2026-01-01T00:00:00", KEY.id, "request", f'{{"name": "n{n}"}}')
               for n in range(count)]  # fmt: skip
    return SignedHead.sign(KEY, log.append(entries))


def test_show_prints_the_newest_rows(log):
    fill(log)
    lines = run("show", "--last", 2).output.splitlines()
    assert len(lines) == 2
    assert "name=n4" in lines[1]


def test_show_prints_all_that_is_known_of_one_request(log):
    rows = [
        ("request", {"request": "00a1", "name": "n", "what": "mean of x", "reason": "r" * 300}),
        ("request", {"request": "00b2", "name": "another\x1b[2J", "what": ""}),
        ("release", {"request": "00a1", "how": "by hand", "injected": False}),
        ("recipe", {"request": "00b2", "what": "sum", "times": 2, "more_requests": ["00a1"]}),
    ]
    log.append([Entry("2026-01-01T00:00:00", KEY.id, kind, json.dumps(f)) for kind, f in rows])
    lines = run("show", "--request", "00a1").output.splitlines()
    begun = [line for line in lines if not line.startswith("        ")]
    assert [line.split() for line in begun] == [
        [str(number), "2026-01-01T00:00:00", kind]
        for number, kind in ((1, "request"), (3, "release"), (4, "recipe"))
    ]
    assert [line.split()[0] for line in lines[1:5]] == ["what", "name", "reason", "request"]
    assert "r" * 300 in lines[3] and not any("injected" in line for line in lines)
    assert "\x1b" not in run("show", "--request", "00b2").output
    assert run("show", "--request", "00c3").output == "No row is about such a request.\n"


def test_what_somebody_wrote_into_the_log_is_shown_as_text(log):
    """Past the triggers too: a log that was changed is looked at before it is verified."""
    fill(log)
    log.connection.execute("DROP TRIGGER rows_stay")
    hostile = "\x1b[2J\x1b]0;x\x07\r\n\u202eok"
    for field in ("time", "session", "kind", "facts"):
        log.connection.execute(f"UPDATE rows SET {field} = ? WHERE number = 3", (hostile,))
    log.connection.execute("UPDATE rows SET facts = ? WHERE number = 4", ("[" * 100_000,))
    shown = run("show").output
    assert len(shown.splitlines()) == 5
    assert not set("\x1b\x07\r\u202e") & set(shown)
    assert run("verify").exit_code == 1
    whole = run("show", "--request", "ok").output
    assert not set("\x1b\x07\r\u202e") & set(whole) and len(whole.splitlines()) == 2


def test_verify_says_whether_the_log_is_whole(log):
    head = fill(log)
    good = run("verify", "--head", head)
    assert (good.exit_code, "5 rows, unbroken" in good.output) == (0, True)
    log.connection.execute("DROP TRIGGER rows_remain")
    log.connection.execute("DELETE FROM rows WHERE number = 5")
    assert run("verify").exit_code == 0
    cut = run("verify", "--head", head)
    assert (cut.exit_code, "cut off" in cut.output) == (1, True)
    log.connection.execute("DELETE FROM rows WHERE number = 2")
    assert run("verify").exit_code == 1
    assert run("verify", "--head", "nonsense").exit_code == 2


def test_export_writes_a_new_file_only(log, tmp_path):
    fill(log)
    out = tmp_path / "out.jsonl"
    assert "5 rows" in run("export", out).output
    assert [json.loads(line)["number"] for line in out.read_text().splitlines()] == [1, 2, 3, 4, 5]
    assert run("export", out).exit_code == 2


def test_who_got_an_export_can_check_it(log, tmp_path):
    head, out = fill(log), tmp_path / "out.jsonl"
    run("export", out)
    good = run("verify", "--exported", out, "--head", head)
    assert (good.exit_code, "5 rows, unbroken" in good.output) == (0, True)
    lines = out.read_text().splitlines(keepends=True)
    for damaged in (
        [lines[0].replace("n0", "n9"), *lines[1:]],
        [lines[1], lines[0], *lines[2:]],
        [*lines[:2], *lines[3:]],
        lines[:4],
    ):
        out.write_text("".join(damaged))
        assert run("verify", "--exported", out, "--head", head).exit_code == 1
    good_line = json.loads(lines[0])
    for broken in ({"number": float("inf")}, {"time": "\ud800"}, {"salt": "x"}, {"hash": None}):
        out.write_text(json.dumps({**good_line, **broken}) + "\n")
        assert run("verify", "--exported", out).exit_code == 2
    out.write_text(json.dumps(good_line) + "\n")
    assert run("verify", "--exported", out).exit_code == 0
    spaced, more = f" {good_line['salt']}", {**good_line, "also": "rows are missing"}
    for said in ({"number": "1"}, {"number": 1.5}, {"number": True}, {"salt": spaced}, more):
        out.write_text(json.dumps({**good_line, **said}) + "\n")
        assert run("verify", "--exported", out).exit_code == 2, said
    twice = json.dumps(good_line)[1:]  # read by one as forged, and checked as written
    out.write_text('{"facts": "{\\"name\\": \\"forged\\"}", ' + twice + "\n")
    assert run("verify", "--exported", out).exit_code == 2
    for text in ("{}", "[]", "[" * 100_000, "\0"):
        out.write_text(text + "\n")
        assert run("verify", "--exported", out).exit_code == 2
    assert run("verify", "--exported", tmp_path / "none").exit_code == 2


def test_another_log_is_named_by_its_path_and_a_missing_one_is_said(log, tmp_path):
    other = AuditFile(tmp_path / "other.sqlite")
    fill(other, 1)
    other.close()
    assert len(run("show", "--path", tmp_path / "other.sqlite").output.splitlines()) == 1
    with pytest.raises(AuditUnavailable, match="no audit log"):
        run("verify", "--path", tmp_path / "none.sqlite")
