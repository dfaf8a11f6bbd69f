"""What becomes of an exception: a code of a fixed set, a text, and whether it may be told.

Errors are data. torch writes private values into its messages, and even that one of a thousand
operations failed is an answer. So a failure is public only if it follows from public facts.
"""

from __future__ import annotations

import re
from typing import Final

from duet_p2p.engine.store import IdError, Poison
from duet_p2p.errors import NotAllowed, PointerDeleted, QuotaExceeded

__all__ = [
    "CODES",
    "Broken",
    "PublicError",
    "code_of",
    "is_exhaustion",
    "is_structural",
    "text_of",
]

_TEXT_CHARS: Final = 4_000

CODES: Final = frozenset({
    "ArithmeticError", "AssertionError", "AttributeError", "FileNotFoundError", "IndexError",
    "KeyError", "MemoryError", "NotAllowed", "NotImplementedError", "OSError", "OverflowError",
    "PermissionError", "PointerDeleted", "QuotaExceeded", "RuntimeError", "StopIteration",
    "TypeError", "ValueError", "ZeroDivisionError",
})  # fmt: skip

_STRUCTURAL: Final = (
    "grad can be implicitly created only for scalar outputs",
    "element 0 of tensors does not require grad",
    "Trying to backward through the graph a second time",
    "a leaf Variable that requires grad is being used in an in-place operation",
    "a view of a leaf Variable that requires grad is being used in an in-place operation",
    "one of the variables needed for gradient computation has been modified by an inplace",
    "Mismatch in shape: grad_output",
    "can't retain_grad on Tensor that has requires_grad=False",
    "you can only change requires_grad flags of leaf variables",
)
"""Beginnings of torch's messages about the graph, which the program alone decides."""

_OF_VIEWS: Final = re.compile(
    r"(Output [0-9]+ of [\w<>]+ is a view|A view was created in (no_grad|inference) mode"
    r"|Output [0-9]+ of [\w<>]+ is a view of a view which was created in (no_grad|inference) mode)"
    r" and (its base or another view of its base has been|is being) modified inplace"
)
"""The beginning of those about a view that may not be written to, or whose base was: see nodes.py.

What was not written, since that failed in private, counts as written (unwritten.py).
"""

_OF_GRAPH: Final = (
    "one of the variables needed for gradient computation has been modified by an inplace",
)
"""Those of them that depend on what an operation kept."""

_MEMORY: Final = "(memory_bytes)"
_EXHAUSTED: Final = ("can't allocate memory", "not enough memory", "bad_alloc")
"""Parts of what torch says where the kernel gives no memory."""

_GUARD: Final = re.compile(
    r"[\w.]+ is not offered with [\w. ]+=( or [\w. ]+=)?"
    r"|only strided tensors are offered"
    r"|the meta device is not offered"
    r"|[\w.]+ takes no text"
    r"|[\w.]+ takes at most [0-9]+ positional arguments here"
    r"|sparse=True needs a weight that is a leaf; nn\.Embedding has one"
    r"|[\w.]+ gave another number of results than [0-9]+"
)
"""Whole messages of surface/guard.py, sparse.py and the engine, of names and types only.

Whole ones: what a scientist writes stands in other messages, beside private values.
"""


class PublicError(Exception):
    """Carries an error that follows from public facts."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class Broken(Exception):
    """A call cannot go on because of a failure that is known already."""

    def __init__(self, poison: Poison) -> None:
        super().__init__(poison.text)
        self.poison = poison


def code_of(error: BaseException) -> str:
    """The name of the nearest class that is in the fixed set."""
    if isinstance(error, IdError):
        return PointerDeleted.__name__
    for cls in type(error).__mro__:
        if cls.__name__ in CODES and cls.__module__ in _MODULES:
            return cls.__name__
    return RuntimeError.__name__


_MODULES: Final = frozenset({"builtins", NotAllowed.__module__, QuotaExceeded.__module__})


_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
_WRITES: Final = re.compile(r" is at version [0-9]+; expected version [0-9]+ instead")
"""That something was written to is a public fact, but how often can be for values to decide."""


def text_of(error: BaseException) -> str:
    """Class and message, bounded, without addresses of the owner's memory and counts of writes."""
    text = _ADDRESS.sub("", f"{type(error).__name__}: {error}")
    text = _WRITES.sub(" was written to since", text)
    if is_exhaustion(error) and _MEMORY not in text:  # in front: what torch says may be cut
        text = f"{type(error).__name__}: no memory is left {_MEMORY}: {error}"
    return text if len(text) <= _TEXT_CHARS else text[: _TEXT_CHARS - 1] + "…"


def is_exhaustion(error: BaseException) -> bool:
    """Whether there was no memory left, which depends on all that is in it."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(part in str(error) for part in _EXHAUSTED)
    )


def is_structural(error: BaseException, *, of_graph: bool = True) -> bool:
    """Whether the complaint is about the graph or the form of the call, whatever the values are.

    Args:
        error: of torch.
        of_graph: complaints count that depend on what an operation keeps for its backward.
    """
    text = str(error)
    if isinstance(error, RuntimeError):
        begins = [part for part in _STRUCTURAL if of_graph or part not in _OF_GRAPH]
        return text.startswith(tuple(begins)) or _OF_VIEWS.match(text) is not None
    return isinstance(error, TypeError | ValueError) and _GUARD.fullmatch(text) is not None
