"""What a method or artifact function gets: its specification, and the engine's services.

Names without an underscore are for authors of methods; the engine itself uses the others too.
"""

import copy
import hashlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from pydantic import JsonValue

from harness.cost import Meter
from harness.data import Sources
from harness.errors import Diverged, MethodError
from harness.identity import Node
from harness.inputs import Inputs
from harness.patience import Patience
from harness.plan import Trial
from harness.record import Cost, Series
from harness.settings import S, resolve
from harness.store import Checkpoint, Store
from harness.suite import Artifact, Method, Scale, Suite, Task

if TYPE_CHECKING:
    import numpy as np
    import torch

_PROGRESS_SECONDS = 0.5
_CURVE_POINTS = 40


class Progress(NamedTuple):
    """How far a job is."""

    step: int
    total: int


class Resumable(Protocol):
    """What `Context.tick` saves and `Context.restore` fills; see `harness.training.State`."""

    def pack(self) -> tuple[bytes, dict[str, JsonValue]]:
        """The state as safetensors bytes and JSON."""
        ...

    def unpack(self, checkpoint: Checkpoint) -> None:
        """Takes the state back from a verified checkpoint."""
        ...


class Interrupted(BaseException):
    """The trial was asked to stop; its text says what was not saved. No error, so no Exception."""


class TimeLimit(MethodError):
    """The trial passed its wall-clock limit."""


class Context(Inputs):
    """What a method or artifact function gets: its specification, and the engine's services."""

    def __init__(
        self,
        trial: Trial,
        store: Store,
        sources: Sources,
        *,
        node: Node | None = None,
        seconds: float = math.inf,
        source_digest: str = "",
        notify: Callable[[Progress], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        asked: Callable[[], bool] | None = None,
    ) -> None:
        spec = (node or trial).spec
        named = tuple(spec["data"])
        reader = node.artifact.name if node else trial.method.name
        super().__init__(reader, named, trial.suite.datasets_at(trial.scale), sources)
        self._coordinates: dict[str, JsonValue] = {
            name: spec[name] for name in ("suite", "scale", "plugins") if name in spec
        }
        self._suite = trial.suite
        self._scale = trial.scale
        self.device = trial.device
        """`cpu`, `cuda` or `cuda:<n>`."""
        self.dtype = trial.suite.dtype
        self._subject: Method | Artifact = node.artifact if node else trial.method
        self.seed: int = (node.seed or 0) if node else trial.seed
        self.id = node.id if node else trial.id
        self._task = node.task if node else trial.task
        self._needs = node.needs if node else trial.needs
        self._store = store
        self._seconds = seconds
        self._source_digest = source_digest
        """Of what is run; empty where nobody asks."""
        self._notify = notify
        self._asked = asked
        """Tells whether the trial is to stop, whatever its method did to signals."""
        self._process = os.getpid()
        self._closed = False
        self.out: Path = store.trial_folder(self.id) / "out"
        """Folder that an artifact function fills."""
        self.counts: dict[str, int] = {}
        self._series: dict[str, Series] = {}
        self._curves: dict[str, list[tuple[int, float]]] = {}
        self._checkpoint = store.checkpoint(self.id)
        if self._checkpoint and self._checkpoint.meta.get("source_digest") != source_digest:
            store.clear_checkpoints(self.id)  # begun by different code
            self._checkpoint = None
        earlier = self._checkpoint.meta.get("cost") if self._checkpoint else None
        self._meter = Meter(self.device, Cost.model_validate(earlier) if earlier else None, clock)
        self.stopping = threading.Event()
        """Set when the trial was asked to stop; `tick` acts on it."""
        self._checkpoint_seconds = Patience.read().checkpoint
        self._last_save = time.monotonic()
        self._last_notice = -math.inf

    # -- what is to be done -----------------------------------------------------------------------
    # Parameters are lists and dictionaries that a method may change: it gets copies of them.

    @cached_property
    def suite(self) -> Suite:
        """The suite that the trial belongs to; a copy."""
        return self._suite.model_copy(deep=True)

    @property
    def scale(self) -> Scale:
        """The scale that the trial runs at; a copy."""
        return self._scale.model_copy(deep=True)

    @property
    def subject(self) -> Method | Artifact:
        """The method or artifact that is run; a copy."""
        return self._subject.model_copy(deep=True)

    @property
    def task(self) -> Task:
        """The task, a copy; an artifact has one only if it is made over tasks."""
        if self._task is None:
            raise MethodError(
                f"artifact {self._subject.name} is not made over tasks: it has no task"
            )
        return self._task.model_copy(deep=True)

    def settings(self, model: type[S]) -> S:
        """Settings of that type: each field from the method, else the task, else the scale.

        Raises:
            SpecError: none of them has a field that has no default, or a value is out of range.
        """
        task = self._task.params if self._task else {}
        layers = copy.deepcopy((self._subject.params, task, self._scale.settings.plain()))
        return resolve(model, layers, self._subject.name)

    def stream(self, purpose: str, *keys: str | int) -> int:
        """A 63-bit seed for one purpose: `data`, `init`, `batch`, `dropout`, `env`, `eval`, ...

        Depends on the trial's seed, the purpose and the keys alone, so that methods with equal
        seeds see equal data: comparisons are paired. Add the method's name as a key to part them.
        """
        text = "\0".join(map(str, (self._suite.name, self.seed, purpose, *keys)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def torch_generator(self, purpose: str, *keys: str | int) -> "torch.Generator":
        """A private CPU generator on that stream."""
        import torch

        return torch.Generator().manual_seed(self.stream(purpose, *keys))

    def numpy_generator(self, purpose: str, *keys: str | int) -> "np.random.Generator":
        """A private numpy generator on that stream."""
        import numpy as np

        return np.random.default_rng(self.stream(purpose, *keys))

    # -- what it stands on ------------------------------------------------------------------------

    def artifact(self, name: str) -> Path:
        """The folder of an artifact that the method said it needs, verified.

        Raises:
            MethodError: it was not named in `needs`.
            StoreError: it is corrupt or gone.
        """
        if name not in self._needs:
            raise MethodError(f"{self._subject.name} reads artifact {name!r} but does not need it")
        folder = self._store.artifact(self._suite.name, name, self._needs[name])
        if folder is None:
            raise MethodError(f"artifact {name!r} has not been made; run the suite again")
        self.contents |= self._store.artifact_contents(folder)
        return folder

    # -- what it leaves ---------------------------------------------------------------------------

    def count(self, **counts: int) -> None:
        """Notes counted budgets: `parameters`, `updates`, `flops`, ...

        Raises:
            MethodError: a count of 2**63 or more, either way, or one that is no number.
        """
        for name, value in counts.items():
            if not abs(value) < 2**63:
                shown = f"{value.bit_length()} bits" if isinstance(value, int) else value
                raise MethodError(
                    f"{self._subject.name} counts {name} = {shown}; a count lies between "
                    "-2**63 and 2**63, both excluded: count in a larger unit"
                )
            self.counts[name] = int(value)

    def series(
        self, name: str, x: Sequence[float], y: Sequence[float], x_label: str = "step"
    ) -> None:
        """Keeps a short curve or histogram in the record, to six significant digits."""
        self._series[name] = Series(x=_rounded(x), y=_rounded(y), x_label=x_label)

    def log(self, step: int, **scalars: float) -> None:
        """Adds a point to the trial's curves, which the record keeps thinned.

        Raises:
            Diverged: a scalar is NaN or infinite.
        """
        for name, value in scalars.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} is {value} at step {step}")
            self._curves.setdefault(name, []).append((step, float(value)))

    # -- interruption -----------------------------------------------------------------------------

    def restore(self, state: Resumable) -> int:
        """Fills `state` from the trial's checkpoint; returns the steps done, 0 without one."""
        if self._checkpoint is None:
            return 0
        state.unpack(self._checkpoint)
        curves: Any = self._checkpoint.meta["curves"]
        self._curves = {name: [tuple(point) for point in line] for name, line in curves.items()}
        return self._checkpoint.step

    def steps(self, total: int, state: Resumable) -> Iterator[int]:
        """The updates that are still to be made, from 0; restores, saves and stops in between.

        `state` must be what a fresh process needs to do the next step. Used as
        `for step in ctx.steps(total, state): ...`; raises what `tick` raises.
        """
        for step in range(self.restore(state), total):
            yield step
            self.tick(step + 1, total, state)

    def tick(self, step: int, total: int, state: Resumable | None = None) -> None:
        """To be called after every step: progress, checkpoints, stopping, the time limit.

        `state` must be what a fresh process needs to do step `step + 1`. Without it nothing is
        saved, and a stopped trial starts afresh. In a process that the method forked off, and
        after the trial's end, it does nothing.

        Raises:
            Interrupted: the trial was asked to stop; its state is saved.
            TimeLimit: it has run longer than it may.
        """
        if self._left():
            return
        now = time.monotonic()
        stop = self.asked()
        if self._notify and now - self._last_notice > _PROGRESS_SECONDS:
            self._last_notice = now
            self._notify(Progress(int(step), int(total)))
        if state is not None and (stop or now - self._last_save > self._checkpoint_seconds):
            tensors, meta = state.pack()
            self._store.save_checkpoint(
                self.id,
                step,
                tensors,
                {
                    **meta,
                    "curves": {name: list(map(list, line)) for name, line in self._curves.items()},
                    "cost": self.cost().model_dump(mode="json"),
                    "source_digest": self._source_digest,
                    "spec": self._coordinates,
                },
            )
            self._last_save = time.monotonic()
        if stop:
            raise Interrupted("" if state is not None else "it saves no state and starts afresh")
        if self.cost().wall_seconds > self._seconds:
            raise TimeLimit(f"stopped after {self._seconds:.0f} s at step {step} of {total}")

    def asked(self) -> bool:
        """Whether the trial is to stop; `tick` acts on it."""
        if self._asked is not None and self._asked():
            self.stopping.set()
        return self.stopping.is_set()

    def cost(self) -> Cost:
        """What the trial has cost so far, earlier sessions included."""
        return self._meter.read()

    def _left(self) -> bool:
        """Whether this is not the trial any more: a process forked off it, or a leftover thread."""
        return self._closed or os.getpid() != self._process

    def finished_series(self) -> dict[str, Series]:
        """The kept series and the thinned curves."""
        curves = {}
        for name, line in self._curves.items():
            last = len(line) - 1
            count = min(_CURVE_POINTS, len(line))
            kept = sorted({round(i * last / max(count - 1, 1)) for i in range(count)})
            x, y = zip(*(line[i] for i in kept), strict=True)
            curves[name] = Series(x=_rounded(x), y=_rounded(y))
        return curves | self._series


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(f"{float(value):.6g}") for value in values)
