"""Trains the seed, the domain experts, dense baselines and mixtures; each is an artifact.

A finished artifact holds the checkpoint `model/` and `training.json`: what was counted, what it
cost, and the curves. AdamW, linear warm-up, cosine decay to a share of the peak (BAM, section 4.1;
betas and clipping are not printed, the usual ones are used).

Shape suffixes: B sequences, T tokens.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import JsonValue
from torch import Tensor, nn

from harness.errors import DataError
from harness.run import Context
from harness.store import write_atomic
from harness.training import State
from suites.bam import checkpoints, counts, pretrained, tokens
from suites.bam.configuration import BamConfig
from suites.bam.datasets import SPECIALITIES
from suites.bam.model import BamForCausalLM
from suites.bam.upcycle import mixture_config, upcycle

MODEL = "model"
"""Folder of the checkpoint inside an artifact."""

BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1
CLIP = 1.0


class Schedule(NamedTuple):
    """How long to train, and the learning rate at each update."""

    steps: int
    peak: float
    warmup: int
    floor: float
    """Share of the peak at the last update."""

    def rate(self, step: int) -> float:
        """The learning rate of update `step`, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - 1 - self.warmup, 1)
        return self.peak * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2)


def make_seed(ctx: Context) -> dict[str, JsonValue]:
    """The dense seed: trained from random weights, or a pretrained model as it is."""
    if ctx.param("pretrained"):
        pretrained.checked(ctx)
        pretrained.write_seed(ctx.out / MODEL)
        return _report(ctx, checkpoints.load(ctx.out / MODEL), 0)
    tokenizer = tokens.load_tokenizer(ctx.artifact("tokens"))
    config = BamConfig(
        **ctx.param("model"), vocab_size=len(tokenizer), eos_token_id=tokens.end_of_text(tokenizer)
    )
    model = BamForCausalLM(config)
    model.reset_parameters(ctx.torch_generator("init"))
    return train(ctx, model, "seed")


def make_continued(ctx: Context) -> dict[str, JsonValue]:
    """A copy of the seed trained on: a domain expert, or one dense model on all of their data."""
    model = checkpoints.load_dense(ctx.artifact("seed") / MODEL)
    return train(ctx, model, str(ctx.param("phase")))


def make_mixture(ctx: Context) -> dict[str, JsonValue]:
    """A mixture of the experts and the seed (or one dense model), trained on all domains."""
    parts = [f"expert-{domain}" for domain in SPECIALITIES] + ["seed"]
    if ctx.param("parts") == "dense":
        parts = ["dense"]
    dense = [checkpoints.load_dense(ctx.artifact(name) / MODEL) for name in parts]
    options = dict(ctx.param("options"))
    model = upcycle(
        dense, ctx.param("method"), ctx.torch_generator("routers"), names=parts, **options
    )
    steps = None
    if ctx.param("budget") == "compute":
        reference = mixture_config(dense[-1].config, "btx", len(parts))
        steps = matched_steps(ctx, reference, model.config)
    return train(ctx, model, "mixture", steps)


def matched_steps(ctx: Context, reference: BamConfig, config: BamConfig) -> int:
    """Updates that cost `config` the FLOPs of the reference's mixture phase, rounded down."""
    context, steps = int(ctx.param("context")), int(ctx.param("phases")["mixture"]["steps"])
    budget = steps * counts.training_flops(reference, context)
    return int(budget // counts.training_flops(config, context))


def train(
    ctx: Context, model: BamForCausalLM, phase: str, steps: int | None = None
) -> dict[str, JsonValue]:
    """Trains a model through a phase of the scale and leaves the artifact.

    Args:
        ctx: Of the artifact; its parameter `weights` gives each domain's share.
        model: On the CPU; changed in place.
        phase: Of the scale's `phases`.
        steps: In place of the phase's updates.
    """
    settings = dict(ctx.param("phases")[phase])
    schedule = Schedule(**(settings | {"steps": steps or settings["steps"]}))
    stream = tokens.Stream(
        tokens.load(ctx.artifact("tokens"), "train"),
        ctx.param("weights"),
        int(ctx.param("context")),
        ctx.numpy_generator("batch", phase),
    )
    fit(ctx, model, stream, schedule)
    checkpoints.save(model.cpu(), ctx.out / MODEL)
    return _report(ctx, model, schedule.steps)


def fit(ctx: Context, model: BamForCausalLM, stream: tokens.Stream, schedule: Schedule) -> None:
    """Trains in place, resumable at every update.

    Logs the language-model loss and, apart from it, the unweighted auxiliary losses.

    Raises:
        Diverged: a loss is not finite.
    """
    batch, micro = int(ctx.param("batch")), int(ctx.param("micro-batch"))
    nn.Module.to(model, ctx.device).train()
    optimizer = adamw(model)
    state = State(modules={"model": model}, optimizers={"adamw": optimizer})
    step = ctx.restore(state)
    cuda = ctx.device.startswith("cuda")
    network: Any = torch.compile(model) if cuda and ctx.param("compile") else model
    while step < schedule.steps:
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        ids_BT = stream.batch(step * batch, batch).to(ctx.device)
        losses = update(network, optimizer, ids_BT, micro)
        step += 1
        ctx.log(step, **losses)
        ctx.tick(step, schedule.steps, state)


def update(
    network: Any, optimizer: torch.optim.Optimizer, ids_BT: Tensor, micro: int
) -> dict[str, float]:
    """One update on a batch, `micro` sequences at a time; returns the mean losses."""
    optimizer.zero_grad()
    pieces = torch.split(ids_BT, micro)
    totals = torch.zeros(3, device=ids_BT.device)
    for piece_BT in pieces:
        share = len(piece_BT) / len(ids_BT)
        with torch.autocast("cuda", torch.bfloat16, enabled=ids_BT.is_cuda):
            output = network(piece_BT, labels=piece_BT)
            loss = output.loss + output.auxiliary_loss
        (share * loss).backward()
        parts = (output.loss, output.load_balancing_loss, output.z_loss)
        totals += share * torch.stack([part.detach().float() for part in parts])
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    nn.utils.clip_grad_norm_(parameters, CLIP)
    optimizer.step()
    return dict(zip(("loss", "load-balancing", "z"), totals.tolist(), strict=True))


def adamw(model: nn.Module) -> torch.optim.AdamW:
    """AdamW that decays matrices and leaves the scales of norms alone."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    scales = [p for p in model.parameters() if p.dim() <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices},
        {"params": scales, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        betas=BETAS,
        weight_decay=WEIGHT_DECAY,
        fused=True,
    )


class Trained(NamedTuple):
    """What `training.json` says of an artifact."""

    counts: dict[str, int]
    """Parameters, active ones, updates, tokens and FLOPs of this phase alone."""
    seconds: float
    """Core-seconds, or card-seconds where a card trained."""
    curves: Mapping[str, Mapping[str, list[float]]]
    """Losses, `x` the updates done."""


def read(folder: Path) -> Trained:
    """What an artifact's training counted and cost.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / "training.json"
    try:
        return Trained(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        raise DataError(f"{path} is damaged; remove its folder and run again") from None


def _report(ctx: Context, model: BamForCausalLM, steps: int) -> dict[str, JsonValue]:
    seen = steps * int(ctx.param("batch")) * int(ctx.param("context"))
    total, active = counts.parameters(model.config)
    cost = ctx.cost()
    trained = Trained(
        counts={
            "parameters": total,
            "active_parameters": active,
            "updates": steps,
            "tokens": seen,
            "flops": int(seen * counts.training_flops(model.config, int(ctx.param("context")))),
        },
        seconds=cost.wall_seconds if ctx.device.startswith("cuda") else cost.cpu_seconds,
        curves={
            name: {"x": list(line.x), "y": list(line.y)}
            for name, line in ctx.finished_series().items()
        },
    )
    write_atomic(ctx.out / "training.json", json.dumps(trained._asdict()).encode())
    return {"counts": dict(trained.counts)}
