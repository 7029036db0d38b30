"""Two processes train what one process trains, also after a stop."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import UsageError
from suites.bam import distributed, training
from suites.bam.model import checkpoints


def _train(processes: int, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}",
            "--standalone", "-m", "suites.bam.distributed", *options,
        ],
        capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_train_what_one_trains_and_go_on_after_a_stop(
    workshop: Any, tmp_path: Path
) -> None:
    ctx = workshop.artifact("mixture-btx")
    common = (
        "--checkpoint", str(ctx.artifact("seed") / training.MODEL),
        "--tokens", str(ctx.artifact("tokens")),
        "--batch", "8", "--context", "16", "--peak", "0.01", "--every", "2",
    )  # fmt: skip
    one, two = tmp_path / "one", tmp_path / "two"
    assert _train(1, *common, "--steps", "6", "--out", str(one)).returncode == 0
    done = _train(2, *common, "--steps", "6", "--out", str(two))
    assert done.returncode == 0, done.stderr
    models = [checkpoints.load(folder / training.MODEL) for folder in (one, two)]
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)

    expected = (two / training.MODEL / "model.safetensors").read_bytes()
    for state in (two / "states" / "trials").glob("*/checkpoint-000000000006.*"):
        state.unlink()
    (two / training.MODEL / "model.safetensors").unlink()
    again = _train(2, *common, "--steps", "6", "--out", str(two))
    assert again.stdout.count("loss") == 1  # from step 4, whose state was kept
    assert (two / training.MODEL / "model.safetensors").read_bytes() == expected


@pytest.mark.parametrize("pair", ["poetry=1", "law=0", "law=-1", "law=x", "law", "law=nan"])
def test_shares_are_checked(pair: str) -> None:
    with pytest.raises(UsageError, match="is no domain with a share above 0"):
        distributed.shares(["code=1", pair])
    assert distributed.shares(["code=1", "law=0.5"]) == {"code": 1.0, "law": 0.5}
