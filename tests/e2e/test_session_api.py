"""What the API promises about sessions, store, requests and handlers, seen from both notebooks."""

import socket
from pathlib import Path

import pytest

from tests.e2e.conftest import connect, wait_for_store
from tests.e2e.notebook import CellError, Notebook

Pair = tuple[Notebook, Notebook]

TOOLS = """
import os, pathlib, threading, time
import duet_p2p as sy, torch

def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return bool(found)

class Job:
    '''A call in a thread of its own: `end()` tells its value or the class of its error.'''
    def __init__(self, call):
        self.thread = threading.Thread(target=self.run, args=(call,))
        self.thread.start()
    def run(self, call):
        try:
            self.told = call()
        except Exception as error:
            self.told = type(error).__name__
    def end(self):
        self.thread.join(10)
        return self.told
"""

ORIGINAL_COLUMNS = [
    "Name",
    "Requested Object's tags",
    "Reason",
    "Request ID",
    "Requested Object's ID",
    "Requested Object's type",
]


@pytest.fixture(scope="module")
def both(owner: Notebook, scientist: Notebook) -> Pair:
    for notebook in (owner, scientist):
        notebook.run(TOOLS)
    return owner, scientist


@pytest.fixture
def session(server: str, both: Pair) -> Pair:
    """A session of the two processes with 20 numbers tagged `data`."""
    owner, scientist = both
    connect(server, owner, scientist, logging=False, engine="thread")
    owner.run("data = duet.send(torch.arange(20.0), tags=['data'])")
    wait_for_store(scientist, 1)
    scientist.run("data = duet.store['data']")
    return both


def fails(notebook: Notebook, code: str) -> str:
    with pytest.raises(CellError) as failure:
        notebook.run(code)
    return failure.value.kind


def end(session: Pair) -> None:
    for notebook in session:
        notebook.run("duet.close()")


# section 1


def test_the_end_of_a_session_for_both_sides(session: Pair) -> None:
    owner, scientist = session
    scientist.run(
        """
        request = data.mean().request()
        blocking = Job(lambda: data.sum().get(request_block=True, timeout_secs=-1))
        deciding = Job(request.wait)
        """
    )
    told = owner.run(
        """
        assert until(lambda: len(duet.requests) == 2)
        first = duet.requests[0]
        job = Job(first.wait)
        time.sleep(0.2)
        duet.close()
        duet.close()
        [job.end(), duet.is_open, duet.status()["is_open"]]
        """
    )
    assert told == ["SessionClosed", False, False]
    assert scientist.run("[blocking.end(), deciding.end()]") == ["PartnerLeft", "PartnerLeft"]
    # what was there can still be read, in both notebooks
    assert owner.run("[repr(duet.requests), len(duet.store), 'data' in repr(duet.store)]") == [
        "No requests.",
        1,
        True,
    ]
    assert (
        owner.run("[(r.status, r.why) for r in duet.requests.history]")
        == [["Expired", "the session ended"]] * 2
    )
    assert scientist.run("[request.status, len(duet.store), tuple(data.shape)]") == [
        "Expired",
        1,
        [20],
    ]
    assert fails(owner, "duet.send(1)") == fails(owner, "duet.wait(1)") == "SessionClosed"
    assert fails(owner, "duet.requests.add_handler(action='deny')") == "SessionClosed"
    assert fails(scientist, "duet.wait(1)") == fails(scientist, "data.sum()") == "PartnerLeft"
    scientist.run("duet.close()")


def test_several_sessions_at_once_by_loopback_names(both: Pair) -> None:
    owner, scientist = both
    owner.run(
        """
        quiet = dict(logging=False, engine="thread", wait=False)
        one, two = (sy.launch_duet(loopback=name, **quiet) for name in ("one", "two"))
        """
    )
    peers = scientist.run(
        """
        two = sy.join_duet(loopback="two", logging=False, timeout=20)
        one = sy.join_duet(loopback="one", logging=False, timeout=20)
        [one.peer, two.peer]
        """
    )
    ids = owner.run(
        """
        [duet.wait(20).send(torch.ones(2), tags=[name]) for name, duet in
         (("first", one), ("second", two))]
        [one.id, two.id]
        """
    )
    assert peers == ids
    for name in ("one", "two"):
        wait_for_store(scientist, 1, name)
    assert scientist.run("[one.store[0].tags, two.store[0].tags]") == [["first"], ["second"]]
    assert fails(scientist, "one.store[0] + two.store[0]") == "ForeignPointer"
    scientist.run("with one: pass")
    assert owner.run("[until(lambda: not one.is_open), two.is_open]") == [True, True]
    assert scientist.run("two.torch.ones(2).get().tolist()") == [1, 1]
    owner.run("one.close(); two.close()")
    scientist.run("two.close()")
    assert fails(scientist, "sy.join_duet(loopback='one', timeout=0.5)") == "PairingTimeout"


def test_duet_launches_or_joins_also_both_in_one_process(both: Pair) -> None:
    owner, _ = both
    seen = owner.run(
        """
        mine = sy.duet(None, False, "", "own", engine="thread", wait=False)
        theirs = sy.duet("", False, "", "own", timeout=20)
        sent = mine.wait(20).send(torch.ones(2))
        until(lambda: len(theirs.store))
        seen = [mine.peer == theirs.id, theirs.peer == mine.id, theirs.store[0].tags]
        theirs.close(), mine.close()
        seen
        """
    )
    assert seen == [True, True, []]
    assert fails(owner, "sy.duet('abc')") == "InvalidId"
    late = "sy.launch_duet(False, '', 'own', timeout=0, engine='thread')"
    assert fails(owner, late) == "PairingTimeout"
    assert "never awaited" not in owner.printed()


def test_a_stored_identity_and_a_label_for_the_partner(both: Pair) -> None:
    owner, scientist = both
    owner.run("options = dict(loopback='lab', logging=False, engine='thread', wait=False)")
    join = "sy.join_duet(loopback='lab', logging=False, partner='hospital', timeout=20).close()"
    first = owner.run("duet = sy.launch_duet(identity='lab', **options); duet.id")
    assert fails(owner, "sy.launch_duet(identity='lab', **options)") == "IdentityInUse"
    scientist.run(join)
    owner.run("duet.close()")
    assert owner.run("duet = sy.launch_duet(identity='lab', **options); duet.id") == first
    scientist.run(join)
    owner.run("duet.close(); duet = sy.launch_duet(**options)")
    assert fails(scientist, join) == "PeerIdentityChanged"
    owner.run("duet.close()")


def test_a_host_for_the_network_is_in_the_line_to_send(both: Pair) -> None:
    owner, scientist = both
    owner.run("duet = sy.launch_duet(host='127.0.0.2', wait=False, engine='thread')")
    line = owner.wait_for_print(r'sy\.join_duet\("S\w{31}", network_url="http://127\.0\.0\.2:\d+"')
    client = scientist.run(f"duet = {line}, wait=False, logging=False); duet.id")
    owner.run(f"duet.expect_client({client!r}); duet.wait(20).send(1)")
    scientist.run("duet.wait(20); None")
    end(both)


def test_a_server_that_ends_with_another_owner_is_replaced(both: Pair) -> None:
    owner, scientist = both
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for notebook in both:
        notebook.run(
            f"""
            from duet_p2p import meeting
            meeting.LOCAL_PORT, meeting.LOCAL_URL = {port}, "http://127.0.0.1:{port}"
            """
        )
    owner.run(
        """
        first = sy.launch_duet(logging=False, engine="thread", wait=False)
        duet = sy.launch_duet(engine="thread", wait=False)
        """
    )
    owner.wait_for_print(rf"127\.0\.0\.1:{port} \(already on this machine\)")
    owner.run("first.close()")
    owner.wait_for_print(rf"127\.0\.0\.1:{port} \(in this process;", 15)
    session_id = owner.run("duet.id")
    client = scientist.run(
        f"duet = sy.join_duet({session_id!r}, logging=False, wait=False)\nduet.id"
    )
    owner.run(f"duet.expect_client({client!r}); duet.wait(20)")
    assert scientist.run("duet.wait(20); duet.torch.ones(1).get().item()") == 1
    end(both)


EXCHANGER = """
class Exchanger:
    def __init__(self, mine, theirs):
        self.mine, self.theirs, self.told = pathlib.Path(mine), pathlib.Path(theirs), []
    def set_role(self, join):
        self.told.append(join)
        return self
    def set_responder_id(self, id):
        self.told.append(id)
    def run(self, credential):
        self.mine.write_text(credential)
        assert until(lambda: self.theirs.exists() and len(self.theirs.read_text()) == 32)
        return self.theirs.read_text()
"""


def test_the_originals_credential_exchanger(server: str, both: Pair, tmp_path: Path) -> None:
    owner, scientist = both
    files = str(tmp_path / "owner"), str(tmp_path / "scientist")
    for notebook in both:
        notebook.run(EXCHANGER)
    launching = owner.start(
        f"""
        hook = Exchanger(*{files!r})
        duet = sy.launch_duet(False, {server!r}, False, hook, timeout=40, engine="thread")
        [hook.told == [False, duet.id], duet.peer]
        """
    )
    scientist.run(f"hook = Exchanger(*{files[::-1]!r})")
    client, told = scientist.run(
        f"duet = sy.join_duet('', {server!r}, False, hook, logging=False, timeout=40)\n"
        "duet.id, hook.told"
    )
    assert launching.result(40) == [True, client]
    assert told == [True, ""]
    end(both)


def test_the_environment_in_place_of_arguments(server: str, both: Pair, tmp_path: Path) -> None:
    owner, scientist = both
    for notebook in both:
        notebook.run(f"os.environ['DUET_SIGNALING_URL'] = {server!r}")
    key = scientist.run(
        "from duet_p2p.identity.files import open_identity\n"
        "me = open_identity('me', 'scientist'); own = me.key.id; me.close(); own"
    )
    launching = owner.start(
        f"""
        os.environ["DUET_CLIENT_ID"] = {key!r}
        file = {str(tmp_path / "id")!r}
        duet = sy.launch_duet(False, timeout=40, engine="thread", data_dirs={{}},
                              on_id=pathlib.Path(file).write_text)
        del os.environ["DUET_CLIENT_ID"], os.environ["DUET_SIGNALING_URL"]
        [duet.peer, len(duet.data)]
        """
    )
    scientist.run(
        f"""
        file = pathlib.Path({str(tmp_path / "id")!r})
        assert until(lambda: file.exists() and len(file.read_text()) == 32)
        os.environ["DUET_SESSION_ID"] = file.read_text()
        duet = sy.join_duet(identity="me", logging=False, timeout=40)
        del os.environ["DUET_SESSION_ID"], os.environ["DUET_SIGNALING_URL"]
        """
    )
    assert launching.result(40) == [key, 0]
    assert fails(scientist, "sy.join_duet('', loopback='nobody', timeout=0.2)") == "PairingTimeout"
    end(both)


def test_names_that_are_not_there_say_why(session: Pair) -> None:
    owner, scientist = session
    for notebook, names in ((owner, ("privacy", "torch")), (scientist, ("pandas", "data"))):
        for name in names:
            assert fails(notebook, f"duet.{name}") == "NotAllowed"
            assert notebook.run(f"hasattr(duet, {name!r})") is False
    assert fails(owner, "sy.load('tenseal')") == "NotAllowed"
    assert fails(owner, "sy.launch_duet(db_path='x')") == "TypeError"
    end(session)


# section 2


def test_the_store_is_the_same_table_on_both_sides(session: Pair) -> None:
    owner, scientist = session
    owner.run(
        """
        x = torch.ones(2)
        assert x.tag("x", "torch", "len", "for") is x and x.describe("ones") is x
        shown = x.send(duet)
        hidden = x.send(duet, False, tags=["hidden"])
        sy.lib.python.Int(5).tag("five").send(duet, searchable=True)
        duet.send(x, shapes="private", tags=["secret"])
        """
    )
    wait_for_store(scientist, 4)
    scientist.run("own = torch.zeros(3).tag('own').send(duet)")
    owner.run("assert until(lambda: len(duet.store) == 5)")
    table = "[list(shown), shown.fillna('').astype(str).values.tolist()]"
    seen = scientist.run(f"shown = duet.store.pandas; {table}")
    assert seen == owner.run(f"shown = duet.store.pandas.drop(columns='Records'); {table}")
    columns, rows = seen
    assert columns == ["ID", "Tags", "Description", "object_type", "Shape", "dtype"]
    assert [row[1] for row in rows] == [
        "['data']",
        "['x', 'torch', 'len', 'for']",
        "['five']",
        "['secret']",
        "['own']",
    ]
    assert [row[4] for row in rows] == ["(20,)", "(2,)", "", "", "(3,)"]
    for notebook in session:
        found = notebook.run(
            f"""
            scope = {{"torch": torch}}
            table = duet.update_vars(scope)
            assert scope["torch"] is torch
            [sorted(scope), len(table), duet.store[{rows[1][0][:5]!r}].tags[0], len(duet.store[1:])]
            """
        )
        assert found == [["data", "five", "own", "secret", "torch", "x"], 5, "x", 4]
    assert owner.run("[hidden.pointable, hidden.get().tolist()]") == [False, [1, 1]]
    assert fails(scientist, "del duet.store['x']") == "WrongSide"
    owner.run("del duet.store['x']; duet.store['own'].delete()")
    assert scientist.run("[until(lambda: len(duet.store) == 3), 'x' in duet.store]") == [
        True,
        False,
    ]
    end(session)


# section 4


def test_a_request_reads_the_same_on_both_sides(session: Pair) -> None:
    owner, scientist = session
    names = (
        "name request_description reason object_id object_tags object_type requester "
        "requester_verify_key timeout_secs id request_id status"
    )
    facts = f"[getattr(request, name) for name in {names.split()!r}]"
    scientist.run("mean = data.mean(); request = mean.request(name='Mean', reason='why')")
    seen = scientist.run(facts)
    assert owner.run(f"until(lambda: len(duet.requests)); request = duet.requests[0]; {facts}") == (
        seen
    )
    assert seen[-1] == "Pending"
    times = [n.run("[request.arrival_time, time.time()]") for n in session]
    assert all(abs(now - arrival) < 20 for arrival, now in times)
    columns = [n.run("list(duet.requests.pandas.columns)") for n in session]
    assert columns[1] == ORIGINAL_COLUMNS
    assert columns[0] == [
        *ORIGINAL_COLUMNS,
        *("Kind", "Elements", "Records", "Injected", "Sources", "Waiting since"),
        *("Bytes", "What", "Released before", "Why"),
        *("Requester", "Shape", "Rows", "Training", "Recipe", "Handlers", "Source tags"),
    ]
    same = """
    [duet.requests[request.id].id == duet.requests.get_request_id_from_object_id(request.object_id),
     len(duet.requests), [r.id for r in duet.requests] == [r.id for r in duet.requests.requests]]
    """
    assert [n.run(same) for n in session] == [[True, 1, True]] * 2
    assert scientist.run("mean.request(reason='again') is request") is True
    assert fails(scientist, "request.accept()") == "WrongSide"
    owner.run("request.grant()")
    assert scientist.run("[request.wait(10), mean.check_access(), mean.get().item()]") == [
        "Accepted",
        "Accepted",
        9.5,
    ]
    for notebook in session:
        for late in ("deny", "reject", "withdraw"):
            assert fails(notebook, f"request.{late}()") == "RequestClosed"
        assert notebook.run("[request.status, len(duet.requests), duet.requests.pandas.empty]") == [
            "Accepted",
            0,
            True,
        ]
    end(session)


def test_expired_and_withdrawn_requests_are_so_on_both_sides(session: Pair) -> None:
    owner, scientist = session
    scientist.run("short = data.var().request(timeout_secs=0.5); taken = data.std().request()")
    owner.run("assert until(lambda: len(duet.requests) == 2)\nfirst, second = duet.requests")
    scientist.run("taken.withdraw()")
    assert owner.run("[first.wait(5), second.wait(5), len(duet.requests)]") == [
        "Expired",
        "Withdrawn",
        0,
    ]
    assert scientist.run("[short.wait(5), taken.status]") == ["Expired", "Withdrawn"]
    assert fails(owner, "first.accept()") == fails(owner, "second.accept()") == "RequestClosed"
    assert scientist.run("data.max().get(request_block=True, timeout_secs=0)") is None
    assert scientist.run("duet.requests.history[-1].status") == "Expired"
    end(session)


def test_handlers_in_the_words_of_the_original(session: Pair) -> None:
    owner, scientist = session
    owner.run(
        """
        deny = duet.requests.add_handler(name="loss", action="deny", print_local=True)
        quota = duet.requests.add_handler("accept", True, False, ["data", "sum"], -1, 2)
        """
    )
    loss = "data.mean().get(request_block=True, name=' LOSS', reason='watch', timeout_secs=40)"
    assert scientist.run(loss) is None
    owner.wait_for_print(r"HANDLER deny 'LOSS' \('watch'\): tensor\(9\.5000\)")
    total = "data.sum().get(request_block=True, timeout_secs=40)"
    sums = scientist.run(f"[v if v is None else v.item() for v in ({total}, {total}, {total})]")
    assert sums == [190, 190, None]
    owner.wait_for_print(r"(HANDLER accept '': tensor\(190\.\)\n){2}HANDLER deny '': tensor\(190")
    assert owner.run(
        "[quota['tags'], quota['id'] == quota.id, quota['quota_left'],"
        " list(duet.requests.handlers.pandas)[:4]]"
    ) == [["data", "sum"], True, 0, ["tags", "ID", "action", "remaining time (s):"]]
    # a handler with the same filter takes the place of the earlier one, whatever its action
    owner.run("duet.requests.add_handler(name='loss', action='accept')")
    assert scientist.run(f"{loss}.item()") == 9.5
    # what its guard stops waits, and says why
    assert scientist.run("data.get(request_block=True, name='loss', timeout_secs=0.3)") is None
    owner.run("duet.requests.remove_handler(name='loss', action='accept')")
    owner.run("duet.requests.remove_handler('sum'); assert len(duet.requests.handlers) == 0")
    # an expired handler is gone; then requests wait for the owner
    owner.run("duet.requests.add_handler(action='deny', timeout_secs=0.3)")
    owner.run("assert until(lambda: not len(duet.requests.handlers))")
    scientist.run("waiting = data.max().request()")
    assert owner.run("[until(lambda: len(duet.requests)), duet.requests[0].value.item()]") == [
        True,
        19,
    ]
    owner.run("duet.requests.add_handler(action='accept')")
    assert owner.run("[len(duet.requests), duet.status()['OPEN']]") == [0, True]
    assert scientist.run("waiting.wait(5)") == "Accepted"
    owner.run("duet.requests.clear_handlers()")
    assert owner.run("duet.status()['OPEN']") is False
    end(session)


def test_decisions_go_to_the_standard_logger(session: Pair) -> None:
    owner, scientist = session
    owner.run(
        """
        import io
        lines, other = io.StringIO(), io.StringIO()
        number, second = sy.logger.add(lines, level="INFO"), sy.logger.add(other)
        sy.logger.remove(second)
        assert sy.logger.add(other) not in (number, second)
        duet.requests.add_handler("deny", log_local=True, name="logged")
        """
    )
    scientist.run("data.min().get(request_block=True, name='logged', timeout_secs=40)")
    owner.run("assert until(lambda: 'HANDLER deny' in lines.getvalue())\nsy.logger.remove()")
    logged = owner.run("lines.getvalue()")
    assert '"kind": "decision"' in logged and '"status": "Rejected"' in logged
    assert "HANDLER deny 'logged': tensor(0.)" in logged
    end(session)
