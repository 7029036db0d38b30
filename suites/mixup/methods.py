"""What is compared: one finetuning method each, all run by `suites.mixup.trials.run`."""

from pydantic import JsonValue

from harness.suite import Artifact, Kind, Method
from suites.mixup.settings import (
    AlphaOptions,
    AveragingOptions,
    ChildTuningOptions,
    DPSOptions,
    EMAOptions,
    Encoder,
    Finetuning,
    JointOptions,
    L2SPOptions,
    LoRAOptions,
    MixoutOptions,
    MixupOptions,
    Options,
    R3FOptions,
    RDropOptions,
    RecAdamOptions,
    ReInitOptions,
    SAMOptions,
    TopKOptions,
    VanillaOptions,
    WiSEFTOptions,
)

PRETRAINING = (
    "sst-2", "subj", "cr", "trec", "sts-b", "mr", "cola", "rte", "mrpc", "sick",
)  # fmt: skip
"""Sets whose training texts the suite's own encoder is pretrained on."""


def artifacts() -> tuple[Artifact, ...]:
    """The encoder that the suite pretrains itself."""
    return (
        Artifact(
            name="mlm",
            make="suites.mixup.pretrain:make",
            params=Encoder().plain(),
            datasets=PRETRAINING,
        ),
    )


def methods() -> tuple[Method, ...]:
    """All methods, in the order of tables."""

    def method(
        name: str,
        label: str,
        key: str,
        options: Options,
        kind: Kind = "baseline",
        *deviations: str,
        version: int = 1,
        **settings: JsonValue,
    ) -> Method:
        return Method(
            name=name,
            label=label,
            version=version,
            kind=kind,
            run="suites.mixup.trials:run",
            params={**Finetuning(method=key, options=options.plain()).plain(), **settings},
            deviations=deviations,
        )

    equal = "Not in the paper."
    stage = "A stage has one step at least; the reference code divides by zero on so few examples."
    derivative = (
        "The backward pass is the true derivative; the reference code's lacks a constant factor, "
        "which AdamW does not see."
    )
    masked = (
        "Gradients are masked before they are clipped; the reference optimizer masks them after."
    )
    cross = (
        "Finite differences are forward ones at W, and share the gradient of W's own step; the "
        "paper takes central ones. Both sides see the same dropout masks."
    )
    plain = (
        method("vanilla", "vanilla", "vanilla", VanillaOptions()),
        method(
            "vanilla-equal-updates", "vanilla, equal updates", "vanilla",
            VanillaOptions(budget="updates"), "control",
            f"{equal} Trains for as many updates of W as mixup with five repeats makes.",
        ),
        method(
            "vanilla-equal-time", "vanilla, equal cost", "vanilla", VanillaOptions(budget="time"),
            "control",
            f"{equal} Matched in forward and backward passes, which repeat, not in seconds, which "
            "do not.",
        ),
        method("vanilla-embeddings", "vanilla, embeddings too", "vanilla", VanillaOptions(),
               "control", f"{equal} Word embeddings learn too, where the scale freezes them.",
               freeze_embeddings=False),
        method("vanilla-pairs", "vanilla, pairs apart", "vanilla-pairs", Options(), "control",
               f"{equal} The texts of a pair are encoded apart; the head reads |u - v| and u * v."),
        method("majority", "majority class", "majority", Options(), "control",
               f"{equal} A floor: the most frequent class, or the mean score."),
        method("zero-shot", "zero-shot cosine", "zero-shot", Options(), "control",
               f"{equal} A floor for pairs: the cosine of the pretrained embeddings."),
        method("probe-pairs", "linear probe, pairs apart", "probe-pairs", Options(), "control",
               f"{equal} A floor for pairs: the head alone, on |u - v| and u * v."),
        method("probe", "linear probe", "probe", Options(), "control",
               f"{equal} The head alone, fitted to the frozen features: a floor."),
        method("lp-ft", "LP-FT", "lp-ft", Options(), "baseline",
               f"{equal} Finetuning whose head begins as the linear probe."),
        method("wise-ft", "WiSE-FT", "wise-ft", WiSEFTOptions(), "baseline",
               f"{equal} Halfway between LP-FT and its start: one scalar in place of alpha."),
        method("bit-fit", "BitFit", "bit-fit", Options(), "baseline", equal),
        method("sam", "SAM", "sam", SAMOptions(), "baseline",
               f"{equal} Takes twice the passes of vanilla finetuning."),
        method("ema", "EMA", "ema", EMAOptions(), "baseline", equal),
        method("l2-sp", "L2-SP", "l2-sp", L2SPOptions()),
        method("top-k", "Top-K", "top-k", TopKOptions()),
        method(
            "mixout", "Mixout", "mixout", MixoutOptions(), "baseline", derivative,
        ),
        method("r3f", "R3F", "r3f", R3FOptions()),
        method(
            "r-drop", "R-Drop", "r-drop", RDropOptions(), "baseline",
            "The divergence is averaged over the batch, as the task's loss is; the reference code "
            "sums it.",
        ),
        method(
            "rec-adam", "RecAdam", "rec-adam", RecAdamOptions(), "baseline",
            "It turns from recalling to learning after 20 % of the updates, and a step goes a "
            "tenth of the way back at first: the published values suit longer runs and lower "
            "rates.",
        ),
        method("child-tuning-d", "Child-Tuning D", "child-tuning-d", ChildTuningOptions(),
               "baseline", masked, version=2),
        method("child-tuning-f", "Child-Tuning F", "child-tuning-f", ChildTuningOptions(),
               "baseline", masked),
        method("re-init", "ReInit", "re-init", ReInitOptions()),
        method("dps-dense", "DPS dense", "dps-dense", DPSOptions(), "baseline", stage, version=2),
        method("dps-mix", "DPS mix", "dps-mix", DPSOptions(), "baseline", stage, derivative),
        method("lora", "LoRA", "lora", LoRAOptions()),
        method("mixup-convex", "mixup, convex", "mixup", MixupOptions(), "proposed", cross),
        method("mixup-code", "mixup, code", "mixup", MixupOptions(form="code"), "proposed", cross),
        method("mixup-convex-k1", "mixup, convex, K = 1", "mixup", MixupOptions(repeats=1),
               "ablation"),
        method("mixup-code-k1", "mixup, code, K = 1", "mixup", MixupOptions(form="code", repeats=1),
               "ablation"),
        method("averaging-only", "averaging without alpha", "averaging", AveragingOptions(),
               "control", equal),
        method("joint", "joint training", "joint", JointOptions(), "ablation"),
        method("random-alpha", "random alpha", "random-alpha", AlphaOptions(), "ablation"),
        method("random-alpha-wide", "random alpha, s = 0.45", "random-alpha",
               AlphaOptions(std=0.45), "ablation"),
        method("mixup-first-order", "mixup, first order", "mixup",
               MixupOptions(hypergradient="first-order"), "ablation"),
        method("mixup-exact", "mixup, exact hypergradient", "mixup",
               MixupOptions(hypergradient="exact", preconditioner="adamw"), "ablation",
               f"{equal} The derivative of the unrolled AdamW step, through both moments and "
               "clipping.", version=2),
        method("mixup-rank-4", "mixup, rank 4", "mixup", MixupOptions(rank=4), "ablation"),
        method("mixup-half", "mixup, split in halves", "mixup", MixupOptions(split=0.5),
               "ablation"),
        method("mixup-slow", "mixup, convex, alpha's published rate", "mixup",
               MixupOptions(alpha_rate=2e-3), "ablation", cross),
        method("mixup-paper-code", "mixup, as the released code computes", "mixup",
               MixupOptions(form="code", protocol="paper-code"), "ablation",
               "Repeats the defects of the released code and the library below it."),
    )  # fmt: skip
    pretrained = tuple(
        m.model_copy(
            update={
                "name": f"mlm-{m.name}",
                "label": f"{m.label}, own encoder",
                "needs": ("mlm",),
                "params": {**m.params, "encoder": "mlm"},
            }
        )
        for m in plain
        if m.name in {"vanilla", "vanilla-equal-time", "averaging-only", "mixup-convex"}
    )
    return plain + pretrained


def unfit(*, pairs: bool, scores: bool) -> tuple[str, ...]:
    """Names of the methods that tasks of single texts, or without scores, have no use for."""
    found = [] if pairs else ["vanilla-pairs", "probe-pairs"]
    if not (pairs and scores):
        found.append("zero-shot")
    if scores:
        found.append("r3f")  # compares distributions over classes
    return tuple(found)
