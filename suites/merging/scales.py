"""How big: which methods run at each scale, and the numbers that they get."""

from harness.suite import Params, Scale


def scales(of_three: tuple[str, ...]) -> tuple[Scale, ...]:
    """Smoke for CI, laptop for two cores, gpu for one GPU, paper as released.

    Methods `of_three` know the paper's three environments; they have no policy for the fourth.
    """
    exclude = tuple(f"{name}/ant" for name in of_three)

    def sizes(width: int, layers: int, narrow: int, multi: tuple[int, int]) -> Params:
        def body(width: int, heads: int) -> Params:
            return {"width": width, "layers": layers, "heads": heads}

        return {"standard": body(width, 1), "narrow": body(narrow, 1), "multi": body(*multi)}

    def recipe(updates: int, batch: int, lr: float, warmup: int, schedule: str) -> Params:
        return {
            "updates": updates, "batch": batch, "lr": lr, "warmup": warmup, "schedule": schedule,
        }  # fmt: skip

    common: Params = {
        "version": "v5",
        "activation": "relu",
        "points": [0.0, 0.25, 0.5, 0.75, 1.0],
        "task-scale": 1 / 3,
        "start-strength": 1e-4,
        "centres-strength": 0.1,
        "merge-batch": 64,
    }
    rolled_out = (
        "Data are rolled out by policies that come with the suite and imitate D4RL's qualities; "
        "gymnasium's version 5 of the environments, where the paper has version 3.",
    )
    short = (
        "A byte-level model of Python's manual takes the place of ChibiT, and its batch of text is "
        "small.",
    )
    return (
        Scale(
            name="smoke",
            seeds=(0,),
            exclude=exclude,
            tasks=("hopper", "halfcheetah", "ant"),
            params={
                **common,
                "source": "shipped",
                "quality": "expert",
                "steps": 200,
                "max-steps": 50,
                "sizes": sizes(16, 2, 8, (16, 2)),
                "context": 5,
                "dropout": 0.1,
                "recipes": {
                    "policy": recipe(30, 16, 1e-3, 5, "cosine"),
                    "frozen": recipe(10, 16, 1e-3, 5, "cosine"),
                    "multitask": recipe(10, 16, 1e-3, 5, "cosine"),
                    "finetuned": recipe(10, 16, 1e-3, 5, "cosine"),
                    "language": recipe(10, 4, 1e-3, 5, "cosine"),
                },
                "positions": 32,
                "centres": 16,
                "text-batch": 2,
                "evaluations": 2,
                "frozen-evaluations": 2,
                "episodes": 2,
                "merge-batches": {"paper": 2, "empirical": 1, "true": 1, "grams": 2},
                "merge-batch": 8,
            },
            trial_seconds=120,
            expected_seconds=0.5,
            deviations=("Tiny policies, 30 updates, 50 steps: it shows that everything runs.",),
        ),
        Scale(
            name="laptop",
            seeds=(0, 1, 2, 3, 4),
            exclude=exclude,
            params={
                **common,
                "source": "shipped",
                "quality": "expert",
                "steps": 100_000,
                "max-steps": 1000,
                "sizes": sizes(64, 3, 32, (64, 4)),
                "context": 10,
                "dropout": 0.0,
                "recipes": {
                    "policy": recipe(3000, 64, 2e-3, 300, "cosine"),
                    "frozen": recipe(1000, 64, 2e-3, 100, "cosine"),
                    "multitask": recipe(1000, 64, 2e-3, 100, "cosine"),
                    "finetuned": recipe(1000, 64, 2e-3, 100, "cosine"),
                    "language": recipe(2000, 16, 1e-3, 200, "cosine"),
                },
                "positions": 128,
                "centres": 64,
                "text-batch": 2,
                "evaluations": 4,
                "frozen-evaluations": 2,
                "episodes": 20,
                "merge-batches": {"paper": 100, "empirical": 10, "true": 4, "grams": 20},
            },
            trial_seconds=3600,
            expected_seconds=30,
            deviations=(
                "Policies of 3 x 64 with a context of 10 and no dropout, 3,000 updates at a "
                "learning rate of 2e-3 with a cosine; the paper has 3 x 128, 20, 0.1 and 100,000 "
                "updates at 1e-4. 1,000 updates after freezing; 20 evaluation episodes.",
                "A multi-task policy has the others' width, 4 heads and 1,000 updates, each "
                "fine-tuned copy 1,000 more; the paper has a width of 512 and 100,000 of both.",
                "Expert data of 100,000 steps; the paper has medium and medium-expert.",
                *rolled_out,
                *short,
            ),
        ),
        Scale(
            name="gpu",
            seeds=(0, 1, 2, 3, 4),
            exclude=exclude,
            params={
                **common,
                "source": "shipped",
                "quality": "expert",
                "steps": 200_000,
                "max-steps": 1000,
                "sizes": sizes(128, 3, 64, (256, 4)),
                "context": 20,
                "dropout": 0.1,
                "recipes": {
                    "policy": recipe(5000, 64, 5e-4, 500, "cosine"),
                    "frozen": recipe(2500, 64, 5e-4, 250, "cosine"),
                    "multitask": recipe(5000, 64, 5e-4, 500, "cosine"),
                    "finetuned": recipe(2500, 64, 5e-4, 250, "cosine"),
                    "language": recipe(5000, 32, 1e-3, 500, "cosine"),
                },
                "positions": 256,
                "centres": 128,
                "text-batch": 2,
                "evaluations": 5,
                "frozen-evaluations": 5,
                "episodes": 20,
                "merge-batches": {"paper": 100, "empirical": 10, "true": 10, "grams": 50},
            },
            trial_seconds=3600,
            expected_seconds=60,
            deviations=(
                "5,000 updates at a learning rate of 5e-4 with a cosine, against 100,000 at 1e-4; "
                "expert data, 20 evaluation episodes; a multi-task policy of width 256.",
                *rolled_out,
                *short,
            ),
        ),
        Scale(
            name="paper",
            seeds=(0, 1, 2, 3, 4),
            exclude=exclude,
            params={
                **common,
                "version": "v4",
                "source": "d4rl",
                "quality": "medium-expert",
                "steps": 0,
                "max-steps": 1000,
                "sizes": sizes(128, 3, 64, (512, 4)),
                "context": 20,
                "dropout": 0.1,
                "recipes": {
                    "policy": recipe(100_000, 64, 1e-4, 10_000, "constant"),
                    "frozen": recipe(100_000, 64, 1e-4, 10_000, "constant"),
                    "multitask": recipe(100_000, 64, 1e-4, 10_000, "constant"),
                    "finetuned": recipe(100_000, 64, 1e-4, 10_000, "constant"),
                    "language": recipe(50_000, 64, 3e-4, 1_000, "cosine"),
                },
                "positions": 1000,
                "centres": 128,
                "text-batch": 2,
                "evaluations": 10,
                "frozen-evaluations": 10,
                "episodes": 50,
                "merge-batches": {"paper": 750, "empirical": 20, "true": 20, "grams": 100},
            },
            trial_seconds=24 * 3600,
            expected_seconds=3600,
            deviations=(
                "gymnasium's version 4 of the environments: the dynamics of version 3 with newer "
                "bindings.",
                "Five seeds, where the released code has none.",
                "A byte-level model of Python's manual takes the place of ChibiT.",
            ),
        ),
    )
