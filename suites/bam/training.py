"""Trains the seed, the domain experts, dense baselines and mixtures; each is an artifact.

A finished artifact holds the checkpoint `model/` and `training.json`: what was counted, what it
cost, and the curves. AdamW, linear warm-up, cosine decay to a share of the peak (BAM, section 4.1).

Shape suffixes: B sequences, T tokens.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from harness.errors import DataError, SpecError
from harness.run import Context
from harness.settings import Schedule
from harness.store import write_atomic
from harness.training import State, adamw, clip, set_rate
from suites.bam import counts
from suites.bam.data import tokens
from suites.bam.data.datasets import SPECIALITIES
from suites.bam.model import checkpoints, pretrained
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig
from suites.bam.model.upcycle import mixture_config, upcycle
from suites.bam.settings import BamSettings, Continued, Mixture, Seed

MODEL = "model"
"""Folder of the checkpoint inside an artifact."""


def make_seed(ctx: Context) -> dict[str, JsonValue]:
    """The dense seed: trained from random weights, or a pretrained model as it is."""
    settings = ctx.settings(BamSettings)
    if settings.model is None:
        pretrained.checked(ctx)
        pretrained.write_seed(ctx.out / MODEL)
        return report(ctx, checkpoints.load(ctx.out / MODEL), 0)
    tokenizer = tokens.load_tokenizer(ctx.artifact("tokens"))
    config = BamConfig(
        **settings.model.model_dump(),
        vocab_size=len(tokenizer),
        eos_token_id=tokens.end_of_text(tokenizer),
    )
    model = BamForCausalLM(config)
    model.reset_parameters(ctx.torch_generator("init"))
    return train(ctx, model, _phase(ctx, "seed"), ctx.settings(Seed).weights)


def make_continued(ctx: Context) -> dict[str, JsonValue]:
    """A copy of the seed trained on: a domain expert, or one dense model on all of their data."""
    model = checkpoints.load_dense(ctx.artifact("seed") / MODEL)
    settings = ctx.settings(Continued)
    return train(ctx, model, _phase(ctx, settings.phase), settings.weights)


def make_mixture(ctx: Context) -> dict[str, JsonValue]:
    """A mixture of the experts and the seed (or one dense model), trained on all domains."""
    mixture, settings = ctx.settings(Mixture), ctx.settings(BamSettings)
    parts = [f"expert-{domain}" for domain in SPECIALITIES] + ["seed"]
    if mixture.parts == "dense":
        parts = ["dense"]
    dense = [checkpoints.load_dense(ctx.artifact(name) / MODEL) for name in parts]
    model = upcycle(
        dense,
        mixture.method,
        ctx.torch_generator("routers"),
        names=parts,
        **(settings.routing.model_dump() | mixture.options),
    )
    phase = _phase(ctx, "mixture")
    if mixture.budget == "compute":
        reference = mixture_config(dense[-1].config, "btx", len(parts))
        steps = matched_steps(settings, reference, model.config)
        phase = phase._replace(schedule=phase.schedule.model_copy(update={"steps": steps}))
    return train(ctx, model, phase, mixture.weights)


def matched_steps(settings: BamSettings, reference: BamConfig, config: BamConfig) -> int:
    """Updates that cost `config` the FLOPs of the reference's mixture phase, rounded down."""
    budget = settings.phases.mixture.steps * counts.training_flops(reference, settings.context)
    return int(budget // counts.training_flops(config, settings.context))


class Phase(NamedTuple):
    """One training of the scale."""

    name: str
    schedule: Schedule


def _phase(ctx: Context, name: str) -> Phase:
    """The training of that name.

    Raises:
        SpecError: the scale has none, as it starts from a pretrained model.
    """
    schedule: Schedule | None = getattr(ctx.settings(BamSettings).phases, name)
    if schedule is None:
        raise SpecError(
            f"scale {ctx.scale.name} has no phase {name!r}; set its learning rate and steps in "
            "suites/bam/scales.py"
        )
    return Phase(name, schedule)


def train(
    ctx: Context, model: BamForCausalLM, phase: Phase, weights: Mapping[str, float]
) -> dict[str, JsonValue]:
    """Trains a model through a phase and leaves the artifact.

    Args:
        ctx: Of the artifact.
        model: On the CPU; changed in place.
        phase: How long, and how fast.
        weights: Each domain's share.
    """
    stream = tokens.Stream(
        tokens.load(ctx.artifact("tokens"), "train"),
        weights,
        ctx.settings(BamSettings).context,
        ctx.numpy_generator("batch", phase.name),
    )
    return finish(ctx, model, stream, phase.schedule)


def finish(
    ctx: Context, model: BamForCausalLM, stream: tokens.Stream, schedule: Schedule
) -> dict[str, JsonValue]:
    """Trains a model on a stream of sequences and leaves the artifact."""
    fit(ctx, model, stream, schedule)
    checkpoints.save(model.cpu(), ctx.out / MODEL)
    return report(ctx, model, schedule.steps)


def fit(ctx: Context, model: BamForCausalLM, stream: tokens.Stream, schedule: Schedule) -> None:
    """Trains in place, resumable at every update.

    Logs the language-model loss and, apart from it, the unweighted auxiliary losses.

    Raises:
        Diverged: a loss is not finite.
    """
    settings = ctx.settings(BamSettings)
    nn.Module.to(model, ctx.device).train()  # transformers' own `to` is typed without a device
    optimizer = adamw(model.named_parameters(), settings.optimizer)
    state = State(modules={"model": model}, optimizers={"adamw": optimizer})
    compiled = settings.compile and ctx.device.startswith("cuda")
    network: Any = torch.compile(model) if compiled else model
    for step in ctx.steps(schedule.steps, state):
        set_rate(optimizer, schedule.rate(step))
        ids_BT = stream.batch(step * settings.batch, settings.batch).to(ctx.device)
        losses = update(network, optimizer, ids_BT, settings.micro_batch, settings.optimizer.clip)
        ctx.log(step + 1, **losses)


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


class Trained(NamedTuple):
    """What `training.json` says of an artifact."""

    counts: dict[str, int]
    """Parameters, active ones, updates, tokens and FLOPs of this phase alone."""
    seconds: float
    """CPU-core-seconds, or GPU-seconds where a GPU trained."""
    curves: Mapping[str, Mapping[str, list[float]]]
    """Losses, `x` the updates done."""


def read(folder: Path) -> Trained:
    """What an artifact's training counted and cost.

    Raises:
        DataError: the file is corrupt.
    """
    path = folder / "training.json"
    try:
        return Trained(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        raise DataError(f"{path} is corrupt; remove its folder and run again") from None


def report(ctx: Context, model: BamForCausalLM, steps: int) -> dict[str, JsonValue]:
    """Writes `training.json`, of so many updates; what the artifact says of itself."""
    settings = ctx.settings(BamSettings)
    seen = steps * settings.batch * settings.context
    total, active = counts.parameters(model.config)
    cost = ctx.cost()
    trained = Trained(
        counts={
            "parameters": total,
            "active_parameters": active,
            "updates": steps,
            "tokens": seen,
            "flops": int(seen * counts.training_flops(model.config, settings.context)),
        },
        seconds=cost.wall_seconds if ctx.device.startswith("cuda") else cost.cpu_seconds,
        curves={
            name: {"x": list(line.x), "y": list(line.y)}
            for name, line in ctx.finished_series().items()
        },
    )
    write_atomic(ctx.out / "training.json", json.dumps(trained._asdict()).encode())
    return {"counts": dict(trained.counts)}
