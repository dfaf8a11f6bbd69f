import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from signaling_server import ids

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "pairing_vectors.json").read_text())
IDENTITIES = list(VECTORS["identities"].values())


def code_of(text: str, role: ids.Role) -> str:
    try:
        ids.parse_id(text, role)
    except ids.IdError as error:
        return error.code
    return "ok"


@pytest.mark.parametrize("vector", IDENTITIES, ids=lambda v: v["id"][:4])
def test_id_of_each_vector_key(vector):
    key = bytes.fromhex(vector["pub"])
    assert ids.make_id(vector["role"], key) == vector["id"]
    assert ids.id_of(vector["role"], b"\x01" + key) == vector["id"]
    assert ids.format_id(vector["id"]) == vector["display"]
    assert ids.b64encode(b"\x01" + key) == vector["wire_pub"]
    assert ids.role_of(vector["id"]) == vector["role"]


@pytest.mark.parametrize("vector", VECTORS["normalisation"], ids=lambda v: v["note"])
def test_each_spelling(vector):
    assert code_of(vector["input"], vector["role"]) == vector["result"]
    if vector["result"] == "ok":
        assert ids.parse_id(vector["input"], vector["role"]) == vector["id"]


@pytest.mark.parametrize("vector", IDENTITIES, ids=lambda v: v["id"][:4])
def test_every_single_error_and_every_swap_of_neighbours_is_found(vector):
    text, role = vector["id"], vector["role"]
    for place, right in enumerate(text):
        for wrong in ids.ALPHABET:
            if wrong != right:
                assert code_of(text[:place] + wrong + text[place + 1 :], role) == "checksum"
    for place in range(len(text) - 1):
        one, two = text[place : place + 2]
        if one != two:
            swapped = text[:place] + two + one + text[place + 2 :]
            assert code_of(swapped, role) == "checksum"


@given(st.data())
def test_every_double_error_is_found(data):
    vector = data.draw(st.sampled_from(IDENTITIES))
    places = data.draw(st.lists(st.integers(0, 31), min_size=2, max_size=2, unique=True))
    text = list(vector["id"])
    for place in places:
        text[place] = data.draw(st.sampled_from([c for c in ids.ALPHABET if c != text[place]]))
    assert code_of("".join(text), vector["role"]) == "checksum"


@given(st.text(max_size=80), st.sampled_from(["owner", "scientist"]))
def test_any_text_gives_an_id_or_a_code(text, role):
    assert code_of(text, role) in ("ok", "charset", "length", "checksum", "role")


def test_errors_say_where_and_how_long():
    good = IDENTITIES[0]["display"]
    for text, position in ((good[:6] + "U" + good[7:], 6), (good[:6] + "é" + good[7:], 6)):
        with pytest.raises(ids.IdError) as failure:
            ids.parse_id(text, "owner")
        assert (failure.value.code, failure.value.position) == ("charset", position)
    with pytest.raises(ids.IdError) as failure:
        ids.parse_id(good[:-1], "owner")
    assert (failure.value.code, failure.value.length) == ("length", 31)
    with pytest.raises(ids.IdError) as failure:
        ids.parse_id(good, "scientist")
    assert (failure.value.code, failure.value.type_char) == ("role", "S")


def test_messages_carry_only_the_canonical_spelling():
    vector = IDENTITIES[0]
    assert ids.is_id(vector["id"], "owner")
    assert not ids.is_id(vector["id"], "scientist")
    assert not ids.is_id(vector["display"], "owner")
    assert not ids.is_id(vector["id"].lower(), "owner")
    assert ids.role_of(vector["id"].lower()) is None


@pytest.mark.parametrize("group", ["small_order", "non_canonical", "wrong_length"])
def test_refused_keys(group):
    for text in VECTORS["rejected_public_keys"][group]:
        with pytest.raises(ids.KeyRefused):
            ids.check_pub(b"\x01" + bytes.fromhex(text))


def test_another_algorithm_is_refused():
    with pytest.raises(ids.KeyRefused):
        ids.check_pub(b"\x02" + bytes.fromhex(IDENTITIES[0]["pub"]))


def test_signatures_under_small_order_keys_do_not_verify():
    # The zero scalar signs everything under the neutral element, in libraries that do not look.
    neutral = bytes.fromhex("01" + "00" * 31)
    assert not ids.verify(b"\x01" + neutral, b"anything", neutral + bytes(32))


@pytest.mark.parametrize("vector", VECTORS["signatures"], ids=lambda v: v["name"])
def test_signature_vectors(vector):
    signer = VECTORS["identities"][vector["signer"]]
    message, signature = bytes.fromhex(vector["input"]), bytes.fromhex(vector["sig"])
    assert len(message) == vector["input_len"]
    assert ids.verify(b"\x01" + bytes.fromhex(signer["pub"]), message, signature)
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(signer["seed"]))
    assert key.sign(message) == signature


@pytest.mark.parametrize("vector", VECTORS["must_not_verify"], ids=lambda v: v["name"])
def test_what_must_not_verify(vector):
    pub = b"\x01" + bytes.fromhex(vector["pub"])
    assert not ids.verify(pub, bytes.fromhex(vector["input"]), bytes.fromhex(vector["sig"]))


@pytest.mark.parametrize("length", [0, 63, 65])
def test_cut_signatures_do_not_verify(length):
    vector = VECTORS["signatures"][0]
    pub = b"\x01" + bytes.fromhex(VECTORS["identities"][vector["signer"]]["pub"])
    signature = (bytes.fromhex(vector["sig"]) + b"\0")[:length]
    assert not ids.verify(pub, bytes.fromhex(vector["input"]), signature)


def test_register_input_is_that_of_the_vector():
    vector = VECTORS["signatures"][0]
    fields = vector["fields"]
    message = ids.register_input(
        fields["origin"], bytes.fromhex(fields["challenge"]), fields["id"], fields["role"]
    )
    assert message.hex() == vector["input"]


@given(st.lists(st.binary(max_size=6), max_size=4), st.lists(st.binary(max_size=6), max_size=4))
def test_no_two_field_lists_share_an_input(one, two):
    assert (ids.signature_input("x", *one) == ids.signature_input("x", *two)) == (one == two)


@given(st.binary(max_size=100))
def test_base64url_round_trip(data):
    assert ids.b64decode(ids.b64encode(data)) == data


@pytest.mark.parametrize("text", ["A", "AA==", "AB", "A+8A", "A/8A", "AAA\n", " AAA", "é", "AAB"])
def test_base64url_is_strict(text):
    with pytest.raises(ValueError):
        ids.b64decode(text)
