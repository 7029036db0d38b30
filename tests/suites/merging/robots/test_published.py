"""D4RL's files: fetched once, read before they count; nothing goes over a network here."""

import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from harness import registry
from harness.data import Sources
from harness.errors import DataError
from harness.inventory import prepare
from suites.merging.robots import published


def entry():
    return next(d for d in registry.load("merging").datasets if d.name == "d4rl")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """`server["content"]` is what every address has; `asked` the addresses."""
    path = tmp_path / "whole.hdf5"
    with h5py.File(path, "w") as file:
        file["observations"] = np.zeros((4, 11), np.float32)
        file["actions"] = np.zeros((4, 3), np.float32)
        file["rewards"] = np.ones(4, np.float32)
        file["terminals"] = np.array([False, True, False, True])
        file["timeouts"] = np.zeros(4, bool)
    state = {"content": path.read_bytes(), "asked": []}

    def get(address: str, target: Path) -> str:
        if not target.exists():
            state["asked"].append(address)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(state["content"])
        return "d" * 64

    monkeypatch.setattr(published.download, "get", get)
    return state


def test_all_files_of_the_paper_scale_are_fetched_once_and_found(server, tmp_path):
    (tmp_path / "local").mkdir()
    sources = Sources(tmp_path / "local", tmp_path / "cache" / "data")
    for _ in range(2):
        sources.fetch(entry())
    assert [a.rpartition("/")[2] for a in server["asked"]] == list(published.FILES)
    path = sources.file(entry(), "mujoco/d4rl/hopper_medium_expert-v2.hdf5")
    assert path.is_relative_to(sources.hub)  # though a folder of local data is given too


def test_what_holds_no_trajectories_does_not_stay(server, tmp_path):
    server["content"] = b"<html>"
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        published.fetch(entry(), tmp_path)
    assert list(tmp_path.rglob("*-v2.hdf5")) == []


def test_sets_of_minari_go_into_its_own_store_once(tmp_path, monkeypatch):
    there = {published.MINARI[0]: "here already"}
    library = SimpleNamespace(
        list_local_datasets=lambda: there, download_dataset=lambda name: there.update({name: "new"})
    )
    monkeypatch.setitem(sys.modules, "minari", library)
    (minari,) = (d for d in registry.load("merging").datasets if d.name == "minari")
    sources = Sources(None, tmp_path / "cache" / "data")
    for _ in range(2):
        sources.fetch(minari)
    assert list(there) == list(published.MINARI)
    assert there[published.MINARI[0]] == "here already"
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(DataError, match="pip install minari"):
        sources.fetch(minari)


def test_sets_that_no_trial_reads_are_fetched_by_name_alone(tmp_path):
    sources = Sources(None, tmp_path / "cache" / "data")
    said = " ".join(finding.line for finding in prepare(sources, ("merging",), "laptop"))
    assert "minari" not in said
