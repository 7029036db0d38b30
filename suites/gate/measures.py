"""What is measured on a graph: scores of predictions, smoothness of representations, attention.

Shape legend: N nodes, C classes, F features, E directed edges, P positives, Q negatives.

Everything returns plain floats; sums run in float64.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from harness.errors import MethodError

CHUNK = 2**22
"""Numbers gathered at once when a measure walks over edges: 32 MiB in float64."""
BINS = 20


class AlphaSummary(NamedTuple):
    """Distribution of attention coefficients in [0, 1]."""

    mean: float
    histogram: tuple[int, ...]
    """Counts in 20 equal bins of [0, 1]; an upper edge belongs to the next bin, 1 to the last."""


def accuracy(logits_NC: Tensor, y_N: Tensor) -> float:
    """Share of the nodes whose largest logit is at their label, in [0, 1]."""
    _demand_nodes("accuracy", y_N)
    return (logits_NC.argmax(dim=1) == y_N).double().mean().item()


def roc_auc(logits_N2: Tensor, y_N: Tensor) -> float:
    """Area under the ROC curve of the score logit(1) - logit(0), in [0, 1].

    Raises:
        MethodError: other than two outputs, a NaN, or only one class among the labels.
    """
    _demand_two("roc_auc", logits_N2)
    logits_N2 = logits_N2.double()
    return rank_auc(logits_N2[:, 1] - logits_N2[:, 0], y_N == 1)


def hard_roc_auc(logits_N2: Tensor, y_N: Tensor) -> float:
    """Area under the ROC curve of the predicted labels: the balanced accuracy, in [0, 1].

    The released code reports this as AUROC, since it hands arg-max labels and not scores to the
    metric. It cannot be compared with `roc_auc`.

    Raises:
        MethodError: other than two outputs, or only one class among the labels.
    """
    _demand_two("hard_roc_auc", logits_N2)
    positive_N = y_N == 1
    hit_N = (logits_N2.argmax(dim=1) == 1) == positive_N
    hits, positives = int((hit_N & positive_N).sum()), int(positive_N.sum())
    negatives = len(y_N) - positives
    _demand_both(positives, negatives)
    return (hits / positives + (int(hit_N.sum()) - hits) / negatives) / 2


def rank_auc(score_N: Tensor, positive_N: Tensor) -> float:
    """Chance that a positive scores above a negative, ties counting half; O(N log N).

    Raises:
        MethodError: a NaN among the scores, or only one class.
    """
    if score_N.isnan().any():
        raise MethodError(
            "ROC-AUC of scores that hold NaN; scores must be numbers; stop the trial as diverged"
        )
    negative_Q = score_N[~positive_N].sort().values
    positive_P = score_N[positive_N]
    _demand_both(len(positive_P), len(negative_Q))
    below = torch.searchsorted(negative_Q, positive_P, right=False).sum()
    not_above = torch.searchsorted(negative_Q, positive_P, right=True).sum()
    return int(below + not_above) / (2 * len(positive_P) * len(negative_Q))


def dirichlet_energy(x_NF: Tensor, edge_index_2E: Tensor) -> float:
    """Half the sum over edges of |x_u - x_v|², as in the released code (its neighbour version).

    Not divided by degrees or counts. Each entry of `edge_index_2E` counts once, so that symmetric
    edges give the sum over undirected pairs and one-way edges half of it; self-loops add nothing.
    """
    total = x_NF.new_zeros((), dtype=torch.float64)
    for source_E, target_E in _chunks(edge_index_2E, x_NF.shape[1]):
        total += (x_NF[source_E].double() - x_NF[target_E].double()).square().sum()
    return total.item() / 2


def mad(x_NF: Tensor, edge_index_2E: Tensor) -> float:
    """Mean over nodes of the mean of 1 - cosine to their neighbours; in [0, 2].

    The neighbours of a node are the targets of the edges out of it, as in the released code, whose
    adjacency matrix has the sources in its rows: on symmetric edges that is all neighbours.
    Self-loops are left out, and so are nodes without neighbours.

    Raises:
        MethodError: no edge between two nodes.
    """
    # DEVIATION: a zero vector has cosine 0 to everything, so distance 1. The released code divides
    # by its norm; the NaN spreads to every row of its product with the adjacency matrix, so that
    # the whole measure becomes NaN.
    unit_NF = _unit_rows(x_NF)
    sum_N = unit_NF.new_zeros(len(x_NF))
    degree_N = unit_NF.new_zeros(len(x_NF))
    for source_E, target_E in _chunks(edge_index_2E, x_NF.shape[1]):
        distance_E = 1 - (unit_NF[source_E] * unit_NF[target_E]).sum(dim=1)
        sum_N.index_add_(0, source_E, distance_E)
        degree_N.index_add_(0, source_E, torch.ones_like(distance_E))
    linked_N = degree_N > 0
    if not linked_N.any():
        raise MethodError("MAD of a graph without edges; it needs neighbours; use global_mad")
    return (sum_N[linked_N] / degree_N[linked_N]).mean().item()


def global_mad(x_NF: Tensor) -> float:
    """Mean over all ordered pairs of nodes, each with itself included, of 1 - cosine; in [0, 1].

    Equal to 1 - |mean of unit vectors|². A zero vector has cosine 0 to everything and to itself,
    so distance 1.
    """
    # DEVIATION: the released code returns NaN as soon as one vector is zero.
    _demand_nodes("global_mad", x_NF)
    unit_NF = _unit_rows(x_NF)
    # Around the mean nothing cancels: 1 - |m|² = (share of zero vectors) + mean |u - m|².
    zero_share = (unit_NF == 0).all(dim=1).double().mean()
    spread = (unit_NF - unit_NF.mean(dim=0)).square().sum(dim=1).mean()
    return (zero_share + spread).item()


def alpha_summary(alpha_N: Tensor) -> AlphaSummary:
    """Describe attention coefficients, e.g. those of the self-loops of one layer.

    Raises:
        MethodError: none given, or a value outside [0, 1] by more than rounding.
    """
    alpha_N = alpha_N.detach().double().flatten()
    _demand_nodes("alpha_summary", alpha_N)
    if not ((alpha_N > -1e-5) & (alpha_N < 1 + 1e-5)).all():
        raise MethodError(
            f"alpha_summary: coefficients from {alpha_N.min():.4g} to {alpha_N.max():.4g}; "
            "attention must lie in [0, 1]; pass it after the softmax and before dropout"
        )
    alpha_N = alpha_N.clamp(0, 1)
    bin_N = (alpha_N * BINS).long().clamp(max=BINS - 1)
    return AlphaSummary(
        mean=alpha_N.mean().item(),
        histogram=tuple(bin_N.bincount(minlength=BINS).tolist()),
    )


def _unit_rows(x_NF: Tensor) -> Tensor:
    """Rows of length 1 in float64; zero rows stay zero."""
    x_NF = x_NF.double()
    # Two steps, so that rows of tiny numbers do not underflow in the squares.
    x_NF = x_NF / x_NF.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    norm_N1 = x_NF.square().sum(dim=1, keepdim=True).sqrt()
    return x_NF / norm_N1.where(norm_N1 > 0, 1.0)


def _chunks(edge_index_2E: Tensor, width: int) -> list[tuple[Tensor, Tensor]]:
    """Sources and targets of the edges between two nodes, a bounded number at a time."""
    edge_index_2E = edge_index_2E[:, edge_index_2E[0] != edge_index_2E[1]]
    size = max(1, CHUNK // max(1, width))
    starts = range(0, edge_index_2E.shape[1], size)
    return [tuple(edge_index_2E[:, at : at + size]) for at in starts]


def _demand_nodes(what: str, values_N: Tensor) -> None:
    if len(values_N) == 0:
        raise MethodError(f"{what} of no nodes; it needs one at least; check the split's mask")


def _demand_two(what: str, logits_N2: Tensor) -> None:
    if logits_N2.ndim != 2 or logits_N2.shape[1] != 2:
        raise MethodError(
            f"{what}: logits of shape {tuple(logits_N2.shape)}; it needs (nodes, 2); "
            "use accuracy for more classes"
        )


def _demand_both(positives: int, negatives: int) -> None:
    if positives == 0 or negatives == 0:
        raise MethodError(
            f"ROC-AUC with {positives} positive and {negatives} negative labels; it needs both; "
            "check the split"
        )
