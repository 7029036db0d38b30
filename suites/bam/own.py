"""Language models of one's own in the suite, for plugins: `expert` and `lm_eval_tasks`.

Dense checkpoints of one architecture are rows of the tables; two or more of them are also upcycled
into mixtures by BTX and BAM, which are trained on the texts of all. Each is measured on held-out
texts of each, and on tasks of lm-eval.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from harness import pretrained, rows
from harness.errors import DataError, SpecError, unknown
from harness.plugins import Plugin, digest_of
from harness.settings import Settings
from harness.suite import Artifact, Dataset, Method, Table, Task

_TRIALS = "suites.bam.own_trials"
_PAIRS = ("*checkpoint*/texts-*", "*checkpoint*/lm-eval-*", "*checkpoint*/downstream-*")
"""What the models meet: all texts, lm-eval's tasks and the suite's own benchmarks."""
_MIXTURES = {"btx": "BTX", "bam": "BAM", "bam-shared-kv": "BAM shared KV"}


class OwnCheckpoint(Settings):
    """An artifact: a checkpoint that a plugin brings, as a dense model of the suite."""

    checkpoint: str
    """`hub:<name>`, or the dataset of its files."""


class OwnMixture(Settings):
    """An artifact: a mixture of such checkpoints, trained on all their texts in equal shares."""

    method: Literal["btx", "bam", "bam-shared-kv"]
    """How; see `suites.bam.model.upcycle`."""
    parts: tuple[str, ...] = Field(min_length=2)
    """Artifacts of the dense models; the seed, where there is one, is the last."""


class OwnModel(Settings):
    """A method: which of these models is measured."""

    artifact: str
    """Of the model."""
    tokenizer: str
    """Artifact that has its tokenizer."""
    seed: bool = False
    """Whether the other checkpoints are copies of it, trained further."""


class OwnTexts(Settings):
    """A task: held-out texts."""

    texts: tuple[str, ...] = ()
    """Datasets, each measured by itself; the metrics are the means over them."""


class LmEval(Settings):
    """A task: one of lm-eval."""

    lm_eval: str | None = None
    """Its name there."""
    metric: str | None = None
    """Of lm-eval; None: the first that the task names."""
    yaml: bool = False
    """Whether its dataset is a folder of YAML files, or a file of questions."""


def expert(
    name: str,
    checkpoint: str | Path,
    texts: str | Path,
    *,
    seed: bool = False,
    licence: str = "not stated",
    source: str = "a plugin's own",
    scales: Sequence[str] = ("*",),
) -> Plugin:
    """A dense checkpoint as a row, and its texts as a task; of several, mixtures of all of them.

    Its method is `checkpoint-<name>`, its task `texts-<name>`. Where a plugin has two or more, the
    methods `btx-checkpoints`, `bam-checkpoints` and `bam-shared-kv-checkpoints` are mixtures of
    them, trained on all their texts for the scale's mixture phase; `texts-mean` is the mean task.

    Args:
        name: of the domain.
        checkpoint: `hub:<Hugging Face name>`, or a folder with config.json, safetensors and a
            tokenizer: Llama, Mistral, Qwen2, Qwen3, Gemma, Phi-3, OLMo, Cohere or our own. All of a
            plugin are of one architecture with one tokenizer: copies of one seed, trained further.
        texts: of the domain: a file, or a folder of files: JSON Lines, JSON, CSV, TSV or Parquet
            with a field `text`, or plain text, which is cut into pieces at ends of lines. The hash
            of a text decides whether it is held out.
        seed: whether this is the model that the others are copies of. It stands last in a mixture,
            as in the paper; without one a mixture is made of the experts alone.
        licence: of checkpoint and texts.
        source: where they were published, in words.
        scales: names or globs of the scales at which they run.

    Raises:
        DataError: the folder lacks what a model needs, or there are no texts.
    """
    model, corpus = f"checkpoint-{name}", f"texts-{name}"
    files = _text_files(name, Path(texts))
    stated = {"licence": licence, "source": source, "splits": "held-out texts by their own hash"}
    datasets = [
        Dataset(name=corpus, sizes=f"{len(files)} files", **_lying(Path(texts), files), **stated)
    ]
    hub = isinstance(checkpoint, str) and checkpoint.startswith("hub:")
    if not hub:
        found = pretrained.digests(Path(checkpoint), f"expert {name}", digest_of)
        place = {"files": found, "folder": str(Path(checkpoint).absolute())}
        datasets.append(Dataset(name=model, sizes=f"{len(found)} files", **place, **stated))
    return Plugin(
        suite="bam",
        methods=(
            Method(
                name=model,
                run=f"{_TRIALS}:run",
                params=OwnModel(artifact=model, tokenizer=model, seed=seed).plain(),
                needs=(model,),
                label=f"{name}, dense",
                seeds="none",
            ),
        ),
        tasks=(_task(corpus, f"texts of {name}", (corpus,)),),
        artifacts=(
            Artifact(
                name=model,
                make=f"{_TRIALS}:make_checkpoint",
                params=OwnCheckpoint(checkpoint=str(checkpoint) if hub else model).plain(),
                datasets=() if hub else (model,),
                random=False,
            ),
        ),
        datasets=tuple(datasets),
        scales=tuple(scales),
        pairs=_PAIRS,
        together="suites.bam.own:mixtures",
    )


def mixtures(parts: Sequence[Plugin]) -> Plugin:
    """What the experts of a plugin add together: mixtures of them, and the tables of all.

    Args:
        parts: of `expert`.

    Raises:
        SpecError: two of them are called the seed.
    """
    dense = sorted((part.methods[0] for part in parts), key=lambda m: bool(m.params["seed"]))
    if sum(bool(method.params["seed"]) for method in dense) > 1:
        raise SpecError(
            f"{dense[-2].name} and {dense[-1].name} are both the seed; the others are copies of "
            "one model"
        )
    names = tuple(method.name for method in dense)
    texts = tuple(task.name for part in parts for task in part.tasks)
    kinds = _MIXTURES if len(parts) > 1 else {}
    methods = tuple(
        Method(
            name=f"{kind}-checkpoints",
            run=f"{_TRIALS}:run",
            params=OwnModel(artifact=f"{kind}-checkpoints", tokenizer=names[-1]).plain(),
            needs=(f"{kind}-checkpoints", names[-1]),
            label=f"{label} of {', '.join(n.removeprefix('checkpoint-') for n in names)}",
            kind="baseline" if kind == "btx" else "proposed",
        )
        for kind, label in kinds.items()
    )
    mean = (_task("texts-mean", "mean over all texts", texts),) if kinds else ()
    return Plugin(
        suite="bam",
        methods=methods,
        tasks=mean,
        artifacts=tuple(
            Artifact(
                name=f"{kind}-checkpoints",
                make=f"{_TRIALS}:make_mixture",
                params=OwnMixture(method=kind, parts=names).plain(),
                needs=names,
                datasets=texts,
                over=("seed",),
            )
            for kind in kinds
        ),
        tables=tuple(
            Table(
                name=f"checkpoints-{metric}",
                title=f"Checkpoints of one's own: {title} on held-out texts",
                metric=metric,
                methods=(*names, *(method.name for method in methods)),
                tasks=(*texts, *(task.name for task in mean)),
            )
            for metric, title in (("bits-per-byte", "bits per byte"), ("perplexity", "perplexity"))
        ),
        scales=tuple(dict.fromkeys(scale for part in parts for scale in part.scales)),
        pairs=_PAIRS,
    )


def lm_eval_tasks(
    *names: str,
    folder: str | Path | None = None,
    metric: str | None = None,
    licence: str = "not stated",
    scales: Sequence[str] = ("*",),
) -> Plugin:
    """Tasks of lm-eval that the checkpoints of a plugin answer, and a table of them.

    The tasks are `lm-eval-<name>`; the scale says how many questions are asked, and how many
    examples a prompt has at most. Their questions come from the hub, where `harness data prepare
    lm-eval-<name>` gets them, or from a folder.

    Args:
        names: of tasks, as lm-eval has them: `arc_easy`, `hellaswag`, ...; groups are not taken.
        folder: of YAML files in lm-eval's format, with the data that their `data_files` name beside
            them; None: the tasks that come with lm-eval.
        metric: of lm-eval, a share between 0 and 1; None: the first that a task names.
        licence: of the questions.
        scales: names or globs of the scales at which the tasks run.

    Raises:
        DataError: the folder holds no YAML file.
        SpecError: no name, or none of the folder's files has a task of that name.
    """
    if not names:
        raise SpecError("lm_eval_tasks: no task named; give for example 'arc_easy'")
    files = _yaml_files(Path(folder), names) if folder is not None else {}
    tasks = tuple(
        Task(
            name=f"lm-eval-{name.lower()}",
            label=name,
            params=LmEval(lm_eval=name, metric=metric, yaml=folder is not None).plain(),
            metrics=("accuracy",),
            datasets=(f"lm-eval-{name.lower()}",),
        )
        for name in names
    )
    stated = {"licence": licence, "sizes": "as lm-eval has it", "splits": "evaluation only"}
    return Plugin(
        suite="bam",
        tasks=tasks,
        datasets=tuple(
            Dataset(
                name=task.name,
                files=files or {f"lm-eval/{task.label}.jsonl": None},
                folder=str(Path(folder).absolute()) if folder is not None else "",
                fetch=None if folder is not None else "suites.bam.downstream.by_name:fetch",
                source=f"lm-evaluation-harness, task {task.label}",
                **stated,
            )
            for task in tasks
        ),
        tables=(
            Table(
                name="lm-eval",
                title="Tasks of lm-eval",
                metric="accuracy",
                tasks=tuple(task.name for task in tasks),
            ),
        ),
        scales=tuple(scales),
        pairs=_PAIRS,
    )


def _task(name: str, label: str, texts: tuple[str, ...]) -> Task:
    return Task(
        name=name,
        label=label,
        params=OwnTexts(texts=texts).plain(),
        metrics=("perplexity", "nats", "bits-per-byte"),
        datasets=texts,
    )


def _lying(place: Path, files: Sequence[Path]) -> dict[str, object]:
    """Where files lie, and their digests, as a `Dataset` has them."""
    folder = place if place.is_dir() else place.parent
    digests = {path.relative_to(folder).as_posix(): digest_of(path) for path in files}
    return {"files": digests, "folder": str(folder.absolute())}


def _text_files(name: str, place: Path) -> list[Path]:
    """The files of texts at a place, by name."""
    if not place.exists():
        raise DataError(f"expert {name}: {place} not found; give a file of texts, or a folder")
    found = sorted(_files(place)) if place.is_dir() else [place]
    found = [path for path in found if rows.is_known(path)]
    if not found:
        raise DataError(
            f"expert {name}: {place} holds no text; files end with {', '.join(rows.ENDINGS)}, with "
            "or without .gz"
        )
    return found


def _yaml_files(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Digests of all files of a folder whose YAML files have tasks of these names."""
    found = sorted(_files(folder))
    text = "\n".join(p.read_text("utf-8", "replace") for p in found if p.suffix == ".yaml")
    if not text:
        raise DataError(f"lm_eval_tasks: {folder} holds no YAML file of a task (.yaml)")
    there = re.findall(r"^task:\s*['\"]?([^\s'\"]+)", text, re.MULTILINE)
    for name in names:
        if name not in there:
            raise SpecError(f"lm_eval_tasks, {folder}: {unknown('task', name, there)}")
    return {path.relative_to(folder).as_posix(): digest_of(path) for path in found}


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder but hidden ones and what Python and libraries leave there."""
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(p.startswith((".", "__pycache__")) for p in parts):
            yield path
