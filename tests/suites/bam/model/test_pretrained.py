"""A toy GGUF file, written here tensor by tensor, becomes a dense model with equal logits."""

import sys
from pathlib import Path
from types import ModuleType

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from harness.errors import DataError
from suites.bam.model import checkpoints, pretrained

HEADS, KEY_HEADS, WIDTH, LAYERS = 4, 2, 32, 2


@pytest.fixture(scope="module")
def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=259, hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=KEY_HEADS, rope_theta=50_000.0,
        max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=True, bos_token_id=257,
        eos_token_id=258,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def interleaved(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows in llama.cpp's order: the two halves of a head's channels take turns."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows, columns))


@pytest.fixture(scope="module")
def file(llama: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "toy.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(48)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_rope_freq_base(50_000.0)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(259)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    letters = [*sorted(ByteLevel.alphabet()), "ab", "<start>", "<end>"]
    writer.add_token_list(letters)
    writer.add_token_types([gguf.TokenType.NORMAL] * 257 + [gguf.TokenType.CONTROL] * 2)
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(258)
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    state = {k: v.numpy() for k, v in llama.state_dict().items()}
    writer.add_tensor("token_embd.weight", state["model.embed_tokens.weight"])
    writer.add_tensor("output_norm.weight", state["model.norm.weight"])
    for layer in range(LAYERS):
        for theirs, short in names.items():
            weight = state[f"model.layers.{layer}.{theirs}.weight"]
            if short in ("attn_q", "attn_k"):
                weight = interleaved(weight, HEADS if short == "attn_q" else KEY_HEADS)
            writer.add_tensor(f"blk.{layer}.{short}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_checkpoint_computes_what_the_packaged_model_does(
    llama: LlamaForCausalLM, file: Path, tmp_path: Path
) -> None:
    pretrained.unpack(file, tmp_path)
    model = checkpoints.load_dense(tmp_path)
    assert not model.config.parallel_block
    assert (model.config.num_ffn_experts, model.config.num_attention_experts) == (1, 1)
    ids = torch.randint(0, 256, (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        difference = model(ids).logits - llama(ids).logits
    assert difference.abs().max() < 1e-5
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.decode(tokenizer("def f(x): return x").input_ids).endswith("return x")


def test_the_seed_comes_from_the_installed_package(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "PACKAGE", "toy_language_model")
    with pytest.raises(DataError, match=r"toy_language_model .* is not installed; run"):
        pretrained.weights()
    package = tmp_path / "toy_language_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('not to be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DataError, match="is not installed"):
        pretrained.weights()
    (package / "toy.gguf").symlink_to(file)
    assert pretrained.weights() == package / "toy.gguf"
    pretrained.write_seed(tmp_path / "seed")
    assert (tmp_path / "seed" / checkpoints.CHECKSUM).is_file()
    assert not isinstance(sys.modules.get("toy_language_model"), ModuleType)


def test_a_corrupt_file_is_one_line(file: Path, tmp_path: Path) -> None:
    corrupt = tmp_path / "toy.gguf"
    corrupt.write_bytes(b"GGUF" + file.read_bytes()[4:200])
    with pytest.raises(DataError, match=r"toy\.gguf cannot be read") as caught:
        pretrained.unpack(corrupt, tmp_path / "out")
    assert "\n" not in str(caught.value)
