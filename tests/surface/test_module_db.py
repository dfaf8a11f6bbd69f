"""Every case of torch's own module database: an ordinary `nn.Module`, sent, train and eval.

Output, gradients of inputs and parameters, and the state after the call are equal. In the default
run the first cases of each class; with ``-m slow`` all of them.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing._internal.common_modules import module_db

from duet_p2p.surface.shapes import GENERATOR
from tests.surface.joined import Joined, joined
from tests.surface.replay import SEED, assert_same, copied, fetched, sent, tensors_in, with_loss

FEW = 2
EQUAL: dict[tuple[str, bool], int] = {}
"""Class and mode to the number of its cases that were equal in this run."""
INFOS = {info.name: info for info in module_db if torch.float32 in info.supported_dtypes("cpu")}


@pytest.fixture(scope="module")
def both() -> Iterator[Joined]:
    with joined() as made:
        made.owner.requests.add_handler(action="accept")
        yield made


def run(module: nn.Module, args: Any, kwargs: Any) -> list[Any]:
    leaves = [leaf for leaf in tensors_in((args, kwargs)) if leaf.requires_grad]
    results = with_loss(module(*args, **kwargs))
    return [
        results,
        [leaf.grad for leaf in leaves],
        [parameter.grad for _, parameter in module.named_parameters()],
        list(module.state_dict().values()),
    ]


def compare(both: Joined, info: Any, training: bool, count: int | None) -> int:
    """How many cases were compared, and equal."""
    compared = 0
    torch.manual_seed(SEED)
    cases = info.module_inputs_func(
        info, "cpu", torch.float32, requires_grad=True, training=training
    )
    for case in itertools.islice(cases, count):
        made, given = case.constructor_input, case.forward_input
        tree = (given.args, given.kwargs)
        with warnings.catch_warnings(), GENERATOR:
            warnings.simplefilter("ignore")
            module = info.module_cls(*made.args, **made.kwargs).train(training)
            if any(nn.parameter.is_lazy(tensor) for tensor in module.parameters()):
                with torch.no_grad():
                    module(*copied(given.args), **copied(given.kwargs))
            twin = copy.deepcopy(module)
            torch.manual_seed(SEED)
            try:
                here = run(module, *copied(tree))
            except RuntimeError:
                continue  # a case that torch itself refuses in float32
        remote = twin.send(both.scientist)  # type: ignore[operator]
        both.scientist.torch.manual_seed(SEED)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            there = fetched(run(remote, *sent(both.scientist, tree)))
        assert_same(here, there)
        compared += 1
    return compared


@pytest.mark.brief
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", INFOS)
def test_the_first_cases_are_equal(both: Joined, name: str, training: bool) -> None:
    compare(both, INFOS[name], training, FEW)


@pytest.mark.slow
@pytest.mark.timeout(300)  # some classes have dozens of cases
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", INFOS)
def test_every_case_is_equal(both: Joined, name: str, training: bool) -> None:
    EQUAL[name, training] = compare(both, INFOS[name], training, None)


@pytest.mark.slow
def test_hardly_a_case_was_left_out() -> None:
    if len(EQUAL) < 2 * len(INFOS):
        pytest.skip("only some of the cases ran")
    assert sum(EQUAL.values()) >= 880


def test_nothing_is_left(both: Joined) -> None:
    compare(both, INFOS["nn.Linear"], True, FEW)
    assert both.own_objects() == 0
