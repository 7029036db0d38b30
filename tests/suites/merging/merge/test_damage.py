"""Whatever is wrong with a file of a checkpoint: a merge that is right, or one line and nothing."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from harness.weights import Weights
from suites.merging.merge import command
from suites.merging.policy import files
from suites.merging.policy.model import DecisionTransformer, Shape
from suites.merging.robots.trajectories import Statistics

METHODS = (
    ("--method", "average"),
    ("--method", "average", "--align"),
    ("--method", "slerp", "--p", "0.5"),
    ("--method", "average", "--include", "attn,mlp"),
    ("--method", "interpolate", "--p", "0.25", "--dtype", "bfloat16"),
)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two policies, and two language models in one file and in shards."""
    root = tmp_path_factory.mktemp("valid")
    statistics = Statistics(np.zeros(3, np.float32), np.ones(3, np.float32))
    for number in range(2):
        shape = Shape(3, 2, width=8, layers=1, heads=2, context=2, max_steps=4)
        policy = DecisionTransformer(shape, torch.Generator().manual_seed(number))
        files.save(policy, statistics, root / "policies" / f"{number}")
        torch.manual_seed(number)
        sizes: dict[str, int] = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 8}
        model = GPT2LMHeadModel(GPT2Config(vocab_size=30, **sizes))
        model.save_pretrained(root / "whole" / f"{number}")
        model.save_pretrained(root / "shards" / f"{number}", max_shard_size="3KB")
        for kind in ("whole", "shards"):
            (root / kind / f"{number}" / "vocab.json").write_text('{"a": 0, "b": 1}')
            (root / kind / f"{number}" / "merges.txt").write_text("#version: 0.2\na b\n")
            (root / kind / f"{number}" / "LICENSE").write_text("Do as you like.\n")
    return root


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", ["policies", "whole", "shards"])
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_checkpoint_is_right_or_refused(
    valid: Path, tmp_path: Path, damage: Any, end_of: Any, copied: Any, kind: str, data: Any
) -> None:
    models = copied(valid / kind, tmp_path / "models")
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    what = damage(data.draw, models / data.draw(st.sampled_from("01")))
    words = ["--models", str(models / "0"), str(models / "1"), *data.draw(st.sampled_from(METHODS))]
    ended = end_of(command.main, [*words, "--out", str(work / "out")], work)
    if ended.code == 0:
        assert ended.left == ["out"], what
        merged, first = Weights(work / "out"), Weights(models / "0")
        shapes = {name: list(tensor.shape) for name, tensor in first.meta.items()}
        assert {name: list(merged[name].shape) for name in merged} == shapes, what
        assert merged.digests(), what
        shutil.rmtree(work / "out")
    else:
        assert not ended.left, what
        assert ended.out == "", what
        assert ended.err.startswith("merge-checkpoints: "), what
        assert ended.err.count("\n") == 1, (what, ended.err)
