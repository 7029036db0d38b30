"""The suite: every misbehaving method, with well-behaved ones before, between and after them."""

from harness.suite import Method, Metric, Paper, Scale, Suite, Task
from toy_suite_package.misbehaving import processes, resources, values
from toy_suite_package.misbehaving.ending import GROUPS, METHODS

_OFFER = (processes, resources, values)
"""Their import is what fills `METHODS`."""
_EVERY = 8
"""One well-behaved method before so many misbehaving ones."""


def members(group: str) -> list[str]:
    """Names of a group's methods in the order in which they run; `walk-*` are well-behaved."""
    names: list[str] = []
    bad = [name for name, ending in METHODS.items() if ending.group == group]
    for number, name in enumerate(bad):
        names += [f"walk-{group}-{number}"] * (number % _EVERY == 0) + [name]
    return [*names, f"walk-{group}-last"]


def suite() -> Suite:
    """One task, one seed."""
    metric = Metric(name="height", label="height", unit="m", better="higher", split="-", select="-")
    return Suite(
        name="toy-misbehaving",
        paper=Paper(title="Falls", authors="A. Toy", arxiv="0000.00000", venue="-", year=2024),
        summary="Does one method harm another?",
        methods=tuple(_method(name) for group in GROUPS for name in members(group)),
        tasks=(
            Task(
                name="short",
                params={"steps": 40, "places": [1, 2]},
                metrics=("height",),
                optional=("noise",),
            ),
        ),
        metrics=(metric, metric.model_copy(update={"name": "noise", "better": "neither"})),
        scales=(_scale("smoke"), _scale("laptop")),
        preload=("toy_suite_package.methods:warm_up",),
        references="none.csv",
    )


def _method(name: str) -> Method:
    if name.startswith("walk-"):
        return Method(name=name, run="toy_suite_package.methods:walk", params={"lift": 1.0})
    params = {"things": [1, 2, {"deep": [3]}]}
    return Method(name=name, run=METHODS[name].function, params=params)


def _scale(name: str) -> Scale:
    groups = {key: group for key, group in GROUPS.items() if group.scale == name}
    return Scale(
        name=name,  # type: ignore[arg-type]
        seeds=(0,),
        methods=tuple(method for key in groups for method in members(key)),
        expected_seconds=0.2,
        trial_seconds=max(group.seconds for group in groups.values()),
    )
