"""How a value was made, as torch code that a person can read.

Each result keeps a node: the name of its operation, its arguments as they came over the wire, and
the nodes of its inputs. A text goes back from a value to the state boundaries (a parameter, a
batch, a shared object) and at most `RECIPE_STEPS` operations far. The text is for people; nothing
is decided on it alone. What later requests are compared with is the node's *form* (form.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from inspect import Parameter, isfunction, signature
from typing import Any, Final

import torch

from duet_p2p.limits import RECIPE_CHARS, RECIPE_STEPS
from duet_p2p.surface.table import find
from duet_p2p.wire import values as wire

__all__ = ["Made", "boundary", "collected", "made", "recipe_text"]


_NO_FORMS: Mapping[int, str] = {}


class Made:
    """One operation, or a boundary (no inputs, a name in `op`).

    One is made with each operation, so what few of them have stands on the class.
    """

    __slots__ = ("__dict__", "args", "depth", "forms", "inputs", "kwargs", "op")

    is_boundary: bool = False
    is_cut: bool = False
    form: str = ""
    """What form.py works out; kept, also when the inputs are forgotten."""
    has_random: bool = False
    """Random numbers took part that were drawn for this value."""
    mode: str = "g"
    """Grad mode: what is computed without gradients passes none on, and is the same for people."""

    def __init__(
        self,
        op: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        inputs: dict[int, Made],
        forms: Mapping[int, str] = _NO_FORMS,
    ) -> None:
        self.op = op
        self.args = args
        self.kwargs = kwargs
        self.inputs = inputs
        self.forms = forms
        """Of inputs whose form is not that of their node: public contents, trained state."""
        self.depth = 1
        for node in inputs.values():
            if node.has_random:
                self.has_random = True
            if node.depth >= self.depth:
                self.depth = node.depth + 1
        if self.depth > 2 * RECIPE_STEPS:
            self._cut()

    def _cut(self) -> None:
        """Forget what lies further back than a text can show, so that no chain grows for ever.

        What is kept of it are copies: other results have their nodes in common with this one, and
        theirs stay as they are. Runs once per `RECIPE_STEPS` operations, so its cost is spread.
        """
        copies: dict[int, Made] = {}
        layer = [(self, self.inputs)]
        copied = self._copied
        for left in range(RECIPE_STEPS - 1, -1, -1):
            below: list[tuple[Made, dict[int, Made]]] = []
            for copy, inputs in layer:
                copy.inputs = own = {}
                for id_, child in inputs.items():
                    known = copies.get(id(child))
                    if known is None:
                        known = copies[id(child)] = copied(child, left)
                        below.append((known, child.inputs))
                    own[id_] = known
            layer = below
        for copy, inputs in layer:
            if inputs:
                copy.is_cut = True
        self.depth = RECIPE_STEPS

    @staticmethod
    def _copied(node: Made, depth: int) -> Made:
        """The same node without its inputs; a copy is made for nearly each operation."""
        copy = Made.__new__(Made)
        copy.op, copy.args, copy.kwargs, copy.forms = node.op, node.args, node.kwargs, node.forms
        copy.inputs, copy.depth = _NO_INPUTS, depth
        if node.is_boundary:
            copy.is_boundary = True
        if node.is_cut:
            copy.is_cut = True
        if node.form:
            copy.form = node.form
        if node.has_random:
            copy.has_random = True
        if node.mode != "g":
            copy.mode = node.mode
        return copy


_NO_INPUTS: Final[dict[int, Made]] = {}  # nobody adds to it


def boundary(text: str, form: str = "") -> Made:
    """A place where recipes begin: ``store['ages']``, ``batch``, a parameter.

    Args:
        text: for people.
        form: what stands for it where later requests are compared.
    """
    node = Made(text, (), {}, {})
    node.is_boundary, node.form = True, form
    return node


def made(
    op: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    inputs: dict[int, Made],
    forms: Mapping[int, str] = _NO_FORMS,
    mode: str = "g",
) -> Made:
    """The node of one operation; `inputs` by the ids that its arguments name."""
    for value in args:
        if type(value) not in _KEPT:
            args = tuple([_short(value) for value in args])
            break
    node = Made(op, args, kwargs, inputs, forms)
    if mode != "g":
        node.mode = mode
    return node


_SHOWN_PARTS = 16  # of a container among the arguments
_LITERAL_CHARS = 80
_KEPT = frozenset({wire.Ref, bool, int, float, type(None)})
"""Types of arguments that `_short` leaves as they are."""


def _short(value: Any) -> Any:
    """An argument with a hash in place of the bytes of uploaded tensors."""
    if isinstance(value, wire.TensorData):
        digest = b"" if isinstance(value.data, wire.Span) else sha256(value.data).digest()
        return wire.TensorData(value.dtype, value.shape, digest, value.requires_grad)
    return list(value) if isinstance(value, list) else value


def recipe_text(node: Made | None) -> str:
    """Readable code, oldest operation first; ``…`` stands where it was cut."""
    if node is None:
        return ""
    order: list[Made] = []
    names: dict[int, str] = {}
    is_cut = _collect(node, order)
    lines = ["# … earlier operations left out"] if is_cut else []
    for number, step in enumerate(order):
        if step.is_boundary:
            names[id(step)] = step.op
            continue
        names[id(step)] = f"v{number}"
        lines.append(f"v{number} = {_expression(step, names)}")
    if not lines:
        return node.op
    lines[-1] = lines[-1].partition(" = ")[2] or lines[-1]
    text = "\n".join(lines)
    return text if len(text) <= RECIPE_CHARS else "…" + text[1 - RECIPE_CHARS :]


def _collect(node: Made, order: list[Made]) -> bool:
    """Inputs before users, at most `RECIPE_STEPS` nodes, without recursion."""
    seen: set[int] = set()
    stack: list[tuple[Made, bool]] = [(node, False)]
    is_cut = False
    while stack:
        step, is_done = stack.pop()
        if is_done:
            order.append(step)
            continue
        if id(step) in seen:
            continue
        if len(seen) >= RECIPE_STEPS:
            is_cut = True
            continue
        seen.add(id(step))
        stack.append((step, True))
        is_cut = is_cut or step.is_cut
        stack.extend((child, False) for child in step.inputs.values() if id(child) not in seen)
    return is_cut


def collected(node: Made) -> tuple[list[Made], bool]:
    """The operations and boundaries that a text shows, oldest first, and whether some are not."""
    order: list[Made] = []
    is_cut = _collect(node, order)
    return order, is_cut


def _expression(step: Made, names: Mapping[int, str]) -> str:
    def show(value: Any) -> str:
        return _show(value, step, names)

    args = [show(a) for a in step.args]
    short = step.op.rpartition(".")[2]
    symbol = _SYMBOLS.get(short)
    if symbol and len(args) == 2 and not step.kwargs:
        first, second = reversed(args) if short.startswith("__r") else args
        return f"{first} {symbol} {second}"
    sign = _SIGNS.get(short)
    if sign and len(args) == 1 and not step.kwargs:
        return f"{sign}{args[0]}"
    if short == "__getitem__" and len(args) == 2:
        return f"{args[0]}[{_index(step.args[1], show)}]"
    if short == "__setitem__" and len(args) == 3:
        return f"{args[0]}[{_index(step.args[1], show)}] = {args[2]}"
    usual = _usual(step.op)
    keywords = [
        f"{_word(key)}={show(value)}"
        for key, value in step.kwargs.items()
        if key not in usual or type(usual[key]) is not type(value) or usual[key] != value
    ]
    if args and (step.op.startswith("torch.Tensor.") or (".optim." in step.op and short.islower())):
        if len(args) == 1 and not keywords and _is_property(step.op):
            return f"{args[0]}.{short}"
        return f"{args[0]}.{short}({', '.join(args[1:] + keywords)})"
    return f"{step.op}({', '.join(args + keywords)})"


def _index(value: Any, show: Callable[[Any], str]) -> str:
    """What stands between the brackets."""
    if isinstance(value, tuple) and value:
        parts = [_index_part(part, show) for part in value[: _SHOWN_PARTS + 1]]
        return f"{_some(parts)}{',' * (len(value) == 1)}"
    return _index_part(value, show)


def _index_part(value: Any, show: Callable[[Any], str]) -> str:
    if not isinstance(value, slice):
        return show(value)
    start, stop, step = (
        "" if end is None else show(end) for end in (value.start, value.stop, value.step)
    )
    return f"{start}:{stop}" + (f":{step}" if step else "")


@cache
def _usual(op: str) -> Mapping[str, Any]:
    """Keywords that a function of torch has anyway, and that its modules write out with each call.

    A training flag and a probability are shown in any case: what they are is not the same in all
    functions, and decides what is drawn.
    """
    found: Any = torch if op.startswith("torch.") else None
    for part in op.split(".")[1:]:
        found = getattr(found, part, None)
    if not isfunction(found):  # of Python, as a loss is; no class, whose settings are all told
        return {}
    try:
        known = signature(found).parameters.values()
    except ValueError:  # a method of C in a function of Python, as an operator is
        return {}
    return {
        parameter.name: parameter.default
        for parameter in known
        if parameter.default is not Parameter.empty and parameter.name not in ("training", "p")
    }


def _is_property(op: str) -> bool:
    rule = find(op)
    return rule is not None and rule.form == "property"


def _word(key: str) -> str:
    """A keyword, or harmless: some names take any, and a text must not pretend other lines."""
    return key if key.isascii() and key.isidentifier() else ascii(key)


def _some(parts: list[str]) -> str:
    """Parts of a container, and that there are more."""
    return ", ".join(parts if len(parts) <= _SHOWN_PARTS else [*parts[:_SHOWN_PARTS], "…"])


def _show(value: Any, step: Made, names: Mapping[int, str]) -> str:
    if isinstance(value, wire.Ref):
        node = step.inputs.get(value.id)
        if node is None and not step.is_cut:
            return f"object {value.id}"
        return names.get(id(node), "…")
    if isinstance(value, wire.TensorData):
        return f"<{value.dtype} tensor {tuple(value.shape)} of the scientist>"
    if isinstance(value, wire.Dtype | wire.Layout | wire.MemoryFormat):
        return f"torch.{value.name}"
    if isinstance(value, wire.Device):
        return repr(value.name)
    if isinstance(value, wire.Size):
        return str(value.dims)
    if isinstance(value, list):
        return f"[{_some([_show(v, step, names) for v in value[: _SHOWN_PARTS + 1]])}]"
    if isinstance(value, tuple):
        inner = _some([_show(v, step, names) for v in value[: _SHOWN_PARTS + 1]])
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, dict):
        pairs = list(value.items())[: _SHOWN_PARTS + 1]
        return f"{{{_some([f'{_literal(k)}: {_show(v, step, names)}' for k, v in pairs])}}}"
    if value is Ellipsis:
        return "..."
    return _literal(value)


def _literal(value: Any) -> str:
    """A plain value; one that is cut says so as a whole recipe does, since nothing binds to it."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no int of thousands of digits
        return f"<{type(value).__name__} too long to be written…>"
    if len(text) <= _LITERAL_CHARS:
        return text
    # the quotes of a text stay in pairs
    return (repr(value[:60]) if isinstance(value, str) else text[: _LITERAL_CHARS - 1]) + "…"


_BINARY = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
}  # fmt: skip
_SYMBOLS = {
    **{f"__{name}__": symbol for name, symbol in _BINARY.items()},
    **{f"__r{name}__": symbol for name, symbol in _BINARY.items()},
    **{f"__i{name}__": symbol + "=" for name, symbol in _BINARY.items()},
    "__eq__": "==", "__ne__": "!=", "__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">=",
}  # fmt: skip
_SIGNS = {"__neg__": "-", "__pos__": "+", "__invert__": "~"}
