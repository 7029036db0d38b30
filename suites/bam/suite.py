"""BAM against BTX: what is gained when attention is upcycled too?

The experiment on a few screens. Tasks, tables and figures stand here, artifacts and methods in
`methods.py`, scales in `scales.py`, claims in `claims.py`, texts in `datasets.py`, downstream
benchmarks in `benchmarks.py`.
"""

from collections.abc import Sequence

from pydantic import JsonValue

from harness.suite import Answer, Dataset, Figure, Mark, Metric, Paper, Quantity, Suite, Table, Task
from suites.bam import counts
from suites.bam.claims import claims
from suites.bam.data.datasets import DOMAINS, PUBLIC, TEXTS
from suites.bam.downstream import benchmarks, published
from suites.bam.methods import EXPERTS, PUBLIC_NAMES, TEXT_NAMES, artifacts, methods
from suites.bam.scales import scales
from suites.bam.settings import Measured

_FETCH = {
    **{text.name: "suites.bam.data.hub:fetch" for text in PUBLIC},
    **dict.fromkeys(("gsm8k", "gsm8k-train"), "suites.bam.data.grade_school:fetch"),
    "spdx-licences": "suites.bam.data.rebuild:build",
    **dict.fromkeys(
        ("hearsay", "personal-jurisdiction", "piqa", "proa"),
        "suites.bam.downstream.published:fetch",
    ),
}
"""Dataset -> what gets it, where that takes more than a download."""
_LENGTHS = {"half": "half", "quarter": "a quarter", "eighth": "an eighth"}
"""Shorter mixture phases: one halving, two, three."""

_REBUILD = {
    **{text.name: "suites.bam.data.rebuild:build" for text in TEXTS if text.name not in _FETCH},
    **dict.fromkeys(
        (*published.INSTRUCTIONS, *published.REDUCED), "suites.bam.downstream.published:build"
    ),
}
"""Dataset -> what makes an equivalent of it, where nothing gives the very bytes."""


def _tasks() -> tuple[Task, ...]:
    tasks = []
    for suffix, texts, words in (
        ("", TEXT_NAMES, ""),
        ("-public", PUBLIC_NAMES, ", public sets"),
        ("-installed", (), ", text that ships with Python and packages"),
    ):
        fallback = not texts
        for name, domains in (*((d, (d,)) for d in DOMAINS), ("mean", DOMAINS)):
            tasks.append(
                Task(
                    name=f"{name}{suffix}",
                    label=f"{name}{words}",
                    params=Measured(domains=domains).plain(),
                    metrics=("perplexity", "nats", "bits-per-byte"),
                    datasets=texts,
                    fallback=fallback,
                )
            )
        tasks += [
            Task(
                name=f"mean-{length}{suffix}",
                label=f"mean after {words_of} of the mixture phase{words}",
                params=Measured(domains=DOMAINS, halvings=halvings).plain(),
                metrics=("perplexity", "nats", "bits-per-byte"),
                datasets=texts,
                fallback=fallback,
            )
            for halvings, (length, words_of) in enumerate(_LENGTHS.items(), 1)
        ]
        tasks.append(
            Task(
                name=f"cost{suffix}",
                label=f"last training phase{words}",
                params=Measured(cost=True).plain(),
                metrics=("core-seconds", "tokens-per-second"),
                datasets=texts,
                fallback=fallback,
            )
        )
    questions = []
    for task in benchmarks.tasks():
        if task.fallback:
            questions.append(task)
            continue
        for suffix, texts, words in (("", TEXT_NAMES, ""), ("-public", PUBLIC_NAMES, ", public")):
            changed = {
                "name": f"{task.name}{suffix}",
                "label": f"{task.label}{words}",
                "datasets": (*texts, *task.datasets),
            }
            questions.append(task.model_copy(update=changed))
    return (*tasks, *questions, *counts.tasks())


def _metrics() -> tuple[Metric, ...]:
    def loss(name: str, label: str, unit: str, digits: int) -> Metric:
        return Metric(
            name=name,
            label=label,
            unit=unit,
            better="lower",
            split="held-out documents",
            select="last",
            digits=digits,
            lowest=0.0,
        )

    return (
        loss("perplexity", "perplexity per token", "", 2),
        loss("nats", "loss per token", "nats", 4),
        loss("bits-per-byte", "bits per byte", "bits", 4),
        Metric(
            name="core-seconds",
            label="CPU-core-seconds of training (GPU-seconds on a GPU)",
            unit="s",
            better="lower",
            split="training",
            select="last",
        ),
        Metric(
            name="tokens-per-second",
            label="training tokens per core-second",
            unit="1/s",
            better="higher",
            split="training",
            select="last",
            digits=0,
        ),
        *benchmarks.metrics(),
        *counts.metrics(),
    )


def _tables() -> tuple[Table, ...]:
    perplexities = tuple(f"{d}{suffix}" for suffix in ("", "-public") for d in (*DOMAINS, "mean"))
    main = (
        "seed", *EXPERTS, "btx", "bam", "bam-cm", "bam-shared-kv", "bam-shared-kv-cm", "dense",
        "btm", "sparse-upcycling",
    )  # fmt: skip
    ablations = ("btx", "btx-*", "bam-shared-kv-cm", "top2-cm", "top1-cm", "bam", "bam-uniform")
    later = ("btx", "btx-top2", "bam", "bam-means", "bam-ridge", "bam-frozen", "drop-upcycling")
    lengths = tuple(f"mean{word}" for word in ("-eighth", "-quarter", "-half", ""))
    return (
        Table(
            name="perplexity",
            title="Perplexity on held-out documents",
            metric="perplexity",
            methods=main,
            tasks=perplexities,
            note="The paper's column `Pretrain` is `general` here. Published numbers belong to "
            "another tokenizer and other texts: compare orders, not values. At laptop scale each "
            "seed has a seed model and experts of its own; a token costs BAM 1.29 times BTX's "
            "FLOPs, 1.25 times in the paper's 590M model.",
        ),
        Table(
            name="ablations",
            title="Ablations: more feed-forward experts, attention routing, uniform gates",
            metric="perplexity",
            methods=ablations,
            tasks=perplexities,
        ),
        Table(
            name="later",
            title="Other gates, routers and upcycling, most of them published later",
            metric="perplexity",
            methods=later,
            tasks=perplexities,
        ),
        Table(
            name="tokens",
            title="Perplexity by length of the mixture phase",
            metric="perplexity",
            methods=("btx", "bam", "bam-uniform"),
            tasks=lengths,
            note="One training per method and seed: shorter phases are branches of the longest "
            "one. The paper's small models read 100 billion tokens in this phase.",
        ),
        Table(
            name="bits",
            title="Bits per byte on held-out documents",
            metric="bits-per-byte",
            methods=(*main, *ablations[1:5], "bam-uniform"),
            tasks=perplexities,
            note="Does not depend on the tokenizer.",
        ),
        Table(
            name="downstream",
            title="Downstream benchmarks",
            metric="accuracy",
            tasks=("downstream-*",),
            note="Each column head gives chance accuracy. Choices are cut to what the model reads "
            "of them before they are scored, all by one rule, and divided by the length of what "
            "is scored.",
            mark=Mark(
                metric="above-chance",
                below=2.0,
                text="Within two standard errors of chance.",
            ),
        ),
        Table(
            name="chance",
            title="Downstream benchmarks: standard errors above chance",
            metric="above-chance",
            tasks=("downstream-*",),
            note="Below 2: no better than guessing.",
        ),
        Table(
            name="answer-bits",
            title="Downstream benchmarks: bits per byte of the right answers",
            metric="answer-bits",
            tasks=("downstream-*",),
            note="A graded measure where accuracy is at chance. Of answers that are a letter, Yes "
            "or No it measures their form.",
        ),
        Table(
            name="core-seconds",
            title="CPU-core-seconds of the last training phase",
            metric="core-seconds",
            tasks=("cost", "cost-public"),
            note="The paper matches TPU-core-days; compute-matched rows here match counted FLOPs.",
        ),
        Table(
            name="speed",
            title="Training tokens per core-second",
            metric="tokens-per-second",
            tasks=("cost", "cost-public"),
        ),
        Table(
            name="parameters",
            title="Parameters of the paper's models, counted",
            metric="parameters-total",
            tasks=("count-*",),
            rows="tasks",
        ),
        Table(
            name="active-parameters",
            title="Active parameters of the paper's models, counted",
            metric="parameters-active",
            tasks=("count-*",),
            rows="tasks",
        ),
        Table(
            name="flops",
            title="FLOPs of the paper's models per token and layer, counted",
            metric="flops-layer",
            tasks=("count-*",),
            rows="tasks",
        ),
    )


def _figures() -> tuple[Figure, ...]:
    matched = ["bam-cm", "bam-shared-kv-cm", "bam-uniform"]  # they look as those beside them

    def figure(name: str, title: str, caption: str, without: Sequence[str] = ()) -> Figure:
        draw = f"suites.bam.figures:{name}"
        params: dict[str, JsonValue] = {"without": list(without)} if without else {}
        return Figure(name=name, title=title, draw=draw, caption=caption, params=params)

    return (
        figure("perplexity", "Perplexity by domain", "Mean and 95 % interval over seeds."),
        figure(
            "load",
            "Load of the feed-forward experts by domain and layer",
            "Share of tokens that each expert gets, mean over seeds; small marks: each seed, from "
            "left to right by its share.",
            ("seed", "expert-*", "dense", "top*-cm", *matched),
        ),
        figure(
            "gate",
            "Gates of the attention experts by domain and layer",
            "Mean gate of each expert, mean over seeds; 0.25 is plain averaging. Small marks: each "
            "seed, from left to right by its gate.",
            matched,
        ),
        figure(
            "entropy",
            "Entropy of the attention gates by layer",
            "Nats, mean over tokens and seeds; log 4 = 1.386 is plain averaging.",
            matched,
        ),
        figure(
            "tokens",
            "Lead over BTX by length of the mixture phase",
            "Loss of BTX less that of each method; mean, 95 % interval and every seed.",
        ),
        figure("loss", "Loss against tokens and against FLOPs", "Training loss, mean over seeds."),
    )


def _datasets() -> tuple[Dataset, ...]:
    texts = tuple(
        Dataset(
            name=text.name,
            files=dict(text.files),
            licence=text.licence,
            source=text.source,
            sizes=text.sizes,
            splits="held-out documents by the hash of their text",
            note=text.note,
        )
        for text in (*TEXTS, *PUBLIC)
    )
    return tuple(
        dataset.model_copy(
            update={"fetch": _FETCH.get(dataset.name), "rebuild": _REBUILD.get(dataset.name)}
        )
        for dataset in (*texts, *benchmarks.datasets())
    )


def suite() -> Suite:
    """The suite, for `harness.registry`."""
    return Suite(
        name="bam",
        paper=Paper(
            title="BAM! Just Like That: Simple and Efficient Parameter Upcycling for Mixture of "
            "Experts",
            authors="Qizhen Zhang, Nikolas Gritsch, Dwaraknath Gnaneshwar, Simon Guo, David "
            "Cairuz, Bharat Venkitesh, Jakob Foerster, Phil Blunsom, Sebastian Ruder, Ahmet "
            "Ustun, Acyr Locatelli",
            arxiv="2408.08274",
            venue="NeurIPS",
            year=2024,
        ),
        summary="Dense experts become one mixture. BTX keeps their feed-forward layers apart and "
        "averages their attention; BAM keeps both apart. Does that lower perplexity, at equal data "
        "and at equal compute?",
        methods=methods(),
        tasks=_tasks(),
        metrics=_metrics(),
        scales=scales(),
        artifacts=artifacts(),
        datasets=_datasets(),
        claims=claims(),
        tables=_tables(),
        figures=_figures(),
        headline="perplexity",
        answers=(
            Answer(
                scale="laptop",
                text="At equal data BAM beats BTX, thanks to routing and to experts with their own "
                "keys and values; at equal compute it is behind BTX here.",
                rests_on={
                    "data": "holds",
                    "own-kv": "holds",
                    "shared-kv": "holds",
                    "control-uniform": "holds",
                    "compute": "opposite",
                },
            ),
        ),
        distance=(
            Quantity(name="model", value="suites.bam.distance:parameters"),
            Quantity(name="tokens", value="suites.bam.distance:tokens"),
        ),
        effort="suites.bam.effort:effort",
        preload=("suites.bam.trials:warm_up",),
        deviations=(
            "Claims are judged in nats per token, the logarithm of perplexity.",
            "Weights of the losses (0.01 and 0.001), scale of fresh routers (0.02), betas (0.9, "
            "0.95), clipping (1.0) are not published: the usual values.",
            "Compute is matched by counted FLOPs of forward and backward, output product "
            "included; the paper matches TPU-core-days.",
            "Code is the standard library of the running Python, so that its numbers belong to "
            "that version.",
            *benchmarks.DEVIATIONS,
        ),
        defects=counts.DEFECTS,
    )
