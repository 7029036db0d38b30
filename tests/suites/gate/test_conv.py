"""The layer against PyG's GATv2Conv, against its own definition, and under torch.compile."""

import re
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.errors import HarnessError
from suites.gate.conv import Attention, GATEConv

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # PyG scripts classes while it is imported
    from torch_geometric.nn import GATv2Conv

LAYERS: list[tuple[Attention, bool]] = [
    ("gat", False),
    ("gat", True),
    ("gate", False),
    ("gate", True),
]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randomise(module: nn.Module, seed: int) -> None:
    g = generator(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=g)


def random_graph(
    num_sources: int, num_targets: int, num_edges: int, seed: int, loops: bool = True
) -> Tensor:
    """Random edges; with `loops`, two of them are loops, one of these twice."""
    g = generator(seed)
    edge_index = torch.stack(
        [
            torch.randint(num_sources, (num_edges,), generator=g),
            torch.randint(num_targets, (num_edges,), generator=g),
        ]
    )
    if loops:
        edge_index[:, num_edges // 2] = 1
        edge_index[:, num_edges - 1] = 1
        edge_index[:, 0] = 0
    else:
        edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    return edge_index


def twins(seed: int, **options: Any) -> tuple[GATEConv, GATv2Conv]:
    """Our layer with attention="gat" and PyG's, with the same random values, float64."""
    ours, theirs = GATEConv(attention="gat", **options), GATv2Conv(**options)
    randomise(ours, seed)
    with torch.no_grad():
        theirs.lin_l.load_state_dict(ours.lin_value.state_dict())
        if ours.lin_target is not None:
            theirs.lin_r.load_state_dict(ours.lin_target.state_dict())
        theirs.att.copy_(ours.att.unsqueeze(0))
        for name in ("lin_edge", "res"):
            if getattr(ours, name) is not None:
                getattr(theirs, name).load_state_dict(getattr(ours, name).state_dict())
        if ours.bias is not None:
            theirs.bias.copy_(ours.bias)
    return ours.double(), theirs.double()


def assert_twins_agree(
    ours: GATEConv,
    theirs: GATv2Conv,
    x: Tensor | tuple[Tensor, Tensor],
    edge_index: Tensor,
    edge_attr: Tensor | None = None,
) -> None:
    """Outputs, and gradients of inputs and of every parameter, agree."""
    inputs = [x] if isinstance(x, Tensor) else list(x)
    inputs += [] if edge_attr is None else [edge_attr]
    results = []
    for conv in (ours, theirs):
        for tensor in inputs:
            tensor.requires_grad_().grad = None
        out = conv(x, edge_index, edge_attr)
        out.backward(torch.randn(out.shape, generator=generator(99), dtype=out.dtype))
        results.append((out.detach(), [tensor.grad for tensor in inputs]))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-9)

    renamed = {"lin_value": "lin_l", "lin_target": "lin_r"}
    their_parameters = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        head, _, tail = name.partition(".")
        their_name = renamed.get(head, head) + (f".{tail}" if tail else "")
        their_grad = their_parameters.pop(their_name).grad
        assert parameter.grad is not None
        assert their_grad is not None
        torch.testing.assert_close(
            parameter.grad, their_grad.reshape(parameter.shape), rtol=1e-9, atol=1e-9, msg=name
        )
    assert not their_parameters


# --- parity ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    heads=st.integers(1, 3),
    concat=st.booleans(),
    bias=st.booleans(),
    share_weights=st.booleans(),
    residual=st.booleans(),
    add_self_loops=st.booleans(),
    edge_dim=st.sampled_from([None, 1, 3]),
    bipartite=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_gat_is_gatv2(
    *,
    heads: int,
    concat: bool,
    bias: bool,
    share_weights: bool,
    residual: bool,
    add_self_loops: bool,
    edge_dim: int | None,
    bipartite: bool,
    seed: int,
) -> None:
    widths = ((4, 4) if share_weights else (4, 3)) if bipartite else 4
    ours, theirs = twins(
        seed,
        in_channels=widths,
        out_channels=5,
        heads=heads,
        concat=concat,
        bias=bias,
        share_weights=share_weights,
        residual=residual,
        add_self_loops=add_self_loops,
        edge_dim=edge_dim,
    )
    g = generator(seed)
    num_sources, num_targets = (9, 7) if bipartite else (8, 8)
    x_source = torch.randn(num_sources, 4, generator=g, dtype=torch.float64)
    x: Tensor | tuple[Tensor, Tensor] = x_source
    if isinstance(widths, tuple):
        x = x_source, torch.randn(num_targets, widths[1], generator=g, dtype=torch.float64)
    edge_index = random_graph(num_sources, num_targets, 24, seed)
    edge_attr = None
    if edge_dim is not None:
        edge_attr = torch.randn(24, edge_dim, generator=g, dtype=torch.float64)
        edge_attr = edge_attr.squeeze(1) if edge_dim == 1 else edge_attr
    assert_twins_agree(ours, theirs, x, edge_index, edge_attr)


@pytest.mark.parametrize(
    "fill_value", ["add", "mean", "min", "max", "mul", 0.5, torch.tensor([1.0, -2.0, 3.0])]
)
def test_edge_features_of_own_loops(fill_value: float | str | Tensor) -> None:
    ours, theirs = twins(
        3, in_channels=4, out_channels=5, heads=2, edge_dim=3, fill_value=fill_value
    )
    g = generator(4)
    x = torch.randn(8, 4, generator=g, dtype=torch.float64)
    # Distinct values, so that min and max have one subgradient each.
    edge_attr = torch.randn(24, 3, generator=g, dtype=torch.float64)
    # Nodes 6 and 7 receive no edge: their own loops have nothing to reduce.
    assert_twins_agree(ours, theirs, x, random_graph(8, 6, 24, 5), edge_attr)


def test_more_targets_than_sources() -> None:
    ours, theirs = twins(1, in_channels=(4, 3), out_channels=5, heads=2)
    g = generator(2)
    x = (
        torch.randn(5, 4, generator=g, dtype=torch.float64),
        torch.randn(9, 3, generator=g, dtype=torch.float64),
    )
    assert_twins_agree(ours, theirs, x, random_graph(5, 9, 20, 3))


def test_gat_is_gatv2_in_float32() -> None:
    ours, theirs = (c.float() for c in twins(1, in_channels=16, out_channels=32, heads=2))
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert parameter.shape.numel() == other.shape.numel()
    with torch.no_grad():
        for conv in (ours, theirs):
            for parameter in conv.parameters():
                parameter.mul_(0.3)
    x = torch.randn(100, 16, generator=generator(0))
    edge_index = random_graph(100, 100, 800, 0)
    torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index), rtol=1e-5, atol=1e-5)


# --- definition ------------------------------------------------------------------------------


def gate_by_loops(conv: GATEConv, x_NF: Tensor, edges: list[tuple[int, int]]) -> Tensor:
    """The table at the top of the module, a node and an edge at a time."""
    value = conv.lin_value
    source = conv.lin_source or value
    target = conv.lin_target or value
    rows = []
    for v in range(len(x_NF)):
        neighbours = [u for u, w in edges if w == v and u != v] + [v]
        scores = []
        for u in neighbours:
            z_C = torch.relu(source(x_NF[u : u + 1]) + target(x_NF[v : v + 1]))[0]
            scores.append(((conv.att_self if u == v else conv.att_neighbour)[0] * z_C).sum())
        alpha = torch.stack(scores).softmax(0)
        rows.append(
            sum(a * value(x_NF[u : u + 1])[0] for a, u in zip(alpha, neighbours, strict=True))
        )
    return torch.stack(rows)


@pytest.mark.parametrize("share_weights", [False, True])
def test_gate_is_its_definition(share_weights: bool) -> None:
    conv = GATEConv(3, 4, bias=False, share_weights=share_weights).double()
    randomise(conv, 0)
    x = torch.randn(6, 3, generator=generator(1), dtype=torch.float64)
    edge_index = random_graph(6, 6, 15, 2)
    edges = [(int(u), int(v)) for u, v in edge_index.T]
    torch.testing.assert_close(conv(x, edge_index), gate_by_loops(conv, x, edges))
    # The composite path of edge features, given features that are zero, is the same function.
    featured = GATEConv(3, 4, bias=False, share_weights=share_weights, edge_dim=2).double()
    featured.load_state_dict(conv.state_dict(), strict=False)
    torch.testing.assert_close(
        featured(x, edge_index, torch.zeros(15, 2, dtype=torch.float64)), conv(x, edge_index)
    )


@pytest.mark.parametrize("share_weights", [False, True])
def test_attention_is_uniform_at_the_start(share_weights: bool) -> None:
    conv = GATEConv(5, 4, heads=2, share_weights=share_weights)
    x = torch.randn(9, 5, generator=generator(0))
    edge_index = random_graph(9, 9, 30, 1, loops=False)
    _, (edges, alpha) = conv(x, edge_index, return_attention_weights=True)
    degree = torch.bincount(edges[1], minlength=9)
    torch.testing.assert_close(alpha, (1.0 / degree)[edges[1]].unsqueeze(1).expand(-1, 2))


@pytest.mark.parametrize(("attention", "share_weights"), LAYERS)
def test_attention_sums_to_one_and_is_in_order(attention: Attention, share_weights: bool) -> None:
    conv = GATEConv(5, 4, heads=2, attention=attention, share_weights=share_weights, dropout=0.5)
    randomise(conv, 0)
    x = torch.randn(9, 5, generator=generator(0))
    edge_index = random_graph(9, 9, 30, 1)
    _, (edges, alpha) = conv(x, edge_index, return_attention_weights=True)
    assert torch.equal(edges[:, :30], edge_index)
    assert torch.equal(edges[:, 30:], torch.arange(9).expand(2, 9))
    assert alpha.shape == (39, 2)
    total = torch.zeros(9, 2).index_add(0, edges[1], alpha)
    torch.testing.assert_close(total, torch.ones(9, 2))
    loops = edge_index[0] == edge_index[1]
    assert loops.sum() >= 3
    assert (alpha[:30][loops] == 0).all()
    assert (alpha[30:] > 0).all()


def test_closed_gate_is_the_linear_layer() -> None:
    conv = GATEConv(5, 4, bias=False)
    randomise(conv, 0)
    with torch.no_grad():
        conv.att_neighbour.fill_(-1e4)
        conv.att_self.fill_(1e4)
        # Every pre-activation positive: a gate needs one to act on.
        x = torch.rand(9, 5, generator=generator(0)) + 0.1
        assert conv.lin_source is not None
        assert conv.lin_target is not None
        conv.lin_source.weight.abs_()
        conv.lin_target.weight.abs_()
    edge_index = random_graph(9, 9, 30, 1)
    torch.testing.assert_close(conv(x, edge_index), conv.lin_value(x), rtol=0, atol=0)


def test_open_gate_ignores_the_node_itself() -> None:
    conv = GATEConv(5, 4, bias=False)
    with torch.no_grad():
        randomise(conv, 0)
        conv.att_neighbour.fill_(0.0)
        conv.att_self.fill_(-1e4)
        assert conv.lin_source is not None
        conv.lin_source.weight.abs_()
        conv.lin_target.weight.abs_()  # type: ignore[union-attr]
    x = torch.rand(3, 5, generator=generator(0)) + 0.1
    edge_index = torch.tensor([[1, 2, 0, 0], [0, 0, 1, 2]])
    expected = conv.lin_value(torch.stack([(x[1] + x[2]) / 2, x[0], x[0]]))
    torch.testing.assert_close(conv(x, edge_index), expected)


def test_given_loops_are_self_edges_only_on_one_node_set() -> None:
    conv = GATEConv(3, 4, add_self_loops=False, bias=False).double()
    randomise(conv, 0)
    x = torch.randn(4, 3, generator=generator(1), dtype=torch.float64)
    pairs = random_graph(4, 4, 9, 2, loops=False)
    own = torch.arange(4).expand(2, 4)
    with_loops = torch.cat([pairs, own], dim=1)
    adds_loops = GATEConv(3, 4, bias=False).double()
    adds_loops.load_state_dict(conv.state_dict())
    torch.testing.assert_close(conv(x, with_loops), adds_loops(x, pairs))

    as_two_sets = conv((x, x.clone()), with_loops)
    with torch.no_grad():
        conv.att_self.copy_(conv.att_neighbour)
    torch.testing.assert_close(as_two_sets, conv(x, with_loops))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(layer=st.sampled_from(LAYERS), seed=st.integers(0, 1000))
def test_permutation_equivariance(layer: tuple[Attention, bool], seed: int) -> None:
    attention, share_weights = layer
    conv = GATEConv(3, 4, heads=2, attention=attention, share_weights=share_weights).double()
    randomise(conv, seed)
    g = generator(seed)
    x = torch.randn(7, 3, generator=g, dtype=torch.float64)
    edge_index = random_graph(7, 7, 18, seed)
    nodes, edges = torch.randperm(7, generator=g), torch.randperm(18, generator=g)
    moved = torch.empty_like(nodes)
    moved[nodes] = torch.arange(7)
    out = conv(x[nodes], moved[edge_index[:, edges]])
    torch.testing.assert_close(out, conv(x, edge_index)[nodes])


@pytest.mark.parametrize("add_self_loops", [False, True])
@pytest.mark.parametrize(("attention", "share_weights"), LAYERS)
def test_isolated_nodes_and_no_edges(
    attention: Attention, share_weights: bool, add_self_loops: bool
) -> None:
    conv = GATEConv(
        3,
        4,
        attention=attention,
        share_weights=share_weights,
        add_self_loops=add_self_loops,
        bias=False,
    )
    x = torch.randn(4, 3, generator=generator(0), requires_grad=True)
    for edge_index in (torch.tensor([[0], [1]]), torch.empty(2, 0, dtype=torch.int64)):
        out = conv(x, edge_index)
        out.square().sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in conv.parameters())
        expected = conv.lin_value(x)[2:] if add_self_loops else torch.zeros(2, 4)
        torch.testing.assert_close(out[2:], expected)


# --- training --------------------------------------------------------------------------------


def test_dropout_acts_on_attention_in_training_only() -> None:
    conv = GATEConv(3, 4, dropout=0.5, bias=False)
    randomise(conv, 0)
    x = torch.randn(30, 3, generator=generator(1))
    edge_index = random_graph(30, 30, 200, 2)
    assert not torch.equal(conv(x, edge_index), conv(x, edge_index))
    conv.eval()
    assert torch.equal(conv(x, edge_index), conv(x, edge_index))
    everything = GATEConv(3, 4, dropout=1.0, bias=False)
    assert (everything(x, edge_index) == 0).all()


@pytest.mark.parametrize("edge_dim", [None, 2])
@pytest.mark.parametrize(("attention", "share_weights"), LAYERS)
def test_gradients(attention: Attention, share_weights: bool, edge_dim: int | None) -> None:
    conv = GATEConv(
        2, 2, heads=2, attention=attention, share_weights=share_weights, edge_dim=edge_dim
    ).double()
    randomise(conv, 0)
    g = generator(1)
    x = torch.randn(4, 2, generator=g, dtype=torch.float64, requires_grad=True)
    edge_index = random_graph(4, 4, 8, 2)
    attr = None if edge_dim is None else torch.randn(8, 2, generator=g, dtype=torch.float64)
    names = [name for name, _ in conv.named_parameters()]

    def f(x: Tensor, *values: Tensor) -> Tensor:
        parameters = dict(zip(names, values, strict=True))
        out = torch.func.functional_call(conv, parameters, (x, edge_index, attr))
        assert isinstance(out, Tensor)
        return out

    assert torch.autograd.gradcheck(f, (x, *conv.parameters()))


# --- parameters ------------------------------------------------------------------------------


def test_parameter_counts() -> None:
    fan_in, width = 7, 16

    def count(attention: Attention, share_weights: bool) -> int:
        conv = GATEConv(fan_in, width, bias=False, attention=attention, share_weights=share_weights)
        return sum(parameter.numel() for parameter in conv.parameters())

    assert count("gat", True) == fan_in * width + width
    assert count("gat", False) == 2 * fan_in * width + width
    assert count("gate", True) == count("gat", True) + width
    assert count("gate", False) == count("gate", True) + 2 * fan_in * width


def test_state_names() -> None:
    def names(attention: Attention, share_weights: bool) -> set[str]:
        return set(
            GATEConv(
                3, 4, bias=False, attention=attention, share_weights=share_weights
            ).state_dict()
        )

    assert names("gat", True) == {"lin_value.weight", "att"}
    assert names("gat", False) == {"lin_value.weight", "lin_target.weight", "att"}
    assert names("gate", True) == {"lin_value.weight", "att_neighbour", "att_self"}
    assert names("gate", False) == {
        "lin_value.weight",
        "lin_source.weight",
        "lin_target.weight",
        "att_neighbour",
        "att_self",
    }


def test_initial_attention() -> None:
    gate, gat = GATEConv(3, 4), GATEConv(3, 4096, attention="gat")
    assert not gate.att_neighbour.any()
    assert not gate.att_self.any()
    assert gat.att.std().item() == pytest.approx(4096**-0.5, rel=0.05)
    before = gat.att.clone()
    gat.reset_parameters()
    assert not torch.equal(before, gat.att)


def test_repr() -> None:
    assert repr(GATEConv(3, 4)) == (
        "GATEConv(3, 4, heads=1, attention='gate', share_weights=False)"
    )


# --- errors ----------------------------------------------------------------------------------


def one_line(error: pytest.ExceptionInfo[HarnessError]) -> bool:
    return "\n" not in str(error.value)


def test_errors_name_what_is_wrong() -> None:
    x = torch.zeros(3, 6)
    edge_index = torch.tensor([[0], [1]])
    conv = GATEConv(6, 4)
    cases: list[tuple[Any, str]] = [
        (lambda: GATEConv(6, 4, attention="gta"), "unknown attention of GATEConv 'gta'"),  # type: ignore[arg-type]
        (lambda: GATEConv(-1, 4), "at least 1"),
        (lambda: GATEConv(6, 4, fill_value="mode"), "unknown fill_value of GATEConv 'mode'"),
        (lambda: GATEConv((6, 5), 4, share_weights=True), "6 and 5"),
        (lambda: conv(x[:, :5], edge_index), "[3, 5]"),
        (lambda: conv(x[0], edge_index), "[6]"),
        (lambda: conv((x, x[:, :2]), edge_index), "target features have shape [3, 2]"),
        (lambda: conv(x, edge_index.T), "[1, 2]"),
        (lambda: conv(x, edge_index.int()), "torch.int32"),
        (lambda: conv(x, edge_index, torch.ones(1, 2)), "must be None"),
        (lambda: GATEConv(6, 4, edge_dim=3)(x, edge_index, torch.ones(1, 2)), "[1, 3]"),
    ]
    for call, words in cases:
        with pytest.raises(HarnessError, match=re.escape(words)) as error:
            call()
        assert one_line(error)


# --- torch.compile ---------------------------------------------------------------------------


def assert_compiled_agrees(conv: GATEConv, backend: str, edge_dim: int | None = None) -> None:
    g = generator(1)
    x = torch.randn(9, 5, generator=g)
    edge_index = random_graph(9, 9, 30, 1)
    edge_attr = None if edge_dim is None else torch.randn(30, edge_dim, generator=g)
    compiled = torch.compile(conv, backend=backend, fullgraph=True)
    grads = []
    for function in (conv, compiled):
        conv.zero_grad()
        out, (_, alpha) = function(x, edge_index, edge_attr, return_attention_weights=True)
        (out.square().sum() + alpha.square().sum()).backward()
        grads.append([out.detach(), *(p.grad for p in conv.parameters())])
    torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize("edge_dim", [None, 3])
@pytest.mark.parametrize(("attention", "share_weights"), LAYERS)
def test_compiles_whole(attention: Attention, share_weights: bool, edge_dim: int | None) -> None:
    torch._dynamo.reset()
    conv = GATEConv(
        5, 4, heads=2, attention=attention, share_weights=share_weights, edge_dim=edge_dim
    )
    randomise(conv, 0)
    assert_compiled_agrees(conv, "aot_eager", edge_dim)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")  # inductor itself
def test_compiles_whole_with_inductor() -> None:
    torch._dynamo.reset()
    conv = GATEConv(5, 4, heads=2)
    randomise(conv, 0)
    assert_compiled_agrees(conv, "inductor")
