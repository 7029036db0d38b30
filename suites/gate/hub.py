"""Fetches real graphs from where they were published; `harness data prepare` calls it."""

import http.client
import shutil
import tempfile
from pathlib import Path

from pydantic import JsonValue

from harness.errors import DataError, brief
from harness.store import file_digest
from harness.suite import Dataset
from suites.gate import graphs, planetoid
from suites.gate.datasets import CITATION, DATASETS, PLANETOID_SOURCE, YANDEX, YANDEX_COMMIT

OGBN_ARXIV = "https://snap.stanford.edu/ogb/data/nodeproppred/arxiv.zip"


def fetch(dataset: Dataset, folder: Path) -> dict[str, JsonValue]:
    """Puts a dataset's files below `folder`, checked; returns what they were made of.

    Args:
        dataset: One of the suite's.
        folder: A data folder; the files go where `dataset.files` says.

    Raises:
        DataError: Offline, corrupted on the way, or not to be fetched in this way.
    """
    if dataset.name in CITATION:
        spec = DATASETS[dataset.name]
        planetoid.fetch(dataset.name, folder / spec.path)
        graphs.read_npz(folder / spec.path, spec, 0)
        return {"repository": PLANETOID_SOURCE, "revision": planetoid.COMMIT}
    if dataset.name == "ogbn-arxiv":
        return _fetch_ogbn_arxiv(folder / DATASETS["ogbn-arxiv"].path)
    graphs.fetch(dataset.name, folder)
    return {"repository": YANDEX, "revision": YANDEX_COMMIT}


def _fetch_ogbn_arxiv(target: Path) -> dict[str, JsonValue]:
    from torch_geometric.data import download_url, extract_zip

    target.parent.mkdir(parents=True, exist_ok=True)
    # Read whole before it takes its place: the archive has no published digest.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as scratch:
        try:
            archive = download_url(OGBN_ARXIV, scratch, log=False)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DataError(
                f"ogbn-arxiv: cannot download {OGBN_ARXIV} ({brief(error)}); go online, or unpack "
                f"it so that raw/ and split/ lie in {target}"
            ) from None
        digest = file_digest(Path(archive))
        try:
            extract_zip(archive, scratch, log=False)
        except Exception as error:  # zip, zlib, encryption, memory: there is no list of them
            raise DataError(
                f"ogbn-arxiv: the archive from {OGBN_ARXIV} cannot be unpacked ({brief(error)}); "
                f"download it again, or unpack it so that raw/ and split/ lie in {target}"
            ) from None
        unpacked = Path(scratch) / "arxiv"
        graphs.read_ogbn_arxiv(unpacked)
        shutil.rmtree(target, ignore_errors=True)  # a part of it does not count
        shutil.move(unpacked, target)
    return {"archive": OGBN_ARXIV, "sha256 of the archive": digest}
