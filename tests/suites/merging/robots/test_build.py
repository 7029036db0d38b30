"""Building the shipped policies: what the command line says."""

from pathlib import Path

import pytest

from suites.merging.robots import build


def test_the_command_line_tells_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = build.main(["--data", str(tmp_path), "--only", "hopper-expert"])
    err = capsys.readouterr().err
    assert code == 1
    assert err.count("\n") == 1
    assert "berkeley-cs294-experts/Hopper.npz" in err
