"""Tasks of lm-eval by name: what is kept of them, and the score against a plain loop."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from lm_eval.tasks import TaskManager

from harness.data import Sources
from harness.errors import DataError, MethodError, SpecError
from harness.suite import Dataset
from suites import bam
from suites.bam import own_trials
from suites.bam.downstream import by_name
from suites.bam.model import checkpoints

EXAMPLES = Path(__file__).parents[4] / "docs" / "examples"
EXPERTS = EXAMPLES / "experts"
REVISION = "c0ffee" * 6 + "cafe"
ROWS = [
    {
        "id": str(n),
        "question": f"Which of them pays, number {n}?",
        "choices": {"text": ["the tenant", "a cough", "the nurse"], "label": ["A", "B", "C"]},
        "answerKey": "ABC"[n % 3],
    }
    for n in range(6)
]


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A hub with the rows of ARC alone; the list holds what was asked for."""
    asked: list[Any] = []

    read = datasets.load_dataset

    def load_dataset(path: str, name: str | None = None, **options: Any) -> Any:
        if path == "json":
            return read(path, name, **options)
        asked.append((path, name, options))
        part = datasets.Dataset.from_list(ROWS)
        return datasets.DatasetDict(train=part, validation=part, test=part)

    def some(include_path: str | None = None, include_defaults: bool = True) -> TaskManager:
        arc = str(by_name._PACKAGE / "arc")  # all of lm-eval's take ten seconds to list
        return TaskManager(include_path=include_path or arc, include_defaults=False)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(by_name, "TaskManager", some)
    monkeypatch.setattr(by_name, "newest", lambda repository, dataset: REVISION)
    return asked


@pytest.fixture
def dataset() -> Dataset:
    return bam.lm_eval_tasks("arc_easy").datasets[0]


@pytest.fixture(scope="module")
def reader() -> Any:
    return own_trials.tokenizer(EXPERTS / "law")


@pytest.fixture(scope="module")
def model() -> Any:
    return checkpoints.cast(checkpoints.load_dense(EXPERTS / "law"), torch.float32)


def test_a_task_is_kept_as_a_file_at_one_revision(
    hub: list[Any], dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = Sources(None, tmp_path / "data")
    sources.fetch(dataset)
    assert hub == [("allenai/ai2_arc", "ARC-Easy", {"revision": REVISION})]
    header, *rows = (
        json.loads(line)
        for line in (sources.hub / "lm-eval/arc_easy.jsonl").read_text().splitlines()
    )
    assert (header["task"], header["folder"], header["asked"]) == ("arc_easy", "arc", "test")
    assert [row["row"] for row in rows if row["split"] == "test"] == ROWS
    (sources.hub / "lm-eval/arc_easy.jsonl").unlink()
    monkeypatch.setattr(by_name, "newest", lambda *_: "f" * 40)
    sources.fetch(dataset)
    assert hub[1][2] == {"revision": REVISION}


@torch.no_grad()
def by_hand(model: Any, reader: Any) -> float:
    right = 0
    for row in ROWS:
        prompt = reader(f"Question: {row['question']}\nAnswer:").input_ids
        scores = []
        for choice in row["choices"]["text"]:
            answer = reader(" " + choice).input_ids
            log_TV = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
            scores.append(
                sum(float(log_TV[len(prompt) - 1 + n, token]) for n, token in enumerate(answer))
            )
        right += "ABC"[scores.index(max(scores))] == row["answerKey"]
    return 100 * right / len(ROWS)


def test_the_score_is_that_of_a_plain_loop(
    hub: list[Any], dataset: Dataset, model: Any, reader: Any, tmp_path: Path
) -> None:
    by_name.fetch(dataset, tmp_path)
    hub.clear()
    task = by_name.kept(tmp_path / "lm-eval/arc_easy.jsonl", None)
    options = {"context": 128, "batch": 4}
    score = by_name.score(model, reader, task, "acc", limit=None, **options)
    assert score == pytest.approx(by_hand(model, reader))
    assert hub == []  # the network is not asked
    task = by_name.kept(tmp_path / "lm-eval/arc_easy.jsonl", None)
    half = by_name.score(model, reader, task, None, limit=3, **options)
    assert any(half == pytest.approx(100 * n / 3) for n in range(4))


def test_a_metric_that_is_not_there_or_no_share_is_refused(
    dataset: Dataset, model: Any, reader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_name.fetch(dataset, tmp_path)
    task = by_name.kept(tmp_path / "lm-eval/arc_easy.jsonl", None)
    options: dict[str, Any] = {"context": 128, "limit": 2, "batch": 4}
    with pytest.raises(SpecError, match="unknown metric 'acc_nrm': did you mean 'acc_norm'"):
        by_name.score(model, reader, task, "acc_nrm", **options)
    found = {"arc_easy": {"acc,none": 7.5}}
    monkeypatch.setattr(by_name.evaluate, "results", lambda *_: found)
    with pytest.raises(MethodError, match=r"acc is 7\.5, no share between 0 and 1"):
        by_name.score(model, reader, task, None, **options)
    task.UNSAFE_CODE = True
    with pytest.raises(SpecError, match="runs code that the model wrote; leave it out"):
        by_name.score(model, reader, task, None, **options)


def test_examples_are_at_most_those_that_are_asked_for(dataset: Dataset, tmp_path: Path) -> None:
    by_name.fetch(dataset, tmp_path)
    file = tmp_path / "lm-eval/arc_easy.jsonl"
    assert by_name.kept(file, 5).config.num_fewshot == 0  # as many as the task has: none
    with by_name.opened(None, EXAMPLES / "lm-eval", "last_word", 0) as task:
        assert task.config.num_fewshot == 0


@pytest.mark.parametrize("name", ["arc_easie", "ai2_arc"])
def test_what_is_no_single_task_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        by_name.fetch(bam.lm_eval_tasks(name).datasets[0], tmp_path)
    wanted = {
        "arc_easie": "unknown task of lm-eval 'arc_easie': did you mean 'arc_easy'",
        "ai2_arc": "stands for several; name some of them: arc_challenge, arc_easy",
    }
    assert wanted[name] in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "{}", '{"task": 1}\n[]', "\x00"])
def test_a_file_that_holds_no_task_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(DataError, match="holds no task"):
        by_name.kept(tmp_path / "x.jsonl", None)


def test_a_folder_whose_data_are_gone_is_one_line(tmp_path: Path) -> None:
    for path in (EXAMPLES / "lm-eval").glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text())
    with (
        pytest.raises(DataError, match="last_word of lm-eval cannot be loaded"),
        by_name.opened(None, tmp_path, "last_word", 0),
    ):
        pass
