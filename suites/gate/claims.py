"""What the paper says and what it leaves open, as data; margins were fixed before any run."""

from harness.check import Ceiling, Converged, Floor, Measured
from harness.claim import Basis, Beats, Citation, Claim, Competitive, Level, Trend, declared
from suites.gate.datasets import SMALL

CONTROL = "additional control, not in the paper"
BASIS = Basis(
    text="a point of accuracy is a third of a standard error on 250 test nodes; five points where "
    "the paper speaks of tens",
    date="2026-11-24",
)
RANKED = ("minesweeper", "tolokers", "questions")
"""Heterophilic graphs of the paper that are scored by ROC-AUC; the other two by accuracy."""

_GROUPS = (
    "on self-er2 with 5 layers GATE is two groups (4 seeds at 99.6 to 100 %, 6 at 82 to 88 % that "
    "never fit), so that its mean describes neither; to be tested again with longer training"
)
_TURNS = (
    "at laptop scale training stops in mid-climb (200 epochs); at 1,000 and two layers it turns "
    "round (GAT 88.5, GATE 87.7), at five it stays; to be tested again at 1,000 "
    "epochs or more"
)
_MID_CLIMB = (
    "at laptop scale training stops in mid-climb (200 epochs); to be tested again at "
    "1,000 epochs or more"
)
_BEYOND = (
    "beyond the paper: these graphs are not in the released settings, whose heterophilic graphs "
    "are Platonov's five; to be tested again on those five"
)
_SMOOTH = (
    "minesweeper is stopped in mid-climb, and the other graphs are beyond the paper (not in the "
    "released settings); to be tested again on Platonov's five graphs"
)


def claims() -> tuple[Claim, ...]:
    """All claims: each for unshared and shared weights, then the controls."""
    random_labels = ("self-er2-l[25]", "self-er8-l[25]", "self-cora-random-l[25]")
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
                tasks=random_labels,
                a=gate,
                b=gat,
                margin=5.0,
                caveat="" if shared else _GROUPS,
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
                caveat="" if shared else _GROUPS,
            ),
            Beats(
                name=f"minesweeper{suffix}",
                text=f"GATE beats GAT on minesweeper{sharing}.",
                source="heterophilic graphs, ROC-AUC",
                metric="roc-auc",
                tasks=("minesweeper-l[25]",),
                a=gate,
                b=gat,
                margin=1.0,
                caveat=_MID_CLIMB if shared else _TURNS,
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
                tasks=("minesweeper-l5", *(f"{name}-l5" for name in SMALL)),
                a=gate,
                b=gat,
                margin=0.02,
                caveat=_SMOOTH,
            ),
            Beats(
                name=f"energy{suffix}",
                text="GATE keeps more Dirichlet energy than GAT in the last hidden layer on "
                f"heterophilic graphs{sharing}.",
                source="smoothness measures",
                metric="energy",
                tasks=("minesweeper-l5", *(f"{name}-l5" for name in SMALL)),
                a=gate,
                b=gat,
                margin=0.1,
                caveat=_SMOOTH,
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
            caveat=f"minesweeper alone at laptop scale; {_MID_CLIMB}",
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
            name="control-residual-self",
            text="GATE beats GAT with a linear residual on self-sufficient tasks.",
            source=CONTROL,
            metric="accuracy",
            tasks=random_labels,
            a="gate",
            b="residual-gat",
            margin=1.0,
            caveat=_GROUPS,
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
            caveat=_MID_CLIMB,
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
            tasks=random_labels,
            a="gate",
            b="gat-sep",
            margin=1.0,
            caveat=_GROUPS,
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
            caveat=_MID_CLIMB,
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
        additional=("control-*", "heterophilic", "heterophilic-shared"),
        rests_on=BASIS,
        checks={
            "self-sufficient": (
                Floor(method="gat", bound=15.0),
                Ceiling(method="gat", bound=99.0, tasks=("self-er8-l5", "self-cora-random-l5")),
            ),
            "heterophilic-paper": _settled("gate", "gat"),
            "minesweeper": _settled("gate", "gat"),
            "minesweeper-shared": _settled("gate-shared", "gat-shared"),
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


def _settled(a: str, b: str) -> tuple[Converged, Measured]:
    """Training was not stopped in mid-climb: by the curve, and by the epoch that was selected."""
    return (
        Converged(methods=(a, b), series="val", within=0.5, label="last change of validation"),
        Measured(
            function="suites.gate.checks:late",
            methods=(a, b),
            at_most=0.5,
            label="runs whose best epoch lies in the last tenth",
        ),
    )
