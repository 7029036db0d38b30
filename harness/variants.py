"""Variants: a scale with some of its settings replaced, under a name and in a folder of its own.

`--set phases.mixture.steps=600` asks for one. A variant never mixes with the scale that it was
made from: its records lie in `results/<suite>/<scale>+<setting>-<value>/`, its trials have other
identities, and reports leave it out.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import JsonValue, ValidationError

from harness.errors import UsageError
from harness.identity import digest
from harness.settings import replaced, rows
from harness.suite import SEPARATOR, Axis, Scale, Suite, select

_PLAIN = re.compile(r"[a-z0-9._-]+")
_LONGEST = 48
"""Characters of a variant's name; a longer one is replaced by a digest."""


def assigned(texts: Iterable[str]) -> dict[str, str]:
    """What `--set NAME=VALUE`, given once or more, asks for: dotted path -> text of the value.

    Raises:
        UsageError: no name or no `=`, or one setting twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        if not path.strip() or not equals:
            raise UsageError(f"--set {text[:80]!r}: write NAME=VALUE, e.g. --set run.epochs=600")
        if path.strip() in found:
            raise UsageError(f"--set {path.strip()}: given twice; give one value to each setting")
        found[path.strip()] = value.strip()
    return found


def vary(suite: Suite, scale: Scale, assignments: Mapping[str, str]) -> Scale:
    """The scale with some settings replaced; the scale itself where each has that value already.

    Args:
        suite: whose methods and tasks meet the settings.
        scale: what to start from.
        assignments: dotted path -> JSON value; what is not JSON is taken as text.

    Raises:
        UsageError: no such setting, a value that its type or range does not allow, or a setting
            that every method or every task of the scale replaces by a parameter of its own.
    """
    settings = replaced(scale.settings, assignments)
    before, after = ({row.name: row.value for row in rows(s)} for s in (scale.settings, settings))
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    changed |= dict.fromkeys(before.keys() - after.keys())
    if not changed:
        return scale
    _heard(suite, scale, {path.partition(".")[0] for path in assignments})
    return _named(scale, settings.plain(), changed)


def _heard(suite: Suite, scale: Scale, names: Iterable[str]) -> None:
    """Refuses a setting that nobody at this scale would read."""
    methods, tasks = zip(*suite.pairs(scale), strict=True)
    for name in sorted(names):
        for what, things in (("method", methods), ("task", tasks)):
            if all(name in thing.params for thing in things):
                raise UsageError(
                    f"--set {name}: every {what} at {scale.name} scale has a value of its own for "
                    f"it; see `harness show {suite.name} --scale {scale.name}`"
                )


def found(suite: Suite, specs: Iterable[Mapping[str, Any]]) -> tuple[Scale, ...]:
    """The variants of a suite's scales that specifications of trials or artifacts name.

    A specification holds all settings, so that a variant can be had from its records alone. Those
    whose scale or settings the suite no longer has are left out.
    """
    out: dict[str, Scale] = {}
    for spec in specs:
        name, values = str(spec["scale"]["name"]), spec["scale"]["params"]
        size = name.partition(SEPARATOR)[0]
        if size == name or name in out:
            continue
        scale = next((s for s in suite.scales if s.name == size), None)
        try:
            settings = type(scale.settings).model_validate(values) if scale else None
        except ValidationError:
            continue
        if scale is not None and settings is not None:
            out[name] = scale.model_copy(update={"name": name, "settings": settings})
    return tuple(out[name] for name in sorted(out))


def seeded(scale: Scale, seeds: Iterable[int]) -> Scale:
    """The scale with those seeds after its own; a seed more changes no identity of the others."""
    more = sorted(set(seeds) - set(scale.seeds))
    return scale.model_copy(update={"seeds": (*scale.seeds, *more)}) if more else scale


def added(suite: Suite, specs: Iterable[Mapping[str, Any]]) -> Suite:
    """The suite with all that specifications name: variants, the last scales, and further seeds."""
    specs = list(specs)
    seeds: dict[str, set[int]] = {}
    for spec in specs:
        if (seed := spec.get("seed")) is not None:
            seeds.setdefault(str(spec["scale"]["name"]), set()).add(seed)
    scales = (*suite.scales, *found(suite, specs))
    wider = tuple(seeded(scale, seeds.get(scale.name, ())) for scale in scales)
    return suite.model_copy(update={"scales": wider})


def joined(suite: Suite, scale: Scale) -> Suite:
    """The suite with that scale among its own."""
    names = {s.name for s in suite.scales}
    return (
        suite
        if scale.name in names
        else suite.model_copy(update={"scales": (*suite.scales, scale)})
    )


def restored(suite: Suite, name: str, settings: Mapping[str, JsonValue], seed: int) -> Scale | None:
    """The scale, or the variant with those settings, with that seed; None where there is none."""
    spec = {"scale": {"name": name, "params": settings}, "seed": seed}
    return {s.name: s for s in added(suite, [spec]).scales}.get(name)


class Point(NamedTuple):
    """One value of an axis, and the scale that has it."""

    value: float
    scale: Scale


def value_of(scale: Scale, axis: Axis) -> float:
    """The scale's own value of an axis; of a task parameter, which has none, the lowest."""
    if axis.parameter:
        return min(axis.values)
    place: Any = scale.settings.plain()
    for part in axis.setting.split("."):
        place = place[part]
    return float(place)


def points(suite: Suite, scale: Scale, axis: Axis) -> tuple[Point, ...]:
    """The values of an axis with their scales, rising; those have the axis's methods and tasks.

    Of a task parameter they are the scale itself, with the tasks that have the value.

    Raises:
        UsageError: a value that the setting does not allow.
    """
    methods = tuple(m.name for m in select(select(suite.methods, scale.methods), axis.methods))
    there = select(select(suite.tasks, scale.tasks), axis.tasks)
    if axis.parameter:
        return tuple(
            Point(value, scale.model_copy(update={"methods": methods, "tasks": names, "axes": ()}))
            for value in sorted(set(axis.values))
            if (names := tuple(t.name for t in there if t.params.get(axis.parameter) == value))
        )
    tasks = tuple(t.name for t in there)
    own = value_of(scale, axis)
    made = []
    for value in sorted({own, *axis.values}):
        text = f"{int(value)}" if value.is_integer() else repr(value)
        varied = scale if value == own else vary(suite, scale, {axis.setting: text})
        update = {"methods": methods, "tasks": tasks, "axes": ()}
        made.append(Point(value, varied.model_copy(update=update)))
    return tuple(made)


def around(
    suite: Suite, scale: Scale, methods: Sequence[str] = (), tasks: Sequence[str] = ()
) -> Iterator[tuple[Suite, Scale]]:
    """The scale, then the variants at the other points of its axes, each with a suite that has it.

    Args:
        suite: whose scale.
        scale: with its axes.
        methods: names or globs; points that run none of them are left out. Empty: all.
        tasks: the same for tasks.
    """
    yield suite, scale
    seen = {scale.name}
    for axis in scale.axes:
        for _, varied in points(suite, scale, axis):
            own_methods = select(suite.methods, varied.methods)
            own_tasks = select(suite.tasks, varied.tasks)
            runs = not methods or bool(select(own_methods, methods))
            runs = runs and (not tasks or bool(select(own_tasks, tasks)))
            if runs and varied.name not in seen:
                seen.add(varied.name)
                yield joined(suite, varied), varied


def _named(scale: Scale, values: Mapping[str, JsonValue], changed: Mapping[str, Any]) -> Scale:
    parts = [f"{path}-{text(value)}" for path, value in sorted(changed.items())]
    words = SEPARATOR.join(parts)
    if len(words) > _LONGEST or not all(map(_PLAIN.fullmatch, parts)):
        words = digest({"settings": dict(values)})[:12]
    update = {
        "name": f"{scale.name}{SEPARATOR}{words}",
        "settings": type(scale.settings).model_validate(values),
    }
    return scale.model_copy(update=update)


def text(value: JsonValue) -> str:
    """A value as `--set` takes it."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
