"""How big: which methods meet which tasks at each scale, and the settings that they get."""

from harness.settings import Schedule
from harness.suite import Axis, Scale
from suites.bam.data.datasets import DOMAINS
from suites.bam.downstream import benchmarks
from suites.bam.methods import EXPERTS, SHORTER, methods
from suites.bam.settings import BamSettings, Evaluation, MixturePhase, ModelSize, Phases

PERPLEXITIES = (*DOMAINS, "mean")
LENGTHS = ("mean-half", "mean-quarter", "mean-eighth")
"""The mean over domains after shorter mixture phases."""
QUESTIONS = tuple(
    f"downstream-{group}" for group in benchmarks.GROUPS if group not in ("code", "generated")
)
ANSWERED = ("seed", *EXPERTS, "btx", "bam", "bam-shared-kv")
"""Methods that answer downstream questions where time is short."""


def scales() -> tuple[Scale, ...]:
    """Smoke for CI, laptop for two cores, gpu from a pretrained seed, paper as published.

    The last three once more on data that anybody can build.
    """
    trained = [m.name for m in methods() if m.name != "counts"]
    others = (*PERPLEXITIES, *LENGTHS, "cost", "*-public", "*-installed", "downstream-*")
    # Counts are of the paper's models alone, and have no other task; the ensemble is not trained.
    exclude = (
        *(f"{name}/count-*" for name in trained),
        *(f"counts/{name}" for name in others),
        "btm/cost*",
        *(f"{name}/{length}*" for name in trained if name not in SHORTER for length in LENGTHS),
    )
    unanswered = tuple(f"{name}/downstream-*" for name in trained if name not in ANSWERED)
    with_data = (
        _laptop((*exclude, *unanswered)),
        _gpu((*exclude, *unanswered)),
        _paper((*exclude, "btm/downstream-*")),
    )
    smoke = _smoke((*exclude, *unanswered))
    return (smoke, *with_data, *(scale.on_rebuilt() for scale in with_data))


def _width(*values: float, methods: tuple[str, ...], tasks: tuple[str, ...]) -> Axis:
    """The width of the dense model; experts, their heads and hidden layers grow with it."""
    return Axis(
        name="width",
        setting="model.hidden_size",
        values=values,
        methods=methods,
        tasks=tasks,
        paper=1024,
        label="width",
    )


def _phase(*, steps: int, peak: float, warmup: int) -> Schedule:
    return Schedule(steps=steps, peak=peak, warmup=warmup, floor=0.1)


def _mixing(
    *, steps: int, peak: float, warmup: int, cooldown: float | None = None, halvings: int = 0
) -> MixturePhase:
    return MixturePhase(
        steps=steps, peak=peak, warmup=warmup, floor=0.1, cooldown=cooldown, halvings=halvings
    )


def _smoke(exclude: tuple[str, ...]) -> Scale:
    return Scale(
        name="smoke",
        seeds=(0,),
        tasks=("mean-*installed", "cost-installed", "downstream-generated", "count-*"),
        exclude=exclude,
        settings=BamSettings(
            model=ModelSize(hidden_size=32, num_hidden_layers=2, num_attention_heads=2),
            vocabulary=384,
            characters=600_000,
            held_out=0.25,
            context=32,
            batch=8,
            micro_batch=4,
            phases=Phases(
                seed=_phase(steps=20, peak=0.01, warmup=2),
                expert=_phase(steps=10, peak=0.005, warmup=2),
                dense=_phase(steps=30, peak=0.005, warmup=2),
                mixture=_mixing(steps=16, peak=0.01, warmup=1, cooldown=0.25, halvings=3),
            ),
            evaluation=Evaluation(tokens=1000, questions=8),
        ),
        trial_seconds=120,
        expected_seconds=0.5,
        axes=(_width(16.0, 32.0, methods=("btx", "bam"), tasks=("mean-installed",)),),
        deviations=("Tiny models, ten updates: it shows that everything runs, nothing else.",),
    )


def _laptop(exclude: tuple[str, ...]) -> Scale:
    left_out = ("btx-5", "btx-7", "btx-8")
    return Scale(
        name="laptop",
        seeds=tuple(range(5)),
        tasks=(*PERPLEXITIES, *LENGTHS, "cost", *QUESTIONS, "count-*"),
        methods=tuple(m.name for m in methods() if m.name not in left_out),
        exclude=exclude,
        settings=BamSettings(
            model=ModelSize(hidden_size=64, num_hidden_layers=2, num_attention_heads=4),
            vocabulary=5120,
            characters=8_000_000,
            context=64,
            batch=16,
            micro_batch=16,
            phases=Phases(
                seed=_phase(steps=1000, peak=0.004, warmup=40),
                expert=_phase(steps=400, peak=0.002, warmup=20),
                dense=_phase(steps=1200, peak=0.002, warmup=40),
                mixture=_mixing(steps=960, peak=0.004, warmup=20, cooldown=0.3, halvings=3),
            ),
            evaluation=Evaluation(tokens=16_000, questions=100),
        ),
        trial_seconds=3600,
        expected_seconds=12,
        looks=(5, 10, 20),
        axes=(
            _width(
                32.0,
                128.0,
                methods=("btx", "bam", "bam-cm", "bam-shared-kv", "bam-uniform"),
                tasks=DOMAINS,
            ),
        ),
        deviations=(
            "A model of width 64 with 2 layers, 5,120 tokens and 0.7 million parameters in place "
            "of 590 million, of which 89 % are embeddings, as in the paper; 1.0 million "
            "training tokens for the seed, 0.4 million for each expert, 1.0 million for each "
            "mixture, in place of 400, 100 and 100 billion.",
            "Peak learning rates 0.004, 0.002 and 0.004, in the paper's ratio (its small models "
            "have 0.00012, half of it for experts); chosen by pilots with BTX and BAM on seeds "
            "from 1000 on.",
            "The mixture phase has a constant rate and a cooldown over its last 30 %, so that one "
            "training serves four lengths and the compute-matched one; the paper's has a cosine.",
            "All widths have the rates of width 64.",
            "Benchmarks are zero-shot, 100 items each.",
        ),
    )


def _gpu(exclude: tuple[str, ...]) -> Scale:
    return Scale(
        name="gpu",
        seeds=tuple(range(5)),
        tasks=(*PERPLEXITIES, "cost", *QUESTIONS, "count-*"),
        methods=("seed", "expert-*", "btx", "bam", "bam-shared-kv", "bam-uniform", "counts"),
        exclude=exclude,
        settings=BamSettings(
            model=None,
            vocabulary=None,
            characters=16_000_000,
            context=512,
            batch=32,
            micro_batch=32,
            phases=Phases(
                expert=_phase(steps=240, peak=0.0003, warmup=12),
                mixture=_mixing(steps=200, peak=0.0003, warmup=10),
            ),
            evaluation=Evaluation(tokens=100_000, questions=200),
        ),
        trial_seconds=1200,
        expected_seconds=60,
        deviations=(
            "The seed is SmolLM2-135M-Instruct with weights of four bits, converted to "
            "float32: sequential blocks, grouped queries, tied embeddings, instruction-tuned.",
            "4 million training tokens for each expert, 3.3 million for each mixture; peak "
            "learning rate 0.0003. The seed model is one for all seeds, experts are trained per "
            "seed.",
        ),
    )


def _paper(exclude: tuple[str, ...]) -> Scale:
    public = tuple(f"{name}-public" for name in PERPLEXITIES)
    return Scale(
        name="paper",
        seeds=tuple(range(5)),
        tasks=(*public, "cost-public", "downstream-*-public", "count-*"),
        exclude=exclude,
        settings=BamSettings(
            model=ModelSize(
                hidden_size=1024,
                intermediate_size=2048,
                num_hidden_layers=6,
                num_attention_heads=8,
            ),
            vocabulary=256_000,
            characters=10**15,
            context=2048,
            batch=512,
            micro_batch=16,
            compile=True,
            phases=Phases(
                seed=_phase(steps=381_470, peak=0.00012, warmup=1500),
                expert=_phase(steps=95_367, peak=0.00006, warmup=1500),
                dense=_phase(steps=286_102, peak=0.00006, warmup=1500),
                mixture=_mixing(steps=95_367, peak=0.00012, warmup=1500),
            ),
            evaluation=Evaluation(tokens=10_000_000, document=100_000, questions=None, shots=None),
        ),
        tier="scaled",
        trial_seconds=10_000_000,
        expected_seconds=1_000_000,
        deviations=(
            "The paper's small model and schedule on the first documents of the public sets "
            "that it names, far fewer than its own, so that they repeat. Its context length is "
            "not published; 2,048 is ours.",
        ),
    )
