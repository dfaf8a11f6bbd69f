"""Every name of torch with each of its arguments private in turn, on two data sets.

One command at a time. One of its arguments is what it was in one data set, and in the other another
value: one that is as good, or one that makes the command fail, give another type, another size,
itself, or a view. It is a number of Python's, a number as a tensor, one of several values that a
private number chooses, a tensor of other values or of a hidden size, or a list that is as long as
a private number. Behind the command comes whatever could tell the two apart: facts of its results,
their gradients, writes into results and into tensors of one's own, lengths, random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import torch

from duet_p2p.engine.store import Slot
from duet_p2p.wire.messages import Op
from duet_p2p.wire.values import Dtype, Ref
from tests.security.failing_kit import Side
from tests.security.neighbour_kit import DATA, OPT, T
from tests.security.test_labels_behind_failures import facts
from tests.security.test_soundness import Seen, shown
from tests.surface.hostile import Kept, _copied

__all__ = ["Sample", "differences", "of_kept"]

X: Final = Ref(-1)
D, SCHED, IMAGES = "torch.distributions.", "torch.optim.lr_scheduler.", "torchvision.transforms."
_OF: Final = D + "Distribution."
USES: Final[dict[str, tuple[tuple[str, tuple[Any, ...]], ...]]] = {
    D: (
        (_OF + "batch_shape", ()), (_OF + "event_shape", ()), (_OF + "sample", ()),
        (_OF + "rsample", ([2],)), (_OF + "mean", ()), (_OF + "log_prob", (torch.ones(3),)),
        (_OF + "entropy", ()),
    ),
    "torch.optim.": (
        (OPT + "step", ()), (OPT + "param_groups", ()), (OPT + "state_dict", ()),
        (OPT + "zero_grad", ()), (OPT + "defaults", ()),
    ),
    SCHED: (
        (SCHED + "LRScheduler.step", ()), (SCHED + "LRScheduler.get_last_lr", ()),
        (SCHED + "LRScheduler.last_epoch", ()), (SCHED + "LRScheduler.state_dict", ()),
    ),
    IMAGES: ((IMAGES + "Transform.__call__", (torch.ones(3, 12, 16),)),),
    DATA: (
        ("python.len", ()), (DATA + "Dataset.__getitem__", (0,)), (DATA + "Dataset.__len__", ()),
        (DATA + "DataLoader.batch_size", ()), (DATA + "DataLoader.dataset", ()),
    ),
}  # fmt: skip
"""What is done with an object, by the beginning of its constructor's name."""
FACTS: Final = (
    "dtype", "size", "stride", "numel", "requires_grad", "is_leaf", "element_size", "is_contiguous",
    "is_conj", "is_sparse", "storage_offset",
)  # fmt: skip
WORDS: Final = ("sum", "nope", "reflect", "nearest", "constant", "bilinear")
WHOLE: Final = (0, -7, 1, 5_000, 1 << 40)
TYPES: Final = ("float64", "int64", "complex64", "bool")
Path = tuple[Any, ...]
Make = Callable[[Any], Any]


@dataclass(frozen=True)
class Sample:
    """A command that works, and how what it is given is made in an engine."""

    name: str
    build: Callable[[Any, str], tuple[tuple[Any, ...], dict[str, Any]]]
    """Of an engine, and of how tensors of floats come: arguments and those by name."""
    outs: int = 1
    mode: str = "g"


@dataclass(frozen=True)
class Way:
    """How an argument comes to be private."""

    said: str
    data: tuple[Any, ...]
    """What the owner shares in the first data set, and in each other one."""
    make: Make


class Owner(Side):
    """An engine with a private value, and what shows of a command on it."""

    def __init__(self, value: Any) -> None:
        shared = value if isinstance(value, torch.Tensor) else torch.tensor(value)
        self.names: dict[int, str] = {}
        self.made: dict[int, str] = {}
        Seen.__init__(self, {"x": shared.detach().clone()})
        self.told: list[Any] = []
        executor = self.engine._executor
        assert executor is not None
        executor.admission.pacing.most = 1_000_000

    def send(self, command: Any) -> list[Any]:
        """See `Driver.send`."""
        if isinstance(command, Op):
            at = next((part.id for _, part in _places(command.args) if isinstance(part, Ref)), 0)
            self.names[self.seq + 1] = f"{command.name} of {at}"
            self.made |= {id: self.names[self.seq + 1] for id in command.outs}
        return super().send(command)

    def run_in(self, mode: str, name: str, outs: int, /, *args: Any, **kwargs: Any) -> list[Ref]:
        """Runs a command in a mode of gradients."""
        ids = tuple(self.new_id() for _ in range(outs))
        self.send(Op(name, ids, args, kwargs, mode))
        return [Ref(id) for id in ids]

    def said(self, event: Any) -> str:
        """Which command an event is of."""
        id = getattr(event, "id", 0)
        return self.made.get(id, "") if id else self.names.get(getattr(event, "seq", 0), "")

    def own(self, value: Any) -> Ref:
        """An object of the scientist's that is there already."""
        self.next_id += 1
        self.engine.store.put(self.next_id, Slot(value))
        return Ref(self.next_id)


def of_kept(command: Kept) -> Sample:
    """The command that a suite's sample was."""

    def build(p: Owner, grads: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        known: dict[int, Ref] = {}

        def put(leaf: Any) -> Any:
            if not isinstance(leaf, Ref):
                return leaf
            if leaf.id not in known:
                value = _copied(command.values.get(leaf.id))
                if isinstance(value, torch.Tensor):
                    value = value.detach().clone()  # it is written over below
                    is_float = value.is_floating_point() or value.is_complex()
                    if grads and is_float and value.layout is torch.strided:
                        value.requires_grad_()
                known[leaf.id] = p.own(value)
                if grads == "inner" and isinstance(value, torch.Tensor) and value.requires_grad:
                    known[leaf.id] = p.op("torch.clone", known[leaf.id])
            return known[leaf.id]

        return _mapped(command.op.args, put), _mapped(command.op.kwargs, put)

    return Sample(command.op.name, build, len(command.op.outs), command.op.mode)


# places in arguments


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    if type(value) in (list, tuple):
        return type(value)([_mapped(part, change) for part in value])
    if type(value) is dict:
        return {key: _mapped(part, change) for key, part in value.items()}
    if type(value) is slice:
        return slice(*(_mapped(part, change) for part in (value.start, value.stop, value.step)))
    return change(value)


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    if type(value) in (list, tuple):
        yield from enumerate(value)
    elif type(value) is dict:
        yield from value.items()
    elif type(value) is slice:
        yield from ((name, getattr(value, name)) for name in ("start", "stop", "step"))


def _places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    for key, part in _parts(value):
        yield (*path, key), part
        yield from _places(part, (*path, key))


def _with(value: Any, path: Path, new: Any) -> Any:
    """The value with another one in this place."""
    if not path:
        return new
    parts = {key: _with(part, path[1:], new) if key == path[0] else part
             for key, part in _parts(value)}  # fmt: skip
    if type(value) is dict:
        return parts
    return slice(*parts.values()) if type(value) is slice else type(value)(parts.values())


# ways to be private


def _ways(p: Owner, value: Any) -> Iterator[Way]:
    """In which ways an argument of this value can be private."""
    known = p.look(value.id) if isinstance(value, Ref) else value
    if isinstance(known, torch.Tensor):
        if known.layout is torch.strided and known.numel() <= 4096:
            yield from _of_tensor(known.detach())
        return
    number = {bool: "Bool", int: "Int", float: "Float"}.get(type(known))
    if number is not None:
        others = _numbers(known)
        yield Way(number, (known, *others), lambda p: p.op(f"python.{number}", X))
        small = [n for n in others if not isinstance(n, int) or abs(n) < 1 << 31]
        yield Way("tensor", (known, *small), lambda p: X)
    yield from _of_choice(known, value)


def _numbers(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [n for n in (value + 1, *WHOLE) if n != value and abs(value) < 1 << 62]
    return [n for n in (0.0, -1.5, 1.0, float("nan"), 1e30) if n != value]


def _of_tensor(value: torch.Tensor) -> Iterator[Way]:
    yield Way("values", (value, *_tensors(value)), lambda p: X)
    if value.ndim and 1 < value.shape[0] < 100:
        longer = torch.cat([value, value[:1]])
        some, every = torch.ones(len(longer)), torch.ones(len(longer))
        some[-1] = 0
        masks = [mask > 0 for mask in (some, every, torch.zeros(len(longer)))]
        yield Way("rows", tuple(masks), lambda p: p.op(T + "__getitem__", p.own(longer.clone()), X))
    own = value.clone()
    is_float = value.is_floating_point()
    others: list[Any] = [
        None, 1, value.to(torch.int64 if is_float else torch.float32), value.reshape(-1)[:1],
        torch.stack([value, value]),
    ]  # fmt: skip
    if is_float:
        others.append(value.clone().requires_grad_())
    yield from (_chosen(own, other) for other in others)


def _tensors(value: torch.Tensor) -> Iterator[torch.Tensor]:
    yield torch.zeros_like(value)
    if value.dtype is torch.bool:
        yield torch.ones_like(value)
        return
    yield torch.full_like(value, 3)
    if value.dtype.is_signed:
        yield torch.full_like(value, -2)
    one = value.clone()
    is_float = value.is_floating_point() or value.is_complex()
    if one.numel():
        one[(-1,) * one.ndim] = float("nan") if is_float else 77
        yield one
    if is_float:
        yield torch.full_like(value, float("nan"))


def _of_choice(value: Any, wire: Any) -> Iterator[Way]:
    """A private number chooses the value or another one."""
    others: list[Any] = []
    if type(value) is str:
        others = [*[word for word in WORDS if word != value][:4], None]
    elif isinstance(wire, Dtype):
        others = [*[Dtype(name) for name in TYPES if name != wire.name], None]
    elif value is None:
        others = [1, 0.5, True, "sum", Dtype("float64"), torch.ones(2), [1]]
    elif type(value) in (bool, int, float):
        others = [None, "a", value + 0.5, [value], torch.tensor(value), torch.ones(2)]
    elif type(value) in (list, tuple):
        others = [value[:-1], value + value[-1:], None, value[0] if value else 1]
        yield Way("length", (len(value), max(len(value) - 1, 0), len(value) + 1, 0),
                  lambda p: _as_long(p, wire))  # fmt: skip
    elif value is not None:
        others = [None, 1]
    yield from (_chosen(wire, other) for other in others)


def _as_long(p: Owner, listed: Any) -> Ref:
    """The list, as long as a private number says, and longer by its last part."""
    made = p.op("python.collect", *listed, *listed[-1:])
    if type(listed) is tuple:
        made = p.op("python.Tuple", made)
        return p.op("python.Tuple.__getitem__", made, slice(0, p.op("python.Int", X)))
    return p.op("python.List.__getitem__", made, slice(0, p.op("python.Int", X)))


def _chosen(value: Any, other: Any) -> Way:
    def given(p: Owner, each: Any) -> Any:
        return p.own(each.detach().clone().requires_grad_(each.requires_grad)) if isinstance(
            each, torch.Tensor) else each  # fmt: skip

    def make(p: Owner) -> Ref:
        parts = p.op("python.collect", given(p, value), given(p, other))
        return p.op("python.List.__getitem__", parts, p.op("python.Int", X))

    return Way(f"or {other!r:.30}", (0, 1), make)


# what shows


def tell(sample: Sample, path: Path, way: Way, value: Any, grads: str) -> list[Any]:
    """Runs the command with a private argument, and what looks at it; everything that shows."""
    torch.manual_seed(1)
    p = Owner(value)
    given = sample.build(p, grads)
    owns = list(dict.fromkeys(part for _, part in _places(given) if isinstance(part, Ref)))
    args, kwargs = _with(given, path, way.make(p))
    first = p.next_id + 1
    made = p.run_in(sample.mode, sample.name, sample.outs, *args, **kwargs)
    for ref in made:
        _use(p, sample.name, ref)
    for ref in (*made, *owns):
        _look_at(p, ref)
    p.op("torch.rand", 1)
    told = [(p.said(event), event) for event in shown(p.events)]
    every = [*made, *owns]
    return [
        told,
        *((ref.id, p.verdict(ref.id), facts(p, ref)[0]) for ref in every),
        *((p.made.get(id, ""), p.verdict(id)) for id in range(first, p.next_id + 1)),
    ]


def _use(p: Owner, name: str, made: Ref) -> None:
    """Does what objects of this kind are made for."""
    place, short = name.rpartition(".")[0] + ".", name.rpartition(".")[2]
    if place in (D, SCHED, "torch.optim.", IMAGES, DATA) and short[:1].isupper():
        for use, args in USES[place]:
            given = [p.own(a.clone()) if isinstance(a, torch.Tensor) else a for a in args]
            ref = p.op(use, made, *given)
            p.op("torch.mul", ref, 2.0)
            p.op(T + "numel", ref)
        p.op("python.next", p.op("python.iter", made))


def _look_at(p: Owner, ref: Ref) -> None:
    for fact in FACTS:
        p.op(T + fact, ref)
    listed = p.op("python.collect", ref)
    for each in (listed, ref, p.op("python.List", ref)):
        p.op("python.len", each)
    for place in (0, -1):
        p.op("python.List.__getitem__", p.op("python.List", ref), place)
    p.op("torch.mul", ref, 2.0)
    own = p.op("torch.zeros", [3])
    p.op(T + "add_", own, p.op("torch.sum", p.op("torch.reshape", ref, [-1])))
    p.op(T + "numel", own)
    p.do(T + "backward", p.op("torch.sum", ref))
    p.op(T + "grad", ref)
    p.do(T + "zero_", p.op(T + "detach", ref))
    p.op("torch.sum", ref)


def differences(sample: Sample, grads: str = "") -> Iterator[str]:
    """What shows of one command, by argument, by way and by value.

    Args:
        sample: the command.
        grads: how tensors of floats come that are given; empty for those without a gradient,
            ``leaf`` or ``inner`` for ones that have one.
    """
    with torch.random.fork_rng(()):
        p = Owner(0)
        given = sample.build(p, grads)
        for path, value in [(path, value) for path, value in _places(given) if path[1:]]:
            for way in _ways(p, value):
                yield from _of_way(sample, path, way, grads)


def _of_way(sample: Sample, path: Path, way: Way, grads: str) -> Iterator[str]:
    seen = tell(sample, path, way, way.data[0], grads)
    for value in way.data[1:]:
        also = tell(sample, path, way, value, grads)
        if seen != also:
            where = f"{sample.name} {path} {way.said} {value!r:.20} {grads}"
            yield f"{where}: {_first(seen, also)}"


def _first(one: list[Any], other: list[Any]) -> str:
    (events, *told), (others, *more) = one, other
    pairs = [*zip(events, others, strict=False), *zip(told, more, strict=False)]
    found = next((f"{a!r:.200} | {b!r:.200}" for a, b in pairs if a != b), "")
    return found or "another number of them"
