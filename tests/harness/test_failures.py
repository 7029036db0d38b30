"""What went wrong, from an exception: its status, its line, the place in the user's own code."""

import errno
from pathlib import Path
from typing import Any

import pytest

from harness import failures
from harness.errors import StoreError


def caught(function: Any, *arguments: Any) -> BaseException:
    """What calling a function raises."""
    try:
        function(*arguments)
    except BaseException as problem:
        return problem
    raise AssertionError("nothing raised")


def test_out_of_memory_is_a_type_and_no_word() -> None:
    import numpy as np
    import torch

    too_much = caught(np.ones, 2**58)
    assert isinstance(too_much, MemoryError)
    for problem in (too_much, MemoryError(), torch.OutOfMemoryError("CUDA"), OSError(12, "fork")):
        assert failures.classify(problem)[0] == "oom"
    for text in ("CUDA out of memory", "can't allocate memory", "oom", "MemoryError"):
        assert failures.classify(RuntimeError(text)) == ("failed", f"RuntimeError: {text}")


def test_an_exception_whose_message_fails_has_a_line_too() -> None:
    class Bad(Exception):
        """Cannot be read."""

        def __str__(self) -> str:
            raise RuntimeError("no")

    assert failures.classify(Bad()) == ("failed", "Bad: (its message cannot be read)")


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("no file '/home/me/set/a.txt'", "no file 'a.txt'"),
        ("/home/me/a b", "a b"),
        ("3/4 and and/or https://x.org/a/b", "3/4 and and/or https://x.org/a/b"),
        ("loss is inf at step 7", "loss is inf at step 7"),
    ],
)
def test_a_record_names_no_folders(line: str, kept: str) -> None:
    assert failures.without_folders(line) == kept


def test_the_place_is_the_last_line_of_ones_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "method.py").write_text(
        "import json\ndef run(text):\n    json.loads(text)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from my.method import run  # type: ignore[import-not-found]

    problem = caught(run, "{")
    assert failures.place(problem, run) == " (my/method.py:3)"
    monkeypatch.chdir(tmp_path / "my")
    assert failures.place(problem, run) == " (method.py:3)"
    assert failures.place(ValueError("never raised"), run) == ""


def test_a_method_of_an_installed_package_has_a_place_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "their_suite.py").write_text("def run():\n    raise ValueError\n")
    monkeypatch.syspath_prepend(folder)
    from their_suite import run  # type: ignore[import-not-found]

    assert failures.place(caught(run), run) == " (their_suite.py:2)"


def test_a_full_disk_is_seen_through_what_was_raised_of_it() -> None:
    def save(number: int) -> None:
        try:
            raise OSError(number, "x")
        except OSError:
            raise StoreError("cannot write") from None

    assert failures.unwritable(caught(save, errno.ENOSPC))
    assert not failures.unwritable(caught(save, errno.EFBIG))
    assert not failures.unwritable(None)
