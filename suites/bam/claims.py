"""What the papers say of perplexity, as data; margins were fixed before any run.

Perplexities are compared in nats per token, their logarithms, so that one margin fits all scales:
0.01 nats is one per cent of perplexity.
"""

from collections.abc import Mapping

from harness.check import BudgetRatio, Check, Converged, Floor, Measured
from harness.claim import Basis, Beats, Citation, Claim, Trend, declared
from suites.bam import counts
from suites.bam.data.datasets import DOMAINS, SPECIALITIES
from suites.bam.downstream import benchmarks

MARGIN = 0.01
VERSION = 2
"""Of all claims but the exact ones. 1 was judged with one seed model and one set of experts."""
BASIS = Basis(text="one per cent of perplexity, whatever the scale", date="2026-11-29")
CONTROL = "additional control, not in the paper"
BEYOND = "a question beyond the paper"
AXIS = "width"
"""Along it the primary claims are measured too."""
AT_REST = 0.07
"""Nats by which the held-out loss may still change between the last two tenths of the phase: about
a tenth of what the whole phase brings in pilots."""
MARGIN_PER_HALVING = 0.002
"""Nats by which a lead must change for each doubling of the tokens to count as a trend."""


def _lower(
    name: str,
    text: str,
    source: str,
    a: str,
    b: str,
    tasks: tuple[str, ...] = DOMAINS,
    axis: str = "",
) -> Beats:
    """On the texts of the data folder or on public ones, whichever a scale has."""
    either = (*tasks, *(f"{task}-public" for task in tasks))
    return Beats(
        name=name, text=text, source=source, metric="nats", tasks=either, a=a, b=b, margin=MARGIN,
        version=VERSION, axis=axis,
    )  # fmt: skip


def claims() -> tuple[Claim, ...]:
    """All claims: BAM's paper, BTX's paper, later methods, controls, and the exact counts."""
    pairs = {
        "data": ("bam", "btx"),
        "compute": ("bam-cm", "btx"),
        "own-kv": ("bam", "bam-shared-kv"),
        "shared-kv": ("bam-shared-kv", "btx"),
        "control-uniform": ("bam", "bam-uniform"),
    }
    return declared(
        (
            *_bam(),
            *_ablations(),
            *_along_tokens(),
            *_btx(),
            *_later(),
            *_specialists(),
            *_downstream(),
            *counts.claims(),
        ),
        primary=tuple(pairs),
        additional=("control-averaging",),
        rests_on=BASIS,
        checks=_checks(pairs),
        citations={
            "data": _cited("Table 1", "BAM against BTX, data-matched", 0.0935),
            "compute": _cited("Table 1", "BAM against BTX, compute-matched", 0.0669),
            "own-kv": _cited("Table 1", "BAM and BAM with shared keys and values", 0.0560),
            "shared-kv": _cited("Table 1", "BAM with shared keys and values against BTX", 0.0375),
        },
    )


def _checks(pairs: Mapping[str, tuple[str, str]]) -> dict[str, tuple[Check, ...]]:
    """What must be so before a claim is judged, by its name.

    Args:
        pairs: the sides of the primary claims.
    """
    found: dict[str, tuple[Check, ...]] = {}
    for name, (a, b) in pairs.items():
        # The sides of `compute` have phases of other lengths: their curves do not compare.
        settled = () if name == "compute" else (_settled(a, b),)
        found[name] = (_at_rest(a, b), *settled)
    for name in ("control-averaging", "btx-forgets", "btx-dense", "btx-btm"):
        found[name] = (_at_rest("btx"),)
    for name in ("parameters", "active-parameters", *(f"bam-{domain}" for domain in DOMAINS)):
        found[name] = (_at_rest("bam", "btx"),)
    compute = _budget("bam-cm", "btx", 1.25)
    found["compute"] += (compute,)
    found |= {f"bam-{domain}-cm": (_at_rest("bam-cm", "btx"), compute) for domain in DOMAINS}
    found["shared-kv-cm"] = (_budget("bam-shared-kv-cm", "btx", 1.13),)
    found["own-kv-cm"] = (_budget("bam-cm", "bam-shared-kv-cm", 1.25 / 1.13),)
    return found


def _cited(place: str, row: str, effect: float) -> Citation:
    """With the mean over domains of the log ratio of the published perplexities, in nats."""
    return Citation(version="arXiv 2408.08274", place=place, row=row, effect=effect)


def _budget(a: str, b: str, ratio: float) -> BudgetRatio:
    """The paper's ratio of FLOPs per token, in its 590M model, to within a tenth."""
    return BudgetRatio(
        a=a, b=b, count="flops", per="tokens", ratio=ratio, within=0.1, tasks=("cost*",)
    )


def _settled(a: str, b: str) -> Measured:
    """The lead itself has come to rest: it changes by less than the margin."""
    return Measured(
        function="suites.bam.leads:change",
        label=f"last change of the lead of {a} over {b} on held-out text",
        methods=(a, b),
        at_most=MARGIN,
        tasks=("cost*",),
    )


def _at_rest(*methods: str) -> Converged:
    """The mixture phase no longer repairs what the merge broke."""
    return Converged(methods=methods, series="held-out", within=AT_REST, tasks=("cost*",))


def _bam() -> list[Claim]:
    beats: list[Claim] = []
    for suffix, matched in (("", "data"), ("-cm", "compute")):
        beats.append(
            _lower(
                matched,
                f"BAM has a lower perplexity than BTX, {matched}-matched, averaged over domains.",
                "Table 1",
                f"bam{suffix}",
                "btx",
                axis=AXIS,
            )
        )
        beats += [
            _lower(
                f"bam-{domain}{suffix}",
                f"BAM has a lower perplexity than BTX on {domain}, {matched}-matched.",
                "Table 1",
                f"bam{suffix}",
                "btx",
                (domain,),
            )
            for domain in DOMAINS
        ]
        beats += [
            _lower(
                f"own-kv{suffix}",
                "BAM with separate keys and values has a lower perplexity than BAM with shared "
                f"ones, {matched}-matched.",
                "Table 1",
                f"bam{suffix}",
                f"bam-shared-kv{suffix}",
                axis="" if suffix else AXIS,
            ),
            _lower(
                f"shared-kv{suffix}",
                "BAM with shared keys and values has a lower perplexity than BTX, "
                f"{matched}-matched.",
                "Table 1",
                f"bam-shared-kv{suffix}",
                "btx",
                axis="" if suffix else AXIS,
            ),
        ]
    beats.append(
        _lower(
            "btx-forgets",
            "BTX has a higher perplexity than the seed model on general text.",
            "Table 1",
            "seed",
            "btx",
            ("general",),
        )
    )
    return beats


def _ablations() -> list[Claim]:
    return [
        _lower(
            "parameters",
            "BAM has a lower perplexity than BTX with six experts, which has as many parameters.",
            "Table 4",
            "bam",
            "btx-6",
        ),
        _lower(
            "active-parameters",
            "BAM has a lower perplexity than BTX with top-3 of six experts, which has as many "
            "active parameters.",
            "Table 5",
            "bam",
            "btx-6-top3",
        ),
        _lower(
            "soft-top2",
            "BAM with soft attention routing has a lower perplexity than with top-2, "
            "compute-matched, shared keys and values.",
            "Table 6",
            "bam-shared-kv-cm",
            "top2-cm",
        ),
        _lower(
            "top2-top1",
            "BAM with top-2 attention routing has a lower perplexity than with top-1, "
            "compute-matched, shared keys and values.",
            "Table 6",
            "top2-cm",
            "top1-cm",
        ),
        _lower(
            "control-uniform",
            "BAM has a lower perplexity than the same mixture with fixed uniform attention gates: "
            "routing, not only averaging.",
            CONTROL,
            "bam",
            "bam-uniform",
            axis=AXIS,
        ),
        _lower(
            "control-averaging",
            "BAM with fixed uniform attention gates has a lower perplexity than BTX.",
            CONTROL,
            "bam-uniform",
            "btx",
        ),
    ]


def _along_tokens() -> list[Claim]:
    """Four lengths of the mixture phase, a factor of eight; positive: the lead grows with tokens.

    The paper's small models have 100 billion tokens in this phase.
    """
    tasks = ("mean", "mean-half", "mean-quarter", "mean-eighth")
    return [
        Trend(
            name=f"tokens-{name}",
            text=f"The lead of {label} grows with the tokens of the mixture phase, toward the "
            "paper's 100 billion.",
            source=BEYOND,
            metric="nats",
            tasks=tasks,
            a=a,
            b=b,
            over="halvings",
            direction="up",
            margin=MARGIN_PER_HALVING,
            version=VERSION,
        )
        for name, label, a, b in (
            ("data", "BAM over BTX at equal tokens", "bam", "btx"),
            ("compute", "BAM over BTX at equal compute", "bam-cm", "btx"),
            ("uniform", "BAM over uniform attention gates", "bam", "bam-uniform"),
        )
    ]


def _btx() -> list[Claim]:
    source = "BTX, Table 2 (downstream there, perplexity here)"
    return [
        _lower(f"btx-{name}", f"BTX has a lower perplexity than {label}.", source, "btx", name)
        for name, label in (
            ("dense", "one dense model trained on the same data"),
            ("btm", "the BTM ensemble of its experts"),
            ("sparse-upcycling", "sparse upcycling of a dense model trained on the same data"),
        )
    ]


def _later() -> list[Claim]:
    """BAM against what a reader would try today; sources stand at the methods."""
    return [
        _lower(f"bam-{name}", f"BAM has a lower perplexity than {label}.", BEYOND, "bam", method)
        for name, method, label in (
            ("top2", "btx-top2", "BTX with its own gate, the best two experts renormalised"),
            ("drop", "drop-upcycling", "Drop-Upcycling of a dense model trained on the same data"),
            ("means", "bam-means", "the same mixture with routers from domain means"),
            ("ridge", "bam-ridge", "the same mixture with ridge-regression routers, untrained"),
            ("frozen", "bam-frozen", "the same mixture with frozen experts and trained routers"),
        )
    ]


def _downstream() -> list[Claim]:
    """Table 3 is of the 2B models; small ones were at chance in the paper as well."""
    groups = [g for g in benchmarks.GROUPS if g not in ("code", "code-choice", "generated")]
    tasks = {g: (f"downstream-{g}", f"downstream-{g}-public") for g in groups}
    accuracy = [
        Beats(
            name=f"downstream-{group}",
            text=f"BAM answers more questions of {group} right than BTX.",
            source="Table 3, data-matched",
            metric="accuracy",
            tasks=tasks[group],
            a="bam",
            b="btx",
            margin=1.0,
            version=VERSION,
            rests_on=Basis(text="one point of accuracy", date=BASIS.date),
            checks=(Floor(method="btx", metric="above-chance", bound=2.0),),
        )
        for group in groups
    ]
    bits = Beats(
        name="downstream-bits",
        text="BAM gives the right answers of the benchmarks a higher probability than BTX, in bits "
        "per byte, where they are texts.",
        source="beside Table 3: a graded measure where accuracy is at chance",
        metric="answer-bits",
        tasks=tuple(name for group in ("math", "knowledge", "reasoning") for name in tasks[group]),
        a="bam",
        b="btx",
        margin=0.01,
        version=VERSION,
        rests_on=Basis(text="a hundredth of a bit per byte", date=BASIS.date),
    )
    return [*accuracy, bits]


def _specialists() -> list[Claim]:
    beats: list[Claim] = []
    for domain in SPECIALITIES:
        expert = f"expert-{domain}"
        beats += [
            _lower(
                f"{expert}-own",
                f"The {domain} expert has a lower perplexity than the seed model on its own "
                "domain.",
                "Table 1",
                expert,
                "seed",
                (domain,),
            ),
            _lower(
                f"{expert}-general",
                f"The {domain} expert has a higher perplexity than the seed model on general text.",
                "Table 1",
                "seed",
                expert,
                ("general",),
            ),
            _lower(
                f"bam-{expert}",
                f"BAM has a lower perplexity than the {domain} expert on the expert's domain: so "
                "at 590M, not at 2B.",
                "Table 1, against Table 2",
                "bam",
                expert,
                (domain,),
            ),
        ]
    return beats
