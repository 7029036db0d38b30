"""Continues to train any checkpoint on several GPUs, outside of trials.

    torchrun --nproc-per-node 8 -m suites.bam.distributed \
        --checkpoint MIXTURE --tokens TOKENS --weights general=1 code=1 law=1 math=1 \
        --steps 1000 --batch 512 --context 2048 --peak 1e-4 --warmup 100 --out DIR

Every process reads its share of each batch, and gradients are averaged; on processors the `gloo`
backend does the same. Run again, the same command resumes where it was stopped. Auxiliary losses
are those of each process's own tokens, as in the usual expert-parallel practice.

Trials on several GPUs go through `harness.parallel`, whose processes hand their states to the trial
that started them. Here there is none: no limit, lock or record, and the states are its own.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from harness.errors import HarnessError, UsageError
from harness.settings import Schedule, fault
from harness.store import Store
from harness.training import State, adamw, finite, set_rate
from suites.bam import branches, training
from suites.bam.data import tokens
from suites.bam.data.datasets import DOMAINS
from suites.bam.model import checkpoints
from suites.bam.settings import OPTIMIZER

_CHECKPOINT = "distributed"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of one process; returns the exit code."""
    args = _parser().parse_args(arguments)
    cuda = torch.cuda.is_available()
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        rank = distributed.get_rank()
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else "cpu"
        run(args, rank, distributed.get_world_size(), device)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        distributed.destroy_process_group()
    return 0


def run(args: argparse.Namespace, rank: int, world: int, device: torch.device | str) -> None:
    """Trains; the first process saves states on the way and the checkpoint at the end.

    Raises:
        UsageError: the batch cannot be shared out, or a domain does not exist.
        Diverged: a loss is not finite.
    """
    if args.batch % world:
        raise UsageError(f"--batch {args.batch} must be a multiple of the {world} processes")
    schedule = _schedule(args)
    torch.use_deterministic_algorithms(True, warn_only=True)
    model = checkpoints.load(args.checkpoint)
    nn.Module.to(model, device).train()
    optimizer = adamw(model.named_parameters(), OPTIMIZER)
    state = State(modules={"model": model}, optimizers={"adamw": optimizer})
    store = Store(args.out / "results", args.out / "states")
    step = 0
    if (saved := store.checkpoint(_CHECKPOINT)) is not None:
        state.unpack(saved)
        step = saved.step
    network = DistributedDataParallel(model)
    stream = tokens.Stream(
        tokens.load(args.tokens, "train"),
        shares(args.weights),
        args.context,
        np.random.default_rng(args.random_seed),
    )
    own = args.batch // world
    while step < schedule.steps:
        set_rate(optimizer, schedule.rate(step))
        ids_BT = stream.batch(step * args.batch + rank * own, own).to(device)
        losses = branches.update(
            network, optimizer, ids_BT, args.micro_batch or own, OPTIMIZER.clip
        )
        step += 1
        finite(losses["loss"], step)
        if rank == 0 and (step % args.every == 0 or step == schedule.steps):
            store.save_checkpoint(_CHECKPOINT, step, *state.pack())
            print(f"{step} of {schedule.steps}: loss {losses['loss']:.4f}", flush=True)
        distributed.barrier()
    if rank == 0:
        checkpoints.save(model.cpu(), args.out / training.MODEL)
        tokens.load_tokenizer(args.tokens).save_pretrained(args.out / training.MODEL)


def _schedule(args: argparse.Namespace) -> Schedule:
    """The schedule of the command line.

    Raises:
        UsageError: it is impossible.
    """
    try:
        return Schedule(steps=args.steps, peak=args.peak, warmup=args.warmup, floor=args.floor)
    except ValidationError as error:
        option = "--" if error.errors()[0]["loc"] else ""
        raise UsageError(f"{option}{fault(error)}") from None


def shares(pairs: Sequence[str]) -> Mapping[str, float]:
    """`domain=share` pairs as numbers.

    Raises:
        UsageError: no such domain, or no positive number.
    """
    found = {}
    for pair in pairs:
        name, _, share = pair.partition("=")
        try:
            found[name] = float(share)
        except ValueError:
            found[name] = 0.0
        if name not in DOMAINS or not 0 < found[name] < float("inf"):
            raise UsageError(
                f"--weights {pair!r} is no domain with a share above 0; domains are: "
                f"{', '.join(DOMAINS)}; e.g. law=0.25"
            )
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="torchrun -m suites.bam.distributed",
        description="Continues to train a checkpoint on several GPUs.",
    )
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tokens", type=Path, required=True, help="folder of a tokens artifact")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--weights", nargs="+", default=[f"{d}=0.25" for d in DOMAINS])
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True, help="sequences an update, of all")
    parser.add_argument("--micro-batch", type=int, help="sequences at once in one process")
    parser.add_argument("--context", type=int, required=True)
    parser.add_argument("--peak", type=float, required=True, help="learning rate")
    parser.add_argument("--warmup", type=int, default=0)
    parser.add_argument("--floor", type=float, default=0.1, help="share of the peak at the end")
    parser.add_argument("--random-seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=100, help="updates between saved states")
    return parser


if __name__ == "__main__":
    sys.exit(main())
