"""What ran, where, with what: commit, packages, hardware, threads, flags."""

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import MappingProxyType

from harness import git
from harness.record import Provenance

_SUITES = "harness.suites"
"""Entry-point group of the packages that bring suites."""
_PARTS = {"family": "cpu family", "model": "model", "stepping": "stepping"}
"""What tells processors of one name apart -> as `/proc/cpuinfo` calls it."""
_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
)


def now() -> str:
    """The present in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Commit:
    """The state of the git working trees that hold the source, read once a run."""

    def __init__(self, commit: str | None, dirty: bool | None) -> None:
        self.commit = commit
        self.dirty = dirty

    @classmethod
    def read(cls, *trees: Path) -> "Commit":
        """From git: the commit of the first tree, and whether any tree differs from its own.

        A tree is a folder (or one file). All its files count, those that git was never told of
        too, but not what `.gitignore` names. Both fields are None where the first tree is in no
        repository or git is missing; `dirty` is None where no tree differs, but some cannot be
        judged.
        """
        states = [_state(tree) for tree in dict.fromkeys(trees)]
        if not states or states[0].commit is None:
            return cls(None, None)
        judged = [state.dirty for state in states]
        return cls(states[0].commit, True if True in judged else None if None in judged else False)


def _state(tree: Path) -> Commit:
    """Of one tree."""
    folder, name = (tree, ".") if tree.is_dir() else (tree.parent, tree.name)
    if (head := _git(folder, "rev-parse", "HEAD")) is None:
        return Commit(None, None)
    known = _git(folder, "ls-files", "-v", "-z", "--", name)
    changed = _git(
        folder,
        *("status", "--porcelain", "-z", "--untracked-files=all", "--ignore-submodules=none"),
        *("--", name),
    )
    if known is None or changed is None:
        return Commit(head.strip(), None)
    if not known and not changed:
        return Commit(None, None)  # a folder that the repository around it ignores
    # A lower-case letter or an S: git was told not to look whether the file has changed.
    unseen = [row for row in known.split("\0") if row[:1].islower() or row[:1] == "S"]
    hidden = any((folder / row[2:]).exists() for row in unseen)
    return Commit(head.strip(), bool(changed) or hidden)


def capture(
    started: str,
    commit: Commit,
    source_digest: str,
    device: str,
    threads: int,
    contents: Mapping[str, str] = MappingProxyType({}),
) -> Provenance:
    """The provenance of a trial that ends now in this process.

    `contents`: version and digest of what else decided its numbers; see `Provenance.packages`.
    """
    flags = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    if (torch := sys.modules.get("torch")) is not None:
        flags["deterministic_algorithms"] = str(torch.are_deterministic_algorithms_enabled())
        flags["threads_in_effect"] = str(torch.get_num_threads())
        flags["instruction_set"] = torch.backends.cpu.get_cpu_capability()
    accelerator = None
    if device.startswith("cuda") and torch is not None:
        accelerator = torch.cuda.get_device_name(device)
    return Provenance(
        started=started,
        finished=now(),
        commit=commit.commit,
        dirty=commit.dirty,
        source_digest=source_digest,
        python=platform.python_version(),
        packages=dict(sorted({**versions(), **contents}.items())),
        platform=f"{platform.system()} {platform.machine()}",
        processor=processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        accelerator=accelerator,
        threads=threads,
        flags=flags,
        command=("harness", *(_shortened(word) for word in sys.argv[1:])),
    )


@cache
def processor() -> str:
    """The processor's name, with family, model and stepping: clouds give all of one maker one name.

    Two models of a name may differ in their instructions, and so in a result's last digits.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
    except OSError:  # not Linux
        lines = []
    about = {name.strip(): value.strip() for name, _, value in (s.partition(":") for s in lines)}
    name = about.get("model name") or platform.processor() or platform.machine()
    parts = [(word, about.get(key)) for word, key in _PARTS.items()]
    return ", ".join([name, *(f"{word} {value}" for word, value in parts if value)])


def versions() -> dict[str, str]:
    """Versions of the packages that this process has imported, among those that are declared.

    Declared are the packages that bring the engine or a suite, and what these require. Names are
    in the canonical form of the package index: small letters and hyphens.
    """
    return {
        name: version for name, (version, modules) in _declared().items()
        if not modules.isdisjoint(sys.modules)
    }  # fmt: skip


@cache
def _declared() -> dict[str, tuple[str, frozenset[str]]]:
    """Installed packages by name, with version and top-level modules."""
    found = {}
    owners = _owners()
    needed = [name for distribution, _ in owners.values() for name in distribution.requires or ()]
    for name in {_canonical(re.split(r"[^\w.-]", need, maxsplit=1)[0]) for need in needed}:
        # Packages whose metadata are absent or corrupt have no version to tell.
        with contextlib.suppress(Exception):
            distribution = importlib.metadata.distribution(name)
            found[name] = (distribution.version, _modules(distribution))
    for name, (distribution, modules) in owners.items():
        found[name] = (distribution.version, frozenset(modules))
    return found


def _owners() -> dict[str, tuple[importlib.metadata.Distribution, set[str]]]:
    """The packages that bring the engine and suites by name, each with the modules that do."""
    found: dict[str, tuple[importlib.metadata.Distribution, set[str]]] = {}
    with contextlib.suppress(Exception):  # of one corrupt package among the installed
        scripts = importlib.metadata.entry_points(group="console_scripts")
        for entry in (*scripts, *importlib.metadata.entry_points(group=_SUITES)):
            module = entry.module.partition(".")[0]
            if entry.dist is not None and (entry.group == _SUITES or module == "harness"):
                name = _canonical(entry.dist.name)
                found.setdefault(name, (entry.dist, set()))[1].add(module)
    return found


def _modules(distribution: importlib.metadata.Distribution) -> frozenset[str]:
    listed = (distribution.read_text("top_level.txt") or "").split()
    if not listed:
        files = distribution.files or ()
        listed = [f.parts[0].partition(".")[0] for f in files if f.suffix in (".py", ".so")]
    usual = _canonical(distribution.name).replace("-", "_")
    return frozenset({usual} if usual in listed or not listed else listed)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _shortened(word: str) -> str:
    """A path keeps its last part only: machine paths have no place in a record."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return option + equals + (Path(value).name if "/" in value else value)


def _git(folder: Path, *words: str) -> str | None:
    try:
        return git.call(folder, *words).decode(errors="surrogateescape")
    except (OSError, subprocess.SubprocessError):
        return None
