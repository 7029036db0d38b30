"""Experiment trackers: each trial's record as a run of TensorBoard, trackio, MLflow or wandb.

The library works in a process of its own, which reads the paths of records as they are committed:
trials and their numbers know nothing of it, and whatever it does costs a run one warning at most.
Nothing is sent while a trial goes: its curves are in its record.
"""

import importlib.util
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Protocol

from harness.errors import UsageError, one_line
from harness.record import Record
from harness.store import parse_record
from harness.terminal import doing

Name = Literal["tensorboard", "trackio", "mlflow", "wandb"]
Value = str | int | float | bool

_IDLE_SECONDS = 60.0
"""Without a record logged, at the end of a run, until the process is ended."""
_MOST = 1000
"""Metrics that MLflow takes at once; of parameters a tenth."""
_ODD = re.compile(r"[^\w./ -]")

log = logging.getLogger("harness")


class Run(NamedTuple):
    """A trial as a tracker names it."""

    project: str
    """The suite."""
    name: str
    params: dict[str, Value]
    """Of method, task and scale, flat: `method.lift`."""
    tags: dict[str, str]


class Tracker(Protocol):
    """One library; a run of it is one trial."""

    def start(self, run: Run) -> None:
        """Opens a run."""
        ...

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One point of its curves; steps rise."""
        ...

    def finish(self, metrics: Mapping[str, float], ok: bool) -> None:
        """Closes it with its metrics; whether the trial succeeded."""
        ...


class TensorBoard:
    """Event files below `runs/`."""

    def start(self, run: Run) -> None:
        """See `Tracker`."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(Path("runs", run.project, run.name)))
        self._params = {**run.tags, **run.params}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self, metrics: Mapping[str, float], ok: bool) -> None:
        """See `Tracker`."""
        self._writer.add_hparams({**self._params, "ok": ok}, dict(metrics), run_name=".")
        self._writer.close()


class Trackio:
    """The library's own folder, or a Space as its variables say."""

    def start(self, run: Run) -> None:
        """See `Tracker`."""
        import trackio

        self._run: Any = trackio.init(
            project=run.project, name=run.name, config={**run.tags, **run.params}, embed=False,
            auto_log_gpu=False, auto_log_cpu=False,  # of this process, not of the trial
        )  # fmt: skip

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.log(dict(values), step=step)

    def finish(self, metrics: Mapping[str, float], ok: bool) -> None:
        """See `Tracker`."""
        self._run.log({**metrics, "ok": float(ok)})
        self._run.finish()


class Mlflow:
    """What `MLFLOW_TRACKING_URI` names, else the folder `mlruns`."""

    def start(self, run: Run) -> None:
        """See `Tracker`."""
        if "MLFLOW_TRACKING_URI" not in os.environ:
            os.environ["MLFLOW_TRACKING_URI"] = Path("mlruns").absolute().as_uri()
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric, self._points = Metric, list[Any]()
        self._client: Any = MlflowClient()
        known = self._client.get_experiment_by_name(run.project)
        place = known.experiment_id if known else self._client.create_experiment(run.project)
        made = self._client.create_run(place, run_name=run.name, tags=run.tags)
        self._id: str = made.info.run_id
        params = [Param(name, str(value)) for name, value in run.params.items()]
        for first in range(0, len(params), _MOST // 10):
            self._client.log_batch(self._id, params=params[first : first + _MOST // 10])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        now = int(time.time() * 1000)
        self._points += [self._metric(name, value, now, step) for name, value in values.items()]

    def finish(self, metrics: Mapping[str, float], ok: bool) -> None:
        """See `Tracker`."""
        self.log(0, metrics)
        for first in range(0, len(self._points), _MOST):
            self._client.log_batch(self._id, metrics=self._points[first : first + _MOST])
        self._client.set_terminated(self._id, "FINISHED" if ok else "FAILED")


class Wandb:
    """As its variables say; `WANDB_MODE=offline` needs neither account nor network."""

    def start(self, run: Run) -> None:
        """See `Tracker`."""
        import wandb

        self._run: Any = wandb.init(
            project=run.project, name=run.name, group=run.tags["scale"],
            job_type=run.tags["method"], config={**run.tags, **run.params},
        )  # fmt: skip

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._run.log(dict(values), step=step)

    def finish(self, metrics: Mapping[str, float], ok: bool) -> None:
        """See `Tracker`."""
        self._run.summary.update({**metrics, "ok": ok})
        self._run.finish(exit_code=int(not ok))


TRACKERS: dict[str, type[Tracker]] = {
    "tensorboard": TensorBoard, "trackio": Trackio, "mlflow": Mlflow, "wandb": Wandb,
}  # fmt: skip


def send(tracker: Tracker, record: Record) -> None:
    """Logs a record as one run: parameters, tags, curves, metrics."""
    spec: dict[str, Any] = dict(record.spec)
    parts = {part: spec.get(part, {}) for part in ("method", "task", "scale")}
    tags = {
        "suite": record.suite,
        "method": record.method,
        "task": record.task,
        "seed": str(record.seed),
        "scale": record.scale,
        "status": record.status,
        "record": record.short,
    }
    tracker.start(
        Run(record.suite, f"{record.scale}/{record.file_name[:-5]}", dict(flat(parts)), tags)
    )
    for step, values in curves(record).items():
        tracker.log(step, values)
    metrics = {_ODD.sub("_", name): value for name, value in record.metrics.items()}
    tracker.finish(metrics, record.status == "ok")


def curves(record: Record) -> dict[int, dict[str, float]]:
    """Values of all curves by step, which rises; `curve/<series>` with the label of its axis.

    A step is what stands on the axis where that counts up in whole numbers, else the position:
    bins of a histogram have theirs.
    """
    found: dict[int, dict[str, float]] = {}
    for name, series in record.series.items():
        rises = all(a < b for a, b in zip(series.x, series.x[1:], strict=False))
        whole = rises and all(x >= 0 and x == int(x) for x in series.x)
        label = _ODD.sub("_", f"curve/{name} by {series.x_label if whole else 'position'}")
        for position, (x, y) in enumerate(zip(series.x, series.y, strict=True)):
            found.setdefault(int(x) if whole else position, {})[label] = y
    return dict(sorted(found.items()))


def flat(content: object, path: str = "") -> Iterator[tuple[str, Value]]:
    """Plain values by their path; lists as JSON."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from flat(value, f"{path}.{key}".lstrip("."))
    elif content is not None:
        plain = isinstance(content, str | int | float | bool)
        yield _ODD.sub("_", path), content if plain else json.dumps(content)  # type: ignore[misc]


class Feed:
    """A tracker's process, and what it is still to be told."""

    def __init__(self, name: Name, results: Path, cache: Path) -> None:
        """Starts nothing yet.

        Raises:
            UsageError: the library is not installed.
        """
        if importlib.util.find_spec(name) is None:
            raise UsageError(
                f"--track {name}: {name} is not installed; pip install 'attention-harness[{name}]'"
            )
        self._name, self._results = name, results
        self._log = cache / f"track-{name}.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._given_up = False

    def send(self, record: Record) -> None:
        """Hands over a committed record, and waits for nothing."""
        path = self._results / record.suite / record.scale / record.file_name
        if self._given_up:
            return
        try:
            os.write(self._pipe().fileno(), f"{json.dumps(str(path.absolute()))}\n".encode())
        except BlockingIOError:
            self._give_up("it is too far behind")
        except OSError:  # it has ended, or could not be started
            self._give_up(self._last_words())

    def close(self) -> None:
        """Waits until everything is logged, as long as that gets on."""
        if self._process is None or self._given_up:
            return
        self._pipe().close()
        size, since = -1, time.monotonic()
        try:
            with doing(f"handing the last records to {self._name}", line=False):
                while self._process.poll() is None:
                    time.sleep(0.05)
                    if (now := self._log.stat().st_size) != size:
                        size, since = now, time.monotonic()
                    elif time.monotonic() - since > _IDLE_SECONDS:
                        self._give_up(f"nothing was logged in {_IDLE_SECONDS:.0f} s")
                        return
        finally:
            self._end()
        if self._process.returncode:
            self._give_up(self._last_words())

    def _pipe(self) -> IO[bytes]:
        if self._process is None:
            with self._log.open("wb") as file:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "harness.trackers", self._name],
                    stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True,
                )  # fmt: skip
            os.set_blocking(self._process.stdin.fileno(), False)  # type: ignore[union-attr]
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101
        return pipe

    def _give_up(self, reason: str) -> None:
        self._given_up = True
        self._end()
        log.warning("%s: %s; nothing more is tracked, see %s", self._name, reason, self._log)

    def _end(self) -> None:
        if self._process is None:
            return
        self._pipe().close()
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _last_words(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").split("\n")
        except OSError as error:
            return f"{error.strerror}"
        return one_line(next((line for line in reversed(lines) if line.strip()), "it ended"), 300)


def main() -> None:
    """The tracker's process: logs the records whose paths come in, a JSON text per line."""
    tracker = TRACKERS[sys.argv[1]]()
    for line in sys.stdin:
        record = parse_record(Path(json.loads(line)).read_bytes())
        send(tracker, record)
        sys.stdout.write(f"{record.file_name}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
