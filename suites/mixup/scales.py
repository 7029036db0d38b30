"""How big: which methods meet which tasks at each scale, and the settings that they get."""

from harness.suite import Scale
from suites.mixup.claims import LOW, SIZES
from suites.mixup.methods import methods
from suites.mixup.settings import Generated, MixupSettings, Pretraining
from suites.mixup.tasks import excluded, tasks

COMPARED = (
    "vanilla", "vanilla-equal-updates", "vanilla-equal-time", "l2-sp", "mixout", "child-tuning-d",
    "r-drop", "lora", "mixup-convex", "mixup-convex-k1", "mixup-code", "mixup-code-k1",
    "averaging-only", "joint", "random-alpha",
)  # fmt: skip
"""Methods at laptop scale."""
TRACED = ("vanilla", "averaging-only", "mixup-convex")
"""Compared at all sizes at laptop scale."""


def scales() -> tuple[Scale, ...]:
    """Smoke for CI, laptop for two cores, gpu for one GPU, paper as published."""
    plain = tuple(m.name for m in methods() if not m.needs)
    unfit = excluded()
    return (_smoke(plain, unfit), _laptop(), _gpu(unfit), _paper(plain, unfit))


def _smoke(methods: tuple[str, ...], unfit: tuple[str, ...]) -> Scale:
    return Scale(
        name="smoke",
        seeds=(0, 1),
        tasks=("generated-topics", "generated-overlap"),
        methods=methods,
        exclude=unfit,
        settings=MixupSettings(
            encoder="tiny",
            freeze_embeddings=False,
            tokens=32,
            epochs=1,
            learning_rate=1e-3,
            generated=Generated(train=48, test=100),
        ),
        trial_seconds=120,
        expected_seconds=1,
        deviations=(
            "A random encoder of 32 features and generated texts: it shows that everything "
            "runs, nothing else.",
        ),
    )


def _laptop() -> Scale:
    return Scale(
        name="laptop",
        seeds=tuple(range(5)),
        tasks=(*LOW, *SIZES),
        methods=COMPARED,
        exclude=(
            *(f"vanilla-equal-time/{name}-n300" for name in ("cr", "subj", "sts-b")),
            *(f"{m}/{t}-n300" for m in ("joint", "random-alpha") for t in ("subj", "sts-b")),
            *(f"{m}/{t}" for t in SIZES[1:] for m in COMPARED if m not in TRACED),
        ),
        settings=MixupSettings(
            encoder="minilm-2",
            tokens=40,
            learning_rate=4e-4,
            learning_rates={"mixout": 8e-4, "child-tuning-d": 8e-4, "lora": 1.28e-2},
        ),
        trial_seconds=3600,
        expected_seconds=25,
        deviations=(
            "The first two layers of the MiniLM (width 384), with frozen embeddings, mean "
            "pooling and texts of at most 40 tokens, in place of BERT-large.",
            "Five seeds. SST-2 at 500 and 1,000 examples with three methods; vanilla at equal "
            "cost on SST-2 and TREC, joint training and random alpha on these and CR.",
            "CoLA, RTE and MRPC are left out: at 300 examples vanilla finetuning of this "
            "encoder is at chance on them (a Matthews correlation of 7, 50 % right, and less "
            "than always saying yes; one seed each).",
            "One learning rate per method, tuned on seeds that are not reported; the paper's "
            "2e-5 is for BERT-large.",
        ),
    )


def _gpu(unfit: tuple[str, ...]) -> Scale:
    return Scale(
        name="gpu",
        seeds=tuple(range(5)),
        tasks=("sst-2-n300", "trec-n300", "sts-b-n300", "rte-n1000-to-sick"),
        exclude=unfit,
        settings=MixupSettings(
            encoder="minilm-6",
            tokens=64,
            learning_rate=2e-4,
            pretraining=Pretraining(steps=20_000, batch_size=128),
        ),
        trial_seconds=1800,
        expected_seconds=8,
        deviations=(
            "MiniLM (6 layers of width 384) with frozen embeddings, mean pooling and texts of "
            "at most 64 tokens in place of BERT-large.",
            "Methods that begin with mlm- finetune an encoder that the suite pretrains itself.",
        ),
    )


def _paper(methods: tuple[str, ...], unfit: tuple[str, ...]) -> Scale:
    return Scale(
        name="paper",
        seeds=tuple(range(10)),
        tasks=tuple(
            t.name
            for t in tasks()
            if not (t.fallback or t.params["n"] == 100 or t.name.startswith("qnli-pool"))
        ),
        methods=methods,
        exclude=unfit,
        settings=MixupSettings(
            encoder="hub:google-bert/bert-large-cased",
            pooling="pooler",
            freeze_embeddings=False,
            tokens=128,
            learning_rate=2e-5,
            learning_rates={"lora": 2e-4},
        ),
        trial_seconds=24 * 3600,
        expected_seconds=3600,
        deviations=("Batches hold texts of like length, padded to the longest of a batch.",),
    )
