"""Values that lie in each other deep, or the same in itself many times, take nothing down."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.unit.engine_kit import Driver

DEEP = 1_200  # deeper than Python's own recursion may go
TWICE = 40  # so often doubled: a walk that looks at each place would never end


@pytest.fixture
def d():
    return Driver()


def doubled(d, first=None):
    box = first or d.ok("python.List", [1.0])
    for _ in range(TWICE):
        box = d.ok("python.collect", box, box)
    return box


def test_deep_lists_are_given_back(d):
    """The engine died of recursion when its partner let go of such a list."""
    boxes = [d.ok("python.List") for _ in range(DEEP)]
    for outer, inner in itertools.pairwise(boxes):
        d.ok("python.List.append", outer, inner, outs=0)
    d.delete(*boxes[1:])
    d.delete(boxes[0])
    assert d.engine.lineage._objects == {}
    assert d.facts(d.ok("torch.ones", 3)).kind == "public"


def test_a_slice_holds_no_slice(d):
    """Whether one holds private numbers was looked for at 3**n places of one that is n deep."""
    inner = d.ok("python.Slice", 1)
    assert d.failed("python.Slice", inner, inner, inner).is_public
    assert d.failed("python.collect", slice(inner, None, None)).is_public
    assert d.failed("torch.Tensor.__getitem__", d.put(torch.ones(3)), slice(slice(1), 2)).is_public


WALKED = {
    "torch.stack": lambda d, box: (box,),
    "torch.cat": lambda d, box: (box,),
    "torch.tensor": lambda d, box: (box,),
    "torch.manual_seed": lambda d, box: (box,),
    "torch.block_diag": lambda d, box: (box,),
    "torch.Tensor.__getitem__": lambda d, box: (d.put(torch.ones(3)), box),
    "torch.nn.init.constant_": lambda d, box: (box, 1.0),
    "torch.optim.SGD": lambda d, box: (box, 0.1),
    "torch.Tensor.grad=": lambda d, box: (box, box),
    "torch.einsum": lambda d, box: ("i,i", box),
}


@pytest.mark.parametrize("name", WALKED)
def test_a_list_in_itself_many_times_is_refused_before_it_is_walked_through(d, name):
    assert d.failed(name, *WALKED[name](d, doubled(d))).is_public


def test_that_it_is_refused_is_no_public_fact_where_a_private_value_chose_it(d):
    secret = d.share(torch.arange(3.0))
    which = d.ok("torch.Tensor.__gt__", d.ok("torch.Tensor.__getitem__", secret, 1), 0.5)
    boxes = d.ok("python.collect", d.ok("python.List", [1.0]), doubled(d))
    chosen = d.ok("python.List.__getitem__", boxes, d.ok("python.Int", which))
    result = d.run("torch.stack", chosen)
    assert not [event for event in d.failures() if event.is_public]
    assert d.facts(result).sources == (-1,)


def test_the_log_says_why_a_list_that_was_put_into_itself_is_not_copied(d, caplog):
    """Random programs make such lists. They are judged like others, and cannot be released."""
    box = d.ok("python.List", [1.0])
    d.ok("python.List.append", box, box, outs=0)
    assert d.facts(box).elements > 1_000_000
    d.facts(doubled(d))
    told = [record.getMessage() for record in caplog.records]
    assert all(text.startswith("a value could not be copied, so it cannot") for text in told)
    assert [text.partition(": ")[2] for text in told] == [
        "a value is nested too deeply to be counted",
        "a value is nested too deeply to be counted",
    ]
