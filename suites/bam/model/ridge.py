"""Routers without training: the ridge regression of a token's domain on its hidden state.

Source: Fani and Ersoy, Training-Free Dynamic Upcycling of Expert Language Models (DUME), arXiv
2603.29765: routers of a mixture of domain experts in closed form. Here each router is fitted on
what it reads in the mixture itself, layer after layer, so that later ones know how earlier ones
route; and as gates are softmaxes, the scores are multiplied by the factor under which they predict
the domains of the same tokens best.

Shape suffixes: B sequences, T tokens, N tokens of all texts, D features, E experts.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suites.bam.model.causal_lm import BamForCausalLM

PENALTY = 1e-3
"""Of the squared weights, in units of the features' mean square."""
_FACTORS = tuple(2.0**power for power in range(8))


@torch.no_grad()
def fit(model: BamForCausalLM, texts: Sequence[Tensor], window: int) -> None:
    """Fits all routers of a mixture, in place.

    Args:
        model: A mixture with one text for each expert.
        texts: Token ids [N] of each expert's domain, in the order of the experts.
        window: Tokens that the model sees at a time.
    """
    length = min(len(ids) for ids in texts) // window * window
    ids_BT = torch.cat([ids[:length].view(-1, window) for ids in texts])
    domain_N = torch.arange(len(texts)).repeat_interleave(length)
    training = model.training
    model.eval()  # type: ignore[no-untyped-call]
    for layer in model.model.layers:
        for part in (layer.attention, layer.feedforward):
            if part.router is not None:
                h_ND = _input(model, part, ids_BT)
                weight_ED = regression(h_ND, domain_N, len(texts))
                part.router.weight.copy_(weight_ED.to(part.router.weight.dtype))
    model.train(training)


def regression(h_ND: Tensor, domain_N: Tensor, experts: int) -> Tensor:
    """Weights [E, D] of a router, float32: scaled ridge regression of centred one-hot domains."""
    h_ND = h_ND.double()
    target_NE = F.one_hot(domain_N, experts).double()
    target_NE = target_NE - target_NE.mean(dim=0)
    gram_DD = h_ND.T @ h_ND
    gram_DD.diagonal().add_(PENALTY * gram_DD.diagonal().mean())
    weight_DE = torch.linalg.solve(gram_DD, h_ND.T @ target_NE)
    score_NE = h_ND @ weight_DE
    fits = [float(F.cross_entropy(factor * score_NE, domain_N)) for factor in _FACTORS]
    return (_FACTORS[fits.index(min(fits))] * weight_DE.T).float()  # type: ignore[no-any-return]


def _input(model: BamForCausalLM, part: nn.Module, ids_BT: Tensor) -> Tensor:
    """What a part of the model reads, [N, D]."""
    found: list[Tensor] = []

    def keep(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        found.append(arguments[0].flatten(0, 1))

    handle = part.register_forward_pre_hook(keep)
    try:
        for piece_BT in torch.split(ids_BT, 32):
            model(piece_BT, use_cache=False, skip_logits=True)
    finally:
        handle.remove()
    return torch.cat(found)
