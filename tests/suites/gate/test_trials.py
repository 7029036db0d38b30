"""Training and measuring through the engine's own context, on tiny graphs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import plan, registry
from harness.data import Sources
from harness.errors import Diverged
from harness.run import Context, Interrupted
from harness.store import Store
from suites.gate import trials
from suites.gate.graphs import Graph
from suites.gate.methods import ABLATIONS
from suites.gate.model import build
from suites.gate.settings import Epochs, GateSettings, Run

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "losses.json").read_text())


@pytest.fixture
def context(tmp_path: Path) -> Any:
    def make(
        method: str,
        task: str,
        seed: int = 0,
        run: dict[str, Any] | None = None,
        released: bool = False,
        **more: Any,
    ) -> Context:
        suite = registry.load("gate")
        scale = suite.scale("smoke")
        changed = {"hidden": 16, "epochs": Epochs.all(20)} | (run or {})
        settings = GateSettings(
            **{"nodes": 200, "p": 0.05, "side": 16, "run": Run(**changed)} | more
        )
        if released:
            settings = GateSettings(run=None)
        scale = scale.model_copy(update={"settings": settings, "tasks": ("*",), "exclude": ()})
        trial = plan.trials(suite, scale, "cpu", plan.Filters((method,), (task,), (seed,)))[0][0]
        return Context(trial, Store(tmp_path / "r", tmp_path / "c"), Sources(None, tmp_path))

    return make


@pytest.mark.parametrize(
    "method",
    [
        "gat", "gate-shared", "mlp", "sage", "fagcn", "gat-sep", "gate-leaky", "gat-relu",
        "gat-zero", "gat-residual-tuned",
    ],
)  # fmt: skip
def test_every_kind_of_network_returns_what_the_task_wants(context: Any, method: str) -> None:
    ctx = context(method, "self-er8-l5")
    metrics = trials.run(ctx)
    task = ctx.task
    assert set(task.metrics) <= set(metrics) <= set(task.reports)
    attends = {"gat", "gate-shared", *ABLATIONS}
    assert ("alpha-middle" in metrics) == (method in attends)
    assert ctx.counts["epochs"] == 20
    assert ctx.counts["flops"] > 0
    assert set(ctx.finished_series()) >= {"loss", "val", "energy-by-layer", "mad-by-layer"}


def test_gate_switches_neighbours_off_where_they_are_noise(context: Any) -> None:
    run = {"hidden": 32, "epochs": Epochs.all(150)}
    settings: dict[str, Any] = {"nodes": 300, "p": 0.03, "run": run}
    gate = trials.run(context("gate-shared", "self-er8-l5", **settings))
    gat = trials.run(context("gat-shared", "self-er8-l5", **settings))
    assert gate["accuracy"] > 95
    assert gat["accuracy"] < 70
    assert gate["alpha-middle"] > 0.9
    assert gat["alpha-middle"] < 0.5
    assert (gate["switched-off"], gat["switched-off"]) == (100, 0)


def test_the_reported_score_is_that_of_the_first_best_validation_epoch(context: Any) -> None:
    ctx = context("gat", "neighbour1-l2", run={"epochs": Epochs.all(30)})
    metrics = trials.run(ctx)
    vals = dict(ctx._curves["val"])
    best = max(vals.values())
    first = min(epoch for epoch, val in vals.items() if val == best)
    assert ctx.counts["best_epoch"] == first

    again = context(
        "gat", "neighbour1-l2", run={"epochs": Epochs.all(first)}
    )  # stops where it selected
    assert trials.run(again)["accuracy-last"] == metrics["accuracy"]


def test_training_stops_once_the_loss_is_fitted(context: Any) -> None:
    ctx = context("mlp", "self-er8-l2", run={"epochs": Epochs.all(500), "lr": 0.05}, fitted=0.5)
    trials.run(ctx)
    losses = ctx._curves["loss"]
    assert losses[-1][1] <= 0.5
    assert all(loss > 0.5 for _, loss in losses[:-1])
    assert ctx.counts["epochs"] == losses[-1][0] < 500


@pytest.mark.parametrize("method", ["gate", "gat-residual-tuned"])
@pytest.mark.parametrize("stop_at", [1, 7, 19])
def test_an_interrupted_training_goes_on_bit_for_bit(
    context: Any, stop_at: int, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = context(method, "self-er8-l2")
    expected = trials.run(straight)

    first = context(method, "self-er8-l2", seed=0)
    ticks = iter(range(1, 100))
    tick = first.tick

    def stopping(*args: Any) -> None:
        if next(ticks) == stop_at:
            first.stopping.set()
        tick(*args)

    monkeypatch.setattr(first, "tick", stopping)
    with pytest.raises(Interrupted):
        trials.run(first)
    second = context(method, "self-er8-l2")
    assert trials.run(second) == expected
    assert second.finished_series() == straight.finished_series()
    assert second.counts == straight.counts
    assert second.cost().sessions == 2


def test_equal_seeds_see_equal_graphs_whatever_the_method(context: Any) -> None:
    one, two = (trials.load(context(m, "neighbour1-l2", seed=1)) for m in ("gat", "gate"))
    assert all(
        torch.equal(a, b) for a, b in zip(one, two, strict=True) if isinstance(a, torch.Tensor)
    )
    other = trials.load(context("gat", "neighbour1-l2", seed=0))
    assert not torch.equal(one.x_NF, other.x_NF)


def test_a_diverging_network_is_reported_as_such(context: Any) -> None:
    with pytest.raises(Diverged, match="loss"):
        trials.run(context("gate", "self-er8-l2", run={"lr": 1e30}))


def test_released_settings_come_from_the_task(context: Any) -> None:
    ctx = context("gat", "neighbour3-l4", released=True)
    assert trials.training_of(ctx)[:3] == (256, 0.005, 10_000)


RIGID = {
    "neighbour1-l1": (64, 0.0005, 5_000),
    "roman-empire-l10": (64, 0.0005, 5_000),
    "amazon-ratings-l5": (64, 0.001, 5_000),
    "amazon-ratings-l10": (64, 0.0005, 5_000),
    "questions-l5": (64, 0.001, 5_000),
    "questions-l10": (64, 0.0005, 5_000),
    "minesweeper-l5": (64, 0.0005, 5_000),
    "minesweeper-l10": (64, 0.0005, 5_000),
    "tolokers-l5": (64, 0.0005, 5_000),
    "tolokers-l10": (64, 0.0005, 5_000),
}
"""The ten rows of the released `ExpSettings_RigidArch.csv`: width, rate, epochs."""


@pytest.mark.parametrize("task", RIGID)
def test_the_rigid_network_has_its_own_released_settings(context: Any, task: str) -> None:
    ctx = context("mlp-gat", task, released=True)
    assert trials.training_of(ctx)[:3] == RIGID[task]


def test_the_tuned_network_is_scored_without_dropout(context: Any) -> None:
    ctx = context("gat-residual-tuned", "self-er8-l2")
    build_ = trials.build
    modes: list[bool] = []

    def watched(*args: Any) -> Any:
        network = build_(*args)
        network.register_forward_hook(lambda module, *_: modes.append(module.training))
        return network

    trials.build = watched  # type: ignore[assignment]
    try:
        trials.run(ctx)
    finally:
        trials.build = build_
    assert modes[:42] == [True, False] * 21  # each epoch trains with noise and scores without


def test_epochs_are_those_of_the_family(context: Any) -> None:
    epochs = Epochs(self_sufficient=1, neighbour_dependent=7, generated=2, real=3)
    ctx = context("gat", "neighbour3-l4", run={"epochs": epochs})
    assert trials.training_of(ctx).epochs == 7


def test_sparse_features_give_the_same_network_output() -> None:
    x_NF = (torch.rand(60, 200, generator=torch.Generator().manual_seed(0)) < 0.01).float()
    edges = torch.randint(60, (2, 200), generator=torch.Generator().manual_seed(1))
    for name in ("gat", "gate", "mlp", "residual-gat", "sage", "gcn", "fagcn"):
        network = build(name, 200, 8, 3, 2, torch.Generator().manual_seed(2))
        given = trials._input(network, x_NF)
        assert (given.layout == torch.sparse_csr) == (
            name in {"gat", "gate", "mlp", "residual-gat"}
        )
        torch.testing.assert_close(network(given, edges), network(x_NF, edges))


def test_measures_by_layer_agree_with_their_definition(context: Any) -> None:
    ctx = context("gat", "self-er8-l5")
    x_NF = torch.eye(4)
    edges = torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
    mask = torch.ones(4, dtype=torch.bool)
    graph = Graph(x_NF, edges, torch.tensor([0, 1, 0, 1]), mask, mask, mask, 2)
    network = build("mlp", 4, 4, 2, 2, torch.Generator().manual_seed(0))
    found = trials.measure(ctx, network, graph)
    energies = ctx.finished_series()["energy-by-layer"].y
    assert energies[0] == pytest.approx(4.0)  # half the sum over four directed edges of ||.||² = 2
    assert found["energy"] == pytest.approx(torch.tensor(energies[-2]).log10().item(), abs=1e-5)
    assert "alpha-middle" not in found


@pytest.mark.parametrize("method", sorted(GOLDEN))
def test_losses_are_those_of_old(context: Any, method: str) -> None:
    """A change that moves them changes results: raise the method's version, show both numbers."""
    ctx = context(method, "self-er8-l2")
    trials.run(ctx)
    losses = ctx.finished_series()["loss"].y
    assert [losses[i] for i in (0, 1, 5, 10, 20)] == pytest.approx(GOLDEN[method], rel=1e-4)
