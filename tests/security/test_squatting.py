"""Nobody registers an ID without its key, not even with the help of its owner's own client."""

import aiohttp
import pytest

from duet_p2p.errors import OriginMismatch, ProtocolError
from duet_p2p.identity.keys import Key
from duet_p2p.transport.signaling import WebSocketSignaling
from signaling_server import frames
from signaling_server.frames import Close
from tests.security.malicious_relay import MaliciousRelay, running
from tests.unit.signaling_kit import running as honest_server


class Forwarder(MaliciousRelay):
    """Shows its clients the challenge of an honest server and hands their answer on to it.

    Args:
        url: of the honest server.
        named_as: what it calls itself; None for its own address.
    """

    def __init__(self, url: str, *, named_as: str | None = None) -> None:
        super().__init__()
        self.there = url
        self.named_as = named_as
        self.answers: list[frames.FromServer | int | None] = []

    async def on_hello(self) -> frames.Hello:
        self._http = aiohttp.ClientSession()
        self._ws = await self._http.ws_connect(self.there + "/v1/ws", protocols=("duet.v1",))
        hello = frames.parse_from_server((await self._ws.receive()).data)
        assert isinstance(hello, frames.Hello)
        return frames.Hello(1, hello.challenge, "c", self.named_as or self.url, {})

    async def on_register(self, frame: frames.Register) -> frames.FromServer:
        await self._ws.send_str(frames.encode(frame))
        answer = await self._ws.receive(5.0)
        is_frame = answer.type is aiohttp.WSMsgType.TEXT
        self.answers.append(frames.parse_from_server(answer.data) if is_frame else answer.data)
        return await super().on_register(frame)

    async def ended(self) -> None:
        await self._ws.close()
        await self._http.close()


async def test_a_forwarded_challenge_that_was_signed_for_the_forwarder_registers_nothing():
    """The forwarder hopes that a signature of the right challenge is enough."""
    key = Key.fresh("owner")
    async with honest_server() as server:
        owner = await server.member(key)
        async with running(Forwarder(server.url)) as relay:
            client = WebSocketSignaling(relay.url, key)
            await client.start()  # it was asked for a registration here, and gave that
            await client.close(forget=True)
            assert relay.answers == [Close.PROOF]
        assert await owner.is_silent()  # not replaced


async def test_a_forwarder_that_gives_the_honest_servers_name_gets_no_signature():
    """It hopes that clients sign whatever origin they are told."""
    key = Key.fresh("owner")
    async with honest_server() as server:
        owner = await server.member(key)
        async with running(Forwarder(server.url, named_as=server.url)) as relay:
            with pytest.raises(OriginMismatch):
                await WebSocketSignaling(relay.url, key).start()
            assert relay.registered == [] and relay.answers == []
        assert await owner.is_silent()


async def test_control_the_same_forwarder_registers_with_a_signature_for_the_honest_server():
    key = Key.fresh("owner")
    async with honest_server() as server:
        owner = await server.member(key)
        async with running(Forwarder(server.url, named_as=server.url)) as relay:
            client = WebSocketSignaling(relay.url, key)
            client.url = server.url  # signs for that address …
            there = relay.url

            async def connect(http, url, timeout):
                return await http.ws_connect(there + "/v1/ws", protocols=("duet.v1",))

            with pytest.MonkeyPatch.context() as patch:  # … but is led to the forwarder
                patch.setattr("duet_p2p.transport.endpoint.connect", connect)
                await client.start()
            await client.close(forget=True)
            [answer] = relay.answers
            assert isinstance(answer, frames.Registered) and answer.epoch == 2
        assert await owner.close_code() == Close.REPLACED


class Borrowed:
    """Another's ID, with this or that public key, and one's own signature."""

    def __init__(self, wanted: Key, have: Key, show: Key) -> None:
        self.id, self.role, self.pub, self.sign = wanted.id, wanted.role, show.pub, have.sign


@pytest.mark.parametrize("shows", ["own key", "the owner's key"])
async def test_an_id_is_not_registered_without_its_key_and_the_owner_stays(shows):
    """A squatter hopes that whoever asks for an ID gets it, or that signatures are not checked."""
    key, squatter = Key.fresh("owner"), Key.fresh("owner")
    async with honest_server() as server:
        owner = await server.member(key)
        show = squatter if shows == "own key" else key
        with pytest.raises(ProtocolError, match="refused"):
            await WebSocketSignaling(server.url, Borrowed(key, squatter, show)).start()
        assert await owner.is_silent()


async def test_a_scientists_key_does_not_register_as_an_owner():
    """The role is part of what is hashed and signed."""
    key = Key.fresh("scientist")
    async with honest_server() as server:
        raw = await server.connect()
        await raw.send(**(raw.proof(key) | {"role": "owner"}))
        assert await raw.close_code() == Close.PROOF
