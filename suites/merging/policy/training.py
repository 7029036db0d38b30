"""Trains policies by behaviour cloning on windows of trajectories: one loop for all of them.

One policy on its own data; several that share a backbone, each on its own data; with tensors
frozen; with further terms in the loss: L2 regularisation toward the initialisation, the k-means
term, a language model's loss on the same blocks.

Shape suffixes: B batch, K steps of context, N steps that are not padded, A action, D width,
C centres.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from harness.run import Context
from harness.settings import AdamW
from harness.training import State, clip, count_flops, set_rate
from suites.merging.policy import groups
from suites.merging.policy.model import DecisionTransformer
from suites.merging.robots.trajectories import Batch, Windows
from suites.merging.settings import Training

CACHED_FLOATS = 2**20
"""Floats that the widest activation of a pass may have.

A larger batch goes through in slices whose gradients add up to those of the whole: what a pass
keeps for its backward then stays near the processor. A GPU takes the batch whole.
"""

Batches = Mapping[str, Batch]


class Term(NamedTuple):
    """Something that the loss has besides the squared error."""

    loss: Callable[[int, Batches], Tensor]
    """Of the number of updates done and the batch of every policy."""
    module: nn.Module | None = None
    """What is trained along; it may share modules with the policies."""
    generator: torch.Generator | None = None
    """What it draws from."""


Returns = dict[str, list[float]]
"""Returns of evaluation episodes by environment; the loss on held-out episodes as `HELD_OUT`."""
HELD_OUT = "held-out"


def fit(
    ctx: Context,
    policies: Mapping[str, DecisionTransformer],
    windows: Mapping[str, Windows],
    recipe: Training,
    settings: AdamW,
    *,
    frozen: Sequence[str] = (),
    terms: Sequence[Term] = (),
    evaluate: Callable[[int], Returns] | None = None,
    evaluate_at: Sequence[int] = (),
) -> list[tuple[int, Returns]]:
    """Trains in place, resumably; the loss is the sum over policies.

    AdamW, mean squared error of the actions that are not padded. Batches are drawn from the stream
    `batch` with the policies' names as keys: methods with equal seeds see equal batches.

    Args:
        policies: by environment; they may share modules.
        windows: the data of each.
        recipe: how long and how fast.
        settings: of the optimiser.
        frozen: groups or globs of parameters that stay as they are, besides those that ask for no
            gradient.
        terms: what the loss has besides.
        evaluate: called with the number of updates, at those in `evaluate_at`.

    Returns:
        What `evaluate` returned, with the numbers of updates.
    """
    optimizer = _optimizer(policies, recipe, settings, frozen, terms)
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    generators = {f"batch-{name}": ctx.torch_generator("batch", name) for name in policies}
    drawn_from = {f"term-{n}": t.generator for n, t in enumerate(terms) if t.generator is not None}
    modules = {f"term-{n}": t.module for n, t in enumerate(terms) if t.module is not None}
    state = State(
        modules={**policies, **modules},
        optimizers={"adamw": optimizer},
        generators=generators | drawn_from,
    )
    state.values["curve"] = []
    ctx.count(
        parameters=sum(p.numel() for p in trained),
        updates=recipe.updates,
        flops=recipe.updates * sum(_flops(policies[n], windows[n], recipe) for n in policies),
    )
    for module in (*policies.values(), *modules.values()):
        module.train()
    for done in ctx.steps(recipe.updates, state):
        if done == 0 and evaluate and 0 in evaluate_at:
            _evaluated(state).append([0, evaluate(0)])
        optimizer.zero_grad()
        batches = {
            name: windows[name].sample(recipe.batch, generators[f"batch-{name}"])
            for name in policies
        }
        loss = sum(backward(policies[name], batch) for name, batch in batches.items())
        for term in terms:
            extra = term.loss(done, batches)
            extra.backward()  # type: ignore[no-untyped-call]
            loss += extra.item()
        ctx.log(done, loss=loss)
        clip(optimizer, settings.clip)
        set_rate(optimizer, recipe.rate(done))
        optimizer.step()
        if evaluate and done + 1 in evaluate_at:
            _evaluated(state).append([done + 1, evaluate(done + 1)])
    optimizer.zero_grad()
    for policy in policies.values():
        policy.eval().requires_grad_()
    return [(update, returns) for update, returns in _evaluated(state)]


def _evaluated(state: State) -> list[Any]:
    """The evaluations so far; a resumed training reads them from its checkpoint."""
    return cast(list[Any], state.values["curve"])


def backward(policy: DecisionTransformer, batch: Batch) -> float:
    """Adds the gradient of the mean squared error to the policy's; returns the error.

    The mean is over all dimensions of the actions that are not padded.
    """
    shape = policy.shape
    scored = int(batch.mask_BK.sum()) * shape.action_dim
    floats = len(batch.mask_BK) * 3 * shape.context * 4 * shape.width
    slices = 1 if batch.mask_BK.is_cuda else min(-(-floats // CACHED_FLOATS), len(batch.mask_BK))
    total = 0.0
    for part in zip(*(t.chunk(slices) for t in batch), strict=True):
        error = squared_error(policy, Batch(*part)) / scored
        error.backward()  # type: ignore[no-untyped-call]
        total += error.item()
    return total


def squared_error(policy: DecisionTransformer, batch: Batch) -> Tensor:
    """Sum of squared errors of the actions that are not padded."""
    error_BKA: Tensor = (policy(*batch.inputs) - batch.actions_BKA) * batch.mask_BK[..., None]
    return error_BKA.square().sum()


@torch.no_grad()
def error(policy: DecisionTransformer, batches: Iterable[Batch]) -> float:
    """Mean squared error over all dimensions of the actions that are not padded."""
    total, scored = 0.0, 0
    for batch in batches:
        total += float(squared_error(policy, batch))
        scored += int(batch.mask_BK.sum()) * policy.shape.action_dim
    return total / scored


def toward_start(policy: DecisionTransformer, strength: float) -> Term:
    """Regularisation toward the weights of now: the sum of ||p - p_0|| over tensors of the blocks.

    Of the norm, not of its square, one term per tensor (released code, `--init_reg`).
    """
    starts = [(p, p.detach().clone()) for p in policy.blocks.parameters()]

    def loss(_done: int, _batches: Batches) -> Tensor:
        return strength * torch.stack([(p - start).norm() for p, start in starts]).sum()

    return Term(loss)


def toward_centres(
    policies: Mapping[str, DecisionTransformer],
    centres_CD: Tensor,
    strength: float,
    updates: int,
    gone: float = 0.15,
) -> Term:
    """Pulls input tokens toward the nearest centre of a language model's token embeddings.

    Minus the mean over tokens of the largest cosine, fading out: a logistic curve with half of the
    strength at half of `gone`, a share of the updates. Source: Reid et al., "Can Wikipedia Help
    Offline Reinforcement Learning?" (2022). We differ: the time scale is a share of the training;
    the released code counts updates.
    """
    unit_CD = nn.functional.normalize(centres_CD, dim=-1)

    def loss(done: int, batches: Batches) -> Tensor:
        fading = 1 / (1 + math.exp(5 - (gone - done / updates) / (gone / 10)))
        nearest = []
        for name, batch in batches.items():
            x_BK3D = policies[name].embed(
                batch.states_BKS, batch.actions_BKA, batch.returns_to_go_BK1
            )
            cosines = nn.functional.normalize(x_BK3D[batch.mask_BK], dim=-1) @ unit_CD.T
            nearest.append(cosines.amax(-1).mean())
        return -strength * fading * torch.stack(nearest).sum()

    return Term(loss)


def _flops(policy: DecisionTransformer, windows: Windows, recipe: Training) -> int:
    """Of one batch, forward and backward; leaves gradients."""
    batch = windows.at(torch.arange(recipe.batch) % windows.steps)
    return count_flops(lambda: backward(policy, batch))


def _optimizer(
    policies: Mapping[str, DecisionTransformer],
    recipe: Training,
    settings: AdamW,
    frozen: Sequence[str],
    terms: Sequence[Term],
) -> torch.optim.AdamW:
    """AdamW over what is not frozen, each parameter once; freezes the rest."""
    blocks: dict[int, nn.Parameter] = {}
    rest: dict[int, nn.Parameter] = {}
    for policy in policies.values():
        for name, parameter in policy.named_parameters():
            if frozen and groups.matches(name, frozen):
                parameter.requires_grad_(False)
            elif parameter.requires_grad:
                (blocks if name.startswith("blocks.") else rest)[id(parameter)] = parameter
    for term in terms:
        for parameter in term.module.parameters() if term.module else ():
            if id(parameter) not in blocks:
                rest[id(parameter)] = parameter
    split = [
        {"params": list(blocks.values()), "weight_decay": recipe.blocks_decay},
        {"params": list(rest.values()), "weight_decay": settings.weight_decay},
    ]
    return torch.optim.AdamW(
        [group for group in split if group["params"]],
        lr=recipe.lr,
        betas=settings.betas,
        eps=settings.eps,
        fused=True,
    )
