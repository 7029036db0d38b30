"""What the paper says and what it leaves open, as data; margins were fixed before any run.

Half a point of score is about a third of the standard error of a score on 872 sentences. Slopes
are points per training example: 0.001 is 0.7 points between 300 and 1,000 examples.
"""

from harness.suite import Beats, Claim, LowerSpread, Trend

LAPTOP = ("sst-2", "subj", "cr", "trec", "sts-b")
"""Sets on which a small encoder learns something from 300 examples."""

LOW = tuple(f"{name}-n300" for name in LAPTOP)
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

_REGRESSION = (
    "the mean includes STS-B, whose regression recipe is broken (raw labels of 0 to 5, head bias "
    "of 0: Spearman 15 finetuned, 65 zero-shot), and mixes Spearman with accuracy; to be tested "
    "again with standardised labels, one measure at a time"
)
_IDLE = (
    "alpha ends between 0.984 and 0.995 on average, so the method is hardly exercised; to be "
    "tested again with higher learning rates of alpha"
)
_WITHOUT_REGRESSION = ("vanilla-equal-time", "joint", "random-alpha")
"""Not run on STS-B at laptop scale, so that no mean of theirs includes it."""


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
    return tuple(rows)


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


def _beats(name: str, text: str, source: str, a: str, b: str) -> Claim:
    return Beats(
        name=name, text=text, source=source, metric="score", tasks=LOW, a=a, b=b, margin=SCORE,
        caveat=_caveat(a, b),
    )  # fmt: skip


def _spread(name: str, text: str, source: str, a: str, b: str) -> Claim:
    return LowerSpread(
        name=name, text=text, source=source, metric="score", tasks=LOW, a=a, b=b,
        caveat=_caveat(a, b),
    )  # fmt: skip


def _trend(name: str, text: str, source: str, a: str, b: str) -> Claim:
    return Trend(
        name=name, text=text, source=source, metric="score", tasks=SIZES, a=a, b=b, over="n",
        direction="down", margin=SLOPE, group=("train",), caveat=_IDLE,
    )  # fmt: skip


def _caveat(a: str, b: str) -> str:
    """Why the verdict on the mean over `LOW` does not stand as it is."""
    lines = (
        "" if b in _WITHOUT_REGRESSION else _REGRESSION,
        _IDLE if a.startswith("mixup") else "",
    )
    return "; ".join(filter(None, lines))
