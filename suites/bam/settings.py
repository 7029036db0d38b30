"""What the scales, methods and artifacts of the suite hand out, with units and ranges."""

import math
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from harness.settings import AdamW, Schedule, Settings, factor


class ModelSize(Settings):
    """Sizes of the dense model, by the names of transformers."""

    hidden_size: int = Field(ge=1)
    """Width."""
    intermediate_size: int | None = Field(default=None, ge=1)
    """Width of the hidden layer of SwiGLU; None: twice the width, as in the paper's small model."""
    num_hidden_layers: int = Field(ge=1)
    """Layers."""
    num_attention_heads: int = Field(ge=1)
    """Heads of one attention expert."""

    @property
    def sizes(self) -> dict[str, Any]:
        """All of them, as `BamConfig` takes them."""
        return {**self.model_dump(), "intermediate_size": self.inner}

    @property
    def inner(self) -> int:
        """Width of the hidden layer of SwiGLU."""
        return self.intermediate_size or 2 * self.hidden_size


class Routing(Settings):
    """What mixtures add to the loss, and how their routers start."""

    load_balancing_weight: float = Field(default=0.01, ge=0)
    """alpha of Eq. 2; not in the paper: that of Switch and BTX."""
    z_loss_weight: float = Field(default=0.001, ge=0)
    """beta of Eq. 2; not in the paper: that of ST-MoE."""
    router_init_std: float = Field(default=0.02, gt=0)
    """Standard deviation of fresh routers."""


class MixturePhase(Schedule):
    """The mixture phase. With a cooldown one training serves several lengths.

    The rate is then constant until the cooldown, so that a shorter training is a branch of the
    longer one: the same updates, and a cooldown of its own. Source of the schedule: Hu et al.,
    MiniCPM, arXiv 2404.06395, section 4 (warm-up, stable, decay); shape of the cooldown, 1 - sqrt:
    Hägele et al., arXiv 2405.18392, section 3.
    """

    cooldown: float | None = Field(default=None, gt=0, lt=1)
    """Share of the updates, at the end, in which the rate falls to the floor, first fast and then
    slowly; None: it falls from the warm-up on, as `decay` says, and every length is a training of
    its own."""
    halvings: int = Field(default=0, ge=0)
    """Methods that are compared along tokens are also stopped after 1/2, 1/4, ... of the updates:
    so many lengths."""

    @model_validator(mode="after")
    def _warmed_before_the_first_branch(self) -> Self:
        if self.warmup > self.stable(self.shortest) and self.cooldown is not None:
            raise ValueError(
                f"the shortest of {self.halvings} halvings has {self.shortest} updates, whose "
                f"cooldown begins after {self.stable(self.shortest)}: within the warm-up"
            )
        return self

    @property
    def shortest(self) -> int:
        """Updates of the shortest length."""
        return self.halved(self.halvings)

    def halved(self, times: int) -> int:
        """Updates of the phase halved so often."""
        return max(1, self.steps >> times)

    def stable(self, end: int) -> int:
        """Updates of a training of `end` updates that the longest training shares with it."""
        return 0 if self.cooldown is None else end - max(1, round(self.cooldown * end))

    def rate_of(self, step: int, end: int) -> float:
        """Learning rate of update `step`, counted from 0, of a training of `end` updates."""
        if self.cooldown is None:
            return self.peak * factor(
                step, end - 1, self.warmup, decay=self.decay, floor=self.floor
            )
        first = self.stable(end)
        if step < max(first, self.warmup):
            return self.peak * factor(step, end, self.warmup, decay="constant")
        left = 1 - math.sqrt((step + 1 - first) / (end - first))
        return self.peak * (self.floor + (1 - self.floor) * left)


class Phases(Settings):
    """Learning rate and length of each training; None: the scale has no such phase."""

    seed: Schedule | None = None
    """The dense model that experts are copies of."""
    expert: Schedule
    """Each domain expert."""
    dense: Schedule | None = None
    """One dense model on all the experts' data."""
    mixture: MixturePhase
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
    norm_topk_prob: bool | None = None
    """Whether the gates of the chosen feed-forward experts sum to 1; None: the method's own."""
    attention_routing: Literal["soft", "top1", "top2", "uniform"] | None = None
    """Which attention experts count for a token; None: all, by their gates."""
    routers: Literal["random", "means", "ridge"] = "random"
    """How routers begin: drawn, as mean hidden states of each domain's texts, or as the ridge
    regression of the domain on hidden states."""
    trained: Literal["all", "routers", "none"] = "all"
    """What the mixture phase changes."""
    redrawn: float = Field(default=0.0, ge=0, lt=1)
    """Share of each feed-forward expert's hidden units that are drawn again; see
    `suites.bam.model.redraw`."""
    shorter: bool = False
    """Whether it is also kept at the halvings of the phase."""
    matched: bool = False
    """Whether it is also kept where it has cost the FLOPs of BTX."""

    @property
    def options(self) -> dict[str, bool | int | str]:
        """What is chosen differently from the method."""
        chosen = {
            "num_ffn_experts": self.num_ffn_experts,
            "ffn_top_k": self.ffn_top_k,
            "norm_topk_prob": self.norm_topk_prob,
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
    matched: bool = False
    """Whether the artifact is measured where it has cost the FLOPs of BTX."""
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
    halvings: int = Field(default=0, ge=0)
    """How often the mixture phase is halved before the model is measured."""


class Counted(Settings):
    """A task: which of the paper's models is counted."""

    counted: str
    """Name in `suites.bam.counts.PAPER_CONFIGS`."""
