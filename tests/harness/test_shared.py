"""What a shared folder must be able to do: found to hold here, and found out where it does not."""

import errno
import fcntl
import os
import shutil
from pathlib import Path
from typing import Any

from harness import shared


def faults(folder: Path) -> list[tuple[str, bool]]:
    return [(f.what.split()[1], f.fatal) for f in shared.probe(folder) if f.fault]


def test_this_machine_s_own_disk_will_do(tmp_path: Path) -> None:
    assert len(list(shared.probe(tmp_path / "new"))) == 6
    assert faults(tmp_path / "new") == []
    assert list((tmp_path / "new").iterdir()) == []


def test_a_rename_that_copies_is_found_out(tmp_path: Path, monkeypatch: Any) -> None:
    def rename(self: Path, target: Path) -> None:
        if self.is_dir():
            shutil.copytree(self, target, dirs_exist_ok=True)
        else:
            shutil.copy(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    found = list(shared.probe(tmp_path))
    assert [bool(f.fault) for f in found] == [False, True, True, True, False, False]
    assert found[1].fault == "4 of 4 that tried at once succeeded"


def test_a_replace_in_two_steps_is_found_out(tmp_path: Path, monkeypatch: Any) -> None:
    def replace(self: Path, target: Path) -> None:
        target.unlink(missing_ok=True)
        os.rename(self, target)  # noqa: PTH104

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(shared, "_ROUNDS", 2000)
    assert shared._replaced(tmp_path / "file") == "a reader saw none for a moment"


def test_a_file_system_without_flock_is_told_and_will_do(tmp_path: Path, monkeypatch: Any) -> None:
    def flock(_handle: int, _what: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert faults(tmp_path) == [("keeps", False)]


def test_machines_see_each_other(tmp_path: Path, monkeypatch: Any) -> None:
    assert shared.others(tmp_path) == []
    monkeypatch.setattr(shared.platform, "node", lambda: "second")
    first = os.uname().nodename
    assert shared.others(tmp_path) == [first]
    os.utime(tmp_path / shared._SIGNS / first, (0, 0))
    assert shared.others(tmp_path) == []
