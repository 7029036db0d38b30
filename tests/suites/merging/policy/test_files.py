"""Policies on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import DataError
from suites.merging.policy import files
from suites.merging.policy.fast import FastDecisionTransformer
from suites.merging.policy.model import Shape
from suites.merging.robots.trajectories import Statistics

SHAPE = Shape(5, 2, width=16, layers=2, heads=2, context=4, max_steps=50)


def policy() -> FastDecisionTransformer:
    return FastDecisionTransformer(SHAPE, torch.Generator().manual_seed(0))


def test_a_saved_policy_is_the_same_policy(tmp_path: Path) -> None:
    p = policy()
    stats = Statistics(
        np.linspace(-1, 1, 5, dtype=np.float32) / 3, np.full(5, 0.7, dtype=np.float32)
    )
    files.save(p, stats, tmp_path / "policy")
    again, found = files.load(tmp_path / "policy")
    assert again.shape == p.shape
    assert not again.training
    assert all(torch.equal(v, p.state_dict()[k]) for k, v in again.state_dict().items())
    np.testing.assert_array_equal(found.mean_S, stats.mean_S)
    np.testing.assert_array_equal(found.std_S, stats.std_S)


def test_hidden_components_stay_hidden_in_plain_json(tmp_path: Path) -> None:
    std = np.array([1, 2, np.inf, np.inf, np.inf], np.float32)
    files.save(policy(), Statistics(np.zeros(5, np.float32), std), tmp_path)
    assert "Infinity" not in (tmp_path / "config.json").read_text()
    _, found = files.load(tmp_path)
    np.testing.assert_array_equal(found.std_S, std)


def corrupt(folder: Path, how: str) -> None:
    config, weights = folder / "config.json", folder / "model.safetensors"
    if how == "no config":
        config.unlink()
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif how == "other shape":
        text = json.loads(config.read_text())
        text["shape"]["width"] = 32
        config.write_text(json.dumps(text))
    elif how == "unknown field":
        text = json.loads(config.read_text())
        text["shape"]["colour"] = 1
        config.write_text(json.dumps(text))
    else:
        config.write_text("{")


@pytest.mark.parametrize(
    "how", ["no config", "truncated", "other shape", "unknown field", "not json"]
)
def test_a_corrupt_policy_is_one_line(tmp_path: Path, how: str) -> None:
    zeros = np.zeros(5, dtype=np.float32)
    files.save(policy(), Statistics(zeros, zeros), tmp_path)
    corrupt(tmp_path, how)
    with pytest.raises(DataError, match="cannot be read") as caught:
        files.load(tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
