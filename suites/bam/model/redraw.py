"""Drop-Upcycling: part of every feed-forward expert is drawn again, so that copies differ.

Source: Nakamura et al., Drop-Upcycling, ICLR 2025, arXiv 2502.19261, section 3. A share of the
hidden units of each expert is drawn at random; their rows of the gate and up matrices and their
columns of the down matrix are drawn from a normal distribution with the mean and the standard
deviation of what they replace.

Shape suffixes: D features, F hidden width, E experts, S redrawn hidden units.
"""

import torch
from torch import Tensor

from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.feedforward import FeedForward


@torch.no_grad()
def redraw(model: BamForCausalLM, share: float, generator: torch.Generator) -> None:
    """Redraws that share of the hidden units of each feed-forward expert, in place.

    Args:
        model: A mixture; experts are redrawn each by itself.
        share: The paper's r, 0.5 there.
        generator: Chooses the units and draws their weights.
    """
    for layer in model.modules():
        if not isinstance(layer, FeedForward):
            continue
        experts, width, _ = layer.gate.shape
        count = int(share * width)
        for expert in range(experts):
            unit_S = torch.randperm(width, generator=generator)[:count]
            for stacked in (layer.gate, layer.up):
                stacked[expert, unit_S] = _like(stacked[expert, unit_S], generator)
            layer.down[expert][:, unit_S] = _like(layer.down[expert][:, unit_S], generator)


def _like(old: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers with the mean and standard deviation of others."""
    drawn = torch.randn(old.shape, generator=generator, dtype=torch.float32)
    spread = old.float().std() if old.numel() > 1 else torch.zeros(())
    return (drawn * spread + old.float().mean()).to(old.dtype)
