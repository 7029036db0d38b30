"""Files of graphs for tests, whole or broken in a random way, and what reading one may lead to."""

import gzip
import io
import random
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from harness.errors import DataError
from suites.gate import graphs
from suites.gate.datasets import DATASETS
from suites.gate.graphs import Graph

NPZ = DATASETS["texas"]._replace(
    sha256=None, nodes=12, edges=9, features=3, classes=2, splits=2, name="tiny"
)
OGB = DATASETS["ogbn-arxiv"]._replace(nodes=5, edges=4, features=2, classes=3)
OGB_TEXTS = {
    "raw/edge": "0,1\n1,0\n2,1\n3,4\n4,2\n",
    "raw/node-feat": "0.5,1\n1,1\n-2,0\n1e-3,4\n0,0\n",
    "raw/node-label": "0\n1\n2\n0\n1\n",
    "split/time/train": "0\n3\n",
    "split/time/valid": "1\n",
    "split/time/test": "2\n4\n",
}


def npz(compressed: bool) -> bytes:
    """A good npz of `NPZ`."""
    node = np.arange(12)
    pairs = np.array([(u, v) for u in range(12) for v in range(u + 1, 12)])
    part = np.stack([(node + shift) % 3 for shift in range(2)])
    arrays: dict[str, Any] = {
        "node_features": (np.arange(36) / 7).reshape(12, 3),
        "node_labels": node % 2,
        "edges": pairs[3:12],
        "train_masks": part == 0,
        "val_masks": part == 1,
        "test_masks": part == 2,
    }
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


class Reader(NamedTuple):
    """A reader on a folder of good files."""

    files: dict[Path, bytes]
    read: Callable[[], Graph]


def readers(folder: Path) -> dict[str, Reader]:
    """Every reader of graphs, each with its files written into a folder of its own."""

    def put(path: Path, data: bytes) -> tuple[Path, bytes]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path, data

    found = {}
    for name in ("stored", "compressed"):
        path = folder / name / "tiny.npz"
        files = dict([put(path, npz(name == "compressed"))])
        found[name] = Reader(files, partial(graphs.read_npz, path, NPZ, 1))
    ogb = folder / "ogb"
    files = dict(
        put(ogb / f"{name}.csv.gz", gzip.compress(text.encode(), mtime=0))
        for name, text in OGB_TEXTS.items()
    )
    found["ogb"] = Reader(files, partial(graphs.read_ogbn_arxiv, ogb, OGB))
    return found


def verdict(reader: Reader, path: Path, data: bytes) -> str:
    """What reading leads to with other bytes in one file; `refused`, `read`, or what is wrong.

    A graph that is read must be one: whatever the bytes, its values keep the promises of `Graph`.
    """
    try:
        path.write_bytes(data)
        try:
            graph = reader.read()
        except DataError as error:
            line = str(error)
            if "\n" in line or not line.isprintable():
                return f"more than one printable line: {line!r}"
            known = line.startswith((f"{path}: ", f"{path.parent}: masks"))  # masks: three files
            return "refused" if known else f"names another file: {line}"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
        return flaw(graph) or "read"
    finally:
        path.write_bytes(reader.files[path])


def flaw(graph: Graph) -> str | None:
    """Which promise of a `Graph` these tensors break."""
    n = len(graph.y_N)
    masks = torch.stack([graph.train_N, graph.val_N, graph.test_N])
    kept = {
        "types": graph.x_NF.dtype == torch.float32
        and graph.edge_index_2E.dtype == graph.y_N.dtype == torch.int64
        and masks.dtype == torch.bool,
        "shapes": graph.x_NF.shape[0] == n
        and masks.shape == (3, n)
        and graph.edge_index_2E.shape[0] == 2,
        "finite features": bool(graph.x_NF.isfinite().all()),
        "labels": set(graph.y_N.tolist()) == set(range(graph.classes)),
        "edges": bool(((graph.edge_index_2E >= 0) & (graph.edge_index_2E < n)).all()),
        "masks": bool((masks.sum(0) <= 1).all() and masks.any(1).all()),
    }
    return next((f"breaks a promise: {name}" for name, holds in kept.items() if not holds), None)


def broken(rng: random.Random, data: bytes) -> bytes:
    """The bytes cut, flipped, overwritten, exchanged, repeated, or something else altogether."""
    at, to = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    noise = rng.randbytes(rng.choice((1, 2, 4, 8, 64)))
    return rng.choice(
        (
            lambda: data[:at],
            lambda: data[at:],
            lambda: data[:at] + data[to:],
            lambda: data[:at] + noise + data[at + len(noise) :],
            lambda: data[:at] + noise + data[at:],
            lambda: data[:to] + data[at:],
            lambda: data + data[at:to],
            lambda: _flipped(rng, data),
            lambda: _inside(rng, data),
            lambda: noise * rng.choice((0, 1, 40)),
            lambda: rng.choice(
                (
                    b"",
                    b"<!DOCTYPE html><html><body>404</body></html>",
                    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
                    b"\x80\x04K\x01.",
                    b"\x93NUMPY\x01\x00",
                    b"PK\x05\x06" + bytes(18),
                    b"\x1f\x8b\x08" + bytes(20),
                    b"0,1\n" * 9,
                )
            ),
        )
    )()


def _flipped(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 3))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


WORDS = (
    b"nan", b"-1", b"1e400", b"99999999999999999999", b"", b",", b"\n", b"\n\n", b"\0", b'"', b"x",
    b"2.5", b"1,1,1", b" ", b"\xff", b"True", b"0x1", b"1e3", b"-0", b"inf",
)  # fmt: skip


def _inside(rng: random.Random, data: bytes) -> bytes:
    """Well packed, but wrong inside: damage that no checksum of the packing finds."""
    if data[:2] == b"\x1f\x8b":
        text = gzip.decompress(data)
        at = rng.randrange(len(text) + 1)
        return gzip.compress(text[:at] + rng.choice(WORDS) + text[at + rng.randrange(3) :], mtime=0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        names = old.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = old.read(name)
            if name == chosen:
                at = rng.randrange(len(content))
                content = rng.choice(
                    (
                        content[:at],
                        content[:at] + rng.randbytes(8) + content[at + 8 :],
                        _flipped(rng, content),
                        old.read(rng.choice(names)),
                        content.replace(b"<i8", b"|O8").replace(b"<f8", b"|O8"),
                        content.replace(b"(12", b"(" + b"9" * rng.choice((2, 9, 15, 30))),
                    )
                )
            new.writestr(name, content)
    return buffer.getvalue()
