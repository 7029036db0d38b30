"""Fetches published trajectories, of D4RL and of Minari; `harness data prepare` calls it."""

from pathlib import Path

from pydantic import JsonValue

from harness import download
from harness.data import library
from harness.suite import Dataset

ADDRESS = "http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2/{file}"
"""Where D4RL has its files; no digests are published, and the server has no certificate."""
FILES = tuple(
    f"{env}_{quality}-v2.hdf5"
    for env in ("hopper", "halfcheetah", "walker2d")
    for quality in ("medium", "medium_expert")
)
MINARI = tuple(
    f"mujoco/{env}/{quality}-v0"
    for env in ("hopper", "halfcheetah", "walker2d")
    for quality in ("medium", "expert")
)
"""The qualities of Minari that D4RL has too."""


def fetch(dataset: Dataset, folder: Path) -> dict[str, JsonValue]:
    """Downloads the files of D4RL that are not below `folder` yet, each read before it counts.

    Raises:
        DataError: offline, or a file that holds no trajectories.
    """
    from suites.merging.robots.trajectories import read_hdf5

    digests: dict[str, JsonValue] = {}
    for file in FILES:
        target = folder / "mujoco" / "d4rl" / file
        fresh = not target.exists()
        digests[file] = download.get(ADDRESS.format(file=file), target)
        if fresh:
            try:
                read_hdf5(target)
            except BaseException:
                target.unlink()
                raise
    return digests


def fetch_minari(dataset: Dataset, folder: Path) -> dict[str, JsonValue]:
    """Downloads the sets of Minari into that library's own store, where trials look for them.

    Raises:
        DataError: the package `minari` is missing, or its server has no such set.
    """
    minari = library("minari", dataset.name)
    there = minari.list_local_datasets()
    for name in MINARI:
        if name not in there:
            minari.download_dataset(name)
    return {"sets": list(MINARI)}
