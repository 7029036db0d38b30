"""What the paper says and what it leaves open, as data; margins were fixed before any reported run.

Scores are in points, 100 of which lie between a random policy and D4RL's expert. Ten points are
what a merge may cost where the paper says that it costs little; two are the least that counts as
an improvement of one merge over another. What is left of a policy is in percent of its own score.

Primary claims are judged where policies are not shown velocities, so that they need their
attention; the same claims on the paper's own tasks are secondary.
"""

from collections.abc import Iterator

from harness.check import Active, Check, Converged, Floor
from harness.claim import Basis, Beats, Citation, Claim, Competitive, Level, declared
from suites.merging.methods import BLIND, NEEDED, THREE

LITTLE = 10.0
IMPROVED = 2.0
HALF = 50.0
ABLE = 50.0
"""Least score of an individual policy, of which something can be lost."""
STEADY = 0.05
"""Most that the held-out loss may still change, as a share of the last one."""
BASIS = Basis(
    text="100 points lie between a random policy and an expert: ten are a tenth of a policy, two "
    "the scatter of twenty episodes; the protocol was chosen on pilots with seeds 1000 and above",
    date="2026-11-29",
)
VERSION = 2
"""Of every claim: the protocol of 2026-11-29, with episodes held out and longer trainings."""
CONTROL = "additional control, not in the paper"
PRIMARY = ("attention", "attention-other", "mlp", "pretrained-repairs", "mff")
RULES = {
    "regmean-attn": "RegMean",
    "regmean-plus-attn": "RegMean++",
    "aligned-attn": "Git Re-Basin alignment",
    "fisher-paper-attn": "weighting by Fisher information",
    "fisher-paper-attn-pretrained": "weighting by Fisher information, from one language model,",
    "regmean-attn-pretrained": "RegMean, from one language model,",
    "regmean-plus-attn-pretrained": "RegMean++, from one language model,",
    "task-arithmetic-attn-pretrained": "task arithmetic, from one language model,",
    "ties-attn-pretrained": "TIES, from one language model,",
    "dare-attn-pretrained": "DARE, from one language model,",
    "tsv-m-attn-pretrained": "TSV-M, from one language model,",
    "iso-c-attn-pretrained": "Iso-C, from one language model,",
    "slerp-attn-pretrained": "SLERP, from one language model,",
}
"""Rules that might save the average of attention where it is needed."""


def claims() -> tuple[Claim, ...]:
    """All claims, then the controls."""
    used = _used(BLIND, NEEDED)
    found = declared(
        (*_hidden(), *_shown()),
        primary=tuple(f"hidden-{name}" for name in PRIMARY),
        additional=("control-*", "hidden-control-*"),
        rests_on=BASIS,
        checks={
            **dict.fromkeys(
                (
                    *("attention", "attention-common", "fisher-*", "size-attention"),
                    "control-attention-*",
                ),
                _used("", THREE),
            ),
            "hidden-*": _able(f"{BLIND}individual"),
            "hidden-*pretrained*": _able(f"{BLIND}individual-pretrained"),
            "hidden-*attention*": used,
            "hidden-rule-*": used,
            "hidden-mff": (_steady("hidden-mff"),),
            "mff": (_steady("mff"),),
        },
        citations={
            name: Citation(version=version, place=place)
            for name, version, place in (
                ("*attention-other", "released code", "--disable_attention, --copy_include"),
                ("*attention*", "arXiv 2303.07551", "merging subsets of parameters"),
                ("*mlp", "arXiv 2303.07551", "merging subsets of parameters"),
                ("*pretrained*", "arXiv 2303.07551", "common pretrained initialisation"),
                ("*mff", "arXiv 2303.07551", "merge-freeze-finetune"),
                ("fisher-*", "arXiv 2303.07551", "Fisher merging"),
            )
        },
    )
    return tuple(claim.model_copy(update={"version": VERSION}) for claim in found)


def _used(family: str, tasks: tuple[str, ...]) -> tuple[Check, ...]:
    """Without attention the individual policies lose what a merge may cost, on every task."""
    return tuple(
        Active(
            method=f"{family}individual",
            without=f"{family}attention-off",
            metric="score",
            at_least=LITTLE,
            label=f"points lost without attention on {task}",
            tasks=(task,),
        )
        for task in tasks
    )


def _able(individual: str) -> tuple[Check, ...]:
    """Individual policies have learnt their task, and their training has come to rest."""
    return (
        Floor(method=individual, metric="score", bound=ABLE, label=f"score of {individual}"),
        _steady(individual),
    )


def _steady(method: str) -> Check:
    return Converged(
        methods=(method,),
        series="held-out",
        within=STEADY,
        label=f"last change of the held-out loss of {method}, as a share of it",
    )


def _hidden() -> Iterator[Claim]:
    """Where policies need their attention: the primary claims, and rules that might save it."""
    yield _blind_competitive(
        "attention",
        "Where attention is needed (velocities hidden), averaging that of policies with "
        "different random initialisations costs less than 10 points.",
        "average-attn",
        "merging subsets of parameters",
    )
    yield _blind_competitive(
        "attention-other",
        "Where attention is needed (velocities hidden), another robot's attention costs a "
        "policy less than 10 points: attention is interchangeable.",
        "attention-other",
        "analysis of attention",
    )
    yield _destroyed("hidden-mlp", "hidden-average-mlp", ", velocities hidden", NEEDED)
    yield _repaired("hidden-pretrained-repairs", BLIND, ", velocities hidden", NEEDED)
    yield _blind_competitive(
        "mff",
        "Merge, freeze, finetune recovers the score of the individual policies to within 10 "
        "points, velocities hidden.",
        "mff",
        "merge-freeze-finetune",
    )
    for start in ("common", "pretrained"):
        yield _blind_competitive(
            f"attention-{start}",
            "Where attention is needed (velocities hidden), averaging that of "
            f"policies that start from {_START[start]} costs less than 10 points.",
            f"average-attn-{start}",
            "merging subsets of parameters",
            f"individual-{start}",
        )
    for rule, words in RULES.items():
        yield _blind_competitive(
            f"rule-{rule}",
            f"Where attention is needed (velocities hidden), merging it by {words} costs "
            "less than 10 points.",
            rule,
            CONTROL,
            "individual-pretrained" if rule.endswith("-pretrained") else "individual",
        )
    yield _blind_competitive(
        "control-attention-ensemble",
        "Where velocities are hidden, averaging the actions of policies with each robot's "
        "attention in turn costs less than 10 points.",
        "ensemble-attn",
        CONTROL,
    )
    for name, words in (("random", "random attention"), ("off", "no attention")):
        yield _beats(
            f"hidden-control-attention-{name}",
            f"Where velocities are hidden, averaged attention is better than {words}.",
            "hidden-average-attn",
            f"hidden-attention-{name}",
            IMPROVED,
            tasks=NEEDED,
        )
    for name, words in (("random", "a random one"), ("other", "another robot's")):
        yield _beats(
            f"hidden-control-frozen-{name}",
            "Where velocities are hidden, finetuning the rest works better on a merged "
            f"frozen backbone than on {words}.",
            "hidden-mff",
            f"hidden-frozen-{name}",
            IMPROVED,
            tasks=NEEDED,
        )


_START = {"common": "a shared random initialisation", "pretrained": "one language model"}


def _shown() -> tuple[Claim, ...]:
    """On the paper's own tasks, where a single state says all."""
    return (
        _competitive(
            "attention",
            "Averaging the attention of policies with different random initialisations costs less "
            "than 10 points.",
            "average-attn",
            "individual",
            "merging subsets of parameters",
        ),
        _competitive(
            "attention-common",
            "Averaging the attention of policies with a shared random initialisation costs less "
            "than 10 points.",
            "average-attn-common",
            "individual-common",
            "merging subsets of parameters",
        ),
        _destroyed("mlp", "average-mlp", "", THREE),
        _repaired("pretrained-repairs", "", "", THREE),
        _competitive(
            "pretrained",
            "Averaging attention and MLPs of policies initialised from one language model costs "
            "less than 10 points.",
            "average-attn-mlp-pretrained",
            "individual-pretrained",
            "common pretrained initialisation",
        ),
        _beats(
            "regularised",
            "L2 regularisation toward the initialisation improves the average of attention and "
            "MLPs.",
            "average-attn-mlp-regularised",
            "average-attn-mlp-pretrained",
            IMPROVED,
            "regularisation toward the initialisation",
        ),
        _beats(
            "cotrained",
            "Co-training policies on text improves the average of attention and MLPs.",
            "average-attn-mlp-cotrained",
            "average-attn-mlp-pretrained",
            IMPROVED,
            "co-training, workshop version of the paper",
        ),
        _competitive(
            "mff",
            "Merge, freeze, finetune recovers the score of the individual policies to within 10 "
            "points.",
            "mff",
            "individual",
            "merge-freeze-finetune",
        ),
        *(
            _beats(
                f"fisher-{kind}",
                f"Weighting by Fisher information ({kind}) improves the average of attention.",
                f"fisher-{kind}-attn-common",
                "average-attn-common",
                IMPROVED,
                "Fisher merging",
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
        ),
        _beats(
            "multitask-fisher",
            "Weighting by Fisher information improves the average of fine-tuned copies of a "
            "multi-task policy.",
            "multitask-fisher",
            "multitask-average",
            IMPROVED,
            "merging for multi-task policies",
        ),
        _beats(
            "size-attention",
            "Policies lose less than policies of half their width when attention is averaged.",
            "average-attn-common",
            "average-attn-narrow",
            IMPROVED,
            "model capacity",
            metric="retained",
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
        ),
        _beats(
            "control-attention-random",
            "A policy with averaged attention is better than one with random attention.",
            "average-attn",
            "attention-random",
            IMPROVED,
        ),
        _beats(
            "control-attention-off",
            "A policy with averaged attention is better than one without attention.",
            "average-attn",
            "attention-off",
            IMPROVED,
        ),
        _beats(
            "control-language",
            "Averaging attention and MLPs works better from one language model than from a shared "
            "random initialisation.",
            "average-attn-mlp-pretrained",
            "average-attn-mlp-common",
            IMPROVED,
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
    tasks: tuple[str, ...] = THREE,
) -> Beats:
    return Beats(
        name=name, text=text, source=source, metric=metric, tasks=tasks, a=a, b=b, margin=margin
    )


def _competitive(
    name: str, text: str, a: str, b: str, source: str, tasks: tuple[str, ...] = THREE
) -> Competitive:
    return Competitive(
        name=name, text=text, source=source, metric="score", tasks=tasks, a=a, b=b, margin=LITTLE
    )


def _blind_competitive(
    name: str, text: str, a: str, source: str, b: str = "individual"
) -> Competitive:
    return _competitive(f"hidden-{name}", text, f"{BLIND}{a}", f"{BLIND}{b}", source, tasks=NEEDED)


def _destroyed(name: str, method: str, where: str, tasks: tuple[str, ...]) -> Level:
    return Level(
        name=name,
        text="Averaging the MLPs of policies with different random initialisations destroys them: "
        f"each keeps less than half of its score{where}.",
        source="merging subsets of parameters",
        metric="kept",
        tasks=tasks,
        a=method,
        bound=HALF,
        direction="below",
        margin=5.0,
    )


def _repaired(name: str, family: str, where: str, tasks: tuple[str, ...]) -> Beats:
    return _beats(
        name,
        "After averaging attention and MLPs, policies initialised from one language model keep "
        f"more of their own score than policies with different random initialisations{where}.",
        f"{family}average-attn-mlp-pretrained",
        f"{family}average-attn-mlp",
        LITTLE,
        "common pretrained initialisation",
        metric="kept",
        tasks=tasks,
    )
