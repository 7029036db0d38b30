"""Ray: the plan as tasks of a cluster, with the CPUs, GPUs and memory that its scale asks for.

Every task runs one job as this machine would: the same supervisor, limits and locks. What a lost
node ran is submitted again, and resumes from its checkpoint once the lock of the dead is free.

Where all nodes see this machine's cache folder, artifacts, checkpoints and records go through it.
Else a node works in a folder of its own: artifacts travel through Ray's object store, are verified
against their manifests on arrival, and records come back as text and are verified too.
"""

import contextlib
import hashlib
import logging
import shutil
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import HarnessError, StoreError, UsageError, brief
from harness.executors import Event, Work
from harness.executors.local import Local
from harness.executors.order import Order
from harness.executors.remote import heard, packed, told, unpacked
from harness.executors.stops import Stops
from harness.failures import unwritable
from harness.files import publish, write_atomic
from harness.patience import Patience
from harness.plan import Plan
from harness.run import BUSY, DONE, FAILED, FULL, INTERRUPTED, Job, Outcome, Progress
from harness.store import Store, parse_record

_ATTEMPTS = 4
"""How often a job is given to a node that is then lost."""
_BEAT = 1.0
"""Seconds between two words of a task with the command."""
_PAUSE = 2.0
"""Seconds until a job is submitted again."""
_AHEAD = 100
"""Tasks that are submitted though there is no room for them yet: what an autoscaler goes by."""
Files = dict[str, bytes]
"""Name in a folder -> content."""


class Sent(NamedTuple):
    """What comes back from a node that has a folder of its own."""

    record: bytes | None = None
    artifact: Files | None = None


class Home(NamedTuple):
    """How a node finds the folders."""

    shared: bool
    name: str
    """Of the sign that the command left in the shared cache; else of the node's own folder."""
    command: tuple[str, ...] = ()
    """The command line, of which records tell."""

    def settled(self, job: Job) -> Job:
        """The job with the folders that it has on this node.

        Raises:
            StoreError: the node does not see the shared folder.
        """
        if not self.shared:
            own = Path(tempfile.gettempdir()) / f"harness-{self.name}"
            return job._replace(results=str(own / "results"), cache=str(own / "cache"))
        if not sees(job.cache, self.name):
            raise StoreError(f"a node of the cluster does not see {job.cache}, others do")
        return job


def sees(cache: str, name: str) -> bool:
    """Whether a sign in a cache folder is there."""
    return (Path(cache) / name).exists()


class Board:
    """An actor: what the tasks and the command tell each other."""

    def __init__(self) -> None:
        self._news: dict[str, tuple[int, int]] = {}
        self._stop = False

    def beat(self, key: str, step: int, total: int) -> bool:
        """How far a task is; whether it is to stop."""
        self._news[key] = (step, total)
        return self._stop

    def drain(self) -> dict[str, tuple[int, int]]:
        """What is new of all tasks."""
        news, self._news = self._news, {}
        return news

    def stop(self) -> None:
        """Asks every task to save and stop."""
        self._stop = True


def carry(text: str, home: Home, board: Any, *artifacts: Files) -> tuple[str, Sent]:
    """The task: runs one job on the node that it got."""
    item = unpacked(text)
    sys.argv[:] = home.command
    began = time.monotonic()
    try:
        job = home.settled(item.job)
        store = Store(Path(job.results), Path(job.cache))
        if not home.shared:
            for files in artifacts:
                receive(store, files)
    except HarnessError as error:
        return told(Outcome(FAILED, str(error), recorded=False), 0.0), Sent()
    ended: list[Outcome] = []
    progress = Progress(0, 0)

    def observe(event: Event) -> None:
        nonlocal progress
        if event.outcome is not None:
            ended.append(event.outcome)
        elif event.progress is not None:
            progress = event.progress

    over, answered, stopped = (threading.Event() for _ in range(3))
    local = Local(1)

    def told_to_stop() -> bool:
        import ray

        try:
            return bool(ray.get(board.beat.remote(job.id, *progress), timeout=60))
        except Exception:  # the command, or what it is reached by, is gone
            return True

    def talk() -> None:  # a thread: Ray gives the CPU of a task whose main one waits to others
        while not over.is_set():
            if told_to_stop():
                stopped.set()
                local.stop()
            answered.set()
            over.wait(_BEAT)

    threading.Thread(target=talk, daemon=True).start()
    answered.wait()
    if stopped.is_set():
        over.set()
        return told(Outcome(INTERRUPTED), 0.0), Sent()
    try:
        local.run([Work(job)], observe)
    finally:
        over.set()
    outcome = ended[0] if ended else Outcome(INTERRUPTED)
    sent = Sent() if home.shared else _sent(store, job, outcome)
    return told(outcome, time.monotonic() - began), sent


def contents(folder: Path) -> Files:
    """All files of an artifact, its manifest among them; its own name under an empty one."""
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in _files(folder)}
    return {"": f"{folder.parent.name}/{folder.name}".encode(), **files}


def receive(store: Store, files: Files) -> None:
    """Puts an artifact into a store and verifies it; one that is there already stays.

    Raises:
        StoreError: it cannot be written, or does not match its own manifest; then it is not kept.
    """
    folder = store.cache / "artifacts" / Path(*Path(files[""].decode()).parts[-2:])
    with store.lock(folder.name.rpartition("-")[2]):
        if store.is_built(folder) and contents(folder) == files:
            return
        shutil.rmtree(folder, ignore_errors=True)
        with publish(folder) as work:
            for name, data in files.items():
                if name and ".." not in (path := work / name).parts:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(data)
            store.check_artifact(work)


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _sent(store: Store, job: Job, outcome: Outcome) -> Sent:
    """What a job has left in the node's own folder."""
    if job.artifact is not None:
        folder = store.artifact_folder(job.suite, job.artifact, job.id)
        return Sent(artifact=contents(folder) if outcome.code == DONE else None)
    if outcome.code not in (DONE, FAILED) or not outcome.recorded:
        return Sent()
    found = job.recorded(store)
    if found is None:
        return Sent()
    path = store.results / job.suite / job.scale / found.file_name
    return Sent(record=path.read_bytes())


class _Flight(NamedTuple):
    """A job that a task carries."""

    item: Work
    attempt: int


class Ray:
    """Runs work on a Ray cluster."""

    parting = "stopped; {kept}, resume with"

    def __init__(self, store: Store, address: str | None, deadline: float | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise UsageError(
                "--executor ray needs Ray: pip install 'attention-harness[ray]'"
            ) from None
        self._ray: Any = ray
        self._store = store
        self._deadline = deadline
        """On the monotonic clock; jobs that run at that moment are asked to stop."""
        self._stops = Stops()
        if not ray.is_initialized():
            try:
                ray.init(
                    address=address, log_to_driver=False, include_dashboard=False,
                    logging_level=logging.ERROR,
                )  # fmt: skip
            except (ConnectionError, ValueError, OSError, RuntimeError) as error:
                raise UsageError(
                    f"no Ray cluster at {address or 'the address of RAY_ADDRESS'}: {brief(error)}"
                ) from None

    def workers(self, plans: Sequence[Plan], per_gpu: int = 1) -> int:
        """Trials at a time, by what the cluster has now."""
        there = self._ray.cluster_resources()
        return max(
            1,
            min(
                int(there.get("GPU", 0) * per_gpu if made.device == "cuda" else there.get("CPU", 0))
                // (made.scale.gpus if made.device == "cuda" else made.scale.threads)
                for made in plans
            ),
        )

    def run(self, work: Sequence[Work], observe: Callable[[Event], None]) -> bool:
        """See `harness.executors.Executor.run`."""
        if not work:
            return True
        self._store.claim()
        sign = f".ray-{uuid.uuid4().hex}"
        write_atomic(self._store.cache / sign, b"")
        try:
            with self._stops.caught():
                return self._drive(work, self._home(work, sign), observe)
        finally:
            (self._store.cache / sign).unlink(missing_ok=True)

    def _home(self, work: Sequence[Work], sign: str) -> Home:
        """Whether all nodes see the cache folder."""
        ray = self._ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ask = ray.remote(sees)
        answers = [
            ask.options(
                num_cpus=0,
                max_retries=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
            ).remote(work[0].job.cache, sign)
            for node in ray.nodes()
            if node["Alive"]
        ]
        shared = True
        for answer in answers:
            with contextlib.suppress(ray.exceptions.RayError):  # it has just been lost
                shared = shared and ray.get(answer, timeout=60)
        if shared:
            return Home(True, sign, tuple(sys.argv))
        place = f"{self._store.results.absolute()}\0{self._store.cache.absolute()}"
        name = hashlib.sha256(place.encode()).hexdigest()[:12]
        return Home(False, name, tuple(sys.argv))

    def _drive(self, work: Sequence[Work], home: Home, observe: Callable[[Event], None]) -> bool:
        crowd = _Crowd(self._ray, Order(work), home, self._store, observe)
        while crowd.busy:
            passed = self._deadline is not None and time.monotonic() > self._deadline
            if self._stops.count > 1:
                return False
            if self._stops.count or crowd.full or passed:
                crowd.stop()
                if not crowd.flying:
                    return False
            else:
                crowd.submit()
            crowd.listen()
        return not crowd.cut


class _Crowd:
    """The tasks that are out, and what has become of them."""

    def __init__(
        self, cluster: Any, order: Order, home: Home, store: Store, observe: Callable[[Event], None]
    ) -> None:
        self._ray = cluster
        self._order = order
        self._home = home
        self._store = store
        self._observe = observe
        self._board = cluster.remote(Board).options(num_cpus=0, max_restarts=-1).remote()
        self._task = cluster.remote(carry)
        self._room = 2 * int(cluster.cluster_resources().get("CPU", 1)) + _AHEAD
        self._artifacts: dict[str, Any] = {}
        """Identity of an artifact -> where the object store has it."""
        self._began: dict[str, float] = {}
        self._patient: dict[str, float] = {}
        """Until when the lock of a job whose node was lost may be that of the dead."""
        self._jobs: dict[str, Job] = {}
        self._flying: dict[Any, _Flight] = {}
        self._later: list[tuple[float, _Flight]] = []
        """What is to be submitted again, and when."""
        self._asked = False
        self.full = False
        """Whether nothing more can be written."""
        self.cut = False
        """Whether anything was stopped before its end."""

    @property
    def flying(self) -> bool:
        """Whether any task is out."""
        return bool(self._flying)

    @property
    def busy(self) -> bool:
        """Whether anything is left to be done."""
        return bool(self._order or self._flying or self._later)

    def stop(self) -> None:
        """Asks all tasks to save and stop."""
        if not self._asked:
            self._asked = self.cut = True
            self._board.stop.remote()
            self._later.clear()

    def submit(self) -> None:
        """Submits what can begin, a little more than there is room for."""
        now = time.monotonic()
        due = [flight for moment, flight in self._later if moment <= now]
        self._later = [(moment, flight) for moment, flight in self._later if moment > now]
        for flight in due:
            self._send(flight)
        while len(self._flying) < self._room and (item := self._order.next()) is not None:
            self._send(_Flight(item, 1))

    def listen(self) -> None:
        """Passes on what the tasks say; waits a moment where they say nothing."""
        ray = self._ray
        if not self._flying:
            time.sleep(0.1)
            return
        flying = list(self._flying)
        ended, _ = ray.wait(flying, num_returns=1, timeout=0.5)
        if ended:
            ended, _ = ray.wait(flying, num_returns=len(flying), timeout=0)
        try:
            news = ray.get(self._board.drain.remote(), timeout=30)
        except ray.exceptions.RayError:  # its node was lost; it starts again on another
            news = {}
            if self._asked:
                self._board.stop.remote()
        for key, progress in news.items():
            self._moved(key, Progress(*progress))
        for reference in ended:
            self._hear(reference)

    def _send(self, flight: _Flight) -> None:
        job = flight.item.job
        self._jobs[job.id] = job
        options: dict[str, Any] = {
            "num_cpus": job.threads,
            "num_gpus": job.gpus,
            "max_retries": 0,
            "name": job.title,
        }
        if job.memory:
            options["memory"] = job.memory
        parts = [] if self._home.shared else [self._part(job, key) for key in flight.item.after]
        task = self._task.options(**options)
        self._flying[task.remote(packed(flight.item), self._home, self._board, *parts)] = flight

    def _part(self, job: Job, key: str) -> Any:
        if key not in self._artifacts:
            (folder,) = (self._store.cache / "artifacts" / job.suite).glob(f"*-{key[:12]}")
            self._artifacts[key] = self._ray.put(contents(folder))
        return self._artifacts[key]

    def _moved(self, key: str, progress: Progress) -> None:
        job = self._jobs.get(key)
        if job is None:  # it has ended meanwhile
            return
        if key not in self._began:
            self._began[key] = time.monotonic()
            self._observe(Event(job))
        if progress.total:
            seconds = time.monotonic() - self._began[key]
            self._observe(Event(job, progress=progress, seconds=seconds))

    def _hear(self, reference: Any) -> None:
        """Takes in the end of a task."""
        flight = self._flying.pop(reference)
        job, errors, now = flight.item.job, self._ray.exceptions, time.monotonic()
        seconds, sent = 0.0, Sent()
        try:
            text, sent = self._ray.get(reference)
            outcome, seconds = heard(text)
        except errors.RayTaskError as error:
            outcome = Outcome(FAILED, f"its task failed: {brief(error.cause)}", recorded=False)
        except errors.RayError as error:
            self._patient[job.id] = now + Patience.read().lease + 30
            line = f"the node of its task was lost {flight.attempt} times ({type(error).__name__})"
            outcome = Outcome(FAILED, line, recorded=False)
            if flight.attempt < _ATTEMPTS:
                self._again(_Flight(flight.item, flight.attempt + 1))
                return
        held = outcome.code == BUSY and now < self._patient.get(job.id, 0)
        if held or (outcome.code == INTERRUPTED and not self._asked):
            self._again(flight)
            return
        if not self._home.shared:
            try:
                self._keep(sent)
            except StoreError as error:
                code = FULL if unwritable(error) else FAILED
                outcome = Outcome(code, str(error), recorded=False)
        self.full = self.full or outcome.code == FULL
        self.cut = self.cut or outcome.code in (INTERRUPTED, FULL)
        del self._jobs[job.id]
        self._observe(Event(job, outcome=outcome, seconds=seconds))
        for user, how in self._order.end(job.id, outcome):
            self._observe(Event(user, outcome=how))

    def _again(self, flight: _Flight) -> None:
        if not self._asked:
            self._later.append((time.monotonic() + _PAUSE, flight))
        else:
            self._observe(Event(flight.item.job, outcome=Outcome(INTERRUPTED)))

    def _keep(self, sent: Sent) -> None:
        """Verifies and keeps what came from a node.

        Raises:
            StoreError: it is corrupt, or cannot be written.
        """
        if sent.record is not None:
            self._store.commit(parse_record(sent.record))
        if sent.artifact is not None:
            receive(self._store, sent.artifact)
