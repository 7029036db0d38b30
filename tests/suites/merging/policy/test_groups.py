"""Which names belong to which group, for this suite's policies and for the usual transformers."""

import pytest
import torch

from harness.errors import SpecError
from suites.merging.policy.groups import GROUPS, matches, select

POLICY = {
    "embed_return.weight": None,
    "embed_state.bias": None,
    "embed_action.weight": None,
    "embed_norm.weight": None,
    "embed_time.weight": None,
    "blocks.0.ln_1.weight": "ln",
    "blocks.0.attn.qkv.weight": "attn",
    "blocks.0.attn.qkv.bias": "attn",
    "blocks.0.attn.proj.weight": "attn",
    "blocks.0.ln_2.bias": "ln",
    "blocks.11.mlp.up.weight": "mlp",
    "blocks.11.mlp.down.bias": "mlp",
    "ln_f.weight": None,
    "predict_action.weight": None,
}
TRANSFORMERS = {
    "transformer.wte.weight": None,
    "transformer.h.3.attn.c_attn.weight": "attn",
    "transformer.h.3.attn.c_proj.bias": "attn",
    "transformer.h.3.mlp.c_fc.weight": "mlp",
    "transformer.h.3.mlp.c_proj.weight": "mlp",
    "transformer.h.3.ln_1.weight": "ln",
    "transformer.ln_f.weight": None,
    "encoder.h.0.attn.c_attn.weight": "attn",
    "model.embed_tokens.weight": None,
    "model.layers.10.self_attn.q_proj.weight": "attn",
    "model.layers.10.self_attn.q_norm.weight": "ln",
    "model.layers.10.mlp.gate_proj.weight": "mlp",
    "model.layers.10.input_layernorm.weight": "ln",
    "model.layers.10.post_attention_layernorm.weight": "ln",
    "model.norm.weight": None,
    "lm_head.weight": None,
    "model.decoder.layers.1.fc1.weight": "mlp",
    "model.decoder.layers.1.final_layer_norm.weight": "ln",
    "bert.embeddings.LayerNorm.weight": None,
    "bert.encoder.layer.0.attention.self.query.weight": "attn",
    "bert.encoder.layer.0.attention.output.dense.weight": "attn",
    "bert.encoder.layer.0.attention.output.LayerNorm.weight": "ln",
    "bert.encoder.layer.0.intermediate.dense.weight": "mlp",
    "bert.encoder.layer.0.output.dense.weight": "mlp",
    "bert.encoder.layer.0.output.LayerNorm.bias": "ln",
    "encoder.block.0.layer.0.SelfAttention.q.weight": "attn",
    "encoder.block.0.layer.1.DenseReluDense.wi.weight": "mlp",
    "layers.0.self_attn.in_proj_weight": "attn",
    "layers.0.linear1.weight": "mlp",
    "layers.0.norm1.weight": "ln",
    "gpt_neox.layers.0.attention.query_key_value.weight": "attn",
    "gpt_neox.layers.0.mlp.dense_h_to_4h.weight": "mlp",
}


@pytest.mark.parametrize(("key", "part"), (POLICY | TRANSFORMERS).items())
def test_every_name_is_in_its_groups_and_in_no_other(key: str, part: str | None) -> None:
    found = {group for group in GROUPS if matches(key, [group])}
    assert found == ({"all"} if part is None else {"all", "blocks", part})


def test_select_keeps_the_order_and_leaves_masks_out() -> None:
    state = {key: torch.zeros(1) for key in POLICY}
    state["blocks.0.attn.bias"] = torch.ones(2, 2, dtype=torch.uint8)  # GPT-2's causal mask
    assert select(state, ["mlp", "ln"]) == [
        k for k, part in POLICY.items() if part in {"mlp", "ln"}
    ]
    assert select(state, ["all"]) == list(POLICY)
    assert select(state, ["blocks"]) == select(state, ["ln", "attn", "mlp"])
    assert select(state, ["embed_*", "attn"]) == [
        k for k, part in POLICY.items() if k.startswith("embed_") or part == "attn"
    ]


def test_a_group_that_does_not_exist_is_one_line() -> None:
    with pytest.raises(SpecError, match=r"^unknown group 'atn': did you mean 'attn'. .*$"):
        matches("blocks.0.attn.qkv.weight", ["atn"])


def test_a_group_that_holds_nothing_is_one_line() -> None:
    state = {"embed_time.weight": torch.zeros(2), "blocks.0.attn.mask": torch.ones(1).bool()}
    with pytest.raises(SpecError, match=r"^group 'attn' holds none of the 1 floating tensors"):
        select(state, ["all", "attn"])
