"""Measures trained models on held-out documents: perplexity, bits per byte, routing, cost.

Each document is read alone, in windows that do not overlap: every token but the end-of-text token
before a document is predicted once, from at most `context` tokens of its own document.

Shape suffixes: B windows, T tokens, L layers, E experts, V vocabulary.
"""

import importlib
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from harness.run import Context
from suites.bam import ensemble, training
from suites.bam.data import tokens
from suites.bam.data.datasets import DOMAINS, SPECIALITIES
from suites.bam.data.tokens import Tokens
from suites.bam.model import checkpoints
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.settings import BamSettings, Measured, Model


class Loss(NamedTuple):
    """Summed over the tokens of a domain."""

    nats: float
    tokens: int
    bytes: int

    @property
    def mean(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """By token."""
        return math.exp(self.mean)

    @property
    def bits_per_byte(self) -> float:
        """Does not depend on the tokenizer."""
        return self.nats / math.log(2) / self.bytes


def run(ctx: Context) -> dict[str, float]:
    """Measures what the task asks of a trained model; the method function of the suite."""
    measured = ctx.settings(Measured)
    if measured.cost:
        return cost(ctx)
    network = load(ctx)
    if measured.group is not None:
        return answers(ctx, network, tokens.load_tokenizer(ctx.artifact("tokens")), measured.group)
    return held_out(ctx, network, measured.domains)


def point(ctx: Context) -> str:
    """At which length of its mixture phase the model is measured."""
    of = training.MATCHED if ctx.settings(Model).matched else training.FINAL
    return training.halved(ctx.settings(Measured).halvings, of)


def load(ctx: Context) -> Any:
    """The model of a trial, on its device: one artifact, or the ensemble of the experts."""
    method = ctx.settings(Model)
    if method.artifact != "ensemble":
        folder = training.folder(point(ctx))
        model: Any = checkpoints.load(ctx.artifact(method.artifact) / folder)
    else:
        names = [*(f"expert-{domain}" for domain in SPECIALITIES), "seed"]
        experts = [checkpoints.load(ctx.artifact(name) / training.MODEL) for name in names]
        arrays = tokens.load(ctx.artifact("tokens"), "train")
        known = [arrays[domain] for domain in (*SPECIALITIES, "general")]
        end = tokens.end_of_text(tokens.load_tokenizer(ctx.artifact("tokens")))
        profile_VK = ensemble.profile(known, experts[0].config.vocab_size, end)
        model = ensemble.Ensemble(experts, profile_VK, method.top_k)
    return model.to(ctx.device).eval()


def held_out(ctx: Context, network: Any, domains: Sequence[str]) -> dict[str, float]:
    """Perplexity on the task's domains, the mean over them; curves and routing on the side."""
    note_texts(ctx)
    folder = ctx.artifact("tokens")
    arrays = tokens.load(folder, "held-out")
    tokenizer = tokens.load_tokenizer(folder)
    bytes_V = tokens.byte_lengths(tokenizer)
    settings = ctx.settings(BamSettings)
    context, size = settings.context, settings.evaluation.batch
    losses = {}
    for domain in domains:
        found = windows(
            arrays[domain],
            tokens.end_of_text(tokenizer),
            context,
            settings.evaluation.tokens,
            settings.evaluation.document,
        )
        losses[domain] = perplexity(network, found, bytes_V, size)
    if len(losses) == len(DOMAINS):
        keep_training(ctx)
        if isinstance(network, BamForCausalLM):
            for domain in DOMAINS:
                _keep_routing(ctx, network, domain, packed(arrays[domain], context, size))
    return means(list(losses.values()))


def means(each: Sequence[Loss]) -> dict[str, float]:
    """The metrics of some domains, each averaged over them."""
    return {
        "perplexity": sum(loss.perplexity for loss in each) / len(each),
        "nats": sum(loss.mean for loss in each) / len(each),
        "bits-per-byte": sum(loss.bits_per_byte for loss in each) / len(each),
    }


def note_texts(ctx: Context) -> Path | None:
    """Puts into the record where its texts come from; returns the data folder, if there is one."""
    folder: Path | None = None
    for name in ctx.datasets:
        folder = ctx.dataset(name)
    if folder is None:
        ctx.generated("built-in text")
    return folder


def answers(ctx: Context, network: Any, tokenizer: Any, group: str) -> dict[str, float]:
    """Downstream accuracy on the task's group of benchmarks, without examples in the prompt."""
    from suites.bam.downstream import evaluate

    settings = ctx.settings(BamSettings)
    return evaluate.evaluate(
        network,
        tokenizer,
        group,
        note_texts(ctx),
        context=settings.context,
        limit=settings.evaluation.questions,
        shots=settings.evaluation.shots,
        batch=settings.evaluation.batch,
        execute_code=os.environ.get(evaluate.ALLOW) == "1",
    ).metrics()


def cost(ctx: Context) -> dict[str, float]:
    """What the last phase of training took."""
    trained = keep_training(ctx)
    if trained is None or not trained.counts["tokens"]:
        return {"core-seconds": 0.0, "tokens-per-second": 0.0}
    return {
        "core-seconds": trained.seconds,
        "tokens-per-second": trained.counts["tokens"] / trained.seconds,
    }


def windows(ids: Tokens, end: int, context: int, limit: int, longest: int) -> list[Tokens]:
    """Windows of at most `context` predicted tokens, from document after document.

    Args:
        ids: Documents, an end-of-text token before each.
        end: That token.
        context: Tokens that a prediction sees at most.
        limit: Predicted tokens in all, about: the last document is cut.
        longest: Predicted tokens of one document at most, so that a few do not decide.
    """
    starts = np.flatnonzero(ids == end)
    found, predicted = [], 0
    for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
        length = min(int(stop - start) - 1, longest, limit - predicted)
        for first in range(0, length, context):
            found.append(ids[start + first : start + min(first + context, length) + 1])
        predicted += length
        if predicted >= limit:
            break
    return found


@torch.no_grad()
def perplexity(network: Any, found: Iterable[Tokens], bytes_V: Tensor, size: int) -> Loss:
    """The loss of a model on windows, `size` of them at a time.

    Args:
        network: Maps token ids [B, T] to an output with `logits` [B, T, V].
        found: Of `windows`.
        bytes_V: Bytes that each token stands for; see `tokens.byte_lengths`.
        size: Windows at once.
    """
    device = next(network.parameters()).device
    ordered = sorted(found, key=len, reverse=True)  # equal lengths together: little padding
    nats = torch.zeros((), dtype=torch.float64)
    predicted, length = 0, 0
    for start in range(0, len(ordered), size):
        rows = [torch.from_numpy(row.astype(np.int64)) for row in ordered[start : start + size]]
        ids_BT = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        target_BT = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)
        target_BT = target_BT[:, 1:]
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            logits_BTV = network(ids_BT[:, :-1].to(device)).logits
        loss = F.cross_entropy(
            logits_BTV.flatten(0, 1).float(), target_BT.flatten().to(device), reduction="sum"
        )
        nats += loss.double().cpu()
        read_N = target_BT[target_BT >= 0]
        predicted += len(read_N)
        length += int(bytes_V[read_N].sum())
    return Loss(float(nats), predicted, length)


def packed(ids: Tokens, context: int, count: int) -> Tensor:
    """The first `count` sequences of a domain, documents joined, without padding."""
    count = min(count, len(ids) // context)
    return torch.from_numpy(ids[: count * context].astype(np.int64).reshape(count, context))


@torch.no_grad()
def _keep_routing(ctx: Context, model: BamForCausalLM, domain: str, ids_BT: Tensor) -> None:
    """Series of the record: load of the FFN experts, gates of the attention experts, entropy."""
    output = model(ids_BT.to(ctx.device), output_routing=True, skip_logits=True)
    for name, values_LE in (("load", output.ffn_load_LE), ("gate", output.attention_gate_LE)):
        if values_LE is None:
            continue
        for layer, value_E in enumerate(values_LE.tolist(), 1):
            experts = list(range(len(value_E)))
            ctx.series(f"{name}-{domain}-layer{layer}", experts, value_E, "expert")
    if output.attention_entropy_L is not None:
        entropy = output.attention_entropy_L.tolist()
        ctx.series(f"gate-entropy-{domain}", range(1, len(entropy) + 1), entropy, "layer")


def keep_training(ctx: Context) -> training.Trained | None:
    """Puts the counts and curves of the model's training into the record."""
    name = ctx.settings(Model).artifact
    if name == "ensemble":
        return None
    trained = training.read(ctx.artifact(name), point(ctx))
    ctx.count(**trained.counts)
    for curve, line in trained.curves.items():
        steps = max(trained.counts["updates"], 1)
        for suffix, unit in (("", "tokens"), ("-flops", "flops")):
            x = [step / steps * trained.counts[unit] for step in line["x"]]
            ctx.series(f"{curve}{suffix}", x, line["y"], unit)
    return trained


def warm_up() -> None:
    """Imports what trials need, once, before they fork off."""
    importlib.import_module("suites.bam.downstream.evaluate")
