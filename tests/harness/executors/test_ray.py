"""Ray: a cluster of three nodes on this machine, one of them killed in the middle of trainings."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import executors, plan, registry, variants
from harness.data import Sources
from harness.errors import StoreError
from harness.executors.ray import Home, contents, receive
from harness.executors.remote import heard, packed, told, unpacked
from harness.run import FAILED, Outcome
from harness.store import Store

pytestmark = pytest.mark.filterwarnings("ignore")
TOY = Path(__file__).parents[2] / "toy"
SLOW = {"TOY_STEP_SECONDS": "0.05", "TOY_CHECKPOINT_SECONDS": "0.2"}


class Nodes:
    """A cluster of nodes with a CPU each."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
        )
        self.more = [self.cluster.add_node(num_cpus=1) for _ in range(count - 1)]
        self.address = self.cluster.address

    def lose(self) -> None:
        """One node that is not the head, at once."""
        self.cluster.remove_node(self.more.pop(), allow_graceful=False)


@pytest.fixture
def nodes(project: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Nodes]]:
    """`nodes(count, **env)`: they see the project's folders."""
    pytest.importorskip("ray")
    started: list[Nodes] = []

    def start(count: int = 3, **env: str) -> Nodes:
        project.env |= {"RAY_USAGE_STATS_ENABLED": "0"} | env
        for name, value in project.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("TMPDIR", str(project.root.parent))
        started.append(Nodes(count))
        return started[-1]

    yield start
    for each in started:
        each.cluster.shutdown()


def on(cluster: Nodes) -> tuple[str, ...]:
    return ("--executor", "ray", "--address", cluster.address)


def saved(project: Any) -> int:
    """How many unfinished trials have a checkpoint."""
    return len({path.parent for path in project.cache.glob("trials/*/checkpoint-*.json")})


@pytest.fixture(scope="module")
def undisturbed(make_project: Any) -> Any:
    """`undisturbed(suite)`: outcomes of a run on this machine when nothing happens to it."""

    def outcomes(*words: str) -> dict[str, str]:
        project = make_project()
        assert project.run("run", *words).code == 0
        found: dict[str, str] = project.outcomes()
        return found

    return outcomes


@pytest.mark.slow
def test_a_node_that_is_lost_costs_nothing_but_time(
    project: Any, nodes: Any, undisturbed: Any, wait_for: Any
) -> None:
    cluster = nodes(3, **SLOW)
    running = project.start("run", "toy", *on(cluster))
    wait_for(lambda: saved(project) == 3)
    cluster.lose()
    done = project.finish(running)
    assert (done.code, done.err) == (0, "")
    assert project.outcomes() == undisturbed("toy")
    assert max(r.cost.sessions for r in project.records()) == 2
    assert project.leftovers() == []


@pytest.mark.slow
def test_artifacts_come_first_and_failures_stay_with_what_needs_them(
    project: Any, nodes: Any, undisturbed: Any
) -> None:
    pick = ("toy-chain", "--methods", "read-both,read-broken,walk")
    done = project.run("run", *pick, *on(nodes(2)))
    assert done.code == 1
    failed = [line for line in done.out.splitlines() if line.startswith("failed ")]
    assert len(failed) == 1 + 1 + 4  # the broken one, one behind it, their trials
    assert done.out.count("not run: an artifact that it needs failed") == 5
    assert set(Counter(project.logged("make")).values()) == {1}
    assert len(project.outcomes()) == 8


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_resumes(
    project: Any, nodes: Any, undisturbed: Any, wait_for: Any
) -> None:
    cluster = nodes(2, **SLOW)
    pick = ("run", "toy", "--tasks", "long", *on(cluster))
    running = project.start(*pick)
    wait_for(lambda: saved(project) == 2)
    running.send_signal(signal.SIGINT)
    done = project.finish(running)
    assert done.code == 130
    assert "stopped; everything is saved, resume with: harness run toy" in done.err
    assert project.run(*pick).code == 0
    assert project.outcomes() == undisturbed("toy", "--tasks", "long")
    assert sorted(r.cost.sessions for r in project.records()) == [1, 1, 2, 2]


@pytest.mark.slow
def test_without_a_shared_folder_artifacts_travel_and_records_come_back(
    project: Any, nodes: Any, undisturbed: Any
) -> None:
    prelude = (
        "from harness.executors import ray\n"
        "ray.Ray._home = lambda self, work, sign: ray.Home(False, 'apart', tuple(ray.sys.argv))"
    )
    cluster = nodes(2)
    pick = ("toy-chain", "--methods", "read-both,read-seed")
    done = project.run("run", *pick, *on(cluster), prelude=prelude)
    assert (done.code, done.err) == (0, "")
    assert project.outcomes() == undisturbed(*pick)
    assert all(r.provenance.command[:2] == ("harness", "run") for r in project.records())
    own = project.root.parent / "harness-apart"
    assert len(list(own.glob("results/*/*/*.json"))) == 8
    assert len(list(project.cache.glob("artifacts/toy-chain/*/artifact.json"))) == 8
    assert not list(project.cache.glob("trials/*"))
    assert project.run("doctor").code == 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_thousand_trials(project: Any, nodes: Any) -> None:
    began = time.monotonic()
    done = project.run("run", "toy-many", "--seeds", "0-19", *on(nodes(1)), seconds=1100)
    assert (done.code, done.err) == (0, "")
    assert len(project.records()) == 2000
    assert set(Counter(project.logged("start")).values()) == {1}
    assert project.leftovers() == []
    print(f"{(time.monotonic() - began) / 2000 * 1000:.0f} ms per trial")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", tmp_path / "cache")


def artifact(store: Store) -> Path:
    """One that is whole, of two files."""
    work = store.cache.parent / "work"
    (work / "deep").mkdir(parents=True)
    (work / "a.txt").write_text("one")
    (work / "deep" / "b.txt").write_text("two")
    spec: Any = {"artifact": {"name": "gold"}}
    from harness.identity import digest

    folder = store.artifact_folder("toy", "gold", digest(spec))
    store.commit_artifact(folder, work, spec, {"source_digest": "0"})
    return folder


def test_an_artifact_arrives_whole_or_not_at_all(store: Store, tmp_path: Path) -> None:
    files = contents(artifact(store))
    other = Store(tmp_path / "there" / "results", tmp_path / "there" / "cache")
    receive(other, files)
    receive(other, files)
    (arrived,) = other.artifacts()
    assert contents(arrived) == files
    assert (arrived / "deep" / "b.txt").read_text() == "two"
    assert list(other.cache.glob("locks/*")) == []
    for name in ("a.txt", "artifact.json"):
        third = Store(tmp_path / name / "results", tmp_path / name / "cache")
        with pytest.raises(StoreError, match="corrupt"):
            receive(third, {**files, name: files[name].replace(b"o", b"0", 1)})
        assert list(third.artifacts()) == []


def test_an_artifact_cannot_name_a_place_outside(store: Store, tmp_path: Path) -> None:
    files = contents(artifact(store))
    with pytest.raises(StoreError, match="corrupt"):
        receive(Store(tmp_path / "r", tmp_path / "c"), {**files, "": b"../../../etc/gold-0123"})
    assert not (tmp_path.parent / "etc").exists()


def test_a_node_that_does_not_see_the_folder_says_so(toys: None, store: Store) -> None:
    suite = registry.load("toy")
    made = plan.make(
        suite, variants.seeded(suite.scale("smoke"), (0,)), [], store, Sources(None, store.cache)
    )
    item = executors.work(made, store, Sources(None, store.cache))[0]
    with pytest.raises(StoreError, match="does not see"):
        Home(True, "sign").settled(item.job)
    store.cache.mkdir()
    (store.cache / "sign").touch()
    assert Home(True, "sign").settled(item.job) == item.job
    moved = Home(False, "apart").settled(item.job)
    assert Path(moved.cache).parent == Path(moved.results).parent
    assert Path(moved.cache).parent.name == "harness-apart"
    assert moved._replace(cache=item.job.cache, results=item.job.results) == item.job


def test_work_travels_as_text(toys: None, store: Store) -> None:
    suite = registry.load("toy-chain")
    sources = Sources(None, store.cache)
    made = plan.make(suite, suite.scale("smoke"), [], store, sources)
    for item in executors.work(made, store, sources):
        marked = item._replace(job=item.job._replace(marks=(("plugin x", "1"),), plugins=("x",)))
        assert unpacked(packed(marked)) == marked
    outcome = Outcome(FAILED, "why\n", recorded=False)
    assert heard(told(outcome, 1.5)) == (outcome, 1.5)
    assert os.linesep not in told(outcome, 1.5)
