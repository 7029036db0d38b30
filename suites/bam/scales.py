"""How big: which methods meet which tasks at each scale, and the numbers that they get."""

from harness.suite import Params, Scale
from suites.bam import benchmarks
from suites.bam.datasets import DOMAINS
from suites.bam.methods import EXPERTS, methods


def scales() -> tuple[Scale, ...]:
    """Smoke for CI, laptop for two cores, gpu from a pretrained seed, paper as published."""
    names = [m.name for m in methods()]
    others = [name for name in names if name != "counts"]
    perplexities = (*DOMAINS, "mean")
    public = tuple(f"{name}-public" for name in perplexities)
    # Counts are of the paper's models alone, and have no other task.
    apart = (
        *(f"{name}/count-*" for name in others),
        *(
            f"counts/{name}"
            for name in (*perplexities, "cost", "*-public", "*-installed", "downstream-*")
        ),
    )
    untrained = ("btm/cost*",)
    answered = ("seed", *EXPERTS, "btx", "bam", "bam-shared-kv")
    unanswered = tuple(f"{name}/downstream-*" for name in others if name not in answered)
    questions = tuple(
        f"downstream-{group}" for group in benchmarks.GROUPS if group not in ("code", "generated")
    )
    common: Params = {
        "held-out": 0.05,
        "pretrained": False,
        "compile": False,
        "evaluation-document": 512,
        "evaluation-batch": 32,
        "shots": 0,
    }

    def phase(steps: int, peak: float, warmup: int) -> Params:
        return {"steps": steps, "peak": peak, "warmup": warmup, "floor": 0.1}

    return (
        Scale(
            name="smoke",
            seeds=(0,),
            tasks=("mean-installed", "cost-installed", "downstream-generated", "count-*"),
            exclude=(*apart, *untrained, *unanswered),
            params=common
            | {
                "vocabulary": 384,
                "characters": 600_000,
                "held-out": 0.25,
                "context": 32,
                "batch": 8,
                "micro-batch": 4,
                "model": {
                    "hidden_size": 32,
                    "intermediate_size": 48,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                },
                "phases": {
                    "seed": phase(20, 0.01, 2),
                    "expert": phase(10, 0.005, 2),
                    "dense": phase(30, 0.005, 2),
                    "mixture": phase(10, 0.005, 2),
                },
                "evaluation-tokens": 1000,
                "questions": 8,
            },
            trial_seconds=120,
            expected_seconds=0.5,
            deviations=("Tiny models, ten updates: it shows that everything runs, nothing else.",),
        ),
        Scale(
            name="laptop",
            seeds=tuple(range(5)),
            tasks=(*perplexities, "cost", *questions, "count-*"),
            methods=tuple(name for name in names if name not in ("btx-5", "btx-7", "btx-8")),
            exclude=(*apart, *untrained, *unanswered),
            params=common
            | {
                "vocabulary": 4096,
                "characters": 8_000_000,
                "context": 128,
                "batch": 32,
                "micro-batch": 32,
                "model": {
                    "hidden_size": 128,
                    "intermediate_size": 256,
                    "num_hidden_layers": 4,
                    "num_attention_heads": 4,
                },
                "phases": {
                    "seed": phase(480, 0.003, 24),
                    "expert": phase(240, 0.0015, 12),
                    "dense": phase(720, 0.0015, 36),
                    "mixture": phase(200, 0.0015, 10),
                },
                "evaluation-tokens": 16_000,
                "questions": 100,
            },
            trial_seconds=3600,
            expected_seconds=12,
            deviations=(
                "A model of width 128 with 4 layers, 4,096 tokens and 1.7 million parameters in "
                "place of 590 million; 2 million training tokens for the seed, 1 million for each "
                "expert, 0.8 million for each mixture, in place of 400, 100 and 100 billion.",
                "Peak learning rates 0.003, 0.0015 and 0.0015, tuned on none of the methods; the "
                "paper's small models have 0.00012, half of it for experts.",
                "One seed model and one set of experts; the five seeds vary the routers and the "
                "order of the mixture's data. Rows of seed model, experts and BTM ensemble repeat "
                "one training.",
                "Benchmarks are zero-shot, 100 items each.",
            ),
        ),
        Scale(
            name="gpu",
            seeds=tuple(range(5)),
            tasks=(*perplexities, "cost", *questions, "count-*"),
            methods=("seed", "expert-*", "btx", "bam", "bam-shared-kv", "bam-uniform", "counts"),
            exclude=(*apart, *untrained, *unanswered),
            params=common
            | {
                "pretrained": True,
                "compile": False,
                "characters": 16_000_000,
                "context": 512,
                "batch": 32,
                "micro-batch": 32,
                "phases": {
                    "expert": phase(240, 0.0003, 12),
                    "mixture": phase(200, 0.0003, 10),
                },
                "evaluation-tokens": 100_000,
                "questions": 200,
            },
            trial_seconds=1200,
            expected_seconds=60,
            deviations=(
                "The seed is SmolLM2-135M-Instruct with weights of four bits, converted to "
                "float32: sequential blocks, grouped queries, tied embeddings, instruction-tuned.",
                "4 million training tokens for each expert, 3.3 million for each mixture; peak "
                "learning rate 0.0003.",
            ),
        ),
        Scale(
            name="paper",
            seeds=tuple(range(5)),
            tasks=(*public, "cost-public", "downstream-*-public", "count-*"),
            exclude=(*apart, *untrained, "btm/downstream-*"),
            params=common
            | {
                "vocabulary": 256_000,
                "compile": True,
                "characters": 10**15,
                "context": 2048,
                "batch": 512,
                "micro-batch": 16,
                "model": {
                    "hidden_size": 1024,
                    "intermediate_size": 2048,
                    "num_hidden_layers": 6,
                    "num_attention_heads": 8,
                },
                "phases": {
                    "seed": phase(381_470, 0.00012, 1500),
                    "expert": phase(95_367, 0.00006, 1500),
                    "dense": phase(286_102, 0.00006, 1500),
                    "mixture": phase(95_367, 0.00012, 1500),
                },
                "evaluation-tokens": 10_000_000,
                "evaluation-document": 100_000,
                "questions": None,
                "shots": None,
            },
            trial_seconds=10_000_000,
            expected_seconds=1_000_000,
            deviations=(
                "The paper's small model and schedule on the first documents of the public sets "
                "that it names, far fewer than its own, so that they repeat. Its context length is "
                "not published; 2,048 is ours.",
            ),
        ),
    )
