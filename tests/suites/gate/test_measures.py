"""Measures against scikit-learn and against naive loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import Tensor

from harness.errors import MethodError
from suites.gate import measures

SCORES = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({positive for _, positive in rows}) == 2
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _logits(nodes: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = _generator(nodes)
    logits_NC = torch.randn(nodes, classes, generator=generator)
    return logits_NC, torch.randint(classes, (nodes,), generator=generator)


def _cosine(a: Tensor, b: Tensor) -> float:
    lengths = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return float(a @ b) / lengths if lengths else 0.0


@pytest.fixture
def x_NF() -> Tensor:
    x_NF = torch.randn(9, 4, generator=_generator(), dtype=torch.float64)
    x_NF[3] = 0
    x_NF[6] = 0
    return x_NF


@pytest.fixture
def edges() -> Tensor:
    """One-way edges, a self-loop, and node 8 that hears nobody."""
    return torch.tensor([[0, 1, 2, 3, 4, 5, 8, 7, 6, 5, 8], [1, 2, 0, 1, 3, 1, 7, 7, 3, 4, 0]])


def test_accuracy_counts_hits() -> None:
    logits_NC = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.0, 3.0, 2.0]])
    assert measures.accuracy(logits_NC, torch.tensor([0, 2, 2])) == pytest.approx(2 / 3)


@given(SCORES)
def test_rank_auc_is_that_of_scikit_learn_with_ties(rows: list[tuple[int, bool]]) -> None:
    score_N = torch.tensor([float(score) for score, _ in rows])
    positive_N = torch.tensor([positive for _, positive in rows])
    expected = roc_auc_score(positive_N.numpy(), score_N.numpy())
    assert measures.rank_auc(score_N, positive_N) == pytest.approx(expected, abs=1e-12)


def test_roc_auc_ranks_the_logit_difference() -> None:
    logits_N2, y_N = _logits(2500, 2)
    score_N = (logits_N2[:, 1].double() - logits_N2[:, 0].double()).numpy()
    expected = roc_auc_score(y_N.numpy(), score_N)
    assert measures.roc_auc(logits_N2, y_N) == pytest.approx(expected, abs=1e-12)


def test_roc_auc_keeps_the_order_of_saturated_scores() -> None:
    logits_N2 = torch.tensor([[-40.0, 40.0], [-50.0, 50.0], [-60.0, 60.0], [-30.0, 30.0]])
    assert measures.roc_auc(logits_N2, torch.tensor([0, 1, 1, 0])) == 1.0


def test_hard_roc_auc_is_balanced_accuracy() -> None:
    logits_N2, y_N = _logits(301, 2)
    predicted_N = logits_N2.argmax(dim=1).numpy()
    hard = measures.hard_roc_auc(logits_N2, y_N)
    assert hard == pytest.approx(balanced_accuracy_score(y_N.numpy(), predicted_N))
    assert hard == pytest.approx(roc_auc_score(y_N.numpy(), predicted_N))


def test_hard_roc_auc_of_the_example_run_with_the_released_metric() -> None:
    logits_N2 = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    hard = measures.hard_roc_auc(logits_N2, torch.tensor([0, 1, 0, 0]))
    assert hard == pytest.approx(0.8333, abs=1e-4)


@pytest.mark.parametrize("measure", [measures.roc_auc, measures.hard_roc_auc])
def test_roc_auc_demands_two_outputs_and_both_classes(measure: type) -> None:
    logits_NC, y_N = _logits(10, 3)
    with pytest.raises(MethodError, match=r"shape \(10, 3\)"):
        measure(logits_NC, y_N)
    with pytest.raises(MethodError, match="0 positive and 10 negative"):
        measure(logits_NC[:, :2], torch.zeros(10, dtype=torch.int64))


def test_roc_auc_refuses_nan() -> None:
    with pytest.raises(MethodError, match="NaN"):
        measures.roc_auc(torch.tensor([[0.0, 1.0], [math.nan, 0.0]]), torch.tensor([0, 1]))


def test_accuracy_of_no_nodes_is_refused() -> None:
    with pytest.raises(MethodError, match="of no nodes"):
        measures.accuracy(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))


def test_dirichlet_energy_is_the_loop_over_edges(x_NF: Tensor, edges: Tensor) -> None:
    expected = sum(float((x_NF[u] - x_NF[v]).square().sum()) for u, v in edges.T.tolist()) / 2
    assert measures.dirichlet_energy(x_NF, edges) == pytest.approx(expected)


def test_mad_is_the_loop_over_neighbours(x_NF: Tensor, edges: Tensor) -> None:
    means = []
    for node in range(9):
        told = [v for u, v in edges.T.tolist() if u == node and v != node]
        if told:
            means.append(sum(1 - _cosine(x_NF[v], x_NF[node]) for v in told) / len(told))
    assert len(means) == 8
    assert measures.mad(x_NF, edges) == pytest.approx(sum(means) / len(means))


def released_mad(x_NF: Tensor, edge_index_2E: Tensor) -> float:
    """The released measure, written from its definition on dense matrices."""
    n = len(x_NF)
    adjacency = torch.zeros(n, n, dtype=x_NF.dtype)
    adjacency[edge_index_2E[0], edge_index_2E[1]] = 1
    unit = x_NF / x_NF.norm(dim=1, keepdim=True)
    distance = 1 - unit @ unit.T
    return float(((adjacency * distance).sum(1) / (adjacency != 0).sum(1)).nanmean())


def test_mad_on_one_way_edges_is_the_released_one() -> None:
    x_NF = torch.randn(30, 5, generator=_generator(), dtype=torch.float64)
    pairs = torch.combinations(torch.arange(30))
    chosen = torch.randperm(len(pairs), generator=_generator())[:60]
    one_way = pairs[chosen].T
    assert measures.mad(x_NF, one_way) == pytest.approx(released_mad(x_NF, one_way))
    assert measures.mad(x_NF, one_way) != pytest.approx(released_mad(x_NF, one_way.flip(0)))
    both = torch.cat([one_way, one_way.flip(0)], dim=1)
    assert measures.mad(x_NF, both) == pytest.approx(released_mad(x_NF, both))


def test_one_zero_vector_makes_the_released_mad_nan_and_ours_not(
    x_NF: Tensor, edges: Tensor
) -> None:
    loopless = edges[:, edges[0] != edges[1]]
    assert math.isnan(released_mad(x_NF, loopless))
    assert 0 <= measures.mad(x_NF, loopless) <= 2


def test_global_mad_is_the_loop_over_pairs(x_NF: Tensor) -> None:
    expected = sum(1 - _cosine(a, b) for a in x_NF for b in x_NF) / 81
    assert measures.global_mad(x_NF) == pytest.approx(expected)


def test_global_mad_resolves_nearly_equal_directions() -> None:
    angle = 1e-9
    x_NF = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    assert measures.global_mad(x_NF) == pytest.approx(angle**2 / 4, rel=1e-6)


def test_zero_vectors_have_distance_one_from_everything() -> None:
    assert measures.global_mad(torch.zeros(4, 2)) == 1.0
    assert measures.mad(torch.zeros(2, 2), torch.tensor([[0, 1], [1, 0]])) == 1.0


def test_mad_of_tiny_vectors_is_that_of_their_directions(x_NF: Tensor, edges: Tensor) -> None:
    assert measures.mad(x_NF * 1e-200, edges) == pytest.approx(measures.mad(x_NF, edges))


def test_mad_without_edges_is_refused() -> None:
    with pytest.raises(MethodError, match="without edges"):
        measures.mad(torch.ones(2, 2), torch.tensor([[0, 1], [0, 1]]))


def test_measures_over_edges_do_not_depend_on_the_chunk(
    x_NF: Tensor, edges: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measures.dirichlet_energy(x_NF, edges), measures.mad(x_NF, edges)
    monkeypatch.setattr(measures, "CHUNK", 8)
    chunked = measures.dirichlet_energy(x_NF, edges), measures.mad(x_NF, edges)
    assert chunked == pytest.approx(whole)


def test_alpha_summary_describes_the_distribution() -> None:
    alpha_N = torch.linspace(0, 1, 101, dtype=torch.float64)
    summary = measures.alpha_summary(alpha_N)
    assert summary.mean == pytest.approx(0.5)
    expected, _ = np.histogram(alpha_N.numpy(), bins=20, range=(0, 1))
    assert sum(summary.histogram) == 101
    assert np.abs(np.array(summary.histogram) - expected).max() <= 1  # edges of bins may round


def test_alpha_summary_puts_the_ends_into_the_outer_bins() -> None:
    summary = measures.alpha_summary(torch.tensor([0.0, 0.04, 0.06, 1.0, 1.0 + 1e-7]))
    assert summary.histogram == (2, 1, *[0] * 17, 2)


@pytest.mark.parametrize("values", [[0.5, 1.1], [-0.1, 0.5], [math.nan, 0.5]])
def test_alpha_summary_refuses_what_is_no_attention(values: list[float]) -> None:
    with pytest.raises(MethodError, match=r"must lie in \[0, 1\]"):
        measures.alpha_summary(torch.tensor(values))


def test_alpha_summary_of_nothing_is_refused() -> None:
    with pytest.raises(MethodError, match="of no nodes"):
        measures.alpha_summary(torch.zeros(0))
