"""Texts of one's own: what is accepted, what trials get, and what is refused in one line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import registry
from harness.data import Sources
from harness.errors import DataError, SpecError
from harness.plugins import Loaded, Place, extended
from suites import mixup
from suites.mixup import own, trials
from suites.mixup.methods import methods

ROWS = [("a fine day", "yes"), ("a\u2028foul day", "no"), ('so "so"', "yes"), ("été, 1", "no")]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write(tmp_path):
    """`write(name, rows)`: the examples in the layout that the name asks for."""

    def write_(name, examples=ROWS, columns=("text", "label")):
        path = tmp_path / name
        if path.suffix == ".jsonl":
            lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in examples]
            path.write_text("\n".join(lines) + "\n")
        elif path.suffix == ".tsv":
            lines = ["\t".join(map(str, row)) for row in (columns, *examples)]
            path.write_text("\n".join(lines) + "\n")
        else:
            with path.open("w", newline="") as file:
                csv.writer(file).writerows((columns, *examples))
        return path

    return write_


def loaded(plugin):
    dataset = plugin.datasets[0]
    folder = Sources.of(None, Path("nowhere")).verified(dataset).folder
    return own.load(folder, dataset.name, own.OwnTexts.model_validate(picked(plugin)))


def picked(plugin):
    return {k: v for k, v in plugin.tasks[0].params.items() if k in own.OwnTexts.model_fields}


def test_the_layouts_are_one_task_and_trials_get_what_was_written(write):
    made = [
        mixup.text_task("t", train=write(f"train.{kind}"), dev=write(f"dev.{kind}"))
        for kind in ("tsv", "csv", "jsonl")
    ]
    assert made[0] == made[1] == made[2]
    train, dev = loaded(made[0])
    assert train.first == dev.first == tuple(text for text, _ in ROWS)
    assert train.classes == ("no", "yes")
    assert train.labels == (1.0, 0.0, 1.0, 0.0)
    assert train.second is None


def test_pairs_and_scores(write):
    rows = [("a", "b", 0.5), ("c", "d", 4), ("e", "f", 2)]
    path = write("pairs.csv", rows, ("one", "two", "score"))
    plugin = mixup.text_task(
        "t", train=path, dev=path, text="one", pair="two", label="score", metric="spearman"
    )
    train, _ = loaded(plugin)
    assert train.second == ("b", "d", "f")
    assert train.labels == (0.5, 4.0, 2.0)
    assert "r3f/*" not in plugin.pairs  # classification alone
    assert "vanilla/*" in plugin.pairs


def test_sizes_are_tasks(write):
    plugin = mixup.text_task("t", train=write("a.tsv"), dev=write("b.tsv"), sizes=(0, 2))
    assert [t.name for t in plugin.tasks] == ["t-full", "t-n2"]
    with pytest.raises(SpecError, match="5 training examples wanted, 4 are there"):
        mixup.text_task("t", train=write("a.tsv"), dev=write("b.tsv"), sizes=(5,))


@pytest.mark.parametrize(
    ("train", "dev", "options", "message"),
    [
        (ROWS, ROWS, {"text": "sentence"}, "train.tsv:1: no column 'sentence'"),
        (
            ROWS,
            [*ROWS, ("x", "maybe")],
            {},
            "dev.tsv:6: unknown label 'maybe': did you mean 'yes'? there are no, yes",
        ),
        (ROWS[:1], ROWS, {}, "all 1 examples carry one label"),
        (ROWS, ROWS, {"metric": "bleu"}, "unknown metric 'bleu'"),
        (ROWS, ROWS, {"metric": "spearman"}, "train.tsv:2: label is 'yes', not a number"),
        ([*ROWS, ("x", "z")], ROWS, {"metric": "f1"}, "f1 is for 2 classes, found 3"),
        ([], ROWS, {}, "holds no row"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(train, dev, options, message, write):
    with pytest.raises((DataError, SpecError)) as caught:
        mixup.text_task("t", train=write("train.tsv", train), dev=write("dev.tsv", dev), **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# -- encoders ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """The files of an encoder, empty."""
    for name in ("config.json", "model.safetensors", "tokenizer.json", "README.md", "weights.bin"):
        (tmp_path / name).write_text("{}")
    return tmp_path


def test_methods_on_an_encoder_join_the_suite(folder):
    plugin = mixup.encoder("mine", folder, methods=("vanilla", "mixup-*"), learning_rate=1e-5)
    suite = extended(
        registry.load("mixup"), [Loaded(Place("m", "m", "m", "plugin"), "1", (plugin,))]
    )
    vanilla, copied = suite.method("vanilla"), suite.method("mine-vanilla")
    changed = {"encoder": "own:encoder-mine", "pooling": "mean", "learning_rate": 1e-5}
    assert copied.params == {**vanilla.params, **changed}
    assert set(plugin.datasets[0].files) == {"config.json", "model.safetensors", "tokenizer.json"}
    there = {m.name for m in methods() if not m.needs}
    assert {m.name for m in plugin.methods} == {
        f"mine-{n}" for n in there if n == "vanilla" or n.startswith("mixup-")
    }
    hub = mixup.encoder("mine", "hub:roberta-base")
    assert hub.methods[0].params["encoder"] == "hub:roberta-base"
    assert not hub.artifacts + hub.datasets


@pytest.mark.parametrize("absent", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_that_holds_no_encoder_is_refused(absent, folder):
    (folder / absent).unlink()
    with pytest.raises(DataError, match=r"must hold config.json, \*.safetensors and a tokenizer"):
        mixup.encoder("mine", folder)
    with pytest.raises(SpecError, match="unknown method 'vanila': did you mean 'vanilla'"):
        mixup.encoder("mine", folder, methods=("vanila",))


@pytest.mark.parametrize("name", ["mlm", "own:encoder-mine"])
def test_an_encoder_is_looked_for_where_its_methods_need_it(name, folder):
    asked = []

    class Context:
        def artifact(self, artifact):
            asked.append(artifact)

    trials.stored(Context(), name)
    every = (*methods(), *mixup.encoder("mine", folder).methods)
    mine = [m for m in every if m.params.get("encoder") == name]
    assert mine
    assert all(m.needs == (asked[0],) for m in mine)


def test_the_encoder_is_the_helper_and_the_module_of_that_name() -> None:
    code = (
        "from suites import mixup; before = mixup.encoder; import suites.mixup.encoder as module; "
        "print(before.__module__, mixup.encoder is module, "
        "*(e('mine', 'hub:x').suite for e in (before, mixup.encoder)), module.INIT_STD)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.split() == ["suites.mixup.own", "True", "mixup", "mixup", "0.02"]
