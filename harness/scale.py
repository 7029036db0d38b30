"""What a scale is: which trials run, on which edition of the data, and the settings they get."""

from typing import Annotated, Self

from pydantic import Field, SerializeAsAny, StringConstraints, model_validator

from harness.check import Name
from harness.claim import LookSizes, Tier
from harness.settings import Settings, Spec

SEPARATOR = "+"
"""Between the size of a scale and what a variant of it replaces; see `harness.variants`."""
REBUILT = "-rebuilt"
"""Ending of the names of scales that read rebuilt data; see `Scale.rebuilt`."""
_REBUILT_DEVIATION = (
    "Texts and benchmarks are equivalents, rebuilt from their public sources, where the files "
    "that the other scales read are to be had nowhere: numbers of the two do not compare."
)


class Axis(Spec):
    """What takes several values at a scale: the same methods along tokens, width, depth or N.

    Either a setting, whose other values are variants of the scale with trials of their own, or a
    parameter of tasks that the scale runs anyway.
    """

    name: Name
    setting: str = ""
    """Dotted path into the scale's settings."""
    parameter: str = ""
    """Parameter of tasks; the points are the tasks that have each value."""
    values: tuple[float, ...] = Field(min_length=2)
    """Of a setting the scale's own value is a point as well, whether it is listed or not."""
    methods: tuple[str, ...] = ("*",)
    tasks: tuple[str, ...] = ("*",)
    """Names or globs of what runs at each value."""
    paper: float | None = None
    """The paper's value; None where it has none."""
    label: str = ""
    unit: str = ""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if bool(self.setting) == bool(self.parameter):
            raise ValueError(f"axis {self.name}: give a setting of the scale or a task parameter")
        return self


ScaleName = Annotated[
    str,
    StringConstraints(pattern=r"^(smoke|laptop|gpu|paper)(-rebuilt)?(\+[a-z0-9._+-]+)?$"),
]


class Scale(Spec):
    """How big: names which trials run and hands numbers to the methods."""

    name: ScaleName
    """`smoke`, `laptop`, `gpu` or `paper`; with `-rebuilt` where it reads rebuilt data; of a
    variant with what it replaces behind a `+`."""
    seeds: tuple[int, ...]
    methods: tuple[str, ...] = ("*",)
    tasks: tuple[str, ...] = ("*",)
    """Names or globs."""
    exclude: tuple[str, ...] = ()
    """`method/task` globs that this scale leaves out, e.g. `mlp/neighbour-*`."""
    settings: SerializeAsAny[Settings] = Settings()
    """What the methods get: updates, nodes, widths, in a type of the suite's own. Part of every
    identity; a method's or task's parameter of the same name takes precedence."""
    trial_seconds: float = Field(default=3600, gt=0)
    """A trial that runs longer is recorded as `timeout`."""
    looks: LookSizes = (5, 10, 20, 40)
    """Numbers of seeds at which claims may be judged where seeds are added until they are decided;
    fixed before anything runs."""
    expected_seconds: float = Field(gt=0)
    """One trial on one core of a small machine; only for the estimate before anything has run."""
    threads: int = Field(default=1, ge=1)
    """CPU threads per trial; not part of the identity, recorded in the provenance."""
    gpus: int = Field(default=1, ge=1)
    """GPUs per trial where the device is one; with several a method starts its own processes, see
    `harness.parallel`. Not part of the identity."""
    memory_gib: float = Field(default=0, ge=0)
    """Main memory per trial, for executors that reserve it; 0: not reserved."""
    axes: tuple[Axis, ...] = ()
    """Settings that are also run at other values; each value is a variant of the scale."""
    tier: Tier | None = None
    """Nearness to the paper's setting; by default `exact` for the paper scale, `scaled` else."""
    deviations: tuple[str, ...] = ()
    """How this scale differs from the paper's setting."""

    @property
    def size(self) -> str:
        """The name of the scale that this is, or is a variant of."""
        return self.name.partition(SEPARATOR)[0]

    @property
    def rebuilt(self) -> bool:
        """Whether it reads the rebuilt edition of every dataset; see `Dataset.rebuilt`."""
        return self.size.endswith(REBUILT)

    @property
    def machine(self) -> str:
        """`smoke`, `laptop`, `gpu` or `paper`: the size without the edition of its data."""
        return self.size.removesuffix(REBUILT)

    def on_rebuilt(self) -> Self:
        """The same scale on rebuilt data, under a name of its own."""
        return self.model_copy(
            update={
                "name": f"{self.name}{REBUILT}",
                "deviations": (*self.deviations, _REBUILT_DEVIATION),
            }
        )
