"""One language model class for the dense seed, BTX and BAM; its configuration tells them apart.

Importing this module registers the model with the Auto classes of transformers.

Shape suffixes: B sequences, T tokens, S keys (cached ones too), N = B * T, D features, V
vocabulary, E experts, L layers.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DynamicCache,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.cache_utils import Cache
from transformers.utils.generic import ModelOutput

from suites.bam.model import routing as routers
from suites.bam.model.attention import Attention, HeadNorm, Rotation, rotation
from suites.bam.model.configuration import BamConfig
from suites.bam.model.crossentropy import linear_cross_entropy
from suites.bam.model.feedforward import FeedForward
from suites.bam.model.routing import Router, Routing


@dataclass
class BamOutput(ModelOutput):
    """What a forward pass returns; fields that were not asked for are None."""

    loss: Tensor | None = None
    """Language-model loss alone, mean over the predicted tokens, nats."""
    logits: Tensor | None = None
    """[B, T, V]."""
    cache: Cache | None = None
    auxiliary_loss: Tensor | None = None
    """Weighted load-balancing and z loss, summed over layers; with labels or routing. Training
    minimises loss + auxiliary_loss (Eq. 2)."""
    load_balancing_loss: Tensor | None = None
    """Unweighted, summed over layers."""
    z_loss: Tensor | None = None
    """Unweighted, summed over layers."""
    ffn_load_LE: Tensor | None = None
    """Share of the tokens that each feed-forward expert gets; sums to top-k."""
    ffn_probability_LE: Tensor | None = None
    """Mean router probability of each feed-forward expert."""
    attention_gate_LE: Tensor | None = None
    """Mean gate of each attention expert."""
    attention_entropy_L: Tensor | None = None
    """Mean entropy of the attention gates of a token, nats."""


class _Routed(NamedTuple):
    """What the routers of one layer decided; None where there is one expert."""

    ffn: Routing | None
    attention_gate_BTE: Tensor | None


class Norm(nn.Module):
    """LayerNorm or RMSNorm with a scale and no shift."""

    def __init__(self, config: BamConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.kind, self.eps = config.norm, config.norm_eps

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Normalised over the features."""
        if self.kind == "layernorm":
            return F.layer_norm(x_BTD, self.weight.shape, self.weight, None, self.eps)
        return F.rms_norm(x_BTD, self.weight.shape, self.weight, self.eps)


class ParallelLayer(nn.Module):
    """x + attention(h) + feedforward(h), h = norm(x). Source: BAM, section 3.1."""

    def __init__(self, config: BamConfig, layer: int) -> None:
        super().__init__()
        self.norm = Norm(config)
        self.attention = Attention(config, layer)
        self.feedforward = FeedForward(config)

    def forward(
        self, x_BTD: Tensor, position: Rotation, mask: Tensor | None, cache: Cache | None
    ) -> tuple[Tensor, _Routed]:
        """Output [B, T, D] and the routing."""
        h_BTD = self.norm(x_BTD)
        attended_BTD, gate_BTE = self.attention(h_BTD, position, mask, cache)
        fed_BTD, routing = self.feedforward(h_BTD)
        return x_BTD + attended_BTD + fed_BTD, _Routed(routing, gate_BTE)


class SequentialLayer(nn.Module):
    """Attention, then feed-forward, each with a norm of its own (Llama, Qwen)."""

    def __init__(self, config: BamConfig, layer: int) -> None:
        super().__init__()
        self.input_norm = Norm(config)
        self.attention = Attention(config, layer)
        self.post_norm = Norm(config)
        self.feedforward = FeedForward(config)

    def forward(
        self, x_BTD: Tensor, position: Rotation, mask: Tensor | None, cache: Cache | None
    ) -> tuple[Tensor, _Routed]:
        """Output [B, T, D] and the routing."""
        attended_BTD, gate_BTE = self.attention(self.input_norm(x_BTD), position, mask, cache)
        x_BTD = x_BTD + attended_BTD
        fed_BTD, routing = self.feedforward(self.post_norm(x_BTD))
        return x_BTD + fed_BTD, _Routed(routing, gate_BTE)


class Decoder(nn.Module):
    """Embedding, layers, last norm."""

    def __init__(self, config: BamConfig) -> None:
        super().__init__()
        self.config = config
        layer = ParallelLayer if config.parallel_block else SequentialLayer
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(layer(config, n) for n in range(config.num_hidden_layers))
        self.norm = Norm(config)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
        cache: Cache | None,
    ) -> tuple[Tensor, list[_Routed]]:
        """Last hidden states [B, T, D], normalised, and the routing of each layer."""
        x_BTD = self.embed_tokens(input_ids)
        past = 0 if cache is None else int(cache.get_seq_length())
        tokens = input_ids.size(1)
        if position_ids is None:
            position_ids = torch.arange(past, past + tokens, device=input_ids.device)
        position = rotation(self.config, position_ids, x_BTD.dtype)
        mask = _visible(attention_mask, past, tokens, input_ids.device)
        routed = []
        for layer in self.layers:
            x_BTD, decided = layer(x_BTD, position, mask, cache)
            routed.append(decided)
        return self.norm(x_BTD), routed


class BamForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[no-untyped-call]
    """Dense model, BTX or BAM with a language-model head.

    Parameters of experts are stacked: the rows of `attention.q.weight` are the heads of expert 0,
    then of expert 1, ...; so are the columns of `attention.o.weight`; `feedforward.{gate,up,down}`
    have the experts as their first dimension.
    """

    config_class = BamConfig
    config: BamConfig
    base_model_prefix = "model"
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012
    _supports_sdpa = True

    def __init__(self, config: BamConfig) -> None:
        super().__init__(config)
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_routing: bool = False,
        skip_logits: bool | None = None,
        past_key_values: Cache | None = None,
        return_dict: bool = True,
    ) -> BamOutput:
        """Runs the model.

        Args:
            input_ids: [B, T].
            attention_mask: [B, S], 0 for padding (also left out of the auxiliary losses), or
                [B, 1, T, S], True where a token may look.
            position_ids: [T] or [B, T]; None: counted from the start of the cache.
            cache: Keys and values of earlier tokens. `past_key_values` is its older name.
            labels: [B, T], the inputs themselves: they are shifted here; -100 does not count.
            use_cache: Return a cache that holds these tokens too. None: as configured, except in
                training and with labels.
            logits_to_keep: Compute logits of the last so many tokens, or of these indices; 0: all.
            output_routing: Return load, probabilities, gates and their entropy by layer.
            skip_logits: Do not compute logits, which the loss does not need. None: skip them in
                training with labels.
            past_key_values: See `cache`.
            return_dict: Passed by `generate`; an output object comes back in any case.
        """
        cache = cache if cache is not None else past_key_values
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training and labels is None
        if use_cache and cache is None:
            cache = DynamicCache()
        h_BTD, routed = self.model(input_ids, attention_mask, position_ids, cache)
        output = BamOutput(cache=cache)
        if labels is not None:
            output.loss = linear_cross_entropy(
                h_BTD[:, :-1].flatten(0, 1),
                self.lm_head.weight,
                labels[:, 1:].flatten(),
                self.config.logit_scale,
            )
        if skip_logits is None:
            skip_logits = self.training and labels is not None
        if not skip_logits:
            last = isinstance(logits_to_keep, int)
            kept_BTD = h_BTD[:, slice(-logits_to_keep, None) if last else logits_to_keep]
            output.logits = self.lm_head(kept_BTD) * self.config.logit_scale
        if labels is not None or output_routing:
            weight_N = _token_weights(attention_mask, input_ids.size(1))
            self._add_losses(output, routed, weight_N)
            if output_routing:
                _add_statistics(output, routed, weight_N)
        return output

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Redraws all parameters, from this generator alone."""
        for module in self.modules():
            self._init_weights(module, generator)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module, generator: torch.Generator | None = None) -> None:
        std = self.config.initializer_range
        if isinstance(module, Norm | HeadNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, Router):
            nn.init.normal_(module.weight, std=self.config.router_init_std, generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=std, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=std, generator=generator)
        elif isinstance(module, FeedForward):
            for stacked in (module.gate, module.up, module.down):
                nn.init.normal_(stacked, std=std, generator=generator)

    def _add_losses(
        self, output: BamOutput, routed: list[_Routed], weight_N: Tensor | None
    ) -> None:
        """Sums over the layers; 0 for a model without routed feed-forward experts."""
        zero = self.lm_head.weight.new_zeros((), dtype=torch.float32)
        ffn = [decided.ffn for decided in routed if decided.ffn is not None]
        balance = sum((routers.load_balancing_loss(r, weight_N) for r in ffn), zero)
        z = sum((routers.z_loss(r, weight_N) for r in ffn), zero)
        output.load_balancing_loss, output.z_loss = balance, z
        output.auxiliary_loss = (
            self.config.load_balancing_weight * balance + self.config.z_loss_weight * z
        )


def _add_statistics(output: BamOutput, routed: list[_Routed], weight_N: Tensor | None) -> None:
    ffn = [decided.ffn for decided in routed if decided.ffn is not None]
    if ffn:
        output.ffn_load_LE = torch.stack([routers.load(r, weight_N) for r in ffn])
        output.ffn_probability_LE = torch.stack(
            [routers.token_mean(r.probability_NE, weight_N) for r in ffn]
        )
    gates = [
        decided.attention_gate_BTE.flatten(0, 1)
        for decided in routed
        if decided.attention_gate_BTE is not None
    ]
    if gates:
        output.attention_gate_LE = torch.stack([routers.token_mean(g, weight_N) for g in gates])
        output.attention_entropy_L = torch.stack([routers.entropy(g, weight_N) for g in gates])


def _visible(
    attention_mask: Tensor | None, past: int, tokens: int, device: torch.device
) -> Tensor | None:
    """Which keys a token may look at, [B or 1, 1, T, S]; None where the kernel's own rule does."""
    if attention_mask is not None and attention_mask.dim() == 4:
        return attention_mask
    if attention_mask is None and (past == 0 or tokens == 1):
        return None
    key_S = torch.arange(past + tokens, device=device)
    query_T1 = key_S[past:].unsqueeze(1)
    causal = key_S <= query_T1
    if attention_mask is None:
        return causal[None, None]
    # Padding looks at itself: a row without any key would be a softmax of nothing.
    unpadded_B1S = attention_mask.bool().unsqueeze(1) & causal
    return (unpadded_B1S | (key_S == query_T1)).unsqueeze(1)


def _token_weights(attention_mask: Tensor | None, tokens: int) -> Tensor | None:
    """1 for a token, 0 for padding, [N]; None where nothing is padded."""
    if attention_mask is None or attention_mask.dim() == 4:
        return None
    return attention_mask[:, -tokens:].flatten().float()


AutoConfig.register("bam", BamConfig)
AutoModelForCausalLM.register(BamConfig, BamForCausalLM)
