"""Git, asked without touching the working tree."""

import os
import subprocess
from pathlib import Path, PurePosixPath

from harness.errors import UsageError, quoted


def call(folder: Path, *words: str, given: bytes = b"") -> bytes:
    """What a git command prints, run in a folder.

    Raises:
        OSError: there is no git, or no such folder.
        subprocess.SubprocessError: it failed, or took longer than 60 s.
    """
    # Variables that a hook sets would lead git to another repository.
    kept = ("GIT_CEILING_DIRECTORIES", "GIT_CONFIG_")
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k.startswith(kept)}
    return subprocess.run(
        ["git", "--no-optional-locks", "-C", str(folder), *words],  # noqa: S607
        input=given,
        capture_output=True,
        timeout=60,
        check=True,
        env=env,
    ).stdout


def files_at(folder: Path, revision: str) -> dict[PurePosixPath, bytes]:
    """The files that a folder had at a revision, by their path inside it.

    Args:
        folder: in a working tree; it need not be there any more.
        revision: a commit, tag or branch, in any form that git knows.

    Raises:
        UsageError: the folder is in no repository, or had no files then; no such revision.
    """
    whole = Path(os.path.normpath(Path.cwd() / folder))  # unresolved: git sees a link as a file
    there = next(p for p in (whole, *whole.parents) if p.is_dir())
    try:
        inside = call(there, "rev-parse", "--show-prefix").decode(errors="surrogateescape")
    except (OSError, subprocess.SubprocessError):
        raise UsageError(f"--at {quoted(revision)}: {folder} is in no git repository") from None
    prefix = (PurePosixPath(inside.removesuffix("\n")) / whole.relative_to(there)).as_posix()
    try:
        wanted = f"{revision}^{{commit}}"
        commit = call(there, "rev-parse", "--verify", "--end-of-options", wanted).decode().strip()
    except (OSError, ValueError, subprocess.SubprocessError):
        raise UsageError(
            f"--at {quoted(revision)}: git knows no such commit; name a commit, tag or branch"
        ) from None
    below = [] if prefix == "." else ["--", f":(literal){prefix}"]
    listed = call(there, "ls-tree", "-r", "-z", "--full-tree", commit, *below)
    files = {}
    for row in listed.decode(errors="surrogateescape").split("\0")[:-1]:
        about, _, path = row.partition("\t")
        if about.split()[1] == "blob":
            files[PurePosixPath(path).relative_to(prefix)] = about.split()[2]
    if not files:
        raise UsageError(f"--at {quoted(revision)}: there was nothing in {folder}")
    return dict(zip(files, _contents(there, list(files.values())), strict=True))


def _contents(folder: Path, names: list[str]) -> list[bytes]:
    """Of objects, in the order of their names."""
    stream = call(folder, "cat-file", "--batch", given="\n".join(names).encode() + b"\n")
    found, at = [], 0
    for _ in names:
        end = stream.index(b"\n", at)
        size = int(stream[at:end].split()[2])
        found.append(stream[end + 1 : end + 1 + size])
        at = end + 1 + size + 1
    return found
