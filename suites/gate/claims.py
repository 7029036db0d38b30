"""What the paper says and what it leaves open, as data; margins were fixed before any run."""

from collections.abc import Iterator

from harness.check import Ceiling, Floor, Measured
from harness.claim import Basis, Beats, Citation, Claim, Competitive, Level, Trend, declared
from suites.gate.datasets import SMALL
from suites.gate.tasks import DEEP

CONTROL = "additional control, not in the paper"
BASIS = Basis(
    text="a point of accuracy is a third of a standard error on 250 test nodes; five points where "
    "the paper speaks of tens",
    date="2026-11-24",
)
RANKED = ("minesweeper", "tolokers", "questions")
"""Heterophilic graphs of the paper that are scored by ROC-AUC; the other two by accuracy."""

_BEYOND = (
    "beyond the paper: these graphs are not in the released settings, whose heterophilic graphs "
    "are Platonov's five"
)
RANDOM_LABELS = ("self-er2-l[25]", "self-er8-l[25]", "self-cora-random-l[25]")
"""Self-sufficient tasks on which neighbours are noise."""


def claims() -> tuple[Claim, ...]:
    """All claims: each for unshared and shared weights, then the controls."""
    small = tuple(f"{name}-l[25]" for name in SMALL)
    claims: list[Claim] = []
    for gate, gat in (("gate", "gat"), ("gate-shared", "gat-shared")):
        shared = gat == "gat-shared"
        suffix, sharing = ("-shared", ", shared weights") if shared else ("", "")
        claims += [
            Beats(
                name=f"self-sufficient{suffix}",
                text="GATE beats GAT on self-sufficient tasks, where neighbours are noise, with 2 "
                f"and 5 layers{sharing}.",
                source="synthetic self-sufficient task",
                metric="accuracy",
                tasks=RANDOM_LABELS,
                a=gate,
                b=gat,
                margin=5.0,
            ),
            Level(
                name=f"alpha-gate{suffix}",
                text="GATE's middle layers give nearly all attention to the node itself on "
                f"self-sufficient tasks: alpha_vv is above 0.9{sharing}.",
                source="alpha_vv histograms",
                metric="alpha-middle",
                tasks=("self-er8-l5", "self-cora-random-l5"),
                a=gate,
                bound=0.9,
                direction="above",
                margin=0.05,
            ),
            Level(
                name=f"alpha-gat{suffix}",
                text="GAT's middle layers give most attention to the neighbours on self-sufficient "
                f"tasks: alpha_vv stays below 0.5{sharing}.",
                source="alpha_vv histograms",
                metric="alpha-middle",
                tasks=("self-er8-l5", "self-cora-random-l5"),
                a=gat,
                bound=0.5,
                direction="below",
                margin=0.05,
            ),
            Trend(
                name=f"depth{suffix}",
                text="From 2 to 5 layers GATE loses less accuracy than GAT on self-sufficient "
                f"tasks and citation graphs{sharing}.",
                source="depth, self-sufficient and citation graphs",
                metric="accuracy",
                tasks=("self-*-l[25]", "cora-l[25]", "citeseer-l[25]"),
                a=gate,
                b=gat,
                over="depth",
                direction="up",
                margin=0.5,
                group=("graph",),
            ),
            Beats(
                name=f"minesweeper{suffix}",
                text=f"GATE beats GAT on minesweeper with 2 layers{sharing}.",
                source="additional question: the released settings have 5 and 10 layers",
                metric="roc-auc",
                tasks=("minesweeper-l2",),
                version=2,  # 5 layers had been averaged in, where the answer is another
                a=gate,
                b=gat,
                margin=1.0,
                axis="" if shared else "epochs",
            ),
            Beats(
                name=f"heterophilic{suffix}",
                text=f"GATE beats GAT on small heterophilic graphs{sharing}.",
                source="heterophilic graphs, accuracy",
                metric="accuracy",
                tasks=small,
                a=gate,
                b=gat,
                margin=1.0,
                caveat=_BEYOND,
            ),
            Competitive(
                name=f"homophilic{suffix}",
                text=f"GATE is no worse than GAT on homophilic graphs{sharing}.",
                source="citation graphs, accuracy",
                metric="accuracy",
                tasks=("cora-l[25]", "citeseer-l[25]"),
                a=gate,
                b=gat,
                margin=1.0,
            ),
            Beats(
                name=f"neighbours{suffix}",
                text="GATE beats GAT on neighbour-dependent tasks with more layers than the label "
                f"needs{sharing}.",
                source="synthetic neighbour-dependent task",
                metric="accuracy",
                tasks=("neighbour1-l[23]", "neighbour2-l[34]", "neighbour3-l[45]"),
                a=gate,
                b=gat,
                margin=1.0,
            ),
            Beats(
                name=f"smoothing{suffix}",
                text="GATE smooths less than GAT on heterophilic graphs: higher MAD in the last "
                f"hidden layer{sharing}.",
                source="smoothness measures",
                metric="mad",
                tasks=("minesweeper-l5", "minesweeper-l10"),
                version=2,  # graphs that the paper does not have had been averaged in
                a=gate,
                b=gat,
                margin=0.02,
            ),
            Beats(
                name=f"energy{suffix}",
                text="GATE keeps more Dirichlet energy than GAT in the last hidden layer on "
                f"heterophilic graphs{sharing}.",
                source="smoothness measures",
                metric="energy",
                tasks=("minesweeper-l5", "minesweeper-l10"),
                version=2,  # graphs that the paper does not have had been averaged in
                a=gate,
                b=gat,
                margin=0.1,
            ),
        ]
    claims += [
        Beats(
            name="heterophilic-paper",
            text="GATE beats GAT on the heterophilic graphs of the paper that are scored by "
            "ROC-AUC, at its depths.",
            source="heterophilic graphs, ROC-AUC",
            metric="roc-auc",
            tasks=tuple(f"{graph}-l{depth}" for graph in RANKED for depth in (5, 10)),
            a="gate",
            b="gat",
            margin=1.0,
            axis="epochs",
        ),
        Beats(
            name="heterophilic-paper-accuracy",
            text="GATE beats GAT on the heterophilic graphs of the paper that are scored by "
            "accuracy, at its depths.",
            source="heterophilic graphs, accuracy",
            metric="accuracy",
            tasks=(
                "roman-empire-l5",
                "roman-empire-l10",
                "amazon-ratings-l5",
                "amazon-ratings-l10",
            ),
            a="gate",
            b="gat",
            margin=1.0,
        ),
        Beats(
            name="heterophilic-paper-shared",
            text="GATE beats GAT on minesweeper with 5 layers, shared weights.",
            source="heterophilic graphs, ROC-AUC",
            metric="roc-auc",
            tasks=("minesweeper-l5",),
            a="gate-shared",
            b="gat-shared",
            margin=1.0,
        ),
        Trend(
            name="depth-10",
            text="From 2 to 10 layers GATE loses less accuracy than GAT on self-sufficient tasks "
            "and citation graphs.",
            source="depth, self-sufficient and citation graphs; ten layers of the former are "
            "beyond the released settings",
            metric="accuracy",
            tasks=tuple(f"{name}-l*" for name in (*DEEP, "cora", "citeseer")),
            a="gate",
            b="gat",
            over="depth",
            direction="up",
            margin=0.5,
            group=("graph",),
        ),
        Beats(
            name="control-depth",
            text="GATE beats GAT on self-sufficient tasks at any depth up to 10.",
            source=CONTROL,
            metric="accuracy",
            tasks=tuple(f"{name}-l*" for name in DEEP),
            a="gate",
            b="gat",
            margin=1.0,
            axis="depth",
        ),
        *_ablations(),
        Beats(
            name="control-residual-self",
            text="GATE beats GAT with a linear residual on self-sufficient tasks.",
            source=CONTROL,
            metric="accuracy",
            tasks=RANDOM_LABELS,
            a="gate",
            b="residual-gat",
            margin=1.0,
        ),
        Beats(
            name="control-residual-minesweeper",
            text="GATE beats GAT with a linear residual on minesweeper.",
            source=CONTROL,
            metric="roc-auc",
            tasks=("minesweeper-l[25]",),
            a="gate",
            b="residual-gat",
            margin=1.0,
        ),
        Beats(
            name="control-residual-heterophilic",
            text="GATE beats GAT with a linear residual on small heterophilic graphs.",
            source=CONTROL,
            metric="accuracy",
            tasks=small,
            a="gate",
            b="residual-gat",
            margin=1.0,
            caveat=_BEYOND,
        ),
        Beats(
            name="control-sep-self",
            text="GATE beats GAT-sep on self-sufficient tasks.",
            source=CONTROL,
            metric="accuracy",
            tasks=RANDOM_LABELS,
            a="gate",
            b="gat-sep",
            margin=1.0,
        ),
        Beats(
            name="control-sep-minesweeper",
            text="GATE beats GAT-sep on minesweeper.",
            source=CONTROL,
            metric="roc-auc",
            tasks=("minesweeper-l[25]",),
            a="gate",
            b="gat-sep",
            margin=1.0,
        ),
        Beats(
            name="control-mlp-heterophilic",
            text="GATE beats an MLP, which ignores the graph, on small heterophilic graphs.",
            source="MLP baseline of the released code",
            metric="accuracy",
            tasks=small,
            a="gate",
            b="mlp",
            margin=1.0,
            caveat=_BEYOND,
        ),
    ]
    return declared(
        claims,
        primary=(
            "self-sufficient", "alpha-gate", "alpha-gat", "heterophilic-paper", "depth",
        ),
        additional=("control-*", "heterophilic", "heterophilic-shared", "minesweeper*"),
        rests_on=BASIS,
        checks={
            "self-sufficient": (
                Floor(method="gat", bound=15.0),
                Ceiling(method="gat", bound=99.0, tasks=("self-er8-l5", "self-cora-random-l5")),
            ),
            "heterophilic-paper": _settled("gate", "gat"),
            "heterophilic-paper-shared": _settled("gate-shared", "gat-shared"),
        },
        citations={
            name: Citation(version="released code, commit b265a36", place=place)
            for name, place in (
                ("self-sufficient*", "synthetic self-sufficient tasks"),
                ("alpha-*", "histograms of alpha_vv"),
                ("heterophilic-paper", "settings of the five heterophilic graphs"),
                ("depth*", "depths of the synthetic and citation graphs"),
            )
        },
    )  # fmt: skip


def _ablations() -> Iterator[Claim]:
    """What is left of the difference when all but one respect is the same on both sides."""
    pairs = (
        ("vector", "gate", "gat-relu", "GATE beats GAT with GATE's nonlinearity"),
        ("vector-leaky", "gate-leaky", "gat", "GATE with GAT's nonlinearity beats GAT"),
        ("nonlinearity", "gat-relu", "gat", "ReLU in place of LeakyReLU helps GAT"),
        ("start", "gat-zero", "gat", "starting from zero attention helps GAT"),
    )
    for name, a, b, text in pairs:
        for place, metric, tasks, where in (
            ("self", "accuracy", RANDOM_LABELS, "self-sufficient tasks"),
            ("minesweeper", "roc-auc", ("minesweeper-l5",), "minesweeper with 5 layers"),
        ):
            yield Beats(
                name=f"control-{name}-{place}",
                text=f"{text} on {where}.",
                source=CONTROL,
                metric=metric,
                tasks=tasks,
                a=a,
                b=b,
                margin=1.0,
            )
    yield Beats(
        name="control-tuned-minesweeper",
        text="GATE beats a residual GAT with norm and dropout on minesweeper with 5 layers.",
        source=CONTROL,
        metric="roc-auc",
        tasks=("minesweeper-l5",),
        a="gate",
        b="gat-residual-tuned",
        margin=1.0,
    )


def _settled(a: str, b: str) -> tuple[Measured]:
    """Training was not stopped in mid-climb: what is selected gains less than half the margin late.

    Whether the curve has come to rest does not matter: GAT with ten layers falls after its best
    epoch, which is the one that is measured.
    """
    return (
        Measured(
            function="suites.gate.checks:gained",
            methods=(a, b),
            at_most=0.5,
            label="gain of the selected validation score in the last tenth",
        ),
    )
