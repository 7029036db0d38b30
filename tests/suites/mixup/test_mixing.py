"""The mixture against its formula and against autograd, on every architecture, and folded away."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from harness.errors import MethodError
from suites.mixup import mixing
from suites.mixup.mixing import MixedWeight, alphas, attach, clamp, factors, fold, formed, mixed
from suites.mixup.settings import Form

from .architectures import LINEARS, encoder

FORMS: list[Form] = ["convex", "code"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def example(form: Form, rank: int, dtype: torch.dtype) -> tuple[MixedWeight, Tensor, Tensor]:
    g = seeded()
    pretrained, weight, gradient = (torch.randn(5, 7, generator=g).to(dtype) for _ in range(3))
    mixup = MixedWeight(pretrained, form, rank, g, std=0.3)
    with torch.no_grad():
        mixup.rows_OR.copy_(torch.rand(5, rank, generator=g))
        mixup.columns_RI.copy_(torch.rand(rank, 7, generator=g))
    return mixup, weight, gradient


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rank", [1, 3])
def test_a_mixture_is_what_the_formula_says(form: Form, rank: int) -> None:
    mixup, weight, _ = example(form, rank, torch.float32)
    a, c, w0 = mixup.rows_OR.detach(), mixup.columns_RI.detach(), mixup.pretrained_OI
    expected = torch.empty(5, 7)
    for o in range(5):
        for i in range(7):
            alpha = sum(float(a[o, r] * c[r, i]) for r in range(rank)) / rank
            rest = 1 - alpha
            if form == "code":
                rest = sum(float((1 - a[o, r]) * (1 - c[r, i])) for r in range(rank)) / rank
            expected[o, i] = alpha * weight[o, i] + rest * w0[o, i]
    torch.testing.assert_close(mixup(weight).detach(), expected)
    out = torch.empty(5, 7)
    mixup.mix(weight, out)  # rank 1: the compiled kernel
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # kernel and composite
def test_pulled_gradients_are_those_of_autograd(form: Form, rank: int, dtype: torch.dtype) -> None:
    mixup, weight, gradient = example(form, rank, dtype)
    mixup, weight = mixup.to(dtype), weight.requires_grad_()
    expected = torch.autograd.grad(
        (mixup(weight) * gradient).sum(), [weight, mixup.rows_OR, mixup.columns_RI]
    )
    found = mixup.pull(weight.detach(), gradient.clone())
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)
    alone = mixup.pull(weight.detach(), gradient.clone(), factors=False)
    torch.testing.assert_close(alone[0], expected[0])
    assert alone[1:] == (None, None)


def test_the_kernel_keeps_small_differences_to_the_pretrained_weight() -> None:
    mixup, _, gradient = example("convex", 1, torch.float32)
    weight = mixup.pretrained_OI + 1e-6 * torch.randn(5, 7, generator=seeded(1))
    exact = ((weight - mixup.pretrained_OI).double() * gradient.double()) @ (
        mixup.columns_RI.T.double()
    )
    _, rows, _ = mixup.pull(weight, gradient.clone())
    torch.testing.assert_close(rows, exact.float(), rtol=1e-4, atol=0)


def test_factors_start_just_below_one_and_stay_in_range() -> None:
    mixup = MixedWeight(torch.zeros(4000, 10), "convex", 1, seeded())
    rows = mixup.rows_OR.detach()
    assert 0.4 < float((rows == 1).float().mean()) < 0.6  # clamped half of N(1, 0.005)
    below = rows[rows < 1]
    assert float((1 - below).square().mean().sqrt()) == pytest.approx(0.005, rel=0.1)
    again = MixedWeight(torch.zeros(4000, 10), "convex", 1, seeded())
    assert torch.equal(rows, again.rows_OR)
    model = nn.Sequential(nn.Linear(3, 2))
    attach(model)
    with torch.no_grad():
        factors(model)[0].fill_(1.5)
        factors(model)[1].fill_(-0.5)
    clamp(model)
    assert [float(f.detach().mean()) for f in factors(model)] == [1.0, 0.0]


@pytest.mark.parametrize("name", LINEARS)
@pytest.mark.parametrize("form", FORMS)
def test_every_architecture_is_mixed_trained_and_folded(
    name: str, form: Form, tmp_path: Path
) -> None:
    model: Any = encoder(name)
    ids = torch.randint(3, 50, (2, 9), generator=seeded())

    def output() -> Tensor:
        return model(input_ids=ids).last_hidden_state

    before = output().detach()
    names = attach(model, form=form, generator=seeded())
    assert len(names) == LINEARS[name]
    if form == "convex":  # W is W0: any convex mixture is W0
        torch.testing.assert_close(output().detach(), before, rtol=1e-4, atol=1e-5)
    for parameter in model.parameters():
        with torch.no_grad():
            parameter.add_(0.05 * torch.rand(parameter.shape, generator=seeded(1)))
    clamp(model)

    by_autograd = torch.autograd.grad(
        output().square().sum(), factors(model), materialize_grads=True
    )
    with formed(model) as leaves:
        loss = output().square().sum()
        gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
    pulled: list[Any] = []
    for layer, gradient in zip(mixed(model), gradients, strict=True):
        pulled += layer.mixup.pull(layer.weight_OI.detach(), gradient)[1:]
    for mine, theirs in zip(pulled, by_autograd, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)

    mixture = output().detach()
    fold(model)
    assert not any(parametrize.is_parametrized(m) for m in model.modules())
    torch.testing.assert_close(output().detach(), mixture)
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(input_ids=ids).last_hidden_state, output())


def test_matrices_outside_of_linear_layers_are_not_passed_over() -> None:
    with pytest.raises(
        MethodError, match=r"XLNetModel: layer\.0\.rel_attn\.q is a matrix"
    ) as caught:
        attach(encoder("XLNet"))
    assert "\n" not in str(caught.value)
    assert len(attach(encoder("XLNet"), r"\.ff\.")) == 4  # what the pattern names is all linear
    attention = nn.MultiheadAttention(4, 2)
    with pytest.raises(MethodError, match="in_proj_weight is a matrix of MultiheadAttention"):
        attach(attention)


@pytest.mark.parametrize("form", FORMS)
def test_a_layer_tied_to_an_embedding_is_an_embedding(form: Form, tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(config).eval()
    ids = torch.arange(10)[None]
    names = attach(model, form=form, std=0.2)
    assert "cls.predictions.transform.dense" in names
    assert "cls.predictions.decoder" not in names
    with torch.no_grad():
        for layer in mixed(model):
            layer.weight_OI.add_(torch.randn(layer.weight_OI.shape, generator=seeded()) * 0.1)
    before = model(ids).logits
    fold(model)
    torch.testing.assert_close(model(ids).logits, before)
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    model.save_pretrained(tmp_path)
    loaded = transformers.BertForMaskedLM.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(loaded(ids).logits, before)
    with pytest.raises(MethodError, match="no linear layer of BertForMaskedLM matches 'decoder'"):
        attach(loaded, "decoder")


def test_layers_that_share_a_weight_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    model[1].weight = model[0].weight
    with pytest.raises(MethodError, match="Sequential: 0 and 1 share one weight; give a pattern"):
        attach(model)
    assert attach(model, "2") == ["2"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_factors_move_where_weights_are_of_half_precision(form: Form, dtype: torch.dtype) -> None:
    model: Any = encoder("BERT").to(dtype)
    attach(model, form=form, std=0.0)
    assert {f.dtype for f in factors(model)} == {torch.float32}
    wide: Any = encoder("BERT").to(dtype).float()
    attach(wide, form=form, std=0.0)
    ids = torch.randint(3, 50, (2, 9), generator=seeded())
    for _ in range(100):  # steps that a bfloat16 near 1 would round away
        for own in (model, wide):
            with torch.no_grad():
                for factor in factors(own):
                    factor.sub_(0.001)
            clamp(own)
    for one, other in zip(factors(model), factors(wide), strict=True):
        assert torch.equal(one, other)
        assert float(one.detach().mean()) == pytest.approx(0.9, abs=1e-4)
    for one, other in zip(mixed(model), mixed(wide), strict=True):
        made = one.linear.weight.detach()  # type: ignore[union-attr]
        assert made.dtype == dtype
        torch.testing.assert_close(made, other.linear.weight.detach().to(dtype))  # type: ignore[union-attr]
    with formed(model) as leaves:
        loss = model(input_ids=ids).last_hidden_state.float().square().sum()
        gradients = torch.autograd.grad(loss, leaves, materialize_grads=True)
    for layer, gradient in zip(mixed(model), gradients, strict=True):
        _, rows, columns = layer.mixup.pull(layer.weight_OI.detach(), gradient)
        assert rows is not None
        assert columns is not None
        assert rows.dtype == columns.dtype == torch.float32
    before = model(input_ids=ids).last_hidden_state.detach()
    fold(model)
    assert {p.dtype for p in model.parameters()} == {dtype}
    assert torch.equal(model(input_ids=ids).last_hidden_state, before)


def test_a_pattern_and_the_pooler_switch_choose_the_layers() -> None:
    queries = attach(encoder("BERT"), r"layer\.1\..*query$")
    assert queries == ["encoder.layer.1.attention.self.query"]
    assert not any("pooler" in n for n in attach(encoder("BERT"), pooler=False))
    model = encoder("BERT")
    attach(model, "query")
    assert len(attach(model, "query|key")) == 2  # what is mixed already is left alone
    assert set(alphas(model)) == {layer.name for layer in mixed(model)}


def test_formed_weights_are_made_once_and_let_go() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    attach(model)
    calls = []
    make = MixedWeight.mix

    def counted(self: MixedWeight, weight: Tensor, out: Tensor) -> None:
        calls.append(1)
        make(self, weight, out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MixedWeight, "mix", counted)
        with formed(model) as leaves:
            for _ in range(5):
                model(torch.ones(1, 3))
            assert model[0].weight is leaves[0]
    assert calls == [1]
    assert model[0].weight is not leaves[0]


@pytest.mark.parametrize(
    "wrap",
    [
        nn.utils.parametrizations.weight_norm,
        nn.utils.parametrizations.spectral_norm,
        nn.utils.parametrizations.orthogonal,
        lambda linear: prune.random_unstructured(linear, "weight", 0.5),
    ],
)
def test_a_weight_that_something_else_forms_is_not_passed_over(wrap: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    wrap(model[0])
    with pytest.raises(MethodError, match="the weight of 0 is no parameter of its own"):
        attach(model)
    assert attach(model, "1") == ["1"]
    assert attach(nn.Sequential(nn.Linear(4, 4)), "") == ["0"]
    with pytest.raises(MethodError, match="the weight of 0 is no parameter"):
        attach(nn.Sequential(nn.LazyLinear(4)))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"pattern": "nothing"}, "no linear layer of Sequential matches 'nothing'"),
        ({"form": "concave"}, "unknown form of mixup 'concave'"),
        ({"rank": 0}, "mixup rank 0 is too small"),
    ],
)
def test_bad_arguments_get_one_clear_line(arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(MethodError, match=line) as caught:
        attach(nn.Sequential(nn.Linear(3, 2)), **arguments)
    assert "\n" not in str(caught.value)
    assert mixing.mixed(nn.Linear(3, 2)) == []
