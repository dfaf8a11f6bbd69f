"""Ways on which private data could come back as something that nobody guards, by the raw wire.

Each attack ends with an object that a `get` would give to anybody if it counted as public, and that
a handler on a name would take if it counted as metadata or as an aggregate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Ref
from tests.security.raw_peer import RawPeer

__all__ = [
    "ATTACKS",
    "REFUSED",
    "VALUES",
    "Attack",
    "T",
    "X",
    "element",
    "few",
    "index",
    "is_told",
    "number",
    "own",
    "weight",
]

X = Ref(-1)
T = "torch.Tensor."
Attack = Callable[[RawPeer], Ref]
VALUES = torch.arange(20.0)


def element(p: RawPeer, at: int = 3) -> Ref:
    """One record, still a tensor."""
    return p.op(T + "__getitem__", X, at)


def copied(p: RawPeer) -> Ref:
    """The same in a storage of one's own."""
    return p.op(T + "clone", element(p))


def index(p: RawPeer) -> Ref:
    """One record as a tensor of an int."""
    return p.op(T + "long", element(p))


def number(p: RawPeer) -> Ref:
    """One record as an int."""
    return p.op("python.Int", element(p))


def fraction(p: RawPeer) -> Ref:
    """One record as a float below one."""
    return p.op("python.Float.__mul__", p.op("python.Float", number(p)), 0.1)


def few(p: RawPeer) -> Ref:
    """As many records as values decide."""
    return p.op(T + "__getitem__", X, p.op(T + "__gt__", X, 12.0))


def changed(p: RawPeer, own: Ref, name: str, *args: Any, **kwargs: Any) -> Ref:
    p.do(name, *args, **kwargs)
    return own


def remembered(p: RawPeer) -> Ref:
    copy = p.op(T + "clone", X)
    hidden = p.op(T + "narrow", copy, 0, 0, number(p))
    p.op(T + "clone", p.op(T + "narrow", copy, 0, 0, 3))
    return p.op(T + "numel", p.op(T + "clone", hidden))


def own(p: RawPeer) -> Ref:
    return p.put(torch.zeros(20))


def weight(p: RawPeer) -> Ref:
    return p.put(torch.ones(2, requires_grad=True))


def _through_out(p: RawPeer) -> Ref:
    mine = own(p)
    return changed(p, mine, "torch.add", X, X, out=mine)


def _through_a_list(p: RawPeer) -> Ref:
    box = p.op("python.List")
    return changed(p, box, "python.List.append", box, X)


def _through_data(p: RawPeer) -> Ref:
    mine = own(p)
    return changed(p, mine, T + "data=", mine, X)


def _through_a_view(p: RawPeer) -> Ref:
    mine = p.put(torch.zeros(2, 20))
    return changed(p, mine, T + "copy_", p.op(T + "__getitem__", mine, 1), X)


def _keyword_item(p: RawPeer) -> Ref:
    box = p.op("python.List")
    return changed(p, box, "python.List.append", value=box, item=number(p))


def _keyword_key(p: RawPeer) -> Ref:
    box = p.op("python.Dict")
    return changed(p, box, "python.Dict.__setitem__", value=box, key=1, item=number(p))


def _gradient(p: RawPeer) -> Ref:
    w = p.put(torch.zeros(20, requires_grad=True))
    p.do(T + "backward", p.op("torch.dot", w, X))
    return p.op(T + "grad", w)


def _retained_gradient(p: RawPeer) -> Ref:
    inner = p.op("torch.mul", p.put(torch.ones(20, requires_grad=True)), 1.0)
    p.do(T + "retain_grad", inner)
    p.do(T + "backward", p.op("torch.dot", inner, X))
    return p.op(T + "grad", inner)


def _optimizer(p: RawPeer, **settings: Any) -> Ref:
    w = weight(p)
    optimizer = p.op("torch.optim.SGD", [w], **settings)
    p.do(T + "backward", p.op("torch.sum", w))
    p.do("torch.optim.Optimizer.step", optimizer)
    return w


def _scheduler(p: RawPeer) -> Ref:
    optimizer = p.op("torch.optim.SGD", [weight(p)], lr=0.1)
    plateau = p.op("torch.optim.lr_scheduler.ReduceLROnPlateau", optimizer)
    p.do("torch.optim.lr_scheduler.LRScheduler.step", plateau, number(p))
    return p.op("torch.optim.lr_scheduler.LRScheduler.state_dict", plateau)


def _group(p: RawPeer) -> Ref:
    w = weight(p)
    optimizer = p.op("torch.optim.SGD", [w], lr=0.1)
    groups = p.op("torch.optim.Optimizer.param_groups", optimizer)
    group = p.op("python.List.__getitem__", groups, 0)
    p.do("python.Dict.__setitem__", group, "lr", number(p))
    p.do(T + "backward", p.op("torch.sum", w))
    p.do("torch.optim.Optimizer.step", optimizer)
    return w


def _seed(p: RawPeer) -> Ref:
    p.do("torch.manual_seed", number(p))
    drawn = p.op("torch.rand", 3)
    p.do("torch.manual_seed", 1)
    return drawn


def _consumption(p: RawPeer) -> Ref:
    p.do("torch.manual_seed", 1)
    p.op("torch.rand_like", few(p))
    drawn = p.op("torch.rand", 1)
    p.do("torch.manual_seed", 1)
    return drawn


def _consumption_that_may_fail(p: RawPeer) -> Ref:
    p.do("torch.manual_seed", 1)
    p.op("torch.bernoulli", p.op(T + "div", X, 19.0))
    drawn = p.op("torch.rand", 1)
    p.do("torch.manual_seed", 1)
    return drawn


def _shuffle(p: RawPeer) -> Ref:
    p.do("torch.manual_seed", 1)
    data = p.op("torch.utils.data.TensorDataset", few(p))
    loader = p.op("torch.utils.data.DataLoader", data, shuffle=True)
    p.op("python.next", p.op("python.iter", loader))
    drawn = p.op("torch.rand", 1)
    p.do("torch.manual_seed", 1)
    return drawn


def _sliced_list(p: RawPeer) -> Ref:
    part = p.op("python.List.__getitem__", p.put([0] * 9), slice(0, number(p)))
    return p.op("python.len", part)


def _sliced_by_a_tensor(p: RawPeer) -> Ref:
    part = p.op(T + "__getitem__", p.put(torch.zeros(9)), slice(0, index(p)))
    return p.op(T + "numel", part)


def _pair_as_key(p: RawPeer) -> Ref:
    box = p.put({(3, 1): 0})
    p.do("python.Dict.__setitem__", box, (number(p), 1), 1)
    return p.op("python.len", box)


def _pairs(p: RawPeer) -> Ref:
    return p.op("python.len", p.op("python.Dict", [(number(p), 0), (3, 0)]))


def _set(p: RawPeer) -> Ref:
    return p.op("python.len", p.op("python.Set", [number(p), 3]))


def _list_of(p: RawPeer) -> Ref:
    return p.op("python.len", p.op("python.List", few(p)))


def _chosen(p: RawPeer) -> Ref:
    parts = [p.put(torch.full((1,), float(n))) for n in range(5)]
    return p.op("python.List.__getitem__", p.op("python.collect", *parts), index(p))


def _not_chosen(p: RawPeer) -> Ref:
    """Which one is not given any more would tell which one was chosen."""
    parts = [p.put(torch.full((1,), float(n))) for n in range(5)]
    p.op("python.List.__getitem__", p.op("python.collect", *parts), number(p))
    return parts[4]


def _of_some_type(p: RawPeer) -> Ref:
    types = (torch.float32, torch.float64, torch.int8, torch.int64, torch.float16)
    parts = [p.put(torch.zeros(1, dtype=kind)) for kind in types]
    return p.op("python.List.__getitem__", p.op("python.collect", *parts), number(p))


def _iterator(p: RawPeer) -> Ref:
    return p.op("python.next", p.op("python.iter", p.op("python.collect", number(p))))


def _plan(p: RawPeer) -> Ref:
    mine = own(p)
    plan = p.new_id()
    steps = (wire.PlanStep(T + "copy_", (3,), (Ref(2), Ref(1)), {}, "g"),)
    p.send(wire.DefinePlan(plan, "p", 1, (mine.id,), steps, (), True))
    p.send(wire.RunPlan(plan, (X.id,), (), 0))
    return mine


def _batch_size(p: RawPeer) -> Ref:
    data = p.op("torch.utils.data.TensorDataset", p.put(torch.zeros(8)))
    loader = p.op("torch.utils.data.DataLoader", data, batch_size=number(p))
    return p.op("torch.utils.data.DataLoader.batch_size", loader)


def _length_of_a_loader(p: RawPeer) -> Ref:
    data = p.op("torch.utils.data.TensorDataset", few(p))
    return p.op("python.len", p.op("torch.utils.data.DataLoader", data))


def _state_of_hidden_shape(p: RawPeer) -> Ref:
    w = p.op("torch.nn.Parameter", few(p))
    optimizer = p.op("torch.optim.SGD", [w], lr=0.1, momentum=0.9)
    p.do(T + "backward", p.op("torch.sum", w))
    p.do("torch.optim.Optimizer.step", optimizer)
    state = p.op("torch.optim.Optimizer.state_dict", optimizer)
    of = p.op("python.Dict.__getitem__", p.op("python.Dict.__getitem__", state, "state"), 0)
    return p.op(T + "numel", p.op("python.Dict.__getitem__", of, "momentum_buffer"))


def _flag(p: RawPeer) -> Ref:
    mine = own(p)
    p.do(T + "requires_grad=", mine, p.op("python.Bool", element(p)))
    return p.op(T + "requires_grad", mine)


def _type_of_a_power(p: RawPeer) -> Ref:
    power = p.op("python.Int.__pow__", 2, p.op("python.Int.__sub__", number(p), 9))
    return p.op("python.Int.__add__", power, 0)


def _distribution(p: RawPeer) -> Ref:
    normal = p.op("torch.distributions.Normal", element(p), 1.0)
    return p.op("torch.distributions.Distribution.sample", normal)


OPT, LR = "torch.optim.Optimizer.", "torch.optim.lr_scheduler."


def _adam(p: RawPeer, **settings: Any) -> Ref:
    """What an optimizer keeps of settings that values chose."""
    w = weight(p)
    optimizer = p.op("torch.optim.Adam", [w], **{"lr": 0.1, **settings})
    for _ in range(2):
        p.do(T + "backward", p.op("torch.sum", w))
        p.do(OPT + "step", optimizer)
    return optimizer


def _rate(p: RawPeer, name: str, *args: Any, **settings: Any) -> Ref:
    """The learning rate that a scheduler set, read back out of the optimizer's group."""
    optimizer = p.op("torch.optim.SGD", [weight(p)], lr=0.1)
    p.do(OPT + "step", optimizer)
    scheduler = p.op(LR + name, optimizer, *args, **settings)
    for _ in range(4):
        p.do(LR + "LRScheduler.step", scheduler)
    group = p.op("python.List.__getitem__", p.op(OPT + "param_groups", optimizer), 0)
    return p.op("python.Dict.__getitem__", group, "lr")


def _last_rate(p: RawPeer) -> Ref:
    optimizer = p.op("torch.optim.SGD", [weight(p)], lr=number(p))
    return p.op(LR + "LRScheduler.get_last_lr", p.op(LR + "StepLR", optimizer, 2))


def _fed(p: RawPeer) -> Ref:
    optimizer = p.op("torch.optim.SGD", [weight(p)], lr=0.1)
    scheduler = p.op(LR + "LambdaLR", optimizer, [1.0])
    p.do(LR + "LRScheduler.feed", scheduler, 1, p.op("python.Float", number(p)))
    p.do(LR + "LRScheduler.step", scheduler)
    return p.op(LR + "LRScheduler.get_last_lr", scheduler)


def _of_normal(p: RawPeer, name: str, *args: Any) -> Ref:
    scale = p.op("torch.add", element(p), 1.0)
    return p.op(
        "torch.distributions." + name, p.op("torch.distributions.Normal", 0.0, scale), *args
    )


def _default(p: RawPeer) -> Ref:
    return p.op("python.Dict.dict_get", p.op("python.Dict"), 1, number(p))


def _mapped(p: RawPeer, name: str, *args: Any, **kwargs: Any) -> Ref:
    return p.op(name, *args, **kwargs)


ATTACKS: dict[str, Attack] = {
    # the four routes by which data left PySyft 0.5 with no request
    "the secret in one's own list": _through_a_list,
    "one's own tensor gets it as its data": _through_data,
    "an operation writes it out": _through_out,
    "a write through a view of one's own": _through_a_view,
    # writes
    "an item given as a keyword": _keyword_item,
    "a key's item given as a keyword": _keyword_key,
    "a masked write": lambda p: changed(
        p, (o := own(p)), T + "masked_fill_", o, p.op(T + "__gt__", X, 3), 1.0
    ),
    "a buffer that is updated": lambda p: changed(
        p, (o := p.put(torch.zeros(10))), "torch.nn.functional.batch_norm",
        p.op(T + "view", X, 2, 10), o, p.put(torch.ones(10)), None, None, True,
    ),
    "a parameter": lambda p: p.op("torch.nn.Parameter", copied(p)),
    "a parameter that gets it as its data": lambda p: changed(
        p, (o := p.op("torch.nn.Parameter", own(p))), T + "copy_", p.op(T + "data", o), X
    ),
    "an initialisation by a record": lambda p: changed(
        p, (o := own(p)), "torch.nn.init.constant_", o, number(p)
    ),
    # values that stand where a size, an end or a filling is meant
    "filled in": lambda p: p.op("torch.full_like", own(p), element(p)),
    "filled in, by size": lambda p: p.op("torch.full", [2], element(p)),
    "filled in, of its own pattern": lambda p: p.op(
        "torch.full_like", e := element(p), fill_value=e),
    "filled in, of its own pattern by name": lambda p: p.op(
        "torch.full_like", **dict.fromkeys(("input", "fill_value"), element(p))),
    "filled in, a new one of its own kind": lambda p: p.op(
        T + "new_full", e := element(p), [1], fill_value=e),
    "an end of a row of numbers": lambda p: p.op("torch.linspace", 0, element(p), 3),
    "a number of zeros": lambda p: p.op("torch.zeros", index(p)),
    "a window's form": lambda p: p.op("torch.kaiser_window", 5, False, element(p)),
    "an upper end of random numbers": lambda p: p.op("torch.randint", index(p), [2]),
    "which size of a public tensor": lambda p: p.op(
        T + "size", p.put(torch.zeros(1, 2, 3, 4)), index(p)
    ),
    "how often something is repeated": lambda p: p.op(
        T + "numel", p.op(T + "repeat", own(p), index(p))
    ),
    "classes of one_hot": lambda p: p.op(
        T + "numel", p.op("torch.nn.functional.one_hot", index(p))
    ),
    "sizes of a split": lambda p: p.op(
        T + "numel", p.ops(T + "split", 2, p.put(torch.zeros(6)), index(p))[0]
    ),
    "repeat_interleave": lambda p: p.op(
        T + "numel", p.op("torch.repeat_interleave", own(p), index(p))
    ),
    "a choice by a private condition": lambda p: p.op(
        "torch.where", p.op(T + "__gt__", X, 3), own(p), 1.0
    ),
    # state
    "a gradient": _gradient,
    "a gradient of an inner tensor": _retained_gradient,
    "a gradient that is set": lambda p: p.op(T + "grad", changed(
        p, (o := own(p)), T + "grad=", o, X)),
    "a learning rate": lambda p: _optimizer(p, lr=number(p)),
    "a learning rate that is a tensor": lambda p: _optimizer(p, lr=p.op(T + "clone", element(p))),
    "a weight decay": lambda p: _optimizer(p, lr=0.1, weight_decay=number(p)),
    "a metric for a scheduler": _scheduler,
    "a setting of a group": _group,
    "a seed": _seed,
    "how many random numbers were drawn": _consumption,
    "random numbers that are drawn or fail": _consumption_that_may_fail,
    "a shuffle of as many as values decide": _shuffle,
    "a distribution's parameter": _distribution,
    "what an optimizer keeps": lambda p: p.op(OPT + "state_dict", _adam(p, eps=fraction(p))),
    "a momentum": lambda p: p.op(
        OPT + "defaults", p.op("torch.optim.SGD", [weight(p)], lr=0.1, momentum=fraction(p))),
    "a pair of momenta": lambda p: p.op(OPT + "param_groups", _adam(p, betas=(0.5, fraction(p)))),
    "a decay, as a tensor": lambda p: p.op(OPT + "state_dict", _adam(p, weight_decay=copied(p))),
    "steps of a schedule": lambda p: _rate(p, "StepLR", number(p)),
    "a factor of a schedule": lambda p: _rate(p, "ExponentialLR", fraction(p)),
    "milestones of a schedule": lambda p: _rate(
        p, "MultiStepLR", p.op("python.collect", number(p))),
    "an end of a schedule": lambda p: _rate(p, "CosineAnnealingLR", T_max=number(p)),
    "the last rate of a schedule": _last_rate,
    "a factor that is told to a schedule": _fed,
    "a density": lambda p: _of_normal(p, "Distribution.log_prob", p.put(torch.ones(1))),
    "a density of one's own at a value": lambda p: p.op(
        "torch.distributions.Distribution.log_prob",
        p.op("torch.distributions.Normal", 0.0, 1.0), element(p)),
    "an entropy": lambda p: _of_normal(p, "Distribution.entropy"),
    "a width": lambda p: _of_normal(p, "Distribution.stddev"),
    "a number of samples": lambda p: p.op("python.len", p.op(
        "torch.distributions.Distribution.sample",
        p.op("torch.distributions.Normal", 0.0, 1.0), p.op("python.collect", number(p)))),
    "a shape of a distribution": lambda p: p.op(
        "torch.distributions.Distribution.batch_shape",
        p.op("torch.distributions.Normal", few(p), 1.0)),
    "a class of a distribution": lambda p: p.op(
        "torch.distributions.Distribution.sample",
        p.op("torch.distributions.Categorical", p.op("torch.add", X, 1.0))),
    "a divergence": lambda p: p.op("torch.distributions.kl_divergence", *(
        p.op("torch.distributions.Normal", mean, 1.0) for mean in (element(p), 0.0))),
    "a key of a dict": lambda p: p.op(
        "python.Dict.keys", changed(p, box := p.op("python.Dict"), "python.Dict.__setitem__",
                                    box, number(p), 1)),
    "a value under a key of a dict": lambda p: p.op(
        "python.Dict.dict_get", p.put({3: 7, 5: 8}), number(p)),
    "whether a dict has it": lambda p: p.op(
        "python.Dict.__contains__", p.put({3: 7, 5: 8}), number(p)),
    "a plan that writes": _plan,
    # structure
    "where a list ends": _sliced_list,
    "where a tensor ends": _sliced_by_a_tensor,
    "equal keys, in a pair": _pair_as_key,
    "equal keys, of pairs": _pairs,
    "equal members of a set": _set,
    "a list of as many as values decide": _list_of,
    "times a list": lambda p: p.op(
        "python.len", p.op("python.List.__mul__", p.put([0]), index(p))),
    "a range": lambda p: p.op("python.len", p.op("python.Range", number(p))),
    "which element of a list": _chosen,
    "which element of a list it was not": _not_chosen,
    "the type of numbers that was chosen": lambda p: p.op(T + "dtype", _of_some_type(p)),
    "the size of numbers that was chosen": lambda p: p.op(T + "element_size", _of_some_type(p)),
    "where it lies that was chosen": lambda p: p.op(T + "device", _of_some_type(p)),
    "a device by its number": lambda p: p.op("torch.device", "cuda", number(p)),
    "a device by its name": lambda p: p.op("torch.device", p.op(
        "python.String.__add__", "cuda:", p.op("python.String", number(p)))),
    "an element of an iterator": _iterator,
    "a default of a dict": _default,
    "whether a list contains it": lambda p: p.op("python.List.__contains__", [3], number(p)),
    "where in a list it is": lambda p: p.op("python.List.index", p.put([1, 3]), number(p)),
    "how often": lambda p: p.op("python.List.count", p.put([1, 3]), number(p)),
    "batches of a private size": _batch_size,
    "batches of a private number": _length_of_a_loader,
    "a hidden shape in an optimizer's state": _state_of_hidden_shape,
    "a hidden shape": lambda p: p.op(T + "size", few(p)),
    "a hidden shape by broadcasting": lambda p: p.op(
        T + "numel", p.op("torch.add", few(p), p.put(torch.zeros(3, 1)))),
    "a flag": _flag,
    "the type of a power": _type_of_a_power,
    # texts and long ints
    "a text": lambda p: p.op("python.String", number(p)),
    "a part of a text": lambda p: p.op(
        "python.String.split", p.op("python.String", number(p)), "x"),
    "a length of a text": lambda p: p.op("python.len", p.op("python.String", number(p))),
    "a long int": lambda p: p.op("python.Int.__lshift__", 1, number(p)),
    "a comparison": lambda p: p.op("python.Int.__eq__", number(p), 3),
    "a copy": lambda p: p.op(T + "clone", X),
    "the length of a copy, after a view of the same length was copied": remembered,
    "a tuple repeated so many times": lambda p: p.op("python.Tuple.__mul__", (3, 1), index(p)),
    "no times at all": lambda p: p.op(
        "python.len", p.op("python.Tuple.__mul__", (3, 1), p.op(T + "mul", index(p), 0))
    ),
    "another type": lambda p: p.op(T + "to", X, p.put(torch.zeros(1, dtype=torch.int64))),
}  # fmt: skip

REFUSED = {"an operation writes it out", "an item given as a keyword",
           "a key's item given as a keyword"}  # fmt: skip
"""Public failures: these commands are none, whatever the values are."""


def is_told(held: Any) -> bool:
    """Whether anything but what was there at first is in it."""
    return bool((held != 0).any()) if isinstance(held, torch.Tensor) else bool(held)
