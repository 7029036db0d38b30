"""What the words on the command line mean: names, seeds, durations, devices."""

import re
from collections.abc import Sequence
from pathlib import Path

from harness.errors import UsageError, quoted
from harness.plan import Filters
from harness.suite import Scale

_MOST_SEEDS = 10_000
_LONGEST_WORD = 200
"""Of a name or glob; names have at most 64 characters."""
_RANGE = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")
_SHARE = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})([smh]?)")


def words(texts: Sequence[str] | None, option: str) -> tuple[str, ...]:
    """Names separated by commas, of an option that may be given several times; none: left out.

    Raises:
        UsageError: it was given without any name, or with one longer than names are.
    """
    if texts is None:
        return ()
    found = [word for text in texts for word in (w.strip() for w in text.split(",")) if word]
    if not found:
        raise UsageError(f"{option} is empty: name at least one, or leave the option out for all")
    for word in found:
        if len(word) > _LONGEST_WORD:
            raise UsageError(f"{option} {quoted(word)}: longer than any name")
    return tuple(dict.fromkeys(found))


def numbers(texts: Sequence[str] | None) -> tuple[int, ...]:
    """Seeds and ranges of seeds: `0,1,5-9`; none: left out.

    Raises:
        UsageError: something else stands there, or more seeds than any scale has.
    """
    found: dict[int, None] = {}
    for word in words(texts, "--seeds"):
        parts = _RANGE.fullmatch(word)
        if parts is None:
            raise UsageError(
                f"seeds {quoted(','.join(texts or ()))}: {quoted(word)} is not a number or a range "
                "like 0-4"
            )
        first, last = int(parts[1]), int(parts[2] or parts[1])
        if last < first:
            raise UsageError(f"seeds {word!r}: the range ends before it begins; try {last}-{first}")
        if last - first + len(found) >= _MOST_SEEDS:
            raise UsageError(f"seeds {word!r}: at most {_MOST_SEEDS:,} seeds at a time")
        found |= dict.fromkeys(range(first, last + 1))
    return tuple(found)


def filters(
    methods: Sequence[str] | None,
    tasks: Sequence[str] | None,
    seeds: Sequence[str] | None,
    claims: Sequence[str] | None,
    shard: str | None = None,
) -> Filters:
    """What narrows a plan down.

    Raises:
        UsageError: an option that is empty or no list of names or numbers.
    """
    return Filters(
        words(methods, "--methods"), words(tasks, "--tasks"), numbers(seeds),
        words(claims, "--claims"), share(shard),
    )  # fmt: skip


def share(text: str | None) -> tuple[int, int]:
    """One of several shares, `i/n` with i from 1 to n; without any the whole.

    Raises:
        UsageError: something else stands there.
    """
    parts = _SHARE.fullmatch("1/1" if text is None else text)
    if parts is None or not 1 <= int(parts[1]) <= int(parts[2]):
        raise UsageError(
            f"--shard {quoted(text)}: give i/n, the i-th of n shares, i from 1 to n; e.g. 2/4"
        )
    return int(parts[1]), int(parts[2])


def seconds(text: str) -> float:
    """A duration in seconds; a bare number counts minutes.

    Raises:
        UsageError: it is no duration.
    """
    parts = _DURATION.fullmatch(text)
    found = float(parts[1]) * {"s": 1, "m": 60, "h": 3600}[parts[2] or "m"] if parts else 0.0
    if not 0 < found < 1e9:
        raise UsageError(f"time {quoted(text)}: give minutes, or a number with s, m or h, e.g. 90m")
    return found


def folder(text: str | Path, option: str) -> Path:
    """A folder that need not exist.

    Raises:
        UsageError: no path can read like that. The empty one is refused too: it would be the
            current folder, which nobody means by an option whose variable is not set.
    """
    if text == "":
        raise UsageError(f"{option} is empty: give a folder, `.` for the current one")
    if "\0" in str(text):
        raise UsageError(f"{option} {quoted(str(text))}: there are no zero bytes in a path")
    return Path(text)


def suites(names: Sequence[str] | None) -> tuple[str, ...]:
    """The suites named on the command line, each once; none: all of them."""
    return tuple(dict.fromkeys(names or ()))


def device(wanted: str, scale: Scale, here: bool = True) -> str:
    """The device that a command runs on; `auto` looks for a GPU at the scales made for one.

    Unless trials run `here` a GPU is not looked for: whoever submits to a cluster may have none.

    Raises:
        UsageError: an unknown device, or no GPU where one was asked for.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise UsageError(  # by hand: the nearest name to `gpu` would be `cpu`
            f"unknown device {quoted(wanted)}: allowed are cpu, cuda, auto; see --device"
        )
    if wanted == "cpu" or (wanted == "auto" and scale.machine not in ("gpu", "paper")):
        return "cpu"
    if not here:
        return "cuda"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise UsageError("--device cuda: torch finds no GPU here; use --device cpu")
    return "cpu"
