"""Finetunes one encoder with one method on a few examples and scores it on the whole test set.

The score is that of the last step: nothing is selected on the test set. Methods with equal seeds
get equal examples, equal batches and equal initial heads.

Shape legend: N examples.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import SpecError, unknown
from harness.run import Context
from harness.training import parameters
from suites.mixup import encoder, generated, kernels, own, scores, texts
from suites.mixup.datasets import CORPORA
from suites.mixup.finetuning import METHODS
from suites.mixup.finetuning.loop import Finetune, predict
from suites.mixup.hooks import Method, Setting, run_stages
from suites.mixup.settings import Finetuning, MixupSettings, TextTask
from suites.mixup.texts import Texts


def run(ctx: Context) -> dict[str, float]:
    """Trains `ctx.subject` on `ctx.task`; returns its score in percent and whether it failed."""
    train, test = load(ctx)
    settings, task = ctx.settings(MixupSettings), ctx.settings(TextTask)
    name, pooling = settings.encoder, settings.pooling
    folder = stored(ctx, name)
    pretrained = encoder.load(name, ctx.torch_generator("init"), pooling=pooling, folder=folder)
    method = build(ctx)
    data = texts.tokenise(train, pretrained, settings.tokens, apart=method.apart)
    standard = None
    if data.regression:
        data, standard = data.standardised()
    model = encoder.Classifier(
        pretrained.model,
        len(train.classes),
        regression=not train.classes,
        generator=ctx.torch_generator("init", "head"),
        pooling=pooling,
        freeze_embeddings=settings.freeze_embeddings,
        apart=method.apart,
    ).to(ctx.device)
    setting = Setting(
        data=data,
        total_steps=settings.epochs * -(-len(data) // settings.batch_size),
        learning_rate=settings.learning_rates.get(ctx.subject.name, settings.learning_rate),
        batch_size=settings.batch_size,
        regression=data.regression,
        seed=ctx.stream,
        optimizer=settings.optimizer,
        warmup=settings.warmup,
        alpha_rate=settings.alpha_rate,
    )
    method.attach(model, setting)
    ctx.count(parameters=parameters(model), examples=len(data))
    updates = run_stages(
        [*method.stages(model, setting), lambda: Finetune(model, method, setting)], ctx
    )
    ctx.count(updates=updates)
    for label, values in method.report(model).items():
        ctx.series(label, range(len(values)), values, "module")
    method.detach(model)
    tested = texts.tokenise(test, pretrained, settings.tokens, apart=method.apart)
    predicted_N = predict(model, tested)
    if standard:
        predicted_N = standard.undo(predicted_N)
    return scored(predicted_N, train, test, task.measure)


def stored(ctx: Context, name: str) -> Path | None:
    """Where an encoder's files lie, verified and noted; None where its package knows."""
    if name == "mlm":
        return ctx.artifact("mlm")
    if name.startswith("own:"):
        return ctx.artifact(name.removeprefix("own:"))
    if name.startswith("hub:"):
        return ctx.snapshot(name.removeprefix("hub:"), *encoder.HUB_FILES)
    if name.startswith("minilm-"):
        ctx.installed(*encoder.MINILM)
    return None


def build(ctx: Context) -> Method:
    """The method of a trial.

    Raises:
        SpecError: there is none of that name.
    """
    method = ctx.settings(Finetuning)
    if method.method not in METHODS:
        raise SpecError(unknown("method", method.method, METHODS))
    return METHODS[method.method](**method.options)


def load(ctx: Context) -> tuple[Texts, Texts]:
    """Training examples of the trial's seed, and the whole test set."""
    task, settings = ctx.settings(TextTask), ctx.settings(MixupSettings)
    name, rng = task.train, ctx.numpy_generator("data")
    if ctx.task.fallback:
        ctx.generated(name)
        if (sizes := settings.generated) is None:
            raise SpecError(
                f"scale {ctx.scale.name} has no sizes for generated tasks; set `generated` in "
                "suites/mixup/scales.py"
            )
        return generated.make(name, sizes.train, rng), generated.make(name, sizes.test, rng)
    if "train_file" in ctx.task.params:  # what a plugin brings
        whole, test = own.load(ctx.dataset(name), name, ctx.settings(own.OwnTexts))
        return texts.subsample(whole, task.n or 0, task.sampling, rng), test
    source, target = CORPORA[name], CORPORA[task.test]
    if source.train is None or target.dev is None:
        raise SpecError(
            f"task {ctx.task.name}: {name} must have training examples and {target.name} test "
            "examples; see suites/mixup/datasets.py"
        )
    whole = texts.read(ctx.dataset(name) / source.train.path, source.train, source)
    test = texts.read(ctx.dataset(target.name) / target.dev.path, target.dev, target)
    return texts.subsample(whole, task.n or 0, task.sampling, rng), test


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
