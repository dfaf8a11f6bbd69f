"""What a private number chose: the choice is in the label of what was chosen, and of nothing else.

``box[i]`` gives one of the very objects that lie in the box, and ``x[i]`` a view of the numbers of
``x``. Which one it is tells the number, so everything that is done with it must carry the number's
label. Labels lie on storages and objects: an own tensor is marked for good, and so is everything
else that could have been chosen, since what is written through the one shows in it.

An owner's tensor is never written to, so nothing shows in it. It is handed out as another tensor
over the same bytes, whose storage is its own: that one has the label, and the owner's object keeps
what it had. Which of the two an element is does not depend on what is chosen.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.utils.dlpack import from_dlpack

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.gradients import gradient_of, leaves_of
from duet_p2p.engine.labels import Label, join
from duet_p2p.engine.lineage import Lineage, is_atomic, reach, storage_of
from duet_p2p.engine.store import Poison

__all__ = ["apart", "apart_views", "mark", "viewed_by"]

_ONLY_LIKE: Final = frozenset({"view_as", "reshape_as", "expand_as", "type_as"})
"""They look at the shape or the type of their other argument, and at none of its numbers."""


def mark(elements: Any, label: Label, lineage: Lineage) -> None:
    """One of these is chosen: all that can be written to are marked, since one would tell it."""
    for value in elements:
        if is_atomic(value) or _stands_apart(value, lineage):
            continue
        if type(value) is tuple:
            mark(value, label, lineage)
            continue
        lineage.add(value, label, hidden=True)
        for part in reach(value):
            _mark_behind(part, label, lineage)


def _mark_behind(part: Any, label: Label, lineage: Lineage) -> None:
    """What else tells which one was chosen: that it has failed, and what a backward reaches."""
    if isinstance(part, Poison):
        poison: Poison | None = part
        entry = lineage.track(part)
        entry.structure = join((entry.structure, label))
    elif isinstance(part, torch.Tensor):
        poison = lineage.own(part).poison
        for leaf in leaves_of([part]):
            lineage.add(leaf, label)
            lineage.choose(leaf)
            if (grad := gradient_of(leaf)) is not None:
                lineage.add(grad, label)
    else:
        tracked = lineage.find(part)
        poison = None if tracked is None else tracked.poison
    if poison is not None:
        poison.is_public, poison.label = False, join((poison.label, label))


def apart(chosen: Any, lineage: Lineage, *, is_new: bool = False) -> Any:
    """What was chosen, with owner's tensors as tensors of their own over the same bytes.

    Args:
        chosen: an element, or several.
        lineage: where labels are kept.
        is_new: nothing else holds the list that these lie in.
    """
    if type(chosen) is tuple:
        return tuple([apart(part, lineage) for part in chosen])
    if is_new and type(chosen) is list:
        return [apart(part, lineage) for part in chosen]
    return _alias(chosen, lineage) if _stands_apart(chosen, lineage) else chosen


def apart_views(name: str, given: Arguments, result: Any, lineage: Lineage) -> Any:
    """The result of an operation, `apart` where private values decided which view it is.

    Args:
        name: last part of the operation's.
        given: its arguments.
        result: what it gave.
        lineage: where labels are kept.
    """
    if is_atomic(result) or not isinstance(result, torch.Tensor | tuple | list):
        return result
    parts = [result] if isinstance(result, torch.Tensor) else result
    is_chosen = any(
        isinstance(part, torch.Tensor) and _stands_apart(part, lineage)
        and is_private(viewed_by(name, given, part, lineage)) for part in parts
    )  # fmt: skip
    return apart(result, lineage, is_new=True) if is_chosen else result


def viewed_by(name: str, given: Arguments, view: torch.Tensor, lineage: Lineage) -> Label:
    """The label of what decided which view of one of its arguments a call gives."""
    storage = storage_of(view)._cdata
    others = [t for t in given.tensors() if storage_of(t)._cdata != storage]
    if name in _ONLY_LIKE:
        others = [t for t in others if lineage.hidden(t)]
    return join([given.beside(lineage), *map(lineage.label, others)])


def _stands_apart(value: Any, lineage: Lineage) -> bool:
    """Whether this is an owner's tensor that another one can stand for.

    One with a gradient hands it to the object itself, and a lazy conjugate is more than its bytes.
    """
    if type(value) is not torch.Tensor or value.layout is not torch.strided:
        return False
    entry = lineage.entry(value)
    if entry is None or not entry.is_shared or entry.poison is not None:
        return False
    is_plain = not (value.requires_grad or value.is_conj() or value.is_neg())
    return is_plain and (value.is_cpu or value.is_cuda)


def _alias(tensor: torch.Tensor, lineage: Lineage) -> torch.Tensor:
    known, storage = lineage.own(tensor), tensor.untyped_storage()
    with torch.no_grad():
        flat = torch.empty(0, dtype=torch.uint8, device=tensor.device)
        if storage.nbytes():
            flat = from_dlpack(flat.set_(storage))
        alias = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
        place = tensor.storage_offset(), tensor.shape, tensor.stride()
        alias.set_(flat.untyped_storage(), *place)
    entry = lineage.own(alias)
    entry.label, entry.hidden, entry.is_shared = known.label, known.hidden, True
    return alias
