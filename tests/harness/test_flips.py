"""No bit of anything that a trial reads can change unseen: each refusal names the file."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from harness import contents, registry
from harness.data import Sources
from harness.errors import DataError, HarnessError
from harness.store import Store, file_digest
from harness.suite import Dataset

FLIPS = 40
"""Of each kind of file."""
SUITES = Path(registry.__file__).parents[1] / "suites"


class Case(NamedTuple):
    """A file, something that reads it, and what a refusal may name in its stead."""

    path: Path
    read: Callable[[], Any]
    named: Path


def dataset(name: str, digest: str | None) -> Dataset:
    return Dataset(
        name=name, files={f"{name}/x.bin": digest}, licence="", source="", sizes="", splits="",
        fetch="toy:fetch",
    )  # fmt: skip


def written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(np.random.default_rng(1).bytes(300))
    return path


def copied(path: Path, folder: Path) -> Path:
    """A copy of a shipped file with its manifest."""
    for source in (path, path.with_name(contents.MANIFEST)):
        (folder / source.name).write_bytes(source.read_bytes())
    return folder / path.name


def known(folder: Path, _: Any) -> Iterator[Case]:
    path = written(folder / "data" / "known" / "x.bin")
    listed = dataset("known", file_digest(path))
    yield Case(path, lambda: Sources(folder / "data", folder / "hub").verified(listed), path)


def first_seen(folder: Path, _: Any) -> Iterator[Case]:
    path = written(folder / "data" / "new" / "x.bin")
    sources = Sources(folder / "data", folder / "hub")
    sources.verified(dataset("new", None))
    (note,) = (folder / "digests").iterdir()
    for file in (path, note):
        yield Case(file, lambda: sources.verified(dataset("new", None)), path)


def fetched(folder: Path, monkeypatch: Any) -> Iterator[Case]:
    path = folder / "hub" / "new" / "x.bin"

    def fetch(_: Dataset, there: Path) -> dict[str, str]:
        written(there / "new" / "x.bin")
        return {"revision": "c0ffee"}

    monkeypatch.setattr(registry, "call", lambda _: fetch)
    sources = Sources(None, folder / "hub")
    sources.fetch(dataset("new", None))
    for file in (path, path.with_name("x.bin.origin.json")):
        yield Case(file, lambda: sources.verified(dataset("new", None)), path)


def policy(folder: Path, monkeypatch: Any) -> Iterator[Case]:
    from suites.merging.robots import experts
    from suites.merging.robots.environments import ENVIRONMENTS

    path = copied(experts.SHIPPED_FOLDER / "hopper-expert.safetensors", folder)
    monkeypatch.setattr(experts, "SHIPPED_FOLDER", folder)
    yield Case(path, lambda: experts.shipped(ENVIRONMENTS["hopper"]), path)


def task_file(folder: Path, monkeypatch: Any) -> Iterator[Case]:
    from suites.bam.downstream import benchmarks
    from suites.bam.downstream import evaluate as downstream

    path = copied(benchmarks.TASKS / "piqa.yaml", folder)
    digests = copied(benchmarks.TASKS / "SHA256SUMS", folder)
    monkeypatch.setattr(downstream, "TASKS", folder)
    monkeypatch.setattr(benchmarks, "TASKS", folder)

    def parts() -> None:
        found = downstream._parts(
            benchmarks.named("piqa"), folder, folder, folder, None, 64, 1, None
        )
        with pytest.raises(DataError) as error:
            next(found)
        if "validation.jsonl not found" not in str(error.value):  # its data are not here
            raise error.value

    yield Case(path, parts, path)
    yield Case(digests, benchmarks._digests.__wrapped__, digests)


def artifact(folder: Path, _: Any) -> Iterator[Case]:
    store, work = Store(folder / "results", folder / "cache"), folder / "work"
    written(work / "model.safetensors")
    spec: dict[str, Any] = {"artifact": {"name": "net"}}
    identity = contents.digest(spec)
    there = store.artifact_folder("toy", "net", identity)
    store.commit_artifact(there, work, spec, {"contents": {"robots": "1.0 sha256:00"}})
    assert store.artifact_contents(there) == {"robots": "1.0 sha256:00"}
    for name in ("model.safetensors", "artifact.json"):
        yield Case(there / name, lambda: store.artifact("toy", "net", identity), there)


def package(folder: Path, monkeypatch: Any) -> Iterator[Case]:
    path = written(folder / "toy_net" / "net.bin")
    info = folder / "toy_net-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-net\nVersion: 1.0\n")
    digest = contents.base64.urlsafe_b64encode(bytes.fromhex(file_digest(path))).decode()
    (info / "RECORD").write_text(f"toy_net/net.bin,sha256={digest.rstrip('=')},300\n")
    monkeypatch.syspath_prepend(folder)
    yield Case(path, lambda: contents.installed("toy-net", "toy_net/*"), path)


KINDS = [known, first_seen, fetched, policy, task_file, artifact, package]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_flipped_bit_is_refused_in_one_line_that_names_the_file(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(len(kind.__name__))
    for case in kind(tmp_path, monkeypatch):
        case.read()
        whole = case.path.read_bytes()
        for bit in rng.choice(8 * len(whole), FLIPS, replace=False).tolist():
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            case.path.write_bytes(changed)
            with pytest.raises(HarnessError) as error:
                case.read()
            text = str(error.value)
            assert "\n" not in text, bit
            assert str(case.path) in text or str(case.named) in text, bit
        case.path.write_bytes(whole)
        case.read()


def test_a_checkpoint_with_a_flipped_bit_is_never_resumed(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    store = Store(tmp_path / "results", tmp_path / "cache")
    for turn in range(FLIPS):
        store.save_checkpoint("a" * 64, 1, rng.bytes(300), {"position": 7})
        assert store.checkpoint("a" * 64) is not None
        ending = (".safetensors", ".json")[turn % 2]
        (path,) = store.trial_folder("a" * 64).glob(f"checkpoint-*{ending}")
        changed = bytearray(path.read_bytes())
        bit = int(rng.integers(8 * len(changed)))
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert store.checkpoint("a" * 64) is None, bit


def test_a_manifest_with_a_flipped_bit_gives_no_file_another_digest_that_fits(
    tmp_path: Path,
) -> None:
    path = copied(SUITES / "merging" / "robots" / "policies" / "ant-medium.safetensors", tmp_path)
    place = path.with_name(contents.MANIFEST)
    whole, digests = place.read_bytes(), contents.manifest(tmp_path)
    for bit in np.random.default_rng(1).choice(8 * len(whole), 400, replace=False).tolist():
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        place.write_bytes(changed)
        now: dict[str, str] = {}
        with contextlib.suppress(DataError):  # the manifest itself is refused
            now = contents.manifest(tmp_path)
        assert not now or len({n for n in digests if now.get(n) != digests[n]}) == 1, bit
