"""Two pairing machines without a shell, and the steps that take them from state to state."""

from dataclasses import replace

from duet_p2p.identity.keys import Key
from duet_p2p.protocol.bodies import Bye, Join, Sdp, parse_body
from duet_p2p.protocol.description import Candidate, Description
from duet_p2p.protocol.effects import MakePeer, Post, SendProof
from duet_p2p.protocol.owner_pairing import OwnerPairing
from duet_p2p.protocol.pairing import OwnerState, ScientistState
from duet_p2p.protocol.scientist_pairing import ScientistPairing
from duet_p2p.protocol.transcript import transcript_hash

OWNER = Key.from_seed(bytes([1] * 32), "owner")
SCIENTIST = Key.from_seed(bytes([2] * 32), "scientist")
STRANGER = Key.from_seed(bytes([3] * 32), "scientist")
CAPS = b'{"v":1,"sw":"test","max_msg":65536,"ops":"00","conf":1}'
NEW_CAPS = CAPS.replace(b'"v":1', b'"v":2')
OWNER_CERT, SCIENTIST_CERT = b"\xaa" * 32, b"\xbb" * 32
HEAD = b"h" * 32


def description(certificate: bytes, setup: str) -> Description:
    return Description(
        ufrag="abcd",
        pwd="p" * 22,
        fingerprint=certificate,
        setup=setup,
        candidates=(Candidate("1", 1, "192.0.2.1", 1000, "host"),),
    )


def signed(message, key: Key):
    """The message with its signature made anew."""
    return replace(message, sig=key.sign(message.signed()))


def make_join(key: Key = SCIENTIST, *, attempt: int = 5, caps: bytes = CAPS, **changes) -> Join:
    join = Join(OWNER.id, key.id, key.pub, b"n" * 16, attempt, caps, bytes(64))
    return signed(replace(join, **changes), key)


class World:
    """An owner who expects a scientist, both at rest; `now` stands still unless moved."""

    def __init__(self, *, expect: bool = True, caps: bytes = CAPS, **owner_arguments) -> None:
        self.now = 100.0
        owner_arguments.setdefault("prompt_open", False)
        self.owner = OwnerPairing(
            key=OWNER, caps=CAPS, loopback=False, audit_head=lambda: HEAD, **owner_arguments
        )
        self.scientist = ScientistPairing(
            key=SCIENTIST,
            caps=caps,
            session_id=OWNER.id,
            loopback=False,
            audit_head=bytes,
            unix_offset=1_000.0,
        )
        self.join_body = self.offer_body = self.answer_body = b""
        self.owner_proof = self.scientist_proof = b""
        self.owner_peer = self.scientist_peer = 0
        if expect:
            self.owner.expect(SCIENTIST.id, self.now)
            self.owner.take_effects()

    # one step each; effects are taken and what travels is kept

    def begin(self) -> None:
        self.scientist.begin(self.now)
        self.join_body = one(self.scientist.take_effects(), Post).body

    def deliver_join(self) -> None:
        self.owner.received(SCIENTIST.id, self.join_body, self.now)
        self.owner_peer = one(self.owner.take_effects(), MakePeer).peer
        self.owner.gathered(self.owner_peer, description(OWNER_CERT, "actpass"), self.now)
        self.offer_body = one(self.owner.take_effects(), Post).body

    def deliver_offer(self) -> None:
        self.scientist.received(OWNER.id, self.offer_body, self.now)
        self.scientist_peer = one(self.scientist.take_effects(), MakePeer).peer
        own = description(SCIENTIST_CERT, "active")
        self.scientist.gathered(self.scientist_peer, own, self.now)
        self.answer_body = one(self.scientist.take_effects(), Post).body

    def deliver_answer(self) -> None:
        self.owner.received(SCIENTIST.id, self.answer_body, self.now)
        self.owner.take_effects()

    def connect_owner(self) -> None:
        self.owner.connected(self.owner_peer, SCIENTIST_CERT, self.now)
        self.owner_proof = one(self.owner.take_effects(), SendProof).data

    def connect_scientist(self) -> None:
        self.scientist.connected(self.scientist_peer, OWNER_CERT, self.now)
        self.scientist_proof = one(self.scientist.take_effects(), SendProof).data

    def connect(self) -> None:
        """Both have sent their confirms."""
        self.begin()
        self.deliver_join()
        self.deliver_offer()
        self.deliver_answer()
        self.connect_owner()
        self.connect_scientist()

    def confirm(self) -> None:
        """Both have checked the other's confirm and sent ready."""
        self.owner.frame(self.owner_peer, 0, self.scientist_proof, self.now)
        self.owner_proof_2 = one(self.owner.take_effects(), SendProof).data
        self.scientist.frame(self.scientist_peer, 0, self.owner_proof, self.now)
        self.scientist_proof_2 = one(self.scientist.take_effects(), SendProof).data

    def ready(self) -> None:
        self.owner.frame(self.owner_peer, 0, self.scientist_proof_2, self.now)
        self.scientist.frame(self.scientist_peer, 0, self.owner_proof_2, self.now)

    def open(self) -> None:
        self.connect()
        self.confirm()
        self.ready()
        self.owner.take_effects()
        self.scientist.take_effects()

    def bye_of(self, key: Key, reason: str = "closed") -> bytes:
        """A goodbye over the join, which both sides know from the start."""
        join = parse_body(self.join_body)
        th = transcript_hash(join.signed())
        bye = Bye(key.role, OWNER.id, SCIENTIST.id, key.pub, th, reason, bytes(64))
        return signed(bye, key).encode()

    @property
    def owner_state(self) -> OwnerState:
        return self.owner.state(SCIENTIST.id)

    @property
    def scientist_state(self) -> ScientistState:
        return self.scientist.state

    def bring_owner_to(self, state: OwnerState) -> None:
        self.begin()
        self.deliver_join()
        self.deliver_offer()
        if state is OwnerState.IDLE:  # after an attempt, so that there is something to repeat
            self.owner.failed(self.owner_peer, ConnectionError(), self.now)
        if state in (OwnerState.CONNECTING, OwnerState.CONFIRMING):
            self.deliver_answer()
        if state is OwnerState.CONFIRMING:
            self.connect_owner()
            self.connect_scientist()
        self.owner.take_effects()
        assert self.owner_state is state

    def bring_scientist_to(self, state: ScientistState) -> None:
        if state is not ScientistState.IDLE:
            self.begin()
            self.deliver_join()
        if state in (ScientistState.ANSWERING, ScientistState.CONFIRMING):
            self.deliver_offer()
        if state is ScientistState.CONFIRMING:
            self.deliver_answer()
            self.connect_owner()
            self.connect_scientist()
        self.scientist.take_effects()
        assert self.scientist_state is state


def one(effects, kind):
    """The only effect of a kind."""
    (found,) = [effect for effect in effects if isinstance(effect, kind)]
    return found


def spoiled(body: bytes, key: Key, **changes) -> bytes:
    """An SDP body changed by a relay: the old signature, other fields."""
    message = parse_body(body)
    assert isinstance(message, Sdp)
    return replace(message, **changes).encode()


def names(effects):
    return [type(effect).__name__ for effect in effects]


def newer_join(world, **changes):
    attempt = parse_body(world.join_body).attempt
    return make_join(attempt=attempt + changes.pop("by", 1), **changes).encode()


def version_offer(world):
    """An offer of the right owner for the right join, of another version."""
    offer = parse_body(world.offer_body)
    return signed(replace(offer, caps=NEW_CAPS), OWNER).encode()


def hold(world, key=SCIENTIST, **changes):
    world.owner.received(key.id, make_join(key, **changes).encode(), world.now)
    return world.owner.take_effects()
