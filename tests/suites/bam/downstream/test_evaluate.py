"""Downstream scores against a plain loop over log-likelihoods; task files and data that are bad."""

import hashlib
import json
import math
import os
import shutil
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import PreTrainedTokenizerFast

from harness.errors import DataError, SpecError
from suites.bam.downstream import benchmarks, questions
from suites.bam.downstream import evaluate as downstream
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig

needs_data = pytest.mark.skipif("HARNESS_DATA" not in os.environ, reason="needs the data folder")


@pytest.fixture(scope="module")
def model() -> BamForCausalLM:
    config = BamConfig(
        vocab_size=257, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_ffn_experts=2, num_attention_experts=2, eos_token_id=256,
    )  # fmt: skip
    made = BamForCausalLM(config)
    made.reset_parameters(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(8)  # so that choices differ
    return made


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A copy of the task files."""
    return Path(shutil.copytree(benchmarks.TASKS, tmp_path / "tasks"))


def change(path: Path, **fields: Any) -> None:
    """Rewrites fields of a task file; those that are None go."""
    spec = yaml.safe_load(path.read_text()) | fields
    path.write_text(yaml.safe_dump({k: v for k, v in spec.items() if v is not None}))


@torch.no_grad()
def by_hand(model: BamForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: list[Any]) -> float:
    """Accuracy in %, one choice at a time, the sum of its tokens' log-probabilities."""
    model.eval()
    right = 0
    for row in rows:
        scores = []
        prompt = tokenizer(row["question"]).input_ids
        for choice in row["choices"]:
            answer = tokenizer(" " + choice).input_ids
            ids = torch.tensor([prompt + answer])
            log_TV = model(ids).logits[0].log_softmax(-1)
            places = range(len(prompt) - 1, ids.size(1) - 1)
            scores.append(sum(float(log_TV[p, ids[0, p + 1]]) for p in places))
        right += scores.index(max(scores)) == row["answer"]
    return 100 * right / len(rows)


def test_scores_are_those_of_a_plain_loop(
    model: BamForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    downstream.generate(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "generated.jsonl").read_text().splitlines()]
    expected = by_hand(model, tokenizer, rows)
    assert 0 < expected < 100
    scores = downstream.evaluate(model.train(), tokenizer, "generated", None, context=200)
    assert scores.accuracy == {"generated": pytest.approx(expected)}
    assert scores.chance == {"generated": 25.0}
    assert scores.standard_error["generated"] == pytest.approx(100 * math.sqrt(0.25 * 0.75 / 60))
    assert model.training  # as it was


def test_generated_questions_can_be_answered(tmp_path: Path) -> None:
    downstream.generate(tmp_path, 30)
    lines = (tmp_path / "generated.jsonl").read_text().splitlines()
    for row in map(json.loads, lines):
        shown = row["question"].partition(".")[0].split()
        twice = [word for word, count in Counter(shown).items() if count == 2]
        assert [row["choices"][row["answer"]]] == twice
    assert len(lines) == 30
    assert len({json.loads(line)["answer"] for line in lines}) == 4


def test_a_limit_takes_questions_evenly(
    model: BamForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    downstream.generate(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "generated.jsonl").read_text().splitlines()]
    scores = downstream.evaluate(model, tokenizer, "generated", tmp_path, context=200, limit=7)
    chosen = [rows[n * 60 // 7] for n in range(7)]
    assert scores.accuracy["generated"] == pytest.approx(by_hand(model, tokenizer, chosen))
    again = downstream.evaluate(
        model, tokenizer, "generated", tmp_path, context=200, limit=7, batch=2
    )
    assert again == scores


def test_metrics_of_a_group_are_means_and_standard_errors() -> None:
    scores = downstream.Scores(
        accuracy={"a": 30.0, "b": 70.0}, chance={"a": 25.0, "b": 50.0},
        standard_error={"a": 3.0, "b": 4.0}, bits={"a": 1.0, "b": 4.0},
    )  # fmt: skip
    assert scores.metrics() == {
        "accuracy": 50.0,
        "above-chance": pytest.approx(12.5 / 2.5),
        "answer-bits": 2.5,
        "accuracy-a": 30.0,
        "accuracy-b": 70.0,
    }


def test_nothing_asks_the_network(
    model: BamForCausalLM, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("somebody opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    downstream.evaluate(model, tokenizer, "generated", None, context=64, limit=2)


def test_code_is_not_run_unless_asked_for(
    model: BamForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match=r"humaneval runs code .* BAM_EXECUTE_CODE=1"):
        downstream.evaluate(model, tokenizer, "code", tmp_path, context=64)


def test_code_that_is_run_counts_where_it_passes(
    model: BamForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "lm"
    (folder / "task_humaneval").mkdir(parents=True)
    (folder / "task_mbpp").mkdir()
    human = [
        {"prompt": text, "entry_point": "f", "canonical_solution": "", "test": test}
        for text in ("def f(): return 1\n", "def f(): return 2\n")
        for test in ("def check(f): assert f() == 1",)
    ]
    monkeypatch.setattr(downstream, "read", lambda name, path: rows[path.parent.name])
    written: list[str] = []
    build = downstream.sandbox.humaneval
    monkeypatch.setattr(
        downstream.sandbox,
        "humaneval",
        # The prompts are whole functions: what an untrained model adds to them is left away.
        lambda row, answer: written.append(answer) or build(row, ""),
    )
    basic = [
        {"task_id": n, "text": "", "code": "", "test_setup_code": "", "test_list": ["assert 0"]}
        for n in (2, 3, 4, 11, 510, 511)
    ]
    rows = {"task_humaneval": human, "task_mbpp": basic}
    scores = downstream.evaluate(
        model, tokenizer, "code", tmp_path, context=64, shots=0, execute_code=True
    )
    assert [type(answer) for answer in written] == [str, str]
    assert scores.accuracy == {"humaneval": 50.0, "mbpp": 0.0}
    assert scores.standard_error["mbpp"] == pytest.approx(100 * math.sqrt(1 / 3 * 2 / 3 / 2))


@pytest.mark.parametrize("field", [*downstream.REQUIRED, "doc_to_choice"])
def test_a_task_file_that_misses_a_field_is_named(
    field: str, model: BamForCausalLM, tokenizer: PreTrainedTokenizerFast, tasks: Path
) -> None:
    change(tasks / "generated.yaml", **{field: None})
    with pytest.raises(DataError, match=rf"generated\.yaml misses the field '{field}'") as caught:
        downstream.evaluate(model, tokenizer, "generated", None, context=64, tasks=tasks)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset_kwargs": None}, "misses the field 'dataset_kwargs'"),
        ({"dataset_kwargs": {"data_files": {}}}, "names no file for its split 'test'"),
        ({"doc_to_text": "{{ hint }} {{ question }}"}, "row 1 misses the field 'hint'"),
        ({"doc_to_text": "{{ question"}, "doc_to_text: "),
        ({"doc_to_target": "solution"}, "row 1 misses the field 'solution'"),
        ({"dataset_kwargs": {"data_files": {"test": "no.jsonl"}}}, r"no\.jsonl not found"),
        ({"dataset_kwargs": {"data_files": {"test": "no*.jsonl"}}}, r"no file .*no\*\.jsonl"),
    ],
)
def test_a_bad_task_file_is_one_line(
    fields: dict[str, Any],
    message: str,
    model: BamForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    tasks: Path,
) -> None:
    change(tasks / "generated.yaml", **fields)
    with pytest.raises(DataError, match=message) as caught:
        downstream.evaluate(model, tokenizer, "generated", None, context=64, tasks=tasks)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no row"),
        (
            b'{"question": "a", "choices": ["b", "c"], "answer": 0}\n{"question":',
            ":2: not JSON, cut off",
        ),
        (b"[1]", ":1: a JSON list, not an object"),
        (b'{"question": "a", "choices": ["b", "c"]}', ":1: the field 'answer' is missing"),
        (b'{"question": "a", "choices": ["b"], "answer": 0}', ":1: choices of 1 texts is out of"),
        (b'{"question": "a", "choices": ["b", " "], "answer": 0}', ":1: an empty choice"),
        (b"\xff", r"\.jsonl:1: not UTF-8"),
    ],
)
def test_a_bad_data_file_is_one_line(
    content: bytes,
    message: str,
    model: BamForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
) -> None:
    (tmp_path / "generated.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        downstream.evaluate(model, tokenizer, "generated", tmp_path, context=64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("answer", [7, -1, "zebra", None, 1.5, True, ["b"]])
def test_an_answer_that_is_no_choice_is_refused_with_its_line(
    answer: Any, model: BamForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    rows = [{"question": "q", "choices": ["b", "c"], "answer": a} for a in (0, 1, answer)]
    (tmp_path / "generated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"generated\.jsonl:3: answer ") as caught:
        downstream.evaluate(model, tokenizer, "generated", tmp_path, context=64)
    assert "\n" not in str(caught.value)


def test_a_choice_is_counted_as_far_as_it_is_read(
    tokenizer: PreTrainedTokenizerFast, tasks: Path, tmp_path: Path
) -> None:
    """Where every token is as probable, choices of one byte a token tie by length."""
    config = BamConfig(
        vocab_size=257, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, eos_token_id=256,
    )  # fmt: skip
    flat = BamForCausalLM(config)
    with torch.no_grad():
        flat.lm_head.weight.zero_()
    change(
        tasks / "generated.yaml",
        target_delimiter="",
        metric_list=[{"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True}],
    )
    row = {"question": "which", "choices": ["a" * 10, "b" * 64, "c" * 11], "answer": 1}
    (tmp_path / "generated.jsonl").write_text(json.dumps(row) + "\n")
    for context in (32, 256):
        scores = downstream.evaluate(
            flat, tokenizer, "generated", tmp_path, context=context, tasks=tasks
        )
        assert scores.accuracy == {"generated": 0.0}  # a tie goes to the first


def test_special_tokens_in_a_question_are_text(
    model: BamForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    seen: list[list[int]] = []
    row = {"question": "one <end> two", "choices": ["<end>", "c"], "answer": 1}
    (tmp_path / "generated.jsonl").write_text(json.dumps(row) + "\n")
    forward = model.forward

    def watched(input_ids: torch.Tensor, **given: Any) -> Any:
        seen.extend(input_ids.tolist())
        return forward(input_ids, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "forward", watched)
        downstream.evaluate(model, tokenizer, "generated", tmp_path, context=64)
    assert seen
    assert not any(256 in ids for ids in seen)
    assert tokenizer.encode("<end>") == [256]  # as it was before


def test_a_file_that_no_digest_is_known_of_is_not_read(
    model: BamForCausalLM, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    path = tmp_path / "lm/task_mmlu/test/stray_test.csv"
    path.parent.mkdir(parents=True)
    path.write_text("Which?,1,2,3,4,A\n")
    with pytest.raises(DataError, match=r"stray_test\.csv is no file of mmlu; remove it$"):
        downstream.evaluate(model, tokenizer, "mmlu", tmp_path, context=64)


def test_a_task_file_that_is_no_yaml_is_one_line(
    model: BamForCausalLM, tokenizer: PreTrainedTokenizerFast, tasks: Path
) -> None:
    (tasks / "generated.yaml").write_text("task: [\n!!python/object/apply:os.system ['true']")
    with pytest.raises(DataError, match="cannot be read") as caught:
        downstream.evaluate(model, tokenizer, "generated", None, context=64, tasks=tasks)
    assert "\n" not in str(caught.value)


def test_light_data_agree_with_each_other() -> None:
    names = [b.name for b in benchmarks.BENCHMARKS]
    assert len(set(names)) == len(names)
    assert sorted(n for group in benchmarks.GROUPS.values() for n in group) == sorted(names)
    assert {p.stem for p in benchmarks.TASKS.glob("*.yaml")} == set(names)
    assert benchmarks.chance("law") == pytest.approx((50 + 50.1 + 54.7 + 50.5 + 58) / 5)
    known = {d.name for d in benchmarks.datasets()}
    metrics = {m.name for m in benchmarks.metrics()}
    for task in benchmarks.tasks():
        assert set(task.datasets) <= known
        assert set(task.reports) <= metrics
        assert task.fallback == (not task.datasets)
    for name in names:
        spec = yaml.safe_load((benchmarks.TASKS / f"{name}.yaml").read_text())
        assert spec["task"] == name
        assert spec.get("unsafe_code", False) == benchmarks.named(name).executes


@pytest.mark.data
@needs_data
def test_data_are_those_of_the_checksums_and_as_many_questions() -> None:
    folder = Path(os.environ["HARNESS_DATA"])
    for dataset in benchmarks.datasets():
        assert dataset.files
        for path, digest in dataset.files.items():
            assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest
    for name in benchmarks.CHANCE:
        if name != "generated":
            rows = _questions(folder, name)
            assert len(rows) == benchmarks.named(name).questions, name


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("name", [n for n, at in benchmarks.CHANCE.items() if at > 0][:-1])
def test_levels_of_chance_are_those_of_the_data(name: str) -> None:
    rows = _questions(Path(os.environ["HARNESS_DATA"]), name)
    key = "solutions" if name == "mbpp-choice" else "choices"
    if key in rows[0]:
        chance = sum(1 / len(row[key]) for row in rows) / len(rows)
    else:
        chance = max(Counter(row["answer"] for row in rows).values()) / len(rows)
    assert benchmarks.CHANCE[name] == pytest.approx(100 * chance, abs=0.051)


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("group", [g for g in benchmarks.GROUPS if g != "generated"])
def test_every_group_runs_on_the_data_with_its_examples(
    group: str, model: BamForCausalLM, tokenizer: PreTrainedTokenizerFast
) -> None:
    folder = Path(os.environ["HARNESS_DATA"])
    limit = 57 if group == "mmlu" else 3
    scores = downstream.evaluate(
        model, tokenizer, group, folder, context=64, limit=limit, execute_code=True
    )
    assert tuple(scores.accuracy) == benchmarks.GROUPS[group]
    assert all(0 <= value <= 100 for value in scores.accuracy.values())


def _questions(folder: Path, name: str) -> list[dict[str, Any]]:
    spec = yaml.safe_load((benchmarks.TASKS / f"{name}.yaml").read_text())
    pattern = spec["dataset_kwargs"]["data_files"]["test"]
    rows = [r for path in sorted(folder.glob(pattern)) for r in questions.read(name, path)]
    return questions.of_split(name, rows, "test")
