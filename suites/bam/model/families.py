"""Dense models of other families as ours and back: configurations, and where tensors come from.

A family is here if its block computes what ours does, whatever its tensors are called.
"""

import itertools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig

from harness.errors import DataError, MethodError
from suites.bam.model.configuration import BamConfig
from suites.bam.model.feedforward import ACTIVATIONS

FAMILIES = ("bam", "cohere", "gemma", "llama", "mistral", "olmo", "phi3", "qwen2", "qwen3")
REFUSED = {
    "gemma2": "attn_logit_softcapping and final_logit_softcapping change what it computes",
    "gemma3_text": "layer_types alternates kinds of attention",
    "granite": "residual_multiplier and attention_multiplier change what it computes",
    "olmo2": "its norms stand after attention and feed-forward (rms_norm_eps)",
    "phi": "partial_rotary_factor, and a feed-forward network without gates",
    "stablelm": "partial_rotary_factor, and norms with a shift (layer_norm_eps)",
    "starcoder2": "use_bias, and a feed-forward network without gates",
}
"""Families that resemble ours, and what in them does not map."""

# How the tensors of the other families are called here; the input norm depends on the block.
_RENAMED = (
    ("self_attn.", "attention."),
    ("mlp.", "feedforward."),
    ("_proj.", "."),
    ("post_attention_layernorm.", "post_norm."),
)
FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
"""Matrices of Phi-3 that hold several of the others', one below the other."""
_STATIC_ROPE = ("default", "linear", "llama3", "yarn")
_SAME_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "hidden_act",
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
# Fields of ours that a family's own configuration must bring back.
_KEPT = (
    *_SAME_FIELDS, "head_dim", "rope_interleaved", "norm", "norm_eps", "norm_offset",
    "parallel_block", "attention_bias", "qk_norm", "sliding_window", "embedding_multiplier",
    "logit_scale",
)  # fmt: skip


def our_config(config: PreTrainedConfig, name: str) -> BamConfig:
    """The same model as a configuration of ours.

    Raises:
        MethodError: If the family is another, or has parts that we have not, naming the field.
    """
    kind = config.model_type
    if kind not in FAMILIES[1:]:
        raise MethodError(f"{name}: family {kind!r} is unknown; use {', '.join(FAMILIES[1:])}")
    rope = dict(config.rope_parameters)
    windowed = kind in ("mistral", "phi3")
    foreign = {
        "hidden_act": config.hidden_act not in ACTIVATIONS and config.hidden_act,
        "mlp_bias": getattr(config, "mlp_bias", False),
        # Except for Qwen2 these families put one on the output matrix too.
        "attention_bias": kind != "qwen2" and getattr(config, "attention_bias", False),
        "use_qk_norm": getattr(config, "use_qk_norm", False),
        "clip_qkv": getattr(config, "clip_qkv", None),
        "use_bidirectional_attention": getattr(config, "use_bidirectional_attention", None),
        "sliding_window": not windowed and getattr(config, "use_sliding_window", False),
        "partial_rotary_factor": (f := rope.get("partial_rotary_factor", 1.0)) != 1.0 and f,
        "rope_type": rope["rope_type"] not in _STATIC_ROPE and rope["rope_type"],
    }
    for field, value in foreign.items():
        if value:
            raise MethodError(f"{name}: {field}={value} is not supported for {kind} models")
    cohere, gemma = kind == "cohere", kind == "gemma"
    eps = {"cohere": "layer_norm_eps", "olmo": ""}.get(kind, "rms_norm_eps")
    return BamConfig(
        **{field: getattr(config, field) for field in _SAME_FIELDS},
        head_dim=getattr(config, "head_dim", None) or 0,
        rope_theta=rope["rope_theta"],
        rope_parameters=rope,
        rope_interleaved=cohere,
        norm="layernorm" if kind in ("cohere", "olmo") else "rmsnorm",
        norm_eps=getattr(config, eps) if eps else 1e-5,  # a constant of OLMo
        norm_offset=1.0 if gemma else 0.0,
        parallel_block=cohere,
        attention_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
        sliding_window=config.sliding_window if windowed else None,
        embedding_multiplier=config.hidden_size**0.5 if gemma else 1.0,
        logit_scale=config.logit_scale if cohere else 1.0,
        family=kind,
    )


def their_config(config: BamConfig, kind: str) -> PreTrainedConfig:
    """The configuration of a dense model of ours in a family that computes the same.

    Raises:
        MethodError: If the family does not, naming the field.
    """
    rope = _rope(config)
    theirs: PreTrainedConfig = AutoConfig.for_model(
        kind,
        **{field: getattr(config, field) for field in _SAME_FIELDS},
        head_dim=config.head_dim,
        rope_parameters=dict(rope),  # which it fills
        sliding_window=config.sliding_window,
        rms_norm_eps=config.norm_eps,
        layer_norm_eps=config.norm_eps,
        logit_scale=config.logit_scale,
    )
    again = our_config(theirs, kind)
    for field in _KEPT:
        if getattr(again, field) != (value := getattr(config, field)):
            raise MethodError(f"{field}={value} does not map to a {kind} model")
    if _rope(again) != rope:
        raise MethodError(f"rope_parameters={rope} does not map to a {kind} model")
    return theirs


def _rope(config: BamConfig) -> dict[str, object]:
    rope = dict(config.rope_parameters or {"rope_type": "default"})
    rope.setdefault("rope_theta", config.rope_theta)
    return {key: value for key, value in rope.items() if key != "partial_rotary_factor"}


class Origin(NamedTuple):
    """Where a tensor of ours comes from."""

    key: str
    """Its name in the other family."""
    rows: slice = slice(None)
    """Which of its rows: others keep several matrices in one."""
    stacked: bool = False
    """Ours has the experts as one more dimension, the first."""
    ones: int = 0
    """Nowhere: so many ones, the scale of a norm that has none."""

    def take(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The tensor, out of those of the other model; a view of it."""
        if self.ones:
            like = tensors[self.key]
            return torch.ones(self.ones, dtype=like.dtype, device=like.device)
        tensor = tensors[self.key][self.rows]
        return tensor.unsqueeze(0) if self.stacked else tensor


def origins(keys: Iterable[str], config: BamConfig) -> dict[str, Origin]:
    """Our name -> where the tensor is among those of the family's `...ForCausalLM`.

    Raises:
        DataError: If two of them are one of ours.
    """
    found: dict[str, Origin] = {}
    for key in keys:
        if key.endswith("rotary_emb.inv_freq"):  # old checkpoints keep this constant
            continue
        for part, rows in _parts(key, config):
            name = _our_name(part, config.parallel_block)
            stacked = any(s in name for s in (".feedforward.", ".q_norm.", ".k_norm."))
            if name in found:
                raise DataError(f"{found[name].key} and {key} are one tensor of a {config.family}")
            found[name] = Origin(key, rows, stacked)
    if config.family == "olmo":
        like = Origin("model.embed_tokens.weight", ones=config.hidden_size)
        found |= dict.fromkeys(norms(config), like)
    return found


def norms(config: BamConfig) -> list[str]:
    """Names of the norms over the features."""
    of_layer = ("norm",) if config.parallel_block else ("input_norm", "post_norm")
    layers = range(config.num_hidden_layers)
    return [
        *(f"model.layers.{n}.{norm}.weight" for n in layers for norm in of_layer),
        "model.norm.weight",
    ]


def _parts(key: str, config: BamConfig) -> list[tuple[str, slice]]:
    """The matrices of one tensor (Phi-3 has two or three in one), and their rows."""
    query = config.num_attention_heads * config.head_dim
    narrow = config.num_key_value_heads * config.head_dim
    sizes = {"q_proj": query, "k_proj": narrow, "v_proj": narrow}
    for name, parts in FUSED.items():
        if f".{name}." in key:
            rows = [sizes.get(part, config.intermediate_size) for part in parts]
            ends = itertools.accumulate(rows)
            return [
                (key.replace(name, part), slice(end - size, end))
                for part, size, end in zip(parts, rows, ends, strict=True)
            ]
    return [(key, slice(None))]


def _our_name(key: str, parallel_block: bool) -> str:
    for theirs, ours in _RENAMED:
        key = key.replace(theirs, ours)
    key = key.replace("input_layernorm.", "norm." if parallel_block else "input_norm.")
    return key.removesuffix(".weight") if ".feedforward." in key else key


def their_name(name: str) -> str:
    """The name that most other families give to a tensor of ours, of a dense model."""
    name = name.replace(".input_norm.", ".input_layernorm.")
    name = name.replace(".post_norm.", ".post_attention_layernorm.")
    if not name.startswith("model.norm."):
        name = name.replace(".norm.", ".input_layernorm.")
    for part in ("q", "k", "v", "o"):
        name = name.replace(f".attention.{part}.", f".self_attn.{part}_proj.")
    name = name.replace(".attention.", ".self_attn.")
    prefix, feedforward, part = name.partition(".feedforward.")
    return f"{prefix}.mlp.{part}_proj.weight" if feedforward else name
