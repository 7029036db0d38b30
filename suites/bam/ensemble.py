"""Branch-Train-Merge: the experts are never merged; a few of them vote on every token.

A baseline of BTX's paper (section 4.1), not of BAM's. Experts are chosen for each token by the
cosine between the tf-idf vector of what stands before it and each expert's mean tf-idf vector, and
their output distributions are averaged.

Shape suffixes: B sequences, T tokens, V vocabulary, K experts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from suites.bam.data.tokens import Tokens


class Votes(NamedTuple):
    """What the ensemble returns, shaped like the output of a language model."""

    logits: Tensor
    """Logarithms of the averaged probabilities, [B, T, V]."""


class Ensemble(nn.Module):
    """Dense experts, and what texts each of them knows."""

    def __init__(self, experts: Sequence[nn.Module], profile_VK: Tensor, top_k: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)
        self.register_buffer("profile_VK", profile_VK)
        self.top_k = top_k

    def choose(self, ids_BT: Tensor) -> Tensor:
        """Weight of each expert for each token, [B, T, K]: 1 / top-k for the chosen ones.

        Term frequencies add up along the text, and the length of the text's vector is the same for
        all experts: a running sum of the profile's rows ranks them as the cosine would.
        """
        profile_VK: Tensor = self.profile_VK  # type: ignore[assignment]
        score_BTK = profile_VK[ids_BT].cumsum(1)
        chosen_BTk = score_BTK.topk(self.top_k, dim=-1).indices
        return torch.zeros_like(score_BTK).scatter(-1, chosen_BTk, 1 / self.top_k)

    def forward(self, ids_BT: Tensor) -> Votes:
        """Log-probabilities of the next tokens."""
        weight_BTK = self.choose(ids_BT)
        mean_BTV = torch.zeros(1)
        for expert, weight_BT1 in zip(
            self.experts, torch.split(weight_BTK, 1, dim=-1), strict=True
        ):
            mean_BTV = mean_BTV.to(ids_BT.device) + weight_BT1 * expert(ids_BT).logits.softmax(-1)
        return Votes(mean_BTV.clamp_min(torch.finfo(torch.float32).tiny).log())


def profile(domains: Sequence[Tokens], vocabulary: int, end: int) -> Tensor:
    """What a token says for each expert, [V, K]: its idf times the expert's unit mean vector.

    Args:
        domains: Training tokens of each expert's own domain, documents begun by `end`.
        vocabulary: V.
        end: The end-of-text token, which says nothing.
    """
    tables = [_term_counts(ids, vocabulary, end) for ids in domains]
    documents = sum(table.shape[0] for table in tables)
    frequency_V = sum(np.asarray((table > 0).sum(0)).ravel() for table in tables)
    idf_V = np.log((1 + documents) / (1 + frequency_V)) + 1
    idf_V[end] = 0
    columns = []
    for table in tables:
        weighted = table.multiply(idf_V).tocsr()
        length_D = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)).ravel())
        unit = sparse.diags_array(1 / np.maximum(length_D, 1e-12)) @ weighted
        mean_V = np.asarray(unit.mean(0)).ravel()
        columns.append(idf_V * mean_V / np.linalg.norm(mean_V))
    return torch.from_numpy(np.stack(columns, axis=1)).float()


def _term_counts(ids: Tokens, vocabulary: int, end: int) -> sparse.csr_array:
    document: NDArray[np.int64] = np.cumsum(ids == end) - 1
    shape = (int(document[-1]) + 1, vocabulary)
    return sparse.csr_array((np.ones(len(ids)), (document, ids)), shape=shape)
