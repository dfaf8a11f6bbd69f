"""Random programs over names that random_programs.py hardly ever calls with arguments that fit.

Methods of containers, texts, ranges, iterators, optimizers, schedulers, loaders and data sets. Each
program begins with objects of every kind, private and public, some of which a private number chose;
then a few calls on them follow, and looks at everything.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from random import Random
from typing import Any, Final

import torch
from torch.distributions import Distribution
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset

from duet_p2p.surface.callables import original
from duet_p2p.surface.python import RemoteIterator
from duet_p2p.surface.table import TABLE
from duet_p2p.surface.values import to_wire
from duet_p2p.wire.messages import Op, Put
from duet_p2p.wire.values import Ref
from tests.security.test_soundness import Seen

__all__ = ["RareProgram"]

T: Final = "torch.Tensor."
X, V, I, B = map(Ref, (-1, -2, -3, -4))  # noqa: E741
_KINDS: Final = {
    "List": list, "Tuple": tuple, "Dict": dict, "OrderedDict": OrderedDict, "Set": set,
    "String": str, "Int": int, "Float": float, "Bool": bool, "Range": range, "Slice": slice,
    "Complex": complex, "Iterator": RemoteIterator, "Optimizer": Optimizer, "Size": torch.Size,
    "LRScheduler": LRScheduler, "Distribution": Distribution, "DataLoader": DataLoader,
    "Dataset": Dataset, "Any": object,
}  # fmt: skip
"""By the second last part of a name: what its methods are called on."""
_NAMES: Final = [
    name for name in TABLE
    if name.startswith(("python.", "torch.optim.", "torch.utils.data.", "torch.Size."))
    or name in ("torch.nn.utils.clip_grad_norm_", "torch.nn.utils.clip_grad_value_")
]  # fmt: skip
_BOXES: Final = [name for name in _NAMES if name.startswith("python.") and name.split(".")[1] in (
    "List", "Dict", "OrderedDict", "Set", "Tuple", "Iterator", "Range", "collect", "state_dict",
)]  # fmt: skip
_WITHOUT_NAMES: Final = """
clear copy keys values items reverse sort step zero_grad popitem defaults param_groups state_dict
__len__ __iter__ __next__ __reversed__ __neg__ __abs__ get_last_lr last_epoch batch_size dataset
"""
_WITHOUT: Final = frozenset(_WITHOUT_NAMES.split())
"""They take nothing beside their object."""
_FACTS: Final = (T + "stride", T + "size", T + "dtype", T + "requires_grad", T + "is_leaf",
                 T + "grad", "python.len", "python.List", "python.Dict.keys")  # fmt: skip


class RareProgram:
    """One program, drawn while the first engine runs it.

    Attributes:
        sent: its commands.
        ids: of everything that they were to make.
    """

    def __init__(self, side: Seen, draw: Random) -> None:
        self._side, self._draw = side, draw
        self.sent: list[Op | Put] = []
        self.ids: list[int] = []
        self._pool: list[Ref] = [X, V, I, B]
        self._begin()
        for _ in range(draw.randint(1, 6)):
            self._call(draw.choice(draw.choice((_NAMES, _BOXES))))
        for ref in [*self._pool, *map(Ref, self.ids[-40:])]:
            for fact in draw.sample(_FACTS, 2):
                self._op(fact, ref)
        self._op("torch.rand", 1)

    def _run(self, command: Op | Put, count: int) -> list[Ref]:
        self.ids += range(len(self.ids) + 1, len(self.ids) + 1 + count)
        self.sent.append(command)
        self._side.do(command)
        return [Ref(id) for id in self.ids[len(self.ids) - count :]]

    def _op(self, name: str, *args: Any, outs: int = 1, **kwargs: Any) -> Ref:
        def wired(value: Any) -> Any:
            return to_wire(value, None, 1 << 30, refer=lambda v: v if isinstance(v, Ref) else None)

        ids = tuple(range(len(self.ids) + 1, len(self.ids) + 1 + outs))
        made = self._run(Op(name, ids, wired(args), wired(kwargs), "g"), outs)
        return made[0] if made else X

    def _put(self, value: Any) -> Ref:
        wire = to_wire(value, None, 1 << 30)
        return self._run(Put((len(self.ids) + 1,), (wire,), None), 1)[0]

    def _begin(self) -> None:
        """Objects of every kind."""
        op, put, draw = self._op, self._put, self._draw
        n = op("python.Int", op(T + "__getitem__", I, 0))
        f = op("python.Float", op(T + "__getitem__", V, 0))
        b = op("python.Bool", op(T + "__getitem__", B, 0))
        w, own, few = put(torch.ones(2, requires_grad=True)), put(torch.zeros(3)), (V, B)
        mixed, span = op("python.collect", n, own, 1), op("python.Range", n)
        optimizer = op("torch.optim." + draw.choice(["SGD", "Adam", "RMSprop"]), [w], lr=0.1)
        groups = op("torch.optim.Optimizer.param_groups", optimizer)
        dataset = op("torch.utils.data.TensorDataset", draw.choice([X, own]))
        loader = op("torch.utils.data.DataLoader", dataset, batch_size=2, shuffle=True)
        self._pool += [
            n, f, b, w, own, mixed, span, optimizer, groups, dataset, loader, put([1, 2, 3]),
            op("python.String", n), op(T + "__getitem__", *few), op("python.List", span),
            op("python.Slice", 0, n), op("python.Dict", [(n, own), (1, 2)]), put({"a": 1, "b": 2}),
            op("python.Set", [n, 1]), put({1, 2}), put((1, 2)), put("abc"), put(2), put(1.5),
            op("python.OrderedDict", [("a", 1), ("b", own)]), op("python.iter", mixed),
            op("python.collect", w, own), op("python.Tuple", mixed), op("python.iter", loader),
            op("torch.optim.lr_scheduler.StepLR", optimizer, 2), op(T + "size", own),
            op("python.List.__getitem__", groups, 0), op("python.nope"),
        ]  # fmt: skip
        for _ in range(draw.randint(1, 4)):
            two = op("python.collect", *draw.sample(self._pool, 2))
            self._pool.append(op("python.List.__getitem__", two, draw.choice([n, b])))

    def _find(self, kind: type) -> Ref:
        """One object of a kind, or any."""
        fits = [ref for ref in self._pool if isinstance(self._side.look(ref.id), kind)]
        return self._draw.choice(fits or self._pool)

    def _any(self) -> Any:
        draw, one = self._draw, self._draw.choice(self._pool)
        number = self._find(int)
        return draw.choice([
            number, number, one, one, slice(0, number), (number, 1), [one, number],
            [(number, one), (1, 2)], draw.choice([0, 1, "a", "b", "lr", "params", None]),
        ])  # fmt: skip

    def _call(self, name: str) -> None:
        draw, rule = self._draw, TABLE[name]
        *_, owner, short = name.split(".")
        args: list[Any] = [self._find(_KINDS[owner])] if owner in _KINDS else []
        kwargs: dict[str, Any] = {}
        if owner in ("optim", "lr_scheduler", "data", "utils"):
            args, kwargs = self._constructed(name, owner)
        elif short not in _WITHOUT or draw.random() < 0.3:
            is_two = short in ("__setitem__", "insert", "setdefault", "dict_get", "pop", "feed")
            args += [self._any() for _ in range(2 if is_two and draw.random() < 0.7 else 1)]
        try:
            self._pool.append(self._op(name, *args, outs=int(rule.result != "none"), **kwargs))
        except (TypeError, ValueError):  # no value of the wire
            return

    def _constructed(self, name: str, owner: str) -> tuple[list[Any], dict[str, Any]]:
        draw, number = self._draw, self._find(int)
        if owner == "utils":
            return [[self._find(torch.Tensor), self._find(torch.Tensor)], number], {}
        first: Any = self._find(Dataset if owner == "data" else Optimizer)
        if owner == "optim" or "Tensor" in name:
            first = draw.choice([[self._find(torch.Tensor)], self._find(list)])
        args, kwargs = [first], {}
        target = original(name)
        listed = inspect.signature(target).parameters.values() if callable(target) else ()
        for parameter in list(listed)[1:]:
            if parameter.default is parameter.empty and parameter.kind != parameter.VAR_KEYWORD:
                args.append(draw.choice([number, self._any()]))
            elif draw.random() < 0.2:
                kwargs[parameter.name] = draw.choice([number, self._find(float)])
        return args, kwargs
