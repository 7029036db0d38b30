"""Waiting times, from the environment."""

import pytest

from harness.errors import UsageError
from harness.patience import Patience


def test_each_time_has_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Patience._fields:
        monkeypatch.delenv(f"HARNESS_{name.upper()}_SECONDS", raising=False)
    assert Patience.read() == (20, 60, 5, 120, 3600)
    monkeypatch.setenv("HARNESS_GRACE_SECONDS", "0.5")
    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", "0")
    monkeypatch.setenv("HARNESS_EXIT_SECONDS", "")
    assert Patience.read() == (0, 0.5, 5, 120, 3600)


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_what_is_no_time_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HARNESS_EXIT_SECONDS", text)
    with pytest.raises(UsageError, match=f"^HARNESS_EXIT_SECONDS is '{text}'; give seconds"):
        Patience.read()
