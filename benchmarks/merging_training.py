"""Time of a training step beside transformers' DecisionTransformerModel of the same shape.

    python benchmarks/merging_training.py [--repeats 15] [--threads 1]

Three layers, one head, relu, a batch of 64 windows of which a few are padded; AdamW, gradients
clipped to a norm of 0.25, mean squared error of the actions that are not padded. Both train on the
same batches. transformers is used as its documentation does: its own attention, torch's AdamW and
clipping with their defaults. Widths, contexts and dropouts are those of the laptop scale, of the
paper, and of the paper without dropout.

Process CPU time; the two take turns in every round, after three that do not count. A ratio is the
median of the ratios within a round, so that a slow spell of the machine touches both sides. Exits
with 1 if a ratio is below 1.5.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from transformers import DecisionTransformerConfig, DecisionTransformerModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.settings import AdamW
from harness.training import adamw, clip
from suites.merging.policy.fast import FastDecisionTransformer
from suites.merging.policy.model import Shape
from suites.merging.policy.training import backward
from suites.merging.robots.trajectories import Batch

ADAMW = AdamW(weight_decay=1e-4, clip=0.25)
ROWS = ((64, 10, 0.0), (128, 20, 0.1), (128, 20, 0.0))
"""Width, context, dropout."""

STATES, ACTIONS, BATCH, WARM_UP, WANTED = 17, 6, 64, 3, 1.5


def windows(context: int) -> Batch:
    """Random windows; three of them are padded, as a tenth or so of the real ones."""
    g = torch.Generator().manual_seed(0)
    mask_BK = torch.ones(BATCH, context, dtype=torch.bool)
    mask_BK[:3, -(context // 3) :] = False
    return Batch(
        torch.randn(BATCH, context, STATES, generator=g),
        torch.randn(BATCH, context, ACTIONS, generator=g).tanh(),
        torch.randn(BATCH, context, 1, generator=g),
        torch.randint(900, (BATCH, 1), generator=g) + torch.arange(context),
        mask_BK,
    )


def ours(width: int, context: int, dropout: float, batch: Batch) -> Callable[[], None]:
    """A step as `suites.merging.policy.training.fit` takes it."""
    shape = Shape(STATES, ACTIONS, width=width, context=context, dropout=dropout)
    policy = FastDecisionTransformer(shape, torch.Generator().manual_seed(0)).train()
    optimizer = adamw(policy.named_parameters(), ADAMW, lr=1e-4, decayed=lambda _n, _p: True)

    def step() -> None:
        optimizer.zero_grad()
        backward(policy, batch)
        clip(optimizer, ADAMW.clip)
        optimizer.step()

    return step


def theirs(width: int, context: int, dropout: float, batch: Batch) -> Callable[[], None]:
    """The same with transformers."""
    config = DecisionTransformerConfig(
        state_dim=STATES, act_dim=ACTIONS, hidden_size=width, max_ep_len=1000, n_layer=3, n_head=1,
        activation_function="relu", resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    network = DecisionTransformerModel(config).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=ADAMW.weight_decay)
    mask_BK = batch.mask_BK.long()

    def step() -> None:
        optimizer.zero_grad()
        found = network(
            states=batch.states_BKS,
            actions=batch.actions_BKA,
            returns_to_go=batch.returns_to_go_BK1,
            timesteps=batch.timesteps_BK,
            attention_mask=mask_BK,
        )
        error = (found.action_preds - batch.actions_BKA)[batch.mask_BK]
        error.square().mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), ADAMW.clip)
        optimizer.step()

    return step


def seconds(step: Callable[[], None]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def main() -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description="a training step beside transformers'")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"batch {BATCH}, 3 layers, {args.threads} thread(s), float32, milliseconds a step")
    print(f"{'width':>5} {'context':>7} {'dropout':>7} {'ours':>8} {'theirs':>8} {'ratio':>6}")
    worst = float("inf")
    for width, context, dropout in ROWS:
        batch = windows(context)
        steps = (ours(width, context, dropout, batch), theirs(width, context, dropout, batch))
        rounds = [[seconds(step) for step in steps] for _ in range(WARM_UP + args.repeats)]
        own, other = zip(*rounds[WARM_UP:], strict=True)
        ratio = statistics.median(b / a for a, b in zip(own, other, strict=True))
        worst = min(worst, ratio)
        print(
            f"{width:>5} {context:>7} {dropout:>7} {1e3 * statistics.median(own):>8.1f} "
            f"{1e3 * statistics.median(other):>8.1f} {ratio:>6.2f}",
            flush=True,
        )
    print(f"worst ratio {worst:.2f}: {'ok' if worst >= WANTED else f'below {WANTED}'}")
    return int(worst < WANTED)


if __name__ == "__main__":
    sys.exit(main())
