"""Variants of scales: their names, identities, folders, and what `--set` refuses."""

from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import plan, variants
from harness.errors import UsageError
from harness.settings import Schedule, Settings
from harness.suite import Scale, Task


class Sizes(Settings):
    """Of the scale."""

    steps: int = 10
    """Steps."""
    rate: float = 0.5
    """Learning rate."""
    kind: Literal["warm", "cold"] = "warm"
    """How it starts."""
    widths: tuple[int, ...] = (1, 2)
    """Of the layers."""
    phase: Schedule = Schedule(steps=4, peak=0.1)
    """Of the second half."""


LAPTOP = Scale(name="laptop", seeds=(0, 1), settings=Sizes(), expected_seconds=1)


@pytest.fixture
def suite(toy_suite: Any) -> Any:
    """One suite with one scale of typed settings."""
    return toy_suite(scales=(LAPTOP,))


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["steps=11"], "laptop+steps-11"),
        (["phase.steps=8", "kind=cold"], "laptop+kind-cold+phase.steps-8"),
        (["rate=1e-3"], "laptop+rate-0.001"),
        (["rate=5e-1", "steps=12.0"], "laptop+steps-12"),
    ],
)
def test_a_variant_is_named_by_what_it_replaces(suite: Any, texts: list[str], name: str) -> None:
    made = variants.vary(suite, LAPTOP, variants.assigned(texts))
    assert (made.name, made.size) == (name, "laptop")
    assert made.seeds == LAPTOP.seeds


def test_values_that_make_no_folder_name_are_named_by_a_digest(suite: Any) -> None:
    made = variants.vary(suite, LAPTOP, {"widths": "[3,4]"})
    other = variants.vary(suite, LAPTOP, {"widths": "[3,5]"})
    assert made.settings.plain()["widths"] == [3, 4]
    assert made.name.startswith("laptop+")
    assert len({made.name, other.name}) == 2
    assert variants.vary(suite, LAPTOP, {"widths": " [3, 4] "}).name == made.name


def test_what_is_as_it_was_is_no_variant(suite: Any) -> None:
    assert variants.vary(suite, LAPTOP, {"steps": "1e1", "kind": "warm"}) is LAPTOP


PATHS = st.sampled_from(["steps", "phase.steps"])


@given(values=st.dictionaries(PATHS, st.integers(1, 10**9), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_different_settings_have_different_names(suite: Any, values: dict[str, int]) -> None:
    made = variants.vary(suite, LAPTOP, {name: str(value) for name, value in values.items()})
    again = variants.restored(suite, made.name, made.settings.plain(), made.seeds[0])
    assert again == made
    more = values | {"steps": values.get("steps", 10) + 1}
    other = variants.vary(suite, LAPTOP, {name: str(value) for name, value in more.items()})
    assert other.name != made.name
    assert other == LAPTOP or other.settings != made.settings


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (["steps"], "write NAME=VALUE"),
        (["=3"], "write NAME=VALUE"),
        (["steps=1", " steps=2"], "--set steps: given twice"),
        (["stepz=3"], "there is no 'stepz' in the settings; it has"),
        (["phase.width=3"], "there is no 'width' in phase; it has"),
        (["steps.more=3"], "there is no 'more' in steps; it has no parts"),
        (["steps=many"], "steps: Input should be a valid integer"),
        (["phase=3"], "--set phase: it has parts; set one of them: phase.steps, phase.peak"),
        (["phase.steps=0"], r"phase.steps: Input should be greater than or equal to 1"),
        (["kind=hot"], "kind: Input should be 'warm' or 'cold'"),
    ],
)
def test_what_is_not_a_setting_is_refused(suite: Any, texts: list[str], line: str) -> None:
    with pytest.raises(UsageError, match=line):
        variants.vary(suite, LAPTOP, variants.assigned(texts))


def test_a_setting_that_every_task_replaces_is_refused(toy_suite: Any) -> None:
    tasks = tuple(Task(name=n, params={"steps": 5}, metrics=()) for n in ("one", "two"))
    suite = toy_suite(tasks=tasks, scales=(LAPTOP,))
    with pytest.raises(UsageError, match="--set steps: every task at laptop scale has a value of"):
        variants.vary(suite, LAPTOP, {"steps": "6"})


def test_a_variants_trials_have_identities_of_their_own(suite: Any) -> None:
    made = variants.vary(suite, LAPTOP, {"steps": "11"})
    plain = {trial.id for trial in plan.trials(suite, LAPTOP)[0]}
    assert plain.isdisjoint(trial.id for trial in plan.trials(suite, made)[0])


def test_variants_are_found_in_specifications(suite: Any) -> None:
    made = variants.vary(suite, LAPTOP, {"steps": "11"})
    trial = plan.trials(suite, made)[0][0]
    lost: dict[str, Any] = {"scale": {"name": "huge+steps-1", "params": {}}}
    wrong: dict[str, Any] = {"scale": {"name": "laptop+x-1", "params": {"x": 1}}}
    found = variants.added(suite, [trial.spec, lost, wrong, trial.spec]).scales
    assert found == (LAPTOP, made)


def test_seeds_that_specifications_name_join_those_of_the_scale(suite: Any) -> None:
    specs = [
        {"scale": {"name": LAPTOP.name, "params": {}}, "seed": seed} for seed in (77, 3, 77, None)
    ]
    wider = variants.added(suite, specs).scale(LAPTOP.name)
    assert wider.seeds == (*LAPTOP.seeds, *sorted({3, 77} - set(LAPTOP.seeds)))
    assert variants.seeded(LAPTOP, LAPTOP.seeds) is LAPTOP
    restored = variants.restored(suite, LAPTOP.name, {}, 99)
    assert restored is not None
    assert 99 in restored.seeds
