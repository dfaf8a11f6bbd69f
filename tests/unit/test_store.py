"""Who may write what under which id."""

from __future__ import annotations

import pytest

from duet_p2p.engine.store import IdError, Slot, Store


@pytest.fixture
def store():
    made = Store()
    made.put(1, Slot("own"))
    made.share(-1, Slot("shared"))
    return made


@pytest.mark.parametrize("id", [1, 0, -1, -5])
def test_a_scientist_writes_fresh_positive_ids_only(store, id):
    with pytest.raises(IdError):
        store.put(id, Slot("x"))
    assert [slot.value for slot in store] == ["own", "shared"]


@pytest.mark.parametrize("id", [-1, 0, 2])
def test_an_owner_writes_fresh_negative_ids_only(store, id):
    with pytest.raises(IdError):
        store.share(id, Slot("x"))
    assert len(store) == 2


def test_the_same_id_twice_in_one_command_is_refused(store):
    with pytest.raises(IdError):
        store.check_fresh((5, 5))


def test_a_scientist_cannot_delete_an_owners_object_and_nothing_goes(store):
    with pytest.raises(IdError):
        store.delete((1, -1))
    assert 1 in store and -1 in store


def test_deleted_objects_are_gone_and_unknown_ids_are_dead_already(store):
    assert [slot.value for slot in store.delete((1, 99))] == ["own"]
    with pytest.raises(IdError, match="no object has the id 1"):
        store.get(1)


def test_an_owner_drops_objects_of_either_side(store):
    assert len(store.drop((1, -1, 7))) == 2
    assert len(store) == 0


def test_another_object_under_an_id_has_another_uid(store):
    before = store.get(1).uid
    store.delete((1,))
    store.put(1, Slot("other"))
    assert store.get(1).uid != before
