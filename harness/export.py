"""Records in other people's formats: CSV, Parquet, Every Eval Ever, a Hugging Face model card.

Every Eval Ever is the schema of the EvalEval Coalition for evaluation results (eval.schema.json of
the package every-eval-ever, version 0.3.0): one file for each method at a scale. A metric without a
direction has no place in it; one that reaches without bound says so in the schema's words. Equal
records give equal files: times are those of the records.

A model card's front matter holds a model-index (huggingface_hub.EvalResult): a result for each
task, its mean over trainings as the value, with the interval and n beside it.
"""

import io
import json
import uuid
from collections.abc import Iterator
from datetime import datetime
from importlib import metadata
from typing import Any, NamedTuple

import pandas as pd
import yaml

from harness.analysis import cells, frame
from harness.digits import plain, steady
from harness.errors import UsageError, unknown
from harness.frames import Known
from harness.identity import digest
from harness.record import Record
from harness.stats import Interval
from harness.suite import Method, Metric, Task
from harness.variants import located

PACKAGE = "attention-harness"
EVERY_EVAL_EVER = "0.3.0"
"""Version of the schema."""
_UNITS = {"%": "percent", "s": "seconds", "1/s": "per second", "": "points"}


class Score(NamedTuple):
    """One metric of one task: the mean over trainings."""

    task: Task
    metric: Metric
    interval: Interval
    ids: tuple[str, ...]


def comma_separated(table: pd.DataFrame) -> bytes:
    """A table as CSV in UTF-8, a column of its own for each."""
    return table.to_csv(index=False, lineterminator="\n").encode()


def parquet(table: pd.DataFrame) -> bytes:
    """A table as Parquet.

    Raises:
        UsageError: pyarrow is not installed.
    """
    buffer = io.BytesIO()
    try:
        table.to_parquet(buffer, index=False)
    except ImportError:
        raise UsageError("Parquet needs pyarrow: pip install pyarrow, or choose csv") from None
    return buffer.getvalue()


def every_eval_ever(known: Known) -> dict[str, bytes]:
    """The records of a suite as files of Every Eval Ever, by their path below a folder.

    Args:
        known: current records; failed ones are left out.
    """
    files = {}
    for scale in dict.fromkeys(r.scale for r in known.records):
        for method in known.suite.methods:
            own = [r for r in known.records if (r.scale, r.method) == (scale, method.name)]
            made = _evaluation(known, method, own) if own else None
            if made is not None:
                name = uuid.UUID(hex=digest(sorted(r.id for r in own))[:32], version=4)
                folder = f"data/{known.suite.name}/{PACKAGE}/{_model(known, method)}"
                text = json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False)
                files[f"{folder}/{name}.json"] = f"{text}\n".encode()
    return files


def _evaluation(known: Known, method: Method, records: list[Record]) -> dict[str, Any] | None:
    results = [
        _result(known, score)
        for score in _scores(known, method, records)
        if score.metric.better != "neither"
    ]
    if not results:
        return None
    suite, scale = known.suite, records[0].scale
    finished = max(r.provenance.finished for r in records)
    stamp = str(datetime.fromisoformat(finished).timestamp())
    model = f"{PACKAGE}/{_model(known, method)}"
    return {
        "schema_version": EVERY_EVAL_EVER,
        "evaluation_id": f"{suite.name}/{model}/{stamp}",
        "evaluation_timestamp": finished,
        "retrieved_timestamp": stamp,
        "source_metadata": {
            "source_name": f"{PACKAGE}, suite {suite.name}",
            "source_type": "evaluation_run",
            "source_organization_name": PACKAGE,
            "evaluator_relationship": "third_party",
            "additional_details": {
                "paper": f"arXiv:{suite.paper.arxiv}",
                "scale": scale,
                **_axis(known, scale),
            },
        },
        "eval_library": {"name": PACKAGE, "version": metadata.version(PACKAGE)},
        "model_info": {
            "name": method.label or method.name,
            "id": model,
            "developer": PACKAGE,
            "additional_details": {
                "suite": suite.name,
                "method": method.name,
                "params": json.dumps(records[0].spec["method"], sort_keys=True),
                "deployment_type": "unknown",
                "model_availability": "unknown",
            },
        },
        "evaluation_results": results,
    }


def _axis(known: Known, scale: str) -> dict[str, str]:
    """Axis and value of a variant that is a point of one."""
    there = located(known.suite).get(scale)
    if there is None:
        return {}
    axis, value = there
    return {"axis": axis.name, "axis_value": plain(value), "axis_unit": axis.unit}


def _result(known: Known, score: Score) -> dict[str, Any]:
    metric, edge = score.metric, score.interval
    low = "-Infinity" if metric.lowest is None else metric.lowest
    high = "Infinity" if metric.highest is None else metric.highest
    uncertainty: dict[str, Any] = {"num_samples": edge.n}
    if edge.low is not None and edge.high is not None:
        uncertainty["confidence_interval"] = {
            "lower": edge.low,
            "upper": edge.high,
            "confidence_level": 0.95,
            "method": f"{edge.method} over trainings",
        }
    about = {d.name: d.source for d in known.suite.datasets if d.name in score.task.datasets}
    return {
        "evaluation_result_id": f"{score.task.name}/{metric.name}",
        "evaluation_name": score.task.name,
        "source_data": {
            "dataset_name": _dataset(score.task),
            "source_type": "other",
            "additional_details": {"protocol": score.task.protocol, **about},
        },
        "metric_config": {
            "evaluation_description": f"{metric.label}, {metric.split}, selection: {metric.select}",
            "metric_id": metric.name,
            "metric_name": metric.label,
            "metric_unit": _UNITS.get(metric.unit, metric.unit),
            "lower_is_better": metric.better == "lower",
            "score_type": "continuous",
            "min_score": low,
            "max_score": high,
        },
        "score_details": {
            "score": edge.mean,
            "details": {"records": " ".join(score.ids)},
            "uncertainty": uncertainty,
        },
    }


def model_card(known: Known, method: str, scale: str) -> str:
    """A model card of one method: its results in front matter, and a line on where they come from.

    Raises:
        UsageError: the suite has no such method, or no numbers of it at that scale.
    """
    by_name = {m.name: m for m in known.suite.methods}
    if method not in by_name:
        raise UsageError(unknown("method", method, by_name, f"harness show {known.suite.name}"))
    own = [r for r in known.records if (r.scale, r.method) == (scale, method)]
    results: dict[str, dict[str, Any]] = {}
    for score in _scores(known, by_name[method], own):
        entry = results.setdefault(
            score.task.name,
            {
                "task": {"type": "other", "name": score.task.label or score.task.name},
                "dataset": {
                    "name": score.task.label or score.task.name,
                    "type": _dataset(score.task),
                    "config": score.task.name,  # tells apart tasks on one dataset
                },
                "metrics": [],
            },
        )
        edge, metric = score.interval, score.metric
        about = {"n": edge.n, "unit": metric.unit, "split": metric.split, "select": metric.select}
        if edge.low is not None and edge.high is not None:
            about |= {"low": edge.low, "high": edge.high, "confidence": 0.95}
        entry["metrics"].append(
            {"type": metric.name, "name": metric.label, "value": edge.mean, "args": about}
        )
    if not results:
        raise UsageError(f"no numbers of {known.suite.name}/{method} at {scale} scale")
    name, paper = _model(known, by_name[method]), known.suite.paper
    front = {"model-index": [{"name": name, "results": [*results.values()]}]}
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n"
        f"# {by_name[method].label or method}\n\n"
        f"Experiments of *{paper.title}* (arXiv:{paper.arxiv}), run again at {scale} scale: means "
        "over n trainings with 95 % intervals. The pages beside this file name every record.\n"
    )


def _scores(known: Known, method: Method, records: list[Record]) -> Iterator[Score]:
    """What a method scored, in the suite's order; records of one scale."""
    grouped = cells(frame(records, known.suite))
    for task in known.suite.tasks:
        for name in task.reports:
            cell = grouped[method.name, task.name, name]
            edge = cell.interval().steady()
            if edge.mean is not None:
                mean = steady(edge.mean)
                yield Score(task, known.suite.metric(name), edge._replace(mean=mean), cell.ids)


def _model(known: Known, method: Method) -> str:
    return f"{known.suite.name}-{method.name}"


def _dataset(task: Task) -> str:
    return ", ".join(task.datasets) or f"{task.name} (generated)"
