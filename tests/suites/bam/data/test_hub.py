"""What is fetched reads back as documents; nothing goes over a network here."""

import json
import lzma
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from harness import plan, registry
from harness.data import Sources
from harness.errors import DataError
from harness.suite import Dataset
from suites.bam.data import corpora, hub
from suites.bam.data.datasets import DOMAINS, PUBLIC

REVISION = "c0ffee" * 6 + "cafe"


@pytest.fixture(autouse=True)
def newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's newest commit of everything."""
    monkeypatch.setattr(hub, "newest", lambda repository, dataset: REVISION)


def dataset(name: str) -> Dataset:
    return next(d for d in registry.load("bam").datasets if d.name == name)


def test_files_of_a_repository_are_streamed_as_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the library itself, whose files lie here in place of the hub."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    there = tmp_path / "there"
    there.mkdir()
    for n in range(2):
        lines = (json.dumps({"text": f"case {n}.{k}", "url": "x"}) for k in range(3))
        packed = lzma.compress("\n".join(lines).encode())
        (there / f"train.opinions.{n}.jsonl.xz").write_bytes(packed)
    name = "pile-of-law-opinions"
    here = hub.ROWS[name]._replace(options={"data_files": f"{there}/train.opinions.*.jsonl.xz"})
    monkeypatch.setattr(hub, "ROWS", {**hub.ROWS, name: here})
    hub.fetch(dataset(name), tmp_path)
    (file,) = dataset(name).files
    found = list(corpora.parse(tmp_path / file))
    assert [d.text for d in found] == [f"case {n}.{k}" for n in range(2) for k in range(3)]
    assert found[4].id == f"{name}/4"
    assert not list(tmp_path.rglob(".download-*"))
    assert {d.text for d in corpora.read("law", {name: tmp_path})} == {d.text for d in found}


def test_only_the_first_documents_are_taken_and_columns_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def load_dataset(repository: str, **options: Any) -> Any:
        asked.append((repository, options))
        row = {"question": "How many?", "answer": "6 * 2 = <<6*2=12>>12\n#### 12"}
        return (row for _ in range(10_000))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    facts = hub.fetch(dataset("gsm8k-hub"), tmp_path)
    assert facts == {"repository": "openai/gsm8k", "revision": REVISION}
    options = {"split": "train", "streaming": True, "name": "main", "revision": REVISION}
    assert asked == [("openai/gsm8k", options)]
    found = list(corpora.parse(tmp_path / next(iter(dataset("gsm8k-hub").files))))
    assert len(found) == 7473
    assert found[0].text == "Question: How many?\nAnswer: 6 * 2 = 12\n#### 12"


def test_a_second_download_is_of_the_first_ones_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def load_dataset(repository: str, **options: Any) -> Any:
        asked.append(options.get("revision") or options["data_files"])
        return iter([{"text": "one"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for name in ("common-crawl", "pile-of-law-contracts"):
        sources = Sources(None, tmp_path / "data")
        sources.fetch(dataset(name))
        (file,) = dataset(name).files
        (sources.hub / file).unlink()
        monkeypatch.setattr(hub, "newest", lambda *_: "f" * 40)
        sources.fetch(dataset(name))
        monkeypatch.setattr(hub, "newest", lambda *_: REVISION)
    place = (
        f"hf://datasets/pile-of-law/pile-of-law@{REVISION}/data/train.atticus_contracts.*.jsonl.xz"
    )
    assert asked == [REVISION, REVISION, place, place]


def test_a_broken_stream_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> Any:
        yield {"text": "one"}
        raise ConnectionError("gone")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ConnectionError):
        hub.fetch(dataset("common-crawl"), tmp_path)
    assert not (tmp_path / next(iter(dataset("common-crawl").files))).exists()
    assert not list(tmp_path.rglob(".download-*"))


def test_a_missing_package_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"^common-crawl: package datasets is not installed; run"):
        hub.fetch(dataset("common-crawl"), tmp_path)


def test_sets_that_the_hub_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fcla: not on the hub"):
        hub.fetch(dataset("fcla"), tmp_path)


def test_every_public_set_has_its_rows_and_every_domain_a_set() -> None:
    assert set(hub.ROWS) == {text.name for text in PUBLIC}
    assert {text.domain for text in PUBLIC} == set(DOMAINS)


def test_the_paper_scale_reads_public_sets_alone() -> None:
    bam = registry.load("bam")
    trials, nodes = plan.trials(bam, bam.scale("paper"))
    texts = {name for node in nodes.values() for name in node.spec["data"]}
    assert texts == {text.name for text in PUBLIC}
    claimed = {t for c in bam.claims if c.name == "bam-law" for t in c.tasks}
    assert claimed & {trial.task.name for trial in trials} == {"law-public"}
