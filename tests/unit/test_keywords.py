"""One name for each argument, whatever torch calls it besides."""

import pytest
import torch

from duet_p2p.surface.keywords import plain_keywords
from tests.unit.engine_kit import Driver
from tests.unit.scientist_kit import pair


def test_numpys_names_become_torchs() -> None:
    given = {"x": 1, "axis": 0, "keepdims": True}
    assert plain_keywords("torch.sum", given) == {"input": 1, "dim": 0, "keepdim": True}
    assert plain_keywords("torch.add", {"x1": 1, "x2": 2}) == {"input": 1, "other": 2}


def test_an_argument_that_is_really_called_so_keeps_its_name() -> None:
    assert plain_keywords("torch.trapezoid", {"x": 1}) == {"x": 1}
    assert plain_keywords("torch.segment_reduce", {"axis": 0}) == {"axis": 0}
    assert plain_keywords("python.List.sort", {"axis": 0}) == {"axis": 0}


def test_an_argument_under_both_names_is_refused() -> None:
    with pytest.raises(TypeError, match="twice"):
        plain_keywords("torch.sum", {"dim": 0, "axis": 1})


def test_a_scientist_may_write_numpys_names() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    with pair() as both:
        there = both.duet.send(x)
        assert torch.equal(torch.sum(there, axis=1).get(), x.sum(1))
        assert torch.equal(there.sum(axis=0, keepdims=True).get(), x.sum(0, keepdim=True))


def test_an_index_by_another_name_of_the_source_is_checked_all_the_same() -> None:
    d = Driver()
    own, index = d.put(torch.ones(3)), d.put(torch.tensor([5]))
    for name in ("x", "a", "x1"):
        d.run("torch.gather", dim=0, index=index, **{name: own})
        assert d.failures(), name


def test_columns_joined_under_numpys_name_are_no_more_records() -> None:
    d = Driver()
    data = d.share(torch.randn(8, 2))
    both = d.ok("python.collect", data, data)
    wide = d.ok("torch.cat", both, axis=1)
    plain = d.ok("torch.cat", both, dim=1)
    assert (
        d.facts(d.ok("torch.mean", wide)).min_records
        == d.facts(d.ok("torch.mean", plain)).min_records
    )
