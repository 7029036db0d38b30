"""One trial in this process: what its context offers, and how it ends."""

import copy
import errno
import fractions
import functools
import hashlib
import math
import os
import platform
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness.context
from harness import executors, plan, registry, run
from harness.data import Sources
from harness.errors import DataError, Diverged, HarnessError, MethodError, SpecError, StoreError
from harness.record import Record
from harness.run import Context, Job, Progress
from harness.settings import Settings
from harness.store import Store

pytestmark = pytest.mark.usefixtures("toys")
ContextFactory = Callable[..., Context]


class Clock:
    """Stands in for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Seconds since nothing in particular."""
        return self.now


class Saved:
    """A state that counts how often it was packed."""

    def __init__(self) -> None:
        self.packed = 0

    def pack(self) -> tuple[bytes, dict[str, Any]]:
        """See `harness.run.Resumable`."""
        self.packed += 1
        return b"state", {"n": self.packed}

    def unpack(self, checkpoint: Any) -> None:
        """See `harness.run.Resumable`."""
        self.packed = checkpoint.meta["n"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", tmp_path / "cache")


@pytest.fixture
def context(store: Store) -> ContextFactory:
    """`context(suite="toy", method=None, task=None, seed=0, artifact=None, data=None, **more)`."""

    def make(
        suite: str = "toy", method: str | None = None, task: str | None = None, seed: int = 0,
        artifact: str | None = None, data: Path | None = None, **more: Any,
    ) -> Context:  # fmt: skip
        loaded = registry.load(suite)
        filters = plan.Filters((method,) if method else (), (task,) if task else (), (seed,))
        found, nodes = plan.trials(loaded, loaded.scale("smoke"), filters=filters)
        node = next((n for n in nodes.values() if n.artifact.name == artifact), None)
        return Context(found[0], store, Sources(data, store.cache), node=node, **more)

    return make


@pytest.fixture
def job(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Job]:
    """`job(method, suite="toy-faults", scale="smoke", artifact=None)`."""
    monkeypatch.delenv("TOY_LOG", raising=False)

    def make(
        method: str, suite: str = "toy-faults", scale: str = "smoke", artifact: str | None = None
    ) -> Job:
        loaded = registry.load(suite)
        made = plan.make(
            loaded, loaded.scale(scale), [], store, Sources(None, store.cache),
            filters=plan.Filters((method,), (), (0,)),
        )  # fmt: skip
        jobs = executors.work(made, store, Sources(None, store.cache))
        return next(w.job for w in jobs if w.job.artifact == artifact)

    return make


def _work(method: str, store: Store) -> list[executors.Work]:
    suite, sources = registry.load("toy-chain"), Sources(None, store.cache)
    wanted = plan.Filters((method,), (), (0,))
    made = plan.make(suite, suite.scale("smoke"), [], store, sources, filters=wanted)
    return executors.work(made, store, sources)


def only(store: Store) -> Record:
    """The one record that there is."""
    (record,) = store.load().records
    return record


class Walk(Settings):
    """What the toy methods may have."""

    lift: float = 0.0
    """Metres."""
    steps: int | None = None
    """Steps."""
    width: int = 0
    """Of nothing."""
    layers: list[int] = []  # noqa: RUF012
    """A list that a method may change."""
    at: dict[str, list[int]] = {}  # noqa: RUF012
    """Lists that a method may change."""


class Tall(Settings):
    """What no toy method has."""

    height: float
    """Metres."""


# -- parameters and streams -----------------------------------------------------------------------


def test_parameters_come_from_the_method_then_the_task_then_the_scale(context: Any) -> None:
    made = context(method="walk", task="short")
    assert made.settings(Walk) == Walk(lift=1.0, steps=40)
    made._scale = made.scale.model_copy(update={"settings": Walk(lift=7, width=3)})
    assert made.settings(Walk) == Walk(lift=1.0, steps=40, width=3)
    made._subject = made.subject.model_copy(update={"params": {"steps": None}})
    assert made.settings(Walk) == Walk(lift=7, steps=None, width=3)


def test_what_a_method_changes_of_its_parameters_changes_nothing(context: Any) -> None:
    made = context(method="walk", task="short")
    made._subject = made._subject.model_copy(update={"params": {"layers": [1], "at": {"b": []}}})
    spec = copy.deepcopy((made._subject.params, made._task.params, made._scale.settings))
    made.settings(Walk).layers.append(2)
    made.settings(Walk).at["b"].append(2)
    made.subject.params["layers"].append(2)
    made.task.params["steps"] = 0
    made.scale.settings.plain()["more"] = 0
    made.suite.tasks[0].params["steps"] = 0
    assert (made.settings(Walk).layers, made.subject.params["at"]) == ([1], {"b": []})
    assert (made._subject.params, made._task.params, made._scale.settings) == spec
    assert registry.load("toy").tasks[0].params == {"steps": 40}


def test_an_unknown_parameter_lists_what_there_is(context: Any) -> None:
    with pytest.raises(SpecError, match=r"^walk: Tall.height: .*required; .*: lift, steps$"):
        context(method="walk").settings(Tall)


def test_streams_are_golden(context: Any) -> None:
    made = context(method="walk", task="short", seed=1)
    assert made.stream("data") == 2861482572547950343
    assert made.stream("batch", 3, "x") == 253175547628885514
    text = b"toy\x001\x00batch\x003\x00x"
    assert made.stream("batch", 3, "x") == int(hashlib.sha256(text).hexdigest()[:16], 16) // 2


def test_streams_differ_by_purpose_seed_and_keys_and_by_nothing_else(context: Any) -> None:
    made = [
        context(method=method, task=task, seed=seed)
        for seed in (0, 1)
        for method in ("walk", "drift")
        for task in ("short", "long")
    ]
    streams = {
        (c.seed, *key): c.stream(*key)
        for c in made
        for key in (("data",), ("init",), ("data", 0), ("data", 1), ("data", "0", 1), ("data0",))
    }
    assert len(set(streams.values())) == len(streams) == 12
    for c in made:
        assert c.stream("init") == streams[c.seed, "init"]
    assert all(0 <= value < 2**63 for value in streams.values())


def test_generators_stand_on_the_streams_and_leave_the_global_ones_alone(context: Any) -> None:
    made = context()
    before = (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    a = made.numpy_generator("data").standard_normal(3)
    assert a.tolist() == np.random.default_rng(made.stream("data")).standard_normal(3).tolist()
    assert a.tolist() != made.numpy_generator("init").standard_normal(3).tolist()
    after = (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    assert before == after


# -- artifacts and data ---------------------------------------------------------------------------


def test_an_artifact_that_is_not_needed_may_not_be_read(context: Any) -> None:
    made = context("toy-chain", "read-unnamed")
    with pytest.raises(MethodError, match=r"^read-unnamed reads artifact 'by-seed' but does not"):
        made.artifact("by-seed")


def test_an_artifact_is_verified_before_it_is_read(context: Any, store: Store) -> None:
    made = context("toy-chain", "read-seed")
    with pytest.raises(MethodError, match="artifact 'by-seed' has not been made; run the suite"):
        made.artifact("by-seed")
    maker = context("toy-chain", "read-seed", artifact="by-seed")
    maker.out.mkdir(parents=True)
    (maker.out / "value.txt").write_text("3")
    home = store.artifact_folder("toy-chain", "by-seed", maker.id)
    store.commit_artifact(home, maker.out, maker_spec(maker), {})
    assert made.artifact("by-seed") == home
    (home / "value.txt").write_text("4")
    with pytest.raises(StoreError, match=r"value\.txt: corrupt or missing"):
        made.artifact("by-seed")


def maker_spec(maker: Context) -> dict[str, Any]:
    """The specification of the artifact that a context makes."""
    suite = maker.suite
    _, nodes = plan.trials(suite, maker.scale)
    return nodes[maker.id].spec


def test_an_artifact_has_the_task_and_seed_that_it_is_made_over(context: Any) -> None:
    made = context("toy-chain", "read-both", seed=1, artifact="by-seed")
    assert made.seed == 1
    with pytest.raises(MethodError, match="artifact by-seed is not made over tasks"):
        _ = made.task
    with pytest.raises(SpecError, match=r"by-seed: Tall.height: .*required; .* have: none$"):
        made.settings(Tall)
    made = context("toy-chain", "read-both", "short", seed=1, artifact="by-task")
    assert (made.seed, made.task.name) == (0, "short")
    assert made.settings(Walk).steps == 5


def test_data_are_verified_and_their_origin_noted(context: Any, tmp_path: Path) -> None:
    made = context("toy-data", "count-words", "words-online", data=tmp_path)
    with pytest.raises(DataError, match=r"^dataset online: online/words\.txt not found; point"):
        made.dataset("online")
    (tmp_path / "online").mkdir()
    (tmp_path / "online" / "words.txt").write_bytes(b"one two three\n")
    assert made.dataset("online") == tmp_path
    made.generated("noise")
    assert made.origins == {"online": "local", "noise": "generated"}
    (tmp_path / "online" / "words.txt").write_bytes(b"one two three")
    with pytest.raises(DataError, match="is corrupt"):
        made.dataset("online")


def test_what_no_identity_holds_is_noted_with_its_digest(
    context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "online").mkdir()
    (tmp_path / "online" / "words.txt").write_bytes(b"one\n")
    (tmp_path / "online" / "more.txt").write_bytes(b"two\n")
    made = context("toy-data", "count-words", "words-online", data=tmp_path)
    unknown = made._known["online"].model_copy(update={"files": {"online/words.txt": None}})
    monkeypatch.setitem(made._known, "online", unknown)
    assert made.dataset("online") == tmp_path
    assert made.dataset_file("online", "online/more.txt").read_text() == "two\n"
    assert (made.installed("pytest", "pytest/*.typed") / "pytest" / "py.typed").exists()
    made.texts("manual", "3.0", ["some text"])
    assert list(made.contents) == ["dataset online", "dataset online: online/more.txt", "pytest",
                                   "manual"]  # fmt: skip
    assert all(re.search(r"(^| )sha256:[0-9a-f]{64}$", state) for state in made.contents.values())
    assert made.contents["pytest"].startswith(f"{pytest.__version__} ")
    (tmp_path / "online" / "more.txt").write_bytes(b"twO\n")
    with pytest.raises(DataError, match=r"more\.txt is not what it was"):
        made.dataset_file("online", "online/more.txt")


def test_what_went_into_an_artifact_is_named_by_every_record_that_rests_on_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import toy_suite_package.methods as toy

    def make(ctx: Context) -> None:
        ctx.texts("manual", "3.0", ["some text"])
        (ctx.out / "value.txt").write_text("1")

    monkeypatch.setattr(toy, "make_by_seed", make)
    for item in _work("read-both", store):
        outcome = run.execute(item.job)
        assert outcome.code == run.DONE, outcome.line
    records = store.load().records
    assert records
    for record in records:
        assert record.provenance.packages["manual"].startswith("3.0 sha256:")
        assert record.intact()


def test_jobs_are_judged_by_the_trees_of_their_suite_and_of_the_engine(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def read(*trees: Path) -> executors.Commit:
        asked.extend(trees)
        return executors.Commit("c" * 40, True)

    monkeypatch.setattr(executors.Commit, "read", read)
    (work, *_) = _work("walk", store)
    assert (work.job.commit, work.job.dirty) == ("c" * 40, True)
    assert [(path.name, path.is_dir()) for path in asked] == [
        ("toy_suite_package", True), ("harness", True)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["offline", "nonsense"])
def test_data_that_the_task_does_not_name_may_not_be_read(context: Any, name: str) -> None:
    made = context("toy-data", "count-words", "words-online")
    line = f"^count-words reads dataset '{name}', which is not among its datasets: online$"
    with pytest.raises(MethodError, match=line):
        made.dataset(name)


# -- what a trial leaves --------------------------------------------------------------------------


def test_counts_are_integers_and_later_ones_win(context: Any) -> None:
    made = context()
    made.count(parameters=np.int64(7), updates=3.0)
    made.count(updates=4)
    assert made.counts == {"parameters": 7, "updates": 4}
    assert {type(value) for value in made.counts.values()} == {int}


@pytest.mark.parametrize("value", [10**400, 2**63, -(2**63), math.inf, math.nan, 1e300])
def test_counts_that_are_too_large_are_refused(context: Any, value: float) -> None:
    made = context()
    with pytest.raises(
        MethodError, match=r"counts steps = .*between -2\*\*63 and 2\*\*63"
    ) as error:
        made.count(updates=1, steps=value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200
    made.count(steps=2**63 - 1, down=1 - 2**63)
    assert made.counts == {"updates": 1, "steps": 2**63 - 1, "down": 1 - 2**63}


def test_curves_are_thinned_to_forty_points_with_both_ends(context: Any) -> None:
    made = context()
    for step in range(1000):
        made.log(step, loss=1 / (step + 1), val=step * 1.0000001)
    made.log(1000, loss=123456.789)
    made.log(5, once=1)
    made.series("last", [0.1 + 0.2], [1e9 / 3], "place")
    series = made.finished_series()
    assert set(series) == {"loss", "val", "once", "last"}
    assert len(series["loss"].x) == 40
    assert (series["loss"].x[0], series["loss"].x[-1]) == (0, 1000)
    gaps = np.diff(series["loss"].x)
    assert gaps.min() >= 25
    assert gaps.max() <= 26
    assert series["loss"].y[-1] == 123457.0
    assert series["val"].y[-1] == 999.0
    assert (series["once"].x, series["once"].y, series["once"].x_label) == ((5.0,), (1.0,), "step")
    assert (series["last"].x, series["last"].y) == ((0.3,), (333333000.0,))
    assert series["last"].x_label == "place"


def test_short_curves_keep_every_point(context: Any) -> None:
    made = context()
    for step in range(40):
        made.log(step, loss=step)
    assert made.finished_series()["loss"].x == tuple(range(40))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_logged_value_that_is_no_number_is_divergence(context: Any, value: float) -> None:
    with pytest.raises(Diverged, match=rf"^loss is {value} at step 3$"):
        context().log(3, loss=value)


# -- ticks ----------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(harness.context, "time", made)
    return made


def test_progress_is_told_twice_a_second_at_most(context: Any, clock: Clock) -> None:
    told: list[Progress] = []
    made = context(notify=told.append)
    for step in range(1, 101):
        made.tick(step, 100)
        clock.now += 0.1
    assert told[0] == (1, 100)
    assert 16 <= len(told) <= 20
    assert [p.step for p in told] == sorted({p.step for p in told})


def test_states_are_saved_every_twenty_seconds(context: Any, clock: Clock, store: Store) -> None:
    made, state = context(), Saved()
    for step in range(1, 101):
        made.tick(step, 100, state)
        clock.now += 1
    assert state.packed == 4
    checkpoint = store.checkpoint(made.id)
    assert checkpoint is not None
    assert checkpoint.step == 85  # 22, 43, 64, 85: more than twenty seconds apart
    assert checkpoint.tensors.read_bytes() == b"state"


def test_a_restored_context_has_the_state_the_curves_and_the_cost(context: Any) -> None:
    made = context()
    assert made.restore(Saved()) == 0
    made.log(1, loss=0.5)
    made.stopping.set()
    state = Saved()
    state.packed = 6
    with pytest.raises(run.Interrupted):
        made.tick(1, 9, state)
    again, fresh = context(), Saved()
    assert again.restore(fresh) == 1
    assert fresh.packed == 7
    again.log(2, loss=0.25)
    assert again.finished_series()["loss"].y == (0.5, 0.25)
    assert again.cost().sessions == 2
    spent = made._store.checkpoint(made.id).meta["cost"]  # type: ignore[union-attr]
    assert again.cost().wall_seconds > spent["wall_seconds"] > 0  # type: ignore[index]


def test_a_state_that_other_code_saved_is_forgotten(context: Any, store: Store) -> None:
    made = context(source_digest="a")
    made.stopping.set()
    for step in (5, 6):
        with pytest.raises(run.Interrupted):
            made.tick(step, 9, Saved())
    (store.trial_folder(made.id) / "log.txt").write_text("said")
    assert context(source_digest="a").restore(Saved()) == 6
    assert context(source_digest="b").restore(Saved()) == 0
    assert [path.name for path in store.trial_folder(made.id).iterdir()] == ["log.txt"]
    again = context(source_digest="b")
    again.stopping.set()
    with pytest.raises(run.Interrupted):  # an older state must not outlive a newer one
        again.tick(1, 9, Saved())
    assert context(source_digest="b").restore(Saved()) == 1


def test_stopping_without_a_state_saves_nothing(context: Any, store: Store) -> None:
    made = context()
    made.stopping.set()
    with pytest.raises(run.Interrupted):
        made.tick(3, 9)
    assert store.checkpoint(made.id) is None


def test_the_time_limit_is_said_with_the_step(context: Any) -> None:
    made = context(seconds=-1)
    with pytest.raises(run.TimeLimit, match=r"^stopped after -1 s at step 3 of 9$"):
        made.tick(3, 9)


# -- execute --------------------------------------------------------------------------------------


def test_a_good_trial_leaves_a_record_and_nothing_else(job: Any, store: Store) -> None:
    told: list[Progress] = []
    made = job("walk", "toy")
    locked: list[bool] = []
    outcome = run.execute(made, told.append, held=lambda: locked.append(store.locked(made.id)))
    assert outcome == run.Outcome(run.DONE)
    assert locked == [True]
    record = only(store)
    assert record.id == made.id
    assert record.status == "ok"
    assert record.error is None
    assert set(record.metrics) == {"height", "noise"}
    assert record.counts == {"steps": 40}
    assert set(record.series) == {"height", "last"}
    assert record.provenance.source_digest == made.source_digest
    assert record.cost.sessions == 1
    assert told
    assert not store.trial_folder(made.id).exists()
    assert not store.locked(made.id)


def test_a_recorded_trial_is_not_run_again_unless_forced(job: Any, store: Store) -> None:
    made = job("walk", "toy")
    run.execute(made)
    before = only(store)
    assert run.execute(made) == run.Outcome(run.DONE, elsewhere=True)
    assert only(store) == before
    assert run.execute(made._replace(force=True, threads=3)).code == run.DONE
    assert only(store).provenance.threads == 3
    assert only(store).outcome() == before.outcome()


def test_a_trial_that_is_locked_is_left_alone(job: Any, store: Store) -> None:
    made = job("walk", "toy")
    held: list[bool] = []
    with store.lock(made.id):
        outcome = run.execute(made, held=lambda: held.append(True))
    assert outcome.code == run.BUSY
    me = f"{platform.node()}, process {os.getpid()}"
    assert outcome.line == f"another process is at work on it ({me})"
    assert held == []
    assert store.load().records == []


@pytest.mark.parametrize(
    ("method", "status"),
    [("raises", "failed"), ("nan", "diverged"), ("extra-keys", "failed"), ("no-metrics", "failed")],
)
def test_a_failing_method_leaves_a_record(job: Any, store: Store, method: str, status: str) -> None:
    made = job(method)
    outcome = run.execute(made)
    record = only(store)
    assert (outcome.code, outcome.recorded) == (run.FAILED, True)
    log = store.trial_folder(made.id) / "error.txt"
    assert outcome.line.startswith(f"{status}: {record.error}")
    assert outcome.line.endswith(f"; log: {log}")
    assert record.status == status
    assert "Traceback" in log.read_text()
    assert not store.locked(made.id)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (MemoryError("much"), "oom", "MemoryError: much"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "oom", "OSError: [Errno 12] Cannot"),
        (RuntimeError("out of memory: can't allocate"), "failed", "RuntimeError: out of memory"),
        (ValueError("the allocation is negative"), "failed", "ValueError: the allocation"),
        (SystemExit(0), "failed", "SystemExit: 0"),
        (KeyboardInterrupt(), "failed", "KeyboardInterrupt: "),
        (ValueError("x" * 10**6), "failed", f"ValueError: {'x' * 334}...{'x' * 166}"),
        (
            OSError(2, "Gone", "/home/me/data/a.txt"),
            "failed",
            "FileNotFoundError: [Errno 2] Gone: 'a.txt'",
        ),
        (Diverged("loss is nan"), "diverged", "loss is nan"),
        (run.TimeLimit("stopped"), "timeout", "stopped"),
        (MethodError("broke its word"), "failed", "broke its word"),
        (KeyError("a"), "failed", "KeyError: 'a'"),
        (ValueError(), "failed", "ValueError: "),
        (ValueError("a\tb\nc"), "failed", r"ValueError: a\tb"),
    ],
)
def test_every_exception_has_a_status_and_a_line(
    job: Any,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    status: str,
    line: str,
) -> None:
    def method(_: Context) -> dict[str, float]:
        raise error

    monkeypatch.setattr(registry, "call", lambda _: method)
    run.execute(job("walk"))
    assert only(store).status == status
    assert (only(store).error or "").startswith(line)


@pytest.mark.parametrize(
    ("metrics", "line"),
    [
        ({"height": True}, "metric height is of type bool, not a number"),
        ({"height": np.bool_(True)}, "metric height is of type bool, not a number"),
        ({"height": "high"}, "metric height is of type str, not a number"),
        ({"height": 1j}, "metric height is of type complex, not a number"),
        ({"height": [1.0]}, "metric height is of type list, not a number"),
        ({"height": np.ones(2)}, "ValueError: can only convert an array of size 1"),
        ({"height": 10**400}, "metric height is beyond what a float holds"),
        ({1: 1.0}, "method walk returned a metric named by int, not by text"),
        ([1.0], "method walk returned list, not metrics by name"),
        (7, "method walk returned int, not metrics by name"),
    ],
)
def test_metrics_that_are_no_numbers_are_a_failure_of_the_method(
    job: Any, store: Store, monkeypatch: pytest.MonkeyPatch, metrics: Any, line: str
) -> None:
    monkeypatch.setattr(registry, "call", lambda _: lambda _: metrics)
    assert run.execute(job("walk")).code == run.FAILED
    assert only(store).status == "failed"
    assert (only(store).error or "").startswith(line)


@pytest.mark.parametrize(
    "value", [2, np.float32(2), np.int8(2), np.array(2.0), fractions.Fraction(2)]
)
def test_numbers_of_other_kinds_are_metrics(
    job: Any, store: Store, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    class Tricky(dict[str, Any]):
        """Says something else whenever it is asked."""

        def __getitem__(self, _: str) -> Any:
            raise KeyError("not today")

        def __iter__(self) -> Any:
            raise RuntimeError("not today")

    monkeypatch.setattr(registry, "call", lambda _: lambda _: Tricky(height=value))
    assert run.execute(job("walk")).code == run.DONE
    assert only(store).metrics == {"height": 2.0}
    assert type(only(store).metrics["height"]) is float


@pytest.mark.parametrize(
    ("number", "code"),
    [(n, run.FULL) for n in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)]
    + [(errno.EFBIG, run.FAILED)],
)
def test_a_disk_that_is_full_is_told_from_what_only_this_trial_cannot_write(
    job: Any, store: Store, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def commit(_: Store, __: Record) -> None:
        raise StoreError("cannot write it") from OSError(number, "as it is")

    monkeypatch.setattr(Store, "commit", commit)
    outcome = run.execute(job("walk", "toy"))
    assert outcome == run.Outcome(code, "cannot write it", recorded=False)


def test_a_disk_that_a_method_finds_full_is_only_full_if_the_store_finds_it_so(
    job: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def method(_: Context) -> dict[str, float]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(registry, "call", lambda _: method)
    made = job("walk")
    with monkeypatch.context() as patch:

        def probe(*_: object) -> None:
            raise StoreError("cannot write") from OSError(errno.ENOSPC, "No space")

        patch.setattr(Store, "probe", probe)
        assert run.execute(made) == run.Outcome(run.FULL, "cannot write", recorded=False)
    assert store.load().records == []
    assert run.execute(made).code == run.FAILED
    assert only(store).error == "OSError: [Errno 28] No space left on device"


def test_a_series_that_does_not_fit_is_a_failure_of_the_method(
    job: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def method(ctx: Context) -> dict[str, float]:
        ctx.series("x", [1], [1, 2])
        return {"height": 1.0}

    monkeypatch.setattr(registry, "call", lambda _: method)
    run.execute(job("walk"))
    assert only(store).error == "ValidationError: series: 1 x values against 2 y values"


@pytest.mark.parametrize("error", [DataError("x"), SpecError("x"), StoreError("x")])
def test_what_is_not_the_methods_fault_leaves_no_record(
    job: Any, store: Store, monkeypatch: pytest.MonkeyPatch, error: HarnessError
) -> None:
    def method(_: Context) -> dict[str, float]:
        raise error

    monkeypatch.setattr(registry, "call", lambda _: method)
    made = job("walk")
    assert run.execute(made) == run.Outcome(run.FAILED, "x", recorded=False)
    assert store.load().records == []
    assert not store.locked(made.id)


def test_a_trial_whose_lease_ran_out_says_so_whatever_else_went_wrong(
    job: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who took it over has removed the folder that it would have written to."""
    made = job("walk")

    def method(_: Context) -> dict[str, float]:
        shutil.rmtree(store.cache / "locks" / made.id[:12])
        raise StoreError("cannot write out: No such file or directory")

    monkeypatch.setattr(registry, "call", lambda _: method)
    outcome = run.execute(made)
    assert outcome.code == run.BUSY
    assert "another process took it over" in outcome.line
    assert store.load().records == []


def test_a_trial_over_its_limit_is_a_timeout(job: Any, store: Store) -> None:
    made = job("hangs-ticking", scale="laptop")._replace(seconds=0.05)
    outcome = run.execute(made)
    assert (outcome.code, only(store).status) == (run.FAILED, "timeout")


def test_signals_stop_a_trial_and_are_put_back(
    job: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    def method(ctx: Context) -> dict[str, float]:
        ctx.tick(1, 3, Saved())
        signal.raise_signal(signal.SIGTERM)
        assert ctx.stopping.is_set()
        ctx.tick(2, 3, Saved())
        raise AssertionError("not stopped")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(registry, "call", lambda _: method)
    made = job("walk")
    assert run.execute(made).code == run.INTERRUPTED
    assert signal.getsignal(signal.SIGTERM) == before
    checkpoint = store.checkpoint(made.id)
    assert checkpoint is not None
    assert checkpoint.step == 2
    assert store.load().records == []


def test_the_global_generators_are_seeded_by_the_trial(job: Any, store: Store) -> None:
    values = set()
    for _ in range(2):
        random.seed()
        assert run.execute(job("global-random")._replace(force=True)).code == run.DONE
        values.add(only(store).metrics["height"])
    assert len(values) == 1


def test_a_job_of_a_suite_that_has_changed_is_refused(job: Any, store: Store) -> None:
    outcome = run.execute(job("walk")._replace(id="0" * 64))
    assert (outcome.code, outcome.recorded) == (run.FAILED, False)
    assert (
        outcome.line == "walk on short, seed 0: the suite changed while it was running; run again"
    )


def test_artifacts_are_made_committed_and_not_made_twice(job: Any, store: Store) -> None:
    made = job("read-seed", "toy-chain", artifact="by-seed")
    assert made.title == "artifact by-seed"
    assert run.execute(made) == run.Outcome(run.DONE)
    folder = store.artifact("toy-chain", "by-seed", made.id)
    assert folder is not None
    stamp = (folder / "value.txt").stat().st_mtime_ns
    assert not store.trial_folder(made.id).exists()
    assert run.execute(made) == run.Outcome(run.DONE, elsewhere=True)
    assert (folder / "value.txt").stat().st_mtime_ns == stamp


def test_an_artifact_of_other_code_is_made_again(
    job: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job("read-seed", "toy-chain", artifact="by-seed")
    assert run.execute(made).code == run.DONE
    assert store.artifact_source("toy-chain", "by-seed", made.id) == made.source_digest
    folder = store.artifact("toy-chain", "by-seed", made.id)
    assert folder is not None
    (later,) = [w.job for w in _work("read-seed", store) if w.job.task == made.task]
    assert later.artifact is None  # the artifact is there
    real = registry.source_digest
    (make,) = (a.make for a in registry.load("toy-chain").artifacts if a.name == "by-seed")
    changed = functools.cache(lambda path: "f" * 64 if path == make else real(path))
    monkeypatch.setattr(registry, "source_digest", changed)
    again = job("read-seed", "toy-chain", artifact="by-seed")
    assert (again.id, again.source_digest) == (made.id, "f" * 64)
    (folder / "left.txt").write_text("of the old code")
    assert run.execute(again).code == run.DONE
    assert not (folder / "left.txt").exists()
    assert store.artifact_source("toy-chain", "by-seed", made.id) == "f" * 64


def test_a_failing_artifact_leaves_no_record_but_a_traceback(job: Any, store: Store) -> None:
    made = job("read-broken", "toy-chain", artifact="broken")
    outcome = run.execute(made)
    assert (outcome.code, outcome.recorded) == (run.FAILED, False)
    assert re.match(r"OSError: the kiln is cold \(\S*methods\.py:\d+\); log: ", outcome.line)
    assert "kiln" in Path(outcome.line.rpartition(" ")[2]).read_text()
    assert store.load().records == []
    assert store.artifact("toy-chain", "broken", made.id) is None


def test_failure_is_the_record_of_a_process_that_died(job: Any) -> None:
    made = job("walk")
    record = run.failure(made, "oom", "killed", "2025-01-01T00:00:00+00:00")
    assert (record.id, record.status, record.error) == (made.id, "oom", "killed")
    assert record.metrics == {}
    assert record.sealed().intact()


def test_steps_resume_where_the_checkpoint_is(context: ContextFactory, store: Store) -> None:
    ctx, state = context(), Saved()
    for step in ctx.steps(10, state):
        if step == 4:
            ctx.stopping.set()
            with pytest.raises(run.Interrupted):
                ctx.tick(step + 1, 10, state)
            break
    assert list(context().steps(10, Saved())) == [5, 6, 7, 8, 9]
