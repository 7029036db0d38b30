"""Mixtures of real architectures, and as classes of transformers, which must compute the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from harness.errors import HarnessError, MethodError
from suites.bam.model import checkpoints
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig
from suites.bam.model.families import FAMILIES
from suites.bam.model.standard import standard
from suites.bam.model.upcycle import main, upcycle

SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
OWN: dict[str, dict[str, Any]] = {
    "cohere": {"logit_scale": 0.3},
    "gemma": {"head_dim": 6},
    "mistral": {"sliding_window": 9},
    "qwen3": {"head_dim": 8},
}
CLOSE = {"rtol": 1e-5, "atol": 2e-6}


def family(kind: str, seed: int = 0, **options: Any) -> PreTrainedModel:
    """A small random model of a family, its norms and biases away from their first values."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **(SIZES | OWN.get(kind, {}) | options))
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.15)
            if "norm" in name and kind != "gemma":
                parameter.add_(1.0)
    return model.eval()


def ids() -> torch.Tensor:
    return torch.randint(3, 50, (2, 17), generator=torch.Generator().manual_seed(1))


def loaded(model: PreTrainedModel) -> BamForCausalLM:
    return checkpoints.convert(model.config, model.state_dict(), model.config.model_type)


def mixture(kind: str, method: Any, **options: Any) -> BamForCausalLM:
    models = [loaded(family(kind, seed)) for seed in range(3)]
    return upcycle(models, method, torch.Generator().manual_seed(5), **options)


@pytest.mark.parametrize("method", ["bam", "bam-shared-kv", "btx", "average", "sparse"])
@pytest.mark.parametrize("kind", FAMILIES[1:])
def test_a_mixture_of_equal_experts_is_the_dense_model(kind: str, method: Any) -> None:
    dense = family(kind)
    ours = loaded(dense)
    options = {} if method in ("average", "sparse") else {"ffn_top_k": 2, "norm_topk_prob": True}
    mixed = upcycle([ours] * 3, method, torch.Generator().manual_seed(0), **options)
    torch.testing.assert_close(mixed(ids()).logits, dense(ids()).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", FAMILIES[1:])
def test_an_average_is_written_as_its_experts_own_class(kind: str, tmp_path: Path) -> None:
    average = mixture(kind, "average")
    standard(average).save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config.model_type == kind
    torch.testing.assert_close(again(ids()).logits, average(ids()).logits, **CLOSE)
    assert torch.equal(checkpoints.load(tmp_path)(ids()).logits, average(ids()).logits)


@pytest.mark.parametrize(
    ("kind", "theirs", "options"),
    [
        ("llama", "mixtral", {"ffn_top_k": 1, "norm_topk_prob": True}),
        ("llama", "mixtral", {"ffn_top_k": 2, "norm_topk_prob": True}),
        ("llama", "mixtral", {"ffn_top_k": 3}),
        ("mistral", "mixtral", {"ffn_top_k": 2, "norm_topk_prob": True}),
        ("qwen3", "qwen3_moe", {"ffn_top_k": 2, "norm_topk_prob": True}),
        ("qwen3", "qwen3_moe", {"ffn_top_k": 2}),
    ],
)
def test_btx_is_written_as_a_class_of_transformers(
    kind: str, theirs: str, options: dict[str, Any], tmp_path: Path
) -> None:
    btx = mixture(kind, "btx", **options, router_init_std=0.5)
    standard(btx).save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config.model_type == theirs
    assert not list(tmp_path.glob("*.py"))
    torch.testing.assert_close(again(ids()).logits, btx(ids()).logits, **CLOSE)
    generated = [m.generate(ids()[:, :4], max_new_tokens=6, do_sample=False) for m in (btx, again)]
    assert torch.equal(*generated)


def test_a_dense_model_of_ours_is_written_as_the_first_family_that_computes_it() -> None:
    config = BamConfig(**SIZES, parallel_block=True, rope_interleaved=True)
    model = BamForCausalLM(config).eval()
    written = standard(model)
    assert written.config.model_type == "cohere"
    torch.testing.assert_close(written(ids()).logits, model(ids()).logits, **CLOSE)


@pytest.mark.parametrize(
    ("kind", "method", "options", "message"),
    [
        ("llama", "bam", {}, "num_attention_experts=3 has no class in transformers"),
        ("llama", "btx", {}, "norm_topk_prob=False does not map to a mixtral model"),
        ("gemma", "btx", {"norm_topk_prob": True}, "norm_offset=1.0 does not map to a mistral"),
        ("qwen2", "btx", {"norm_topk_prob": True}, "attention_bias=True does not map to a mistral"),
        ("cohere", "btx", {"norm_topk_prob": True}, "rope_interleaved=True does not map"),
    ],
)
def test_what_no_class_computes_is_refused(
    kind: str, method: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MethodError, match=message) as caught:
        standard(mixture(kind, method, **options))
    assert "\n" not in str(caught.value)


def test_norms_that_a_family_lacks_must_be_one() -> None:
    average = mixture("olmo", "average")
    with torch.no_grad():
        average.model.norm.weight.add_(0.1)
    with pytest.raises(MethodError, match=r"model\.norm\.weight is no longer 1"):
        standard(average)


def test_the_command_line_writes_the_class(tmp_path: Path, capsys: Any) -> None:
    for seed, name in enumerate(("code", "seed")):
        family("llama", seed).save_pretrained(tmp_path / name)
    arguments = ["--experts", str(tmp_path / "code"), "--seed", str(tmp_path / "seed")]
    arguments += ["--format", "hf", "--method"]
    capsys.readouterr()
    assert main([*arguments, "btx", "--out", str(tmp_path / "no")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "no").exists()
    assert main([*arguments, "average", "--out", str(tmp_path / "yes")]) == 0
    assert AutoConfig.from_pretrained(tmp_path / "yes").model_type == "llama"


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("gemma2", {}, "attn_logit_softcapping"),
        ("olmo2", {}, "norms stand after"),
        ("olmo", {"clip_qkv": 8.0}, "clip_qkv=8.0 is not supported for olmo"),
        ("phi", {"num_key_value_heads": 4}, "partial_rotary_factor"),
        ("phi3", {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5"),
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention=True"),
        ("granite", {}, "residual_multiplier"),
        ("starcoder2", {}, "use_bias"),
    ],
)
def test_blocks_that_do_not_map_are_named(
    kind: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, **(SIZES | options))
    ).save_pretrained(tmp_path)
    with pytest.raises(HarnessError, match=message) as caught:
        checkpoints.load(tmp_path)
    assert "\n" not in str(caught.value)
