"""The experiment as data: what it names exists, each scale runs what it says, data make tasks."""

import fnmatch
from pathlib import Path

import pytest

from harness import evidence, plan, registry, variants
from harness.claim import sides_of
from harness.data import Sources
from harness.store import Store
from harness.suite import Suite, select
from suites.bam import counts
from suites.bam.data.datasets import DOMAINS, PUBLIC, TEXTS
from suites.bam.model.configuration import BamConfig
from suites.bam.model.upcycle import mixture_config
from suites.bam.settings import BamSettings


@pytest.fixture(scope="module")
def bam() -> Suite:
    return registry.load("bam")


def test_every_named_function_exists(bam: Suite) -> None:
    paths = {m.run for m in bam.methods} | {f.draw for f in bam.figures} | set(bam.preload)
    paths |= {a.make for a in bam.artifacts} | {d.fetch for d in bam.datasets if d.fetch}
    assert all(callable(registry.call(path)) for path in paths)


def test_smoke_needs_no_data_and_runs_every_method(bam: Suite, tmp_path: Path) -> None:
    store = Store(tmp_path / "results", tmp_path / "cache")
    made = plan.make(bam, bam.scale("smoke"), [], store, Sources(None, tmp_path))
    assert {step.trial.method.name for step in made.steps} == {m.name for m in bam.methods}
    assert {step.state for step in made.steps} == {"missing"}
    assert {node.artifact.name for node in made.nodes.values()} == {a.name for a in bam.artifacts}
    assert all(node.spec["data"] == {} for node in made.nodes.values())


def test_real_and_built_in_text_never_share_a_model(bam: Suite) -> None:
    scale = bam.scale("smoke").model_copy(update={"tasks": ("*",)})
    found, nodes = plan.trials(bam, scale)
    used: dict[bool, set[str]] = {True: set(), False: set()}
    for trial in found:
        used[trial.task.fallback] |= plan.reachable([trial.needs], nodes)
    assert used[True]
    assert used[False]
    assert not used[True] & used[False]
    kinds = {frozenset(nodes[key].spec["data"]) for key in used[False]} - {frozenset()}
    assert kinds == {frozenset(text.name for text in texts) for texts in (TEXTS, PUBLIC)}


def test_every_seed_has_a_seed_model_and_experts_of_its_own(bam: Suite) -> None:
    _, nodes = plan.trials(bam, bam.scale("laptop"))
    names = [node.artifact.name for node in nodes.values()]
    assert names.count("tokens") == 1
    trained = {a.name for a in bam.artifacts if a.random and a.name in names}
    assert {"seed", "dense", "mixture-bam", "expert-law"} < trained
    assert all(names.count(name) == 5 for name in trained)
    for claim in bam.claims:
        if claim.role != "exact":
            assert not evidence.shared_artifacts(bam, sides_of(claim)), claim.name


def test_a_token_costs_what_it_costs_in_the_paper(bam: Suite) -> None:
    """Of the checks on the budget none can fail before anything is trained."""
    for name in ("laptop", "paper"):
        settings = bam.scale(name).settings
        assert isinstance(settings, BamSettings)
        assert settings.model is not None
        assert settings.vocabulary is not None
        dense = BamConfig(**settings.model.sizes, vocab_size=settings.vocabulary)
        of = {m: mixture_config(dense, m, 4) for m in ("btx", "bam", "bam-shared-kv")}
        flops = {
            method: counts.training_flops(
                config, settings.context if name == "laptop" else counts.CONTEXT
            )
            for method, config in of.items()
        }
        assert flops["bam"] / flops["btx"] == pytest.approx(1.25, rel=0.05)
        assert flops["bam-shared-kv"] / flops["btx"] == pytest.approx(1.13, rel=0.05)


def test_laptop_has_four_lengths_and_three_widths(bam: Suite) -> None:
    scale = bam.scale("laptop")
    assert isinstance(scale.settings, BamSettings)
    assert scale.settings.phases.mixture.halvings == 3
    lengths = {
        (m.name, t.params["halvings"]) for m, t in bam.pairs(scale) if "halvings" in t.params
    }
    for method in ("btx", "bam", "bam-cm", "bam-uniform"):
        assert {n for m, n in lengths if m == method} == {0, 1, 2, 3}
    assert not any(n for m, n in lengths if m == "btx-6")
    (axis,) = scale.axes
    widths = [point.value for point in variants.points(bam, scale, axis)]
    assert widths == [32, 64, 128]
    sizes = [
        point.scale.settings.model.inner  # type: ignore[attr-defined]
        for point in variants.points(bam, scale, axis)
    ]
    assert sizes == [64, 128, 256]
    primary = [c for c in bam.claims if c.role == "primary"]
    assert len(primary) == 5
    assert {c.axis for c in primary} == {axis.name}
    for claim in primary:
        assert set(sides_of(claim)) <= set(axis.methods)
        assert claim.version == 2
        assert claim.rests_on is not None
        assert claim.rests_on.date == "2026-11-29"


def test_laptop_has_the_core_table_and_the_controls(bam: Suite) -> None:
    scale = bam.scale("laptop")
    pairs = {(m.name, t.name) for m, t in bam.pairs(scale)}
    methods = {m for m, _ in pairs}
    assert {
        "seed", "expert-code", "expert-law", "expert-math", "btx", "bam", "bam-cm",
        "bam-shared-kv", "bam-shared-kv-cm", "btx-6", "btx-6-top3", "top1-cm", "top2-cm",
        "bam-uniform", "dense", "btm", "sparse-upcycling", "btx-top2", "drop-upcycling",
        "bam-means", "bam-ridge", "bam-frozen",
    } < methods  # fmt: skip
    for method in methods - {"counts"}:
        assert {t for m, t in pairs if m == method} >= {*DOMAINS, "mean"}
    assert {t for m, t in pairs if m == "counts"} == {
        t.name for t in bam.tasks if t.name.startswith("count-")
    }
    assert len({t for _, t in pairs if t.startswith("downstream-")}) == 6
    assert not any(t.endswith("-installed") or t == "downstream-code" for _, t in pairs)
    assert len(scale.seeds) == 5


def test_gpu_starts_from_a_pretrained_seed(bam: Suite) -> None:
    scale = bam.scale("gpu")
    assert scale.settings.plain()["model"] is None
    assert {"btx", "bam", "expert-law"} <= {m.name for m, _ in bam.pairs(scale)}


def test_claims_that_laptop_judges_have_both_sides(bam: Suite) -> None:
    pairs = {(m.name, t.name) for m, t in bam.pairs(bam.scale("laptop"))}
    for claim in bam.claims:
        for side in {claim.a, getattr(claim, "b", None) or claim.a}:
            tasks = {t.name for t in select(bam.tasks, claim.tasks)}
            tasks = {name for name in tasks if not name.endswith("-public")}
            assert tasks
            assert {(side, task) for task in tasks} <= pairs, claim.name


def test_claims_of_perplexity_speak_of_real_text(bam: Suite) -> None:
    fallback = [t.name for t in bam.tasks if t.fallback]
    for claim in bam.claims:
        assert not any(fnmatch.filter(fallback, pattern) for pattern in claim.tasks), claim.name


def test_baselines_of_the_other_paper_are_labelled(bam: Suite) -> None:
    for name in ("dense", "btm", "sparse-upcycling"):
        assert "BTX's baseline" in bam.method(name).label
    assert "BAM's main baseline" in bam.method("btx").note


def test_mixtures_read_a_quarter_of_each_domain(bam: Suite) -> None:
    for artifact in bam.artifacts:
        if artifact.name.startswith("mixture-"):
            assert artifact.params["weights"] == dict.fromkeys(DOMAINS, 0.25)
        if artifact.name.startswith("expert-"):
            domain = artifact.name.removeprefix("expert-")
            assert artifact.params["weights"] == {domain: 0.9, "general": 0.1}


def test_references_are_of_methods_and_tasks_that_exist(bam: Suite) -> None:
    known = {(t.name, metric) for t in bam.tasks for metric in t.reports}
    printed = [r for r in registry.references(bam) if r.metric == "perplexity"]
    assert printed
    assert {(r.task, r.metric) for r in printed} <= known
    assert {r.method for r in printed} <= {m.name for m in bam.methods}
