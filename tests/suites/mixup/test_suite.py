"""The experiment as data: what it names exists, and each scale runs what it says."""

import fnmatch
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import registry
from harness.suite import Beats, LowerSpread, Suite, Trend
from suites.mixup.claims import BASELINES, CONTROLS
from suites.mixup.datasets import CORPORA
from suites.mixup.finetuning import METHODS

REQUIRED = {
    "vanilla", "vanilla-equal-updates", "vanilla-equal-time", "vanilla-embeddings", "majority",
    "mixup-convex", "mixup-convex-k1", "mixup-code", "mixup-code-k1", "averaging-only", "joint",
    "random-alpha", *BASELINES,
}  # fmt: skip


@pytest.fixture(scope="module")
def mixup() -> Suite:
    return registry.load("mixup")


def test_every_named_function_exists(mixup: Suite) -> None:
    paths = {m.run for m in mixup.methods} | {f.draw for f in mixup.figures} | set(mixup.preload)
    paths |= {d.fetch for d in mixup.datasets if d.fetch} | {a.make for a in mixup.artifacts}
    assert all(callable(registry.call(path)) for path in paths)


def test_methods_can_be_built_and_all_are_used(mixup: Suite) -> None:
    for method in mixup.methods:
        METHODS[str(method.params["method"])](**method.params["options"])  # type: ignore[arg-type]
    assert {m.params["method"] for m in mixup.methods} == set(METHODS)


def test_listing_it_loads_no_heavy_library() -> None:
    code = (
        "import sys; from harness import registry; registry.load('mixup'); "
        "print([m for m in ('torch', 'transformers', 'numpy.linalg', 'sklearn') "
        "if m in sys.modules and m != 'numpy.linalg'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[3], env={**os.environ},
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_smoke_needs_no_data_and_runs_every_method_that_needs_no_pretraining(mixup: Suite) -> None:
    pairs = mixup.pairs(mixup.scale("smoke"))
    assert {m.name for m, _ in pairs} == {m.name for m in mixup.methods if not m.needs}
    assert not any(t.datasets for _, t in pairs)
    assert {t.params["measure"] for _, t in pairs} == {"accuracy", "spearman"}


def test_laptop_covers_what_must_be_shown(mixup: Suite) -> None:
    scale = mixup.scale("laptop")
    pairs = {(m.name, t.name) for m, t in mixup.pairs(scale)}
    assert len(scale.seeds) >= 5
    for name in ("sst-2", "cr", "trec"):
        assert {m for m, t in pairs if t == f"{name}-n300"} >= REQUIRED, name
    for task in {t for _, t in pairs}:  # floors and the primary claims' methods in every table
        there = {m for m, t in pairs if t == task}
        assert there >= {"majority", "probe", "vanilla", "mixup-convex", "averaging-only"}, task
    (axis,) = scale.axes
    assert axis.values == (100, 300, 1000)
    assert {t for _, t in pairs} >= set(axis.tasks)
    pairs_apart = {m for m, t in pairs if t == "sts-b-n300"}
    assert pairs_apart >= {"zero-shot", "probe-pairs", "vanilla-pairs"}


def test_regression_is_never_given_to_r3f(mixup: Suite) -> None:
    for scale in mixup.scales:
        pairs = mixup.pairs(scale)
        assert not [t for m, t in pairs if m.name == "r3f" and t.params["measure"] == "spearman"]


def test_every_set_is_a_dataset_with_its_digests(mixup: Suite) -> None:
    assert {d.name for d in mixup.datasets} == set(CORPORA)
    for task in mixup.tasks:
        assert set(task.datasets) <= set(CORPORA)
    sst = next(d for d in mixup.datasets if d.name == "sst-2")
    assert all(digest and len(digest) == 64 for digest in sst.files.values())


def test_sets_that_the_packaged_encoder_has_seen_are_marked(mixup: Suite) -> None:
    seen = {t.params["train"] for t in mixup.tasks if "MiniLM" in t.note}
    assert seen == {"qnli", "qnli-pool", "mnli", "mnli-pool", "qqp"}


def test_claims_speak_of_one_protocol_and_real_sets(mixup: Suite) -> None:
    for claim in mixup.claims:
        tasks = [t for t in mixup.tasks for p in claim.tasks if fnmatch.fnmatchcase(t.name, p)]
        assert {t.protocol for t in tasks} == {"standard"}, claim.name
        assert not any(t.fallback for t in tasks), claim.name


@pytest.mark.parametrize("form", ["mixup-convex", "mixup-code"])
def test_each_claim_is_also_made_against_the_controls(mixup: Suite, form: str) -> None:
    mine = [c for c in mixup.claims if c.a == form]
    better = {c.b for c in mine if isinstance(c, Beats)}
    assert better >= {*BASELINES, *CONTROLS, "vanilla", "joint", "random-alpha", f"{form}-k1"}
    assert {c.b for c in mine if isinstance(c, LowerSpread)} == {"vanilla", *CONTROLS}
    trends = {c.b for c in mine if isinstance(c, Trend)}
    assert trends == {"vanilla", "averaging-only"}


def test_learning_rates_name_methods_that_exist(mixup: Suite) -> None:
    names = {m.name for m in mixup.methods} | {"*"}
    for scale in mixup.scales:
        assert set(scale.settings.plain()["learning_rates"]) <= names  # type: ignore[arg-type]


def test_references_are_the_averages_that_could_be_read(mixup: Suite) -> None:
    printed = registry.references(mixup)
    assert {r.metric for r in printed} == {"score"}
    assert {r.method for r in printed} <= {m.name for m in mixup.methods}
    low = {r.method: r.value for r in printed if r.table == "low-resource"}
    assert low["mixup-convex"] - low["vanilla"] == pytest.approx(6.43)


def test_published_effects_follow_from_published_numbers(mixup: Suite) -> None:
    main = {
        r.method: r
        for r in registry.references(mixup)
        if (r.table, r.task) == ("main", "cola+rte+mrpc+sts-b-full")
    }
    ours, plain = main["mixup-convex"], main["vanilla"]
    effects = {c.name: c.citation.effect for c in mixup.claims if c.citation}
    assert effects["vanilla"] == pytest.approx(ours.value - plain.value)
    assert ours.spread
    assert plain.spread
    assert effects["spread"] == pytest.approx(math.log(ours.spread / plain.spread), abs=5e-4)
