"""Attention-guided weight mixup against finetuning baselines, on few examples.

The experiment as data: `methods.py` meet `tasks.py` at `scales.py`, judged by `claims.py`; here is
what is measured and shown.
"""

from harness.suite import Answer, Dataset, Figure, Metric, Paper, Quantity, Suite, Table
from suites.mixup.claims import REGRESSION, SIZES, claims
from suites.mixup.datasets import CORPORA, File, url
from suites.mixup.methods import artifacts, methods
from suites.mixup.scales import scales
from suites.mixup.tasks import GLUE, tasks


def _metrics() -> tuple[Metric, ...]:
    return (
        Metric(
            name="score", label="score of the task's measure", unit="%", better="higher",
            split="development set", select="last step", highest=100.0,
        ),
        Metric(
            name="degenerate", label="runs that predict one class", unit="%", better="lower",
            split="development set", select="last step", digits=0,
            lowest=0.0, highest=100.0,
        ),
    )  # fmt: skip


def _tables() -> tuple[Table, ...]:
    real = tuple(t.name for t in tasks() if not t.fallback)
    return (
        Table(
            name="low-resource", title="300 examples", metric="score",
            tasks=tuple(n for n in real if n.endswith("-n300") and not n.startswith("sts-b")),
            note="The majority class and a linear probe of the frozen features are floors: what "
            "does not beat the probe has learnt nothing by finetuning.",
        ),
        Table(
            name="least", title="100 examples", metric="score",
            tasks=tuple(n for n in real if n.endswith("-n100")),
        ),
        Table(
            name="regression", title="300 examples, regression", metric="score",
            tasks=REGRESSION,
            note="Scores are standardised before training. The zero-shot cosine of the packaged "
            "MiniLM is far ahead: it was trained to place like sentences near each other, and "
            "300 pairs cannot teach a head that reads both at once as much.",
        ),
        Table(
            name="by-size", title="TREC by number of examples", metric="score", tasks=SIZES,
            note="The paper's claim is that the gain over vanilla grows to the left.",
        ),
        Table(
            name="low-resource-more", title="500 and 1,000 examples", metric="score",
            tasks=tuple(
                n for n in real if n.endswith(("-n500", "-n1000")) and n not in SIZES
            ),
        ),
        Table(
            name="full", title="All training examples", metric="score",
            tasks=tuple(f"{name}-full" for name in GLUE),
        ),
        Table(
            name="transfer", title="Out of domain", metric="score", tasks=("*-to-*",),
            note="Where one side has two classes, both are read as entailment against the rest.",
        ),
        Table(
            name="stratified", title="Stratified samples of 300", metric="score",
            tasks=("*-stratified",),
        ),
        Table(
            name="failed", title="Failed runs: one class predicted for every text",
            metric="degenerate", tasks=real,
        ),
    )  # fmt: skip


def _figures() -> tuple[Figure, ...]:
    return (
        Figure(
            name="scores", title="Score by method, every seed a point",
            draw="suites.mixup.figures:scores", caption="Bars are means over seeds.",
        ),
        Figure(
            name="sizes", title="Score against the number of training examples",
            draw="suites.mixup.figures:sizes", caption="Mean and 95 % interval over seeds.",
        ),
        Figure(
            name="alpha", title="Learnt alpha by layer and module",
            draw="suites.mixup.figures:alpha",
            params={"without": [m.name for m in methods() if m.kind == "ablation"]},
            caption="Means over tasks and seeds: 1 is tuned, 0 stays pretrained. A small mark for "
            "each trial, from left to right by its value.",
        ),
        Figure(
            name="cost", title="Cost against gain", draw="suites.mixup.figures:cost",
            caption="CPU-seconds of a trial against vanilla's, and mean difference to its score "
            "on the tasks that both ran; a small mark for each seed.",
        ),
    )  # fmt: skip


def _datasets() -> tuple[Dataset, ...]:
    def rows(file: File | None) -> str:
        return f"{file.rows:,}" if file else "no"

    return tuple(
        Dataset(
            name=c.name,
            files={f.path: f.sha256 for f in (c.train, c.dev) if f is not None},
            licence=c.licence,
            source=c.source,
            sizes=f"{rows(c.train)} training and {rows(c.dev)} development examples",
            splits="as published" if c.name != "sick" else "odd lines train, even lines test",
            urls={f.path: url(f) or "" for f in (c.train, c.dev) if f and not c.fetch},
            fetch="suites.mixup.hub:fetch" if c.fetch else None,
            note=c.note,
        )
        for c in CORPORA.values()
    )


def suite() -> Suite:
    """The suite, for `harness.registry`."""
    return Suite(
        name="mixup",
        paper=Paper(
            title="Generalizable and Stable Finetuning of Pretrained Language Models on "
            "Low-Resource Texts",
            authors="Sai Ashish Somayajula, Youwei Liang, Li Zhang, Abhishek Singh, Pengtao Xie",
            arxiv="2403.12918",
            venue="NAACL",
            year=2024,
        ),
        summary="Every weight is mixed from its pretrained and its finetuned value by a learnt "
        "attention. Does a bilevel search for it make finetuning on few examples better and "
        "steadier, beyond the averaging and the training time that come with it?",
        methods=methods(),
        tasks=tasks(),
        metrics=_metrics(),
        scales=scales(),
        artifacts=artifacts(),
        datasets=_datasets(),
        claims=claims(),
        tables=_tables(),
        figures=_figures(),
        headline="low-resource",
        answers=(
            Answer(
                scale="laptop",
                text="Ten seeds do not tell mixup from vanilla finetuning at 300 examples; its "
                "lead grows as they get fewer, but averaging without alpha leads as far.",
                rests_on={
                    "control-averaging-only": "inconclusive",
                    "vanilla": "inconclusive",
                    "spread": "inconclusive",
                    "size": "holds",
                },
            ),
        ),
        distance=(Quantity(name="layers", value="suites.mixup.distance:layers"),),
        effort="suites.mixup.effort:effort",
        preload=("suites.mixup.trials:warm_up",),
        deviations=(
            "The paper's text and tables were not available: claims follow its abstract, its "
            "released code and notes that quote it; only averages over tasks can be compared.",
            "Batches are drawn from runs of texts sorted by length, which halves the padding; "
            "every epoch still visits every example once.",
            "AdamW with bias correction for all methods; the best-known cause of failed runs in "
            "small-sample finetuning was its absence.",
        ),
        defects=(
            "The paper mixes with alpha and 1 - alpha; the released code multiplies the pretrained "
            "weight by (1 - a)(1 - c). Methods `mixup-convex` and `mixup-code` are the two.",
            "The library that the released code pins does not roll W back and leaves it shifted "
            "along the validation gradient; its next version rolls alpha back too, which then "
            "never moves. Here W is restored exactly and alpha moves; `mixup-paper-code` repeats "
            "the defects.",
            "In the released code the two sides of a finite difference see different dropout "
            "masks: noise as large as the difference, on a two-layer MiniLM at its first step.",
            "The pre-conditioner of the released code, which is ours too, makes alpha's cross "
            "gradient some ten thousand times its direct one: alpha follows the cross term alone.",
            "The paper compares 5 repeats of 48 bilevel iterations and averaging with 57 vanilla "
            "updates. `vanilla-equal-updates`, `vanilla-equal-time` and `averaging-only` are the "
            "controls that it lacks.",
        ),
    )
