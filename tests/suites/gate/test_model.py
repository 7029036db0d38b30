"""The networks: start, structure, and the conservation laws of their gradients."""

import re
import warnings
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.errors import SpecError
from suites.gate.conv import GATEConv
from suites.gate.methods import ABLATIONS
from suites.gate.model import FAGCN, METHODS, Network, TunedGAT, build, looks_linear_

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # PyG scripts classes while it is imported
    from torch_geometric.nn import GATv2Conv

NO_EDGES = torch.empty(2, 0, dtype=torch.int64)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def graph(num_nodes: int, num_edges: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    g = generator(seed)
    x = torch.randn(num_nodes, width, generator=g, dtype=torch.float64)
    edge_index = torch.randint(num_nodes, (2, num_edges), generator=g)
    return x, edge_index[:, edge_index[0] != edge_index[1]]


def network(name: str, depth: int, *, width: int = 6, hidden: int = 8, seed: int = 0) -> Network:
    return build(name, width, hidden, 3, depth, generator(seed)).double()


# --- structure -------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("name", METHODS)
def test_outputs(name: str, depth: int) -> None:
    x, edge_index = graph(10, 30, 6, 0)
    model = network(name, depth).eval()  # without dropout
    logits = model(x, edge_index)
    assert logits.shape == (10, 3)
    representations = model.layers(x, edge_index)
    assert len(representations) == depth + 1
    assert representations[0] is x
    assert [r.shape[1] for r in representations] == [6, *[8] * (depth - 1), 3]
    torch.testing.assert_close(representations[-1], logits)
    if name != "fagcn":
        assert all((r >= 0).all() for r in representations[1:-1])
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert not any("bias" in key for key in model.state_dict() if not key.startswith("norms"))


@pytest.mark.parametrize("name", METHODS)
def test_self_attention(name: str) -> None:
    x, edge_index = graph(10, 30, 6, 0)
    weights = network(name, 5).self_attention(x, edge_index)
    attends = {
        "gat": [1, 1, 1, 1, 1],
        "gat-shared": [1, 1, 1, 1, 1],
        "gate": [1, 1, 1, 1, 1],
        "gate-shared": [1, 1, 1, 1, 1],
        "residual-gat": [1, 1, 1, 1, 1],
        "mlp-gat": [0, 1, 0, 1, 0],
        **{key: [1, 1, 1, 1, 1] for key in ABLATIONS},
    }.get(name, [0, 0, 0, 0, 0])
    assert [int(alpha is not None) for alpha in weights] == attends
    uniform = 1.0 / (torch.bincount(edge_index[1], minlength=10).double() + 1)
    for alpha in weights:
        if alpha is None:
            continue
        assert alpha.shape == (10,)
        starts_uniform = name in {"gate", "gate-shared", "mlp-gat", "gate-leaky", "gat-zero"}
        assert torch.allclose(alpha, uniform) == starts_uniform


@pytest.mark.parametrize(("depth", "places"), [(1, []), (2, []), (5, [2, 4]), (10, [2, 4, 6, 8])])
def test_rigid_places(depth: int, places: list[int]) -> None:
    stack = network("mlp-gat", depth).stack
    assert [i for i, layer in enumerate(stack, 1) if isinstance(layer, GATEConv)] == places


def test_the_rigid_network_shares_weights_as_released() -> None:
    """One matrix for value, source and target, no bias, attention that starts at 0."""
    _, edge_index = graph(10, 30, 6, 0)
    layer = network("mlp-gat", 5).stack[1]
    released = GATv2Conv(8, 8, bias=False, share_weights=True).double()
    assert set(dict(layer.named_parameters())) == {"att", "lin_value.weight"}
    with torch.no_grad():
        released.lin_l.weight.copy_(layer.lin_value.weight)  # type: ignore[union-attr, operator]
        released.att.zero_()
    h = torch.randn(10, 8, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(layer(h, edge_index), released(h, edge_index))


# --- ablations -------------------------------------------------------------------------------


def differing(one: Network, other: Network) -> set[str]:
    """In what two networks from one seed differ: settings of layers, values, kinds of parts."""
    settings = ("attention", "share_weights", "add_self_loops", "residual", "negative_slope",
                "gate_slope", "heads", "dropout", "in_channels", "out_channels")  # fmt: skip
    found = set()
    for a, b in zip(one.stack, other.stack, strict=True):
        found |= {name for name in settings if getattr(a, name) != getattr(b, name)}
    mine, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    found |= {key.split(".")[0] for key in mine.keys() ^ theirs.keys()}
    found |= {
        key.split(".", 2)[2] for key in mine.keys() & theirs.keys()
        if not torch.equal(mine[key], theirs[key])
    }  # fmt: skip
    return found | ({"dropout"} if (one.noise is None) != (other.noise is None) else set())


@pytest.mark.parametrize(
    ("name", "beside", "respect"),
    [
        ("gate-leaky", "gate", {"gate_slope"}),
        ("gat-relu", "gat", {"negative_slope"}),
        ("gat-zero", "gat", {"att"}),
        ("gat-residual-tuned", "residual-gat", {"norms", "dropout"}),
    ],
)
def test_an_ablation_differs_in_its_one_respect(name: str, beside: str, respect: set[str]) -> None:
    assert differing(network(name, 4, seed=3), network(beside, 4, seed=3)) == respect


def test_nonlinearities_of_the_ablations_are_the_other_layers() -> None:
    x, edge_index = graph(10, 30, 6, 0)
    leaky, gat = network("gate-leaky", 1).stack[0], network("gat", 1).stack[0]
    relu, gate = network("gat-relu", 1).stack[0], network("gate", 1).stack[0]
    assert (leaky.gate_slope, relu.negative_slope) == (gat.negative_slope, gate.gate_slope)
    for conv, twin, slope in ((leaky, gat, 0.2), (relu, gate, 0.0)):
        # With equal attention vectors and equal matrices both layers are one function.
        g = generator(4)
        att = torch.randn(1, 3, generator=g, dtype=torch.float64)
        matrices = torch.randn(2, 3, 6, generator=g, dtype=torch.float64)
        with torch.no_grad():
            for layer in (conv, twin):
                for key, parameter in layer.named_parameters():
                    if key.startswith("att"):
                        parameter.copy_(att)
                    else:
                        parameter.copy_(matrices[int("target" in key)])
        torch.testing.assert_close(conv(x, edge_index), twin(x, edge_index))
        assert conv._attention()[0] == slope


def test_the_tuned_network_is_the_residual_one_with_norm_and_dropout() -> None:
    x, edge_index = graph(50, 200, 6, 0)
    model, plain = network("gat-residual-tuned", 2, seed=1), network("residual-gat", 2, seed=1)
    assert isinstance(model, TunedGAT)
    hidden = plain.stack[0](x, edge_index)
    normed = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
    assert model.noise is not None
    state = model.noise.get_state()
    kept = torch.rand(50, 8, generator=model.noise) >= 0.2
    expected = plain.stack[1](normed.relu() * kept / 0.8, edge_index)
    model.noise.set_state(state)
    torch.testing.assert_close(model(x, edge_index), expected)
    assert not torch.equal(model(x, edge_index), expected)  # the next draw
    model.eval()
    assert torch.equal(model(x, edge_index), model(x, edge_index))


def test_mlp_ignores_edges() -> None:
    x, edge_index = graph(10, 30, 6, 0)
    model = network("mlp", 3)
    assert torch.equal(model(x, edge_index), model(x, NO_EDGES))


def test_gat_sep_is_linear_over_own_and_message() -> None:
    x, edge_index = graph(10, 30, 6, 0)
    (layer,) = network("gat-sep", 1).stack
    assert isinstance(layer, GATEConv)
    out, (edges, alpha) = layer(x, edge_index, return_attention_weights=True)
    assert torch.equal(edges, edge_index)
    message = torch.zeros_like(x).index_add(0, edges[1], alpha * x[edges[0]])
    assert layer.res is not None
    joint = torch.cat([layer.res.weight, layer.lin_value.weight], dim=1)
    torch.testing.assert_close(out, torch.cat([x, message], dim=1) @ joint.T)


def test_fagcn_mixes_its_first_features_into_every_layer() -> None:
    x, edge_index = graph(10, 30, 6, 0)
    model = network("fagcn", 2)
    assert isinstance(model, FAGCN)
    first = model.lin_in(x).relu()
    once = model.stack[0](first, first, edge_index)
    twice = model.stack[1](once, first, edge_index)
    torch.testing.assert_close(model.layers(x, edge_index), [x, once, model.lin_out(twice)])


def test_parameter_counts() -> None:
    def count(name: str) -> int:
        return sum(p.numel() for p in build(name, 7, 64, 8, 5, generator(0)).parameters())

    matrices = 64 * 7 + 3 * 64 * 64 + 8 * 64
    vectors = 4 * 64 + 8
    assert count("mlp") == matrices
    assert count("gat-shared") == matrices + vectors
    assert count("gat") == 2 * matrices + vectors
    assert count("gate-shared") == count("gat-shared") + vectors
    assert count("gate") == count("gate-shared") + 2 * matrices
    assert count("residual-gat") == count("gat-sep") == 3 * matrices + vectors


# --- start -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_weights_come_from_the_generator_alone(name: str) -> None:
    torch.manual_seed(1)  # the global state must have no say
    before = torch.get_rng_state()
    first = network(name, 3, seed=5).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    second = network(name, 3, seed=5).state_dict()
    other = network(name, 3, seed=6).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    drawn = [key for key in first if "weight" in key and not key.startswith("norms")]
    assert all(not torch.equal(first[key], other[key]) for key in drawn)


def test_looks_linear_blocks() -> None:
    stack = network("gate", 3, width=6, hidden=8).stack
    for name in ("lin_value", "lin_source", "lin_target"):
        first, hidden, last = (getattr(layer, name).weight for layer in stack)
        assert torch.equal(first[:4], -first[4:])
        assert torch.equal(hidden[:4, :4], -hidden[:4, 4:])
        assert torch.equal(hidden[:4], -hidden[4:])
        assert torch.equal(last[:, :4], -last[:, 4:])
        for d in (first[:4], hidden[:4, :4], last[:, :4]):
            eye = torch.eye(len(d), dtype=torch.float64)
            torch.testing.assert_close(d @ d.T, eye, rtol=0, atol=1e-6)
    first = dict(stack[0].named_parameters())
    assert not torch.equal(first["lin_value.weight"], first["lin_source.weight"])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(["mlp", "mlp-gat", "gate", "gate-shared", "gat", "gat-shared"]),
    depth=st.integers(2, 6),
    seed=st.integers(0, 100),
)
def test_start_is_an_orthogonal_linear_map_without_edges(name: str, depth: int, seed: int) -> None:
    model = build(name, 4, 8, 4, depth, generator(seed)).double()
    m = model(torch.eye(4, dtype=torch.float64), NO_EDGES)
    x = torch.randn(5, 4, generator=generator(seed), dtype=torch.float64)
    torch.testing.assert_close(model(x, NO_EDGES), x @ m)
    torch.testing.assert_close(m @ m.T, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-5)


def test_one_layer_starts() -> None:
    odd = build("gate", 7, 64, 7, 1, generator(0)).stack[0]
    assert isinstance(odd, GATEConv)
    weight = odd.lin_value.weight
    assert weight.abs().max() <= 7**-0.5
    assert weight.abs().max() > 0.8 * 7**-0.5
    even = build("gate", 2, 64, 2, 1, generator(0)).stack[0]
    assert isinstance(even, GATEConv)
    assert torch.linalg.matrix_rank(even.lin_value.weight) == 1


def test_looks_linear_fills_in_place() -> None:
    weight = nn.Parameter(torch.zeros(4, 4))
    looks_linear_(weight, 2, 3, generator(0))
    assert weight.norm() > 0
    assert weight.requires_grad


# --- conservation laws -----------------------------------------------------------------------


def randomised(name: str, depth: int, seed: int) -> Network:
    """A network at random parameter values, with the gradients of a cross-entropy."""
    model = network(name, depth, seed=seed)
    g = generator(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = parameter.size(-1) ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=g, dtype=torch.float64) * scale)
    x, edge_index = graph(14, 40, 6, seed)
    labels = torch.randint(3, (14,), generator=g)
    nn.functional.cross_entropy(model(x, edge_index), labels).backward()  # type: ignore[no-untyped-call]
    return model


def rows(conv: nn.Module, *names: str) -> Tensor:
    """<W[i, :], gradient> of each output unit i, summed over the named matrices."""
    return _products(conv, names, dim=1)


def columns(conv: nn.Module, *names: str) -> Tensor:
    """<W[:, i], gradient> of each input unit i, summed over the named matrices."""
    return _products(conv, names, dim=0)


def vectors(conv: nn.Module, *names: str) -> Tensor:
    """a[i] times its gradient, summed over the named attention vectors."""
    return torch.stack([(getattr(conv, n) * getattr(conv, n).grad).squeeze(0) for n in names]).sum(
        0
    )


def _products(conv: nn.Module, names: tuple[str, ...], dim: int) -> Tensor:
    weights = [getattr(conv, name).weight for name in names]
    return torch.stack([(w * w.grad).sum(dim) for w in weights]).sum(0)


def assert_equal_to_rounding(left: Tensor, *right: Tensor) -> None:
    size = torch.stack([left, *right]).abs().max()
    assert size > 1e-6  # the law must not hold because everything is zero
    assert ((left - sum(right)).abs() <= 1e-10 * size).all()


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
@pytest.mark.parametrize("depth", [2, 4])
def test_conservation_laws(depth: int, seed: int) -> None:
    """Rescaling a hidden unit leaves the function as it is, so its gradients balance.

    Section 3 of the paper; exact at every parameter value. Under gradient flow it keeps
    ||W[i, :]||^2 - ||W'[:, i]||^2 - sum of a[i]^2 constant, which is why alpha_vv moves little.
    """
    value, source, target = "lin_value", "lin_source", "lin_target"

    stack = randomised("gat-shared", depth, seed).stack
    for a, b in pairwise(stack):
        assert_equal_to_rounding(rows(a, value), columns(b, value), vectors(a, "att"))

    stack = randomised("gate-shared", depth, seed).stack
    for a, b in pairwise(stack):
        assert_equal_to_rounding(
            rows(a, value), columns(b, value), vectors(a, "att_neighbour", "att_self")
        )

    stack = randomised("gat", depth, seed).stack
    for a, b in pairwise(stack):
        assert_equal_to_rounding(
            rows(a, value, target), columns(b, value, target), vectors(a, "att")
        )

    stack = randomised("gate", depth, seed).stack
    for a, b in pairwise(stack):
        assert_equal_to_rounding(rows(a, value), columns(b, value, source, target))
        assert_equal_to_rounding(rows(a, source, target), vectors(a, "att_neighbour", "att_self"))


# --- errors and compile ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hidden", "depth", "words"),
    [
        ("gta", 8, 2, "unknown method of gate 'gta': did you mean"),
        ("gat", 8, 0, "depth 0"),
        ("gat", 7, 2, "hidden width 7"),
    ],
)
def test_errors(name: str, hidden: int, depth: int, words: str) -> None:
    with pytest.raises(SpecError, match=re.escape(words)) as error:
        build(name, 4, hidden, 3, depth, generator(0))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["gat", "gate-shared", "gat-sep", "mlp-gat"])
def test_compiles_whole(name: str) -> None:
    torch._dynamo.reset()
    x, edge_index = graph(10, 30, 6, 0)
    model = network(name, 3)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, edge_index), model(x, edge_index))
