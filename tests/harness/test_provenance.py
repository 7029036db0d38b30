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
        "deterministic_algorithms", "threads_in_effect", "instruction_set",
    }  # fmt: skip


def test_the_state_of_torch_is_kept_where_it_is_imported(captured, monkeypatch):
    torch = types.ModuleType("torch")
    torch.are_deterministic_algorithms_enabled = lambda: True
    torch.get_num_threads = lambda: 7
    capability = types.SimpleNamespace(get_cpu_capability=lambda: "AVX1024")
    torch.backends = types.SimpleNamespace(cpu=capability)
    torch.cuda = types.SimpleNamespace(get_device_name=lambda device: f"Card {device}")
    monkeypatch.setitem(sys.modules, "torch", torch)
    found = captured(device="cuda:1")
    assert found.flags["deterministic_algorithms"] == "True"
    assert found.flags["threads_in_effect"] == "7"
    assert found.flags["instruction_set"] == "AVX1024"
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


@pytest.fixture
def declared(monkeypatch):
    """`declared(**packages)`: what is installed, each with its modules, and all of it required."""

    class Entry:
        group, module = "harness.suites", "toy_suite.build"

    def put(broken=(), **packages):
        class Distribution:
            def __init__(self, name):
                if name in broken:
                    raise UnicodeDecodeError("utf-8", b"", 0, 1, "Latin-1")
                if name not in packages:
                    raise importlib.metadata.PackageNotFoundError(name)
                self.name, self.version, self.files = name, "1.2", ()
                self.requires = [f"{n}>=1; extra == 'x'" for n in (*packages, *broken, "absent")]

            def read_text(self, _):
                return "\n".join(packages[self.name])

        entry = Entry()
        entry.dist = Distribution(next(iter(packages)))
        given = {"harness.suites": [entry], "console_scripts": []}
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: given[group])
        monkeypatch.setattr(importlib.metadata, "distribution", Distribution)
        provenance._declared.cache_clear()
        for modules in packages.values():
            for module in modules:
                monkeypatch.setitem(sys.modules, module, types.ModuleType(module))

    yield put
    monkeypatch.undo()
    provenance._declared.cache_clear()


def test_packages_of_suites_from_elsewhere_are_named_too(captured, declared, monkeypatch):
    declared(**{"toy-suite": ["toy_suite"], "physics": ["engine_of_physics"], "idle": ["idle"]})
    monkeypatch.delitem(sys.modules, "idle")
    assert captured().packages == {"physics": "1.2", "toy-suite": "1.2"}


def test_a_package_with_corrupt_metadata_has_no_version_and_harms_no_other(captured, declared):
    declared(broken=("latin",), **{"toy-suite": ["toy_suite"]})
    assert captured().packages == {"toy-suite": "1.2"}


def test_records_stay_small_and_in_order(captured):
    packages = list(captured().packages)
    assert packages == sorted(packages)
    assert len(provenance._declared()) < 60
    assert "attention-harness" in packages


def test_contents_stand_among_the_packages(monkeypatch):
    given = {"robots": "1.0 sha256:" + "c" * 64}
    found = capture("2025-01-01T00:00:00+00:00", Commit(None, None), "", "cpu", 1, given)
    assert found.packages["robots"] == given["robots"]
    assert list(found.packages) == sorted(found.packages)


@pytest.fixture
def processor():
    provenance.processor.cache_clear()
    yield provenance.processor
    provenance.processor.cache_clear()


def test_the_processor_is_named_on_every_system(processor, monkeypatch):
    first = "vendor: x\ncpu family : 25\nmodel\t\t: 17\nmodel name\t: Toy: 3 GHz \nstepping: 1\n"
    second = "\nvendor: y\nmodel: 1\nmodel name: Other\n"
    monkeypatch.setattr(Path, "read_text", lambda _: first + second)
    assert processor() == "Toy: 3 GHz, family 25, model 17, stepping 1"
    processor.cache_clear()
    monkeypatch.setattr(Path, "read_text", lambda _: "model name\t: Toy: 3 GHz \n")
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
    source.write_text("x = 2\n")
    changed = Commit.read(tmp_path)
    assert (changed.commit, changed.dirty) == (clean.commit, True)


@pytest.fixture
def trees(tmp_path):
    """A repository with two packages, one of them to be ignored by git, all committed."""
    files = {
        "engine/run.py": "a", "engine/templates/page.html": "a", "suites/one/train.py": "a",
        "suites/one/tasks.yaml": "a", "suites/one/policy.safetensors": "a", "README.md": "a",
        "suites/one/table.csv": "a", ".gitignore": "__pycache__/\nhome/\n",
    }  # fmt: skip
    root = tmp_path / "repository"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    assert Commit.read(root / "suites", root / "engine").dirty is False
    return root


@pytest.mark.parametrize(
    "name",
    [
        "engine/run.py", "engine/templates/page.html", "suites/one/train.py",
        "suites/one/tasks.yaml", "suites/one/policy.safetensors", "suites/one/table.csv",
        "suites/one/new.py", "suites/two/new.yaml", "engine/new/deep.py", "suites/one/new file é",
    ],
)  # fmt: skip
@pytest.mark.parametrize("staged", [False, True])
def test_every_file_of_a_tree_counts_told_of_or_not(trees, name, staged, monkeypatch):
    (trees / name).parent.mkdir(parents=True, exist_ok=True)
    (trees / name).write_text("b")
    git(trees, "config", "status.showUntrackedFiles", "no")
    if staged:
        git(trees, "add", ".")
    assert Commit.read(trees / "suites", trees / "engine").dirty is True


@pytest.mark.parametrize("how", ["deleted", "removed", "renamed", "mode", "link"])
def test_a_file_that_is_gone_or_another_counts(trees, how):
    path = trees / "suites/one/train.py"
    if how == "removed":
        git(trees, "rm", "-q", "suites/one/train.py")
    elif how == "renamed":
        path.rename(path.with_name("other.py"))
    elif how == "mode":
        path.chmod(0o755)
    else:
        path.unlink()
    if how == "link":
        path.symlink_to("tasks.yaml")
    assert Commit.read(trees / "suites", trees / "engine").dirty is True


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_a_file_that_git_was_told_not_to_look_at_counts(trees, flag):
    git(trees, "update-index", flag, "suites/one/train.py")
    assert Commit.read(trees / "suites").dirty is True


@pytest.mark.parametrize("name", ["README.md", "docs/new.md", "suites/one/__pycache__/x.pyc"])
def test_what_lies_outside_or_is_ignored_does_not_count(trees, name):
    (trees / name).parent.mkdir(parents=True, exist_ok=True)
    (trees / name).write_text("b")
    assert Commit.read(trees / "suites", trees / "engine").dirty is False


def test_a_suite_from_another_repository_gives_its_own_commit(trees, tmp_path):
    other = tmp_path / "other"
    (other / "package").mkdir(parents=True)
    (other / "package" / "train.py").write_text("a")
    git(other, "init", "-q")
    git(other, "add", ".")
    git(other, "commit", "-q", "-m", "other")
    alone = Commit.read(other / "package")
    both = Commit.read(other / "package", trees / "engine")
    assert (both.commit, both.dirty) == (alone.commit, False)
    assert both.commit != Commit.read(trees / "engine").commit
    (trees / "engine" / "run.py").write_text("b")
    assert Commit.read(other / "package", trees / "engine").dirty is True
    git(trees, "checkout", "-q", ".")
    (other / "package" / "train.py").write_text("b")
    assert Commit.read(other / "package", trees / "engine").dirty is True


def test_a_suite_in_no_repository_has_no_commit_and_spoils_no_other(trees, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    bare, inside = tmp_path / "bare", trees / "home" / "package"  # an environment in a checkout
    for folder in (bare, inside):
        folder.mkdir(parents=True)
        (folder / "train.py").write_text("a")
        found = Commit.read(folder, trees / "engine")
        assert (found.commit, found.dirty) == (None, None)
        found = Commit.read(trees / "suites", folder)
        assert (len(found.commit), found.dirty) == (40, None)


def test_a_module_without_a_package_is_judged_alone(trees):
    (trees / "single.py").write_text("a")
    (trees / "beside.py").write_text("a")
    assert Commit.read(trees / "single.py").dirty is True
    git(trees, "add", "single.py")
    git(trees, "commit", "-q", "-m", "single")
    assert Commit.read(trees / "single.py").dirty is False


def test_the_variables_of_a_hook_do_not_lead_elsewhere(trees, tmp_path, monkeypatch):
    git(tmp_path, "init", "-q", "decoy")
    before = Commit.read(trees / "suites").commit
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "decoy" / ".git"))
    assert Commit.read(trees / "suites").commit == before


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
