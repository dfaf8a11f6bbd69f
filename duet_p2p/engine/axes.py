"""How each operation treats the record axis. CLOSED SET: a name without a rule here closes it.

An operation keeps the way to an aggregate open only if it applies one and the same function to
each record, independent of its position and of other records. A rule gets a call whose operands
with records all have the *same* records, and answers where the records lie in the result, that
they were reduced away by a sum over all of them, or nothing: then the result is `per_record`
for ever. Sizes are never used to guess an axis; they only confirm what the rule says.

A tensor without records that has more than one element along the record axis tells the records
apart, unless it is the same for all of them. If it is public that is called *injected* and
reported; if gradients flow to it, each of them would be one record's, so that closes the way.

tests/unit/test_axes.py checks the rules against torch: changing one record may change only that
record's results, and the order of the records may not change a reduced one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from duet_p2p.engine import axis_algebra as algebra
from duet_p2p.engine import axis_features as features
from duet_p2p.engine import axis_graphs as graphs
from duet_p2p.engine import axis_groups as groups
from duet_p2p.engine import axis_losses as losses
from duet_p2p.engine import axis_moves as moves
from duet_p2p.engine import axis_networks as networks
from duet_p2p.engine import axis_packing as packing
from duet_p2p.engine import axis_picks as picks
from duet_p2p.engine import axis_rules as rules
from duet_p2p.engine.axis_cells import cell
from duet_p2p.engine.axis_rules import REDUCED, Call, Rule, alike

__all__ = [
    "BY_VALUES",
    "COPIES",
    "ELEMENTWISE",
    "IN_PLACE",
    "LABELLED",
    "Call",
    "Outcome",
    "alike",
    "base_name",
    "outcome",
]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Answer of a rule."""

    axis: int
    """Where the records lie in the results, or `REDUCED`."""
    injected: bool
    axes: tuple[int, ...] = ()
    """Of each result, where they are not the same."""
    thinned: tuple[int, float] | None = None
    """Of a dropout: which one, and its chance."""
    folded: tuple[int, int] = (1, 1)
    """Of a reshape that cut each record into parts: how many of them lie apart, the first of all
    records before the second ones, and how many of each one after another."""
    is_joined: bool = False
    """It put such parts together again."""
    is_mixed: bool = False
    """A sum over all records is in each one, as in ``x - x.mean(0)``."""
    rekeyed: tuple[int, tuple[str | int, ...]] | None = None
    """How many rows the results have and the key of these, if they are not those of the arguments:
    records in another order, or packed."""
    states: tuple[int, tuple[str | int, ...]] | None = None
    """The same of all results but the first."""
    is_by_values: bool = False
    """Other values of something public could have another outcome."""

    @property
    def parts(self) -> int:
        """Into how many parts each record was cut."""
        return self.folded[0] * self.folded[1]

    @property
    def is_reduced(self) -> bool:
        """All records went into each number."""
        return self.axis == REDUCED


def outcome(call: Call) -> Outcome | None:
    """What the operation's rule says, confirmed by the shapes; None closes the way."""
    rule = _RULES.get(call.short)
    found = None if rule is None else rule(call)
    if found is None:
        return None
    places = found if isinstance(found, tuple) else ()
    axis = found[0] if isinstance(found, tuple) else found
    return Outcome(axis, call.injected, places, call.thinned, call.folded, call.is_joined,
                   call.is_mixed, call.rekeyed, call.states, call.is_by_values)  # fmt: skip


@cache
def base_name(name: str) -> str:
    """The rule's name of an operation: ``torch.Tensor.__radd__`` and ``add_`` are both ``add``.

    Empty for names outside torch's own operations, whatever they end in.
    """
    prefix, _, short = name.rpartition(".")
    if prefix not in _PREFIXES or name in _OTHER_ORDERS:
        return ""
    if short.startswith("__") and short.endswith("__"):
        inner = short[2:-2]
        return _DUNDERS.get(inner, inner if inner in ("getitem", "setitem") else "")
    if prefix in _APART and short not in ("vector_norm", "matmul", "vecdot"):
        # linalg.norm of a matrix can be its largest singular value
        short = f"{prefix.rpartition('.')[2]}_{short}"
        return short if short in _RULES else ""
    short = short.rstrip("_")
    return _ALIASES.get(short, short)


_PREFIXES: Final = frozenset({
    "torch", "torch.Tensor", "torch.nn.functional", "torch.special", "torch.linalg", "torch.fft",
    "torch.autograd",
})  # fmt: skip

_APART: Final = frozenset({"torch.linalg", "torch.fft", "torch.autograd"})
"""Places whose names mean something else than torch's own, or may do."""

_OTHER_ORDERS: Final = frozenset({"torch.embedding", "torch.embedding_bag"})
"""Names whose arguments come in another order than those of the rule: the table, then indices."""

_DUNDERS: Final = {
    **{name: name for name in ("add", "sub", "mul", "pow", "mod", "and", "or", "xor", "eq", "ne",
                               "lt", "le", "gt", "ge", "neg", "pos", "abs", "invert", "matmul")},
    "truediv": "div", "div": "div", "floordiv": "floor_divide", "mod": "remainder",
    "radd": "add", "rsub": "sub", "rmul": "mul", "rtruediv": "div", "rdiv": "div", "rpow": "pow",
    "rmod": "remainder", "rfloordiv": "floor_divide", "rand": "and", "ror": "or", "rxor": "xor",
    "rmatmul": "rmatmul",
    **{f"{way}{side}shift": f"bitwise_{word}_shift"
       for side, word in (("l", "left"), ("r", "right")) for way in ("", "r", "i")},
    "iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "idiv": "div", "ipow": "pow",
    "imod": "remainder", "ifloordiv": "floor_divide", "iand": "and", "ior": "or", "ixor": "xor",
}  # fmt: skip

_ALIASES: Final = {
    "absolute": "abs",
    "concat": "cat",
    "concatenate": "cat",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "vector_norm": "norm",
}

_ELEMENTWISE_NAMES: Final = """
abs acos acosh add addcdiv addcmul and angle arccos arccosh arcsin arcsinh arctan arctan2 arctanh
asin asinh atan atan2 atanh bitwise_and bitwise_not bitwise_or bitwise_xor celu ceil clamp clamp_max
clamp_min clip conj conj_physical copysign cos cosh deg2rad digamma div divide elu eq erf erfc
erfinv exp exp2 expit expm1 fix float_power floor floor_divide fmax fmin fmod frac gelu ge greater
greater_equal gt hardshrink hardsigmoid hardswish hardtanh heaviside hypot i0 invert isclose
isfinite isinf isnan isneginf isposinf isreal ldexp le leaky_relu lerp less less_equal lgamma log
log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor logit
logsigmoid lt masked_fill maximum minimum mish mul multiply mvlgamma nan_to_num ne neg negative
nextafter not_equal or pos positive pow rad2deg real imag reciprocal relu relu6 remainder round
rsqrt rsub selu sgn sigmoid sign signbit silu sin sinc sinh softplus softshrink softsign sqrt
square sub subtract tan tanh tanhshrink threshold true_divide trunc xlogy xor
entr erfcx gammainc gammaincc gammaln gcd i0e i1 i1e igamma igammac lcm log_ndtr ndtr ndtri
polygamma psi xlog1py zeta
airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 modified_bessel_i0 modified_bessel_i1
modified_bessel_k0 modified_bessel_k1 scaled_modified_bessel_k0 scaled_modified_bessel_k1
spherical_bessel_j0 multigammaln complex polar bitwise_left_shift bitwise_right_shift
"""
ELEMENTWISE: Final = frozenset(_ELEMENTWISE_NAMES.split())
"""Bases of names that broadcast their operands; a number among them changes no shape."""

_COPIES_NAMES: Final = """
alias clone contiguous cpu cuda data detach double float half bfloat16 int long short bool byte char
cfloat cdouble to type
type_as requires_grad Parameter positive pos flatten ravel reshape view view_as reshape_as unsqueeze
squeeze transpose t T mT permute getitem select narrow index_select split chunk unbind
"""
COPIES: Final = frozenset(_COPIES_NAMES.split())
"""Bases of names whose results hold the same numbers, only moved or converted."""

_RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(ELEMENTWISE, rules.elementwise),
    **dict.fromkeys(losses.LOSSES, losses.loss),
    **dict.fromkeys(
        ("alias", "clone", "contiguous", "cpu", "cuda", "data", "detach", "double", "float", "half",
         "bfloat16", "int", "long", "short", "bool", "byte", "char", "cfloat", "cdouble", "to",
         "type", "requires_grad", "retain_grad", "resolve_conj", "resolve_neg"),
        moves.same,
    ),
    **dict.fromkeys(
        ("sum", "mean", "nansum", "nanmean", "std", "var", "count_nonzero", "std_mean", "var_mean"),
        rules.sum_rule,
    ),
    "where": rules.where,
    **dict.fromkeys(("max", "min"), rules.binary_or_dim),
    **dict.fromkeys(
        ("amax", "amin", "argmax", "argmin", "median", "nanmedian", "mode", "softmax",
         "log_softmax", "softmin", "cumsum", "cumprod", "cummax", "cummin", "logcumsumexp",
         "logsumexp", "all", "any", "prod", "select", "narrow", "gather", "aminmax",
         "trapezoid", "trapz", "cumulative_trapezoid", "cross"),
        rules.over_features(1, None),
    ),
    **dict.fromkeys(
        ("quantile", "nanquantile", "take_along_dim"), rules.over_features(2, None)
    ),
    **dict.fromkeys(("kthvalue", "diff"), rules.over_features(2, -1)),
    **dict.fromkeys(("tensor_split", "split_with_sizes"), rules.over_features(2, 0)),
    "flip": moves.flip,
    **dict.fromkeys(("sort", "argsort", "glu"), rules.over_features(1, -1)),
    **dict.fromkeys(("split", "chunk"), rules.over_features(2, 0)),
    "unbind": rules.over_features(1, 0),
    "topk": rules.over_features(2, -1), "repeat_interleave": picks.repeated,
    "normalize": rules.over_features(2, 1),
    "linear": rules.linear,
    **algebra.RULES,
    **graphs.RULES,
    "index_select": packing.selected, "index_fill": picks.along(1),
    "index_copy": packing.restored,
    "index_add": groups.index_add, "index_put": groups.index_put,
    "scatter": groups.scatter, "scatter_add": groups.scatter_add,
    "scatter_reduce": groups.scatter_reduce,
    **dict.fromkeys(("histc", "histogram"), groups.counts),
    **features.TRANSFORMS,
    "ctc_loss": losses.spelt,
    **{f"conv{n}d": rules.per_record_layer(n) for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": rules.per_record_layer(n) for n in (1, 2, 3)},
    **{f"{kind}_pool{n}d": rules.per_record_layer(n)
       for kind in ("max", "avg", "lp", "adaptive_avg", "adaptive_max") for n in (1, 2, 3)},
    **{f"{kind}_pool{n}d_with_indices": rules.per_record_layer(n)
       for kind in ("max", "adaptive_max") for n in (1, 2, 3)},
    "pixel_shuffle": rules.per_record_layer(2), "pixel_unshuffle": rules.per_record_layer(2),
    **dict.fromkeys(
        ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout",
         "feature_alpha_dropout"),
        rules.dropout,
    ),
    **dict.fromkeys(("batch_norm", "group_norm", "instance_norm", "prelu"), rules.norm_layer),
    **dict.fromkeys(("layer_norm", "rms_norm"), rules.layer_norm),
    "pad": features.pad,
    **dict.fromkeys(
        ("interpolate", "upsample", "upsample_bilinear", "upsample_nearest", "channel_shuffle",
         "local_response_norm", "fold"),
        features.batch_layer(3),
    ),
    "unfold": features.unfold,
    "bilinear": features.bilinear,
    "einsum": features.einsum,
    "pairwise_distance": features.distance, "cdist": features.distances,
    **dict.fromkeys(("cov", "corrcoef"), features.covariance),
    **dict.fromkeys(("bucketize", "isin"), features.members),
    **dict.fromkeys(("tril", "triu"), features.last_two),
    **dict.fromkeys(("grid_sample", "affine_grid"), features.batch_of(3)),
    **{f"max_unpool{n}d": features.batch_of(n + 2) for n in (1, 2, 3)},
    "gumbel_softmax": features.drawn, "rrelu": features.leaky,
    "embedding": rules.embedding,
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), cell),
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), networks.recurrent),
    "scaled_dot_product_attention": networks.attention,
    "multi_head_attention_forward": networks.heads,
    "embedding_bag": networks.bag,
    "one_hot": rules.one_hot,
    **dict.fromkeys(
        ("view", "reshape", "flatten", "ravel", "view_as", "reshape_as", "unflatten"),
        moves.reshape,
    ),
    **dict.fromkeys(("expand", "expand_as", "broadcast_to", "repeat", "tile"), moves.laid_out),
    "broadcast_tensors": moves.together,
    "type_as": moves.typed, "roll": moves.roll, "movedim": moves.move, "moveaxis": moves.move,
    **dict.fromkeys(("hstack", "column_stack"), moves.columns), "dstack": moves.depths,
    "unsqueeze": moves.unsqueeze, "squeeze": moves.squeeze,
    "transpose": moves.transpose, "t": moves.reverse, "T": moves.reverse, "mT": moves.m_transpose,
    "permute": moves.permute,
    "getitem": picks.getitem, "setitem": picks.setitem,
    "cat": moves.join, "stack": moves.join,
}  # fmt: skip

BY_VALUES: Final = frozenset(
    name for name, rule in _RULES.items()
    if rule in (rules.dropout, networks.recurrent, networks.attention, networks.heads)
)  # fmt: skip
"""Bases of names whose rule can draw a mask, which is another one each time."""
IN_PLACE: Final = (
    ELEMENTWISE | {name for name, rule in _RULES.items() if rule is rules.dropout}
    | {"index_fill", "index_copy", "index_add", "scatter", "scatter_add", "scatter_reduce",
       "requires_grad", "setitem"}
)  # fmt: skip
"""Bases of names that may write over their first argument what they would give otherwise."""
LABELLED: Final = frozenset({"nll_loss", "cross_entropy"})
"""Losses that look a record's own class up: the classes may be whole beside thinned records."""
