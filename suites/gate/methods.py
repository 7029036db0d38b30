"""What is compared: one network each, all run by `suites.gate.trials.run`."""

from harness.suite import Kind, Method
from suites.gate.settings import NetworkSettings


def methods() -> tuple[Method, ...]:
    """All methods, in the order of tables."""

    def method(name: str, label: str, kind: Kind = "baseline", *deviations: str) -> Method:
        return Method(
            name=name,
            label=label,
            kind=kind,
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
        method("mlp-gat", "MLP+GAT, fixed layers"),
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
    )
