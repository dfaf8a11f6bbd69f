import json

import pytest

from duet_p2p.errors import IdentityFileUnsafe, InvalidId, PeerIdentityChanged
from duet_p2p.identity.files import read_private, write_private
from duet_p2p.identity.keys import Key, format_id
from duet_p2p.identity.known_peers import KnownPeers

ANNA, BERT = Key.fresh("scientist"), Key.fresh("scientist")


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def peers(folder):
    return KnownPeers(folder)


def record(peers, key, **more):
    return peers.record(peer_id=key.id, pub=key.pub, role=key.role, now=1000.5, **more)


def test_nobody_is_known_at_first(peers):
    assert peers.all() == []
    assert peers.find(ANNA.id) is None


def test_a_partner_is_remembered_and_brought_up_to_date(peers):
    record(peers, ANNA, label="anna", attempt=7, owner_session="S", audit_head=b"h" * 32)
    peers.record(peer_id=ANNA.id, pub=ANNA.pub, role="scientist", now=2000, attempt=3)
    (anna,) = peers.all()
    assert (anna.first_seen, anna.last_seen, anna.last_attempt) == (1000, 2000, 7)
    assert (anna.label, anna.owner_session, anna.audit_head) == ("anna", "S", b"h" * 32)
    assert (anna.pub, anna.scope) == (ANNA.pub, "session")


def test_a_label_that_stood_for_another_id_is_a_hard_stop(peers):
    record(peers, ANNA, label="anna")
    peers.check_label("anna", ANNA.id)
    peers.check_label("new", BERT.id)
    for use in (
        lambda: peers.check_label("anna", BERT.id),
        lambda: record(peers, BERT, label="anna"),
    ):
        with pytest.raises(PeerIdentityChanged) as failure:
            use()
        text = str(failure.value)
        assert format_id(ANNA.id) in text and format_id(BERT.id) in text
        assert f"duet peers forget {ANNA.id}" in text
    assert [peer.id for peer in peers.all()] == [ANNA.id]
    peers.forget(ANNA.id)
    record(peers, BERT, label="anna")


def test_only_trust_admits_without_typing(peers):
    record(peers, ANNA)
    record(peers, BERT)
    assert peers.trusted("scientist") == []
    peers.trust(format_id(ANNA.id).lower())
    assert [peer.id for peer in peers.trusted("scientist")] == [ANNA.id]
    assert peers.trusted("owner") == []
    record(peers, ANNA)
    assert [peer.id for peer in peers.trusted("scientist")] == [ANNA.id]


def test_forget_and_trust_want_a_whole_known_id(peers):
    record(peers, ANNA)
    for text in (BERT.id, ANNA.id[:8], ANNA.id[:-1], ""):
        with pytest.raises(InvalidId):
            peers.forget(text)
        with pytest.raises(InvalidId):
            peers.trust(text)
    assert len(peers.all()) == 1


def test_keys_of_later_releases_are_kept(peers, folder):
    record(peers, ANNA)
    path = folder / "known_peers.json"
    content = json.loads(read_private(path))
    content["later"] = 1
    content["peers"][0]["later"] = [2]
    write_private(path, json.dumps(content).encode())
    record(peers, BERT)
    content = json.loads(read_private(path))
    assert content["later"] == 1 and content["v"] == 1
    assert content["peers"][0]["later"] == [2]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: b"",
        lambda text: b"[]",
        lambda text: text.replace(b'"v": 1', b'"v": 2'),
        lambda text: text.replace(b'"scope": "session"', b'"scope": "never"'),
        lambda text: text.replace(b'"first_seen": 1000', b'"first_seen": null'),
        lambda text: text.replace(b'"alg": 1', b'"alg": 2'),
        lambda text: text.replace(ANNA.id.encode(), BERT.id.encode()),
    ],
)
def test_a_damaged_file_is_an_error_and_never_an_empty_list(peers, folder, damage):
    record(peers, ANNA)
    path = folder / "known_peers.json"
    damaged = damage(read_private(path))
    write_private(path, damaged)
    with pytest.raises(IdentityFileUnsafe, match="damaged"):
        peers.all()
    with pytest.raises(IdentityFileUnsafe, match="damaged"):
        record(peers, BERT)
    assert read_private(path) == damaged


def test_a_file_that_others_can_change_is_refused(peers, folder):
    record(peers, ANNA)
    (folder / "known_peers.json").chmod(0o620)
    with pytest.raises(IdentityFileUnsafe, match="chmod 600"):
        peers.all()
