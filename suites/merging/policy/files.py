"""Policies on disk: `model.safetensors`, and `config.json` with shape and normalisation."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from harness.errors import DataError, brief
from harness.store import write_atomic
from suites.merging.policy.fast import FastDecisionTransformer
from suites.merging.policy.model import DecisionTransformer, Shape
from suites.merging.robots.trajectories import Statistics


def save(policy: DecisionTransformer, statistics: Statistics, folder: Path) -> None:
    """Writes `model.safetensors` and `config.json`, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "shape": asdict(policy.shape),
        "state_mean": statistics.mean_S.tolist(),
        # JSON has no infinity: null is the standard deviation of a hidden component.
        "state_std": [
            value if math.isfinite(value) else None for value in statistics.std_S.tolist()
        ],
    }
    tensors = {k: v.detach().cpu().contiguous() for k, v in policy.state_dict().items()}
    write_atomic(folder / "model.safetensors", to_bytes(tensors))
    write_atomic(folder / "config.json", json.dumps(config, indent=1).encode())


def load(folder: Path) -> tuple[FastDecisionTransformer, Statistics]:
    """A saved policy, in evaluation mode, with the statistics that its states are normalised by.

    Raises:
        DataError: a file is missing, corrupt, or the two do not belong together.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
        shape = Shape(**config["shape"])
        std = [math.inf if value is None else value for value in config["state_std"]]
        statistics = Statistics(
            np.array(config["state_mean"], np.float32), np.array(std, np.float32)
        )
        if any(array.shape != (shape.state_dim,) for array in statistics):
            raise ValueError(f"statistics of other sizes than {shape.state_dim} states")
        policy = FastDecisionTransformer(shape, torch.Generator())
        policy.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise DataError(
            f"policy {folder}: cannot be read ({brief(error)}); it needs config.json and "
            "model.safetensors as the suite writes them"
        ) from None
    return policy.eval(), statistics
