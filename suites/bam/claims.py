"""What the papers say of perplexity, as data; margins were fixed before any run.

Perplexities are compared as nats by token, their logarithms, so that one margin fits all scales:
0.01 nats is one per cent of perplexity.
"""

from harness.suite import Beats, Claim
from suites.bam import counts
from suites.bam.data.datasets import DOMAINS, SPECIALITIES

MARGIN = 0.01


def _below(
    name: str, text: str, source: str, a: str, b: str, tasks: tuple[str, ...] = DOMAINS
) -> Beats:
    """On the texts of the data folder or on public ones, whichever a scale has."""
    either = (*tasks, *(f"{task}-public" for task in tasks))
    return Beats(
        name=name, text=text, source=source, metric="nats", tasks=either, a=a, b=b, margin=MARGIN
    )


def claims() -> tuple[Claim, ...]:
    """All claims: BAM's paper, BTX's paper, controls, and the exact counts."""
    return (*_bam(), *_ablations(), *_btx(), *_specialists(), *counts.claims())


def _bam() -> list[Claim]:
    made: list[Claim] = []
    for suffix, matched in (("", "data"), ("-cm", "compute")):
        made += [
            _below(
                f"bam-{domain}{suffix}",
                f"BAM has a lower perplexity than BTX on {domain}, {matched}-matched.",
                "Table 1",
                f"bam{suffix}",
                "btx",
                (domain,),
            )
            for domain in DOMAINS
        ]
        made += [
            _below(
                f"own-kv{suffix}",
                f"BAM with own keys and values is below BAM with shared ones, {matched}-matched.",
                "Table 1",
                f"bam{suffix}",
                f"bam-shared-kv{suffix}",
            ),
            _below(
                f"shared-kv{suffix}",
                f"BAM with shared keys and values is below BTX, {matched}-matched.",
                "Table 1",
                f"bam-shared-kv{suffix}",
                "btx",
            ),
        ]
    made.append(
        _below(
            "btx-forgets",
            "BTX loses general perplexity against the seed.",
            "Table 1",
            "seed",
            "btx",
            ("general",),
        )
    )
    return made


def _ablations() -> list[Claim]:
    return [
        _below(
            "parameters",
            "BAM is below BTX with six experts, of as many parameters.",
            "Table 4",
            "bam",
            "btx-6",
        ),
        _below(
            "active-parameters",
            "BAM is below BTX that visits three of six experts, of as many active parameters.",
            "Table 5",
            "bam",
            "btx-6-top3",
        ),
        _below(
            "soft-top2",
            "Soft attention routing is below top-2, compute-matched, shared keys and values.",
            "Table 6",
            "bam-shared-kv-cm",
            "top2-cm",
        ),
        _below(
            "top2-top1",
            "Top-2 attention routing is below top-1, compute-matched, shared keys and values.",
            "Table 6",
            "top2-cm",
            "top1-cm",
        ),
        _below(
            "control-uniform",
            "BAM is below the same mixture with fixed uniform attention gates: routing, not only "
            "averaging.",
            "control: no paper prints it",
            "bam",
            "bam-uniform",
        ),
        _below(
            "control-averaging",
            "The same mixture with fixed uniform attention gates is below BTX already.",
            "control: no paper prints it",
            "bam-uniform",
            "btx",
        ),
    ]


def _btx() -> list[Claim]:
    source = "BTX, Table 2 (downstream there, perplexity here)"
    return [
        _below(f"btx-{name}", f"BTX is below {label}.", source, "btx", name)
        for name, label in (
            ("dense", "one dense model trained on the same data"),
            ("btm", "the ensemble of its experts"),
            ("sparse-upcycling", "sparse upcycling"),
        )
    ]


def _specialists() -> list[Claim]:
    made: list[Claim] = []
    for domain in SPECIALITIES:
        expert = f"expert-{domain}"
        made += [
            _below(
                f"{expert}-own",
                f"The {domain} expert is below the seed on its own domain.",
                "Table 1",
                expert,
                "seed",
                (domain,),
            ),
            _below(
                f"{expert}-general",
                f"The {domain} expert is above the seed on general text.",
                "Table 1",
                "seed",
                expert,
                ("general",),
            ),
            _below(
                f"bam-{expert}",
                f"BAM is below the {domain} expert on its own domain: so at 590M, not at 2B.",
                "Table 1, against Table 2",
                "bam",
                expert,
                (domain,),
            ),
        ]
    return made
