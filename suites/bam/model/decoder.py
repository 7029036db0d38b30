"""The layers between the tokens and the output: embedding, blocks, norms.

Shape suffixes: B sequences, T tokens, S keys (cached ones too), D features.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from suites.bam.model.attention import Attention, Rotation, rotation
from suites.bam.model.configuration import BamConfig
from suites.bam.model.feedforward import FeedForward
from suites.bam.model.masks import visible
from suites.bam.model.outputs import Decided, decided


class Norm(nn.Module):
    """LayerNorm or RMSNorm with a scale and no shift."""

    def __init__(self, config: BamConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.kind, self.eps, self.offset = config.norm, config.norm_eps, config.norm_offset

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Normalised over the features."""
        if self.offset:  # added in float32: a small scale would be lost beside 1 in 16 bits
            scale_D = self.offset + self.weight.float()
            out_BTD = F.rms_norm(x_BTD.float(), scale_D.shape, scale_D, self.eps)
            return out_BTD.type_as(x_BTD)
        if self.kind == "layernorm":
            return F.layer_norm(x_BTD, self.weight.shape, self.weight, None, self.eps)
        return F.rms_norm(x_BTD, self.weight.shape, self.weight, self.eps)


class TokenEmbedding(nn.Embedding):
    """Rows of the vocabulary, times the configuration's factor, in the precision of the rows."""

    def __init__(self, config: BamConfig) -> None:
        super().__init__(config.vocab_size, config.hidden_size)
        self.factor = config.embedding_multiplier

    def forward(self, input: Tensor) -> Tensor:
        """[B, T, D]."""
        x_BTD = super().forward(input)
        if self.factor == 1.0:
            return x_BTD
        return x_BTD * torch.tensor(self.factor, dtype=x_BTD.dtype, device=x_BTD.device)


class ParallelLayer(GradientCheckpointingLayer):  # type: ignore[no-untyped-call]
    """x + attention(h) + feedforward(h), h = norm(x). Source: BAM, section 3.1."""

    def __init__(self, config: BamConfig, layer: int) -> None:
        super().__init__()
        self.norm = Norm(config)
        self.attention = Attention(config, layer)
        self.feedforward = FeedForward(config)

    def forward(
        self,
        x_BTD: Tensor,
        position: Rotation,
        mask: Tensor | None,
        cache: Cache | None = None,
        weights: bool = False,
    ) -> tuple[Any, ...]:
        """Output [B, T, D], then the fields of `Decided`."""
        h_BTD = self.norm(x_BTD)
        attended = self.attention(h_BTD, position, mask, cache, weights)
        fed_BTD, routing = self.feedforward(h_BTD)
        x_BTD = x_BTD + attended.out_BTD + fed_BTD
        return x_BTD, *decided(attended.gate_BTE, routing, attended.weight_BHTS)


class SequentialLayer(GradientCheckpointingLayer):  # type: ignore[no-untyped-call]
    """Attention, then feed-forward, each with a norm of its own (Llama, Qwen)."""

    def __init__(self, config: BamConfig, layer: int) -> None:
        super().__init__()
        self.input_norm = Norm(config)
        self.attention = Attention(config, layer)
        self.post_norm = Norm(config)
        self.feedforward = FeedForward(config)

    def forward(
        self,
        x_BTD: Tensor,
        position: Rotation,
        mask: Tensor | None,
        cache: Cache | None = None,
        weights: bool = False,
    ) -> tuple[Any, ...]:
        """Output [B, T, D], then the fields of `Decided`."""
        attended = self.attention(self.input_norm(x_BTD), position, mask, cache, weights)
        x_BTD = x_BTD + attended.out_BTD
        fed_BTD, routing = self.feedforward(self.post_norm(x_BTD))
        return x_BTD + fed_BTD, *decided(attended.gate_BTE, routing, attended.weight_BHTS)


class Decoded(NamedTuple):
    """What the layers return."""

    h_BTD: Tensor
    """Last hidden states, normalised."""
    layers: list[Decided]
    hidden_states: tuple[Tensor, ...] | None
    """Input of each layer, then `h_BTD`; None where they were not asked for."""


class Decoder(nn.Module):
    """Embedding, layers, last norm."""

    def __init__(self, config: BamConfig) -> None:
        super().__init__()
        self.config = config
        layer = ParallelLayer if config.parallel_block else SequentialLayer
        self.embed_tokens = TokenEmbedding(config)
        self.layers = nn.ModuleList(layer(config, n) for n in range(config.num_hidden_layers))
        self.norm = Norm(config)

    def forward(
        self,
        x_BTD: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        cache: Cache | None,
        weights: bool = False,
        states: bool = False,
    ) -> Decoded:
        """Runs the layers on embedded tokens.

        `weights` keeps the attention weights of every layer, `states` their inputs.
        """
        tokens, device = x_BTD.size(1), x_BTD.device
        mask = visible(
            tokens, device, attention_mask, position_ids, cache, self.config.sliding_window
        )
        if position_ids is None:
            past = 0 if cache is None else cache.get_seq_length()
            position_ids = past + torch.arange(tokens, device=device)
        position = rotation(self.config, position_ids, x_BTD.dtype)
        layers, inputs = [], []
        for layer in self.layers:
            if states:
                inputs.append(x_BTD)
            x_BTD, *rest = layer(x_BTD, position, mask, cache=cache, weights=weights)
            layers.append(Decided(*rest))
        h_BTD = self.norm(x_BTD)
        return Decoded(h_BTD, layers, (*inputs, h_BTD) if states else None)
