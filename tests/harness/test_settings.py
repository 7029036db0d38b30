"""Typed settings: documented fields, checked ranges, layers, replacements, schedules."""

import math
from itertools import pairwise

import pytest
from pydantic import Field, ValidationError

from harness.errors import SpecError, UsageError
from harness.settings import AdamW, Schedule, Settings, factor, replaced, resolve, rows


class Phase(Settings):
    """A stretch of training."""

    steps: int = Field(ge=1)
    """Updates."""
    peak: float = Field(gt=0)
    """Largest learning rate."""


class Training(Settings):
    """What a scale hands out."""

    context: int = Field(ge=1)
    """Tokens per sequence."""
    phases: dict[str, Phase]
    """Stretches of training, by name."""
    optimizer: AdamW = AdamW(weight_decay=0.1)
    """Of every phase."""
    name: str = "small"
    """What it is called."""
    rates: dict[str, float] = Field(default_factory=dict)
    """Method -> learning rate of its own."""


HERE = Training(context=8, phases={"seed": Phase(steps=3, peak=0.1)})


def test_a_field_without_a_docstring_is_refused_when_the_class_is_made():
    with pytest.raises(TypeError, match=r"Bare\.steps has no docstring"):

        class Bare(Settings):
            steps: int


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 1.5}, {"peak": math.nan}, {"odd": 1}])
def test_values_out_of_range_are_refused_when_the_suite_loads(wrong):
    with pytest.raises(ValidationError):
        Phase(**({"steps": 1, "peak": 1.0} | wrong))


class Network(Settings):
    """What a method reads."""

    width: int = Field(ge=1)
    """Features."""
    depth: int = 2
    """Layers."""


def test_each_field_comes_from_the_first_layer_that_has_it():
    layers = ({"width": 4}, {"width": 5, "depth": 6}, {"other": 1})
    assert resolve(Network, layers, "gat") == Network(width=4, depth=6)
    assert resolve(Network, ({"width": 4},), "gat").depth == 2


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (({"depth": 1}, {"b": 2}), r"gat: Network\.width: Field required; .* have: b, depth"),
        (({"width": 0},), r"gat: Network\.width: .*greater than or equal to 1, found 0"),
        (({"width": "wide"},), r"gat: Network\.width: .*found 'wide'"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(layers, message):
    with pytest.raises(SpecError, match=message) as caught:
        resolve(Network, layers, "gat")
    assert "\n" not in str(caught.value)


def test_replaced_settings_are_validated_by_the_same_types():
    made = replaced(HERE, {"phases.seed.steps": "600", "context": "16", "name": "large"})
    assert made.phases["seed"] == Phase(steps=600, peak=0.1)
    assert (made.context, made.name) == (16, "large")
    assert HERE.context == 8
    assert replaced(HERE, {"optimizer.betas": "[0.5, 0.6]"}).optimizer.betas == (0.5, 0.6)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("phases.sed.steps", "1", r"there is no 'sed' in phases; it has seed"),
        ("contex", "1", r"there is no 'contex' in the settings; it has context, name"),
        ("context.x", "1", r"there is no 'x' in context; it has no parts"),
        ("context", "0", r"context: .*greater than or equal to 1, found 0"),
        ("context", "many", r"context: .*found 'many'"),
        ("rates", "3", r"rates: .*valid dictionary, found 3"),
        ("context", "true", r"context: Input should be a number, found True"),
        ("phases.seed.peak", "true", r"phases\.seed\.peak: Input should be a number, found True"),
        ("optimizer.betas", "[0.9, 1]", r"optimizer\.betas\.1: .*less than 1, found 1"),
        ("phases.seed.peak", "NaN", r"phases\.seed\.peak: .*finite"),
        ("", "1", r"there is no ''"),
    ],
)
def test_a_replacement_that_does_not_fit_is_one_line(path, value, message):
    with pytest.raises(UsageError, match=message) as caught:
        replaced(HERE, {path: value})
    assert "\n" not in str(caught.value)


def test_every_setting_has_a_row_with_its_documentation():
    found = {row.name: row for row in rows(HERE)}
    assert found["context"].value == 8
    assert found["phases.seed.steps"].meaning == "Updates."
    assert found["optimizer.betas"].value == [0.9, 0.999]
    assert all(row.meaning for row in found.values())


def test_a_schedule_warms_up_and_ends_at_its_floor():
    schedule = Schedule(steps=11, peak=2.0, warmup=4, floor=0.1)
    rates = [schedule.rate(step) for step in range(11)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4] == 2.0
    assert rates[-1] == pytest.approx(0.2)
    assert all(a >= b for a, b in pairwise(rates[3:]))


def test_the_cosine_is_that_of_torch():
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for step in range(10):
        assert factor(step, 10, 0) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    ("decay", "want"),
    [("linear", [0, 0.5, 1, 0.75, 0.5, 0.25, 0]), ("constant", [0, 0.5] + [1] * 5)],
)
def test_linear_and_constant_rates_from_zero(decay, want):
    assert [factor(s, 6, 2, decay=decay, first=0) for s in range(7)] == want


def test_a_warm_up_longer_than_the_training_is_refused():
    with pytest.raises(ValidationError, match="warmup of 5 updates in a training of 4"):
        Schedule(steps=4, peak=1.0, warmup=5)
