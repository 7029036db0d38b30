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
_CONTROL = "control: no paper prints it"


def claims() -> tuple[Claim, ...]:
    """What decides first: mixup against its controls; then the paper's claims, form by form."""
    forms = (
        ("mixup-convex", "", "the published form"),
        ("mixup-code", "-code", "the released form"),
    )
    found: list[Claim] = [
        _beats(f"control-{b}{suffix}", f"Mixup beats {words}, {form}.", _CONTROL, a, b)
        for a, suffix, form in forms
        for b, words in CONTROLS.items()
    ]
    for a, suffix, form in forms:
        found += _form(a, suffix, form)
    found += [
        _beats(
            "control-averaging",
            "Averaging five runs without alpha beats vanilla finetuning.",
            _CONTROL,
            "averaging-only",
            "vanilla",
        ),
        _spread(
            "control-averaging-spread",
            "Averaging without alpha alone scatters less than vanilla finetuning.",
            _CONTROL,
            "averaging-only",
            "vanilla",
        ),
        _beats(
            "control-longer",
            "Vanilla finetuning with as many updates beats vanilla finetuning.",
            _CONTROL,
            "vanilla-equal-updates",
            "vanilla",
        ),
    ]
    return tuple(found)


def _form(a: str, suffix: str, form: str) -> list[Claim]:
    k1 = f"{a}-k1"
    found: list[Claim] = [
        _beats(
            f"vanilla{suffix}", f"Mixup beats vanilla finetuning, {form}.", "main table", a,
            "vanilla",
        ),
        _spread(
            f"spread{suffix}", f"Mixup scatters less over seeds than vanilla finetuning, {form}.",
            "main table, standard deviations", a, "vanilla",
        ),
        _trend(
            f"size{suffix}", f"The gain over vanilla grows as N shrinks, {form}.",
            "low-resource table", a, "vanilla",
        ),
        _beats(
            f"joint{suffix}", f"Bilevel search beats joint training of W and alpha, {form}.",
            "ablation", a, "joint",
        ),
        _beats(
            f"random{suffix}", f"Learnt alpha beats random fixed alpha, {form}.", "ablation", a,
            "random-alpha",
        ),
    ]  # fmt: skip
    found += [
        _beats(f"{b}{suffix}", f"Mixup beats {words}, {form}.", "main table", a, b)
        for b, words in BASELINES.items()
    ]
    found += [
        _spread(
            f"control-{b}-spread{suffix}", f"Mixup scatters less than {words}, {form}.", _CONTROL,
            a, b,
        )
        for b, words in CONTROLS.items()
    ]  # fmt: skip
    found += [
        _trend(
            f"control-size{suffix}",
            f"The gain over averaging without alpha, which makes as many updates, grows as N "
            f"shrinks, {form}.",
            _CONTROL, a, "averaging-only",
        ),
        _beats(
            f"control-k1{suffix}", f"Without averaging (K = 1) mixup beats vanilla, {form}.",
            _CONTROL, k1, "vanilla",
        ),
        _beats(
            f"control-repeats{suffix}", f"Five repeats beat one, {form}.", _CONTROL, a, k1,
        ),
    ]  # fmt: skip
    return found


def _beats(name: str, text: str, source: str, a: str, b: str) -> Claim:
    return Beats(
        name=name, text=text, source=source, metric="score", tasks=LOW, a=a, b=b, margin=SCORE
    )


def _spread(name: str, text: str, source: str, a: str, b: str) -> Claim:
    return LowerSpread(name=name, text=text, source=source, metric="score", tasks=LOW, a=a, b=b)


def _trend(name: str, text: str, source: str, a: str, b: str) -> Claim:
    return Trend(
        name=name, text=text, source=source, metric="score", tasks=SIZES, a=a, b=b, over="n",
        direction="down", margin=SLOPE, group=("train",),
    )  # fmt: skip
