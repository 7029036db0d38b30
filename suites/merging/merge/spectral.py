"""Merging rules that look at the singular values of task vectors, one matrix at a time.

Tensors that are no matrices get the mean of their task vectors, as in the released code of both.
Symbols as in `rules`; shape suffixes: O outputs, I inputs, R kept components of all models.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from suites.merging.merge.states import State, from_base


def iso_c(
    states: Sequence[State], keys: Sequence[str], base: State, scale: float = 1.0
) -> dict[str, Tensor]:
    """theta_0 + scale s U V^T, where U S V^T = sum_i tau_i and s is the mean of S.

    Every direction of the summed task vectors counts alike. Source: Marczak et al., "No Task Left
    Behind: Isotropic Model Merging with Common and Task-Specific Subspaces" (2025), Eq. 5.

    Raises:
        MethodError: models that do not fit.
    """

    def isotropic(taus: list[Tensor]) -> Tensor:
        u_OK, s_K, v_KI = torch.linalg.svd(torch.stack(taus).sum(0), full_matrices=False)
        merged_OI: Tensor = s_K.mean() * (u_OK @ v_KI)
        return merged_OI

    return _by_matrix(states, keys, base, scale, isotropic)


def tsv_m(
    states: Sequence[State], keys: Sequence[str], base: State, scale: float = 1.0
) -> dict[str, Tensor]:
    """theta_0 + scale U S V^T of the models' own singular vectors, made orthogonal together.

    Of each tau_i the largest 1/n of its singular components is kept; the models' U_i and V_i stand
    side by side, and each is replaced by the nearest matrix with orthonormal columns. Source:
    Gargiulo et al., "Task Singular Vectors: Reducing Task Interference in Model Merging" (2025),
    Algorithm 1.

    Raises:
        MethodError: models that do not fit.
    """

    def orthogonal(taus: list[Tensor]) -> Tensor:
        kept = max(1, min(taus[0].shape) // len(taus))
        parts = [torch.linalg.svd(tau, full_matrices=False) for tau in taus]
        left_OR = torch.cat([u[:, :kept] for u, _, _ in parts], dim=1)
        sizes_R = torch.cat([s[:kept] for _, s, _ in parts])
        right_RI = torch.cat([v[:kept] for _, _, v in parts])
        return _nearest(left_OR) * sizes_R @ _nearest(right_RI)

    return _by_matrix(states, keys, base, scale, orthogonal)


def _nearest(matrix: Tensor) -> Tensor:
    """The nearest matrix with orthonormal rows or columns: the polar factor."""
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    nearest: Tensor = u @ v
    return nearest


def _by_matrix(
    states: Sequence[State],
    keys: Sequence[str],
    base: State,
    scale: float,
    merge: Callable[[list[Tensor]], Tensor],
) -> dict[str, Tensor]:
    def combine(_key: str, taus: list[Tensor], _part: slice) -> Tensor:
        if taus[0].dim() == 2:
            return scale * merge(taus)
        return scale * torch.stack(taus).mean(0)

    return from_base(states, keys, base, combine, whole=True)
