"""Ridge-regression routers against the textbook formula, and that they tell domains apart."""

import numpy as np
import pytest
import torch

from suites.bam.model import ridge
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig
from suites.bam.model.upcycle import upcycle


def _mixture(method: str = "bam") -> BamForCausalLM:
    config = BamConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=2,
    )  # fmt: skip
    dense = []
    for seed in range(3):
        model = BamForCausalLM(config)
        model.reset_parameters(torch.Generator().manual_seed(seed))
        dense.append(model)
    generator = torch.Generator().manual_seed(3)
    return upcycle(dense, method, generator)  # type: ignore[arg-type]


def _texts(seed: int = 0) -> list[torch.Tensor]:
    """Three domains with vocabularies of their own."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(10 * k, 10 * k + 10, (256,), generator=generator) for k in range(3)]


def test_the_weights_are_those_of_ridge_regression_up_to_a_factor() -> None:
    rng = np.random.default_rng(0)
    h_ND, domain_N = rng.normal(size=(60, 5)), np.repeat(range(3), 20)
    target_NE = np.eye(3)[domain_N] - 1 / 3
    penalty = ridge.PENALTY * np.diag(h_ND.T @ h_ND).mean()
    expected = np.linalg.inv(h_ND.T @ h_ND + penalty * np.eye(5)) @ h_ND.T @ target_NE
    found = ridge.regression(torch.from_numpy(h_ND), torch.from_numpy(domain_N), 3).numpy()
    factor = found[0, 0] / expected[0, 0]
    assert np.log2(factor) == pytest.approx(round(np.log2(factor)), abs=1e-4)
    np.testing.assert_allclose(found, factor * expected.T, rtol=1e-4)


@pytest.mark.parametrize("method", ["bam", "btx"])
def test_routers_send_other_texts_of_a_domain_to_its_expert(method: str) -> None:
    model = _mixture(method)
    ridge.fit(model.train(), _texts(), 16)
    assert model.training
    for expert, ids in enumerate(_texts(seed=1)):
        with torch.no_grad():
            output = model.eval()(ids.view(-1, 16), output_routing=True, skip_logits=True)
        assert (output.ffn_load_LE[:, expert] > 0.8).all()
        if method == "bam":
            assert (output.attention_gate_LE[:, expert] > 0.5).all()


def test_only_routers_change() -> None:
    before, after = _mixture(), _mixture()
    ridge.fit(after, _texts(), 16)
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        assert torch.equal(old, new) != name.endswith("router.weight"), name
