"""External datasets: where a suite's datasets lie, whether they are intact, how to get them.

Order of sources: a local folder (`--data` or `HARNESS_DATA`), then what `harness data prepare`
fetched from the public hub into the cache. A trial never fetches by itself.
"""

import importlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from harness import registry
from harness.cache import Cache
from harness.errors import DataError, HarnessError
from harness.files import file_digest, is_file
from harness.suite import Dataset


class Found(NamedTuple):
    """A dataset that is there."""

    folder: Path
    """The folder that the dataset's file paths are relative to."""
    origin: str
    """`local` or `hub`."""


class Sources(NamedTuple):
    """The places where data may lie."""

    local: Path | None
    hub: Path
    """Folder inside the cache that `harness data prepare` fills."""

    @classmethod
    def of(cls, local: Path | None, cache: Path) -> "Sources":
        """From the `--data` option, else `HARNESS_DATA`, and the cache folder."""
        if local is None and (given := os.environ.get("HARNESS_DATA")):
            local = Path(given)
        if local is not None and not local.is_dir():
            raise DataError(
                f"data folder {local} does not exist; set --data or HARNESS_DATA, or leave both out"
            )
        return cls(local, cache / "data")

    def find(self, dataset: Dataset) -> Found | None:
        """Where all of a dataset's files are, without reading them; None where they are not.

        Raises:
            Unreadable: that cannot be told: no permission, a failing disk, ...
        """
        for folder, origin in ((self.local, "local"), (self.hub, "hub")):
            if folder is not None and all(
                is_file(folder / file, strict=False) for file in dataset.files
            ):
                return Found(folder, origin)
        return None

    def verified(self, dataset: Dataset) -> Found:
        """Where a dataset is, every file checked against its digest.

        Raises:
            DataError: it is missing or corrupt; one line says which file and what to do.
        """
        found = self.find(dataset)
        if found is None:
            raise DataError(f"dataset {dataset.name}: {self.missing(dataset)}")
        for file, expected in dataset.files.items():
            if expected is not None and (actual := file_digest(found.folder / file)) != expected:
                raise DataError(
                    f"dataset {dataset.name}: {found.folder / file} is corrupt (sha256 "
                    f"{actual[:12]}..., expected {expected[:12]}...); replace it by the original"
                )
        return found

    def fetch(self, dataset: Dataset) -> Found:
        """Gets a dataset from its public hub, verified; a corrupt one leaves nothing behind.

        Raises:
            DataError: offline, or not what its entry says.
        """
        if dataset.fetch is None:
            raise DataError(f"dataset {dataset.name}: cannot be fetched; {self.missing(dataset)}")
        Cache(self.hub.parent).claim()
        self.hub.mkdir(parents=True, exist_ok=True)
        try:
            registry.call(dataset.fetch)(dataset, self.hub)
        except HarnessError:
            raise
        except (
            Exception,
            SystemExit,
        ) as error:  # whatever the network and its libraries come up with
            reason = (str(error).splitlines() or [""])[0]
            raise DataError(
                f"dataset {dataset.name}: not fetched ({type(error).__name__}: {reason}); "
                "go online and try again"
            ) from error
        try:
            return self.verified(dataset)
        except DataError:
            for file in dataset.files:
                (self.hub / file).unlink(missing_ok=True)
            raise

    def missing(self, dataset: Dataset) -> str:
        """What to do about a dataset that is not there."""
        file = next(iter(dataset.files), dataset.name)
        fetch = f", or `harness data prepare {dataset.name}` online" if dataset.fetch else ""
        return f"{file} not found; point --data or HARNESS_DATA at a folder that has it{fetch}"


@contextmanager
def arriving(path: Path) -> Iterator[Path]:
    """Where to write a file that is fetched; it becomes `path` once the block ends well.

    A block that raises leaves nothing behind, and an older file as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".download-") as scratch:
        whole = Path(scratch) / path.name
        yield whole
        whole.replace(path)


def library(name: str, dataset: str) -> Any:
    """The package that fetching a dataset needs, imported.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise DataError(
            f"{dataset}: package {name} is not installed; run `pip install {name}`"
        ) from None
