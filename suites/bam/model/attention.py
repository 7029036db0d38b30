"""Attention experts: the heads of all experts in one call, mixed by one gate per token.

Shape suffixes: B sequences, T tokens, S keys (cached ones too), D features, E experts, H heads of
one expert, K key and value heads of one expert, G = H / K heads that share a key, C channels of a
head, P = C / 2 rotated pairs.
"""

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from suites.bam.model.configuration import BamConfig
from suites.bam.model.routing import Router, route


class KeyValueCache(Protocol):
    """What attention needs of a cache of transformers."""

    def update(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Appends keys and values [B, heads, T, C] of a layer; returns all of the layer."""
        ...


class Attended(NamedTuple):
    """What an attention layer returns."""

    out_BTD: Tensor
    gate_BTE: Tensor | None
    """Gates of the experts, None with one."""
    weight_BHTS: Tensor | None
    """Attention weights of all heads, those of expert 0 first, where they were asked for."""


class Rotation(NamedTuple):
    """Rotary position embedding of some positions."""

    cos: Tensor
    """[T, 1, C], or [B, T, 1, C]: each angle twice, in the layout of the pairs."""
    sin: Tensor
    """[T, 1, P], or [B, T, 1, P]."""
    interleaved: bool


def rotation(config: BamConfig, position: Tensor, dtype: torch.dtype) -> Rotation:
    """Angles for positions [T] or [B, T]."""
    parameters = config.rope_parameters or {}
    if (kind := parameters.get("rope_type", "default")) == "default":
        channel = torch.arange(0, config.head_dim, 2, device=position.device)
        frequency_P = parameters.get("rope_theta", config.rope_theta) ** (
            -channel.float() / config.head_dim
        )
        scale = 1.0
    else:
        frequency_P, scale = ROPE_INIT_FUNCTIONS[kind](config, position.device)
    angle = (position.unsqueeze(-1).float() * frequency_P).unsqueeze(-2)
    cos, sin = (angle.cos() * scale).to(dtype), (angle.sin() * scale).to(dtype)
    if config.rope_interleaved:
        return Rotation(cos.repeat_interleave(2, dim=-1), sin, True)
    return Rotation(torch.cat([cos, cos], dim=-1), sin, False)


def rotate(x_BTHC: Tensor, by: Rotation) -> Tensor:
    """Turns each pair of channels by its angle."""
    rotated: Tensor = _Rotate.apply(x_BTHC, *by)  # type: ignore[no-untyped-call]
    return rotated


class Attention(nn.Module):
    """`num_attention_experts` attention layers in stacked tensors; with one, plain attention.

    out = sum over experts j of  g_j(h) MHA_j(h),  g = softmax over all experts (`soft`), the same
    with all but the best one or two gates set to 0 (`top1`, `top2`), or 1 / E (`uniform`).

    Heads of expert 0 come first in queries, keys, values and in the columns of the output matrix.
    Since MHA_j ends in a product with its own output matrix, the gates can scale the heads before
    one product with all of them. With `shared_kv` there is one key and one value matrix for all.
    Top-k routing computes all experts and drops what it does not need: it is there to compare
    functions, not to save time. Source: BAM, section 3.4.
    """

    def __init__(self, config: BamConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.experts = config.num_attention_experts
        self.kv_experts = config.key_value_experts
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.head_dim = config.head_dim
        self.routing = config.attention_routing
        self.renormalise = config.norm_topk_prob
        features, bias = config.hidden_size, config.attention_bias
        query = self.experts * self.heads * self.head_dim
        key = self.kv_experts * self.kv_heads * self.head_dim
        self.q = nn.Linear(features, query, bias)
        self.k = nn.Linear(features, key, bias)
        self.v = nn.Linear(features, key, bias)
        self.o = nn.Linear(query, features, bias=False)
        self.q_norm = self.k_norm = None
        if config.qk_norm:
            self.q_norm = HeadNorm(self.experts, self.head_dim, config.norm_eps)
            self.k_norm = HeadNorm(self.kv_experts, self.head_dim, config.norm_eps)
        routed = self.experts > 1 and self.routing != "uniform"
        self.router = Router(features, self.experts) if routed else None

    def forward(
        self,
        h_BTD: Tensor,
        position: Rotation,
        mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        weights: bool = False,
    ) -> Attended:
        """Runs the layer.

        Args:
            h_BTD: Normalised inputs.
            position: Angles of the T tokens.
            mask: [B, 1, T, S], True where a token may look, or numbers that are added to the
                scores; None: causal, or everything where a single token follows a cache.
            cache: Keys and values of earlier tokens; these ones are appended.
            weights: Return the attention weights, which the fused kernel never holds.
        """
        heads = (*h_BTD.shape[:2], -1, self.head_dim)
        q_BTHC, k_BTKC, v_BTKC = (linear(h_BTD).view(heads) for linear in (self.q, self.k, self.v))
        if self.q_norm is not None and self.k_norm is not None:
            q_BTHC, k_BTKC = self.q_norm(q_BTHC), self.k_norm(k_BTKC)
        q_BTHC, k_BTKC = rotate(q_BTHC, position), rotate(k_BTKC, position)
        k_BKSC, v_BKSC = k_BTKC.transpose(1, 2), v_BTKC.transpose(1, 2)
        if cache is not None:
            k_BKSC, v_BKSC = cache.update(k_BKSC, v_BKSC, self.layer)
        out_BTHC, weight_BHTS = self._attend(q_BTHC, k_BKSC, v_BKSC, mask, weights)

        gate_BTE = self._gates(h_BTD)
        if gate_BTE is None:
            return Attended(self.o(out_BTHC.flatten(2)), None, weight_BHTS)
        out_BTEO = out_BTHC.reshape(*gate_BTE.shape, -1)
        mixed_BTEO = out_BTEO * gate_BTE.unsqueeze(-1).to(out_BTEO.dtype)
        return Attended(self.o(mixed_BTEO.flatten(2)), gate_BTE, weight_BHTS)

    def _attend(
        self, q_BTHC: Tensor, k_BKSC: Tensor, v_BKSC: Tensor, mask: Tensor | None, weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attention of all heads in one call: [B, T, heads, C], like the queries."""
        # The kernel lets neighbouring query heads share a key, so all experts' heads of a key are
        # brought together: from (expert, key head, group) to (key head, expert, group).
        shared = self.kv_experts < self.experts
        if shared:
            q_BTHC = _swapped(q_BTHC, self.experts, self.kv_heads)
        weight_BTHS = None
        if weights:
            weight_BHTS = _weights(q_BTHC.transpose(1, 2), k_BKSC, mask)
            out_BHTC = weight_BHTS @ _repeated(v_BKSC, q_BTHC.size(2))
            weight_BTHS = weight_BHTS.transpose(1, 2)
        else:
            out_BHTC = F.scaled_dot_product_attention(
                q_BTHC.transpose(1, 2),
                k_BKSC,
                v_BKSC,
                attn_mask=mask,
                is_causal=mask is None and q_BTHC.size(1) > 1,
                enable_gqa=q_BTHC.size(2) > k_BKSC.size(1),
            )
        out_BTHC = out_BHTC.transpose(1, 2)
        if shared:
            out_BTHC = _swapped(out_BTHC, self.kv_heads, self.experts)
            if weight_BTHS is not None:
                weight_BTHS = _swapped(weight_BTHS, self.kv_heads, self.experts)
        return out_BTHC, None if weight_BTHS is None else weight_BTHS.transpose(1, 2)

    def _gates(self, h_BTD: Tensor) -> Tensor | None:
        """Weights of the experts, [B, T, E], or None with one expert."""
        if self.experts == 1:
            return None
        if self.router is None:
            return h_BTD.new_full((*h_BTD.shape[:2], self.experts), 1 / self.experts)
        logits_BTE: Tensor = self.router(h_BTD)
        if self.routing == "soft":
            return logits_BTE.float().softmax(dim=-1)
        top_k = 1 if self.routing == "top1" else 2
        chosen = route(logits_BTE.flatten(0, 1), top_k, self.renormalise)
        gate_NE = torch.zeros_like(chosen.probability_NE)
        return gate_NE.scatter(1, chosen.expert_NK, chosen.gate_NK).view_as(logits_BTE)


class HeadNorm(nn.Module):
    """RMSNorm over the channels of each head, with one scale for each expert."""

    def __init__(self, experts: int, head_dim: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(experts, head_dim))
        self.eps = eps

    def forward(self, x_BTHC: Tensor) -> Tensor:
        """Normalised heads, those of expert 0 first."""
        experts, head_dim = self.weight.shape
        x = F.rms_norm(x_BTHC, (head_dim,), eps=self.eps)
        scaled = x.view(*x.shape[:2], experts, -1, head_dim) * self.weight.unsqueeze(1)
        return scaled.view_as(x)


def _weights(q_BHTC: Tensor, k_BKSC: Tensor, mask: Tensor | None) -> Tensor:
    """Attention weights [B, H, T, S], as the fused kernel has them."""
    score_BHTS = q_BHTC @ _repeated(k_BKSC, q_BHTC.size(1)).transpose(2, 3) / q_BHTC.size(3) ** 0.5
    if mask is None:
        tokens, keys = score_BHTS.shape[2:]
        mask = score_BHTS.new_ones(tokens, keys, dtype=torch.bool).tril(keys - tokens)
    if mask.dtype == torch.bool:
        score_BHTS = score_BHTS.masked_fill(~mask, -torch.inf)
    else:
        score_BHTS = score_BHTS + mask
    dtype = torch.promote_types(score_BHTS.dtype, torch.float32)
    weight_BHTS: Tensor = score_BHTS.softmax(dim=-1, dtype=dtype).to(q_BHTC.dtype)
    return weight_BHTS


def _repeated(x_BKSC: Tensor, heads: int) -> Tensor:
    """Keys or values once for each of the heads that share them."""
    return x_BKSC.repeat_interleave(heads // x_BKSC.size(1), dim=1)


def _swapped(x_BTHC: Tensor, outer: int, inner: int) -> Tensor:
    """Heads in order (outer, inner, rest) brought to order (inner, outer, rest)."""
    x = x_BTHC.reshape(*x_BTHC.shape[:2], outer, inner, -1, x_BTHC.size(-1))
    return x.transpose(2, 3).flatten(2, 4)


class _Rotate(torch.autograd.Function):
    """A rotation, whose gradient is the rotation back: nothing of the input is kept."""

    @staticmethod
    def forward(ctx: Any, x_BTHC: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.interleaved = interleaved
        return _turned(x_BTHC, cos, sin, interleaved)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grads[0], cos, -sin, ctx.interleaved), None, None, None


def _turned(x_BTHC: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    out_BTHC = x_BTHC * cos
    pairs = sin.size(-1)
    if interleaved:
        first, second = slice(0, None, 2), slice(1, None, 2)
    else:
        first, second = slice(0, pairs), slice(pairs, None)
    out_BTHC[..., first].addcmul_(x_BTHC[..., second], sin, value=-1)
    out_BTHC[..., second].addcmul_(x_BTHC[..., first], sin)
    return out_BTHC
