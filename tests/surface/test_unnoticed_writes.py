"""torch counts every write to a tensor, for all that lies over the same memory.

A graph that still needs a tensor which was written to fails, by that count. A name that writes
without counting, or gives a view with a count of its own, lets a graph go on with numbers that no
label of it knows; so there is none on the surface (norms.py, tensors.py). Nor does a name draw
random numbers that `is_random` does not know, but for layers that draw by public settings.
"""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

import pytest
import torch

from duet_p2p.engine.drawing import is_random
from duet_p2p.surface.callables import CALLABLES, NEEDS_CONTEXT, original

SAMPLES: Final = 2
LAYERS: Final = frozenset({
    "torch.nn.functional.scaled_dot_product_attention",
    "torch.nn.functional.multi_head_attention_forward",
})  # fmt: skip
"""They drop some of what they weigh, by a chance that is never private (settings.py)."""


def tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        if value.layout is torch.strided:
            yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors(part)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


def complaint(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], function: Any = None
) -> str | None:
    """What is wrong with a call; empty if nothing, None if it is no call."""
    before = [(t, t.clone(), t._version) for t in tensors((args, kwargs))]
    torch.manual_seed(0)
    state = torch.get_rng_state()
    try:
        result = (function or CALLABLES[name])(*args, **kwargs)
    except Exception:  # of whatever class: a name has calls of its own kind only
        return None
    if not torch.equal(state, torch.get_rng_state()) and not is_random(name):
        return "draws" if name not in LAYERS else ""
    for tensor, was, version in before:
        is_same = tensor.shape == was.shape and torch.equal(
            torch.nan_to_num(tensor, 7.0), torch.nan_to_num(was, 7.0)
        )
        if not is_same and tensor._version == version:
            return "writes"
    for made in tensors(result):
        for tensor, _, _ in before:
            is_over = made.untyped_storage()._cdata == tensor.untyped_storage()._cdata
            version = tensor._version
            if made is not tensor and is_over and made.untyped_storage().nbytes():
                torch.autograd.graph.increment_version(made)
                if tensor._version == version:
                    return "is a view with a count of its own"
    return ""


def sample_tensors(sample: Any) -> list[torch.Tensor]:
    given = (sample.input, *sample.args, *sample.kwargs.values())
    return [part for part in given if isinstance(part, torch.Tensor)]


def by_short_name() -> dict[str, list[str]]:
    found = defaultdict(list)
    for name in CALLABLES:
        if name.startswith("torch.") and name not in NEEDS_CONTEXT:
            found[name.rpartition(".")[2]].append(name)
    return found


def calls(names: Iterable[Any]) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Calls of each name by torch's own samples; they are copies."""
    by_short = by_short_name()
    for op in names:
        shorts = {op.name.rpartition(".")[2], *(a.name.rpartition(".")[2] for a in op.aliases)}
        known = {n for s in shorts for end in ("", "_") for n in by_short.get(s + end, ())}
        if not known or torch.float32 not in op.supported_dtypes("cpu"):
            continue
        for number, sample in enumerate(op.sample_inputs("cpu", torch.float32)):
            if number == SAMPLES:
                break
            if any(part.layout is not torch.strided for part in sample_tensors(sample)):
                continue  # sparse ones are not offered
            for name in known:
                yield name, *copy.deepcopy(((sample.input, *sample.args), dict(sample.kwargs)))


def test_what_torch_does_is_found_and_what_stands_in_for_it_is_not() -> None:
    part, normed = (torch.ones(4), 2), (torch.rand(4, 3), torch.zeros(3), torch.ones(3))
    for name, args, kwargs, wrong in (
        ("torch.unsafe_split", part, {}, "is a view with a count of its own"),
        ("torch.nn.functional.batch_norm", normed, {"training": True}, "writes"),
    ):
        assert complaint(name, args, kwargs, original(name)) == wrong
        assert complaint(name, args, kwargs) == ""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_write_is_counted_and_every_draw_is_known() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal.common_methods_invocations import op_db

        found = {(name, complaint(name, args, kw)) for name, args, kw in calls(op_db)}
    assert {pair for pair in found if pair[1]} == set()
    assert len({name for name, wrong in found if wrong is not None}) > 700
