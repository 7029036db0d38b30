"""The configuration of every language model of the suite: dense seed, BTX and BAM differ only here.

Source: Zhang et al., "BAM! Just Like That: Simple and Efficient Parameter Upcycling for Mixture of
Experts" (arXiv 2408.08274); Sukhbaatar et al., "Branch-Train-MiX" (arXiv 2403.07816).
"""

from typing import Any, Literal, get_args

from transformers import PreTrainedConfig

from harness.errors import SpecError, unknown

AttentionRouting = Literal["soft", "top1", "top2", "uniform"]
NormKind = Literal["layernorm", "rmsnorm"]
Activation = Literal["silu", "gelu_pytorch_tanh"]


class BamConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Sizes and routing of a `BamForCausalLM`.

    A dense model has one expert of each kind, BTX has many feed-forward experts and one attention
    expert, BAM has many of both. The defaults are a dense model with parallel blocks.

    Raises:
        SpecError: If the values do not go together.
    """

    model_type = "bam"
    keys_to_ignore_at_inference = [  # noqa: RUF012
        "cache", "router_logits", "auxiliary_loss", "load_balancing_loss", "z_loss",
    ]  # fmt: skip

    vocab_size: int = 4096
    hidden_size: int = 128
    intermediate_size: int = 256
    """Width of the hidden layer of SwiGLU: gate and up have this many rows each."""
    hidden_act: Activation = "silu"
    """What the gates of the feed-forward network pass through; Gemma's is `gelu_pytorch_tanh`."""
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    """Heads of one attention expert."""
    num_key_value_heads: int = 0
    """Key and value heads of one attention expert; 0: as many as heads."""
    head_dim: int = 0
    """0: hidden_size / num_attention_heads."""
    max_position_embeddings: int = 2048
    """Longest context that tools should ask for; nothing is allocated for it."""
    rope_theta: float = 10_000.0
    rope_parameters: dict[str, Any] | None = None
    """RoPE scaling in the format of transformers; None: none."""
    rope_interleaved: bool = False
    """Rotate neighbouring channels (Cohere) in place of the two halves of a head (Llama)."""
    norm: NormKind = "layernorm"
    """Scale-only in both cases."""
    norm_eps: float = 1e-5
    norm_offset: float = 0.0
    """What is added to the scales of the norms; 1 in Gemma, whose scales start at 0."""
    parallel_block: bool = True
    """x + attention(norm(x)) + feedforward(norm(x)); False: one after the other, two norms."""
    attention_bias: bool = False
    """Biases of queries, keys and values (Qwen2)."""
    qk_norm: bool = False
    """RMSNorm over the channels of each query and key head (Qwen3)."""
    sliding_window: int | None = None
    """Tokens that a token sees, itself included (Mistral); None: all before it."""
    embedding_multiplier: float = 1.0
    """Factor of the token embeddings; sqrt(hidden_size) in Gemma."""
    logit_scale: float = 1.0
    tie_word_embeddings: bool = False
    initializer_range: float = 0.02
    use_cache: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    num_ffn_experts: int = 1
    ffn_top_k: int = 1
    norm_topk_prob: bool = False
    """Renormalise top-k gates to sum 1, of both routers. False in BAM, True in BTX's paper."""
    num_attention_experts: int = 1
    attention_routing: AttentionRouting = "soft"
    """All experts by their gates; the best one or two; or fixed equal gates without a router."""
    shared_kv: bool = False
    """One key and one value matrix for all attention experts, in place of one each."""
    load_balancing_weight: float = 0.01
    """alpha of Eq. 2; not in the paper; this is Switch's and BTX's."""
    z_loss_weight: float = 0.001
    """beta of Eq. 2; not in the paper; this is ST-MoE's."""
    router_init_std: float = 0.02
    """Standard deviation of the routers' weights at the start."""
    shared_expert_weight: float = 0.0
    """Share of the feed-forward output that one more expert gives, which every token visits; the
    routed experts give the rest. 0: there is none."""
    output_router_logits: bool = False
    """Return the router logits, and add the weighted auxiliary losses to the loss (Mixtral)."""

    family: str = "bam"
    """Family of the dense models that this one is made of; `--format hf` writes it."""

    def __post_init__(self, **kwargs: Any) -> None:
        self.num_key_value_heads = self.num_key_value_heads or self.num_attention_heads
        self.head_dim = self.head_dim or self.hidden_size // self.num_attention_heads
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        self._check()

    @property
    def key_value_experts(self) -> int:
        """How many key and value matrices there are."""
        return 1 if self.shared_kv else self.num_attention_experts

    def _check(self) -> None:
        positive = {
            name: getattr(self, name)
            for name in (
                "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                "num_attention_heads", "num_key_value_heads", "head_dim", "num_ffn_experts",
                "ffn_top_k", "num_attention_experts",
            )
        }  # fmt: skip
        for name, value in positive.items():
            if value < 1:
                raise SpecError(f"BamConfig: {name}={value} must be at least 1")
        weight, window = self.shared_expert_weight, self.sliding_window
        wrong = {
            f"num_attention_heads={self.num_attention_heads} must be a multiple of "
            f"num_key_value_heads={self.num_key_value_heads}": self.num_attention_heads
            % self.num_key_value_heads,
            f"head_dim={self.head_dim} must be even for RoPE": self.head_dim % 2,
            f"ffn_top_k={self.ffn_top_k} must be at most num_ffn_experts={self.num_ffn_experts}": (
                self.ffn_top_k > self.num_ffn_experts
            ),
            f"sliding_window={window} must be at least 1 or None": window is not None
            and window < 1,
            f"norm_offset={self.norm_offset} goes with norm='rmsnorm'": self.norm_offset
            and self.norm != "rmsnorm",
            f"shared_expert_weight={weight} must be at least 0 and below 1": not 0 <= weight < 1,
            f"shared_expert_weight={weight} needs routed experts beside the shared one; "
            f"num_ffn_experts={self.num_ffn_experts}": weight and self.num_ffn_experts < 2,
        }
        for name in ("load_balancing_weight", "z_loss_weight", "router_init_std"):
            value = getattr(self, name)
            wrong[f"{name}={value} must be a number of at least 0"] = not 0 <= value < float("inf")
        for message, is_wrong in wrong.items():
            if is_wrong:
                raise SpecError(f"BamConfig: {message}")
        for name, kind in (
            ("attention_routing", AttentionRouting),
            ("norm", NormKind),
            ("hidden_act", Activation),
        ):
            if (value := getattr(self, name)) not in get_args(kind):
                raise SpecError(unknown(f"{name} of BamConfig", value, get_args(kind)))
