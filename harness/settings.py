"""Typed settings: what a suite's scales, methods and tasks hand to the functions that they name.

A suite declares frozen models: every field has a type, a range where it has one, and a docstring
that says what it is and its unit. They are checked when the suite loads, they are part of every
identity, `harness show SUITE --scale S` prints them, and `--set name.of.field=value` replaces them.

No torch here: suites are listed without it.
"""

import json
import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from harness.errors import SpecError, UsageError, one_line

_quote = reprlib.Repr()
_quote.maxstring = _quote.maxother = 60


class Spec(BaseModel):
    """Base of everything that is hashed or stored: immutable, no unknown fields, no NaN."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class Settings(Spec):
    """Base of a suite's own settings.

    Raises:
        TypeError: when the class is made, for a field without a docstring.
    """

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        bare = [name for name, field in cls.model_fields.items() if not field.description]
        if bare:
            raise TypeError(f"{cls.__name__}.{bare[0]} has no docstring; say what it is below it")

    def plain(self) -> dict[str, JsonValue]:
        """The values as JSON, which is what identities hash."""
        return self.model_dump(mode="json")


S = TypeVar("S", bound=Settings)


class Schedule(Settings):
    """A learning rate over a training: linear warm-up to the peak, then what `decay` says."""

    steps: int = Field(ge=1)
    """Updates."""
    peak: float = Field(gt=0)
    """Largest learning rate."""
    warmup: int = Field(default=0, ge=0)
    """Updates over which the rate rises; the first one has 1 / warmup of the peak."""
    decay: Literal["constant", "linear", "cosine"] = "cosine"
    """What the rate does after the warm-up."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Share of the peak that the decay ends at."""

    @model_validator(mode="after")
    def _warmed(self) -> Self:
        if self.warmup > self.steps:
            raise ValueError(f"warmup of {self.warmup} updates in a training of {self.steps}")
        return self

    def rate(self, step: int) -> float:
        """Learning rate of update `step`, counted from 0; the last update has the floor's."""
        return self.peak * factor(
            step, self.steps - 1, self.warmup, decay=self.decay, floor=self.floor
        )


Decay = Annotated[float, Field(ge=0, lt=1)]
"""Decay rate of a running mean."""


class AdamW(Settings):
    """AdamW with a clipped gradient."""

    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay rates of the means of gradients and of their squares."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the mean square."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay, times the learning rate at each update."""
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient over all parameters; None: not clipped."""


def factor(
    step: int,
    last: int,
    warmup: int,
    *,
    decay: Literal["constant", "linear", "cosine"] = "cosine",
    floor: float = 0.0,
    first: int = 1,
) -> float:
    """Share of the peak learning rate at update `step`, counted from 0.

    Args:
        step: which update.
        last: where the decay reaches its floor; the last update, or one past it.
        warmup: updates over which the share rises: (step + first) / warmup.
        decay: after that; `cosine` is half a cosine.
        floor: share at the end.
        first: 0 lets the first update have a rate of zero.
    """
    if step < warmup:
        return (step + first) / warmup
    if decay == "constant":
        return 1.0
    span = max(last - warmup, 1)
    if decay == "linear":
        left = (last - step) / span
    else:
        left = (1 + math.cos(math.pi * ((step - warmup) / span))) / 2
    return floor + (1 - floor) * left


def resolve(model: type[S], layers: Sequence[Mapping[str, Any]], whose: str) -> S:
    """The settings of that type, each field from the first layer that has it, else its default.

    Raises:
        SpecError: a field that no layer has and that has no default, or a value out of its range.
    """
    chosen = {}
    for name in model.model_fields:
        for layer in layers:
            if name in layer:
                chosen[name] = layer[name]
                break
    try:
        return model.model_validate(chosen)
    except ValidationError as error:
        there = ", ".join(sorted({key for layer in layers for key in layer})) or "none"
        raise SpecError(
            f"{whose}: {model.__name__}.{fault(error)}; its method, task and scale have: {there}"
        ) from None


def replaced(settings: S, assignments: Mapping[str, str]) -> S:
    """The settings with some values replaced, as `--set phases.mixture.steps=600` asks.

    Args:
        settings: what to start from.
        assignments: dotted path -> JSON value; what is not JSON is taken as text.

    Raises:
        UsageError: no such setting, or a value that its type or range does not allow.
    """
    values = settings.plain()
    for path, text in assignments.items():
        place: Any = values
        parts = path.split(".")
        for depth, part in enumerate(parts):
            if not isinstance(place, dict) or part not in place:
                there = ", ".join(sorted(place)) if isinstance(place, dict) else "no parts"
                where = ".".join(parts[:depth]) or "the settings"
                raise UsageError(f"--set {path}: there is no {part!r} in {where}; it has {there}")
            if depth < len(parts) - 1:
                place = place[part]
        value, inner = _value(text), place[parts[-1]]
        if isinstance(inner, dict) and inner and not isinstance(value, dict):
            there = ", ".join(f"{path}.{name}" for name in inner)
            raise UsageError(f"--set {path}: it has parts; set one of them: {there}")
        place[parts[-1]] = value
    try:
        made = type(settings).model_validate(values)
    except ValidationError as error:
        raise UsageError(f"--set: {fault(error)}") from None
    for path in assignments:  # pydantic takes true for 1
        given, taken = _at(values, path), _at(made.plain(), path)
        if isinstance(given, bool) and not isinstance(taken, bool):
            raise UsageError(f"--set: {path}: Input should be a number, found {given}")
    return made


def _at(values: JsonValue, path: str) -> JsonValue:
    for part in path.split("."):
        values = values[part] if isinstance(values, dict) else None
    return values


class Row(NamedTuple):
    """One setting, for people."""

    name: str
    """Dotted path, as `--set` takes it."""
    value: JsonValue
    meaning: str


def rows(settings: Settings, prefix: str = "") -> Iterator[Row]:
    """Every setting with its value and documentation, nested ones by dotted paths."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        path, meaning = prefix + name, " ".join((field.description or "").split())
        if isinstance(value, Settings):
            yield from rows(value, f"{path}.")
        elif isinstance(value, Mapping) and any(isinstance(v, Settings) for v in value.values()):
            for key, inner in value.items():
                yield from rows(inner, f"{path}.{key}.")
        else:
            yield Row(path, settings.plain()[name], meaning)


def _value(text: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def fault(error: ValidationError, whole: str = "") -> str:
    """The first fault of a validation in one line: where, what, and the value.

    Args:
        error: what validation raised.
        whole: the name of what was validated, put before the place of the fault.
    """
    first = error.errors()[0]
    message = one_line(first["msg"].removeprefix("Value error, "))
    if not first["loc"]:
        return message
    place = one_line(".".join(map(str, (*([whole] if whole else []), *first["loc"]))), 200)
    found = one_line(_quote.repr(first["input"]))[:60]
    return f"{place}: {message}" + ("" if first["type"] == "missing" else f", found {found}")
