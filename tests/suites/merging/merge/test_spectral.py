"""TSV-M and Iso-C against numpy's eigenvectors, and what their papers say of them."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from suites.merging import iso_c, tsv_m
from suites.merging.merge.rules import task_arithmetic

KEYS = ["w", "b"]


def states(count: int, shape: tuple[int, int]) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(count)

    def one() -> dict[str, Tensor]:
        return {
            "w": torch.randn(shape, generator=generator, dtype=torch.float64),
            "b": torch.randn(3, generator=generator, dtype=torch.float64),
        }

    return [one() for _ in range(count)], one()


def polar(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """X (X^T X)^(-1/2), by eigenvectors, for a matrix of full rank."""
    if matrix.shape[0] < matrix.shape[1]:
        return polar(matrix.T).T
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    return matrix @ (vectors / np.sqrt(values)) @ vectors.T


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9)])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_iso_c_is_the_polar_factor_times_the_mean_singular_value(
    shape: tuple[int, int], scale: float
) -> None:
    models, base = states(3, shape)
    total = sum(m["w"].numpy() - base["w"].numpy() for m in models)
    mean = np.linalg.norm(total, "nuc") / min(shape)
    found = iso_c(models, KEYS, base, scale)
    wanted = base["w"].numpy() + scale * mean * polar(total)
    np.testing.assert_allclose(found["w"].numpy(), wanted, atol=1e-10)
    taus = torch.stack([m["b"] for m in models]).mean(0) - base["b"]
    torch.testing.assert_close(found["b"], base["b"] + scale * taus)


@pytest.mark.parametrize("shape", [(6, 6), (9, 6), (6, 9)])
def test_tsv_m_is_its_algorithm_by_eigenvectors(shape: tuple[int, int]) -> None:
    models, base = states(3, shape)
    lefts, sizes, rights = [], [], []
    for model in models:
        tau = model["w"].numpy() - base["w"].numpy()
        values, vectors = np.linalg.eigh(tau.T @ tau)
        for index in np.argsort(values)[::-1][: min(shape) // 3]:
            rights.append(vectors[:, index])
            sizes.append(np.sqrt(values[index]))
            lefts.append(tau @ rights[-1] / sizes[-1])
    left, right = polar(np.stack(lefts, axis=1)), polar(np.stack(rights, axis=1))
    wanted = base["w"].numpy() + left @ np.diag(sizes) @ right.T
    np.testing.assert_allclose(tsv_m(models, KEYS, base)["w"].numpy(), wanted, atol=1e-9)


def test_tsv_m_of_one_model_is_that_model() -> None:
    (model,), base = states(1, (5, 4))
    for key, value in tsv_m([model], KEYS, base).items():
        torch.testing.assert_close(value, model[key])


def test_tsv_m_adds_models_that_change_other_directions() -> None:
    base = {"w": torch.zeros(6, 6)}
    models = [{"w": torch.zeros(6, 6)} for _ in range(3)]
    for number, model in enumerate(models):
        block = slice(2 * number, 2 * number + 2)
        model["w"][block, block] = torch.tensor([[2.0, 1.0], [0.0, 1.0]])
    summed = task_arithmetic(models, ["w"], base, 1.0)
    torch.testing.assert_close(tsv_m(models, ["w"], base), summed)
