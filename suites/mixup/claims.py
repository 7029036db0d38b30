"""What the paper says and what it leaves open, as data; margins were fixed before any run.

Half a point of score is about a third of the standard error of a score on 872 sentences. Slopes
are points per training example: 0.001 is 0.7 points between 300 and 1,000 examples.
"""

from harness.check import Measured
from harness.claim import Basis, Beats, Citation, Claim, LowerSpread, Trend, declared

LAPTOP = ("sst-2", "subj", "cr", "trec", "sts-b")
"""Sets on which a small encoder learns something from 300 examples."""

LOW = tuple(f"{name}-n300" for name in LAPTOP)
ACCURATE = tuple(f"{name}-n300" for name in LAPTOP if name != "sts-b")
"""Those that are scored by accuracy; STS-B is scored by correlation, and stands alone."""
SIZES = ("sst-2-n300", "sst-2-n500", "sst-2-n1000")

BASELINES = {
    "l2-sp": "weight decay to the pretrained weights",
    "top-k": "Top-K tuning",
    "mixout": "Mixout",
    "r3f": "R3F",
    "r-drop": "R-Drop",
    "rec-adam": "RecAdam",
    "child-tuning-d": "Child-Tuning D",
    "child-tuning-f": "Child-Tuning F",
    "re-init": "ReInit",
    "dps-dense": "DPS dense",
    "dps-mix": "DPS mix",
    "lora": "LoRA",
}
CONTROLS = {
    "averaging-only": "the same averaging without alpha",
    "vanilla-equal-time": "vanilla finetuning with as many passes",
    "vanilla-equal-updates": "vanilla finetuning with as many updates",
}
SCORE, SLOPE = 0.5, 0.001
_CONTROL = "additional control, not in the paper"
BASIS = Basis(
    text="half a point is a third of the standard error of a score on 872 sentences; a spread a "
    "tenth smaller",
    date="2026-11-25",
)

REGRESSION = ("sts-b-n300",)
_REGRESSION = (
    "the regression recipe of STS-B is broken (raw labels of 0 to 5, head bias of 0: Spearman 15 "
    "finetuned, 65 zero-shot); to be tested again with standardised labels"
)
_IDLE = (
    "alpha ends between 0.984 and 0.995 on average, so the method is hardly exercised; to be "
    "tested again with higher learning rates of alpha"
)


def claims() -> tuple[Claim, ...]:
    """What decides first: mixup against its controls; then the paper's claims, form by form."""
    forms = (
        ("mixup-convex", "", "the published form"),
        ("mixup-code", "-code", "the released form"),
    )
    rows: list[Claim] = [
        _beats(f"control-{b}{suffix}", f"Mixup beats {words}, {form}.", _CONTROL, a, b)
        for a, suffix, form in forms
        for b, words in CONTROLS.items()
    ]
    for a, suffix, form in forms:
        rows += _form(a, suffix, form)
    rows += [
        _beats(
            "control-averaging",
            "Averaging five runs without alpha beats vanilla finetuning.",
            _CONTROL,
            "averaging-only",
            "vanilla",
        ),
        _spread(
            "control-averaging-spread",
            "Averaging five runs without alpha has a lower spread over seeds than vanilla "
            "finetuning.",
            _CONTROL,
            "averaging-only",
            "vanilla",
        ),
        _beats(
            "control-longer",
            "Vanilla finetuning with as many updates as mixup beats vanilla finetuning.",
            _CONTROL,
            "vanilla-equal-updates",
            "vanilla",
        ),
    ]
    return declared(
        rows,
        primary=("vanilla", "control-averaging-only", "spread", "size"),
        additional=(*_additional(rows), "regression*"),
        rests_on=BASIS,
        checks={
            f"{name}{suffix}": (_exercised(a),)
            for a, suffix, _ in forms
            for name in (
                "vanilla", "spread", "size", "control-averaging-only", "joint", "random",
                *BASELINES,
            )
        },
        citations={
            "vanilla": _cited("main table, mean over four whole sets", 1.54),
            "spread": _cited("main table, standard deviations over four whole sets", -0.567),
            "vanilla*": _cited("main table"),
            "spread*": _cited("main table, standard deviations"),
            "size*": _cited("low-resource table"),
        },
    )  # fmt: skip


def _additional(rows: list[Claim]) -> list[str]:
    return [c.name for c in rows if c.source == _CONTROL and c.name != "control-averaging-only"]


def _cited(place: str, effect: float | None = None) -> Citation:
    return Citation(version="arXiv 2403.12918", place=place, effect=effect)


def _exercised(method: str) -> Measured:
    """Alpha has left its start of 1 by a tenth at least: else a mixture is the finetuned model."""
    return Measured(
        function="suites.mixup.checks:mean_alpha",
        methods=(method,),
        at_most=0.9,
        label=f"mean alpha of {method}",
    )


def _form(a: str, suffix: str, form: str) -> list[Claim]:
    k1 = f"{a}-k1"
    rows: list[Claim] = [
        _beats(
            f"vanilla{suffix}",
            f"Mixup beats vanilla finetuning, {form}.",
            "main table",
            a,
            "vanilla",
        ),
        _spread(
            f"spread{suffix}",
            f"Mixup has a lower spread over seeds than vanilla finetuning, {form}.",
            "main table, standard deviations",
            a,
            "vanilla",
        ),
        _beats(
            f"regression{suffix}",
            f"Mixup beats vanilla finetuning on STS-B, {form}.",
            "main table",
            a,
            "vanilla",
            REGRESSION,
        ),
        _trend(
            f"size{suffix}",
            f"The gain of mixup over vanilla finetuning grows as N shrinks, {form}.",
            "low-resource table",
            a,
            "vanilla",
        ),
        _beats(
            f"joint{suffix}",
            f"Bilevel search of alpha beats joint training of W and alpha, {form}.",
            "ablation",
            a,
            "joint",
        ),
        _beats(
            f"random{suffix}",
            f"Mixup with learnt alpha beats mixup with a fixed random alpha, {form}.",
            "ablation",
            a,
            "random-alpha",
        ),
    ]
    rows += [
        _beats(f"{b}{suffix}", f"Mixup beats {words}, {form}.", "main table", a, b)
        for b, words in BASELINES.items()
    ]
    rows += [
        _spread(
            f"control-{b}-spread{suffix}",
            f"Mixup has a lower spread over seeds than {words}, {form}.",
            _CONTROL,
            a,
            b,
        )
        for b, words in CONTROLS.items()
    ]
    rows += [
        _trend(
            f"control-size{suffix}",
            "The gain of mixup over averaging without alpha, which makes as many updates, grows "
            f"as N shrinks, {form}.",
            _CONTROL,
            a,
            "averaging-only",
        ),
        _beats(
            f"control-k1{suffix}",
            f"Mixup without averaging (K = 1) beats vanilla finetuning, {form}.",
            _CONTROL,
            k1,
            "vanilla",
        ),
        _beats(
            f"control-repeats{suffix}",
            f"Mixup with five repeats beats mixup with one, {form}.",
            _CONTROL,
            a,
            k1,
        ),
    ]
    return rows


def _beats(
    name: str, text: str, source: str, a: str, b: str, tasks: tuple[str, ...] = ACCURATE
) -> Claim:
    return Beats(
        name=name, text=text, source=source, metric="score", tasks=tasks, a=a, b=b, margin=SCORE,
        caveat=_caveat(a, tasks),
    )  # fmt: skip


def _spread(name: str, text: str, source: str, a: str, b: str) -> Claim:
    return LowerSpread(
        name=name, text=text, source=source, metric="score", tasks=ACCURATE, a=a, b=b,
        caveat=_caveat(a, ACCURATE),
    )  # fmt: skip


def _trend(name: str, text: str, source: str, a: str, b: str) -> Claim:
    return Trend(
        name=name, text=text, source=source, metric="score", tasks=SIZES, a=a, b=b, over="n",
        direction="down", margin=SLOPE, group=("train",), caveat=_IDLE,
    )  # fmt: skip


def _caveat(a: str, tasks: tuple[str, ...]) -> str:
    """Why the verdict does not stand as it is."""
    lines = (
        _REGRESSION if tasks == REGRESSION else "",
        _IDLE if a.startswith("mixup") else "",
    )
    return "; ".join(filter(None, lines))
