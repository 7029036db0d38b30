"""Tasks of lm-eval by name: their questions kept as a file, and a model's score on them.

A file of questions is JSON Lines: a line that says which task it is of, then the rows of the split
that is asked and the first rows of the one that examples come from. `harness data prepare` writes
it; a trial reads it and asks no network. A task of one's own is a folder of YAML files with its
data beside them, whose `data_files` are relative to it.
"""

import contextlib
import io
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import lm_eval
from lm_eval.tasks import TaskManager
from pydantic import JsonValue
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.data import arriving, newest, pinned
from harness.errors import DataError, MethodError, SpecError, brief, described, unknown
from harness.suite import Dataset
from suites.bam.downstream import evaluate, questions

EXAMPLES = 1000
"""Rows that are kept of the split that examples in prompts come from."""
_PACKAGE = Path(lm_eval.__file__).parent / "tasks"
_LOCAL = ("json", "csv", "parquet", "text", "arrow")
"""Readers of `datasets` whose files a task names itself."""

Loaded = Any
"""A task of lm-eval."""


def fetch(dataset: Dataset, folder: Path) -> dict[str, JsonValue]:
    """Writes the questions of a task of lm-eval below `folder`.

    Returns:
        The data set, and the revision that was read: the one of the first download, if this is
        not the first, else the newest.

    Raises:
        DataError: its rows are no JSON.
        SpecError: lm-eval has no task of that name, or it is a group of several.
    """
    (file,) = dataset.files
    name = Path(file).stem
    with _quiet():
        manager = TaskManager()
        place = _place(manager, name)
        facts: dict[str, JsonValue] = {"repository": place.repository}
        changes: dict[str, Any] = {}
        if place.repository not in _LOCAL and not Path(place.repository).exists():
            facts["revision"] = pinned(folder / file) or newest(place.repository, name)
            changes["dataset_kwargs"] = {**place.options, "revision": facts["revision"]}
        task = _loaded(manager, name, changes)
    asked = task.config.test_split or task.config.validation_split
    shown = task.fewshot_cfg.split or task.config.training_split or task.config.validation_split
    header = {"task": name, "folder": place.folder, "asked": asked, "shown": shown or asked}
    with arriving(folder / file) as path, path.open("w", encoding="utf-8") as lines:
        for document in (header | {"lm_eval": version("lm_eval")}, *_rows(task, asked, shown)):
            try:
                lines.write(json.dumps(document) + "\n")
            except (TypeError, ValueError) as error:
                raise DataError(f"task {name}: its rows are no JSON ({brief(error)})") from None
    return facts


def _rows(task: Loaded, asked: str, shown: str | None) -> Iterator[dict[str, Any]]:
    for split in dict.fromkeys((asked, shown or asked)):
        for row in islice(task.dataset[split], None if split == asked else EXAMPLES):
            yield {"split": split, "row": row}


def kept(file: Path, shots: int | None) -> Loaded:
    """The task whose questions `fetch` has written.

    Raises:
        DataError: the file is not such a file, or lm-eval has the task no more.
    """
    try:
        header, *rows = (json.loads(line) for line in file.read_text("utf-8").splitlines())
        splits: dict[str, list[Any]] = {header["asked"]: [], header["shown"]: []}
        for row in rows:
            splits[row["split"]].append(row["row"])
        place = _PACKAGE / header["folder"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: holds no task ({described(error)}); fetch it again") from None
    changes = {
        "custom_dataset": lambda **_: datasets.DatasetDict(
            {split: datasets.Dataset.from_list(found) for split, found in splits.items()}
        ),
        "training_split": None,
        "validation_split": None,
        "test_split": header["asked"],
        "fewshot_split": header["shown"],
    }
    with _quiet():
        return _loaded(_manager(place), header["task"], changes, shots)


def own(folder: Path, name: str, shots: int | None, scratch: Path) -> Loaded:
    """A task of a folder of YAML files, its data read from there.

    Args:
        folder: of the YAML files.
        name: of the task.
        shots: most examples in a prompt.
        scratch: where the library may keep what it has read.

    Raises:
        SpecError: the folder has no task of that name.
    """
    with _quiet():
        manager = _manager(folder)
        options = _place(manager, name).options
        files = options.get("data_files")
        changes = {"dataset_kwargs": {**options, "cache_dir": str(scratch)}}
        if files is not None:
            changes["dataset_kwargs"]["data_files"] = _below(folder, files)
        return _loaded(manager, name, changes, shots)


def _below(folder: Path, files: Any) -> Any:
    """Names of files, of those that are there the whole path."""
    if isinstance(files, Mapping):
        return {split: _below(folder, some) for split, some in files.items()}
    if isinstance(files, list):
        return [_below(folder, file) for file in files]
    return str(folder / files) if (folder / files).exists() else files


def score(
    network: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Loaded,
    metric: str | None,
    *,
    context: int,
    limit: int | None,
    batch: int,
) -> float:
    """A model's score on a task, in %.

    Args:
        network: a causal language model of Hugging Face's interface.
        tokenizer: its tokenizer.
        task: of `kept` or `own`.
        metric: of lm-eval; None: the first that the task names.
        context: tokens that the model may see.
        limit: most questions, spread evenly.
        batch: sequences at once.

    Raises:
        SpecError: the task has no such metric, or runs code that the model wrote.
        MethodError: the metric is no share between 0 and 1.
    """
    name = task.config.task
    metrics = [entry["metric"] for entry in task.config.metric_list or ()]
    chosen = metric or (metrics or ["acc"])[0]
    if getattr(task, "UNSAFE_CODE", False):
        raise SpecError(f"task {name} runs code that the model wrote; leave it out")
    places = questions.thinned(list(range(len(task.eval_docs))), limit)
    found = evaluate.results(
        network, tokenizer, {"tasks": {name: task}}, context, batch, {name: places}
    )[name]
    value = next((v for key, v in found.items() if key.startswith(f"{chosen},")), None)
    if value is None:
        there = {key.partition(",")[0] for key in found if "," in key and "stderr" not in key}
        raise SpecError(f"task {name}: {unknown('metric', chosen, there)}")
    if not 0 <= float(value) <= 1:
        raise MethodError(
            f"task {name}: {chosen} is {value:.4g}, no share between 0 and 1; choose another one "
            "with metric="
        )
    return 100 * float(value)


class _Place(NamedTuple):
    """Where lm-eval has a task, and what it says of its data."""

    folder: str
    """Below the package's own tasks; empty for one of another folder."""
    repository: str
    options: dict[str, Any]


def _place(manager: TaskManager, name: str) -> _Place:
    entry = manager.task_index.get(name)
    if entry is None:
        raise SpecError(unknown("task of lm-eval", name, manager.all_subtasks))
    if entry.kind.name != "TASK" or entry.yaml_path is None:
        members = entry.cfg["task"] if entry.cfg and "task" in entry.cfg else sorted(entry.tags)
        names = [str(m["task"]) if isinstance(m, dict) and "task" in m else str(m) for m in members]
        raise SpecError(
            f"{name} is no single task of lm-eval with a YAML file but stands for several; name "
            f"some of them: {', '.join(names[:8])}"
        )
    config, folder = entry.cfg or {}, entry.yaml_path.parent
    return _Place(
        folder.relative_to(_PACKAGE).as_posix() if folder.is_relative_to(_PACKAGE) else "",
        str(config.get("dataset_path", "")),
        dict(config.get("dataset_kwargs") or {}),
    )


def _manager(folder: Path) -> TaskManager:
    return TaskManager(include_path=str(folder), include_defaults=False)


def _loaded(
    manager: TaskManager, name: str, changes: Mapping[str, Any], shots: int | None = None
) -> Loaded:
    """The task with some fields replaced, and at most so many examples in a prompt."""
    try:
        member = {"task": name, **changes}
        task = manager.load([{"group": f"{name}-group", "task": [member]}])["tasks"][name]
    except Exception as error:  # whatever lm-eval and the libraries below it come up with
        raise DataError(
            f"task {name} of lm-eval cannot be loaded ({described(error)}); go online for its "
            "data, or give a folder that has them"
        ) from None
    if shots is not None:
        task.set_config(key="num_fewshot", value=min(shots, task.config.num_fewshot or 0))
    return task


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        yield


@contextlib.contextmanager
def opened(file: Path | None, folder: Path, name: str, shots: int | None) -> Iterator[Loaded]:
    """The task of a file of questions, or where there is none of a folder of YAML files."""
    if file is not None:
        yield kept(file, shots)
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield own(folder, name, shots, Path(scratch))
