"""One flipped bit in any file that is read is found, or changes nothing that is read from it."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from safetensors.numpy import save

from harness.data import Sources
from harness.errors import HarnessError
from harness.store import Store
from harness.suite import Dataset

ROOT = Path(__file__).parents[2]


class Kind(NamedTuple):
    """Files of one kind and what reads them."""

    files: Callable[[], list[Path]]
    read: Callable[[], object]
    """What a run gets out of the files; a HarnessError that names the corrupt one."""


class Corrupt(HarnessError):
    """A reader set a file aside."""


def flipped(data: bytes, bit: int) -> bytes:
    """The same bytes but for one bit."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def verdict(kind: Kind, path: Path, bit: int, whole: object) -> str:
    """What one flip leads to: `found`, `harmless`, or what is wrong. The file is whole again then.

    Args:
        whole: what is read from the files when none is corrupt.
    """
    data = path.read_bytes()
    try:
        path.write_bytes(flipped(data, bit))
        try:
            return "harmless" if kind.read() == whole else f"{path.name}: bit {bit} was not found"
        except HarnessError as error:
            known = path.name in str(error)
            return "found" if known else f"{path.name}: bit {bit} is blamed on: {error}"
        except Exception as error:
            return f"{path.name}: bit {bit} ends in {type(error).__name__}: {error}"
    finally:
        path.write_bytes(data)
        for aside in path.parent.glob(f"{path.name.partition('.')[0]}*.corrupt-*"):
            original = aside.with_name(aside.name.partition(".corrupt-")[0])
            aside.unlink() if original.exists() else aside.replace(original)
        path.write_bytes(data)


# -- the kinds ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(make_project: Any) -> Any:
    """A project with records and artifacts."""
    project = make_project()
    for words in (("toy", "--tasks", "short"), ("toy-chain", "--methods", "read-both")):
        assert project.run("run", *words).code == 0
    return project


def records(project: Any) -> Kind:
    """All records of a project; every list of a `Loaded` but the records names corrupt files."""

    def read() -> object:
        loaded = project.store.load()._asdict()
        good = loaded.pop("records")
        if set_aside := [str(item.path) for items in loaded.values() for item in items]:
            raise Corrupt(" ".join(set_aside))
        return [record.model_dump() for record in good]

    return Kind(lambda: sorted(project.results.glob("*/*/*.json")), read)


def artifacts(project: Any, pattern: str) -> Kind:
    """Manifests or files of all artifacts of a project."""
    folders = sorted(project.cache.glob("artifacts/*/*"))
    known = [
        (folder, folder.parent.name, folder.name.rpartition("-")[0], manifest(folder)["id"])
        for folder in folders
    ]

    def read() -> object:
        content = []
        for folder, suite, name, identity in known:
            assert project.store.artifact(suite, name, identity) == folder
            source = project.store.artifact_source(suite, name, identity)
            texts = [path.read_bytes() for path in sorted(folder.rglob("*.txt"))]
            content.append((source, manifest(folder), texts))
        return content

    return Kind(lambda: [p for f in folders for p in sorted(f.rglob(pattern))], read)


def manifest(folder: Path) -> Any:
    """Of an artifact, as it was parsed."""
    return json.loads((folder / "artifact.json").read_bytes())


def checkpoints(store: Store, suffix: str) -> Kind:
    """One half of the two newest states of a trial."""
    identity = "ab" * 32
    rng = np.random.default_rng(0)
    meta = {"curves": {"loss": [[1, 0.5], [2, 1e-07]]}, "values": {"best": float("-inf")}}
    for step in (7, 8):
        store.save_checkpoint(identity, step, save({"x": rng.random(40)}), {**meta, "n": step})
    folder = store.trial_folder(identity)

    def read() -> object:
        found = [store.checkpoint(identity)]
        if aside := sorted(path.name for path in folder.glob("*.corrupt-*")):
            assert found[0] is None or found[0].step in (7, 8)
            raise Corrupt(" ".join(aside))
        return [c and (c.step, c.tensors.read_bytes(), c.meta) for c in found]

    return Kind(lambda: sorted(folder.glob(f"checkpoint-*8.{suffix}")), read)


def data(folder: Path, known: bool) -> Kind:
    """A dataset of 3 kB with a digest in its entry, or with that of its first download alone."""
    from toy_suite_package.methods import fetch

    entry = Dataset(
        name="words",
        files={"words/words.txt": None},
        licence="CC0",
        source="nowhere",
        sizes="3 words",
        splits="none",
        fetch="toy_suite_package.methods:fetch",
    )
    if known:
        import hashlib

        fetch(entry, folder)
        digest = hashlib.sha256((folder / "words" / "words.txt").read_bytes()).hexdigest()
        entry = entry.model_copy(update={"files": {"words/words.txt": digest}})
        sources = Sources(folder, folder / "hub")
    else:
        folder /= "data"
        sources = Sources(None, folder)
        sources.fetch(entry)

    def read() -> object:
        return (sources.verified(entry).folder / "words" / "words.txt").read_bytes()

    return Kind(lambda: sorted(path for path in folder.rglob("*") if path.is_file()), read)


KINDS = (
    "records",
    "artifact manifests",
    "artifact files",
    "checkpoints (JSON)",
    "checkpoints (safetensors)",
    "data files with a known digest",
    "fetched data files",
    "files shipped with suites",
)


@pytest.fixture
def kind(request: pytest.FixtureRequest, filled: Any, tmp_path: Path) -> Kind:
    """The kind of files that a test asks for by name."""
    makers = {
        "records": lambda: records(filled),
        "artifact manifests": lambda: artifacts(filled, "artifact.json"),
        "artifact files": lambda: artifacts(filled, "*.txt"),
        "checkpoints (JSON)": lambda: checkpoints(Store(tmp_path, tmp_path), "json"),
        "checkpoints (safetensors)": lambda: checkpoints(Store(tmp_path, tmp_path), "safetensors"),
        "data files with a known digest": lambda: data(tmp_path, True),
        "fetched data files": lambda: data(tmp_path, False),
    }
    return makers[request.param]()


def places(kind: Kind, count: int, rng: random.Random) -> Iterator[tuple[Path, int]]:
    """Files and bits to flip: every file before any a second time."""
    files = kind.files()
    for number in range(count):
        path = files[number % len(files)]
        yield path, rng.randrange(path.stat().st_size * 8)


def share(flips: tuple[int, int], kind: str) -> int:
    """How many of the flips are of a kind."""
    return len(range(KINDS.index(kind), flips[1], len(KINDS)))


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("kind", "name"), [(k, k) for k in KINDS[:-1]], indirect=["kind"], ids=KINDS[:-1]
)
def test_a_flipped_bit_is_found_or_harmless(
    kind: Kind, name: str, flips: tuple[int, int], tally: Any
) -> None:
    rng = random.Random(f"{name} {flips[0]}")  # noqa: S311
    whole = kind.read()
    missed = []
    with tally("flipped bits", name) as row:
        for path, bit in places(kind, share(flips, name), rng):
            said = verdict(kind, path, bit, whole)
            row.add(said in ("found", "harmless"))
            missed += [] if said in ("found", "harmless") else [said]
    assert kind.read() == whole
    assert missed == []


# -- files shipped with suites --------------------------------------------------------------------

SHIPPED = ("**/*.safetensors", "**/*.yaml", "**/SHA256SUMS")
"""Below `suites/`: what functions read besides Python source; their source digests cover it."""

DIGESTS = """
import json, sys
from pathlib import Path
from harness import registry

merging, bam = registry.load("merging"), registry.load("bam")
READERS = {
    "merging": next(a.make for a in merging.artifacts if a.name == "data-hopper"),
    "bam": next(m.run for m in bam.methods if m.name == "bam"),
}

def digest(suite):
    registry.source_digest.cache_clear()
    return registry.source_digest(READERS[suite])

missed = []
todo = json.load(sys.stdin)
whole = {suite: digest(suite) for suite in READERS}
for name, bit, suite in todo:
    path = Path(name)
    data = path.read_bytes()
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
    try:
        if digest(suite) == whole[suite]:
            missed.append(f"{name}: bit {bit} is in no source digest")
    except Exception as error:
        if path.name not in str(error):
            missed.append(f"{name}: bit {bit}: {error}")
    path.write_bytes(data)
assert whole == {suite: digest(suite) for suite in whole}
print(json.dumps(missed))
"""


def test_a_flipped_bit_in_a_shipped_file_is_in_the_source_digest(
    flips: tuple[int, int], tmp_path: Path, tally: Any
) -> None:
    name = KINDS[-1]
    rng = random.Random(f"{name} {flips[0]}")  # noqa: S311
    hidden = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "suites", tmp_path / "suites", ignore=hidden)
    files = sorted(path for pattern in SHIPPED for path in (tmp_path / "suites").glob(pattern))
    assert len(files) > 20
    rng.shuffle(files)
    chosen = [files[number % len(files)] for number in range(share(flips, name))]
    todo = [
        (str(path), rng.randrange(path.stat().st_size * 8), path.relative_to(tmp_path).parts[1])
        for path in chosen
    ]
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS],
        input=json.dumps(todo),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    missed = json.loads(done.stdout)
    with tally("flipped bits", name) as row:
        row.add(cases=len(todo) - len(missed))
        row.add(False, cases=len(missed))
    assert missed == []


# -- the command that checks everything -----------------------------------------------------------


@pytest.mark.parametrize("name", KINDS[:3])
def test_the_doctor_names_the_file(filled: Any, name: str) -> None:
    kinds = {
        "records": records(filled),
        "artifact manifests": artifacts(filled, "artifact.json"),
        "artifact files": artifacts(filled, "*.txt"),
    }
    path = kinds[name].files()[-1]
    whole = path.read_bytes()
    place = whole.index(b"1") if b"1" in whole else 0
    path.write_bytes(flipped(whole, place * 8 + 1))
    done = filled.run("doctor")
    path.write_bytes(whole)
    assert done.code == 4
    assert path.name in done.err
    assert filled.run("doctor").code == 0


def test_the_flip_is_one_bit_and_a_reader_that_checks_nothing_is_caught(tmp_path: Path) -> None:
    path = tmp_path / "plain.bin"
    path.write_bytes(bytes(8))
    assert flipped(bytes(8), 17) == b"\0\0\x02\0\0\0\0\0"
    blind = Kind(lambda: [path], path.read_bytes)
    assert verdict(blind, path, 17, path.read_bytes()) == "plain.bin: bit 17 was not found"
    deaf = Kind(lambda: [path], lambda: None)
    assert verdict(deaf, path, 17, None) == "harmless"

    def blames_others() -> object:
        raise Corrupt("another file")

    assert "blamed on" in verdict(Kind(lambda: [path], blames_others), path, 1, None)

    def crashes() -> object:
        raise KeyError("x")

    assert "ends in KeyError" in verdict(Kind(lambda: [path], crashes), path, 1, None)
    assert path.read_bytes() == bytes(8)
