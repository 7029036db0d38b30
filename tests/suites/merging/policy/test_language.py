"""The language model, and what policies take from it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from harness import plan, registry
from harness.data import Sources
from harness.errors import DataError
from harness.run import Context
from harness.settings import AdamW
from harness.store import Store
from suites.merging.policy import language
from suites.merging.policy.fast import FastDecisionTransformer
from suites.merging.policy.language import LanguageModel
from suites.merging.policy.model import Shape
from suites.merging.robots.mixtures import TEXTS
from suites.merging.settings import Training

SHAPE = Shape(3, 2, width=32, layers=2, context=4, max_steps=50, dropout=0.0)


@pytest.fixture
def context(tmp_path: Path) -> Callable[[], Context]:
    def make() -> Context:
        suite = registry.load("merging")
        wanted = plan.Filters(("individual",), ("hopper",), (0,))
        trial = plan.trials(suite, suite.scale("smoke"), "cpu", wanted)[0][0]
        return Context(trial, Store(tmp_path / "r", tmp_path / "c"), Sources(None, tmp_path))

    return make


def model(positions: int = 16) -> LanguageModel:
    return LanguageModel(SHAPE, positions, torch.Generator().manual_seed(0))


def test_the_text_is_long_and_english() -> None:
    text = language.manual()
    assert len(text) > 200_000
    assert text.count(" the ") > 2000


@pytest.fixture
def general(tmp_path: Path) -> Callable[[], Context]:
    """The context of a language model that reads the data folder in `tmp_path`."""
    suite = registry.load("merging")
    wanted = plan.Filters(("average-attn-pretrained",), ("hopper",), (0,))
    trials, nodes = plan.trials(suite, suite.scale("smoke"), "cpu", wanted)
    node = next(n for n in nodes.values() if n.artifact.name == "language-model")

    def make() -> Context:
        store = Store(tmp_path / "r", tmp_path / "c")
        return Context(trials[0], store, Sources(tmp_path, tmp_path), node=node)

    return make


def test_general_text_is_read_from_the_data_folder(
    general: Callable[[], Context], tmp_path: Path
) -> None:
    for n, file in enumerate(TEXTS):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"id": i, "text": f"é{n}{i}"}) for i in range(2)]
        (tmp_path / file).write_text("\n".join(lines), encoding="utf-8")
    ctx = general()
    found = bytes(language.read(ctx, "general").tolist()).decode()
    assert found == "é00\n\né01\n\né10\n\né11\n\né20\n\né21\n\né30\n\né31"
    assert sum(name.startswith("dataset general-text: ") for name in ctx.contents) == len(TEXTS)


@pytest.mark.parametrize("content", ["{", '{"id": 1}', "[1]", None])
def test_general_text_that_cannot_be_read_is_one_line(
    general: Callable[[], Context], tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / TEXTS[0]).parent.mkdir(parents=True)
        (tmp_path / TEXTS[0]).write_text(content)
    with pytest.raises(DataError) as caught:
        language.read(general(), "general")
    assert "\n" not in str(caught.value)
    assert "docs-00.jsonl" in str(caught.value)


def test_nothing_looks_ahead() -> None:
    network = model().eval()
    tokens = torch.randint(256, (2, 16), generator=torch.Generator().manual_seed(1))
    before = network(tokens)
    tokens[:, 9:] = 0
    after = network(tokens)
    torch.testing.assert_close(after[:, :9], before[:, :9])
    assert not torch.allclose(after[:, 9], before[:, 9])


def test_the_loss_is_of_the_next_byte() -> None:
    network = model().eval()
    text = torch.arange(200, dtype=torch.uint8)
    found = language.loss(network, text, 3, torch.Generator().manual_seed(4))
    first = torch.randint(200 - 16, (3, 1), generator=torch.Generator().manual_seed(4)).flatten()
    errors = []
    for start in first.tolist():
        piece = text[start : start + 17].long()
        for t in range(16):
            logits = network(piece[None, : t + 1])[0, -1]
            errors.append(-torch.log_softmax(logits, 0)[piece[t + 1]].item())
    assert found.item() == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_training_beats_the_frequencies_of_bytes(context: Any) -> None:
    recipe = Training(updates=120, batch=16, lr=1e-2, warmup=10)
    ctx = context()
    text = language.read(ctx, "manual")
    late = language.fit(ctx, model(32), text, recipe, AdamW(weight_decay=1e-4, clip=0.25))
    counts = torch.bincount(text.long()).double()
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * shares.log()).sum().item()
    assert late < entropy - 0.05


def test_a_policy_starts_from_the_body(context: Any) -> None:
    network, policy = model(), FastDecisionTransformer(SHAPE, torch.Generator().manual_seed(9))
    with torch.no_grad():
        network.ln_f.weight += 0.5
    own = {k: v.clone() for k, v in policy.state_dict().items()}
    language.start_from(policy, network.state_dict())
    taken = policy.state_dict()
    for name, value in network.state_dict().items():
        if name.startswith(("blocks", "ln_f")):
            assert torch.equal(taken[name], value)
    for step in (0, 15, 16, 49):  # the table of sixteen rows repeats
        assert torch.equal(
            taken["embed_time.weight"][step], network.embed_position.weight[step % 16]
        )
    assert torch.equal(taken["embed_state.weight"], own["embed_state.weight"])
    language.start_from(policy, network.state_dict(), positions=False)


def test_co_training_moves_the_policys_own_blocks() -> None:
    network, policy = model(), FastDecisionTransformer(SHAPE, torch.Generator().manual_seed(9))
    generator = torch.Generator().manual_seed(2)
    text = torch.arange(200, dtype=torch.uint8)
    term = language.co_training(
        policy, network.state_dict(), batch=3, weight=0.5, text_N=text, generator=generator
    )
    assert term.module is not None
    assert term.module.blocks is policy.blocks
    loss = term.loss(0, {})
    loss.backward()
    assert policy.blocks[0].mlp.up.weight.grad is not None
    assert policy.embed_state.weight.grad is None
    network.blocks, network.ln_f = policy.blocks, policy.ln_f
    again = language.loss(network, text, 3, torch.Generator().manual_seed(2))
    assert loss.item() == pytest.approx(0.5 * again.item(), rel=1e-5)


def test_centres_find_directions() -> None:
    g = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(3, 8, generator=g), dim=-1)
    lengths = 0.1 + 5 * torch.rand(60, 1, generator=g)
    points = lengths * (directions.repeat(20, 1) + 0.02 * torch.randn(60, 8, generator=g))
    for seed in range(20):  # some starts put two centres into one direction
        found = language.centres(points, 3, torch.Generator().manual_seed(seed))
        assert torch.allclose(found.norm(dim=-1), torch.ones(3))
        if ((directions @ found.T).amax(-1) > 0.99).all():
            return
    pytest.fail("no start found the three directions")
