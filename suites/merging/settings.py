"""What the scales, methods and artifacts of the suite hand out, with units and ranges."""

from typing import Annotated, Literal

from pydantic import Field

from harness.settings import AdamW, Settings, factor

Init = Literal["different", "common", "pretrained"]
Extra = Literal["start", "centres", "early-centres", "text"]
Information = Literal["paper", "empirical", "true"]
Hidden = Literal["nothing", "velocities", "joint-velocities"]
SizeName = Literal["standard", "narrow", "multi"]


class Size(Settings):
    """Size of a policy's transformer."""

    width: int = Field(ge=1)
    """Features of a token."""
    layers: int = Field(ge=1)
    """Blocks."""
    heads: int = Field(ge=1)
    """Attention heads."""


class Sizes(Settings):
    """The sizes that policies come in."""

    standard: Size
    """Of every policy but those below."""
    narrow: Size
    """Of policies of half the width."""
    multi: Size
    """Of multi-task policies."""


class Training(Settings):
    """One kind of training: linear warm-up to the learning rate, then what `decay` says."""

    updates: int = Field(ge=1)
    """Updates."""
    batch: int = Field(ge=1)
    """Windows, or pieces of text, per update."""
    lr: float = Field(gt=0)
    """Peak learning rate."""
    warmup: int = Field(default=0, ge=0)
    """Updates over which the learning rate rises from 0."""
    decay: Literal["constant", "cosine"] = "cosine"
    """What the learning rate does after that; `cosine` ends at 0."""
    blocks_decay: float = Field(default=1e-4, ge=0)
    """Weight decay of the blocks; that of the rest is the optimiser's."""

    def rate(self, done: int) -> float:
        """Learning rate of the update after `done` ones."""
        return self.lr * factor(done, self.updates, self.warmup, decay=self.decay)


class Trainings(Settings):
    """Every kind of training of a scale."""

    policy: Training
    """Of a policy on one environment."""
    frozen: Training
    """Of the rest after a backbone was frozen."""
    multitask: Training
    """Of a multi-task policy."""
    finetuned: Training
    """Of a multi-task policy on one environment."""
    language: Training
    """Of the language model."""


class MergeBatches(Settings):
    """Batches from which the statistics of merging are measured."""

    paper: int = Field(ge=1)
    """Fisher information as the released code has it."""
    empirical: int = Field(ge=1)
    """Empirical Fisher information."""
    true: int = Field(ge=1)
    """True Fisher information."""
    grams: int = Field(ge=1)
    """Gram matrices of RegMean."""
    held_out: int = Field(default=10, ge=1)
    """The loss on held-out episodes, by which coefficients and learning rates are chosen."""

    def of(self, use: str) -> int:
        """Those of one use."""
        return int(getattr(self, use))


class Rules(Settings):
    """Coefficients of the rules of merging."""

    scales: tuple[Annotated[float, Field(gt=0)], ...] = (0.1, 0.2, 1 / 3, 0.5, 0.7, 1.0, 1.5)
    """What the merged task vector may be multiplied by, in task arithmetic, TIES, DARE, TSV-M and
    Iso-C; the one with the least behaviour-cloning loss on held-out episodes is taken."""
    ties_density: float = Field(default=0.2, gt=0, le=1)
    """Share of a task vector that TIES keeps."""
    dare_drop: float = Field(default=0.5, ge=0, lt=1)
    """Share of a task vector that DARE drops."""
    fisher_floor: float = Field(default=1e-6, gt=0)
    """Least Fisher information of an element, times the mean."""


class MergingSettings(Settings):
    """What every scale hands to methods and artifacts."""

    version: Literal["v4", "v5"] = "v5"
    """Of gymnasium's environments."""
    source: Literal["shipped", "folder", "d4rl", "minari"] = "shipped"
    """Where data come from: rolled out by the suite's policies or by those of the data folder,
    or read from D4RL or Minari."""
    quality: Literal["expert", "medium", "medium-expert", "medium-replay"] = "expert"
    """Of the data."""
    steps: int = Field(ge=0)
    """Environment steps of a rolled-out dataset; 0 where it is read."""
    held_out: float = Field(default=0.05, gt=0, lt=1)
    """Share of the episodes that nothing is trained on; at least one is held out."""
    text: Literal["manual", "general"] = "manual"
    """What the language model reads: Python's reference manual, which every machine has, or books
    and encyclopedia articles of the data folder."""
    max_steps: int = Field(default=1000, ge=1)
    """Longest episode, environment steps."""
    sizes: Sizes
    """Of policies."""
    context: int = Field(ge=1)
    """Environment steps that a policy sees, three tokens each."""
    dropout: float = Field(ge=0, lt=1)
    """Share of activations dropped in training."""
    activation: Literal["relu", "gelu_new"] = "relu"
    """Of the blocks' MLPs."""
    trainings: Trainings
    """How long and how fast."""
    optimizer: AdamW = AdamW(weight_decay=1e-4, clip=0.25)
    """Of every training; weight decay and clipping are the released code's."""
    start_strength: float = Field(default=1e-4, ge=0)
    """Weight of the L2 regularisation toward the initialisation."""
    centres_strength: float = Field(default=0.1, ge=0)
    """Weight of the k-means term."""
    centres: int = Field(ge=1)
    """Centres of the language model's token embeddings."""
    positions: int = Field(ge=1)
    """Longest piece of text that the language model reads, bytes."""
    text_batch: int = Field(default=2, ge=1)
    """Pieces of text per update of co-training."""
    text_weight: float = Field(default=1.0, ge=0)
    """Weight of the language model's loss in co-training."""
    evaluations: int = Field(ge=1)
    """Evaluations along a watched training."""
    frozen_evaluations: int = Field(ge=1)
    """Evaluations after a backbone was frozen."""
    episodes: int = Field(ge=1)
    """Episodes of an evaluation."""
    points: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Shares of the other policy along a path."""
    rules: Rules = Rules()
    """Coefficients of the rules of merging."""
    merge_batches: MergeBatches
    """Batches from which the statistics of merging are measured."""
    merge_batch: int = Field(default=64, ge=1)
    """Windows of such a batch."""


class Robot(Settings):
    """A task, or an artifact of one environment."""

    environment: str
    """Name in `suites.merging.robots.environments.ENVIRONMENTS`, or of a task of a plugin."""
    hidden: Hidden = "nothing"
    """What of a state the policy is not shown, in training and after: all velocities, or those of
    the joints. A single state then does not say how the robot moves: the policy has to look
    back."""


class Finetuned(Robot):
    """An artifact: a copy of the multi-task policy, fine-tuned at one learning rate."""

    lr: float = Field(gt=0)
    """Peak learning rate, in place of the scale's."""


class Chosen(Robot):
    """An artifact: of several policies of one environment that with the least held-out loss."""

    candidates: tuple[str, ...]
    """Names of their artifacts."""


class OwnRobot(Robot):
    """A task, or the data of one, that a plugin brings."""

    gym: str
    """Gymnasium's identifier, with the module that registers it before a colon."""
    state_dim: int = Field(ge=1)
    """Components of a state."""
    action_dim: int = Field(ge=1)
    """Components of an action."""
    target_return: float
    """What a policy is asked for."""
    random_return: float
    """Scores 0."""
    expert_return: float
    """Scores 100."""


class PolicyOf(Robot):
    """An artifact: a policy of one environment."""

    init: Init
    """Random initialisation of its own, one shared by all, or a language model."""
    extras: tuple[Extra, ...] = ()
    """Further terms of the loss: toward the initialisation, k-means, k-means that fades three times
    as fast, a language model's loss."""
    size: SizeName = "standard"
    """Which of the scale's sizes."""
    watched: bool = False
    """Whether it is evaluated along the way."""


class Multitask(Settings):
    """An artifact: one policy for all environments."""

    forgetful: bool
    """Train the last environment's input and output layers alone, as the released code does."""


class Merge(Settings):
    """A method: which policies, and what is done with them."""

    policies: str
    """Name of the artifacts, with `{}` for the environment."""
    groups: tuple[str, ...] | None = None
    """Groups of parameters that are merged, replaced or interpolated."""
    rule: str | None = None
    """Rule of merging."""
    information: Information | None = None
    """Definition of Fisher information."""
    start: Init | None = None
    """What all policies began as, for rules that look at what has changed since."""
    change: Literal["attention-off", "norm-identity", "random", "other"] | None = None
    """What is taken out or replaced."""
    body: Literal["merged", "random", "other"] | None = None
    """Which backbone is frozen."""
