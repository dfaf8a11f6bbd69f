import json
from pathlib import Path

import pytest

from duet_p2p.errors import InvalidId
from duet_p2p.identity.keys import Key, format_id, parse_id
from signaling_server.ids import verify

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "pairing_vectors.json").read_text())
OWNER = VECTORS["identities"]["owner"]
SCIENTIST = VECTORS["identities"]["scientist"]


@pytest.mark.parametrize("vector", VECTORS["identities"].values(), ids=lambda v: v["id"][:4])
def test_a_seed_gives_its_id(vector):
    key = Key.from_seed(bytes.fromhex(vector["seed"]), vector["role"])
    assert key.id == vector["id"]
    assert key.pub == b"\x01" + bytes.fromhex(vector["pub"])
    assert vector["display"] in repr(key)


def test_fresh_keys_differ_and_sign():
    one, two = Key.fresh("owner"), Key.fresh("owner")
    assert one.id != two.id
    signature = one.sign(b"text")
    assert verify(one.pub, b"text", signature)
    assert not verify(two.pub, b"text", signature)


def test_pem_round_trip_and_refusals():
    key = Key.fresh("scientist")
    assert Key.from_pem(key.to_pem(), "scientist").id == key.id
    assert Key.from_pem(key.to_pem(), "owner").id != key.id
    for text in (b"", b"nonsense", key.to_pem()[:60]):
        with pytest.raises(ValueError):
            Key.from_pem(text, "owner")


CLIENT = SCIENTIST["id"]


@pytest.mark.parametrize(
    ("text", "sentence", "code"),
    [
        (
            CLIENT[:4] + "U" + CLIENT[5:],
            "Not a client ID: character 5 cannot occur in one.",
            "charset",
        ),
        (CLIENT[:-1], "Not a client ID: 31 of 32 characters.", "length"),
        (
            CLIENT[:-2] + CLIENT[-1] + CLIENT[-2],
            "Not a client ID: a character is wrong or two are swapped. Compare and try again.",
            "checksum",
        ),
        (
            OWNER["id"],
            "That is a session ID (it starts with S); your partner's client ID starts with C.",
            "role",
        ),
    ],
)
def test_sentences_for_the_owner(text, sentence, code):
    with pytest.raises(InvalidId) as failure:
        parse_id(text, "scientist")
    assert str(failure.value) == sentence
    assert failure.value.code == code
    assert isinstance(failure.value, ValueError)


def test_the_own_id_has_its_own_sentence():
    with pytest.raises(InvalidId, match=r"^That is your own ID\.$"):
        parse_id(format_id(OWNER["id"]), "scientist", own_id=OWNER["id"])


def test_sentence_for_the_scientist():
    with pytest.raises(InvalidId, match=r"^That is a client ID \(it starts with C\); your"):
        parse_id(CLIENT, "owner")
    assert parse_id(OWNER["display"].lower(), "owner") == OWNER["id"]
