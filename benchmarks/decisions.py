"""Whether intervals cover what they say, and how often claims are decided, rightly and wrongly.

    python -m benchmarks.decisions [--trials 4000] [--out docs/reading-a-verdict.md]

Prints one Markdown table; with `--out` it also replaces what stands between the lines
`<!-- statistics -->` and `<!-- /statistics -->` of that file. Every row draws its data from a seed
of its own, so that equal arguments give equal tables.

Coverage calls the harness's own functions on data drawn from a known truth. Numbers of suites with
looks come from `harness.sequential.decisions`, which the tests hold to `decide`.

Shapes: R repetitions, S seeds, T tasks.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import stats
from harness.analysis import Cell
from harness.evidence import lines_of
from harness.sequential import Looks, decisions, power, repeated_interval
from harness.stats import Array, Interval
from harness.suite import Task, Trend

Generator = np.random.Generator
SIZES = (5, 10, 20)
LOOKS = Looks()
MARK = "<!-- statistics -->\n", "<!-- /statistics -->\n"


class Row(NamedTuple):
    """One line of the table; rates in percent."""

    what: str
    rates: tuple[float | None, ...]
    """At 5, 10, 20 and 40 seeds."""
    wanted: tuple[float, float]
    """Lowest and highest rate that is right; (0, 100) where the row is there to be compared."""
    trials: int
    note: str = ""


def covered(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


def one_sample(g: Generator, n: int) -> bool:
    return covered(stats.mean_interval(g.normal(3.0, 2.0, n)), 3.0)


def paired(g: Generator, n: int) -> bool:
    """Pairs with a correlation of 0.8."""
    shared = g.normal(80.0, 2.0, n)
    return covered(stats.paired_interval(shared + g.normal(1, 1, n), shared + g.normal(0, 1, n)), 1)


def welch(g: Generator, n: int) -> bool:
    """Standard deviations of 1 and 3."""
    return covered(stats.welch_interval(g.normal(1, 1, n), g.normal(0, 3, n)), 1.0)


def _scattered(g: Generator, n: int, tasks: int) -> tuple[Array, Array]:
    """Twice the scatter on one side, correlation 0.45."""
    shared = g.normal(0, 1, (n, tasks))
    b = (shared * 0.5**0.5 + g.normal(0, 0.5**0.5, (n, tasks))) * 1.0
    a = 2 * (shared * 0.4**0.5 + g.normal(0, 0.6**0.5, (n, tasks)))
    return a, b


def spread(g: Generator, n: int) -> bool:
    a_ST, b_ST = _scattered(g, n, 1)
    return covered(stats.spread_interval(a_ST[:, 0], b_ST[:, 0]), float(np.log(2)))


def combined_spread(g: Generator, n: int) -> bool:
    return covered(stats.combined_spread(*_scattered(g, n, 4)).interval, float(np.log(2)))


def _overlapping(g: Generator, n: int) -> tuple[Array, float]:
    """Errors of a learner on n random splits of one dataset, 80 % training; and their true mean.

    The learner predicts the mean of its training labels; squared error on the test labels.
    """
    examples, test = 100, 20
    labels = g.normal(0, 1, examples)
    scores = []
    for _ in range(n):
        order = g.permutation(examples)
        guess = labels[order[test:]].mean()
        scores.append(float(((labels[order[:test]] - guess) ** 2).mean()))
    return np.array(scores), 1 + 1 / (examples - test)


def resampled(g: Generator, n: int) -> bool:
    scores, truth = _overlapping(g, n)
    return covered(stats.resampled_interval(scores, 20, 80), truth)


def naive_resampled(g: Generator, n: int) -> bool:
    scores, truth = _overlapping(g, n)
    return covered(stats.mean_interval(scores), truth)


_DEPTHS = (1, 2, 4, 8)
_WEIGHTS_T = [
    float(weight)
    for weight in lines_of(
        [Task(name=f"depth-{d}", params={"depth": d}, metrics=("m",)) for d in _DEPTHS],
        Trend(
            name="t", text="", source="", metric="m", tasks=("*",), a="a", over="depth",
            direction="up", margin=1,
        ),
    ).weights_T
]  # fmt: skip


def trend(g: Generator, n: int) -> bool:
    """A slope of 0.5 over depths 1, 2, 4, 8, with more noise at the deep end."""
    x_ST = 0.5 * np.array(_DEPTHS) + g.normal(0, np.sqrt(_DEPTHS), (n, len(_DEPTHS)))
    return covered(stats.mean_interval(x_ST @ np.array(_WEIGHTS_T)), 0.5)


def standardised(g: Generator, n: int) -> bool:
    """Four tasks in units of their margins, whose scatter differs a hundredfold before."""
    margin_T, sd_T = np.array([0.1, 1.0, 2.0, 10.0]), np.array([0.2, 1.0, 1.5, 20.0])
    x_ST = g.normal(0.5 * margin_T, sd_T, (n, 4)) / margin_T
    return covered(stats.mean_interval(x_ST.mean(1)), 0.5)


def repeated(g: Generator, n: int) -> bool:
    """Whether the intervals of all looks up to n cover at once."""
    x = g.normal(1.0, 1.0, n)
    return all(covered(repeated_interval(x[:size], LOOKS), 1.0) for size in LOOKS.taken(n))


def nested(ratio: float, repeats: int) -> Callable[[Generator, int], bool]:
    """A false decision about n trainings, each measured `repeats` times.

    `ratio`: variance between trainings over that between measurements of one. The records go the
    way that they go in the harness, which counts each training once.
    """

    def decides(g: Generator, n: int) -> bool:
        x = np.repeat(g.normal(0, ratio**0.5, n), repeats) + g.normal(0, 1, n * repeats)
        seeds = tuple(range(x.size))
        trained = tuple(str(seed // repeats) for seed in seeds)
        interval = Cell(seeds, x, trained, 0, trained).interval()
        assert interval.n == n
        return not covered(interval, 0.0)

    return decides


def pseudo(ratio: float) -> Callable[[Generator, int], bool]:
    """The same where n measurements of one training are taken for n trainings."""

    def decides(g: Generator, n: int) -> bool:
        x = g.normal(0, ratio**0.5) + g.normal(0, 1, n)
        return not covered(stats.mean_interval(x), 0.0)

    return decides


def false_decisions(trials: int, seed: int) -> Iterator[Row]:
    """Suites of 5 primary and 35 secondary claims, with looks; nothing is true, or the primary."""
    for effect, what in ((0.0, "no claim is true"), (2.0, "primary claims true (2 sd)")):
        g = np.random.default_rng([seed, int(effect)])
        holds, either, other = np.zeros(4), np.zeros(4), np.zeros(4)
        for part in _parts(trials, 500):
            primary = g.standard_normal((part, 5, 40)) + effect
            secondary = g.standard_normal((part, 35, 40))
            above, below = decisions(primary, LOOKS), decisions(-primary, LOOKS)
            closed = (above | below).all(2)
            holds += above.any(2).sum(1)
            either += (above | below).any(2).sum(1)
            other += (decisions(secondary, LOOKS).any(2) & closed).sum(1)
        if effect == 0:
            yield _row(f'any of 5 primary claims "holds", {what}', holds, trials, (0, 2.5))
            yield _row(f"any of 5 primary claims decided, {what}", either, trials, (0, 5))
        yield _row(f'any of 35 secondary claims "holds", {what}', other, trials, (0, 2.5))


def found(trials: int) -> Iterator[Row]:
    """Power and expected number of seeds; from the simulation that `harness plan` prints."""
    fixed = power(2.0, Looks(schedule=(5,)), 5, alone=False).by_look[0]
    only = power(2.0, Looks(schedule=(5,)), 5).by_look[0]
    many = power(2.0, Looks(schedule=(5,)), 39).by_look[0]
    rest = (None, None, None)
    yield Row("fixed n, effect 2 sd, 5 primary claims, all true", (100 * fixed, *rest), (70, 100),
              trials)  # fmt: skip
    yield Row("fixed n, effect 2 sd, the only true one of 5", (100 * only, *rest), (0, 100), trials)
    yield Row("fixed n, effect 2 sd, the only true one of 39", (100 * many, *rest), (0, 100),
              trials)  # fmt: skip
    for effect in (0.5, 1.0, 2.0):
        for alone, which in (
            (False, "5 primary claims, all true"),
            (True, "the only true one of 5"),
        ):
            p = power(effect, LOOKS, 5, alone=alone)
            yield Row(
                f"looks, effect {effect:g} sd, {which}",
                tuple(100 * rate for rate in p.by_look),
                (0, 100),
                trials,
                f"{p.expected:.1f} seeds expected",
            )


def coverage(trials: int, seed: int) -> Iterator[Row]:
    """Of every kind of interval, and false decisions about nested randomness."""
    within, free = (93.0, 97.0), (0.0, 100.0)
    kinds: list[tuple[str, Callable[[Generator, int], bool], tuple[float, float]]] = [
        ("t, one sample", one_sample, within),
        ("paired t", paired, within),
        ("Welch t, standard deviations 1 : 3", welch, within),
        ("ratio of spreads, one task (Pitman-Morgan)", spread, within),
        ("ratio of spreads, mean of 4 tasks", combined_spread, within),
        ("trend: slope over 4 depths", trend, within),
        ("mean of 4 tasks in units of their margins", standardised, within),
        ("corrected resampled t, overlapping splits", resampled, within),
        ("plain t on the same splits (for comparison)", naive_resampled, free),
        ("repeated intervals, all looks so far at once", repeated, (95.0, 100.0)),
    ]
    for number, (what, one, wanted) in enumerate(kinds):
        sizes = (*SIZES, 40) if one is repeated else SIZES
        yield _counted(f"coverage: {what}", one, sizes, trials, [seed, 1, number], wanted)
    for number, ratio in enumerate((1.0, 2.0, 4.0)):
        what = f"false decisions: trainings vary {ratio:g} x measurements"
        yield _counted(f"{what}, 3 measurements each, n = trainings", nested(ratio, 3), SIZES,
                       trials, [seed, 2, number], (3.0, 7.0))  # fmt: skip
        yield _counted(f"{what}, n = measurements of one training (for comparison)",
                       pseudo(ratio), SIZES, trials, [seed, 3, number], free)  # fmt: skip


def rows(trials: int, seed: int = 0) -> Iterator[Row]:
    """The whole table."""
    yield from coverage(trials, seed)
    for row in false_decisions(trials, seed):
        yield row._replace(what=f"false decisions: {row.what}")
    for row in found(20_000):
        yield row._replace(what=f"power: {row.what}")


def table(lines: list[Row]) -> str:
    """Markdown."""
    out = [
        "| % of repetitions | n = 5 | n = 10 | n = 20 | n = 40 | should be | remark |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in lines:
        cells = [("" if rate is None else f"{rate:.1f}") for rate in row.rates]
        out.append(f"| {row.what} | {' | '.join(cells)} | {_wanted(row.wanted)} | {row.note} |")
    return "\n".join(out) + "\n"


def inserted(text: str, new: str) -> str:
    """The text with what stands between the marks replaced.

    Raises:
        ValueError: the marks are not there, each once.
    """
    if text.count(MARK[0]) != 1 or text.count(MARK[1]) != 1:
        raise ValueError(f"want one line {MARK[0].strip()} and one line {MARK[1].strip()}")
    before, _, rest = text.partition(MARK[0])
    return before + MARK[0] + new + MARK[1] + rest.partition(MARK[1])[2]


def _counted(
    what: str, one: Callable[[Generator, int], bool], sizes: tuple[int, ...], trials: int,
    seed: list[int], wanted: tuple[float, float],
) -> Row:  # fmt: skip
    rates: list[float | None] = [None] * 4
    for k, n in enumerate(sizes):
        g = np.random.default_rng([*seed, n])
        rates[k] = 100 * sum(one(g, n) for _ in range(trials)) / trials
    return Row(what, tuple(rates), wanted, trials)


def _row(what: str, counts: Array, trials: int, wanted: tuple[float, float]) -> Row:
    return Row(what, tuple(100 * count / trials for count in counts.tolist()), wanted, trials)


def _parts(whole: int, most: int) -> Iterator[int]:
    for start in range(0, whole, most):
        yield min(most, whole - start)


def _wanted(bounds: tuple[float, float]) -> str:
    low, high = bounds
    if bounds == (0, 100):
        return ""
    if low == 0:
        return f"at most {high:g}"
    return f"at least {low:g}" if high == 100 else f"{low:g} to {high:g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=4000, help="repetitions of each row")
    parser.add_argument("--out", type=Path, help="file with the marks")
    arguments = parser.parse_args()
    if arguments.trials < 1:
        parser.error("--trials: at least 1")
    old = arguments.out.read_text(encoding="utf-8") if arguments.out else ""
    if arguments.out:
        try:
            inserted(old, "")
        except ValueError as error:
            parser.error(f"{arguments.out}: {error}")
    made = table(list(rows(arguments.trials)))
    print(made, end="")
    if arguments.out:
        arguments.out.write_text(inserted(old, made), encoding="utf-8")


if __name__ == "__main__":
    main()
