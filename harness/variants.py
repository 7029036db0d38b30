"""Variants: a scale with some of its settings replaced, under a name and in a folder of its own.

`--set phases.mixture.steps=600` asks for one. A variant never mixes with the scale that it was
made from: its records lie in `results/<suite>/<scale>+<setting>-<value>/`, its trials have other
identities, and reports leave it out.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import JsonValue, ValidationError

from harness.errors import UsageError
from harness.identity import digest
from harness.settings import replaced, rows
from harness.suite import SEPARATOR, Scale, Suite

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


def added(suite: Suite, specs: Iterable[Mapping[str, Any]]) -> Suite:
    """The suite with the variants that specifications name among its scales, the last ones."""
    return suite.model_copy(update={"scales": (*suite.scales, *found(suite, specs))})


def joined(suite: Suite, scale: Scale) -> Suite:
    """The suite with that scale among its own."""
    names = {s.name for s in suite.scales}
    return (
        suite
        if scale.name in names
        else suite.model_copy(update={"scales": (*suite.scales, scale)})
    )


def restored(suite: Suite, name: str, settings: Mapping[str, JsonValue]) -> Scale | None:
    """The scale, or the variant with those settings, of that name; None where there is none."""
    spec = {"scale": {"name": name, "params": settings}}
    return {s.name: s for s in added(suite, [spec]).scales}.get(name)


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
