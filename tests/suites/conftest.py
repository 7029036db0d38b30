"""What the tests of several suites need."""

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st

from harness import plan, registry
from harness.context import Context
from harness.data import Sources
from harness.store import Store

Measure = Callable[[str, str, str], list[dict[str, float]]]
Draw = Callable[[st.SearchStrategy[Any]], Any]

_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.lists(st.integers(0, 9), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)
"""Values that may stand in the place of any other in a JSON document."""


@pytest.fixture(autouse=True)
def no_checkpoint_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine a trial would leave one, and the same trial of another test go on there."""
    monkeypatch.setenv("HARNESS_CHECKPOINT_SECONDS", "3600")


class Ended(NamedTuple):
    """How a command line ended."""

    code: int
    out: str
    err: str
    left: list[str]
    """What is new in the folder beside its output, the output itself included."""


def _damage(draw: Draw, folder: Path) -> str:
    """Does something to one file of a folder; returns what, for the report of a failure."""
    path = draw(st.sampled_from(sorted(p for p in folder.rglob("*") if p.is_file())))
    kinds = ["cut", "flip", "insert", "replace", "remove", "folder", "append"]
    kinds += ["value", "key"] * 3 if path.suffix in (".json", ".safetensors") else []
    kind = draw(st.sampled_from(kinds))
    data = path.read_bytes()
    place = draw(st.integers(0, max(len(data) - 1, 0)))
    if kind == "cut":
        path.write_bytes(data[:place])
    elif kind == "flip":
        bit = 1 << draw(st.integers(0, 7))
        path.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
    elif kind == "insert":
        path.write_bytes(data[:place] + draw(st.binary(min_size=1, max_size=9)) + data[place:])
    elif kind == "replace":
        path.write_bytes(draw(st.binary(max_size=60)))
    elif kind == "append":
        path.write_bytes(data + draw(st.binary(min_size=1, max_size=9)))
    elif kind == "remove":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        whole = path.suffix == ".json"
        size = 0 if whole else int.from_bytes(data[:8], "little")
        document = json.loads(data if whole else data[8 : 8 + size])
        place = _in_document(draw, document, kind)
        text = json.dumps(document).encode()
        head = b"" if whole else len(text).to_bytes(8, "little")
        path.write_bytes(head + text + (b"" if whole else data[8 + size :]))
    return f"{kind} {path.relative_to(folder)} {place}"


def _in_document(draw: Draw, document: Any, kind: str) -> str:
    """Replaces a value somewhere in a JSON document, or gives a key another name or none."""
    at, where = document, ""
    while isinstance(at, dict | list) and at:
        key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        where += f".{key}"
        if isinstance(at[key], dict | list) and at[key] and draw(st.integers(0, 3)):
            at = at[key]
            continue
        if kind == "value":
            at[key] = draw(_ODD)
        elif isinstance(at, dict):
            value = at.pop(key)
            if draw(st.booleans()):
                at[draw(st.text(max_size=6))] = value
        else:
            at.pop(key)
        break
    return where


@pytest.fixture(scope="session")
def damage() -> Callable[[Draw, Path], str]:
    """`damage(draw, folder)` does something to one file of a folder and says what."""
    return _damage


@pytest.fixture(scope="session")
def end_of() -> Callable[..., Ended]:
    """`end_of(main, words, folder)`: how a command line ended, and what is new in the folder."""

    def ended(main: Callable[[list[str]], int], words: list[str], folder: Path) -> Ended:
        before = {path.name for path in folder.iterdir()}
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
        left = sorted({path.name for path in folder.iterdir()} - before)
        return Ended(code, out.getvalue(), err.getvalue(), left)

    return ended


@pytest.fixture(scope="session")
def copied() -> Callable[[Path, Path], Path]:
    """`copied(source, target)`: the folder `target`, emptied and filled from `source`."""

    def copy(source: Path, target: Path) -> Path:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        return target

    return copy


@pytest.fixture(scope="session")
def with_two_seeds(tmp_path_factory: pytest.TempPathFactory) -> Measure:
    """`with_two_seeds(suite, method, task)`: the metrics of a smoke trial with seeds 0 and 1.

    A method that declares `seeds="none"` must give the same ones. Artifacts are made once.
    """
    root = tmp_path_factory.mktemp("seeds")
    store, sources = Store(root / "results", root / "cache"), Sources(None, root / "hub")

    def make(trial: Any, nodes: Any, identity: str) -> None:
        node = nodes[identity]
        if store.artifact(trial.suite.name, node.artifact.name, identity) is not None:
            return
        for need in node.needs.values():
            make(trial, nodes, need)
        ctx = Context(trial, store, sources, node=node)
        ctx.out.mkdir(parents=True, exist_ok=True)
        info = dict(registry.call(node.artifact.make)(ctx)) | {"contents": dict(ctx.contents)}
        folder = store.artifact_folder(trial.suite.name, node.artifact.name, identity)
        store.commit_artifact(folder, ctx.out, node.spec, info)

    def measure(name: str, method: str, task: str) -> list[dict[str, float]]:
        suite = registry.load(name)
        every = tuple(m.model_copy(update={"seeds": "each"}) for m in suite.methods)
        scale = suite.scale("smoke").model_copy(update={"seeds": (0, 1)})
        scale = scale.model_copy(update={"tasks": ("*",)})
        found, nodes = plan.trials(
            suite.model_copy(update={"methods": every}), scale, "cpu",
            plan.Filters((method,), (task,)),
        )  # fmt: skip
        out = []
        for trial in found:
            for identity in trial.needs.values():
                make(trial, nodes, identity)
            out.append(registry.call(trial.method.run)(Context(trial, store, sources)))
        return out

    return measure
