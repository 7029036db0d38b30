"""Checkpoints of other families against transformers' own models, and corrupt files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OlmoConfig,
    OlmoForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from harness.errors import DataError, HarnessError, MethodError
from suites.bam.model import checkpoints
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig

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
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
FAMILIES: dict[str, tuple[type[PreTrainedModel], Any, dict[str, Any]]] = {
    "cohere": (CohereForCausalLM, CohereConfig, {"logit_scale": 0.3}),
    "gemma": (GemmaForCausalLM, GemmaConfig, {"head_dim": 6}),
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "mistral": (MistralForCausalLM, MistralConfig, {}),
    "mistral-window": (MistralForCausalLM, MistralConfig, {"sliding_window": 5}),
    "olmo": (OlmoForCausalLM, OlmoConfig, {}),
    "phi3": (Phi3ForCausalLM, Phi3Config, {"sliding_window": 7}),
    "llama-tied": (LlamaForCausalLM, LlamaConfig, {"tie_word_embeddings": True, "head_dim": 6}),
    "llama3-rope": (LlamaForCausalLM, LlamaConfig, {"rope_parameters": LLAMA3_ROPE}),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {"rms_norm_eps": 1e-3}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 8}),
}


def randomise(model: PreTrainedModel) -> PreTrainedModel:
    """Weights, biases and norms away from their simple first values."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.4, generator=generator)
            if "norm" in name:
                parameter.add_(1.0)
    return model.eval()


def theirs(family: str, **options: Any) -> PreTrainedModel:
    model_class, config_class, own = FAMILIES[family]
    return randomise(model_class(config_class(**(SIZES | own | options))))


def ours(**options: Any) -> BamForCausalLM:
    return randomise(BamForCausalLM(BamConfig(**(SIZES | options))))


def ids() -> torch.Tensor:
    return torch.randint(3, 50, (2, 24), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_family(family: str, tmp_path: Path) -> None:
    reference = theirs(family)
    reference.save_pretrained(tmp_path)
    model = checkpoints.load_dense(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(
            model(ids()).logits, reference(ids()).logits, rtol=1e-4, atol=1e-4
        )
    prompt = ids()[:, :5]
    options = {"max_new_tokens": 6, "do_sample": False}
    assert torch.equal(model.generate(prompt, **options), reference.generate(prompt, **options))
    parameters = [sum(p.numel() for p in m.parameters()) for m in (model, reference)]
    scales = (1 + 2 * 2) * 16 if family == "olmo" else 0  # norms that have none there
    assert parameters[0] == parameters[1] + scales


@pytest.mark.parametrize("family", ["cohere", "qwen3"])
def test_a_converted_model_survives_our_own_format(family: str, tmp_path: Path) -> None:
    theirs(family).save_pretrained(tmp_path / "theirs")
    model = checkpoints.load(tmp_path / "theirs")
    checkpoints.save(model, tmp_path / "ours")
    again = checkpoints.load_dense(tmp_path / "ours")
    assert torch.equal(again(ids()).logits, model(ids()).logits)
    assert again.config.eos_token_id == 2


def test_sharded_checkpoints(tmp_path: Path) -> None:
    model = theirs("llama")
    model.save_pretrained(tmp_path, max_shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    loaded = checkpoints.load(tmp_path)
    torch.testing.assert_close(loaded(ids()).logits, model(ids()).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"tie_word_embeddings": True}, {"num_ffn_experts": 2}])
def test_own_checkpoints(options: dict[str, Any], tmp_path: Path) -> None:
    model = ours(**options)
    checkpoints.save(model, tmp_path)
    loaded = checkpoints.load(tmp_path)
    assert torch.equal(loaded(ids()).logits, model(ids()).logits)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    if options.get("num_ffn_experts"):
        with pytest.raises(MethodError, match="mixture already"):
            checkpoints.load_dense(tmp_path)


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("llama", {"attention_bias": True}, "attention_bias=True is not supported for llama"),
        ("llama", {"mlp_bias": True}, "mlp_bias=True"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act=gelu"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "rope_type=dynamic",
        ),
        ("cohere", {"use_qk_norm": True}, "use_qk_norm=True is not supported for cohere"),
        ("qwen2", {"use_sliding_window": True}, "sliding_window=True"),
    ],
)
def test_parts_that_we_have_not_are_named(
    family: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    theirs(family, **options).save_pretrained(tmp_path)
    with pytest.raises(MethodError, match=message):
        checkpoints.load(tmp_path)


def test_other_families_are_refused(tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=9)).save_pretrained(
        tmp_path
    )
    with pytest.raises(DataError, match="unknown model_type 'gpt2': there are bam, cohere"):
        checkpoints.load(tmp_path)


# --- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [10, 4000, -1])
def test_a_flipped_bit_is_found(offset: int, tmp_path: Path) -> None:
    checkpoints.save(ours(), tmp_path)
    path = tmp_path / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"model\.safetensors is corrupt: sha256"):
        checkpoints.load(tmp_path)


def test_a_changed_configuration_is_found(tmp_path: Path) -> None:
    checkpoints.save(ours(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace("10000.0", "20000.0"))
    with pytest.raises(DataError, match=r"config\.json is corrupt"):
        checkpoints.load(tmp_path)


def _truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _edit(folder: Path, change: Any) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def _drop(folder: Path) -> None:
    _edit(folder, lambda t: t.pop("model.layers.1.mlp.up_proj.weight"))


def _add(folder: Path) -> None:
    _edit(folder, lambda t: t.update({"model.layers.1.extra.weight": torch.zeros(2)}))


def _cut(folder: Path) -> None:
    _edit(folder, lambda t: t.update({"model.norm.weight": torch.zeros(2)}))


def _spoil(folder: Path) -> None:
    _edit(folder, lambda t: t["model.norm.weight"].fill_(float("nan")))


def _remove(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _unreadable(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "model.safetensors is not an intact safetensors file"),
        (_drop, "tensor model.layers.1.feedforward.up is missing"),
        (_add, "tensor model.layers.1.extra.weight is not part of"),
        (_cut, "tensor model.norm.weight is [2], its config.json asks for [16]"),
        (_spoil, "tensor model.norm.weight holds a number that is not finite"),
        (_remove, "nor a folder with model.safetensors"),
        (_unreadable, "config.json is corrupt"),
    ],
)
def test_damage_to_files_without_checksums(damage: Any, message: str, tmp_path: Path) -> None:
    theirs("llama").save_pretrained(tmp_path)
    damage(tmp_path)
    with pytest.raises(HarnessError) as caught:
        checkpoints.load(tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_corrupt_list_of_checksums(tmp_path: Path) -> None:
    checkpoints.save(ours(), tmp_path)
    files = json.loads((tmp_path / "checksum.json").read_text())["files"]
    assert set(files) == {
        "config.json", "generation_config.json", "model.safetensors", "modeling_bam.py"
    }  # fmt: skip
    (tmp_path / "checksum.json").write_text("[]")
    with pytest.raises(DataError, match=r"checksum\.json is corrupt"):
        checkpoints.load(tmp_path)
    (tmp_path / "checksum.json").write_text('{"files": {"model-2.safetensors": "0"}}')
    with pytest.raises(DataError, match=r"model-2\.safetensors is missing"):
        checkpoints.load(tmp_path)
