"""Two machines on one folder: process trees under different host names, with their own locks.

To the harness they are different machines, since a machine's name is part of what tells them apart.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness import lease

SLOW = {"TOY_STEP_SECONDS": "0.01", "TOY_CHECKPOINT_SECONDS": "0.05"}
APART = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"']


def _unshares() -> bool:
    if not shutil.which("unshare"):
        return False
    words = [*APART, "other", "hostname"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout == "other\n"


pytestmark = pytest.mark.skipif(not _unshares(), reason="no right to change a host name")


class Machine:
    """Starts commands under a host name."""

    def __init__(self, project: Any, name: str) -> None:
        self.project = project
        self.name = name

    def start(self, *words: str, **env: str) -> "subprocess.Popen[str]":
        """Starts `harness <words>` on this machine."""
        harness = Path(sys.executable).with_name("harness")
        process = subprocess.Popen(
            [*APART, self.name, str(harness), *words], cwd=self.project.root, text=True,
            env=self.project.env | SLOW | {"MARK": self.name} | env, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.project._started.append(process)
        return process

    def dies(self, process: "subprocess.Popen[str]") -> None:
        """Loses power: everything that it runs is gone at once."""
        while pids := self.project.alive(f"MARK={self.name}"):
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def machines(project: Any) -> tuple[Machine, Machine]:
    return Machine(project, "first"), Machine(project, "second")


def test_two_machines_run_each_trial_and_make_each_artifact_once(
    project: Any, machines: tuple[Machine, Machine]
) -> None:
    chain = ("toy-chain", "--methods", "read-seed,read-task,read-both")
    started = [m.start("run", "toy", "--jobs", "2") for m in machines]
    started += [m.start("run", *chain, "--jobs", "1", TOY_STEP_SECONDS="0.05") for m in machines]
    done = [project.finish(process) for process in started]
    assert [(d.code, d.err) for d in done] == [(0, "")] * 4
    assert set(Counter(project.logged("start")).values()) == {1}
    assert set(Counter(project.logged("make")).values()) == {1}
    assert len(project.records("toy")) == 8
    assert len(project.records("toy-chain")) == 12
    assert project.leftovers() == []


def test_shards_share_the_trials_out_and_the_artifacts(
    project: Any, machines: tuple[Machine, Machine]
) -> None:
    chain = ("toy-chain", "--methods", "read-seed,read-task,read-both,walk", "--jobs", "1")
    started = [m.start("run", *chain, "--shard", f"{n}/2") for n, m in enumerate(machines, 1)]
    done = [project.finish(process) for process in started]
    assert [(d.code, d.err) for d in done] == [(0, "")] * 2
    assert all(" 8 missing; 8 to run after" in d.out for d in done)
    assert len(project.records("toy-chain")) == 16
    assert set(Counter(project.logged("make")).values()) == {1}


def test_a_machine_that_dies_leaves_its_trials_to_the_others_once_its_lease_is_over(
    project: Any, machines: tuple[Machine, Machine], wait_for: Any
) -> None:
    run = ("run", "toy", "--jobs", "2", "--seeds", "0", "--tasks", "long")
    first, second = machines
    slow = {"TOY_STEP_SECONDS": "0.05", "HARNESS_LEASE_SECONDS": "8"}
    process = first.start(*run, **slow)
    wait_for(lambda: len(list(project.cache.glob("trials/*/checkpoint-*.json"))) > 1)
    time.sleep(1.5)  # a heartbeat or two
    first.dies(process)
    early = project.finish(second.start(*run, **slow))
    assert (early.code, early.err) == (0, "")
    assert "2 run by another process" in early.out
    time.sleep(8)
    late = project.finish(second.start(*run, **slow))
    assert (late.code, late.err) == (0, "")
    assert [r.cost.sessions for r in project.records()] == [2, 2], "resumed, not begun again"
    assert project.leftovers() == []


def test_a_trial_that_lost_its_lock_ends_without_a_record(
    project: Any, machines: tuple[Machine, Machine], wait_for: Any
) -> None:
    run = ("run", "toy", "--jobs", "1", "--seeds", "0", "--tasks", "long", "--methods", "walk")
    first = machines[0]
    process = first.start(
        *run, HARNESS_LEASE_SECONDS="1", HARNESS_EXIT_SECONDS="1", TOY_STEP_SECONDS="0.1"
    )
    wait_for(lambda: list(project.cache.glob("locks/[!.]*/*")))  # one half taken has a dot
    (file,) = project.cache.glob("locks/[!.]*/*")
    time.sleep(1)
    file.rename(file.with_name(f"{lease.machine()}-1-00000000"))  # another machine takes over
    done = project.finish(process)
    assert (done.code, done.err) == (0, "")
    assert "1 run by another process" in done.out
    assert project.records() == []
    assert [p.name for p in project.cache.glob("locks/*/*")] == [f"{lease.machine()}-1-00000000"]
