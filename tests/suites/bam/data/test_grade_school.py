"""GSM8K as its repository has it, against the files of the data folder."""

from pathlib import Path

import pytest

from harness import registry
from harness.store import file_digest
from harness.suite import Dataset
from suites.bam.data import grade_school


def dataset(name: str) -> Dataset:
    return next(d for d in registry.load("bam").datasets if d.name == name)


@pytest.fixture
def published(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the repository: its test split, and the first problems of its training split."""
    there = data_folder / "lm" / "task_gsm8k"

    def get(address: str, target: Path, sha256: str | None = None) -> None:
        assert grade_school.COMMIT in address
        name = "test.jsonl" if address.endswith("test.jsonl") else "fewshot_train8.jsonl"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((there / name).read_bytes())

    monkeypatch.setattr(grade_school.download, "get", get)
    return data_folder


def test_the_benchmark_is_what_was_published(published: Path, tmp_path: Path) -> None:
    wanted = dataset("gsm8k")
    grade_school.fetch(wanted, tmp_path)
    assert {file: file_digest(tmp_path / file) for file in wanted.files} == wanted.files


def test_the_text_begins_as_the_suites_does(published: Path, tmp_path: Path) -> None:
    (file,) = dataset("gsm8k-train").files
    grade_school.fetch(dataset("gsm8k-train"), tmp_path)
    made = (tmp_path / file).read_text().splitlines()
    with (published / file).open() as lines:
        assert made == [next(lines).rstrip("\n") for _ in range(grade_school.EXAMPLES)]


def test_benchmarks_that_are_published_as_they_are_have_addresses() -> None:
    found = {d.name: d for d in registry.load("bam").datasets if d.urls}
    assert set(found) == {"humaneval", "mbpp", "nq-open", "mmlu"}
    assert len(found["mmlu"].urls) == 114
    for entry in found.values():
        assert all(entry.files.values())
        for file, address in entry.urls.items():
            assert address.rpartition("/")[2] == file.rpartition("/")[2]
