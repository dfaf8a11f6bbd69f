"""A recipe in one line, for somebody who has to decide in seconds.

``mean of nll_loss of a network (conv2d, linear; 8 weights) on batch of 64 of store['train']``

It begins with what was done last, whatever was done before: the first words are what the value is.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from duet_p2p.engine.recipe import Made, collected
from duet_p2p.limits import RECIPE_STEPS
from duet_p2p.wire import values as wire

__all__ = ["summary_of"]

_PLUMBING: Final = frozenset({
    "getitem", "item", "to", "float", "double", "half", "long", "int", "bool", "view", "view_as",
    "reshape", "flatten", "detach", "clone", "contiguous", "squeeze", "unsqueeze", "type",
    "requires_grad", "data", "collect", "state_dict", "changed", "perhaps changed", "List", "Tuple",
    "Dict", "OrderedDict", "alias", "cpu", "T", "mT", "t", "transpose", "permute", "expand",
    "expand_as",
})  # fmt: skip
_LISTS: Final = frozenset({"collect", "List", "Tuple", "Dict", "OrderedDict", "state_dict"})
_REDUCTIONS: Final = frozenset({"mean", "sum", "std", "var", "norm", "count_nonzero", "nanmean"})
_WITH_WEIGHTS: Final = (
    "linear", "conv", "embedding", "lstm", "gru", "rnn", "_norm", "attention",
)  # fmt: skip
_LAYERS: Final = (
    *_WITH_WEIGHTS, "pool", "dropout", "relu", "gelu", "tanh", "sigmoid", "softmax",
)  # fmt: skip
_PART: Final = "part"
"""Some of a tensor's numbers, chosen by an index: a sum of those can be one record."""
_NUMBERS: Final = ("vector_norm", "matrix_norm", "clip_grad_norm")
"""No layers, for all that their names end like one."""
_OPERATORS: Final = {
    form + name: "div" if name == "truediv" else name
    for form in ("", "r", "i")
    for name in (
        "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor",
    )
}  # fmt: skip
"""The three forms of an operator, and what people call each of them."""
_LOSSES: Final = ("cross_entropy", "binary_cross_entropy", "kl_div")
_SHOWN: Final = 6
_HEADS: Final = 3
"""So many reductions, one of the other, are told in the order in which they were done."""
_CUT: Final = ", and earlier operations that are not shown"


def summary_of(node: Made | None) -> str:
    """One line; empty if nothing is known."""
    if node is None:
        return ""
    if node.is_boundary:
        return f"a tensor of the scientist, {node.op}" if _is_own(node) else node.op
    steps, is_cut = collected(node)
    data = _distinct(step.op for step in steps if step.is_boundary and not _is_own(step))
    own = sum(step.is_boundary and _is_own(step) for step in steps)
    heads, last = _heads(node)
    names = _distinct([
        *_elements(last if heads[-1] == "list" else None),
        *(_name(step) for step in steps if not step.is_boundary),
    ])  # fmt: skip
    rest = [name for name in names if name not in _PLUMBING and name not in heads]
    if own and not data and heads[0] == "list":
        return f"a network ({_many(own, 'weight')})" + (_CUT if is_cut else "")
    text = " of ".join(heads)
    if own and any(_is_layer(name, _WITH_WEIGHTS) for name in [*heads, *rest]):
        layers = [name for name in rest if _is_layer(name, _LAYERS)]
        rest = [name for name in rest if name not in layers]
        inside = [_listed(layers)] if layers else []
        text += f" of a network ({'; '.join([*inside, _many(own, 'weight')])})"
        text += f" after {_listed(rest)}" if rest else ""
        own = 0
    elif rest:
        text += f" of {_listed(rest)}"
    if data:
        link = "on" if " of " in text and not text.endswith(f" of {_PART}") else "of"
        text += f" {link} {_listed(data)}"
    if own:
        link = "with" if data or " of " in text else "of"
        text += f" {link} {_many(own, 'tensor')} of the scientist"
    return text + (_CUT if is_cut else "")


def _heads(node: Made) -> tuple[list[str], Made | None]:
    """What was done last and, as long as that is a reduction or an index, what it was done to.

    Returns:
        The words, and the operation that the last of them is.
    """
    heads: list[str] = []
    moved = "copy"
    found: Made | None = node
    while found is not None and not found.is_boundary and len(heads) < _HEADS:
        name = _name(found)
        if name in _LISTS and (len(found.inputs) > 1 or name == "state_dict"):
            return [*heads, "list"], found
        if name == "getitem":
            moved = _PART
        if name not in _PLUMBING and name != "".join(heads[-1:]):
            heads += _head(found, name)
            if name not in _REDUCTIONS and name != _PART:
                break
        found = _first(found.args, found)
    return heads or [moved], found


def _elements(made_of: Made | None) -> list[str]:
    """What each element of a list is, in a word, but for the scientist's tensors themselves."""
    inputs = () if made_of is None else made_of.inputs.values()
    return [_heads(child)[0][0] for child in islice(inputs, RECIPE_STEPS) if not _is_own(child)]


def _head(step: Made, name: str) -> list[str]:
    """The words for one operation; a loss says how it was reduced."""
    if name.endswith("loss") or name.startswith(_LOSSES):
        how = step.kwargs.get("reduction", "mean")
        return [name] if how == "none" else [str(how), name]
    return [name]


def _first(values: Any, step: Made) -> Made | None:
    """The first of a step's arguments that is an object; its node, if it is still known."""
    for value in values:
        if isinstance(value, wire.Ref):
            return step.inputs.get(value.id)
        if isinstance(value, list | tuple) and (found := _first(value, step)) is not None:
            return found
    return None


def _name(step: Made) -> str:
    if step.op == "torch.Tensor.__getitem__":
        return _PART
    short = step.op.rpartition(".")[2].rstrip("_=")
    plain = short.strip("_") or short
    return _OPERATORS.get(plain, plain) if short.startswith("__") else plain


def _is_own(step: Made) -> bool:
    return step.op == "parameter" or step.op.startswith("own")


def _is_layer(name: str, words: tuple[str, ...]) -> bool:
    return any(word in name for word in words) and not name.startswith(_NUMBERS)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count > 1)}"


def _distinct(texts: object) -> list[str]:
    return list(dict.fromkeys(texts))  # type: ignore[call-overload]


def _listed(texts: list[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
