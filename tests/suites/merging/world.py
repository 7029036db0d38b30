"""A results folder and a cache in which smoke scale's artifacts are made as they are asked for."""

from collections.abc import Mapping
from pathlib import Path

import torch

from harness import plan, registry
from harness.data import Sources
from harness.run import DONE, Context, Job, execute
from harness.store import Store
from suites.merging import trials as methods


class World:
    """Contexts of trials and artifacts of seed 0, on the CPU."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root / "results", root / "cache")

    def trial(self, method: str, task: str) -> tuple[plan.Trial, Mapping[str, plan.Node]]:
        """A trial and the artifacts that it leads to, by identity."""
        suite = registry.load("merging")
        wanted = plan.Filters((method,), (task,), (0,))
        found, nodes = plan.trials(suite, suite.scale("smoke"), "cpu", wanted)
        return found[0], nodes

    def context(self, method: str, task: str = "hopper", make: bool = True) -> Context:
        """The context of a trial whose artifacts are there."""
        trial, nodes = self.trial(method, task)
        if make:
            for node in nodes.values():
                self.make(trial, node)
        return Context(trial, self.store, Sources(None, self.store.cache))

    def artifact(self, name: str) -> Context:
        """The context of an artifact, itself not made; what it needs is there."""
        suite = registry.load("merging")
        wanted = plan.Filters(seeds=(0,))
        found, nodes = plan.trials(suite, suite.scale("smoke"), "cpu", wanted)
        node = next(node for node in nodes.values() if node.artifact.name == name)
        trial = next(t for t in found if node.id in plan.reachable([t.needs], nodes))
        needed = plan.reachable([node.needs], nodes)
        for other in nodes.values():  # each comes after what it needs
            if other.id in needed:
                self.make(trial, other)
        return Context(trial, self.store, Sources(None, self.store.cache), node=node)

    def make(self, trial: plan.Trial, node: plan.Node) -> None:
        """One artifact, if it is not there yet."""
        job = Job(
            suite="merging", scale="smoke", settings={}, method=trial.method.name,
            task=trial.task.name, seed=0, device="cpu", id=node.id, artifact=node.artifact.name,
            results=str(self.store.results), cache=str(self.store.cache), data=None, threads=1,
            seconds=100, commit=None, dirty=None, source_digest="0" * 64,
        )  # fmt: skip
        outcome = execute(job)
        assert outcome.code == DONE, outcome.line

    def run(self, method: str, task: str = "hopper") -> tuple[dict[str, float], Context]:
        """The metrics of a trial, and its context."""
        ctx = self.context(method, task)
        torch.manual_seed(0)
        return getattr(methods, ctx.subject.run.rpartition(":")[2])(ctx), ctx  # type: ignore[union-attr]
