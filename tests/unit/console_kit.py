"""A console over a recorded session, and a page that speaks to its server by hand."""

import asyncio
import json

import aiohttp
import pytest

from duet_p2p.console.console import Console
from duet_p2p.session.transfers import Moving
from duet_p2p.wire import messages as wire
from tests.unit.owner_kit import LOSS, FakeSession, Stage

SECONDS = 10.0
OWNER = "S" + "0" * 31


class FakeTransfers:
    def __init__(self):
        self.on_change = lambda: None
        self.now = []

    def moving(self):
        return self.now

    def move(self, *moving):
        self.now = [Moving(*one) for one in moving]
        self.on_change()


class WatchedFake(FakeSession):
    def __init__(self):
        super().__init__()
        self.transfers = FakeTransfers()

    def status(self):
        return {"state": "closed" if self.is_over else "open", "rtt": 0.01, "path": None}


class PageByHand:
    """What the page does on its socket, without a browser."""

    def __init__(self, socket):
        self.socket = socket
        self.count = 0
        self.sections = {}
        self.welcome = None
        self.end = None

    async def say(self, message):
        text = message if isinstance(message, str) else json.dumps(message)
        await self.socket.send_str(text)

    async def take(self):
        """The next message, or the close code."""
        async with asyncio.timeout(SECONDS):
            message = await self.socket.receive()
        if message.type is not aiohttp.WSMsgType.TEXT:
            return self.socket.close_code
        told = json.loads(message.data)
        if told["t"] == "welcome":
            self.welcome = told
        elif told["t"] == "end":
            self.end = told
        elif told["t"] == "change":
            for name, change in told["sections"].items():
                section = self.sections.setdefault(name, {})
                section.update(change["set"])
                for key in change["gone"]:
                    del section[key]
        return told

    async def until(self, is_true):
        while not is_true():
            assert not isinstance(await self.take(), int), "the socket was closed"

    async def closed(self):
        """The close code, after what else comes."""
        while not isinstance(code := await self.take(), int):
            pass
        return code

    async def ask(self, kind, **fields):
        self.count += 1
        await self.say({"t": kind, "n": self.count, **fields})
        while True:
            told = await self.take()
            assert not isinstance(told, int), f"closed with {told}"
            if told["t"] == "answer" and told["n"] == self.count:
                return told

    def requests(self):
        return list(self.sections.get("requests", {}).values())


class ConsoleStage(Stage):
    """An owner's service, recorded on both sides, with a console."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.clients = []
        self.sockets = []
        self.audit = None

    async def start(self):
        self.session = WatchedFake()
        self.service._session = self.service._answers._session = self.session
        await super().start()
        self.console = Console(self.service, self.session, OWNER, audit=self.audit)
        return self

    async def close(self):
        await asyncio.gather(self.console.close(), *(socket.close() for socket in self.sockets))
        for client in self.clients:
            await client.close()

    async def connect(self, origin=None, host=None, port=None):
        """A socket that has said nothing yet."""
        opening = await self.console.open()
        address = opening.address.rstrip("/")
        client = aiohttp.ClientSession()
        self.clients.append(client)
        headers = {"Origin": address if origin is None else origin}
        if host:
            headers["Host"] = host
        socket = await client.ws_connect(f"{address}/socket", headers=headers)
        self.sockets.append(socket)
        return PageByHand(socket), opening.url.partition("#")[2]

    async def page(self):
        """A page that was let in and has the whole picture."""
        page, token = await self.connect()
        await page.say({"t": "hello", "token": token})
        await page.until(lambda: "session" in page.sections)
        return page

    def ask(self, call=7, object_id=1, facts=LOSS, name="loss", reason="epoch 1", limit_s=None):
        """A request of the scientist, frozen by the engine."""
        self.receive(wire.Request(call, object_id, name, reason, limit_s))
        self.candidate(call, facts, value=0.5)


@pytest.fixture
async def stage(tmp_path, monkeypatch):
    """A session whose console keeps its files in a folder of the test's own."""
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "duet"))
    made = await ConsoleStage().start()
    yield made
    await made.close()
