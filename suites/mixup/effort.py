"""What a trial makes a GPU do: passes over batches, and the test set; see `harness.gpu`."""

import math
from typing import Any

from harness.gpu import CONTEXT, Effort
from harness.suite import Artifact, Method, Task
from suites.mixup.datasets import CORPORA
from suites.mixup.settings import Encoder, Finetuning, MixupOptions, MixupSettings, SearchOptions

_SHAPES = {"tiny": (2, 32, 512), "hub:google-bert/bert-large-cased": (24, 1024, 28_996)}
"""Layers, width and words of encoders; of others those of a MiniLM."""
_LAYER = 45
"""Kernels of a layer's forward pass."""
_UPDATE = 60
"""Kernels of an update beside the layers, with fused AdamW."""
_ACTIVATIONS = 34
"""Vectors of a layer's width that one token leaves behind for the backward pass."""


def effort(thing: Method | Artifact, task: Task | None, settings: MixupSettings) -> Effort:
    """Of one finetuning, or of the pretraining of the suite's own encoder."""
    if isinstance(thing, Artifact):
        return _pretraining(settings)
    layers, width, words = _shape(str(thing.params.get("encoder", settings.encoder)))
    params: Any = task.params if task else {}
    source, target = CORPORA.get(params["train"]), CORPORA.get(params["test"])
    examples = params.get("n") or (source.train.rows if source and source.train else 300)
    tested = target.dev.rows if target and target.dev else 1000
    passes = _passes(thing, examples, settings)
    tokens = settings.batch_size * settings.tokens
    return _of(layers, width, words, passes, tokens, tested * settings.tokens)


def _passes(method: Method, examples: int, settings: MixupSettings) -> float:
    """Forward and backward passes of a trial."""
    updates = settings.epochs * math.ceil(examples / settings.batch_size)
    how = Finetuning.model_validate({k: method.params[k] for k in ("method", "options")})
    key, options = how.method, how.options
    matched = (examples, settings.batch_size, updates)
    if key == "mixup":
        search = MixupOptions.model_validate(options)
        return search.passes(*matched)
    if key == "averaging" or options.get("budget") == "updates":
        return SearchOptions().updates(*matched)
    if options.get("budget") == "time":
        return SearchOptions().passes(*matched)
    return updates * (2 if key in {"sam", "r-drop", "r3f"} else 1)


def _of(layers: int, width: int, words: int, passes: float, tokens: int, tested: int) -> Effort:
    weights = layers * 12 * width**2
    flops = 6 * weights * tokens * passes + 2 * weights * tested
    kept = tokens * layers * width * _ACTIVATIONS * 4
    return Effort(
        flops=flops,
        moved=passes * (3 * kept + 9 * 4 * weights) + tested * layers * width * _ACTIVATIONS * 4,
        kernels=passes * (3 * _LAYER * layers + _UPDATE) + tested / (64 * 64) * _LAYER * layers,
        memory=4 * 4 * (weights + words * width) + kept + CONTEXT,
    )


def _pretraining(settings: MixupSettings) -> Effort:
    shape, plan = Encoder(), settings.pretraining
    if plan is None:
        return Effort(0, 0, 0, 0)
    tokens = plan.batch_size * shape.mlm_tokens
    return _of(shape.layers, shape.width, shape.vocabulary, plan.steps, tokens, 0)


def _shape(encoder: str) -> tuple[int, int, int]:
    if encoder == "mlm":
        own = Encoder()
        return own.layers, own.width, own.vocabulary
    if encoder.startswith("minilm-"):
        return int(encoder.removeprefix("minilm-")), 384, 30_522
    return _SHAPES.get(encoder, (6, 384, 30_522))
