"""A job on its way to another machine and back: plain text, no pickle of ours."""

import json
from typing import Any

from harness.executors import Work
from harness.run import Job, Outcome


def packed(item: Work) -> str:
    """Work as JSON."""
    return json.dumps({"job": item.job._asdict(), "after": sorted(item.after)})


def unpacked(text: str) -> Work:
    """What `packed` wrote."""
    found = json.loads(text)
    fields: dict[str, Any] = found["job"]
    fields["plugins"] = tuple(fields["plugins"])
    fields["marks"] = tuple((name, state) for name, state in fields["marks"])
    return Work(Job(**fields), frozenset(found["after"]))


def told(outcome: Outcome, seconds: float) -> str:
    """How a job ended, and after how many seconds, as JSON."""
    return json.dumps({"outcome": outcome._asdict(), "seconds": seconds})


def heard(text: str) -> tuple[Outcome, float]:
    """What `told` wrote."""
    found = json.loads(text)
    return Outcome(**found["outcome"]), float(found["seconds"])
