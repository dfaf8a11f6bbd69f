"""A call tried on what is public of it: zeros for private tensors, small numbers for private ones.

So is found what a command that failed on private values would have shown if it had worked: the
graph of its result, if it has one, and the public failure that the private one came before.
Nothing is tried that writes to anything or draws random numbers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.drawing import is_random
from duet_p2p.engine.failures import is_structural
from duet_p2p.engine.joined import joined
from duet_p2p.engine.judge import may_join
from duet_p2p.engine.lineage import Lineage, reach
from duet_p2p.engine.running import Running
from duet_p2p.engine.store import Poison, Slot
from duet_p2p.engine.unmade import GRAD, is_differentiable
from duet_p2p.errors import NotAllowed
from duet_p2p.surface.callables import CALLABLES
from duet_p2p.surface.shapes import TensorSpec
from duet_p2p.surface.table import Rule, written
from duet_p2p.wire.messages import Op

__all__ = ["has_graph", "is_as_expected", "neutral", "refusal", "views_of"]

Mode = Callable[[], Any]
NUMBERS: Final = (0, 1, 2)
"""Tried in the place of a private one: some call takes one of them."""


def neutral(
    name: str, given: Arguments, spec: Any, mode: Mode, lineage: Lineage, writes: list[torch.Tensor]
) -> Any:
    """The result on others in the place of private tensors, for its graph; None if there is none.

    On zeros, and if these fail on identity matrices and ones. The latter stand for what gradients
    flow to as well, and are joined to it.

    Args:
        name: of the command.
        given: its arguments.
        spec: what its result would have been.
        mode: of gradients.
        lineage: knows what is private.
        writes: what it may write to; then there is none, nor if it draws random numbers.
    """
    has_graph, is_laid = _wants_gradient(spec), name.rpartition(".")[2] in _LAID
    if writes or is_random(name) or not (has_graph or is_laid):
        return None
    for other in (_zero, _unit):
        try:
            with mode():
                args, kwargs = _replaced((given.args, given.kwargs), lineage, other)
                result = CALLABLES[name](*args, **kwargs)
        except Exception:
            continue
        if is_as_expected(result, spec):
            return result if has_graph else _zeros_like(result)
    return None


def _zeros_like(result: Any) -> Any:
    """Zeros that lie in memory as these numbers do."""
    if isinstance(result, torch.Tensor):
        return torch.zeros_like(result)
    return tuple([_zeros_like(part) for part in result]) if isinstance(result, tuple) else result


_LAID: Final = frozenset({
    "inv", "inverse", "pinv", "solve", "cholesky", "cholesky_ex", "cholesky_inverse", "inv_ex",
    "cholesky_solve", "solve_ex", "solve_triangular", "lu_solve", "eigh", "qr", "svd", "lu",
    "lu_factor", "ldl_factor", "ldl_solve", "triangular_solve", "pinverse", "tensorinv", "eig",
    "tensorsolve", "matrix_power", "linalg_inv", "lstsq", "householder_product",
})  # fmt: skip
"""Last parts of names whose results lie by columns, so that a reshape of them is no view."""


def refusal(run: Running, mode: Mode, lineage: Lineage, spec: Any) -> Exception | None:
    """What is refused about a command's form, which a private failure came before.

    Args:
        run: the command.
        mode: of gradients.
        lineage: knows what is private.
        spec: what its results would have been, as far as that is public.
    """
    formal = _refused(run.rule, run.given, run.targets, mode, lineage)
    return formal or _miscounted(run.op, spec)


def _refused(
    rule: Rule, given: Arguments, targets: list[torch.Tensor], mode: Mode, lineage: Lineage
) -> Exception | None:
    if targets and (rule.form == "inplace" or rule.short == "__setitem__"):
        with mode():
            return _refused_write(targets[0], given) if torch.is_grad_enabled() else None
    if targets or is_random(rule.name) or rule.form not in ("function", "method"):
        return None
    for result in _tried(rule, given, mode, lineage, NUMBERS[:1]):
        is_form = isinstance(result, Exception) and is_structural(result)
        return result if is_form or isinstance(result, NotAllowed) else None
    return None


def _miscounted(op: Op, spec: Any) -> Exception | None:
    """What is told if results of this form were to be kept under so many ids; None if they fit."""
    if len(op.outs) < 2 or spec is None:
        return None
    count = len(spec) if isinstance(spec, list | tuple) and type(spec) is not TensorSpec else 0
    if count == len(op.outs):
        return None
    return ValueError(f"{op.name} gave another number of results than {len(op.outs)}")


def _refused_write(target: torch.Tensor, given: Arguments) -> Exception | None:
    """What torch has against a write to this, by its graph or that of what is written.

    It looks at those first, and then finds that what is to be written here has too many axes.
    """
    if target.layout is not torch.strided or target.is_inference():
        return None
    wants = may_join(target) and any([tensor.requires_grad for tensor in given.tensors()])
    more = torch.zeros(1, dtype=target.dtype, device=target.device, requires_grad=wants)
    try:
        target.add_(more.expand(2, *target.shape))
    except Exception as error:
        return error if is_structural(error) else None
    raise AssertionError("a write of more axes than there are is never made")


def has_graph(rule: Rule, given: Arguments, mode: Mode, lineage: Lineage) -> bool:
    """Whether a result would have had a graph, where arguments have; yes where nobody can tell."""
    if rule.name == GRAD:
        return is_differentiable(given)
    with mode():
        if not torch.is_grad_enabled():
            return False
    if rule.form not in ("function", "method", "factory"):
        return True
    if is_random(rule.name) and written(rule, given.args, given.kwargs, given.slots):
        return True
    random = torch.get_rng_state()
    try:
        for other in (stands_for, *_OTHERS):
            for result in _tried(rule, given, mode, lineage, NUMBERS, other):
                if not isinstance(result, Exception):
                    tensors = [p for p in reach(result) if isinstance(p, torch.Tensor)]
                    return any(tensor.requires_grad for tensor in tensors)
    finally:
        torch.set_rng_state(random)
    return True


def views_of(
    rule: Rule, given: Arguments, lineage: Lineage
) -> tuple[tuple[tuple[Any, ...], dict[str, Any]], Any] | None:
    """Arguments with others in the place of private ones, and what the call gives of them.

    None if it takes none of those that are tried.
    """
    random = torch.get_rng_state()
    try:
        for number in NUMBERS:
            with contextlib.suppress(Exception), torch.no_grad():
                args, kwargs = given.remade(partial(stands_for, lineage=lineage, number=number))
                return (args, kwargs), CALLABLES[rule.name](*args, **kwargs)
    finally:
        torch.set_rng_state(random)
    return None


def _tried(
    rule: Rule, given: Arguments, mode: Mode, lineage: Lineage, numbers: tuple[int, ...],
    other: Callable[..., Any] | None = None,
) -> Iterator[Any]:  # fmt: skip
    """Results, or what was raised, with each of these in the place of private numbers.

    Args:
        rule: of the name.
        given: its arguments.
        mode: of gradients.
        lineage: knows what is private.
        numbers: to be tried.
        other: what is put in the place of an object, if not what `stands_for` it.
    """
    for number in numbers:
        try:
            look_up = partial(other or stands_for, lineage=lineage, number=number)
            args, kwargs = given.remade(look_up)
            with mode():
                yield CALLABLES[rule.name](*args, **kwargs)
        except Exception as error:
            yield error


def _replaced(value: Any, lineage: Lineage, other: Callable[[torch.Tensor], Any]) -> Any:
    """Arguments with another tensor in the place of each private one."""
    if isinstance(value, torch.Tensor):
        return other(value) if is_private(lineage.label(value)) else value
    if isinstance(value, list):
        return [_replaced(part, lineage, other) for part in value]
    if type(value) is tuple:
        return tuple([_replaced(part, lineage, other) for part in value])
    if type(value) is dict:
        return {key: _replaced(part, lineage, other) for key, part in value.items()}
    return value


def _zero(tensor: torch.Tensor) -> torch.Tensor:
    """Zeros, for what no gradient flows to."""
    return tensor if tensor.requires_grad else torch.zeros_like(tensor)


def _filled(tensor: torch.Tensor, number: int) -> torch.Tensor:
    return tensor if tensor.requires_grad else torch.full_like(tensor, number)


def _unit(tensor: torch.Tensor) -> torch.Tensor:
    """Identity matrices, ones, or for whole numbers zeros, joined to what a gradient flows to."""
    made = torch.zeros_like(tensor, requires_grad=False)
    if may_join(tensor):
        is_matrix = tensor.ndim > 1
        made = made + (
            torch.eye(*tensor.shape[-2:], dtype=tensor.dtype, device=tensor.device)
            if is_matrix
            else 1
        )
    return joined(made, [tensor], is_linear=True) if tensor.requires_grad else made


def stands_for(slot: Slot, lineage: Lineage, number: int = 0) -> Any:
    """What an object is, or what is as good as it if it is private."""
    value = slot.value
    if isinstance(value, Poison):
        return torch.zeros(1, requires_grad=True) if value.leaves else 0
    if is_private(slot.label) and type(value) in (bool, int, float):
        return type(value)(number)
    if number and isinstance(value, torch.Tensor) and not value.ndim:  # it can be a size, too
        return _replaced(value, lineage, partial(_filled, number=number))
    return _replaced(value, lineage, _zero)


def _fits_any(slot: Slot, lineage: Lineage, number: int = 0) -> Any:
    """As `stands_for`, and one number for a tensor of a private shape, which fits to any other.

    Also for what need not be what it is: that may be a tensor, and have a graph.
    """
    value = slot.value
    if not isinstance(value, torch.Tensor) and slot.is_loose:
        return torch.zeros(1, requires_grad=True)
    if not isinstance(value, torch.Tensor) or not lineage.hidden(value):
        return stands_for(slot, lineage, number)
    return torch.zeros([1] * value.ndim, dtype=value.dtype, requires_grad=value.requires_grad)


def _fits_sizes(slot: Slot, lineage: Lineage, number: int = 0) -> Any:
    """As `_fits_any`, and one size for what need not be what it is."""
    return [number] if slot.is_loose else _fits_any(slot, lineage, number)


def _fits_numbers(slot: Slot, lineage: Lineage, number: int = 0) -> Any:
    """As `_fits_any`, and a number for what need not be what it is."""
    return number if slot.is_loose else _fits_any(slot, lineage, number)


def _fits_floats(slot: Slot, lineage: Lineage, number: int = 0) -> Any:
    """As `_fits_any`, and a tensor of floats for one that may have another type or be none."""
    is_one = isinstance(slot.value, torch.Tensor) and slot.is_loose
    return torch.zeros(1, requires_grad=True) if is_one else _fits_any(slot, lineage, number)


_OTHERS: Final = (_fits_any, _fits_sizes, _fits_numbers, _fits_floats)


def _wants_gradient(spec: Any) -> bool:
    if isinstance(spec, TensorSpec):
        return spec.requires_grad
    return isinstance(spec, list | tuple) and any(map(_wants_gradient, spec))


def is_as_expected(result: Any, spec: Any) -> bool:
    """Whether a result has the shape that was worked out before it was made."""
    if type(spec) is TensorSpec:
        return (
            isinstance(result, torch.Tensor) and result.shape == spec.shape
            and result.dtype is spec.dtype and result.requires_grad == spec.requires_grad
        )  # fmt: skip
    if isinstance(spec, list | tuple) and isinstance(result, list | tuple):
        return len(result) == len(spec) and all(map(is_as_expected, result, spec))
    return True
