"""Drop-Upcycling: how much is drawn anew, from what distribution, and what stays."""

import torch

from suites.bam.model import redraw
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig
from suites.bam.model.upcycle import upcycle


def _sparse() -> BamForCausalLM:
    config = BamConfig(
        vocab_size=20, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2,
    )  # fmt: skip
    dense = BamForCausalLM(config)
    dense.reset_parameters(torch.Generator().manual_seed(0))
    with torch.no_grad():
        for layer in dense.model.layers:
            layer.feedforward.gate.add_(0.5)
    return upcycle([dense], "sparse", torch.Generator().manual_seed(1))


def test_the_share_is_drawn_anew_in_all_three_matrices_of_every_expert() -> None:
    before, after = _sparse(), _sparse()
    redraw.redraw(after, 0.5, torch.Generator().manual_seed(2))
    for one, other in zip(before.model.layers, after.model.layers, strict=True):
        old, new = one.feedforward, other.feedforward
        chosen = set()
        for expert in range(4):
            units = (old.gate[expert] != new.gate[expert]).all(dim=1)
            assert int(units.sum()) == 32
            assert torch.equal(units, (old.up[expert] != new.up[expert]).all(dim=1))
            assert torch.equal(units, (old.down[expert] != new.down[expert]).all(dim=0))
            assert torch.equal(old.gate[expert][~units], new.gate[expert][~units])
            assert torch.equal(old.down[expert][:, ~units], new.down[expert][:, ~units])
            chosen.add(tuple(units.tolist()))
        assert len(chosen) == 4
        assert torch.equal(one.attention.q.weight, other.attention.q.weight)


def test_what_is_drawn_has_the_mean_and_spread_of_what_it_replaces() -> None:
    before, after = _sparse(), _sparse()
    redraw.redraw(after, 0.5, torch.Generator().manual_seed(2))
    old, new = (m.model.layers[0].feedforward.gate.detach() for m in (before, after))
    drawn = new[old != new]
    assert abs(float(drawn.mean()) - 0.5) < 0.002
    assert 0.95 < float(drawn.std() / old[old != new].std()) < 1.05


def test_nothing_is_drawn_for_a_share_of_zero() -> None:
    before, after = _sparse(), _sparse()
    redraw.redraw(after, 0.0, torch.Generator().manual_seed(2))
    states = zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    assert all(torch.equal(old, new) for old, new in states)
