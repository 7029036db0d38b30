"""What the scales, methods and tasks of the suite hand out, with units and ranges."""

import math
from typing import Annotated, Literal

from pydantic import Field

from harness.settings import AdamW, Settings

Pooling = Literal["mean", "cls", "pooler"]
Form = Literal["convex", "code"]
Hypergradient = Literal["finite", "exact", "first-order"]
Differences = Literal["forward", "central"]
Preconditioner = Literal["sgd", "adamw", "adamw-tensor"]


OPTIMIZER = AdamW(weight_decay=0.01, clip=1.0)
"""Of W in finetuning, of an encoder in pretraining."""


class Pretraining(Settings):
    """How long the suite's own encoder is pretrained."""

    steps: int = Field(ge=1)
    """Updates."""
    batch_size: int = Field(ge=1)
    """Texts per update."""


class Generated(Settings):
    """How many generated texts there are."""

    train: int = Field(ge=2)
    """Training examples."""
    test: int = Field(ge=1)
    """Test examples."""


class MixupSettings(Settings):
    """What every scale hands to the methods."""

    encoder: str
    """`minilm-<layers>`, `tiny`, `mlm` or `hub:<name>`; see `suites.mixup.encoder`."""
    pooling: Pooling = "mean"
    """How token vectors become one vector per text."""
    freeze_embeddings: bool = True
    """Whether the word embeddings stay as they are."""
    tokens: int = Field(ge=2)
    """Longest text, tokens; the rest is cut."""
    epochs: int = Field(default=3, ge=1)
    """Passes over the examples in finetuning."""
    batch_size: int = Field(default=16, ge=1)
    """Examples per update."""
    learning_rate: float = Field(gt=0)
    """Peak of W's learning rate, for methods without one of their own."""
    learning_rates: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Method -> peak of its own."""
    alpha_rate: float = Field(default=2e-3, gt=0)
    """Peak of alpha's learning rate, for methods without one of their own; from the released
    code."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of the updates over which the learning rate rises from 0."""
    optimizer: AdamW = OPTIMIZER
    """Of W in finetuning; biases and LayerNorms are not decayed."""
    generated: Generated | None = None
    """Sizes of generated tasks; None: the scale has none."""
    pretraining: Pretraining | None = None
    """Of the encoder `mlm`; None: the scale has none."""


class Encoder(Settings):
    """The artifact `mlm`: a small BERT that the suite pretrains itself."""

    vocabulary: int = Field(default=8000, ge=10)
    """Word pieces."""
    width: int = Field(default=256, ge=1)
    """Features of a token."""
    layers: int = Field(default=4, ge=1)
    """Layers."""
    mlm_tokens: int = Field(default=64, ge=2)
    """Longest text in pretraining, tokens."""
    masked: float = Field(default=0.15, gt=0, lt=1)
    """Share of tokens to predict: of these 80 % are masked, 10 % replaced, 10 % left (BERT)."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak."""
    optimizer: AdamW = OPTIMIZER
    """Of the pretraining."""


class TextTask(Settings):
    """A task: which texts are trained and tested on."""

    train: str
    """Corpus of the training examples; see `suites.mixup.datasets.CORPORA`."""
    test: str
    """Corpus of the test examples."""
    measure: str
    """Score: `accuracy`, `matthews`, `spearman`, ..."""
    n: int | None = Field(default=None, ge=0)
    """Training examples; 0: all; None: the scale says."""
    sampling: Literal["uniform", "stratified"] = "uniform"
    """How they are drawn."""


class Options(Settings):
    """What a finetuning method may be told; each has a type of its own below."""


class VanillaOptions(Options):
    """Plain finetuning."""

    budget: Literal["epochs", "updates", "time"] = "epochs"
    """As long as all methods finetune; as many updates of W as mixup; as many passes as mixup."""
    repeats: int = Field(default=5, ge=1)
    """K of the mixup that is matched."""


class L2SPOptions(Options):
    """Weight decay toward the pretrained weights."""

    strength: float = Field(default=1.0, ge=0)
    """lambda of the penalty lambda/2 |W - W0|^2."""


class TopKOptions(Options):
    """Only the top layers learn."""

    layers: int = Field(default=1, ge=0)
    """K; 0 trains the head alone."""


class MixoutOptions(Options):
    """Dropout toward the pretrained weights."""

    p: float = Field(default=0.5, ge=0, lt=1)
    """Probability of a column to be the pretrained one."""


class R3FOptions(Options):
    """Divergence under noise."""

    strength: float = Field(default=1.0, ge=0)
    """lambda."""
    radius: float = Field(default=1e-5, ge=0)
    """The noise is uniform in [-radius, radius]."""


class RDropOptions(Options):
    """Divergence between two dropout masks."""

    strength: float = Field(default=1.0, ge=0)
    """alpha of its paper."""


class RecAdamOptions(Options):
    """Recall first, learn later."""

    pull: float = Field(default=0.1, ge=0)
    """Learning rate times gamma: the share of the way back to W0 that a step goes."""
    turn: float = Field(default=0.2, ge=0)
    """t0 as a share of all updates."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of Adam's means."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of Adam's mean square."""


class ChildTuningOptions(Options):
    """Only a child network learns."""

    share: float = Field(default=0.3, gt=0, le=1)
    """p, the share of weights that learn."""
    fisher_clip: float = Field(default=1.0, gt=0)
    """Largest norm of a tensor's gradient in the Fisher information; from the released code."""


class ReInitOptions(Options):
    """The top starts from new weights."""

    layers: int = Field(default=1, ge=0)
    """How many layers from the top."""


class DPSOptions(Options):
    """Sub-networks chosen again and again by gradients."""

    p: float = Field(default=0.3, ge=0, lt=1)
    """Share of weights that stage II leaves alone."""
    stage: float = Field(default=0.05, gt=0, le=1)
    """Length of a stage, share of all updates."""
    dropout_from: int = Field(default=2000, ge=0)
    """Updates from which dropout stays on."""
    penalty_from: int = Field(default=50, ge=0)
    """Steps of a stage from which hits are penalised."""


class LoRAOptions(Options):
    """A low-rank change."""

    rank: int = Field(default=8, ge=1)
    """Rank of the change."""
    scale: float = Field(default=8.0, gt=0)
    """`lora_alpha`."""
    pattern: str = r"(query|value|q_lin|v_lin|query_proj|value_proj)$"
    """Found in the names of the linear layers that are adapted."""


class WiSEFTOptions(Options):
    """Between the finetuned model and its start."""

    mix: float = Field(default=0.5, ge=0, le=1)
    """Share of the start; 0.5 is what its paper recommends where nothing is known."""


class EMAOptions(Options):
    """A moving average of the weights."""

    decay: float = Field(default=0.99, ge=0, lt=1)
    """Largest d; at update t it is no larger than (1 + t) / (10 + t)."""


class SAMOptions(Options):
    """The gradient at the highest loss nearby."""

    radius: float = Field(default=0.05, ge=0)
    """rho; from its paper."""


class AlphaOptions(Options):
    """What all methods with mixed weights share."""

    form: Form = "convex"
    """`convex` as published, `code` as released."""
    rank: int = Field(default=1, ge=1)
    """Rank of the attention."""
    std: float = Field(default=0.005, ge=0)
    """Spread of the factors around one at the start; from the released code."""
    pooler: bool = True
    """Whether a pooler is mixed too."""


class JointOptions(AlphaOptions):
    """W and alpha learn together."""

    alpha_rate: float | None = Field(default=None, gt=0)
    """Learning rate of alpha; None: the scale's."""


class SearchOptions(Options):
    """What the search repeats, and how often."""

    repeats: int = Field(default=5, ge=1)
    """K."""
    epochs: float = Field(default=3.0, gt=0)
    """Of the training split, in each repeat."""
    split: float = Field(default=0.8, gt=0, lt=1)
    """Share of the examples that train W."""
    alpha_rate: float | None = Field(default=None, gt=0)
    """Learning rate of alpha; None: the scale's."""
    hypergradient: Hypergradient = "finite"
    """Cross term by finite differences, exactly, or left out."""
    differences: Differences = "forward"
    """Forward or central."""
    radius: float = Field(default=0.01, gt=0)
    """Norm of the shift of W in finite differences; from DARTS."""
    preconditioner: Preconditioner = "adamw-tensor"
    """The step's derivative (`adamw`), or what stands for it: `adamw-tensor` from the released
    code."""
    roll_back: bool = True
    """Whether W's step is repeated with the new alpha."""
    clip: float = Field(default=5.0, gt=0)
    """Largest norm of W's gradient; from the released code."""
    protocol: Literal["standard", "paper-code"] = "standard"
    """`paper-code` repeats the released code's defects."""

    def steps(self, examples: int, batch_size: int) -> int:
        """Bilevel steps of one repeat."""
        return math.ceil(self.epochs * (int(self.split * examples) // batch_size + 1))

    def updates(self, examples: int, batch_size: int, finetuning: int) -> int:
        """Updates of W in all: the repeats and finetuning."""
        return self.repeats * self.steps(examples, batch_size) + finetuning

    def passes(self, examples: int, batch_size: int, finetuning: int) -> int:
        """Forward and backward passes in all, which is what the time goes into."""
        each = passes(self.hypergradient, self.differences, self.roll_back)
        return self.repeats * self.steps(examples, batch_size) * each + finetuning


class MixupOptions(AlphaOptions, SearchOptions):
    """The paper's method: search, averaging, finetuning."""


class AveragingOptions(Options):
    """The repeats without alpha."""

    repeats: int = Field(default=5, ge=1)
    """K."""
    split: float = Field(default=0.8, gt=0, lt=1)
    """Share of the examples that each run trains on."""


class Finetuning(Settings):
    """A method: how the encoder is finetuned."""

    method: str
    """Name in `suites.mixup.finetuning.METHODS`."""
    options: dict[str, object]
    """What it is told, in its own type."""


def passes(kind: Hypergradient, differences: Differences, roll_back: bool) -> int:
    """Forward and backward passes of one bilevel step; `exact` counts its tangents as two more."""
    cross = {"first-order": 0, "exact": 3, "finite": 1 if differences == "forward" else 2}[kind]
    return 2 + cross + roll_back
