"""What the paper says and what it leaves open, as data; margins were fixed before any run.

Scores are in points, 100 of which lie between a random policy and D4RL's expert. Ten points are
what a merge may cost where the paper says that it costs little; two are the least that counts as
an improvement of one merge over another.
"""

from harness.check import Active, Converged
from harness.claim import Basis, Beats, Citation, Claim, Competitive, Level, declared
from suites.merging.methods import THREE

LITTLE = 10.0
IMPROVED = 2.0
DESTROYED = -50.0
BASIS = Basis(
    text="100 points lie between a random policy and an expert: ten are a tenth of a policy, two "
    "the scatter of twenty episodes",
    date="2026-11-25",
)
CONTROL = "additional control, not in the paper"

_UNUSED = (
    "at laptop scale these policies hardly need their attention (without it they lose 3.4 points), "
    "so a merge of attention has nothing to lose; to be tested again on tasks that need history"
)
_ONE_MODEL = (
    "one language model, trained once on half a megabyte of text, is behind all five seeds; to be "
    "tested again with one language model per seed"
)
_SHORT = (
    "a third of a policy's updates after freezing (1,000 of 3,000) where the paper has as many, "
    "and the curves still rise; to be tested again with 3,000"
)
_UNTUNED = (
    "one untuned learning rate (2e-3) from an undertrained multi-task policy; to be tested again "
    "with more updates and a sweep of the rate"
)


def claims() -> tuple[Claim, ...]:
    """All claims, then the controls."""
    used = (
        Active(
            method="individual",
            without="attention-off",
            metric="score",
            at_least=LITTLE,
            label="points lost without attention",
        ),
    )
    return declared(
        _all(),
        primary=("attention", "mlp", "pretrained-repairs", "mff", "fisher-paper"),
        additional=("control-*",),
        rests_on=BASIS,
        checks={
            **dict.fromkeys(
                (
                    "attention", "attention-common", "fisher-*", "size-attention",
                    "control-attention-*",
                ),
                used,
            ),
            "mff": (
                Converged(
                    methods=("mff",), series="recovery", within=LITTLE,
                    label="last change of the recovered score",
                ),
            ),
        },
        citations={
            name: Citation(version="arXiv 2303.07551", place=place)
            for name, place in (
                ("attention", "merging subsets of parameters"),
                ("mlp", "merging subsets of parameters"),
                ("pretrained*", "common pretrained initialisation"),
                ("mff", "merge-freeze-finetune"),
                ("fisher-*", "Fisher merging"),
            )
        },
    )  # fmt: skip


def _all() -> tuple[Claim, ...]:
    return (
        _competitive(
            "attention",
            "Averaging the attention of policies with different random initialisations costs less "
            "than 10 points.",
            "average-attn",
            "individual",
            "merging subsets of parameters",
            _UNUSED,
        ),
        _competitive(
            "attention-common",
            "Averaging the attention of policies with a shared random initialisation costs less "
            "than 10 points.",
            "average-attn-common",
            "individual-common",
            "merging subsets of parameters",
            _UNUSED,
        ),
        Level(
            name="mlp",
            text="Averaging the MLPs of policies with different random initialisations destroys "
            "them: each loses more than 50 points.",
            source="merging subsets of parameters",
            metric="retained",
            tasks=THREE,
            a="average-mlp",
            bound=DESTROYED,
            direction="below",
            margin=5.0,
        ),
        _beats(
            "pretrained-repairs",
            "Averaging attention and MLPs works better for policies initialised from one language "
            "model than for policies with different random initialisations.",
            "average-attn-mlp-pretrained",
            "average-attn-mlp",
            LITTLE,
            "common pretrained initialisation",
            caveat=_ONE_MODEL,
        ),
        _competitive(
            "pretrained",
            "Averaging attention and MLPs of policies initialised from one language model costs "
            "less than 10 points.",
            "average-attn-mlp-pretrained",
            "individual-pretrained",
            "common pretrained initialisation",
            _ONE_MODEL,
        ),
        _beats(
            "regularised",
            "L2 regularisation toward the initialisation improves the average of attention and "
            "MLPs.",
            "average-attn-mlp-regularised",
            "average-attn-mlp-pretrained",
            IMPROVED,
            "regularisation toward the initialisation",
            caveat=_ONE_MODEL,
        ),
        _beats(
            "cotrained",
            "Co-training policies on text improves the average of attention and MLPs.",
            "average-attn-mlp-cotrained",
            "average-attn-mlp-pretrained",
            IMPROVED,
            "co-training, workshop version of the paper",
            caveat=_ONE_MODEL,
        ),
        _competitive(
            "mff",
            "Merge, freeze, finetune recovers the score of the individual policies to within 10 "
            "points.",
            "mff",
            "individual",
            "merge-freeze-finetune",
            _SHORT,
        ),
        *(
            _beats(
                f"fisher-{kind}",
                f"Weighting by Fisher information ({kind}) improves the average of attention.",
                f"fisher-{kind}-attn-common",
                "average-attn-common",
                IMPROVED,
                "Fisher merging",
                caveat=_UNUSED,
            )
            for kind in ("paper", "empirical", "true")
        ),
        _beats(
            "multitask",
            "The average of fine-tuned copies of a multi-task policy is better than that policy.",
            "multitask-average",
            "multitask",
            IMPROVED,
            "merging for multi-task policies",
            caveat=_UNTUNED,
        ),
        _beats(
            "multitask-fisher",
            "Weighting by Fisher information improves the average of fine-tuned copies of a "
            "multi-task policy.",
            "multitask-fisher",
            "multitask-average",
            IMPROVED,
            "merging for multi-task policies",
            caveat=_UNTUNED,
        ),
        _beats(
            "size-attention",
            "Policies lose less than policies of half their width when attention is averaged.",
            "average-attn-common",
            "average-attn-narrow",
            IMPROVED,
            "model capacity",
            metric="retained",
            caveat=_UNUSED,
        ),
        _beats(
            "size-body",
            "Policies lose less than policies of half their width when attention and MLPs are "
            "averaged.",
            "average-attn-mlp-common",
            "average-attn-mlp-narrow",
            IMPROVED,
            "model capacity",
            metric="retained",
        ),
        _competitive(
            "attention-off",
            "Leaving out the attention of individual policies costs less than 10 points.",
            "attention-off",
            "individual",
            "analysis of attention",
        ),
        _beats(
            "control-attention-other",
            "A policy with averaged attention is better than one with another task's attention.",
            "average-attn",
            "attention-other",
            IMPROVED,
            caveat=_UNUSED,
        ),
        _beats(
            "control-attention-random",
            "A policy with averaged attention is better than one with random attention.",
            "average-attn",
            "attention-random",
            IMPROVED,
            caveat=_UNUSED,
        ),
        _beats(
            "control-attention-off",
            "A policy with averaged attention is better than one without attention.",
            "average-attn",
            "attention-off",
            IMPROVED,
            caveat=_UNUSED,
        ),
        _beats(
            "control-language",
            "Averaging attention and MLPs works better from one language model than from a shared "
            "random initialisation.",
            "average-attn-mlp-pretrained",
            "average-attn-mlp-common",
            IMPROVED,
            caveat=_ONE_MODEL,
        ),
        _beats(
            "control-frozen-random",
            "Finetuning the rest works better on a merged frozen backbone than on a random one.",
            "mff",
            "frozen-random",
            IMPROVED,
        ),
        _beats(
            "control-frozen-other",
            "Finetuning the rest works better on a merged frozen backbone than on another task's.",
            "mff",
            "frozen-other",
            IMPROVED,
        ),
        _beats(
            "control-aligned",
            "Git Re-Basin alignment of the hidden units improves the average of attention and "
            "MLPs.",
            "aligned-attn-mlp",
            "average-attn-mlp",
            IMPROVED,
        ),
        _beats(
            "control-forgetful",
            "A multi-task policy that trains the input and output layers of every environment is "
            "better than the released code's, which trains those of one.",
            "multitask",
            "multitask-forgetful",
            IMPROVED,
        ),
        _beats(
            "control-finetuned-other",
            "The average of fine-tuned copies of a multi-task policy is better than a copy "
            "fine-tuned on another task.",
            "multitask-average",
            "finetuned-other",
            IMPROVED,
            caveat=_UNTUNED,
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
    caveat: str = "",
) -> Beats:
    return Beats(
        name=name, text=text, source=source, metric=metric, tasks=THREE, a=a, b=b,
        margin=margin, caveat=caveat,
    )  # fmt: skip


def _competitive(
    name: str, text: str, a: str, b: str, source: str, caveat: str = ""
) -> Competitive:
    return Competitive(
        name=name, text=text, source=source, metric="score", tasks=THREE, a=a, b=b,
        margin=LITTLE, caveat=caveat,
    )  # fmt: skip
