"""Merging rules: pure functions from the state dicts of several models to one.

Every rule takes the models with the one to be evaluated first, and returns a copy of that one in
which the floating-point tensors named by `keys` are merged; all others are the first model's.
Nothing is changed in place. Sums are made in float64 and rounded once, to the models' own type, so
that merging a model of float32 or less with itself gives that model to the last bit.

Symbols: theta_i the tensors of model i of n, theta_0 those of `base`, tau_i = theta_i - theta_0
the task vector.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from harness.errors import MethodError

State = Mapping[str, Tensor]

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
    return _merge(states, keys, lambda _, thetas: _weighted(shares, thetas) / sum(shares))


def interpolate(a: State, b: State, keys: Sequence[str], p: float) -> dict[str, Tensor]:
    """(1 - p) theta_a + p theta_b.

    Raises:
        MethodError: models that do not fit, or p outside [0, 1].
    """
    _within("p", p, 0, 1)
    return _merge([a, b], keys, lambda _, thetas: _weighted([1 - p, p], thetas))


def slerp(a: State, b: State, keys: Sequence[str], p: float) -> dict[str, Tensor]:
    """Along the great circle from theta_a to theta_b, each tensor taken as one vector.

    (sin((1-p) w) theta_a + sin(p w) theta_b) / sin w, with w the angle between the two; their
    straight line where they are parallel, opposite or zero, and the circle is not defined.

    Raises:
        MethodError: models that do not fit, or p outside [0, 1].
    """
    _within("p", p, 0, 1)

    def combine(_: str, thetas: list[Tensor]) -> Tensor:
        first, second = (theta.flatten() for theta in thetas)
        norms = float(first.norm() * second.norm())
        cosine = float(first @ second) / norms if norms else 1.0
        if abs(cosine) > 1 - 1e-9:
            return _weighted([1 - p, p], thetas)
        angle = math.acos(cosine)
        shares = [math.sin((1 - p) * angle), math.sin(p * angle)]
        return _weighted(shares, thetas) / math.sin(angle)

    return _merge([a, b], keys, combine)


def fisher(
    states: Sequence[State],
    keys: Sequence[str],
    information: Sequence[State],
    floor: float = 1e-6,
    trace_normalised: bool = True,
) -> dict[str, Tensor]:
    """sum_i f_i theta_i / sum_i f_i, element by element; f_i the diagonal Fisher information.

    With `trace_normalised`, each f_i is first divided by its sum over all tensors of its
    `information`, merged or not, as in the paper. Source: section 3 of the paper; Matena and
    Raffel, "Merging Models with Fisher-Weighted Averaging" (2022), Eq. 4. We differ: f_i is at
    least `floor` times the mean information of an element, so that what no model uses (where the
    formula reads 0/0) is averaged.

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
    means = []
    for number, f in enumerate(information, 1):
        lowest = min(float(v.min()) for v in f.values())
        mean = sum(float(v.double().sum()) for v in f.values()) / sum(v.numel() for v in f.values())
        if not lowest >= 0 or not 0 < mean < math.inf:
            raise MethodError(
                f"information of model {number}: smallest {lowest}, mean {mean}; "
                "it has to be finite, at least 0, and not 0 everywhere"
            )
        means.append(mean)
    if not trace_normalised:
        means = [sum(means) / len(means)] * len(means)

    def combine(key: str, thetas: list[Tensor]) -> Tensor:
        fs = [
            (f[key].double() / mean).clamp(min=floor)
            for f, mean in zip(information, means, strict=True)
        ]
        return torch.stack([f * theta for f, theta in zip(fs, thetas, strict=True)]).sum(
            0
        ) / torch.stack(fs).sum(0)

    return _merge(states, keys, combine)


def regmean(
    states: Sequence[State], keys: Sequence[str], grams: Sequence[State], shrink: float = 0.9
) -> dict[str, Tensor]:
    """The weights whose outputs lie closest to each model's on that model's own inputs.

    W = (sum_i W_i G_i)(sum_i G_i)^-1 for a weight [out, in] that has a Gram matrix
    G_i = X_i^T X_i [in, in] of its inputs, off-diagonal elements times `shrink`; the average for
    all other tensors. Source: Jin et al., "Dataless Knowledge Fusion by Merging Weights of
    Language Models" (2023), Eq. 2 and section 4. We differ: every G_i has a ridge of 1e-8 of its
    mean eigenvalue over models, so that inputs that no model uses are averaged.

    Raises:
        MethodError: models or Gram matrices that do not fit, or shrink outside [0, 1].
    """
    _within("shrink", shrink, 0, 1)
    if len(grams) != len(states):
        raise MethodError(f"Gram matrices of {len(grams)} models for {len(states)}; one set each")
    for key in keys:
        for gram in grams:
            wide = list(states[0][key].shape[1:]) if key in states[0] else []
            if (key in gram) != (key in grams[0]) or (
                key in gram and list(gram[key].shape) != wide * 2
            ):
                found = list(gram[key].shape) if key in gram else "missing"
                raise MethodError(
                    f"Gram matrix of {key} is {found}; every model has to have it, "
                    f"as {wide * 2} for a weight [out, in]"
                )

    def combine(key: str, thetas: list[Tensor]) -> Tensor:
        if key not in grams[0]:
            return _weighted([1.0] * len(thetas), thetas) / len(thetas)
        gs = [g[key].double() for g in grams]
        gs = [shrink * g + (1 - shrink) * torch.diag(g.diagonal()) for g in gs]
        mean = sum(float(g.diagonal().mean()) for g in gs) / len(gs)
        ridge = (RIDGE * mean or 1.0) * torch.eye(len(gs[0]), dtype=torch.float64)
        gs = [g + ridge.to(g.device) for g in gs]
        total_II = torch.stack(gs).sum(0)
        target_OI = torch.stack([w @ g for w, g in zip(thetas, gs, strict=True)]).sum(0)
        solved: Tensor = torch.linalg.solve(total_II, target_OI, left=False)
        return solved

    return _merge(states, keys, combine)


def task_arithmetic(
    states: Sequence[State], keys: Sequence[str], base: State, scale: float
) -> dict[str, Tensor]:
    """theta_0 + scale sum_i tau_i; with scale 1/n this is the average.

    Source: Ilharco et al., "Editing Models with Task Arithmetic" (2023), section 2.

    Raises:
        MethodError: models that do not fit, or a scale that is not a finite number.
    """
    _within("scale", scale)
    return _from_base(states, keys, base, lambda _, taus: scale * torch.stack(taus).sum(0))


def ties(
    states: Sequence[State],
    keys: Sequence[str],
    base: State,
    density: float = 0.2,
    scale: float = 1.0,
) -> dict[str, Tensor]:
    """theta_0 + scale tau: task vectors trimmed, their signs elected, what agrees averaged.

    Each tau_i keeps its `density` largest magnitudes over all `keys` together (all of them that
    equal the smallest kept) and is 0 elsewhere. The sign of an element is that of its sum over
    models; tau is the mean of the elements that are not 0 and have this sign. Source: Yadav et
    al., "TIES-Merging" (2023), Algorithm 1. Where a sum is exactly 0, so is tau, as in the
    algorithm (the released code takes the sign of the majority of elements).

    Raises:
        MethodError: models that do not fit, density outside (0, 1], or a scale that is not finite.
    """
    _within("density", density, 0, 1)
    _within("scale", scale)
    if density == 0:
        raise MethodError("density 0 would keep nothing; give a share above 0, at most 1")
    check([*states, base], keys=keys)
    thresholds = [_largest(_vectors(state, keys, base), density) for state in states]

    def combine(_: str, taus: list[Tensor]) -> Tensor:
        trimmed = torch.stack(
            [t.where(t.abs() >= least, 0.0) for t, least in zip(taus, thresholds, strict=True)]
        )
        agreeing = trimmed.sign() == trimmed.sum(0).sign()
        return scale * (trimmed * agreeing).sum(0) / agreeing.sum(0).clamp(min=1)

    return _from_base(states, keys, base, combine)


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
    _within("drop", drop, 0, 1)
    _within("scale", scale)
    if drop == 1:
        raise MethodError("drop 1 would keep nothing; give a probability of at least 0, below 1")

    def combine(_: str, taus: list[Tensor]) -> Tensor:
        kept = [torch.rand(tau.shape, generator=generator).to(tau.device) >= drop for tau in taus]
        summed = torch.stack([tau * mask for tau, mask in zip(taus, kept, strict=True)]).sum(0)
        return scale * summed / (1 - drop)

    return _from_base(states, keys, base, combine)


def check(
    states: Sequence[State],
    names: Sequence[str] = (),
    keys: Iterable[str] | None = None,
    dtypes: bool = True,
) -> None:
    """Nothing, if the models have the same tensors: all of them, or those named by `keys`.

    Args:
        names: What to call the models in the message.
        dtypes: Compare the types of the numbers too.

    Raises:
        MethodError: no model, or the first tensor that is missing in one, or of another shape or
            type.
    """
    if not states:
        raise MethodError("no model to merge; give at least one")
    called = names or [f"model {number}" for number in range(1, len(states) + 1)]
    wanted = list(keys) if keys is not None else sorted(set().union(*states))
    for key in wanted:
        first: tuple[str, str] | None = None
        for name, state in zip(called, states, strict=True):
            found = "nothing"
            if key in state:
                kind = f" {str(state[key].dtype).removeprefix('torch.')}" if dtypes else ""
                found = f"{list(state[key].shape)}{kind}"
            if first is None:
                first = (name, found)
            if found == "nothing" or found != first[1]:
                raise MethodError(
                    f"{key} is {found} in {name} and {first[1]} in {first[0]}; "
                    "merge models of one shape and type, or leave this tensor out"
                )


def _merge(
    states: Sequence[State],
    keys: Sequence[str],
    combine: Callable[[str, list[Tensor]], Tensor],
) -> dict[str, Tensor]:
    check(states, keys=keys)
    merged = {key: value.detach().clone() for key, value in states[0].items()}
    for key in keys:
        if merged[key].is_floating_point():
            thetas = [state[key].detach().double() for state in states]
            merged[key] = combine(key, thetas).to(merged[key].dtype)
    return merged


def _from_base(
    states: Sequence[State],
    keys: Sequence[str],
    base: State,
    combine: Callable[[str, list[Tensor]], Tensor],
) -> dict[str, Tensor]:
    check([*states, base], [*(f"model {n}" for n in range(1, len(states) + 1)), "the base"], keys)

    def on_base(key: str, thetas: list[Tensor]) -> Tensor:
        origin = base[key].detach().double()
        return origin + combine(key, [theta - origin for theta in thetas])

    return _merge(states, keys, on_base)


def _weighted(weights: Sequence[float], thetas: Sequence[Tensor]) -> Tensor:
    return torch.stack([w * theta for w, theta in zip(weights, thetas, strict=True)]).sum(0)


def _vectors(state: State, keys: Sequence[str], base: State) -> Tensor:
    floating = [key for key in keys if state[key].is_floating_point()]
    return torch.cat([(state[k].double() - base[k].double()).flatten() for k in floating])


def _largest(vector: Tensor, density: float) -> float:
    """The smallest magnitude among the `density` largest."""
    kept = max(1, round(density * len(vector)))
    return float(vector.abs().kthvalue(len(vector) - kept + 1).values)


def _within(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    if not low <= value <= high or not math.isfinite(value):
        bounds = f"from {low:g} to {high:g}" if math.isfinite(high) else "finite"
        raise MethodError(f"{name} is {value}; it has to be a number, {bounds}")
