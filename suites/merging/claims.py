"""What the paper says and what it leaves open, as data; margins were fixed before any run.

Scores are in points, 100 of which lie between a random policy and D4RL's expert. Ten points are
what "costs little" may cost; two are the least that counts as an improvement of one merge over
another.
"""

from harness.suite import Beats, Claim, Competitive, Level
from suites.merging.methods import THREE

LITTLE = 10.0
IMPROVED = 2.0
CONTROL = "control: no paper prints it"


def claims() -> tuple[Claim, ...]:
    """All claims, then the controls."""
    return (
        _competitive(
            "attention",
            "Averaging only the attention of three differently initialised policies costs little.",
            "average-attn",
            "individual",
            "merging subsets of parameters",
        ),
        _competitive(
            "attention-common",
            "Nor does it cost much when they started from one random body.",
            "average-attn-common",
            "individual-common",
            "merging subsets of parameters",
        ),
        Level(
            name="mlp",
            text="Averaging the MLPs of differently initialised policies destroys them.",
            source="merging subsets of parameters",
            metric="score",
            tasks=THREE,
            a="average-mlp",
            bound=25.0,
            direction="below",
            margin=5.0,
        ),
        _beats(
            "pretrained-repairs",
            "Attention and MLPs merge better when all policies started from a language model.",
            "average-attn-mlp-pretrained",
            "average-attn-mlp",
            LITTLE,
            "common pretrained initialisation",
        ),
        _competitive(
            "pretrained",
            "After that start, averaging attention and MLPs costs little.",
            "average-attn-mlp-pretrained",
            "individual-pretrained",
            "common pretrained initialisation",
        ),
        _beats(
            "regularised",
            "Pulling the training toward its start makes policies merge better.",
            "average-attn-mlp-regularised",
            "average-attn-mlp-pretrained",
            IMPROVED,
            "regularisation toward the initialisation",
        ),
        _beats(
            "cotrained",
            "Co-training on text makes policies merge better.",
            "average-attn-mlp-cotrained",
            "average-attn-mlp-pretrained",
            IMPROVED,
            "co-training, workshop version of the paper",
        ),
        _competitive(
            "mff",
            "Merge, freeze, finetune recovers the individual score.",
            "mff",
            "individual",
            "merge-freeze-finetune",
        ),
        *(
            _beats(
                f"fisher-{kind}",
                f"Weights by Fisher information ({kind}) merge attention better than equal ones.",
                f"fisher-{kind}-attn-common",
                "average-attn-common",
                IMPROVED,
                "Fisher merging",
            )
            for kind in ("paper", "empirical", "true")
        ),
        _beats(
            "multitask",
            "Merging fine-tuned copies of a multi-task policy improves it.",
            "multitask-average",
            "multitask",
            IMPROVED,
            "merging for multi-task policies",
        ),
        _beats(
            "multitask-fisher",
            "There, too, Fisher information merges better than equal weights.",
            "multitask-fisher",
            "multitask-average",
            IMPROVED,
            "merging for multi-task policies",
        ),
        _beats(
            "size-attention",
            "Wider bodies lose less when their attention is averaged.",
            "average-attn-common",
            "average-attn-narrow",
            IMPROVED,
            "model capacity",
            metric="retained",
        ),
        _beats(
            "size-body",
            "Wider bodies lose less when attention and MLPs are averaged.",
            "average-attn-mlp-common",
            "average-attn-mlp-narrow",
            IMPROVED,
            "model capacity",
            metric="retained",
        ),
        _competitive(
            "attention-off",
            "Policies hardly need their attention: leaving it out costs little.",
            "attention-off",
            "individual",
            "analysis of attention",
        ),
        _beats(
            "control-attention-other",
            "Averaged attention is better than another task's attention.",
            "average-attn",
            "attention-other",
            IMPROVED,
        ),
        _beats(
            "control-attention-random",
            "Averaged attention is better than random attention.",
            "average-attn",
            "attention-random",
            IMPROVED,
        ),
        _beats(
            "control-attention-off",
            "Averaged attention is better than none.",
            "average-attn",
            "attention-off",
            IMPROVED,
        ),
        _beats(
            "control-language",
            "A language model is a better start for merging than one random body for all.",
            "average-attn-mlp-pretrained",
            "average-attn-mlp-common",
            IMPROVED,
        ),
        _beats(
            "control-frozen-random",
            "A merged frozen body is better than a random frozen body.",
            "mff",
            "frozen-random",
            IMPROVED,
        ),
        _beats(
            "control-frozen-other",
            "A merged frozen body is better than another task's frozen body.",
            "mff",
            "frozen-other",
            IMPROVED,
        ),
        _beats(
            "control-aligned",
            "Permuting hidden units into agreement repairs the average of attention and MLPs.",
            "aligned-attn-mlp",
            "average-attn-mlp",
            IMPROVED,
        ),
        _beats(
            "control-forgetful",
            "Training every environment's input and output layers beats the released code's one.",
            "multitask",
            "multitask-forgetful",
            IMPROVED,
        ),
        _beats(
            "control-finetuned-other",
            "The merged body is better than one fine-tuned on another task.",
            "multitask-average",
            "finetuned-other",
            IMPROVED,
        ),
    )


def _beats(
    name: str,
    text: str,
    a: str,
    b: str,
    margin: float,
    source: str = CONTROL,
    metric: str = "score",
) -> Beats:
    return Beats(
        name=name, text=text, source=source, metric=metric, tasks=THREE, a=a, b=b,
        margin=margin,
    )  # fmt: skip


def _competitive(name: str, text: str, a: str, b: str, source: str) -> Competitive:
    return Competitive(
        name=name, text=text, source=source, metric="score", tasks=THREE, a=a, b=b,
        margin=LITTLE,
    )  # fmt: skip
