"""What the paper says and what it leaves open, as data; margins were fixed before any run."""

from harness.suite import Beats, Claim, Competitive, Level, Trend

SMALL = ("texas", "wisconsin", "cornell", "actor", "chameleon-filtered", "squirrel-filtered")
"""Heterophilic graphs whose metric is accuracy."""


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
                text=f"GATE beats GAT where neighbours are noise, 2 and 5 layers{sharing}.",
                source="synthetic self-sufficient task",
                metric="accuracy",
                tasks=random_labels,
                a=gate,
                b=gat,
                margin=5.0,
            ),
            Level(
                name=f"alpha-gate{suffix}",
                text=f"GATE's middle layers give nearly all weight to the node itself{sharing}.",
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
                text=f"GAT's middle layers cannot{sharing}: alpha_vv stays below one half.",
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
                text=f"With depth GATE keeps or gains what GAT loses{sharing}.",
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
                text=f"GATE beats GAT on minesweeper{sharing}.",
                source="heterophilic graphs, ROC-AUC",
                metric="roc-auc",
                tasks=("minesweeper-l[25]",),
                a=gate,
                b=gat,
                margin=1.0,
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
                text="GATE beats GAT where labels come from neighbours and layers are spare"
                f"{sharing}.",
                source="synthetic neighbour-dependent task",
                metric="accuracy",
                tasks=("neighbour1-l[23]", "neighbour2-l[34]", "neighbour3-l[45]"),
                a=gate,
                b=gat,
                margin=1.0,
            ),
            Beats(
                name=f"smoothing{suffix}",
                text=f"GATE smooths less than GAT: higher MAD in the last hidden layer{sharing}.",
                source="smoothness measures",
                metric="mad",
                tasks=("minesweeper-l5", *(f"{name}-l5" for name in SMALL)),
                a=gate,
                b=gat,
                margin=0.02,
            ),
            Beats(
                name=f"energy{suffix}",
                text=f"GATE keeps more Dirichlet energy in the last hidden layer{sharing}.",
                source="smoothness measures",
                metric="energy",
                tasks=("minesweeper-l5", *(f"{name}-l5" for name in SMALL)),
                a=gate,
                b=gat,
                margin=0.1,
            ),
        ]
    claims += [
        Beats(
            name="control-residual-self",
            text="GATE beats a GAT with a plain linear residual where neighbours are noise.",
            source="control: no paper prints it",
            metric="accuracy",
            tasks=random_labels,
            a="gate",
            b="residual-gat",
            margin=1.0,
        ),
        Beats(
            name="control-residual-minesweeper",
            text="GATE beats a GAT with a plain linear residual on minesweeper.",
            source="control: no paper prints it",
            metric="roc-auc",
            tasks=("minesweeper-l[25]",),
            a="gate",
            b="residual-gat",
            margin=1.0,
        ),
        Beats(
            name="control-residual-heterophilic",
            text="GATE beats a GAT with a plain linear residual on small heterophilic graphs.",
            source="control: no paper prints it",
            metric="accuracy",
            tasks=small,
            a="gate",
            b="residual-gat",
            margin=1.0,
        ),
        Beats(
            name="control-sep-self",
            text="GATE beats GAT-sep where neighbours are noise.",
            source="control: no paper prints it",
            metric="accuracy",
            tasks=random_labels,
            a="gate",
            b="gat-sep",
            margin=1.0,
        ),
        Beats(
            name="control-sep-minesweeper",
            text="GATE beats GAT-sep on minesweeper.",
            source="control: no paper prints it",
            metric="roc-auc",
            tasks=("minesweeper-l[25]",),
            a="gate",
            b="gat-sep",
            margin=1.0,
        ),
        Beats(
            name="control-mlp-heterophilic",
            text="GATE beats an MLP on small heterophilic graphs: the graph helps at all.",
            source="MLP baseline of the released code",
            metric="accuracy",
            tasks=small,
            a="gate",
            b="mlp",
            margin=1.0,
        ),
    ]
    return tuple(claims)
