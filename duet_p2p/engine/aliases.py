"""Which tensors may lie in the same memory as others by private values, and what may not be there.

``own.narrow(0, secret, 6)`` is a view of ``own`` or fails, a ``reshape`` is a view or a copy, and
``box[secret]`` is one of several tensors. If something with a graph were written into the result,
a way back from ``own`` would reach that, or not, and so would one from the result after a write
into ``own``: leaves had gradients, or none. No label can make up for what is not there. That
private values chose is a public fact, so such a write is refused, for all to see.

Everything that may lie so is noted when it is chosen, whether there is a result or what failed
stands in its place; where something is put in the place of a hidden tensor, the name of the command
says if it may lie where that does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch

from duet_p2p.engine.arguments import Arguments, is_private
from duet_p2p.engine.batches import Pass
from duet_p2p.engine.call import Call
from duet_p2p.engine.lineage import Lineage, is_atomic, reach
from duet_p2p.engine.store import Poison
from duet_p2p.errors import NotAllowed
from duet_p2p.surface.table import TABLE, Rule, writes, written

__all__ = [
    "hand_on", "is_always_view", "joins_graph", "look", "note", "note_chosen", "writes_graph",
]  # fmt: skip

_REFUSED: Final = (
    "Private values decided which other tensors share their memory with this one, so nothing that "
    "wants a gradient is written into it. Write into a copy: clone() it first. If no gradient is "
    "needed, write under torch.no_grad()."
)
_LEAVES: Final = frozenset({
    "torch.Tensor.requires_grad_", "torch.Tensor.requires_grad=", "torch.nn.Parameter",
})  # fmt: skip
"""Names that make what wants a gradient, beside uploads and ``requires_grad=``."""
_WITHOUT_GRAPH: Final = ("torch.optim.", "torch.nn.init.", "torch.nn.utils.", "python.")
_NUMBERS_ONLY: Final = frozenset({"torch.Tensor.data=", "torch.Tensor.requires_grad="})
"""They write no graph, nor do names that begin as those before."""
_ALWAYS_NAMES: Final = """
H T mT mH adjoint t conj conj_physical cfloat cdouble chalf cpu cuda data detach real imag positive
__pos__ __reversed__ resolve_conj resolve_neg view_as_complex view_as_real slice_inverse
atleast_1d atleast_2d atleast_3d cartesian_prod as_tensor Tensor FloatTensor DoubleTensor HalfTensor
BFloat16Tensor LongTensor IntTensor ShortTensor CharTensor ByteTensor BoolTensor Parameter
"""
_ALWAYS: Final = frozenset(_ALWAYS_NAMES.split())
"""Last parts of torch's names that give what they are given, or a view, if no number says so.

A test looks for what is missing (tests/surface/test_given_back.py).
"""
_NEXT: Final = frozenset({"next", "__next__"})
_SPREAD: Final = frozenset({
    "__getitem__", "__next__", "next", "iter", "__iter__", "List", "Tuple", "__reversed__",
})  # fmt: skip
"""Last parts of names of containers that take a tensor for one, and give views of it."""
_ELEMENTS: Final = _SPREAD | {
    "pop", "popitem", "dict_get", "setdefault", "Set", "Dict", "OrderedDict", "copy", "values",
    "items", "keys", "fromkeys",
}  # fmt: skip
"""Last parts of names of containers that give elements of what they are given, or hold them."""
_JOINED: Final = frozenset({"python.List.__add__", "python.List.__mul__", "python.Tuple.__add__",
                            "python.Tuple.__mul__"})  # fmt: skip
"""Names that do so, and of which others with such an end compute with numbers and tensors."""


def is_always_view(name: str) -> bool:
    """Whether calls of a name give a tensor itself, or a view of it, and no number says which."""
    return name.startswith("torch.") and name.rpartition(".")[2] in _ALWAYS


def writes_graph(rule: Rule) -> bool:
    """Whether calls of a name put a graph into a tensor where they are given something with one."""
    return rule.name in _WRITING


def joins_graph(rule: Rule) -> bool:
    """Whether that becomes the tensor's own graph, and not that of a gradient which it holds."""
    return writes_graph(rule) and rule.name != "torch.Tensor.grad="


def _is_writing(rule: Rule) -> bool:
    if not writes(rule) or rule.name.startswith(_WITHOUT_GRAPH) or rule.name in _NUMBERS_ONLY:
        return False
    return "writes=" not in rule.note  # those are statistics and norms


_WRITING: Final = frozenset(rule.name for rule in TABLE.values() if _is_writing(rule))


def look(call: Call, given: Arguments, lineage: Lineage) -> None:
    """Looks at a command that is about to run, or to be left out.

    Raises:
        NotAllowed: it would write something with a graph where it may be another tensor's, too.
    """
    rule, op = call.rule, call.op
    if rule.name in _LEAVES or "requires_grad" in op.kwargs:
        lineage.has_leaves = True
    if not given.slots:
        return
    if lineage.has_aliases and op.mode == "g" and writes_graph(rule):
        _refuse_graph(rule, given, lineage)
    is_view = is_always_view(rule.name) or _is_spread(rule, given)
    if is_view and is_private(given.beside(lineage)):
        note_chosen(given, lineage)


def _refuse_graph(rule: Rule, given: Arguments, lineage: Lineage) -> None:
    targets = [
        part for value in written(rule, given.args, given.kwargs, given.slots)
        if not is_atomic(value) for part in reach(value)
    ]  # fmt: skip
    first = given.at[0] if given.at else None
    is_chosen = first is not None and first.is_loose and first.is_element  # perhaps no tensor
    if not (is_chosen or any(_may_alias(target, lineage) for target in targets)):
        return
    into = set(map(id, targets)) | ({id(first.value)} if first is not None else set())
    if _may_want(given, into, lineage):
        raise NotAllowed(_REFUSED)


def _may_want(given: Arguments, into: set[int], lineage: Lineage) -> bool:
    """Whether anything but what is written into may have a graph.

    Whether what is hidden has one can be private; there is none as long as nothing ever wanted one.
    """
    first = given.at[0] if given.at else None
    others = [part for part in given.reached() if id(part) not in into]
    if first is not None:  # what was chosen may be the target itself, under another id
        named = [slot.value for slot in given.slots.values() if slot is not first]
        others += [part for part in named if id(part) in into]
    for part in others:
        if isinstance(part, torch.Tensor) and part.requires_grad and not lineage.hidden(part):
            return True
    if not lineage.has_leaves:
        return False
    if any(slot.is_loose and slot is not first for slot in given.slots.values()):
        return True  # also the target's own, which may be another thing under another id
    return any(
        lineage.hidden(part) if isinstance(part, torch.Tensor)
        else isinstance(part, Poison) and not (part.is_object or part.is_public)
        for part in others
    )  # fmt: skip


def _is_spread(rule: Rule, given: Arguments) -> bool:
    """Whether this goes through a tensor as through a list, or would if it were there."""
    if not rule.name.startswith("python.") or rule.short not in _SPREAD or not given.args:
        return False
    first = given.args[0]
    return isinstance(first, torch.Tensor) or (isinstance(first, Poison) and first.is_tensor)


def note_chosen(
    given: Arguments, lineage: Lineage, *, but: Iterable[torch.Tensor] = ()
) -> None:  # fmt: skip
    """Private values decide what of its arguments the result of a call is, or if it is any.

    Args:
        given: the arguments.
        lineage: where it is noted.
        but: those of them that stand for numbers.
    """
    given.is_alias, numbers = True, set(map(id, but))
    note([part for part in given.reached() if id(part) not in numbers], lineage)


def note(values: Iterable[Any], lineage: Lineage) -> None:
    """What is written into these may come to be another tensor's, or not."""
    lineage.has_aliases = True
    for part in values:
        if isinstance(part, torch.Tensor):
            entry = lineage.own(part)
            entry.may_alias = entry.may_alias or entry.is_apart or not entry.is_shared
        elif isinstance(part, Poison) and not part.is_public:
            part.may_alias = True
            for other in [name() for name in part.memory]:  # as of what is there: one storage
                if other is not None and not other.is_public:
                    other.may_alias = True


def hand_on(rule: Rule, given: Arguments, results: Any, lineage: Lineage) -> None:
    """Notes what a call gave, or what stands for it, if it may lie where its arguments do."""
    if not lineage.has_aliases or is_atomic(results):
        return
    if given.is_alias or _is_handed_on(rule, given, lineage):
        note(reach(results), lineage)


def _is_handed_on(rule: Rule, given: Arguments, lineage: Lineage) -> bool:
    if not given.args:
        return False
    first = given.args[0]
    if writes(rule) and _may_alias(first, lineage):
        targets = written(rule, given.args, given.kwargs, given.slots)
        return any(target is first for target in targets)
    entry = None if is_atomic(first) else lineage.find(first)
    if rule.short in _NEXT and entry is not None and isinstance(entry.origin, Pass):
        # a batch: of whatever failed on the way to it nobody knows that it was a copy
        return any(_may_alias(tensor, lineage) for tensor in given.tensors())
    is_of_data = rule.name.startswith("torch.utils.data.")
    is_of_parts = rule.name.startswith("python.") and rule.short in _ELEMENTS
    if not (is_of_data or is_of_parts or rule.name in _JOINED):
        return False
    return any(isinstance(part, Poison) and part.may_alias for part in given.reached())


def _may_alias(value: Any, lineage: Lineage) -> bool:
    if isinstance(value, torch.Tensor):
        return (entry := lineage.entry(value)) is not None and entry.may_alias
    return isinstance(value, Poison) and value.may_alias
