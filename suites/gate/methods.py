"""What is compared: one network each, all run by `suites.gate.trials.run`."""

from harness.suite import Kind, Method
from suites.gate.settings import NetworkSettings

ABLATIONS = ("gate-leaky", "gat-relu", "gat-zero", "gat-residual-tuned")
"""Each differs from a method beside it in one respect alone: the last in how it is regularised."""


def methods() -> tuple[Method, ...]:
    """All methods, in the order of tables."""

    def method(
        name: str, label: str, kind: Kind = "baseline", *deviations: str, version: int = 1
    ) -> Method:
        return Method(
            name=name,
            label=label,
            kind=kind,
            version=version,
            run="suites.gate.trials:run",
            params=NetworkSettings(network=name).plain(),
            deviations=deviations,
        )

    untuned = "In the setting of the other methods, not tuned."
    return (
        method("gat", "GAT"),
        method("gat-shared", "GAT, shared weights"),
        method("gate", "GATE", "proposed"),
        method("gate-shared", "GATE, shared weights", "proposed"),
        method("mlp", "MLP"),
        method(
            "mlp-gat",
            "MLP+GAT, fixed layers",
            "baseline",
            "Tasks outside the ten released settings of this network get the learning rate 0.0005 "
            "and 5,000 epochs of most of these at paper scale.",
            version=2,  # shares weights, and has its own rates and epochs, as released
        ),
        method(
            "residual-gat",
            "GAT with a linear residual",
            "control",
            "Not in the paper: a residual is the cheapest way to keep a node's own features.",
        ),
        method(
            "gat-sep",
            "GAT-sep",
            "control",
            "Not in the paper: own and neighbours' messages kept apart, as Platonov et al. (2023) "
            "do, here without their feed-forward blocks, norms and dropout.",
        ),
        method("gcn", "GCN", "baseline", untuned),
        method("sage", "GraphSAGE", "baseline", untuned),
        method("fagcn", "FAGCN", "baseline", untuned),
        method(
            "gate-leaky",
            "GATE with LeakyReLU",
            "control",
            "Not in the paper: GATE with GAT's nonlinearity, so that only the second attention "
            "vector and the matrices tell them apart.",
        ),
        method(
            "gat-relu",
            "GAT with ReLU",
            "control",
            "Not in the paper: GAT with GATE's nonlinearity.",
        ),
        method(
            "gat-zero",
            "GAT from zero attention",
            "control",
            "Not in the paper: GAT with GATE's initial attention vector, so that it starts from "
            "the mean of the neighbours too; its matrices start as GAT's.",
        ),
        method(
            "gat-residual-tuned",
            "GAT, residual, norm, dropout",
            "control",
            "Not in the paper: the residual GAT with batch norm and dropout 0.2, as classic GNNs "
            "are tuned (Luo et al. 2024); width, rate and epochs are those of the other methods.",
        ),
    )
