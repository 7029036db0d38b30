"""How big: which methods meet which tasks at each scale, and the settings that they get."""

from harness.suite import Axis, Scale
from suites.mixup.claims import ACCURATE, LEAST, REGRESSION, SIZES
from suites.mixup.methods import methods
from suites.mixup.settings import Generated, MixupSettings, Pretraining
from suites.mixup.tasks import excluded, tasks

PRIMARY = ("vanilla", "averaging-only", "mixup-convex")
"""What the primary claims compare."""
FLOORS = ("majority", "zero-shot", "probe", "probe-pairs")
LEFT = ("random-alpha-wide", "mixup-first-order", "mixup-exact", "mixup-rank-4", "mixup-half",
        "mixup-paper-code")  # fmt: skip
"""Ablations that laptop scale leaves to larger ones."""


def scales() -> tuple[Scale, ...]:
    """Smoke for CI, laptop for two cores, gpu for one GPU, paper as published."""
    plain = tuple(m.name for m in methods() if not m.needs)
    unfit = excluded()
    return (_smoke(plain, unfit), _laptop(plain, unfit), _gpu(unfit), _paper(plain, unfit))


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


def _laptop(plain: tuple[str, ...], unfit: tuple[str, ...]) -> Scale:
    compared = tuple(m for m in plain if m not in LEFT)
    there = ("sst-2-n300", "cr-n300", "trec-n300")
    sizes = tuple(t for t in SIZES if not t.endswith("-n500"))
    few, scored = (*PRIMARY, "majority", "probe"), (*PRIMARY, *FLOORS, "vanilla-pairs", "lp-ft")
    return Scale(
        name="laptop",
        seeds=tuple(range(5)),
        looks=(5, 10, 20),
        tasks=tuple(dict.fromkeys((*there, *LEAST, *sizes, *REGRESSION))),
        methods=compared,
        exclude=(
            *unfit,
            *(
                f"{m}/{t}"
                for t in dict.fromkeys((*LEAST, *sizes))
                if t not in ACCURATE
                for m in compared
                if m not in few
            ),
            *(f"{m}/{t}" for t in REGRESSION for m in compared if m not in scored),
        ),
        settings=MixupSettings(
            encoder="minilm-6",
            tokens=40,
            learning_rate=1e-4,
            learning_rates={
                "mixout": 2e-4,
                "child-tuning-d": 2e-4,
                "child-tuning-f": 2e-4,
                "top-k": 3.2e-3,
                "bit-fit": 4e-3,
                "lora": 3.2e-3,
            },
            alpha_rate=0.1,
        ),
        axes=(
            Axis(
                name="n",
                label="training examples",
                parameter="n",
                values=(100.0, 300.0, 1000.0),
                methods=PRIMARY,
                tasks=sizes,
                paper=300.0,
            ),
        ),
        trial_seconds=3600,
        expected_seconds=45,
        deviations=(
            "MiniLM (6 layers of width 384) with frozen word embeddings, mean pooling and texts "
            "of at most 40 tokens, in place of BERT-large; `vanilla-embeddings` trains these too.",
            "SST-2, CR and TREC at 300 examples with all methods. TREC at 100 and 1,000, SST-2 at "
            "100, and STS-B with those of the primary claims and the floors.",
            "One learning rate per method, and one of alpha, tuned on seeds that are not "
            "reported. The paper's 2e-5 is for BERT-large, and its 2e-3 cannot take alpha below "
            "0.95 in so few updates; `mixup-slow` keeps it.",
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
            if not (t.fallback or t.name.startswith("qnli-pool"))
            and (t.params["n"] != 100 or t.name in LEAST)
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
