"""What the scales, methods and artifacts of the suite hand out, with units and ranges."""

from typing import Literal, Self

from pydantic import Field, model_validator

from harness.settings import AdamW, Schedule, Settings


class ModelSize(Settings):
    """Sizes of the dense model, by the names of transformers."""

    hidden_size: int = Field(ge=1)
    """Width."""
    intermediate_size: int = Field(ge=1)
    """Width of the hidden layer of SwiGLU."""
    num_hidden_layers: int = Field(ge=1)
    """Layers."""
    num_attention_heads: int = Field(ge=1)
    """Heads of one attention expert."""


class Routing(Settings):
    """What mixtures add to the loss, and how their routers start."""

    load_balancing_weight: float = Field(default=0.01, ge=0)
    """alpha of Eq. 2; not in the paper: that of Switch and BTX."""
    z_loss_weight: float = Field(default=0.001, ge=0)
    """beta of Eq. 2; not in the paper: that of ST-MoE."""
    router_init_std: float = Field(default=0.02, gt=0)
    """Standard deviation of fresh routers."""


class Phases(Settings):
    """Learning rate and length of each training; None: the scale has no such phase."""

    seed: Schedule | None = None
    """The dense model that experts are copies of."""
    expert: Schedule
    """Each domain expert."""
    dense: Schedule | None = None
    """One dense model on all the experts' data."""
    mixture: Schedule
    """Each mixture; with a compute-matched budget fewer updates."""


class Evaluation(Settings):
    """How models are measured."""

    tokens: int = Field(ge=1)
    """Held-out tokens of each domain, about."""
    document: int = Field(default=512, ge=1)
    """Held-out tokens of one document at most."""
    batch: int = Field(default=32, ge=1)
    """Sequences at once."""
    questions: int | None = Field(default=100, ge=1)
    """Items of each downstream benchmark; None: all."""
    shots: int | None = Field(default=0, ge=0)
    """Examples in a prompt; None: as many as the benchmark says."""


OPTIMIZER = AdamW(betas=(0.9, 0.95), weight_decay=0.1, clip=1.0)
"""Betas and clipping are not in the paper: the usual ones."""


class BamSettings(Settings):
    """What every scale hands to methods and artifacts."""

    model: ModelSize | None
    """Sizes of the seed that the suite trains; None: the seed is a published model."""
    vocabulary: int | None = Field(ge=257)
    """Tokens of the tokenizer that the suite trains; None: the published model has its own."""
    characters: int = Field(ge=1)
    """Text of each domain, characters at most."""
    held_out: float = Field(default=0.05, gt=0, lt=1)
    """Share of the documents that are never trained on."""
    context: int = Field(ge=1)
    """Tokens per sequence."""
    batch: int = Field(ge=1)
    """Sequences per update."""
    micro_batch: int = Field(ge=1)
    """Sequences at once; gradients add up over an update."""
    compile: bool = False
    """Whether a GPU trains a compiled model."""
    phases: Phases
    """The trainings."""
    optimizer: AdamW = OPTIMIZER
    """Of every training."""
    routing: Routing = Routing()
    """Of every mixture."""
    evaluation: Evaluation
    """Of every model."""

    @model_validator(mode="after")
    def _seed_is_trained_or_published(self) -> Self:
        trained = [
            self.model is not None,
            self.vocabulary is not None,
            self.phases.seed is not None,
        ]
        if len(set(trained)) > 1:
            raise ValueError(
                "model, vocabulary and phases.seed are given together, or all are None"
            )
        return self


Shares = dict[str, float]
"""Domain -> share of the training sequences."""


class Continued(Settings):
    """An artifact that goes on training the seed."""

    phase: Literal["expert", "dense"]
    """Which of the scale's phases."""
    weights: Shares
    """Share of each domain in its data."""


class Mixture(Settings):
    """An artifact that is made of dense models and trained on."""

    method: Literal["bam", "bam-shared-kv", "btx", "average", "sparse"]
    """How; see `suites.bam.model.upcycle`."""
    parts: Literal["experts", "dense"] = "experts"
    """Made of the experts and the seed, or of the one dense model."""
    budget: Literal["data", "compute"] = "data"
    """Equal updates to BTX, or as many as cost the FLOPs of BTX."""
    weights: Shares
    """Share of each domain in its data."""
    num_ffn_experts: int | None = Field(default=None, ge=1)
    """Feed-forward experts beyond the parts are copies of the seed's; None: one for each part."""
    ffn_top_k: int | None = Field(default=None, ge=1)
    """Feed-forward experts per token; None: the method's own number."""
    attention_routing: Literal["soft", "top1", "top2", "uniform"] | None = None
    """Which attention experts count for a token; None: all, by their gates."""

    @property
    def options(self) -> dict[str, int | str]:
        """What is chosen differently from the method."""
        chosen = {
            "num_ffn_experts": self.num_ffn_experts,
            "ffn_top_k": self.ffn_top_k,
            "attention_routing": self.attention_routing,
        }
        return {name: value for name, value in chosen.items() if value is not None}


class Seed(Settings):
    """The artifact that is the dense seed."""

    weights: Shares
    """Share of each domain in its data."""


class Model(Settings):
    """A method: which trained model is measured."""

    artifact: str
    """Its artifact, or `ensemble`."""
    top_k: int = Field(default=2, ge=1)
    """Experts of the ensemble that vote on a token."""


class Measured(Settings):
    """A task: what is measured."""

    domains: tuple[str, ...] = ()
    """Perplexity on held-out documents of these."""
    group: str | None = None
    """Accuracy on this group of downstream benchmarks."""
    cost: bool = False
    """What the last phase of training took."""


class Counted(Settings):
    """A task: which of the paper's models is counted."""

    counted: str
    """Name in `suites.bam.counts.PAPER_CONFIGS`."""
