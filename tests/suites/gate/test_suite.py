"""The experiment as data: what it names exists, and each scale runs what it says."""

import fnmatch

import pytest

from harness import registry
from harness.suite import Level, Suite
from harness.variants import points
from suites.gate.datasets import DATASETS
from suites.gate.methods import ABLATIONS
from suites.gate.model import METHODS
from suites.gate.settings import GateSettings

RANDOM = {"self-er2", "self-er8", "self-cora-random"}
"""Graphs whose labels are drawn, so that neighbours are noise."""


@pytest.fixture(scope="module")
def gate() -> Suite:
    return registry.load("gate")


def test_every_named_function_exists(gate: Suite) -> None:
    paths = {m.run for m in gate.methods} | {f.draw for f in gate.figures} | set(gate.preload)
    paths |= {d.fetch for d in gate.datasets if d.fetch}
    assert all(callable(registry.call(path)) for path in paths)


def test_methods_are_the_networks_that_can_be_built(gate: Suite) -> None:
    assert {m.params["network"] for m in gate.methods} == set(METHODS)
    assert all(m.name == m.params["network"] for m in gate.methods)


def test_datasets_carry_sizes_and_digests_of_the_table(gate: Suite) -> None:
    assert {d.name for d in gate.datasets} == set(DATASETS)
    texas = next(d for d in gate.datasets if d.name == "texas")
    assert texas.files == {DATASETS["texas"].path: DATASETS["texas"].sha256}
    roman = next(d for d in gate.datasets if d.name == "roman-empire")
    assert set(roman.files.values()) == {None}  # a prefix of a digest is no digest


def test_smoke_needs_no_data_and_runs_every_method_but_the_ablations(gate: Suite) -> None:
    pairs = gate.pairs(gate.scale("smoke"))
    assert {m.name for m, _ in pairs} == set(METHODS) - set(ABLATIONS)
    assert not any(t.datasets for _, t in pairs)


def test_ablations_meet_the_tasks_that_tell_them_apart_at_laptop_scale(gate: Suite) -> None:
    pairs = gate.pairs(gate.scale("laptop"))
    met = {name: {t.params["graph"] for m, t in pairs if m.name == name} for name in ABLATIONS}
    assert all(graphs == {*RANDOM, "minesweeper"} for graphs in met.values())


def test_what_was_stopped_too_early_gets_a_thousand_epochs(gate: Suite) -> None:
    settings = gate.scale("laptop").settings
    assert isinstance(settings, GateSettings)
    assert settings.run is not None
    assert settings.run.epochs.real >= 1000
    names = {t.name for _, t in gate.pairs(gate.scale("laptop"))}
    assert {"minesweeper-l2", "minesweeper-l5", "minesweeper-l10", "tolokers-l2"} <= names


def test_the_effect_is_measured_along_the_epochs(gate: Suite) -> None:
    scale = gate.scale("laptop")
    axis = next(axis for axis in scale.axes if axis.name == "epochs")
    values = [point.value for point in points(gate, scale, axis)]
    assert len(values) >= 4
    assert max(values) == 8 * min(values)
    assert axis.paper == 5000
    followed = {claim.name for claim in gate.claims if claim.axis == axis.name}
    assert "heterophilic-paper" in followed


def test_the_effect_is_measured_along_depth_to_ten_layers(gate: Suite) -> None:
    scale = gate.scale("laptop")
    axis = next(axis for axis in scale.axes if axis.name == "depth")
    assert [point.value for point in points(gate, scale, axis)] == [1, 2, 5, 10]
    assert "control-depth" in {claim.name for claim in gate.claims if claim.axis == axis.name}


def test_proxies_and_the_papers_own_graphs_are_not_judged_together(gate: Suite) -> None:
    for claim in gate.claims:
        if claim.role == "primary":
            judged = [
                t for t in gate.tasks if any(fnmatch.fnmatchcase(t.name, p) for p in claim.tasks)
            ]
            assert not any(task.proxy for task in judged), claim.name


def test_versions_mark_what_computes_other_numbers_than_before(gate: Suite) -> None:
    assert {m.name for m in gate.methods if m.version > 1} == {"mlp-gat"}
    changed = {t.name for t in gate.tasks if t.version > 1}
    one_way = {t.name for t in gate.tasks if t.protocol == "paper-code"}
    citation = {t.name for t in gate.tasks if t.params["graph"] in {"cora", "citeseer", "pubmed"}}
    assert changed == one_way | citation


def test_laptop_covers_the_whole_synthetic_test_bed(gate: Suite) -> None:
    scale = gate.scale("laptop")
    names = {t.name for _, t in gate.pairs(scale)}
    hops = {f"neighbour{k}-l{depth}" for k in (1, 2, 3) for depth in range(k, k + 3)}
    self_sufficient = {
        f"self-{graph}-l{depth}"
        for graph in ("er2", "er8", "cora-own", "cora-random")
        for depth in (1, 2, 5)
    }
    assert hops | self_sufficient <= names
    assert len(scale.seeds) == 10
    assert scale.settings.plain()["run"]["epochs"]["neighbour_dependent"] >= 2000  # type: ignore[call-overload, index]


def test_heterophilic_claims_speak_of_one_protocol(gate: Suite) -> None:
    for claim in gate.claims:
        protocols = {
            t.protocol
            for t in gate.tasks
            for pattern in claim.tasks
            if fnmatch.fnmatchcase(t.name, pattern)
        }
        assert protocols == {"standard"}, claim.name


def test_alpha_claims_only_name_networks_with_middle_layers(gate: Suite) -> None:
    for claim in gate.claims:
        if isinstance(claim, Level) and claim.metric == "alpha-middle":
            assert claim.a in {"gat", "gat-shared", "gate", "gate-shared"}
            assert all(pattern.endswith("-l5") for pattern in claim.tasks)


def test_references_name_metrics_that_exist(gate: Suite) -> None:
    metrics = {m.name for m in gate.metrics}
    printed = registry.references(gate)
    assert {r.metric for r in printed} <= metrics
    assert [r.value for r in printed if r.source == "paper"] == [79.57]
