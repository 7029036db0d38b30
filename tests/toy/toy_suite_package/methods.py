"""Methods and artifacts of the toy suites; numpy only, so that a trial starts fast.

Environment variables steer what is no part of a trial's identity:

- `TOY_LOG`: a file that gets a line whenever a method or artifact starts and ends;
- `TOY_STEP_SECONDS`: how long a step of a walk takes;
- `TOY_CHECKPOINT_SECONDS`: how often walks are saved;
- `TOY_GRACE_SECONDS`: how long a trial may take to stop;
- `TOY_HEALED`: when set, methods that raise do not;
- `TOY_DISK_FULL`: when set, nothing can be written any more when a walk ends.
"""

import os
import random
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import JsonValue
from safetensors.numpy import load_file, save

from harness.run import Context
from harness.settings import Settings
from harness.store import Checkpoint
from harness.suite import Dataset

Metrics = dict[str, float]


class Walking(Settings):
    """Of a walk."""

    steps: int
    """Steps."""
    lift: float
    """How much higher than its noise it ends, in metres."""


class Flying(Settings):
    """What no suite hands out."""

    altitude: float
    """Metres above the ground."""


def warm_up() -> None:
    """Sets how often trials save and how long they may take to stop; called before they fork."""
    for name in ("GRACE", "CHECKPOINT"):
        if given := os.environ.get(f"TOY_{name}_SECONDS"):
            os.environ[f"HARNESS_{name}_SECONDS"] = given


def note(ctx: Context, what: str) -> None:
    """Appends a line to the log; one write, so that lines of several processes stay whole."""
    if path := os.environ.get("TOY_LOG"):
        task = ctx._task.name if ctx._task else "-"
        line = f"{what} {ctx.subject.name} {task} {ctx.seed} {os.getpid()}\n"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.write(handle, line.encode())
        os.close(handle)


class Path2D:
    """A walk and the generator that it draws from: all that another process needs to go on."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.x = np.zeros(8)
        self.best = 0.0

    def pack(self) -> tuple[bytes, dict[str, JsonValue]]:
        """See `harness.run.Resumable`."""
        state: Any = self.rng.bit_generator.state
        return save({"x": self.x}), {"rng": state, "best": self.best}

    def unpack(self, checkpoint: Checkpoint) -> None:
        """See `harness.run.Resumable`."""
        meta: Any = checkpoint.meta
        self.x = load_file(checkpoint.tensors)["x"]
        self.rng.bit_generator.state = meta["rng"]
        self.best = meta["best"]


def walk(ctx: Context) -> Metrics:
    """A random walk; ends `lift` higher than its noise."""
    note(ctx, "start")
    walking = ctx.settings(Walking)
    total = walking.steps
    pause = float(os.environ.get("TOY_STEP_SECONDS", "0"))
    state = Path2D(ctx.numpy_generator("data"))
    step = ctx.restore(state)
    while step < total:
        state.x = 0.9 * state.x + 0.1 * state.rng.standard_normal(8)
        state.best = max(state.best, float(state.x.max()))
        step += 1
        ctx.log(step, height=float(state.x.mean()))
        time.sleep(pause)
        ctx.tick(step, total, state)
    ctx.count(steps=step)
    ctx.series("last", range(8), state.x, "place")
    note(ctx, "end")
    if "TOY_DISK_FULL" in os.environ:
        _fill_disk()
    return {"height": walking.lift + float(state.x.mean()), "noise": state.best}


# -- every way to fail ----------------------------------------------------------------------------


def raises(ctx: Context) -> Metrics:
    """A bug, until it is healed."""
    if "TOY_HEALED" in os.environ:
        return {"height": 1.0}
    raise ValueError("the walk fell [over]\nand a second line")


def raises_binary(ctx: Context) -> Metrics:
    """A message that is no text."""
    raise RuntimeError("bytes \udcff and \x1b[31m colours \x00")


def nan(ctx: Context) -> Metrics:
    """A metric that is no number."""
    return {"height": float("nan")}


def log_nan(ctx: Context) -> Metrics:
    """A loss that is no number."""
    ctx.log(7, loss=float("inf"))
    return {"height": 1.0}


def wrong_keys(ctx: Context) -> Metrics:
    """Another metric than the task wants."""
    return {"depth": 1.0}


def extra_keys(ctx: Context) -> Metrics:
    """One metric too many."""
    return {"height": 1.0, "width": 1.0}


def no_metrics(ctx: Context) -> None:
    """A forgotten return."""


def not_a_number(ctx: Context) -> dict[str, str]:
    """A metric that is a word."""
    return {"height": "high"}


def exits(ctx: Context) -> Metrics:
    """Ends without a word."""
    os._exit(0)


def exits_politely(ctx: Context) -> Metrics:
    """Ends as a script would."""
    sys.exit(0)


def sigkill(ctx: Context) -> Metrics:
    """What the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def sigsegv(ctx: Context) -> Metrics:
    """A crash in compiled code."""
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError("unreachable")


def memory(ctx: Context) -> Metrics:
    """Allocates until there is no more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, -1))
    kept = []
    while True:
        kept.append(np.ones(2**22))


def disk_full(ctx: Context) -> Metrics:
    """Trains well, but nothing can be written any more when it ends."""
    _fill_disk()
    return {"height": 1.0}


def disk_full_checkpoint(ctx: Context) -> Metrics:
    """Nothing can be written any more when it saves."""
    _fill_disk()
    ctx._last_save = -1e9
    ctx.tick(1, 2, Path2D(ctx.numpy_generator("data")))
    return {"height": 1.0}


def _fill_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))


def unknown_param(ctx: Context) -> Metrics:
    """Asks for what the suite does not say."""
    return {"height": ctx.settings(Flying).altitude}


def hangs(ctx: Context) -> Metrics:
    """Never comes back and never ticks."""
    note(ctx, "start")
    while True:
        time.sleep(0.05)


def hangs_ticking(ctx: Context) -> Metrics:
    """Never comes back, but ticks."""
    note(ctx, "start")
    step = 0
    while True:
        step += 1
        time.sleep(0.01)
        ctx.tick(step, 10**9, Path2D(ctx.numpy_generator("data")))


def prints(ctx: Context) -> Metrics:
    """Floods both streams with bytes that are no text."""
    os.write(1, bytes(range(256)) * 1000)
    os.write(2, bytes(range(256)) * 1000)
    print("\x1b[31mred", flush=True)
    return walk(ctx)


def global_random(ctx: Context) -> Metrics:
    """Draws from the global generators, as some libraries do, and leaves them in disorder."""
    drawn = random.random() + float(np.random.random())  # noqa: S311
    random.seed()
    np.random.seed(None)
    return {"height": drawn}


# -- artifacts ------------------------------------------------------------------------------------


def make_by_seed(ctx: Context) -> dict[str, JsonValue]:
    """A number for each seed."""
    note(ctx, "make")
    time.sleep(float(os.environ.get("TOY_STEP_SECONDS", "0")) * 20)
    (ctx.out / "value.txt").write_text(str(ctx.numpy_generator("data").integers(1000)))
    return {"kind": "seed"}


def make_by_task(ctx: Context) -> None:
    """A number for each task."""
    note(ctx, "make")
    (ctx.out / "deep").mkdir()
    (ctx.out / "deep" / "other.txt").write_text("kept")
    (ctx.out / "value.txt").write_text(str(ctx.task.params["steps"]))


def make_combined(ctx: Context) -> None:
    """The numbers of the artifacts that it needs, joined."""
    note(ctx, "make")
    values = [(ctx.artifact(name) / "value.txt").read_text() for name in ctx.subject.needs]
    (ctx.out / "value.txt").write_text("1" + "".join(values))


def make_broken(ctx: Context) -> None:
    """Fails, until it is healed."""
    note(ctx, "make")
    (ctx.out / "half.txt").write_text("half")
    if "TOY_HEALED" not in os.environ:
        raise OSError("the kiln is cold\nand wet")
    (ctx.out / "value.txt").write_text("7")


def read(ctx: Context) -> Metrics:
    """The number in the one artifact that the method needs."""
    note(ctx, "start")
    return {"height": float((ctx.artifact(ctx.subject.needs[0]) / "value.txt").read_text())}


def read_unnamed(ctx: Context) -> Metrics:
    """Reads an artifact without saying so beforehand."""
    return {"height": float((ctx.artifact("by-seed") / "value.txt").read_text())}


# -- outside data ---------------------------------------------------------------------------------


def count_words(ctx: Context) -> Metrics:
    """The number of words in the task's set."""
    (name,) = ctx.task.datasets
    return {"height": len((ctx.dataset(name) / name / "words.txt").read_text().split())}


def read_undeclared(ctx: Context) -> Metrics:
    """Reads a set that the task does not name."""
    return {"height": len(str(ctx.dataset("online")))}


def fetch(dataset: Dataset, folder: Path) -> None:
    """Stands in for a download."""
    from toy_suite_package.suite import WORDS

    (path,) = (folder / file for file in dataset.files)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(WORDS)


def fetch_garbled(dataset: Dataset, folder: Path) -> None:
    """A download that goes wrong."""
    fetch(dataset, folder)
    (path,) = (folder / file for file in dataset.files)
    path.write_bytes(b"<html>not found</html>")
