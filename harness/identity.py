"""Identities: what decides the numbers of a trial or an artifact, as JSON, and its sha256.

Not in it: threads, executor, time, and the source code, which is stored beside the identity. Golden
tests hold every identity of our suites.
"""

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from harness.suite import SPEC_VERSION, Artifact, Method, Scale, Suite, Task, over_of


def canonical(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces, no NaN, integral floats as integers.

    Equal values give equal texts whatever their key order, tuple or list, `1` or `1.0` (below
    2**53, where floats stop telling integers apart).

    Raises:
        ValueError: a NaN or an infinity, or something that JSON cannot hold.
    """

    def plain(v: Any) -> Any:  # commonest first: a record holds hundreds of numbers
        if isinstance(v, float):
            if not math.isfinite(v):
                raise ValueError(f"{v} has no place in an identity or a record")
            return int(v) if v.is_integer() and abs(v) < 2**53 else v
        if v is None or isinstance(v, bool | int | str):
            return v
        if isinstance(v, list | tuple):
            return [plain(x) for x in v]
        if isinstance(v, Mapping):
            if odd := [k for k in v if not isinstance(k, str)]:
                raise ValueError(f"key {odd[0]!r} of type {type(odd[0]).__name__} is not JSON")
            return {k: plain(x) for k, x in v.items()}
        raise ValueError(f"{v!r} of type {type(v).__name__} is not JSON")

    return spelled(plain(value))


def spelled(value: Any) -> str:
    """JSON without spaces, its keys sorted and its numbers as they are."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of a value, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


_scalar = functools.lru_cache(maxsize=1 << 16, typed=True)(canonical)


class Node(NamedTuple):
    """An artifact to build: for one seed and one task where the artifact asks for that."""

    artifact: Artifact
    task: Task | None
    seed: int | None
    spec: dict[str, Any]
    id: str
    needs: dict[str, str]
    """Artifact name -> identity."""


class Identity(NamedTuple):
    """Names one trial or artifact."""

    spec: dict[str, Any]
    """All that decides the numbers; its canonical JSON hashes to `id`."""
    id: str
    needs: dict[str, str]
    """Name of each artifact that it reads -> its identity."""


class Recipes:
    """Works out the artifacts of a plan, each of them once, however many ways lead to it."""

    def __init__(self, suite: Suite, scale: Scale, device: str) -> None:
        self.nodes: dict[str, Node] = {}
        self._suite, self._scale, self._device = suite, scale, device.partition(":")[0]
        self._datasets = {d.name: d for d in suite.datasets_at(scale)}
        self._artifacts = {a.name: a for a in suite.artifacts}
        self._over = over_of(suite.artifacts)
        self._known: dict[tuple[str, str | None, int | None], str] = {}
        self._parts: dict[tuple[str, str], dict[str, Any]] = {}
        self._texts: dict[int, str] = {}
        """Canonical JSON of the parts, each written once however many identities hold it."""
        self._pairs: dict[tuple[str, str], tuple[dict[str, Any], str, str]] = {}
        """Method and task -> what their trials have in common, and its text in two parts."""

    def trial(self, method: Method, task: Task, seed: int) -> Identity:
        """The identity of a trial; the nodes of its artifacts are there then."""
        needs = self._resolve(method.needs, task, seed)
        pair = (method.name, task.name)
        if pair not in self._pairs:
            spec = self._common(seed, task.datasets, needs) | {
                "method": self._part("method", method.name, lambda: _identified(method)),
                "task": self._part("task", task.name, lambda: _identified(task)),
                **self._plugins(method, task),
            }
            self._pairs[pair] = spec, *self._around(spec)
        common, before, after = self._pairs[pair]
        spec = {**common, "seed": seed, "artifacts": self._needs(needs)}
        text = f'{{"artifacts":{self._text(spec["artifacts"])}{before}{seed}{after}'
        return Identity(spec, hashlib.sha256(text.encode()).hexdigest(), needs)

    def _around(self, spec: dict[str, Any]) -> tuple[str, str]:
        """A trial's canonical JSON between its artifacts and its seed, and behind it."""
        texts, seed = self._entries(spec), sorted(spec).index("seed")  # `artifacts` comes first
        return f',{",".join(texts[1:seed])},"seed":', f",{','.join(texts[seed + 1 :])}}}"

    def _part(self, kind: str, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A part of specifications, the same object in all of them."""
        if (kind, name) not in self._parts:
            made = self._parts[kind, name] = make()
            self._texts[id(made)] = canonical(made)
        return self._parts[kind, name]

    def _digest(self, spec: dict[str, Any]) -> str:
        """`digest(spec)`, from texts that are there already."""
        return hashlib.sha256(f"{{{','.join(self._entries(spec))}}}".encode()).hexdigest()

    def _entries(self, spec: dict[str, Any]) -> list[str]:
        """Keys and values as canonical JSON has them, in its order."""
        return [f'"{key}":{self._text(value)}' for key, value in sorted(spec.items())]

    def _text(self, value: Any) -> str:
        if isinstance(value, dict | list):
            return self._texts.get(id(value)) or canonical(value)  # plugins have no text
        return _scalar(value)

    def _common(
        self, seed: int | None, data: Sequence[str], needs: dict[str, str]
    ) -> dict[str, Any]:
        """The part of a specification that trials and artifacts share."""
        return {
            "spec_version": SPEC_VERSION,
            "suite": self._suite.name,
            "seed": seed,
            "scale": self._part("scale", "", self._size),
            "dtype": self._suite.dtype,
            "device": self._device,
            "data": self._part("data", "\0".join(data), lambda: self._files(data)),
            "artifacts": self._needs(needs),
        }

    def _needs(self, needs: dict[str, str]) -> dict[str, Any]:
        return self._part("artifacts", "\0".join(needs.values()), lambda: needs)

    def _size(self) -> dict[str, Any]:
        return {"name": self._scale.name, "params": self._scale.settings.plain()}

    def _files(self, data: Iterable[str]) -> dict[str, Any]:
        return {name: self._datasets[name].files for name in data}

    def _plugins(self, *things: Method | Task | Artifact | None) -> dict[str, Any]:
        """Names of the plugins behind it: equal names in two plugins are two things."""
        names = self._suite.plugins_of(*things) if self._suite.plugins else ()
        return {"plugins": list(names)} if names else {}

    def _resolve(self, names: Sequence[str], task: Task, seed: int) -> dict[str, str]:
        """The identities of artifacts for a trial; their nodes, and those they need, are there.

        Without recursion: a chain of needs may be longer than the stack.
        """
        pending = [*reversed(names)]
        while pending:
            key = self._key(pending[-1], task, seed)
            artifact = self._artifacts[pending[-1]]
            first = [] if key in self._known else self._unknown(artifact.needs, task, seed)
            if first:
                pending += reversed(first)
                continue
            if key not in self._known:
                self._known[key] = self._node(artifact, task, seed)
            pending.pop()
        return self._identities(names, task, seed)

    def _key(self, name: str, task: Task, seed: int) -> tuple[str, str | None, int | None]:
        """What tells the nodes of a plan apart."""
        over = self._over[name]
        by_task = "task" in over or "data" in over
        return name, task.name if by_task else None, seed if "seed" in over else None

    def _unknown(self, names: Iterable[str], task: Task, seed: int) -> list[str]:
        return [name for name in names if self._key(name, task, seed) not in self._known]

    def _identities(self, names: Iterable[str], task: Task, seed: int) -> dict[str, str]:
        return {name: self._known[self._key(name, task, seed)] for name in names}

    def _node(self, artifact: Artifact, task: Task, seed: int) -> str:
        """The identity of an artifact whose needs are known."""
        over_task = task if "task" in artifact.over else None
        over_seed = seed if "seed" in artifact.over else None
        needs = self._identities(artifact.needs, task, seed)
        own = artifact.datasets
        if "data" in artifact.over:
            own = tuple(name for name in own if name in task.datasets)
        data = (*own, *(over_task.datasets if over_task else ()))
        spec = self._common(over_seed, data, needs) | {
            "artifact": _identified(artifact),
            "task": _identified(over_task) if over_task else None,
            **self._plugins(artifact, over_task),
        }
        made = Node(artifact, over_task, over_seed, spec, self._digest(spec), needs)
        self.nodes.setdefault(made.id, made)
        return made.id


def _identified(thing: Method | Task | Artifact) -> dict[str, Any]:
    """What of a method, task or artifact decides numbers: not its label, notes or import path."""
    kept = {k: getattr(thing, k) for k in ("name", "version", "params")}
    if isinstance(thing, Task):
        kept["protocol"] = thing.protocol
        kept |= {"metrics": sorted(thing.metrics), "optional": sorted(thing.optional)}
    return kept
