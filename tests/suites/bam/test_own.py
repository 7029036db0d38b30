"""Checkpoints and tasks of one's own: what joins the suite, and what is refused in one line."""

import shutil
from pathlib import Path

import pytest

from harness import plan, plugins, registry
from harness.errors import DataError, SpecError
from harness.plugins import Loaded, Place, extended
from suites import bam

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
EXPERTS = EXAMPLES / "experts"


def expert(name="law", **options):
    return bam.expert(name, EXPERTS / "law", EXPERTS / "law.jsonl", **options)


def joined(*parts):
    whole = (*parts, *plugins._joint(parts))
    return extended(
        registry.load("bam"), [Loaded(Place("mine", "mine", "mine", "plugin"), "1", whole)]
    )


def test_experts_are_rows_and_their_mixtures_too():
    suite = joined(expert("base", seed=True), expert("law"), expert("medicine"))
    old = registry.load("bam")
    made = {m.name for m in suite.methods} - {m.name for m in old.methods}
    dense = {"checkpoint-base", "checkpoint-law", "checkpoint-medicine"}
    assert made == dense | {"btx-checkpoints", "bam-checkpoints", "bam-shared-kv-checkpoints"}
    (mixture,) = (a for a in suite.artifacts if a.name == "bam-checkpoints")
    parts = ("checkpoint-law", "checkpoint-medicine", "checkpoint-base")  # the seed is the last
    assert mixture.needs == tuple(mixture.params["parts"]) == parts
    assert set(mixture.datasets) == {"texts-base", "texts-law", "texts-medicine"}
    table = next(t for t in suite.tables if t.name == "checkpoints-bits-per-byte")
    assert table.tasks == ("texts-base", "texts-law", "texts-medicine", "texts-mean")


def test_they_meet_their_own_tasks_and_benchmarks_and_nothing_else_does():
    suite = joined(expert("a"), expert("b"), bam.lm_eval_tasks("arc_easy"))
    old = registry.load("bam")
    for scale in suite.scales:
        new = {(method.name, task.name) for method, task in suite.pairs(scale)} - {
            (method.name, task.name) for method, task in old.pairs(old.scale(scale.name))
        }
        assert all("checkpoint" in method for method, _ in new)
        assert {("bam-checkpoints", t) for t in ("texts-a", "texts-mean", "lm-eval-arc_easy")} < new
        assert all(t.startswith(("texts-", "lm-eval-", "downstream-")) for _, t in new)


def test_one_expert_is_a_row_without_mixtures():
    suite = joined(expert())
    assert not [m for m in suite.methods if m.name.endswith("-checkpoints")]
    assert "checkpoints-perplexity" in {t.name for t in suite.tables}
    assert suite.constant(suite.method("checkpoint-law"))  # it runs once, whatever the seeds


def test_the_digests_of_all_files_are_in_the_identity(tmp_path):
    def identity(text):
        shutil.copytree(EXPERTS / "law", tmp_path / "model", dirs_exist_ok=True)
        (tmp_path / "texts.txt").write_text(text)
        suite = joined(bam.expert("law", tmp_path / "model", tmp_path / "texts.txt"))
        scale = suite.scale("smoke")
        wanted = plan.Filters(("checkpoint-law",), ("texts-law",))
        return plan.trials(suite, scale, "cpu", wanted)[0][0].id

    first = identity("one")
    assert identity("two") != first == identity("one")
    with (tmp_path / "model" / "config.json").open("a") as file:
        file.write(" ")
    shutil.rmtree(tmp_path / "model")
    assert identity("one") == first


def test_a_checkpoint_on_the_hub_has_no_files_here():
    plugin = bam.expert("law", "hub:some/llama", EXPERTS / "law.jsonl")
    assert [d.name for d in plugin.datasets] == ["texts-law"]
    assert plugin.artifacts[0].params == {"checkpoint": "hub:some/llama"}


@pytest.mark.parametrize("absent", ["config.json", "model.safetensors", "tokenizer"])
def test_a_folder_that_holds_no_model_is_refused(absent, tmp_path):
    shutil.copytree(EXPERTS / "law", tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob(f"{absent}*"):
        path.unlink()
    with pytest.raises(DataError, match=r"^expert law: .* must hold config.json, \*.safetensors"):
        bam.expert("law", tmp_path, EXPERTS / "law.jsonl")


def test_texts_that_are_none_are_refused(tmp_path):
    with pytest.raises(DataError, match="not found; give a file of texts, or a folder"):
        bam.expert("law", EXPERTS / "law", tmp_path / "none")
    (tmp_path / "weights.bin").write_text("")
    with pytest.raises(DataError, match=r"holds no text; files end with \.jsonl"):
        bam.expert("law", EXPERTS / "law", tmp_path)
    (tmp_path / ".hidden").mkdir()
    for name in (".hidden/a.txt", "b.txt", "c.jsonl.gz"):
        (tmp_path / name).write_text("")
    plugin = bam.expert("law", EXPERTS / "law", tmp_path)
    assert list(plugin.datasets[0].files) == ["b.txt", "c.jsonl.gz"]


def test_two_seeds_are_refused():
    with pytest.raises(SpecError, match="checkpoint-a and checkpoint-b are both the seed"):
        joined(expert("a", seed=True), expert("b", seed=True))


# -- tasks of lm-eval ------------------------------------------------------------------------------


def test_tasks_of_lm_eval_are_fetched_or_lie_in_a_folder():
    online = bam.lm_eval_tasks("arc_easy", "hellaswag", metric="acc_norm")
    assert [t.name for t in online.tasks] == ["lm-eval-arc_easy", "lm-eval-hellaswag"]
    assert online.datasets[0].files == {"lm-eval/arc_easy.jsonl": None}
    assert online.datasets[0].fetch == "suites.bam.downstream.by_name:fetch"
    own = bam.lm_eval_tasks("last_word", folder=EXAMPLES / "lm-eval")
    assert {"last_word.yaml", "last_word.jsonl"} < set(own.datasets[0].files)
    assert own.datasets[0].fetch is None


def test_tasks_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(SpecError, match="no task named; give for example 'arc_easy'"):
        bam.lm_eval_tasks()
    with pytest.raises(DataError, match="holds no YAML file"):
        bam.lm_eval_tasks("last_word", folder=tmp_path)
    with pytest.raises(SpecError, match="unknown task 'lastword': did you mean 'last_word'"):
        bam.lm_eval_tasks("lastword", folder=EXAMPLES / "lm-eval")
