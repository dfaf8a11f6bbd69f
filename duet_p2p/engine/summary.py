"""A recipe in one line, for somebody who has to decide in seconds.

``mean of nll_loss of a network (conv2d, linear; 8 weights) on batch of 64 of store['train']``
"""

from __future__ import annotations

from typing import Final

from duet_p2p.engine.recipe import Made, collected

__all__ = ["summary_of"]

_PLUMBING: Final = frozenset({
    "getitem", "item", "to", "float", "double", "half", "long", "int", "view", "reshape", "flatten",
    "detach", "clone", "contiguous", "squeeze", "unsqueeze", "type", "requires_grad", "data",
    "collect", "state_dict", "changed", "List", "Tuple", "Dict", "OrderedDict", "alias", "cpu",
})  # fmt: skip
_REDUCTIONS: Final = frozenset({"mean", "sum", "std", "var", "norm", "count_nonzero", "nanmean"})
_LAYERS: Final = (
    "linear", "conv", "embedding", "lstm", "gru", "rnn", "norm", "pool", "dropout", "relu", "gelu",
    "tanh", "sigmoid", "softmax", "attention",
)  # fmt: skip
_SHOWN: Final = 6


def summary_of(node: Made | None) -> str:
    """One line; empty if nothing is known."""
    if node is None:
        return ""
    steps, is_cut = collected(node)
    data = _distinct(step.op for step in steps if step.is_boundary and not _is_weight(step))
    weights = sum(step.is_boundary and _is_weight(step) for step in steps)
    names = _distinct(_name(step) for step in steps if not step.is_boundary)
    names = [name for name in names if name not in _PLUMBING]
    if node.is_boundary or not names:
        return node.op if node.is_boundary else f"copy of {_listed(data) or 'weights'}"
    head, rest = _head(steps, names)
    layers = [name for name in rest if any(word in name for word in _LAYERS)]
    others = [name for name in rest if name not in layers]
    if weights:
        many = f"{weights} weight{'s' * (weights > 1)}"
        inside = f"{_listed(layers)}; {many}" if layers else many
        text = f"{head} of a network ({inside})"
    else:
        others = layers + others
        text = head
    if others:
        text += f" {'after' if weights else 'of'} {_listed(others)}"
    if data:
        text += f" on {_listed(data)}"
    return text + (", and earlier operations that are not shown" if is_cut else "")


def _head(steps: list[Made], names: list[str]) -> tuple[str, list[str]]:
    """What was done last, and the names of what came before."""
    last = names[-1]
    rest = [name for name in names if name != last]
    if last.endswith("loss") or last in ("cross_entropy", "kl_div"):
        step = next(step for step in reversed(steps) if _name(step) == last)
        how = step.kwargs.get("reduction", "mean")
        return (last if how == "none" else f"{how} of {last}"), rest
    if last in _REDUCTIONS and rest:
        return f"{last} of {rest[-1]}", rest[:-1]
    return last, rest


def _name(step: Made) -> str:
    short = step.op.rpartition(".")[2].rstrip("_=")
    return short.strip("_") or short


def _is_weight(step: Made) -> bool:
    return step.op == "parameter" or step.op.startswith("own")


def _distinct(texts: object) -> list[str]:
    return list(dict.fromkeys(texts))  # type: ignore[call-overload]


def _listed(texts: list[str]) -> str:
    more = len(texts) - _SHOWN
    return ", ".join(texts[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
