"""What a language model returns: loss, logits, what its layers decided, and statistics of that.

Shape suffixes: B sequences, T tokens, S keys (cached ones too), N = B * T, D features, V
vocabulary, E experts, K experts chosen for a token, H heads of all experts, L layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import Cache
from transformers.utils.generic import ModelOutput

from suites.bam.model.configuration import BamConfig
from suites.bam.model.routing import (
    Routing,
    entropy,
    load,
    load_balancing_loss,
    token_mean,
    z_loss,
)


@dataclass
class BamOutput(ModelOutput):
    """What a forward pass returns; fields that were not asked for are None."""

    loss: Tensor | None = None
    """Language-model loss, mean over the predicted tokens, nats. It is alone, unless
    `output_router_logits` asks for the sum with `auxiliary_loss`."""
    logits: Tensor | None = None
    """[B, T, V]."""
    cache: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    """Input of each layer, then the last hidden states, normalised; L + 1 times [B, T, D]."""
    attentions: tuple[Tensor, ...] | None = None
    """Attention weights of each layer before the gates, [B, H, T, S], heads of expert 0 first."""
    router_logits: tuple[Tensor, ...] | None = None
    """Logits of the feed-forward router of each layer, [N, E]."""
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

    @property
    def aux_loss(self) -> Tensor | None:
        """`auxiliary_loss`, by the name that mixtures of transformers give it."""
        return self.auxiliary_loss


class Decided(NamedTuple):
    """What one layer decided; flat, so that checkpointing in each of its ways carries gradients."""

    attention_gate_BTE: Tensor | None
    """None with one attention expert, as the next four with one feed-forward expert."""
    logits_NE: Tensor | None
    probability_NE: Tensor | None
    gate_NK: Tensor | None
    expert_NK: Tensor | None
    attention_BHTS: Tensor | None
    """None where attention weights were not asked for."""

    @property
    def ffn(self) -> Routing | None:
        """Where the feed-forward router sent the tokens."""
        logits_NE, probability_NE, gate_NK, expert_NK = self[1:5]
        if logits_NE is None or probability_NE is None or gate_NK is None or expert_NK is None:
            return None
        return Routing(logits_NE, probability_NE, gate_NK, expert_NK)


def decided(
    attention_gate_BTE: Tensor | None, routing: Routing | None, attention_BHTS: Tensor | None
) -> Decided:
    """The decisions of one layer."""
    if routing is None:
        return Decided(attention_gate_BTE, None, None, None, None, attention_BHTS)
    return Decided(attention_gate_BTE, *routing, attention_BHTS)


def add_losses(
    output: BamOutput, layers: Sequence[Decided], weight_N: Tensor | None, zero: Tensor
) -> None:
    """Sums of the unweighted losses over the layers; 0 for a model without routed experts."""
    ffn = [routing for layer in layers if (routing := layer.ffn) is not None]
    for name, loss in (("load_balancing_loss", load_balancing_loss), ("z_loss", z_loss)):
        output[name] = sum((loss(r, weight_N).to(zero.device) for r in ffn), zero)


def weighted(output: BamOutput, config: BamConfig) -> Tensor | None:
    """The auxiliary loss of Eq. 2, where the two losses were computed."""
    if output.load_balancing_loss is None or output.z_loss is None:
        return None
    return (
        config.load_balancing_weight * output.load_balancing_loss
        + config.z_loss_weight * output.z_loss
    )


def add_statistics(output: BamOutput, layers: Sequence[Decided], weight_N: Tensor | None) -> None:
    """Load, probabilities, gates and their entropy by layer."""
    ffn = [routing for layer in layers if (routing := layer.ffn) is not None]
    if ffn:
        output.ffn_load_LE = torch.stack([load(r, weight_N) for r in ffn])
        output.ffn_probability_LE = torch.stack(
            [token_mean(r.probability_NE, weight_N) for r in ffn]
        )
    gates = [
        layer.attention_gate_BTE.flatten(0, 1)
        for layer in layers
        if layer.attention_gate_BTE is not None
    ]
    if gates:
        output.attention_gate_LE = torch.stack([token_mean(g, weight_N) for g in gates])
        output.attention_entropy_L = torch.stack([entropy(g, weight_N) for g in gates])
