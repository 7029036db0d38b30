"""What a training or an evaluation makes a GPU and its host do; see `harness.gpu`.

Robots are simulated on the CPU. Episodes go in step, so that each step of them all is one call of
the policy.
"""

from harness.gpu import CONTEXT, Effort
from harness.suite import Artifact, Method, Task
from suites.merging.settings import MergingSettings, Size, Training

_LAYER = 25
"""Kernels of a block's forward pass."""
_UPDATE = 60
"""Kernels of an update beside the blocks, with fused AdamW."""
_ACTIVATIONS = 34
"""Vectors of a block's width that one token leaves behind for the backward pass."""
_STEP = 60e-6
"""CPU-seconds of one robot's step in MuJoCo, with its bookkeeping."""
_RECORDED = 1.5e-4
"""CPU-seconds of one step of a rolled-out dataset: physics and the policy that acts."""


def effort(thing: Method | Artifact, task: Task | None, settings: MergingSettings) -> Effort:
    """Of making an artifact, or of a trial: a merge, a training after freezing, an evaluation."""
    plans, sizes = settings.trainings, settings.sizes
    if isinstance(thing, Method):
        frozen = plans.frozen if thing.run.endswith(":frozen") else None
        times = settings.frozen_evaluations if frozen else 1
        return _of(settings, sizes.standard, frozen, settings.context, times)
    made = thing.make.partition(":")[2]
    if made == "make_language_model":
        return _of(settings, sizes.standard, plans.language, settings.positions / 3, 0)
    if made == "make_policy":
        size = sizes.narrow if thing.params.get("size") == "narrow" else sizes.standard
        times = settings.evaluations if thing.params.get("watched") else 1
        return _of(settings, size, plans.policy, settings.context, times)
    if made == "make_multitask":
        return _of(settings, sizes.multi, plans.multitask, settings.context, 3)
    if made == "make_finetuned":
        return _of(settings, sizes.multi, plans.finetuned, settings.context, 1)
    if made == "make":
        return Effort(0, 0, 0, CONTEXT, host=_RECORDED * settings.steps)
    return _of(settings, sizes.multi, None, settings.context, 1)


def _of(
    settings: MergingSettings,
    size: Size,
    plan: Training | None,
    steps: float,
    evaluations: int,
) -> Effort:
    """A training on windows of so many environment steps, and evaluations of all episodes."""
    weights = 12 * size.layers * size.width**2
    updates, batch = (plan.updates, plan.batch) if plan else (0, 0)
    tokens = 3 * steps * batch
    calls = evaluations * settings.max_steps
    window = 3 * settings.context * settings.episodes
    kept = 4 * _ACTIVATIONS * size.layers * size.width
    return Effort(
        flops=6 * weights * tokens * updates + 2 * weights * window * calls,
        moved=updates * (3 * kept * tokens + 36 * weights) + calls * (kept * window + 4 * weights),
        kernels=updates * (3 * _LAYER * size.layers + _UPDATE)
        + calls * (_LAYER * size.layers + 20),
        memory=16 * weights + kept * max(tokens, window) + CONTEXT,
        host=_STEP * calls * settings.episodes,
    )
