"""How big: which methods run at each scale, and the settings that they get."""

from harness.suite import Scale
from suites.merging.methods import BLIND, FOUR, HIDDEN, methods
from suites.merging.settings import (
    MergeBatches,
    MergingSettings,
    Size,
    Sizes,
    Training,
    Trainings,
)

_ROLLED_OUT = (
    "Data are rolled out by policies that come with the suite and imitate D4RL's qualities; "
    "gymnasium's version 5 of the environments, where the paper has version 3."
)
_SHORT_TEXT = (
    "A byte-level model of books and encyclopedia articles takes the place of ChibiT, one for each "
    "seed, and its batch of text is small."
)
_HELD_OUT = (
    "One episode in twenty is held out; scales of merged task vectors and rates of fine-tuning are "
    "chosen on them, where the released code has fixed ones."
)


def scales() -> tuple[Scale, ...]:
    """Smoke for CI, laptop for two cores, gpu for one GPU, paper as released."""
    exclude = tuple(pattern for method in methods() for pattern in _elsewhere(method.name))
    small = (*exclude, *(f"{m.name}/*" for m in methods() if m.name.endswith("-recommended")))
    return (_smoke(small), _laptop(small), _gpu(exclude), _paper(exclude))


def _elsewhere(method: str) -> tuple[str, ...]:
    """Tasks that a method has no policies for."""
    if method.startswith(BLIND):
        return tuple(f"{method}/{env}" for env in FOUR)
    fourth = () if method.startswith("four-") else (f"{method}/ant",)
    return (*fourth, *(f"{method}/{task}" for task in HIDDEN))


def _sizes(width: int, layers: int, narrow: int, multi: tuple[int, int]) -> Sizes:
    """Standard and narrow policies with one head; width and heads of the multi-task policy."""
    return Sizes(
        standard=Size(width=width, layers=layers, heads=1),
        narrow=Size(width=narrow, layers=layers, heads=1),
        multi=Size(width=multi[0], layers=layers, heads=multi[1]),
    )


def _trainings(
    policy: Training, frozen: Training, multitask: Training, finetuned: Training, text: Training
) -> Trainings:
    """Fine-tuning leaves the decay of the blocks out (released code)."""
    return Trainings(
        policy=policy,
        frozen=frozen,
        multitask=multitask,
        finetuned=finetuned.model_copy(update={"blocks_decay": 0.0}),
        language=text,
    )


def _smoke(exclude: tuple[str, ...]) -> Scale:
    long = Training(updates=30, batch=16, lr=1e-3, warmup=5)
    short = Training(updates=10, batch=16, lr=1e-3, warmup=5)
    text = Training(updates=10, batch=4, lr=1e-3, warmup=5)
    return Scale(
        name="smoke",
        seeds=(0,),
        exclude=exclude,
        tasks=("hopper", "halfcheetah", "ant", "hopper-hidden"),
        settings=MergingSettings(
            steps=1500,
            max_steps=50,
            sizes=_sizes(16, 2, 8, (16, 2)),
            context=5,
            dropout=0.1,
            trainings=_trainings(long, short, short, short, text),
            positions=32,
            centres=16,
            evaluations=2,
            frozen_evaluations=2,
            episodes=2,
            merge_batches=MergeBatches(paper=2, empirical=1, true=1, grams=2, held_out=1),
            merge_batch=8,
        ),
        trial_seconds=120,
        expected_seconds=0.5,
        deviations=("Tiny policies, 30 updates, 50 steps: it shows that everything runs.",),
    )


def _laptop(exclude: tuple[str, ...]) -> Scale:
    policy = Training(updates=4000, batch=64, lr=4e-3, warmup=300)
    return Scale(
        name="laptop",
        seeds=tuple(range(10)),
        looks=(5, 10, 20),
        exclude=exclude,
        settings=MergingSettings(
            steps=100_000,
            text="general",
            sizes=_sizes(64, 2, 32, (64, 4)),
            context=10,
            dropout=0.0,
            trainings=_trainings(
                policy,
                policy,
                policy,
                Training(updates=1500, batch=64, lr=2e-3, warmup=150),
                Training(updates=2000, batch=16, lr=1e-3, warmup=200),
            ),
            positions=128,
            centres=64,
            evaluations=4,
            frozen_evaluations=2,
            episodes=20,
            merge_batches=MergeBatches(paper=100, empirical=10, true=4, grams=20),
        ),
        trial_seconds=3600,
        expected_seconds=30,
        deviations=(
            "Policies of 2 x 64 with a context of 10 and no dropout, 4,000 updates at a "
            "learning rate of 4e-3 with a cosine; the paper has 3 x 128, 20, 0.1 and 100,000 "
            "updates at 1e-4. As many updates after freezing; 20 evaluation episodes.",
            "A multi-task policy has the others' width and updates and 4 heads, each "
            "fine-tuned copy 1,500 updates more; the paper has a width of 512 and 100,000 of both.",
            "Expert data of 100,000 steps; the paper has medium and medium-expert.",
            _ROLLED_OUT,
            _SHORT_TEXT,
            _HELD_OUT,
        ),
    )


def _gpu(exclude: tuple[str, ...]) -> Scale:
    long = Training(updates=5000, batch=64, lr=5e-4, warmup=500)
    short = Training(updates=2500, batch=64, lr=5e-4, warmup=250)
    text = Training(updates=5000, batch=32, lr=1e-3, warmup=500)
    return Scale(
        name="gpu",
        seeds=(0, 1, 2, 3, 4),
        exclude=exclude,
        settings=MergingSettings(
            steps=200_000,
            text="general",
            sizes=_sizes(128, 3, 64, (256, 4)),
            context=20,
            dropout=0.1,
            trainings=_trainings(long, short, long, short, text),
            positions=256,
            centres=128,
            evaluations=5,
            frozen_evaluations=5,
            episodes=20,
            merge_batches=MergeBatches(paper=100, empirical=10, true=10, grams=50),
        ),
        trial_seconds=3600,
        expected_seconds=60,
        deviations=(
            "5,000 updates at a learning rate of 5e-4 with a cosine, against 100,000 at 1e-4; "
            "expert data, 20 evaluation episodes; a multi-task policy of width 256.",
            _ROLLED_OUT,
            _SHORT_TEXT,
            _HELD_OUT,
        ),
    )


def _paper(exclude: tuple[str, ...]) -> Scale:
    released = Training(updates=100_000, batch=64, lr=1e-4, warmup=10_000, decay="constant")
    text = Training(updates=50_000, batch=64, lr=3e-4, warmup=1_000)
    return Scale(
        name="paper",
        seeds=(0, 1, 2, 3, 4),
        exclude=exclude,
        settings=MergingSettings(
            version="v4",
            source="d4rl",
            quality="medium-expert",
            steps=0,
            text="general",
            sizes=_sizes(128, 3, 64, (512, 4)),
            context=20,
            dropout=0.1,
            trainings=_trainings(released, released, released, released, text),
            positions=1000,
            centres=128,
            evaluations=10,
            frozen_evaluations=10,
            episodes=50,
            merge_batches=MergeBatches(paper=750, empirical=20, true=20, grams=100),
        ),
        trial_seconds=24 * 3600,
        expected_seconds=3600,
        deviations=(
            "gymnasium's version 4 of the environments: the dynamics of version 3 with newer "
            "bindings.",
            "Five seeds, where the released code has none.",
            "A byte-level model of books and encyclopedia articles takes the place of ChibiT, one "
            "for each seed.",
            _HELD_OUT,
        ),
    )
