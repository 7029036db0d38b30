"""Speed of the BAM suite's model beside dense models and transformers' mixtures, as ratios.

    python benchmarks/bam.py [--threads 2] [--repeats 15] [--width 128 512] [--device cpu]

| ratio     | of                              | to                                   | at most |
|-----------|---------------------------------|--------------------------------------|---------|
| attention | 4 attention experts, soft       | a dense layer with 4 times the heads | 1.15    |
| looped    | the same, a GPU only           | the experts one after another        | 1 / 1.5 |
| block     | 4 feed-forward experts, top-1   | OLMoE's or Mixtral's, the faster     | 1       |
| btx step  | training step of BTX            | OLMoE's or Mixtral's, the faster     | 1       |
| bam step  | training step of BAM            | a dense model's of equal FLOPs       | 1 / 0.8 |

Every pass is a forward and a backward over 32 sequences of 128 tokens; steps are of whole models
(4 layers, vocabulary 4,096) with cross-entropy, auxiliary losses and AdamW. transformers runs with
its implementations of experts `eager` and `grouped_mm`, the faster counts; its third, `batched_mm`,
took 80 times as long on a CPU. float32 on a CPU; bfloat16 autocast on a GPU.

Wall clock: in every round all variants take turns, in an order that rotates, after two rounds that
do not count. A ratio is the median of the ratios within a round, so that a slow spell of the
machine touches both sides. Exits with 1 if a ratio is above its bound.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from transformers import MixtralConfig, MixtralForCausalLM, OlmoeConfig, OlmoeForCausalLM

from suites.bam.model.attention import Attention, Rotation, rotation
from suites.bam.model.causal_lm import BamForCausalLM
from suites.bam.model.configuration import BamConfig
from suites.bam.model.feedforward import FeedForward

WARM_UP_ROUNDS = 2
SEQUENCES, TOKENS, EXPERTS, HEAD_DIM, VOCABULARY, LAYERS = 32, 128, 4, 32, 4096, 4
PEERS = {"OLMoE": (OlmoeForCausalLM, OlmoeConfig), "Mixtral": (MixtralForCausalLM, MixtralConfig)}
IMPLEMENTATIONS = ("eager", "grouped_mm")

Run = Callable[[], None]


class Bound(NamedTuple):
    """Which two groups of variants are compared, and what the ratio may be."""

    ratio: str
    ours: str
    theirs: tuple[str, ...]
    at_most: float


def config(width: int, **options: Any) -> BamConfig:
    """A model of this width; heads of 32 channels, SwiGLU twice as wide."""
    return BamConfig(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": width // HEAD_DIM,
            "head_dim": HEAD_DIM,
        }
        | options
    )


def generator(device: str) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


def filled(module: nn.Module, device: str) -> nn.Module:
    """With small random parameters, so that no product is with zeros."""
    module = module.to(device)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.02, generator=generator(device))
    return module


def layer_pass(layer: nn.Module, call: Callable[[Tensor], Tensor], x_BTD: Tensor) -> Run:
    """A forward and a backward of one layer."""
    x_BTD = x_BTD.clone().requires_grad_()
    grad_BTD = torch.randn(x_BTD.shape, generator=generator(x_BTD.device.type), device=x_BTD.device)

    def run() -> None:
        layer.zero_grad(set_to_none=True)
        x_BTD.grad = None
        with autocast(x_BTD.device.type):
            out = call(x_BTD)
        out.backward(grad_BTD.to(out.dtype))

    return run


def training_step(model: nn.Module, loss: Callable[[Tensor], Tensor], device: str) -> Run:
    """Forward, backward and AdamW of a whole model."""
    model = filled(model, device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    shape = (SEQUENCES, TOKENS)
    ids_BT = torch.randint(VOCABULARY, shape, generator=generator(device), device=device)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device):
            value = loss(ids_BT)
        value.backward()
        optimizer.step()

    return run


def autocast(device: str) -> torch.autocast:
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


class LoopedExperts(nn.Module):
    """The experts of an attention layer one after another: what the fused call replaces."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.experts = nn.ModuleList(Attention(config(width), 0) for _ in range(EXPERTS))
        self.router = nn.Linear(width, EXPERTS, bias=False)

    def forward(self, x_BTD: Tensor, position: Rotation) -> Tensor:
        gate_BTE = self.router(x_BTD).softmax(-1)
        outs = [expert(x_BTD, position)[0] for expert in self.experts]
        return sum(out * gate_BTE[..., i : i + 1] for i, out in enumerate(outs))


def attention_passes(width: int, x_BTD: Tensor) -> dict[str, Run]:
    device = x_BTD.device.type
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    position = rotation(config(width), torch.arange(TOKENS, device=device), dtype)
    layers = {
        "dense attention": Attention(
            config(width, num_attention_heads=EXPERTS * width // HEAD_DIM), 0
        ),
        "BAM attention": Attention(config(width, num_attention_experts=EXPERTS), 0),
        "BAM shared KV": Attention(config(width, num_attention_experts=EXPERTS, shared_kv=True), 0),
    }
    runs = {}
    for name, layer in layers.items():
        call = lambda x, layer=layer: layer(x, position)[0]  # noqa: E731
        runs[name] = layer_pass(filled(layer, device), call, x_BTD)
    looped = filled(LoopedExperts(width), device)
    runs["BAM looped"] = layer_pass(looped, lambda x: looped(x, position), x_BTD)
    return runs


def peer(name: str, width: int, implementation: str) -> Any:
    """A mixture of transformers in the shape of ours, top-1."""
    model_class, config_class = PEERS[name]
    experts = {"num_experts" if name == "OLMoE" else "num_local_experts": EXPERTS}
    peer_config = config_class(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=LAYERS,
        num_attention_heads=width // HEAD_DIM,
        num_key_value_heads=width // HEAD_DIM,
        num_experts_per_tok=1,
        output_router_logits=True,
        tie_word_embeddings=False,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
        **experts,
    )
    peer_config._experts_implementation = implementation
    return model_class(peer_config)


def feedforward_passes(width: int, x_BTD: Tensor) -> dict[str, Run]:
    device = x_BTD.device.type
    ours = filled(FeedForward(config(width, num_ffn_experts=EXPERTS)), device)
    runs = {"BTX block": layer_pass(ours, lambda x: ours(x)[0], x_BTD)}
    for name in PEERS:
        for implementation in IMPLEMENTATIONS:
            block = filled(peer(name, width, implementation).model.layers[0].mlp, device)
            call = lambda x, block=block: block(x)  # noqa: E731
            runs[f"{name} block, {implementation}"] = layer_pass(block, call, x_BTD)
    return runs


def model_steps(width: int, device: str) -> dict[str, Run]:
    heads = EXPERTS * width // HEAD_DIM
    mixtures = {
        "BTX step": config(width, num_ffn_experts=EXPERTS),
        "BAM step": config(width, num_ffn_experts=EXPERTS, num_attention_experts=EXPERTS),
        "dense step": config(width, num_attention_heads=heads),
    }
    runs = {}
    for name, shape in mixtures.items():
        model = BamForCausalLM(shape)

        def loss(ids_BT: Tensor, model: BamForCausalLM = model) -> Tensor:
            output = model(ids_BT, labels=ids_BT, skip_logits=True)
            return output.loss + output.auxiliary_loss

        runs[name] = training_step(model, loss, device)
    for name in PEERS:
        for implementation in IMPLEMENTATIONS:
            model = peer(name, width, implementation)
            call = lambda ids, model=model: model(ids, labels=ids).loss  # noqa: E731
            runs[f"{name} step, {implementation}"] = training_step(model, call, device)
    return runs


def measure(runs: dict[str, Run], repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of every variant, one entry a round."""
    names = list(runs)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(WARM_UP_ROUNDS + repeats):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            start = time.perf_counter()
            runs[name]()
            if device == "cuda":
                torch.cuda.synchronize()
            if turn >= WARM_UP_ROUNDS:
                times[name].append(time.perf_counter() - start)
    return times


def bounds(times: dict[str, list[float]], device: str) -> list[Bound]:
    """The comparisons that these variants allow."""

    def like(text: str) -> tuple[str, ...]:
        return tuple(name for name in times if text in name and name.split()[0] in PEERS)

    found = {
        "BAM attention": [Bound("attention", "BAM attention", ("dense attention",), 1.15)],
        "BTX block": [Bound("block", "BTX block", like("block"), 1.0)],
        "BTX step": [Bound("btx step", "BTX step", like("step"), 1.0)],
        "BAM step": [Bound("bam step", "BAM step", ("dense step",), 1 / 0.8)],
    }
    chosen = [bound for name in times for bound in found.get(name, [])]
    if device == "cuda" and "BAM looped" in times:
        chosen.append(Bound("looped", "BAM attention", ("BAM looped",), 1 / 1.5))
    return chosen


def ratio(times: dict[str, list[float]], bound: Bound) -> float:
    """Ours over the fastest of theirs, median over rounds."""
    theirs = min(bound.theirs, key=lambda name: statistics.median(times[name]))
    pairs = zip(times[bound.ours], times[theirs], strict=True)
    return statistics.median(a / b for a, b in pairs)


def main() -> int:
    """Prints times and ratios; returns the exit code."""
    parser = argparse.ArgumentParser(description="Speed of BTX and BAM beside their peers")
    parser.add_argument("--width", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    print(f"{SEQUENCES} x {TOKENS} tokens, {args.device}, {args.threads} thread(s)")
    failed = False
    for width in args.width:
        x_BTD = torch.randn(SEQUENCES, TOKENS, width, generator=generator("cpu")).to(args.device)
        for runs in (
            attention_passes(width, x_BTD),
            feedforward_passes(width, x_BTD),
            model_steps(width, args.device),
        ):
            times = measure(runs, args.repeats, args.device)
            for name, seconds in times.items():
                print(f"{width:>5}  {name:<28} {statistics.median(seconds) * 1e3:>9.2f} ms")
            for bound in bounds(times, args.device):
                value = ratio(times, bound)
                failed |= value > bound.at_most
                verdict = "ok" if value <= bound.at_most else "above"
                line = f"{bound.ratio}: {value:.2f}, at most {bound.at_most:.2f}: {verdict}"
                print(f"{width:>5}  {line}")
            sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
