"""Fetches real graphs from where they were published; `harness data prepare` calls it."""

import http.client
import shutil
import tempfile
from pathlib import Path

from harness.errors import DataError
from harness.suite import Dataset
from suites.gate import graphs
from suites.gate.datasets import DATASETS

OGBN_ARXIV = "https://snap.stanford.edu/ogb/data/nodeproppred/arxiv.zip"


def fetch(dataset: Dataset, folder: Path) -> None:
    """Puts a dataset's files below `folder`, checked.

    Args:
        dataset: One of the suite's.
        folder: A data folder; the files go where `dataset.files` says.

    Raises:
        DataError: Offline, corrupted on the way, or not to be fetched in this way.
    """
    if dataset.name == "ogbn-arxiv":
        _fetch_ogbn_arxiv(folder / DATASETS["ogbn-arxiv"].path)
    else:
        graphs.fetch(dataset.name, folder)


def _fetch_ogbn_arxiv(target: Path) -> None:
    from torch_geometric.data import download_url, extract_zip

    target.parent.mkdir(parents=True, exist_ok=True)
    # Read whole before it takes its place: the archive has no published digest.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as scratch:
        try:
            archive = download_url(OGBN_ARXIV, scratch, log=False)
        except (OSError, http.client.HTTPException) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"ogbn-arxiv: cannot download {OGBN_ARXIV} ({reason}); go online, or unpack it "
                f"so that raw/ and split/ lie in {target}"
            ) from None
        extract_zip(archive, scratch, log=False)
        unpacked = Path(scratch) / "arxiv"
        graphs.read_ogbn_arxiv(unpacked)
        shutil.move(unpacked, target)
