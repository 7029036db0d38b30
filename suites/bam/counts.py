"""Parameters and FLOPs of every model in the paper's tables, and the FLOPs that budgets count.

Formulae: section 4.4 and Table 10; published numbers: Tables 4, 7, 8 and 9. Imports no torch.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.suite import Exact, Method, Metric, Task
from suites.bam.settings import Counted

if TYPE_CHECKING:
    from harness.run import Context
    from suites.bam.model.configuration import BamConfig

CONTEXT = 256
"""Tokens of context in the paper's FLOP tables."""

_SMALL: dict[str, Any] = {
    "vocab_size": 256_000,
    "hidden_size": 1024,
    "intermediate_size": 2048,  # the printed 4096 are gate and up together
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "norm": "layernorm",
    "parallel_block": True,
    "tie_word_embeddings": False,
}
_LARGE = _SMALL | {
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 18,
    "num_attention_heads": 18,
    "num_key_value_heads": 6,
    "tie_word_embeddings": True,
}
PAPER_CONFIGS: dict[str, dict[str, Any]] = {
    "dense": _SMALL,
    **{f"btx-{n}": _SMALL | {"num_ffn_experts": n} for n in (4, 5, 6, 7, 8)},
    "btx-6-top3": _SMALL | {"num_ffn_experts": 6, "ffn_top_k": 3},
    "bam": _SMALL | {"num_ffn_experts": 4, "num_attention_experts": 4},
    "bam-shared-kv": _SMALL | {"num_ffn_experts": 4, "num_attention_experts": 4, "shared_kv": True},
    "dense-2b": _LARGE,
}
"""Arguments of `BamConfig` for the models of Tables 4, 7, 8 and 9."""

COUNTS: dict[str, dict[str, int]] = {
    "dense": {"parameters-total": 587_209_728, "parameters-active": 587_209_728},
    "btx-4": {
        "parameters-total": 700_480_512,
        "parameters-active": 587_234_304,
        "flops-layer": 21_504_000,
        "flops-attention": 8_912_896,
        "flops-ffn": 12_582_912,
    },
    "btx-5": {"parameters-total": 738_235_392, "parameters-active": 587_240_448},
    "btx-6": {"parameters-total": 775_990_272, "parameters-active": 587_246_592},
    "btx-7": {"parameters-total": 813_745_152, "parameters-active": 587_252_736},
    "btx-8": {"parameters-total": 851_500_032, "parameters-active": 587_258_880},
    "btx-6-top3": {
        "parameters-total": 775_990_272,
        "parameters-active": 662_744_064,
        "flops-layer": 46_673_920,
        "flops-attention": 8_912_896,
        "flops-ffn": 37_748_736,
    },
    "bam": {
        "parameters-total": 776_002_560,
        "parameters-active": 662_756_352,
        "flops-layer": 48_250_880,
        "flops-attention": 35_651_584,
        "flops-ffn": 12_582_912,
    },
    "bam-shared-kv": {
        "parameters-total": 738_253_824,
        "parameters-active": 625_007_616,
        "flops-attention": 23_068_672,
    },
    "dense-2b": {"parameters-total": 1_991_289_600},
}
"""What the paper's dimensions give by hand; equal to its published numbers but for `DEFECTS`."""

DEFECTS = (
    "Table 9 counts one of BAM's two routers in the active parameters: it prints 662,731,776 for "
    "662,756,352, and the same number for BTX top-3 of 6, where 662,744,064 is right.",
    "Table 9 prints 612,400,128 active parameters for BAM with shared keys and values: its "
    "queries, keys and values are counted as 4,194,304 a layer, but four query matrices, one of "
    "keys and one of values are 6,291,456, which its own total needs; right is 625,007,616.",
    "Table 9 prints 700,480,512 parameters for BTX top-3 of 6, Table 7 prints 776M; right is "
    "775,990,272.",
    "Table 7 prints 12,589,056 FLOPs for one FFN expert and 37,767,168 for three; the formula of "
    "Table 10 gives 12,582,912 and 37,748,736, and totals of 48,250,880 (BAM), 21,504,000 (BTX) "
    "and 46,673,920 (BTX top-3 of 6) for the printed 48,257,024, 21,510,144 and 46,692,352.",
    "Table 4 cuts 813.7M and 851.5M off to 813M and 851M, and rounds the others.",
    "Table 10 counts keys and values as if every head had its own; grouped heads are counted as "
    "they are here, which changes nothing in the small models.",
)
"""The paper's slips; the claims of exact counts are about the corrected numbers."""

METRICS = ("parameters-total", "parameters-active", "flops-layer", "flops-attention", "flops-ffn")
"""What every `count-<model>` task reports; FLOPs are per token and layer, forward."""


class Flops(NamedTuple):
    """Floating-point operations of one layer for one token, forward; a multiply-add is two."""

    attention: int
    """Projections and scores of all attention experts that are computed."""
    ffn: int
    """The FFN experts that the token is sent to."""
    routers: int

    @property
    def total(self) -> int:
        """All three."""
        return self.attention + self.ffn + self.routers


def parameters(config: "BamConfig") -> tuple[int, int]:
    """Total and active parameters, counted on a model without storage.

    Active are those that one token's computation reads: of the FFN experts `ffn_top_k`, of the
    attention experts all that are computed.
    """
    import torch

    from suites.bam.model.causal_lm import BamForCausalLM

    with torch.device("meta"):
        model = BamForCausalLM(config)
    ffn = (config.ffn_top_k, config.num_ffn_experts)
    attention = (_attention_experts(config), config.num_attention_experts)
    total = active = 0
    for name, parameter in model.named_parameters():
        count = parameter.numel()
        total += count
        if ".feedforward." in name and ".router." not in name and ".shared." not in name:
            count = count * ffn[0] // ffn[1]
        elif ".attention.q." in name or ".attention.o." in name:
            count = count * attention[0] // attention[1]
        active += count
    return total, active


def flops_per_token(config: "BamConfig", context: int) -> Flops:
    """FLOPs of one layer for one token, forward (Table 10).

    Keys and values are computed by every attention expert that has its own, routed to or not: the
    tokens that follow may be. The table counts scores over the whole context, though the mask
    hides half of them, and leaves out their product with the values; so does this.

    Args:
        config: of any dense model or mixture.
        context: tokens that queries see.
    """
    d, experts = config.hidden_size, config.num_attention_experts
    computed = _attention_experts(config)
    of_keys = 1 if config.shared_kv else experts
    width = config.num_attention_heads * config.head_dim
    narrow = config.num_key_value_heads * config.head_dim
    attention = computed * (4 * d * width + 2 * context * width) + of_keys * 4 * d * narrow
    visited = config.ffn_top_k + (1 if config.shared_expert_weight else 0)
    ffn = 3 * visited * d * 2 * config.intermediate_size
    routed = [config.num_ffn_experts, 0 if config.attention_routing == "uniform" else experts]
    return Flops(attention, ffn, sum(2 * n * d for n in routed if n > 1))


def training_flops(config: "BamConfig", context: int) -> int:
    """FLOPs of training on one token: three times the forward pass of all layers and the output.

    The output product is not in the paper's table. It is counted here because small models spend
    much of their time in it, and budgets are to be of whole models.
    """
    layers = config.num_hidden_layers * flops_per_token(config, context).total
    return 3 * (layers + 2 * config.hidden_size * config.vocab_size)


def run(ctx: "Context") -> dict[str, float]:
    """Counts the model that the task names; a method function."""
    from suites.bam.model.configuration import BamConfig

    config = BamConfig(**PAPER_CONFIGS[ctx.settings(Counted).counted])
    total, active = parameters(config)
    flops = flops_per_token(config, CONTEXT)
    ctx.count(parameters=total)
    counted = (total, active, flops.total, flops.attention, flops.ffn)
    return dict(zip(METRICS, map(float, counted), strict=True))


def method() -> Method:
    """The method that counts."""
    return Method(
        name="counts",
        run="suites.bam.counts:run",
        seeds="none",
        label="counted",
        kind="control",
        note="Counts the paper's models on the meta device; trains nothing.",
    )


def tasks() -> tuple[Task, ...]:
    """One task per model, `count-<model>`."""
    return tuple(
        Task(
            name=f"count-{model}",
            label=model,
            params=Counted(counted=model).plain(),
            metrics=METRICS,
        )
        for model in PAPER_CONFIGS
    )


def metrics() -> tuple[Metric, ...]:
    """Their metrics."""
    labels = {
        "parameters-total": "parameters",
        "parameters-active": "active parameters",
        "flops-layer": "FLOPs per token and layer",
        "flops-attention": "of these attention",
        "flops-ffn": "of these FFN experts",
    }
    return tuple(
        Metric(
            name=name, label=label, unit="", better="neither", split="none", select="none", digits=0
        )
        for name, label in labels.items()
    )


def claims() -> tuple[Exact, ...]:
    """Every expected count as a claim."""
    return tuple(
        Exact(
            name=f"{name}-{model}",
            text=f"{_WORDS[name]} of {model} are {value:,}.",
            source=_SOURCES[name],
            metric=name,
            tasks=(f"count-{model}",),
            a="counts",
            value=value,
        )
        for model, counts in COUNTS.items()
        for name, value in counts.items()
    )


_WORDS: Mapping[str, str] = {
    "parameters-total": "The parameters",
    "parameters-active": "The active parameters",
    "flops-layer": "The FLOPs per token and layer",
    "flops-attention": "The FLOPs of attention per token and layer",
    "flops-ffn": "The FLOPs of the FFN experts per token and layer",
}
_SOURCES: Mapping[str, str] = {
    "parameters-total": "Tables 4, 8 and 9, corrected where the suite lists a slip",
    "parameters-active": "Tables 4 and 9, corrected where the suite lists a slip",
    "flops-layer": "Table 7, by the formulae of Table 10",
    "flops-attention": "Table 7",
    "flops-ffn": "Table 7, by the formulae of Table 10",
}


def _attention_experts(config: "BamConfig") -> int:
    """Attention experts whose output a token needs."""
    routed = {"top1": 1, "top2": 2}
    return min(
        routed.get(config.attention_routing, config.num_attention_experts),
        config.num_attention_experts,
    )
