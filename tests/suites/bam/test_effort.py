"""The estimated work of a training, against the suite's own count of a model's operations."""

import pytest

from suites.bam import counts
from suites.bam.effort import effort
from suites.bam.methods import artifacts
from suites.bam.model.configuration import BamConfig
from suites.bam.settings import BamSettings, Evaluation, MixturePhase, ModelSize, Phases, Schedule

SIZE = ModelSize(hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4)
PARTS = {
    "expert-law": {},
    "mixture-btx": {"num_ffn_experts": 4},
    "mixture-bam": {"num_ffn_experts": 4, "num_attention_experts": 4},
    "mixture-bam-shared-kv": {
        "num_ffn_experts": 4, "num_attention_experts": 4, "shared_kv": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_flops_are_those_that_budgets_count(name: str) -> None:
    settings = BamSettings(
        model=SIZE, vocabulary=512, characters=1, context=32, batch=4, micro_batch=4,
        phases=Phases(
            seed=Schedule(steps=10, peak=0.1), expert=Schedule(steps=10, peak=0.1),
            mixture=MixturePhase(steps=10, peak=0.1),
        ),
        evaluation=Evaluation(tokens=100),
    )  # fmt: skip
    config = BamConfig(**SIZE.plain(), vocab_size=512, **PARTS[name])
    artifact = next(a for a in artifacts() if a.name == name)
    wanted = counts.training_flops(config, 32) * 10 * 4 * 32
    assert effort(artifact, None, settings).flops == pytest.approx(wanted, rel=0.02)
