"""The model against a plain loop over tokens, heads and experts; its cache; its losses."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from harness.errors import SpecError
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig

VARIANTS: dict[str, dict[str, Any]] = {
    "dense": {},
    "btx": {"num_ffn_experts": 4},
    "btx-top3": {"num_ffn_experts": 5, "ffn_top_k": 3},
    "btx-renormalised": {"num_ffn_experts": 3, "ffn_top_k": 2, "norm_topk_prob": True},
    "bam": {"num_ffn_experts": 3, "num_attention_experts": 3},
    "bam-gqa": {"num_ffn_experts": 2, "num_attention_experts": 2, "num_key_value_heads": 2},
    "bam-shared": {"num_ffn_experts": 2, "num_attention_experts": 3, "shared_kv": True},
    "bam-shared-gqa": {"num_attention_experts": 3, "shared_kv": True, "num_key_value_heads": 2},
    "bam-shared-mqa": {"num_attention_experts": 2, "shared_kv": True, "num_key_value_heads": 1},
    "top1": {"num_attention_experts": 3, "attention_routing": "top1"},
    "top2-shared": {"num_attention_experts": 3, "attention_routing": "top2", "shared_kv": True},
    "top2-renormalised": {
        "num_attention_experts": 3,
        "attention_routing": "top2",
        "norm_topk_prob": True,
    },
    "uniform": {"num_attention_experts": 3, "attention_routing": "uniform"},
    "sequential": {
        "num_ffn_experts": 2,
        "num_attention_experts": 2,
        "parallel_block": False,
        "norm": "rmsnorm",
        "attention_bias": True,
        "tie_word_embeddings": True,
    },
    "qk-norm": {
        "num_attention_experts": 2,
        "num_key_value_heads": 2,
        "qk_norm": True,
        "norm": "rmsnorm",
        "parallel_block": False,
    },
    "qk-norm-shared": {"num_attention_experts": 2, "qk_norm": True, "shared_kv": True},
    "interleaved": {"num_attention_experts": 2, "rope_interleaved": True, "logit_scale": 0.25},
}


def make(variant: str, dtype: torch.dtype = torch.float64) -> BamForCausalLM:
    """A model with weights large enough that every part matters."""
    sizes = {
        "vocab_size": 61,
        "hidden_size": 16,
        "intermediate_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "head_dim": 6,
    }
    model = BamForCausalLM(BamConfig(**(sizes | VARIANTS[variant])))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3, generator=generator)
            if "norm" in name:
                parameter.add_(1.0)
    return model.to(dtype).eval()


def tokens(rows: int = 2, length: int = 7) -> Tensor:
    return torch.randint(61, (rows, length), generator=torch.Generator().manual_seed(3))


# --- the reference: one token, one head, one expert at a time ---------------------------------


class Loop:
    """The forward pass of one sequence, written down as the paper writes it."""

    def __init__(self, model: BamForCausalLM) -> None:
        self.config = model.config
        self.weights = dict(model.named_parameters())
        self.weights.setdefault("lm_head.weight", self.weights["model.embed_tokens.weight"])

    def norm(self, x: Tensor, scale: Tensor) -> Tensor:
        if self.config.norm == "layernorm":
            x = x - x.mean()
        return scale * x / (x.square().mean() + self.config.norm_eps).sqrt()

    def turn(self, x: Tensor, position: int) -> Tensor:
        half = self.config.head_dim // 2
        if self.config.rope_interleaved:
            first, second = list(range(0, 2 * half, 2)), list(range(1, 2 * half, 2))
        else:
            first, second = list(range(half)), list(range(half, 2 * half))
        out: list[Any] = [None] * (2 * half)
        for pair, (a, b) in enumerate(zip(first, second, strict=True)):
            angle = torch.tensor(position * 10_000.0 ** (-2 * pair / (2 * half)))
            out[a] = x[a] * angle.cos() - x[b] * angle.sin()
            out[b] = x[a] * angle.sin() + x[b] * angle.cos()
        return torch.stack(out)

    def head(self, prefix: str, x: Tensor, part: str, head: int, expert: int) -> Tensor:
        """Query, key or value of one head of one expert."""
        config = self.config
        heads = config.num_attention_heads if part == "q" else config.num_key_value_heads
        start = (expert * heads + head) * config.head_dim
        rows = slice(start, start + config.head_dim)
        y = self.weights[f"{prefix}.{part}.weight"][rows] @ x
        if config.attention_bias:
            y = y + self.weights[f"{prefix}.{part}.bias"][rows]
        if config.qk_norm and part in "qk":
            scale = self.weights[f"{prefix}.{part}_norm.weight"][expert]
            y = scale * y / (y.square().mean() + config.norm_eps).sqrt()
        return y

    def attention_expert(self, prefix: str, h: list[Tensor], t: int, expert: int) -> Tensor:
        config = self.config
        group = config.num_attention_heads // config.num_key_value_heads
        kv_expert = 0 if config.shared_kv else expert
        outputs = []
        for head in range(config.num_attention_heads):
            query = self.turn(self.head(prefix, h[t], "q", head, expert), t)
            keys = [
                self.turn(self.head(prefix, h[s], "k", head // group, kv_expert), s)
                for s in range(t + 1)
            ]
            values = [self.head(prefix, h[s], "v", head // group, kv_expert) for s in range(t + 1)]
            scores = torch.stack([query @ key for key in keys]) / config.head_dim**0.5
            outputs.append((scores.softmax(0).unsqueeze(1) * torch.stack(values)).sum(0))
        width = config.num_attention_heads * config.head_dim
        output = self.weights[f"{prefix}.o.weight"][:, expert * width : (expert + 1) * width]
        return output @ torch.cat(outputs)

    def gates(self, logits: Tensor, top_k: int | None) -> Tensor:
        probability = logits.softmax(0)
        if top_k is None:
            return probability
        values = probability.tolist()
        best = sorted(range(len(values)), key=lambda i: -values[i])[:top_k]
        keep = torch.tensor([float(i in best) for i in range(len(logits))])
        gates = probability * keep
        return gates / gates.sum() if self.config.norm_topk_prob else gates

    def attention(self, prefix: str, h: list[Tensor], t: int) -> Tensor:
        config = self.config
        experts = config.num_attention_experts
        if experts == 1:
            return self.attention_expert(prefix, h, t, 0)
        if config.attention_routing == "uniform":
            gates = torch.full((experts,), 1 / experts, dtype=h[t].dtype)
        else:
            top_k = {"soft": None, "top1": 1, "top2": 2}[config.attention_routing]
            gates = self.gates(self.weights[f"{prefix}.router.weight"] @ h[t], top_k)
        parts = [gates[j] * self.attention_expert(prefix, h, t, j) for j in range(experts)]
        return torch.stack(parts).sum(0)

    def feedforward(self, prefix: str, x: Tensor) -> Tensor:
        gate, up, down = (self.weights[f"{prefix}.{name}"] for name in ("gate", "up", "down"))
        outputs = []
        for expert in range(len(gate)):
            z = gate[expert] @ x
            outputs.append(down[expert] @ (z * torch.sigmoid(z) * (up[expert] @ x)))
        if len(outputs) == 1:
            return outputs[0]
        gates = self.gates(self.weights[f"{prefix}.router.weight"] @ x, self.config.ffn_top_k)
        return torch.stack([g * y for g, y in zip(gates, outputs, strict=True)]).sum(0)

    def logits(self, ids: list[int]) -> Tensor:
        x = [self.weights["model.embed_tokens.weight"][i] for i in ids]
        places = range(len(ids))
        for layer in range(self.config.num_hidden_layers):
            prefix = f"model.layers.{layer}"
            attention, feedforward = f"{prefix}.attention", f"{prefix}.feedforward"
            if self.config.parallel_block:
                h = [self.norm(y, self.weights[f"{prefix}.norm.weight"]) for y in x]
                x = [
                    x[t] + self.attention(attention, h, t) + self.feedforward(feedforward, h[t])
                    for t in places
                ]
            else:
                h = [self.norm(y, self.weights[f"{prefix}.input_norm.weight"]) for y in x]
                x = [x[t] + self.attention(attention, h, t) for t in places]
                h = [self.norm(y, self.weights[f"{prefix}.post_norm.weight"]) for y in x]
                x = [x[t] + self.feedforward(feedforward, h[t]) for t in places]
        last = [self.norm(y, self.weights["model.norm.weight"]) for y in x]
        return torch.stack(last) @ self.weights["lm_head.weight"].T * self.config.logit_scale


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_gradients_are_those_of_the_loop(variant: str) -> None:
    model, ids = make(variant), tokens(2, 5)
    loop = Loop(model)
    expected = torch.stack([loop.logits(row.tolist()) for row in ids])
    F.cross_entropy(expected[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    expected_grads = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad()
    output = model(ids, labels=ids)
    output.loss.backward()
    # The program's softmaxes of gates and its loss are float32.
    torch.testing.assert_close(output.logits, expected, rtol=1e-5, atol=1e-5)
    for name, parameter in model.named_parameters():
        assert expected_grads[name] is not None, name
        torch.testing.assert_close(
            parameter.grad, expected_grads[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: n + m
        )


# --- the cache --------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_cached_steps_equal_the_full_forward(variant: str) -> None:
    model, ids = make(variant, torch.float32), tokens(2, 12)
    with torch.no_grad():
        full = model(ids).logits
        cache, parts = DynamicCache(), []
        for start, end in itertools.pairwise((0, 5, 6, 7, 10, 11, 12)):
            parts.append(model(ids[:, start:end], cache=cache).logits)
    assert (torch.cat(parts, dim=1) - full).abs().max() < 1e-5
    layer = cache.layers[0]
    config = model.config
    assert layer.keys.shape == (2, config.key_value_experts * config.num_key_value_heads, 12, 6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_generation_equals_repeated_full_forwards(variant: str) -> None:
    model, ids = make(variant, torch.float32), tokens(2, 4)
    generated = model.generate(ids, max_new_tokens=6, do_sample=False, pad_token_id=0)
    with torch.no_grad():
        for _ in range(6):
            ids = torch.cat([ids, model(ids, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    assert generated.tolist() == ids.tolist()


def test_no_cache_comes_back_where_none_is_wanted() -> None:
    model, ids = make("bam"), tokens()
    assert model(ids).cache is not None
    assert model(ids, use_cache=False).cache is None
    assert model(ids, labels=ids).cache is None
    assert model.train()(ids).cache is None


@pytest.mark.parametrize("variant", ["dense", "bam", "bam-shared-gqa"])
def test_padding_changes_nothing(variant: str) -> None:
    model, ids = make(variant, torch.float32), tokens(1, 6)
    left = torch.cat([torch.zeros(1, 3, dtype=torch.long), ids], dim=1)
    mask = torch.tensor([[0] * 3 + [1] * 6])
    with torch.no_grad():
        alone = model(ids).logits
        position = (mask.cumsum(1) - 1).clamp_min(0)
        padded = model(left, attention_mask=mask, position_ids=position).logits[:, 3:]
        right = model(
            torch.cat([ids, torch.zeros(1, 2, dtype=torch.long)], dim=1),
            attention_mask=torch.tensor([[1] * 6 + [0] * 2]),
        ).logits[:, :6]
    assert (padded - alone).abs().max() < 1e-5
    assert (right - alone).abs().max() < 1e-5


def test_batched_generation_of_prompts_of_different_lengths() -> None:
    model = make("bam-shared", torch.float32)
    long, short = tokens(1, 7), tokens(1, 4)
    batch = torch.cat([long, torch.cat([torch.zeros(1, 3, dtype=torch.long), short], dim=1)])
    mask = torch.tensor([[1] * 7, [0] * 3 + [1] * 4])
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    together = model.generate(batch, attention_mask=mask, **options)[:, 7:]
    alone = [model.generate(p, **options)[:, p.size(1) :] for p in (long, short)]
    assert together.tolist() == torch.cat(alone).tolist()


# --- losses and statistics ---------------------------------------------------------------------


def test_the_loss_is_the_language_models_alone() -> None:
    model, ids = make("bam"), tokens()
    labels = ids.clone()
    labels[0, :3] = -100
    output = model(ids, labels=labels)
    expected = F.cross_entropy(output.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(output.loss.double(), expected, rtol=1e-6, atol=1e-6)
    assert output.auxiliary_loss.item() > 0
    config = model.config
    expected_auxiliary = (
        config.load_balancing_weight * output.load_balancing_loss
        + config.z_loss_weight * output.z_loss
    )
    torch.testing.assert_close(output.auxiliary_loss, expected_auxiliary)


def test_auxiliary_losses_are_summed_over_layers_each_by_itself() -> None:
    # Equal logits: every probability is 1/E, so that the first expert gets all tokens and each
    # layer's balance is E * 1 * 1/E = 1 and its z loss (log E)^2.
    model, ids = make("btx"), tokens()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.feedforward.router.weight.zero_()
    output = model(ids, labels=ids)
    assert output.load_balancing_loss.item() == pytest.approx(2 * 1.0)
    assert output.z_loss.item() == pytest.approx(2 * torch.tensor(4.0).log().square().item())


def test_pooling_layers_would_be_another_loss() -> None:
    # One layer sends everything to expert 0, the other to expert 1: each is as unbalanced as can
    # be (E = 2 in the limit), while the pooled counts are balanced.
    model, ids = make("sequential"), tokens()
    model.model.layers[0].feedforward.router = _Constant(torch.tensor([9.0, -9.0]))
    model.model.layers[1].feedforward.router = _Constant(torch.tensor([-9.0, 9.0]))
    output = model(ids, labels=ids)
    assert output.load_balancing_loss.item() == pytest.approx(4.0, abs=1e-5)


class _Constant(torch.nn.Module):
    """A router with the same logits for every token."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits
        self.out_features = len(logits)

    def forward(self, h: Tensor) -> Tensor:
        return self.logits.to(h).expand(*h.shape[:-1], -1)


def test_padding_is_left_out_of_auxiliary_losses_and_statistics() -> None:
    model, ids = make("bam"), tokens(1, 6)
    padded = torch.cat([ids, torch.full((1, 5), 9)], dim=1)
    mask = torch.tensor([[1] * 6 + [0] * 5])
    alone = model(ids, output_routing=True)
    together = model(padded, attention_mask=mask, output_routing=True)
    for name in (
        "auxiliary_loss", "load_balancing_loss", "z_loss", "ffn_load_LE", "ffn_probability_LE",
        "attention_gate_LE", "attention_entropy_L",
    ):  # fmt: skip
        torch.testing.assert_close(together[name], alone[name], rtol=1e-5, atol=1e-6)


def test_statistics_sum_as_they_should() -> None:
    output = make("btx-top3")(tokens(), output_routing=True)
    torch.testing.assert_close(output.ffn_load_LE.sum(1), torch.full((2,), 3.0))
    torch.testing.assert_close(output.ffn_probability_LE.sum(1), torch.ones(2))
    assert output.attention_gate_LE is None
    uniform = make("uniform")(tokens(), output_routing=True)
    torch.testing.assert_close(uniform.attention_gate_LE, torch.full((2, 3), 1 / 3).double())
    torch.testing.assert_close(
        uniform.attention_entropy_L, torch.tensor(3.0).double().log().expand(2)
    )
    top1 = make("top1")(tokens(), output_routing=True)
    assert (top1.attention_gate_LE.sum(1) < 1).all(), "top-1 gates are not renormalised"
    assert make("dense")(tokens(), labels=tokens()).auxiliary_loss.item() == 0


def test_logits_are_there_unless_they_are_skipped() -> None:
    model, ids = make("btx"), tokens()
    for mode in (model.train(), model.eval()):
        assert mode(ids, labels=ids).logits.shape == (2, 7, 61)
        assert mode(ids, labels=ids, skip_logits=True).logits is None
    assert model(ids, logits_to_keep=1).logits.shape == (2, 1, 61)
    kept = model(ids, logits_to_keep=torch.tensor([0, 3])).logits
    assert torch.equal(kept, model(ids).logits[:, [0, 3]])


# --- as a model of transformers ----------------------------------------------------------------


@pytest.mark.parametrize("variant", ["dense", "bam-shared", "sequential"])
def test_auto_classes_load_what_was_saved(variant: str, tmp_path: Any) -> None:
    model, ids = make(variant, torch.float32), tokens()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded) is BamForCausalLM
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == loaded.config.to_dict()
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    tied = loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert tied == model.config.tie_word_embeddings


def test_parameters_come_from_the_generator_alone() -> None:
    config = make("bam").config
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(models))
        models.append(BamForCausalLM(config))
        models[-1].reset_parameters(torch.Generator().manual_seed(seed))
    first, second, third = (m.state_dict() for m in models)
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not any(torch.equal(first[k], third[k]) for k in first if "norm" not in k)
    assert all(bool((first[k] == 1).all()) for k in first if "norm" in k)


def test_initial_scales() -> None:
    config = BamConfig(
        vocab_size=500, num_ffn_experts=8, num_attention_experts=8, router_init_std=0.5
    )
    model = BamForCausalLM(config)
    model.reset_parameters(torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            std = 0.5 if "router" in name else 0.02
            assert parameter.std().item() == pytest.approx(std, rel=0.1), name


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("ffn_top_k", 3, "ffn_top_k=3 must be at most num_ffn_experts=2"),
        ("num_key_value_heads", 3, "multiple of num_key_value_heads=3"),
        ("head_dim", 5, "head_dim=5 must be even"),
        (
            "attention_routing",
            "hard",
            "unknown attention_routing of BamConfig 'hard': there are soft, top1",
        ),
        ("norm", "none", "unknown norm of BamConfig 'none'"),
        ("num_hidden_layers", 0, "num_hidden_layers=0 must be at least 1"),
    ],
)
def test_impossible_configurations_get_one_line(field: str, value: Any, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        BamConfig(**{"num_ffn_experts": 2, field: value})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
