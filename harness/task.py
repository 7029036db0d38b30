"""What a task is: data plus metrics, as frozen, validated, plain data."""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, model_validator

from harness.check import ImportPath, Name
from harness.settings import Spec

_DEEPEST = 50
"""Levels of lists and objects in parameters; a record holds them some levels further down."""


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts or not path.isprintable():
        raise ValueError(f"file {path!r} is not a path inside the data folder; give one like a/b")
    return path


DataPath = Annotated[str, AfterValidator(_inside)]
"""A file inside the data folder, with forward slashes."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""A sha256, in hexadecimal."""


def _shallow(params: dict[str, JsonValue]) -> dict[str, JsonValue]:
    level: list[JsonValue] = [params]
    for _ in range(_DEEPEST):
        inner = [
            v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)
        ]
        level = [value for values in inner for value in values]
        if not level:
            return params
    raise ValueError(f"nested more than {_DEEPEST} deep")


Params = Annotated[dict[str, JsonValue], AfterValidator(_shallow)]
"""What methods, tasks and scales hand to the functions they name: JSON values, nothing else."""


class Metric(Spec):
    """A number that trials report, with everything needed to read it."""

    name: Name
    label: str
    """How tables head it."""
    unit: str
    """`%`, `nats`, `steps`, ... or an empty string for a pure number."""
    better: Literal["higher", "lower", "neither"]
    split: str
    """The data it is measured on: `test`, `val`, `held-out documents`, ..."""
    select: str
    """Which state of the training it belongs to: `best-val`, `last`, ..."""
    digits: int = Field(default=1, ge=0)
    """Decimals in tables."""
    lowest: float | None = None
    highest: float | None = None
    """Values that it cannot pass; intervals in tables end there. None: it has no such bound."""


class Dataset(Spec):
    """An external dataset: a local folder, or a public hub when that is allowed."""

    name: Name
    files: dict[DataPath, Digest | None]
    """Path inside the data folder -> sha256 of the file (None where it is not known)."""
    licence: str
    source: str
    """Where the data were published, in words."""
    sizes: str
    splits: str
    urls: dict[DataPath, str] = Field(default_factory=dict)
    """Where files are published byte for byte; empty, or one for each file."""
    fetch: ImportPath | None = None
    """`fetch(dataset, folder) -> facts` gets it where that takes more than a download: a hub, or
    files that are converted. Without it and without addresses it cannot be fetched."""
    rebuild: ImportPath | None = None
    """`rebuild(dataset, folder) -> facts` makes an equivalent of it from its public source, where
    nothing gives the very bytes. Only scales that say `rebuilt` read equivalents."""
    edition: Literal["", "rebuilt"] = ""
    """Which of the two it is, and the folder inside a data folder that its files lie in. No part
    of any identity: the scale's name and the digests are."""
    folder: str = ""
    """Where the files lie, of a dataset that a plugin brings; empty: in one of the data folders.
    No part of any identity."""
    note: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.urls and set(self.urls) != set(self.files):
            raise ValueError(f"dataset {self.name}: an address for each of its files, or for none")
        return self

    @property
    def fetchable(self) -> bool:
        """Whether `harness data prepare` can get it."""
        return bool(self.fetch or self.urls)

    @property
    def rebuilt(self) -> Self:
        """The edition that scales with `rebuilt` read: all of it in a folder of its own.

        A dataset with `rebuild` is held to what it was when it was first built; one without is
        the same files once more, held to the same digests.
        """
        if self.edition or self.folder or not self.files:
            return self
        update: dict[str, Any] = {"edition": "rebuilt"}
        if self.rebuild is not None:
            update |= {"files": dict.fromkeys(self.files), "urls": {}, "fetch": self.rebuild}
        return self.model_copy(update=update)


class Task(Spec):
    """Data plus metrics."""

    name: Name
    version: int = 1
    """Raised by hand when the task's meaning changes; part of the identity."""
    params: Params = Field(default_factory=dict)
    metrics: tuple[Name, ...]
    """What every method must return."""
    optional: tuple[Name, ...] = ()
    """What only some methods have: attention weights, routing statistics."""
    datasets: tuple[Name, ...] = ()
    """External datasets that it reads; empty for generated data."""
    protocol: str = "standard"
    """Named in every table. Where paper and released code disagree there is one task for each."""
    fallback: bool = False
    """True where synthetic data replace a real set; its numbers never mix with the real."""
    proxy: str = ""
    """Where it takes the place of what the paper measured, how; no verdict against the paper then.
    A fallback is always a proxy."""
    measures: dict[Name, str] = Field(default_factory=dict)
    """What a metric measures here where tasks differ in it, such as `Spearman`; numbers that
    measure different things are never averaged as they are."""
    splits: Literal["independent", "resampled"] = "independent"
    """`resampled`: each seed draws another split of the same data, so that trainings overlap."""
    train_share: float | None = Field(default=None, gt=0, lt=1)
    test_share: float | None = Field(default=None, gt=0, lt=1)
    """Shares of the data that a resampled split trains and tests on."""
    label: str = ""
    note: str = ""

    @model_validator(mode="after")
    def _shared(self) -> Self:
        shares = [share for share in (self.train_share, self.test_share) if share is not None]
        if len(shares) != (2 if self.splits == "resampled" else 0) or sum(shares) > 1:
            raise ValueError(
                f"task {self.name}: resampled splits have a train_share and a test_share of at "
                "most 1 together, independent ones neither"
            )
        return self

    @property
    def overlap(self) -> float:
        """Test share over train share of splits that overlap; 0 where they do not."""
        return (self.test_share or 0.0) / self.train_share if self.train_share else 0.0

    @property
    def reports(self) -> tuple[Name, ...]:
        """All metrics that a record of this task may hold."""
        return (*self.metrics, *self.optional)
