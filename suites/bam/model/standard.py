"""Mixtures as models of transformers' own classes, where one computes the same.

| mixture                                     | class                |
|---------------------------------------------|----------------------|
| `average`, or any dense model               | its experts' own     |
| BTX of Llama or Mistral, renormalised gates | Mixtral              |
| BTX of Qwen3                                | Qwen3-MoE            |

What trains is not always the same: these classes know no z loss, and balance all layers together.
"""

import contextlib
import io
from collections.abc import Callable, Iterable
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from harness import pretrained, weights
from harness.errors import MethodError
from harness.store import file_digest
from suites.bam.model import checkpoints
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig
from suites.bam.model.families import FAMILIES, FUSED, norms, their_config, their_name


def standard(model: BamForCausalLM) -> PreTrainedModel:
    """The same model in a class of transformers; its tensors are views where they can be.

    Raises:
        MethodError: If no class computes the same, naming the field that does not map.
    """
    config = standard_config(model.config)
    tensors = _tensors(model, config)
    with no_init_weights():  # its tensors are replaced, and never touched
        theirs: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    theirs.load_state_dict(tensors, assign=True)
    theirs.tie_weights()
    theirs.generation_config = deepcopy(model.generation_config)
    theirs.train(False)
    return theirs


def write_standard(
    skeleton: BamForCausalLM,
    make: Callable[[str], Iterable[Tensor]],
    folder: Path,
    beside: Iterable[Path] = (),
    shard_size: int = weights.SHARD_SIZE,
) -> dict[str, str]:
    """Writes what `checkpoints.write` does, as the class of transformers; all of it in memory.

    Raises:
        MethodError: As `standard`.
    """
    shapes = checkpoints.stored(skeleton)
    state = {name: weights.joined(make(name), like) for name, like in shapes.items()}
    model = standard(checkpoints.assemble(skeleton.config, state, str(folder)))
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        model.save_pretrained(folder, max_shard_size=shard_size)
    pretrained.copy(beside, folder)
    return {file.name: file_digest(file) for file in sorted(folder.glob("*.safetensors"))}


def standard_config(config: BamConfig) -> PreTrainedConfig:
    """The configuration of the class that computes the same.

    Raises:
        MethodError: If there is none, naming the field that does not map.
    """
    if config.num_attention_experts > 1:
        raise MethodError(
            f"num_attention_experts={config.num_attention_experts} has no class in transformers; "
            "only mixtures by btx and average have one"
        )
    if config.num_ffn_experts == 1:
        return _dense_config(config)
    if config.shared_expert_weight:
        raise MethodError(
            f"shared_expert_weight={config.shared_expert_weight} does not map to a class of "
            "transformers; leave the shared expert or the format out"
        )
    kind = "qwen3_moe" if config.qk_norm else "mixtral"
    dense = BamConfig.from_dict(config.to_dict() | {"num_ffn_experts": 1, "ffn_top_k": 1})
    base = their_config(dense, "qwen3" if config.qk_norm else "mistral").to_dict()
    renormalised = config.norm_topk_prob or config.ffn_top_k == config.num_ffn_experts
    if kind == "mixtral" and not renormalised:
        raise MethodError(
            "norm_topk_prob=False does not map to a mixtral model, whose gates sum to 1; "
            "choose --norm-topk-prob"
        )
    for field in ("model_type", "architectures", "layer_types"):
        base.pop(field, None)
    own = {
        "norm_topk_prob": config.norm_topk_prob,
        "moe_intermediate_size": base["intermediate_size"],
    }
    theirs: PreTrainedConfig = AutoConfig.for_model(
        kind,
        **base,
        **(own if kind == "qwen3_moe" else {}),
        num_local_experts=config.num_ffn_experts,
        num_experts_per_tok=config.ffn_top_k,
        router_aux_loss_coef=config.load_balancing_weight,
        output_router_logits=config.output_router_logits,
    )
    return theirs


def _dense_config(config: BamConfig) -> PreTrainedConfig:
    """Of the family that the model came from, or else of the first one that computes the same."""
    families = FAMILIES[1:] if config.family == "bam" else (config.family,)
    reason = ""
    for family in families:
        try:
            return their_config(config, family)
        except MethodError as error:
            reason = str(error)
    if config.family != "bam":
        raise MethodError(reason)
    raise MethodError(
        f"no family of transformers has parallel_block={config.parallel_block}, "
        f"norm={config.norm!r}, attention_bias={config.attention_bias} and "
        f"qk_norm={config.qk_norm} together"
    )


def _tensors(model: BamForCausalLM, config: PreTrainedConfig) -> dict[str, Tensor]:
    """State of the other class."""
    state = dict(model.state_dict())
    ours = model.config
    if config.model_type == "olmo":
        for name in norms(ours):
            if not (state.pop(name) == 1).all():
                raise MethodError(
                    f"{name} is no longer 1, and norms of an olmo model have no scale"
                )
    tensors = {}
    for name, tensor in state.items():
        stacked = any(part in name for part in (".feedforward.", ".q_norm.", ".k_norm."))
        if ours.num_ffn_experts > 1 and ".feedforward." in name:
            continue
        tensors[their_name(name)] = tensor[0] if stacked else tensor
    for layer in range(ours.num_hidden_layers):
        prefix, mlp = f"model.layers.{layer}.feedforward", f"model.layers.{layer}.mlp"
        if ours.num_ffn_experts > 1:
            both = [state[f"{prefix}.{name}"] for name in ("gate", "up")]
            tensors[f"{mlp}.experts.gate_up_proj"] = torch.cat(both, dim=1)
            tensors[f"{mlp}.experts.down_proj"] = state[f"{prefix}.down"]
            tensors[f"{mlp}.gate.weight"] = state[f"{prefix}.router.weight"]
        if config.model_type == "phi3":
            for fused, parts in FUSED.items():
                block = f"model.layers.{layer}.{'mlp' if 'gate' in fused else 'self_attn'}"
                matrices = [tensors.pop(f"{block}.{part}.weight") for part in parts]
                tensors[f"{block}.{fused}.weight"] = torch.cat(matrices)
    return tensors
