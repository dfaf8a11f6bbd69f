"""The catalog of listed objects, and the number up to which everything is settled."""

from collections import OrderedDict

import pytest

from duet_p2p import limits
from duet_p2p.engine.messages import Share, Shared
from duet_p2p.errors import PointerDeleted
from duet_p2p.owner.catalog import Catalog, pages
from duet_p2p.owner.handles import Handle, OwnerStore
from duet_p2p.owner.settling import Settling
from duet_p2p.wire.codec import encode_message
from duet_p2p.wire.messages import Note, Put, StoreChanged
from duet_p2p.wire.values import Size, TensorData


def share(catalog, *, tags=("ages",), listed=True, keys=None):
    command = Share(catalog.new_id(), 5, None, "python.Int", tags, "text", True)
    event = Shared(command.id, "python.Int", None, None, None, False, keys, 8, "")
    return catalog.shared(command, event, listed=listed)


def put(out=1, value=5, **said):
    said = {"blob": None, "tags": (), "description": "", "listed": True} | said
    return Put((out,), (value,), **said)


def test_ids_of_the_owner_are_negative_and_never_used_twice():
    catalog = Catalog()
    first = share(catalog)
    catalog.remove((first.id,))
    assert (first.id, share(catalog).id) == (-1, -2)


def test_only_listed_objects_are_visible_in_the_order_of_sending():
    catalog = Catalog()
    share(catalog, tags=("a",))
    share(catalog, tags=("b",), listed=False)
    catalog.put(put(7, tags=("c",)))
    assert [entry.id for entry in catalog.visible()] == [-1, 7]
    catalog.set_listed(-2, True)
    assert [entry.id for entry in catalog.visible()] == [-1, -2, 7]


def test_a_source_keeps_its_name_after_it_was_deleted():
    catalog = Catalog()
    item = share(catalog)
    catalog.remove((item.id,))
    assert catalog.source_name(item.id) == "ages"
    assert catalog.source_name(-99) == ""


@pytest.mark.parametrize(
    ("value", "type_name", "length"),
    [
        (None, "python.NoneType", None),
        (True, "python.Bool", None),
        (5, "python.Int", None),
        (2.5, "python.Float", None),
        (1j, "python.Complex", None),
        ("text", "python.String", 4),
        ([1, 2], "python.List", 2),
        ((1,), "python.Tuple", 1),
        ({"a": 1}, "python.Dict", 1),
        (OrderedDict(a=1), "python.OrderedDict", 1),
        ({1, 2, 3}, "python.Set", 3),
        (range(4), "python.Range", 4),
        (slice(1), "python.Slice", None),
        (Size((2,)), "torch.Size", None),
        (TensorData("float32", (3, 2), b""), "torch.Tensor", 3),
        (TensorData("float32", (), b""), "torch.Tensor", None),
    ],
)
def test_what_a_scientist_sent_is_described(value, type_name, length):
    item = Catalog().put(put(value=value))
    assert (item.type, item.length, item.is_mine) == (type_name, length, False)


def test_puts_that_are_not_listed_are_not_kept():
    catalog = Catalog()
    assert catalog.put(put(listed=False)) is None
    assert catalog.put(Put((), (), None, (), "", True)) is None
    assert len(catalog) == 0


def test_notes_of_a_scientist_are_cleaned_and_bounded():
    catalog = Catalog()
    tags = tuple(f"tag {n}\x07" for n in range(limits.TAGS + 5))
    item = catalog.put(put(tags=("", *tags), description="a\u202eb\n"))
    assert item.tags[0] == "tag 0"
    assert len(item.tags) <= limits.TAGS
    assert item.description == "ab"


def test_the_list_holds_so_many_bytes_of_a_scientists_words(monkeypatch):
    """What was there goes on; what is taken off makes room."""
    monkeypatch.setattr(limits, "LISTED_BYTES", 10_000)
    catalog, words = Catalog(), ("w" * 200,)
    share(catalog, tags=("o" * 200,) * 60)
    kept = [n for n in range(1, 60) if catalog.put(put(n, tags=words, description="d" * 200))]
    assert kept == list(range(1, len(kept) + 1)) and 10 < len(kept) < 30
    assert catalog.note(Note(1, tuple(f"{n:0200}" for n in range(60)), "", True)) is None
    assert catalog.find(1).tags == words
    catalog.remove(kept[:2])
    assert catalog.put(put(100, tags=words)) and catalog.note(Note(100, words, "again", True))
    assert not catalog.put(put(101, tags=words, description="d" * 600))


def test_a_note_lists_a_result_under_its_own_name():
    catalog = Catalog()
    item = catalog.note(Note(9, ("result",), "", True))
    assert (item.id, item.tags, item.type) == (9, ("result",), "python.Any")
    assert catalog.note(Note(9, ("again",), "", True)).tags == ("again",)
    assert catalog.note(Note(-1, ("mine",), "", True)) is None
    assert catalog.note(Note(9, (), "", False)) is None


def test_what_the_scientist_sent_goes_with_the_engine():
    catalog = Catalog()
    share(catalog)
    catalog.put(put(3))
    assert [item.id for item in catalog.drop_theirs()] == [3]
    assert [item.id for item in catalog] == [-1]


def test_pages_fit_into_messages():
    catalog = Catalog()
    for _ in range(300):
        share(catalog, keys=tuple(f"block.{n}.weight" for n in range(30)))
    portions = pages(catalog.visible())
    assert [e.id for page in portions for e in page] == list(range(-1, -301, -1))
    for page in portions:
        assert len(encode_message(StoreChanged(page, ()))) <= limits.MESSAGE_MAX_BYTES
    assert pages(()) == [()]


# the store without a loop


class Direct:
    def run(self, fn, *args):
        return fn(*args)

    read = run


class Work:
    def __init__(self, catalog):
        self.catalog = catalog

    def delete(self, object_id):
        self.catalog.remove((object_id,))

    def set_listed(self, object_id, listed):
        self.catalog.set_listed(object_id, listed)


def store():
    catalog = Catalog()
    return OwnerStore(
        catalog,
        Work(catalog),
        Direct(),
        object_key=lambda object_id: f"{object_id & 0xFFFF:032x}",
        decode=lambda value, data: value,
    )


def test_a_deleted_handle_says_so_and_keeps_its_facts():
    view = store()
    share(view.catalog)
    handle = view["ages"]
    handle.delete()
    assert handle.tags == ["ages"]
    assert "deleted" in repr(handle)
    assert handle not in view
    assert repr(view) == "Nothing is shared."


def test_handles_are_equal_by_object_and_session():
    one, other = store(), store()
    share(one.catalog)
    share(other.catalog)
    assert one[0] == one["ages"]
    assert hash(one[0]) == hash(one["ages"])
    assert one[0] != other[0]
    assert isinstance(one[0], Handle)


@pytest.mark.parametrize("key", [True, 1.5, None])
def test_names_of_other_types_are_refused(key):
    with pytest.raises(TypeError):
        store()[key]


def test_searchability_by_both_words():
    view = store()
    share(view.catalog)
    handle = view[0]
    handle.update_searchability(False)
    assert not handle.pointable
    assert "not listed" in repr(handle)
    handle.update_searchability(searchable=True)
    assert handle.pointable


# settled


def settling():
    told = []
    return Settling(told.append), told


def test_commands_settle_as_the_engine_says():
    s, told = settling()
    for seq in (1, 2, 3):
        s.seen(seq)
    s.given(3)
    s.done(2)
    assert told == [2]
    s.done(3)
    assert told == [2, 3]


def test_what_needed_no_engine_settles_with_what_came_before():
    s, told = settling()
    s.seen(1)
    s.given(1)
    s.seen(2)
    s.settle()
    assert told == []
    s.done(1)
    assert told == [2]


def test_an_open_get_holds_back_what_came_after():
    s, told = settling()
    s.seen(1)
    s.asked(1, call=11)
    s.seen(2)
    s.given(2)
    s.seen(3)
    s.settle()
    assert told == []
    s.answered(99)
    s.answered(11)
    assert told == [1]
    s.done(2)
    assert told == [1, 3]


def test_the_number_never_falls():
    s, told = settling()
    s.seen(5)
    s.given(5)
    s.done(5)
    s.done(3)
    s.settle()
    assert told == [5]


def test_a_new_engine_settles_everything():
    s, told = settling()
    s.seen(1)
    s.given(1)
    s.seen(2)
    s.asked(2, call=11)
    s.restart()
    assert told == [2]
    s.answered(11)
    assert told == [2]


# positions, between two looks at the list


def of_both():
    """A store with an object of the scientist's between two of the owner's."""
    view = store()
    share(view.catalog, tags=("x",))
    view.catalog.put(put(1, tags=("theirs",)))
    share(view.catalog, tags=("secret",))
    return view


@pytest.mark.parametrize(
    "show", [repr, list, lambda view: view[:], lambda view: view._repr_mimebundle_()]
)
def test_a_position_is_the_row_that_was_shown_whatever_the_scientist_takes_away(show):
    view = of_both()
    share(view.catalog, tags=("last",))
    show(view)
    view.catalog.remove((1,))
    assert [view[n].tags for n in (0, 2, 3, -1, -2)] == [
        ["x"], ["secret"], ["last"], ["last"], ["secret"]
    ]  # fmt: skip
    for row in (1, -3):
        with pytest.raises(PointerDeleted, match="not listed any more"):
            view[row]
    with pytest.raises(IndexError):
        view[4]
    assert view.resolve_source(2) == -2 and 1 not in view and 2 in view


def test_what_was_shared_since_follows_the_owners_first():
    view = of_both()
    repr(view)
    view.catalog.put(put(2, tags=("more",)))
    share(view.catalog, tags=("new",))
    assert (view[3].tags, view[4].tags, view[-1].tags) == (["new"], ["more"], ["new"])
    repr(view)
    assert (view[3].tags, view[-1].tags) == (["more"], ["new"])


def test_before_the_first_look_the_owners_objects_are_counted_without_those_of_the_scientist():
    view = of_both()
    assert [view[n].tags for n in range(3)] == [["x"], ["secret"], ["theirs"]]
    view.catalog.remove((1,))
    assert view[1].tags == ["secret"]


def test_what_the_owner_takes_off_makes_room():
    view = of_both()
    repr(view)
    del view[0]
    assert view[0].tags == ["theirs"]
    view[1].update_searchability(False)
    assert len(view) == 1
    with pytest.raises(IndexError):
        view[1]
