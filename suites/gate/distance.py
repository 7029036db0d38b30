"""How long graphs are trained on at a scale: its distance to the released settings."""

from collections.abc import Mapping
from typing import Any

RELEASED = {"self_sufficient": 10_000, "real": 5_000}
"""Epochs of the released settings, which a scale without settings of its own follows."""


def generated_epochs(settings: Mapping[str, Any]) -> int:
    """Epochs on self-sufficient tasks, at most."""
    return _epochs(settings, "self_sufficient")


def real_epochs(settings: Mapping[str, Any]) -> int:
    """Epochs on real graphs, at most."""
    return _epochs(settings, "real")


def _epochs(settings: Mapping[str, Any], kind: str) -> int:
    run = settings["run"]
    return RELEASED[kind] if run is None else int(run["epochs"][kind])
