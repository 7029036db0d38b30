"""Labelled texts and encoders of one's own in the suite, for plugins: `text_task`, `encoder`.

Files of texts are read, checked and kept as JSON Lines under the digest of their contents;
the digest is part of the identity of the trials.
"""

import fnmatch
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field as SettingField
from pydantic import JsonValue

from harness import pretrained, rows
from harness.errors import DataError, SpecError, unknown
from harness.plugins import Kept, Plugin, digest_of, keep
from harness.rows import Field, Row, Schema
from harness.settings import Settings
from harness.suite import Artifact, Dataset, Table, Task
from suites.mixup.methods import methods as all_methods
from suites.mixup.methods import unfit
from suites.mixup.settings import Pooling, TextTask

if TYPE_CHECKING:
    from harness.run import Context
    from suites.mixup.texts import Texts

MEASURES = ("accuracy", "f1", "mcc", "spearman")


class OwnTexts(Settings):
    """The texts of a task that a plugin brings."""

    train_file: str
    """Training examples, in the dataset's folder."""
    dev_file: str
    """What the score is measured on."""
    classes: tuple[str, ...]
    """In the order of their numbers; empty for regression."""
    pairs: bool
    """Whether there are two texts to an example."""
    seen: int = SettingField(ge=2)
    """Training examples there are."""


def text_task(
    name: str,
    *,
    train: str | Path,
    dev: str | Path,
    metric: str = "accuracy",
    text: str = "text",
    pair: str | None = None,
    label: str = "label",
    sizes: Sequence[int] = (0,),
    licence: str = "not stated",
    source: str = "a plugin's own",
    scales: Sequence[str] = ("*",),
    methods: Sequence[str] = ("*",),
) -> Plugin:
    """Tasks on labelled texts of one's own, one for each number of examples, and a table of them.

    Args:
        name: of the texts; the tasks are `<name>-full` and `<name>-n<size>`.
        train: training examples: a TSV, CSV, JSON Lines or Parquet file whose columns have names.
        dev: what the score is measured on; nothing is selected on it.
        metric: accuracy, f1 (of the second class by name), mcc, or spearman for scores.
        text: name of the column of texts.
        pair: of the column of second texts, where an example is a pair.
        label: of the column of labels: names of classes, or numbers for spearman.
        sizes: how many training examples each seed draws; 0: all of them.
        licence: of the texts.
        source: where they were published, in words.
        scales: names or globs of the scales at which the tasks run.
        methods: names or globs of the methods that meet them.

    Raises:
        DataError: a file cannot be read, or a row is not what it should be; file and line.
        SpecError: an unknown metric, more examples than there are, or classes that do not fit it.
    """
    if metric not in MEASURES:
        raise SpecError(unknown("metric", metric, MEASURES))
    scored = metric == "spearman"
    fields = [Field(label, "number" if scored else "name")]
    fields += [Field(column) for column in (text, pair) if column is not None]
    read = [rows.read(Path(path), Schema(tuple(fields))) for path in (train, dev)]
    classes = _classes(name, (Path(train), Path(dev)), read, label, metric)
    for size in sizes:
        if not 0 <= size <= len(read[0]):
            raise SpecError(
                f"texts {name}: {size:,} training examples wanted, {len(read[0]):,} are there"
            )
    files = [_kept(part, text, pair, label) for part in read]
    own = OwnTexts(
        train_file=files[0].file, dev_file=files[1].file, classes=classes,
        pairs=pair is not None, seen=len(read[0]),
    )  # fmt: skip
    tasks = tuple(
        Task(
            name=f"{name}-n{size}" if size else f"{name}-full",
            label=f"{name}, {f'{size:,}' if size else 'all'} examples ({metric})",
            params=TextTask(train=name, test=name, n=size, measure=metric).plain() | own.plain(),
            metrics=("score", "degenerate"),
            datasets=(name,),
        )
        for size in sizes
    )
    wrong = unfit(pairs=pair is not None, scores=scored)
    meet = [m.name for m in all_methods() if m.name not in wrong]
    return Plugin(
        suite="mixup",
        tasks=tasks,
        datasets=(
            Dataset(
                name=name,
                files={file.file: file.sha256 for file in files},
                folder=files[0].folder,
                licence=licence,
                source=source,
                sizes=f"{len(read[0]):,} training and {len(read[1]):,} development examples",
                splits="as its plugin has them",
            ),
        ),
        tables=(
            Table(name=name, title=name, metric="score", tasks=tuple(t.name for t in tasks)),
        ),
        scales=tuple(scales),
        pairs=tuple(f"{name}/*" for name in (meet if tuple(methods) == ("*",) else methods)),
    )  # fmt: skip


def load(folder: Path, name: str, own: OwnTexts) -> "tuple[Texts, Texts]":
    """Training and development texts that `text_task` has stored.

    Args:
        folder: of the dataset, verified.
        name: of the texts.
        own: which they are.
    """
    from suites.mixup.texts import Texts, check

    def texts(file: str) -> Texts:
        found = [json.loads(line) for line in (folder / file).read_text("utf-8").splitlines()]
        return Texts(
            name,
            tuple(row["first"] for row in found),
            tuple(row["second"] for row in found) if own.pairs else None,
            tuple(
                float(own.classes.index(row["label"]) if own.classes else row["label"])
                for row in found
            ),
            own.classes,
        )

    train, dev = texts(own.train_file), texts(own.dev_file)
    check(train)
    return train, dev


def _classes(
    name: str, paths: Sequence[Path], read: Sequence[Sequence[Row]], label: str, metric: str
) -> tuple[str, ...]:
    """The labels of the training examples, by name; none for scores.

    Raises:
        DataError: only one label, or one in the development examples that training lacks.
        SpecError: more than the two classes that a metric is for.
    """
    labels = {row.values[label] for row in read[0]}
    if len(labels) < 2:
        raise DataError(
            f"{paths[0]}: all {len(read[0]):,} examples carry one label; at least two are wanted"
        )
    if metric == "spearman":
        return ()
    for row in read[1]:
        if row.values[label] not in labels:
            raise DataError(
                f"{paths[1]}:{row.line}: {unknown('label', row.values[label], labels)} in "
                f"{paths[0]}"
            )
    if metric in ("f1", "mcc") and len(labels) > 2:
        raise SpecError(f"texts {name}: {metric} is for 2 classes, found {len(labels)}")
    return tuple(sorted(labels))


def _kept(read: Sequence[Row], text: str, pair: str | None, label: str) -> Kept:
    lines = []
    for row in read:
        kept = {"first": row.values[text], "label": row.values[label]}
        if pair is not None:
            kept["second"] = row.values[pair]
        # ASCII: a line separator within a text would look like the end of a line.
        lines.append(json.dumps(kept, sort_keys=True))
    return keep(("\n".join(lines) + "\n").encode(), ".jsonl")


def encoder(
    name: str,
    place: str | Path,
    *,
    methods: Sequence[str] = ("vanilla", "mixup-convex"),
    pooling: Pooling = "mean",
    learning_rate: float | None = None,
    licence: str = "not stated",
    source: str = "a plugin's own",
    scales: Sequence[str] = ("*",),
    tasks: Sequence[str] = ("*",),
) -> Plugin:
    """Methods of the suite on an encoder of one's own, `<name>-<method>`, and a table of them.

    Args:
        name: of the encoder.
        place: `hub:<Hugging Face name>`, or a folder with config.json, safetensors and a tokenizer.
        methods: names or globs of the suite's methods to run on it.
        pooling: how token vectors become one vector per text.
        learning_rate: peak of the finetuning; None: the scale's.
        licence: of the encoder.
        source: where it was published, in words.
        scales: names or globs of the scales at which they run.
        tasks: names or globs of the tasks that they meet.

    Raises:
        DataError: the folder lacks what an encoder needs.
        SpecError: no method of the suite has such a name.
    """
    chosen = [m for m in all_methods() if not m.needs]
    kept = [m for m in chosen if any(fnmatch.fnmatchcase(m.name, glob) for glob in methods)]
    if not kept:
        raise SpecError(
            f"encoder {name}: {unknown('method', ', '.join(methods), [m.name for m in chosen])}"
        )
    artifact = f"encoder-{name}"
    hub = isinstance(place, str) and place.startswith("hub:")
    files: dict[str, str | None] = {}
    if not hub:
        files |= pretrained.digests(Path(place), f"encoder {name}", digest_of)
    params: dict[str, JsonValue] = {
        "encoder": str(place) if hub else f"own:{artifact}",
        "pooling": pooling,
    }
    if learning_rate is not None:
        params["learning_rate"] = learning_rate
    found = tuple(
        m.model_copy(
            update={
                "name": f"{name}-{m.name}",
                "label": f"{m.title} on {name}",
                "params": {**m.params, **params},
                "needs": () if hub else (artifact,),
            }
        )
        for m in kept
    )
    return Plugin(
        suite="mixup",
        methods=found,
        artifacts=()
        if hub
        else (Artifact(name=artifact, make="suites.mixup.own:make_encoder", datasets=(artifact,)),),
        datasets=()
        if hub
        else (
            Dataset(
                name=artifact,
                files=files,
                folder=str(Path(place).absolute()),
                licence=licence,
                source=source,
                sizes=f"{len(files)} files",
                splits="none",
            ),
        ),
        tables=(
            Table(name=name, title=name, metric="score", methods=tuple(m.name for m in found)),
        ),
        scales=tuple(scales),
        pairs=tuple(f"*/{task}" for task in tasks),
    )


def make_encoder(ctx: "Context") -> dict[str, JsonValue]:
    """Artifact: the files of an encoder that a plugin brings, verified."""
    name = ctx.datasets[0]
    folder = ctx.dataset(name)
    files = next(dataset.files for dataset in ctx.suite.datasets if dataset.name == name)
    for file in files:
        shutil.copyfile(folder / file, ctx.out / file)
    return {"files": len(files)}
