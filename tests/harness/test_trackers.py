"""Records as runs of an experiment tracker, whose process costs a run one warning at most."""

import json
import logging
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness import trackers
from harness.errors import UsageError
from harness.plan import trials
from harness.record import Record, Series
from harness.store import Store
from harness.trackers import Feed, Run, curves, flat, send

PICK = ("run", "toy", "--methods", "walk", "--tasks", "short", "--seeds", "0-1")


class Noted:
    """A tracker that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def start(self, run: Run) -> None:
        self.told.append(run)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.told.append((step, dict(values)))

    def finish(self, metrics: Mapping[str, float], ok: bool) -> None:
        self.told.append((dict(metrics), ok))


@pytest.fixture
def record(toy_suite: Any, record_of: Callable[..., Record], monkeypatch: Any) -> Record:
    """Of a trial of the toy suite, with curves."""
    suite = toy_suite()
    trial = trials(suite, suite.scale("laptop"))[0][0]
    series = {
        "loss": Series(x=(0, 10, 20), y=(3, 2, 1)),
        "rate": Series(x=(10, 20), y=(0.5, 0.25)),
        "histogram (α)": Series(x=(0, 0.5, 1), y=(7, 8, 9), x_label="α"),
        "back": Series(x=(2, 1), y=(5, 6), x_label="epoch"),
    }
    return record_of(trial, metrics={"accuracy": 88.5}, series=series)


def test_a_record_is_one_run(record: Record) -> None:
    noted = Noted()
    send(noted, record)
    run, *points, last = noted.told
    assert run.project == "toy"
    assert run.name == f"laptop/ant--shallow-x--s0--{record.short}"
    assert run.tags == {
        "suite": "toy", "method": "ant", "task": "shallow-x", "seed": "0", "scale": "laptop",
        "status": "ok", "record": record.short,
    }  # fmt: skip
    assert run.params["method.name"] == "ant"
    assert run.params["task.params.depth"] == 2
    assert points == [*curves(record).items()]
    assert last == ({"accuracy": 88.5}, True)


def test_a_failed_trial_is_a_run_that_failed(record: Record) -> None:
    noted = Noted()
    send(noted, record.model_copy(update={"status": "oom", "metrics": {}, "series": {}}))
    assert noted.told[0].tags["status"] == "oom"
    assert noted.told[1:] == [({}, False)]


def test_curves_share_their_steps_and_others_count_positions(record: Record) -> None:
    assert curves(record) == {
        0: {"curve/loss by step": 3, "curve/histogram _α_ by position": 7,
            "curve/back by position": 5},
        1: {"curve/histogram _α_ by position": 8, "curve/back by position": 6},
        2: {"curve/histogram _α_ by position": 9},
        10: {"curve/loss by step": 2, "curve/rate by step": 0.5},
        20: {"curve/loss by step": 1, "curve/rate by step": 0.25},
    }  # fmt: skip
    assert list(curves(record)) == [0, 1, 2, 10, 20]


def test_parameters_are_flat() -> None:
    content = {"method": {"lift": 1.5, "on": True, "none": None}, "task": {"names": ["a", "b"]}}
    assert dict(flat(content)) == {
        "method.lift": 1.5, "method.on": True, "task.names": '["a", "b"]',
    }  # fmt: skip


def test_a_library_that_is_not_installed_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"^--track trackio: trackio is not installed; pip install "
                       r"'attention-harness\[trackio\]'$"):  # fmt: skip
        Feed("trackio", tmp_path, tmp_path)


# -- the process ----------------------------------------------------------------------------------

GOOD = """
    import json
    class Run:
        summary = {}
        def __init__(self, **words):
            self.words = {k: words[k] for k in ("project", "name", "group", "job_type")}
            print("chatter", flush=True)
        def log(self, values, step):
            pass
        def finish(self, exit_code):
            with open("told", "a") as file:
                file.write(json.dumps([self.words, self.summary, exit_code]) + "\\n")
    init = Run
    """


@pytest.fixture
def library(project: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, str]]:
    """`library(source)` makes a module `wandb`, for this process and for commands."""

    def write(source: str) -> dict[str, str]:
        folder = project.root / "libraries"
        folder.mkdir()
        (folder / "wandb.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(folder)
        path = f"{folder}:{project.env['PYTHONPATH']}"
        monkeypatch.setenv("PYTHONPATH", path)
        return {"PYTHONPATH": path}

    return write


@pytest.mark.parametrize(
    ("source", "warning"),
    [
        (GOOD, ""),
        ("def init(**_): raise OSError('no account')", "OSError: no account"),
        ("raise ImportError('half installed')", "ImportError: half installed"),
        ("import os; os._exit(3)", "it ended"),
        ("import os; os.kill(os.getpid(), 9)", "it ended"),
        ("def init(**_): print(chr(27) + '[31m' + 'x' * 9999); raise SystemExit(2)", "\\x1b[31mxx"),
    ],
    ids=["works", "raises", "no import", "exits", "is killed", "shouts"],
)
def test_a_run_is_the_same_whatever_the_tracker_does(
    project: Any, make_project: Any, library: Any, source: str, warning: str
) -> None:
    alone = make_project()
    assert alone.run(*PICK).code == 0
    done = project.run(*PICK, "--track", "wandb", env=library(source))
    assert done.code == 0
    assert "2 ran; " in done.out
    assert "chatter" not in done.text
    assert project.outcomes() == alone.outcomes()
    assert project.leftovers() == []
    if warning:
        assert done.err.count("\n") == 1
        assert done.err.startswith("warning: wandb: ")
        assert warning in done.err
        assert "; nothing more is tracked, see " in done.err
        return
    assert done.err == ""
    told = [json.loads(line) for line in (project.root / "told").read_text().splitlines()]
    assert [(run["project"], run["group"], run["job_type"]) for run, _, _ in told] == [
        ("toy", "smoke", "walk")
    ] * 2
    assert {run["name"] for run, _, _ in told} == {
        f"smoke/{r.file_name.removesuffix('.json')}" for r in project.records()
    }
    assert [(summary["ok"], code) for _, summary, code in told] == [(True, 0)] * 2


@pytest.fixture
def hanging(
    project: Any, library: Any, record: Record, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> tuple[Feed, Record]:
    """A tracker that never comes back, and a record for it."""
    library("import time\ntime.sleep(600)")
    store = Store(project.results, project.cache)
    store.commit(record)
    project.cache.mkdir()
    caplog.set_level(logging.WARNING, "harness")
    return Feed("wandb", project.results, project.cache), record


def test_a_tracker_that_hangs_is_ended(
    hanging: tuple[Feed, Record], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    feed, record = hanging
    monkeypatch.setattr(trackers, "_IDLE_SECONDS", 0.3)
    feed.send(record)
    process = feed._process
    assert process is not None
    began = time.monotonic()
    feed.close()
    assert time.monotonic() - began < 20
    assert process.poll() is not None
    assert [r.getMessage().partition(";")[0] for r in caplog.records] == [
        "wandb: nothing was logged in 0 s"
    ]
    feed.send(record)
    feed.close()
    assert len(caplog.records) == 1


def test_a_tracker_that_is_far_behind_stops_nothing(
    hanging: tuple[Feed, Record], caplog: Any
) -> None:
    feed, record = hanging
    began = time.monotonic()
    for _ in range(20_000):
        feed.send(record)
    assert time.monotonic() - began < 60
    assert [r.getMessage().partition(";")[0] for r in caplog.records] == [
        "wandb: it is too far behind"
    ]
    feed.close()


def test_without_records_no_process_is_started(project: Any, library: Any, tmp_path: Path) -> None:
    library("raise SystemExit(3)")
    feed = Feed("wandb", tmp_path, tmp_path)
    feed.close()
    assert feed._process is None


# -- the libraries --------------------------------------------------------------------------------


def test_tensorboard(project: Any) -> None:
    pytest.importorskip("tensorboard")
    assert project.run(*PICK, "--track", "tensorboard")[::2] == (0, "")
    folders = sorted((project.root / "runs" / "toy" / "smoke").iterdir())
    records = sorted(project.records(), key=lambda r: r.file_name)
    assert [f"{folder.name}.json" for folder in folders] == [r.file_name for r in records]
    found = read_events(folders[0])
    assert found["height"] == [[0, pytest.approx(records[0].metrics["height"])]]
    (name, series), *_ = records[0].series.items()
    assert found[f"curve/{name} by {series.x_label}"] == [
        [x, pytest.approx(y)] for x, y in zip(series.x, series.y, strict=True)
    ]


def read_events(folder: Path) -> dict[str, list[list[float]]]:
    """Scalars of all event files of a folder, as TensorBoard reads them."""
    code = (
        "import json, sys\n"
        "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
        "found = EventAccumulator(sys.argv[1])\n"
        "found.Reload()\n"
        "print(json.dumps({name: [(e.step, e.value) for e in found.Scalars(name)]\n"
        "                  for name in found.Tags()['scalars']}))"
    )
    return dict(read(code, folder))


def read(code: str, *words: object, env: dict[str, str] | None = None) -> Any:
    """What code in a process of its own prints, as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True, text=True, check=True, timeout=120, env={**os.environ, **(env or {})},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def test_mlflow_with_a_local_file_store(project: Any) -> None:
    pytest.importorskip("mlflow")
    env = {"MLFLOW_DISABLE_TELEMETRY": "true", "HOME": str(project.root)}
    assert project.run(*PICK, "--track", "mlflow", env=env)[::2] == (0, "")
    code = (
        "import json, sys\n"
        "from mlflow import MlflowClient\n"
        "client = MlflowClient(sys.argv[1])\n"
        "place = client.get_experiment_by_name('toy').experiment_id\n"
        "runs = client.search_runs([place])\n"
        "print(json.dumps([[r.info.status, r.data.tags['seed'], r.data.params['method.name'],\n"
        "    r.data.metrics['height'],\n"
        "    len(client.get_metric_history(r.info.run_id, sys.argv[2]))] for r in runs]))"
    )
    record = project.records()[0]
    name, series = next(iter(record.series.items()))
    found = read(
        code, (project.root / "mlruns").as_uri(), f"curve/{name} by {series.x_label}",
        env=env | {"MLFLOW_ALLOW_FILE_STORE": "true"},
    )  # fmt: skip
    assert sorted(found, key=lambda run: run[1]) == [
        ["FINISHED", str(r.seed), "walk", pytest.approx(r.metrics["height"]), len(series.x)]
        for r in sorted(project.records(), key=lambda r: r.seed)
    ]


def test_trackio(project: Any) -> None:
    pytest.importorskip("trackio")
    env = {"TRACKIO_DIR": str(project.root / "kept"), "HOME": str(project.root)}
    assert project.run(*PICK, "--track", "trackio", env=env)[::2] == (0, "")
    code = (
        "import json, trackio\n"
        "print(json.dumps({r.name: r.config['seed'] for r in trackio.Api().runs('toy')}))"
    )
    found = read(code, env=env)
    assert found == {
        f"smoke/{r.file_name.removesuffix('.json')}": str(r.seed) for r in project.records()
    }


def test_wandb_offline(project: Any) -> None:
    pytest.importorskip("wandb")
    env = {"WANDB_MODE": "offline", "HOME": str(project.root)}
    assert project.run(*PICK, "--track", "wandb", env=env)[::2] == (0, "")
    assert len([*(project.root / "wandb").glob("offline-run-*/run-*.wandb")]) == 2
