"""What the words on the command line mean: names, seeds, durations, devices."""

import os

from harness.errors import UsageError
from harness.plan import Plan
from harness.suite import Scale


def words(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def numbers(text: str) -> tuple[int, ...]:
    """Seeds and ranges of seeds: `0,1,5-9`.

    Raises:
        UsageError: something else stands there.
    """
    found: list[int] = []
    for word in words(text):
        first, dash, last = word.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UsageError(f"seeds {text!r}: {word!r} is not a number or a range like 0-4")
        found += range(int(first), int(last or first) + 1)
    return tuple(dict.fromkeys(found))


def seconds(text: str) -> float:
    """A duration in seconds; a bare number counts minutes.

    Raises:
        UsageError: it is no duration.
    """
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 60)
    try:
        found = float(number) * unit
    except ValueError:
        found = -1.0
    if not 0 < found < 1e9:
        raise UsageError(f"time {text!r}: give minutes, or a number with s, m or h, e.g. 90m")
    return found


def device(wanted: str, scale: Scale) -> str:
    """The device that a command runs on; `auto` looks for a GPU at the scales made for one.

    Raises:
        UsageError: an unknown device, or no GPU where one was asked for.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device {wanted!r}: allowed are cpu, cuda, auto; see --device")
    if wanted == "cpu" or (wanted == "auto" and scale.name not in ("gpu", "paper")):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise UsageError("--device cuda: torch finds no GPU here; use --device cpu")
    return "cpu"


def workers(made: Plan) -> int:
    """Trials at a time: one per GPU, or as many as cores allow for the scale's threads."""
    if made.device.startswith("cuda"):
        import torch

        return max(int(torch.cuda.device_count()), 1)
    return max((os.cpu_count() or 1) // made.scale.threads, 1)
