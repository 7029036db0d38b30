"""What the methods meet: a corpus to train on, one to test on, and a number of examples."""

from typing import Literal

from harness.suite import Task
from suites.mixup.claims import SETS
from suites.mixup.datasets import CORPORA
from suites.mixup.methods import unfit
from suites.mixup.settings import TextTask

GLUE = ("cola", "rte", "mrpc", "sts-b")
"""Tasks that the paper also trains on whole."""
SIZED = (*SETS, "cola", "rte", "mrpc", "mr", "sick", "qnli", "mnli", "qqp")
GENERATED = {"topics": "accuracy", "same-topic": "accuracy", "overlap": "spearman"}


def _task(
    train: str, n: int, test: str = "", sampling: Literal["uniform", "stratified"] = "uniform"
) -> Task:
    test = test or train
    size = f"n{n}" if n else "full"
    transfer = f"-to-{test}" if test != train else ""
    suffix = "" if sampling == "uniform" else f"-{sampling}"
    source, target = CORPORA[train], CORPORA[test]
    shown = f"{n:,} examples" if n else "all examples"
    tested = f", tested on {target.title}" if transfer else ""
    return Task(
        name=f"{train}-{size}{transfer}{suffix}",
        # Version 2 of regressions: scores are standardised before training.
        version=1 if source.classes else 2,
        label=f"{source.title}{tested}, {shown} ({target.measure})",
        params=TextTask(
            train=train, test=test, n=n, sampling=sampling, measure=target.measure
        ).plain(),
        metrics=("score", "degenerate"),
        measures={"score": target.measure},
        datasets=tuple(dict.fromkeys((train, test))),
        protocol="standard" if sampling == "uniform" else sampling,
        note="; ".join(
            filter(
                None,
                (
                    source.note,
                    "the training data of the packaged MiniLM include it" if source.seen else "",
                ),
            )
        ),
    )  # fmt: skip


def tasks() -> tuple[Task, ...]:
    generated = tuple(
        Task(
            name=f"generated-{name}",
            version=2 if measure == "spearman" else 1,
            label=f"generated: {name} ({measure})",
            params=TextTask(train=name, test=name, measure=measure).plain(),
            metrics=("score", "degenerate"),
            measures={"score": measure},
            fallback=True,
        )
        for name, measure in GENERATED.items()
    )
    sized = tuple(_task(name, n) for name in SIZED for n in (100, 300, 500, 1000))
    transfer = (
        *(_task("rte", n, to) for n in (300, 1000, 0) for to in ("sick", "snli-pool")),
        *(_task("mnli-pool", 300, to) for to in ("sick", "snli-pool", "rte")),
        *(_task("mnli", n, to) for n in (300, 1000) for to in ("sick", "snli-pool", "rte")),
    )
    return (
        *generated,
        *sized,
        *(_task(name, 0) for name in GLUE),
        _task("qnli-pool", 300),
        *transfer,
        *(_task(name, 300, sampling="stratified") for name in SETS if name != "sts-b"),
    )


def excluded() -> tuple[str, ...]:
    """`method/task` of methods that a task is not made for."""
    found = []
    for task in tasks():
        source = CORPORA.get(str(task.params["train"]))
        train = source.train if source else None
        pairs = task.params["train"] == "overlap" or bool(train and train.second is not None)
        scores = task.params["measure"] == "spearman"
        found += [f"{method}/{task.name}" for method in unfit(pairs=pairs, scores=scores)]
    return tuple(found)
