"""Files of a commit, read without touching the tree."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest

from harness.errors import UsageError
from harness.git import files_at

FILES = {
    "a.json": b"1\n",
    "deep/er/b.json": bytes(range(256)),
    "deep/[a]*.json": b"glob",
    "empty": b"",
    'odd \n\xe9 "n': b"x\n\ny",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A working tree of two commits, tagged one and two; `results` is gone in the second."""

    def git(*words: str) -> None:
        name = ["-c", "user.name=t", "-c", "user.email=t@t.t"]
        subprocess.run(["git", *name, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "-q")
    for name, data in FILES.items():
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "results/link").symlink_to("a.json")
    (tmp_path / "results-more").write_text("not of the folder")
    git("add", ".")
    git("commit", "-qm", "one")
    git("tag", "one")
    git("rm", "-rq", "results")
    git("commit", "-qm", "two")
    return tmp_path


def test_every_file_of_a_folder_as_it_was(tree: Path) -> None:
    found = files_at(tree / "results", "one")
    assert found.pop(PurePosixPath("link")) == b"a.json"
    assert found == {PurePosixPath(name): data for name, data in FILES.items()}
    below = files_at(tree / "x/../results/deep", "HEAD~1")
    assert set(below) == {PurePosixPath("er/b.json"), PurePosixPath("[a]*.json")}
    assert PurePosixPath("results/a.json") in files_at(tree, "one")
    assert set(tree.iterdir()) == {tree / ".git", tree / "results-more"}


def test_a_hook_leads_to_no_other_repository(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.chdir(tree)
    assert PurePosixPath("a.json") in files_at(Path("results"), "one")


@pytest.mark.parametrize("revision", ["three", "", "-h", "--all", "one:results", "a\nb", "a\0b"])
def test_what_is_no_commit_is_refused(tree: Path, revision: str) -> None:
    with pytest.raises(UsageError, match="git knows no such commit"):
        files_at(tree / "results", revision)


def test_an_empty_folder_and_one_outside_are_refused(
    tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(UsageError, match="there was nothing in"):
        files_at(tree / "results", "HEAD")
    with pytest.raises(UsageError, match="is in no git repository"):
        files_at(tmp_path_factory.mktemp("outside"), "HEAD")
