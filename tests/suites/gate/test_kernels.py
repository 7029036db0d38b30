"""The edge operators against dense loops in float64, on both of their paths."""

import math
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from harness.errors import MethodError
from suites.gate import composite_kernels, numba_kernels
from suites.gate.kernels import (
    DROPPED,
    NEIGHBOUR,
    SELF,
    aggregate,
    checked_edges,
    edge_scores,
    edge_softmax,
    warm_up,
)

OPS = torch.ops.gate
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


class Problem(NamedTuple):
    """A random graph whose last two targets have no edge, and all operands on it."""

    s: Tensor
    t: Tensor
    att_neighbour: Tensor
    att_self: Tensor
    x: Tensor
    src: Tensor
    dst: Tensor
    kind: Tensor

    @property
    def T(self) -> int:
        return self.t.shape[0]

    @property
    def scores(self) -> tuple[Any, ...]:
        return (*self[:4], *self[5:])


def problem(
    seed: int = 0,
    S: int = 9,
    T: int = 7,
    E: int = 40,
    H: int = 2,
    C: int = 5,
    dtype: torch.dtype = torch.float64,
) -> Problem:
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype)

    return Problem(
        s=normal(S, H, C),
        t=normal(T, H, C),
        att_neighbour=normal(H, C),
        att_self=normal(H, C),
        x=normal(S, H, C),
        src=torch.randint(max(S, 1), (E,), generator=rng),
        dst=torch.randint(max(T - 2, 1), (E,), generator=rng),
        kind=torch.randint(3, (E,), generator=rng).to(torch.uint8),
    )


def leaves(p: Problem) -> Problem:
    return p._replace(**{name: getattr(p, name).clone().requires_grad_() for name in p._fields[:5]})


@pytest.fixture(params=["composite", "numba"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test on each path; the composite one in blocks of a few edges."""
    if request.param == "numba":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(numba_kernels, "numba", None)
        monkeypatch.setattr(composite_kernels, "_BLOCK_ELEMENTS", 70)
    return str(request.param)


# ---- Dense loops: the definitions, one edge at a time -------------------------------------------


def dense_scores(p: Problem, slope: float) -> Tensor:
    e = torch.full((len(p.src), p.s.shape[1]), -math.inf, dtype=torch.float64)
    for k, (u, v, kind) in enumerate(zip(p.src, p.dst, p.kind, strict=True)):
        for h in range(p.s.shape[1]):
            if kind == DROPPED:
                continue
            att = (p.att_neighbour if kind == NEIGHBOUR else p.att_self)[h].double()
            z = p.s[u, h].double() + p.t[v, h].double()
            e[k, h] = (att * torch.nn.functional.leaky_relu(z, slope)).sum()
    return e


def dense_softmax(e: Tensor, dst: Tensor, T: int) -> Tensor:
    alpha = torch.zeros_like(e, dtype=torch.float64)
    for v in range(T):
        entering = dst == v
        for h in range(e.shape[1]):
            counts = entering & (e[:, h] != -math.inf)
            alpha[counts, h] = torch.softmax(e[counts, h].double(), 0)
    return alpha


def dense_aggregate(x: Tensor, alpha: Tensor, src: Tensor, dst: Tensor, T: int) -> Tensor:
    out = torch.zeros(T, *x.shape[1:], dtype=torch.float64)
    for k, (u, v) in enumerate(zip(src, dst, strict=True)):
        out[v] = out[v] + alpha[k].double()[:, None] * x[u].double()
    return out


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("slope", [0.0, 0.2, 1.5])
@pytest.mark.parametrize(("H", "C"), [(1, 1), (1, 33), (3, 8)])
def test_layer_equals_dense_loops(
    path: str, dtype: torch.dtype, slope: float, H: int, C: int
) -> None:
    p = problem(H=H, C=C, dtype=dtype)
    e = edge_scores(*p.scores, slope)
    alpha = edge_softmax(e, p.dst, p.T)
    out = aggregate(p.x, alpha, p.src, p.dst, p.T)
    expected_e = dense_scores(p, slope)
    expected_alpha = dense_softmax(expected_e, p.dst, p.T)
    expected_out = dense_aggregate(p.x, expected_alpha, p.src, p.dst, p.T)
    for got, expected in ((e, expected_e), (alpha, expected_alpha), (out, expected_out)):
        assert got.dtype == dtype
        tolerance = TOLERANCE[dtype] * 10
        torch.testing.assert_close(got.double(), expected, rtol=tolerance, atol=tolerance)
    assert (e[p.kind == DROPPED] == -math.inf).all()
    assert (alpha[p.kind == DROPPED] == 0).all()
    assert (out[-2:] == 0).all()


def layer(p: Problem, slope: float = 0.2) -> Tensor:
    e = edge_scores(*p.scores, slope)
    return aggregate(p.x, edge_softmax(e, p.dst, p.T), p.src, p.dst, p.T)


def gradients(p: Problem, slope: float = 0.2) -> tuple[Tensor, ...]:
    inputs = leaves(p)
    out = layer(inputs, slope)
    weight = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    return torch.autograd.grad((out * weight).sum(), inputs[:5])


@pytest.mark.parametrize("slope", [0.0, 0.2])
def test_gradients_equal_those_of_the_dense_loops(path: str, slope: float) -> None:
    p = leaves(problem(E=25))
    got = gradients(p, slope)
    alpha = dense_softmax(dense_scores(p, slope), p.dst, p.T)
    out = dense_aggregate(p.x, alpha, p.src, p.dst, p.T)
    weight = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    expected = torch.autograd.grad((out * weight).sum(), p[:5])
    for name, a, b in zip(p._fields, got, expected, strict=False):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_paths_agree_on_a_large_graph(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    p = problem(S=300, T=200, E=5000, H=2, C=24, dtype=dtype)
    compiled = (layer(p), *gradients(p))
    monkeypatch.setattr(numba_kernels, "numba", None)
    for a, b in zip(compiled, (layer(p), *gradients(p)), strict=True):
        torch.testing.assert_close(a, b, rtol=TOLERANCE[dtype] * 10, atol=TOLERANCE[dtype] * 10)


# ---- Gradients ----------------------------------------------------------------------------------


def test_gradcheck(path: str) -> None:
    p = leaves(problem(S=4, T=5, E=12, H=2, C=3))
    assert torch.autograd.gradcheck(
        lambda *a: edge_scores(*a, p.src, p.dst, p.kind, 0.2)[p.kind != DROPPED], p[:4]
    )
    e = torch.randn(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    e[p.kind == DROPPED] = -math.inf
    kept = (p.kind != DROPPED).nonzero()[:, 0]
    assert torch.autograd.gradcheck(
        lambda kept_e: edge_softmax(e.index_put((kept,), kept_e), p.dst, 5),
        (e[kept].clone().requires_grad_(),),
    )
    alpha = e.exp().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, a: aggregate(x, a, p.src, p.dst, 5), (p.x, alpha))


def test_shared_tensors_get_the_sum_of_both_gradients(path: str) -> None:
    p = problem(S=7)
    p = p._replace(t=p.s, att_self=p.att_neighbour)
    grad_s, grad_t, grad_neighbour, grad_self, _ = gradients(p)
    s, att = p.s.clone().requires_grad_(), p.att_neighbour.clone().requires_grad_()
    e = edge_scores(s, s, att, att, p.src, p.dst, p.kind, 0.2)
    out = aggregate(p.x, edge_softmax(e, p.dst, 7), p.src, p.dst, 7)
    weight = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    shared_s, shared_att = torch.autograd.grad((out * weight).sum(), (s, att))
    torch.testing.assert_close(shared_s, grad_s + grad_t)
    torch.testing.assert_close(shared_att, grad_neighbour + grad_self)


def test_dropped_edges_carry_no_gradient(path: str) -> None:
    p = problem()
    p = p._replace(kind=torch.full_like(p.kind, DROPPED), s=torch.full_like(p.s, math.nan))
    p = leaves(p)
    e = edge_scores(*p.scores, 0.2)
    assert (e == -math.inf).all()
    e.backward(torch.full_like(e, math.nan))
    for leaf in p[:4]:
        assert leaf.grad is not None
        assert (leaf.grad == 0).all()


def test_attention_gradient_is_accurate_over_many_edges(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    E = 300_000
    p = problem(E=E, H=1, C=2, dtype=torch.float32)
    p = p._replace(kind=torch.full_like(p.kind, SELF), s=p.s.abs() + 0.1, t=p.t.abs())
    monkeypatch.setattr(composite_kernels, "_BLOCK_ELEMENTS", 2**16)
    *_, got = OPS.edge_scores_backward(torch.ones(E, 1), *p.scores, 0.2)
    double = p._replace(**{name: getattr(p, name).double() for name in p._fields[:5]})
    *_, expected = OPS.edge_scores_backward(torch.ones(E, 1).double(), *double.scores, 0.2)
    torch.testing.assert_close(got.double(), expected, rtol=2e-6, atol=0)


@pytest.mark.parametrize("degree", [65, 1000, 1_000_000])
def test_sums_over_hubs_are_accurate(
    path: str, degree: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1e-6 of the terms' absolute sum, against float64; a plain float32 sum loses 1e-5 to 1e-2."""
    monkeypatch.setattr(composite_kernels, "_BLOCK_ELEMENTS", 2**22)
    rng = torch.Generator().manual_seed(0)
    E, hub, others = degree, torch.full((degree,), 1), torch.arange(degree) % 977
    x = torch.rand(977, 1, 2, generator=rng) + 0.1
    alpha = torch.full((E, 1), 1 / E)

    def relative(got: Tensor, exact: Tensor) -> float:
        return float(((got.double() - exact) / exact).abs().max())

    out = aggregate(x, alpha, others, hub, 3)[1]
    terms = x.double()[others] * alpha.double()[:, None]
    assert relative(out, terms.sum(0)) < 1e-6

    grad_x, _ = OPS.aggregate_backward(x, x, alpha, hub, others)
    assert relative(grad_x[1], terms.sum(0)) < 1e-6

    att, kind = torch.rand(1, 2, generator=rng) + 0.1, torch.zeros(E, dtype=torch.uint8)
    for src, dst, result in ((hub, others, 0), (others, hub, 1)):
        grads = OPS.edge_scores_backward(alpha, x, x, att, att, src, dst, kind, 0.2)
        assert relative(grads[result][1], alpha.double().sum() * att.double()) < 1e-6

    weights = edge_softmax(torch.rand(E, 1, generator=rng), hub, 3)
    assert abs(float(weights.double().sum()) - 1) < 1e-6


def test_hubs_among_other_nodes_change_nothing_else(path: str) -> None:
    """Hubs as sources and targets, in any order of edges, beside nodes of few edges and of none."""
    rng = torch.Generator().manual_seed(3)
    p = problem(S=40, T=30, E=3000, H=2, C=5, dtype=torch.float32)
    heavy = torch.rand(3000, generator=rng) < 0.7
    p = p._replace(
        src=p.src.where(~heavy, p.src % 3), dst=p.dst.where(~heavy.flip(0), p.dst % 2 + 5)
    )
    assert p.src.bincount().max() > 500
    assert 0 < p.dst.bincount(minlength=30)[:5].max() < 64
    double = Problem(*(y.double() if y.is_floating_point() else y for y in p))
    for got, exact in zip((layer(p), *gradients(p)), (layer(double), *gradients(double)),
                          strict=True):  # fmt: skip
        torch.testing.assert_close(got.double(), exact, rtol=2e-4, atol=2e-5)


def test_second_derivatives_are_refused(path: str) -> None:
    p = leaves(problem(E=5))
    (grad,) = torch.autograd.grad(layer(p).square().sum(), p.s, create_graph=True)
    with pytest.raises(MethodError, match="second derivatives"):
        grad.sum().backward()


# ---- Edges of the domain ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_nan_stays_visible(path: str, dtype: torch.dtype) -> None:
    p = problem(H=1, dtype=dtype)._replace(kind=torch.zeros(40, dtype=torch.uint8))
    for name in ("s", "t", "att_neighbour", "x"):
        value = getattr(p, name).clone()
        value.view(-1)[int(p.src[0]) * 5 if name in "sx" else int(p.dst[0]) * 5 % value.numel()] = (
            math.nan
        )
        poisoned = p._replace(**{name: value})
        assert layer(poisoned)[p.dst[0]].isnan().any(), name
        for grad in gradients(poisoned)[:2]:
            assert grad.isnan().any() or name == "t", name
    x, unused = torch.full_like(p.x, math.nan), torch.zeros(40, 1, dtype=dtype)
    assert aggregate(x, unused, p.src, p.dst, 7)[p.dst].isnan().all()
    e = torch.zeros(3, 1, dtype=dtype)
    for bad in (math.nan, math.inf):
        for place in (0, 1):
            scores = e.clone()
            scores[place] = bad
            alpha = edge_softmax(scores, torch.tensor([0, 0, 1]), 2)
            assert alpha[:2].isnan().all()
            assert alpha[2] == 1


def test_softmax_of_dropped_and_huge_scores(path: str) -> None:
    e = torch.tensor([[-math.inf], [-math.inf], [1e30], [-1e30], [-math.inf]])
    alpha = edge_softmax(e, torch.tensor([0, 0, 1, 1, 1]), 3)
    assert alpha[:, 0].tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]
    e = torch.full((3, 2), -1e30, requires_grad=True)
    alpha = edge_softmax(e, torch.tensor([2, 0, 2]), 3)
    assert alpha.tolist() == [[0.5, 0.5], [1.0, 1.0], [0.5, 0.5]]
    alpha[0].sum().backward()
    assert e.grad is not None
    assert e.grad.tolist() == [[0.25, 0.25], [0.0, 0.0], [-0.25, -0.25]]


def test_no_edges_and_no_nodes(path: str) -> None:
    p = leaves(problem(E=0))
    out = layer(p)
    assert out.shape == (7, 2, 5)
    assert (out == 0).all()
    assert all((grad == 0).all() for grad in torch.autograd.grad(out.sum(), p[:5]))
    empty = problem(S=0, T=0, E=0)
    assert layer(empty).shape == (0, 2, 5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(0, 80), st.integers(1, 3))
def test_weights_sum_to_one_in_any_order_of_edges(seed: int, T: int, E: int, H: int) -> None:
    p = problem(seed, T=T, E=E, H=H)
    e = edge_scores(*p.scores, 0.0)
    alpha = edge_softmax(e, p.dst, T)
    total = torch.zeros(T, H, dtype=torch.float64).index_add_(0, p.dst, alpha)
    fed = torch.zeros(T, dtype=torch.bool).index_fill_(0, p.dst[p.kind != DROPPED], True)
    torch.testing.assert_close(total, fed[:, None].double().expand(-1, H))
    order = torch.randperm(E, generator=torch.Generator().manual_seed(seed))
    shuffled = p._replace(src=p.src[order], dst=p.dst[order], kind=p.kind[order])
    torch.testing.assert_close(layer(shuffled, 0.0), layer(p, 0.0))


def test_operands_that_are_not_contiguous(path: str) -> None:
    p = problem()
    strided = Problem(*(torch.stack((y, y), -1)[..., 0] for y in p))
    assert not any(y.is_contiguous() for y in strided)
    torch.testing.assert_close(layer(strided), layer(p), rtol=0, atol=0)
    for a, b in zip(gradients(strided), gradients(p), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    x = p.x.clone().requires_grad_()
    alpha = torch.ones(40, 2, dtype=x.dtype)
    aggregate(x, alpha, p.src, p.dst, 7).sum().backward()  # an expanded gradient
    assert x.grad is not None
    torch.testing.assert_close(x.grad[:, 0, 0], torch.bincount(p.src, minlength=9).double())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_accumulates_in_single(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composite_kernels, "_BLOCK_ELEMENTS", 10)  # many sums of few edges
    E = 5000
    x = torch.ones(1, 1, 1, dtype=dtype)
    alpha = torch.full((E, 1), 2**-6, dtype=dtype)
    zeros = torch.zeros(E, dtype=torch.int64)
    assert aggregate(x, alpha, zeros, zeros, 1).item() == pytest.approx(E / 64, rel=5e-3)
    p = problem(dtype=dtype)
    single = Problem(*(y.float() if y.is_floating_point() else y for y in p))
    for got, expected in zip((layer(p), *gradients(p)), (layer(single), *gradients(single)),
                             strict=True):  # fmt: skip
        assert got.dtype == dtype
        torch.testing.assert_close(got.float(), expected, rtol=0.1, atol=0.1)


def test_mixed_precision_is_promoted(path: str) -> None:
    p = problem(dtype=torch.float32)
    e = edge_scores(p.s.bfloat16(), p.t.bfloat16(), *p.scores[2:], 0.2)
    assert e.dtype == torch.float32
    assert aggregate(p.x.bfloat16(), e, p.src, p.dst, 7).dtype == torch.float32


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str
)
def test_indices_that_name_no_node_are_refused(path: str, dtype: torch.dtype) -> None:
    p = problem(dtype=dtype)
    alpha = torch.ones(40, 2, dtype=dtype)
    for bad in (-1, 9):
        wrong = p.src.clone()
        wrong[3] = bad
        for call in (
            lambda i=wrong: edge_scores(*p.scores[:4], i, p.dst, p.kind, 0.2),
            lambda i=wrong: edge_scores(*p.scores[:4], p.src, i, p.kind, 0.2),
            lambda i=wrong: edge_softmax(alpha, i, 9),
            lambda i=wrong: aggregate(p.x, alpha, i, p.dst, 9),
            lambda i=wrong: aggregate(p.x, alpha, p.src, i, 9),
            lambda i=wrong: OPS.edge_scores_backward(alpha, *p.scores[:4], i, p.dst, p.kind, 0.2),
            lambda i=wrong: OPS.edge_scores_backward(alpha, *p.scores[:4], p.src, i, p.kind, 0.2),
            lambda i=wrong: OPS.edge_softmax_backward(alpha, alpha, i, 9),
            lambda i=wrong: OPS.aggregate_backward(p.x, p.x, alpha, i, p.dst),
            lambda i=wrong: OPS.aggregate_backward(p.x, p.x, alpha, p.src, i),
        ):
            with pytest.raises(MethodError, match=r"runs from .* but there are \d nodes"):
                call()


def test_wrong_dtypes_are_refused(path: str) -> None:
    p = problem()
    alpha = torch.ones(40, 2, dtype=torch.float64)
    for call in (
        lambda: edge_scores(*p.scores[:4], p.src.int(), p.dst, p.kind, 0.2),
        lambda: edge_scores(*p.scores[:6], p.kind.long(), 0.2),
        lambda: edge_softmax(alpha.long(), p.dst, 7),
        lambda: edge_softmax(alpha, p.dst.float(), 7),
        lambda: aggregate(p.x, alpha, p.src, p.dst.int(), 7),
        lambda: OPS.aggregate(p.x, alpha.float(), p.src, p.dst, 7),
        lambda: OPS.aggregate_backward(p.x.float()[:7], p.x, alpha, p.src, p.dst),
    ):
        with pytest.raises(MethodError, match="needs") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_checked_edges_are_the_edges() -> None:
    p = problem()
    index = torch.stack((p.src, p.dst))
    assert torch.equal(checked_edges(index, 9, 7), index)
    for sizes, words in (((5, 7), "src runs from"), ((9, 3), "dst runs from")):
        with pytest.raises(MethodError, match=words):
            checked_edges(index, *sizes)


def test_shapes_that_disagree_are_refused(path: str) -> None:
    p = problem()
    alpha = torch.ones(40, 2, dtype=torch.float64)
    for call in (
        lambda: edge_scores(p.s[:, :1], *p.scores[1:], 0.2),
        lambda: edge_scores(*p.scores[:3], p.att_self[:1], *p.scores[4:], 0.2),
        lambda: edge_scores(*p.scores[:6], p.kind[1:], 0.2),
        lambda: edge_softmax(alpha[1:], p.dst, 7),
        lambda: aggregate(p.x, alpha[:, :1], p.src, p.dst, 7),
        lambda: aggregate(p.x, alpha, p.src[1:], p.dst, 7),
        lambda: OPS.edge_scores_backward(alpha[1:], *p.scores, 0.2),
        lambda: OPS.edge_softmax_backward(alpha[1:], alpha, p.dst, 7),
        lambda: OPS.aggregate_backward(p.x[:, :1], p.x, alpha, p.src, p.dst),
    ):
        with pytest.raises(MethodError, match="needs"):
            call()


# ---- Machine properties -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_compiled_kernels_repeat_bit_for_bit(dtype: torch.dtype) -> None:
    pytest.importorskip("numba")
    p = problem(S=200, T=200, E=3000, H=1, C=64, dtype=dtype)
    first = (layer(p), *gradients(p))
    for _ in range(3):
        for a, b in zip(first, (layer(p), *gradients(p)), strict=True):
            assert torch.equal(a, b)


class LargestTensor(TorchDispatchMode):
    """Remembers the largest number of elements of any tensor that an operation returns."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


def run_all(kernels: Any, p: Problem) -> int:
    with LargestTensor() as largest:
        e = kernels.edge_scores(*p.scores, 0.2)
        alpha = kernels.edge_softmax(e, p.dst, p.T)
        out = kernels.aggregate(p.x, alpha, p.src, p.dst, p.T)
        _, grad_alpha = kernels.aggregate_backward(out, p.x, alpha, p.src, p.dst)
        grad_e = kernels.edge_softmax_backward(grad_alpha, alpha, p.dst, p.T)
        kernels.edge_scores_backward(grad_e, *p.scores, 0.2)
    return largest.elements


def test_no_tensor_of_edges_times_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    p = problem(S=50, T=50, E=20_000, H=1, C=256)
    assert run_all(numba_kernels, p) == 20_000
    p = problem(S=50, T=50, E=20_000, H=1, C=256, dtype=torch.float32)
    assert run_all(numba_kernels, p) < 20_000 * 256 / 14  # hubs: a row for every 16 edges
    assert run_all(composite_kernels, p) == 20_000 * 256
    monkeypatch.setattr(composite_kernels, "_BLOCK_ELEMENTS", 2**16)
    assert run_all(composite_kernels, p) == 2**16


def test_nothing_of_edges_times_channels_is_kept_for_the_backward_pass(path: str) -> None:
    kept: list[int] = []
    p = leaves(problem(E=1000, C=64))

    def remember(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        layer(p)
    assert max(kept) == 2000


def test_flops_of_forward_and_backward() -> None:
    p = leaves(problem(E=40, H=2, C=5))
    with FlopCounterMode(display=False) as counter:
        layer(p).sum().backward()
    counts = {str(op): n for op, n in counter.get_flop_counts()["Global"].items()}
    assert counts == {
        "gate.edge_scores": 4 * 40 * 2 * 5,
        "gate.edge_scores_backward": 8 * 40 * 2 * 5,
        "gate.edge_softmax": 5 * 40 * 2,
        "gate.edge_softmax_backward": 4 * 40 * 2,
        "gate.aggregate": 2 * 40 * 2 * 5,
        "gate.aggregate_backward": 4 * 40 * 2 * 5,
    }


def test_opcheck(path: str) -> None:
    p = leaves(problem(E=12, C=3))
    e, grad_e = torch.rand(2, 12, 2, dtype=torch.float64, generator=torch.Generator())
    grad_out = torch.ones(7, 2, 3, dtype=torch.float64)
    plain = problem(E=12, C=3)
    for op, args in (
        (OPS.edge_scores, (*p.scores, 0.2)),
        (OPS.edge_softmax, (e.clone().requires_grad_(), p.dst, 7)),
        (OPS.aggregate, (p.x, e.clone().requires_grad_(), p.src, p.dst, 7)),
        (OPS.edge_scores_backward, (grad_e, *plain.scores, 0.2)),
        (OPS.edge_softmax_backward, (grad_e, e, p.dst, 7)),
        (OPS.aggregate_backward, (grad_out, plain.x, e, p.src, p.dst)),
    ):
        torch.library.opcheck(op.default, args)


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_to_one_graph(dynamic: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for seed, E in ((0, 40), (1, 55)):
        p, q = leaves(problem(seed, E=E)), leaves(problem(seed, E=E))
        out, expected = compiled(p), layer(q)
        assert torch.equal(out, expected)
        out.sum().backward()
        expected.sum().backward()
        for a, b in zip(p[:5], q[:5], strict=True):
            assert a.grad is not None
            assert b.grad is not None
            assert torch.equal(a.grad, b.grad)


def test_warm_up_compiles_once() -> None:
    pytest.importorskip("numba")
    warm_up()
    compiled = numba_kernels._compile(torch.float32)
    warm_up((torch.float32,))
    assert numba_kernels._compile(torch.float32) is compiled


def test_warm_up_does_nothing_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_kernels, "numba", None)
    monkeypatch.setattr(numba_kernels, "_compile", None)
    warm_up()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a card")
def test_cuda_agrees_with_the_cpu() -> None:
    p = problem(S=300, T=200, E=5000, H=2, C=24)
    q = Problem(*(y.cuda() for y in p))
    for a, b in zip((layer(q), *gradients(q)), (layer(p), *gradients(p)), strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-9, atol=1e-10)
