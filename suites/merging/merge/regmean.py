"""RegMean: weights whose outputs lie closest to those of the models that are merged.

Shape suffixes: O outputs, I inputs.
"""

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import Tensor

from harness.errors import MethodError
from suites.merging.merge.rules import State, average, check, merge_with, within

RIDGE = 1e-8
"""Share of a mean eigenvalue that RegMean adds to every Gram matrix."""


def regmean(
    states: Sequence[State],
    keys: Sequence[str],
    grams: Sequence[State],
    shrink: float = 0.9,
    transposed: Collection[str] | None = None,
) -> dict[str, Tensor]:
    """The weights whose outputs lie closest to each model's on that model's own inputs.

    W = (sum_i W_i G_i)(sum_i G_i)^-1 for a weight [out, in] that has a Gram matrix
    G_i = X_i^T X_i [in, in] of its inputs, off-diagonal elements times `shrink`; the average for
    all other tensors. Source: Jin et al., "Dataless Knowledge Fusion by Merging Weights of
    Language Models" (2023), Eq. 2 and section 4. We differ: every G_i has a ridge of 1e-8 of its
    mean eigenvalue over models, so that inputs that no model uses are averaged.

    Args:
        transposed: weights that are kept as [in, out] (GPT-2's), where `check_grams` has been
            asked; None: told by `inputs_first`, and checked.

    Raises:
        MethodError: models or Gram matrices that do not fit, shrink outside [0, 1], or a square
            weight of which it cannot be told which side its inputs are on.
    """
    within("shrink", shrink, 0, 1)
    if len(grams) != len(states):
        raise MethodError(f"Gram matrices of {len(grams)} models for {len(states)}; one set each")
    if transposed is None:
        check(states, keys=keys)
        transposed = inputs_first(states[0], [key for key in keys if key in grams[0]])
        check_grams(states[0], keys, grams, transposed)
    measured = [key for key in keys if key in grams[0]]
    averaged = average(states, [key for key in keys if key not in grams[0]])

    def combine(key: str, thetas: list[Tensor], _: slice) -> Tensor:
        turned = key in transposed
        mean = sum(float(_shrunk(g[key].diagonal(), shrink).mean()) for g in grams) / len(grams)
        total_II, target_OI = None, None
        for theta, gram in zip(thetas, grams, strict=True):
            own_II = gram[key].double()
            diagonal_I = _shrunk(own_II.diagonal(), shrink).add_(RIDGE * mean or 1.0)
            own_II = shrink * own_II
            own_II.diagonal().copy_(diagonal_I)
            part_OI = (theta.T if turned else theta) @ own_II
            total_II = own_II if total_II is None else total_II.add_(own_II)
            target_OI = part_OI if target_OI is None else target_OI.add_(part_OI)
            del own_II  # before the next one is read
        solved: Tensor = torch.linalg.solve(total_II, target_OI, left=False)
        return solved.T if turned else solved

    return merge_with([averaged, *states[1:]], measured, combine, whole=True)


def check_grams(
    shapes: State, keys: Iterable[str], grams: Sequence[State], transposed: Collection[str]
) -> None:
    """Nothing, if every model has the same Gram matrices, of the weights' inputs.

    Args:
        shapes: a model, and `grams` too; tensors may be on the meta device.

    Raises:
        MethodError: naming the first that does not fit.
    """
    for key in keys:
        shape = list(shapes[key].shape) if key in shapes else []
        wide = (shape[:1] if key in transposed else shape[1:]) * 2
        for gram in grams:
            found = list(gram[key].shape) if key in gram else "missing"
            if (key in gram) != (key in grams[0]) or found not in ("missing", wide):
                raise MethodError(
                    f"Gram matrix of {key} is {found}; every model has to have it, as {wide} "
                    f"for a weight {'[in, out]' if key in transposed else '[out, in]'}"
                )


def _shrunk(diagonal: Tensor, shrink: float) -> Tensor:
    """The diagonal of a Gram matrix whose other elements are shrunk; rounded as the matrix is."""
    return shrink * diagonal.double() + (1 - shrink) * diagonal.double()


def inputs_first(shapes: State, keys: Iterable[str]) -> set[str]:
    """Those of the weights `keys` that are kept as [in, out], as GPT-2's Conv1D keeps them.

    The bias of a layer has its outputs' size. A square weight goes by the other layers of its
    name, and else by all layers; a layer without a bias is a linear one, [out, in].

    Args:
        shapes: a whole model; its tensors may be on the meta device.

    Raises:
        MethodError: it cannot be told.
    """
    kinds: dict[str, bool] = {}
    for name, weight in shapes.items():
        bias = shapes.get(f"{name.removesuffix('weight')}bias")
        if name.endswith(".weight") and bias is not None and weight.dim() == 2 and bias.dim() == 1:
            rows, columns = weight.shape
            if rows != columns and len(bias) in (rows, columns):
                kinds[name] = len(bias) == columns
    found = set()
    for key in keys:
        if key in kinds or f"{key.removesuffix('weight')}bias" not in shapes:
            votes = {kinds.get(key, False)}
        else:
            leaf = key.split(".")[-2:]
            votes = {kind for name, kind in kinds.items() if name.split(".")[-2:] == leaf}
            votes = votes or set(kinds.values()) or {False}
        if len(votes) > 1:
            raise MethodError(
                f"{key} is square, and layers of its model are kept as [out, in] and as [in, out]: "
                "which side its inputs are on cannot be told; leave it out with --include"
            )
        if votes.pop():
            found.add(key)
    return found
