"""Labels of containers: dropped when nobody else holds them, by whatever this Python counts."""

import pytest

from duet_p2p.engine.lineage import Lineage


@pytest.fixture
def lineage():
    return Lineage()


def let_go(lineage, holders):
    """As the engine does: the last name of a value is that of whoever calls `forget`."""
    value = holders.pop()
    lineage.forget(value)


@pytest.mark.parametrize("kind", [list, tuple, dict, set])
def test_what_nobody_else_holds_is_forgotten_at_once(lineage, kind):
    holders = [kind([(1, 2), (3, 4)])]
    key = id(holders[0])
    lineage.track(holders[0])
    let_go(lineage, holders)
    assert key not in lineage._objects


@pytest.mark.parametrize("kind", [list, tuple, dict, set])
def test_what_one_other_holds_keeps_its_label(lineage, kind):
    holders = [kind([(1, 2), (3, 4)])]
    others = list(holders)
    entry = lineage.track(holders[0])
    let_go(lineage, holders)
    lineage.sweep()
    assert lineage.find(others[0]) is entry
    others.clear()
    lineage.sweep()
    assert not lineage._objects


def test_parts_of_what_goes_are_forgotten_with_it_unless_they_are_held(lineage):
    inner, held = [1], [2]
    keys = [id(inner), id(held)]
    holders = [[inner, held]]
    for obj in (holders[0], inner, held):
        lineage.track(obj)
    del obj, inner
    let_go(lineage, holders)
    assert [key in lineage._objects for key in keys] == [False, True]
    assert lineage.find(held) is not None
