"""The record that a trial leaves: one immutable JSON document with its own checksum.

`harness.identity` names it, `harness.store` puts it on disk.
"""

import hashlib
from collections.abc import Callable
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, TypeVar, get_args

from pydantic import Field, JsonValue, model_validator
from pydantic_core import from_json, to_json

from harness import lazy
from harness.errors import described
from harness.identity import digest, spelled
from harness.settings import Spec
from harness.suite import Name

if TYPE_CHECKING:
    import pandas as pd

lazy.callable_module(__name__)

SCHEMA_VERSION = 2
"""Of the record's own layout. Raised when a field is added or changes its meaning."""

READABLE = (1, 2)
"""Layouts that this harness reads; the first one has no `origin`."""

S = TypeVar("S", bound=Spec)
Status = Literal["ok", "diverged", "oom", "timeout", "failed"]


def file_name(method: str, task: str, seed: int, identity: str) -> str:
    """Name of a record's file inside `results/<suite>/<scale>/`."""
    return f"{method}--{task}--s{seed}--{identity[:12]}.json"


class Series(Spec):
    """A short curve, or a histogram (`x` the left edges of the bins)."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    x_label: str = "step"

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.x) != len(self.y):
            raise ValueError(f"series: {len(self.x)} x values against {len(self.y)} y values")
        return self


class Cost(Spec):
    """What a trial took. Not part of what must repeat."""

    wall_seconds: float
    """Summed over the sessions of an interrupted trial."""
    cpu_seconds: float
    """User plus system time of the trial's process and its children."""
    peak_memory_bytes: int
    """Highest resident set of the trial's process."""
    peak_vram_bytes: int | None = None
    """Highest memory allocated on the GPU; None without one."""
    joules: float | None = None
    """Energy of the GPU while the trial ran; None without a GPU that counts it."""
    sessions: int = 1
    """How many times the trial was started until it finished."""


class Provenance(Spec):
    """What ran, where, with what."""

    started: str
    """UTC, ISO 8601."""
    finished: str
    commit: str | None
    """Git commit of the working tree; None outside a repository."""
    dirty: bool | None
    """Whether any file of the engine or of the suite's package differed from its commit; None
    where that cannot be told."""
    source_digest: str
    """sha256 over the source and data files that the method reaches; see `harness.source`."""
    python: str
    packages: dict[str, str]
    """Version of each declared package that was imported; `<version> sha256:<digest>` where its
    contents were read as data. So with other contents that no identity holds: files of a dataset
    without a known digest, texts of the standard library."""
    platform: str
    processor: str
    cores: int
    memory_bytes: int
    accelerator: str | None
    threads: int
    """CPU threads that the trial was allowed."""
    flags: dict[str, str]
    """Determinism switches and the few environment variables that change numbers."""
    command: tuple[str, ...]
    """Command line of the run, paths shortened to their last part."""


class Origin(Spec):
    """The record that this one was carried over from when identities changed their form."""

    id: str = Field(pattern=r"^[0-9a-f]{64}$")
    checksum: str


class Heading(NamedTuple):
    """What a plan asks of a record, and no more."""

    id: str
    seed: int
    wall_seconds: float
    """Of its cost, as the next."""
    peak_vram_bytes: int | None
    suite: str
    method: str
    task: str
    scale: str
    status: Status
    error: str | None
    source_digest: str
    """Of its provenance."""


class Record(Spec):
    """What one trial left behind."""

    schema_version: int = SCHEMA_VERSION
    id: str = Field(pattern=r"^[0-9a-f]{64}$")
    suite: Name
    method: Name
    task: Name
    seed: int = Field(ge=0)
    scale: Name
    protocol: str
    spec: dict[str, JsonValue]
    """The identity in full: its canonical JSON hashes to `id`."""
    status: Status
    error: str | None = None
    """One line, where the status is not `ok`."""
    metrics: dict[str, float] = Field(default_factory=dict)
    counts: dict[str, int] = Field(default_factory=dict)
    """Counted budgets: parameters, active_parameters, updates, tokens, flops, ..."""
    series: dict[str, Series] = Field(default_factory=dict)
    data: dict[str, str] = Field(default_factory=dict)
    """Where each dataset came from: `local`, `hub`, `generated`."""
    cost: Cost
    provenance: Provenance
    origin: Origin | None = None
    """Where it was carried over from, see `harness.migrate`; None for a record of its own run."""
    checksum: str = ""
    """sha256 of the canonical JSON of all other fields."""

    @property
    def short(self) -> str:
        """The twelve digits of the id that file names and tables show."""
        return self.id[:12]

    @property
    def file_name(self) -> str:
        """Name of its file inside `results/<suite>/<scale>/`."""
        return file_name(self.method, self.task, self.seed, self.id)

    @property
    def heading(self) -> Heading:
        """What a plan asks of it."""
        return Heading(
            self.id,
            self.seed,
            self.cost.wall_seconds,
            self.cost.peak_vram_bytes,
            self.suite,
            self.method,
            self.task,
            self.scale,
            self.status,
            self.error,
            self.provenance.source_digest,
        )

    @property
    def curves(self) -> dict[str, "pd.DataFrame"]:
        """The series by name, each as a table of one column over its x values."""
        import pandas as pd

        return {
            name: pd.DataFrame({name: s.y}, index=pd.Index(s.x, name=s.x_label))
            for name, s in self.series.items()
        }

    def sealed(self) -> Self:
        """The same record with its checksum filled in."""
        return self.model_copy(update={"checksum": self._sum()})

    def intact(self) -> bool:
        """Whether checksum and id agree with the content."""
        return self.checksum == self._sum() and digest(self.spec) == self.id

    def is_exact(self, content: dict[str, Any]) -> bool:
        """Whether JSON, read without a model, is as the record writes it, to the last type."""
        text = spelled({name: value for name, value in content.items() if name != "checksum"})
        return hashlib.sha256(text.encode()).hexdigest() == self.checksum

    def contradiction(self) -> str:
        """Where the fields do not say what the specification says; empty where they do."""
        try:
            spec: Any = self.spec
            named = {
                "suite": spec["suite"],
                "method": spec["method"]["name"],
                "task": spec["task"]["name"],
                "seed": spec["seed"],
                "scale": spec["scale"]["name"],
                "protocol": spec["task"]["protocol"],
            }
            device = spec["device"]
        except (KeyError, TypeError) as error:
            return f"its spec is not that of a trial ({described(error)})"
        if device not in ("cpu", "cuda"):
            return f"its spec names the device {device!r}; there are cpu and cuda"
        for field, value in named.items():
            if getattr(self, field) != value:
                return f"its {field} is {getattr(self, field)!r}, its spec says {value!r}"
        return ""

    def outcome(self) -> dict[str, Any]:
        """All that must repeat bit for bit: the record less cost, provenance and checksum."""
        return self.model_dump(exclude={"cost", "provenance", "origin", "checksum"})

    def content(self) -> dict[str, Any]:
        """The fields as JSON, in the record's own layout."""
        return self.model_dump(
            mode="json", exclude={"origin"} if self.schema_version == 1 else set()
        )

    def _sum(self) -> str:
        return digest({k: v for k, v in self.content().items() if k != "checksum"})


_OF_PAIR = ("method", "task", "scale", "data", "suite", "dtype", "device")
_OF_RUN = ("source_digest", "packages", "flags", "command")
_FLOATS = tuple(
    n for n, f in Cost.model_fields.items() if float in (f.annotation, *get_args(f.annotation))
)
_VALUES: dict[type[Spec], Callable[[dict[str, Any]], tuple[Any, ...]]] = {
    kind: itemgetter(*kind.model_fields) for kind in (Record, Series, Cost, Provenance, Origin)
}


class Shared:
    """Parts that many records have in common, each kept once: a third of the memory."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, ...], tuple[bytes, tuple[Any, ...]]] = {}
        self._fields: dict[tuple[str, ...], set[str]] = {}

    def read(self, data: bytes) -> Record:
        """The record in bytes that `Record.is_exact`, which shares what other records have too.

        Nothing is checked, and nothing converted but whole numbers that stand for floats.
        """
        fields = from_json(data)
        method, task = fields["method"], fields["task"]
        self._share(fields["spec"], _OF_PAIR, method, task)
        self._share(fields["spec"], ("artifacts",), method)
        self._share(fields, ("counts", "data"), method, task)
        ran = fields["provenance"]
        ran["command"] = tuple(ran["command"])
        self._share(ran, _OF_RUN, method)
        for name, curve in fields["series"].items():
            curve["x"], curve["y"] = tuple(map(float, curve["x"])), tuple(map(float, curve["y"]))
            self._share(curve, ("x",), name)
            fields["series"][name] = self._slim(Series, curve)
        fields["metrics"] = {name: float(value) for name, value in fields["metrics"].items()}
        spent = fields["cost"]
        spent |= {name: float(spent[name]) for name in _FLOATS if spent[name] is not None}
        fields["cost"] = self._slim(Cost, spent)
        fields["provenance"] = self._slim(Provenance, ran)
        if fields.get("origin"):
            fields["origin"] = self._slim(Origin, fields["origin"])
        return self._slim(Record, fields)

    def _share(self, holder: dict[str, Any], names: tuple[str, ...], *owner: str) -> None:
        values = tuple([holder.get(name) for name in names])
        exact = to_json(values)  # equality would take True for 1
        same = self._parts.get((*names, *owner))
        if same is not None and same[0] == exact:
            for name, value in zip(names, same[1], strict=True):
                if name in holder:
                    holder[name] = value
        else:
            self._parts[*names, *owner] = exact, values

    def _slim(self, kind: type[S], fields: dict[str, Any]) -> S:
        """A model; set one by one, its fields lie in a list that needs no table of names."""
        slim, put = kind.__new__(kind), object.__setattr__
        names = tuple(fields)
        if kind is Record:
            fields.setdefault("origin", None)  # the first layout has none
        for name, value in zip(kind.__pydantic_fields__, _VALUES[kind](fields), strict=True):
            put(slim, name, value)
        put(slim, "__pydantic_fields_set__", self._fields.setdefault(names, set(names)))
        put(slim, "__pydantic_extra__", None)
        put(slim, "__pydantic_private__", None)
        return slim
