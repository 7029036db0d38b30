"""Today's specifications in their former form are those that committed records hold."""

from harness import plan, registry
from harness.record import digest

GOLDEN = {
    (
        "smoke",
        "gat",
        "self-er8-l2",
        0,
    ): "09f57fc25f9cd38116979e9ed2629aba9277248a6a51e8e07a2389dbdfa5c1a6",
    (
        "laptop",
        "gate",
        "neighbour3-l4",
        3,
    ): "053f6fa90f31b386cda83739077f3b6af30eede018a2979feb775f3fe7c438fc",
    (
        "laptop",
        "mlp",
        "texas-l2",
        1,
    ): "6a8dad01e4a8cd9d3a7ead49a30fa750959946d926ff37faf0ea0745ebc6dc31",
    (
        "gpu",
        "gate",
        "minesweeper-l10",
        2,
    ): "fcfe2d1cc2599ac389f953522ec10954f24bb8712388af7b5da703dfbd4051f7",
    (
        "paper",
        "gcn",
        "ogbn-arxiv-l12",
        4,
    ): "a7f05474276219b2df5a1f2ea486c22a88bd8230730fc956bd3435d139df8a41",
}
"""Identities of trials before settings had types."""


def test_former_identities() -> None:
    suite = registry.load("gate")
    former = registry.call(str(suite.former))
    found = {}
    for scale, method, task, seed in GOLDEN:
        chosen = plan.Filters((method,), (task,), (seed,))
        (trial,) = plan.trials(suite, suite.scale(scale), "cpu", chosen)[0]
        found[scale, method, task, seed] = digest(former(trial.spec))
    assert found == GOLDEN
