"""One record taken for a group: axes that move, numbers that pack others, batches that are chosen.

Each attack ends with an object that tells about few records, or about positions. A handler accepts
what is called ``loss``; only honest aggregates over ten records or more may pass it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from duet_p2p.owner.duet import OwnerDuet
from duet_p2p.wire import messages as wire
from duet_p2p.wire.values import Dtype, Ref
from tests.security.raw_peer import RawPeer, against, waits

X, Y, TABLE, SMALL, BYTES, CUBE = (Ref(-n) for n in range(1, 7))
T, F, DATA = "torch.Tensor.", "torch.nn.functional.", "torch.utils.data."
Attack = Callable[[RawPeer], Ref]


@pytest.fixture(scope="module")
def session() -> Iterator[tuple[OwnerDuet, RawPeer]]:
    yield from opened()


@pytest.fixture
def fresh() -> Iterator[tuple[OwnerDuet, RawPeer]]:
    """Some attacks leave the random numbers and what is drawn by them private."""
    yield from opened()


def opened() -> Iterator[tuple[OwnerDuet, RawPeer]]:
    shared = {
        "x": torch.arange(64.0) + 100,
        "y": torch.arange(64) % 3,
        "table": torch.rand(64, 3),
        "small": torch.rand(5),
        "bytes": torch.arange(64, dtype=torch.uint8),
        "square": torch.rand(64, 64),
    }
    with against(shared) as (duet, raw):
        duet.requests.add_handler(name="loss", action="accept")
        yield duet, raw


def total(p: RawPeer, value: Ref) -> Ref:
    return p.op("torch.sum", value)


def turned(p: RawPeer) -> Ref:
    """Records on axis 1."""
    return p.op(T + "t", TABLE)


def loader(p: RawPeer, *parts: Ref, **settings: Any) -> Ref:
    data = p.op(DATA + "TensorDataset", *parts)
    return p.op(DATA + "DataLoader", data, **{"batch_size": 64, **settings})


def batch(p: RawPeer, of: Ref, part: int = 0) -> Ref:
    taken = p.op("python.next", p.op("python.iter", of))
    return p.op("python.List.__getitem__", taken, part)


def loaded(p: RawPeer, data: Ref, **settings: Any) -> Ref:
    return batch(p, p.op(DATA + "DataLoader", data, **{"batch_size": 64, **settings}))


def mine(p: RawPeer, *shape: int) -> Ref:
    """One at the fifth record."""
    made = torch.zeros(shape or (64,))
    made[5] = 1
    return p.put(made)


def _own_weights(p: RawPeer, name: str) -> Ref:
    """What the fifth record has to do with the sum of all: ``(x @ x.T).sum(0)[5]``."""
    x = CUBE if name == "linear" else p.op(T + "unsqueeze", CUBE, 2)
    sums = p.op("torch.sum", p.op(F + name, x, x), 0)
    return total(p, p.op("torch.select", sums, 0, 5))


def few(p: RawPeer, count: int) -> Ref:
    return p.op(T + "__getitem__", X, slice(0, count))


def _sinking_bias(p: RawPeer) -> Ref:
    bias = torch.full((64, 3), -1e9)
    bias[5] = 0
    return total(p, p.op("torch.relu", p.op(F + "linear", TABLE, p.put(torch.eye(3)), p.put(bias))))


CELLS = {"rnn_tanh_cell": 1, "rnn_relu_cell": 1, "gru_cell": 3, "lstm_cell": 4}
"""How many gates each has; of one hidden number here."""


def _stepped(p: RawPeer, name: str, bias: Ref) -> Ref:
    """A step of a recurrent network with this bias."""
    gates, zeros = CELLS[name], p.put(torch.zeros(64, 1))
    state = [zeros, zeros] if name == "lstm_cell" else zeros
    weights = [p.put(torch.ones(gates, width)) for width in (3, 1)]
    given = (TABLE, state, *weights, bias, p.put(torch.zeros(gates)))
    return p.ops("torch." + name, 2, *given)[0] if gates == 4 else p.op("torch." + name, *given)


def _sinking_bias_of_a_cell(p: RawPeer, name: str) -> Ref:
    bias = torch.full((64, CELLS[name]), -1e9)
    bias[5] = 0
    return total(p, _stepped(p, name, p.put(bias)))


def _gradient_of_a_bias(p: RawPeer, name: str) -> Ref:
    bias = p.put(torch.zeros(64, CELLS[name], requires_grad=True))
    p.do(T + "backward", total(p, _stepped(p, name, bias)))
    return p.op(T + "__getitem__", p.op(T + "grad", bias), (5, 0))


def _bias_of_heads(p: RawPeer, place: int) -> Ref:
    """Of attention of one step, which gives out its value: what makes the values, or comes last."""
    biases = [torch.zeros(9), torch.zeros(3)]
    sinking = torch.full((64, 3), -1e9)
    sinking[5] = 0
    biases[place] = torch.cat([torch.zeros(128, 3), sinking]) if place == 0 else sinking
    ins, outs = map(p.put, biases)
    query, key, value = (p.op("torch.mul", p.op(T + "unsqueeze", TABLE, 0), 1.0) for _ in range(3))
    heads = p.ops(
        F + "multi_head_attention_forward", 2, query, key, value, 3, 1, p.put(torch.ones(9, 3)),
        ins, None, None, False, 0.0, p.put(torch.eye(3)), outs,
    )  # fmt: skip
    return total(p, p.op("torch.relu", heads[0]))


def _small_group(p: RawPeer) -> Ref:
    rows = p.op("torch.add", p.op("torch.mul", X, 0.0), p.op("torch.mean", SMALL))
    return p.op("torch.mean", batch(p, loader(p, rows)))


def _small_number(p: RawPeer) -> Ref:
    zeros = p.op("torch.mul", X, 0.0)
    return total(p, p.op("torch.add", zeros, p.op("python.Float", p.op("torch.mean", SMALL))))


def _batch_off_all(p: RawPeer) -> Ref:
    most = p.op("torch.div", total(p, batch(p, loader(p, X, batch_size=63))), 64.0)
    return total(p, p.op("torch.sub", X, most))


def _written_in_the_middle(p: RawPeer) -> Ref:
    own = p.op(T + "clone", X)
    going = p.op("python.iter", loader(p, own))
    p.do(T + "__setitem__", own, slice(1, None), 0.0)
    return total(p, p.op("python.List.__getitem__", p.op("python.next", going), 0))


def _masked_in_the_middle(p: RawPeer) -> Ref:
    own = p.op(T + "clone", X)
    going = p.op("python.iter", loader(p, own))
    p.do(T + "mul_", own, mine(p))
    return total(p, p.op("python.List.__getitem__", p.op("python.next", going), 0))


def _all_but_the_last_batch(p: RawPeer) -> Ref:
    centred = p.op("torch.sub", TABLE, p.op("torch.mean", TABLE, 0))
    return p.op("torch.mean", batch(p, loader(p, centred, batch_size=63)))


def _normed_but_the_last_batch(p: RawPeer) -> Ref:
    """They add up to nothing, so that a sum of all but one is that one."""
    normed = p.op(F + "batch_norm", TABLE, None, None, None, None, True)
    return total(p, batch(p, loader(p, normed, batch_size=63)))


def _inverse_but_the_last_batch(p: RawPeer) -> Ref:
    inverse = p.op(T + "t", p.op("torch.linalg.pinv", TABLE))
    of = p.op("python.next", p.op("python.iter", loader(p, TABLE, inverse, batch_size=63)))
    records, columns = (p.op("python.List.__getitem__", of, part) for part in (0, 1))
    return p.op("torch.trace", p.op("torch.mm", p.op(T + "t", columns), records))


def _signs_of_zeros(p: RawPeer) -> Ref:
    """All of them are equal, and one has another sign."""
    signs = torch.zeros(64)
    signs[5] = -0.0
    return p.op("torch.sub", total(p, X), total(p, p.op("torch.copysign", X, p.put(signs))))


def _masked_classes(p: RawPeer) -> Ref:
    """One for each record that a mask kept, which a seed decided."""
    mask = p.op(F + "dropout", p.op("torch.add", p.op("torch.mul", X, 0.0), 1.0), 0.3)
    return p.op(T + "long", p.op("torch.gt", mask, 0.0))


def _private_order(p: RawPeer) -> Ref:
    p.do("torch.manual_seed", p.op("python.Int", p.op(T + "__getitem__", X, 5)))
    taken = total(p, batch(p, loader(p, X, batch_size=32, shuffle=True)))
    p.do("torch.manual_seed", 1)
    return taken


def _last_of_many(p: RawPeer) -> Ref:
    going = p.op("python.iter", loader(p, X, batch_size=63))
    p.op("python.next", going)
    return total(p, p.op("python.List.__getitem__", p.op("python.next", going), 0))


def _two_passes(p: RawPeer, **settings: Any) -> Ref:
    shuffled = loader(p, X, **(settings or {"batch_size": 63, "shuffle": True}))
    one, other = (total(p, batch(p, shuffled)) for _ in range(2))
    return p.op("torch.sub", one, other)


def _whole_and_batch(p: RawPeer) -> Ref:
    return p.op("torch.sub", total(p, X), total(p, batch(p, loader(p, X, batch_size=63))))


def parts(p: RawPeer) -> Ref:
    """Three of each record, one after another."""
    return p.op(T + "view", TABLE, -1)


def _all_but_one(p: RawPeer) -> Ref:
    own = p.op(T + "clone", X)
    for rest in (slice(0, 5), slice(6, None)):
        p.do(T + "mul_", p.op(T + "__getitem__", own, rest), 0.0)
    return total(p, own)


def _packed(p: RawPeer) -> Ref:
    """Eight records in the eight bytes of one whole number."""
    weights = [256**n for n in range(7)] + [0] * 57
    return total(p, p.op("torch.mul", p.op(T + "long", BYTES), p.put(torch.tensor(weights))))


def _carried(p: RawPeer) -> Ref:
    """Whole numbers that run over: only the lowest bits of one record stay."""
    shifts = p.put(torch.tensor([63 if n != 5 else 0 for n in range(64)]))
    return total(p, p.op(T + "__lshift__", p.op(T + "long", BYTES), shifts))


def _mixed_by_view(p: RawPeer) -> Ref:
    return total(p, p.op("torch.amax", p.op(T + "view", X, 8, 8), 1))


def _ordered(p: RawPeer) -> Ref:
    values = p.op("python.List", X)
    p.do("python.List.sort", values)
    return p.op("python.List.__getitem__", values, 0)


def _sorted_set(p: RawPeer) -> Ref:
    numbers = [p.op("python.Float", p.op(T + "__getitem__", X, n)) for n in (5, 6)]
    members = p.op("python.Set", numbers)
    return p.op("python.next", p.op("python.iter", members))


ATTACKS: dict[str, Attack] = {
    # arguments in another order, of another rank, of another size than a rule thinks of
    "a lookup whose table comes first": lambda p: p.op(
        "torch.mean", p.op("torch.embedding", TABLE, p.put(torch.full((64,), 5)))),
    "a bias for each record": _sinking_bias,
    **{f"a bias for each record in a {name}": (lambda p, n=name: _sinking_bias_of_a_cell(p, n))
       for name in CELLS},
    **{f"the gradient of such a bias in a {name}": (lambda p, n=name: _gradient_of_a_bias(p, n))
       for name in CELLS},
    "a bias for each record in the values of attention": lambda p: _bias_of_heads(p, 0),
    "a bias for each record behind attention": lambda p: _bias_of_heads(p, 1),
    "a similarity along an axis that broadcasting made": lambda p: total(
        p, p.op(F + "cosine_similarity", TABLE, p.put(torch.rand(1, 64, 3)))),
    "a similarity to a row of one's own, laid along the records": lambda p: total(
        p, p.op(F + "cosine_similarity", turned(p), mine(p), 0)),
    "records beside those that stand opposite, by a flip without a list": lambda p: total(
        p, p.op("torch.mul", TABLE, p.op(T + "flip", TABLE, 1, 0))),
    "a gather of one row": lambda p: total(
        p, p.op("torch.gather", TABLE, 1, p.put(torch.zeros(1, 1, dtype=torch.int64)))),
    # the record axis, moved
    "a soft maximum of what was turned": lambda p: total(p, p.op(F + "softmax", turned(p), 1)),
    "a scan of what was turned": lambda p: total(p, p.op("torch.cumsum", turned(p), 1)),
    "weights of powers of two on what was turned": lambda p: total(
        p, p.op("torch.mv", turned(p), p.put(2.0 ** torch.arange(64) % 1e9))),
    "a normalisation over the records": lambda p: total(p, p.op(F + "normalize", TABLE, 2.0, 0)),
    "softmax over the records": lambda p: total(p, p.op("torch.softmax", TABLE, 0)),
    "records folded into a square": _mixed_by_view,
    "records folded and summed by halves": lambda p: p.op(
        "torch.mean", p.op("torch.select", p.op(T + "reshape", X, 2, 32), 0, 0)),
    "all pairs of records": lambda p: p.op("torch.amax", p.op(
        "torch.sub", p.op(T + "unsqueeze", X, 1), p.op(T + "unsqueeze", X, 0))),
    "a square taken along its other axis": lambda p: total(
        p, p.op("torch.diagonal", CUBE)),
    "a square times itself": lambda p: total(p, p.op("torch.trace", p.op("torch.mm", CUBE, CUBE))),
    "axes in another order, by einsum": lambda p: total(
        p, p.op("torch.einsum", "ij->ji", p.op("torch.einsum", "ij,i->ij", TABLE, mine(p)))),
    "one record by einsum": lambda p: p.op("torch.einsum", "ij,i->", TABLE, mine(p)),
    "one record by tensordot": lambda p: p.op("torch.tensordot", mine(p), X, 1),
    "one record by a matrix": lambda p: total(p, p.op("torch.matmul", mine(p), TABLE)),
    "one record by an outer product": lambda p: p.op(
        "torch.trace", p.op("torch.outer", X, mine(p))),
    "a product of Kronecker": lambda p: p.op("torch.amax", p.op("torch.kron", X, mine(p))),
    # parts of records are no records, and records once more are no more of them
    "the parts of a few records": lambda p: total(
        p, p.op(T + "__getitem__", parts(p), slice(0, 12))),
    "a batch of parts": lambda p: p.op("torch.mean", batch(p, loader(p, parts(p), batch_size=12))),
    "parts joined across records": lambda p: p.op("torch.mean", p.op(
        "torch.amax", p.op(T + "view", parts(p), 32, 6), 1)),
    "parts laid beside whole records": lambda p: total(p, p.op(
        "torch.mul", parts(p), p.op(T + "repeat", X, 3))),
    "records once more, one after another": lambda p: total(p, p.op(T + "repeat", TABLE, 2, 1)),
    "a record laid out as many": lambda p: p.op("torch.mean", p.op(
        T + "expand", p.op(T + "__getitem__", TABLE, slice(3, 4)), 64, 3)),
    "records that went round": lambda p: total(p, p.op(
        "torch.mul", TABLE, p.op("torch.roll", TABLE, 1, 0))),
    "columns by numbers that take the first place": lambda p: total(p, p.op(
        "torch.amax", p.op(T + "__getitem__", p.op(T + "view", CUBE, 64, 8, 8),
                           (slice(None), 0, [5])), 0)),
    # one tensor as two arguments
    **{f"records that are the weights of their own {name}": (lambda p, n=name: _own_weights(p, n))
       for name in ("linear", "conv1d", "conv_transpose1d")},
    "records as their own bounds": lambda p: total(p, p.op("torch.bucketize", X, X)),
    # written in place
    "a mask written in place": lambda p: total(p, p.op(T + "mul_", p.op(T + "clone", X), mine(p))),
    "all but one set to zero, through a view": _all_but_one,
    "zeros that are equal but for their sign": _signs_of_zeros,
    "what lay there before its axes changed places": lambda p: total(p, p.op(
        F + "softmax", p.op(T + "t_", p.op(T + "clone", TABLE)), 1)),
    "a scan written in place": lambda p: p.op("torch.amax", p.op(
        T + "cumsum_", p.op(T + "clone", X), 0)),
    # numbers that hold others
    "eight records in one whole number": _packed,
    "whole numbers that run over": _carried,
    "numbers read as smaller ones": lambda p: p.op(
        "torch.mean", p.op(T + "float", p.op(T + "view", X, Dtype("uint8")))),
    "pairs of numbers read as complex ones": lambda p: total(
        p, p.op("torch.view_as_complex", p.op(T + "view", X, 32, 2))),
    "complex numbers read as pairs": lambda p: total(p, p.op("torch.amax", p.op(
        "torch.view_as_real", p.op("torch.complex", X, X)), 0)),
    "the largest, of few bits": lambda p: p.op("torch.amax", p.op(
        T + "to", X, Dtype("float16"))),
    "bits of one record": lambda p: p.op(
        "torch.bitwise_and", p.op(T + "__getitem__", BYTES, 5), 1),
    # statistics that are a record
    **{f"a deviation of {n}": (lambda p, n=n: p.op("torch.std", few(p, n))) for n in (1, 2, 9)},
    "a variance of the five that were shared": lambda p: p.op("torch.var", SMALL),
    "a bin at the smallest record": lambda p: p.op(T + "__getitem__", p.op(
        "torch.histc", X, 64), 5),
    "counts": lambda p: p.op(T + "__getitem__", p.op("torch.bincount", Y, None, 8), 1),
    "the values that occur": lambda p: total(p, p.op("torch.unique", Y)),
    "how many values occur": lambda p: p.op("torch.numel", p.op("torch.unique", Y)),
    "the most frequent": lambda p: p.ops("torch.mode", 2, X)[0],
    "the middle one": lambda p: p.op("torch.median", X),
    "the middle one of those that are numbers": lambda p: p.op("torch.nanmedian", X),
    "the seventh": lambda p: p.ops("torch.kthvalue", 2, X, 7)[0],
    "smallest and largest": lambda p: p.ops("torch.aminmax", 2, X)[1],
    "the largest, by a distance": lambda p: p.op("torch.dist", X, p.put(torch.zeros(64)), 1e9),
    "distances between records": lambda p: p.op("torch.amin", p.op("torch.pdist", TABLE)),
    "steps between records": lambda p: p.op("torch.amax", p.op("torch.diff", X)),
    "an area under the records": lambda p: p.op("torch.trapezoid", X, p.put(
        torch.arange(64.0))),
    "the largest, as a quantile": lambda p: p.op("torch.quantile", X, 1.0),
    "the largest of a column, as a quantile": lambda p: total(
        p, p.op("torch.quantile", TABLE, 1.0, 0)),
    "the smallest distance to another record": lambda p: p.op(
        "torch.amin", p.op("torch.cdist", TABLE, TABLE)),
    "a deviation with one record's weight": lambda p: total(
        p, p.op("torch.cov", turned(p), aweights=mine(p))),
    "correlations of records": lambda p: total(p, p.op("torch.corrcoef", TABLE)),
    "records scaled by their own size": lambda p: total(p, p.op("torch.renorm", TABLE, 2, 0, 1.0)),
    "a place in the order": lambda p: p.op("torch.searchsorted", X, p.put(torch.tensor([105.5]))),
    "a sum by places": lambda p: total(p, p.op(T + "__getitem__", p.op(
        "torch.index_add", p.put(torch.zeros(64)), 0, p.put(torch.arange(64)), X), slice(5, 6))),
    "sums of segments": lambda p: p.op("torch.amax", p.op(
        "torch.segment_reduce", X, "sum", lengths=p.put(torch.ones(64, dtype=torch.int64)))),
    "windows of one record": lambda p: total(p, p.op(T + "__getitem__", p.op(
        T + "unfold", X, 0, 1, 1), 5)),
    "all but the last of equal ones": lambda p: total(p, p.op("torch.mul", X, p.op(
        "torch.logical_not", p.op("torch.isin", p.op("torch.mul", X, 0), p.put(
            torch.arange(1.0, 60.0)), assume_unique=True)))),
    "neighbours of channels": lambda p: p.op("torch.amax", p.op(
        F + "local_response_norm", p.op(T + "view", X, 1, 64, 1), 3)),
    # batches
    "a small group behind a data set": _small_group,
    "a small group's mean, a number beside the records": _small_number,
    "a batch's sum, taken off all records": _batch_off_all,
    "a data set written to in the middle of a pass": _written_in_the_middle,
    "a data set masked in the middle of a pass": _masked_in_the_middle,
    "all but the last short batch, with a mean over all beside it": _all_but_the_last_batch,
    "all but the last short batch of what was normed before": _normed_but_the_last_batch,
    "all but the last short batch of a pseudoinverse": _inverse_but_the_last_batch,
    "masked classes of whole records, by keywords in another order": lambda p: p.op(
        F + "nll_loss", target=_masked_classes(p), input=TABLE),
    "an order that a private seed decided": _private_order,
    "batches of one": lambda p: p.op("torch.mean", batch(p, loader(p, X, batch_size=1))),
    "batches of nine": lambda p: p.op("torch.mean", batch(p, loader(p, X, batch_size=9))),
    "the short batch at the end": _last_of_many,
    "two passes over nearly the same": _two_passes,
    "all against a batch": _whole_and_batch,
    "an element from behind": lambda p: p.op("torch.mean", p.op(
        "python.Tuple.__getitem__", p.op(
            DATA + "Dataset.__getitem__", p.op(DATA + "TensorDataset", X), -1), 0)),
    "a part of a part": lambda p: p.op("torch.mean", loaded(p, p.op(DATA + "Subset", p.op(
        DATA + "Subset", p.op(DATA + "TensorDataset", X), [5] * 64), list(range(64))))),
    "a split of one": lambda p: p.op("torch.mean", loaded(p, p.op(
        "python.List.__getitem__", p.op(
            DATA + "random_split", p.op(DATA + "TensorDataset", X), [1, 63]), 0))),
    "two data sets joined": lambda p: p.op("torch.mean", loaded(p, p.op(
        DATA + "ConcatDataset", [p.op(DATA + "TensorDataset", X)] * 2), batch_size=128)),
    "numbers beside the records that say which they are": lambda p: total(p, p.op(
        "torch.mul", *(batch(p, of, n) for of in [loader(p, X, mine(p))] for n in (0, 1)))),
    "a sampler with a weight for one record": lambda p: p.op("torch.mean", loaded(
        p, p.op(DATA + "TensorDataset", X), order=("weighted", mine(p), 64, True))),
    "a sampler that names records": lambda p: p.op("torch.mean", loaded(
        p, p.op(DATA + "TensorDataset", X), order=("list", [5] * 64))),
    "a random sampler that draws twice": lambda p: p.op("torch.mean", loaded(
        p, p.op(DATA + "TensorDataset", X), order=("random", None, True, 64))),
    **{f"a sampler of batches, {order}": lambda p, order=order: p.op("torch.mean", loaded(
        p, p.op(DATA + "TensorDataset", X), batches=(order, 64, False)))
       for order in (("subset", [5] * 64), ("list", [5] * 64), ("weighted", [0, 1.0], 64, True),
                     ("random", None, True, 64), ("random", None, False, 128))},
    "two passes of a sampler of batches": lambda p: _two_passes(
        p, batches=(("random",), 63, True)),
    "a sampler of the first twelve": lambda p: p.op("torch.mean", loaded(
        p, p.op(DATA + "TensorDataset", X), order=("sequential", 12), batch_size=12)),
    # containers
    "an order of private numbers": _ordered,
    "a member of a set": _sorted_set,
    "a text's length": lambda p: p.op("python.len", p.op("python.String", p.op(
        "python.Float", p.op(T + "__getitem__", X, 5)))),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_few_records_wait_for_the_owner(session: Any, name: str) -> None:
    duet, raw = session
    target = ATTACKS[name](raw)
    answer = raw.get(target)
    assert isinstance(answer, wire.NotYours) and answer.state == "never", answer
    assert "accept handler for name='loss' does not take it: " in waits(duet, raw, target, "loss")


def usual(p: RawPeer) -> Iterator[Ref]:
    """What programs of every day do: each of these was taken for single records once."""
    guess = p.op("torch.argmax", TABLE, 1, keepdim=True)
    yield p.op("torch.eq", guess, p.op(T + "view_as", Y, guess))
    yield p.op(T + "relu_", p.op(T + "clone", TABLE))
    yield p.op(F + "relu", p.op(T + "clone", TABLE), inplace=True)
    yield p.op(T + "__iadd__", p.op("torch.mul", TABLE, 2.0), TABLE)
    yield p.op("torch.matmul", turned(p), X)
    yield p.op("torch.cov", turned(p))
    yield p.op(T + "__getitem__", TABLE, (slice(None), [0, 2]))
    yield p.op(F + "mse_loss", parts(p), p.op(T + "reshape", p.op("torch.mul", TABLE, 2.0), -1))
    yield p.op(T + "view", p.op("torch.exp", parts(p)), 64, 3)
    near = p.op("torch.argmin", p.op("torch.cdist", TABLE, p.put(torch.eye(3))), 1)
    ones = p.op(T + "float", p.op(F + "one_hot", near, 3))
    yield p.op("torch.matmul", p.op(T + "t", ones), TABLE)  # sums of the clusters of k-means
    yield p.op(F + "one_hot", p.op("torch.bucketize", X, p.put(torch.tensor([110.0, 140]))), 3)
    yield p.op(F + "pairwise_distance", TABLE, p.put(torch.ones(3)))
    often = p.op("torch.mean", TABLE, 0)
    yield p.op(F + "binary_cross_entropy_with_logits", TABLE, TABLE, pos_weight=often)


def test_honest_aggregates_pass(fresh: Any) -> None:
    """Over a batch, over data with their mean taken off, of what was turned, by class."""
    _, raw = fresh
    centred = raw.op("torch.sub", TABLE, raw.op("torch.mean", TABLE, 0))
    gram = raw.op("torch.matmul", turned(raw), TABLE)
    for honest in (
        raw.op("torch.mean", batch(raw, loader(raw, X, batch_size=32, shuffle=True))),
        raw.op("torch.mean", batch(raw, loader(raw, centred, batch_size=32))),
        raw.op("torch.mean", raw.op("torch.mean", turned(raw), 1)),
        raw.op("torch.sum", gram),
        raw.op(F + "cross_entropy", TABLE, Y),
        raw.op(F + "linear", raw.op("torch.mean", TABLE, 0), raw.put(torch.ones(1, 3))),
        *(total(raw, value) for value in usual(raw)),
    ):
        assert raw.ask(honest, "loss") == "Value"
