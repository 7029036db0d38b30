"""Merging rules: pure functions from the state dicts of several models to one.

Every rule takes the models with the one to be evaluated first, and returns a copy of that one in
which the floating-point tensors named by `keys` are merged; all others are the first model's.
Nothing is changed in place. Sums are made in float64 and rounded once, to the models' own type, so
that merging a model of float32 or less with itself gives that model to the last bit.

A state may read its tensors when they are asked for: each is asked for once a pass. Large tensors
are merged piece by piece, so that little more than the tensors themselves is in memory.

Symbols: theta_i the tensors of model i of n, theta_0 those of `base`, tau_i = theta_i - theta_0
the task vector.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from harness.errors import MethodError
from harness.weights import pieces
from suites.merging.merge.states import (
    PIECE,
    State,
    check,
    from_base,
    merge_with,
    summed,
    weighted,
    within,
)

RIDGE = 1e-8
"""Share of a mean eigenvalue that RegMean adds to every Gram matrix."""


def average(
    states: Sequence[State], keys: Sequence[str], weights: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """sum_i w_i theta_i / sum_i w_i, with equal weights where none are given.

    Raises:
        MethodError: models that do not fit, or weights that are not one per model, at least 0 and
            not all 0.
    """
    shares = list(weights) if weights is not None else [1.0] * len(states)
    if len(shares) != len(states) or min(shares, default=0) < 0 or not 0 < sum(shares) < math.inf:
        raise MethodError(
            f"weights {shares} for {len(states)} models; "
            "give one per model, at least 0 and not all of them 0"
        )
    return merge_with(states, keys, lambda _key, thetas, _: weighted(shares, thetas) / sum(shares))


def interpolate(a: State, b: State, keys: Sequence[str], p: float) -> dict[str, Tensor]:
    """(1 - p) theta_a + p theta_b.

    Raises:
        MethodError: models that do not fit, or p outside [0, 1].
    """
    within("p", p, 0, 1)
    return merge_with([a, b], keys, lambda _key, thetas, _: weighted([1 - p, p], thetas))


def slerp(
    a: State, b: State, keys: Sequence[str], p: float, arcs: Mapping[str, "Arc"] | None = None
) -> dict[str, Tensor]:
    """Along the great circle from theta_a to theta_b, each tensor taken as one vector.

    (sin((1-p) w) theta_a + sin(p w) theta_b) / sin w, with w the angle between the two; their
    straight line where they are parallel, opposite or zero, and the circle is not defined.

    Args:
        arcs: `arc` of each key, where it is known; `a` and `b` may then be pieces of tensors.

    Raises:
        MethodError: models that do not fit, or p outside [0, 1].
    """
    within("p", p, 0, 1)
    check([a, b], keys=keys)
    known = arcs or {key: arc(a, b, key, p) for key in keys}

    def combine(key: str, thetas: list[Tensor], _: slice) -> Tensor:
        *shares, divisor = known[key]
        return weighted(shares, thetas) / divisor

    return merge_with([a, b], keys, combine)


Arc = tuple[float, float, float]
"""What the two tensors of a circle are multiplied by, and their sum is divided by."""


def arc(a: State, b: State, key: str, p: float) -> Arc:
    """Where p lies between two tensors, on their circle or straight line."""
    product, norms = 0.0, [0.0, 0.0]
    for parts in zip(pieces(a, key), pieces(b, key), strict=True):
        first, second = (part.double() for part in parts)
        product += float(first @ second)
        norms = [
            math.hypot(n, float(v.norm())) for n, v in zip(norms, (first, second), strict=True)
        ]
    size = norms[0] * norms[1]
    cosine = product / size if size else 1.0
    if not abs(cosine) <= 1 - 1e-9:
        return 1 - p, p, 1.0
    angle = math.acos(cosine)
    return math.sin((1 - p) * angle), math.sin(p * angle), math.sin(angle)


def fisher(
    states: Sequence[State],
    keys: Sequence[str],
    information: Sequence[State],
    floor: float = 1e-6,
    trace_normalised: bool = True,
    means: Sequence[float] | None = None,
) -> dict[str, Tensor]:
    """sum_i f_i theta_i / sum_i f_i, element by element; f_i the diagonal Fisher information.

    With `trace_normalised`, each f_i is first divided by its sum over all tensors of its
    `information`, merged or not, as in the paper. Source: section 3 of the paper; Matena and
    Raffel, "Merging Models with Fisher-Weighted Averaging" (2022), Eq. 4. We differ: f_i is at
    least `floor` times the mean information of an element, so that what no model uses (where the
    formula reads 0/0) is averaged.

    Args:
        means: `mean_information` of each model, where it is known; `information` may then hold
            the tensors of `keys` alone.

    Raises:
        MethodError: models or information that do not fit, information that is negative, not
            finite or zero everywhere, or a floor of 0 or less.
    """
    if not 0 < floor < math.inf:
        raise MethodError(f"floor {floor}; it has to be a number above 0")
    if len(information) != len(states):
        raise MethodError(
            f"information of {len(information)} models for {len(states)}; give one per model"
        )
    check(states, keys=keys)
    called = ["model 1", *(f"the information of model {n}" for n in range(1, len(states) + 1))]
    check([states[0], *information], called, keys, dtypes=False)
    if means is None:
        means = [mean_information(f, n) for n, f in enumerate(information, 1)]
    scales = means if trace_normalised else [sum(means) / len(means)] * len(means)

    def combine(key: str, thetas: list[Tensor], part: slice) -> Tensor:
        upper, lower = torch.zeros_like(thetas[0]), torch.zeros_like(thetas[0])
        for theta, f, scale in zip(thetas, information, scales, strict=True):
            weight = (f[key].reshape(-1)[part].double() / scale).clamp_(min=floor)
            lower += weight
            upper += weight.mul_(theta)
        return upper / lower

    return merge_with(states, keys, combine)


def mean_information(information: State, number: int) -> float:
    """Mean information of an element over all tensors; `number` is what a message calls the model.

    Raises:
        MethodError: information that is negative, not finite or zero everywhere.
    """
    lowest, total, count = math.inf, 0.0, 0
    for key in information:
        for piece in pieces(information, key):
            lowest = min(lowest, float(piece.min()))
            total += float(piece.double().sum())
            count += piece.numel()
    mean = total / max(count, 1)
    if not lowest >= 0 or not 0 < mean < math.inf:
        raise MethodError(
            f"information of model {number}: smallest {lowest}, mean {mean}; "
            "it has to be finite, at least 0, and not 0 everywhere"
        )
    return mean


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


def task_arithmetic(
    states: Sequence[State], keys: Sequence[str], base: State, scale: float
) -> dict[str, Tensor]:
    """theta_0 + scale sum_i tau_i; with scale 1/n this is the average.

    Source: Ilharco et al., "Editing Models with Task Arithmetic" (2023), section 2.

    Raises:
        MethodError: models that do not fit, or a scale that is not a finite number.
    """
    within("scale", scale)
    return from_base(states, keys, base, lambda _key, taus, _: scale * summed(taus))


def ties(
    states: Sequence[State],
    keys: Sequence[str],
    base: State,
    density: float = 0.2,
    scale: float = 1.0,
    least: Sequence[float] | None = None,
) -> dict[str, Tensor]:
    """theta_0 + scale tau: task vectors trimmed, their signs elected, what agrees averaged.

    Each tau_i keeps its `density` largest magnitudes over all `keys` together (all of them that
    equal the smallest kept) and is 0 elsewhere. The sign of an element is that of its sum over
    models; tau is the mean of the elements that are not 0 and have this sign. Source: Yadav et
    al., "TIES-Merging" (2023), Algorithm 1. Where a sum is exactly 0, so is tau, as in the
    algorithm (the released code takes the sign of the majority of elements).

    Args:
        least: `smallest_kept` of each model, where it is known.

    Raises:
        MethodError: models that do not fit, density outside (0, 1], or a scale that is not finite.
    """
    _check_density(density)
    within("scale", scale)
    check([*states, base], keys=keys)
    bounds = least or [smallest_kept(state, keys, base, density) for state in states]

    def combine(_key: str, taus: list[Tensor], _: slice) -> Tensor:
        trimmed = [t.where(t.abs() >= bound, 0.0) for t, bound in zip(taus, bounds, strict=True)]
        sign = summed(trimmed).sign()
        agreeing = [t.sign() == sign for t in trimmed]
        total = summed([t * a for t, a in zip(trimmed, agreeing, strict=True)])
        return scale * total / summed([a.double() for a in agreeing]).clamp(min=1)

    return from_base(states, keys, base, combine)


def smallest_kept(state: State, keys: Sequence[str], base: State, density: float) -> float:
    """The smallest magnitude among the `density` largest of a task vector, over all `keys`.

    Exact, found 16 bits at a time: the vector is gone through four times and never held.

    Raises:
        MethodError: density outside (0, 1], or a number that is not finite.
    """
    _check_density(density)
    rank, prefix = -1, 0
    for shift in (48, 32, 16, 0):
        counts = torch.zeros(2**16, dtype=torch.int64)
        for bits in _magnitudes(state, keys, base):
            inside = bits[bits >> (shift + 16) == prefix] if shift < 48 else bits
            counts += torch.bincount((inside >> shift) & 0xFFFF, minlength=2**16).cpu()
        if rank < 0 and counts[0x7FF0:].any():
            raise MethodError("a task vector is not finite; a model has NaN or infinity in it")
        if rank < 0:  # from below
            size = int(counts.sum())
            rank = size - max(1, round(density * size))
        below = counts.cumsum(0)
        digit = int(torch.searchsorted(below, rank, right=True))
        rank -= int(below[digit - 1]) if digit else 0
        prefix = prefix << 16 | digit
    return float(torch.tensor(prefix).view(torch.float64))


def _magnitudes(state: State, keys: Sequence[str], base: State) -> Iterator[Tensor]:
    """Pieces of |theta - theta_0|, as integers of the same order."""
    for key in keys:
        for own, origin in zip(pieces(state, key), pieces(base, key), strict=True):
            if own.is_floating_point():
                for one, other in zip(*(torch.split(t, PIECE) for t in (own, origin)), strict=True):
                    yield (one.double() - other.double()).abs().view(torch.int64)


def dare(
    states: Sequence[State],
    keys: Sequence[str],
    base: State,
    drop: float = 0.5,
    scale: float = 1.0,
    *,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """theta_0 + scale sum_i m_i tau_i / (1 - drop), each element of m_i 0 with probability `drop`.

    Source: Yu et al., "Language Models are Super Mario" (2024), Eq. 2 and 3, with task arithmetic.

    Args:
        generator: On the CPU; equal states of it give equal models.

    Raises:
        MethodError: models that do not fit, drop outside [0, 1), or a scale that is not finite.
    """
    within("drop", drop, 0, 1)
    within("scale", scale)
    if drop == 1:
        raise MethodError("drop 1 would keep nothing; give a probability of at least 0, below 1")
    masks: list[Tensor] = []

    def combine(key: str, taus: list[Tensor], part: slice) -> Tensor:
        if part.start == 0:  # those of the whole tensor, model after model
            size = base[key].numel()
            masks[:] = [torch.rand(size, generator=generator) >= drop for _ in taus]
        kept = [tau * m[part].to(tau.device) for tau, m in zip(taus, masks, strict=True)]
        return scale * summed(kept) / (1 - drop)

    return from_base(states, keys, base, combine)


def _check_density(density: float) -> None:
    within("density", density, 0, 1)
    if density == 0:
        raise MethodError("density 0 would keep nothing; give a share above 0, at most 1")
