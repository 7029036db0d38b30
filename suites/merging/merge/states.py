"""What every rule of merging shares: models as state dicts, compared and merged tensor by tensor.

Symbols as in `rules`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from harness.errors import MethodError

State = Mapping[str, Tensor]

PIECE = 2**15
"""Elements that are merged at a time: they stay in the processor's cache, and torch does not wake
its threads, whose waiting costs more than it gains beside other work."""

Combine = Callable[[str, list[Tensor], slice], Tensor]
"""Name, the models' elements in float64, and which elements these are: what they become."""


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
        found = []
        for state in states:
            kind = ""
            if dtypes and key in state:
                kind = f" {str(state[key].dtype).removeprefix('torch.')}"
            found.append(f"{list(state[key].shape)}{kind}" if key in state else "nothing")
        odd = next((n for n, what in enumerate(found) if what != found[0]), 0)
        if odd or found[0] == "nothing":
            one, two = (0, odd) if found[0] == "nothing" else (odd, 0)
            raise MethodError(
                f"{key} is {found[one]} in {called[one]} and {found[two]} in {called[two]}; "
                "merge models of one shape and type, or leave this tensor out"
            )


def merge_with(
    states: Sequence[State], keys: Sequence[str], combine: Combine, whole: bool = False
) -> dict[str, Tensor]:
    """The first state, with `keys` as `combine` has them.

    Args:
        whole: `combine` wants tensors in their shape; else flat pieces of them.
    """
    check(states, keys=keys)
    merging = set(keys)
    merged = {k: v.detach().clone() for k, v in states[0].items() if k not in merging}
    for key in keys:
        thetas = [state[key].detach() for state in states]
        first = thetas[0]
        if not first.is_floating_point():
            merged[key] = first.clone()
        elif whole:
            doubled = [theta.double() for theta in thetas]
            merged[key] = combine(key, doubled, slice(0, None)).to(first.dtype).contiguous()
        else:
            result = torch.empty(first.shape, dtype=first.dtype, device=first.device)
            flat, flats = result.view(-1), [theta.reshape(-1) for theta in thetas]
            for start in range(0, len(flat), PIECE):
                part = slice(start, start + PIECE)
                flat[part] = combine(key, [theta[part].double() for theta in flats], part)
            merged[key] = result
    return {key: merged[key] for key in states[0]}


def from_base(
    states: Sequence[State],
    keys: Sequence[str],
    base: State,
    combine: Combine,
    whole: bool = False,
) -> dict[str, Tensor]:
    """theta_0 + `combine` of the task vectors.

    Args:
        whole: `combine` wants tensors in their shape; else flat pieces of them.

    Raises:
        MethodError: models that do not fit.
    """
    check([*states, base], [*(f"model {n}" for n in range(1, len(states) + 1)), "the base"], keys)

    def on_base(key: str, thetas: list[Tensor], part: slice) -> Tensor:
        origin = base[key].detach()
        origin = (origin if whole else origin.reshape(-1)[part]).double()
        return origin + combine(key, [theta - origin for theta in thetas], part)

    return merge_with(states, keys, on_base, whole)


def weighted(weights: Sequence[float], thetas: Sequence[Tensor]) -> Tensor:
    """sum_i w_i theta_i."""
    return summed(w * theta for w, theta in zip(weights, thetas, strict=True))


def summed(terms: Iterable[Tensor]) -> Tensor:
    """The sum, term after term: no more than two of them need to be there at a time."""
    remaining = iter(terms)
    total = next(remaining).clone()
    for term in remaining:
        total += term
    return total


def within(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    """Nothing, if a coefficient called `name` lies there.

    Raises:
        MethodError: it does not.
    """
    if not low <= value <= high or not math.isfinite(value):
        bounds = f"from {low:g} to {high:g}" if math.isfinite(high) else "finite"
        raise MethodError(f"{name} is {value}; it has to be a number, {bounds}")
