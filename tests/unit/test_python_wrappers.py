import collections
from typing import Any

import pytest

import duet_p2p as sy
from duet_p2p.objects import notes
from duet_p2p.objects import python as p
from duet_p2p.objects.python import plain


class Duet:
    def send(self, obj: Any, **options: Any) -> tuple[Any, dict[str, Any]]:
        return obj, options


VALUES = [
    (p.Int, 5, int),
    (p.Float, 0.5, float),
    (p.Complex, 1j, complex),
    (p.String, "text", str),
    (p.List, [1, 2], list),
    (p.Tuple, (1, 2), tuple),
    (p.Dict, {"a": 1}, dict),
    (p.Set, {1}, set),
    (p.OrderedDict, collections.OrderedDict(a=1), collections.OrderedDict),
    (p.Bool, True, bool),
    (p.Range, range(3), range),
    (p.Slice, slice(1, 2, None), slice),
]


def make(wrapper: Any, value: Any) -> Any:
    if wrapper is p.Range:
        return wrapper(value.start, value.stop, value.step)
    return wrapper(value.start, value.stop) if wrapper is p.Slice else wrapper(value)


@pytest.mark.parametrize(("wrapper", "value", "kind"), VALUES)
def test_a_wrapper_is_its_value_with_a_note(wrapper: Any, value: Any, kind: type) -> None:
    wrapped = make(wrapper, value)
    assert wrapped == value
    assert wrapped.tag("t") is wrapped
    assert wrapped.describe("d") is wrapped
    assert (wrapped.tags, wrapped.description) == (["t"], "d")
    assert notes.tags_of(wrapped) == ("t",)
    assert plain(wrapped) == value
    assert type(plain(wrapped)) is kind


def test_a_new_wrapper_has_no_note_of_another_one() -> None:
    p.Int(1).tag("x")
    assert p.Int(1).tags == []


def test_sending_passes_the_options() -> None:
    value = p.Int(3).tag("n")
    obj, options = value.send(Duet(), pointable=False, description="count")
    assert obj is value
    assert options["pointable"] is False
    assert options["description"] == "count"


def test_wrappers_come_off_at_any_depth() -> None:
    deep = p.List([p.Int(1), {p.String("k"): (p.Bool(False), slice(p.Int(2), None))}])
    bare = plain(deep)
    assert bare == [1, {"k": (False, slice(2, None))}]
    assert type(bare) is list
    assert type(bare[0]) is int
    assert type(bare[1]["k"][0]) is bool
    assert type(bare[1]["k"][1].start) is int


def test_what_has_no_wrapper_is_returned_itself() -> None:
    value = [1, [2]]
    assert plain(value) == value
    assert plain(value[1]) is value[1]


def test_bool_range_and_slice_behave_like_theirs() -> None:
    assert not p.Bool(0)
    assert p.Bool(1) & False is False
    assert list(p.Range(2, 4)) == [2, 3]
    assert len(p.Range(5)) == 5
    assert 3 in p.Range(5)
    assert p.Range(5)[1] == 1
    assert p.Slice(1, 5).stop == 5
    with pytest.raises(AttributeError):
        _ = p.Slice(1, 5).nothing


def test_they_are_where_the_original_had_them() -> None:
    assert sy.lib.python.Float is p.Float
    assert sy.lib.python.collections.OrderedDict is p.OrderedDict
