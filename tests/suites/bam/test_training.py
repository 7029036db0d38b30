"""Training: the schedule, one update, exact resume, budgets, and what an artifact leaves."""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.errors import DataError, Diverged
from harness.run import Interrupted
from harness.settings import Schedule
from harness.training import adamw
from suites.bam import branches, counts, training, trials
from suites.bam.data import tokens
from suites.bam.model import checkpoints, pretrained
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig
from suites.bam.model.upcycle import mixture_config
from suites.bam.settings import OPTIMIZER, BamSettings


def _model(seed: int = 0, **changes: Any) -> BamForCausalLM:
    sizes = {
        "vocab_size": 50,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = BamConfig(**(sizes | changes))
    model = BamForCausalLM(config)
    model.reset_parameters(torch.Generator().manual_seed(seed))
    return model


def _adamw(model: BamForCausalLM) -> torch.optim.AdamW:
    return adamw(model.named_parameters(), OPTIMIZER)


def _ids(rows: int = 8, columns: int = 12, seed: int = 1) -> torch.Tensor:
    return torch.randint(50, (rows, columns), generator=torch.Generator().manual_seed(seed))


def test_one_update_is_adamw_on_the_clipped_gradient_of_both_losses() -> None:
    ids_BT = _ids()
    model, twin = (_model(num_ffn_experts=3, load_balancing_weight=0.5) for _ in range(2))
    optimizer = adamw(model.named_parameters(), OPTIMIZER, lr=0.01)
    losses = branches.update(model.train(), optimizer, ids_BT, len(ids_BT), OPTIMIZER.clip)

    output = twin(ids_BT, labels=ids_BT)
    assert losses["loss"] == pytest.approx(output.loss.item())
    assert losses["load-balancing"] == pytest.approx(output.load_balancing_loss.item())
    assert losses["z"] == pytest.approx(output.z_loss.item())
    (output.loss + 0.5 * output.load_balancing_loss + 0.001 * output.z_loss).backward()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in twin.parameters()))
    for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert p is not q
        gradient = q.grad * min(1.0, 1.0 / (norm + 1e-6))
        decay = 0.1 if q.dim() > 1 else 0.0
        # The first update of Adam: both moments, with their bias corrected, are the gradient's.
        expected = q.detach() * (1 - 0.01 * decay) - 0.01 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(p.detach(), expected, rtol=1e-4, atol=1e-5, msg=name)


def test_small_pieces_of_a_batch_give_the_update_of_the_whole() -> None:
    ids_BT = _ids()
    whole, pieces = _model(), _model()
    one = branches.update(whole.train(), _adamw(whole), ids_BT, 8)
    two = branches.update(pieces.train(), _adamw(pieces), ids_BT, 3)
    assert one["loss"] == pytest.approx(two["loss"], rel=1e-6)
    for p, q in zip(whole.parameters(), pieces.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-6)


def test_only_matrices_decay() -> None:
    model = _model()
    matrices, scales = _adamw(model).param_groups
    assert (matrices["weight_decay"], scales["weight_decay"]) == (0.1, 0.0)
    assert {p.dim() for p in scales["params"]} == {1}
    assert len(matrices["params"]) + len(scales["params"]) == len(list(model.parameters()))


def test_compute_matched_budgets_are_those_of_btx_rounded_down(workshop: Any) -> None:
    ctx = workshop.artifact("mixture-btx")
    dense = checkpoints.load(ctx.artifact("seed") / training.MODEL).config
    btx = mixture_config(dense, "btx", 4)
    bam = mixture_config(dense, "bam", 4)
    context, steps = 32, 16
    settings = ctx.settings(BamSettings)
    assert training.matched_steps(settings, btx, btx, steps) == steps
    found = training.matched_steps(settings, btx, bam, steps)
    assert 0 < found < steps
    budget = steps * counts.training_flops(btx, context)
    assert found * counts.training_flops(bam, context) <= budget
    assert (found + 1) * counts.training_flops(bam, context) > budget


def test_an_expert_learns_its_domain_and_tells_what_it_cost(workshop: Any) -> None:
    ctx = workshop.artifact("expert-law", "expert-law")
    ctx.out.mkdir(parents=True, exist_ok=True)
    training.make_continued(ctx)
    trained = training.read(ctx.out)
    model = checkpoints.load(ctx.out / training.MODEL)
    seed = checkpoints.load(ctx.artifact("seed") / training.MODEL)
    law = tokens.load(ctx.artifact("tokens"), "train")["law"]
    ids_BT = trials.packed(law, 32, 128)
    with torch.no_grad():
        after, before = (m.eval()(ids_BT, labels=ids_BT).loss.item() for m in (model, seed))
    assert after < before - 0.1
    assert trained.counts["updates"] == 10
    assert trained.counts["tokens"] == 10 * 8 * 32
    flops = counts.training_flops(model.config, 32)
    assert trained.counts["flops"] == trained.counts["tokens"] * flops
    assert trained.counts["parameters"] == sum(p.numel() for p in model.parameters())
    assert trained.seconds > 0


def test_methods_of_one_seed_begin_with_the_same_routers_and_read_the_same_batches(
    workshop: Any,
) -> None:
    contexts = [workshop.artifact(f"mixture-{name}", name) for name in ("btx", "bam")]
    first, second = (c.torch_generator("routers").initial_seed() for c in contexts)
    assert first == second
    orders = [c.numpy_generator("batch", "mixture").integers(2**31) for c in contexts]
    assert orders[0] == orders[1]
    other = workshop.artifact("mixture-btx")
    other.seed = 1
    assert other.torch_generator("routers").initial_seed() != first


@pytest.mark.parametrize("stop_at", [1, 2, 6, 9, 17, 21])
def test_an_interrupted_training_goes_on_bit_for_bit(
    workshop: Any, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(stop: int | None) -> dict[str, bytes]:
        ctx = workshop.artifact("mixture-bam", "bam")
        ctx.out.mkdir(parents=True, exist_ok=True)
        tick = ctx.tick

        def stopping(step: int, total: int, state: Any) -> None:
            if step == stop:
                ctx.stopping.set()
            tick(step, total, state)

        monkeypatch.setattr(ctx, "tick", stopping)
        training.make_mixture(ctx)
        curves = {
            path.name: json.dumps(json.loads(path.read_bytes())["curves"]).encode()
            for path in ctx.out.glob("training*.json")
        }
        assert len(curves) == 8
        weights = {p.parent.name: p.read_bytes() for p in ctx.out.glob("*/model.safetensors")}
        assert len(weights) == 8
        return curves | weights

    workshop.store.clear_trial(workshop.artifact("mixture-bam", "bam").id)
    straight = make(None)
    with pytest.raises(Interrupted):
        make(stop_at)
    assert make(None) == straight
    workshop.store.clear_trial(workshop.artifact("mixture-bam", "bam").id)


def test_a_loss_that_is_no_number_is_reported_as_divergence(workshop: Any) -> None:
    ctx = workshop.artifact("seed")
    model = _model()
    with torch.no_grad():
        model.lm_head.weight.fill_(math.nan)
    domains = {"a": np.arange(50, dtype=np.int32).repeat(20)}
    stream = tokens.Stream(domains, {"a": 1.0}, 8, np.random.default_rng(0))
    with pytest.raises(Diverged, match="loss is nan at step 1"):
        training.finish(ctx, model, stream, Schedule(steps=3, peak=0.1))


def test_a_flipped_bit_in_an_expert_is_found(workshop: Any, tmp_path: Path) -> None:
    source = workshop.artifact("mixture-btx").artifact("seed") / training.MODEL
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-5] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(DataError, match=r"model\.safetensors is corrupt"):
        checkpoints.load_dense(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"counts": {}}'])
def test_a_corrupt_report_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "training.json").write_bytes(content)
    with pytest.raises(DataError, match=r"training\.json is corrupt; remove"):
        training.read(tmp_path)


def test_every_update_reads_the_sequences_after_the_last(
    workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = workshop.artifact("expert-math", "expert-math")
    asked = []
    batch = tokens.Stream.batch

    def noting(stream: tokens.Stream, first: int, count: int) -> torch.Tensor:
        asked.append((first, count))
        return batch(stream, first, count)

    monkeypatch.setattr(tokens.Stream, "batch", noting)
    ctx.out.mkdir(parents=True, exist_ok=True)
    training.make_continued(ctx)
    assert asked == [(8 * step, 8) for step in range(10)]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["btx", "bam"])
def test_a_pretrained_seed_with_sequential_blocks_goes_all_the_way(
    workshop: Any, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    if importlib.util.find_spec(pretrained.PACKAGE) is None:
        pytest.skip(f"package {pretrained.PACKAGE} is not installed")

    def write_seed(out: Path) -> None:
        model = _model(
            parallel_block=False, norm="rmsnorm", tie_word_embeddings=True, num_key_value_heads=1,
            vocab_size=49_152,
        )  # fmt: skip
        checkpoints.save(model, out)

    monkeypatch.setattr(pretrained, "write_seed", write_seed)
    monkeypatch.setattr(pretrained, "checked", lambda ctx: None)
    phase = {"steps": 3, "peak": 0.01, "warmup": 1, "floor": 0.1}
    published = {"model": None, "vocabulary": None}
    phases = {"expert": phase, "mixture": phase}
    ctx = workshop.trial(method, "mean-installed", phases=phases, **published)
    metrics = trials.run(ctx)
    assert 1 < metrics["perplexity"] < 200_000
    assert ctx.counts["updates"] == 3
    model = checkpoints.load(ctx.artifact(f"mixture-{method}") / training.MODEL)
    assert not model.config.parallel_block
    assert model.config.vocab_size == 49_152
