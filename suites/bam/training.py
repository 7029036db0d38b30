"""Trains the seed, the domain experts, dense baselines and mixtures; each is an artifact.

A finished artifact holds the checkpoint `model/` and `training.json`: what was counted, what it
cost, and the curves; a mixture that is kept at several lengths also `model-<length>/` and
`training-<length>.json` of each. AdamW, linear warm-up, decay to a share of the peak (BAM, section
4.1: cosine; see `suites.bam.settings.MixturePhase`).

Shape suffixes: B sequences, T tokens.
"""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor

from harness.errors import DataError, SpecError
from harness.run import Context
from harness.settings import Schedule
from harness.store import write_atomic
from suites.bam import branches, counts
from suites.bam.data import tokens
from suites.bam.data.datasets import SPECIALITIES
from suites.bam.model import checkpoints, gates, pretrained, redraw, ridge
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig
from suites.bam.model.upcycle import mixture_config, upcycle
from suites.bam.settings import BamSettings, Continued, Mixture, MixturePhase, Seed

MODEL = "model"
"""Folder of the checkpoint inside an artifact."""
FINAL = "final"
"""The length of a whole phase, among the lengths at which a checkpoint is kept."""
MATCHED = "matched"
"""The length at which a mixture has cost the FLOPs of BTX."""


PROBE = 16
"""Held-out sequences of each domain on which mixtures are followed."""


def halved(times: int, of: str = FINAL) -> str:
    """The length of a phase halved so often, or of what costs as much as BTX's."""
    name = f"halved-{times}" if of == FINAL else f"{of}-halved-{times}"
    return name if times else of


def folder(point: str) -> str:
    """Folder of the checkpoint of a length inside an artifact."""
    return MODEL if point == FINAL else f"{MODEL}-{point}"


def _report(point: str) -> str:
    return "training.json" if point == FINAL else f"training-{point}.json"


def make_seed(ctx: Context) -> dict[str, JsonValue]:
    """The dense seed: trained from random weights, or a pretrained model as it is."""
    settings = ctx.settings(BamSettings)
    if settings.model is None:
        pretrained.checked(ctx)
        pretrained.write_seed(ctx.out / MODEL)
        return report(ctx, checkpoints.load(ctx.out / MODEL), 0)
    tokenizer = tokens.load_tokenizer(ctx.artifact("tokens"))
    config = BamConfig(
        **settings.model.sizes,
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
    model = _mixed(ctx, mixture, parts, dense)
    if mixture.trained == "none":
        checkpoints.save(model, ctx.out / MODEL)
        return report(ctx, model, 0)
    phase = settings.phases.mixture
    reference = mixture_config(dense[-1].config, "btx", len(parts))
    whole = phase.steps
    if mixture.budget == "compute":
        whole = matched_steps(settings, reference, model.config, phase.steps)
    points = {FINAL: whole}
    for times in range(phase.halvings + 1 if mixture.shorter else 1):
        steps = phase.halved(times)
        if times:
            points[halved(times)] = steps
        if mixture.matched:
            points[halved(times, MATCHED)] = matched_steps(settings, reference, model.config, steps)
    stream = _stream(ctx, "mixture", mixture.weights)
    return finish(ctx, model, stream, phase, points, _probe(ctx))


def _probe(ctx: Context) -> Tensor:
    """The first held-out sequences of each domain, documents joined, [B, T]."""
    context = ctx.settings(BamSettings).context
    arrays = tokens.load(ctx.artifact("tokens"), "held-out")
    parts = [ids[: min(PROBE, len(ids) // context) * context] for ids in arrays.values()]
    return torch.from_numpy(np.concatenate(parts).astype(np.int64)).view(-1, context)


def _mixed(
    ctx: Context, mixture: Mixture, parts: Sequence[str], dense: Sequence[BamForCausalLM]
) -> BamForCausalLM:
    """The mixture before it is trained; what its phase does not change asks for no gradient."""
    settings = ctx.settings(BamSettings)
    texts = None if mixture.routers == "random" else _texts(ctx)
    model = upcycle(
        dense,
        mixture.method,
        ctx.torch_generator("routers"),
        names=parts,
        router_from=texts if mixture.routers == "means" else None,
        **(settings.routing.model_dump() | mixture.options),
    )
    if texts is not None and mixture.routers == "ridge":
        ridge.fit(model, texts, settings.context)
    if mixture.redrawn:
        redraw.redraw(model, mixture.redrawn, ctx.torch_generator("redraw"))
    if mixture.trained == "routers":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith("router.weight"))
    return model


def _texts(ctx: Context) -> list[Tensor]:
    """Training tokens [N] of what each dense model knows, in the order in which they are mixed."""
    arrays = tokens.load(ctx.artifact("tokens"), "train")
    return [
        torch.from_numpy(arrays[domain][: gates.LONGEST].astype(np.int64))
        for domain in (*SPECIALITIES, "general")
    ]


def matched_steps(
    settings: BamSettings, reference: BamConfig, config: BamConfig, steps: int
) -> int:
    """Updates that cost `config` the FLOPs of so many of the reference, rounded down; one at least.

    Where less than one is left, which no scale but smoke has, the budget is exceeded.
    """
    budget = steps * counts.training_flops(reference, settings.context)
    return max(1, int(budget // counts.training_flops(config, settings.context)))


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
    return finish(ctx, model, _stream(ctx, phase.name, weights), phase.schedule)


def _stream(ctx: Context, phase: str, weights: Mapping[str, float]) -> tokens.Stream:
    return tokens.Stream(
        tokens.load(ctx.artifact("tokens"), "train"),
        weights,
        ctx.settings(BamSettings).context,
        ctx.numpy_generator("batch", phase),
    )


def finish(
    ctx: Context,
    model: BamForCausalLM,
    stream: tokens.Stream,
    schedule: Schedule,
    points: Mapping[str, int] | None = None,
    probe_BT: Tensor | None = None,
) -> dict[str, JsonValue]:
    """Trains a model on a stream of sequences and leaves the artifact.

    Args:
        ctx: Of the artifact.
        model: On the CPU; changed in place.
        stream: What it reads.
        schedule: Its rate, and its length where `points` does not say.
        points: Names of lengths -> updates, `FINAL` among them: a checkpoint is kept at each.
        probe_BT: Held-out sequences on which the loss is followed.
    """
    points = points or {FINAL: schedule.steps}
    mixing = schedule if isinstance(schedule, MixturePhase) else None

    def stable(end: int) -> int:
        return mixing.stable(end) if mixing else 0

    def rate(step: int, end: int) -> float:
        return mixing.rate_of(step, end) if mixing else schedule.rate(step)

    parts = branches.segments(points, FINAL, stable)
    kept = branches.fit(ctx, model, stream, parts, rate, probe_BT)
    model.cpu()
    made = sum(part.last - part.first for part in parts)
    for name, weights in kept.items():
        other = deepcopy(model)
        other.load_state_dict(weights)
        checkpoints.save(other, ctx.out / folder(name))
        report(ctx, other, points[name], name, shared=made, stable=stable(points[name]))
    checkpoints.save(model, ctx.out / MODEL)
    return report(ctx, model, points[FINAL], shared=made)


class Trained(NamedTuple):
    """What `training.json` says of an artifact."""

    counts: dict[str, int]
    """Parameters, active ones, updates, tokens and FLOPs of this phase alone."""
    seconds: float
    """CPU-core-seconds, or GPU-seconds where a GPU trained."""
    curves: Mapping[str, Mapping[str, list[float]]]
    """Losses, `x` the updates done."""


def read(artifact: Path, point: str = FINAL) -> Trained:
    """What an artifact's training counted and cost, up to one of its lengths.

    Raises:
        DataError: the file is corrupt.
    """
    path = artifact / _report(point)
    try:
        return Trained(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        raise DataError(f"{path} is corrupt; remove its folder and run again") from None


def report(
    ctx: Context,
    model: BamForCausalLM,
    steps: int,
    point: str = FINAL,
    *,
    shared: int = 0,
    stable: int = 0,
) -> dict[str, JsonValue]:
    """Writes `training.json`, of so many updates; what the artifact says of itself.

    Args:
        ctx: Of the artifact.
        model: Whose parameters and FLOPs are counted.
        steps: Updates.
        point: The length that they reach.
        shared: Updates that the artifact made in all: each has an equal share of what it cost.
        stable: Updates of them that were made by the trunk, where this is a branch.
    """
    settings = ctx.settings(BamSettings)
    seen = steps * settings.batch * settings.context
    total, active = counts.parameters(model.config)
    cost = ctx.cost()
    seconds = cost.wall_seconds if ctx.device.startswith("cuda") else cost.cpu_seconds
    trained = Trained(
        counts={
            "parameters": total,
            "active_parameters": active,
            "updates": steps,
            "tokens": seen,
            "flops": int(seen * counts.training_flops(model.config, settings.context)),
        },
        seconds=seconds * (steps / shared if shared else 1.0),
        curves=_curves(ctx, point, stable),
    )
    write_atomic(ctx.out / _report(point), json.dumps(trained._asdict()).encode())
    return {"counts": dict(trained.counts)}


def _curves(ctx: Context, point: str, stable: int) -> dict[str, dict[str, list[float]]]:
    """The curves of a length: those of the trunk up to where it branches off, then its own."""
    found = ctx.finished_series()
    curves = {}
    for name, trunk in found.items():
        if "/" in name:
            continue
        line = list(zip(trunk.x, trunk.y, strict=True))
        if point != FINAL:
            line = [(x, y) for x, y in line if x <= stable]
            if (own := found.get(f"{point}/{name}")) is not None:
                line += zip(own.x, own.y, strict=True)
        curves[name] = {"x": [x for x, _ in line], "y": [y for _, y in line]}
    return curves
