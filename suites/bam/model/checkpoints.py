"""Checkpoints on disk: our own, and dense models of other families turned into ours.

A checkpoint is a folder in the format of transformers (config.json, safetensors). Ours also hold
`checksum.json`, so that a corrupt file is found before it is used.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig

from harness.errors import DataError, MethodError, brief, unknown
from harness.store import file_digest, write_atomic
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig

CHECKSUM = "checksum.json"
FAMILIES = ("bam", "cohere", "llama", "qwen2", "qwen3")

# How the tensors of the other families are called here; the input norm depends on the block.
_RENAMED = (
    ("self_attn.", "attention."),
    ("mlp.", "feedforward."),
    ("_proj.", "."),
    ("post_attention_layernorm.", "post_norm."),
)
_STATIC_ROPE = ("default", "linear", "llama3", "yarn")


def save(model: BamForCausalLM, folder: Path) -> None:
    """Writes a checkpoint and the checksums of its files.

    Raises:
        StoreError: If the checksums cannot be written.
    """
    model.save_pretrained(folder)
    files = {
        path.name: file_digest(path)
        for path in sorted(folder.iterdir())
        if path.suffix in (".safetensors", ".json") and path.name != CHECKSUM
    }
    text = json.dumps({"algorithm": "sha256", "files": files}, indent=1)
    write_atomic(folder / CHECKSUM, text.encode())


def load(folder: Path) -> BamForCausalLM:
    """Loads a checkpoint of any of the `FAMILIES`, on the CPU, in the precision of its files.

    Raises:
        DataError: If it is missing, corrupt, or of another family.
        MethodError: If its architecture has parts that a `BamForCausalLM` has not.
    """
    verify(folder)
    config = _read_config(folder)
    tensors = _read_tensors(folder)
    if isinstance(config, BamConfig):
        return assemble(config, tensors, str(folder))
    return convert(config, tensors, str(folder))


def load_dense(folder: Path) -> BamForCausalLM:
    """Loads a checkpoint that has one expert of each kind.

    Raises:
        DataError: As `load`.
        MethodError: As `load`, or if it is a mixture already.
    """
    model = load(folder)
    check_dense(model.config, str(folder))
    return model


def check_dense(config: BamConfig, name: str) -> None:
    """Raises MethodError for a mixture."""
    if max(config.num_ffn_experts, config.num_attention_experts) > 1:
        raise MethodError(
            f"{name} is a mixture already ({config.num_ffn_experts} feed-forward and "
            f"{config.num_attention_experts} attention experts); give dense models"
        )


def verify(folder: Path) -> None:
    """Compares a checkpoint's files with its checksums, where it has any.

    Raises:
        DataError: If a file is corrupt or missing.
    """
    path = folder / CHECKSUM
    if not path.is_file():
        return
    try:
        files = dict(json.loads(path.read_bytes())["files"])
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is corrupt; make or download the checkpoint again") from None
    for name, expected in files.items():
        if not (folder / name).is_file():
            raise DataError(f"{folder / name} is missing; make or download the checkpoint again")
        if (found := file_digest(folder / name)) != expected:
            raise DataError(
                f"{folder / name} is corrupt: sha256 {found[:12]}..., expected {expected[:12]}...; "
                "make or download the checkpoint again"
            )


def convert(config: PreTrainedConfig, tensors: Mapping[str, Tensor], name: str) -> BamForCausalLM:
    """A dense model of another family as ours, with equal logits.

    Args:
        config: Of one of the other `FAMILIES`.
        tensors: State dict of that family's `...ForCausalLM`.
        name: What messages call it.

    Raises:
        DataError: If a tensor is missing, too many or of the wrong shape.
        MethodError: If the family is another, or has parts that we have not.
    """
    ours = _our_config(config, name)
    state = {}
    for key, tensor in tensors.items():
        if not key.endswith("rotary_emb.inv_freq"):  # old checkpoints keep this constant
            renamed = _our_name(key, ours.parallel_block)
            state[renamed] = tensor.unsqueeze(0) if _is_stacked(renamed) else tensor
    return assemble(ours, state, name)


def assemble(config: BamConfig, state: dict[str, Tensor], name: str) -> BamForCausalLM:
    """A model made of these tensors, not of copies.

    Raises:
        DataError: If one is missing, too many or of the wrong shape.
    """
    with torch.device("meta"):
        model = BamForCausalLM(config)
    if config.tie_word_embeddings and "model.embed_tokens.weight" in state:
        state = {"lm_head.weight": state["model.embed_tokens.weight"], **state}
    expected = model.state_dict()
    for key, tensor in expected.items():
        if key not in state:
            raise DataError(f"{name}: tensor {key} is missing; the checkpoint is not whole")
        if state[key].shape != tensor.shape:
            raise DataError(
                f"{name}: tensor {key} is {list(state[key].shape)}, its config.json asks for "
                f"{list(tensor.shape)}"
            )
    for key in state:
        if key not in expected:
            raise DataError(f"{name}: tensor {key} is not part of a {config.model_type} model")
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    model.requires_grad_(True).train(False)
    return model


def _read_config(folder: Path) -> PreTrainedConfig:
    path = folder / "config.json"
    if not path.is_file():
        raise DataError(f"{folder} has no config.json; give the folder of a checkpoint")
    try:
        kind = json.loads(path.read_bytes()).get("model_type")
    except (ValueError, AttributeError):
        raise DataError(f"{path} is corrupt; make or download the checkpoint again") from None
    if kind not in FAMILIES:
        raise DataError(f"{path}: {unknown('model_type', kind, FAMILIES)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
    return config


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise DataError(f"{folder} has no model*.safetensors; convert the checkpoint first")
    tensors = {}
    for file in files:
        try:
            with safe_open(file, "pt") as opened:
                for key in opened.keys():  # noqa: SIM118
                    tensors[key] = opened.get_tensor(key)
        except SafetensorError as error:
            raise DataError(f"{file} is corrupt ({brief(error)})") from None
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise DataError(f"{folder}: tensor {key} holds a number that is not finite")
    return tensors


def _our_config(config: PreTrainedConfig, name: str) -> BamConfig:
    kind = config.model_type
    if kind not in FAMILIES[1:]:
        raise MethodError(f"{name}: {unknown('family', kind, FAMILIES[1:])}")
    rope = dict(config.rope_parameters)
    biased = kind != "qwen2" and getattr(config, "attention_bias", False)
    foreign = {
        "hidden_act": config.hidden_act != "silu" and config.hidden_act,
        "mlp_bias": getattr(config, "mlp_bias", False),
        "attention_bias": biased,  # these families put one on the output matrix too
        "use_qk_norm": getattr(config, "use_qk_norm", False),
        "sliding_window": getattr(config, "use_sliding_window", False),
        "partial_rotary_factor": rope.get("partial_rotary_factor", 1.0) != 1.0,
        "rope_type": rope["rope_type"] not in _STATIC_ROPE and rope["rope_type"],
    }
    for field, value in foreign.items():
        if value:
            raise MethodError(f"{name}: {field}={value} is not supported for {kind} models")
    cohere = kind == "cohere"
    return BamConfig(
        **{field: getattr(config, field) for field in _SAME_FIELDS},
        head_dim=getattr(config, "head_dim", None) or 0,
        rope_theta=rope["rope_theta"],
        rope_parameters=rope,
        rope_interleaved=cohere,
        norm="layernorm" if cohere else "rmsnorm",
        norm_eps=config.layer_norm_eps if cohere else config.rms_norm_eps,
        parallel_block=cohere,
        attention_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
        logit_scale=config.logit_scale if cohere else 1.0,
    )


_SAME_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "initializer_range",
    "tie_word_embeddings",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
)


def _our_name(key: str, parallel_block: bool) -> str:
    for theirs, ours in _RENAMED:
        key = key.replace(theirs, ours)
    key = key.replace("input_layernorm.", "norm." if parallel_block else "input_norm.")
    return key.removesuffix(".weight") if ".feedforward." in key else key


def _is_stacked(name: str) -> bool:
    """Whether a tensor of ours has the experts as an extra dimension."""
    return ".feedforward." in name or ".q_norm." in name or ".k_norm." in name
