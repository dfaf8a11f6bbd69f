"""What stands in front of every callable of the surface.

Closed values cannot carry code, so a guard has little to refuse: an output to write to, a
generator, sparse or unchecked variants (the sparse gradient of an embedding is looked after in
sparse.py), a fused kernel, texts where torch's schema has none, the meta device, and what the
checks of the name find.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from duet_p2p.surface.bounds import BOUNDS
from duet_p2p.surface.checks import CHECKS
from duet_p2p.surface.counts import COUNTS
from duet_p2p.surface.sizes import admit_items
from duet_p2p.surface.table import Rule

__all__ = ["apart", "guarded"]

REFUSED: Final = frozenset(
    {
        "batch_sampler", "check_invariants", "collate_fn", "fused", "generator",
        "multiprocessing_context", "out", "sampler", "scale_fn", "sparse", "sparse_grad",
        "target_transform", "unsafe", "worker_init_fn",
    }
)  # fmt: skip
"""Keywords that may only be None or False."""

_SPARSE: Final = frozenset({"torch.nn.functional.embedding", "torch.nn.functional.embedding_bag"})
"""Their ``sparse=`` concerns the gradient only; their checks look at it."""

_CHECKS: Final = {**CHECKS, **BOUNDS, **COUNTS}


def _refuse_keywords(name: str, kwargs: Mapping[str, Any]) -> None:
    for key, value in kwargs.items():
        if key in REFUSED and value is not None and value is not False:
            if key == "sparse" and name in _SPARSE and value is True:
                continue
            raise ValueError(f"{name} is not offered with {key}=")
        if key == "layout" and value is not None and value != torch.strided:
            raise ValueError("only strided tensors are offered")


def _refuse_text(name: str, value: Any, is_text_allowed: bool) -> None:
    if type(value) is str:
        if not is_text_allowed:
            raise TypeError(f"{name} takes no text")
        if value.startswith("meta"):
            raise ValueError("the meta device is not offered")
    elif type(value) is torch.device and value.type == "meta":
        raise ValueError("the meta device is not offered")


def guarded(rule: Rule, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with its rule's checks in front."""
    is_text_allowed = "str" in rule.checks or rule.name.startswith(("python.", "torchvision."))
    most: int | None = None
    checks = []
    for word in rule.checks:
        if word.startswith("args:"):
            most = int(word.removeprefix("args:"))
        elif word.startswith("without:"):
            if word.removeprefix("without:") not in REFUSED:
                raise ValueError(f"{rule.name}: {word}")
        elif word != "str":
            checks.append(_CHECKS[word])
    name = rule.name
    is_operator = name.startswith("torch.Tensor.__")
    is_torch = not name.startswith("python.")

    def run(*args: Any, **kwargs: Any) -> Any:
        if most is not None and len(args) > most:
            raise TypeError(f"{name} takes at most {most} positional arguments here")
        if kwargs:
            _refuse_keywords(name, kwargs)
            for key, value in kwargs.items():
                _refuse_text(name, value, is_text_allowed or key == "device")
        for value in args:
            if type(value) is str or type(value) is torch.device:
                _refuse_text(name, value, is_text_allowed)
            elif type(value) is range and is_torch:
                admit_items(len(value))  # torch goes through all of it
        for check in checks:
            check(args, kwargs)
        result = function(*args, **kwargs)
        if is_operator and result is NotImplemented:
            raise TypeError(f"{name} does not take these types")
        return result

    vars(run)["apart"] = (function, tuple(checks), is_operator)
    return run


def apart(run: Callable[..., Any], *, is_checked: bool = False) -> Callable[..., Any]:
    """A guarded function without what only plain arguments decide: they passed once.

    The checks of the name look at values, so they stay.

    Args:
        run: what `guarded` gave.
        is_checked: whoever calls it refuses what is no tensor, as `NotImplemented` is none.
    """
    function, checks, is_operator = vars(run).get("apart", (run, (), False))
    if is_operator and not is_checked:
        return run
    if not checks:
        found: Callable[..., Any] = function
        return found

    def checked(*args: Any, **kwargs: Any) -> Any:
        for check in checks:
            check(args, kwargs)
        return function(*args, **kwargs)

    return checked
