"""Methods that misuse files, memory, the process's settings or the engine's own modules."""

import gc
import json
import locale
import os
import resource
import shutil
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import harness.identity
import harness.record
import harness.store
from harness.run import Context
from toy_suite_package.misbehaving.ending import ends

Metrics = dict[str, float]
GOOD = {"height": 1.0}


# -- settings of the process ----------------------------------------------------------------------


@ends("ok")
def changes_folder(ctx: Context) -> Metrics:
    """Relative paths mean something else from now on."""
    os.chdir("/")
    return GOOD


@ends("ok")
def changes_into_a_removed_folder(ctx: Context) -> Metrics:
    """The current folder does not exist."""
    folder = ctx.out.parent / "gone"
    folder.mkdir(parents=True)
    os.chdir(folder)
    folder.rmdir()
    return GOOD


@ends("ok")
def masks_all_permissions(ctx: Context) -> Metrics:
    """Files that are made from now on can be read by nobody."""
    os.umask(0o777)
    return GOOD


@ends("ok")
def clears_the_environment(ctx: Context) -> Metrics:
    """No variable is left."""
    os.environ.clear()
    return GOOD


@ends("ok")
def removes_its_streams(ctx: Context) -> Metrics:
    """Python has nowhere to print to."""
    sys.stdout = sys.stderr = None  # type: ignore[assignment]
    return GOOD


@ends("ok")
def prints_50_mb(ctx: Context) -> Metrics:
    """More than a pipe holds."""
    for _ in range(50):
        os.write(1, b"x" * 2**20)
    return GOOD


@ends("ok")
def prints_bytes(ctx: Context) -> Metrics:
    """No text, and no end of line."""
    os.write(1, bytes(range(256)) * 100)
    os.write(2, b"\x1b]0;title\x07\x1b[2J" + bytes(range(256)))
    return GOOD


@ends("failed", "EOFError")
def asks_the_user(ctx: Context) -> Metrics:
    """Reads what nobody types."""
    return {"height": float(input("height? "))}


@ends("ok")
def changes_the_locale(ctx: Context) -> Metrics:
    """Numbers may be written otherwise from now on."""
    for name in ("de_DE.UTF-8", "C.UTF-8", "POSIX"):
        try:
            locale.setlocale(locale.LC_ALL, name)
            break
        except locale.Error:
            continue
    return GOOD


@ends("ok")
def turns_warnings_into_errors(ctx: Context) -> Metrics:
    """Every warning is an exception from now on."""
    warnings.simplefilter("error")
    return GOOD


@ends("ok")
def stops_the_garbage_collector(ctx: Context) -> Metrics:
    """Cycles stay."""
    gc.disable()
    return GOOD


@ends("ok|failed")
def traces_everything(ctx: Context) -> Metrics:
    """A trace function that fails."""

    def fail(*_: Any) -> None:
        raise ValueError("traced")

    sys.settrace(fail)
    threading.settrace(fail)
    return GOOD


@ends("ok|failed")
def shrinks_the_recursion_limit(ctx: Context) -> Metrics:
    """Nothing that comes after may call deep."""
    sys.setrecursionlimit(60)
    return GOOD


@ends("failed", "RecursionError", raised=True)
def recurses(ctx: Context) -> Metrics:
    """Calls itself for ever."""
    return recurses(ctx)


@ends("failed", "SIGSEGV|RecursionError")
def overflows_the_stack(ctx: Context) -> Metrics:
    """Calls itself for ever, through compiled code, and nobody counts."""

    class Mirror:
        def __repr__(self) -> str:
            return repr(self)

    sys.setrecursionlimit(10**8)
    return {"height": float(len(repr(Mirror())))}


# -- files ----------------------------------------------------------------------------------------


@ends("ok")
def removes_its_output_folder(ctx: Context) -> Metrics:
    """What it should fill is gone."""
    shutil.rmtree(ctx.out, ignore_errors=True)
    return GOOD


@ends("ok")
def removes_its_trial_folder(ctx: Context) -> Metrics:
    """Log, checkpoints and all."""
    shutil.rmtree(ctx.out.parent)
    return GOOD


@ends("failed", "RuntimeError", raised=True)
def fails_without_its_trial_folder(ctx: Context) -> Metrics:
    """Nowhere to keep the traceback."""
    shutil.rmtree(ctx.out.parent)
    raise RuntimeError("no folder")


@ends("ok|failed|no record")
def puts_a_file_for_its_trial_folder(ctx: Context) -> Metrics:
    """Nowhere to save."""
    shutil.rmtree(ctx.out.parent)
    ctx.out.parent.write_text("")
    return GOOD


@ends("ok")
def leaves_empty_checkpoints(ctx: Context) -> Metrics:
    """Checkpoints of no bytes."""
    for suffix in ("json", "safetensors"):
        (ctx.out.parent / f"checkpoint-{99:012d}.{suffix}").write_bytes(b"")
    return GOOD


@ends("failed", "RuntimeError", raised=True)
def fails_with_empty_checkpoints(ctx: Context) -> Metrics:
    """The next attempt finds them."""
    for suffix in ("json", "safetensors"):
        (ctx.out.parent / f"checkpoint-{99:012d}.{suffix}").write_bytes(b"")
    raise RuntimeError("find that")


@ends("ok|failed")
def opens_ten_thousand_files(ctx: Context) -> Metrics:
    """Does not close any."""
    kept = [Path(os.devnull).open("rb") for _ in range(10_000)]  # noqa: SIM115
    return {"height": float(len(kept) > 0)}


@ends("ok|failed")
def links_its_folder_to_another_place(ctx: Context) -> Metrics:
    """The trial's folder is a link to a folder that holds something."""
    treasure = Path(os.environ["TOY_LOG"]).with_name("treasure")
    treasure.mkdir(exist_ok=True)
    (treasure / "kept.txt").write_text("kept")
    shutil.rmtree(ctx.out.parent)
    ctx.out.parent.symlink_to(treasure)
    return GOOD


# -- what seems to be the environment's fault: a run of its own -----------------------------------


@ends("failed|no record", group="starving")
def limits_file_sizes(ctx: Context) -> Metrics:
    """No file may grow beyond ten bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
    return GOOD


@ends("failed|no record", group="starving")
def limits_open_files(ctx: Context) -> Metrics:
    """No file can be opened any more."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    return GOOD


# -- memory ---------------------------------------------------------------------------------------


def _limit_memory(beyond: int) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + beyond, used + beyond))


@ends("oom", "MemoryError")
def allocates_for_ever(ctx: Context) -> Metrics:
    """Takes what there is below a limit."""
    _limit_memory(2**27)
    kept = []
    while True:
        kept.append(bytearray(2**22))


@ends("oom|failed|no record")
def limits_its_memory(ctx: Context) -> Metrics:
    """Has next to nothing left, in small pieces."""
    _limit_memory(2**20)
    kept: list[Any] = []
    while True:
        kept.append([0] * 1000)


@ends("oom", "MemoryError")
def raises_memory_error(ctx: Context) -> Metrics:
    """Says that there was no memory."""
    raise MemoryError("no room for 3 GiB")


# -- the engine's own modules ---------------------------------------------------------------------


@ends("ok|failed|no record|corrupt", group="patching")
def replaces_write_atomic(ctx: Context) -> Metrics:
    """Nothing is written, without a word."""
    harness.store.write_atomic = lambda *_: None
    return GOOD


@ends("ok|failed|no record|corrupt", group="patching")
def replaces_json(ctx: Context) -> Metrics:
    """JSON is something else."""
    json.dumps = lambda *_, **__: "{}"
    return GOOD


@ends("ok|failed|no record|corrupt", group="patching")
def replaces_the_clock(ctx: Context) -> Metrics:
    """Time stands still."""
    time.monotonic = lambda: 0.0
    return GOOD


@ends("ok|failed|no record|corrupt", group="patching")
def replaces_renaming(ctx: Context) -> Metrics:
    """Files stay under their temporary names."""
    os.replace = os.rename = lambda *_, **__: None
    Path.replace = lambda *_: None  # type: ignore[assignment, method-assign]
    return GOOD


@ends("ok|failed|no record|corrupt", group="patching")
def replaces_the_digest(ctx: Context) -> Metrics:
    """All checksums are alike."""
    everywhere = (harness.identity, harness.record, harness.store)
    for module in everywhere:
        module.digest = lambda *_: "0" * 64  # type: ignore[attr-defined]
    return GOOD


@ends("ok|failed|no record|corrupt", group="patching")
def empties_the_modules(ctx: Context) -> Metrics:
    """Python knows no module any more."""
    sys.modules.clear()
    return GOOD
