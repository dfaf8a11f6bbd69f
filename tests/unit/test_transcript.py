import json
from pathlib import Path

import pytest

from duet_p2p.protocol import transcript

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "pairing_vectors.json").read_text())
BINARY = {"pub", "nonce", "own_nonce", "peer_nonce", "fp", "th", "audit_head", "challenge"}
MAKERS = {
    "duet/join/v1": transcript.join_input,
    "duet/sdp/v1": transcript.sdp_input,
    "duet/confirm/v1": transcript.confirm_input,
    "duet/bye/v1": transcript.bye_input,
}


def inputs() -> dict[str, bytes]:
    found = {}
    for vector in VECTORS["signatures"]:
        if vector["label"] in MAKERS:
            fields = {
                name: bytes.fromhex(value) if name in BINARY else value
                for name, value in vector["fields"].items()
            }
            if "caps" in fields:
                fields["caps"] = fields["caps"].encode()
            found[vector["name"]] = MAKERS[vector["label"]](**fields)
    return found


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS["signatures"] if v["label"] in MAKERS], ids=lambda v: v["name"]
)
def test_inputs_of_the_vectors(vector):
    assert inputs()[vector["name"]].hex() == vector["input"]


def test_transcript_hashes_of_the_vectors():
    made = inputs()
    join, offer, answer = made["join"], made["offer"], made["answer"]
    expected = VECTORS["transcript"]
    assert transcript.transcript_hash(join).hex() == expected["th_join"]
    assert transcript.transcript_hash(join, offer).hex() == expected["th_join_offer"]
    assert transcript.transcript_hash(join, offer, answer).hex() == expected["th"]
