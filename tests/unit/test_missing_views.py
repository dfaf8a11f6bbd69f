"""What is missing and would lie in one memory has one entry, as long as any of it is there."""

from __future__ import annotations

import gc
from dataclasses import replace

from duet_p2p.engine.labels import PUBLIC
from duet_p2p.engine.lineage import Lineage
from duet_p2p.engine.missing_views import name_of
from duet_p2p.engine.store import Poison


def test_the_identity_of_what_is_gone_is_nobody_elses() -> None:
    lineage = Lineage()
    base = Poison(1, "torch.zeros", "RuntimeError", "-", False, PUBLIC)
    entry = name_of(base, lineage)
    views = [replace(base) for _ in range(3)]
    assert [name_of(view, lineage) for view in views] == [entry] * 3
    number = id(base)
    del base
    gc.collect()
    assert number not in lineage._objects
    assert all(lineage.find(view) is entry for view in views)
    last = views.pop()
    views.clear()
    gc.collect()
    assert lineage.find(last) is entry and len(lineage._objects) == 1
    del last
    gc.collect()
    assert not lineage._objects
