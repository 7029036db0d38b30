"""Downstream scores through lm-evaluation-harness, from local files alone.

A benchmark is a task file `tasks/<name>.yaml` in lm-eval's format whose `data_files` are relative
to the data folder. Rows are read and checked here, thinned evenly to a limit, and handed over as
JSON Lines in a temporary folder, so that lm-eval never asks the network nor writes elsewhere.
"""

import contextlib
import io
import json
import logging
import math
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lm_eval
import yaml
from jinja2 import Environment, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.contents import shipped
from harness.errors import DataError, SpecError, brief
from suites.bam.downstream import answers, questions, sandbox
from suites.bam.downstream.benchmarks import GROUPS, TASKS, Benchmark, digests, named
from suites.bam.downstream.questions import Question, read

ALLOW = "BAM_EXECUTE_CODE"
"""Environment variable by which users allow code of models to be run, by the value 1."""

REQUIRED = (
    "task", "dataset_path", "dataset_kwargs", "test_split", "output_type", "doc_to_text",
    "doc_to_target", "num_fewshot", "metric_list",
)  # fmt: skip
"""What every task file must say; a multiple-choice task also `doc_to_choice`."""

_WORDS = (
    "apple", "river", "stone", "cloud", "horse", "table", "green", "seven", "paper", "light",
    "water", "house", "music", "chair", "bread", "north", "glass", "tiger", "metal", "sugar",
)  # fmt: skip


class _Model(HFLM):  # type: ignore[misc]
    """lm-eval's wrapper, for models with short contexts: an answer keeps at most half of it.

    Choices come cut (see `questions.shortened`); what is cut here is WinoGrande's sentence ends,
    which are the same for all choices.
    """

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        prompt, answer = super()._encode_pair(context, continuation)
        return prompt, answer[: self.max_length // 2]


class Part(NamedTuple):
    """One task as lm-eval takes it; a benchmark has several where its file names have a star."""

    config: dict[str, Any]
    questions: int


class Scores(NamedTuple):
    """Scores of one group of benchmarks, all in % and by benchmark."""

    accuracy: dict[str, float]
    chance: dict[str, float]
    standard_error: dict[str, float]
    """Of guessing: binomial. Where chance is 0 it is that of one right answer."""
    bits: dict[str, float]
    """Bits per byte of the right answers; no %."""

    def metrics(self) -> dict[str, float]:
        """`accuracy`, the mean; `above-chance`, standard errors from the mean chance to it, below
        2 no better than guessing; `answer-bits`, the mean; and `accuracy-<name>` of each."""
        count = len(self.accuracy)
        mean = sum(self.accuracy.values()) / count
        above = mean - sum(self.chance.values()) / count
        error = math.hypot(*self.standard_error.values()) / count
        each = {f"accuracy-{name}": value for name, value in self.accuracy.items()}
        bits = sum(self.bits.values()) / count
        return {"accuracy": mean, "above-chance": above / error, "answer-bits": bits, **each}


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    group: str,
    folder: Path | None,
    *,
    context: int,
    limit: int | None = None,
    shots: int | None = None,
    batch: int = 32,
    execute_code: bool = False,
    tasks: Path = TASKS,
) -> Scores:
    """Scores of a model on a group of benchmarks.

    Args:
        model: any causal language model of Hugging Face's interface.
        tokenizer: its tokenizer; special tokens that a question spells out are text to it.
        group: of `benchmarks.GROUPS`.
        folder: the data folder; None for the group `generated`.
        context: tokens that the model may see; longer prompts lose their beginning, and choices
            of more than half of it their end, before they are scored and counted.
        limit: most questions a benchmark, spread evenly over its files.
        shots: most examples in a prompt; None: as many as the task files say.
        batch: sequences at once.
        execute_code: allow benchmarks that run code which the model wrote.
        tasks: folder of the task files.

    Raises:
        DataError: a task file or data file that is missing, misses a field, or holds a value that
            its benchmark cannot use; see `questions.read`.
        SpecError: a benchmark runs code and `execute_code` is False.
    """
    benchmarks = [named(name) for name in GROUPS[group]]
    for benchmark in benchmarks:
        if benchmark.executes and not execute_code:
            raise SpecError(
                f"benchmark {benchmark.name} runs code that the model wrote; set {ALLOW}=1 to "
                "allow it, or leave the task out"
            )
    if any(benchmark.executes for benchmark in benchmarks):
        sandbox.notice()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        if folder is None:
            generate(scratch)
        parts = {
            b.name: list(
                _parts(b, tasks, folder or scratch, scratch, tokenizer, context, limit, shots)
            )
            for b in benchmarks
        }
        configs = [part.config for of in parts.values() for part in of]
        measured = _measured(model, tokenizer, configs, context, batch)
    scores = Scores({}, {}, {}, {})
    for benchmark in benchmarks:
        of = parts[benchmark.name]
        count = sum(part.questions for part in of)
        found = [measured[part.config["task"]] for part in of]
        right = sum(part.questions * one.score for part, one in zip(of, found, strict=True))
        guess = max(benchmark.chance / 100, 1 / (count + 1))
        scores.accuracy[benchmark.name] = 100 * right / count
        scores.chance[benchmark.name] = benchmark.chance
        scores.standard_error[benchmark.name] = 100 * math.sqrt(guess * (1 - guess) / count)
        told = sum(one.bits for one in found) / max(1, sum(one.bytes for one in found))
        scores.bits[benchmark.name] = told
    return scores


def generate(folder: Path, count: int = 60) -> None:
    """Writes the questions of the benchmark `generated`: which of four words was there twice?"""
    draw = random.Random(count)  # noqa: S311 - the same questions for everybody, no secrets
    rows = []
    for _ in range(count):
        choices = draw.sample(_WORDS, 4)
        answer = draw.randrange(4)
        shown = draw.sample([*choices, choices[answer]], 5)
        question = f"{' '.join(shown)}. The word that was there twice is"
        rows.append({"question": question, "choices": choices, "answer": answer})
    _write(folder / "generated.jsonl", rows)


def _parts(
    benchmark: Benchmark,
    tasks: Path,
    folder: Path,
    scratch: Path,
    tokenizer: PreTrainedTokenizerBase,
    context: int,
    limit: int | None,
    shots: int | None,
) -> Iterator[Part]:
    path = tasks / f"{benchmark.name}.yaml"
    spec = _spec(shipped(path) if tasks == TASKS else path)
    files: dict[str, str] = spec["dataset_kwargs"]["data_files"]
    subsets = _subsets(folder, files[spec["test_split"]])
    for subset in subsets:
        name = f"{benchmark.name}-{subset}" if subset else benchmark.name
        local = {}
        for split, pattern in files.items():
            file = pattern.replace("*", subset)
            path = folder / file
            if tasks == TASKS and benchmark.folder and file not in digests(benchmark):
                raise DataError(f"{path} is no file of {benchmark.name}; remove it")
            asked = questions.of_split(benchmark.name, read(benchmark.name, path), split)
            asked = [{**row, "subset": subset.replace("_", " ")} for row in asked]
            _complete(asked, _fields(spec), path)
            if split == spec["test_split"]:
                asked = questions.thinned(asked, limit and math.ceil(limit / len(subsets)))
                asked = [_readable(row, spec, tokenizer, context // 2) for row in asked]
                count = len(asked)
            local[split] = str(scratch / f"{name}-{split}.jsonl")
            _write(Path(local[split]), asked)
        config = {
            **spec,
            "task": name,
            "dataset_kwargs": {"data_files": local, "cache_dir": str(scratch / "cache")},
        }
        if shots is not None:
            config["num_fewshot"] = min(shots, spec["num_fewshot"])
        if generation := spec.get("generation_kwargs"):
            longest = min(generation["max_gen_toks"], context // 2)
            config["generation_kwargs"] = {**generation, "max_gen_toks": longest}
        if benchmark.executes:
            program = {"humaneval": sandbox.humaneval, "mbpp": sandbox.mbpp}[benchmark.name]
            config["process_results"] = lambda row, answers, program=program: {
                "pass": float(sandbox.passes(program(row, answers[0])))
            }
        yield Part(config, count)


class Measured(NamedTuple):
    """What one task gives."""

    score: float
    """Its first metric, between 0 and 1."""
    bits: float
    """Of all right answers, and how many bytes these have."""
    bytes: int


def _measured(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    configs: list[dict[str, Any]],
    context: int,
    batch: int,
) -> dict[str, Measured]:
    """The first metric of each task, and the bits of its right answers."""
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        loaded = TaskManager(include_defaults=False).load(configs)
    found = {}
    with _asked(model, tokenizer, context, batch) as lm:
        evaluated = _evaluated(lm, loaded, log_samples=True)
        for config in configs:
            name, metric = config["task"], config["metric_list"][0]["metric"]
            score = next(
                float(value)
                for key, value in evaluated["results"][name].items()
                if key.startswith(f"{metric},")
            )
            told = answers.told(lm, evaluated["samples"][name], config, tokenizer, context // 2)
            found[name] = Measured(score, *told)
    return found


def results(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Any,
    context: int,
    batch: int,
    places: dict[str, list[int]] | None = None,
) -> dict[str, dict[str, Any]]:
    """What lm-eval says of a model, by task and then by metric and filter (`acc,none`).

    Args:
        model: any causal language model of Hugging Face's interface.
        tokenizer: its tokenizer; special tokens that a question spells out are text to it.
        tasks: as `TaskManager.load` returns them.
        context: tokens that the model may see.
        batch: sequences at once.
        places: which questions of each task; None: all.
    """
    with _asked(model, tokenizer, context, batch) as lm:
        return dict(_evaluated(lm, tasks, places)["results"])


@contextlib.contextmanager
def _asked(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, context: int, batch: int
) -> Iterator[_Model]:
    """The model as lm-eval asks it; afterwards model and tokenizer are as they were."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    training, usual = model.training, tokenizer.split_special_tokens
    model.train(False)
    tokenizer.split_special_tokens = True  # the names of special tokens in a question are text
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        yield _Model(pretrained=model, tokenizer=tokenizer, batch_size=batch, max_length=context)
    model.train(training)
    tokenizer.split_special_tokens = usual


def _evaluated(
    lm: _Model, tasks: Any, places: dict[str, list[int]] | None = None, *, log_samples: bool = False
) -> dict[str, Any]:
    found: Any = lm_eval.evaluate(
        lm,
        tasks,
        samples=places,
        bootstrap_iters=0,
        log_samples=log_samples,
        confirm_run_unsafe_code=True,  # behind the wall of sandbox.py, and only if allowed
    )
    return dict(found)


def _spec(path: Path) -> dict[str, Any]:
    try:
        spec: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"task file {path} cannot be read: {brief(error)}") from None
    there = spec if isinstance(spec, dict) else {}
    choice = ("doc_to_choice",) if there.get("output_type") == "multiple_choice" else ()
    if missing := [name for name in (*REQUIRED, *choice) if name not in there]:
        raise DataError(f"task file {path} misses the field {missing[0]!r}; add it")
    if there["test_split"] not in (there["dataset_kwargs"] or {}).get("data_files", {}):
        raise DataError(
            f"task file {path} names no file for its split {there['test_split']!r} in "
            "dataset_kwargs.data_files; add it"
        )
    return there


def _fields(spec: dict[str, Any]) -> set[str]:
    """The fields of a row that a task file's templates read."""
    found = set()
    for key in ("doc_to_text", "doc_to_target", "doc_to_choice"):
        template = spec.get(key)
        if not isinstance(template, str):
            continue
        if template.isidentifier():
            found.add(template)
            continue
        try:
            found |= find_undeclared_variables(Environment(autoescape=True).parse(template))
        except TemplateSyntaxError as error:
            raise DataError(f"task file of {spec['task']}: {key}: {error}; fix it") from None
    return found


def _readable(
    row: Question, spec: dict[str, Any], tokenizer: PreTrainedTokenizerBase, tokens: int
) -> Question:
    """The question with its own choices cut to what is scored of them."""
    field = spec.get("doc_to_choice")
    if not isinstance(field, str) or field not in row:
        return row
    delimiter = spec.get("target_delimiter", " ")
    return {**row, field: questions.shortened(row[field], tokenizer, delimiter, tokens)}


def _complete(rows: list[Question], fields: set[str], path: Path) -> None:
    if not rows:
        raise DataError(f"{path} holds no questions; replace it by the original")
    for number, row in enumerate(rows, start=1):
        if missing := sorted(fields - row.keys()):
            raise DataError(
                f"{path}: row {number} misses the field {missing[0]!r}; replace the file by the "
                "original"
            )


def _subsets(folder: Path, pattern: str) -> list[str]:
    """What the star in a file name stands for, in all files; one empty word without a star."""
    if "*" not in pattern:
        return [""]
    before, after = Path(pattern).name.split("*")
    found = sorted((folder / pattern).parent.glob(Path(pattern).name))
    if not found:
        raise DataError(f"no file {folder / pattern}; point --data at a folder that has it")
    return [path.name.removeprefix(before).removesuffix(after) for path in found]


def _write(path: Path, rows: Sequence[Question]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
