"""Graphs of one's own: what is accepted, how it is stored, and what is refused in one line."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.utils import remove_self_loops, to_undirected

from harness import plan, registry
from harness.data import Sources
from harness.errors import DataError, SpecError
from harness.plugins import Loaded, Place, extended
from suites import gate
from suites.gate import own
from suites.gate.settings import GraphTask


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


def graph(nodes=12, masks=True, **changes):
    """A PyG graph with some edges both ways, some one way, a self-loop and a pair twice."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(0, nodes, (2, 30), generator=generator)
    edges = torch.cat([edges, edges[:, :3], torch.tensor([[1, 4], [1, 4]])], dim=1)
    fields = {
        "x": torch.randn(nodes, 3, generator=generator),
        "edge_index": edges,
        "y": torch.arange(nodes) % 3,
    }
    if masks:
        part = torch.arange(nodes)[:, None] % 4 - torch.tensor([0, 1])  # two splits
        fields |= {
            "train_mask": part <= 0,
            "val_mask": part == 1,
            "test_mask": part >= 2,
        }
    return Data(**(fields | changes))


def stored(plugin, split=0):
    dataset, task = plugin.datasets[0], plugin.tasks[0]
    found = Sources.of(None, own.Path("nowhere")).verified(dataset)
    return own.read(found.folder, GraphTask(**task.params).source, split)


def test_it_is_the_graph_that_pyg_has():
    data = graph()
    found = stored(gate.graph_task("mine", data), split=1)
    assert torch.equal(found.x_NF, data.x)
    assert torch.equal(found.y_N, data.y)
    for part in ("train", "val", "test"):
        assert torch.equal(getattr(found, f"{part}_N"), data[f"{part}_mask"][:, 1])
    both_ways = to_undirected(remove_self_loops(data.edge_index)[0])
    from suites.gate.graphs import with_protocol

    symmetric = with_protocol(found, "standard").edge_index_2E
    assert {tuple(e) for e in symmetric.T.tolist()} == {tuple(e) for e in both_ways.T.tolist()}
    assert symmetric.shape == both_ways.shape


def test_a_file_and_an_object_with_the_same_contents_are_one_task(tmp_path):
    data = graph()
    arrays = {
        "node_features": data.x.numpy(),
        "node_labels": data.y.numpy(),
        "edges": data.edge_index.T.numpy(),
        **{f"{p}_masks": data[f"{p}_mask"].T.numpy() for p in ("train", "val", "test")},
    }
    np.savez(tmp_path / "graph.npz", **arrays)
    from safetensors.numpy import save_file

    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, tmp_path / "g.safetensors")
    one = gate.graph_task("mine", data).tasks
    assert gate.graph_task("mine", tmp_path / "graph.npz").tasks == one
    assert gate.graph_task("mine", str(tmp_path / "g.safetensors")).tasks == one
    other = gate.graph_task("mine", graph(x=data.x + 1)).tasks
    assert other[0].params != one[0].params


def test_random_splits_cover_every_node_once_and_never_change():
    plugin = gate.graph_task("mine", graph(masks=False), splits=3)
    again = gate.graph_task("mine", graph(masks=False), splits=3)
    assert plugin == again
    for split in range(3):
        found = stored(plugin, split)
        parts = torch.stack([found.train_N, found.val_N, found.test_N]).int()
        assert parts.sum(dim=0).tolist() == [1] * 12
        assert parts.sum(dim=1).tolist() == [6, 3, 3]
    assert not torch.equal(stored(plugin, 0).train_N, stored(plugin, 1).train_N)
    task = plugin.tasks[0]  # its intervals are corrected for splits that overlap
    assert (task.splits, task.train_share, task.test_share) == ("resampled", 0.5, 0.25)
    assert gate.graph_task("mine", graph(masks=False), splits=1).tasks[0].splits == "independent"


def test_it_joins_the_suite_and_meets_its_methods():
    plugin = gate.graph_task("mine", graph(), depths=(2, 5), scales=("smoke",), methods=("ga*",))
    item = Loaded(Place("mine", "mine", "mine", "plugin"), "1", (plugin,))
    suite = extended(registry.load("gate"), [item])
    met = {
        (m.name, t.name) for m, t in suite.pairs(suite.scale("smoke")) if t.name.startswith("mine-")
    }
    assert {task for _, task in met} == {"mine-l2", "mine-l5"}
    own_methods = {m.name for m, _ in registry.load("gate").pairs(suite.scale("smoke"))}
    assert {method for method, _ in met} == {name for name in own_methods if name[:2] == "ga"}
    trials, _ = plan.trials(suite, suite.scale("smoke"))
    spec = next(t.spec for t in trials if t.task.name == "mine-l2")
    assert str(own.Path.home()) not in str(spec)  # no path of this machine is part of an identity
    assert spec["data"] == {"mine": plugin.datasets[0].files}


REFUSED = {
    "no labels": ({"y": None}, {}, "no y; give PyG Data"),
    "masks absent": ({"train_mask": None}, {}, "no masks for train; give splits=10"),
    "labels with a gap": ({"y": torch.arange(12) % 3 * 2}, {}, "labels from 0 to 4 in 3 kinds"),
    "one label": ({"y": torch.zeros(12, dtype=torch.long)}, {}, "at least two"),
    "labels not whole": ({"y": torch.rand(12)}, {}, "y of float32"),
    "nan": ({"x": torch.full((12, 3), torch.nan)}, {}, "NaN or infinity among the features"),
    "too few rows": ({"x": torch.zeros(11, 3)}, {}, r"x of shape \(11, 3\) and y of shape \(12,\)"),
    "edges away": ({"edge_index": torch.tensor([[0], [12]])}, {}, "edges to node 12"),
    "edges turned": ({"edge_index": torch.zeros(5, 2).long()}, {}, r"edges of shape \(5, 2\)"),
    "masks overlap": ({"val_mask": torch.ones(12, 2).bool()}, {}, "masks that overlap"),
    "mask empty": ({"val_mask": torch.zeros(12, 2).bool()}, {}, "a mask that is empty"),
    "mask of numbers": ({"val_mask": torch.zeros(12, 2)}, {}, "val mask float32"),
    "unequal splits": (
        {"val_mask": torch.zeros(12, 3).bool()}, {}, "masks with unequal numbers of splits"
    ),
    "no split": ({}, {"splits": 0}, "0 splits of 12 nodes"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_no_graph_is_refused_in_one_line(fault):
    changes, options, message = REFUSED[fault]
    with pytest.raises(DataError, match=message) as caught:
        gate.graph_task("mine", graph(**changes), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"depths": (0,)}, "at least 1"), ({"metric": "roc-auc"}, "wants 2 classes, found 3")],
)
def test_what_does_not_fit_the_suite_is_refused(options, message):
    with pytest.raises(SpecError, match=message):
        gate.graph_task("mine", graph(), **options)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    path = tmp_path / "graph.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not an npz or safetensors file"):
        gate.graph_task("mine", path)
    with pytest.raises(DataError, match="not found"):
        gate.graph_task("mine", tmp_path / "absent.npz")
    with pytest.raises(DataError, match="no x, edge_index, y"):
        gate.graph_task("mine", SimpleNamespace())
