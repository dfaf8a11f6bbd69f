import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duet_p2p import limits
from duet_p2p.protocol.proofs import Confirm, ProofError, Ready, is_proof, parse_proof

CONFIRM = Confirm("owner", b"t" * 32, b"h" * 32, b"s" * 64)
FIELDS = {"t": "confirm", "role": "owner", "th": b"t" * 32, "audit_head": b"", "sig": b"s" * 64}


@pytest.mark.parametrize(
    "proof", [CONFIRM, Ready(b"t" * 32), Confirm("scientist", b"t" * 32, b"", b"s" * 64)]
)
def test_round_trip(proof):
    assert parse_proof(proof.encode()) == proof
    assert is_proof(proof.encode())


@pytest.mark.parametrize(
    "change",
    [
        {"t": "ready"},
        {"t": "hello"},
        {"t": ["confirm"]},
        {"role": "relay"},
        {"th": b"t" * 31},
        {"th": "t" * 32},
        {"audit_head": b"h" * 31},
        {"sig": b"s" * 63},
        {"more": 1},
        {"sig": None},
    ],
)
def test_fields_are_exact(change):
    data = msgpack.packb({**FIELDS, **change})
    with pytest.raises(ProofError):
        parse_proof(data)
    assert not is_proof(data)


def test_bytes_are_exact():
    good = CONFIRM.encode()
    for data in (b"", good + b"\0", good[:-1], msgpack.packb([good]), b"\x93\x01\x02\x03", b"\xc1"):
        with pytest.raises(ProofError):
            parse_proof(data)
    twice = b"\x83" + Ready(b"t" * 32).encode()[1:] + msgpack.packb("t") + msgpack.packb("ready")
    with pytest.raises(ProofError):
        parse_proof(twice)
    long = msgpack.packb({**FIELDS, "x": b"x" * limits.CONFIRM_MAX_BYTES})
    with pytest.raises(ProofError, match="too long"):
        parse_proof(long)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    with pytest.raises(ProofError):
        parse_proof(data)
