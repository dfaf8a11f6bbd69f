"""The same code on tensors and on pointers, and what came of it.

A sample of torch's own databases is replayed as it stands: its tensors are uploaded, its function
is called on the pointers, and what it gives is fetched and compared with the local result.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch.testing import _utils as sampling
from torch.testing._internal import common_utils
from torch.utils._pytree import tree_flatten, tree_map

from duet_p2p.objects.remote import Remote
from duet_p2p.scientist.containers import ListPointer
from duet_p2p.scientist.duet import ScientistDuet
from duet_p2p.scientist.pointer import Pointer
from duet_p2p.scientist.tensor import TensorPointer
from duet_p2p.surface.shapes import GENERATOR

__all__ = [
    "SEED",
    "assert_same",
    "copied",
    "factory",
    "fetched",
    "function_of",
    "gradients",
    "locally",
    "pointers_in",
    "remotely",
    "sent",
    "tensors_in",
    "with_loss",
]

SEED = 1234

# The databases look through the whole stack, sources included, for the unittest that asks for
# samples: a quarter of a second each time, and there is none.
common_utils.extract_test_fn = lambda: None

Call = Callable[..., Any]


def tensors_in(tree: Any) -> Iterator[Any]:
    """Every tensor or pointer to one in nested arguments."""
    for leaf in tree_flatten(tree)[0]:
        if isinstance(leaf, torch.Tensor | Remote):
            yield leaf


def copied(tree: Any) -> Any:
    """Fresh leaves: nothing that a call does reaches the sample."""
    made: dict[int, torch.Tensor] = {}

    def copy(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        if id(leaf) not in made:
            made[id(leaf)] = leaf.detach().clone().requires_grad_(leaf.requires_grad)
        return made[id(leaf)]

    return tree_map(copy, tree)


def sent(duet: ScientistDuet, tree: Any) -> Any:
    """The same tree with each tensor uploaded, all in one transfer."""
    tensors = list({id(t): t for t in tensors_in(tree)}.values())
    pointers = dict(zip(map(id, tensors), duet._client.put_many(tensors), strict=True))

    def swap(leaf: Any) -> Any:
        return pointers.get(id(leaf), leaf) if isinstance(leaf, torch.Tensor) else leaf

    return tree_map(swap, tree)


def fetched(result: Any) -> Any:
    """Every pointer replaced by its value."""
    if isinstance(result, ListPointer) and isinstance(result._items, list):
        return [fetched(item) for item in result]
    if isinstance(result, Pointer):
        return fetched(result.get(request_block=True, timeout_secs=30))
    if isinstance(result, (tuple, list)) and not isinstance(result, torch.Size):
        return [fetched(item) for item in result]
    if isinstance(result, dict):
        return {key: fetched(item) for key, item in result.items()}
    return result


def function_of(op: Any) -> Call:
    """The function of an entry of `op_db`, for tensors and pointers alike.

    Some entries name a method as ``torch.Tensor.method``, a descriptor of C that takes real tensors
    only; nobody writes that on purpose, so the object's own method is called.
    """
    name = f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name
    if name in _METHODS:
        return _method(_METHODS[name])
    if isinstance(op.op, _DESCRIPTORS):
        return _method(op.op.__name__)
    call: Call = op.op
    return call


_DESCRIPTORS = (type(torch.Tensor.item), type(torch.Tensor.__getitem__))
_METHODS = {
    "cauchy": "cauchy_",
    "exponential": "exponential_",
    "geometric": "geometric_",
    "item": "item",
    "log_normal": "log_normal_",
    "normal.in_place": "normal_",
    "uniform": "uniform_",
}


def _method(name: str) -> Call:
    def call(target: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(target, name)(*args, **kwargs)

    return call


def factory(space: Any, name: str) -> Call:
    """A function that takes no tensor, from `torch` or from `duet.torch`."""
    target = space
    for part in name.split("."):
        target = getattr(target, part)
    call: Call = target
    return call


@contextmanager
def seeded_there(duet: ScientistDuet) -> Iterator[None]:
    """A seed that a sample sets is set on the owner's side.

    The engine is a thread of this process here, so nothing may touch the generator meanwhile.
    """
    kept = sampling.torch, sampling.freeze_rng_state
    sampling.torch = SimpleNamespace(manual_seed=duet.torch.manual_seed, Tensor=torch.Tensor)
    sampling.freeze_rng_state = nullcontext
    try:
        yield
    finally:
        sampling.torch, sampling.freeze_rng_state = kept


def pointers_in(result: Any) -> Iterator[Pointer]:
    """The pointers of a result, however it is nested."""
    if isinstance(result, Pointer):
        yield result
    elif isinstance(result, (tuple, list)):
        for part in result:
            yield from pointers_in(part)


def locally(call: Call, args: Any, kwargs: Any) -> Any:
    """What the call gives here."""
    with GENERATOR, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(SEED)
        return call(*copied(args), **copied(kwargs))


def remotely(duet: ScientistDuet, call: Call, args: Any, kwargs: Any) -> Any:
    """What it gives over there, as values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        duet.torch.manual_seed(SEED)
        there = sent(duet, (args, kwargs))
        with seeded_there(duet):
            result = call(*there[0], **there[1])
        return fetched(result)


def gradients(call: Call, *args: Any, **kwargs: Any) -> list[Any]:
    """The gradients of every leaf that wants one, after one backward through all results."""
    leaves = [leaf for leaf in tensors_in((args, kwargs)) if leaf.requires_grad]
    with_loss(call(*args, **kwargs))
    return [leaf.grad for leaf in leaves]


def with_loss(result: Any) -> list[Any]:
    """The tensors of a result, after one backward through all of them."""
    results = list(_flat(result))
    total: Any = None
    for out in results:
        if out.requires_grad:
            if out.dtype.is_complex:
                out = torch.view_as_real(out.resolve_conj())
            part = (out * 0.5).sum()
            total = part if total is None else total + part
    if total is not None:
        total.backward()
    return results


def _flat(result: Any) -> Iterator[Any]:
    """Tensors of a result; a remote sequence of known length is taken apart."""
    if isinstance(result, ListPointer):
        yield from (part.resolve_pointer_type() for part in result)
    elif isinstance(result, (tuple, list)):
        for part in result:
            yield from _flat(part)
    elif isinstance(result, torch.Tensor | TensorPointer):
        yield result


def assert_same(here: Any, there: Any) -> None:
    """Both trees are equal: tensors in value, dtype and shape, everything else plainly."""
    if isinstance(here, (tuple, list)) and not isinstance(here, torch.Size):
        assert isinstance(there, (tuple, list)), f"{type(there).__name__} in place of a sequence"
        assert len(here) == len(there), f"{len(there)} results in place of {len(here)}"
        for left, right in zip(here, there, strict=True):
            assert_same(left, right)
    elif isinstance(here, torch.Tensor):
        assert isinstance(there, torch.Tensor), f"{there!r:.80} in place of a tensor"
        torch.testing.assert_close(
            there.detach().resolve_conj().resolve_neg(), here.detach().resolve_conj().resolve_neg(),
            equal_nan=True, rtol=1e-5, atol=1e-6,
        )  # fmt: skip
    elif isinstance(here, float):
        assert here == there or (here != here and there != there), f"{there!r} is not {here!r}"
    else:
        assert here == there, f"{there!r:.80} is not {here!r:.80}"
