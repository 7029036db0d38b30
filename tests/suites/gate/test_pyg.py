"""The layer among PyG's own: heterogeneous graphs, message passing, what is refused."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.errors import HarnessError, MethodError
from suites.gate.conv import Attention, GATEConv

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # PyG scripts classes while it is imported
    from torch_geometric import EdgeIndex
    from torch_geometric.explain import Explainer, GNNExplainer
    from torch_geometric.nn import HeteroConv, MessagePassing, Sequential, to_hetero
    from torch_geometric.utils import get_num_hops, to_edge_index, to_torch_csr_tensor

WRITES, CITES, BACK = ("a", "writes", "p"), ("p", "cites", "p"), ("p", "back", "a")
EDGES = {
    WRITES: torch.tensor([[0, 4, 2, 2], [6, 1, 0, 6]]),
    CITES: torch.tensor([[1, 2, 3, 3], [2, 2, 0, 6]]),
    BACK: torch.tensor([[6, 0, 5], [4, 0, 4]]),
}
ATTENTION: tuple[Attention, ...] = ("gate", "gat")


def features(width: int = 4) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    return {"a": torch.randn(5, width, generator=g), "p": torch.randn(7, width, generator=g)}


class Net(nn.Module):
    """One layer as `to_hetero` takes it, with edge features or not."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.conv = GATEConv(4, 3, add_self_loops=False, **options)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        out: Tensor = self.conv(x, edge_index, edge_attr)
        return out


def randomised(module: nn.Module) -> nn.Module:
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=g)
    return module


@pytest.mark.parametrize("edge_dim", [None, 2])
@pytest.mark.parametrize("attention", ATTENTION)
def test_to_hetero_sums_the_layer_over_relations(
    attention: Attention, edge_dim: int | None
) -> None:
    metadata = (["a", "p"], list(EDGES))
    attr = {key: torch.rand(edges.size(1), edge_dim or 1) for key, edges in EDGES.items()}
    given = None if edge_dim is None else attr
    net = randomised(to_hetero(Net(attention=attention, edge_dim=edge_dim), metadata))
    out = net(features(), EDGES, given)
    assert set(out) == {"a", "p"}
    expected: dict[str, Tensor] = {}
    for key, edges in EDGES.items():
        conv = net.get_submodule("conv." + "__".join(key))
        x, own = features(), attr[key] if given else None
        pair = x[key[0]] if key[0] == key[2] else (x[key[0]], x[key[2]])
        expected[key[2]] = expected.get(key[2], torch.tensor(0.0)) + conv(pair, edges, own)
    for name, value in expected.items():
        torch.testing.assert_close(out[name], value)
    sum(value.square().sum() for value in out.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("attention", ATTENTION)
def test_hetero_conv_sums_the_layer_over_relations(attention: Attention) -> None:
    convs = {
        key: GATEConv(
            4 if key == CITES else (4, 4), 3, attention=attention, add_self_loops=key == CITES
        )
        for key in EDGES
    }
    net = randomised(HeteroConv(dict(convs)))
    x = features()
    out = net(x, EDGES)
    by_hand = convs[WRITES]((x["a"], x["p"]), EDGES[WRITES]) + convs[CITES](x["p"], EDGES[CITES])
    torch.testing.assert_close(out["p"], by_hand)
    torch.testing.assert_close(out["a"], convs[BACK]((x["p"], x["a"]), EDGES[BACK]))
    with pytest.raises(ValueError, match="add_self_loops"):
        HeteroConv({WRITES: GATEConv((4, 4), 3)})


def test_what_looks_for_message_passing_finds_it() -> None:
    conv = GATEConv(4, 4)
    assert isinstance(conv, MessagePassing)
    chain = [(conv, "x, edges -> x"), nn.ReLU(), (GATEConv(4, 2), "x, edges -> x")]
    net = Sequential("x, edges", chain)
    assert get_num_hops(net) == 2
    assert net(features()["p"], EDGES[CITES]).shape == (7, 2)
    twin = copy.deepcopy(conv)
    x = features()["p"]
    assert torch.equal(twin(x, EDGES[CITES]), conv(x, EDGES[CITES]))
    edges = EdgeIndex(EDGES[CITES], sparse_size=(7, 7))
    out = conv(x, edges)
    assert type(out) is Tensor
    assert torch.equal(out, conv(x, EDGES[CITES]))


def test_state_holds_parameters_alone() -> None:
    conv = GATEConv(4, 4)
    assert set(conv.state_dict()) == {name for name, _ in conv.named_parameters()}


@pytest.mark.filterwarnings("ignore:Sparse")  # torch calls its CSR a beta
def test_an_adjacency_matrix_becomes_edges_as_the_message_says() -> None:
    conv, x = randomised(GATEConv(4, 3)), features()["p"]
    edges = EDGES[CITES]
    adj_t = to_torch_csr_tensor(edges.flip(0), size=(7, 7))
    with pytest.raises(MethodError, match=r"to_edge_index\(adj_t\)\[0\]\.flip\(0\)") as caught:
        conv(x, adj_t)
    assert "\n" not in str(caught.value)
    torch.testing.assert_close(conv(x, to_edge_index(adj_t)[0].flip(0)), conv(x, edges))


def test_whatever_reads_messages_is_refused_in_one_line() -> None:
    net = Net()
    hooks = [name for name in vars(MessagePassing) if name.startswith("register_")]
    assert len(hooks) >= 10
    calls: list[Any] = [lambda name=name: getattr(net.conv, name)(print) for name in hooks]
    calls += [
        lambda: setattr(net.conv, "explain", True),
        lambda: net.conv.propagate(EDGES[CITES], x=features()["p"]),
        lambda: net.conv.edge_updater(EDGES[CITES]),
        lambda: Explainer(
            net,
            GNNExplainer(epochs=1),
            explanation_type="model",
            edge_mask_type="object",
            model_config={
                "mode": "regression",
                "task_level": "node",
                "return_type": "raw",
            },
        )(features()["p"], EDGES[CITES]),
    ]
    for call in calls:
        with pytest.raises(HarnessError, match="no messages to look at") as caught:
            call()
        assert "\n" not in str(caught.value)
    net.conv.explain = None  # what clears a mask
    assert net.conv.explain is None
