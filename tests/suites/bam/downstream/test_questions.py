"""Questions that are read for their use, and choices that are cut to what is scored."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from harness.errors import DataError
from suites.bam.data import tokens
from suites.bam.downstream import benchmarks, questions


def letters() -> PreTrainedTokenizerFast:
    known = {letter: n for n, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    plain = Tokenizer(models.BPE(vocab=known, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=plain)


def test_choices_of_code_hold_the_own_solution_at_its_place() -> None:
    rows = [{"task_id": n, "text": f"task {n}", "code": f"code {n}\r\nend"} for n in range(1, 600)]
    made = questions.of_split("mbpp-choice", rows, "test")
    assert len(made) == 500
    for number, row in enumerate(made):
        assert row["solutions"][row["place"]] == f"code {11 + number}\nend"
        assert len(set(row["solutions"])) == 4
    assert Counter(row["place"] for row in made) == dict.fromkeys(range(4), 125)


def test_solutions_end_where_it_is_said() -> None:
    rows = [{"task_id": n, "text": "t", "code": "x" * n} for n in range(11, 511)]
    made = questions.of_split("mbpp-choice", rows, "test")
    assert max(len(s) for row in made for s in row["solutions"]) == questions.SOLUTION == 150


@given(st.lists(st.text(max_size=40), min_size=1, max_size=4), st.integers(1, 20))
@settings(deadline=None)
def test_a_choice_keeps_its_longest_beginning_that_fits(choices: list[str], limit: int) -> None:
    # one token a byte: the oracle counts bytes
    for choice, cut in zip(
        choices, questions.shortened(choices, letters(), " ", limit), strict=True
    ):
        if len(choice.encode()) + 1 <= limit:
            assert cut == choice
            continue
        assert choice.startswith(cut)
        assert len(cut) == 1 or len(cut.encode()) + 1 <= limit
        assert len(choice[: len(cut) + 1].encode()) + 1 > limit


@pytest.mark.parametrize(
    ("question", "right"),
    [
        ("Ann saw Bob so _ left.", True),
        ("_ ate the apple.", True),
        ("Ann ate the apple.", False),
        ("Ann saw _ and _ left.", False),
        ("The apple was eaten by _", False),
        ("Ann counted to _ 42", False),
    ],
)
def test_winogrande_has_one_blank_and_words_after_it(
    question: str, right: bool, tmp_path: Path
) -> None:
    path = tmp_path / "validation.jsonl"
    path.write_text(json.dumps({"question": question, "choices": ["Ann", "Bob"], "answer": 1}))
    if right:
        assert questions.read("winogrande", path)[0]["question"] == question
        return
    with pytest.raises(DataError, match=r"validation\.jsonl:1: the question .* one _ and text"):
        questions.read("winogrande", path)


def test_a_question_that_lm_eval_would_take_for_a_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps({"question": "42", "choices": ["a", "b"], "answer": 1}))
    with pytest.raises(DataError, match=r"test\.jsonl:1: the question '42' is a number alone"):
        questions.read("openbookqa", path)


@given(st.sampled_from(sorted(questions.SCHEMAS)), st.binary(max_size=200), st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_questions_or_one_line(
    tmp_path: Path, name: str, data: bytes, draw: st.DataObject
) -> None:
    words = st.one_of(st.text(max_size=5), st.integers(-2, 5), st.none(), st.lists(st.text()))
    row = {field.name: draw.draw(words) for field in questions.SCHEMAS[name].fields}
    path = tmp_path / ("x.csv" if name == "mmlu" else "x.jsonl")
    for content in (data, json.dumps(row).encode(), json.dumps(row).encode() + b"\n" + data):
        path.write_bytes(content)
        try:
            found = questions.read(name, path)
        except DataError as error:
            message = str(error)
            found = []
            assert message.startswith(str(path))
            assert "\n" not in message
        for question in found:
            if "choices" in question:
                assert 0 <= question["answer"] < len(question["choices"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("In 1990, who won?,a,b,c,d,A", ":2: 7 cells, 6 wanted"),
        ("who won?,a,b,c,A", ":2: 5 cells, 6 wanted"),
        ("who won?,a,b,c,d,E", ":2: answer 'E' is unknown, allowed: A, B, C, D"),
        ('"who won?,a,b,c,d,A', ":2: not CSV"),
    ],
)
def test_damage_to_a_table_never_shifts_columns(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x_test.csv"
    path.write_text(f"NA,007,1e5,None,,b\n{line}\n")
    good = tmp_path / "y_test.csv"
    good.write_text("NA,007,1e5,None,,b\n")
    values: list[Any] = list(questions.read("mmlu", good)[0].values())
    assert values == ["NA", "007", "1e5", "None", "", "B"]
    with pytest.raises(DataError, match=message):
        questions.read("mmlu", path)


@pytest.mark.data
@pytest.mark.skipif("HARNESS_DATA" not in os.environ, reason="needs the data folder")
@pytest.mark.parametrize("name", [b.name for b in benchmarks.BENCHMARKS if b.folder])
def test_choices_that_are_cut_fit_behind_their_prompt(name: str) -> None:
    """Cut alone, a choice is not longer when it is encoded with what stands before it."""
    spec = yaml.safe_load((benchmarks.TASKS / f"{name}.yaml").read_text())
    folder = Path(os.environ["HARNESS_DATA"])
    pattern = spec["dataset_kwargs"]["data_files"]["test"]
    found = [q for path in sorted(folder.glob(pattern)) for q in questions.read(name, path)]
    found = questions.thinned(questions.of_split(name, found, "test"), 300)
    field, delimiter = spec.get("doc_to_choice"), spec.get("target_delimiter", " ")
    if not isinstance(field, str) or field not in found[0]:
        return
    texts = [" ".join(map(str, row.values())) for row in found]
    tokenizer = tokens.train(iter(texts), 600)
    before = {" ": "\nAnswer:", "": "# text\n"}[delimiter]
    known = len(tokenizer.encode(before))
    for row in found:
        for choice in questions.shortened(row[field], tokenizer, delimiter, 16):
            assert len(tokenizer.encode(before + delimiter + choice)) - known <= 16
