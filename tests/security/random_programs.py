"""Random programs over the whole surface, step by step, for two engines that must look the same.

A step is drawn from one number, so a program is a list of numbers and shrinks by leaving some out.
Names come from the surface table, by class; arguments come from torch's own schemas and from what
the program has made so far, private and public, in place of tensors, numbers, indices, sizes, keys
and settings alike. Most steps make sense to torch, some do not: failures are part of the subject.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any, Final

import torch

from duet_p2p.engine.store import Poison
from duet_p2p.surface.callables import original
from duet_p2p.surface.table import TABLE, Rule
from duet_p2p.wire.messages import DefinePlan, Op, PlanStep, RunPlan
from duet_p2p.wire.values import Ref

__all__ = ["Program", "data_sets"]

Look = Callable[[int], Any]
"""What an id stands for, to draw arguments that fit."""


def data_sets(draw: Random) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Two sets of an owner's tensors that differ in values only; the second one breaks things."""
    made = torch.Generator().manual_seed(draw.randrange(1 << 30))
    first = {
        "x": torch.rand(6, 4, generator=made),
        "v": torch.rand(6, generator=made),
        "i": torch.randint(0, 3, (6,), generator=made),
        "b": torch.rand(6, generator=made) > 0.5,
    }
    wild = draw.choice([1.0, -1.0, 0.0, 50.0, float("nan"), float("inf")])
    second = {
        "x": torch.rand(6, 4, generator=made) * wild,
        "v": torch.rand(6, generator=made) * wild - 0.2,
        "i": torch.randint(-9, 9, (6,), generator=made),
        "b": torch.rand(6, generator=made) > 0.7,
    }
    return first, second


def _by_class() -> dict[tuple[str, str, str], list[str]]:
    found: dict[tuple[str, str, str], list[str]] = {}
    for rule in TABLE.values():
        if rule.name.startswith("torchvision."):
            continue
        area = rule.name.split(".")[0] + ("." + rule.name.split(".")[1] if "python" in rule.name
                                          else "")  # fmt: skip
        found.setdefault((area, rule.form, rule.record), []).append(rule.name)
    return found


_CLASSES: Final = sorted(_by_class().items())

_STR: Final = ("mean", "sum", "none", "constant", "reflect", "ij", "linear", "a", "")
_DTYPES: Final = (torch.float32, torch.float64, torch.int64, torch.bool, None)


class Program:
    """One program while it is drawn.

    Args:
        shared: ids of the owner's objects.
        look: what an id stands for in one of the two engines.

    Attributes:
        sent: the commands of each step.
    """

    def __init__(self, shared: list[int], look: Look) -> None:
        self._shared = shared
        self._look = look
        self._ids = itertools.count(1)
        self._mine: list[int] = []
        self._names: list[str] = []
        self.sent: list[list[Any]] = []

    @property
    def names(self) -> list[str]:
        """The names that were drawn."""
        return self._names

    @property
    def own(self) -> list[int]:
        """Every id that a step was to make."""
        return self._mine

    def step(self, number: int) -> list[Any]:
        """The commands of the step that this number stands for."""
        draw = Random(number)
        is_single = draw.random() < 0.45
        made = [self._table_op(draw)] if is_single else draw.choice(_TEMPLATES)(self, draw)
        self.sent.append(made)
        return made

    # building

    def op(self, name: str, *args: Any, outs: int = 1, **kwargs: Any) -> Op:
        ids = tuple(next(self._ids) for _ in range(outs))
        self._mine += ids
        self._names.append(name)
        return Op(name, ids, args, kwargs, "g")

    def last(self) -> Ref:
        return Ref(self._mine[-1])

    def _find(self, draw: Random, fits: Callable[[Any], bool]) -> Ref | None:
        ids = [*self._shared, *self._mine]
        for _ in range(12):
            # what came last is the most interesting
            id = draw.choice(ids[-6:]) if draw.random() < 0.5 else draw.choice(ids)
            value = self._look(id)
            if value is not None and fits(value):
                return Ref(id)
        return None

    def tensor(self, draw: Random, dtype: str = "") -> Any:
        def fits(value: Any) -> bool:
            if not isinstance(value, torch.Tensor) or value.numel() > 4096:
                return False
            if dtype == "float":
                return value.is_floating_point()
            return value.dtype is torch.int64 if dtype == "int" else True

        return self._find(draw, fits) or Ref(self._shared[0])

    def number(self, draw: Random, kind: type = int) -> Any:
        """A number: plain, one of the program's, or a tensor of one element."""
        chance = draw.random()
        if chance < 0.5:
            return draw.choice((0, 1, 2, -1, 3)) if kind is int else draw.choice((0.5, 2.0, -1.0))
        fits: Callable[[Any], bool]
        if chance < 0.8:
            fits = lambda v: isinstance(v, int | float) and not isinstance(v, bool)
        else:
            fits = lambda v: isinstance(v, torch.Tensor) and v.numel() == 1
        return self._find(draw, fits) or 1

    def container(self, draw: Random, *kinds: type) -> Any:
        return self._find(draw, lambda v: isinstance(v, kinds)) or [1, 2]

    def anything(self, draw: Random) -> Any:
        return self._find(draw, lambda v: not isinstance(v, Poison)) or 1

    # names of the table

    def _table_op(self, draw: Random) -> Op:
        _, names = draw.choice(_CLASSES)
        rule = TABLE[draw.choice(names)]
        args, kwargs = self._arguments(rule, draw)
        outs = 1
        if rule.result.startswith("tensors:"):
            outs = rule.result.count(",") + 1
        elif rule.result == "tensors":
            outs = draw.choice((1, 2, 3))
        elif rule.result == "none":
            outs = 0
        made = self.op(rule.name, *args, outs=outs)
        return replace(made, kwargs=kwargs, mode=draw.choice("gggn"))

    def _arguments(self, rule: Rule, draw: Random) -> tuple[list[Any], dict[str, Any]]:
        if rule.name.startswith("python."):
            return self._python_arguments(rule, draw), {}
        schemas = _schemas(rule.short.rstrip("=").strip("_"), rule.form == "inplace")
        if schemas and "." in rule.name and not rule.name.startswith(("torch.optim", "torch.dist")):
            return self._by_schema(draw.choice(schemas), draw)
        return self._by_signature(rule, draw)

    def _by_schema(self, schema: Any, draw: Random) -> tuple[list[Any], dict[str, Any]]:
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for argument in schema.arguments:
            if argument.is_out or argument.name in ("generator", "layout", "pin_memory", "device"):
                continue
            if argument.has_default_value() and draw.random() < 0.6:
                if not argument.kwarg_only and args is not None:
                    break
                continue
            value = self._typed(str(argument.type), draw)
            if argument.kwarg_only:
                kwargs[argument.name] = value
            else:
                args.append(value)
        return args, kwargs

    def _typed(self, kind: str, draw: Random) -> Any:
        if kind.startswith("Optional["):
            return None if draw.random() < 0.3 else self._typed(kind[9:-1], draw)
        if kind.startswith("List["):
            return [self._typed(kind[5:-1], draw) for _ in range(draw.randint(1, 2))]
        match kind:
            case "Tensor":
                return self.tensor(draw)
            case "int" | "SymInt":
                return self.number(draw)
            case "float" | "number" | "Scalar" | "complex":
                return self.number(draw, float)
            case "bool":
                return draw.random() < 0.5
            case "str":
                return draw.choice(_STR)
            case _:
                return draw.choice(_DTYPES) if "dtype" in kind.lower() else self.number(draw)

    def _by_signature(self, rule: Rule, draw: Random) -> tuple[list[Any], dict[str, Any]]:
        parameters = _parameters(rule.name)
        if parameters is None:
            return [self.anything(draw) for _ in range(draw.randint(0, 3))], {}
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for name, has_default in parameters:
            if has_default and draw.random() < 0.8:
                continue
            if has_default:
                kwargs[name] = draw.choice((self.number, self.tensor, self.anything))(draw)
                continue
            args.append(
                self.number(draw) if name in ("p", "dim", "size", "lr", "n") else self.tensor(draw)
            )
        return args, kwargs

    def _python_arguments(self, rule: Rule, draw: Random) -> list[Any]:
        owner = rule.name.split(".")[1]
        kinds = {"List": list, "Tuple": tuple, "Dict": dict, "OrderedDict": dict, "Set": set,
                 "String": str, "Int": int, "Float": float, "Bool": bool, "Range": range,
                 "Slice": slice}  # fmt: skip
        args: list[Any] = []
        if rule.name.count(".") == 2 and owner in kinds:
            args.append(self.container(draw, kinds[owner]))
        few = draw.choice((0, 1, 1, 2))
        for _ in range(few):
            args.append(
                draw.choice(
                    (self.number, self.anything, self.number, self.tensor, self._slice, self._pair)
                )(draw)
            )
        return args

    def _slice(self, draw: Random) -> Any:
        return slice(0, self.number(draw))

    def _pair(self, draw: Random) -> Any:
        return (self.number(draw), 1)


@cache
def _schemas(short: str, is_inplace: bool) -> list[Any]:
    found = []
    for prefix in ("", "linalg_", "special_", "fft_"):
        name = f"aten::{prefix}{short}{'_' if is_inplace else ''}"
        found += torch._C._jit_get_schemas_for_operator(name)
    return [s for s in found if not any(a.is_out for a in s.arguments)
            and not any(a.type.kind() in ("DimnameType",) for a in s.arguments)]  # fmt: skip


@cache
def _parameters(name: str) -> list[tuple[str, bool]] | None:
    target = original(name)
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError):
        return None
    return [
        (p.name, p.default is not p.empty) for p in signature.parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]  # fmt: skip


# what a single name would hardly hit: objects with a state, and ways to use them


def _numbers(p: Program, d: Random) -> list[Any]:
    kind = d.choice(("python.Int", "python.Float", "python.Bool", "torch.Tensor.item"))
    pick = p.op("torch.Tensor.__getitem__", p.tensor(d), 0)
    sum_ = p.op("torch.Tensor.sum", p.last())
    return [pick, sum_, p.op(kind, p.last())]


def _mask(p: Program, d: Random) -> list[Any]:
    mask = p.op("torch.Tensor.__gt__", p.tensor(d), p.number(d, float))
    chosen = p.op("torch.Tensor.__getitem__", p.tensor(d), p.last())
    of = p.last()
    facts = d.choice(("torch.Tensor.size", "torch.Tensor.numel", "python.len", "python.List"))
    return [mask, chosen, p.op(facts, of), p.op("torch.Tensor.sum", of)]


def _look_up(p: Program, d: Random) -> list[Any]:
    table = p.op("torch.rand", [4, 2], requires_grad=d.random() < 0.5)
    index = p.op("torch.Tensor.long", p.tensor(d))
    rows = p.op("torch.nn.functional.embedding", p.last(), Ref(table.outs[0]))
    loss = p.op("torch.Tensor.sum", p.last())
    after = p.op(d.choice(("torch.Tensor.numel", "torch.Tensor.backward", "torch.reshape")),
                 p.last(), *([[7]] if d.random() < 0.3 else []))  # fmt: skip
    return [table, index, rows, loss, after]


def _collect(p: Program, d: Random) -> list[Any]:
    made = p.op("python.collect", *[p.anything(d) for _ in range(d.randint(1, 4))])
    listed = p.last()
    index = d.choice((p.number(d), slice(0, p.number(d)), 0))
    element = p.op("python.List.__getitem__", listed, index)
    return [made, element, p.op("python.len", listed)]


def _list(p: Program, d: Random) -> list[Any]:
    target = p.container(d, list)
    name = d.choice(
        (
            "append",
            "insert",
            "extend",
            "pop",
            "__setitem__",
            "sort",
            "__imul__",
            "remove",
            "__delitem__",
            "reverse",
            "__contains__",
            "index",
            "count",
        )
    )
    few = {"append": 1, "insert": 2, "extend": 1, "pop": 1, "__setitem__": 2, "remove": 1,
           "__imul__": 1, "__delitem__": 1, "__contains__": 1, "index": 1, "count": 1}  # fmt: skip
    args = [p.number(d) if d.random() < 0.6 else p.anything(d) for _ in range(few.get(name, 0))]
    return [p.op(f"python.List.{name}", target, *args), p.op("python.len", target)]


def _dict(p: Program, d: Random) -> list[Any]:
    if d.random() < 0.4:
        pairs = [(p.number(d), p.anything(d)) for _ in range(2)]
        return [p.op("python.Dict", pairs), p.op("python.len", p.last())]
    target = p.container(d, dict)
    name = d.choice(("__setitem__", "dict_get", "pop", "setdefault", "update", "__contains__"))
    key = d.choice((p.number(d), (p.number(d), 1), "a"))
    args = [key] if name in ("pop", "__contains__") else [key, p.anything(d)]
    if name == "update":
        args = [[(key, 1), (1, 2)]]
    return [p.op(f"python.Dict.{name}", target, *args), p.op("python.len", target)]


def _set(p: Program, d: Random) -> list[Any]:
    made = p.op("python.Set", [p.number(d), p.number(d), 1])
    return [made, p.op("python.len", p.last())]


def _text(p: Program, d: Random) -> list[Any]:
    text = p.op("python.String", p.number(d))
    more = p.op("python.String.__add__", p.last(), " takes no text")
    what = d.choice(("python.len", "python.Int", "python.List", "python.String.split",
                     "python.String.upper", "python.Float"))  # fmt: skip
    return [text, more, p.op(what, p.last())]


def _loader(p: Program, d: Random) -> list[Any]:
    data = p.op("torch.utils.data.TensorDataset", p.tensor(d))
    dataset = p.last()
    size = d.choice((2, 3, p.number(d)))
    loader = p.op("torch.utils.data.DataLoader", dataset, batch_size=size,
                  shuffle=d.random() < 0.5)  # fmt: skip
    made = p.last()
    steps = [data, loader, p.op("python.len", made), p.op("python.iter", made)]
    iterator = p.last()
    for _ in range(d.randint(1, 4)):
        steps.append(p.op("python.next", iterator))
    steps.append(p.op("python.List.__getitem__", p.last(), 0))
    return steps


def _train(p: Program, d: Random) -> list[Any]:
    weight = p.op("torch.ones", [4], requires_grad=True)
    w = p.last()
    listed = p.op("python.collect", w)
    name = d.choice(("SGD", "Adam", "RMSprop", "Adagrad"))
    optimizer = p.op(f"torch.optim.{name}", p.last(), lr=d.choice((0.1, p.number(d, float))))
    o = p.last()
    out = p.op("torch.Tensor.__mul__", p.tensor(d), w)
    loss = p.op(d.choice(("torch.sum", "torch.mean")), p.last())
    back = p.op("torch.Tensor.backward", p.last(), outs=0)
    step = p.op("torch.optim.Optimizer.step", o, outs=0)
    tail = [p.op("torch.Tensor.grad", w), p.op("torch.optim.Optimizer.state_dict", o),
            p.op("torch.optim.Optimizer.param_groups", o)]  # fmt: skip
    place = "torch.optim.lr_scheduler."
    scheduler = p.op(place + d.choice(("StepLR", "LambdaLR", "ExponentialLR")), o, p.number(d))
    return [weight, listed, optimizer, out, loss, back, step, *tail, scheduler]


def _gradient(p: Program, d: Random) -> list[Any]:
    target = p.tensor(d, "float")
    if d.random() < 0.5:
        return [p.op("torch.Tensor.grad=", target, p.tensor(d, "float"), outs=0),
                p.op("torch.Tensor.grad", target)]  # fmt: skip
    leaf = p.op("torch.Tensor.clone", target)
    flag = p.op("torch.Tensor.requires_grad_", p.last(), d.choice((True, p.number(d))))
    return [leaf, flag, p.op("torch.Tensor.requires_grad", p.last())]


def _write(p: Program, d: Random) -> list[Any]:
    own = p.op("torch.zeros", [6])
    target = p.last()
    view = p.op("torch.Tensor.__getitem__", target, slice(0, d.choice((3, p.number(d)))))
    seen = p.last()
    into = d.choice((target, seen, p.tensor(d)))
    how = d.choice((
        lambda: p.op("torch.Tensor.__setitem__", into, p.number(d), p.number(d, float), outs=0),
        lambda: p.op("torch.Tensor.copy_", into, p.tensor(d)),
        lambda: p.op("torch.Tensor.add_", into, p.tensor(d)),
        lambda: p.op("torch.Tensor.index_fill_", into, 0, p.tensor(d, "int"), 1.0),
        lambda: p.op("torch.Tensor.masked_fill_", into, p.tensor(d), p.number(d, float)),
        lambda: p.op("torch.Tensor.zero_", into),
        lambda: p.op("torch.Tensor.data=", into, p.tensor(d), outs=0),
        lambda: p.op("torch.add", into, 1.0, out=target),
    ))()  # fmt: skip
    return [own, view, how, p.op("torch.Tensor.numel", target)]


def _random(p: Program, d: Random) -> list[Any]:
    name = d.choice(("torch.bernoulli", "torch.nn.functional.dropout", "torch.rand_like",
                     "torch.multinomial", "torch.poisson", "torch.manual_seed"))  # fmt: skip
    args: list[Any] = [p.tensor(d)]
    if name == "torch.multinomial":
        args.append(2)
    if name == "torch.manual_seed":
        args = [p.number(d)]
    return [p.op(name, *args, outs=int(name != "torch.manual_seed")), p.op("torch.rand", 1)]


def _distribution(p: Program, d: Random) -> list[Any]:
    place = "torch.distributions."
    name, few = d.choice((("Normal", 2), ("Bernoulli", 1), ("Categorical", 1), ("Poisson", 1),
                          ("Exponential", 1), ("Gamma", 2)))  # fmt: skip
    made = p.op(place + name, *[d.choice((p.tensor, p.number))(d) for _ in range(few)])
    of = p.last()
    drawn = p.op(place + "Distribution.sample", of)
    facts = d.choice(("torch.Tensor.size", "torch.Tensor.numel", "torch.Tensor.dtype"))
    return [made, drawn, p.op(facts, p.last()), p.op("torch.rand", 1)]


def _plan(p: Program, d: Random) -> list[Any]:
    number = next(p._ids)
    name = d.choice(("torch.Tensor.__mul__", "torch.Tensor.index_select", "torch.Tensor.sum"))
    args: tuple[Any, ...] = (Ref(1), Ref(2))
    if name.endswith("index_select"):
        args = (Ref(1), 0, Ref(2))
    elif name.endswith("sum"):
        args = (Ref(1),)
    steps = (PlanStep(name, (3,), args, {}, "g"),
             PlanStep("torch.Tensor.numel", (4,), (Ref(3),), {}, "g"),
             PlanStep("torch.rand", (5,), (1,), {}, "g"))  # fmt: skip
    outs = tuple(next(p._ids) for _ in range(3))
    given = (p.tensor(d).id, p.tensor(d, "int").id)
    p._mine += outs
    return [DefinePlan(number, "p", 2, (), steps, (3, 4, 5), True),
            RunPlan(number, given, outs, d.choice((0, 2)))]  # fmt: skip


def _factory(p: Program, d: Random) -> list[Any]:
    how = d.choice((
        lambda: p.op("torch.full_like", p.tensor(d), p.number(d, float)),
        lambda: p.op("torch.full", [2], p.number(d, float)),
        lambda: p.op("torch.linspace", 0, p.number(d, float), 3),
        lambda: p.op("torch.zeros", p.number(d)),
        lambda: p.op("torch.Tensor.new_full", p.tensor(d), [2], p.number(d, float)),
        lambda: p.op("torch.Tensor.repeat", p.tensor(d), p.number(d)),
        lambda: p.op("torch.Tensor.size", p.tensor(d), p.number(d)),
        lambda: p.op("torch.Tensor.split", p.tensor(d), p.number(d), outs=2),
        lambda: p.op("torch.Tensor.narrow", p.tensor(d), 0, p.number(d), 1),
    ))  # fmt: skip
    made = how()
    return [made, p.op("torch.Tensor.numel", p.last())]


_TEMPLATES: Final[tuple[Callable[[Program, Random], list[Any]], ...]] = (
    _numbers, _numbers, _mask, _look_up, _look_up, _collect, _list, _list, _dict, _set, _text,
    _loader, _train, _gradient, _write, _write, _random, _distribution, _plan, _factory, _factory,
)  # fmt: skip
