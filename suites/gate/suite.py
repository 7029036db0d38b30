"""GATE against GAT: can graph attention switch its neighbours off, and does that help?

The experiment as data: `methods.py` meet `tasks.py` at `scales.py`, judged by `claims.py`; here is
what is measured and shown.
"""

from harness.suite import Answer, Figure, Metric, Paper, Quantity, Suite, Table
from suites.gate.claims import claims
from suites.gate.datasets import CITATION, SMALL, datasets
from suites.gate.methods import methods
from suites.gate.scales import scales
from suites.gate.tasks import tasks


def _metrics() -> tuple[Metric, ...]:
    def score(name: str, label: str, select: str) -> Metric:
        return Metric(
            name=name, label=label, unit="%", better="higher", split="test", select=select,
            lowest=0.0, highest=100.0,
        )  # fmt: skip

    best, last = "best validation epoch", "last epoch"
    return (
        score("accuracy", "accuracy", best),
        score("accuracy-last", "accuracy", last),
        score("roc-auc", "ROC-AUC of scores", best),
        score("roc-auc-last", "ROC-AUC of scores", last),
        score("hard-roc-auc", "ROC-AUC of predicted labels", best),
        score("hard-roc-auc-last", "ROC-AUC of predicted labels", last),
        Metric(
            name="alpha-middle",
            label="mean alpha_vv of the middle layers",
            unit="",
            better="neither",
            split="all nodes",
            select=best,
            digits=3,
            lowest=0.0,
            highest=1.0,
        ),
        Metric(
            name="switched-off",
            label="runs whose middle layers switch neighbours off (mean alpha_vv above 0.9)",
            unit="%",
            better="neither",
            split="all nodes",
            select=best,
            lowest=0.0,
            highest=100.0,
        ),
        Metric(
            name="energy",
            label="log10 neighbour Dirichlet energy of the last hidden layer",
            unit="",
            better="higher",
            split="all nodes",
            select=best,
            digits=2,
        ),
        Metric(
            name="mad",
            label="neighbour MAD of the last hidden layer",
            unit="",
            better="higher",
            split="all nodes",
            select=best,
            digits=3,
            lowest=0.0,
        ),
    )


def _tables() -> tuple[Table, ...]:
    return (
        Table(
            name="self-sufficient",
            title="Self-sufficient tasks: neighbours are noise",
            metric="accuracy",
            tasks=("self-*",),
            rows="tasks",
        ),
        Table(
            name="neighbour-dependent",
            title="Neighbour-dependent tasks: labels come from k hops away",
            metric="accuracy",
            tasks=("neighbour*",),
            rows="tasks",
        ),
        Table(
            name="minesweeper",
            title="Minesweeper",
            metric="roc-auc",
            tasks=("minesweeper*", "tolokers*", "questions*"),
            rows="tasks",
        ),
        Table(
            name="paper-code-auc",
            title="The released code's protocol: one-way edges, ROC-AUC of predicted labels",
            metric="hard-roc-auc",
            tasks=("*-paper-code",),
            rows="tasks",
            note="Compare with the same graph and depth in the table above: that difference is "
            "what the choice of protocol costs.",
        ),
        Table(
            name="heterophilic",
            title="Heterophilic graphs",
            metric="accuracy",
            tasks=tuple(f"{name}-l*" for name in (*SMALL, "roman-empire", "amazon-ratings")),
            rows="tasks",
            note="Rows that end in paper-code use edges one way, as the released loader does. "
            "Graphs other than roman-empire and amazon-ratings are beyond the paper: they are not "
            "in the released settings.",
        ),
        Table(
            name="homophilic",
            title="Homophilic graphs",
            metric="accuracy",
            tasks=("cora-l*", "citeseer-l*", "pubmed-l*", "ogbn-arxiv-l*"),
            rows="tasks",
        ),
        Table(
            name="alpha",
            title="Mean attention to the node itself (alpha_vv), middle layers",
            metric="alpha-middle",
            methods=("gat*", "gate*", "residual-gat"),
            tasks=("*-l5",),
            rows="tasks",
        ),
        Table(
            name="switched-off",
            title="Share of runs whose middle layers switch their neighbours off",
            metric="switched-off",
            methods=("gat*", "gate*", "residual-gat"),
            tasks=("*-l5", "*-l10"),
            rows="tasks",
            note="A run counts where the mean alpha_vv of its middle layers is above 0.9. Where "
            "runs fall into two groups, a mean of accuracies describes neither.",
        ),
        Table(
            name="smoothing",
            title="Distance between neighbours in the last hidden layer",
            metric="mad",
            tasks=("*-l5",),
            rows="tasks",
        ),
        Table(
            name="energy",
            title="Dirichlet energy of the last hidden layer",
            metric="energy",
            tasks=("*-l5",),
            rows="tasks",
        ),
        Table(
            name="selection",
            title="Without selection: the last epoch of the same runs",
            metric="accuracy-last",
            tasks=("self-*", "neighbour*", *(f"{name}-l*" for name in (*SMALL, *CITATION))),
            rows="tasks",
        ),
    )


def _figures() -> tuple[Figure, ...]:
    return (
        Figure(
            name="depth",
            title="Accuracy against depth",
            draw="suites.gate.figures:depth",
            caption="Mean and 95 % interval over seeds.",
        ),
        Figure(
            name="alpha",
            title="Attention of nodes to themselves (alpha_vv), by layer",
            draw="suites.gate.figures:alpha",
            params={"without": ["*-shared", "residual-gat"]},  # they would hide each other
            caption="Share of nodes by alpha_vv: filled all seeds together, thin lines each; "
            "1 switches neighbours off.",
        ),
        Figure(
            name="energy",
            title="Neighbour Dirichlet energy by layer",
            draw="suites.gate.figures:energy",
            caption="Median over seeds, shaded from the lowest to the highest; layer 0 is the "
            "input.",
        ),
        Figure(
            name="protocols",
            title="What the released code's protocol costs",
            draw="suites.gate.figures:protocols",
            caption="The same methods on the same graphs: symmetric edges and ROC-AUC of scores, "
            "against one-way edges and ROC-AUC of labels.",
        ),
    )


def suite() -> Suite:
    """The suite, for `harness.registry`."""
    return Suite(
        name="gate",
        paper=Paper(
            title="GATE: How to Keep Out Intrusive Neighbors",
            authors="Nimrah Mustafa, Rebekka Burkholz",
            arxiv="2406.00418",
            venue="ICML",
            year=2024,
            numbers="The paper's full text was not available: of its numbers only the abstract's, "
            "79.57 ± 0.84 % for GATE on ogbn-arxiv, could be taken over.",
        ),
        summary="Graph attention with separate attention vectors for a node and its neighbours "
        "can switch the neighbours off. Does it, and is it better for it than GAT?",
        methods=methods(),
        tasks=tasks(),
        metrics=_metrics(),
        scales=scales(),
        datasets=datasets(fetch="suites.gate.hub:fetch"),
        claims=claims(),
        tables=_tables(),
        figures=_figures(),
        headline="self-sufficient",
        answers=(
            Answer(
                scale="laptop",
                text="Where neighbours are noise GATE switches them off and GAT does not; GATE is "
                "the better for it, the deeper the more, and on minesweeper too.",
                rests_on={
                    "self-sufficient": "holds",
                    "alpha-gate": "holds",
                    "alpha-gat": "holds",
                    "depth": "holds",
                    "heterophilic-paper": "holds",
                },
            ),
        ),
        distance=(
            Quantity(
                name="generated graphs' epochs", value="suites.gate.distance:generated_epochs"
            ),
            Quantity(name="real graphs' epochs", value="suites.gate.distance:real_epochs"),
        ),
        effort="suites.gate.effort:effort",
        preload=("suites.gate.trials:warm_up",),
        deviations=(
            "The full text of the paper was not available: claims are phrased from its abstract, "
            "its released code and excerpts, and its tables of accuracy are not quoted.",
            "The untrained network (epoch 0) takes part in the choice of the best validation "
            "epoch; the released code evaluates after its first update. About 1 % of the trials "
            "at laptop scale choose it, most of them MLPs and networks that never leave chance.",
            "A zero vector has cosine distance 1 to every other in MAD; the released measure "
            "becomes NaN.",
            "Measures that the released code prints at the epoch of the best validation accuracy "
            "are taken at the epoch that the task's own score selects.",
        ),
        defects=(
            "The released loader uses heterophilic graphs one way (each undirected edge is stored "
            "once and never mirrored). Protocol `standard` mirrors them, `paper-code` does not.",
            "The released code computes ROC-AUC on predicted labels, which is balanced accuracy. "
            "Protocol `standard` ranks scores, `paper-code` follows the code.",
            "The released ogbn-arxiv and ogbn-products scripts take the loss over validation and "
            "test nodes too. This suite trains on the training nodes alone; the printed 79.57 % is "
            "not a target.",
            "GAT uses LeakyReLU inside the attention and GATE uses ReLU, so that they differ in "
            "more than the second attention vector; kept, as in the released code.",
        ),
    )
