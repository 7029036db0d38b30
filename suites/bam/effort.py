"""What a training or an evaluation makes a GPU do, by sizes and tokens; see `harness.gpu`.

Counts the same products as `suites.bam.counts`, which needs a model's configuration, from the
sizes alone. Products run in bfloat16 on a GPU, everything else in float32.
"""

from typing import NamedTuple

from harness.gpu import CONTEXT, Effort
from harness.suite import Artifact, Method, Task
from suites.bam.methods import MIXTURES
from suites.bam.settings import BamSettings, Mixture, ModelSize

SMOLLM = ModelSize(
    hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9
)
"""The published seed of the gpu scale."""
SMOLLM_WORDS = 49_152
EXPERTS = 4
"""Parts of a mixture: three experts and the seed."""
_LAYER = 35
"""Kernels of a dense layer's forward pass; of an expert more, half of that."""
_ACTIVATIONS = 34
"""Vectors of a layer's width that one token leaves behind for the backward pass."""


class _Parts(NamedTuple):
    """How much of each kind a model has, in units of the dense model."""

    queries: int = 1
    """Attention experts."""
    keys: int = 1
    """Sets of keys and values."""
    visited: int = 1
    """Feed-forward experts per token."""
    held: int = 1
    """Feed-forward experts."""


def effort(thing: Method | Artifact, task: Task | None, settings: BamSettings) -> Effort:
    """Of a training (an artifact) or of what one trial measures."""
    if isinstance(thing, Artifact):
        return _training(thing, settings)
    name = str(thing.params.get("artifact", "seed")).removeprefix("mixture-")
    asked = settings.evaluation
    questions = asked.questions or 2000
    params = task.params if task else {}
    tokens = asked.tokens * 4 if not params.get("group") else questions * 4 * settings.context
    idle = bool(params.get("cost") or params.get("counted"))
    return _work(settings, _parts(name), 0 if idle else tokens, 0, asked.batch)


def _training(artifact: Artifact, settings: BamSettings) -> Effort:
    phases, name = settings.phases, artifact.name
    if name == "tokens":
        return Effort(0, 0, 0, 0, host=120.0)
    phase = phases.mixture
    plans = {"seed": phases.seed, "dense": phases.dense}
    chosen = plans.get(name, phases.expert if name.startswith("expert-") else phase)
    if chosen is None:  # a published seed
        return Effort(0, 0, 0, CONTEXT)
    updates = float(chosen.steps)
    if chosen is phase and phase.cooldown is not None:  # the shorter lengths' cooldowns
        updates += sum(phase.cooldown * phase.halved(k) for k in range(1, phase.halvings + 1))
    tokens = updates * settings.batch * settings.context
    return _work(
        settings, _parts(name.removeprefix("mixture-")), tokens, updates, settings.micro_batch
    )


def _parts(name: str) -> _Parts:
    mixture: Mixture | None = MIXTURES.get(name)
    if mixture is None or mixture.method == "average":
        return _Parts()
    held = mixture.num_ffn_experts or EXPERTS
    visited = mixture.ffn_top_k or (2 if mixture.method == "sparse" else 1)
    if mixture.method not in ("bam", "bam-shared-kv"):
        return _Parts(visited=visited, held=held)
    return _Parts(EXPERTS, 1 if mixture.method == "bam-shared-kv" else EXPERTS, visited, held)


def _work(
    settings: BamSettings, parts: _Parts, tokens: float, updates: float, batch: int
) -> Effort:
    """`updates` 0: forward alone."""
    size, words = settings.model or SMOLLM, settings.vocabulary or SMOLLM_WORDS
    d, f, layers = size.hidden_size, size.inner, size.num_hidden_layers
    attention = parts.queries * (4 * d * d + 2 * settings.context * d) + parts.keys * 4 * d * d
    forward = layers * (attention + parts.visited * 6 * d * f) + 2 * d * words
    weights = layers * (2 * d * d * (parts.queries + parts.keys) + parts.held * 3 * d * f)
    weights += 2 * d * words
    times = 3 if updates else 1
    piece = batch * settings.context
    pieces = tokens / piece
    kept = piece * layers * d * _ACTIVATIONS * (1 + parts.queries) / 2 * 2
    kernels = layers * _LAYER * (1 + (parts.queries + parts.visited) / 2) + 20
    return Effort(
        flops=times * forward * tokens,
        moved=times * pieces * (2 * weights + 2 * kept) + 28 * weights * updates,
        kernels=times * pieces * kernels + 40 * updates,
        memory=weights * (16 if updates else 4) + (kept if updates else kept / layers)
        + piece * words * 6 / 8 + CONTEXT,
        precision="bfloat16",
    )  # fmt: skip
