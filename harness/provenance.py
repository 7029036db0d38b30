"""What ran, where, with what: commit, packages, hardware, threads, flags."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from harness.record import Provenance

_PACKAGES = (
    "gymnasium",
    "lm_eval",
    "mujoco",
    "numba",
    "numpy",
    "pandas",
    "scikit-learn",
    "scipy",
    "tokenizers",
    "torch",
    "torch-geometric",
    "transformers",
)
_MODULES = {"scikit-learn": "sklearn", "torch-geometric": "torch_geometric"}
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
    """The state of the git working tree that holds the source, read once a run."""

    def __init__(self, commit: str | None, dirty: bool | None) -> None:
        self.commit = commit
        self.dirty = dirty

    @classmethod
    def read(cls, folder: Path) -> "Commit":
        """From git; both fields None outside a repository or without git."""
        head = _git(folder, "rev-parse", "HEAD")
        if head is None:
            return cls(None, None)
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", "*.py")
        return cls(head, bool(changed))


def capture(
    started: str, commit: Commit, source_digest: str, device: str, threads: int
) -> Provenance:
    """The provenance of a trial that ends now in this process."""
    flags = {name: os.environ[name] for name in _VARIABLES if os.environ.get(name)}
    if (torch := sys.modules.get("torch")) is not None:
        flags["deterministic_algorithms"] = str(torch.are_deterministic_algorithms_enabled())
        flags["threads_in_effect"] = str(torch.get_num_threads())
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
        packages=_versions(),
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
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    """Versions of those packages that this process has imported."""
    found = {}
    for name in _PACKAGES:
        if _MODULES.get(name, name) in sys.modules:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # a bare source tree
                found[name] = importlib.metadata.version(name)
    return found


def _shortened(word: str) -> str:
    """A path keeps its last part only: machine paths have no place in a record."""
    option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
    return option + equals + (Path(value).name if "/" in value else value)


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
