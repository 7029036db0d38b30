"""Toy suites: one that is well, one that fails in every way, and some for single questions."""

import hashlib
from typing import Any

from harness.settings import Settings
from harness.suite import (
    Artifact,
    Axis,
    Beats,
    Claim,
    Dataset,
    Figure,
    Method,
    Metric,
    Paper,
    Scale,
    Suite,
    Table,
    Task,
    Trend,
)

WORDS = b"one two three\n"
FAULTS = (
    "raises",
    "raises-binary",
    "nan",
    "log-nan",
    "wrong-keys",
    "extra-keys",
    "no-metrics",
    "not-a-number",
    "exits",
    "exits-politely",
    "sigkill",
    "sigsegv",
    "memory",
    "disk-full",
    "disk-full-checkpoint",
    "unknown-param",
)
"""Methods that fail, in the order of the functions in `methods`."""


def _suite(name: str, summary: str, **fields: Any) -> Suite:
    standard: dict[str, Any] = {
        "paper": Paper(
            title="Walks", authors="A. Toy", arxiv="0000.00000", venue="Nowhere", year=2024
        ),
        "metrics": (
            Metric(
                name="height", label="height", unit="m", better="higher", split="test",
                select="last", digits=3,
            ),
            Metric(
                name="noise", label="noise", unit="", better="neither", split="test", select="last"
            ),
        ),
        "preload": ("toy_suite_package.methods:warm_up",),
        "references": "none.csv",
    }  # fmt: skip
    return Suite(name=name, summary=summary, **(standard | fields))


def _method(name: str, function: str = "", **fields: Any) -> Method:
    function = function or name.replace("-", "_")
    return Method(name=name, run=f"toy_suite_package.methods:{function}", **fields)


def _task(name: str, steps: int, **fields: Any) -> Task:
    return Task(
        name=name, params={"steps": steps}, metrics=("height",), optional=("noise",), **fields
    )


def _walks(**fields: Any) -> Suite:
    return _suite(
        methods=(
            _method("walk", params={"lift": 1.0}, kind="proposed", label="Walk"),
            _method("drift", "walk", params={"lift": 0.1}, label="Drift"),
        ),
        tasks=(_task("short", 40), _task("long", 120)),
        scales=(
            Scale(name="smoke", seeds=(0, 1), expected_seconds=0.2, trial_seconds=300),
            Scale(name="laptop", seeds=tuple(range(6)), expected_seconds=0.2, trial_seconds=300),
        ),
        **fields,
    )


def _beats(a: str, b: str, **fields: Any) -> Claim:
    return Beats(
        name="higher", text=f"The {a} ends higher than the {b}.", source="table 1",
        metric="height", tasks=("*",), a=a, b=b, margin=0.05, **fields,
    )  # fmt: skip


def toy() -> Suite:
    """Two random walks on two tasks; everything is well."""
    return _walks(
        name="toy",
        summary="Does a walk that is lifted [more] end higher?",
        claims=(_beats("walk", "drift"),),
        tables=(Table(name="heights", title="Heights", metric="height"),),
        figures=(Figure(name="paths", title="Paths", draw="toy_suite_package.figures:paths"),),
        references="reference.csv",
        headline="heights",
    )


def false() -> Suite:
    """The same walks with a claim that they contradict."""
    return _walks(
        name="toy-false",
        summary="Claims the contrary.",
        claims=(_beats("drift", "walk", caveat="the walks are too short", role="primary"),),
    )


class Climbing(Settings):
    """What walks without a lift of their own get."""

    lift: float = 1.0
    """How much higher than its noise a walk ends, in metres."""


def axis() -> Suite:
    """The same walks along an axis, with a trend over it."""
    lifts = Axis(name="lifting", setting="lift", values=(2.0, 4.0), unit="m")
    return _suite(
        "toy-axis",
        "Does a walk end higher the more it is lifted?",
        methods=(_method("walk"), _method("drift", "walk", params={"lift": 0.1})),
        tasks=(_task("short", 40),),
        claims=(
            Trend(
                name="rises", text="The walk gains.", source="table 1", metric="height",
                tasks=("*",), a="walk", b="drift", over="lifting", direction="up", margin=0.05,
                role="primary",
            ),
            _beats("walk", "drift", axis="lifting"),
        ),
        scales=(
            Scale(
                name="laptop", seeds=(0, 1), looks=(7,), expected_seconds=0.2, trial_seconds=300,
                settings=Climbing(), axes=(lifts,),
            ),
        ),
    )  # fmt: skip


def faults() -> Suite:
    """A method for every way to fail, among healthy ones."""
    return _suite(
        "toy-faults",
        "What happens when a method fails.",
        methods=(
            _method("walk", params={"lift": 1.0}),
            *(_method(name) for name in FAULTS),
            _method("prints", params={"lift": 1.0}),
            _method("global-random"),
            _method("hangs"),
            _method("hangs-ticking"),
        ),
        tasks=(_task("short", 40),),
        scales=(
            Scale(
                name="smoke", seeds=(0,), exclude=("hangs*/*",), expected_seconds=0.2,
                trial_seconds=300,
            ),
            Scale(
                name="laptop", seeds=(0,), methods=("hangs*",), expected_seconds=0.2,
                trial_seconds=0.5,
            ),
            Scale(
                name="gpu", seeds=(0, 1, 2), methods=("hangs*", "walk"), expected_seconds=0.2,
                trial_seconds=300,
            ),
        ),
    )  # fmt: skip


def chain() -> Suite:
    """Artifacts that need each other, one of them broken."""

    def artifact(name: str, function: str = "", **fields: Any) -> Artifact:
        function = function or name.replace("-", "_")
        return Artifact(name=name, make=f"toy_suite_package.methods:make_{function}", **fields)

    return _suite(
        "toy-chain",
        "Artifacts in a chain.",
        methods=(
            _method("read-seed", "read", needs=("by-seed",)),
            _method("read-task", "read", needs=("by-task",)),
            _method("read-both", "read", needs=("combined",)),
            _method("read-broken", "read", needs=("after-broken",)),
            _method("read-unnamed"),
            _method("walk", params={"lift": 1.0}),
        ),
        artifacts=(
            artifact("combined", needs=("by-seed", "by-task"), over=("seed", "task")),
            artifact("by-seed", over=("seed",)),
            artifact("by-task", over=("task",)),
            artifact("broken"),
            artifact("after-broken", "combined", needs=("broken",)),
        ),
        tasks=(_task("short", 5), _task("long", 10)),
        scales=(Scale(name="smoke", seeds=(0, 1), expected_seconds=0.2, trial_seconds=300),),
    )


def data() -> Suite:
    """External datasets: one that can be fetched, one that cannot, one that arrives corrupt."""

    def dataset(name: str, fetch: str | None) -> Dataset:
        return Dataset(
            name=name,
            files={f"{name}/words.txt": hashlib.sha256(WORDS).hexdigest()},
            licence="CC0",
            source="nowhere",
            sizes="3 words",
            splits="none",
            fetch=f"toy_suite_package.methods:{fetch}" if fetch else None,
        )

    return _suite(
        "toy-data",
        "Words from outside.",
        methods=(_method("count-words"), _method("read-undeclared")),
        tasks=(
            _task("words-online", 1, datasets=("online",)),
            _task("words-offline", 1, datasets=("offline",)),
            _task("no-words", 1),
        ),
        datasets=(
            dataset("online", "fetch"),
            dataset("offline", None),
            dataset("garbled", "fetch_garbled"),
        ),
        scales=(
            Scale(
                name="smoke", seeds=(0,), expected_seconds=0.2, trial_seconds=300,
                exclude=("count-words/no-words", "read-undeclared/words*"),
            ),
        ),
    )  # fmt: skip


def many() -> Suite:
    """A thousand trials, never run: their records are made up."""
    return _suite(
        "toy-many",
        "A thousand trials.",
        methods=tuple(_method(f"walk-{n}", "walk", params={"lift": n / 10}) for n in range(10)),
        tasks=tuple(_task(f"steps-{n}", n) for n in range(1, 11)),
        scales=(Scale(name="smoke", seeds=tuple(range(10)), expected_seconds=0.2),),
    )
