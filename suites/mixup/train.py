"""Finetunes one encoder with one method on a few examples and scores it on the whole test set.

The score is that of the last step: nothing is selected on the test set. Methods with equal seeds
get equal examples, equal batches and equal initial heads.

Shape legend: N examples.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import SpecError
from harness.run import Context
from harness.training import parameters
from suites.mixup import encoder, generated, kernels, scores, texts
from suites.mixup.datasets import CORPORA
from suites.mixup.method import Setting, run_stages
from suites.mixup.methods import METHODS
from suites.mixup.texts import Texts
from suites.mixup.training import Finetune, predict


def run(ctx: Context) -> dict[str, float]:
    """Trains `ctx.subject` on `ctx.task`; returns its score in percent and whether it failed."""
    train, test = load(ctx)
    name, pooling = str(ctx.param("encoder")), ctx.param("pooling")
    folder = stored(ctx, name)
    pretrained = encoder.load(name, ctx.torch_generator("init"), pooling=pooling, folder=folder)
    data = texts.tokenise(train, pretrained, int(ctx.param("tokens")))
    model = encoder.Classifier(
        pretrained.model,
        len(train.classes),
        regression=not train.classes,
        generator=ctx.torch_generator("init", "head"),
        pooling=pooling,
        freeze_embeddings=bool(ctx.param("freeze-embeddings")),
    ).to(ctx.device)
    rates = ctx.param("learning-rates")
    setting = Setting(
        data=data,
        total_steps=int(ctx.param("epochs")) * -(-len(data) // int(ctx.param("batch-size"))),
        learning_rate=float(rates.get(ctx.subject.name, rates["*"])),
        batch_size=int(ctx.param("batch-size")),
        weight_decay=float(ctx.param("weight-decay")),
        regression=data.regression,
        seed=ctx.stream,
    )
    method = build(ctx)
    method.attach(model, setting)
    ctx.count(parameters=parameters(model), examples=len(data))
    updates = run_stages(
        [*method.stages(model, setting), lambda: Finetune(model, method, setting)], ctx
    )
    ctx.count(updates=updates)
    for label, values in method.report(model).items():
        ctx.series(label, range(len(values)), values, "module")
    method.detach(model)
    predicted_N = predict(model, texts.tokenise(test, pretrained, int(ctx.param("tokens"))))
    return scored(predicted_N, train, test, str(ctx.param("measure")))


def stored(ctx: Context, name: str) -> Path | None:
    """Where an encoder's files lie, verified and noted; None where its package knows."""
    if name == "mlm":
        return ctx.artifact("encoder")
    if name.startswith("hub:"):
        return ctx.snapshot(name.removeprefix("hub:"), *encoder.HUB_FILES)
    if name.startswith("minilm-"):
        ctx.installed(*encoder.MINILM)
    return None


def build(ctx: Context) -> Any:
    """The method of a trial.

    Raises:
        SpecError: there is none of that name.
    """
    name = str(ctx.param("method"))
    if name not in METHODS:
        raise SpecError(f"unknown method {name!r}; there are {', '.join(sorted(METHODS))}")
    return METHODS[name](**ctx.param("options"))


def load(ctx: Context) -> tuple[Texts, Texts]:
    """Training examples of the trial's seed, and the whole test set."""
    name, size = str(ctx.param("train")), int(ctx.param("n"))
    rng = ctx.numpy_generator("data")
    if ctx.task.fallback:
        ctx.generated(name)
        sizes = (size, int(ctx.param("test-size")))
        return generated.make(name, sizes[0], rng), generated.make(name, sizes[1], rng)
    source, target = CORPORA[name], CORPORA[str(ctx.param("test"))]
    if source.train is None or target.dev is None:
        raise SpecError(
            f"task {ctx.task.name}: {name} must have training examples and {target.name} test "
            "examples; see suites/mixup/datasets.py"
        )
    whole = texts.read(ctx.dataset(name) / source.train.path, source.train, source)
    test = texts.read(ctx.dataset(target.name) / target.dev.path, target.dev, target)
    return texts.subsample(whole, size, ctx.param("sampling"), rng), test


def scored(predicted_N: NDArray[Any], train: Texts, test: Texts, measure: str) -> dict[str, float]:
    """Score and failure of predictions; both in percent.

    Out of domain, where one set tells two classes and the other three, both are brought down to
    entailment against the rest.
    """
    labels_N = np.array(test.labels)
    failed = 100.0 * scores.degenerate(predicted_N, regression=not train.classes)
    if train.classes != test.classes:
        predicted_N = predicted_N == train.classes.index("entailment")
        labels_N = labels_N == test.classes.index("entailment")
    return {"score": scores.score(measure, predicted_N, labels_N), "degenerate": failed}


def warm_up() -> None:
    """Compiles the CPU kernels and imports what trials need, once, before they fork off."""
    kernels.warm_up()
