"""Fakes that record, for the tests of the owner's side."""

import asyncio
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from duet_p2p.engine import messages as engine
from duet_p2p.engine.host import ThreadHost
from duet_p2p.errors import ProtocolError, SessionClosed
from duet_p2p.owner.duet import QUOTAS, OwnerDuet, start_service
from duet_p2p.owner.handlers import Conditions, Handler, tag_filter
from duet_p2p.owner.policy import Policy
from duet_p2p.owner.printing import LiveLine, Printer
from duet_p2p.owner.service import Service
from duet_p2p.session.bridge import Bridge
from duet_p2p.surface.values import unpack
from duet_p2p.wire import messages as wire
from duet_p2p.wire.codec import encode_message
from tests.unit import policy_kit

DEADLINE = 90.0

LOSS = replace(
    policy_kit.LOSS,
    type="python.Float",
    shape=None,
    dtype=None,
    tags=("digits", "item"),
    recipe="loss.item()",
)
RAW = replace(LOSS, kind="verbatim", min_records=1, elements=600, recipe="store['digits']")
PUBLIC = replace(LOSS, kind="public", sources=(), recipe="")


class FakeSession:
    """Records what is posted; messages must be encodable, as in the real one."""

    def __init__(self):
        self.on_message = None
        self.on_state = None
        self.partner_id = "scientist-id"
        self.posted = []
        self.settled_to = []
        self.blobs = []
        self.sources = []
        self.expected = {}
        self.refused = []
        self.is_over = False
        self.transfers = SimpleNamespace(moving=list, out_bytes=0, out_files=0)

    def post(self, message, *, at_once=False):
        if self.is_over:
            raise SessionClosed()
        encode_message(message)
        self.posted.append(message)
        return len(self.posted)

    def send_blob(self, buffers, nbytes):
        self.sources += buffers
        if all(getattr(buffer, "is_written", True) for buffer in buffers):
            self.blobs.append(b"".join(map(bytes, buffers)))
            assert len(self.blobs[-1]) == nbytes
        else:
            self.blobs.append(None)
        return len(self.blobs)

    def expect_blob(self, transfer, nbytes, *, into=None):
        if transfer in self.expected:
            raise ProtocolError()
        self.expected[transfer] = asyncio.get_running_loop().create_future()
        return self.expected[transfer]

    def refuse_blob(self, transfer):
        self.refused.append(transfer)

    def fail(self, error):
        if not self.is_over:
            self.is_over = True
            self.failed = error
            self.on_state("closed", error)

    def settled(self, seq):
        self.settled_to.append(seq)

    def status(self):
        return {"state": "open", "rtt": 0.01, "path": None}

    async def close(self, reason="closed"):
        self.is_over = True
        self.on_state("closed", None)

    def take(self, kind=None):
        """What was posted since the last call, of one class."""
        taken = [m for m in self.posted if kind is None or isinstance(m, kind)]
        self.posted = [m for m in self.posted if m not in taken]
        return taken


class FakeHost:
    """Records commands; the test plays the engine with `say`."""

    def __init__(self):
        self.on_event = None
        self.sent = []
        self.starts = 0
        self.is_running = False
        self.fail_start = None
        self.may_start = asyncio.Event()
        self.may_start.set()

    async def start(self, configure):
        await self.may_start.wait()
        if self.fail_start:
            raise self.fail_start
        self.starts += 1
        self.is_running = True
        self.configured = configure
        return engine.Started(bytes([self.starts]) * 16, 4711, {"torch": "2.14.1"})

    def send(self, command):
        assert self.is_running
        self.sent.append(command)

    async def stop(self):
        self.is_running = False

    def say(self, *events):
        for event in events:
            self.on_event(event)

    def die(self, reason="signal 9"):
        self.is_running = False
        self.on_event(engine.Died(reason))

    def take(self, kind=None):
        taken = [c for c in self.sent if kind is None or isinstance(c, kind)]
        self.sent = [c for c in self.sent if c not in taken]
        return taken


class InlineThread:
    """Runs callbacks at once and keeps what was told."""

    def __init__(self):
        self.told = []

    def tell(self, fn, *args):
        self.told.append(args)
        fn(*args)


class ListJournal:
    is_kept = True

    def __init__(self):
        self.lines = []

    def record(self, kind, facts):
        self.lines.append((kind, dict(facts)))

    def expect(self):
        pass

    def commit(self, kind, facts, content):
        self.record(kind, facts)
        return None

    async def finish(self):
        return None

    def kinds(self):
        return [kind for kind, _ in self.lines]


class SlowJournal(ListJournal):
    """Keeps a release when the test says so."""

    def __init__(self):
        super().__init__()
        self.waiting = []

    def commit(self, kind, facts, content):
        self.record(kind, facts)
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]


class Stage:
    """A service between a fake session and a fake engine."""

    def __init__(self, *, limits=None, journal=None, **settings):
        self.session = FakeSession()
        self.host = FakeHost()
        self.thread = InlineThread()
        self.journal = journal or ListJournal()
        self.service = Service(
            self.session,
            self.host,
            configure=engine.Configure({**QUOTAS, **(limits or {})}, {}, None),
            policy=Policy(**settings),
            journal=self.journal,
            printer=Printer(self.thread),
            live=LiveLine(self.thread),
        )
        self.desk = self.service.desk
        self.seq = 0

    async def start(self):
        self.service.start()
        await self.service.revival.done()
        self.session.on_state("open", None)
        self.session.take()
        return self

    def receive(self, *messages):
        for message in messages:
            self.seq += 1
            self.session.on_message(self.seq, message)

    async def settle(self):
        for _ in range(5):
            await asyncio.sleep(0)

    def candidate(self, call, facts=LOSS, value=None, has_value=True):
        self.host.say(engine.Candidate(call, facts, value, has_value))

    def answers(self, kind=None):
        return self.session.take(kind)


class Pairing:
    def __init__(self):
        self.pinned = None
        self.expected = []

    def expect(self, client_id):
        self.expected.append(client_id)
        return True

    async def wait(self, timeout=None):
        return None


class Scientist:
    """Sends messages on the session's loop and waits for answers."""

    def __init__(self, bridge, session):
        self.bridge = bridge
        self.session = session
        self.seq = 0
        self.call = 100

    def send(self, *messages):
        async def go():
            for message in messages:
                self.seq += 1
                self.session.on_message(self.seq, message)

        self.bridge.call(go(), DEADLINE)

    def op(self, name, out, *args, **kwargs):
        self.send(wire.Op(name, (out,), args, kwargs, "g"))

    def request(self, object_id, name="", reason="", limit_s=None):
        self.call += 1
        self.send(wire.Request(self.call, object_id, name, reason, limit_s))
        return self.call

    def get(self, object_id):
        self.call += 1
        self.send(wire.Get(self.call, object_id))
        return self.answer(self.call)

    def answer(self, call):
        return self.wait_for(
            lambda: next((m for m in self.session.posted if getattr(m, "call", 0) == call), None)
        )

    def wait_for(self, found):
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            value = found()
            if value:
                return value
            time.sleep(0.005)
        raise AssertionError("no answer in time")

    def value(self, call):
        answer = self.answer(call)
        assert isinstance(answer, wire.Value), answer
        blob = answer.blob
        return unpack(answer.value, self.session.blobs[blob.transfer - 1] if blob else None)


def owner_on(bridge, *, host=None, audit=None, **settings):
    """An owner's facade over a real engine, and the recorded scientist, connected."""
    session = FakeSession()
    if audit is not None:
        settings["journal"] = audit

    async def build():
        service = await start_service(
            session,
            host or ThreadHost(),
            callback_thread=bridge.callback_thread,
            session_id="owner-id",
            logging=False,
            **settings,
        )
        await service.revival.done()  # what comes before that is in test_service_start.py
        return service

    service = bridge.call(build(), DEADLINE)
    duet = OwnerDuet(bridge, session, Pairing(), service, session_id="owner-id", audit=audit)

    async def opened():
        session.on_state("open", None)

    bridge.call(opened(), DEADLINE)
    return duet, Scientist(bridge, session)


def ask(call=11, id=5, name="loss", reason="why not", limit_s=None):
    return wire.Request(call, id, name, reason, limit_s)


def handler(action, *, element_quota=None, print_local=False, log_local=False, **said):
    if "tags" in said:
        said["tags"] = tag_filter(said["tags"])
    return Handler(
        action=action,
        conditions=Conditions(**said),
        element_quota=element_quota,
        print_local=print_local,
        log_local=log_local,
    )


AGES = torch.tensor([25, 32, 49, 65, 88, 22])


def share_ages(duet):
    return AGES.clone().tag("ages").describe("in years").send(duet)


def waiting(duet, scientist, count=1):
    scientist.wait_for(lambda: len(duet.requests) == count)


@pytest.fixture(name="bridge")
def owner_bridge():
    made = Bridge("test owner")
    yield made
    made.close()


@pytest.fixture(name="pair")
def owner_pair(bridge):
    duet, scientist = owner_on(bridge)
    yield duet, scientist
    duet.close()
