"""The training loop against plain ones, through a context that can be stopped."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness import plan, registry
from harness.data import Sources
from harness.errors import Diverged
from harness.run import Context, Interrupted
from harness.settings import AdamW
from harness.store import Store
from suites.merging import artifacts
from suites.merging.policy import training
from suites.merging.policy.fast import FastDecisionTransformer
from suites.merging.policy.model import DecisionTransformer, Shape
from suites.merging.policy.training import Term
from suites.merging.robots.trajectories import Batch, Trajectories, Windows, statistics
from suites.merging.settings import Training

SHAPE = Shape(3, 2, width=16, layers=2, context=4, max_steps=60, dropout=0.1)
RECIPE = Training(updates=12, batch=6, lr=1e-2, warmup=3)
ADAMW = AdamW(weight_decay=1e-4, clip=0.25)


@pytest.fixture
def context(tmp_path: Path) -> Callable[[], Context]:
    def make() -> Context:
        suite = registry.load("merging")
        wanted = plan.Filters(("individual",), ("hopper",), (0,))
        trial = plan.trials(suite, suite.scale("smoke"), "cpu", wanted)[0][0]
        ctx = Context(trial, Store(tmp_path / "r", tmp_path / "c"), Sources(None, tmp_path))
        torch.manual_seed(ctx.stream("libraries"))  # as the engine does before it calls a method
        return ctx

    return make


def data(seed: int = 0, dims: tuple[int, int] = (3, 2)) -> Windows:
    rng = np.random.default_rng(seed)
    episodes = []
    for length in (50, 20, 9):
        states = rng.normal(size=(length, dims[0])).astype(np.float32)
        actions = np.tanh(states[:, : dims[1]] * 2).astype(np.float32)
        episodes.append((states, actions, rng.random(length).astype(np.float32), False))
    made = Trajectories.of(episodes)
    return Windows(made, statistics(made), 4)


def fresh(seed: int = 0) -> DecisionTransformer:
    return FastDecisionTransformer(SHAPE, torch.Generator().manual_seed(seed))


def test_the_loss_is_the_mean_over_what_is_not_padded() -> None:
    policy = fresh().eval()
    batch = data().sample(16, torch.Generator().manual_seed(1))
    assert not batch.mask_BK.all()
    predicted = policy(*batch.inputs).detach()
    errors = [
        float((predicted[b, k, a] - batch.actions_BKA[b, k, a]) ** 2)
        for b in range(16)
        for k in range(4)
        for a in range(2)
        if batch.mask_BK[b, k]
    ]
    assert training.backward(policy, batch) == pytest.approx(np.mean(errors), rel=1e-5)


def test_slices_of_a_batch_give_the_gradient_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = fresh().eval()
    batch = data().sample(10, torch.Generator().manual_seed(1))
    whole = training.backward(policy, batch)
    expected = [p.grad.clone() for p in policy.parameters() if p.grad is not None]
    policy.zero_grad()
    monkeypatch.setattr(training, "CACHED_FLOATS", 3 * 3 * 4 * 4 * 16)
    assert training.backward(policy, batch) == pytest.approx(whole, rel=1e-5)
    found = [p.grad for p in policy.parameters() if p.grad is not None]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_training_is_adamw_with_clipping_step_by_step(context: Any) -> None:
    ctx = context()
    found = fresh().requires_grad_()
    found.shape = expected_shape = SHAPE.__class__(**{**SHAPE.__dict__, "dropout": 0.0})
    for module in found.modules():
        if hasattr(module, "dropout"):
            module.dropout = 0.0
    expected = fresh()
    expected.load_state_dict(found.state_dict())
    expected.shape = expected_shape
    expected.eval()
    windows = data()
    training.fit(ctx, {"hopper": found}, {"hopper": windows}, RECIPE, ADAMW)

    draws = ctx.torch_generator("batch", "hopper")
    optimizer = torch.optim.AdamW(expected.parameters(), weight_decay=1e-4)
    for done in range(12):
        batch = windows.sample(6, draws)
        loss = nn.functional.mse_loss(
            expected(*batch.inputs)[batch.mask_BK], batch.actions_BKA[batch.mask_BK]
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(expected.parameters(), 0.25)
        share = (done + 1) / 3 if done < 3 else 0.5 * (1 + math.cos(math.pi * (done - 3) / 9))
        optimizer.param_groups[0]["lr"] = 1e-2 * share
        optimizer.step()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, atol=2e-5, rtol=1e-3)


def test_training_learns(context: Any) -> None:
    ctx = context()
    recipe = Training(updates=150, batch=32, lr=3e-3, warmup=10, decay="constant")
    training.fit(ctx, {"hopper": fresh()}, {"hopper": data()}, recipe, ADAMW)
    losses = [loss for _, loss in ctx._curves["loss"]]
    assert np.mean(losses[-10:]) < 0.15 * np.mean(losses[:5])


@pytest.mark.parametrize("stop_at", [1, 6, 12])
def test_an_interrupted_training_goes_on_bit_for_bit(
    context: Any, stop_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(ctx: Context) -> tuple[dict[str, torch.Tensor], Any, Context]:
        policy, draws = fresh(), torch.Generator().manual_seed(5)
        noise = Term(lambda _, __: 0 * policy.ln_f.weight.sum() * torch.rand((), generator=draws),
                     generator=draws)  # fmt: skip
        curve = training.fit(
            ctx,
            {"hopper": policy},
            {"hopper": data()},
            RECIPE,
            ADAMW,
            terms=[noise, training.toward_start(policy, 0.1)],
            evaluate=lambda done: {"hopper": [done, float(policy.ln_f.weight.detach().sum())]},
            evaluate_at=(0, 6, 12),
        )
        return policy.state_dict(), curve, ctx

    expected, expected_curve, straight = run(context())
    first = context()
    ticks = iter(range(1, 100))
    tick = first.tick

    def stopping(*args: Any) -> None:
        if next(ticks) == stop_at:
            first.stopping.set()
        tick(*args)

    monkeypatch.setattr(first, "tick", stopping)
    with pytest.raises(Interrupted):
        run(first)
    found, curve, second = run(context())
    assert all(torch.equal(found[k], expected[k]) for k in expected)
    assert curve == expected_curve
    assert [update for update, _ in curve] == [0, 6, 12]
    assert second.counts == straight.counts
    assert second.finished_series() == straight.finished_series()
    assert second.cost().sessions == 2


def test_frozen_parameters_stay_and_the_others_move(context: Any) -> None:
    policy = fresh()
    before = {k: v.clone() for k, v in policy.state_dict().items()}
    ctx = context()
    training.fit(
        ctx, {"hopper": policy}, {"hopper": data()}, RECIPE, ADAMW, frozen=("attn", "mlp", "ln_f.*")
    )
    for name, value in policy.state_dict().items():
        stays = ".attn." in name or ".mlp." in name or name.startswith("ln_f")
        assert torch.equal(value, before[name]) == stays, name
    kept = sum(v.numel() for k, v in before.items() if ".attn." in k or ".mlp." in k or "ln_f" in k)
    assert ctx.counts["parameters"] == sum(v.numel() for v in before.values()) - kept
    assert all(p.requires_grad for p in policy.parameters())


def test_policies_that_share_a_body_train_it_once_with_the_sum_of_their_losses(
    context: Any,
) -> None:
    one, two = fresh(0).eval(), fresh(1).eval()
    two.blocks, two.ln_f, two.embed_time = one.blocks, one.ln_f, one.embed_time
    windows = {"hopper": data(0), "walker2d": data(1)}
    start = {k: v.clone() for k, v in one.state_dict().items()}
    still = RECIPE.model_copy(update={"updates": 1, "lr": 0.0})
    ctx = context()
    training.fit(ctx, {"hopper": one, "walker2d": two}, windows, still, ADAMW)
    unique = {id(p): p for q in (one, two) for p in q.parameters()}
    assert ctx.counts["parameters"] == sum(p.numel() for p in unique.values())
    assert all(torch.equal(v, start[k]) for k, v in one.state_dict().items())  # a rate of zero
    training.fit(context(), {"hopper": one, "walker2d": two}, windows, RECIPE, ADAMW)
    assert torch.equal(one.blocks[0].mlp.up.weight, two.blocks[0].mlp.up.weight)
    assert not torch.equal(one.embed_state.weight, two.embed_state.weight)
    assert not torch.equal(one.embed_state.weight, start["embed_state.weight"])


def test_what_asks_for_no_gradient_is_not_trained(context: Any) -> None:
    policy = fresh()
    policy.embed_state.requires_grad_(False)
    before = policy.embed_state.weight.clone()
    training.fit(context(), {"hopper": policy}, {"hopper": data()}, RECIPE, ADAMW)
    assert torch.equal(policy.embed_state.weight, before)


def test_a_diverging_training_is_reported_as_such(context: Any) -> None:
    broken = Term(lambda done, _: torch.tensor(float("nan") if done else 1.0, requires_grad=True))
    with pytest.raises(Diverged, match="loss"):
        training.fit(context(), {"h": fresh()}, {"h": data()}, RECIPE, ADAMW, terms=[broken])


def test_the_rate_rises_and_then_stays_or_falls() -> None:
    recipe = Training(updates=100, batch=1, lr=2.0, warmup=10)
    rates = [recipe.rate(done) for done in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.0)
    assert rates[99] == pytest.approx(0.0, abs=1e-3)
    constant = recipe.model_copy(update={"decay": "constant"})
    assert {constant.rate(done) for done in range(10, 100)} == {2.0}
    assert Training(updates=1, batch=1, lr=2.0).rate(0) == 2.0


def test_the_pull_toward_the_start_is_a_sum_of_norms() -> None:
    policy = fresh()
    term = training.toward_start(policy, 0.5)
    at_start = term.loss(0, {})
    assert at_start.item() == 0
    at_start.backward()
    assert all(torch.isfinite(p.grad).all() for p in policy.blocks.parameters())
    with torch.no_grad():
        policy.blocks[0].mlp.up.weight[0, :2] += torch.tensor([3.0, 4.0])
        policy.blocks[1].attn.qkv.bias[7] -= 2.0
        policy.ln_f.weight += 1.0  # not a block's
    assert term.loss(0, {}).item() == pytest.approx(0.5 * (5.0 + 2.0), rel=1e-5)


def test_the_pull_toward_centres_is_the_largest_cosine_and_fades() -> None:
    policy = fresh().eval()
    windows = data()
    batch = windows.sample(5, torch.Generator().manual_seed(0))
    centres = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    term = training.toward_centres({"hopper": policy}, centres, 0.1, updates=1000)
    cosines = []
    tokens = policy.embed(batch.states_BKS, batch.actions_BKA, batch.returns_to_go_BK1)
    for b, k in batch.mask_BK.nonzero().tolist():
        for kind in range(3):
            x = tokens[b, k, kind]
            cosines.append(max(torch.cosine_similarity(x, c, dim=0).item() for c in centres))
    half = term.loss(75, {"hopper": batch}).item()
    assert half == pytest.approx(-0.1 * 0.5 * np.mean(cosines), rel=1e-4)
    assert abs(term.loss(999, {"hopper": batch}).item()) < 1e-3 * abs(half)
    assert term.loss(0, {"hopper": batch}).item() == pytest.approx(2 * half, rel=0.01)


@pytest.mark.parametrize(
    ("extra", "gone_at", "scale"), [("centres", 15_000, 1_500), ("early-centres", 5_000, 500)]
)
def test_the_pull_toward_centres_fades_as_the_released_trainers_have_it(
    extra: str, gone_at: int, scale: int
) -> None:
    """Over the released 100,000 updates: sigmoid((gone_at - step) / scale - 5)."""
    windows, policy = data(), fresh().eval()
    batches = {"hopper": windows.sample(3, torch.Generator().manual_seed(0))}
    centres = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    term = training.toward_centres(
        {"hopper": policy}, centres, 0.1, 100_000, artifacts.FADES[extra]
    )
    unfaded = term.loss(-(10**9), batches).item()
    for step in (0, gone_at // 2 - scale, gone_at // 2, gone_at // 2 + 2 * scale, gone_at):
        released = torch.tensor((gone_at - step) / scale - 5.0, dtype=torch.float64).sigmoid()
        assert term.loss(step, batches).item() == pytest.approx(unfaded * float(released), rel=1e-5)


def test_the_pull_toward_centres_knows_no_lengths() -> None:
    """Cosines: the declared deviation from the inner products of the released joint training."""
    policy = fresh().eval()
    batches = {"hopper": data().sample(3, torch.Generator().manual_seed(0))}
    centres = torch.randn(4, 16, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([[0.1], [1.0], [7.0], [100.0]])
    pulls = [
        training.toward_centres({"hopper": policy}, scaled, 0.1, 100).loss(0, batches).item()
        for scaled in (centres, lengths * centres)
    ]
    assert pulls[0] == pytest.approx(pulls[1], rel=1e-5)
    x_BK3D = policy.embed(*(batches["hopper"][i] for i in (0, 1, 2)))[batches["hopper"].mask_BK]
    inner = (x_BK3D @ (lengths * centres).T).amax(-1).mean().item()
    assert abs(inner) > 10 * abs(pulls[1]) / 0.1  # what the released joint training would take
    assert any("plain inner products" in line for line in registry.load("merging").deviations)


def test_the_first_update_is_adamw_with_the_epsilon_that_is_declared(context: Any) -> None:
    """A gradient g moves a weight by lr (g / (|g| + eps) + decay w) at first: eps is 1e-8."""
    suite = registry.load("merging")
    for scale in suite.scales:
        assert scale.settings.optimizer.eps == 1e-8  # type: ignore[union-attr]
    assert any("epsilon of 1e-8 everywhere" in line for line in suite.deviations)
    policy = fresh()
    start = {n: p.detach().double() for n, p in policy.named_parameters()}
    tiny = {n: torch.full_like(p, 1e-7) for n, p in policy.named_parameters()}

    def loss(_done: int, _batches: Any) -> torch.Tensor:
        """Its gradient is `tiny` once that of the data is taken away."""
        for p in policy.parameters():
            p.grad = None
        return torch.stack([(tiny[n] * p).sum() for n, p in policy.named_parameters()]).sum()

    recipe = Training(updates=1, batch=2, lr=1e-2, decay="constant")
    training.fit(context(), {"h": policy}, {"h": data()}, recipe, ADAMW, terms=[Term(loss)])
    for name, p in policy.named_parameters():
        moved = (start[name] * (1 - 1e-2 * 1e-4) - p.detach().double()) / 1e-2
        assert moved.mean().item() == pytest.approx(1e-7 / (1e-7 + 1e-8), rel=1e-3)


def test_batches_are_those_of_the_environment_alone(context: Any) -> None:
    """Two methods with equal seeds see equal batches, whatever else they draw."""
    seen: dict[int, list[Batch]] = {0: [], 1: []}
    for run, kept in seen.items():
        windows = data()
        sample = windows.sample

        def keep(*args: Any, sample: Any = sample, kept: list[Batch] = kept) -> Batch:
            kept.append(sample(*args))
            return kept[-1]

        windows.sample = keep  # type: ignore[method-assign]
        training.fit(
            context(), {"hopper": fresh(run)}, {"hopper": windows}, RECIPE, ADAMW,
            frozen=("mlp",) if run else (),
        )  # fmt: skip
    assert len(seen[0]) == 12
    for a, b in zip(*seen.values(), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
