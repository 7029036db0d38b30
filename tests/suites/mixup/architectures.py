"""Encoders of many architectures with tiny random weights."""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn

_SIZES: dict[str, Any] = {"vocab_size": 50, "pad_token_id": 0}
_USUAL: dict[str, Any] = {
    **_SIZES, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 40,
}  # fmt: skip
_DEBERTA: dict[str, Any] = {**_USUAL, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]}


def _model(name: str, settings: dict[str, Any], config: str = "") -> Callable[[], Any]:
    def make() -> Any:
        chosen = getattr(transformers, f"{config or name}Config")(**settings)
        return getattr(transformers, f"{name}Model")(chosen)

    return make


def _bart() -> Any:
    config = transformers.BartConfig(
        **_SIZES, d_model=16, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24,
        max_position_embeddings=40,
    )  # fmt: skip
    return transformers.BartModel(config).get_encoder()


_ALL: dict[str, Callable[[], Any]] = {
    "BERT": _model("Bert", _USUAL),
    "MiniLM": _model("Bert", {**_USUAL, "num_hidden_layers": 3}),
    "RoBERTa": _model("Roberta", _USUAL),
    "XLM-R": _model("XLMRoberta", _USUAL),
    "ELECTRA": _model("Electra", {**_USUAL, "embedding_size": 8}),
    "DeBERTa": _model("Deberta", _DEBERTA),
    "DeBERTa-v2": _model("DebertaV2", {**_DEBERTA, "share_att_key": True}),
    "DistilBERT": _model(
        "DistilBert",
        {**_SIZES, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24,
         "max_position_embeddings": 40},
    ),
    "ALBERT": _model("Albert", {**_USUAL, "embedding_size": 8}),
    "MPNet": _model("MPNet", {**_USUAL, "pad_token_id": 1}),
    "ModernBERT": _model(
        "ModernBert",
        {**_USUAL, "global_attn_every_n_layers": 1, "cls_token_id": 1, "sep_token_id": 2,
         "bos_token_id": 1, "eos_token_id": 2},
    ),
    "XLNet": _model("XLNet", {"vocab_size": 50, "d_model": 16, "n_layer": 2, "n_head": 2,
                              "d_inner": 24}),
    "BART": _bart,
    "T5": _model(
        "T5Encoder",
        {**_SIZES, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2},
        "T5",
    ),
}  # fmt: skip

NAMES = tuple(_ALL)
LINEARS = {
    "BERT": 2 * 6 + 1,
    "MiniLM": 3 * 6 + 1,
    "RoBERTa": 2 * 6 + 1,
    "XLM-R": 2 * 6 + 1,
    "ELECTRA": 2 * 6 + 1,
    "DeBERTa": 2 * 6,
    "DeBERTa-v2": 2 * 6,
    "DistilBERT": 2 * 6,
    "ALBERT": 1 + 6 + 1,  # one block for all layers
    "MPNet": 2 * 6 + 1,
    "ModernBERT": 2 * 4,
    "BART": 2 * 6,
    "T5": 2 * 6,
}
"""Linear layers of each; XLNet's attention has none."""
POOLED = ("BERT", "MiniLM", "RoBERTa", "XLM-R", "ALBERT", "MPNet")
"""Those with a pooler."""


def encoder(name: str) -> nn.Module:
    """One of `NAMES`; the same weights every time."""
    torch.manual_seed(0)
    made: nn.Module = _ALL[name]()
    return made.eval()
