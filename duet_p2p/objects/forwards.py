"""Forward passes of remote modules where torch's own looks at values or asks for real tensors.

Attention and the transformer layers look at their masks and choose between kernels; batch norm with
a cumulative average reads a counter. Over there the function decides that itself, so these forwards
do the same computation without looking. They stand in only for torch's own forward: a subclass that
overrides it keeps its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import _SpectralNorm

__all__ = ["stand_ins_of"]


def _attention(
    self: Any,
    query: Any,
    key: Any,
    value: Any,
    key_padding_mask: Any = None,
    need_weights: bool = True,
    attn_mask: Any = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Any, Any]:
    """`nn.MultiheadAttention`: one operation on the owner's side."""
    is_turned = self.batch_first and query.dim() == 3
    if is_turned:
        # what was one object stays one: so self-attention is recognised over there
        turned = {id(x): x.transpose(1, 0) for x in (query, key, value)}
        query, key, value = turned[id(query)], turned[id(key)], turned[id(value)]
    more = (
        {}
        if self._qkv_same_embed_dim
        else {
            "use_separate_proj_weight": True,
            "q_proj_weight": self.q_proj_weight,
            "k_proj_weight": self.k_proj_weight,
            "v_proj_weight": self.v_proj_weight,
        }
    )
    output, weights = F.multi_head_attention_forward(
        query,
        key,
        value,
        self.embed_dim,
        self.num_heads,
        self.in_proj_weight,
        self.in_proj_bias,
        self.bias_k,
        self.bias_v,
        self.add_zero_attn,
        self.dropout,
        self.out_proj.weight,
        self.out_proj.bias,
        training=self.training,
        key_padding_mask=key_padding_mask,
        need_weights=need_weights,
        attn_mask=attn_mask,
        average_attn_weights=average_attn_weights,
        is_causal=is_causal,
        **more,
    )
    return (output.transpose(1, 0) if is_turned else output), weights


def _encoder_layer(
    self: Any,
    src: Any,
    src_mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool = False,
) -> Any:
    """`nn.TransformerEncoderLayer`, after Xiong and others, arXiv 2002.04745, figure 1."""

    def attend(x: Any) -> Any:
        return self._sa_block(x, src_mask, src_key_padding_mask, is_causal=is_causal)

    if self.norm_first:
        src = src + attend(self.norm1(src))
        return src + self._ff_block(self.norm2(src))
    src = self.norm1(src + attend(src))
    return self.norm2(src + self._ff_block(src))


def _encoder(
    self: Any,
    src: Any,
    mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool | None = None,
) -> Any:
    """`nn.TransformerEncoder`; a mask is not searched for being causal, which is a hint only."""
    for layer in self.layers:
        src = layer(
            src,
            src_mask=mask,
            is_causal=bool(is_causal),
            src_key_padding_mask=src_key_padding_mask,
        )
    return src if self.norm is None else self.norm(src)


def _decoder(
    self: Any,
    tgt: Any,
    memory: Any,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    tgt_is_causal: bool | None = None,
    memory_is_causal: bool = False,
) -> Any:
    """`nn.TransformerDecoder`, likewise."""
    for layer in self.layers:
        tgt = layer(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=bool(tgt_is_causal),
            memory_is_causal=memory_is_causal,
        )
    return tgt if self.norm is None else self.norm(tgt)


def _batch_norm(self: Any, input: Any) -> Any:
    """Batch norm; with ``momentum=None`` the weight of a batch is one over the remote count."""
    self._check_input_dim(input)
    factor = 0.0 if self.momentum is None else self.momentum
    if self.training and self.track_running_stats and self.num_batches_tracked is not None:
        self.num_batches_tracked.add_(1)
        if self.momentum is None:
            factor = 1.0 / self.num_batches_tracked.item()
    keeps = not self.training or self.track_running_stats
    return F.batch_norm(
        input,
        self.running_mean if keeps else None,
        self.running_var if keeps else None,
        self.weight,
        self.bias,
        self.training or (self.running_mean is None and self.running_var is None),
        factor,
        self.eps,
    )


def _power_method(self: Any, weight_mat: Any, n_power_iterations: int) -> None:
    """`parametrizations.spectral_norm`: torch writes to its vectors with ``out=``."""
    with torch.no_grad():
        for _ in range(n_power_iterations):
            u = F.normalize(torch.mv(weight_mat, self._v), dim=0, eps=self.eps)
            self._u.copy_(u)
            self._v.copy_(F.normalize(torch.mv(weight_mat.H, u), dim=0, eps=self.eps))


_FORWARDS: Final[Mapping[type[nn.Module], Callable[..., Any]]] = {
    nn.MultiheadAttention: _attention,
    nn.TransformerEncoderLayer: _encoder_layer,
    nn.TransformerEncoder: _encoder,
    nn.TransformerDecoder: _decoder,
    nn.modules.batchnorm._BatchNorm: _batch_norm,
}


def stand_ins_of(cls: Any) -> dict[str, Callable[..., Any]]:
    """Methods of remote modules of this class that take the place of torch's own."""
    if issubclass(cls, _SpectralNorm):
        return {"_power_method": _power_method}
    for base, forward in _FORWARDS.items():
        if issubclass(cls, base) and cls.forward is base.forward:
            return {"forward": forward}
    return {}
