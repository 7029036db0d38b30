"""What `GATEConv` refuses: one line each, when it is made and when it runs, in every precision."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch

from harness.errors import HarnessError, MethodError, SpecError
from suites.gate.conv import GATEConv

X, GOOD = torch.zeros(4, 3), torch.tensor([[0, 1, 2], [1, 2, 3]])
PRECISIONS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def refused(call: Any, error: type[HarnessError], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dropout": 1.5}, "dropout=1.5; it must be a number, from 0 to 1"),
        ({"dropout": -0.1}, "from 0 to 1"),
        ({"dropout": math.nan}, "dropout=nan"),
        ({"dropout": "0.5"}, "dropout='0.5'"),
        ({"dropout": True}, "dropout=True"),
        ({"negative_slope": math.nan}, "negative_slope=nan"),
        ({"negative_slope": math.inf}, "negative_slope=inf; it must be a number, finite"),
        ({"negative_slope": -0.2}, "negative_slope=-0.2; it must be a number, at least 0"),
        ({"negative_slope": None}, "negative_slope=None"),
        ({"gate_slope": -1}, "gate_slope=-1; it must be a number, at least 0"),
        ({"heads": 0}, "heads=0; it must be a whole number, at least 1"),
        ({"heads": -2}, "heads=-2"),
        ({"heads": 1.0}, "heads=1.0"),
        ({"heads": True}, "heads=True"),
        ({"out_channels": 0}, "out_channels=0"),
        ({"out_channels": "8"}, "out_channels='8'"),
        ({"in_channels": -1}, "in_channels=-1"),
        ({"in_channels": (-1, -1)}, "in_channels=-1"),
        ({"in_channels": (3, 4, 5)}, "in_channels=(3, 4, 5); it must be one width"),
        ({"in_channels": None}, "in_channels=None"),
        ({"edge_dim": 0}, "edge_dim=0"),
        ({"edge_dim": -1}, "edge_dim=-1"),
        ({"edge_dim": 2.0}, "edge_dim=2.0"),
        ({"fill_value": "median"}, "unknown fill_value of GATEConv 'median'"),
        ({"fill_value": "sum "}, "unknown fill_value of GATEConv 'sum '"),
        ({"fill_value": math.inf}, "fill_value=inf"),
        ({"fill_value": [1.0]}, "fill_value=[1.0]"),
        ({"edge_dim": 2, "fill_value": torch.ones(3)}, "it must hold 1 or 2 numbers"),
        ({"attention": "GATE"}, "unknown attention of GATEConv 'GATE'"),
        ({"concat": 0.2}, "concat=0.2; it must be True or False"),
        ({"bias": "no"}, "bias='no'"),
        ({"in_channels": (3, 4), "share_weights": True}, "3 and 4"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], words: str) -> None:
    refused(lambda: GATEConv(**{"in_channels": 3, "out_channels": 2} | options), SpecError, words)


def test_bounds_themselves_are_allowed() -> None:
    conv = GATEConv(3, 2, dropout=1, negative_slope=0, edge_dim=2, fill_value=torch.ones(1))
    conv(X, GOOD, torch.zeros(3, 2))
    GATEConv([3, 4], 2)(  # type: ignore[arg-type]  # a list is as good as a tuple
        (X, torch.zeros(5, 4)), GOOD
    )


@pytest.mark.parametrize(
    ("edge_index", "words"),
    [
        (GOOD.int(), "edge_index is torch.int32 [2, 3]; it must be torch.int64 [2, edges]"),
        (GOOD.float(), "torch.float32"),
        (GOOD.bool(), "torch.bool"),
        (GOOD.t(), "[3, 2]"),
        (GOOD[0], "[3]"),
        (torch.zeros(3, 2, dtype=torch.int64), "[3, 2]"),
        (torch.tensor([]), "torch.float32 [0]"),
        (GOOD.tolist(), "edge_index is a list; it must be a tensor"),
        (None, "edge_index is a NoneType"),
        (GOOD.numpy(), "edge_index is a ndarray; it must be a tensor"),
    ],
)
def test_edges_of_another_kind(edge_index: Any, words: str) -> None:
    refused(lambda: GATEConv(3, 2)(X, edge_index), MethodError, words)


@pytest.mark.filterwarnings("ignore:Sparse")  # torch calls its CSR a beta
def test_adjacency_matrices_are_refused() -> None:
    for matrix in (torch.eye(4).to_sparse(), torch.eye(4).to_sparse_csr()):
        words = f"edge_index is a sparse matrix ({matrix.layout})"
        refused(lambda m=matrix: GATEConv(3, 2)(X, m), MethodError, words)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (X.numpy(), "x is ndarray; it must be a tensor [nodes, features], or a pair"),
        (None, "x is NoneType"),
        ([X.tolist()], "x is (list)"),
        ((X, None), "x is (Tensor, NoneType)"),
        ((X, X, X), "x is (Tensor, Tensor, Tensor)"),
        (X.double(), "source features: torch.float64 on cpu; the layer is torch.float32 on cpu"),
        (X.long(), "torch.int64"),
        ((X, X.half()), "target features: torch.float16"),
        (X.to("meta"), "on meta; the layer is torch.float32 on cpu"),
        (X[0], "[3]"),
        (X[:, :2], "[4, 2]"),
    ],
)
def test_features_of_another_kind(x: Any, words: str) -> None:
    refused(lambda: GATEConv(3, 2)(x, GOOD), MethodError, words)


@pytest.mark.parametrize(
    ("edge_attr", "words"),
    [
        (np.zeros((3, 2)), "edge_attr is a ndarray; it must be a tensor or None"),
        (torch.zeros(3, 2).double(), "edge_attr: torch.float64"),
        (torch.zeros(3, 2).long(), "edge_attr: torch.int64"),
        (torch.zeros(3), "edge_attr has shape [3]"),
        (torch.zeros(2, 2), "it must be [3, 2]"),
        (torch.tensor(1.0), "edge_attr has shape []"),
        (torch.zeros(3, 1, 2), "edge_attr has shape [3, 1, 2]"),
    ],
)
def test_edge_features_of_another_kind(edge_attr: Any, words: str) -> None:
    refused(lambda: GATEConv(3, 2, edge_dim=2)(X, GOOD, edge_attr), MethodError, words)


@pytest.mark.parametrize("add_self_loops", [True, False])
@pytest.mark.parametrize("edge_dim", [None, 2])
@pytest.mark.parametrize("dtype", PRECISIONS)
def test_an_index_that_names_no_node(
    dtype: torch.dtype, edge_dim: int | None, add_self_loops: bool
) -> None:
    conv = GATEConv(3, 2, edge_dim=edge_dim, add_self_loops=add_self_loops).to(dtype)
    attr = None if edge_dim is None else torch.zeros(2, edge_dim, dtype=dtype)
    x = X.to(dtype), torch.zeros(5, 3, dtype=dtype)
    for edges, size in (
        ([[0, 4], [1, 2]], 4),
        ([[0, 1], [1, 5]], 5),
        ([[-1, 3], [1, 2]], 4),
        ([[0, 1], [4, -2]], 5),
    ):
        index = torch.tensor(edges)
        refused(lambda i=index: conv(x, i, attr), MethodError, f"but there are {size} nodes")


def test_compiled_layers_refuse_it_too() -> None:
    torch._dynamo.reset()
    conv = torch.compile(GATEConv(3, 2), backend="aot_eager", fullgraph=True)
    conv(X, GOOD)
    with pytest.raises(Exception, match="there are 4 nodes"):
        conv(X, GOOD + 1)
    featured = torch.compile(GATEConv(3, 2, edge_dim=1), backend="aot_eager", fullgraph=True)
    with pytest.raises(Exception, match="there are 4 nodes"):
        featured(X, GOOD + 1, torch.zeros(3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("attention", ["gate", "gat"])
@pytest.mark.parametrize("edge_dim", [None, 2])
def test_half_precision_is_the_layer_to_its_digits(
    dtype: torch.dtype, attention: Any, edge_dim: int | None
) -> None:
    """Outputs and gradients within a few roundings of the same layer in float64."""
    g = torch.Generator().manual_seed(0)
    half = GATEConv(3, 4, heads=2, attention=attention, edge_dim=edge_dim).to(dtype)
    with torch.no_grad():
        for parameter in half.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=g) / 2)
    exact = GATEConv(3, 4, heads=2, attention=attention, edge_dim=edge_dim).double()
    exact.load_state_dict({k: v.double() for k, v in half.state_dict().items()})
    x = torch.randn(30, 3, generator=g).to(dtype)
    index = torch.randint(30, (2, 200), generator=g)
    attr = None if edge_dim is None else torch.rand(200, 2, generator=g).to(dtype)
    results = []
    for conv in (half, exact):
        kind = next(conv.parameters()).dtype
        out = conv(x.to(kind), index, None if attr is None else attr.to(kind))
        assert out.dtype == kind
        out.sum().backward()
        results.append([out.detach(), *(p.grad for p in conv.parameters())])
    for got, expected in zip(*results, strict=True):
        assert got is not None
        assert expected is not None
        scale = float(expected.abs().max())
        error = float((got.double() - expected).abs().max())
        assert error <= 24 * torch.finfo(dtype).eps * max(scale, 1e-3)


def test_autocast_runs_the_layer() -> None:
    conv = GATEConv(3, 2, edge_dim=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = conv(X.bfloat16(), GOOD, torch.zeros(3, 2))
        out.float().sum().backward()
    assert out.shape == (4, 2)


@pytest.mark.parametrize("edge_dim", [None, 2])
def test_shapes_alone_run_through_the_layer(edge_dim: int | None) -> None:
    conv = GATEConv(3, 2, heads=2, edge_dim=edge_dim).to("meta")
    x, index = X.to("meta"), GOOD.to("meta")
    attr = None if edge_dim is None else torch.empty(3, edge_dim, device="meta")
    assert conv(x, index, attr).shape == (4, 4)
    refused(lambda: conv(X, index, attr), MethodError, "torch.float32 on cpu; the layer is")
    refused(lambda: conv(x.double(), index, attr), MethodError, "torch.float64 on meta")
