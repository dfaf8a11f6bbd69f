import builtins
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from duet_p2p.errors import HiddenShape, PointerDeleted, WrongSide
from duet_p2p.wire.messages import StoreChanged, StoreSnapshot

from .scientist_kit import Pair, pair


@pytest.fixture
def both() -> Iterator[Pair]:
    with pair() as made:
        made.share(torch.arange(6), "ages", description="in years")
        made.share(torch.ones(2, 3), "features", "shared")
        made.share(5, "n", "shared")
        yield made


def test_positions_tags_and_ids(both: Pair) -> None:
    store = both.duet.store
    assert len(store) == 3
    assert store[0].tags == ["ages"]
    assert store[-1].tags == ["n", "shared"]
    assert store["features"].shape == (2, 3)
    key = store["features"].id_at_location
    assert store[key]._id == store["features"]._id
    assert store[key[:5]]._id == store["features"]._id
    assert [p.tags[0] for p in store[1:]] == ["features", "n"]
    assert [p.tags[0] for p in store] == ["ages", "features", "n"]
    assert "ages" in store
    assert store[0] in store
    assert "nothing" not in store


def test_a_tag_on_several_objects_is_a_key_error_that_lists_them(both: Pair) -> None:
    with pytest.raises(KeyError) as info:
        both.duet.store["shared"]
    for pointer in both.duet.store[1:]:
        assert pointer.id_at_location[:8] in str(info.value)
    with pytest.raises(KeyError):
        both.duet.store["nothing"]
    with pytest.raises(IndexError):
        both.duet.store[7]


def test_what_is_on_its_way_is_waited_for(both: Pair) -> None:
    emit = both.duet._client.emit

    def share_first(message: Any) -> int:
        both.share(torch.ones(4), "late")
        return emit(message)

    both.duet._client.emit = share_first
    assert both.duet.store["late"].shape == (4,)
    assert both.duet.store[4].tags == ["late"]


def test_the_table(both: Pair) -> None:
    table = both.duet.store.pandas
    assert list(table.columns) == ["ID", "Tags", "Description", "object_type", "Shape", "dtype"]
    assert table["Description"][0] == "in years"
    assert table["Shape"][1] == (2, 3)
    assert "ages" in repr(both.duet.store)


def test_update_vars_shadows_nothing(both: Pair) -> None:
    for tag in ("open", "torch", "class", "not a name", "__builtins__", "free"):
        both.share(torch.ones(1), tag)
    variables: dict[str, Any] = {"torch": torch, "ages": 3, "n": both.duet.store[0]}
    table = both.duet.update_vars(variables)
    assert len(table) == 9
    assert variables["torch"] is torch
    assert variables["ages"] == 3
    assert variables["n"].tags == ["n", "shared"]
    assert variables["free"].tags == ["free"]
    assert not {"open", "class", "not a name", "__builtins__"} & variables.keys()
    assert builtins.open is open


def test_what_the_owner_removes_is_gone(both: Pair) -> None:
    ages = both.duet.store["ages"]
    both.link.answer(StoreChanged((), (ages._id,)))
    both.settle()
    assert len(both.duet.store) == 2
    with pytest.raises(PointerDeleted, match="owner removed"):
        ages.float()
    entries = tuple(both.owner.entries.values())
    both.link.answer(StoreSnapshot(entries, b"\0" * 16, {}))
    both.settle()
    assert len(both.duet.store) == 3
    ages.float()


def test_a_hidden_shape_stays_hidden(both: Pair) -> None:
    secret = both.share(torch.ones(4), "secret", shapes_public=False)
    assert "hidden" in repr(secret)
    with pytest.raises(HiddenShape):
        _ = secret.shape
    both.link.is_settling = True
    with pytest.raises(HiddenShape):
        _ = (secret + 1).shape


def test_only_own_objects_are_deleted(both: Pair) -> None:
    with pytest.raises(WrongSide):
        del both.duet.store["ages"]


def test_pointers_of_the_store_delete_nothing_when_they_die(both: Pair) -> None:
    before = len(both.owner.commands)
    for _ in range(3):
        _ = both.duet.store["ages"]
    both.duet._client.bury()
    assert both.owner.commands[before:] == []
