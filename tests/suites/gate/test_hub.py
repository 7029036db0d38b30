"""Fetching, against a downloader that never goes online."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch_geometric.data

from harness import registry
from harness.errors import DataError
from harness.suite import Dataset
from suites.gate import graphs, hub


def entry(name: str) -> Dataset:
    return next(d for d in registry.load("gate").datasets if d.name == name)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A downloader that hands out a small arxiv.zip; the list holds what was asked for."""
    asked: list[str] = []

    def download(url: str, folder: str, log: bool = True) -> str:
        asked.append(url)
        path = Path(folder) / "arxiv.zip"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("arxiv/raw/edge.csv.gz", "x")
            file.writestr("arxiv/split/time/train.csv.gz", "x")
        return str(path)

    monkeypatch.setattr(torch_geometric.data, "download_url", download)
    return asked


def test_ogbn_arxiv_is_unpacked_read_and_then_put_in_place(
    archive: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Any] = []
    monkeypatch.setattr(graphs, "read_ogbn_arxiv", lambda folder: read.append(Path(folder).name))
    (tmp_path / "graphs/ogbn_arxiv/split").mkdir(parents=True)  # a part of it, of no use
    facts = hub.fetch(entry("ogbn-arxiv"), tmp_path)
    assert archive == [facts["archive"]] == [hub.OGBN_ARXIV]
    assert len(str(facts["sha256 of the archive"])) == 64
    assert read == ["arxiv"]
    assert (tmp_path / "graphs/ogbn_arxiv/raw/edge.csv.gz").read_text() == "x"
    assert [p.name for p in (tmp_path / "graphs").iterdir()] == ["ogbn_arxiv"]


def test_a_damaged_archive_leaves_nothing(archive: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ogbn-arxiv"):
        hub.fetch(entry("ogbn-arxiv"), tmp_path)
    assert list((tmp_path / "graphs").iterdir()) == []


def test_offline_is_one_line_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> str:
        raise OSError("no route\nto host")

    monkeypatch.setattr(torch_geometric.data, "download_url", offline)
    with pytest.raises(DataError, match=r"no route\); go online, or unpack it") as caught:
        hub.fetch(entry("ogbn-arxiv"), tmp_path)
    assert "\n" not in str(caught.value)


def test_other_graphs_come_through_their_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Path]] = []
    monkeypatch.setattr(graphs, "fetch", lambda name, folder: asked.append((name, folder)))
    facts = hub.fetch(entry("questions"), tmp_path)
    assert asked == [("questions", tmp_path)]
    assert facts["revision"] == graphs.YANDEX_COMMIT
