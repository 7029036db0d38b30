"""One training that leaves models at several lengths: a trunk, and a branch for each shorter one.

While the rate is constant a shorter training does what a longer one does. So the trunk is trained
once, and where the cooldown of a shorter training begins, a copy of it (model and optimiser) is
cooled down and kept. Without a cooldown nothing is shared, and a branch begins at update 0.

Shape suffixes: B sequences, T tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harness.run import Context
from harness.training import State, adamw, clip, finite, set_rate
from suites.bam.data import tokens
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.settings import BamSettings

POINTS = 40
"""Points of a curve at most: each is the mean over equally many updates."""


class Segment(NamedTuple):
    """Updates in a row on one copy of the model."""

    first: int
    last: int
    """One past the last update."""
    end: int
    """Updates of the training whose rate they have."""
    point: str | None = None
    """The length that is reached after them; None: they go on in the next segment of the trunk."""


def segments(
    points: Mapping[str, int], final: str, stable: Callable[[int], int]
) -> tuple[Segment, ...]:
    """The updates of trunk and branches, in the order in which they are made.

    Args:
        points: name of each length -> its updates.
        final: the length that the trunk itself reaches.
        stable: of `suites.bam.settings.MixturePhase`.
    """
    made, done = [], 0
    for name, end in sorted(points.items(), key=lambda item: item[1]):
        if name == final:
            continue
        if (first := stable(end)) > done:
            made.append(Segment(done, first, points[final]))
            done = first
        made.append(Segment(first, end, end, name))
    return (*made, Segment(done, points[final], points[final], final))


def fit(
    ctx: Context,
    model: BamForCausalLM,
    stream: tokens.Stream,
    parts: Sequence[Segment],
    rate: Callable[[int, int], float],
    probe_BT: Tensor | None = None,
) -> dict[str, dict[str, Tensor]]:
    """Trains in place, resumable at every update; returns the weights at the end of each branch.

    The curves are means of the language-model loss and, apart from it, of the unweighted auxiliary
    losses, and the loss on the probe as it is at that point; those of a branch have its name before
    them.

    Args:
        ctx: Of the artifact.
        model: On the CPU; afterwards the trunk at its end. What asks for no gradient stays.
        stream: Of sequences; update n reads the same ones in trunk and branches.
        parts: See `segments`.
        rate: Learning rate of an update in a training of so many updates.
        probe_BT: Held-out sequences on which the loss is followed; None: it is not.

    Raises:
        Diverged: a loss is not finite.
    """
    settings = ctx.settings(BamSettings)
    trunk = _Copy(ctx, model)
    branch = _Copy(ctx, deepcopy(model)) if len({p.point for p in parts} - {None}) > 1 else trunk
    state = State(
        modules={"model": trunk.model, **({"branch": branch.model} if branch != trunk else {})},
        optimizers={"adamw": trunk.adamw, **({"branch": branch.adamw} if branch != trunk else {})},
    )
    places = [(part, step) for part in parts for step in range(part.first, part.last)]
    for place in ctx.steps(len(places), state):
        part, step = places[place]
        branches = part is not parts[-1] and part.point is not None
        own = branch if branches else trunk
        if branches and step == part.first:
            branch.become(trunk)
        set_rate(own.adamw, rate(step, part.end))
        ids_BT = stream.batch(step * settings.batch, settings.batch).to(ctx.device)
        losses = update(
            own.network, own.adamw, ids_BT, settings.micro_batch, settings.optimizer.clip
        )
        finite(losses["loss"], step + 1)
        every = -(-parts[-1].end // POINTS)
        whole = (step + 1) % every == 0 or step + 1 == part.end
        prefix = f"{part.point}/" if branches else ""
        _log(ctx, state, step + 1, losses, prefix, whole=whole)
        if whole and probe_BT is not None:
            ctx.log(step + 1, **{f"{prefix}held-out": own.loss(probe_BT.to(ctx.device))})
        if branches and step + 1 == part.last:
            weights = own.model.state_dict().items()
            state.tensors |= {f"{part.point}/{k}": v.detach().cpu().clone() for k, v in weights}
    kept: dict[str, dict[str, Tensor]] = {}
    for path, tensor in state.tensors.items():
        name, _, key = path.partition("/")
        kept.setdefault(name, {})[key] = tensor
    return kept


class _Copy:
    """A model with its optimiser."""

    def __init__(self, ctx: Context, model: BamForCausalLM) -> None:
        settings = ctx.settings(BamSettings)
        nn.Module.to(model, ctx.device).train()  # transformers' own `to` is typed without a device
        self.model = model
        self.adamw = adamw(model.named_parameters(), settings.optimizer)
        compiled = settings.compile and ctx.device.startswith("cuda")
        self.network: Any = torch.compile(model) if compiled else model

    @torch.no_grad()
    def loss(self, ids_BT: Tensor) -> float:
        """The language-model loss on sequences."""
        self.model.train(False)
        with torch.autocast("cuda", torch.bfloat16, enabled=ids_BT.is_cuda):
            found = float(self.model(ids_BT, labels=ids_BT, skip_logits=True).loss)
        self.model.train()
        return found

    def become(self, other: "_Copy") -> None:
        """Takes over all that another one has learnt."""
        self.model.load_state_dict(other.model.state_dict())
        self.adamw.state.clear()
        self.adamw.load_state_dict(deepcopy(other.adamw.state_dict()))


def _log(
    ctx: Context, state: State, step: int, losses: dict[str, float], prefix: str, *, whole: bool
) -> None:
    """Adds to the running means of trunk or branch; logs them where a point of a curve is whole."""
    sums: Any = state.values.setdefault(prefix, {})
    for name, loss in {**losses, "updates": 1}.items():
        sums[name] = sums.get(name, 0) + loss
    if whole:
        ctx.log(step, **{prefix + name: sums[name] / sums["updates"] for name in losses})
        state.values[prefix] = {}


def update(
    network: Any,
    optimizer: torch.optim.Optimizer,
    ids_BT: Tensor,
    micro: int,
    norm: float | None = None,
) -> dict[str, float]:
    """One update on a batch, `micro` sequences at a time; returns the mean losses.

    Gradients are clipped to `norm`, if it is given.
    """
    optimizer.zero_grad()
    pieces = torch.split(ids_BT, micro)
    totals = torch.zeros(3, device=ids_BT.device)
    for piece_BT in pieces:
        share = len(piece_BT) / len(ids_BT)
        with torch.autocast("cuda", torch.bfloat16, enabled=ids_BT.is_cuda):
            output = network(piece_BT, labels=piece_BT, skip_logits=True)
            loss = output.loss + output.auxiliary_loss
        (share * loss).backward()
        parts = (output.loss, output.load_balancing_loss, output.z_loss)
        totals += share * torch.stack([part.detach().float() for part in parts])
    clip(optimizer, norm)
    optimizer.step()
    return dict(zip(("loss", "load-balancing", "z"), totals.tolist(), strict=True))
