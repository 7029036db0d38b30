"""`harness export`: the same numbers in other people's formats."""

import json
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

import harness
from harness import plan, registry

# What the schema of Every Eval Ever (eval.schema.json, 0.3.0) says of the parts that are written
# here, after its public text; stricter where it lets other fields pass.


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Source(_Strict):
    source_name: str
    source_type: Literal["documentation", "evaluation_run"]
    source_organization_name: str
    evaluator_relationship: Literal["first_party", "third_party", "collaborative", "other"]
    additional_details: dict[str, str]


class _Library(_Strict):
    name: str
    version: str


class _Model(_Strict):
    name: str
    id: str = Field(pattern=r"^[^/]+/[^/]+$")
    developer: str
    additional_details: dict[str, str]


class _Data(_Strict):
    dataset_name: str
    source_type: Literal["other"]
    additional_details: dict[str, str]


class _Config(_Strict):
    evaluation_description: str
    metric_id: str
    metric_name: str
    metric_unit: str
    lower_is_better: bool
    score_type: Literal["binary", "continuous", "levels"] | None = None
    min_score: float | Literal["-Infinity"] | None = None
    max_score: float | Literal["Infinity"] | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Any:
        if self.score_type == "continuous":
            assert self.min_score is not None
            assert self.max_score is not None
        return self


class _Interval(_Strict):
    lower: float
    upper: float
    confidence_level: float = Field(ge=0, le=1)
    method: str


class _Uncertainty(_Strict):
    num_samples: int
    confidence_interval: _Interval | None = None


class _Details(_Strict):
    score: float
    details: dict[str, str]
    uncertainty: _Uncertainty


class _Result(_Strict):
    evaluation_result_id: str
    evaluation_name: str
    source_data: _Data
    metric_config: _Config
    score_details: _Details


class _Evaluation(_Strict):
    schema_version: Literal["0.3.0"]
    evaluation_id: str
    evaluation_timestamp: str
    retrieved_timestamp: str = Field(pattern=r"^\d+(\.\d+)?$")
    source_metadata: _Source
    eval_library: _Library
    model_info: _Model
    evaluation_results: list[_Result]


@pytest.fixture
def recorded(project: Any, toys: None, record_of: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The toy suite's records at laptop scale; one seed of drift failed."""
    suite = registry.load("toy")
    for trial in plan.trials(suite, suite.scale("laptop"))[0]:
        numbers: dict[str, Any] = {
            "metrics": {"height": (trial.method.name == "walk") + 0.01 * trial.seed**2, "noise": 1}
        }
        if (trial.method.name, trial.seed) == ("drift", 5):
            numbers = {"status": "failed", "error": "=it broke"}
        project.store.commit(record_of(trial, **numbers))
    monkeypatch.chdir(project.root)
    return project


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_tables_read_back_as_what_python_gives(recorded: Any, format: str) -> None:
    done = recorded.run("export", "toy", "--to", "out", "--format", format)
    assert (done.code, done.err, done.out) == (0, "", "toy: 2 files in out\n")
    for what, wanted in (("results", harness.results("toy")), ("claims", harness.claims("toy"))):
        path = recorded.root / f"out/toy-{what}.{format}"
        if format == "parquet":
            pd.testing.assert_frame_equal(pd.read_parquet(path), wanted, check_dtype=False)
            continue
        read = pd.read_csv(path, keep_default_na=False, na_values={c: [""] for c in ("value",)})
        assert list(read.columns) == list(wanted.columns)
        assert len(read) == len(wanted)
        if what == "results":
            assert read["value"].equals(wanted["value"])
            assert read["id"].to_list() == wanted["id"].to_list()


def test_every_eval_ever(recorded: Any) -> None:
    words = ("export", "toy", "--format", "every-eval-ever")
    done = recorded.run(*words, "--to", "out")
    assert (done.code, done.err, done.out) == (0, "", "toy: 2 files in out\n")
    paths = sorted((recorded.root / "out").rglob("*.json"))
    table = harness.table("toy", "heights")
    for path, method in zip(paths, ("drift", "walk"), strict=True):
        place = f"data/toy/attention-harness/toy-{method}"
        assert path.parent.relative_to(recorded.root / "out").as_posix() == place
        assert uuid.UUID(path.stem).version == 4
        content = json.loads(path.read_text())
        _Evaluation.model_validate(content)
        stamp = content["retrieved_timestamp"]
        assert content["evaluation_id"] == f"toy/attention-harness/toy-{method}/{stamp}"
        assert stamp == "1735689601.0"  # of the records
        assert [r["evaluation_result_id"] for r in content["evaluation_results"]] == [
            "short/height", "long/height",
        ]  # fmt: skip
        for result in content["evaluation_results"]:
            of_table = {q: table[q].loc[method, result["evaluation_name"]] for q in ("mean", "n")}
            details = result["score_details"]
            assert details["score"] == pytest.approx(of_table["mean"])
            assert details["uncertainty"]["num_samples"] == of_table["n"]
            assert len(details["details"]["records"].split()) == 6
            assert result["metric_config"]["lower_is_better"] is False
    _officially_valid(recorded.root / "out")
    assert recorded.run(*words, "--to", "again").code == 0
    for path in paths:
        same = recorded.root / "again" / path.relative_to(recorded.root / "out")
        assert same.read_bytes() == path.read_bytes()


def test_every_eval_ever_names_the_axis_of_a_variant(project: Any, toys: None) -> None:
    assert project.run("run", "toy-axis", "--scale", "laptop").code == 0
    words = ("export", "toy-axis", "--format", "every-eval-ever", "--to", "out")
    assert project.run(*words).code == 0
    found = {}
    for path in (project.root / "out").rglob("*.json"):
        content = json.loads(path.read_text())
        _Evaluation.model_validate(content)
        about = content["source_metadata"]["additional_details"]
        found[about["scale"]] = (about.get("axis"), about.get("axis_value"))
    assert found == {
        "laptop": (None, None),
        "laptop+lift-2.0": ("lifting", "2"),
        "laptop+lift-4.0": ("lifting", "4"),
    }
    _officially_valid(project.root / "out")


OFFICIAL = shutil.which("every_eval_ever")
"""Of the package every-eval-ever, which needs Python 3.12: its own environment, on the path."""


def _officially_valid(folder: Path) -> None:
    """The files are valid without a warning to the Coalition's validator, where it is installed."""
    if OFFICIAL is None:
        return
    files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.json"))]
    words = [OFFICIAL, "validate", "--format", "json", *files]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    reports = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout
    assert len(reports) == len(files)
    assert [r["errors"] + r["warnings"] for r in reports] == [[]] * len(files)


@pytest.mark.parametrize("suite", ["gate", "merging"])
def test_the_committed_records_fit_the_schema(suite: str) -> None:
    from harness.export import every_eval_ever
    from harness.frames import known_of

    root = Path(__file__).parents[2]
    files = every_eval_ever(known_of(suite, "laptop", root / "results", None))
    assert files
    for data in files.values():
        made = _Evaluation.model_validate(json.loads(data))
        assert made.evaluation_results


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tox"], "unknown suite 'tox'"),
        (["toy", "--scale", "smoke"], "no current records of toy at smoke scale"),
        (["toy", "--format", "xml"], "'xml' is not one of"),
        (["--results", "none"], "results folder none does not exist"),
        (["toy", "--to", "file/below"], "file"),
    ],
)
def test_what_is_wrong_is_one_line(recorded: Any, words: list[str], message: str) -> None:
    (recorded.root / "file").write_text("")
    done = recorded.run("export", *([] if "--to" in words else ["--to", "out"]), *words)
    assert done.code != 0
    assert done.err.count("\n") == 1
    assert message in done.err
