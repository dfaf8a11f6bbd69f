"""The rules on the record axis, checked against torch itself.

A rule that keeps the axis promises that one record's change changes only that record's results, and
that a permutation of the records permutes the results. A rule that reduces it promises that a
permutation changes nothing.
"""

from __future__ import annotations

import pytest
import torch

from duet_p2p.engine import axes
from duet_p2p.engine.labels import FOLDED, Rows
from tests.unit.axes_kit import (
    ATOMS,
    CLASSES,
    GATES,
    S3,
    STATE,
    X1,
    X2,
    X3,
    X4,
    X6,
    N,
    W,
    judged,
    records,
    rows,
)

F = torch.nn.functional
B4 = records(1, 4, 1)
B3 = records(2, 3, 3)
SIGNS = torch.tensor([1.0, -1, 1, 1, -1, -1])
SETS = torch.tensor([[0, -1, 0], [2, 1, -1], [1, -1, 2], [0, 2, -1], [2, -1, 0], [1, 0, 2]])
EDGES = torch.tensor([0.2, 0.5, 2.0])
TIMES = torch.tensor([1, 2, 1])
ZEROS = torch.zeros(N, 2)
LSTM = ([*GATES], True, 1, 0.0, False, False)
GRU = ([g[:6] for g in GATES], True, 1, 0.0, False, False)
TANH = ([g[:2] for g in GATES], True, 1, 0.0, False, False)
HEADS = (4, 2, records(12, 4), records(12), None, None, False, 0.0, records(4, 4), records(4))
S4 = records(5, N, 4)

# name, function of the data, the data, where its records are, arguments as the rule sees them
CASES = [
    ("relu", torch.relu, [X2], [0], lambda x: (x,), {}),
    ("add", lambda x: x + 1, [X2], [0], lambda x: (x, 1), {}),
    ("mul", lambda x, y: x * y, [X2, records(N, 1)], [0, 0], lambda x, y: (x, y), {}),
    ("sub", lambda x: x - W[:, 0], [X2], [0], lambda x: (x, W[:, 0]), {}),
    ("add", lambda x: x + B4, [X6], [1], lambda x: (x, B4), {}),
    ("where", lambda x: torch.where(x > 0.5, x, 0.0), [X2], [0],
     lambda x: (x > 0.5, x, torch.tensor(0.0)), {}),
    ("sum", lambda x: x.sum(), [X2], [0], lambda x: (x,), {}),
    ("sum", lambda x: x.sum(1), [X2], [0], lambda x: (x, 1), {}),
    ("sum", lambda x: x.sum(0), [X6], [1], lambda x: (x, 0), {}),
    ("sum", lambda x: x.sum((0, 1)), [X6], [1], lambda x: (x, (0, 1)), {}),
    ("mean", lambda x: x.mean(-1, keepdim=True), [X2], [0], lambda x: (x, -1), {"keepdim": True}),
    ("mean", lambda x: x.mean(dim=0), [X2], [0], lambda x: (x,), {"dim": 0}),
    ("var", lambda x: x.var(), [X2], [0], lambda x: (x,), {}),
    ("std", lambda x: x.std(False), [X2], [0], lambda x: (x, False), {}),
    ("norm", lambda x: x.norm(), [X2], [0], lambda x: (x,), {}),
    ("max", lambda x: x.max(1), [X2], [0], lambda x: (x, 1), {}),
    ("max", lambda x: torch.max(x, x * 2 - 0.5), [X2], [0], lambda x: (x, x * 2 - 0.5), {}),
    ("argmax", lambda x: x.argmax(1), [X2], [0], lambda x: (x, 1), {}),
    ("softmax", lambda x: x.softmax(0), [X6], [1], lambda x: (x, 0), {}),
    ("log_softmax", lambda x: x.log_softmax(1), [X2], [0], lambda x: (x,), {"dim": 1}),
    ("cumsum", lambda x: x.cumsum(1), [X2], [0], lambda x: (x, 1), {}),
    ("sort", lambda x: x.sort(), [X2], [0], lambda x: (x,), {}),
    ("topk", lambda x: x.topk(2), [X2], [0], lambda x: (x, 2), {}),
    ("gather", lambda x: x.gather(1, CLASSES[:, None]), [X2], [0],
     lambda x: (x, 1, CLASSES[:, None]), {}),
    ("normalize", lambda x: F.normalize(x), [X2], [0], lambda x: (x,), {}),
    ("linear", lambda x: F.linear(x, W.T), [X2], [0], lambda x: (x, W.T), {}),
    ("matmul", lambda x: x @ W, [X2], [0], lambda x: (x, W), {}),
    ("matmul", lambda x: W[:, :4] @ x, [X6], [1], lambda x: (W[:, :4], x), {}),
    ("matmul", lambda x: x @ W[:, 0], [X2], [0], lambda x: (x, W[:, 0]), {}),
    ("rmatmul", lambda x: W[:, :4] @ x, [X6], [1], lambda x: (x, W[:, :4]), {}),
    ("matmul", lambda x, y: x @ y, [X6, X2], [1, 0], lambda x, y: (x, y), {}),
    ("bmm", lambda x, y: torch.bmm(x, y), [records(N, 2, 3), records(N, 3, 2)], [0, 0],
     lambda x, y: (x, y), {}),
    ("addmm", lambda x: torch.addmm(W[0], x, W), [X2], [0], lambda x: (W[0], x, W), {}),
    ("conv2d", lambda x: F.conv2d(x, records(3, 2, 3, 3)), [X4], [0],
     lambda x: (x, records(3, 2, 3, 3)), {}),
    ("max_pool2d", lambda x: F.max_pool2d(x, 2), [X4], [0], lambda x: (x, 2), {}),
    ("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, 2), [X4], [0],
     lambda x: (x, 2), {}),
    ("group_norm", lambda x: F.group_norm(x, 2), [X4], [0], lambda x: (x, 2), {}),
    ("layer_norm", lambda x: F.layer_norm(x, (8, 8)), [X4], [0], lambda x: (x, (8, 8)), {}),
    ("rms_norm", lambda x: F.rms_norm(x, (8, 8)), [X4], [0], lambda x: (x, (8, 8)), {}),
    ("pad", lambda x: F.pad(x, (1, 2, 0, 1)), [X4], [0], lambda x: (x, (1, 2, 0, 1)), {}),
    ("interpolate", lambda x: F.interpolate(x, scale_factor=2), [X4], [0], lambda x: (x,),
     {"scale_factor": 2}),
    ("unfold", lambda x: F.unfold(x, 2), [X4], [0], lambda x: (x, 2), {}),
    ("unfold", lambda x: x.unfold(2, 3, 1), [X4], [0], lambda x: (x, 2, 3, 1), {}),
    ("bilinear", lambda x, y: F.bilinear(x, y, B3), [X2, X2 * 2], [0, 0],
     lambda x, y: (x, y, B3), {}),
    ("einsum", lambda x: torch.einsum("nf,fo->on", x, W), [X2], [0],
     lambda x: ("nf,fo->on", x, W), {}),
    ("einsum", lambda x, y: torch.einsum("fn,ng->fg", x, y), [X6, X2], [1, 0],
     lambda x, y: ("fn,ng->fg", x, y), {}),
    ("einsum", lambda x: torch.einsum("...f->f", x), [X2], [0], lambda x: ("...f->f", x), {}),
    ("einsum", lambda x: torch.einsum("...f,fo->...o", x, W), [X3], [0],
     lambda x: ("...f,fo->...o", x, W), {}),
    ("einsum", lambda x: torch.einsum("c...->...c", x), [X4], [0], lambda x: ("c...->...c", x), {}),
    ("einsum", lambda x, y: torch.einsum("...,o...->o...", x, y), [X2, records(2, N, 3)], [0, 1],
     lambda x, y: ("...,o...->o...", x, y), {}),
    ("einsum", lambda x, y: torch.einsum("nf,fo,no->n", x, W, y), [X2, records(N, 4)], [0, 0],
     lambda x, y: ("nf,fo,no->n", x, W, y), {}),
    ("addmm", lambda x, y: torch.addmm(W[0], x, y), [X6, records(N, 4)], [1, 0],
     lambda x, y: (W[0], x, y), {}),
    ("addmm", lambda x, y: torch.addmm(x, y, W), [records(N, 4), X2], [0, 0],
     lambda x, y: (x, y, W), {}),
    ("addmv", lambda x, y: torch.addmv(x, y, W[:, 0]), [X1, X2], [0, 0],
     lambda x, y: (x, y, W[:, 0].clone()), {}),
    ("addbmm", lambda x, y: torch.addbmm(W[:2], x, y), [records(N, 2, 3), records(N, 3, 4)], [0, 0],
     lambda x, y: (W[:2], x, y), {}),
    ("linalg_multi_dot", lambda x: torch.linalg.multi_dot([x, W, W.T]), [X2], [0],
     lambda x: ([x, W, W.T],), {}),
    ("linalg_multi_dot", lambda x: torch.linalg.multi_dot([W[0], W.T[:, :2], W[:2], x]), [X6], [1],
     lambda x: ([W[0].clone(), W.T[:, :2].clone(), W[:2].clone(), x],), {}),
    ("chain_matmul", lambda x, y: torch.linalg.multi_dot([W, x, y]), [X6, X2], [1, 0],
     lambda x, y: (W, x, y), {}),
    ("cosine_similarity", lambda x: F.cosine_similarity(x, W[:, 0]), [X2], [0],
     lambda x: (x, W[:, 0].clone()), {}),
    ("cosine_similarity", lambda x: F.cosine_similarity(x[:, None], W.T, -1), [X2], [0],
     lambda x: (x[:, None], W.T, -1), {}),
    ("vecdot", lambda x: torch.linalg.vecdot(W[:, 0], x), [X2], [0],
     lambda x: (W[:, 0].clone(), x), {}),
    ("rot90", lambda x: x.rot90(1, (2, 3)), [X4], [0], lambda x: (x, 1, (2, 3)), {}),
    ("dstack", lambda x, y: torch.dstack([x, y]), [X2, X2 * 2], [0, 0], lambda x, y: ([x, y],), {}),
    ("dstack", lambda x: torch.dstack([x]), [X1], [0], lambda x: ([x],), {}),
    ("frexp", torch.frexp, [X2], [0], lambda x: (x,), {}),
    ("hermite_polynomial_h", lambda x: torch.special.hermite_polynomial_h(x, 2), [X2], [0],
     lambda x: (x, 2), {}),
    ("triplet_margin_loss", lambda x, y: F.triplet_margin_loss(x, y, y.flip(1)),
     [X2, X2 * 2], [0, 0], lambda x, y: (x, y, y), {}),
    ("cosine_embedding_loss", lambda x, y, s: F.cosine_embedding_loss(x, y, s),
     [X2, X2.flip(1), SIGNS], [0, 0, 0], lambda x, y, s: (x, y, s), {}),
    ("margin_ranking_loss",
     lambda x, y, s: F.margin_ranking_loss(x, y, s, reduction="none"), [X1, X1.flip(0), SIGNS],
     [0, 0, 0], lambda x, y, s: (x, y, s), {"reduction": "none"}),
    ("prelu", lambda x: F.prelu(x - 0.5, torch.tensor([0.1, 0.2, 0.3])), [X2], [0],
     lambda x: (x, torch.tensor([0.1, 0.2, 0.3])), {}),
    ("embedding", lambda x: F.embedding((x > 0.5).long(), W), [X2], [0], lambda x: (x, W), {}),
    ("lstm_cell", lambda x: torch.lstm_cell(x, (ZEROS, ZEROS), *GATES), [X2], [0],
     lambda x: (x, (ZEROS, ZEROS), *GATES), {}),
    ("gru_cell", lambda x, h: torch.gru_cell(x, h, *[g[:6] for g in GATES]), [X2, X2[:, :2] * 2],
     [0, 0], lambda x, h: (x, h, *[g[:6] for g in GATES]), {}),
    ("rnn_tanh_cell", lambda x: torch.rnn_tanh_cell(x, ZEROS, *[g[:2] for g in GATES]), [X2], [0],
     lambda x: (x, ZEROS, *[g[:2] for g in GATES]), {}),
    ("lstm", lambda x: torch.lstm(x, (STATE, STATE), *LSTM, True), [X3], [0],
     lambda x: (x, (STATE, STATE), *LSTM, True), {}),
    ("lstm", lambda x: torch.lstm(x, (STATE, STATE), *LSTM, False), [S3], [1],
     lambda x: (x, (STATE, STATE), *LSTM, False), {}),
    ("gru", lambda x, h: torch.gru(x, h, *GRU, True), [X3, records(1, N, 2)], [0, 1],
     lambda x, h: (x, h, *GRU, True), {}),
    ("rnn_tanh", lambda x: torch.rnn_tanh(x, STATE, *TANH, False), [S3], [1],
     lambda x: (x, STATE, *TANH, False), {}),
    ("scaled_dot_product_attention", lambda x: F.scaled_dot_product_attention(x, x * 2, x),
     [X4], [0], lambda x: (x, x * 2, x), {}),
    ("scaled_dot_product_attention",
     lambda x: F.scaled_dot_product_attention(x, X4[:1], X4[:1], records(8, 8)), [X4], [0],
     lambda x: (x, X4[:1].clone(), X4[:1].clone(), records(8, 8)), {}),
    ("multi_head_attention_forward",
     lambda x: F.multi_head_attention_forward(x, x, x, *HEADS, training=False), [S4], [1],
     lambda x: (x, x, x, *HEADS), {"training": False}),
    ("embedding_bag", lambda x: F.embedding_bag((x > 0.5).long(), W), [X2], [0],
     lambda x: ((x > 0.5).long(), W), {}),
    ("one_hot", lambda x: F.one_hot((x > 0.5).long(), 2), [X2], [0], lambda x: (x, 2), {}),
    ("mse_loss", lambda x, y: F.mse_loss(x, y), [X2, X2 * 2], [0, 0], lambda x, y: (x, y), {}),
    ("mse_loss", lambda x, y: F.mse_loss(x, y, reduction="none"), [X2, X2 * 2], [0, 0],
     lambda x, y: (x, y), {"reduction": "none"}),
    ("cross_entropy", lambda x, y: F.cross_entropy(x, y, W[:, 0]), [X2, CLASSES], [0, 0],
     lambda x, y: (x, y, W[:, 0]), {}),
    ("nll_loss", lambda x, y: F.nll_loss(x, y, reduction="sum"), [X2, CLASSES], [0, 0],
     lambda x, y: (x, y), {"reduction": "sum"}),
    ("flatten", lambda x: x.flatten(1), [X4], [0], lambda x: (x, 1), {}),
    ("view", lambda x: x.view(N, -1), [X4], [0], lambda x: (x, N, -1), {}),
    ("unsqueeze", lambda x: x.unsqueeze(0), [X2], [0], lambda x: (x, 0), {}),
    ("squeeze", lambda x: x[None].squeeze(), [X2], [0], lambda x: (x[None],), {}),
    ("transpose", lambda x: x.transpose(0, -1), [X4], [0], lambda x: (x, 0, -1), {}),
    ("t", lambda x: x.t(), [X2], [0], lambda x: (x,), {}),
    ("mT", lambda x: x.mT, [X6], [1], lambda x: (x,), {}),
    ("permute", lambda x: x.permute(2, 0, 1, 3), [X4], [0], lambda x: (x, 2, 0, 1, 3), {}),
    ("getitem", lambda x: x[:, 1], [X4], [0], lambda x: (x, (slice(None), 1)), {}),
    ("getitem", lambda x: x[..., 1:], [X4], [0], lambda x: (x, (..., slice(1, None))), {}),
    ("select", lambda x: x.select(1, 1), [X4], [0], lambda x: (x, 1, 1), {}),
    ("split", lambda x: x.split(1, 1), [X4], [0], lambda x: (x, 1, 1), {}),
    ("unbind", lambda x: x.unbind(1), [X4], [0], lambda x: (x, 1), {}),
    ("cat", lambda x, y: torch.cat([x, y], 1), [X2, X2 * 2], [0, 0], lambda x, y: ([x, y], 1), {}),
    ("stack", lambda x, y: torch.stack([x, y]), [X2, X2 * 2], [0, 0], lambda x, y: ([x, y],), {}),
    ("hstack", lambda x, y: torch.hstack([x, y]), [X2, X2 * 2], [0, 0], lambda x, y: ([x, y],), {}),
    ("column_stack", lambda x, y: torch.column_stack([x, y]), [X1, X2], [0, 0],
     lambda x, y: ([x, y],), {}),
    ("getitem", lambda x: x[:, [2, 0]], [X2], [0], lambda x: (x, (slice(None), [2, 0])), {}),
    ("expand", lambda x: x.expand(2, N, 3), [X2], [0], lambda x: (x, 2, N, 3), {}),
    ("repeat", lambda x: x.repeat(1, 2), [X2], [0], lambda x: (x, 1, 2), {}),
    ("repeat_interleave", lambda x: x.repeat_interleave(2, 1), [X2], [0], lambda x: (x, 2, 1), {}),
    ("repeat_interleave", lambda x: x.repeat_interleave(2, -2), [X6], [1],
     lambda x: (x, 2), {"dim": -2}),
    ("kron", lambda x: torch.kron(x, W[:1]), [X2], [0], lambda x: (x, W[:1].clone()), {}),
    ("kron", lambda x: torch.kron(W[0], x), [X2], [0], lambda x: (W[0].clone(), x), {}),
    ("kron", lambda x: torch.kron(x, W[:, :1]), [X6], [1], lambda x: (x, W[:, :1].clone()), {}),
    ("roll", lambda x: x.roll(1, 1), [X2], [0], lambda x: (x, 1, 1), {}),
    ("movedim", lambda x: x.movedim(0, 2), [X4], [0], lambda x: (x, 0, 2), {}),
    ("movedim", lambda x: x.movedim((3, 1), (0, -1)), [X4], [0],
     lambda x: (x, (3, 1), (0, -1)), {}),
    ("unflatten", lambda x: x.unflatten(3, (2, 4)), [X4], [0], lambda x: (x, 3, (2, 4)), {}),
    ("tril", lambda x: x.tril(), [X4], [0], lambda x: (x,), {}),
    ("quantile", lambda x: x.quantile(0.9, 1), [X2], [0], lambda x: (x, 0.9, 1), {}),
    ("diff", lambda x: x.diff(), [X2], [0], lambda x: (x,), {}),
    ("std_mean", lambda x: torch.std_mean(x, 0), [X2], [0], lambda x: (x, 0), {}),
    ("var_mean", lambda x: torch.var_mean(x, 1), [X2], [0], lambda x: (x, 1), {}),
    ("matmul", lambda x, y: x @ y, [X6, X1], [1, 0], lambda x, y: (x, y), {}),
    ("dot", lambda x, y: x.dot(y), [X1, X1 * 2], [0, 0], lambda x, y: (x, y), {}),
    ("cov", lambda x: x.cov(), [X6], [1], lambda x: (x,), {}),
    ("corrcoef", lambda x: x.corrcoef(), [X6], [1], lambda x: (x,), {}),
    ("cdist", lambda x: torch.cdist(x, B3[0]), [X2], [0], lambda x: (x, B3[0]), {}),
    ("cdist", lambda x: torch.cdist(B3[0], x), [X2], [0], lambda x: (B3[0], x), {}),
    ("bucketize", lambda x: torch.bucketize(x, EDGES), [X2], [0], lambda x: (x, EDGES), {}),
    ("isin", lambda c: torch.isin(c, EDGES.long()), [CLASSES], [0],
     lambda c: (c, EDGES.long()), {}),
    ("grid_sample", lambda x, g: F.grid_sample(x, g, align_corners=False),
     [X4, records(N, 3, 3, 2) - 0.5], [0, 0], lambda x, g: (x, g), {"align_corners": False}),
    ("rrelu", lambda x: F.rrelu(x - 0.5), [X2], [0], lambda x: (x,), {}),
    ("alpha_dropout", lambda x: F.alpha_dropout(x), [X2], [0], lambda x: (x,), {}),
    ("pairwise_distance", lambda x, y: F.pairwise_distance(x, y), [X2, X2.flip(1)], [0, 0],
     lambda x, y: (x, y), {}),
    ("pairwise_distance", lambda x: F.pairwise_distance(x, W[:, 0], keepdim=True), [X2], [0],
     lambda x: (x, W[:, 0]), {"keepdim": True}),
    ("multi_margin_loss", lambda x, y: F.multi_margin_loss(x, y, weight=W[:, 0]), [X2, CLASSES],
     [0, 0], lambda x, y: (x, y), {"weight": W[:, 0]}),
    ("multilabel_margin_loss", lambda x, y: F.multilabel_margin_loss(x, y), [X2, SETS], [0, 0],
     lambda x, y: (x, y), {}),
    ("multilabel_soft_margin_loss",
     lambda x, y: F.multilabel_soft_margin_loss(x, y, W[:, 0], reduction="none"),
     [X2, X2.flip(1)], [0, 0], lambda x, y: (x, y, W[:, 0]), {"reduction": "none"}),
    ("gaussian_nll_loss", lambda x, y, v: F.gaussian_nll_loss(x, y, v), [X2, X2 * 2, X1],
     [0, 0, 0], lambda x, y, v: (x, y, v), {}),
    ("gaussian_nll_loss", lambda x, y: F.gaussian_nll_loss(x, y, records(1, 3)), [X2, X2 * 2],
     [0, 0], lambda x, y: (x, y, records(1, 3)), {}),
    ("triplet_margin_loss", lambda x, y: F.triplet_margin_loss(x, y, y * 2, 0.5, swap=True),
     [X2, X2 * 2], [0, 0], lambda x, y: (x, y, y, 0.5), {"swap": True}),
    ("triplet_margin_with_distance_loss",
     lambda x, y: F.triplet_margin_with_distance_loss(x, y, y * 2, reduction="none"),
     [X2, X2 * 2], [0, 0], lambda x, y: (x, y, y), {"reduction": "none"}),
    ("binary_cross_entropy_with_logits",
     lambda x, y: F.binary_cross_entropy_with_logits(x, y, pos_weight=W[:, 0]), [X2, X2.flip(1)],
     [0, 0], lambda x, y: (x, y), {"pos_weight": W[:, 0]}),
    ("binary_cross_entropy", lambda x, y: F.binary_cross_entropy(x, y, W[:, 0]),
     [X2, X2.flip(1)], [0, 0], lambda x, y: (x, y, W[:, 0]), {}),
]  # fmt: skip


def flat(result):
    return list(result) if isinstance(result, tuple | list) else [result]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_rule_promises_what_torch_does(case):
    short, function, data, where, arguments, kwargs = case
    result = function(*data)
    found = judged(short, arguments(*data), kwargs, list(zip(data, where, strict=True)), result)
    assert found is not None
    assert not found.injected
    order = torch.tensor([2, 0, 5, 1, 4, 3])
    moved_data = [t.index_select(a, order) for t, a in zip(data, where, strict=True)]
    is_aligned = short != "gather"  # its indices belong to the records in their old order
    moved = flat(function(*moved_data)) if is_aligned else [result.index_select(0, order)]
    places = found.axes or (found.axis,) * len(moved)
    for before, after, axis in zip(flat(result), moved, places, strict=True):
        expected = before if found.is_reduced else before.index_select(axis, order)
        assert torch.allclose(expected, after, atol=1e-6)
    if found.is_reduced or not is_aligned:
        return
    changed = [t.clone() for t in data]
    for tensor, axis in zip(changed, where, strict=True):
        target = tensor.select(axis, 3)
        target.copy_((target + 1) % 3 if tensor.dtype == torch.int64 else 1.2 - target)
    for before, after, axis in zip(flat(result), flat(function(*changed)), places, strict=True):
        differs = (before != after).transpose(0, axis).reshape(N, -1).any(1)
        assert not differs[[0, 1, 2, 4, 5]].any()


CLOSED = [
    ("sum", lambda x: x.cumsum(0), X2, lambda x: (x, "0"), {}),
    ("cumsum", lambda x: x.cumsum(0), X2, lambda x: (x, 0), {}),
    ("softmax", lambda x: x.softmax(0), X2, lambda x: (x, 0), {}),
    ("max", lambda x: x.max(0), X2, lambda x: (x, 0), {}),
    ("max", lambda x: x.max(), X2, lambda x: (x,), {}),
    ("sort", lambda x: x.sort(), X1, lambda x: (x,), {}),
    ("flip", lambda x: x.flip(0), X2, lambda x: (x, [0]), {}),
    ("norm", lambda x: x.norm(50), X2, lambda x: (x, 50), {}),
    ("norm", lambda x: x.norm(float("inf")), X2, lambda x: (x, float("inf")), {}),
    ("getitem", lambda x: x[1:], X2, lambda x: (x, slice(1, None)), {}),
    ("getitem", lambda x: x[3], X2, lambda x: (x, 3), {}),
    ("getitem", lambda x: x[[0, 1, 2, 3, 4, 0]], X2, lambda x: (x, [0, 1, 2, 3, 4, 0]), {}),
    ("matmul", lambda x: records(3, N) @ x, X2, lambda x: (records(3, N), x), {}),
    ("linear", lambda x: F.linear(x, records(3, N)), X6, lambda x: (x, records(3, N)), {}),
    ("conv2d", lambda x: x, records(2, N, 8, 8), lambda x: (x,), {}),
    ("view", lambda x: x.view(3, N), X2, lambda x: (x, 3, N), {}),
    ("view", lambda x: x.view(9, 2), X2, lambda x: (x, 9, 2), {}),
    ("view", lambda x: x.view(torch.uint8).view(-1), X2[:, :1].clone(), lambda x: (x, -1), {}),
    ("cat", lambda x: torch.cat([x, x]), X2, lambda x: ([x, x],), {}),
    ("logsumexp", lambda x: x.logsumexp(0), X2, lambda x: (x, 0), {}),
    ("prod", lambda x: x.prod(), X2, lambda x: (x,), {}),
    ("any", lambda x: (x > 2).any(), X2, lambda x: (x,), {}),
    ("where", lambda x: torch.where(x > 0.5), X2, lambda x: (x,), {}),
    ("one_hot", lambda x: F.one_hot(x.long()), X2, lambda x: (x,), {}),
    ("repeat_interleave", lambda x: x.repeat_interleave(2, 0), X2, lambda x: (x, 2, 0), {}),
    ("repeat_interleave", lambda x: x.repeat_interleave(2), X2, lambda x: (x, 2), {}),
    ("repeat_interleave", lambda x: x.repeat_interleave(TIMES, 1), X2, lambda x: (x, TIMES, 1), {}),
    ("kron", lambda x: torch.kron(x, W[:2]), X2, lambda x: (x, W[:2].clone()), {}),
    ("kron", lambda x: torch.kron(x, x), X2, lambda x: (x, x), {}),
    ("mse_loss", lambda x: F.mse_loss(x, x), X2, lambda x: (x, x), {"size_average": True}),
    ("fft", lambda x: x, X2, lambda x: (x,), {}),
    (
        "lstm",
        lambda x: torch.lstm(x, (STATE[:, :5], STATE[:, :5]), *LSTM, False),
        X3,
        lambda x: (x, (STATE[:, :5], STATE[:, :5]), *LSTM, False),
        {},
    ),
    (
        "gru",
        lambda x: torch.gru(x, STATE[:, :5], *GRU, True),
        S3,
        lambda x: (x, STATE[:, :5], *GRU, True),
        {},
    ),
    (
        "scaled_dot_product_attention",
        lambda x: F.scaled_dot_product_attention(x, x, x),
        X2,
        lambda x: (x, x, x),
        {},
    ),
    (
        "multi_head_attention_forward",
        lambda x: x,
        records(N, 5, 4),
        lambda x: (x, x, x, *HEADS),
        {"training": False},
    ),
    ("embedding_bag", lambda x: x, records(N), lambda x: (x, W, torch.tensor([0, 3])), {}),
    ("tril", lambda x: x.tril(), X2, lambda x: (x,), {}),
    ("repeat", lambda x: x.repeat(2, 1), X2, lambda x: (x, 2, 1), {}),
    ("roll", lambda x: x.roll(1, 0), X2, lambda x: (x, 1, 0), {}),
    ("roll", lambda x: x.roll(1), X2, lambda x: (x, 1), {}),
    (
        "getitem",
        lambda x: x[:, 0, :, [0]],
        X4,
        lambda x: (x, (slice(None), 0, slice(None), [0])),
        {},
    ),
    ("cov", lambda x: x.cov(), X2, lambda x: (x,), {}),
    ("cov", lambda x: x.cov(aweights=records(N)), X6, lambda x: (x,), {"aweights": records(N)}),
    ("cdist", lambda x: torch.cdist(x, x), X2, lambda x: (x, x), {}),
    ("quantile", lambda x: x.quantile(0.9, 0), X2, lambda x: (x, 0.9, 0), {}),
    ("quantile", lambda x: x.quantile(1.0), X2, lambda x: (x, 1.0), {}),
    ("kthvalue", lambda x: x.kthvalue(2, 0), X2, lambda x: (x, 2, 0), {}),
    ("diff", lambda x: x.diff(), X1, lambda x: (x,), {}),
    ("std_mean", lambda x: torch.cummax(x, 0), X2, lambda x: (x, "0"), {}),
    ("hstack", lambda x: torch.hstack([x, x]), X1, lambda x: ([x, x],), {}),
    (
        "gaussian_nll_loss",
        lambda x: F.gaussian_nll_loss(X2, x[:3], 0.5),
        X1,
        lambda x: (X2, x, 0.5),
        {},
    ),
    ("triplet_margin_loss", lambda x: F.triplet_margin_loss(x, x, x), X1, lambda x: (x, x, x), {}),
    (
        "multilabel_soft_margin_loss",
        lambda x: F.multilabel_soft_margin_loss(x, x, records(N, 1, 3), reduction="none"),
        X2,
        lambda x: (x, x, records(N, 1, 3)),
        {"reduction": "none"},
    ),
    (
        "scaled_dot_product_attention",
        lambda x: x,
        X3,
        lambda x: (x, x, x, records(N, 1, 5, 5)),
        {},
    ),
    ("multi_margin_loss", lambda x: x, X1, lambda x: (x, torch.tensor(1)), {}),
    ("pad", lambda x: F.pad(x, (0, 0, 1, -1)), X2, lambda x: (x, (0, 0, 1, -1)), {}),
    ("interpolate", lambda x: x, X2, lambda x: (x,), {}),
    ("unfold", lambda x: x.unfold(0, 1, 1), X2, lambda x: (x, 0, 1, 1), {}),
    ("einsum", lambda x: x, X2, lambda x: ("n..f->n", x), {}),
    ("einsum", lambda x: x, X2, lambda x: ("...->...", W), {}),
    ("einsum", lambda x: x, X2, lambda x: ("nf,mf,mg->ng", x, x, x), {}),
    ("addmm", lambda x: x, X2, lambda x: (x, W.T, W), {}),
    ("addmv", lambda x: x, X6, lambda x: (W[0], x, X1), {}),
    ("addbmm", lambda x: x, X4[:, 0], lambda x: (x, x, x), {}),
    ("chain_matmul", lambda x: x, X6, lambda x: (x, records(N, 4)), {}),
    ("linalg_multi_dot", lambda x: x, X2, lambda x: ([records(3, N), x],), {}),
    ("cosine_similarity", lambda x: F.cosine_similarity(x, x, 0), X2, lambda x: (x, x, 0), {}),
    (
        "cosine_similarity",
        lambda x: F.cosine_similarity(x, x[None]),
        X2,
        lambda x: (x, x[None].clone()),
        {},
    ),
    ("rot90", lambda x: x.rot90(), X2, lambda x: (x,), {}),
    ("autograd_grad", lambda x: x, X2, lambda x: (x, W), {}),
    ("autograd_grad", lambda x: x, X2, lambda x: (W.sum(), [x], X1), {}),
    ("einsum", lambda x: x[:3].diagonal(), X2, lambda x: ("ii->i", x), {}),
    ("einsum", lambda x: x @ x.T, X2, lambda x: ("nf,mf->nm", x, x), {}),
    ("bilinear", lambda x: x, X2, lambda x: (x, x, B3, records(N, 2)), {}),
    ("triplet_margin_loss", lambda x: x, X2, lambda x: (x, x, x), {"reduce": False}),
    (
        "linear",
        lambda x: F.linear(x, W.T, records(N, 4)),
        X2,
        lambda x: (x, W.T, records(N, 4)),
        {},
    ),
]


@pytest.mark.parametrize("case", CLOSED, ids=lambda case: case[0])
def test_what_mixes_or_chooses_records_closes_the_way(case):
    short, function, x, arguments, kwargs = case
    where = 1 if x.shape[0] != N else 0
    result = None
    try:
        result = function(x)
    except (TypeError, RuntimeError):
        pytest.fail("the case itself is wrong")
    assert judged(short, arguments(x), kwargs, [(x, where)], result) is None


def test_parts_of_records_lie_one_after_another_and_are_joined_again():
    call = axes.Call("view", (X2, -1), {}, X2.view(-1), lambda t: rows(0), bool)
    found = axes.outcome(call)
    assert found is not None and (found.axis, found.folded) == (0, (1, 3))
    parts = Rows(0, 3 * N, ("whole", FOLDED, 1, 3), ATOMS, N)
    for size, folded, joined in ((N, 3, True), (3 * N, 1, False), (6 * N, 2, False)):
        result = X2.repeat(1, 2).view(size, -1)
        found = axes.outcome(axes.Call("view", (X2.view(-1),), {}, result, lambda t: parts, bool))
        assert found is not None and (found.parts, found.is_joined) == (folded, joined)
    for size in (2, 2 * N):  # parts of several records together
        result = X2.repeat(1, 2).view(size, -1)
        call = axes.Call("view", (X2.view(-1),), {}, result, lambda t: parts, bool)
        assert axes.outcome(call) is None


def test_first_steps_of_all_records_lie_before_their_second_ones_and_are_joined_again():
    steps = records(5, N, 2)  # steps, records, features
    call = axes.Call("view", (steps, -1, 2), {}, steps.view(-1, 2), lambda t: rows(1), bool)
    found = axes.outcome(call)
    assert found is not None and (found.axis, found.folded) == (0, (5, 1))
    parts = Rows(0, 5 * N, ("whole", FOLDED, 5, 1), ATOMS, N)
    call = axes.Call("view", (steps.view(-1, 2),), {}, steps, lambda t: parts, bool)
    found = axes.outcome(call)
    assert found is not None and (found.axis, found.parts, found.is_joined) == (1, 5, True)
    # as many rows of records first would be others
    call = axes.Call("view", (steps.view(-1, 2),), {}, steps.view(N, 5, 2), lambda t: parts, bool)
    assert axes.outcome(call) is None


@pytest.mark.parametrize(("name", "base"), [
    ("torch.Tensor.__radd__", "add"), ("torch.Tensor.add_", "add"), ("torch.add", "add"),
    ("torch.Tensor.__getitem__", "getitem"), ("torch.nn.functional.relu_", "relu"),
    ("python.List.sum", ""), ("torch.linalg.norm", "linalg_norm"), ("torch.linalg.lu", ""),
    ("torch.fft.fft", "fft_fft"), ("torch.linalg.vector_norm", "norm"),
    ("torch.distributions.Normal.mean", ""), ("torch.Tensor.__setitem__", "setitem"),
    ("python.List.__setitem__", ""),
])  # fmt: skip
def test_only_torchs_own_operations_have_rules(name, base):
    assert axes.base_name(name) == base
