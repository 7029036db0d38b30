"""What ran, where, with what; and nothing that tells whose machine it was."""

import getpass
import importlib.metadata
import os
import platform
import re
import socket
import subprocess
import sys
import types
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness import provenance
from harness.provenance import Commit, capture, now


@pytest.fixture
def captured(monkeypatch):
    def take(*argv, device="cpu"):
        monkeypatch.setattr(sys, "argv", ["/opt/somewhere/bin/harness", *argv])
        commit = Commit("a" * 40, False)
        return capture("2025-01-01T00:00:00+00:00", commit, "b" * 64, device, 3)

    return take


def git(folder, *words):
    subprocess.run(
        ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e", *words],
        check=True, capture_output=True,
    )  # fmt: skip


def test_the_present_is_an_aware_time_in_utc():
    read = datetime.fromisoformat(now())
    assert read.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - read) < timedelta(seconds=5)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", now())


def test_every_field_is_sane(captured):
    found = captured("run", "gate")
    assert found.started == "2025-01-01T00:00:00+00:00"
    assert datetime.fromisoformat(found.finished) <= datetime.now(UTC)
    assert (found.commit, found.dirty, found.source_digest) == ("a" * 40, False, "b" * 64)
    assert found.python == platform.python_version()
    assert found.cores >= 1
    assert 2**26 < found.memory_bytes < 2**50
    assert found.threads == 3
    assert found.accelerator is None
    assert found.processor
    assert "\n" not in found.processor
    assert found.platform == f"{platform.system()} {platform.machine()}"


def test_nothing_tells_whose_machine_it_was(captured, monkeypatch, tmp_path):
    home = str(Path.home())
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    found = captured(
        "run", "gate", "--results", f"{tmp_path}/results", f"--data={home}/private/sets",
        "--reports", "/srv/*/reports", "../../up/one", "~/mine",
    )  # fmt: skip
    text = found.model_dump_json()
    assert str(tmp_path) not in text
    assert "hunter2" not in text
    assert "SECRET_TOKEN" not in text
    assert home == "/" or f"{home}/" not in text
    assert str(Path.cwd()) not in text
    assert sys.prefix not in text
    host, user = socket.gethostname(), getpass.getuser()
    assert not re.search(rf"\b{re.escape(host)}\b", text)
    assert not re.search(rf"\b{re.escape(user)}\b", text)
    assert not re.search(r'[" =](/|\.\.?/|~)', text)
    assert found.command == (
        "harness", "run", "gate", "--results", "results", "--data=sets", "--reports", "reports",
        "one", "mine",
    )  # fmt: skip


def test_what_is_no_path_stays_whole_in_the_command(captured):
    words = ("run", "--tasks", "self-*,deep-[xy]", "--scale=laptop", "--seeds", "0-4", "-j", "2")
    assert captured(*words).command == ("harness", *words)
    assert captured().command == ("harness",)


def test_only_the_variables_that_change_numbers_are_kept(captured, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    flags = captured().flags
    assert flags["PYTHONHASHSEED"] == "0"
    assert flags["OMP_NUM_THREADS"] == "2"
    assert "MKL_NUM_THREADS" not in flags
    assert set(flags) <= {
        "CUBLAS_WORKSPACE_CONFIG", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "PYTHONHASHSEED",
        "deterministic_algorithms", "threads_in_effect",
    }  # fmt: skip


def test_the_state_of_torch_is_kept_where_it_is_imported(captured, monkeypatch):
    torch = types.ModuleType("torch")
    torch.are_deterministic_algorithms_enabled = lambda: True
    torch.get_num_threads = lambda: 7
    torch.cuda = types.SimpleNamespace(get_device_name=lambda device: f"Card {device}")
    monkeypatch.setitem(sys.modules, "torch", torch)
    found = captured(device="cuda:1")
    assert found.flags["deterministic_algorithms"] == "True"
    assert found.flags["threads_in_effect"] == "7"
    assert found.accelerator == "Card cuda:1"
    assert captured(device="cpu").accelerator is None
    monkeypatch.delitem(sys.modules, "torch")
    found = captured(device="cpu")
    assert "deterministic_algorithms" not in found.flags
    assert "torch" not in found.packages


def test_versions_are_those_of_what_is_imported(captured, monkeypatch):
    import numpy as np

    assert captured().packages["numpy"] == np.__version__
    monkeypatch.delitem(sys.modules, "gymnasium", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn", types.ModuleType("sklearn"))
    packages = captured().packages
    assert "gymnasium" not in packages
    assert packages["scikit-learn"] == importlib.metadata.version("scikit-learn")


def test_a_module_without_a_distribution_has_no_version(captured, monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", types.ModuleType("mujoco"))

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert captured().packages == {}


@pytest.fixture
def processor():
    provenance.processor.cache_clear()
    yield provenance.processor
    provenance.processor.cache_clear()


def test_the_processor_is_named_on_every_system(processor, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda _: "vendor: x\nmodel name\t: Toy: 3 GHz \n")
    assert processor() == "Toy: 3 GHz"
    processor.cache_clear()
    monkeypatch.setattr(Path, "read_text", lambda _: "Processor: ARM\n")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert processor() == "arm64"
    processor.cache_clear()

    def absent(_):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    monkeypatch.setattr(platform, "processor", lambda: "toy")
    assert processor() == "toy"


def test_the_commit_and_whether_source_changed(tmp_path):
    git(tmp_path, "init", "-q")
    source = tmp_path / "train.py"
    source.write_text("x = 1\n")
    (tmp_path / "notes.txt").write_text("one")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    clean = Commit.read(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{40}", clean.commit)
    assert clean.dirty is False
    (tmp_path / "notes.txt").write_text("two")
    (tmp_path / "new.py").write_text("y = 1\n")
    assert Commit.read(tmp_path).dirty is False
    source.write_text("x = 2\n")
    changed = Commit.read(tmp_path)
    assert (changed.commit, changed.dirty) == (clean.commit, True)


def test_outside_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    found = Commit.read(tmp_path)
    assert (found.commit, found.dirty) == (None, None)


@pytest.mark.parametrize(
    "problem", [FileNotFoundError("git"), subprocess.TimeoutExpired("git", 20)]
)
def test_without_git_there_is_no_commit(tmp_path, monkeypatch, problem):
    def fail(*_, **__):
        raise problem

    monkeypatch.setattr(subprocess, "run", fail)
    found = Commit.read(tmp_path)
    assert (found.commit, found.dirty) == (None, None)


def test_records_of_this_process_name_this_process(captured):
    assert captured().cores == os.cpu_count()
