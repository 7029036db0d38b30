"""Several processes train what one trains, and stop, resume and fail as one does."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harness import parallel, plan, registry
from harness.context import Context, Interrupted
from harness.data import Sources
from harness.errors import MethodError
from harness.parallel import Member, launch
from harness.store import Store
from harness.training import State

STEPS = 12


def train(member: Member) -> dict[str, Any]:
    """A small regression; float64, so that the order of a sum shows in the last digits alone."""
    torch.manual_seed(0)
    network = member.wrap(nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1)).double())
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    state = State(modules={"network": member.bare(network)}, optimizers={"adamw": optimizer})
    losses = state.values.setdefault("losses", [])
    for step in member.steps(STEPS, state):
        losses = state.values["losses"]
        rng = torch.Generator().manual_seed(step % 2)
        x_BF = torch.randn(16, 6, generator=rng, dtype=torch.float64)
        y_B = x_BF.sum(-1).sin()
        part = member.part(16)
        loss = (network(x_BF[part]).squeeze(-1) - y_B[part]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(member.mean(float(loss.detach())))  # type: ignore[union-attr]
        if step == member.arguments.get("pause"):
            while not (member._folder / "stop").exists():
                pass
        if step == member.arguments.get("fail") and member.rank:
            raise ValueError("one of them fails")
    return {"losses": losses, "world": member.world}


@pytest.fixture
def context(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Context]:
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", here)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", "0")
    store = Store(tmp_path / "results", tmp_path / "cache")

    def make() -> Context:
        suite = registry.load("toy")
        trial = plan.trials(suite, suite.scale("smoke"))[0][0]
        return Context(trial, store, Sources(None, store.cache))

    return make


FUNCTION = "test_parallel:train"


@pytest.mark.slow
def test_two_processes_train_what_one_trains(context: Any) -> None:
    one = launch(context(), FUNCTION, {}, 1)
    ctx = context()
    ctx._store.clear_trial(ctx.id)
    two = launch(context(), FUNCTION, {}, 2)
    assert (one["world"], two["world"]) == (1, 2)
    assert len(one["losses"]) == STEPS
    assert one["losses"] == pytest.approx(two["losses"], abs=1e-6, rel=0)
    assert sum(one["losses"][-2:]) < sum(one["losses"][:2])


@pytest.mark.slow
def test_a_trial_that_is_asked_to_stop_saves_and_resumes(context: Any) -> None:
    whole = launch(context(), FUNCTION, {}, 2)
    ctx = context()
    ctx._store.clear_trial(ctx.id)
    ctx = context()

    def stop_after_five() -> None:
        note = ctx.out.parent / "parallel" / "state.json"
        while not note.exists() or json.loads(note.read_bytes())["step"] < 5:
            time.sleep(0.01)
        ctx.stopping.set()

    threading.Thread(target=stop_after_five).start()
    with pytest.raises(Interrupted) as stop:
        launch(ctx, FUNCTION, {"pause": 5}, 2)
    assert str(stop.value) == ""
    checkpoint = ctx._store.checkpoint(ctx.id)
    assert checkpoint is not None
    assert checkpoint.step == 6
    again = launch(context(), FUNCTION, {}, 2)
    assert again["losses"] == whole["losses"]


@pytest.mark.slow
def test_one_that_fails_fails_the_trial(context: Any, capfd: Any) -> None:
    with pytest.raises(MethodError, match="one of its 2 processes failed"):
        launch(context(), FUNCTION, {"fail": 3}, 2)
    assert "one of them fails" in capfd.readouterr().err


def test_a_batch_is_shared_out_evenly() -> None:
    member = object.__new__(Member)
    member.world = 4
    parts = []
    for member.rank in range(4):
        parts += list(range(12))[member.part(12)]
    assert parts == list(range(12))
    with pytest.raises(MethodError, match="a batch of 10 cannot be shared by 4 processes"):
        member.part(10)


@pytest.mark.parametrize(
    ("visible", "device", "count", "own"),
    [
        ("", "cuda:2", 2, "2,3"), ("4,5,6,7", "cuda:2", 2, "6,7"), ("", "cuda", 1, "0"),
        ("GPU-a,GPU-b", "cuda:1", 1, "GPU-b"),
    ],
)  # fmt: skip
def test_a_trial_sees_its_own_gpus(
    monkeypatch: pytest.MonkeyPatch, visible: str, device: str, count: int, own: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert parallel._visible(device, count) == {"CUDA_VISIBLE_DEVICES": own}
    assert parallel._visible("cpu", count) == {}


def test_a_gpu_trial_starts_a_process_per_gpu_of_its_scale(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[list[str]] = []

    class Torchrun:
        """Ends at once, with a result."""

        returncode = 0

        def __init__(self, command: list[str], env: dict[str, str]) -> None:
            called.append([*command[-4:-3], env.get("CUDA_VISIBLE_DEVICES", "")])
            (Path(command[-1]) / "result.json").write_text(json.dumps({"loss": 1.0}))

        def poll(self) -> int:
            return 0

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(parallel.subprocess, "Popen", Torchrun)
    ctx = context()
    ctx.device = "cuda:4"
    ctx._scale = ctx._scale.model_copy(update={"gpus": 4})
    assert launch(ctx, FUNCTION, {}) == {"loss": 1.0}
    assert called == [["--nproc-per-node=4", "4,5,6,7"]]
