"""The order in which a plan is carried out: each job after what it needs, the first ones first."""

import heapq
from collections.abc import Sequence

from harness.executors import Work
from harness.run import FAILED, Job, Outcome

_NOT_RUN = "not run: an artifact that it needs failed"


class Order:
    """Work that waits for its turn; every step takes a time that does not grow with the plan."""

    def __init__(self, work: Sequence[Work]) -> None:
        self._work = {item.job.id: item for item in reversed(work)}
        """One of each identity, the first: plans of one command may share artifacts."""
        place: dict[str, int] = {}
        for item in work:
            place.setdefault(item.job.id, len(place))
        self._place = place
        self._needs = {key: set(item.after & place.keys()) for key, item in self._work.items()}
        self._users: dict[str, list[str]] = {}
        for key, needs in self._needs.items():
            for need in needs:
                self._users.setdefault(need, []).append(key)
        self._ready = [(place[key], key) for key, needs in self._needs.items() if not needs]
        heapq.heapify(self._ready)
        self._left = set(place)

    def __bool__(self) -> bool:
        """Whether any job has not begun."""
        return bool(self._left)

    def __contains__(self, identity: str) -> bool:
        """Whether that job has not begun."""
        return identity in self._left

    def next(self) -> Work | None:
        """The first job that can begin; None where all that are left wait for others."""
        while self._ready:
            key = heapq.heappop(self._ready)[1]
            if key in self._left:
                self._left.remove(key)
                return self._work[key]
        return None

    def end(self, identity: str, outcome: Outcome) -> list[tuple[Job, Outcome]]:
        """Notes how a job ended; the jobs that cannot be run for that, each with its outcome."""
        self._left.discard(identity)
        fallen: list[tuple[Job, Outcome]] = []
        pending = [(identity, outcome)]
        while pending:
            ended, how = pending.pop()
            for user in sorted(self._users.get(ended, ()), key=self._place.__getitem__):
                self._needs[user].discard(ended)
                if user not in self._left:
                    continue
                if how.code != 0:
                    self._left.remove(user)
                    fallen.append((self._work[user].job, _inherited(how)))
                    pending.append((user, fallen[-1][1]))
                elif not self._needs[user]:
                    heapq.heappush(self._ready, (self._place[user], user))
        return fallen


def _inherited(how: Outcome) -> Outcome:
    """The outcome of a job whose artifact ended like that."""
    if how.code != FAILED:  # it is being built elsewhere, or everything stops
        return how
    known = how.line.startswith(_NOT_RUN)
    return Outcome(FAILED, how.line if known else f"{_NOT_RUN} ({how.line})", recorded=False)
